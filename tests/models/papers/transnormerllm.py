"""TransNormerLLM: decayed linear attention by its N x N matrix, LRPE as cosines of distances."""
import os

from common import *

DEFAULTS = dict(vocab=64, d=32, heads=4, layers=3, glu=48, decay=0, eps=1e-6, embed_scale=1)
CONFIGS = [
    dict(vocab=11, d=9, heads=3, layers=3, glu=7, decay=1),
    {},
    dict(vocab=3, d=1, heads=1, layers=2, glu=1, embed_scale=0),
    dict(vocab=13, d=12, heads=6, layers=4, glu=5, eps=1e-3),
    dict(decay=1, embed_scale=0),
]


def weights(rng, c):
    d, dh = c["d"], c["d"] // c["heads"]
    w = {"model.embed_tokens.weight": rng.normal(size=(c["vocab"], d)), "lm_head.weight": matrix(rng, c["vocab"], d)}
    for l in range(c["layers"]):
        p = f"model.layers.{l}."
        w |= linear_weights(rng, p + "token_mixer.qkvu_proj", 4 * d, d, bias=False)
        w |= linear_weights(rng, p + "token_mixer.out_proj", d, d, bias=False)
        for n, o, i in ("l1", c["glu"], d), ("l2", c["glu"], d), ("l3", d, c["glu"]):
            w |= linear_weights(rng, p + "channel_mixer." + n, o, i, bias=False)
    w["model.layers.0.token_mixer.lrpe.theta"] = (10000.0 ** (-2 * np.arange(d) / d)).reshape(c["heads"], 1, dh)
    return w


def slopes(l, c):  # equation 6
    heads, layers = c["heads"], c["layers"]
    if c["decay"] == 0:
        return alibi_slopes(heads) * (1 - l / (layers - 1) + 1e-5)
    return 8 * np.arange(1, heads + 1) / heads * (1 - l / layers)


def srms(x, eps):
    return rms_norm(x, 1, eps)


def attention(q, k, v, slope, theta):  # equations 4 and 5
    n = q.shape[1]
    far = np.arange(n)[:, None] - np.arange(n)[None]
    o = np.zeros_like(v)
    for h in range(len(q)):
        turn = np.cos(theta[h, 0] * far[:, :, None]) if theta is not None else np.ones((n, n, 1))
        scores = (q[h, :, None] * k[h, None] * turn).sum(-1)
        o[h] = np.where(far >= 0, np.exp(-slope[h] * np.maximum(far, 0)) * scores, 0) @ v[h]
    return o


def forward(tokens, w, c, turned=True):
    eps, heads = c["eps"], c["heads"]
    x = w["model.embed_tokens.weight"][tokens] * (np.sqrt(c["d"]) if c["embed_scale"] == 1 else 1)
    for l in range(c["layers"]):
        p = f"model.layers.{l}.token_mixer."
        q, k, v, u = np.split(linear(srms(x, eps), w, p + "qkvu_proj"), 4, 1)
        q, k, v = heads_first(silu(q), heads), heads_first(silu(k), heads), heads_first(v, heads)
        o = attention(q, k, v, slopes(l, c), w[p + "lrpe.theta"] if l == 0 and turned else None)
        x = x + linear(u * srms(heads_last(o), eps), w, p + "out_proj")
        p = f"model.layers.{l}.channel_mixer."
        y = srms(x, eps)
        x = x + linear(linear(y, w, p + "l1") * linear(y, w, p + "l2"), w, p + "l3")
    return linear(srms(x, eps), w, "lm_head")


def sequences(t):
    vocab = t.c["vocab"]
    for n in 1, 2, 14:
        ids = t.ids(vocab, n)
        want = forward(ids, t.w, t.c)
        changed = ids.copy()
        changed[-1] = (changed[-1] + 1) % vocab
        new, margin = greedy(lambda x: forward(x, t.w, t.c), ids, 5)
        steps = [t.call("step", "logits", token=k) for k in ids]
        whole = t.call("forward", "logits", tokens=ids)
        got = t.run(whole, *steps, t.call("forward", "logits", tokens=changed),
                    t.call("generate", "tokens", prompt=ids, max_new=5), t.call("step", "logits", token=new[-1]),
                    t.call("generate", "tokens", prompt=ids, max_new=0), t.call("reset", ""), steps[0], whole, *steps[1:])
        t.near(f"forward {n}", got[0]["logits"], want)
        t.near(f"steps {n}", np.stack([g["logits"] for g in got[1:n + 1]]), want)
        t.equal(f"causal {n}", got[n + 1]["logits"][:-1], got[0]["logits"][:-1])
        if margin > 1e-3:
            t.equal(f"generate {n}", got[n + 2]["tokens"], new)
            longer = forward(np.concatenate([ids, new]), t.w, t.c)[-1]
            t.near(f"the last generated token is not consumed {n}", got[n + 3]["logits"], longer)
        t.equal(f"generate nothing {n}", got[n + 4]["tokens"].shape, np.array([0]))
        again = got[n + 6:n + 7] + got[n + 8:]
        t.near(f"forward leaves the state {n}", np.stack([g["logits"] for g in again]), want)


def splits(t):
    ids = t.ids(t.c["vocab"], 12)
    want = forward(ids, t.w, t.c)
    calls, rows = [], []
    for parts in (12,), (1, 11), (5, 1, 6), (7, 5):
        calls.append(t.call("reset", ""))
        rows.append(None)
        at = 0
        for k in parts:
            calls.append(t.call("prefill", "logits", tokens=ids[at:at + k]) if k > 1
                         else t.call("step", "logits", token=ids[at]))
            at += k
            rows.append(at - 1)
    got = t.run(*calls)
    for g, row in zip(got, rows):
        if row is not None:
            t.near(f"prefill to {row}", g["logits"], want[row])


def positions(t):
    """Property 4."""
    ids = t.ids(t.c["vocab"], 9)
    flat = {n: 0 * v if n.endswith("theta") else v for n, v in t.w.items()}
    got = t.run(t.call("forward", "logits", tokens=ids), weights=flat)[0]["logits"]
    plain = forward(ids, t.w, t.c, turned=False)
    t.near("theta = 0 is no position", got, plain)
    if t.c["d"] > 1:
        t.check("positions matter", np.max(np.abs(plain - forward(ids, t.w, t.c))) > 1e-3)


def state(t):
    sizes = []
    for n in 1, 30:
        path = os.path.join(t.folder, "state.safetensors")
        t.run(t.call("prefill", "", tokens=t.ids(t.c["vocab"], n)), more=["--save-state", path])
        sizes.append(os.path.getsize(path))
    t.check("the state is of one size", sizes[0] == sizes[1], str(sizes))
    if not t.slow:
        got = t.run(t.call("generate", "tokens", prompt=t.ids(t.c["vocab"], 1), max_new=20000),
                    t.call("step", "logits", token=0))
        t.check("20000 steps", np.all(np.isfinite(got[1]["logits"])))
    t.fails("token out of range", t.call("step", "", token=t.c["vocab"]), says="out of range")
    t.fails("nothing to read", t.call("prefill", "", tokens=np.zeros(0, np.int32)), says="no tokens")


def check(t):
    sequences(t)
    splits(t)
    positions(t)
    state(t)
