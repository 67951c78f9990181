"""Lightning attention: linear attention with decay, by the full N x N matrix."""
import os

from common import *

DEFAULTS = dict(d=32, heads=4, e=8, layer=1, layers=4, eps=1e-5)
CONFIGS = [
    dict(d=9, heads=3, e=5, layer=0, layers=2),
    {},
    dict(d=1, heads=1, e=1, layer=2, layers=3),
    dict(d=14, heads=7, e=3, layer=4, layers=5, eps=1e-3),
    dict(d=24, heads=12, e=2, layer=2, layers=9),
]


def weights(rng, c):
    d, dh = c["d"], c["d"] // c["heads"]
    w = norm_weights(rng, "norm", d)
    for n in "qkvo":
        w |= linear_weights(rng, n + "_proj", d, d, bias=False)
    w |= linear_weights(rng, "output_gate.0", dh, d, bias=False)
    return w | linear_weights(rng, "output_gate.1", d, dh, bias=False)


def attention(q, k, v, slope):  # equation 1
    n = q.shape[1]
    far = np.arange(n)[:, None] - np.arange(n)[None]
    decay = np.where(far >= 0, np.exp(-slope[:, None, None] * np.maximum(far, 0)), 0)
    return (q @ k.transpose(0, 2, 1) * decay) @ v


def forward(x, w, c):
    q, k, v = (heads_first(silu(linear(x, w, n + "_proj")), c["heads"]) for n in "qkv")
    slope = alibi_slopes(c["heads"]) * (1 - c["layer"] / (c["layers"] - 1) + 1e-5)
    o = layer_norm(heads_last(attention(q, k, v, slope)), w, "norm", c["eps"])
    return linear(o * sigmoid(linear(linear(x, w, "output_gate.0"), w, "output_gate.1")), w, "o_proj")


def operator(t):
    for h, n, dk, dv in (1, 1, 1, 1), (3, 17, 5, 2), (4, 67, 3, 7), (2, 1, 4, 3):
        q, k, v, v2 = t.normal(h, n, dk), t.normal(h, n, dk), t.normal(h, n, dv), t.normal(h, n, dv)
        slope = t.uniform(0, 1, h)
        slope[0] = 8.0
        changed = q.copy(), k.copy(), v.copy()
        for x in changed:
            x[:, -1] += 1

        def call(q, k, v, slope=slope):
            return t.call("attention", "o", q=q, k=k, v=v, slope=slope)

        got = t.run(call(q, k, v), call(q, k, v, 0 * slope), call(q, k, v2), call(q, k, 2 * v - 3 * v2), call(*changed))
        got = [g["o"] for g in got]
        name = f"attention {h} {n} {dk} {dv} "
        t.near(name, got[0], attention(q, k, v, slope))
        sums = np.cumsum(k[..., None] * v[:, :, None], 1)
        t.near(name + "without decay", got[1], np.einsum("hnk,hnkv->hnv", q, sums))
        t.near(name + "linear in v", got[3], 2 * got[0] - 3 * got[2])
        t.equal(name + "causal", got[4][:, :-1], got[0][:, :-1])


def steps(t):
    h, dh, e, n = t.c["heads"], t.c["d"] // t.c["heads"], t.c["e"], 11
    q, k, v, slope = t.normal(h, n, dh), t.normal(h, n, dh), t.normal(h, n, e), t.uniform(0, 2, h)
    calls = [t.call("attention_step", "o", q=q[:, i], k=k[:, i], v=v[:, i], slope=slope) for i in range(n)]
    whole = t.call("attention", "o", q=q, k=k, v=v, slope=slope)
    sizes = []
    for count in 1, n:
        path = os.path.join(t.folder, "state.safetensors")
        t.run(*calls[:count], more=["--save-state", path])
        sizes.append(os.path.getsize(path))
    t.check("the state is of one size", sizes[0] == sizes[1], str(sizes))
    got = t.run(calls[0], whole, *calls[1:], t.call("attention_reset", ""), *calls)
    o = attention(q, k, v, slope)
    t.near("whole sequence", got[1]["o"], o)
    t.near("steps", np.stack([got[0]["o"]] + [g["o"] for g in got[2:n + 1]], 1), o)
    t.near("steps after a reset", np.stack([g["o"] for g in got[n + 2:]], 1), o)


def module(t):
    for n in 1, 19:
        x = t.normal(n, t.c["d"])
        changed = x.copy()
        changed[-1] += 1
        got = t.run(t.call("forward", "y", x=x), t.call("forward", "y", x=changed))
        t.near(f"forward {n}", got[0]["y"], forward(x, t.w, t.c))
        t.equal(f"forward causal {n}", got[1]["y"][:-1], got[0]["y"][:-1])
    x = t.normal(1, t.c["d"] + 1)
    t.fails("too wide", t.call("forward", "", x=x), says="axis 1 must be")


def check(t):
    operator(t)
    steps(t)
    module(t)
