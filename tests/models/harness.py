"""What the checkers of the models share: safetensors files written by hand, `seqm run`, counting."""
import json
import os
import struct
import subprocess

import numpy as np


# ---- safetensors ---------------------------------------------------------------------------------
def to_bf16(x):
    """The bits of the nearest bfloat16, ties to even, as uint16."""
    w = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((w + 0x7FFF + (w >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


_CODES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64,
          "I32": np.int32, "BOOL": np.bool_, "U8": np.uint8}


def rounded(x, dtype):
    """x with the values that a file of this dtype holds."""
    if dtype == "BF16":
        return from_bf16(to_bf16(x)).astype(np.float64)
    return x.astype(_CODES[dtype]).astype(np.float64)


def write_safetensors(path, tensors, metadata=None):
    """tensors: name -> (array, dtype code of the format)."""
    header, blobs, at = {}, [], 0
    if metadata:
        header["__metadata__"] = metadata
    for name, (value, dtype) in tensors.items():
        data = (to_bf16(value) if dtype == "BF16" else value.astype(_CODES[dtype])).tobytes()
        header[name] = {"dtype": dtype, "shape": list(value.shape),
                        "data_offsets": [at, at + len(data)]}
        blobs.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_shards(folder, tensors, parts):
    """Several files and an index, as large checkpoints come; returns the path of the index."""
    names, where = list(tensors), {}
    for k in range(parts):
        file = f"model-{k + 1:05d}-of-{parts:05d}.safetensors"
        mine = {n: tensors[n] for n in names[k::parts]}
        write_safetensors(os.path.join(folder, file), mine, {"format": "pt"})
        where.update({n: file for n in mine})
    path = os.path.join(folder, "model.safetensors.index.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": 1}, "weight_map": where}, f)
    return path


# ---- running -------------------------------------------------------------------------------------
class Failed(Exception):
    pass


class Runner:
    """`seqm run` with fixed options; one process makes all calls of a list, in order.

    A call is (entry, inputs, outputs): arrays go through .npy files, strings are given as they are.
    """

    def __init__(self, seqm, model, options, folder):
        self.seqm, self.model, self.options, self.folder = seqm, model, list(options), folder
        self.printed = ""

    def command(self, calls, more=()):
        command, outs = [self.seqm, "run", self.model, *self.options, *more], []
        for k, (entry, inputs, outputs) in enumerate(calls):
            command += ["--call", entry]
            for name, value in inputs.items():
                if not isinstance(value, str):
                    path = os.path.join(self.folder, f"in{k}_{name}.npy")
                    np.save(path, value)
                    value = path
                command += ["--in", f"{name}={value}"]
            outs.append({o: os.path.join(self.folder, f"out{k}_{o}.npy") for o in outputs})
            for o, path in outs[-1].items():
                command += ["--out", f"{o}={path}"]
        return command, outs

    def run(self, calls, more=()):
        command, outs = self.command(calls, more)
        p = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if p.returncode:
            raise Failed(f"{' '.join(command)}\nstatus {p.returncode}: {p.stderr[-1500:]}")
        self.printed = p.stdout
        return [{o: np.load(path) for o, path in c.items()} for c in outs]

    def fails(self, calls, more=()):
        """Status and message of a run that is meant to fail."""
        command, _ = self.command(calls, more)
        p = subprocess.run(command, capture_output=True, text=True, timeout=600)
        return p.returncode, p.stderr


# ---- counting ------------------------------------------------------------------------------------
class Results:
    def __init__(self, verbose=False):
        self.passed = self.failed = 0
        self.verbose = verbose

    def check(self, name, ok, detail=""):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
        if not ok or self.verbose:
            print(("ok   " if ok else "FAIL ") + name + (" " + detail if detail else ""), flush=True)
        return bool(ok)

    def near(self, name, got, want, tolerance):
        """Largest difference, relative to the largest magnitude (at least 1)."""
        want = np.asarray(want, np.float64)
        if got.shape != want.shape:
            return self.check(name, False, f"shape {got.shape}, not {want.shape}")
        if not want.size:
            return self.check(name, True)
        if not np.all(np.isfinite(got)):
            return self.check(name, False, "not finite")
        scale = max(1.0, float(np.max(np.abs(want))))
        worst = float(np.max(np.abs(got.astype(np.float64) - want))) / scale
        return self.check(name, worst <= tolerance, f"worst {worst:.2e}, allowed {tolerance:.0e}")

    def summary(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0
