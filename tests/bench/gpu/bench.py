#!/usr/bin/env python3
"""Times seqm on a CUDA device, row by row, beside PyTorch where that is installed, and prints a table.

    bench.py --seqm build/seqm --source . [--rows PATTERN] [--seconds 60] [--no-peers]

Inputs and outputs stay on the device; a number is the median of calls, each waited for. A row that
fails or takes longer than --seconds says so, and the next one runs. The limit of a row is what the
larger of its two floors takes: operations over the device's f32 rate (by its clock), bytes that must
move over its measured copy rate.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import time


def matmul():
    for m, n, k in [(1024, 1024, 1024), (4096, 4096, 4096), (1, 4096, 4096), (16, 4096, 4096)]:
        yield {"name": f"matmul f32 {m}x{n}x{k}", "peer": ("matmul", m, n, k), "flop": 2 * m * n * k,
               "bytes": 4 * (m * n + m * k + n * k),
               "args": ["tests/bench/gemm.seqm", "-D", f"N={n}", "-D", f"K={k}", "--entry", "matmul", "--size", f"M={m}"]}


def attention():
    for kind, name in ((1, "softmax"), (0, "sigmoid")):
        for causal in (0, 1):
            for n in (1024, 4096):
                yield {"name": f"{name} attention {'causal' if causal else 'full'} f32 8x{n}x64",
                       "peer": ("attention", n, causal) if kind else None,
                       "flop": 4 * 8 * n * n * 64 // (2 if causal else 1), "bytes": 4 * 4 * 8 * n * 64,
                       "args": ["examples/sigmoid_attention.seqm", "-D", f"kind={kind}", "-D", "alibi=0", "-D", f"causal={causal}",
                                "-D", "heads=8", "-D", "d=512", "--entry", "attention", "--size", f"N={n}", "--size", "dh=64",
                                "--size", "dv=64"]}


def scans():
    yield {"name": "h = a h + b, 65536 x 4096", "flop": 2 * 65536 * 4096, "bytes": 3 * 4 * 65536 * 4096,
           "args": ["tests/bench/scans/recurrence.seqm", "-D", "C=4096", "--size", "N=65536"]}
    yield {"name": "linear attention, 4096 turns", "flop": 0, "bytes": 0,
           "args": ["tests/bench/scans/linear_attention.seqm", "--size", "N=4096"]}
    yield {"name": "selective scan, 4096 turns", "flop": 0, "bytes": 0,
           "args": ["tests/bench/scans/selective.seqm", "--size", "N=4096"]}


def models():
    yield {"name": "gpt2 (defaults) forward, 128 tokens", "flop": 0, "bytes": 0,
           "args": ["examples/gpt2.seqm", "-D", "ctx=128", "--entry", "forward", "--size", "N=128"]}


def rows():
    return [r for make in (matmul, attention, scans, models) for r in make()]


# ---- peers ---------------------------------------------------------------------------------------
class Torch:
    def __init__(self):
        import torch
        if not torch.cuda.is_available():
            raise OSError("torch sees no device")
        self.torch = torch
        torch.backends.cuda.matmul.allow_tf32 = False
        self.name = f"torch {torch.__version__}"

    def call(self, what):
        t = self.torch
        if what[0] == "matmul":
            _, m, n, k = what
            a, b = t.randn(m, k, device="cuda"), t.randn(n, k, device="cuda")
            return lambda: t.nn.functional.linear(a, b)
        _, n, causal = what
        q, k, v = (t.randn(1, 8, n, 64, device="cuda") for _ in range(3))
        return lambda: t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=bool(causal))

    def seconds(self, what):
        f, times = self.call(what), []
        for k in range(23):
            self.torch.cuda.synchronize()
            begin = time.perf_counter()
            f()
            self.torch.cuda.synchronize()
            if k >= 3:
                times.append(time.perf_counter() - begin)
        return statistics.median(times)


def peer():
    try:
        return Torch()
    except (ImportError, OSError, RuntimeError) as e:
        print(f"no peer: {e}")
        return None


# ---- the table -----------------------------------------------------------------------------------
def measure(args, row):
    command = [args.seqm, "bench", os.path.join(args.source, row["args"][0]), *row["args"][1:], "--target", "cuda", "--json",
               "--random-weights", "1"]
    try:
        p = subprocess.run(command, capture_output=True, text=True, timeout=args.seconds)
    except subprocess.TimeoutExpired:
        return None, f"more than {args.seconds} s"
    if p.returncode:
        return None, (p.stderr.strip().splitlines() or ["?"])[0][:160]
    if not p.stdout.strip():
        return None, "packed"
    return json.loads(p.stdout), None


def line(row, got, other):
    t = got["median_s"]
    floors = [row["flop"] / got["peak_flops_per_s"], row["bytes"] / got["peak_bytes_per_s"]]
    rate = f"{row['flop'] / t * 1e-12:8.2f}" if row["flop"] else " " * 8
    moved = f"{row['bytes'] / t * 1e-9:8.1f}" if row["bytes"] else " " * 8
    part = f"{100 * max(floors) / t:5.1f} %" if max(floors) > 0 else " " * 7
    beside = f"{other * 1e3:10.4f}" if other else " " * 10
    return f"{row['name']:42} {t * 1e3:10.4f} {rate} {moved} {part} {beside}"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--seqm", required=True)
    p.add_argument("--source", required=True)
    p.add_argument("--rows", default="")
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--no-peers", action="store_true")
    args = p.parse_args()
    beside = None if args.no_peers else peer()
    table, failed = [], 0
    for row in rows():
        if not re.search(args.rows, row["name"]):
            continue
        got, why = measure(args, row)
        if got is None:
            failed += why != "packed"
            table.append(f"{row['name']:42} {why}")
        else:
            other = beside.seconds(row["peer"]) if beside and row.get("peer") else None
            table.append(line(row, got, other))
        print(table[-1], flush=True)
    print(f"\n{'row':42} {'seqm, ms':>10} {'TFLOP/s':>8} {'GB/s':>8} {'limit':>7} {beside.name + ', ms' if beside else '':>10}")
    print("\n".join(table))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
