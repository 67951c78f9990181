"""Attention as an RNN: softmax attention for a fixed query as a recurrence on (m, u, w)."""
from common import *

DEFAULTS = dict(d_in=6, d_out=5, d=32, heads=4, layers=2, ff=48, eps=1e-5)
CONFIGS = [
    dict(d_in=3, d_out=2, d=6, heads=2, layers=2, ff=7),
    {},
    dict(d_in=1, d_out=1, d=1, heads=1, layers=1, ff=1),
    dict(d_in=5, d_out=7, d=15, heads=5, layers=3, ff=11, eps=1e-3),
]


def weights(rng, c):
    d = c["d"]
    w = linear_weights(rng, "in", d, c["d_in"]) | linear_weights(rng, "out", c["d_out"], d)
    w |= norm_weights(rng, "norm", d)
    for i in range(c["layers"]):
        p = f"layers.{i}."
        w[p + "query"] = 2 * rng.normal(size=d)
        for n in "wq", "wk", "wv", "wo":
            w |= linear_weights(rng, p + n, d, d, bias=False)
        w |= norm_weights(rng, p + "norm1", d) | norm_weights(rng, p + "norm2", d)
        w |= linear_weights(rng, p + "ff1", c["ff"], d) | linear_weights(rng, p + "ff2", d, c["ff"])
    return w


def combine(a, b):  # equation 1
    m = np.maximum(a[0], b[0])
    both = np.where(np.isfinite(m), m, 0)
    x, y = np.exp(a[0] - both), np.exp(b[0] - both)
    return m, a[1] * x + b[1] * y, a[2] * x[..., None] + b[2] * y[..., None]


def prefix(s, v):  # equation 2, by direct sums
    m = np.maximum.accumulate(s)
    e = np.tril(np.exp(np.minimum(s[None] - m[:, None], 0)))
    u = e.sum(1)
    return e @ v / u[:, None], m, u


def forward(x, w, c):
    h = linear(x, w, "in")
    dh = c["d"] // c["heads"]
    for i in range(c["layers"]):
        p = f"layers.{i}."
        y = layer_norm(h, w, p + "norm1", c["eps"])
        q = (w[p + "wq.weight"] @ w[p + "query"]).reshape(c["heads"], dh)
        k, v = (heads_first(linear(y, w, p + n), c["heads"]) for n in ("wk", "wv"))
        s = np.einsum("he,hne->hn", q, k) / np.sqrt(dh)
        o = np.stack([prefix(s[a], v[a])[0] for a in range(c["heads"])])
        h = h + linear(heads_last(o), w, p + "wo")
        h = h + linear(np.maximum(linear(layer_norm(h, w, p + "norm2", c["eps"]), w, p + "ff1"), 0), w, p + "ff2")
    return linear(layer_norm(h, w, "norm", c["eps"]), w, "out")


def operators(t):
    for n, dim in (1, 3), (13, 1), (40, 5):
        s, v = t.normal(n, scale=3), t.normal(n, dim)
        o, m, u = prefix(s, v)
        shifted = s + 1000
        got = t.run(t.call("prefix", "o m u", s=s, v=v), t.call("attention", "o", s=s, v=v),
                    t.call("prefix", "o", s=shifted, v=v), t.call("prefix", "o", s=0 * s, v=v))
        t.near(f"prefix {n}", got[0]["o"], o)
        t.near(f"prefix m {n}", got[0]["m"], m)
        t.near(f"prefix u {n}", got[0]["u"], u)
        t.near(f"attention {n}", got[1]["o"], o[-1])
        t.near(f"shifted {n}", got[2]["o"], o, 1e-9 if t.f64 else 1e-3)  # s + 1000 rounds in f32
        t.near(f"mean {n}", got[3]["o"], np.cumsum(v, 0) / np.arange(1, n + 1)[:, None])
    a, b, d = ((t.normal(4, scale=2), t.uniform(0.5, 2, 4), t.normal(4, 3)) for _ in range(3))
    none = (np.full(4, -np.inf), np.zeros(4), np.zeros((4, 3)))

    def call(x, y):
        return t.call("combine", "m u w", m_a=x[0], u_a=x[1], w_a=x[2], m_b=y[0], u_b=y[1], w_b=y[2])

    ab, bd = combine(a, b), combine(b, d)
    got = t.run(call(a, b), call(ab, d), call(a, bd), call(none, a), call(a, none), call(none, none))
    for k, n in enumerate("muw"):
        t.near(f"combine {n}", got[0][n], ab[k])
        t.near(f"associative {n}", got[1][n], got[2][n], 1e-6)
        t.near(f"identity left {n}", got[3][n], a[k])
        t.near(f"identity right {n}", got[4][n], a[k])
        t.check(f"nothing with nothing {n}", not np.any(np.isnan(got[5][n])))


def model(t):
    for n in 1, 7, 17:
        x = t.normal(n, t.c["d_in"])
        want = forward(x, t.w, t.c)
        changed = x.copy()
        changed[-1] += 1
        cut = n // 3
        calls = [t.call("forward", "y", x=x), t.call("forward", "y", x=changed)]
        calls += [t.call("step", "y", x=row) for row in x]
        calls += [t.call("reset", ""), t.call("update_block", "y", x=x)]
        calls += [t.call("reset", ""), t.call("step", "y", x=x[0])]
        if cut:
            calls += [t.call("update_block", "y", x=x[1:cut + 1]), t.call("step", "y", x=x[cut + 1]),
                      t.call("update_block", "y", x=x[cut + 2:])]
        got = t.run(*calls)
        t.near(f"forward {n}", got[0]["y"], want)
        t.near(f"causal {n}", got[1]["y"][:-1], want[:-1])
        t.near(f"steps {n}", np.stack([g["y"] for g in got[2:2 + n]]), want)
        t.near(f"one block {n}", got[3 + n]["y"], want)
        if cut:
            blocks = [got[5 + n]["y"][None], got[6 + n]["y"], got[7 + n]["y"][None], got[8 + n]["y"]]
            t.near(f"blocks and steps {n}", np.concatenate(blocks), want)


def check(t):
    operators(t)
    model(t)
