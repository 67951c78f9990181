"""Lighter transformers: ALBERT, pruning, few bits, distillation, reversible layers, experts, token by token."""
from common import *
from harness import rounded

DEFAULTS = dict(vocab=64, e=16, d=32, heads=4, layers=3, ffn=48, max_pos=40, nin=24, nout=20, experts=4, keep=0.4,
                eps=1e-12, temp=2.0, alpha=0.5)
CONFIGS = [
    dict(vocab=11, e=5, d=6, heads=3, layers=2, ffn=7, max_pos=9, nin=7, nout=5, experts=3, keep=0.3, eps=1e-6,
         temp=1.5, alpha=0.25),
    {},
    dict(vocab=2, e=1, d=1, heads=1, layers=1, ffn=1, max_pos=3, nin=1, nout=1, experts=1, keep=0.01, alpha=0.0),
    dict(vocab=17, e=30, d=20, heads=5, layers=4, ffn=9, max_pos=31, nin=31, nout=33, experts=7, keep=1.0, temp=0.5,
         alpha=1.0),
]
LAYER = "encoder.albert_layer_groups.0.albert_layers.0."


def weights(rng, c):
    d, e, w = c["d"], c["e"], {}
    for n, rows in ("word", c["vocab"]), ("position", c["max_pos"]), ("token_type", 2):
        w[f"embeddings.{n}_embeddings.weight"] = rng.normal(size=(rows, e))
    w |= norm_weights(rng, "embeddings.LayerNorm", e)
    w |= linear_weights(rng, "encoder.embedding_hidden_mapping_in", d, e) | linear_weights(rng, "pooler", d, d)
    for n in "query", "key", "value", "dense":
        w |= linear_weights(rng, LAYER + "attention." + n, d, d)
    w |= norm_weights(rng, LAYER + "attention.LayerNorm", d) | norm_weights(rng, LAYER + "full_layer_layer_norm", d)
    w |= linear_weights(rng, LAYER + "ffn", c["ffn"], d) | linear_weights(rng, LAYER + "ffn_output", d, c["ffn"])
    w |= linear_weights(rng, "lin", c["nout"], c["nin"])
    if w["lin.weight"].size > 4:
        w["lin.weight"][-1, -2:] = -w["lin.weight"][0, :1]  # ties
    for n in "q_proj", "k_proj", "v_proj", "o_proj":
        w |= linear_weights(rng, "rev." + n, d, d)
    w |= norm_weights(rng, "rev.ln_f", d) | norm_weights(rng, "rev.ln_g", d)
    w |= linear_weights(rng, "rev.fc1", c["ffn"], d) | linear_weights(rng, "rev.fc2", d, c["ffn"])
    w |= linear_weights(rng, "switch.router", c["experts"], d, bias=False)
    for k in range(c["experts"]):
        w |= linear_weights(rng, f"switch.experts.{k}.wi", c["ffn"], d)
        w |= linear_weights(rng, f"switch.experts.{k}.wo", d, c["ffn"])
    return w


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def attention(x, w, c, names, allowed=True):
    q, k, v = (heads_first(linear(x, w, n), c["heads"]) for n in names[:3])
    a = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]), allowed)
    return linear(heads_last(a @ v), w, names[3])


def albert(ids, w, c):
    names = [LAYER + "attention." + n for n in ("query", "key", "value", "dense")]
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:len(ids)]
    x = layer_norm(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm", c["eps"])
    x = linear(x, w, "encoder.embedding_hidden_mapping_in")
    for _ in range(c["layers"]):
        x = layer_norm(x + attention(x, w, c, names), w, LAYER + "attention.LayerNorm", c["eps"])
        y = linear(gelu_tanh(linear(x, w, LAYER + "ffn")), w, LAYER + "ffn_output")
        x = layer_norm(x + y, w, LAYER + "full_layer_layer_norm", c["eps"])
    return x


def text(t):
    w, c = t.w, t.c
    for n in sorted({1, 2, c["max_pos"]}):
        ids = t.ids(c["vocab"], n)
        got = t.run(t.call("albert_hidden", "h", ids=ids), t.call("albert_pooled", "y", ids=ids))
        h = albert(ids, w, c)
        t.near(f"albert_hidden {n}", got[0]["h"], h)
        t.near(f"albert_pooled {n}", got[1]["y"], np.tanh(linear(h[0], w, "pooler")))
    prefixed = {("" if n.split(".")[0] in ("lin", "rev", "switch") else "albert.") + n: v for n, v in w.items()}
    t.save(prefixed, t.path)
    t.near("albert with a prefix", t.one("albert_hidden", "h", ids=ids), h)
    more = t.run(t.call("albert_hidden", "h", ids=ids), more=["-D", f"layers={c['layers'] + 2}"])[0]["h"]
    t.near("more layers, the same file", more, albert(ids, w, c | dict(layers=c["layers"] + 2)))
    t.save(w, t.path)


def keep_largest(w, keep):
    n = math.ceil(keep * w.shape[0] * w.shape[1])
    mask = np.zeros(w.size, np.int32)
    mask[np.argsort(-np.abs(w).ravel(), kind="stable")[:n]] = 1
    return mask.reshape(w.shape)


def quantised(w):
    s = np.maximum(np.abs(w).max(-1, keepdims=True), 1e-8) / 127
    return np.clip(np.rint(w / s), -127, 127), s


def light(t):
    w, b, c = t.w["lin.weight"], t.w["lin.bias"], t.c
    x = t.uniform(-1, 1, 6, c["nin"])
    x[-1] = 0
    entries = "pruned_linear", "linear_int8", "linear_bf16", "linear_f16"
    got = t.run(t.call("prune", "mask w"), t.call("quantise", "q s"), *[t.call(e, "y", x=x) for e in entries])
    mask = keep_largest(w, c["keep"])
    t.equal("mask", got[0]["mask"], mask)
    t.equal("kept", got[0]["mask"].sum(), math.ceil(c["keep"] * w.size))
    t.equal("pruned", got[0]["w"], w * mask)
    t.near("pruned_linear", got[2]["y"], x @ (w * mask).T + b)
    q, s = quantised(w)
    t.equal("quantised", got[1]["q"], q)
    t.near("scales", got[1]["s"], s[:, 0], 1e-7)
    t.equal("rows attain 127", np.abs(got[1]["q"]).max(1), np.full(c["nout"], 127))
    t.check("steps", bool(np.all(np.abs(q * s - w) <= s / 2 * (1 + 1e-12))))
    xq, sx = quantised(x)
    t.near("linear_int8", got[3]["y"], sx * s[:, 0] * (xq @ q.T) + b)
    dense = x @ w.T + b
    for k, kind in enumerate(("BF16", "F16")):
        want = rounded(x, kind) @ rounded(w, kind).T + b
        t.near("linear in " + kind, got[4 + k]["y"], want, 1e-5)  # summed in f32 on all targets
    for e, g, most in zip(entries[1:], got[3:], (0.1, 0.05, 0.01)):
        t.check("error of " + e, np.abs(g["y"] - dense).max() < most, str(np.abs(g["y"] - dense).max()))
    whole = t.run(t.call("pruned_linear", "y", x=x), more=["-D", "keep=1"])[0]["y"]
    t.near("all kept", whole, dense)
    none = t.run(t.call("prune", "mask"), t.call("pruned_linear", "y", x=x), more=["-D", "keep=0"])
    t.check("none kept", not none[0]["mask"].any())
    t.near("none kept: bias", none[1]["y"], np.tile(b, (6, 1)))


def log_softmax(x):
    return x - logsumexp(x)[:, None]


def distillation(t):
    c, n = t.c, 5
    student, teacher, label = t.normal(n, c["vocab"], scale=3), t.normal(n, c["vocab"], scale=3), t.ids(c["vocab"], n)

    def loss(z):
        p, l = log_softmax(teacher / c["temp"]), log_softmax(z / c["temp"])
        hard = -log_softmax(z)[np.arange(n), label].mean()
        return c["alpha"] * c["temp"] ** 2 * (np.exp(p) * (p - l)).sum(-1).mean() + (1 - c["alpha"]) * hard

    both = dict(student=student, teacher=teacher, label=label)
    got = t.run(t.call("distill_loss", "loss", **both), t.call("distill_grad", "grad", **both))
    t.near("distill_loss", got[0]["loss"], loss(student))
    slope = np.zeros_like(student)
    for i in np.ndindex(*student.shape):
        step = np.zeros_like(student)
        step[i] = 1e-5
        slope[i] = (loss(student + step) - loss(student - step)) / 2e-5
    t.near("distill_grad is the slope", got[1]["grad"], slope, 1e-4)
    soft = softmax(student / c["temp"]) - softmax(teacher / c["temp"])
    hard = softmax(student) - np.eye(c["vocab"])[label]
    t.near("distill_grad", got[1]["grad"], (c["alpha"] * c["temp"] * soft + (1 - c["alpha"]) * hard) / n)
    same = t.run(t.call("distill_loss", "loss", student=student, teacher=student, label=label), more=["-D", "alpha=1"])
    t.near("nothing to learn", same[0]["loss"], 0)


def reversible(t):
    w, c = t.w, t.c
    names = ["rev." + n for n in ("q_proj", "k_proj", "v_proj", "o_proj")]
    for n in 1, 7:
        x1, x2 = t.normal(n, c["d"]), t.normal(n, c["d"])
        y1, y2 = x1, x2
        for _ in range(c["layers"]):
            f = attention(layer_norm(y2, w, "rev.ln_f", c["eps"]), w, c, names, np.tri(n, dtype=bool))
            y1 = y1 + f
            y2 = y2 + linear(gelu_tanh(linear(layer_norm(y1, w, "rev.ln_g", c["eps"]), w, "rev.fc1")), w, "rev.fc2")
        got = t.run(t.call("rev_forward", "y1 y2", x1=x1, x2=x2))[0]
        t.near(f"rev_forward y1 {n}", got["y1"], y1)
        t.near(f"rev_forward y2 {n}", got["y2"], y2)
        back = t.run(t.call("rev_inverse", "x1 x2", y1=got["y1"], y2=got["y2"]))[0]
        t.near(f"there and back x1 {n}", back["x1"], x1, 1e-4)
        t.near(f"there and back x2 {n}", back["x2"], x2, 1e-4)


def experts(t):
    w, c = t.w, t.c
    for n in 0, 1, 13:
        x, order = t.normal(n, c["d"]), t.rng.permutation(n)
        g = softmax(linear(x, w, "switch.router"))
        chosen = g.argmax(-1)
        y = np.zeros_like(x)
        for i, k in enumerate(chosen):
            p = f"switch.experts.{k}."
            y[i] = g[i, k] * linear(np.maximum(linear(x[i], w, p + "wi"), 0), w, p + "wo")
        got = t.run(t.call("switch_ffn", "y expert load", x=x), t.call("switch_ffn", "y", x=x[order]))
        t.near(f"switch_ffn {n}", got[0]["y"], y)
        t.equal(f"experts {n}", got[0]["expert"], chosen)
        t.equal(f"load {n}", got[0]["load"], np.bincount(chosen, minlength=c["experts"]))
        t.near(f"tokens in another order {n}", got[1]["y"], y[order])


def check(t):
    text(t)
    light(t)
    distillation(t)
    reversible(t)
    experts(t)
    none, many = np.zeros(0, np.int32), t.ids(t.c["vocab"], t.c["max_pos"] + 1)
    z, bad = t.normal(1, t.c["vocab"]), np.array([t.c["vocab"]], np.int32)
    t.fails("too long", t.call("albert_hidden", "h", ids=many), says="longer than max_pos")
    t.fails("empty", t.call("albert_pooled", "y", ids=none), says="the text is empty")
    t.fails("no such label", t.call("distill_loss", "loss", student=z, teacher=z, label=bad), says="out of range")
