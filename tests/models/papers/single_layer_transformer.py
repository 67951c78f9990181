"""A single layer: attention row by row, then the ReLU units; the hand-built interpolation of a function."""
import os

from common import *
from harness import Runner

DEFAULTS = dict(d_in=3, d=16, heads=2, ff=24, d_out=2, nmax=12, lr=0.01, beta1=0.9, beta2=0.999, eps=1e-6)
CONFIGS = [
    dict(d_in=2, d=9, heads=3, ff=7, d_out=5, nmax=19),
    {},
    dict(d_in=1, d=4, heads=2, ff=16, d_out=1, nmax=40),
    dict(d_in=1, d=1, heads=1, ff=1, d_out=1, nmax=1),
]


def weights(rng, c):
    w = linear_weights(rng, "embed", c["d"], c["d_in"]) | {"pos.weight": rng.normal(size=(c["nmax"], c["d"]))}
    for n in "w_q", "w_k", "w_v", "w_o":
        w["attn." + n] = matrix(rng, c["d"], c["d"], gain=1.5)
    return w | linear_weights(rng, "ffn.w1", c["ff"], c["d"]) | linear_weights(rng, "ffn.w2", c["d_out"], c["ff"])


def forward(x, w, c, places=True):
    """output, attention"""
    z = linear(x, w, "embed")
    if places:
        z = z + w["pos.weight"][:len(x)]
    q, k, v = (z @ w["attn." + n].T for n in ("w_q", "w_k", "w_v"))
    A, o, dk = np.zeros((c["heads"], len(x), len(x))), np.zeros_like(z), c["d"] // c["heads"]
    for h in range(c["heads"]):
        part = slice(h * dk, (h + 1) * dk)
        for i in range(len(x)):
            s = np.array([q[i, part] @ k[j, part] for j in range(len(x))]) / np.sqrt(dk)
            A[h, i] = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
            o[i, part] = A[h, i] @ v[:, part]
    u = z + o @ w["attn.w_o"].T
    return linear(np.maximum(linear(u, w, "ffn.w1"), 0), w, "ffn.w2"), A


def layer(t):
    c = t.c
    for n in sorted({1, min(3, c["nmax"]), c["nmax"]}):
        x = t.normal(n, c["d_in"])
        order, changed = t.rng.permutation(n), x.copy()
        changed[-1] += 1
        got = t.run(t.call("forward", "y", x=x), t.call("attention", "attn", x=x), t.call("forward_nopos", "y", x=x),
                    t.call("forward_nopos", "y", x=x[order]), t.call("forward", "y", x=x[order]),
                    t.call("reset", ""), t.call("forward", "y", x=changed))
        y, A = forward(x, t.w, c)
        t.near(f"forward {n}", got[0]["y"], y)
        t.near(f"attention {n}", got[1]["attn"], A)
        t.near(f"rows of attention {n}", got[1]["attn"].sum(-1), np.ones((c["heads"], n)), 1e-6)
        t.near(f"without places {n}", got[2]["y"], forward(x, t.w, c, places=False)[0])
        t.near(f"permuted without places {n}", got[3]["y"], got[2]["y"][order])
        if n > 2:
            t.check(f"places count {n}", np.abs(got[4]["y"] - got[0]["y"][order]).max() > 1e-3)
            t.check(f"not causal {n}", np.abs(got[6]["y"][0] - got[0]["y"][0]).max() > 1e-6)


def built(t):
    """Equation 7: the weights that interpolate f on [0, 1]."""
    c, ff = t.c, t.c["ff"]

    def f(x):
        return np.sin(3 * x) + x * x

    knots = np.arange(ff + 1) / ff
    s = ff * np.diff(f(knots))
    w = {n: np.zeros_like(v) for n, v in t.w.items()}
    w["embed.weight"][0, 0] = 1
    w["ffn.w1.weight"][:, 0] = 1
    w["ffn.w1.bias"] = -knots[:-1]
    w["ffn.w2.weight"][0] = np.diff(s, prepend=0)
    w["ffn.w2.bias"][0] = f(0)
    path = os.path.join(t.folder, "built.safetensors")
    t.save(w, path)
    runner = Runner(t.runner.seqm, t.runner.model, [path if o == t.path else o for o in t.runner.options], t.folder)
    x = t.uniform(0, 1, c["nmax"], 1)
    y = runner.run([t.call("forward", ["y"], x=x)])[0]["y"]
    t.near("interpolation", y[:, 0], np.interp(x[:, 0], knots, f(knots)), 1e-5)
    t.check("error of the interpolation", np.abs(y - f(x)).max() <= 11 / (8 * ff ** 2) + 1e-5)  # |f''| <= 9 + 2


def check(t):
    layer(t)
    if t.c["d_in"] == t.c["d_out"] == 1:
        built(t)
    t.fails("too long", t.call("forward", "", x=t.normal(t.c["nmax"] + 1, t.c["d_in"])), says="longer than nmax")
    if t.k == 0:
        t.fails("heads", t.call("forward", "", x=t.normal(2, 2)), says="heads", more=["-D", "heads=2"])
