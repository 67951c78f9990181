#!/usr/bin/env python3
"""minilm, gpt2 and llama at many sizes against reference.py, through `seqm run`.

    check_sizes.py --seqm build/seqm --source . [minilm|gpt2|llama ...] [--count 25] [--first 0]
                   [--target cpu|interp] [--float f32|f64|bf16] [--object] [-v]

Configuration k of a model is drawn with the seed k: sizes, ways to write them on the command line,
dtypes of the weights, files and shards, names with and without prefixes, names that no one uses.
Every entry of it is compared, and the properties that hold exactly are tested. `limits` tests the
edges: what must fail, with which status, and what an empty or a full context gives.
"""
import argparse
import math
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import reference
from harness import Failed, Results, Runner, from_bf16, rounded, write_safetensors, write_shards

parser = argparse.ArgumentParser()
parser.add_argument("what", nargs="*", default=["minilm", "gpt2", "llama", "limits"])
parser.add_argument("--seqm", required=True)
parser.add_argument("--source", required=True)
parser.add_argument("--count", type=int, default=25)
parser.add_argument("--first", type=int, default=0)
parser.add_argument("--target", default="cpu")
parser.add_argument("--float", default="f32")
parser.add_argument("--object", action="store_true", help="through a compiled shared object")
parser.add_argument("-v", action="store_true")
args = parser.parse_args()

results = Results(args.v)
check, near = results.check, results.near
TOLERANCE = {"f32": 1e-4, "f64": 1e-9, "bf16": 0.1}[args.float]
NARROW = 0.6  # bf16 with few columns: a norm over four rounded numbers


def allowed(c):
    return NARROW if args.float == "bf16" and c["d"] < 16 else TOLERANCE


i32 = lambda v: np.array(v, np.int32)


def value(got):
    """An output as numbers: bf16 travels as <u2."""
    return from_bf16(got).astype(np.float64) if got.dtype == np.uint16 else got


# ---- configurations ------------------------------------------------------------------------------
def written(rng, v):
    """A number in one of the ways that -D takes."""
    if isinstance(v, float):
        return str(rng.choice([repr(v), f"{v:.17g}", f"{v:e}"])) if v != int(v) else f"{v:.1f}"
    return f"{v}.0" if rng.random() < 0.2 else str(v)


def defines(rng, constants, defaults):
    out = []
    for name, v in constants.items():
        if v != defaults[name] or rng.random() < 0.3:
            out += ["-D", f"{name}={written(rng, v)}"]
    return out


def some(rng, *values):
    return values[rng.integers(len(values))]


def matrix(rng, *shape):
    return rng.normal(size=shape) * some(rng, 0.7, 1.0, 1.4) / math.sqrt(shape[-1])


def norm_weights(rng, name, d, bias=True):
    out = {name + ".weight": 1 + 0.2 * rng.normal(size=d)}
    if bias:
        out[name + ".bias"] = 0.2 * rng.normal(size=d)
    return out


def minilm_case(rng):
    heads = some(rng, 1, 2, 3, 4, 5, 8)
    d = heads * some(rng, 1, 2, 3, 4, 7, 8, 16, 20)
    c = dict(vocab=some(rng, 2, 17, 64, 129), d=d, heads=heads, layers=some(rng, 1, 2, 3, 5),
             ffn=some(rng, 1, 5, 31, 64, 100), max_pos=some(rng, 1, 7, 40, 53, 70),
             types=some(rng, 1, 2, 3), eps=some(rng, 1e-12, 1e-5, 1e-7))
    w = {"embeddings.word_embeddings.weight": rng.normal(size=(c["vocab"], d)),
         "embeddings.position_embeddings.weight": 0.5 * rng.normal(size=(c["max_pos"], d)),
         "embeddings.token_type_embeddings.weight": 0.5 * rng.normal(size=(c["types"], d))}
    w.update(norm_weights(rng, "embeddings.LayerNorm", d))
    for i in range(c["layers"]):
        p = f"encoder.layer.{i}."
        for name, o, n in (("attention.self.query", d, d), ("attention.self.key", d, d),
                           ("attention.self.value", d, d), ("attention.output.dense", d, d),
                           ("intermediate.dense", c["ffn"], d), ("output.dense", d, c["ffn"])):
            w[p + name + ".weight"] = matrix(rng, o, n)
            w[p + name + ".bias"] = 0.2 * rng.normal(size=o)
        w.update(norm_weights(rng, p + "attention.output.LayerNorm", d))
        w.update(norm_weights(rng, p + "output.LayerNorm", d))
    unused = {"embeddings.position_ids": (np.arange(c["max_pos"])[None], "I64"),
              "pooler.dense.weight": (rng.normal(size=(d, d)), "F32")}
    return c, dict(vocab=64, d=32, heads=4, layers=2, ffn=64, max_pos=40, types=2, eps=1e-12), w, unused


def gpt2_case(rng):
    heads = some(rng, 1, 2, 3, 4, 6)
    d = heads * some(rng, 1, 2, 4, 5, 8, 13, 16)
    c = dict(vocab=some(rng, 1, 2, 31, 64, 97, 200), d=d, heads=heads, layers=some(rng, 1, 2, 3, 5),
             ctx=some(rng, 2, 5, 13, 31, 48, 64), eps=some(rng, 1e-5, 1e-6, 0.001))
    w = {"wte.weight": rng.normal(size=(c["vocab"], d)), "wpe.weight": rng.normal(size=(c["ctx"], d))}
    w.update(norm_weights(rng, "ln_f", d))
    for i in range(c["layers"]):
        p = f"h.{i}."
        w.update(norm_weights(rng, p + "ln_1", d))
        w.update(norm_weights(rng, p + "ln_2", d))
        for name, n, o in (("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d),
                           ("mlp.c_fc", d, 4 * d), ("mlp.c_proj", 4 * d, d)):
            w[p + name + ".weight"] = matrix(rng, o, n).T.copy()
            w[p + name + ".bias"] = 0.2 * rng.normal(size=o)
    unused = {f"h.{i}.attn.bias": (np.tril(np.ones((1, 1, c["ctx"], c["ctx"]))), "F32")
              for i in range(c["layers"])}
    unused["h.0.attn.masked_bias"] = (np.array(-1e4), "F32")
    return c, dict(vocab=64, d=32, heads=4, layers=2, ctx=48, eps=1e-5), w, unused


def llama_case(rng):
    groups = some(rng, 1, 2, 3, 4)
    heads = groups * some(rng, 1, 2, 3)
    c = dict(vocab=some(rng, 2, 31, 64, 101, 190), d=some(rng, 4, 7, 16, 32, 33, 60), heads=heads,
             kv_heads=groups, head_dim=some(rng, 2, 4, 6, 8, 12, 20), layers=some(rng, 1, 2, 3, 5),
             ffn=some(rng, 1, 13, 48, 80), eps=some(rng, 1e-5, 1e-6),
             rope_theta=some(rng, 10000, 500000, 1000000.0, 100.0), tie=some(rng, 0, 1),
             rope_factor=some(rng, 1, 1.0, 8, 32.0, 2.5), rope_low=some(rng, 1, 1.0, 0.5),
             rope_high=some(rng, 4, 4.0, 3.5), rope_orig=some(rng, 8192, 64, 16, 32.0),
             max_len=some(rng, 0, 0, 40, 64))
    d, hd = c["d"], c["head_dim"]
    w = {"model.embed_tokens.weight": rng.normal(size=(c["vocab"], d))}
    w.update(norm_weights(rng, "model.norm", d, bias=False))
    for i in range(c["layers"]):
        p = f"model.layers.{i}."
        w.update(norm_weights(rng, p + "input_layernorm", d, bias=False))
        w.update(norm_weights(rng, p + "post_attention_layernorm", d, bias=False))
        for name, o, n in (("self_attn.q_proj", heads * hd, d), ("self_attn.k_proj", groups * hd, d),
                           ("self_attn.v_proj", groups * hd, d), ("self_attn.o_proj", d, heads * hd),
                           ("mlp.gate_proj", c["ffn"], d), ("mlp.up_proj", c["ffn"], d),
                           ("mlp.down_proj", d, c["ffn"])):
            w[p + name + ".weight"] = matrix(rng, o, n)
    unused = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": (rng.normal(size=hd // 2), "F32")
              for i in range(c["layers"])}
    if not c["tie"]:
        w["lm_head.weight"] = rng.normal(size=(c["vocab"], d))
    elif rng.random() < 0.5:
        unused["lm_head.weight"] = (rng.normal(size=(c["vocab"], d)), "F32")
    defaults = dict(vocab=64, d=32, heads=4, kv_heads=2, head_dim=8, layers=2, ffn=48, eps=1e-5,
                    rope_theta=10000, tie=0, rope_factor=1, rope_low=1, rope_high=4, rope_orig=8192,
                    max_len=0)
    return c, defaults, w, unused


CASES = {"minilm": minilm_case, "gpt2": gpt2_case, "llama": llama_case}
REFERENCES = {"minilm": reference.Minilm, "gpt2": reference.Gpt2, "llama": reference.Llama}


def store(rng, folder, model, weights, unused):
    """Writes the weights in one of the usual forms; returns options and the values that are in the
    files."""
    kind = some(rng, "F32", "F32", "F32", "F64", "F16", "BF16", "mixed")
    code = {n: some(rng, "F32", "F16", "BF16", "F64") if kind == "mixed" else kind for n in weights}
    prefix = "transformer." if model == "gpt2" and rng.random() < 0.5 else ""
    tensors = {prefix + n: (v, code[n]) for n, v in weights.items()}
    if rng.random() < 0.6:
        tensors.update({prefix + n: v for n, v in unused.items()})
    names = list(tensors)
    rng.shuffle(names)
    tensors = {n: tensors[n] for n in names}
    form = some(rng, "one", "one", "shards", "two")
    if form == "one":
        path = os.path.join(folder, "w.safetensors")
        write_safetensors(path, tensors, {"format": "pt"} if rng.random() < 0.5 else None)
        options = ["--weights", path]
    elif form == "shards":
        options = ["--weights", write_shards(folder, tensors, min(3, len(names)))]
    else:
        options = []
        for k in range(2):
            path = os.path.join(folder, f"w{k}.safetensors")
            write_safetensors(path, {n: tensors[n] for n in names[k::2]})
            options += ["--weights", path]
    exact = {n: rounded(v, code[n]) for n, v in weights.items()}
    if args.float == "f32":  # a wider file is rounded on load
        exact = {n: v.astype(np.float32).astype(np.float64) for n, v in exact.items()}
    elif args.float == "bf16":
        exact = {n: rounded(v, "BF16") for n, v in exact.items()}
    return options, exact


def open_case(model, seed, folder):
    rng = np.random.default_rng([seed, list(CASES).index(model)])
    c, defaults, weights, unused = CASES[model](rng)
    options, exact = store(rng, folder, model, weights, unused)
    fixed = defines(rng, c, defaults) + ["--float", args.float]
    file = os.path.join(args.source, "examples", model + ".seqm")
    run = ["--threads", str(some(rng, 1, 2, 3))]
    if args.object:
        out = os.path.join(folder, model + ".so")
        subprocess.run([args.seqm, "compile", file, *fixed, "-o", out], check=True)
        file = out
    else:
        run += fixed + ["--target", args.target]
    name = f"{model} {seed} " + " ".join(f"{k}={v}" for k, v in c.items())
    return rng, c, REFERENCES[model](exact, c), Runner(args.seqm, file, run + options, folder), name


# ---- what is compared ----------------------------------------------------------------------------
def lengths(rng, most):
    return sorted({int(n) for n in (1, most, some(rng, 2, 3, 5, 7, 11, 13, 17, 23, 29, 31), rng.integers(
        1, most + 1)) if 1 <= n <= most})


def token_ids(rng, c, *shape):
    return rng.integers(0, c["vocab"], shape).astype(np.int32)


def random_mask(rng, batch, n):
    m = (rng.random((batch, n)) < some(rng, 0.5, 0.8, 1.0)).astype(np.int32)
    if rng.random() < 0.6:  # padding at the end
        m = (np.arange(n) < rng.integers(1, n + 1, (batch, 1))).astype(np.int32)
    m[np.arange(batch), rng.integers(0, n, batch)] = 1
    return m


def minilm(seed, folder):
    rng, c, ref, seqm, name = open_case("minilm", seed, folder)
    calls, wants = [], []
    shapes = [(some(rng, 1, 1, 2, 3, 5), n) for n in lengths(rng, c["max_pos"])]
    for batch, n in shapes:
        ids, mask = token_ids(rng, c, batch, n), random_mask(rng, batch, n)
        calls += [("hidden", dict(ids=ids, mask=mask), ["h"]), ("forward", dict(ids=ids, mask=mask), ["emb"])]
        wants += [("h", ref.hidden(ids, mask)), ("emb", ref.forward(ids, mask))]
    (a, n), (b, m) = shapes[-1], shapes[0]
    left = dict(ids_a=token_ids(rng, c, a, n), mask_a=random_mask(rng, a, n))
    right = dict(ids_b=token_ids(rng, c, b + 1, m), mask_b=random_mask(rng, b + 1, m))
    calls.append(("similarity", {**left, **right}, ["sim"]))
    wants.append(("sim", ref.similarity(*left.values(), *right.values())))
    calls.append(("similarity", {**left, "ids_b": left["ids_a"], "mask_b": left["mask_a"]}, ["sim"]))
    wants.append(("sim", ref.similarity(*left.values(), *left.values())))
    # the last batch again: other content under the mask, rows in another order, cut to its length
    ids, mask = left["ids_a"], left["mask_a"]
    other = np.where(mask == 0, token_ids(rng, c, a, n), ids)
    order = rng.permutation(a)
    tail = np.zeros_like(mask)
    tail[:, :max(1, n // 2)] = 1
    cut = max(1, n // 2)
    calls += [("forward", dict(ids=ids, mask=mask), ["emb"]), ("forward", dict(ids=other, mask=mask), ["emb"]),
              ("forward", dict(ids=ids[order], mask=mask[order]), ["emb"]),
              ("forward", dict(ids=ids, mask=tail), ["emb"]),
              ("forward", dict(ids=ids[:, :cut], mask=tail[:, :cut]), ["emb"])]
    out = seqm.run(calls)
    for (entry, inputs, _), (key, want), got in zip(calls, wants, out):
        near(f"{name}: {entry} {[v.shape for v in inputs.values()][0]}", value(got[key]), want, allowed(c))
    same, changed, permuted, padded, trimmed = (value(o["emb"]) for o in out[-5:])
    check(name + ": padding content is irrelevant", np.array_equal(same, changed))
    near(name + ": the batch permuted", permuted, same[order], allowed(c))
    near(name + ": padding length is irrelevant", trimmed, padded, allowed(c))
    near(name + ": norms", np.linalg.norm(same, axis=1), np.ones(a), allowed(c))
    own = value(out[-6]["sim"])
    near(name + ": diagonal", np.diag(own), np.ones(a), allowed(c))
    near(name + ": symmetric", own, own.T, allowed(c))


def greedy_ok(ref, prompt, got, vocab):
    """Every id is the lowest largest logit after those before it, up to rounding."""
    if len(got) == 0:
        return True
    z = ref.forward(np.concatenate([prompt, got[:-1]]).astype(np.int64))[len(prompt) - 1:]
    room = allowed(ref.c) * max(1.0, float(np.abs(z).max()))
    return all(0 <= g < vocab and row[g] >= row.max() - room for g, row in zip(got, z))


def steps(ids):
    return [("step", {"id": i32(t)}, ["logits"]) for t in ids]


def decoder(model, seed, folder):
    rng, c, ref, seqm, name = open_case(model, seed, folder)
    most = c["ctx"] if model == "gpt2" else c["max_len"] or 40
    calls, wants = [], []
    for n in lengths(rng, most):
        ids = token_ids(rng, c, n)
        z = ref.forward(ids)
        calls += [("forward", dict(ids=ids), ["logits"]), ("loss", dict(ids=ids), ["loss"])]
        wants += [z, ref.loss(ids)]
    n = int(rng.integers(1, most + 1))
    ids = token_ids(rng, c, n)
    z = ref.forward(ids)
    calls += [("reset", {}, [])] + steps(ids)
    wants += [None, *z]
    if model == "llama":
        for _ in range(2):  # prefill in random parts, with steps between
            calls.append(("reset", {}, []))
            wants.append(None)
            at = 0
            while at < n:
                k = int(rng.integers(1, n - at + 1))
                if rng.random() < 0.3:
                    calls += steps(ids[at:at + 1])
                    k = 1
                else:
                    calls.append(("prefill", dict(ids=ids[at:at + k]), ["logits"]))
                at += k
                wants.append(z[at - 1])
    # generate; a forward between shows that stateless entries leave the cache alone
    for total in {2, int(rng.integers(2, most + 2)), most + 1}:
        p = int(rng.integers(1, min(total, most + 1)))
        calls.append(("generate", dict(prompt=token_ids(rng, c, p), max_new=i32(total - p)), ["ids"]))
        wants.append(None)
    calls += [("reset", {}, []), ("generate", dict(prompt=ids[:1], max_new=i32(min(4, most))), ["ids"]),
              ("forward", dict(ids=ids), ["logits"])]
    wants += [None, None, z]
    out = seqm.run(calls)
    for (entry, inputs, outputs), want, got in zip(calls, wants, out):
        label = f"{name}: {entry} " + " ".join(f"{v.shape}" for v in inputs.values())
        if entry == "generate":
            new = got["ids"]
            check(label, len(new) == inputs["max_new"] and
                  greedy_ok(ref, inputs["prompt"], new, c["vocab"]), str(new))
        elif outputs:
            near(label, value(got[outputs[0]]), want, allowed(c))
    # after generate the cache holds the prompt and all new ids but the last
    new = out[-2]["ids"]
    if len(new) and 1 + len(new) <= most:
        after = seqm.run([*calls[-2:-1], *steps(new[-1:])])[-1]["logits"]
        want = ref.forward(np.concatenate([ids[:1], new]))[-1]
        near(name + ": step after generate", value(after), want, allowed(c))
    # causality, bit for bit, on the whole context
    if c["vocab"] > 1 and most > 1:
        ids = token_ids(rng, c, most)
        j = int(rng.integers(0, most))
        changed = ids.copy()
        changed[j] = (changed[j] + 1) % c["vocab"]
        a, b = (o["logits"] for o in seqm.run([("forward", dict(ids=v), ["logits"]) for v in (ids, changed)]))
        check(name + f": nothing before {j} changes", np.array_equal(a[:j], b[:j]))
        differ = [not np.array_equal(a[k], b[k]) for k in range(j, most)]
        narrow = args.float == "bf16" or c["d"] < 8 or c["vocab"] < 8  # may agree by rounding
        check(name + f": everything from {j} changes", narrow or all(differ))


# ---- edges ---------------------------------------------------------------------------------------
def fails(name, seqm, calls, words, status=1, more=()):
    rc, err = seqm.fails(calls, more)
    check(name, rc == status and all(w in err for w in words), f"status {rc}: {err.strip()[:300]}")


def plain(model, constants, folder, scale=1.0, seed=3):
    """A model with the weights of a case, all scaled; f32, one file."""
    rng = np.random.default_rng(seed)
    while True:
        c, defaults, weights, _ = CASES[model](rng)
        if all(c[k] == v for k, v in constants.items() if k in c):
            break
    weights = {n: scale * v for n, v in weights.items()}
    path = os.path.join(folder, "w.safetensors")
    write_safetensors(path, {n: (v, "F32") for n, v in weights.items()})
    exact = {n: rounded(v, "F32") for n, v in weights.items()}
    options = ["--weights", path, "--target", args.target]
    for k, v in c.items():
        options += ["-D", f"{k}={v}"]
    file = os.path.join(args.source, "examples", model + ".seqm")
    return c, exact, Runner(args.seqm, file, options, folder)


def limits_of_decoder(model, folder):
    c, exact, seqm = plain(model, {"ctx": 13, "vocab": 31} if model == "gpt2" else {"max_len": 40, "vocab": 31},
                           folder)
    ref, most = REFERENCES[model](exact, c), c.get("ctx") or c["max_len"]
    ids = token_ids(np.random.default_rng(1), c, most + 1)
    fails(f"{model}: a step beyond the context", seqm, steps(ids), ["full"])
    out = seqm.run(steps(ids[:most]))
    near(f"{model}: the last step that fits", out[-1]["logits"], ref.forward(ids[:most])[-1], TOLERANCE)
    fails(f"{model}: generate beyond the context", seqm,
          [("generate", dict(prompt=ids[:most], max_new=i32(2)), ["ids"])], ["full"])
    for bad in (c["vocab"], -1, 2**31 - 1, -2**31):
        for entry, inputs in (("step", {"id": i32(bad)}), ("forward", {"ids": i32([0, bad])}),
                              ("loss", {"ids": i32([0, bad])}), ("loss", {"ids": i32([bad, 0])}),
                              ("generate", {"prompt": i32([bad]), "max_new": i32(1)})):
            fails(f"{model}: {entry} with token {bad}", seqm, [(entry, inputs, [])], [str(bad), "range"])
    if model == "gpt2":
        fails("gpt2: forward longer than ctx", seqm, [("forward", dict(ids=ids), [])], ["longer", "14"])
        fails("gpt2: loss longer than ctx", seqm, [("loss", dict(ids=ids), [])], ["longer", "14"])
        fails("gpt2: generate with a prompt longer than ctx", seqm,
              [("generate", dict(prompt=ids, max_new=i32(1)), [])], ["full"])
    else:
        fails("llama: prefill beyond max_len", seqm, [("prefill", dict(ids=ids), [])], ["full"])
        near("llama: forward does not know max_len",
             seqm.run([("forward", dict(ids=ids), ["logits"])])[0]["logits"], ref.forward(ids), TOLERANCE)
        fails("llama: prefill of nothing", seqm, [("prefill", dict(ids=ids[:0]), [])], [])
    none = seqm.run([("forward", dict(ids=ids[:0]), ["logits"])])[0]["logits"]
    check(f"{model}: forward of nothing", none.shape == (0, c["vocab"]), str(none.shape))
    fails(f"{model}: generate from nothing", seqm,
          [("generate", dict(prompt=ids[:0], max_new=i32(3)), [])], ["no tokens"])
    fails(f"{model}: generate a negative number", seqm,
          [("generate", dict(prompt=ids[:2], max_new=i32(-1)), [])], ["negative"])
    one = seqm.run([("loss", dict(ids=ids[:1]), ["loss"])])[0]["loss"]
    check(f"{model}: loss of one token", one == 0, str(one))
    fails(f"{model}: loss of no token", seqm, [("loss", dict(ids=ids[:0]), [])], ["N"])
    out = seqm.run([("generate", dict(prompt=ids[:3], max_new=i32(0)), ["ids"]), *steps(ids[3:4])])
    check(f"{model}: generate nothing", out[0]["ids"].shape == (0,) and out[0]["ids"].dtype == np.int32)
    near(f"{model}: the prompt stays in the cache", out[1]["logits"], ref.forward(ids[:4])[-1], TOLERANCE)
    fails(f"{model}: ids of rank 2", seqm, [("forward", dict(ids=i32([[1, 2]])), [])], ["i32[N]"])
    fails(f"{model}: ids that are floats", seqm, [("forward", dict(ids=np.array([1.0, 2.0])), [])], ["ids", "f64"])
    seqm.run([("forward", dict(ids=np.array([1, 2], np.int64)), ["logits"])])  # wider integers that fit
    fails(f"{model}: ids too wide", seqm, [("forward", dict(ids=np.array([1, 2**40])), [])], ["fit"])
    # a failed run in between leaves nothing behind; all in one run from a state file
    state = os.path.join(folder, "state")
    seqm.run(steps(ids[:3]), ["--save-state", state])
    more = seqm.run(steps(ids[3:6]), ["--load-state", state, "--save-state", state])
    last = seqm.run(steps(ids[6:8]), ["--load-state", state])
    whole = seqm.run(steps(ids[:8]))
    for a, b in zip(whole[3:], more + last):
        if args.target == "interp":  # it computes in f64 and saves f32
            near(f"{model}: state saved and loaded", a["logits"], b["logits"], TOLERANCE)
        else:
            check(f"{model}: state saved and loaded, the same bits", np.array_equal(a["logits"], b["logits"]))
    # ties: the lowest index; equal columns of logits give equal numbers wherever they lie
    c, _, seqm = plain(model, {"vocab": 64 if model == "gpt2" else 190, "ctx": 13, "layers": 1}, folder, 0.0)
    out = seqm.run([("loss", dict(ids=i32([1, 2, 3])), ["loss"]), ("forward", dict(ids=i32([1, 2, 3])), ["logits"]),
                    ("generate", dict(prompt=i32([1]), max_new=i32(4)), ["ids"])])
    near(f"{model}: loss with equal logits", out[0]["loss"], math.log(c["vocab"]), 1e-6)
    check(f"{model}: equal logits, the first id", np.array_equal(out[2]["ids"], np.zeros(4)), str(out[2]["ids"]))


def equal_rows(model, folder):
    """Vocabulary entries with the same weights have the same logits, bit for bit, at any place."""
    rng = np.random.default_rng(9)
    c, _, weights, _ = CASES[model](rng)
    while c["vocab"] < 90 or c.get("tie") or c["d"] < 13 or c.get("ctx", 13) < 13:
        c, _, weights, _ = CASES[model](rng)
    name = "wte.weight" if model == "gpt2" else "lm_head.weight"
    weights[name][:] = weights[name][0]
    path = os.path.join(folder, "w.safetensors")
    write_safetensors(path, {n: (v, "F32") for n, v in weights.items()})
    options = ["--weights", path, "--target", args.target]
    for k, v in c.items():
        options += ["-D", f"{k}={v}"]
    seqm = Runner(args.seqm, os.path.join(args.source, "examples", model + ".seqm"), options, folder)
    out = seqm.run([("forward", dict(ids=i32([1, 2, 3, 4, 5])), ["logits"]), *steps([1]),
                    ("generate", dict(prompt=i32([1, 5]), max_new=i32(5)), ["ids"])])
    for o in (out[0]["logits"], out[1]["logits"][None]):
        check(f"{model}: equal weights give equal logits {o.shape}", np.array_equal(o, np.repeat(o[:, :1], o.shape[1], 1)),
              f"differ at {np.unique(np.nonzero(o != o[:, :1])[1])}")
    check(f"{model}: ties go to the lowest id", np.array_equal(out[2]["ids"], np.zeros(5)), str(out[2]["ids"]))


def repeated_groups(folder):
    """Grouped heads equal separate ones with each group's keys and values repeated."""
    rng = np.random.default_rng(21)
    c, _, weights, _ = llama_case(rng)
    while c["heads"] == c["kv_heads"] or c["vocab"] < 30:
        c, _, weights, _ = llama_case(rng)
    full, wide = dict(c, kv_heads=c["heads"]), dict(weights)
    for n in weights:
        if "k_proj" in n or "v_proj" in n:
            by_head = weights[n].reshape(c["kv_heads"], c["head_dim"], c["d"])
            wide[n] = np.repeat(by_head, c["heads"] // c["kv_heads"], 0).reshape(-1, c["d"])
    ids, out = token_ids(rng, c, 11), []
    for constants, w in ((c, weights), (full, wide)):
        path = os.path.join(folder, "w.safetensors")
        write_safetensors(path, {n: (v, "F32") for n, v in w.items()})
        options = ["--weights", path, "--target", args.target]
        for k, v in constants.items():
            options += ["-D", f"{k}={v}"]
        seqm = Runner(args.seqm, os.path.join(args.source, "examples", "llama.seqm"), options, folder)
        out.append(seqm.run([("forward", dict(ids=ids), ["logits"]), ("prefill", dict(ids=ids), ["logits"])]))
    for k in range(2):
        near("llama: groups repeated", out[0][k]["logits"], out[1][k]["logits"], TOLERANCE)


def limits_of_minilm(folder):
    c, exact, seqm = plain("minilm", {"max_pos": 40, "vocab": 17}, folder)
    ref = reference.Minilm(exact, c)
    rng = np.random.default_rng(2)
    ids, mask = token_ids(rng, c, 3, 9), random_mask(rng, 3, 9)
    mask[1] = 0  # no token at all: attention over nothing is 0, the embedding is 0
    out = seqm.run([("hidden", dict(ids=ids, mask=mask), ["h"]), ("forward", dict(ids=ids, mask=mask), ["emb"])])
    near("minilm: a row without tokens, hidden", out[0]["h"], ref.hidden(ids, mask), TOLERANCE)
    near("minilm: a row without tokens, forward", out[1]["emb"], ref.forward(ids, mask), TOLERANCE)
    long = token_ids(rng, c, 1, 41)
    for entry in ("hidden", "forward"):
        fails(f"minilm: {entry} longer than max_pos", seqm, [(entry, dict(ids=long, mask=np.ones_like(long)), [])],
              ["longer", "41"])
        fails(f"minilm: {entry}, shapes differ", seqm, [(entry, dict(ids=ids, mask=mask[:2]), [])], ["mask", "B"])
        fails(f"minilm: {entry}, lengths differ", seqm, [(entry, dict(ids=ids, mask=mask[:, :5]), [])], ["mask", "N"])
        for bad in (c["vocab"], -1):
            fails(f"minilm: {entry} with token {bad}", seqm,
                  [(entry, dict(ids=np.full((1, 3), bad, np.int32), mask=mask[:1, :3]), [])], [str(bad), "range"])
    empty = i32(np.zeros((2, 0)))
    out = seqm.run([("hidden", dict(ids=empty, mask=empty), ["h"]), ("forward", dict(ids=empty, mask=empty), ["emb"]),
                    ("forward", dict(ids=empty.T, mask=empty.T), ["emb"]),
                    ("similarity", dict(ids_a=ids, mask_a=mask, ids_b=empty.T, mask_b=empty.T), ["sim"])])
    check("minilm: rows of no length", out[0]["h"].shape == (2, 0, c["d"]) and
          np.array_equal(out[1]["emb"], np.zeros((2, c["d"]))))
    check("minilm: no rows", out[2]["emb"].shape == (0, c["d"]) and out[3]["sim"].shape == (3, 0))


def printed(folder):
    """What is printed says the same as what is written."""
    c, _, seqm = plain("gpt2", {"vocab": 31}, folder)
    ids = "1, 2,3"
    got = seqm.run([("forward", dict(ids=ids), ["logits"]), ("loss", dict(ids=ids), ["loss"])])
    seqm.run([("loss", dict(ids=ids), []), ("step", {"id": "1"}, []),
              ("generate", dict(prompt="[4]", max_new="3.0"), [])])
    lines = seqm.printed.splitlines()
    check("printed: a scalar", abs(float(lines[0].split("=")[1]) - got[1]["loss"]) < 1e-5, lines[0])
    row = np.array([float(x) for x in lines[1].split("=")[1].strip(" []").split(",")])
    check("printed: a small array", lines[1].startswith(f"logits: f32[{c['vocab']}]") and
          np.allclose(row, got[0]["logits"][0], rtol=1e-5, atol=1e-6), lines[1][:80])
    check("printed: integers", lines[2].startswith("ids: i32[3] = ["), lines[2])


def limits(folder):
    for model in ("gpt2", "llama"):
        limits_of_decoder(model, folder)
        equal_rows(model, folder)
    repeated_groups(folder)
    limits_of_minilm(folder)
    printed(folder)


for what in args.what:
    for k in range(args.first, args.first + args.count) if what in CASES else (0,):
        with tempfile.TemporaryDirectory() as work:
            try:
                if what == "limits":
                    limits(work)
                elif what == "minilm":
                    minilm(k, work)
                else:
                    decoder(what, k, work)
            except (Failed, subprocess.SubprocessError) as error:  # the others are still run
                check(f"{what} {k}", False, str(error))
sys.exit(results.summary())
