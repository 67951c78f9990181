#!/usr/bin/env python3
"""How long a user waits for the first result of every example, at the tiny size of the gallery.

    first_result.py --seqm BUILD/seqm [--source .] [--target cpu] [--runs 5] [--check] [NAME...]

Runs the command of each row of examples/README.md as a whole process: cold with an empty cache of
compiled code, warm with the cache that the cold run left. Prints a Markdown table of medians, in
seconds; with --check the exit status is 1 when an example needs more than LIMITS.
"""

import argparse
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

LIMITS = {"cpu": (2.0, 0.1), "cuda-emu": (60.0, 5.0)}  # cold, warm


def commands(source):
    with open(os.path.join(source, "examples", "README.md"), encoding="utf-8") as f:
        for row in f:
            m = re.match(r"\| `(\w+)\.seqm` \|.*\| `(\w+\.seqm .*)` \|$", row.rstrip())
            if m:
                yield m[1], m[2]


def seconds(seqm, source, command, cache):
    start = time.monotonic()
    r = subprocess.run([seqm, "run"] + shlex.split(command), cwd=os.path.join(source, "examples"),
                       env=dict(os.environ, XDG_CACHE_HOME=cache), check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    end = time.monotonic()
    if r.returncode:
        sys.exit(f"`seqm run {command}` fails: {r.stderr.strip()}")
    return end - start


def measure(seqm, source, command, runs):
    cold, warm = [], []
    for _ in range(max(1, runs // 2)):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(seconds(seqm, source, command, cache))
            for _ in range(2):
                warm.append(seconds(seqm, source, command, cache))
    return statistics.median(cold), statistics.median(warm)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seqm", required=True)
    parser.add_argument("--source", default=".")
    parser.add_argument("--target", default="cpu", choices=LIMITS)
    parser.add_argument("--runs", type=int, default=5, help="warm runs, about")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if not os.access(args.seqm, os.X_OK):
        sys.exit(f"{args.seqm} is no command: build it first")
    limits = LIMITS[args.target]
    rows = [(n, f"{c} --target {args.target}") for n, c in commands(args.source)
            if not args.names or n in args.names]
    if not rows:
        sys.exit("no such example in examples/README.md")
    late = 0
    print("| example | cold | warm |\n|---|---|---|")
    for name, command in rows:
        got = measure(os.path.abspath(args.seqm), args.source, command, args.runs)
        over = any(t > most for t, most in zip(got, limits))
        late += over
        print(f"| {name} | {got[0]:.2f} | {got[1]:.3f} |{' more than the limit' if over else ''}",
              flush=True)
    if args.check and late:
        sys.exit(f"{late} examples need more than {limits[0]} s cold or {limits[1]} s warm")


if __name__ == "__main__":
    main()
