"""Order matters: sets through a read, a process and a write block; losses that search for an order."""
import itertools

from common import *

DEFAULTS = dict(din=2, d=12, att=10, process=5, lr=0.1, clip=2.0)
CONFIGS = [
    dict(din=3, d=5, att=7, process=2),
    {},
    dict(din=1, d=1, att=1, process=1),
    dict(din=2, d=6, att=3, process=0),
    dict(din=5, d=17, att=11, process=9),
]


def weights(rng, c):
    d, att = c["d"], c["att"]
    w = linear_weights(rng, "read.fc1", d, c["din"]) | linear_weights(rng, "read.fc2", d, d)
    w |= {"process.w": matrix(rng, 4 * d, 2 * d, gain=2), "process.b": 0.5 * rng.normal(size=4 * d)}
    w |= linear_weights(rng, "write.init", d, 2 * d) | {"write.start": rng.normal(size=d)}
    w |= lstm_weights(rng, "write.lstm.", d, d, gain=2)
    for n, q in ("glimpse", d), ("point", 2 * d):
        w |= {f"write.{n}.W1": matrix(rng, att, d, gain=3), f"write.{n}.W2": matrix(rng, att, q, gain=3),
              f"write.{n}.v": 3 * rng.normal(size=att)}
    w["read.fc2.weight"] *= 3
    return w


def read_process(x, w, c):
    d = c["d"]
    m = linear(np.maximum(linear(x, w, "read.fc1"), 0), w, "read.fc2")
    q, cell, a = np.zeros(2 * d), np.zeros(d), np.zeros(len(x))
    for _ in range(c["process"]):
        i, f, g, o = (w["process.w"] @ q + w["process.b"]).reshape(4, d)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(cell)
        a = softmax(m @ h)
        q = np.concatenate([h, a @ m])
    return q, a, m


def additive(q, m, w, name):
    return np.array([w[name + ".v"] @ np.tanh(w[name + ".W1"] @ k + w[name + ".W2"] @ q) for k in m])


def begin(x, w, c):
    q, _, m = read_process(x, w, c)
    return m, (np.tanh(linear(q, w, "write.init")), np.zeros(c["d"]))


def advance(previous, m, state, w):
    h, cell = lstm(w["write.start"] if previous is None else m[previous], *state, w, "write.lstm.")
    g = softmax(additive(h, m, w, "write.glimpse")) @ m
    return additive(np.concatenate([h, g]), m, w, "write.point"), (h, cell)


def forward(x, order, w, c):
    m, state = begin(x, w, c)
    rows = np.zeros((len(order), len(x)))
    for t in range(len(order)):
        rows[t], state = advance(order[t - 1] if t else None, m, state, w)
    return rows


def nll(x, order, w, c):
    return sum(logsumexp(z) - z[j] for z, j in zip(forward(x, order, w, c), order))


def generate(x, n, w, c):
    m, state = begin(x, w, c)
    ids = []
    while len(ids) < n:
        u, state = advance(ids[-1] if ids else None, m, state, w)
        u[ids] = -np.inf
        ids.append(int(np.argmax(u)))
    return ids


def sampled(x, items, u, w, c):
    m, state = begin(x, w, c)
    left, order, loss = list(items), [], 0.0
    for number in u:
        z, state = advance(order[-1] if order else None, m, state, w)
        below = np.cumsum(softmax(z[left]))
        k = next((k for k, total in enumerate(below) if total > number), len(left) - 1)
        order.append(left.pop(k))
        loss += logsumexp(z) - z[order[-1]]
    return loss, order


def sequences(t):
    c = t.c
    for n, m in (1, 1), (4, 6), (7, 3), (13, 1), (3, 0):
        x, tgt = t.normal(n, c["din"]), t.ids(n, m)
        want, (q, a, memory) = forward(x, tgt, t.w, c), read_process(x, t.w, c)
        order = t.rng.permutation(n)  # row i of the other is row order[i] of x
        where = np.argsort(order).astype(np.int32)
        changed = tgt.copy()
        changed[-1:] = (changed[-1:] + 1) % n
        got = t.run(t.call("forward", "logits", x=x, tgt=tgt), t.call("read_process", "q attn memory", x=x),
                    t.call("read_process", "q attn memory", x=x[order]),
                    t.call("forward", "logits", x=x[order], tgt=where[tgt]),
                    t.call("forward", "logits", x=x, tgt=changed), t.call("encode", "h", x=x[::-1]),
                    t.call("step", [], prev=-1), t.call("encode", "h", x=x), t.call("generate", [], x=x, n=n),
                    t.call("order_loss", [], x=x, items=tgt[:1]),
                    *(t.call("step", "logits", prev=j) for j in [-1, *tgt[:-1]][:m]))
        t.near(f"forward {n} {m}", got[0]["logits"], want)
        t.near(f"q {n}", got[1]["q"], q)
        t.near(f"attn {n}", got[1]["attn"], a)
        t.near(f"memory {n}", got[1]["memory"], memory)
        t.near(f"q of a permuted set {n}", got[2]["q"], q)
        t.near(f"attn of a permuted set {n}", got[2]["attn"], a[order])
        t.near(f"forward of a permuted set {n} {m}", got[3]["logits"], want[:, order])
        t.near(f"causal {n} {m}", got[4]["logits"], want)
        t.near(f"h {n}", got[7]["h"], begin(x, t.w, c)[1][0])
        for k in range(m):
            t.near(f"step {k} of {n} {m}", got[10 + k]["logits"], want[k])
        if c["process"] == 0:
            t.equal(f"nothing processed {n}", np.concatenate([got[1]["q"], got[1]["attn"]]), np.zeros(2 * c["d"] + n))


def generation(t):
    for n, m in (1, 1), (6, 6), (11, 4), (3, 0), (0, 0):
        x = t.normal(n, t.c["din"])
        ids = t.one("generate", "ids", x=x, n=m)
        t.equal(f"generate {n} {m}", ids, generate(x, m, t.w, t.c))
        t.equal(f"distinct {n} {m}", len(set(ids.tolist())), m)


def orders(t):
    for n, k in (4, 3), (5, 4), (3, 1), (2, 2), (2, 0):
        x, items = t.normal(n, t.c["din"]), t.rng.permutation(n)[:k].astype(np.int32)
        all_orders = list(itertools.permutations(items.tolist()))
        losses = [nll(x, o, t.w, t.c) for o in all_orders]
        best = int(np.argmin(losses))
        u = t.uniform(0, 1, 6, k)
        u[0], u[1] = 0, 1
        got = t.run(t.call("order_loss", "loss order", x=x, items=items),
                    t.call("order_loss", "loss order", x=x, items=items[::-1]),
                    t.call("forward", "logits", x=x, tgt=np.array(all_orders[best], np.int32)),
                    *(t.call("sampled_order_loss", "loss order", x=x, items=items, u=row) for row in u))
        t.near(f"order loss {n} {k}", got[0]["loss"], losses[best])
        t.equal(f"order {n} {k}", got[0]["order"], np.array(all_orders[best]))
        t.near(f"order loss of items listed otherwise {n} {k}", got[1]["loss"], losses[best])
        z = got[2]["logits"].astype(np.float64)
        t.near(f"nll of the order {n} {k}", sum(logsumexp(r) - r[j] for r, j in zip(z, all_orders[best])), losses[best])
        for row, g in zip(u, got[3:]):
            loss, order = sampled(x, items, row, t.w, t.c)
            t.near(f"sampled loss {n} {k}", g["loss"], loss)
            t.equal(f"sampled order {n} {k}", g["order"], order)
            t.near(f"nll of the sampled order {n} {k}", nll(x, g["order"], t.w, t.c), g["loss"])
            t.check(f"no order is better {n} {k}", g["loss"] >= got[0]["loss"] - 1e-5)
    # Equal rows: every order is as good, and the first listed is taken.
    x = np.repeat(t.normal(1, t.c["din"]), 4, 0)
    t.equal("ties", t.one("order_loss", "order", x=x, items=np.array([2, 0, 3], np.int32)), [2, 0, 3])


def mistakes(t):
    x = t.normal(5, t.c["din"])
    t.fails("too many", t.call("generate", [], x=x, n=6), says="at most as many")
    t.fails("too many items", t.call("order_loss", [], x=x, items=np.arange(5)), says="at most four")
    t.fails("no such item", t.call("order_loss", [], x=x, items=np.array([5])), says="index out of range")
    t.fails("a step too early", t.call("step", [], prev=-1), says="nothing is encoded")
    t.fails("a step after a reset", t.call("encode", [], x=x), t.call("reset", []), t.call("step", [], prev=-1),
            says="nothing is encoded")
    t.fails("no such position", t.call("forward", [], x=x, tgt=np.array([-1, 2])), says="index out of range")


def check(t):
    sequences(t)
    generation(t)
    orders(t)
    if t.k == 0:
        mistakes(t)
