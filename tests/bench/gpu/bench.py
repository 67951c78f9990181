#!/usr/bin/env python3
"""Times seqm on a CUDA device, row by row, beside peers where they are installed, and prints a table.

    bench.py --seqm build/seqm --source . [--rows PATTERN] [--seconds 60] [--no-peers] [--triton FILE]

Inputs and outputs stay on the device; a number is the median of calls, each waited for. A row that
fails or takes longer than --seconds says so, and the next one runs. The limit of a row is what the
larger of its two floors takes: operations over the device's f32 rate (by its clock; of 16-bit factors
16 times that, what tensor cores of capabilities 8.0 and 9.0 do), bytes that must move over its measured
copy rate. --triton: the file of Triton's tutorial on fused attention, which defines `attention`.
"""
import argparse
import json
import os
import re
import subprocess

TENSOR_CORES = 16  # times the rate of f32


def matmul():
    for m, n, k in [(1024, 1024, 1024), (4096, 4096, 4096), (1, 4096, 4096), (16, 4096, 4096)]:
        for kind, size in (("f32", 4), ("bf16", 2)):
            yield {"name": f"matmul {kind} {m}x{n}x{k}", "cores": kind == "bf16",
                   "peer": ("matmul", m, n, k, "float32" if size == 4 else "bfloat16"),
                   "flop": 2 * m * n * k, "bytes": size * (m * k + n * k) + 4 * m * n,
                   "args": ["tests/bench/gemm.seqm", "-D", f"N={n}", "-D", f"K={k}", "--float", kind, "--entry", "matmul",
                            "--size", f"M={m}"]}


def attention16():
    for d in (64, 128):
        for kind in ("softmax", "sigmoid"):
            for causal in (False, True):
                for n in (2048, 4096, 8192, 16384):
                    heads = 16384 // n * 2048 // d
                    form = "causal" if causal else "full"
                    yield {"name": f"{kind} attention {form} bf16 {heads}x{n}x{d}", "cores": True,
                           "peer": ("attention", heads, n, d, causal, "bfloat16") if kind == "softmax" else None,
                           "flop": 4 * heads * n * n * d // (2 if causal else 1), "bytes": 2 * 4 * heads * n * d,
                           "args": ["tests/bench/gpu/rows.seqm", "-D", f"D={d}", "--entry", f"{kind}_{form}",
                                    "--size", f"N={n}", "--size", f"H={heads}"]}


def attention32():
    for kind, name in ((1, "softmax"), (0, "sigmoid")):
        for causal in (0, 1):
            for n in (1024, 4096):
                yield {"name": f"{name} attention {'causal' if causal else 'full'} f32 8x{n}x64",
                       "peer": ("attention", 8, n, 64, bool(causal), "float32") if kind else None,
                       "flop": 4 * 8 * n * n * 64 // (2 if causal else 1), "bytes": 4 * 4 * 8 * n * 64,
                       "args": ["examples/sigmoid_attention.seqm", "-D", f"kind={kind}", "-D", "alibi=0", "-D", f"causal={causal}",
                                "-D", "heads=8", "-D", "d=512", "--entry", "attention", "--size", f"N={n}", "--size", "dh=64",
                                "--size", "dv=64"]}


def scans():
    for n in (512, 4096, 16384, 65536):
        yield {"name": f"lightning attention bf16 32x{n}x128", "cores": True, "peer": ("lightning", 32, n, 128),
               "flop": 4 * 32 * n * 128 * 128, "bytes": 2 * 4 * 32 * n * 128,
               "args": ["tests/bench/gpu/rows.seqm", "-D", "D=128", "--entry", "lightning", "--size", f"N={n}"]}
    yield {"name": "selective scan f32 2048 x 32768 x 16", "peer": ("selective", 8, 2048, 4096, 16),
           "flop": 0, "bytes": 4 * (3 * 2048 * 32768 + 2 * 2048 * 16),
           "args": ["tests/bench/scans/selective.seqm", "-D", "D=32768", "-D", "S=16", "--size", "N=2048"]}
    yield {"name": "h = a h + b, 65536 x 4096", "flop": 2 * 65536 * 4096, "bytes": 3 * 4 * 65536 * 4096,
           "args": ["tests/bench/scans/recurrence.seqm", "-D", "C=4096", "--size", "N=65536"]}
    yield {"name": "linear attention f32 8x4096x64", "flop": 4 * 8 * 4096 * 64 * 64, "bytes": 4 * 4 * 8 * 4096 * 64,
           "args": ["tests/bench/scans/linear_attention.seqm", "--size", "N=4096"]}


def models():
    yield {"name": "gpt2 (defaults) forward, 128 tokens", "flop": 0, "bytes": 0,
           "args": ["examples/gpt2.seqm", "-D", "ctx=128", "--entry", "forward", "--size", "N=128"]}


def rows():
    return [r for make in (attention16, scans, matmul, attention32, models) for r in make()]


def peers(triton):
    try:
        from peers import Peers
        return Peers(triton)
    except (ImportError, OSError, RuntimeError) as e:
        print(f"no peers: {e}")
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


def line(row, got, others):
    t = got["median_s"]
    rate = got["peak_flops_per_s"] * (TENSOR_CORES if row.get("cores") else 1)
    floor = max(row["flop"] / rate, row["bytes"] / got["peak_bytes_per_s"])
    rate = f"{row['flop'] / t * 1e-12:8.2f}" if row["flop"] else " " * 8
    moved = f"{row['bytes'] / t * 1e-9:8.1f}" if row["bytes"] else " " * 8
    part = f"{100 * floor / t:5.1f} %" if floor > 0 else " " * 7
    best = min(others, key=others.get) if others else None
    beside = f"{others[best] * 1e3:10.4f} {others[best] / t:6.2f} x  {best}" if best else ""
    return f"{row['name']:42} {t * 1e3:10.4f} {rate} {moved} {part} {beside}".rstrip()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--seqm", required=True)
    p.add_argument("--source", required=True)
    p.add_argument("--rows", default="")
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--no-peers", action="store_true")
    p.add_argument("--triton", help="the file of Triton's tutorial on fused attention")
    args = p.parse_args()
    if not os.access(args.seqm, os.X_OK):
        raise SystemExit(f"{args.seqm} is no command: build it first")
    beside = None if args.no_peers else peers(args.triton)
    table, failed = [], 0
    for row in rows():
        if not re.search(args.rows, row["name"]):
            continue
        got, why = measure(args, row)
        if got is None:
            failed += why != "packed"
            table.append(f"{row['name']:42} {why}")
            print(table[-1], flush=True)
            continue
        others = beside.seconds(row["peer"]) if beside and row.get("peer") else {}
        table.append(line(row, got, others))
        print(table[-1], flush=True)
        for name, s in sorted(others.items(), key=lambda x: x[1]):
            print(f"    {name:38} {s * 1e3:10.4f}", flush=True)
    print(f"\n{'row':42} {'seqm, ms':>10} {'TFLOP/s':>8} {'GB/s':>8} {'limit':>7} {'best, ms':>10}   seqm is")
    print("\n".join(table))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
