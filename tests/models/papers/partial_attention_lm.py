"""Decoder-only or encoder-decoder: LM, RED, ED and PALM, each attention over one joint matrix with a mask."""
from common import *

DEFAULTS = dict(vocab=48, d=32, heads=4, layers=2, ffn=64, max_pos=48, lam=0.5, bos=1)
CONFIGS = [
    dict(vocab=11, d=6, heads=3, layers=3, ffn=5, max_pos=13, lam=0.25, bos=2),
    {},
    dict(vocab=2, d=1, heads=1, layers=1, ffn=1, max_pos=9, bos=0),
    dict(vocab=23, d=20, heads=5, layers=4, ffn=31, max_pos=29, lam=0),
]


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def weights(rng, c):
    d, w = c["d"], {}
    w["wte.weight"] = rng.normal(size=(c["vocab"], d))
    w["wpe.weight"] = rng.normal(size=(c["max_pos"], d))
    w["lang.weight"] = rng.normal(size=(2, d))
    for l in range(c["layers"]):
        p = f"layers.{l}."
        for n in "ln_att", "ln_pa", "ln_ffn":
            w |= norm_weights(rng, p + n, d)
        for n in "q_proj", "k_proj", "v_proj", "o_proj":
            w |= linear_weights(rng, p + n, d, d) | linear_weights(rng, p + "pa." + n, d, d)
        w |= linear_weights(rng, p + "pa.f1", d, d) | linear_weights(rng, p + "pa.f2", d, d)
        w |= linear_weights(rng, p + "fc1", c["ffn"], d) | linear_weights(rng, p + "fc2", d, c["ffn"])
    return w | norm_weights(rng, "ln_f", d) | linear_weights(rng, "sae_head", c["vocab"], d)


class Model:
    def __init__(self, w, c):
        self.w, self.c = w, c

    def norm(self, x, name):
        return layer_norm(x, self.w, name, 1e-5)

    def att(self, x, keys, values, p, allowed):
        q, k, v = (heads_first(linear(a, self.w, p + n), self.c["heads"])
                   for a, n in ((x, "q_proj"), (keys, "k_proj"), (values, "v_proj")))
        a = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]), allowed)
        return linear(heads_last(a @ v), self.w, p + "o_proj"), a

    def ffn(self, x, p):
        return x + linear(gelu_tanh(linear(self.norm(x, p + "ln_ffn"), self.w, p + "fc1")), self.w, p + "fc2")

    def embed(self, ids, first):
        return self.w["wte.weight"][ids] + self.w["wpe.weight"][first:first + len(ids)]

    def head(self, x):
        return self.norm(x, "ln_f") @ self.w["wte.weight"].T

    def layers(self):
        return [f"layers.{l}." for l in range(self.c["layers"])]

    def lm(self, ids, mass_of=None):
        x, mass = self.embed(ids, 0), []
        for p in self.layers():
            h = self.norm(x, p + "ln_att")
            o, a = self.att(h, h, h, p, np.tri(len(ids), dtype=bool))
            x = self.ffn(x + o, p)
            mass.append(a[:, mass_of:, :mass_of].sum(-1).mean(0))
        return self.head(x) if mass_of is None else np.array(mass)

    @staticmethod
    def prefix_mask(t, s):
        return np.concatenate([np.ones((t, s), bool), np.tri(t, dtype=bool)], 1)

    def red(self, src, tgt):
        s, t = self.embed(src, 0), self.embed(tgt, len(src))
        for p in self.layers():
            hs, ht = self.norm(s, p + "ln_att"), self.norm(t, p + "ln_att")
            both = np.concatenate([hs, ht])
            s = self.ffn(s + self.att(hs, hs, hs, p, np.tri(len(src), dtype=bool))[0], p)
            t = self.ffn(t + self.att(ht, both, both, p, self.prefix_mask(len(tgt), len(src)))[0], p)
        return self.head(t), self.head(s)

    def ed(self, src, tgt):
        s, t = self.embed(src, 0), self.embed(tgt, 0)
        for p in self.layers():
            h = self.norm(s, p + "ln_att")
            s = self.ffn(s + self.att(h, h, h, p, True)[0], p)
        memory = self.norm(s, "ln_f")
        for p in self.layers():
            h = self.norm(t, p + "ln_att")
            t = t + self.att(h, h, h, p, np.tri(len(tgt), dtype=bool))[0]
            t = self.ffn(t + self.att(self.norm(t, p + "ln_pa"), memory, memory, p + "pa.", True)[0], p)
        return self.head(t)

    def palm(self, src, tgt):
        s, t = self.embed(src, 0) + self.w["lang.weight"][0], self.embed(tgt, 0) + self.w["lang.weight"][1]
        for p in self.layers():
            a, b = self.norm(s, p + "ln_att"), self.norm(t, p + "ln_att")
            both = np.concatenate([a, b])
            s = s + self.att(a, a, a, p, True)[0]
            hs = self.norm(s, p + "ln_pa")
            P = linear(np.tanh(linear(hs, self.w, p + "pa.f1")), self.w, p + "pa.f2")
            s = self.ffn(s + self.att(hs, P, P, p + "pa.", True)[0], p)
            t = t + self.att(b, both, both, p, self.prefix_mask(len(tgt), len(src)))[0]
            t = self.ffn(t + self.att(self.norm(t, p + "ln_pa"), P, P, p + "pa.", True)[0], p)
        return self.head(t), linear(self.norm(s, "ln_f"), self.w, "sae_head")

    @staticmethod
    def nll(z, ids):
        return (logsumexp(z) - z[np.arange(len(ids)), ids]).sum() / max(len(ids), 1)

    def losses(self, src, tgt):
        z, y = self.red(src, tgt)
        red = self.nll(z[:-1], tgt[1:]) + self.c["lam"] * self.nll(y[:-1], src[1:])
        z, y = self.palm(src, tgt)
        return red, self.nll(z[:-1], tgt[1:]) + self.c["lam"] * self.nll(y, src)

    def greedy(self, src, n):
        ids = [self.c["bos"]]
        for _ in range(n):
            ids.append(int(self.palm(src, np.array(ids))[0][-1].argmax()))
        return np.array(ids[1:])


def forward(t, model, s, n):
    v = t.c["vocab"]
    src, tgt = t.ids(v, s), t.ids(v, n)
    end, first_src, last_src = tgt.copy(), src.copy(), src.copy()
    end[-1] = (end[-1] + 1) % v
    last_src[-1] = (src[-1] + 1) % v
    both = dict(src=src, tgt=tgt)
    logits = [("forward_red", "logits src_logits"), ("forward_ed", "logits"), ("forward_palm", "logits src_logits")]
    calls = [t.call("forward_lm", "logits", ids=np.concatenate([src, tgt]))]
    calls += [t.call(e, o, **both) for e, o in logits] + [t.call(e, o, src=src, tgt=end) for e, o in logits]
    calls += [t.call("forward_palm", "logits src_logits", src=last_src, tgt=tgt)]
    calls += [t.call("loss_red", "loss", **both), t.call("loss_palm", "loss", **both),
              t.call("source_mass", "mass", **both), t.call("prefill", "", src=src)]
    steps = [t.call("step", "logits", id=i) for i in tgt]
    got = t.run(*calls, *steps, t.call("prefill", "", src=last_src), *steps[:1],
                t.call("generate", "ids", src=src, max_new=min(5, t.c["max_pos"])))
    label = f"{s} {n}"
    lm, ed = model.lm(np.concatenate([src, tgt])), model.ed(src, tgt)
    red, palm = model.red(src, tgt), model.palm(src, tgt)
    t.near("lm " + label, got[0]["logits"], lm)
    t.near("red " + label, got[1]["logits"], red[0])
    t.near("red's source " + label, got[1]["src_logits"], red[1])
    t.near("red is the lm " + label, np.concatenate([got[1]["src_logits"], got[1]["logits"]]), got[0]["logits"])
    t.near("ed " + label, got[2]["logits"], ed)
    t.near("palm " + label, got[3]["logits"], palm[0])
    t.near("palm's source " + label, got[3]["src_logits"], palm[1])
    for k, name in enumerate(("red", "ed", "palm")):
        t.near(f"{name} is causal {label}", got[4 + k]["logits"][:-1], got[1 + k]["logits"][:-1])
        if name != "ed":
            t.near(f"{name}: source without target {label}", got[4 + k]["src_logits"], got[1 + k]["src_logits"], 1e-6)
    if t.c["d"] > 1:
        t.check("the source looks ahead " + label, np.abs(got[7]["src_logits"][0] - palm[1][0]).max() > 1e-3)
    for k, (name, want) in enumerate(zip(("red", "palm"), model.losses(src, tgt))):
        t.near(f"loss of {name} {label}", got[8 + k]["loss"], want)
    t.near("source mass " + label, got[10]["mass"], model.lm(np.concatenate([src, tgt]), s))
    t.near("steps " + label, np.array([g["logits"] for g in got[12:12 + n]]), palm[0])
    t.near("steps behind another source " + label, got[13 + n]["logits"], model.palm(last_src, tgt[:1])[0][0])
    t.equal("generate " + label, got[-1]["ids"], model.greedy(src, min(5, t.c["max_pos"])))


def degeneration(t):
    """Without queries the source has its share of the positions; at lam = 0 its head does not matter."""
    s, n = 4, 5
    w, other = dict(t.w), dict(t.w)
    for l in range(t.c["layers"]):
        for part in "weight", "bias":
            w[f"layers.{l}.q_proj.{part}"] = 0 * w[f"layers.{l}.q_proj.{part}"]
    src, tgt = t.ids(t.c["vocab"], s), t.ids(t.c["vocab"], n)
    t.save(w, t.path)
    mass = t.one("source_mass", "mass", src=src, tgt=tgt)
    t.near("mass without queries", mass, np.tile(s / (s + np.arange(n) + 1), (t.c["layers"], 1)))
    other["sae_head.weight"], other["sae_head.bias"] = -3 * t.w["sae_head.weight"], 1 + t.w["sae_head.bias"]
    losses = []
    for weights_ in t.w, other:
        t.save(weights_, t.path)
        losses.append(t.run(t.call("loss_palm", "loss", src=src, tgt=tgt), more=["-D", "lam=0"])[0]["loss"])
    t.save(t.w, t.path)
    t.equal("lam = 0", losses[0], losses[1])


def check(t):
    model = Model(t.w, t.c)
    for s, n in (1, 1), (4, 5), (7, 2):
        forward(t, model, s, n)
    degeneration(t)
    none, some, many = np.zeros(0, np.int32), t.ids(t.c["vocab"], 2), t.ids(t.c["vocab"], t.c["max_pos"] + 1)
    bad = np.array([-1], np.int32)
    got = t.run(t.call("forward_palm", "logits", src=none, tgt=some),
                t.call("forward_red", "logits", src=none, tgt=some),
                t.call("generate", "ids", src=some, max_new=0), t.call("forward_lm", "logits", ids=none),
                t.call("loss_red", "loss", src=some[:1], tgt=some[:1]))
    t.near("palm without source", got[0]["logits"], model.palm(none, some)[0])
    t.near("red without source", got[1]["logits"], model.lm(some))
    t.check("nothing generated", got[2]["ids"].shape == (0,) and got[3]["logits"].shape == (0, t.c["vocab"]))
    t.near("loss of single tokens", got[4]["loss"], 0)
    t.fails("too long", t.call("forward_lm", "logits", ids=many), says="longer than max_pos")
    t.fails("no such token", t.call("forward_ed", "logits", src=some, tgt=bad), says="out of range")
    t.fails("full", t.call("generate", "ids", src=some, max_new=t.c["max_pos"] + 1), says="the target is full")
