"""Sequence to sequence with deep LSTMs: reversed source, beam search, rescoring of given hypotheses."""
from common import *

DEFAULTS = dict(src_vocab=30, tgt_vocab=25, d=8, h=12, layers=2, bos=1, eos=2, beam=3, reverse=1, lr=0.7, clip=5.0)
CONFIGS = [
    dict(src_vocab=7, tgt_vocab=5, d=3, h=5, layers=3, beam=4, reverse=0),
    {},
    dict(src_vocab=4, tgt_vocab=3, d=2, h=3, layers=1, bos=0, eos=2, beam=1),
    dict(src_vocab=4, tgt_vocab=3, d=1, h=1, layers=1, beam=27),
    dict(src_vocab=11, tgt_vocab=13, d=17, h=17, layers=4, bos=12, eos=0, beam=7),
]


def weights(rng, c):
    w = {}
    for side, vocab in ("encoder", c["src_vocab"]), ("decoder", c["tgt_vocab"]):
        w[side + ".embed.weight"] = rng.normal(size=(vocab, c["d"]))
        for l in range(c["layers"]):
            w |= lstm_weights(rng, f"{side}.lstm.", c["h"], c["d"] if l == 0 else c["h"], f"_l{l}", gain=2)
    w |= linear_weights(rng, "decoder.out", c["tgt_vocab"], c["h"])
    w["decoder.out.weight"] *= 3
    return w


def advance(word, state, w, side):
    """One word through all layers; state is a list of (h, c)."""
    x, new = w[side + ".embed.weight"][word], []
    for l, (h, c) in enumerate(state):
        h, c = lstm(x, h, c, w, f"{side}.lstm.", f"_l{l}")
        new.append((h, c))
        x = h
    return new


def encoded(src, w, c):
    state = [(np.zeros(c["h"]), np.zeros(c["h"]))] * c["layers"]
    for word in (src[::-1] if c["reverse"] else src):
        state = advance(word, state, w, "encoder")
    return state


def forward(src, tgt, w, c):
    state, rows = encoded(src, w, c), np.zeros((len(tgt), c["tgt_vocab"]))
    for t, word in enumerate(tgt):
        state = advance(word, state, w, "decoder")
        rows[t] = linear(state[-1][0], w, "decoder.out")
    return rows


def logp(src, words, w, c):
    z = forward(src, [c["bos"], *words[:-1]], w, c) if words else np.zeros((0, 1))
    return sum(z[t][v] - logsumexp(z[t]) for t, v in enumerate(words))


def greedy(src, n, w, c):
    words = []
    while len(words) < n and c["eos"] not in words:
        words.append(int(np.argmax(forward(src, [c["bos"], *words], w, c)[-1])))
    return words


def beam_search(src, n, w, c):
    live, finished = [([], 0.0)], []
    for _ in range(n):
        if not live:
            break
        candidates = []
        for words, score in live:
            z = forward(src, [c["bos"], *words], w, c)[-1]
            candidates += [(words + [v], score + z[v] - logsumexp(z)) for v in range(c["tgt_vocab"])]
        best = sorted(range(len(candidates)), key=lambda i: -candidates[i][1])[:c["beam"]]
        finished += [candidates[i] for i in best if candidates[i][0][-1] == c["eos"]]
        live = [candidates[i] for i in best if candidates[i][0][-1] != c["eos"]]
    words, score = max(finished or live, key=lambda x: x[1])
    return words, score, int(bool(finished))


def filled(words, n):
    return np.array(words + [-1] * (n - len(words)), np.int32)


def sequences(t):
    w, c = t.w, t.c
    for s, n in (1, 1), (5, 4), (0, 3), (11, 7):
        src, tgt = t.ids(c["src_vocab"], s), t.ids(c["tgt_vocab"], n)
        tgt[0] = c["bos"]
        want, state = forward(src, tgt, w, c), encoded(src, w, c)
        changed = tgt.copy()
        changed[-1] = (tgt[-1] + 1) % c["tgt_vocab"]
        got = t.run(t.call("forward", "logits", src=src, tgt=tgt), t.call("encode", "state", src=src),
                    *(t.call("step", "logits", tok=v) for v in tgt),
                    t.call("forward", "logits", src=src, tgt=changed), t.call("reset", ""),
                    t.call("step", "logits", tok=c["bos"]), t.call("encode", "state", src=src),
                    t.call("generate", "ids", src=src[::-1], max_new=3),
                    t.call("beam_search", "ids", src=src[::-1], max_new=3),
                    t.call("score", "logp", src=src[::-1], hyps=np.zeros((1, 2), np.int32)),
                    t.call("step", "logits", tok=tgt[0]))
        t.near(f"forward {s} {n}", got[0]["logits"], want)
        t.near(f"state {s}", got[1]["state"], np.array([np.concatenate(x) for x in state]))
        t.near(f"steps {s} {n}", np.stack([g["logits"] for g in got[2:2 + n]]), want)
        t.near(f"causal {s} {n}", got[2 + n]["logits"][:-1], want[:-1])
        zero = advance(c["bos"], [(np.zeros(c["h"]), np.zeros(c["h"]))] * c["layers"], w, "decoder")
        t.near(f"reset {s}", got[4 + n]["logits"], linear(zero[-1][0], w, "decoder.out"))
        t.near(f"others leave the state {s}", got[-1]["logits"], want[0])


def reversal(t):
    src, tgt = t.ids(t.c["src_vocab"], 6), t.ids(t.c["tgt_vocab"], 3)
    src[0], src[-1] = 0, 1
    other = ["-D", f"reverse={1 - t.c['reverse']}"]
    same, here = t.run(t.call("forward", "logits", src=src, tgt=tgt), t.call("forward", "logits", src=src[::-1], tgt=tgt))
    there = t.run(t.call("forward", "logits", src=src[::-1], tgt=tgt), more=other)[0]
    t.near("reversed twice", there["logits"], same["logits"])
    t.check("order matters", np.abs(here["logits"] - same["logits"]).max() > 1e-3)


def search(t):
    w, c = t.w, t.c
    one = ["-D", "beam=1"]
    for s, n in (1, 1), (4, 3), (3, 6), (2, 0):
        src = t.ids(c["src_vocab"], s)
        words, score, finished = beam_search(src, n, w, c)
        ids, got, short = t.run(t.call("generate", "ids", src=src, max_new=n),
                                t.call("beam_search", "ids logp finished", src=src, max_new=n),
                                t.call("score", "logp", src=src, hyps=filled(words, max(n, 1))[None]))
        t.equal(f"greedy {n}", ids["ids"], filled(greedy(src, n, w, c), n))
        t.equal(f"beam ids {n}", got["ids"], filled(words, n))
        t.near(f"beam logp {n}", got["logp"], score)
        t.equal(f"beam finished {n}", got["finished"], finished)
        t.near(f"beam logp is the score {n}", short["logp"][0], got["logp"])
        narrow = t.run(t.call("beam_search", "ids", src=src, max_new=n), more=one)[0]
        t.equal(f"beam 1 is greedy {n}", narrow["ids"], ids["ids"])


def scores(t):
    w, c = t.w, t.c
    src = t.ids(c["src_vocab"], 5)
    hyps = t.ids(c["tgt_vocab"], 6, 4)
    for k in range(6):
        hyps[k, k:] = -1  # lengths 0 to 4
    hyps[1, 3] = 10 ** 6  # behind the prefix nothing is read
    prefix = [[int(v) for v in row[:k]] for k, row in enumerate(hyps)]
    want = np.array([logp(src, p, w, c) for p in prefix])
    base = t.normal(6)
    base[2] = base[4]
    got = t.run(t.call("score", "logp", src=src, hyps=hyps),
                t.call("rerank", "total order", src=src, hyps=hyps, base=base, weight=0.5),
                t.call("rerank", "total order", src=src, hyps=hyps, base=base, weight=0),
                t.call("rerank", "total order", src=src, hyps=hyps[:1], base=base[:1], weight=-1.5))
    t.near("score", got[0]["logp"], want)
    t.near("total", got[1]["total"], base + 0.5 * want)
    t.equal("order", got[1]["order"], np.argsort(-(base + 0.5 * want), kind="stable"))
    t.equal("weight 0 sorts by base", got[2]["order"], np.argsort(-base, kind="stable"))
    t.near("one hypothesis", got[3]["total"], base[:1] - 1.5 * want[:1])
    t.equal("one order", got[3]["order"], [0])


def all_targets(t):
    """Every complete target of at most two words: their probabilities, and an exhaustive search."""
    c = t.c
    words = [v for v in range(c["tgt_vocab"]) if v != c["eos"]]
    targets = [[c["eos"]]] + [[v, c["eos"]] for v in words]
    src = t.ids(c["src_vocab"], 4)
    hyps = np.array([filled(x, 2) for x in targets])
    wide = ["-D", f"beam={c['tgt_vocab'] ** 2}"]
    p, best = t.run(t.call("score", "logp", src=src, hyps=hyps), t.call("beam_search", "ids logp", src=src, max_new=2),
                    more=wide)
    t.check("probabilities", np.exp(p["logp"].astype(np.float64)).sum() < 1)
    k = int(np.argmax(p["logp"]))
    t.near("exhaustive logp", best["logp"], p["logp"][k])
    t.equal("exhaustive ids", best["ids"], hyps[k])


def state_size(t):
    sizes = {t.state_bytes(t.call("encode", [], src=t.ids(t.c["src_vocab"], n)), *[t.call("step", [], tok=0)] * n)
             for n in (3, 50)}
    t.check("the state does not grow", len(sizes) == 1, str(sizes))


def mistakes(t):
    c, src = t.c, t.ids(t.c["src_vocab"], 3)
    t.fails("a word outside", t.call("forward", [], src=np.array([0, c["src_vocab"]]), tgt=src[:1] * 0), says="index out of range")
    t.fails("a negative word", t.call("encode", [], src=np.array([-1])), says="index out of range")
    t.fails("a hypothesis outside", t.call("score", [], src=src, hyps=np.array([[c["tgt_vocab"], -1]])), says="index out of range")
    t.fails("bases missing", t.call("rerank", [], src=src, hyps=np.zeros((2, 2), np.int32), base=t.normal(3), weight=1), says="base")
    t.fails("no beam", t.call("reset", []), more=["-D", "beam=0"], says="beam")


def check(t):
    sequences(t)
    reversal(t)
    search(t)
    scores(t)
    if t.k < 4:
        all_targets(t)
    if t.k == 0:
        state_size(t)
        mistakes(t)
