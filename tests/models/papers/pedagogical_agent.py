"""Neural pedagogical agent: a bidirectional LSTM over a student's history, queried by questions."""
from common import *

DEFAULTS = dict(nq=50, ntag=12, dq=10, dr=4, h=8, ff=12, lr=0.3)
CONFIGS = [
    dict(nq=7, ntag=3, dq=3, dr=2, h=5, ff=4),
    {},
    dict(nq=1, ntag=1, dq=1, dr=1, h=1, ff=1),
    dict(nq=11, ntag=5, dq=7, dr=5, h=3, ff=17),
]


def weights(rng, c):
    w = {"question_emb.weight": rng.normal(size=(c["nq"], c["dq"])), "tag_emb.weight": rng.normal(size=(c["ntag"], c["dq"])),
         "response_emb.weight": rng.normal(size=(2, c["dr"]))}
    for way in "", "_reverse":
        w["lstm.weight_ih_l0" + way] = matrix(rng, 4 * c["h"], c["dq"] + c["dr"], gain=1.5)
        w["lstm.weight_hh_l0" + way] = matrix(rng, 4 * c["h"], c["h"], gain=1.5)
        w["lstm.bias_ih_l0" + way], w["lstm.bias_hh_l0" + way] = 0.3 * rng.normal(size=(2, 4 * c["h"]))
    w |= linear_weights(rng, "att.query", 2 * c["h"], c["dq"])
    w |= linear_weights(rng, "fc1", c["ff"], 2 * c["h"] + c["dq"])
    return w | linear_weights(rng, "fc2", 1, c["ff"])


def lstm(xs, w, way):  # equation 2, one element after another
    h = c = np.zeros(w["lstm.weight_hh_l0"].shape[1])
    out = []
    for x in xs:
        z = w["lstm.weight_ih_l0" + way] @ x + w["lstm.bias_ih_l0" + way]
        i, f, g, o = np.split(z + w["lstm.weight_hh_l0" + way] @ h + w["lstm.bias_hh_l0" + way], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return out


def forward(q, tag, r, tq, ttag, w):
    x = [np.concatenate([w["question_emb.weight"][a] + w["tag_emb.weight"][b], w["response_emb.weight"][c]])
         for a, b, c in zip(q, tag, r)]
    hs = [np.concatenate(p) for p in zip(lstm(x, w, ""), lstm(x[::-1], w, "_reverse")[::-1])]
    prob, attn = [], []
    for a, b in zip(tq, ttag):
        e = w["question_emb.weight"][a] + w["tag_emb.weight"][b]
        query = linear(e, w, "att.query")
        weight = softmax(np.array([query @ y for y in hs]) / np.sqrt(len(query)))
        ctx = sum((p * y for p, y in zip(weight, hs)), np.zeros(len(query)))
        z = linear(np.maximum(linear(np.concatenate([ctx, e]), w, "fc1"), 0), w, "fc2")
        prob.append(sigmoid(z[0]))
        attn.append(weight)
    return np.array(prob), np.array(attn).reshape(len(tq), len(hs))


def best(attn, r, k):
    order = sorted((i for i in range(len(r)) if r[i] == 0), key=lambda i: (-attn[i], i))[:k]
    return order + [-1] * (k - len(order))


def draw(t, n, m):
    c = t.c
    history = dict(q=t.ids(c["nq"], n), tag=t.ids(c["ntag"], n), r=t.ids(2, n))
    return history, dict(tq=t.ids(c["nq"], m), ttag=t.ids(c["ntag"], m))


def histories(t):
    for n, m in (0, 3), (1, 1), (7, 5), (23, 2):
        history, targets = draw(t, n, m)
        prob, attn = forward(**history, **targets, w=t.w)
        turned = {k: v[::-1].copy() for k, v in targets.items()}
        last = {k: v.copy() for k, v in history.items()}
        if n:
            last["r"][-1] = 1 - last["r"][-1]
        ks = [1, n + 2] + [max(n // 2, 1)]
        calls = [t.call("forward", "prob attn", **history, **targets), t.call("forward", "prob attn", **history, **turned),
                 t.call("forward", "prob attn", **last, **targets)]
        got = t.run(*calls, *(t.call("review", "idx", **history, **targets, k=k) for k in ks))
        t.near(f"prob {n}", got[0]["prob"], prob)
        t.near(f"attn {n}", got[0]["attn"], attn)
        t.near(f"targets turned {n}", got[1]["prob"], prob[::-1])
        if n:
            t.near(f"attn sums to 1 {n}", got[0]["attn"].sum(1), np.ones(m))
        if n > 1:
            t.check(f"the last answer is seen everywhere {n}", np.all(np.abs(got[2]["attn"] - attn) > 1e-8))
        for k, g in zip(ks, got[3:]):
            t.equal(f"review {n} {k}", g["idx"], np.array([best(a, history["r"], k) for a in got[0]["attn"]], np.int32).reshape(m, k))
            for row in g["idx"]:
                chosen = row[row >= 0]
                t.check(f"only wrong answers, once {n} {k}", np.all(history["r"][chosen] == 0) and len(set(chosen)) == len(chosen))
    same = dict(q=np.zeros(5, np.int32), tag=np.zeros(5, np.int32), r=np.ones(5, np.int32))
    t.equal("nothing wrong", t.one("review", "idx", **same, **draw(t, 0, 1)[1], k=3), [[-1, -1, -1]])


def students(t):
    n = 9
    history, targets = draw(t, n, 4)
    calls, wants = [], []

    def assess(upto):
        calls.append(t.call("assess", "prob", **targets))
        wants.append((len(calls) - 1, forward(**{k: v[:upto] for k, v in history.items()}, **targets, w=t.w)[0]))

    assess(0)
    for i in range(n):
        calls.append(t.call("observe", "", **{k: int(v[i]) for k, v in history.items()}))
        if i in (0, 4, 5, n - 1):
            assess(i + 1)
            assess(i + 1)
    other, _ = draw(t, 3, 1)
    calls += [t.call("forward", "prob", **other, **targets), t.call("reset", "")]
    assess(0)
    calls.append(t.call("observe", "", **{k: int(v[0]) for k, v in history.items()}))
    assess(1)
    got = t.run(*calls)
    for k, want in wants:
        t.near(f"assess {k}", got[k]["prob"], want)


def check(t):
    histories(t)
    students(t)
    c = t.c
    history, targets = draw(t, 3, 2)
    t.fails("no such question", t.call("observe", "", q=c["nq"], tag=0, r=0), says="no such question")
    t.fails("neither right nor wrong", t.call("observe", "", q=0, tag=0, r=2), says="0 or 1")
    history["tag"][1] = c["ntag"]
    t.fails("tag out of range", t.call("forward", "", **history, **targets), says="out of range")
