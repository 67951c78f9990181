"""Combiner: every position attends to all allowed ones, directly or through summaries of sets."""
from common import *

DEFAULTS = dict(vocab=64, d=32, heads=4, layers=2, ff=64, seg=4, max_len=64, causal=1, eps=1e-6)
CONFIGS = [
    dict(vocab=7, d=6, heads=2, layers=2, ff=5, seg=3, max_len=20),
    dict(vocab=9, d=9, heads=3, layers=1, ff=4, seg=4, max_len=20, causal=0, eps=1e-3),
    {},
    dict(vocab=3, d=1, heads=1, layers=1, ff=1, seg=1, max_len=20),
    dict(vocab=5, d=10, heads=2, layers=3, ff=3, seg=40, max_len=20),
]
LENGTHS = 1, 2, 7, 16, 19


def weights(rng, c):
    d = c["d"]
    w = {"emb.weight": rng.normal(size=(c["vocab"], d)), "pos.weight": 0.5 * rng.normal(size=(c["max_len"], d)),
         "head.weight": matrix(rng, c["vocab"], d)}
    w |= norm_weights(rng, "norm", d)
    for i in range(c["layers"]):
        p = f"layers.{i}."
        w |= norm_weights(rng, p + "norm1", d) | norm_weights(rng, p + "norm2", d)
        for n in "query", "key", "value", "out":
            w |= linear_weights(rng, p + n, d, d, bias=False)
        w |= linear_weights(rng, p + "ff1", c["ff"], d) | linear_weights(rng, p + "ff2", d, c["ff"])
    return w


# ---- which positions i sees, directly and in sets (equations 3, 4, 5) ------------------------------
def fixed_sets(i, n, seg, causal):
    segments = [list(range(a, min(a + seg, n))) for a in range(0, n, seg)]
    own = i // seg
    direct = [j for j in segments[own] if j <= i or not causal]
    return direct, [s for k, s in enumerate(segments) if (k < own if causal else k != own)]


def logsparse_sets(i, n, seg, causal):
    sets = [list(range(((i >> b) - 1) << b, (i >> b) << b)) for b in range(i.bit_length()) if i >> b & 1]
    assert sorted(sum(sets, [])) == list(range(i))
    return [i], sets


def axial_sets(i, n, seg, causal):
    a, b = divmod(i, seg)
    direct = list(range(a * seg, i + 1)) + [r * seg + b for r in range(a)]
    return direct, [[r * seg + c for r in range(a)] for c in range(seg) if c != b and a > 0]


SETS = dict(fixed=fixed_sets, logsparse=logsparse_sets, axial=axial_sets)


def implied(q, k, kind, c):
    """p(j|i) of one head: [N, N]."""
    n = len(q)
    q = q / math.sqrt(q.shape[1])
    p = np.zeros((n, n))
    for i in range(n):
        direct, sets = SETS[kind](i, n, c["seg"], c["causal"])
        scores = [q[i] @ k[j] for j in direct] + [q[i] @ k[r].max(0) for r in sets]
        share = softmax(np.array(scores))
        p[i, direct] += share[:len(direct)]
        for r, s in zip(sets, share[len(direct):]):
            p[i, r] += s * softmax(k[r] @ q[r].max(0))
    return p


def attention(q, k, v, kind, c):
    return np.stack([implied(q[h], k[h], kind, c) @ v[h] for h in range(len(q))])


def model(tokens, w, kind, c):
    x = w["emb.weight"][tokens] + w["pos.weight"][:len(tokens)]
    for i in range(c["layers"]):
        p = f"layers.{i}."
        y = layer_norm(x, w, p + "norm1", c["eps"])
        q, k, v = (heads_first(linear(y, w, p + n), c["heads"]) for n in ("query", "key", "value"))
        x = x + linear(heads_last(attention(q, k, v, kind, c)), w, p + "out")
        x = x + linear(np.maximum(linear(layer_norm(x, w, p + "norm2", c["eps"]), w, p + "ff1"), 0), w, p + "ff2")
    return linear(layer_norm(x, w, "norm", c["eps"]), w, "head")


def terms(n, i, c, kind):
    direct, sets = SETS[kind](i, n, c["seg"], c["causal"])
    return len(direct) + len(sets)


def raw(t, kind):
    entry, c = kind + "_attention", t.c
    calls, wants = [], []
    for n, h, e, f in zip(LENGTHS, (1, 2, 3, 1, 2), (1, 3, 2, 4, 8), (2, 1, 3, 5, 3)):
        q, k, v = t.normal(h, n, e, scale=2), t.normal(h, n, e), t.normal(h, n, f)
        eye = np.tile(np.eye(n), (h, 1, 1))
        for value in v, eye, np.ones((h, n, 1)):
            calls.append(t.call(entry, "o", q=q, k=k, v=value))
            wants.append(attention(q, k, value, kind, c))
        big = q + 1000 if n > 1 else q
        calls.append(t.call(entry, "o", q=big, k=k, v=eye))
        most = max(terms(n, i, c, kind) for i in range(n))
        s, bound = c["seg"], math.log2(n) + 2
        if kind != "logsparse":
            bound = (s if kind == "fixed" else 2 * s) + n / s + 1
        t.check(f"{kind} {n} terms a row", most <= bound, f"{most} of {bound}")
    got = [g["o"] for g in t.run(*calls)]
    for k, n in enumerate(LENGTHS):
        o, p, ones, large = got[4 * k:4 * k + 4]
        t.near(f"{entry} {n}", o, wants[3 * k])
        t.near(f"{entry} {n} implied", p, wants[3 * k + 1])
        t.near(f"{entry} {n} constant", ones, np.ones_like(ones))
        causal = c["causal"] or kind != "fixed"
        allowed = np.tril(np.ones((n, n), bool)) if causal else np.ones((n, n), bool)
        t.check(f"{entry} {n} full support", np.all(p[:, allowed] > 0) and np.all(p[:, ~allowed] == 0))
        t.near(f"{entry} {n} rows sum to 1", p.sum(-1), np.ones(p.shape[:2]))
        t.near(f"{entry} {n} large scores", large.sum(-1), np.ones(p.shape[:2]), 1e-3)


def long_segments(t):
    """Property 3: one segment that holds all is ordinary attention."""
    q, k, v = t.normal(2, 9, 3), t.normal(2, 9, 3), t.normal(2, 9, 2)
    see = np.tril(np.ones((9, 9), bool)) if t.c["causal"] else True
    want = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(3), see) @ v
    got = t.runner.run([t.call("fixed_attention", "o", q=q, k=k, v=v), t.call("axial_attention", "o", q=q, k=k, v=v)],
                       more=["-D", "seg=9"])
    t.near("fixed, one segment", got[0]["o"], want)
    if t.c["causal"]:
        t.near("axial, one row", got[1]["o"], want)


def models(t):
    kinds = list(SETS) if t.c["causal"] else ["fixed"]
    for kind in kinds:
        tokens = [t.ids(t.c["vocab"], n) for n in (1, 5, 13)]
        changed = tokens[-1].copy()
        changed[-1] = (changed[-1] + 1) % t.c["vocab"]
        got = t.run(*(t.call(kind, "logits", tokens=x) for x in (*tokens, changed)))
        for x, g in zip(tokens, got):
            t.near(f"{kind} {len(x)}", g["logits"], model(x, t.w, kind, t.c))
        if t.c["causal"]:
            t.near(f"{kind} causal", got[-1]["logits"][:-1], got[-2]["logits"][:-1], 1e-6)
    none = t.run(*(t.call(kind, "logits", tokens=np.zeros(0, np.int32)) for kind in kinds))
    t.check("no tokens", all(g["logits"].shape == (0, t.c["vocab"]) for g in none))


def check(t):
    for kind in SETS:
        raw(t, kind)
    long_segments(t)
    models(t)
    t.fails("a token outside", t.call("fixed", "logits", tokens=np.array([0, -1])), says="is below 0")
    t.fails("too long", t.call("axial", "logits", tokens=t.ids(2, t.c["max_len"] + 1)), says="longer than")
    t.fails("heads", t.call("fixed", "logits", tokens=t.ids(2, 2)), more=["-D", "heads=7"], says="multiple of heads")
