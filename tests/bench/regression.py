#!/usr/bin/env python3
"""No kernel may become slow unseen: seqm against plain loops in C, both on one thread.

    regression.py --seqm BUILD/seqm --plain BUILD/plain [--source .] [NAME...]

seqm and the loops of plain.c run in turns; a row compares the best of their medians. BOUNDS are about
half of what was measured with AVX2, so that a busy machine passes and code that lost its fusion, its
tiles or its vectors does not. A row below its bound is measured twice more before it counts.
"""
import argparse
import json
import os
import subprocess
import sys

ROUNDS, SECONDS, TRIES = 4, 0.1, 3
ATTENTION = ["examples/sigmoid_attention.seqm", "--entry", "attention", "-D", "kind=1", "-D", "alibi=0",
             "-D", "heads=2", "-D", "d=128", "--size", "N=512", "--size", "dh=64", "--size", "dv=64"]
SCANS = "tests/bench/scans/"
# name, arguments of `seqm bench`, arguments of plain, at least so many times as fast
BOUNDS = [
    ("matmul", ["tests/bench/gemm.seqm", "--entry", "matmul", "-D", "N=512", "-D", "K=512", "--size", "M=512"],
     "matmul 512 512 512", 2.0),
    ("few rows", ["tests/bench/gemm.seqm", "--entry", "matmul", "-D", "N=1024", "-D", "K=1024", "--size", "M=1"],
     "matmul 1 1024 1024", 0.7),
    ("attention", ATTENTION + ["-D", "causal=0"], "attention 2 512 64 0", 2.5),
    ("causal attention", ATTENTION + ["-D", "causal=1"], "attention 2 512 64 1", 2.5),
    ("lstm", ["tests/bench/rnn.seqm", "--entry", "lstm", "-D", "H=256", "--size", "B=1", "--size", "T=64"],
     "lstm 64 256", 1.2),
    ("recurrence of one", [SCANS + "recurrence.seqm", "-D", "C=1", "--size", "N=65536"], "recurrence 65536 1", 2.5),
    ("recurrence of many", [SCANS + "recurrence.seqm", "-D", "C=1024", "--size", "N=256"], "recurrence 256 1024", 0.35),
    ("linear attention", [SCANS + "linear_attention.seqm", "-D", "H=2", "--size", "N=512"], "linear 2 512 64", 1.5),
    ("selective scan", [SCANS + "selective.seqm", "-D", "D=256", "--size", "N=256"], "selective 256 256 16", 0.8),
]


def fails(what, done):
    sys.exit(f"{what} fails: {done.stderr.strip()}")


def seqm_seconds(a, row, repeat):
    command = [a.seqm, "bench", *row, "--random-weights", "1", "--threads", "1", "--json", "--repeat", str(repeat)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=a.source, check=False)
    if done.returncode:
        fails(" ".join(command), done)
    return json.loads(done.stdout)["median_s"]


def plain_seconds(a, row):
    name, *sizes = row.split()
    done = subprocess.run([a.plain, name, str(SECONDS), *sizes], capture_output=True, text=True, check=False)
    if done.returncode:
        fails(f"plain {row}", done)
    return float(done.stdout)


def measure(a, seqm, plain):
    repeat = max(3, min(2000, int(SECONDS / seqm_seconds(a, seqm, 3))))
    pairs = [(seqm_seconds(a, seqm, repeat), plain_seconds(a, plain)) for _ in range(ROUNDS)]
    return min(p[0] for p in pairs), min(p[1] for p in pairs)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--seqm", required=True)
    p.add_argument("--plain", required=True)
    p.add_argument("--source", default=".")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    a.seqm, a.plain = os.path.abspath(a.seqm), os.path.abspath(a.plain)
    unknown = set(a.names) - {name for name, *_ in BOUNDS}
    if unknown:
        sys.exit(f"no row {', '.join(sorted(unknown))}; there are: {', '.join(name for name, *_ in BOUNDS)}")
    slow = []
    for name, seqm, plain, bound in BOUNDS:
        if a.names and name not in a.names:
            continue
        for attempt in range(TRIES):
            own, loops = measure(a, seqm, plain)
            print(f"{name}: {own * 1e6:.0f} us, plain loops {loops * 1e6:.0f} us: {loops / own:.2f} times as fast, at least {bound}",
                  flush=True)
            if loops / own >= bound:
                break
        else:
            slow.append(name)
    if slow:
        sys.exit("too slow: " + ", ".join(slow))


if __name__ == "__main__":
    main()
