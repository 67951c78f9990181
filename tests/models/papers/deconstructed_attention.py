"""Deconstructing Attention: a Qwen2 model with simpler token mixers, by full attention maps."""
from common import *

DEFAULTS = dict(vocab=64, d=32, heads=4, layers=4, ffn=48, mixmlp=42, max_len=40, eps=1e-6, theta=10000)
CONFIGS = [
    dict(vocab=11, d=12, heads=3, layers=3, ffn=7, mixmlp=5, max_len=9, eps=1e-5, theta=100),
    dict(vocab=13, d=8, heads=2, layers=1, ffn=5, mixmlp=3, max_len=8, eps=1e12),  # norms are linear: see `linear`
    {},
    dict(vocab=2, d=2, heads=1, layers=2, ffn=1, mixmlp=1, max_len=5),
    dict(vocab=31, d=30, heads=5, layers=5, ffn=17, mixmlp=9, max_len=13, theta=7),
]
VARIANTS = "mlp approx nonapprox rndembqk fixedseqqk staticembqk".split()


def weights(rng, c):
    d, w, large = c["d"], {}, math.sqrt(max(c["eps"], 1))
    w["model.embed_tokens.weight"] = rng.normal(size=(c["vocab"], d))
    w["model.norm.weight"] = large * (1 + 0.3 * rng.normal(size=d))
    for i in range(c["layers"]):
        p = f"model.layers.{i}."
        for n in "input_layernorm", "post_attention_layernorm":
            w[p + n + ".weight"] = large * (1 + 0.3 * rng.normal(size=d))
        for n in "qkv":
            w |= linear_weights(rng, f"{p}self_attn.{n}_proj", d, d)
        w |= linear_weights(rng, p + "self_attn.o_proj", d, d, bias=False)
        for n, ffn in ("mlp", c["ffn"]), ("mix_mlp", c["mixmlp"]):
            for m, o, k in ("gate", ffn, d), ("up", ffn, d), ("down", d, ffn):
                w |= linear_weights(rng, f"{p}{n}.{m}_proj", o, k, bias=False)
    w["rnd_emb"] = rng.normal(size=(c["max_len"], d))
    w["fixed_ids"] = rng.integers(0, c["vocab"], size=c["max_len"]).astype(np.int32)
    return w


class Model:
    def __init__(self, w, c):
        self.w, self.c = w, c
        self.embed = w["model.embed_tokens.weight"]

    def norm(self, x, i, name):
        return rms_norm(x, self.w[f"model.layers.{i}.{name}.weight"], self.c["eps"])

    def rope(self, x):
        h, n, e = x.shape
        a = np.arange(n)[:, None] * self.c["theta"] ** (-2.0 * np.arange(e // 2) / e)
        u, v = x[..., :e // 2], x[..., e // 2:]
        return np.concatenate([u * np.cos(a) - v * np.sin(a), v * np.cos(a) + u * np.sin(a)], -1)

    def part(self, z, i, name):
        return heads_first(linear(z, self.w, f"model.layers.{i}.self_attn.{name}_proj"), self.c["heads"])

    def map(self, x, i, kind="standard"):
        """Who looks at whom in layer i, from the stream x: [heads, N, N]."""
        z = self.norm(x, i, "input_layernorm")
        q, k = self.part(z, i, "q"), self.part(z, i, "k")
        below = np.tri(len(x), dtype=bool)
        if kind == "nonapprox":
            s = (silu(q) * k).sum(-1) / np.sqrt(q.shape[-1])
            return softmax(np.repeat(s[:, None], len(x), 1), below)
        s = self.rope(q) @ self.rope(k).transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        if kind == "standard":
            return softmax(s, below)
        a = np.where(below, 1 + s + s ** 2 / 2, 0)
        return a / a.sum(-1, keepdims=True)

    def gated(self, x, i, name):
        p = f"model.layers.{i}.{name}."
        return (silu(x @ self.w[p + "gate_proj.weight"].T) * (x @ self.w[p + "up_proj.weight"].T)
                ) @ self.w[p + "down_proj.weight"].T

    def block(self, x, i, a):
        """a: a map, or None for the MLP variant."""
        z = self.norm(x, i, "input_layernorm")
        if a is None:
            x = x + self.gated(z, i, "mix_mlp")
        else:
            x = x + heads_last(a @ self.part(z, i, "v")) @ self.w[f"model.layers.{i}.self_attn.o_proj.weight"].T
        return x + self.gated(self.norm(x, i, "post_attention_layernorm"), i, "mlp")

    def head(self, x):
        return rms_norm(x, self.w["model.norm.weight"], self.c["eps"]) @ self.embed.T

    def run(self, ids, variant, varies=lambda i: True):
        h = static = self.embed[ids]
        x = self.w["rnd_emb"] if variant == "rndembqk" else self.embed[self.w["fixed_ids"]]
        x = x[:len(ids)]
        for i in range(self.c["layers"]):
            own = self.map(x, i)
            if not varies(i) or variant == "standard":
                a = self.map(h, i)
            elif variant in ("rndembqk", "fixedseqqk"):
                a = own
            elif variant == "staticembqk":
                a = self.map(static, i)
            else:
                a = None if variant == "mlp" else self.map(h, i, variant)
            h = self.block(h, i, a)
            x = self.block(x, i, own)
        return self.head(h)

    def skip(self, ids):
        h = self.embed[ids]
        for i in range(1, self.c["layers"], 2):
            h = self.block(h, i, self.map(h, i))
        return self.head(h)

    def indicators(self, ids):
        h, stats, n = self.embed[ids], [], len(ids)
        for i in range(self.c["layers"]):
            a = self.map(h, i)
            logs = np.log(np.where(a > 0, a, 1))
            focus = [np.mean([a[:, t, t - k] for t in range(k, n)]) for k in range(4)]
            stats.append([-(a * logs).sum() / len(a), np.sqrt((a ** 2).sum((1, 2))).mean(),
                          2 / (n * (n + 1)) * a.std(0).sum(), a[:, :, 0].mean(), *focus])
            h = self.block(h, i, a)
        return np.array(stats)


def entries(c):
    """With one layer every hybrid is uniform: compiling them once more would say nothing."""
    kinds = ("uniform", "hybrid") if c["layers"] > 1 else ("uniform",)
    return ["standard", "skip"] + [f"{k}_{v}" for k in kinds for v in VARIANTS]


def reference(model, e, ids):
    if e == "skip":
        return model.skip(ids)
    if e == "standard":
        return model.run(ids, e)
    kind, variant = e.split("_")
    return model.run(ids, variant, (lambda i: i % 2 == 0) if kind == "hybrid" else (lambda i: True))


def forward(t, model, n):
    ids = t.ids(t.c["vocab"], n)
    other = ids.copy()
    other[-1] = (ids[-1] + 1) % t.c["vocab"]
    first = ids.copy()
    first[0] = (ids[0] + 1) % t.c["vocab"]
    steps = [("step_standard", "standard"), ("step_approx", "uniform_approx"), ("step_nonapprox", "uniform_nonapprox")]
    calls = [t.call(e, ["logits"], ids=x) for x in (ids, other) for e in entries(t.c)]
    calls += [t.call("uniform_mlp", ["logits"], ids=first)]
    calls += [t.call(s, ["logits"], id=i) for i in ids for s, _ in steps]
    calls += [t.call("reset", "")] + [t.call(s, ["logits"], id=ids[0]) for s, _ in steps]
    got = iter(t.run(*calls))
    want = {e: reference(model, e, ids) for e in entries(t.c)}
    for e in entries(t.c):
        t.near(f"{e} {n}", next(got)["logits"], want[e])
    for e in entries(t.c):
        t.near(f"{e} {n} is causal", next(got)["logits"][:-1], want[e][:-1])
    t.near(f"uniform_mlp {n}: rows alone", next(got)["logits"][1:], want["uniform_mlp"][1:])
    rows = [[next(got)["logits"] for _ in steps] for _ in ids]
    for k, (s, e) in enumerate(steps):
        t.near(f"{s} {n}", np.array([r[k] for r in rows]), want[e])
    next(got)
    for s, e in steps:
        t.near(f"{s} {n} after reset", next(got)["logits"], want[e][0])


def indicators(t, model):
    for n in sorted({4, min(7, t.c["max_len"]), t.c["max_len"]}):
        ids = t.ids(t.c["vocab"], n)
        got = t.one("indicators", "stats", ids=ids)
        t.near(f"indicators {n}", got, model.indicators(ids))
        t.check(f"sink and focus {n} are shares", bool(np.all((got[:, 3:] > 0) & (got[:, 3:] < 1))), str(got))


def one_layer(t):
    n = t.c["max_len"]
    ids = t.ids(t.c["vocab"], n)
    t.save(t.w | {"fixed_ids": ids}, t.path)
    got = t.run(*[t.call(e, ["logits"], ids=ids) for e in ("standard", "uniform_staticembqk", "uniform_fixedseqqk")])
    t.save(t.w, t.path)
    t.near("static embeddings are the stream", got[1]["logits"], got[0]["logits"])
    t.near("the fixed text is the text", got[2]["logits"], got[0]["logits"])


def linear_in_values(t):
    """Without the MLP, and with norms that divide by a constant, one layer of rndembqk is linear: what a
    change of one token does to later rows does not depend on the others. That of standard does."""
    w = dict(t.w)
    w["model.layers.0.mlp.down_proj.weight"] = 0 * w["model.layers.0.mlp.down_proj.weight"]
    a = t.ids(t.c["vocab"], 6)
    b, c, d = a.copy(), a.copy(), a.copy()
    b[1] = d[1] = (a[1] + 1) % t.c["vocab"]
    c[[0, 4]] = d[[0, 4]] = (a[[0, 4]] + 1) % t.c["vocab"]
    t.save(w, t.path)
    for e in "uniform_rndembqk", "standard":
        la, lb, lc, ld = (g["logits"] for g in t.run(*[t.call(e, ["logits"], ids=x) for x in (a, b, c, d)]))
        gap = np.abs((lb - la) - (ld - lc))[1:].max()
        t.check(f"{e}: effect of a token, alone", (gap < 1e-4) == (e != "standard"), str(gap))
    t.save(t.w, t.path)


def check(t):
    model = Model(t.w, t.c)
    for n in sorted({1, 2, min(7, t.c["max_len"]), t.c["max_len"]}):
        forward(t, model, n)
    indicators(t, model)
    if t.c["layers"] == 1:
        one_layer(t)
        linear_in_values(t)
    many, bad = t.ids(t.c["vocab"], t.c["max_len"] + 1), np.array([t.c["vocab"]], np.int32)
    t.fails("too long", t.call("uniform_rndembqk", ["logits"], ids=many), says="longer than max_len")
    t.fails("too few", t.call("indicators", ["stats"], ids=many[:3]), says="four tokens")
    t.fails("no such token", t.call("standard", ["logits"], ids=bad), says="index out of range")
    t.fails("full", *[t.call("step_standard", ["logits"], id=0)] * (t.c["max_len"] + 1), says="the context is full")
