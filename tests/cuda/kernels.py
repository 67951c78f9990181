#!/usr/bin/env python3
"""What NVRTC makes of the kernels of models: registers, shared memory, spills.

    kernels.py --seqm build/seqm --source . [--arch sm_80,sm_90a,sm_100] [--float bf16] [--all] [MODEL.seqm ...]

No graphics processor is needed. Without models all examples are compiled. One line a model and
architecture; with --all one line a kernel. Exit status 1 when a kernel does not compile or spills, when
products of groups of warps wait for one another where the text does not ask for it, or when the PTX sets one of
their registers behind the wgmma.fence; 77 when there is no NVRTC (a skipped test; where CI is `true` it fails).
"""
import argparse
import ctypes
import glob
import os
import re
import subprocess
import sys
import time


def libraries():
    named = os.environ.get("SEQM_NVRTC")
    if named:
        return [named]
    here = os.path.join(sys.prefix, "lib", "python3*", "site-packages", "nvidia", "cu*", "lib", "libnvrtc.so.*")
    found = [p for p in sorted(glob.glob(here)) if "alt" not in p]
    return found + ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so", "/usr/local/cuda/lib64/libnvrtc.so"]


class Nvrtc:
    def __init__(self):
        for path in libraries():
            try:
                self.lib = ctypes.CDLL(path)
                break
            except OSError:
                continue
        else:
            raise OSError("NVRTC is not here: install the CUDA toolkit or the Python package nvidia-cuda-nvrtc")
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.lib.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, source, arch):
        """The log of a compilation, its PTX, and whether it succeeded."""
        lib, program, size = self.lib, ctypes.c_void_p(), ctypes.c_size_t()
        lib.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
        options = [f"--gpu-architecture={arch}".encode(), b"--std=c++17", b"--ptxas-options=-v"]
        failed = lib.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
        lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value + 1)
        lib.nvrtcGetProgramLog(program, log)
        lib.nvrtcGetPTXSize(program, ctypes.byref(size))
        ptx = ctypes.create_string_buffer(size.value + 1)
        lib.nvrtcGetPTX(program, ptx)
        lib.nvrtcDestroyProgram(ctypes.byref(program))
        return log.value.decode(), ptx.value.decode(), not failed


def unit(words, kernels):
    return "\n".join([words["types"], words["gpu"], words["common"], kernels])


def measure(log):
    """name -> (registers, bytes of shared memory, bytes spilled)."""
    found, name, spilled = {}, None, 0
    for line in log.splitlines():
        m = re.search(r"Compiling entry function '(\w+)'", line)
        if m:
            name, spilled = m[1], 0
        m = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if m and name:
            spilled = int(m[1]) + int(m[2])
        m = re.search(r"Used (\d+) registers", line)
        if m and name:
            shared = re.search(r"(\d+) bytes smem", line)
            found[name] = (int(m[1]), int(shared[1]) if shared else 0, spilled)
            name = None
    return found


def brought(kernels, arch):
    """name -> bytes of shared memory that a launch brings, which the compiler's log does not count."""
    found = re.findall(r"^SQ_ROOM\((\d+), (\d+)\)\n(?:#endif\n)?SQ_KERNEL(?:_OF)?\((\w+),", kernels, re.M)
    return {name: int(sm_90a if arch == "sm_90a" else other) for other, sm_90a, name in found}


def late(ptx):
    """Kernels in which a register of a wgmma is set between its fence and it: undefined (PTX ISA, "wgmma.fence")."""
    found = set()
    for kernel in ptx.split(".visible .entry ")[1:]:
        after = None  # a fence: what has been set since
        for statement in re.sub(r"//.*", "", kernel).split(";"):
            if "wgmma.fence" in statement:
                after = set()
            elif "wgmma.commit_group" in statement:
                after = None
            elif after is not None and "wgmma.mma_async" in statement:
                if after & set(re.findall(r"%[a-z]+\d+", statement)):
                    found.add(kernel.split("(")[0])
            elif after is not None:
                after |= set(re.findall(r"%[fr]\d+", statement)[:1])
    return sorted(found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*")
    parser.add_argument("--seqm", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--arch", default="sm_80,sm_90a,sm_100")
    parser.add_argument("--float", default="f32", help="as of seqm")
    parser.add_argument("--all", action="store_true", help="a line a kernel")
    args = parser.parse_args()
    try:
        nvrtc = Nvrtc()
    except OSError as e:
        print(f"skipped: {e}")
        return 1 if os.environ.get("CI") == "true" else 77
    device = os.path.join(args.source, "codegen", "cuda", "device")
    words = {n: open(os.path.join(device, n + ".cuh"), encoding="utf-8").read() for n in ("types", "gpu", "common")}
    models = args.models or sorted(glob.glob(os.path.join(args.source, "examples", "*.seqm")))
    print(f"NVRTC {nvrtc.version}")
    print(f"{'model':28} {'arch':7} {'kernels':>7} {'most registers':>14} {'most shared':>11} {'spilling':>8} {'seconds':>7}")
    bad = 0
    for model in models:
        name = os.path.basename(model).removesuffix(".seqm")
        dump = subprocess.run([args.seqm, "dump", model, "--stage", "cuda", "--float", args.float], capture_output=True, text=True)
        if dump.returncode:
            print(f"{name:28} {dump.stderr.strip()}")
            bad += 1
            continue
        for arch in args.arch.split(","):
            start = time.time()
            log, ptx, ok = nvrtc.compile(unit(words, dump.stdout), arch)
            if not ok:
                print(f"{name:28} {arch:7} {log.strip()}")
                bad += 1
                continue
            room = brought(dump.stdout, arch)
            k = {n: (v[0], v[1] + room.get(n, 0), v[2]) for n, v in measure(log).items()}
            spills = [n for n in k if k[n][2]]
            print(f"{name:28} {arch:7} {len(k):7} {max((v[0] for v in k.values()), default=0):14} "
                  f"{max((v[1] for v in k.values()), default=0):11} {len(spills):8} {time.time() - start:7.1f}", flush=True)
            waits = re.findall(r"\((C75\d\d)\).*in the function '(\w+)'", log)
            for code, n in waits:
                print(f"    {n:60} wgmma one by one ({code})")
            unfenced = late(ptx)
            for n in unfenced:
                print(f"    {n:60} a register of a wgmma is set behind the fence")
            bad += len(waits) + len(unfenced)
            for n in k if args.all else spills:
                print(f"    {n:60} {k[n][0]:4} registers {k[n][1]:6} shared {k[n][2]:5} spilled")
            bad += len(spills)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
