"""MASFormer: full attention in a few layers, a short span in the others."""
import os

from common import *

DEFAULTS = dict(vocab=64, d=32, heads=4, layers=4, ffn=64, ctx=64, block=8, window=8, full_first=1, full_every=2,
                eps=1e-5)
CONFIGS = [
    dict(vocab=11, d=6, heads=2, layers=3, ffn=5, ctx=30, block=3, window=4, full_first=1, full_every=2),
    dict(vocab=7, d=8, heads=2, layers=1, ffn=9, ctx=40, block=4, window=11, full_first=99),
    {},
    dict(vocab=9, d=9, heads=3, layers=4, ffn=7, ctx=25, block=1, window=1, full_first=0, full_every=3, eps=1e-3),
    dict(vocab=5, d=4, heads=1, layers=2, ffn=3, ctx=20, block=2, window=3, full_first=0, full_every=1),
]
KINDS = "full", "block", "window"


def weights(rng, c):
    d = c["d"]
    w = {"transformer.wte.weight": rng.normal(size=(c["vocab"], d)),
         "transformer.wpe.weight": 0.5 * rng.normal(size=(c["ctx"], d))} | norm_weights(rng, "transformer.ln_f", d)
    for i in range(c["layers"]):
        p = f"transformer.h.{i}."
        w |= norm_weights(rng, p + "ln_1", d) | norm_weights(rng, p + "ln_2", d)
        for n in "qkv":
            w |= linear_weights(rng, f"{p}attn.attention.{n}_proj", d, d, bias=False)
        w |= linear_weights(rng, p + "attn.attention.out_proj", d, d)
        w |= linear_weights(rng, p + "mlp.c_fc", c["ffn"], d) | linear_weights(rng, p + "mlp.c_proj", d, c["ffn"])
    w["transformer.h.0.attn.attention.bias"] = np.ones((1, 1, 3, 3), bool)  # a buffer of public files
    return w


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def full_layers(c):
    return [i for i in range(c["layers"]) if i >= c["full_first"] and (i - c["full_first"]) % c["full_every"] == 0]


def allowed(n, kind, c):
    """Equation 3, pair by pair."""
    see = np.zeros((n, n), bool)
    for i in range(n):
        for j in range(i + 1):
            near = dict(full=True, block=i // c["block"] - j // c["block"] <= 1, window=i - j < c["window"])
            see[i, j] = near[kind]
    return see


def forward(ids, kind, w, c):
    n = len(ids)
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][:n]
    for i in range(c["layers"]):
        p = f"transformer.h.{i}."
        y = layer_norm(x, w, p + "ln_1", c["eps"])
        q, k, v = (heads_first(linear(y, w, f"{p}attn.attention.{m}_proj"), c["heads"]) for m in "qkv")
        see = allowed(n, "full" if i in full_layers(c) else kind, c)
        o = softmax(q @ k.transpose(0, 2, 1), see) @ v
        x = x + linear(heads_last(o), w, p + "attn.attention.out_proj")
        x = x + linear(gelu_tanh(linear(layer_norm(x, w, p + "ln_2", c["eps"]), w, p + "mlp.c_fc")), w, p + "mlp.c_proj")
    return layer_norm(x, w, "transformer.ln_f", c["eps"]) @ w["transformer.wte.weight"].T


def forwards(t):
    c = t.c
    lengths = sorted({1, min(c["window"], c["ctx"]), min(2 * c["block"], c["ctx"]), c["ctx"] - 1, c["ctx"]})
    ids = {n: t.ids(c["vocab"], n) for n in lengths}
    long = ids[c["ctx"]]
    last, first = long.copy(), long.copy()
    last[-1] = (last[-1] + 1) % c["vocab"]
    first[0] = (first[0] + 1) % c["vocab"]
    calls = [t.call("forward_" + kind, "logits", ids=x) for x in ids.values() for kind in KINDS]
    calls += [t.call("forward_" + kind, "logits", ids=x) for x in (last, first) for kind in KINDS]
    calls += [t.call("loss_block", "loss", ids=long)]
    got = t.run(*calls)
    z = {}
    for k, (n, x) in enumerate(ids.items()):
        for m, kind in enumerate(KINDS):
            z[n, kind] = got[3 * k + m]["logits"]
            t.near(f"forward_{kind} {n}", z[n, kind], forward(x, kind, t.w, c))
        if n <= 2 * c["block"] or len(full_layers(c)) == c["layers"]:
            t.near(f"two blocks see all {n}", z[n, "block"], z[n, "full"])
        if n <= c["window"] or len(full_layers(c)) == c["layers"]:
            t.near(f"a window sees all {n}", z[n, "window"], z[n, "full"])
    at = 3 * len(ids)
    for m, kind in enumerate(KINDS):
        t.near(f"causal {kind}", got[at + m]["logits"][:-1], z[c["ctx"], kind][:-1], 1e-6)
    if c["layers"] == 1 and not full_layers(c):  # what lies before the span of the only layer
        for m, reach in (1, 2 * c["block"]), (2, c["window"]):
            t.equal(f"out of reach {KINDS[m]}", got[at + 3 + m]["logits"][reach:], z[c["ctx"], KINDS[m]][reach:])
        t.check("within reach", np.max(np.abs(got[at + 4]["logits"][:c["block"]] - z[c["ctx"], "block"][:c["block"]])) > 1e-3)
    want = forward(long, "block", t.w, c)
    t.near("loss_block", got[-1]["loss"], np.mean(logsumexp(want[:-1]) - want[np.arange(len(long) - 1), long[1:]]))


def clear_generation(t, n, new):
    for _ in range(100):
        prompt = t.ids(t.c["vocab"], n)
        ids, gap = list(prompt), math.inf
        for _ in range(new):
            z = np.sort(forward(np.array(ids), "block", t.w, t.c)[-1])
            gap = min(gap, z[-1] - z[-2])
            ids.append(int(np.argmax(forward(np.array(ids), "block", t.w, t.c)[-1])))
        if gap > 1e-3:
            return prompt, ids[n:]
    raise RuntimeError("no clear choices")


def steps(t):
    c = t.c
    ids = t.ids(c["vocab"], c["ctx"])
    prompt, new = clear_generation(t, 5, min(2 * c["block"] + 3, c["ctx"] - 5))
    walk = [[t.call("step_" + kind, "logits", id=x) for x in ids] for kind in ("block", "window")]
    got = t.run(*walk[0], t.call("reset", ""), *walk[1],
                t.call("generate_block", "ids", prompt=prompt, max_new=len(new)),
                t.call("generate_block", "ids", prompt=prompt[:1], max_new=0))
    for k, kind in enumerate(("block", "window")):
        z = np.stack([g["logits"] for g in got[k * (len(ids) + 1):][:len(ids)]])
        t.near(f"step_{kind}", z, forward(ids, kind, t.w, c))
    t.equal("generate_block", got[-2]["ids"], new)
    t.equal("nothing generated", got[-1]["ids"], np.zeros(0))
    t.fails("the context is full", *walk[0], t.call("step_block", "logits", id=0), says="the context is full")


def state(t):
    """Only full layers remember more with each token: a key and a value."""
    size = []
    for n in 3, 7:
        path = os.path.join(t.folder, "state")
        t.run(*(t.call("step_block", "logits", id=0) for _ in range(n)), more=["--save-state", path])
        size.append(os.path.getsize(path))
    grown = 4 * 2 * t.c["d"] * (8 if t.f64 else 4) * len(full_layers(t.c))
    t.check("the state grows by the full layers", abs(size[1] - size[0] - grown) < 64, f"{size}, {grown}")


def check(t):
    forwards(t)
    steps(t)
    state(t)
    t.fails("a token outside", t.call("step_window", "logits", id=t.c["vocab"]), says="is not below")
    t.fails("too long", t.call("forward_block", "logits", ids=t.ids(2, t.c["ctx"] + 1)), says="longer than the context")
    t.fails("block", t.call("forward_block", "logits", ids=t.ids(2, 2)), more=["-D", "block=0"], says="must be positive")
    t.fails("no prompt", t.call("generate_block", "ids", prompt=np.zeros(0, np.int32), max_new=1), says="the prompt is empty")
