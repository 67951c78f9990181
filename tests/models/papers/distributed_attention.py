"""Attention, decayed attention and linear scans, and the merge of partial results over parts of the keys."""
from common import *

DEFAULTS = dict(d=32, heads=4, head_dim=8, Rh=2, Rs=3, causal=1, dk=8, dv=8, dscan=16)
CONFIGS = [
    dict(d=5, heads=3, head_dim=3, Rh=1, Rs=4, causal=0, dk=2, dv=5, dscan=3),
    {},
    dict(d=1, heads=1, head_dim=1, Rh=1, Rs=1, dk=1, dv=1, dscan=1),
    dict(d=17, heads=7, head_dim=5, Rh=3, Rs=2, causal=1, dk=9, dv=4, dscan=11),
]


def weights(rng, c):
    inner = c["heads"] * c["head_dim"]
    w = linear_weights(rng, "o_proj", c["d"], inner, bias=False)
    for n in "q_proj", "k_proj", "v_proj":
        w |= linear_weights(rng, n, inner, c["d"], bias=False)
    return w


def mha(x, w, c):
    q, k, v = (heads_first(linear(x, w, n), c["heads"]) for n in ("q_proj", "k_proj", "v_proj"))
    allowed = np.tri(len(x), dtype=bool) if c["causal"] else True
    return linear(heads_last(softmax(q @ k.transpose(0, 2, 1) / np.sqrt(c["head_dim"]), allowed) @ v), w, "o_proj")


def lightning(q, k, v, lam):
    n = q.shape[1]
    age = np.arange(n)[:, None] - np.arange(n)
    decay = np.where(age >= 0, lam[:, None, None] ** np.maximum(age, 0), 0)
    return (q @ k.transpose(0, 2, 1) * decay) @ v


def linear_scan(a, b):
    h = np.zeros_like(b)
    for t in range(len(a)):
        for s in range(t + 1):
            h[t] += np.prod(a[s + 1:t + 1], axis=0) * b[s]
    return h


def partial(q, k, v):
    """o, m, l of the query rows over a set of keys; nothing: 0, -1e30, 0."""
    if not len(k):
        return np.zeros((len(q), v.shape[1])), np.full(len(q), -1e30), np.zeros(len(q))
    s = q @ k.T
    m = s.max(1)
    e = np.exp(s - m[:, None])
    return e @ v / e.sum(1, keepdims=True), m, e.sum(1)


def merging(t):
    q, k, v = t.normal(6, 4), t.normal(11, 4, scale=3), t.normal(11, 3)
    cuts = [(0, 4), (4, 5), (5, 11), (3, 3)]
    a, b, c, none = (partial(q, k[i:j], v[i:j]) for i, j in cuts)
    whole = partial(q, k, v)

    def call(x, y):
        return t.call("merge", "o m l", **{n + i: z for i, p in (("1", x), ("2", y)) for n, z in zip("oml", p)})

    def parts(g):
        return [g[n].astype(np.float64) for n in "oml"]

    ab, bc, ba, left, right, empty = t.run(call(a, b), call(b, c), call(b, a), call(none, a), call(a, none),
                                           call(none, none))
    first, last = t.run(call(parts(ab), c), call(a, parts(bc)))
    for i, n in enumerate("oml"):
        t.near("merge " + n, ab[n], partial(q, k[:5], v[:5])[i])
        t.near("all keys " + n, first[n], whole[i])
        t.near("associative " + n, last[n], first[n], 1e-6)
        t.near("commutative " + n, ba[n], ab[n], 1e-6)
        t.equal("nothing before " + n, left[n], a[i].astype(t.float))
        t.equal("nothing behind " + n, right[n], a[i].astype(t.float))
        t.equal("nothing with nothing " + n, empty[n], none[i].astype(t.float))


def check(t):
    c = t.c
    for n in 0, 1, 2, 13:
        x = t.normal(n, c["d"])
        q, k, v = t.normal(c["heads"], n, c["dk"]), t.normal(c["heads"], n, c["dk"]), t.normal(c["heads"], n, c["dv"])
        lam = t.uniform(0.5, 1, c["heads"])
        a, b = t.uniform(-1, 1, n, c["dscan"]), t.normal(n, c["dscan"])
        one, keys, values = (t.normal(c["heads"], *m, c["head_dim"]) for m in ((), (n,), (n,)))
        got = t.run(t.call("mha", "y", x=x), t.call("lightning", "o", q=q, k=k, v=v, lam=lam),
                    t.call("scan", "h", a=a, b=b), t.call("decode", "o", q=one, k=keys, v=values))
        t.near(f"mha {n}", got[0]["y"], mha(x, t.w, c))
        t.near(f"lightning {n}", got[1]["o"], lightning(q, k, v, lam))
        t.near(f"scan {n}", got[2]["h"], linear_scan(a, b))
        s = softmax(np.einsum("he,hne->hn", one, keys) / np.sqrt(c["head_dim"]))
        t.near(f"decode {n}", got[3]["o"], np.einsum("hn,hne->he", s, values))
        if n and c["causal"]:
            changed = np.concatenate([x[:-1], x[-1:] + 1])
            t.near(f"causal {n}", t.one("mha", "y", x=changed)[:-1], got[0]["y"][:-1])
    merging(t)
    t.fails("heads", t.call("lightning", "o", q=q[:, :, :0], k=k, v=v, lam=lam), says="axis 2")
    t.fails("lengths", t.call("scan", "h", a=a, b=b[1:]), says="N = 13")
