"""Correcting what was typed: characters through convolutions and a GRU, words out of a GRU with attention."""
from common import *

DEFAULTS = dict(nchar=30, vocab=41, dc=8, nfilt=6, widths=[1, 2, 3], h=16, dw=12, att=10, bos=1, eos=2, lr=0.5,
                clip=5.0)
CONFIGS = [
    dict(nchar=9, vocab=5, dc=3, nfilt=2, widths=[3, 1, 5], h=5, dw=2, att=3),
    {},
    dict(nchar=4, vocab=3, dc=1, nfilt=1, widths=[2], h=1, dw=1, att=1, bos=0),
    dict(nchar=12, vocab=17, dc=5, nfilt=7, widths=[4, 7], h=13, dw=11, att=17, bos=16, eos=0),
]


def weights(rng, c):
    f, h = c["nfilt"] * len(c["widths"]), c["h"]
    w = {"enc.char_emb.weight": rng.normal(size=(c["nchar"], c["dc"])),
         "dec.word_emb.weight": rng.normal(size=(c["vocab"], c["dw"])), "dec.att.v": 2 * rng.normal(size=c["att"])}
    for k in c["widths"]:
        w[f"enc.conv{k}.weight"] = rng.normal(size=(c["nfilt"], c["dc"], k)) / np.sqrt(c["dc"] * k)
        w[f"enc.conv{k}.bias"] = 0.3 * rng.normal(size=c["nfilt"])
    w |= linear_weights(rng, "enc.highway.transform", f, f) | linear_weights(rng, "enc.highway.carry", f, f)
    w |= gru_weights(rng, "enc.gru.", h, f, gain=2) | gru_weights(rng, "dec.gru.", h, c["dw"] + h, gain=2)
    w |= linear_weights(rng, "dec.init", h, h) | linear_weights(rng, "dec.out", c["vocab"], 2 * h)
    w |= linear_weights(rng, "dec.att.query", c["att"], h) | linear_weights(rng, "dec.att.key", c["att"], h, bias=False)
    w["dec.out.weight"] *= 3
    return w


def word(chars, w, c):
    n, longest = int((chars != 0).sum()), max(c["widths"])
    e = np.zeros((len(chars) + longest, c["dc"]))
    for t, k in enumerate(chars):
        if k:
            e[t] = w["enc.char_emb.weight"][k]
    x = []
    for k in c["widths"]:
        windows = [np.tanh(np.einsum("faj,ja->f", w[f"enc.conv{k}.weight"], e[s:s + k]) + w[f"enc.conv{k}.bias"])
                   for s in range(max(n - k, 0) + 1)]
        x.append(np.max(windows, axis=0))
    x = np.concatenate(x)
    g = sigmoid(linear(x, w, "enc.highway.transform"))
    return g * np.maximum(linear(x, w, "enc.highway.carry"), 0) + (1 - g) * x


def encoded(chars, w, c):
    m, h = np.zeros((len(chars), c["h"])), np.zeros(c["h"])
    for i, row in enumerate(chars):
        m[i] = h = gru(word(row, w, c), h, w, "enc.gru.")
    return m, np.tanh(linear(h, w, "dec.init"))


def advance(y, d, m, w):
    s = [w["dec.att.v"] @ np.tanh(linear(d, w, "dec.att.query") + linear(k, w, "dec.att.key")) for k in m]
    a = softmax(np.array(s))
    context = a @ m
    d = gru(np.concatenate([w["dec.word_emb.weight"][y], context]), d, w, "dec.gru.")
    return d, linear(np.concatenate([d, context]), w, "dec.out"), a


def forward(chars, tgt, w, c):
    m, d = encoded(chars, w, c)
    logits, attn = np.zeros((len(tgt), c["vocab"])), np.zeros((len(tgt), len(chars)))
    for t, y in enumerate(tgt):
        d, logits[t], attn[t] = advance(y, d, m, w)
    return logits, attn


def typed(t, words, longest):
    chars = t.rng.integers(1, t.c["nchar"], size=(words, longest)).astype(np.int32)
    for row in chars:
        row[t.rng.integers(1, longest + 1):] = 0
    return chars


def sequences(t):
    c = t.c
    for s, longest, n in (1, 1, 1), (4, 7, 5), (7, 3, 2), (3, 11, 0):
        chars, tgt = typed(t, s, longest), t.ids(c["vocab"], n)
        tgt[:1] = c["bos"]
        logits, attn = forward(chars, tgt, t.w, c)
        padded = np.pad(chars, ((0, 0), (0, 4)))
        changed = tgt.copy()
        changed[-1:] = (changed[-1:] + 1) % c["vocab"]
        got = t.run(t.call("forward", "logits attn", chars=chars, tgt=tgt),
                    t.call("forward", "logits attn", chars=padded, tgt=tgt),
                    t.call("forward", "logits", chars=chars, tgt=changed), t.call("encode", "memory", chars=chars),
                    *(t.call("step", "logits", tok=y) for y in tgt), t.call("encode", "memory", chars=padded),
                    t.call("generate", "ids", chars=chars[::-1], max_new=2),
                    t.call("forward", "logits", chars=chars[::-1], tgt=tgt), t.call("step", "logits", tok=c["bos"]))
        t.near(f"forward {s} {n}", got[0]["logits"], logits)
        t.near(f"attn {s} {n}", got[0]["attn"], attn)
        t.near(f"rows of attn {s} {n}", got[0]["attn"].sum(1), np.ones(n))
        t.near(f"padding {s} {n}", got[1]["logits"], logits)
        t.near(f"attn with padding {s} {n}", got[1]["attn"], attn)
        t.near(f"causal {s} {n}", got[2]["logits"][:-1], logits[:-1])
        t.near(f"memory {s}", got[3]["memory"], encoded(chars, t.w, c)[0])
        t.near(f"padded memory {s}", got[4 + n]["memory"], got[3]["memory"])
        for k in range(n):
            t.near(f"step {k} of {s} {n}", got[4 + k]["logits"], logits[k])
        first = forward(chars, np.array([c["bos"]]), t.w, c)[0][0]
        t.near(f"others leave the state {s} {n}", got[-1]["logits"], first)
        if s > 1 and n:
            t.check(f"order matters {s}", np.abs(got[-2]["logits"] - logits).max() > 1e-4)


def greedy(t):
    c = t.c
    for s, n in (1, 1), (3, 6), (5, 4), (2, 0):
        chars, words = typed(t, s, 5), []
        while len(words) < n and c["eos"] not in words:
            words.append(int(np.argmax(forward(chars, [c["bos"], *words], t.w, c)[0][-1])))
        got = t.run(t.call("generate", "ids", chars=chars, max_new=n), t.call("encode", [], chars=chars),
                    *(t.call("step", "logits", tok=y) for y in [c["bos"], *words][:len(words)]))
        t.equal(f"generate {s} {n}", got[0]["ids"], words + [-1] * (n - len(words)))
        t.equal(f"by steps {s} {n}", [np.argmax(g["logits"]) for g in got[2:]], words)


def renamed(t):
    """Other numbers for the characters, and the rows of their table in the same order."""
    c = t.c
    chars, tgt = typed(t, 4, 6), t.ids(c["vocab"], 3)
    new = np.concatenate([[0], 1 + t.rng.permutation(c["nchar"] - 1)]).astype(np.int32)
    w = dict(t.w)
    w["enc.char_emb.weight"] = t.w["enc.char_emb.weight"].copy()
    w["enc.char_emb.weight"][new] = t.w["enc.char_emb.weight"]
    want = t.one("forward", "logits", chars=chars, tgt=tgt)
    t.save(w, t.path)
    t.near("renamed characters", t.one("forward", "logits", chars=new[chars], tgt=tgt), want)
    w["enc.char_emb.weight"][0] += 5
    t.save(w, t.path)
    t.near("the row of padding is not read", t.one("forward", "logits", chars=new[chars], tgt=tgt), want)
    t.save(t.w, t.path)


def state_size(t):
    encode, step = t.call("encode", [], chars=typed(t, 3, 4)), t.call("step", [], tok=t.c["bos"])
    sizes = {t.state_bytes(encode, *[step] * n) for n in (0, 1, 20)}
    t.check("the state does not grow", len(sizes) == 1, str(sizes))


def mistakes(t):
    c = t.c
    chars, tgt = typed(t, 2, 3), t.ids(c["vocab"], 2)
    t.fails("a character outside", t.call("encode", [], chars=chars + c["nchar"]), says="index out of range")
    t.fails("a word outside", t.call("forward", [], chars=chars, tgt=tgt + c["vocab"]), says="index out of range")
    t.fails("a step too early", t.call("step", [], tok=0), says="nothing is encoded")
    t.fails("no filter", t.call("reset", []), more=["-D", "widths=2,0"], says="filter")


def check(t):
    sequences(t)
    greedy(t)
    renamed(t)
    if t.k == 0:
        state_size(t)
        mistakes(t)
