"""LongVQ: quantised keys under full softmax matrices (equation 5); averages as sums over the past."""
import os

from common import *
from harness import Runner

DEFAULTS = dict(vocab=64, d=24, z=16, v=32, ema=4, codes=8, window=4, layers=2, ff=48, cb_decay=0.9, cb_eps=1e-5,
                eps=1e-5)
CONFIGS = [
    dict(vocab=11, d=6, z=3, v=5, ema=2, codes=7, window=3, layers=2, ff=9, cb_decay=0.7),
    {},
    dict(vocab=3, d=1, z=1, v=1, ema=1, codes=1, window=1, layers=1, ff=1, cb_eps=1e-2),
    dict(vocab=13, d=7, z=5, v=3, ema=3, codes=17, window=20, layers=3, ff=4, cb_decay=0.5, eps=1e-3),
    dict(vocab=9, d=8, z=4, v=8, ema=5, codes=2, window=1, layers=1, ff=8),
]


def weights(rng, c):
    d, z, v, h = c["d"], c["z"], c["v"], c["ema"]
    w = {"emb.weight": rng.normal(size=(c["vocab"], d)), "head.weight": matrix(rng, c["vocab"], d)}
    w |= norm_weights(rng, "norm", d)
    for l in range(c["layers"]):
        p = f"layers.{l}."
        w |= norm_weights(rng, p + "norm", d) | norm_weights(rng, p + "norm2", d)
        for n in "delta", "alpha", "beta", "gamma":
            w[f"{p}move.{n}"] = rng.normal(size=(d, h))
        w[p + "move.omega"] = rng.normal(size=d)
        w |= linear_weights(rng, p + "z_proj", z, d) | linear_weights(rng, p + "v_proj", v, d)
        for n in "q", "k":
            w[f"{p}{n}.gamma"], w[f"{p}{n}.beta"] = 3 * rng.normal(size=z), rng.normal(size=z)
        w[p + "vq.codebook"] = 1.5 * rng.normal(size=(c["codes"], z))
        w[p + "vq.count"] = rng.uniform(0.5, 3, size=c["codes"])
        w[p + "bias"] = rng.normal(size=c["window"])
        w |= linear_weights(rng, p + "r_proj", v, d) | linear_weights(rng, p + "u_proj", d, d)
        w |= linear_weights(rng, p + "h_proj", d, d) | linear_weights(rng, p + "hu_proj", d, v, bias=False)
        w |= linear_weights(rng, p + "ff1", c["ff"], d) | linear_weights(rng, p + "ff2", d, c["ff"])
    return w


def averages(y, w, p, c):  # equation 2
    a, take = sigmoid(w[p + "move.alpha"]), sigmoid(w[p + "move.delta"])
    e = np.zeros_like(y)
    for t in range(len(y)):
        s = sum((1 - take * a) ** (t - j) * take * w[p + "move.beta"] * y[j][:, None] for j in range(t + 1))
        e[t] = (w[p + "move.gamma"] * s).sum(1) / np.sqrt(c["ema"]) + w[p + "move.omega"] * y[t]
    return silu(e)


margin = [np.inf]  # between the nearest word and the next, in squared distance


def quantise(K, C):  # equation 4
    far = ((K[:, None] - C[None]) ** 2).sum(-1)
    if len(C) > 1 and len(K):
        two = np.sort(far, 1)
        margin[0] = min(margin[0], np.min(two[:, 1] - two[:, 0]))
    return far.argmin(1)


def layer(x, w, p, c, free=False):
    """Output, keys, words. free: keys are not quantised."""
    y = layer_norm(x, w, p + "norm", c["eps"])
    E = averages(y, w, p, c)
    Z = silu(linear(E, w, p + "z_proj"))
    Q, K = (Z * w[f"{p}{n}.gamma"] + w[f"{p}{n}.beta"] for n in "qk")
    V = silu(linear(y, w, p + "v_proj"))
    words = None if free else quantise(K, w[p + "vq.codebook"])
    i, j = np.arange(len(x))[:, None], np.arange(len(x))[None]
    near = (0 <= i - j) & (i - j < c["window"])
    B = np.where(near, w[p + "bias"][np.where(near, i - j, 0)], 0)
    O = softmax(Q @ (K if free else w[p + "vq.codebook"][words]).T / np.sqrt(c["z"]) + B, j <= i) @ V  # equation 5
    r, u = silu(linear(E, w, p + "r_proj")), sigmoid(linear(E, w, p + "u_proj"))
    x = u * silu(linear(E, w, p + "h_proj") + linear(r * O, w, p + "hu_proj")) + (1 - u) * x
    x = x + linear(silu(linear(layer_norm(x, w, p + "norm2", c["eps"]), w, p + "ff1")), w, p + "ff2")
    return x, K, words


def run(tokens, w, c, free=False):
    x, keys, words = w["emb.weight"][tokens], [], []
    for l in range(c["layers"]):
        x, K, s = layer(x, w, f"layers.{l}.", c, free)
        keys.append(K)
        words.append(s)
    return layer_norm(x, w, "norm", c["eps"]) @ w["head.weight"].T, keys, words


class Learner:  # equation 9; changes w
    def __init__(self, w, c):
        self.c = c
        self.mass = [w[f"layers.{l}.vq.count"].copy() for l in range(c["layers"])]
        self.sum = [w[f"layers.{l}.vq.codebook"] * self.mass[l][:, None] for l in range(c["layers"])]

    def update(self, tokens, w):
        c, commit = self.c, []
        _, keys, words = run(tokens, w, c)
        for l in range(c["layers"]):
            name = f"layers.{l}.vq.codebook"
            commit.append(np.mean(((keys[l] - w[name][words[l]]) ** 2).sum(1)) / c["z"])
            one = np.eye(c["codes"])[words[l]]
            self.mass[l] = c["cb_decay"] * self.mass[l] + (1 - c["cb_decay"]) * one.sum(0)
            self.sum[l] = c["cb_decay"] * self.sum[l] + (1 - c["cb_decay"]) * one.T @ keys[l]
            T = self.mass[l].sum()
            w[name] = self.sum[l] / ((self.mass[l] + c["cb_eps"]) / (T + c["codes"] * c["cb_eps"]) * T)[:, None]
        return commit


def reading(t):
    c = t.c
    for n in 1, c["window"] + 1, 19:
        tokens = t.ids(c["vocab"], n)
        changed = tokens.copy()
        changed[-1] = (changed[-1] + 1) % c["vocab"]
        calls = [t.call("forward", "logits", tokens=x) for x in (tokens, changed)]
        calls += [t.call("codes", "codes", tokens=tokens)]
        calls += [t.call("step", "logits", token=x) for x in tokens]
        calls += [t.call("forward", "logits", tokens=tokens[:1]), t.call("reset", "")]  # `forward` leaves the state
        calls += [t.call("step", "logits", token=x) for x in changed]
        got = t.run(*calls)
        want, _, words = run(tokens, t.w, c)
        t.near(f"forward {n}", got[0]["logits"], want)
        t.near(f"causal {n}", got[1]["logits"][:-1], want[:-1])
        t.equal(f"codes {n}", got[2]["codes"], words)
        t.near(f"steps {n}", np.stack([g["logits"] for g in got[3:3 + n]]), want)
        t.near(f"steps after reset {n}", np.stack([g["logits"] for g in got[5 + n:]]), run(changed, t.w, c)[0])


def learning(t):
    c, w = t.c, dict(t.w)
    one, two = t.ids(c["vocab"], 23), t.ids(c["vocab"], 7)
    turns = [one, two, one, one]
    calls = [t.call("update_codebook", "commit", tokens=x) for x in turns]
    calls.insert(2, t.call("reset", ""))  # undoes none of it
    calls += [t.call("codes", "codes", tokens=one), t.call("reset", ""), t.call("forward", "logits", tokens=one)]
    calls += [t.call("step", "logits", token=x) for x in two]
    got = t.run(*calls)
    learner, at = Learner(w, c), [0, 1, 3, 4]
    for k, tokens in enumerate(turns):
        t.near(f"commit {k}", got[at[k]]["commit"], learner.update(tokens, w))
    t.equal("codes after learning", got[5]["codes"], run(one, w, c)[2])
    t.near("forward after learning", got[7]["logits"], run(one, w, c)[0])
    t.near("steps after learning", np.stack([g["logits"] for g in got[8:]]), run(two, w, c)[0])
    commits = [g["commit"] for g in t.run(*[calls[0]] * 6)]
    if c["codes"] > 1:
        t.check("learning lowers the first commit", commits[-1][0] < commits[0][0], f"{[float(x[0]) for x in commits]}")


def exact_keys(t):
    """With the keys themselves for words, quantised attention is attention."""
    c = t.c
    tokens = t.ids(c["vocab"], c["codes"])
    want, keys, _ = run(tokens, t.w, c, free=True)
    path = os.path.join(t.folder, "keys.safetensors")
    t.save({**t.w, **{f"layers.{l}.vq.codebook": K for l, K in enumerate(keys)}}, path)
    runner = Runner(t.runner.seqm, t.runner.model, [path if o == t.path else o for o in t.runner.options], t.folder)
    got = runner.run([t.call("forward", ["logits"], tokens=tokens)])[0]["logits"]
    t.near("exact keys", got, want, 1e-5 if t.f64 else 1e-3)  # the file holds f32


def state_size(t):
    sizes = []
    for n in 1, 30:
        path = os.path.join(t.folder, "state")
        t.run(*[t.call("step", "logits", token=0) for _ in range(n)], more=["--save-state", path])
        sizes.append(os.path.getsize(path))
    t.check("state is flat", sizes[0] == sizes[1], f"{sizes}")


def check(t):
    margin[0] = np.inf
    reading(t)
    learning(t)
    t.check("words are well apart", margin[0] > 1e-3, f"{margin[0]}")
    exact_keys(t)
    if t.k == 0:
        state_size(t)
        for entry in "forward", "update_codebook":
            t.fails(f"token outside, {entry}", t.call(entry, "", tokens=np.array([1, 11], np.int32)),
                    says="index out of range")
        t.fails("no window", t.call("forward", "", tokens="1"), says="window", more=["-D", "window=0"])
