#!/usr/bin/env python3
"""The examples against independent float64 references, one file a paper, through `seqm run`.

    check_papers.py --seqm build/seqm --source . [NAME ...] [--target cpu|interp|cuda-emu|cuda] [--more] [-v]

papers/NAME.py is written from the equations alone and knows nothing of seqm. It has

    CONFIGS   constants that differ from the example's defaults, one dict a configuration; the first
              few are always tested, the others with --more
    DEFAULTS  the example's constants
    weights(rng, c)   name in the checkpoint -> array, for the constants c
    check(t)          calls entries and compares; t is a Case

On the interpreter everything is float64 (`--float f64`), so what differs by more than 1e-9 is an
equation; on the CPU it is f32.
"""
import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import traceback

import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(here, "papers")]
from harness import Failed, Results, Runner, write_safetensors

FIRST = 2  # configurations that are always tested


def written(v):
    if isinstance(v, (list, tuple)):
        nested = any(isinstance(x, (list, tuple)) for x in v)
        text = ",".join(("[" + written(x) + "]") if isinstance(x, (list, tuple)) else written(x) for x in v)
        return "[" + text + "]" if nested else text
    return repr(v) if isinstance(v, float) else str(v)


def emulated(target):
    """A driver that is named is the one of the tests, whose device is the emulation."""
    return target == "cuda-emu" or (target == "cuda" and "SEQM_CUDA_DRIVER" in os.environ)


class Case:
    """One configuration of one paper: its constants `c`, its weights `w` (float64), a generator."""

    def __init__(self, results, paper, name, k, args, folder):
        self.results, self.name, self.k = results, name, k
        self.changed = paper.CONFIGS[k]
        self.c = {**paper.DEFAULTS, **self.changed}
        self.rng = np.random.default_rng([k, *name.encode()])
        self.f64 = args.target == "interp"
        self.interp = self.f64
        self.slow = self.interp or emulated(args.target)  # no place for thousands of steps
        self.tolerance = 1e-9 if self.f64 else 1e-4
        self.float = np.float64 if self.f64 else np.float32
        w = paper.weights(self.rng, self.c)
        self.w = {n: v if v.dtype.kind in "iub" else v.astype(np.float32).astype(np.float64) for n, v in w.items()}
        self.folder = folder
        self.path = os.path.join(folder, "weights.safetensors")
        self.save(self.w, self.path)
        options = ["--target", args.target]
        if self.f64:
            options += ["--float", "f64"]
        for n, v in self.changed.items():
            options += ["-D", f"{n}={written(v)}"]
        if w:
            options += ["--weights", self.path]
        self.runner = Runner(args.seqm, os.path.join(args.source, "examples", name + ".seqm"), options, folder)

    @staticmethod
    def save(w, path):
        codes = {"i": "I32", "u": "U8", "b": "BOOL", "f": "F32"}
        write_safetensors(path, {n: (v, codes[v.dtype.kind]) for n, v in w.items()})

    # ---- inputs
    def normal(self, *shape, scale=1.0):
        """Float inputs, exact in f32."""
        return (scale * self.rng.normal(size=shape)).astype(np.float32).astype(np.float64)

    def uniform(self, low, high, *shape):
        return self.rng.uniform(low, high, size=shape).astype(np.float32).astype(np.float64)

    def ids(self, below, *shape):
        return self.rng.integers(0, below, size=shape).astype(np.int32)

    # ---- calls
    def call(self, entry, outputs, **inputs):
        """One call for run(): outputs as a list or as words. Arrays of floats are given as the
        model's float, integers as i32, Python numbers and strings as literals."""
        given = {}
        for n, v in inputs.items():
            if isinstance(v, np.ndarray) and v.dtype.kind == "f":
                v = v.astype(self.float)
            elif isinstance(v, np.ndarray) and v.dtype.kind == "i" and v.dtype.itemsize > 1:
                v = v.astype(np.int32)
            elif isinstance(v, (int, float, np.integer, np.floating)):
                v = repr(v.item() if hasattr(v, "item") else v)
            given[n] = v
        return entry, given, outputs.split() if isinstance(outputs, str) else outputs

    def run(self, *calls, more=(), weights=None):
        """All calls in order on one instance; a list of dicts. `weights`: others than `w`."""
        if weights is None:
            return self.runner.run(calls, more)
        path = os.path.join(self.folder, "other.safetensors")
        self.save(weights, path)
        options = [path if o == self.path else o for o in self.runner.options]
        return Runner(self.runner.seqm, self.runner.model, options, self.folder).run(calls, more)

    def one(self, entry, output, **inputs):
        """A single output of a single call."""
        return self.run(self.call(entry, [output], **inputs))[0][output]

    def state_bytes(self, *calls):
        """What the state takes in a file after these calls."""
        path = os.path.join(self.folder, "state")
        self.run(*calls, more=["--save-state", path])
        return os.path.getsize(path)

    def scratch(self, entry):
        """The bytes that a call needs beside its state, as a formula in the sizes of its inputs."""
        constants = [x for n, v in self.changed.items() for x in ("-D", f"{n}={written(v)}")]
        p = subprocess.run([self.runner.seqm, "check", self.runner.model, *constants], capture_output=True, text=True)
        lines = p.stdout.partition("scratch memory")[2].splitlines()
        return next((x.split(": ", 1)[1] for x in lines if x.startswith(f"  {entry}: ")), p.stderr)

    # ---- results
    def label(self, text):
        return f"{self.name} {self.k} {text}"

    def near(self, text, got, want, tolerance=None):
        """Largest difference over the largest magnitude (at least 1)."""
        return self.results.near(self.label(text), np.asarray(got), want, tolerance or self.tolerance)

    def equal(self, text, got, want):
        got, want = np.asarray(got), np.asarray(want)
        return self.check(text, got.shape == want.shape and bool(np.all(got == want)), f"{got} is not {want}")

    def check(self, text, ok, detail=""):
        return self.results.check(self.label(text), ok, detail)

    def fails(self, text, *calls, status=1, says="", more=()):
        """The calls must fail with this status and a message that holds `says`."""
        code, message = self.runner.fails(calls, more)
        return self.check(text, code == status and says in message, f"status {code}: {message[-300:]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seqm", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--more", action="store_true", help="all configurations")
    parser.add_argument("-v", action="store_true")
    args = parser.parse_args()
    results = Results(args.v)
    names = args.names or sorted(f[:-3] for f in os.listdir(os.path.join(here, "papers"))
                                 if f.endswith(".py") and f != "common.py")
    for name in names:
        paper = importlib.import_module(name)
        for k in range(len(paper.CONFIGS) if args.more else min(FIRST, len(paper.CONFIGS))):
            with tempfile.TemporaryDirectory() as folder:
                case = Case(results, paper, name, k, args, folder)
                try:
                    paper.check(case)
                except Failed as e:
                    case.check("runs", False, str(e))
                except Exception:  # a mistake of the reference is a failure, too
                    case.check("runs", False, traceback.format_exc())
    return results.summary()


if __name__ == "__main__":
    sys.exit(main())
