"""Read, highlight and summarize: words against memories of sentence and document, written over as they are read."""
from common import *

DEFAULTS = dict(vocab=40, nlemma=15, npos=7, dw=8, dl=3, dp=3, max_oov=4, unk=1, bos=2, eos=3, lr=0.3, clip=2.0)
CONFIGS = [
    dict(vocab=7, nlemma=3, npos=2, dw=2, dl=1, dp=2, max_oov=2, eos=6),
    {},
    dict(vocab=5, nlemma=1, npos=1, dw=1, dl=1, dp=1, max_oov=0, unk=4, bos=1),
    dict(vocab=23, nlemma=11, npos=13, dw=7, dl=5, dp=5, max_oov=9, eos=5),
]


def weights(rng, c):
    d = c["dw"] + c["dl"] + c["dp"]
    w = {f"embed.{n}.weight": 1.5 * rng.normal(size=s) for n, s in
         (("word", (c["vocab"], c["dw"])), ("lemma", (c["nlemma"], c["dl"])), ("pos", (c["npos"], c["dp"])))}
    for e, memories in ("enc", 2), ("dec", 2), ("flat", 1):
        for n in "read", "write":
            w |= lstm_weights(rng, f"{e}.{n}.", d, d, gain=2)
        w |= linear_weights(rng, e + ".attention.input", d, d)
        w |= linear_weights(rng, e + ".attention.memory", d, d, bias=False)
        w |= {e + ".attention.v": 3 * rng.normal(size=d)}
        w |= linear_weights(rng, e + ".compose", d, (1 + memories) * d)
    w |= linear_weights(rng, "pgen", 1, 4 * d) | linear_weights(rng, "output", c["vocab"], d)
    w["output.weight"] *= 3
    return w


class Reader:
    """One of the three modules, with its two LSTM states."""

    def __init__(self, e, w, d):
        self.e, self.w = e, w
        self.read = self.write = (np.zeros(d), np.zeros(d))

    def attention(self, r, m, used):
        a = self.e + ".attention."
        s = [self.w[a + "v"] @ np.tanh(linear(r, self.w, a + "input") + linear(k, self.w, a + "memory")) for k in m]
        return softmax(np.array(s), used)

    def step(self, x, memories):
        """memories: pairs (array that is overwritten, slots in use); gives attentions and what was seen."""
        self.read = lstm(x, *self.read, self.w, self.e + ".read.")
        r = self.read[0]
        z = [self.attention(r, m, used) for m, used in memories]
        seen = [sum((a * k for a, k in zip(p, m)), 0 * r) for p, (m, _) in zip(z, memories)]
        composed = np.maximum(linear(np.concatenate([r, *seen]), self.w, self.e + ".compose"), 0)
        self.write = lstm(composed, *self.write, self.w, self.e + ".write.")
        for p, (m, _) in zip(z, memories):
            for i in range(len(m)):
                m[i] = (1 - p[i]) * m[i] + p[i] * self.write[0]
        return z, seen


class Reference:
    def __init__(self, t, lemma_of, pos_of):
        self.w, self.c, self.lemma_of, self.pos_of = t.w, t.c, lemma_of, pos_of
        self.d = t.c["dw"] + t.c["dl"] + t.c["dp"]

    def x(self, word):
        word = self.c["unk"] if word >= self.c["vocab"] else word
        return np.concatenate([self.w["embed.word.weight"][word], self.w["embed.lemma.weight"][self.lemma_of[word]],
                               self.w["embed.pos.weight"][self.pos_of[word]]])

    def encode(self, doc, ext):
        reader = Reader("enc", self.w, self.d)
        words = [[self.x(v) for v in row if v] for row in doc]
        md = np.array([np.mean(row, 0) if row else np.zeros(self.d) for row in words]).reshape(-1, self.d)
        filled = np.array([bool(row) for row in words])
        sentences = []
        for s, row in enumerate(doc):
            ms = np.array([self.x(v) for v in row]).reshape(-1, self.d)
            for word in words[s]:
                reader.step(word, [(ms, row != 0), (md, filled)])
            sentences.append(ms)
        self.sent, self.doc = np.array(sentences).reshape(-1, self.d), md
        self.used, self.filled, self.ext = (doc != 0).ravel(), filled, ext.ravel()
        self.decoder = Reader("dec", self.w, self.d)
        self.decoder.read, self.decoder.write = reader.read, reader.write
        return self

    def step(self, word):
        (zs, _), (ss, sd) = self.decoder.step(self.x(word), [(self.sent, self.used), (self.doc, self.filled)])
        h, r = self.decoder.write[0], self.decoder.read[0]
        g = float(sigmoid(linear(np.concatenate([ss, sd, h, r]), self.w, "pgen"))[0])
        p = np.zeros(self.c["vocab"] + self.c["max_oov"])
        p[:self.c["vocab"]] = g * softmax(linear(h, self.w, "output"))
        for i, word in enumerate(self.ext):
            p[word] += (1 - g) * zs[i]
        return p, g

    def forward(self, words):
        rows = [self.step(v) for v in words]
        size = self.c["vocab"] + self.c["max_oov"]
        return np.array([p for p, _ in rows]).reshape(-1, size), np.array([g for _, g in rows])

    def greedy(self, n):
        ids = []
        while len(ids) < n and self.c["eos"] not in ids:
            ids.append(int(np.argmax(self.step(ids[-1] if ids else self.c["bos"])[0])))
        return ids


def document(t, sentences, words, empty=0):
    """Sentences of different lengths, the last `empty` of them without words; unknown words numbered in ext."""
    c = t.c
    size = c["vocab"] + c["max_oov"]
    ext = t.rng.integers(1, size, size=(sentences, words)).astype(np.int32)
    for s in range(sentences):
        ext[s, t.rng.integers(1, words + 1) if s < sentences - empty else 0:] = 0
    return np.where(ext >= c["vocab"], c["unk"], ext).astype(np.int32), ext


def factors(t):
    return dict(lemma_of=t.ids(t.c["nlemma"], t.c["vocab"]), pos_of=t.ids(t.c["npos"], t.c["vocab"]))


def sequences(t):
    c, size = t.c, t.c["vocab"] + t.c["max_oov"]
    for s, l, n, empty in (1, 1, 1, 0), (3, 4, 5, 0), (4, 3, 3, 2), (2, 7, 0, 0):
        (doc, ext), f = document(t, s, l, empty), factors(t)
        given, name = dict(doc=doc, ext=ext, **f), f"{s} {l} {n}"
        more = {k: np.pad(v, ((0, 2), (0, 3))) if v.ndim == 2 else v for k, v in given.items()}
        words = t.ids(size, n)
        words[:1] = c["bos"]
        ref = Reference(t, **f).encode(doc, ext)
        sent, memory = ref.sent.copy(), ref.doc.copy()
        prob, gate = ref.forward(words)
        changed = words.copy()
        changed[-1:] = (changed[-1:] + 1) % size
        got = t.run(t.call("forward", "prob pgen", dec=words, **given), t.call("forward", "prob pgen", dec=words, **more),
                    t.call("forward", "prob", dec=changed, **given), t.call("encode", [], **more),
                    t.call("step", [], tok=c["bos"]), t.call("encode", "sent_memory doc_memory", **given),
                    t.call("generate", [], max_new=2, **more),
                    *(t.call("step", "prob", tok=v) for v in words))
        t.near(f"prob {name}", got[0]["prob"], prob)
        t.near(f"pgen {name}", got[0]["pgen"], gate)
        t.near(f"sums {name}", got[0]["prob"].sum(1), np.ones(n))
        t.near(f"prob with padding {name}", got[1]["prob"], prob)
        t.near(f"pgen with padding {name}", got[1]["pgen"], gate)
        t.near(f"causal {name}", got[2]["prob"][:-1], prob[:-1])
        t.near(f"sentence memory {name}", got[5]["sent_memory"], sent)
        t.near(f"document memory {name}", got[5]["doc_memory"], memory)
        for k in range(n):
            t.near(f"step {k} of {name}", got[7 + k]["prob"], prob[k])
        there = sorted({int(v) for v in ext.ravel() if v >= c["vocab"]})
        t.check(f"words from outside {name}", bool(np.all(got[0]["prob"][:, there] > 0)))
        absent = sorted(set(range(c["vocab"], size)) - set(there))
        t.check(f"words that are nowhere {name}", bool(np.all(got[0]["prob"][:, absent] == 0)))


def greedy(t):
    for s, l, n in (1, 1, 1), (3, 3, 6), (2, 5, 0):
        (doc, ext), f = document(t, s, l), factors(t)
        words = Reference(t, **f).encode(doc, ext).greedy(n)
        got = t.one("generate", "ids", doc=doc, ext=ext, max_new=n, **f)
        t.equal(f"generate {s} {n}", got, words + [-1] * (n - len(words)))


def losses(t):
    (doc, ext), f = document(t, 2, 4), factors(t)
    label = t.ids(t.c["vocab"] + t.c["max_oov"], 5)
    dec = np.concatenate([[t.c["bos"]], label[:-1]]).astype(np.int32)
    prob, _ = Reference(t, **f).encode(doc, ext).forward(dec)
    nll = np.mean([-np.log(p[v] + 1e-10) for p, v in zip(prob, label)])
    pairs = (0.7, 0.2), (0.2, 0.7), (0.4, 0.4), (1.0, 0.0)
    got = t.run(*(t.call("sc_loss", "loss", doc=doc, ext=ext, dec=dec, label=label, reward=a, baseline=b, **f)
                  for a, b in pairs))
    for (a, b), g in zip(pairs, got):
        t.near(f"loss {a} {b}", g["loss"], (a - b) * nll)
    t.equal("no reward over the baseline", got[2]["loss"], 0)


def flat(t):
    for n in 1, 6, 0:
        words, f = t.ids(t.c["vocab"] + t.c["max_oov"], n), factors(t)
        ref = Reference(t, **f)
        reader = Reader("flat", t.w, ref.d)
        m, h = np.array([ref.x(v) for v in words]).reshape(-1, ref.d), np.zeros((n, ref.d))
        x = m.copy()
        for k in range(n):
            reader.step(x[k], [(m, np.ones(n, bool))])
            h[k] = reader.write[0]
        got = t.run(t.call("nse", "h memory", words=words, **f))[0]
        t.near(f"nse h {n}", got["h"], h)
        t.near(f"nse memory {n}", got["memory"], m)
        if n == 1:  # attention 1 on the only slot
            t.near("a slot is replaced", got["memory"], got["h"])


def state_size(t):
    (doc, ext), f = document(t, 2, 3), factors(t)
    encode, step = t.call("encode", [], doc=doc, ext=ext, **f), t.call("step", [], tok=t.c["bos"])
    sizes = {t.state_bytes(encode, *[step] * n) for n in (0, 1, 20)}
    t.check("the state does not grow", len(sizes) == 1, str(sizes))


def mistakes(t):
    (doc, ext), f = document(t, 2, 3), factors(t)
    dec, size = np.array([t.c["bos"]]), t.c["vocab"] + t.c["max_oov"]
    t.fails("ext outside", t.call("forward", [], doc=doc, ext=ext + size, dec=dec, **f), says="ext is")
    t.fails("a negative word", t.call("forward", [], doc=doc, ext=ext, dec=dec - 9, **f), says="index out of range")
    t.fails("a lemma outside", t.call("nse", [], words=dec, lemma_of=f["lemma_of"] + t.c["nlemma"], pos_of=f["pos_of"]),
            says="index out of range")
    t.fails("a label outside", t.call("sc_loss", [], doc=doc, ext=ext, dec=dec, label=np.array([size]), reward=1,
                                      baseline=0, **f), says="index out of range")
    t.fails("other shapes", t.call("encode", [], doc=doc, ext=ext[:1], **f), says="ext")


def check(t):
    sequences(t)
    greedy(t)
    losses(t)
    flat(t)
    if t.k == 0:
        state_size(t)
        mistakes(t)
