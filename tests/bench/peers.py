"""The peers of the benchmark, in the environment that `run` made. Reads a line of JSON that names a peer
and a row, builds it, then answers each {"seconds": s} with the median time of a call. One process
holds one peer, so that pools of threads do not meet.

    BUILDERS[kind][peer](row, threads) -> a function of no arguments, the call
"""
import json
import math
import os
import statistics
import sys
import time


def session(model, threads):
    import onnxruntime as ort
    o = ort.SessionOptions()
    o.intra_op_num_threads = threads
    return ort.InferenceSession(model, o, providers=["CPUExecutionProvider"])


# ---- matmul --------------------------------------------------------------------------------------
def operands(row):
    import numpy as np
    rng = np.random.default_rng(0)
    make = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    return make(row["m"], row["k"]), make(row["n"], row["k"])


def matmul_onnxruntime(row, threads):
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    a, b = operands(row)
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "g", [value("a", a.shape)],
                              [value("c", [row["m"], row["n"]])],
                              [numpy_helper.from_array(np.ascontiguousarray(b.T), "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    s = session(model.SerializeToString(), threads)
    return lambda: s.run(None, {"a": a})


def matmul_torch(row, threads):
    import torch
    torch.set_num_threads(threads)
    a, b = (torch.from_numpy(x) for x in operands(row))
    c = torch.empty(row["m"], row["n"])
    return lambda: torch.mm(a, b.T, out=c)


def matmul_onednn(row, threads):
    import torch
    torch.set_num_threads(threads)
    a, b = (torch.from_numpy(x) for x in operands(row))
    packed = torch.ops.mkldnn._reorder_linear_weight(b, row["m"])
    return lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")


# ---- MiniLM --------------------------------------------------------------------------------------
def sentences(row):
    import numpy as np
    ids = np.random.default_rng(0).integers(1000, 29000, (row["b"], row["n"]))
    ids[:, 0], ids[:, -1] = 101, 102
    return ids.astype(np.int64), np.ones_like(ids, dtype=np.int64)


def embedder(row, threads):
    import torch
    from transformers import AutoModel
    torch.set_num_threads(threads)
    model = AutoModel.from_pretrained(row["weights"]).eval()

    class Embed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, mask):
            h = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            w = mask[..., None].to(h.dtype)
            e = (h * w).sum(1) / w.sum(1).clamp(min=1e-9)
            return e / e.norm(dim=1, keepdim=True).clamp(min=1e-12)

    return Embed().eval(), torch


def minilm_torch(row, threads):
    model, torch = embedder(row, threads)
    ids, mask = map(torch.from_numpy, sentences(row))

    def call():
        with torch.inference_mode():
            model(ids, mask)

    return call


def exported(row):
    """The model as ONNX, made once, in a folder of this user's."""
    folder = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "seqm")
    path = os.path.join(folder, "minilm.onnx")
    if not os.path.exists(path):
        model, torch = embedder(row, 1)
        ids, mask = map(torch.from_numpy, sentences({"b": 2, "n": 16}))
        os.makedirs(folder, exist_ok=True)
        axes = {"ids": {0: "b", 1: "n"}, "mask": {0: "b", 1: "n"}, "y": {0: "b"}}
        torch.onnx.export(model, (ids, mask), path + ".tmp", dynamo=False, input_names=["ids", "mask"],
                          output_names=["y"], opset_version=17, dynamic_axes=axes)
        os.replace(path + ".tmp", path)
    return path


def minilm_onnxruntime(row, threads):
    s = session(exported(row), threads)
    ids, mask = sentences(row)
    return lambda: s.run(None, {"ids": ids, "mask": mask})


def minilm_openvino(row, threads):
    import openvino as ov
    core = ov.Core()
    model = core.read_model(exported(row))
    model.reshape({"ids": [row["b"], row["n"]], "mask": [row["b"], row["n"]]})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
                                                 "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    for name, x in zip(("ids", "mask"), sentences(row)):
        request.set_tensor(name, ov.Tensor(x))
    return request.infer


# ---- attention: q, k, v [1, heads, n, width] -----------------------------------------------------
HEADS, WIDTH = 8, 64


def heads(row):
    import numpy as np
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, HEADS, row["n"], WIDTH), dtype=np.float32) for _ in range(3)]


def attention_torch(row, threads):
    import torch
    torch.set_num_threads(threads)
    n, causal = row["n"], bool(row["causal"])
    q, k, v = map(torch.from_numpy, heads(row))
    hidden = torch.ones(n, n, dtype=torch.bool).triu(1) if causal else None

    def softmax():
        torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def sigmoid():
        p = torch.sigmoid((q @ k.transpose(-1, -2)) * WIDTH ** -0.5 - math.log(n))
        (p if hidden is None else p.masked_fill(hidden, 0.0)) @ v

    def call():
        with torch.inference_mode():
            (softmax if row["weights"] == "softmax" else sigmoid)()

    return call


def attention_onnxruntime(row, threads):
    import numpy as np
    from onnx import TensorProto, helper
    n = row["n"]
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, HEADS * WIDTH])
    node = helper.make_node("MultiHeadAttention", ["q", "k", "v"], ["y"], domain="com.microsoft", num_heads=HEADS,
                            unidirectional=row["causal"])
    graph = helper.make_graph([node], "g", [value(x) for x in "qkv"], [value("y")])
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17),
                                                                 helper.make_opsetid("com.microsoft", 1)])
    s = session(model.SerializeToString(), threads)
    rows = [np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(1, n, HEADS * WIDTH) for x in heads(row)]
    return lambda: s.run(None, dict(zip("qkv", rows)))


def attention_openvino(row, threads):
    import openvino as ov
    import openvino.opset13 as op
    inputs = [op.parameter([1, HEADS, row["n"], WIDTH], ov.Type.f32, name=x) for x in "qkv"]
    y = op.scaled_dot_product_attention(*inputs, causal=bool(row["causal"]))
    compiled = ov.Core().compile_model(ov.Model([y], inputs, "attention"), "CPU",
                                       {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
                                        "INFERENCE_PRECISION_HINT": "f32"})
    request, kept = compiled.create_infer_request(), heads(row)
    for i, x in enumerate(kept):
        request.set_input_tensor(i, ov.Tensor(x))
    return lambda kept=kept: request.infer()


# ---- LSTM and GRU: x [t, b, h] -------------------------------------------------------------------
def recurrent_torch(row, threads):
    import torch
    torch.set_num_threads(threads)
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[row["cell"]](row["h"], row["h"]).eval()
    x = torch.randn(row["t"], row["b"], row["h"])

    def call():
        with torch.inference_mode():
            layer(x)

    return call


def recurrent_onnx(row):
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    t, b, h = row["t"], row["b"], row["h"]
    gates = {"lstm": 4, "gru": 3}[row["cell"]]
    rng = np.random.default_rng(0)
    w, r = (rng.standard_normal((1, gates * h, h), dtype=np.float32) / h ** 0.5 for _ in range(2))
    weights = {"w": w, "r": r, "bias": np.zeros((1, 2 * gates * h), np.float32)}
    more = {"linear_before_reset": 1} if row["cell"] == "gru" else {}
    node = helper.make_node(row["cell"].upper(), ["x", *weights], ["y"], hidden_size=h, **more)
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph([node], "g", [value("x", [t, b, h])], [value("y", [t, 1, b, h])],
                              [numpy_helper.from_array(a, n) for n, a in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString(), rng.standard_normal((t, b, h), dtype=np.float32)


def recurrent_onnxruntime(row, threads):
    model, x = recurrent_onnx(row)
    s = session(model, threads)
    return lambda: s.run(None, {"x": x})


def recurrent_openvino(row, threads):
    import openvino as ov
    model, x = recurrent_onnx(row)
    core = ov.Core()
    request = core.compile_model(core.read_model(model, b""), "CPU",
                                 {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
                                  "INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    request.set_input_tensor(0, ov.Tensor(x))
    return lambda x=x: request.infer()


# ---- h = a h + b ---------------------------------------------------------------------------------
def factors(row):
    import numpy as np
    rng = np.random.default_rng(0)
    shape = (row["n"], row["c"])
    return rng.uniform(0.9, 0.999, shape).astype(np.float32), rng.standard_normal(shape, dtype=np.float32), np.empty(shape, np.float32)


def recurrence_by_hand(row, threads):
    import ctypes
    import subprocess
    import tempfile
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recurrence.c")
    with tempfile.TemporaryDirectory() as folder:
        made = os.path.join(folder, "recurrence.so")
        subprocess.run([os.environ.get("CC", "cc"), "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-o", made, source], check=True)
        code = ctypes.CDLL(made).recurrence
    data = factors(row)
    pointers = [ctypes.c_void_p(x.ctypes.data) for x in data]
    return lambda data=data: code(ctypes.c_long(row["n"]), ctypes.c_long(row["c"]), *pointers, threads)


def recurrence_numba(row, threads):
    import numba
    numba.set_num_threads(threads)

    @numba.njit(parallel=True, fastmath=True)
    def run(a, b, h, width):
        n, c = a.shape
        for k in numba.prange((c + width - 1) // width):
            low, high = k * width, min(c, (k + 1) * width)
            for i in range(low, high):
                h[0, i] = b[0, i]
            for t in range(1, n):
                for i in range(low, high):
                    h[t, i] = a[t, i] * h[t - 1, i] + b[t, i]

    a, b, h = factors(row)
    width = max(16, (row["c"] + threads - 1) // threads)
    return lambda: run(a, b, h, width)


BUILDERS = {
    "matmul": {"onnxruntime": matmul_onnxruntime, "torch": matmul_torch, "onednn": matmul_onednn},
    "minilm": {"openvino": minilm_openvino, "onnxruntime": minilm_onnxruntime, "torch": minilm_torch},
    "recurrent": {"torch": recurrent_torch, "onnxruntime": recurrent_onnxruntime, "openvino": recurrent_openvino},
    "attention": {"torch": attention_torch, "onnxruntime": attention_onnxruntime, "openvino": attention_openvino},
    "recurrence": {"by hand": recurrence_by_hand, "numba": recurrence_numba},
}


def timed(call, seconds):
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with answers
    call = None
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            if "peer" in ask:
                call = BUILDERS[ask["row"]["kind"]][ask["peer"]](ask["row"], ask["threads"])
                timed(call, 0.2)
                answer = {"ok": True}
            else:
                answer = {"median_s": timed(call, ask["seconds"])}
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {e}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
