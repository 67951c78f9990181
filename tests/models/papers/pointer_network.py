"""Pointer networks: an LSTM whose attention over the inputs is its output."""
from common import *

DEFAULTS = dict(din=2, h=16, att=12, lr=0.1, clip=2.0)
CONFIGS = [
    dict(din=3, h=5, att=7),
    {},
    dict(din=1, h=1, att=1),
    dict(din=7, h=17, att=4),
]


def weights(rng, c):
    h, att = c["h"], c["att"]
    w = lstm_weights(rng, "enc.lstm.", h, c["din"], gain=2) | lstm_weights(rng, "dec.lstm.", h, c["din"], gain=2)
    return w | {"dec.start": rng.normal(size=c["din"]), "enc.end": rng.normal(size=h), "att.v": 4 * rng.normal(size=att),
                "att.W1": matrix(rng, att, h, gain=3), "att.W2": matrix(rng, att, h, gain=3)}


def encoded(x, w, c):
    h, cell, memory = np.zeros(c["h"]), np.zeros(c["h"]), []
    for v in x:
        h, cell = lstm(v, h, cell, w, "enc.lstm.")
        memory.append(h)
    return np.array(memory + [w["enc.end"]]), (h, cell)


def advance(x, memory, state, previous, w):
    h, cell = lstm(w["dec.start"] if previous is None else x[previous], *state, w, "dec.lstm.")
    u = [w["att.v"] @ np.tanh(w["att.W1"] @ e + w["att.W2"] @ h) for e in memory]
    return np.array(u), (h, cell)


def forward(x, tgt, w, c):
    memory, state = encoded(x, w, c)
    rows = np.zeros((len(tgt), len(x) + 1))
    for t in range(len(tgt)):
        rows[t], state = advance(x, memory, state, tgt[t - 1] if t else None, w)
    return rows


def greedy(x, n, w, c):
    memory, state = encoded(x, w, c)
    ids, p = [], 0.0
    while len(ids) < n and len(x) not in ids:
        u, state = advance(x, memory, state, ids[-1] if ids else None, w)
        ids.append(int(np.argmax(u)))
        p += u[ids[-1]] - logsumexp(u)
    return ids, p


def permutation(x, w, c):
    memory, state = encoded(x, w, c)
    ids, p = [], 0.0
    for _ in x:
        u, state = advance(x, memory, state, ids[-1] if ids else None, w)
        left = [j for j in range(len(x)) if j not in ids]
        best = left[int(np.argmax(u[left]))]
        p += u[best] - logsumexp(u[left])
        ids.append(best)
    return ids, p


def sequences(t):
    for n, m in (1, 1), (5, 7), (0, 1), (13, 3), (4, 0):
        x = t.normal(n, t.c["din"])
        tgt = t.ids(n, m) if n else np.array([n] * m, np.int32)
        tgt[-1:] = n  # the end, never fed
        want, (memory, _) = forward(x, tgt, t.w, t.c), encoded(x, t.w, t.c)
        changed = tgt.copy()
        changed[m // 2:] = 0
        previous = [-1, *tgt[:-1]][:m]
        got = t.run(t.call("forward", "logits", x=x, tgt=tgt), t.call("forward", "logits", x=x, tgt=changed),
                    t.call("encode", "memory", x=x[::-1]), t.call("encode", "memory", x=x),
                    t.call("generate", [], x=x[:1], max_new=2), t.call("generate_perm", [], x=x[:1]),
                    *(t.call("step", "logits", prev=j) for j in previous))
        t.near(f"forward {n} {m}", got[0]["logits"], want)
        t.near(f"causal {n} {m}", got[1]["logits"][:m // 2 + 1], want[:m // 2 + 1])
        t.near(f"memory {n} {m}", got[3]["memory"], memory)
        for k in range(m):
            t.near(f"step {k} of {n} {m}", got[6 + k]["logits"], want[k])


def decoding(t):
    c = t.c
    for n, m in (1, 1), (6, 9), (0, 2), (17, 5), (3, 0), (60, 8):
        x = t.normal(n, c["din"])
        ids, p = greedy(x, m, t.w, c)
        order, q = permutation(x, t.w, c)
        fed = np.array(ids or [n], np.int32)
        got = t.run(t.call("generate", "ids logp", x=x, max_new=m), t.call("generate_perm", "ids logp", x=x),
                    t.call("forward", "logits", x=x, tgt=fed))
        t.equal(f"generate {n}", got[0]["ids"], ids + [-1] * (m - len(ids)))
        t.near(f"generate logp {n}", got[0]["logp"], p)
        t.equal(f"generate is the argmax of forward {n}", np.argmax(got[2]["logits"], 1)[:len(ids)], ids)
        t.equal(f"permutation {n}", got[1]["ids"], order)
        t.near(f"permutation logp {n}", got[1]["logp"], q)
        t.equal(f"a permutation {n}", np.sort(got[1]["ids"]), np.arange(n))


def state_size(t):
    encode, step = t.call("encode", [], x=t.normal(4, t.c["din"])), t.call("step", [], prev=2)
    sizes = {t.state_bytes(encode, *[step] * n) for n in (0, 1, 20)}
    t.check("the state does not grow", len(sizes) == 1, str(sizes))


def mistakes(t):
    x = t.normal(3, t.c["din"])
    t.fails("the end is fed", t.call("forward", [], x=x, tgt=np.array([3, 0])), says="index out of range")
    t.fails("a start within", t.call("forward", [], x=x, tgt=np.array([-1, 0])), says="index out of range")
    t.fails("a step to nowhere", t.call("encode", [], x=x), t.call("step", [], prev=3), says="index out of range")
    t.fails("a negative step", t.call("encode", [], x=x), t.call("step", [], prev=-2), says="index out of range")
    t.fails("a start within", t.call("forward", [], x=x, tgt=np.array([-1, 0])), says="index out of range")
    t.fails("a step too early", t.call("step", [], prev=-1), says="nothing is encoded")
    t.fails("a step after a reset", t.call("encode", [], x=x), t.call("reset", []), t.call("step", [], prev=-1),
            says="nothing is encoded")


def check(t):
    sequences(t)
    decoding(t)
    if t.k == 0:
        state_size(t)
        mistakes(t)
