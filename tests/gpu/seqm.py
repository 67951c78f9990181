#!/usr/bin/env python3
"""Stands for `seqm` before checkers that run models, so that they can run without the compiler.

$SEQM_GPU_DIR is a folder of shared objects, one for each model and set of constants that was asked for.
With $SEQM_GPU_MODE

    pack   a model that is not there yet is compiled into it for cuda ($SEQM_GPU_ARCH), and the command
           runs on the CPU, by $SEQM
    run    the object runs, by $SEQM_GPU_DIR/seqm_object; what other commands (`check`) printed when it
           was packed is printed again
"""
import hashlib
import os
import subprocess
import sys

WITH_VALUE = ("-D", "--preset", "--float")  # what `seqm compile` takes, the object has it
ALONE = ("--require-fused",)


def split(words):
    """The model, the words that choose its code, the words of the run."""
    model, fixed, rest, k = None, [], [], 0
    while k < len(words):
        w = words[k]
        if w in WITH_VALUE:
            fixed += words[k:k + 2]
            k += 1
        elif w in ALONE:
            fixed.append(w)
        elif w == "--target":
            k += 1
        elif w.startswith("-"):
            alone = w in ("-v", "--json", "--no-cache") or (w.startswith("--") and "=" in w)
            rest += words[k:k + (1 if alone else 2)]
            k += 0 if alone else 1
        elif model is None:
            model = w
        k += 1
    return model, fixed, rest


def key(command, model, fixed):
    parts = "/".join(model.split("/")[-2:])
    return hashlib.sha256("\0".join([command, parts, *fixed]).encode()).hexdigest()[:16]


def pack(folder, command, words):
    seqm = os.environ["SEQM"]
    model, fixed, rest = split(words)
    if command not in ("run", "bench"):
        p = subprocess.run([seqm, command, *words], capture_output=True, text=True)
        with open(os.path.join(folder, key(command, model, fixed) + ".txt"), "w", encoding="utf-8") as f:
            f.write(p.stdout)
        print(p.stdout, end="")
        return p.returncode
    path = os.path.join(folder, key("run", model, fixed) + ".so")
    if not os.path.exists(path):
        make = [seqm, "compile", model, *fixed, "--target", "cuda", "--arch", os.environ.get("SEQM_GPU_ARCH", "sm_90a"), "-o", path]
        if subprocess.run(make).returncode == 0:
            subprocess.run(["strip", path])
    if command == "bench":
        return 0
    os.execv(seqm, [seqm, command, *[w for w in words if w not in ("--target", "cuda")]])


def run(folder, command, words):
    model, fixed, rest = split(words)
    if command not in ("run", "bench"):
        with open(os.path.join(folder, key(command, model, fixed) + ".txt"), encoding="utf-8") as f:
            print(f.read(), end="")
        return 0
    path = os.path.join(folder, key("run", model, fixed) + ".so")
    program = os.path.join(folder, "seqm_object")
    if not os.path.exists(path):
        print(f"seqm: {model} {' '.join(fixed)} was not packed", file=sys.stderr)
        return 3
    os.execv(program, [program, command, path, *rest])


def main():
    folder, mode = os.environ["SEQM_GPU_DIR"], os.environ["SEQM_GPU_MODE"]
    return (pack if mode == "pack" else run)(folder, sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
