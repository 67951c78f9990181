"""Peers from their start to the first result; `run` times these as processes.

    first.py make FOLDER LAYERS                   so many blocks of blocks.seqm: blocks.safetensors, blocks.onnx; ones.npy
    first.py PEER MODEL.onnx ROWS THREADS         ROWS of 512 ones through MODEL; prints the seconds that loading,
                                                  compiling and the first call take, less what its imports take
    first.py PEER MODEL.onnx tokens THREADS       an embedding of 16 tokens; prints nothing: the whole process counts
"""
import os
import sys
import time

ROWS = 128
TOKENS = [101, 1996, 4248, 2829, 4419, 14523, 2058, 1996, 13971, 3899, 2379, 1996, 2314, 2924, 1012, 102]


def make(folder, layers):
    import numpy as np
    import torch
    from safetensors.torch import save_file
    torch.manual_seed(0)
    width, heads = 512, 8

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.n1, self.n2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
            self.qkv, self.o = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
            self.u, self.w = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

        def forward(self, x):
            n = x.shape[1]
            q, k, v = (t.view(1, n, heads, -1).transpose(1, 2) for t in self.qkv(self.n1(x)).chunk(3, -1))
            p = torch.softmax(q @ k.transpose(-1, -2) / (width // heads) ** 0.5, -1) @ v
            x = x + self.o(p.transpose(1, 2).reshape(1, n, width))
            return x + self.w(torch.nn.functional.gelu(self.u(self.n2(x))))

    model = torch.nn.Sequential(*[Block() for _ in range(layers)]).eval()
    np.save(os.path.join(folder, "ones.npy"), np.ones((ROWS, width), np.float32))
    save_file(model.state_dict(), os.path.join(folder, "blocks.safetensors"))
    torch.onnx.export(model, (torch.randn(1, ROWS, width),), os.path.join(folder, "blocks.onnx"), dynamo=False,
                      input_names=["x"], output_names=["y"], opset_version=17,
                      dynamic_axes={"x": {1: "rows"}, "y": {1: "rows"}})


def inputs(rows):
    import numpy as np
    if rows != "tokens":
        return {"x": np.ones((1, int(rows), 512), np.float32)}
    ids = np.array([TOKENS], np.int64)
    return {"ids": ids, "mask": np.ones_like(ids)}


def onnxruntime(model, given, threads):
    import onnxruntime as ort
    begin = time.perf_counter()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, given)
    return begin


def openvino(model, given, threads):
    import openvino as ov
    begin = time.perf_counter()
    made = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
                                                  "INFERENCE_PRECISION_HINT": "f32"})
    made(given)
    return begin


def main():
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
        return
    peer, model, rows, threads = sys.argv[1:]
    begin = {"onnxruntime": onnxruntime, "openvino": openvino}[peer](model, inputs(rows), int(threads))
    if rows != "tokens":
        print(time.perf_counter() - begin, flush=True)
    os._exit(0)  # what the peer does at its end is not measured


if __name__ == "__main__":
    main()
