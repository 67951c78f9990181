"""The rows of the benchmark. A row: its name, the arguments of `seqm bench`, the least number of float
operations of a call, the peers (functions of peers.py) and what they need to know (`kind` and sizes),
and in `ways` the arguments of other ways in which seqm itself does it.
A row whose weights are not there is left out.

To add one: append it to what a function below gives, or write a function and name it in ROWS; a new
`kind` wants a builder in peers.py.
"""
import os
import subprocess

import first

SHAPES = [(256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048), (128, 1536, 384),
          (128, 384, 1536), (8, 2048, 2048), (1, 4096, 4096)]


def matmul(root):
    """c[m, n] = a[m, k] b[n, k], b a weight: peers may pack it before."""
    for m, n, k in SHAPES:
        yield {"name": f"matmul {m}x{n}x{k}", "kind": "matmul", "m": m, "n": n, "k": k, "flop": 2 * m * n * k,
               "seqm": ["tests/bench/gemm.seqm", "--entry", "matmul", "-D", f"N={n}", "-D", f"K={k}", "--size", f"M={m}"],
               "peers": ["onnxruntime", "torch", "onednn"]}


def matmul_bf16(root):
    """The same in bf16: operands and result of 16 bits, sums of 32."""
    for m, n, k in [(512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048)]:
        yield {"name": f"bf16 matmul {m}x{n}x{k}", "kind": "matmul", "precision": "bf16", "m": m, "n": n, "k": k,
               "flop": 2 * m * n * k,
               "seqm": ["tests/bench/gemm.seqm", "--entry", "matmul", "--float", "bf16", "-D", f"N={n}", "-D", f"K={k}",
                        "--size", f"M={m}"],
               "peers": ["torch", "onednn"]}


def minilm_folder(root):
    return os.environ.get("SEQM_MINILM") or subprocess.run(
        [os.path.join(root, "scripts", "fetch_weights.sh")], capture_output=True, text=True).stdout.strip()


def minilm(root):
    """all-MiniLM-L6-v2 with its real weights: token ids to the embedding of each sentence."""
    folder = minilm_folder(root)
    if not folder:
        return
    for precision in ("f32", "bf16"):
        for b, n in [(1, 128), (1, 16), (32, 128)]:
            flop = b * n * 6 * (2 * (4 * 384 * 384 + 2 * 384 * 1536) + 4 * n * 384)
            yield {"name": f"{'bf16 ' * (precision == 'bf16')}minilm {b}x{n}", "kind": "minilm", "precision": precision,
                   "b": b, "n": n, "flop": flop, "weights": folder,
                   "seqm": ["examples/minilm.seqm", "--preset", "real", "--weights", os.path.join(folder, "model.safetensors"),
                            "--entry", "forward", "--float", precision, "--size", f"B={b}", "--size", f"N={n}"],
                   "peers": ["openvino", "torch"] + ["onnxruntime"] * (precision == "f32")}


def attention_row(kind, causal, n, precision, peers):
    weights = ["sigmoid", "softmax"][kind]
    name = f"{weights} attention {'causal' if causal else 'full'} {n}"
    return {"name": name if precision == "f32" else f"{precision} {name}", "kind": "attention", "precision": precision,
            "weights": weights, "causal": causal, "n": n, "flop": 4 * 8 * n * n * 64 // (2 if causal else 1), "peers": peers,
            "seqm": ["examples/sigmoid_attention.seqm", "--entry", "attention", "--float", precision, "-D", f"kind={kind}",
                     "-D", "alibi=0", "-D", f"causal={causal}", "-D", "heads=8", "-D", "d=512", "--size", f"N={n}",
                     "--size", "dh=64", "--size", "dv=64"]}


def attention(root):
    """8 heads of width 64, one sequence; half the operations count where it is causal."""
    for kind in (0, 1):
        for causal in (0, 1):
            for n in (128, 512, 2048, 8192):
                peers = ["torch", "onnxruntime", "openvino"] if kind else ["torch"]
                if n == 8192 and not kind:
                    peers = []  # nothing fused exists: the scores alone take 2 GiB
                yield attention_row(kind, causal, n, "f32", peers)
    for causal in (0, 1):
        yield attention_row(1, causal, 2048, "bf16", ["torch"])


def recurrent(root):
    """One layer of LSTM and GRU: t steps of b sequences, width h."""
    for kind, gates in (("lstm", 4), ("gru", 3)):
        for t, b, h in [(512, 1, 256), (512, 1, 1024), (128, 32, 512)]:
            yield {"name": f"{kind} T={t} B={b} H={h}", "kind": "recurrent", "cell": kind, "t": t, "b": b, "h": h,
                   "flop": 2 * t * b * gates * 2 * h * h, "peers": ["torch", "onnxruntime", "openvino"],
                   "seqm": ["tests/bench/rnn.seqm", "--entry", kind, "-D", f"H={h}", "--size", f"B={b}", "--size", f"T={t}"]}


def recurrence(root):
    """h = a h + b over n turns of c channels."""
    for n, c in [(1 << 20, 1), (1 << 16, 64), (1 << 10, 4096)]:
        yield {"name": f"recurrence {n}x{c}", "kind": "recurrence", "n": n, "c": c, "flop": 2 * n * c,
               "seqm": ["tests/bench/scans/recurrence.seqm", "-D", f"C={c}", "--size", f"N={n}"],
               "peers": ["by hand", "numba"]}


def gpt2(root):
    """GPT-2 small, random weights: 512 tokens at once, and one more behind them."""
    layers, wide, vocabulary, context = 12, 768, 50257, 512
    weights = layers * 12 * wide * wide
    base = ["examples/gpt2.seqm", "--preset", "small", "--size", f"N={context}"]
    prompt = ["--call", "generate", "--in", "max_new=1"]
    head, mix = 2 * wide * vocabulary, 4 * layers * context * wide
    for precision, options in [("f32", []), ("bf16", ["--float", "bf16"]), ("int8", ["--quantize", "int8"])]:
        yield {"name": f"gpt2 decode {precision}", "kind": "gpt2", "part": "decode", "precision": precision,
               "context": context, "flop": 2 * weights + mix + head, "seqm": base + options + prompt + ["--call", "step"],
               "peers": ["llama.cpp", "transformers"] if precision != "int8" else ["llama.cpp"]}
    for precision, options in [("f32", []), ("bf16", ["--float", "bf16"])]:
        yield {"name": f"gpt2 prefill {precision}", "kind": "gpt2", "part": "prefill", "precision": precision,
               "context": context, "flop": context * (2 * weights + mix // 2) + head, "seqm": base + options + prompt,
               "peers": ["llama.cpp", "transformers"]}


def linear_attention(root):
    """Linear attention with a decay for each of 8 heads of 64, n tokens; products of the recurrent form."""
    for n in (1024, 4096, 16384, 65536, 262144, 1048576):
        peers = ["torch", "torch compiled"] if n <= 65536 else ["torch"]
        yield {"name": f"linear attention {n}", "kind": "linear attention", "n": n, "flop": 4 * 8 * n * 64 * 64,
               "seqm": ["tests/bench/scans/linear_attention.seqm", "--size", f"N={n}"],
               "peers": peers if n <= 262144 else []}  # a million takes 8 GiB for each


def delta_rule(root):
    """The gated delta rule of 8 heads of 64, n tokens; products of the recurrent form."""
    for n in (4096, 65536):
        yield {"name": f"delta rule {n}", "kind": "delta rule", "n": n, "flop": 6 * 8 * n * 64 * 64,
               "seqm": ["tests/bench/scans/delta.seqm", "--size", f"N={n}"], "peers": ["torch"]}


def newton(root):
    """A GRU without sums between its d channels, n turns: by Newton's method, beside the same turn by turn."""
    for n in 4096, 65536:
        for d in 1, 8, 32, 128:
            command = ["tests/bench/scans/newton.seqm", "-D", f"C={d}", "--size", f"N={n}", "--entry"]
            yield {"name": f"newton {n} {d}", "kind": "newton", "flop": 0, "peers": [],
                   "seqm": command + ["newton"], "ways": {"turn by turn": command + ["turns"]}}


def minilm_start(root):
    """From the start of a process to the first embedding: of a text, linked ahead of time; of its tokens, with
    compiled code in the cache. The peers get the tokens."""
    folder, tokens = minilm_folder(root), ",".join(map(str, first.TOKENS))
    if not folder:
        return
    weights, ones = os.path.join(folder, "model.safetensors"), ",".join("1" for _ in first.TOKENS)
    text = "The quick brown fox jumps over the lazy dog near the river bank."
    peers = {p: ["{python}", "{here}/first.py", p, "{minilm}", "tokens", "{threads}"] for p in ("onnxruntime", "openvino")}
    yield {"name": "start minilm, ahead of time", "kind": "start", "flop": 0, "weights": folder, "peers": peers,
           "seqm": ["{build}/embed_aot", weights, os.path.join(folder, "vocab.txt"), text]}
    yield {"name": "start minilm, code in the cache", "kind": "start", "flop": 0, "weights": folder, "peers": peers,
           "seqm": ["{seqm}", "run", "examples/minilm.seqm", "--preset", "real", "--weights", weights, "--threads", "{threads}",
                    "--call", "forward", "--in", f"ids={tokens}", "--in", f"mask={ones}"]}


def depth(root):
    """From source, no code in the cache, to the first result of 12 and 48 blocks, and calls of each after that.
    Of the peers loading, compiling and the first call count, of seqm the whole process."""
    for layers in (12, 48):
        size, rows = ["-D", f"layers={layers}"], first.ROWS
        peers = {p: ["{python}", "{here}/first.py", p, "{blocks}/blocks.onnx", str(rows), "{threads}"]
                 for p in ("onnxruntime", "openvino")}
        yield {"name": f"first result of {layers} blocks", "kind": "start", "cold": True, "blocks": layers, "flop": 0, "peers": peers,
               "seqm": ["{seqm}", "run", "tests/bench/blocks.seqm", *size, "--weights", "{blocks}/blocks.safetensors",
                        "--threads", "{threads}", "--call", "forward", "--in", "x={blocks}/ones.npy"]}
        for n in (rows, 512):
            flop = layers * n * (2 * 12 * 512 * 512 + 4 * n * 512)
            yield {"name": f"{layers} blocks" + (f", {n} rows" if n != rows else ""), "kind": "blocks", "blocks": layers,
                   "rows": n, "flop": flop, "peers": ["onnxruntime", "openvino"],
                   "seqm": ["tests/bench/blocks.seqm", *size, "--size", f"N={n}"]}


def selective(root):
    """Mamba's selective scan alone: n tokens, 1536 channels of 16 states. An exponential counts as 12 operations."""
    for n in (512, 2048, 8192, 65536):
        yield {"name": f"selective scan {n}", "kind": "selective", "n": n, "flop": n * 1536 * (16 * (12 + 6) + 3),
               "seqm": ["tests/bench/scans/selective.seqm", "--random-weights", "1", "--size", f"N={n}"], "peers": ["by hand"]}


def lengths(root):
    """Scans whose speed should not depend on the number of turns: a selective scan of 256 channels, softmax over all
    tokens so far of 64 channels (an exponential counts as 12 operations)."""
    for n in (4096, 65536, 1048576):
        size = ["--size", f"N={n}"]
        yield {"name": f"narrow selective scan {n}", "kind": "lengths", "flop": n * 256 * (16 * (12 + 6) + 3), "peers": [],
               "seqm": ["tests/bench/scans/selective.seqm", "-D", "D=256", "--random-weights", "1", *size]}
        yield {"name": f"running softmax {n}", "kind": "lengths", "flop": n * (2 * 12 + 4 * 64), "peers": [],
               "seqm": ["examples/aaren.seqm", "--entry", "prefix", "--random-weights", "1", "--size", f"T={n}", "--size", "D=64"]}


def mamba(root):
    """Mamba of 130 million weights, random ones: 512 tokens at once, and one more behind them."""
    wide, inner, states, rank, layers, vocabulary, context = 768, 1536, 16, 48, 24, 50280, 512
    weights = layers * (3 * wide * inner + inner * (2 * rank + 2 * states))
    scan, head = layers * inner * states * 18, 2 * wide * vocabulary
    base = ["examples/mamba.seqm", "--preset", "mamba_130m", "--size", f"P={context}"]
    prompt = ["--call", "generate", "--in", "max_new=1"]
    for precision, options in [("f32", []), ("bf16", ["--float", "bf16"])]:
        for part, calls, tokens in [("decode", prompt + ["--call", "step"], 1), ("prefill", prompt, context)]:
            if (precision, part) == ("bf16", "prefill"):
                continue
            yield {"name": f"mamba {part} {precision}" if part == "decode" else f"mamba prefill {context}", "kind": "mamba",
                   "part": part, "precision": precision, "context": context, "flop": tokens * (2 * weights + scan) + head,
                   "seqm": base + options + calls, "peers": ["transformers"]}


ROWS = [matmul, matmul_bf16, minilm, attention, recurrent, recurrence, newton, linear_attention, delta_rule, selective, lengths, gpt2,
        mamba, minilm_start, depth]


def rows(root):
    return [row for make in ROWS for row in make(root)]
