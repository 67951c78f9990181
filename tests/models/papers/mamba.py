"""Mamba: a selective state space model, one token, one channel of the state after another."""
import os

from common import *

DEFAULTS = dict(vocab=64, d=32, layers=2, expand=2, d_state=8, d_conv=4, dt_rank=2, eps=1e-5)
CONFIGS = [
    dict(vocab=11, d=6, layers=2, expand=2, d_state=3, d_conv=4, dt_rank=2),
    {},
    dict(vocab=2, d=1, layers=1, expand=1, d_state=1, d_conv=1, dt_rank=1),
    dict(vocab=17, d=9, layers=3, expand=3, d_state=5, d_conv=7, dt_rank=4, eps=1e-3),
]


def weights(rng, c):
    d, di, s = c["d"], c["expand"] * c["d"], c["d_state"]
    w = {"backbone.embedding.weight": rng.normal(size=(c["vocab"], d))}
    for i in range(c["layers"]):
        p = f"backbone.layers.{i}."
        w |= norm_weights(rng, p + "norm", d, bias=False)
        p += "mixer."
        w |= linear_weights(rng, p + "in_proj", 2 * di, d, bias=False)
        w[p + "conv1d.weight"] = matrix(rng, di, 1, c["d_conv"])
        w[p + "conv1d.bias"] = 0.3 * rng.normal(size=di)
        w |= linear_weights(rng, p + "x_proj", c["dt_rank"] + 2 * s, di, bias=False)
        w |= linear_weights(rng, p + "dt_proj", di, c["dt_rank"])
        w[p + "A_log"] = np.log(rng.uniform(0.1, 4, size=(di, s)))
        w[p + "D"] = rng.normal(size=di)
        w |= linear_weights(rng, p + "out_proj", d, di, bias=False)
    return w | norm_weights(rng, "backbone.norm_f", d, bias=False)


def mixer(u, w, p, c):
    n, di, size, taps, rank = len(u), c["expand"] * c["d"], c["d_state"], c["d_conv"], c["dt_rank"]
    xz = linear(u, w, p + "in_proj")
    x, z = xz[:, :di], xz[:, di:]
    conv = np.tile(w[p + "conv1d.bias"], (n, 1))
    for t in range(n):
        for j in range(taps):
            if t - (taps - 1) + j >= 0:
                conv[t] += w[p + "conv1d.weight"][:, 0, j] * x[t - (taps - 1) + j]
    x = silu(conv)
    y = np.zeros((n, di))
    s = np.zeros((di, size))
    for t in range(n):
        dt, b, out = np.split(w[p + "x_proj.weight"] @ x[t], [rank, rank + size])
        delta = softplus(w[p + "dt_proj.weight"] @ dt + w[p + "dt_proj.bias"])
        for a in range(di):
            s[a] = np.exp(-delta[a] * np.exp(w[p + "A_log"][a])) * s[a] + delta[a] * b * x[t, a]
            y[t, a] = out @ s[a] + w[p + "D"][a] * x[t, a]
    return linear(y * silu(z), w, p + "out_proj")


def forward(tokens, w, c):
    h = w["backbone.embedding.weight"][tokens]
    for i in range(c["layers"]):
        p = f"backbone.layers.{i}."
        h = h + mixer(rms_norm(h, w[p + "norm.weight"], c["eps"]), w, p + "mixer.", c)
    return rms_norm(h, w["backbone.norm_f.weight"], c["eps"]) @ w["backbone.embedding.weight"].T


def sequences(t):
    for n in 1, 2, 13:
        ids = t.ids(t.c["vocab"], n)
        want = forward(ids, t.w, t.c)
        changed = ids.copy()
        changed[-1] = (changed[-1] + 1) % t.c["vocab"]
        new, margin = greedy(lambda x: forward(x, t.w, t.c), ids, 5)
        steps = [t.call("step", "logits", token=k) for k in ids]
        got = t.run(t.call("forward", "logits", tokens=ids), *steps, t.call("forward", "logits", tokens=changed),
                    t.call("generate", "tokens", prompt=ids, max_new=5), t.call("step", "logits", token=new[-1]),
                    t.call("generate", "tokens", prompt=ids, max_new=0), t.call("reset", ""),
                    *steps)
        t.near(f"forward {n}", got[0]["logits"], want)
        t.near(f"steps {n}", np.stack([g["logits"] for g in got[1:n + 1]]), want)
        other = got[n + 1]["logits"]
        t.near(f"causal {n}", other[:-1], got[0]["logits"][:-1], 1e-6)
        t.check(f"the last token counts {n}", not np.array_equal(other[-1], got[0]["logits"][-1]))
        if margin > 1e-3:
            t.equal(f"generate {n}", got[n + 2]["tokens"], new)
            longer = forward(np.concatenate([ids, new]), t.w, t.c)[-1]
            t.near(f"the last generated token is not consumed {n}", got[n + 3]["logits"], longer)
        t.equal(f"generate nothing {n}", got[n + 4]["tokens"].shape, np.array([0]))
        t.check(f"reset {n}", all(np.array_equal(a["logits"], b["logits"]) for a, b in zip(got[1:], got[n + 6:])))


def steady(t, w):
    """Tokens for which half a unit in the last place of each weight in f32 moves the results little."""
    while True:
        ids = t.ids(t.c["vocab"], 9)
        want = forward(ids, w, t.c)
        off = {k: v * (1 + t.rng.choice([-1, 1], size=v.shape) * 2.0**-24) for k, v in w.items()}
        if np.max(np.abs(forward(ids, off, t.c) - want)) < 5e-6 * max(1, np.max(np.abs(want))):
            return ids, want


def selection(t):
    """Property 6, and a step size so large that a naive softplus overflows. There some sequences end in
    differences of what is 800 times as large: a rounding moves them by 6e-4, others by 2e-6."""
    fixed = {k: 0 * v if k.endswith("dt_proj.weight") else v for k, v in t.w.items()}
    large = {k: np.round(v + 800) if k.endswith("dt_proj.bias") else v for k, v in t.w.items()}
    for name, w in ("constant step", fixed), ("large step", large):
        ids, want = steady(t, w)
        got = t.run(t.call("forward", "logits", tokens=ids), weights=w)[0]["logits"]
        t.near(name, got, want, None if t.f64 else 1e-4)
        if name == "constant step" and t.c["d"] > 1:
            t.check("selection matters", np.max(np.abs(got - forward(ids, t.w, t.c))) > 1e-2)


def state(t):
    """Its size does not grow; threads do not matter."""
    call = t.call("forward", "logits", tokens=t.ids(t.c["vocab"], 50))
    one, seven = (t.run(call, more=["--threads", n])[0]["logits"] for n in ("1", "7"))
    t.equal("threads", one, seven)
    sizes = []
    for n in 1, 40:
        path = os.path.join(t.folder, "state.safetensors")
        t.run(*[t.call("step", "", token=0)] * n, more=["--save-state", path])
        sizes.append(os.path.getsize(path))
    t.check("the state is of one size", sizes[0] == sizes[1], str(sizes))
    t.fails("token out of range", t.call("step", "", token=t.c["vocab"]), says="out of range")
    t.fails("nothing to read", t.call("generate", "", prompt=np.zeros(0, np.int32), max_new=1), says="no tokens")
    t.fails("token out of range, forward", t.call("forward", "", tokens=np.array([0, -1])), says="out of range")


def check(t):
    sequences(t)
    selection(t)
    state(t)
