"""Miras: memories under other objectives. Gradients here go through explicit Jacobians, chunks through the
closed form of their recurrence, and all memories of a sequence are kept."""
import json
import os

from common import *

DEFAULTS = dict(vocab=32, d=16, heads=2, layers=2, ff=32, exp=2, conv=3, rank=4, p=3.0, q=4.0, chunk=1,
                eta_max=0.02, tanh_a=10.0, abs_eps=1e-6, mem_eps=1e-5, eps=1e-6)
CONFIGS = [
    dict(vocab=7, d=9, heads=3, layers=2, ff=5, exp=2, conv=2, rank=1, chunk=3, eta_max=0.2, mem_eps=1e-2),
    {},
    dict(vocab=5, d=8, heads=1, layers=1, ff=3, exp=1, conv=1, rank=2, p=2.5, q=3.0, chunk=4, eta_max=0.1,
         tanh_a=3.0, abs_eps=1e-3, mem_eps=1e-3, eps=1e-4),
    dict(vocab=11, d=10, heads=2, layers=1, ff=7, exp=3, conv=4, rank=3, p=2.0, q=2.0, chunk=16, eta_max=0.5,
         mem_eps=1e-1),
]
KINDS = "moneta", "yaad", "memora"


def sizes(c):
    dh = c["d"] // c["heads"]
    return dh, c["exp"] * dh


def weights(rng, c):
    d, (dh, f) = c["d"], sizes(c)
    w = {"emb.weight": rng.normal(size=(c["vocab"], d)), "head.weight": matrix(rng, c["vocab"], d)}
    w |= norm_weights(rng, "norm", d, bias=False)
    for l in range(c["layers"]):
        p = f"layers.{l}."
        w |= norm_weights(rng, p + "norm1", d, bias=False) | norm_weights(rng, p + "norm2", d, bias=False)
        w |= norm_weights(rng, p + "norm_o", d)
        for n in "wq", "wk", "wv", "wg", "wo":
            w[f"{p}{n}.weight"] = matrix(rng, d, d, gain=1.5)
        for n in "conv_q", "conv_k", "conv_v":
            w[f"{p}{n}.weight"] = rng.normal(size=(d, 1, c["conv"]))
        for n in "alpha", "eta":
            w[f"{p}{n}.down"], w[f"{p}{n}.up"] = matrix(rng, c["rank"], d), matrix(rng, d, c["rank"])
            w[f"{p}{n}.bias"] = rng.normal(size=d) + (2 if n == "alpha" else 0)
        w |= linear_weights(rng, p + "delta", c["heads"], d)
        w[p + "mem.W1"] = rng.normal(size=(c["heads"], dh, f))
        w[p + "mem.W2"] = matrix(rng, c["heads"], f, dh, gain=1.5)
        w[p + "ff.w1.weight"], w[p + "ff.w3.weight"] = matrix(rng, c["ff"], d), matrix(rng, c["ff"], d)
        w[p + "ff.w2.weight"] = matrix(rng, d, c["ff"])
    return w


# ---- the memory -----------------------------------------------------------------------------------
def recall(W, x, eps):  # equation 1
    return x + layer_norm(W[0] @ gelu(W[1] @ x), None, None, eps)


def slope(W, k, G, eps):  # the gradient of G . M(k), link by link
    h = W[1] @ k
    o = W[0] @ gelu(h)
    n = layer_norm(o, None, None, eps)
    dn_do = (np.eye(len(o)) - 1 / len(o) - np.outer(n, n) / len(o)) / np.sqrt(o.var() + eps)
    da_dh = 0.5 * (1 + erf(h / math.sqrt(2))) + h * np.exp(-h * h / 2) / math.sqrt(2 * math.pi)
    do = dn_do.T @ G
    return np.outer(do, gelu(h)), np.outer(np.diag(da_dh) @ W[0].T @ do, k)


margin = [np.inf]  # how near the norm of an error came to Huber's threshold


def force(kind, e, delta, c):  # equation 3
    if kind == "moneta":
        return c["p"] * np.tanh(c["tanh_a"] * e) * np.sqrt(e ** 2 + c["abs_eps"]) ** (c["p"] - 1)
    if kind == "memora":
        return e
    norm = np.linalg.norm(e)
    margin[0] = min(margin[0], abs(norm - delta))
    return e if norm <= delta else delta * np.tanh(c["tanh_a"] * e)


def retained(kind, A, c):  # equation 4
    if kind == "yaad":
        return A
    if kind == "moneta":
        return [M / np.power(np.sum(np.abs(M) ** c["q"]), 1 / c["q"]) ** (c["q"] - 2) for M in A]
    f = A[0].shape[1]
    return [f * softmax(A[0], axis=1), f * softmax(A[1], axis=0)]


def learn(kind, A, q, k, v, alpha, eta, delta, c):
    """Equations 5 and 6, a chunk at a time: decays times what was written since its start."""
    r = []
    for a in range(0, len(q), c["chunk"]):
        b = min(a + c["chunk"], len(q))
        C = retained(kind, A, c)
        g = [slope(C, k[t], force(kind, recall(C, k[t], c["mem_eps"]) - v[t], delta[t], c), c["mem_eps"])
             for t in range(a, b)]
        for t in range(a, b):
            def decay(s):  # from behind token s to behind token t
                return np.prod(alpha[s + 1:t + 1], 0)

            now = [decay(a - 1)[:, None] * A[0], decay(a - 1)[None] * A[1]]
            for s in range(a, t + 1):
                now[0] = now[0] - (decay(s) * eta[s])[:, None] * g[s - a][0]
                now[1] = now[1] - (decay(s) * eta[s])[None] * g[s - a][1]
            r.append(recall(retained(kind, now, c), q[t], c["mem_eps"]))
        A = now
    return np.array(r).reshape(q.shape), A


# ---- the model ------------------------------------------------------------------------------------
def stream(x, w, p, of, c):  # equation 7
    y = x @ w[f"{p}w{of}.weight"].T
    tap = w[f"{p}conv_{of}.weight"][:, 0]
    z = np.zeros_like(y)
    for n in range(len(y)):
        for back in range(min(c["conv"], n + 1)):
            z[n] += tap[:, c["conv"] - 1 - back] * y[n - back]
    z = heads_first(silu(z), c["heads"])
    return z if of == "v" else z / np.sqrt((z ** 2).sum(-1, keepdims=True) + c["eps"])


def mix(kind, y, w, p, c):
    q, k, v = (stream(y, w, p, of, c) for of in "qkv")
    low = {n: sigmoid(y @ w[f"{p}{n}.down"].T @ w[f"{p}{n}.up"].T + w[f"{p}{n}.bias"]) for n in ("alpha", "eta")}
    alpha, eta = heads_first(low["alpha"], c["heads"]), heads_first(c["eta_max"] * low["eta"], c["heads"])
    delta = softplus(linear(y, w, p + "delta"))
    r = [learn(kind, [w[p + "mem.W1"][a], w[p + "mem.W2"][a]], q[a], k[a], v[a], alpha[a], eta[a], delta[:, a], c)[0]
         for a in range(c["heads"])]
    o = layer_norm(heads_last(np.stack(r)), w, p + "norm_o", c["mem_eps"])
    return (o * sigmoid(y @ w[p + "wg.weight"].T)) @ w[p + "wo.weight"].T


def logits(kind, tokens, w, c):
    x = w["emb.weight"][tokens]
    for l in range(c["layers"]):
        p = f"layers.{l}."
        x = x + mix(kind, rms_norm(x, w[p + "norm1.weight"], c["eps"]), w, p, c)
        y = rms_norm(x, w[p + "norm2.weight"], c["eps"])
        x = x + (silu(y @ w[p + "ff.w1.weight"].T) * (y @ w[p + "ff.w3.weight"].T)) @ w[p + "ff.w2.weight"].T
    return rms_norm(x, w["norm.weight"], c["eps"]) @ w["head.weight"].T


# ---- checks ---------------------------------------------------------------------------------------
def gradient(t):
    eps = t.c["mem_eps"]
    for a, b in (1, 1), (3, 5), (6, 4):
        W, k, v = [t.normal(a, b), t.normal(b, a)], t.normal(a), t.normal(a)
        got = t.run(t.call("mem_grad", "loss dW1 dW2", W1=W[0], W2=W[1], k=k, v=v))[0]

        def loss(W):
            return 0.5 * np.sum((recall(W, k, eps) - v) ** 2)

        t.near(f"loss {a}", got["loss"], loss(W))
        want = slope(W, k, recall(W, k, eps) - v, eps)
        for j in 0, 1:
            t.near(f"dW{j + 1} {a}", got[f"dW{j + 1}"], want[j])
            numeric = np.zeros_like(W[j])
            for at in np.ndindex(*numeric.shape):
                moved = [[M.copy() for M in W] for _ in range(2)]
                moved[0][j][at] += 1e-5
                moved[1][j][at] -= 1e-5
                numeric[at] = (loss(moved[0]) - loss(moved[1])) / 2e-5
            t.near(f"dW{j + 1} by differences {a}", got[f"dW{j + 1}"], numeric, 1e-6 if t.f64 else 1e-4)


def memory(t, kind):
    c, (dh, _) = t.c, sizes(t.c)
    A = [t.w["layers.0.mem.W1"][0], t.w["layers.0.mem.W2"][0]]
    for n in 1, 2 * c["chunk"] + 1, 7:
        q, k, v = t.normal(n, dh), t.normal(n, dh), t.normal(n, dh)
        alpha, eta, delta = t.uniform(0.5, 1, n, dh), t.uniform(0, 0.1, n, dh), t.uniform(0.3, 2, n)
        alpha[n // 2, 0] = 0
        given = dict(q=q, k=k, v=v, alpha=alpha, eta=eta, delta=delta)
        calls = [t.call(kind + "_memory", "r", **given),
                 t.call(kind + "_memory", "r", **{**given, "delta": 0 * delta + 1e9})]
        got = t.run(*calls)
        t.near(f"{kind} memory {n}", got[0]["r"], learn(kind, A, *given.values(), c)[0])
        if kind == "yaad":
            plain = learn_unscaled(A, q, k, v, alpha, eta, lambda e: e, c)
            t.near(f"yaad without threshold {n}", got[1]["r"], plain)
    if kind == "moneta":  # with q = 2 the weights are the state
        square = learn_unscaled(A, q, k, v, alpha, eta, lambda e: force(kind, e, 0, {**c, "p": 2.0}), c)
        t.near("moneta, p = q = 2", t.run(calls[0], more=["-D", "p=2", "-D", "q=2"])[0]["r"], square)


def learn_unscaled(A, q, k, v, alpha, eta, pull, c):
    r = []
    for t in range(len(q)):
        if t % c["chunk"] == 0:
            C = A
        g = slope(C, k[t], pull(recall(C, k[t], c["mem_eps"]) - v[t]), c["mem_eps"])
        A = [alpha[t][:, None] * A[0] - eta[t][:, None] * g[0], alpha[t][None] * A[1] - eta[t][None] * g[1]]
        r.append(recall(A, q[t], c["mem_eps"]))
    return np.array(r)


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
    if t.k == 0:
        still = t.run(calls[0], more=["-D", "eta_max=0"])[0]["logits"]
        t.check(f"{kind} learns", np.abs(still - want).max() > 1e-2, f"{np.abs(still - want).max()}")


def kept_weights(t):
    """Memora's weights, from the saved state: not negative, and slices along the hidden axis sum to f."""
    path = os.path.join(t.folder, "state")
    _, f = sizes(t.c)
    for n in range(1, 3 * t.c["chunk"]):
        t.run(*[t.call("memora_step", "logits", token=n % t.c["vocab"]) for _ in range(n)], more=["--save-state", path])
        w = read_state(path)
        for j, axis in (0, 2), (1, 1):
            for l in range(t.c["layers"]):
                W = w[f"layer.{l}.memora.s.1.{j}"]  # the weights at the end of a chunk
                t.check(f"memora W{j + 1} {n} is not negative", bool(np.all(W >= 0)))
                t.near(f"memora W{j + 1} {n} sums", W.sum(axis), np.full(W.sum(axis).shape, f), 1e-5)


def read_state(path):
    with open(path, "rb") as file:
        data = file.read()
    begin = 8 + int.from_bytes(data[:8], "little")
    kinds = {"F64": np.float64, "F32": np.float32, "I32": np.int32}
    out = {}
    for name, x in json.loads(data[8:begin]).items():
        if name != "__metadata__":
            a, b = x["data_offsets"]
            out[name] = np.frombuffer(data[begin + a:begin + b], kinds[x["dtype"]]).reshape(x["shape"])
    return out


def state_size(t, kind):
    found = []
    for n in 1, 20:
        path = os.path.join(t.folder, "state")
        t.run(*[t.call(kind + "_step", "logits", token=0) for _ in range(n)], more=["--save-state", path])
        found.append(os.path.getsize(path))
    t.check(f"{kind} state is flat", found[0] == found[1], f"{found}")


def check(t):
    margin[0] = np.inf
    gradient(t)
    for kind in KINDS:
        memory(t, kind)
        model(t, kind)
    t.check("errors keep off the threshold", margin[0] > 1e-3, f"{margin[0]}")
    if t.k == 0:
        kept_weights(t)
        state_size(t, "moneta")
        t.fails("token outside", t.call("yaad", "logits", tokens=np.array([1, 7], np.int32)), says="index out of range")
        t.fails("heads", t.call("yaad", "logits", tokens="1"), says="heads", more=["-D", "heads=2"])
