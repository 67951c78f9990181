"""Titans: memories that learn while reading. The memory here is the chunk's closed form (equation 5),
its gradient a complex step, attention is over all rows with a mask, streams are convolved as a whole."""
import os
import re

from common import *

DEFAULTS = dict(vocab=32, d=16, heads=2, layers=2, ff=32, mem_layers=2, mem_hidden=24, chunk=4, window=5,
                persist=3, conv=3, theta_max=0.05, eps=1e-6)
CONFIGS = [
    dict(vocab=7, d=6, heads=2, layers=2, ff=5, mem_layers=1, chunk=3, window=2, persist=2, conv=2,
         theta_max=0.3),
    {},
    dict(vocab=3, d=1, heads=1, layers=1, ff=1, mem_layers=2, mem_hidden=1, chunk=1, window=1, persist=1,
         conv=1),
    dict(vocab=11, d=9, heads=3, layers=1, ff=7, mem_layers=2, mem_hidden=5, chunk=5, window=9, persist=7,
         conv=4, theta_max=0.2, eps=1e-4),
    dict(vocab=5, d=4, heads=4, layers=3, ff=3, mem_layers=1, chunk=16, window=3, persist=0, conv=5),
]
KINDS = "lmm", "mac", "mag", "mal"


def weights(rng, c):
    d, hid = c["d"], c["mem_hidden"]
    w = {"emb.weight": rng.normal(size=(c["vocab"], d)), "head.weight": matrix(rng, c["vocab"], d)}
    w |= norm_weights(rng, "norm", d, bias=False)
    for l in range(c["layers"]):
        p = f"layers.{l}."
        for n in "norm1", "norm2", "gate.norm_y", "gate.norm_m", "mem.norm":
            w |= norm_weights(rng, p + n, d, bias=False)
        for n in "mem.wq", "mem.wk", "mem.wv", "mem.wg", "mem.wo", "attn.wq", "attn.wk", "attn.wv", "attn.wo":
            w[p + n + ".weight"] = matrix(rng, d, d, gain=1.5)
        for n in "mem.conv_q", "mem.conv_k", "mem.conv_v":
            w[p + n + ".weight"] = rng.normal(size=(d, 1, c["conv"]))
        for n in "mem.alpha", "mem.eta", "mem.theta":
            w |= linear_weights(rng, p + n, 1, d)
        if c["mem_layers"] == 1:
            w[p + "mem.M0"] = matrix(rng, d, d)
        else:
            w[p + "mem.M0_1"], w[p + "mem.M0_2"] = matrix(rng, hid, d), matrix(rng, d, hid, gain=2)
        w[p + "persist"] = rng.normal(size=(c["persist"], d))
        w[p + "ff.w1.weight"], w[p + "ff.w3.weight"] = matrix(rng, c["ff"], d), matrix(rng, c["ff"], d)
        w[p + "ff.w2.weight"] = matrix(rng, d, c["ff"])
    return w


# ---- the memory: one vector of all its numbers, so that gradients need no formula -----------------
def shapes(c):
    d, hid = c["d"], c["mem_hidden"]
    return [(d, d)] if c["mem_layers"] == 1 else [(hid, d), (d, hid)]


def start(w, p, c):
    names = ["M0"] if c["mem_layers"] == 1 else ["M0_1", "M0_2"]
    return np.concatenate([w[f"{p}mem.{n}"].ravel() for n in names])


def recall(M, x, c):  # equation 1, M [.., numbers]
    at = 0
    for k, (o, i) in enumerate(shapes(c)):
        W = M[..., at:at + o * i].reshape(*M.shape[:-1], o, i)
        at += o * i
        if k:
            x = x / (1 + np.exp(-x))
        x = (W @ x[..., None])[..., 0]
    return x


def slope(M, k, v, c):  # derivatives by steps along the imaginary axis: exact to rounding
    h = 1e-30
    e = recall(M + 1j * h * np.eye(M.size), k + 0j, c) - v
    return (e * e).sum(-1).imag / h


def learn(M0, q, k, v, alpha, eta, theta, c):
    """Equation 5, chunk by chunk: sums over what was written, weighted by products of gates."""
    M, S, r = M0, 0 * M0, []
    for a in range(0, len(q), c["chunk"]):
        b = min(a + c["chunk"], len(q))
        g = [slope(M, k[t], v[t], c) for t in range(a, b)]
        Ss, Ms = [], []
        for t in range(a, b):
            Ss.append(np.prod(eta[a:t + 1]) * S
                      - sum(np.prod(eta[j + 1:t + 1]) * theta[j] * g[j - a] for j in range(a, t + 1)))
            Ms.append(np.prod(1 - alpha[a:t + 1]) * M
                      + sum(np.prod(1 - alpha[i + 1:t + 1]) * Ss[i - a] for i in range(a, t + 1)))
            r.append(recall(Ms[-1], q[t], c))
        M, S = Ms[-1], Ss[-1]
    return np.array(r).reshape(len(q), -1), M


def learn_online(M0, q, k, v, alpha, eta, theta, c):  # equations 2 to 4
    M, S, r = M0, 0 * M0, []
    for t in range(len(q)):
        if t % c["chunk"] == 0:
            C = M
        S = eta[t] * S - theta[t] * slope(C, k[t], v[t], c)
        M = (1 - alpha[t]) * M + S
        r.append(recall(M, q[t], c))
    return np.array(r)


# ---- the four mixers ------------------------------------------------------------------------------
def stream(x, w, p, of, c):  # equation 6
    y = x @ w[f"{p}mem.w{of}.weight"].T
    tap = w[f"{p}mem.conv_{of}.weight"][:, 0]
    z = np.zeros_like(y)
    for n in range(len(y)):
        for back in range(min(c["conv"], n + 1)):
            z[n] += tap[:, c["conv"] - 1 - back] * y[n - back]
    z = silu(z)
    return z if of == "v" else z / np.sqrt((z ** 2).sum(-1, keepdims=True) + c["eps"])


def inputs(x, w, p, c):
    gates = [sigmoid(linear(x, w, f"{p}mem.{n}")[:, 0]) for n in ("alpha", "eta", "theta")]
    return *(stream(x, w, p, of, c) for of in "qkv"), gates[0], gates[1], c["theta_max"] * gates[2]


def attention(q, kv, seen, w, p, c):  # rows q look at rows kv
    Q, K, V = (heads_first(x @ w[f"{p}attn.{n}.weight"].T, c["heads"])
               for x, n in ((q, "wq"), (kv, "wk"), (kv, "wv")))
    a = softmax(np.einsum("hie,hje->hij", Q, K) / np.sqrt(Q.shape[-1]), seen)
    return heads_last(a @ V) @ w[p + "attn.wo.weight"].T


def gate(y, m, w, p, c):
    return rms_norm(y, w[p + "gate.norm_y.weight"], c["eps"]) * sigmoid(
        rms_norm(m, w[p + "gate.norm_m.weight"], c["eps"]))


def swa(xt, w, p, c):
    i, j = np.arange(len(xt))[:, None], np.arange(len(xt))[None]
    P = c["persist"]
    seen = (j <= i) & ((j < P) | (i - j < c["window"]))
    return attention(xt, xt, seen, w, p, c)[P:]


def lmm(x, w, p, c):
    r, _ = learn(start(w, p, c), *inputs(x, w, p, c), c)
    y = rms_norm(r, w[p + "mem.norm.weight"], c["eps"]) * sigmoid(x @ w[p + "mem.wg.weight"].T)
    return y @ w[p + "mem.wo.weight"].T


def mag(x, w, p, c):
    xt = np.concatenate([w[p + "persist"], x])
    r, _ = learn(start(w, p, c), *inputs(xt, w, p, c), c)
    return gate(swa(xt, w, p, c), r[c["persist"]:], w, p, c)


def mal(x, w, p, c):
    return swa(lmm(np.concatenate([w[p + "persist"], x]), w, p, c), w, p, c)


def mac(x, w, p, c):
    b, P = c["chunk"], c["persist"]
    q, ys, out = stream(x, w, p, "q", c), np.zeros((0, c["d"])), []
    for a in range(0, len(x), b):
        n = min(b, len(x) - a)
        # the memory after all y before this segment
        M = learn(start(w, p, c), *inputs(ys, w, p, c), c)[1] if a else start(w, p, c)
        h = np.array([recall(M, q[t], c) for t in range(a, a + n)])
        before = np.tril(np.ones((n, n), bool))
        y = attention(x[a:a + n], np.concatenate([w[p + "persist"], h, x[a:a + n]]),
                      np.concatenate([np.ones((n, P), bool), before, before], 1), w, p, c)
        ys = np.concatenate([ys, y])
        r, _ = learn(start(w, p, c), *inputs(ys, w, p, c), c)
        out.append(gate(y, r[a:], w, p, c))
    return np.concatenate(out)


def logits(kind, tokens, w, c):
    x = w["emb.weight"][tokens]
    for l in range(c["layers"]):
        p = f"layers.{l}."
        x = x + globals()[kind](rms_norm(x, w[p + "norm1.weight"], c["eps"]), w, p, c)
        y = rms_norm(x, w[p + "norm2.weight"], c["eps"])
        x = x + (silu(y @ w[p + "ff.w1.weight"].T) * (y @ w[p + "ff.w3.weight"].T)) @ w[p + "ff.w2.weight"].T
    return rms_norm(x, w["norm.weight"], c["eps"]) @ w["head.weight"].T


# ---- checks ---------------------------------------------------------------------------------------
def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-3)


def learner(t):
    c, d = t.c, t.c["d"]
    M0 = start(t.w, "layers.0.", c)
    for n in 1, 2 * c["chunk"] + 1, 13:
        q, k, v = t.normal(n, d), t.normal(n, d, scale=d ** -0.5), t.normal(n, d)
        gates = [t.uniform(0, 1, n), t.uniform(0, 1, n), t.uniform(0, 0.1, n)]
        gates[0][n // 2], gates[1][n // 3] = 1, 0  # vanishing products
        zero = np.zeros(n)

        def call(alpha, eta, theta):
            return t.call("memory", "r", q=q, k=k, v=v, alpha=alpha, eta=eta, theta=theta)

        got = t.run(call(*gates), call(zero, zero, zero), call(zero + 1, zero, gates[2]))
        t.near(f"memory {n}", got[0]["r"], learn(M0, q, k, v, *gates, c)[0])
        t.near(f"memory by recurrence {n}", got[0]["r"], learn_online(M0, q, k, v, *gates, c))
        t.near(f"nothing learned {n}", got[1]["r"], [recall(M0, x, c) for x in q])
        want, M = [], M0
        for i in range(n):
            C = M if i % c["chunk"] == 0 else C
            M = -gates[2][i] * slope(C, k[i], v[i], c)
            want.append(recall(M, q[i], c))
        t.near(f"all forgotten {n}", got[2]["r"], want)
    k, v = unit(t.normal(1, d)), t.normal(1, d)
    n = 200
    r = t.run(t.call("memory", "r", q=np.repeat(k, n, 0), k=np.repeat(k, n, 0), v=np.repeat(v, n, 0),
                     alpha=np.zeros(n), eta=np.full(n, 0.3), theta=np.full(n, 0.05)), more=["-D", "chunk=1"])[0]["r"]
    error = np.linalg.norm(r - v, axis=1)
    t.check("a pair repeated is learned", error[-1] < 0.2 * np.linalg.norm(recall(M0, k[0], c) - v[0]),
            f"{error[0]} to {error[-1]}")


def model(t, kind):
    c = t.c
    for n in 1, 2 * c["chunk"] + 1 if c["chunk"] > 1 else 6:
        tokens = t.ids(c["vocab"], n)
        changed = tokens.copy()
        changed[-1] = (changed[-1] + 1) % c["vocab"]
        calls = [t.call(kind, "logits", tokens=x) for x in (tokens, changed)]
        calls += [t.call(kind + "_step", "logits", token=x) for x in tokens]
        calls += [t.call(kind, "logits", tokens=tokens[:1]), t.call("reset", "")]  # `kind` leaves the state
        calls += [t.call(kind + "_step", "logits", token=x) for x in changed]
        got = [g.get("logits") for g in t.run(*calls)]
        want = logits(kind, tokens, t.w, c)
        t.near(f"{kind} {n}", got[0], want)
        t.near(f"{kind} causal {n}", got[1][:-1], want[:-1])
        t.near(f"{kind} steps {n}", np.stack(got[2:2 + n]), want)
        t.near(f"{kind} steps after reset {n}", np.stack(got[4 + n:]), logits(kind, changed, t.w, c))


def state_size(t, kind):
    sizes = []
    for n in 1, 3 * t.c["window"]:
        path = os.path.join(t.folder, "state")
        t.run(*[t.call(kind + "_step", "logits", token=0) for _ in range(n)], more=["--save-state", path])
        sizes.append(os.path.getsize(path))
    t.check(f"{kind} state is flat", sizes[0] == sizes[1], f"{sizes}")


def work_space(t, kind):
    """Linear in the length: attention sees a window, never all pairs."""
    t.check(f"{kind} takes linear room", re.fullmatch(r"\d+ \* N \+ \d+", t.scratch(kind)), t.scratch(kind))


def check(t):
    learner(t)
    for kind in KINDS:
        model(t, kind)
    if t.k == 0:
        for kind in KINDS:
            state_size(t, kind)
            work_space(t, kind)
        t.fails("token outside", t.call("mac", "logits", tokens=np.array([1, 7], np.int32)), says="index out of range")
        t.fails("heads", t.call("lmm", "logits", tokens="1"), says="heads", more=["-D", "heads=5"])
        t.fails("kinds of memory", t.call("lmm", "logits", tokens="1"), says="mem_layers", more=["-D", "mem_layers=3"])
