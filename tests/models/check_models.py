#!/usr/bin/env python3
"""The example models against independent implementations (tests/models/data/), through `seqm run`.

    check_models.py --seqm build/seqm --source . minilm|gpt2|llama|mamba|rwkv|lightning ... [--target cpu] [--object]

Prints one line a check and ends with 'N passed, N failed'; exit status 1 when one failed.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("what", nargs="+")
parser.add_argument("--seqm", required=True)
parser.add_argument("--source", required=True)
parser.add_argument("--target", default="cpu")
parser.add_argument("--threads", default="2")
parser.add_argument("--object", action="store_true", help="through a compiled shared object")
args = parser.parse_args()

DATA = os.path.join(args.source, "tests", "models", "data")
results = {True: 0, False: 0}


def check(name, ok, detail=""):
    results[bool(ok)] += 1
    print(("ok   " if ok else "FAIL ") + name + (" " + detail if detail else ""), flush=True)


def load(name):
    return np.load(os.path.join(DATA, name + ".npy"))


def near(name, got, want, tolerance):
    if got.shape != want.shape:
        return check(name, False, f"shape {got.shape}, not {want.shape}")
    worst = float(np.max(np.abs(got.astype(np.float64) - want))) if got.size else 0.0
    check(name, worst <= tolerance, f"worst difference {worst:.2e}, allowed {tolerance:.0e}")


class Model:
    """One model; `run` makes all calls in one process and returns their outputs."""

    def __init__(self, name, options, folder):
        self.folder, self.options = folder, list(options)
        self.file = os.path.join(args.source, "examples", name + ".seqm")
        if args.object:
            out = os.path.join(folder, name + ".so")
            fixed = [o for o in self.options]
            weights = []
            while "--weights" in fixed:
                k = fixed.index("--weights")
                weights += fixed[k:k + 2]
                del fixed[k:k + 2]
            subprocess.run([args.seqm, "compile", self.file, *fixed, "-o", out], check=True)
            self.file, self.options = out, weights

    def run(self, calls, target=None, threads=None, expect=0):
        command = [args.seqm, "run", self.file, *self.options, "--threads", threads or args.threads]
        if not args.object:
            command += ["--target", target or args.target]
        outs = []
        for k, (entry, inputs, outputs) in enumerate(calls):
            command += ["--call", entry]
            for name, value in inputs.items():
                path = os.path.join(self.folder, f"in{k}_{name}.npy")
                np.save(path, value)
                command += ["--in", f"{name}={path}"]
            outs.append({o: os.path.join(self.folder, f"out{k}_{o}.npy") for o in outputs})
            for o, path in outs[-1].items():
                command += ["--out", f"{o}={path}"]
        p = subprocess.run(command, capture_output=True, text=True)
        if p.returncode != expect:
            raise RuntimeError(f"{' '.join(command[:4])} gave {p.returncode}: {p.stderr[-2000:]}")
        return p.stderr if expect else [{o: np.load(path) for o, path in c.items()} for c in outs]


def find_weights():
    """The folder of the public checkpoint; without it the checks are skipped, but fail in CI."""
    weights = os.environ.get("SEQM_MINILM")
    if not weights:
        weights = subprocess.run([os.path.join(args.source, "scripts", "fetch_weights.sh")],
                                 capture_output=True, text=True).stdout.strip()
    if not weights:
        if os.environ.get("CI"):
            check("minilm: the weights can be fetched", False)
        else:
            print("SKIP minilm: no weights in the cache and no network")
        return None
    return weights


def minilm(folder):
    weights = find_weights()
    if not weights:
        return
    m = Model("minilm", ["--preset", "real", "--weights", weights + "/model.safetensors"], folder)
    ids, mask, want = load("minilm_ids"), load("minilm_mask"), load("minilm_emb")
    lengths = mask.sum(1)
    rows = [k for k in range(len(lengths)) if args.target == "cpu" or lengths[k] <= 16]
    one = lambda k: ("forward", {"ids": ids[k:k + 1, :lengths[k]], "mask": mask[k:k + 1, :lengths[k]]},
                     ["emb"])
    got = m.run([one(k) for k in rows])
    for k, out in zip(rows, got):
        near(f"minilm {lengths[k]} tokens", out["emb"][0], want[k], 2e-5)
    if args.target != "cpu":
        return
    batch = m.run([("forward", {"ids": ids, "mask": mask}, ["emb"])])[0]["emb"]
    near("minilm batch, padded", batch, want, 2e-5)
    rng = np.random.default_rng(1)
    other = np.where(mask == 0, rng.integers(0, 30522, ids.shape), ids).astype(np.int32)
    again = m.run([("forward", {"ids": other, "mask": mask}, ["emb"])])[0]["emb"]
    check("minilm padding content is irrelevant", np.array_equal(batch, again))
    for threads in ("1", "2", "7"):
        t = m.run([("forward", {"ids": ids[:9], "mask": mask[:9]}, ["emb"])] * 2, threads=threads)
        if threads == "1":
            first = t[0]["emb"]
        check(f"minilm same bits with {threads} threads, twice",
              np.array_equal(t[0]["emb"], first) and np.array_equal(t[1]["emb"], first))
    a = {"ids": ids[:5, :12], "mask": mask[:5, :12]}
    sim = m.run([("similarity", {"ids_a": a["ids"], "mask_a": a["mask"], "ids_b": a["ids"],
                                 "mask_b": a["mask"]}, ["sim"])])[0]["sim"]
    near("minilm similarity diagonal", np.diag(sim), np.ones(5), 1e-5)
    check("minilm similarity symmetric", np.allclose(sim, sim.T, atol=1e-6))
    near("minilm norms", np.linalg.norm(batch, axis=1), np.ones(len(batch)), 1e-5)


def language_model(name, file, options, folder):
    m = Model(file, [*options, "--weights", os.path.join(DATA, name + ".safetensors")], folder)
    ids, want, greedy = load(name + "_ids"), load(name + "_logits"), load(name + "_greedy")
    scalar = lambda v: np.array(v, np.int32)
    out = m.run([("forward", {"ids": ids}, ["logits"]), ("loss", {"ids": ids}, ["loss"])])
    near(f"{name} forward", out[0]["logits"], want, 1e-4)
    near(f"{name} loss", out[1]["loss"], load(name + "_loss").reshape(()), 1e-4)
    steps = m.run([("step", {"id": scalar(t)}, ["logits"]) for t in ids])
    near(f"{name} step after step", np.stack([s["logits"] for s in steps]), want, 1e-4)
    again = m.run([("step", {"id": scalar(ids[0])}, []), ("reset", {}, [])] +
                  [("step", {"id": scalar(t)}, ["logits"]) for t in ids])[2:]
    check(f"{name} reset then the same bits",
          all(np.array_equal(a["logits"], b["logits"]) for a, b in zip(steps, again)))
    out = m.run([("generate", {"prompt": ids[:5], "max_new": scalar(12)}, ["ids"]),
                 ("step", {"id": greedy[-1:].reshape(())}, ["logits"])])
    check(f"{name} generate", np.array_equal(out[0]["ids"], greedy), str(out[0]["ids"]))
    full = m.run([("forward", {"ids": np.concatenate([ids[:5], greedy])}, ["logits"])])[0]["logits"]
    near(f"{name} step after generate", out[1]["logits"], full[-1], 1e-4)
    none = m.run([("generate", {"prompt": ids[:1], "max_new": scalar(0)}, ["ids"])])[0]["ids"]
    check(f"{name} generate nothing", none.shape == (0,))
    changed = ids.copy()
    changed[6] = (changed[6] + 1) % 64
    f = m.run([("forward", {"ids": changed}, ["logits"]), ("forward", {"ids": ids}, ["logits"])])
    check(f"{name} causal, bit for bit", np.array_equal(f[0]["logits"][:6], f[1]["logits"][:6]) and
          all(not np.array_equal(f[0]["logits"][k], f[1]["logits"][k]) for k in range(6, 11)))
    if args.target == "cpu":
        for threads in ("1", "2", "7"):
            t = m.run([("forward", {"ids": ids}, ["logits"])] * 2, threads=threads)
            check(f"{name} same bits with {threads} threads, twice",
                  all(np.array_equal(x["logits"], f[1]["logits"]) for x in t))
    error = m.run([("step", {"id": scalar(64)}, [])], expect=1)
    check(f"{name} token out of range says so", "64" in error and "range" in error, error.strip()[:160])
    return m, ids, want


def gpt2(folder):
    m, ids, want = language_model("gpt2", "gpt2", [], folder)
    error = m.run([("step", {"id": np.array(1, np.int32)}, [])] * 49, expect=1)
    check("gpt2 full context says so", "full" in error, error.strip()[:160])


def llama(folder):
    m, ids, want = language_model("llama", "llama", [], folder)
    split = m.run([("prefill", {"ids": ids[:4]}, ["logits"]), ("prefill", {"ids": ids[4:9]}, ["logits"]),
                   ("prefill", {"ids": ids[9:]}, ["logits"])])
    near("llama prefill in parts", np.stack([s["logits"] for s in split]), want[[3, 8, 10]], 1e-4)
    language_model("llama_scaled", "llama",
                   ["-D", "head_dim=12", "-D", "tie=1", "-D", "rope_factor=8", "-D", "rope_orig=64"],
                   folder)


def recurrent(name, options, folder):
    """A checkpoint as Hugging Face writes it: forward, greedy continuation, and step after step."""
    m = Model(name, options + ["--weights", os.path.join(DATA, name + ".safetensors")], folder)
    ids, want, greedy = load(name + "_ids"), load(name + "_logits"), load(name + "_greedy")
    scalar = lambda v: np.array(v, np.int32)
    out = m.run([("forward", {"tokens": ids}, ["logits"]),
                 ("generate", {"prompt": ids[:5], "max_new": scalar(12)}, ["tokens"]), ("reset", {}, [])] +
                [("step", {"token": scalar(t)}, ["logits"]) for t in ids])
    near(f"{name} forward", out[0]["logits"], want, 1e-4)
    check(f"{name} generate", np.array_equal(out[1]["tokens"], greedy), str(out[1]["tokens"]))
    near(f"{name} step after step", np.stack([s["logits"] for s in out[3:]]), want, 1e-4)


def mamba(folder):
    recurrent("mamba", ["-D", "d=24", "-D", "d_state=6", "-D", "dt_rank=3"], folder)


def rwkv(folder):
    recurrent("rwkv", ["-D", "d=24"], folder)


def lightning(folder):
    """The lightning attention of a layer of MiniMax."""
    m = Model("lightning_attention", [], folder)
    got = m.run([("attention", {n: load("minimax_" + n) for n in ("q", "k", "v", "slope")}, ["o"])])
    near("lightning attention", got[0]["o"], load("minimax_o"), 3e-5)


def host(folder):
    """The host programs: embed_aot links the compiled object; semantic_search compiles in process."""
    weights = find_weights()
    if not weights:
        return
    build = os.path.dirname(os.path.abspath(args.seqm))
    files = [weights + "/model.safetensors", weights + "/vocab.txt"]
    with open(os.path.join(DATA, "minilm_texts.txt"), encoding="utf-8") as f:
        texts = f.read().splitlines()
    p = subprocess.run([os.path.join(build, "embed_aot"), *files, *texts], capture_output=True, text=True)
    check("embed_aot runs", p.returncode == 0, p.stderr[-300:])
    got = np.array([[float(x) for x in line.split()] for line in p.stdout.splitlines()])
    near("embed_aot: texts to vectors, tokeniser and all", got, load("minilm_emb"), 2e-5)
    search = [os.path.join(build, "semantic_search"), "--model",
              os.path.join(args.source, "examples", "minilm.seqm"), "--weights", files[0], "--vocab", files[1]]
    text = os.path.join(folder, "facts.txt")
    with open(text, "w", encoding="utf-8") as f:
        f.write("The cat sleeps on the warm windowsill all afternoon long.\n\n"
                "Interest rates were raised by the central bank last Tuesday.\n\n"
                "Photosynthesis turns light, water and carbon dioxide into sugar.\n")
    for question, answer in (("How do plants make food?", "Photosynthesis"),
                             ("monetary policy", "Interest rates"), ("a drowsy pet", "cat sleeps")):
        p = subprocess.run([*search, "--top", "1", question, text], capture_output=True, text=True)
        check(f"semantic_search: {question}", p.returncode == 0 and answer in p.stdout,
              (p.stdout + p.stderr).strip()[:200])
    p = subprocess.run([*search[:-3], text, *search[-2:], "q", text], capture_output=True, text=True)
    check("semantic_search: bad weights are a message", p.returncode == 1 and "safetensors" in p.stderr,
          p.stderr[:200])


for what in args.what:
    with tempfile.TemporaryDirectory() as folder:
        try:
            {"minilm": minilm, "host": host, "gpt2": gpt2, "llama": llama, "mamba": mamba, "rwkv": rwkv,
             "lightning": lightning}[what](folder)
        except Exception as error:  # a crash of one model must not hide the others
            check(what, False, repr(error))
print(f"{results[True]} passed, {results[False]} failed")
sys.exit(1 if results[False] else 0)
