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

PATIENCE = 5  # seconds for the first three calls


def of_row(row, *arrays):
    """Tensors of the row's precision."""
    import torch
    return [torch.from_numpy(x).to(torch.bfloat16 if row.get("precision") == "bf16" else torch.float32) for x in arrays]


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
    a, b = of_row(row, *operands(row))
    c = torch.empty(row["m"], row["n"], dtype=a.dtype)
    return lambda: torch.mm(a, b.T, out=c)


def matmul_onednn(row, threads):
    import torch
    torch.set_num_threads(threads)
    a, b = of_row(row, *operands(row))
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
    from transformers import BertConfig, BertModel
    torch.set_num_threads(threads)
    shape = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    model = BertModel.from_pretrained(row["weights"], config=shape).eval()

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
    if row["precision"] == "bf16":
        model = model.bfloat16()
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
                                                 "INFERENCE_PRECISION_HINT": row["precision"]})
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
    q, k, v = of_row(row, *heads(row))
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


def by_hand(name):
    """The function of that name in the C file of that name, compiled for this machine."""
    import ctypes
    import subprocess
    import tempfile
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".c")
    with tempfile.TemporaryDirectory() as folder:
        made = os.path.join(folder, name + ".so")
        subprocess.run([os.environ.get("CC", "cc"), "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-o", made, source], check=True)
        return getattr(ctypes.CDLL(made), name)


def recurrence_by_hand(row, threads):
    import ctypes
    code, data = by_hand("recurrence"), factors(row)
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


# ---- selective scan ------------------------------------------------------------------------------
def selective_by_hand(row, threads):
    import ctypes
    import numpy as np
    n, d, s = row["n"], 1536, 16
    rng = np.random.default_rng(0)
    make = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    dt = np.log1p(np.exp(make(n, d) - 3))
    a = -np.exp(make(s, d) * 0.5 + np.log(np.arange(1, s + 1, dtype=np.float32))[:, None]).astype(np.float32)
    data = [make(n, d), dt, a, make(n, s), make(n, s), make(d), np.empty((n, d), np.float32)]
    pointers, code = [ctypes.c_void_p(x.ctypes.data) for x in data], by_hand("selective")
    return lambda data=data: code(ctypes.c_long(n), ctypes.c_long(d), *pointers, threads)


# ---- Mamba of 130M: transformers -----------------------------------------------------------------
def mamba_transformers(row, threads):
    import torch
    from transformers import MambaConfig, MambaForCausalLM
    torch.set_num_threads(threads)
    config = MambaConfig(vocab_size=50280, hidden_size=768, state_size=16, num_hidden_layers=24, expand=2)
    model = MambaForCausalLM(config).eval()
    if row["precision"] == "bf16":
        model = model.to(torch.bfloat16)
    prompt = torch.randint(0, 50000, (1, row["context"]))
    with torch.inference_mode():
        cache = model(prompt[:, :16], use_cache=True).cache_params
    at = torch.tensor([16])

    def call():
        with torch.inference_mode():
            if row["part"] == "prefill":
                model(prompt, use_cache=True, logits_to_keep=1)
            else:
                model(prompt[:, :1], cache_params=cache, use_cache=True, cache_position=at)

    return call


# ---- GPT-2 small -----------------------------------------------------------------------------------
LAYERS, WIDE, HEADS, VOCABULARY, ROOM = 12, 768, 12, 50257, 1024


def gpt2_file(precision):
    """A GGUF file of random weights, kept in the environment's folder."""
    import gguf
    import numpy as np
    path = os.path.join(sys.prefix, f"gpt2-{precision}.gguf")
    if os.path.exists(path):
        return path
    types = gguf.GGMLQuantizationType
    kind = {"f32": types.F32, "bf16": types.BF16, "int8": types.Q8_0}[precision]
    rng = np.random.default_rng(0)
    w = gguf.GGUFWriter(path + ".part", "gpt2")
    w.add_name("gpt2")
    w.add_context_length(ROOM)
    w.add_embedding_length(WIDE)
    w.add_feed_forward_length(4 * WIDE)
    w.add_block_count(LAYERS)
    w.add_head_count(HEADS)
    w.add_layer_norm_eps(1e-5)
    w.add_vocab_size(VOCABULARY)
    w.add_tokenizer_model("no_vocab")

    def matrix(name, rows, columns):
        x = rng.standard_normal((rows, columns), dtype=np.float32) * 0.02
        w.add_tensor(name, gguf.quants.quantize(x, kind), raw_dtype=kind)

    def vector(name, size, value):
        w.add_tensor(name, np.full(size, value, np.float32))

    matrix("token_embd.weight", VOCABULARY, WIDE)
    matrix("output.weight", VOCABULARY, WIDE)
    w.add_tensor("position_embd.weight", rng.standard_normal((ROOM, WIDE), dtype=np.float32) * 0.02)
    vector("output_norm.weight", WIDE, 1)
    vector("output_norm.bias", WIDE, 0)
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            vector(name + norm + ".weight", WIDE, 1)
            vector(name + norm + ".bias", WIDE, 0)
        for part, out, to in [("attn_qkv", 3 * WIDE, WIDE), ("attn_output", WIDE, WIDE), ("ffn_up", 4 * WIDE, WIDE),
                              ("ffn_down", WIDE, 4 * WIDE)]:
            matrix(name + part + ".weight", out, to)
            vector(name + part + ".bias", out, 0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    os.rename(path + ".part", path)
    return path


def gpt2_llama(row, threads):
    import llama_cpp as lc
    lc.llama_backend_init()
    of_model = lc.llama_model_default_params()
    of_model.n_gpu_layers = 0
    model = lc.llama_model_load_from_file(gpt2_file(row["precision"]).encode(), of_model)
    of_context = lc.llama_context_default_params()
    of_context.n_ctx = of_context.n_batch = of_context.n_ubatch = ROOM
    of_context.n_threads = of_context.n_threads_batch = threads
    context = lc.llama_init_from_model(model, of_context)
    if not context:
        raise RuntimeError("llama.cpp refuses the model")
    memory, batch, size = lc.llama_get_memory(context), lc.llama_batch_init(ROOM, 0, 1), row["context"]

    def decode(at, count):
        batch.n_tokens = count
        for i in range(count):
            batch.token[i] = (i * 37 + 11) % VOCABULARY
            batch.pos[i] = at + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i == count - 1
        if lc.llama_decode(context, batch):
            raise RuntimeError("llama_decode fails")
        lc.llama_get_logits(context)

    def prefill():
        lc.llama_memory_clear(memory, True)
        decode(0, size)

    def step():
        lc.llama_memory_seq_rm(memory, 0, size, -1)
        decode(size, 1)

    prefill()
    return step if row["part"] == "decode" else prefill


def gpt2_transformers(row, threads):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model = GPT2LMHeadModel(GPT2Config()).eval()
    if row["precision"] == "bf16":
        model = model.bfloat16()
    ids = torch.randint(0, VOCABULARY, (1, row["context"]))
    if row["part"] == "prefill":
        return lambda: model(ids, logits_to_keep=1)
    past, one = model(ids, use_cache=True).past_key_values, torch.tensor([[7]])

    def step():
        model(one, past_key_values=past, use_cache=True)
        past.crop(-1)

    return step


# ---- linear attention in blocks ------------------------------------------------------------------
def linear_attention_step(torch, size):
    """A function of queries, keys, values [head, block, turn, channel] and the state before them."""
    decay = torch.exp(-torch.exp2(-torch.arange(1, 9, dtype=torch.float32)))[:, None, None]
    at = torch.arange(size)
    weights = torch.where(at[:, None] >= at, decay ** (at[:, None] - at).clamp(min=0), 0)[:, None]
    old, new, whole = (decay ** (at[:, None] + 1))[:, None], (decay ** (size - 1 - at[:, None]))[:, None], decay ** size

    def step(q, k, v, state):
        added = (k * new).transpose(-1, -2) @ v
        states = []
        for block in range(q.shape[1]):
            states.append(state)
            state = state * whole + added[:, block]
        return (q @ k.transpose(-1, -2) * weights) @ v + (q * old) @ torch.stack(states, 1), state
    return step


def linear_attention_torch(row, threads, blocks=1):
    import torch
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    size, n = 64, row["n"]
    step = linear_attention_step(torch, size)
    if blocks > 1:
        step = torch.compile(step, dynamic=False)
    q, k, v = [torch.randn(8, n, 64) * 0.1 for _ in range(3)]
    out, turns = torch.empty_like(v), blocks * size

    def call():
        state = torch.zeros(8, 64, 64)
        with torch.inference_mode():
            for t in range(0, n, turns):
                part, state = step(*[x[:, t:t + turns].view(8, blocks, size, 64) for x in (q, k, v)], state)
                out[:, t:t + turns] = part.reshape(8, turns, 64)
    return call


def linear_attention_compiled(row, threads):
    return linear_attention_torch(row, threads, 16)


# ---- a stack of blocks -----------------------------------------------------------------------------
def ones(row):
    import numpy as np
    return np.ones((1, row["rows"], 512), np.float32)


def blocks_onnxruntime(row, threads):
    s, x = session(row["files"]["blocks"] + "/blocks.onnx", threads), ones(row)
    return lambda: s.run(None, {"x": x})


def blocks_openvino(row, threads):
    import openvino as ov
    request = ov.Core().compile_model(row["files"]["blocks"] + "/blocks.onnx", "CPU",
                                      {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
                                       "INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    x = ones(row)
    request.set_input_tensor(0, ov.Tensor(x))
    return lambda x=x: request.infer()


# ---- the gated delta rule in blocks --------------------------------------------------------------
def delta_rule_torch(row, threads, size=64):
    """Blocks of turns: the triangular system of each solved for values and for keys, then products."""
    import torch
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    n = row["n"]
    q, k, v = [torch.randn(8, n, 64) for _ in range(3)]
    b, a = [torch.randn(8, n, 1) for _ in range(2)]
    at = torch.arange(size)
    earlier, one = at[:, None] >= at, torch.eye(size)

    def call():
        with torch.inference_mode():
            rate, keep = torch.sigmoid(b), torch.log(torch.sigmoid(a))
            unit = k * torch.rsqrt((k * k).sum(-1, keepdim=True) + 1e-6)
            Q, K, V, R, G = [x.view(8, n // size, size, -1) for x in (q, unit, v, rate, keep)]
            G = G.cumsum(2)
            decay = torch.exp((G - G.transpose(-1, -2)).masked_fill(~earlier, -torch.inf))
            lower = (K * R) @ K.transpose(-1, -2) * decay * (at[:, None] > at)
            both = torch.cat([V * R, K * R * torch.exp(G)], -1)
            new, old = torch.linalg.solve_triangular(lower + one, both, upper=False, unitriangular=True).split(64, -1)
            score, read = Q @ K.transpose(-1, -2) * decay, Q * torch.exp(G)
            write, whole = (K * torch.exp(G[:, :, -1:] - G)).transpose(-1, -2), torch.exp(G[:, :, -1:])
            state, out = torch.zeros(8, 64, 64), []
            for t in range(n // size):
                value = new[:, t] - old[:, t] @ state
                out.append(read[:, t] @ state + score[:, t] @ value)
                state = whole[:, t] * state + write[:, t] @ value
            return torch.stack(out, 1).view(8, n, 64)
    call.inputs = q, k, v, b, a
    return call


BUILDERS = {
    "blocks": {"onnxruntime": blocks_onnxruntime, "openvino": blocks_openvino},
    "delta rule": {"torch": delta_rule_torch},
    "linear attention": {"torch": linear_attention_torch, "torch compiled": linear_attention_compiled},
    "matmul": {"onnxruntime": matmul_onnxruntime, "torch": matmul_torch, "onednn": matmul_onednn},
    "minilm": {"openvino": minilm_openvino, "onnxruntime": minilm_onnxruntime, "torch": minilm_torch},
    "recurrent": {"torch": recurrent_torch, "onnxruntime": recurrent_onnxruntime, "openvino": recurrent_openvino},
    "attention": {"torch": attention_torch, "onnxruntime": attention_onnxruntime, "openvino": attention_openvino},
    "recurrence": {"by hand": recurrence_by_hand, "numba": recurrence_numba},
    "selective": {"by hand": selective_by_hand},
    "mamba": {"transformers": mamba_transformers},
    "gpt2": {"llama.cpp": gpt2_llama, "transformers": gpt2_transformers},
}


def timed(call, seconds):
    times, start = [], time.perf_counter()
    while not times or time.perf_counter() < start + (seconds if len(times) > 2 else PATIENCE):
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
