"""Sigmoid attention and its softmax twin, by full matrices."""
import os

from common import *

DEFAULTS = dict(vocab=64, d=32, heads=4, layers=2, ff=64, eps=1e-5, kind=0, n_ctx=0, causal=1, alibi=1, rope=0,
                qk_norm=1, layer_scale=1, hybrid_norm=0)
CONFIGS = [
    dict(vocab=11, d=12, heads=3, layers=2, ff=7, n_ctx=9, rope=1, hybrid_norm=1),
    {},
    dict(vocab=5, d=6, heads=3, layers=2, ff=5, n_ctx=4, causal=0, alibi=0, qk_norm=0, layer_scale=0),
    dict(vocab=9, d=10, heads=5, layers=1, ff=4, kind=1, n_ctx=3, rope=1, alibi=0, qk_norm=0),
    dict(vocab=3, d=1, heads=1, layers=1, ff=1, n_ctx=1, causal=0, qk_norm=0, layer_scale=0, hybrid_norm=1),
    dict(d=24, heads=6, kind=1, causal=0, eps=1e-3),
]


def weights(rng, c):
    d, dh = c["d"], c["d"] // c["heads"]
    w = {"emb.weight": rng.normal(size=(c["vocab"], d))}
    for i in range(c["layers"]):
        p = f"blocks.{i}."
        for n in ["norm1", "norm2"] + ["norm_attn"] * c["hybrid_norm"]:
            w |= norm_weights(rng, p + n, d)
        w |= linear_weights(rng, p + "attn.qkv", 3 * d, d, bias=False)
        w |= linear_weights(rng, p + "attn.proj", d, d, bias=False)
        if c["qk_norm"]:
            w |= norm_weights(rng, p + "attn.q_norm", dh) | norm_weights(rng, p + "attn.k_norm", dh)
        if c["layer_scale"]:
            w[p + "ls1.gamma"], w[p + "ls2.gamma"] = rng.normal(size=d), rng.normal(size=d)
        w |= linear_weights(rng, p + "mlp.fc1", c["ff"], d) | linear_weights(rng, p + "mlp.fc2", d, c["ff"])
    w |= norm_weights(rng, "norm", d)
    return w | linear_weights(rng, "head", c["vocab"], d, bias=False)


def attention(q, k, v, c):  # equations 1 to 4
    n = k.shape[1]
    i, j = np.arange(n)[:, None], np.arange(n)[None]
    s = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2])
    if c["alibi"]:
        s = s + alibi_slopes(c["heads"])[:, None, None] * (j - i if c["causal"] else -np.abs(i - j))
    allowed = (j <= i) | (c["causal"] == 0)
    if c["kind"] == 1:
        return softmax(s, allowed) @ v
    return np.where(allowed, sigmoid(s - np.log(c["n_ctx"] or n)), 0) @ v


def rotated(x):  # interleaved pairs
    dh = x.shape[2]
    turn = np.exp(1j * np.arange(x.shape[1])[:, None] * 10000.0 ** (-2 * np.arange(dh // 2) / dh))
    z = (x[..., ::2] + 1j * x[..., 1::2]) * turn
    return np.stack([z.real, z.imag], -1).reshape(x.shape)


def forward(tokens, w, c):
    x, eps = w["emb.weight"][tokens], c["eps"]
    for i in range(c["layers"]):
        p = f"blocks.{i}."
        y = linear(layer_norm(x, w, p + "norm1", eps), w, p + "attn.qkv")
        q, k, v = (heads_first(part, c["heads"]) for part in np.split(y, 3, 1))
        if c["qk_norm"]:
            q, k = layer_norm(q, w, p + "attn.q_norm", eps), layer_norm(k, w, p + "attn.k_norm", eps)
        if c["rope"]:
            q, k = rotated(q), rotated(k)
        a = linear(heads_last(attention(q, k, v, c)), w, p + "attn.proj")
        if c["hybrid_norm"]:
            a = layer_norm(a, w, p + "norm_attn", eps)
        x = x + a * w.get(p + "ls1.gamma", 1)
        m = linear(gelu(linear(layer_norm(x, w, p + "norm2", eps), w, p + "mlp.fc1")), w, p + "mlp.fc2")
        x = x + m * w.get(p + "ls2.gamma", 1)
    return linear(layer_norm(x, w, "norm", eps), w, "head")


def operator(t):
    h = t.c["heads"]
    for n, dh, dv in (1, 1, 1), (2, 3, 2), (19, 5, 4), (37, 2, 7):
        q, k, v = t.normal(h, n, dh), t.normal(h, n, dh), t.normal(h, n, dv)
        hidden, changed = v.copy(), (k.copy(), v.copy())
        hidden[:, n // 2:] = 0
        changed[0][:, -1] += 1
        changed[1][:, -1] += 1

        def call(q, k, v):
            return t.call("attention", "o", q=q, k=k, v=v)

        got = [g["o"] for g in t.run(call(q, k, v), call(1000 * q, k, v), call(q, *changed), call(q, k, hidden),
                                     call(q, k, v - hidden))]
        t.near(f"attention {n} {dh} {dv}", got[0], attention(q, k, v, t.c))
        t.check(f"large scores stay finite {n}", np.all(np.isfinite(got[1])))
        t.near(f"large scores {n}", got[1], attention(1000 * q, k, v, t.c), 1e-9 if t.f64 else 1e-2)
        if t.c["causal"]:
            t.equal(f"attention causal {n}", got[2][:, :-1], got[0][:, :-1])
        t.near(f"additive over keys {n}", got[3] + got[4], got[0], 1e-9 if t.f64 else 1e-5)
        if t.c["kind"] == 0 and t.c["n_ctx"] and t.c["alibi"] == 0 and not t.c["causal"] and n > 1:
            m = n // 2  # keys without values are as good as deleted
            fewer = t.one("attention", "o", q=q[:, :m], k=k[:, :m], v=v[:, :m])
            t.near(f"keys do not compete {n}", fewer, got[3][:, :m], 1e-9 if t.f64 else 1e-5)


def sequences(t):
    causal, steps_defined = t.c["causal"] == 1, t.c["causal"] == 1 and (t.c["n_ctx"] > 0 or t.c["kind"] == 1)
    for n in 1, 2, 14:
        ids = t.ids(t.c["vocab"], n)
        want = forward(ids, t.w, t.c)
        changed = ids.copy()
        changed[-1] = (changed[-1] + 1) % t.c["vocab"]
        order = t.rng.permutation(n)
        whole = t.call("forward", "logits", tokens=ids)
        got = t.run(whole, t.call("forward", "logits", tokens=changed), t.call("forward", "logits", tokens=ids[order]))
        t.near(f"forward {n}", got[0]["logits"], want)
        if causal:
            t.near(f"causal {n}", got[1]["logits"][:-1], got[0]["logits"][:-1], 1e-6)
        elif not t.c["alibi"] and not t.c["rope"]:
            t.near(f"order of tokens is order of logits {n}", got[2]["logits"], got[0]["logits"][order], 1e-5)
        if steps_defined:
            steps = [t.call("step", "logits", token=k) for k in ids]
            got = t.run(steps[0], whole, *steps[1:], t.call("reset", ""), *steps)
            first = np.stack([g["logits"] for g in got[:1] + got[2:n + 1]])
            t.near(f"steps {n}", first, want)
            t.equal(f"reset {n}", np.stack([g["logits"] for g in got[n + 2:]]), first)
    t.fails("token out of range", t.call("forward", "", tokens=np.array([0, t.c["vocab"]])), says="out of range")
    if not steps_defined:
        t.fails("no step", t.call("step", "", token=0), status=2, says="no entry `step`")


def check(t):
    operator(t)
    sequences(t)
    if t.k == 0:
        t.fails("no such kind", t.call("reset", ""), more=["-D", "kind=2"], says="kind is 0 (sigmoid) or 1")
