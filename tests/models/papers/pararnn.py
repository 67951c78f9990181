"""ParaRNN: diagonal GRU and LSTM cells step by step; Newton's method with derivatives by complex steps
and one dense system for all times."""
import os

from common import *

DEFAULTS = dict(cell="gru", vocab=40, d=16, heads=2, layers=2, ffn=24, kernel=4, newton_its=3, eps=1e-6, lr=0.01,
                beta1=0.9, beta2=0.999, adam_eps=1e-8)
CONFIGS = [
    dict(cell="lstm", vocab=11, d=6, heads=3, layers=2, ffn=5, kernel=3, newton_its=4),
    {},
    dict(vocab=2, d=1, heads=1, layers=1, ffn=1, kernel=1, newton_its=0),
    dict(cell="lstm", vocab=3, d=1, heads=1, layers=1, ffn=2, kernel=2, newton_its=2),
    dict(cell="lstm", newton_its=12),
    dict(cell="gru", d=9, heads=3, layers=3, ffn=7, kernel=5, newton_its=12, eps=1e-3),
]


def cell_weights(rng, p, c):
    d, dh = c["d"], c["d"] // c["heads"]
    w = {p + "A": rng.normal(size=(3, d)), p + "B": matrix(rng, c["heads"], dh, 3, dh), p + "b": 0.5 * rng.normal(size=(3, d))}
    if c["cell"] == "lstm":
        w[p + "C"] = rng.normal(size=(2, d))
    return w


def weights(rng, c):
    d = c["d"]
    w = cell_weights(rng, "cell.", c) | norm_weights(rng, "final_norm", d, bias=False)
    w["embedding.weight"] = rng.normal(size=(c["vocab"], d))
    for i in range(c["layers"]):
        p = f"blocks.{2 * i}."
        w |= cell_weights(rng, p + "rnn_cell.", c)
        w |= norm_weights(rng, p + "norm", d, bias=False) | norm_weights(rng, p + "gate_norm", d, bias=False)
        w |= linear_weights(rng, p + "in_proj", 2 * d, d, bias=False)
        w |= linear_weights(rng, p + "out_proj", d, d, bias=False)
        w[p + "conv.conv.weight"] = matrix(rng, d, 1, c["kernel"])
        w[p + "conv.conv.bias"] = 0.3 * rng.normal(size=d)
        w[p + "residual_scale"] = rng.uniform(0.5, 1.5, size=1)
        p = f"blocks.{2 * i + 1}."
        w |= norm_weights(rng, p + "0", d, bias=False)
        w |= linear_weights(rng, p + "1.w1", c["ffn"], d, bias=False) | linear_weights(rng, p + "1.w3", c["ffn"], d, bias=False)
        w |= linear_weights(rng, p + "1.w2", d, c["ffn"], bias=False)
    return w


def logistic(x):  # complex, too
    return 1 / (1 + np.exp(-x))


def inputs(x, w, p, c):  # equation 1
    heads, dh = c["heads"], c["d"] // c["heads"]
    g = np.einsum("thi,hivj->tvhj", x.reshape(len(x), heads, dh), w[p + "B"])
    return g.reshape(len(x), 3, c["d"]) + w[p + "b"]


def step(u, g, w, p, c):  # equations 2 and 3; u is [1, d] or [2, d]
    a = w[p + "A"]
    if c["cell"] == "gru":
        h = u[0]
        z, r = logistic(a[0] * h + g[0]), logistic(a[1] * h + g[1])
        return np.stack([(1 - z) * h + z * np.tanh(a[2] * h * r + g[2])])
    (s, h), peep = u, w[p + "C"]
    f = logistic(a[0] * h + g[0] + peep[0] * s)
    s = f * s + (1 - f) * np.tanh(a[2] * h + g[2])
    return np.stack([s, logistic(a[1] * h + g[1] + peep[1] * s) * np.tanh(s)])


def states(x, w, p, c):
    u, out = np.zeros((1 if c["cell"] == "gru" else 2, c["d"])), []
    for g in inputs(x, w, p, c):
        u = step(u, g, w, p, c)
        out.append(u)
    return np.stack(out)


def newton(x, w, p, c, its):  # equation 4
    g = inputs(x, w, p, c)
    n, d, slots = len(x), c["d"], 1 if c["cell"] == "gru" else 2
    zero = np.zeros((slots, d))
    u = np.stack([step(zero, g[t], w, p, c) for t in range(n)])
    resid = []
    for k in range(its + 1):
        before = np.concatenate([zero[None], u[:-1]])
        r = np.stack([step(before[t], g[t], w, p, c) for t in range(n)]) - u
        resid.append(np.max(np.abs(r)))
        if k == its:
            break
        system = np.tile(np.eye(n * slots), (d, 1, 1))  # a channel each
        for t in range(1, n):
            for j in range(slots):
                tilted = before[t].astype(complex)
                tilted[j] += 1e-30j
                column = step(tilted, g[t], w, p, c).imag / 1e-30
                for i in range(slots):
                    system[:, t * slots + i, (t - 1) * slots + j] -= column[i]
        du = np.linalg.solve(system, r.reshape(n * slots, d).T[..., None])[..., 0]
        u = u + du.T.reshape(n, slots, d)
    return u[:, -1], np.array(resid)


def lm(ids, w, c):  # equation 8
    eps, taps = c["eps"], c["kernel"]
    x = w["embedding.weight"][ids]
    for i in range(c["layers"]):
        p = f"blocks.{2 * i}."
        a, s = np.split(linear(rms_norm(x, w[p + "norm.weight"], eps), w, p + "in_proj"), 2, 1)
        conv = np.tile(w[p + "conv.conv.bias"], (len(ids), 1))
        for t in range(len(ids)):
            for k in range(taps):
                if t - taps + 1 + k >= 0:
                    conv[t] += w[p + "conv.conv.weight"][:, 0, k] * a[t - taps + 1 + k]
        y = states(silu(conv), w, p + "rnn_cell.", c)[:, -1]
        gated = rms_norm(y, w[p + "gate_norm.weight"], eps) * silu(s)
        x = x * w[p + "residual_scale"] + linear(gated, w, p + "out_proj")
        p = f"blocks.{2 * i + 1}."
        z = rms_norm(x, w[p + "0.weight"], eps)
        x = x + linear(silu(linear(z, w, p + "1.w1")) * linear(z, w, p + "1.w3"), w, p + "1.w2")
    return rms_norm(x, w["final_norm.weight"], eps) @ w["embedding.weight"].T


def cells(t):
    its = t.c["newton_its"]
    for n in 1, 2, 17:
        x = t.normal(n, t.c["d"], scale=2)
        changed = x.copy()
        changed[-1] += 1
        got = t.run(t.call("cell_forward", "h", x=x), t.call("cell_newton", "h resid", x=x),
                    t.call("cell_forward", "h", x=changed))
        want = states(x, t.w, "cell.", t.c)[:, -1]
        h, resid = newton(x, t.w, "cell.", t.c, its)
        t.near(f"cell {n}", got[0]["h"], want)
        t.near(f"newton {n}", got[1]["h"], h)
        t.near(f"residuals {n}", got[1]["resid"], resid)
        t.near(f"the first states are exact {n}", got[1]["h"][:its + 1], want[:its + 1])
        t.equal(f"causal {n}", got[2]["h"][:-1], got[0]["h"][:-1])
        fall = got[1]["resid"].astype(float)
        floor = 1e-11 if t.f64 else 1e-5
        t.check(f"quadratic {n}", all(b <= max(10 * a * a, floor) for a, b in zip(fall, fall[1:]) if a < 0.1), str(fall))
        if its >= 12:
            t.near(f"converged {n}", got[1]["h"], got[0]["h"], 1e-9 if t.f64 else 1e-5)
    for n in 40, 1000:  # the compiler's own form of the plain loop, taken where there is one channel
        x = t.normal(n, t.c["d"])
        got = t.run(t.call("cell_forward", "h", x=x), more=["--parallel-rnn"])
        t.near(f"--parallel-rnn {n}", got[0]["h"], states(x, t.w, "cell.", t.c)[:, -1])
    if its >= 12:  # as many iterations for long sequences
        for n in (256, 65536) if not t.slow else (256,):
            x = t.normal(n, t.c["d"])
            got = t.run(t.call("cell_forward", "h", x=x), t.call("cell_newton", "h resid", x=x))
            t.near(f"converged {n}", got[1]["h"], got[0]["h"], 1e-5)
            needed = int(np.argmax(got[1]["resid"] < 1e-6))
            t.check(f"iterations {n}", 0 < needed <= 8, str(got[1]["resid"]))


def model(t):
    for n in 1, 2, 13:
        ids = t.ids(t.c["vocab"], n)
        want = lm(ids, t.w, t.c)
        changed = ids.copy()
        changed[-1] = (changed[-1] + 1) % t.c["vocab"]
        steps = [t.call("lm_step", "logits", id=k) for k in ids]
        whole = t.call("lm_forward", "logits", ids=ids)
        got = t.run(whole, t.call("lm_loss", "loss", ids=ids), t.call("lm_forward", "logits", ids=changed), steps[0],
                    whole, *steps[1:], t.call("reset", ""), *steps)
        t.near(f"logits {n}", got[0]["logits"], want)
        loss = (logsumexp(want[:-1]) - want[np.arange(n - 1), ids[1:]]).mean() if n > 1 else 0
        t.near(f"loss {n}", got[1]["loss"], loss)
        t.near(f"logits causal {n}", got[2]["logits"][:-1], got[0]["logits"][:-1], 1e-6)
        first = got[3:4] + got[5:n + 4]
        t.near(f"steps {n}", np.stack([g["logits"] for g in first]), want)
        t.equal(f"reset {n}", np.stack([g["logits"] for g in got[n + 5:]]), np.stack([g["logits"] for g in first]))
    sizes = []
    for n in 1, 30:
        path = os.path.join(t.folder, "state.safetensors")
        t.run(*[t.call("lm_step", "", id=0)] * n, more=["--save-state", path])
        sizes.append(os.path.getsize(path))
    t.check("the state is of one size", sizes[0] == sizes[1], str(sizes))
    t.fails("id out of range", t.call("lm_step", "", id=t.c["vocab"]), says="out of range")


def check(t):
    cells(t)
    model(t)
