"""Landmark Attention: a landmark token ends each block and is the gate to it."""
from common import *

DEFAULTS = dict(vocab=48, d=32, heads=4, layers=2, block=4, topk=2, stingy=0)
CONFIGS = [
    dict(vocab=7, d=12, heads=2, layers=2, block=3, topk=2, stingy=1),
    dict(vocab=11, d=8, heads=2, layers=2, block=2, topk=1),
    {},
    dict(vocab=5, d=2, heads=1, layers=1, block=1, topk=99, stingy=1),
    dict(vocab=9, d=12, heads=3, layers=3, block=5, topk=1, stingy=1),
    dict(vocab=9, d=8, heads=2, layers=2, block=2, topk=99),
]
MARGIN = 5e-4
EPS = 1e-5


def weights(rng, c):
    d = c["d"]
    w = {"lm_head.weight": rng.normal(size=(c["vocab"] + 1, d))} | norm_weights(rng, "transformer.ln_f", d, bias=False)
    for i in range(c["layers"]):
        p = f"transformer.h.{i}."
        w |= norm_weights(rng, p + "ln_1", d, bias=False) | norm_weights(rng, p + "ln_2", d, bias=False)
        w |= linear_weights(rng, p + "attn.c_attn", 3 * d, d, bias=False)
        w |= linear_weights(rng, p + "attn.c_proj", d, d, bias=False)
        w |= linear_weights(rng, p + "mlp.c_fc", 4 * d, d, bias=False)
        w |= linear_weights(rng, p + "mlp.c_proj", d, 4 * d, bias=False)
    return w


def norm(x, weight):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS) * weight


def rope(x, pos):
    """x [.., hd] at one position: complex numbers out of neighbouring channels."""
    hd = x.shape[-1]
    z = x[..., 0::2] + 1j * x[..., 1::2]
    z = z * np.exp(1j * pos * 10.0 ** (-8 * np.arange(hd // 2) / hd))
    return np.stack([z.real, z.imag], -1).reshape(x.shape)


def grouped(s, mem):
    """Equation 4, row by row, block by block."""
    n = len(s)
    g = np.array([int(np.sum(mem[:j])) for j in range(n)])
    p = np.zeros((n, n))
    for i in range(n):
        own = [j for j in range(i + 1) if g[j] == g[i] and not mem[j]]
        marks = [j for j in range(i) if mem[j] and g[j] < g[i]]
        if not own + marks:
            continue
        t = dict(zip(own + marks, softmax(s[i, own + marks])))
        for j in own:
            p[i, j] = t[j]
        for l in marks:
            block = [j for j in range(l) if g[j] == g[l] and not mem[j]]
            if block:
                p[i, block] = t[l] * softmax(s[i, block])
    return p


class Model:
    def __init__(self, w, c):
        self.w, self.c = w, c
        self.hd = c["d"] // c["heads"]
        self.reset()

    def reset(self):
        self.rows = [[] for _ in range(self.c["layers"])]  # (key, value) [heads, hd], not rotated
        self.margin = math.inf
        self.len = 0

    def qkv(self, x, p):
        y = norm(x, self.w[p + "ln_1.weight"]) @ self.w[p + "attn.c_attn.weight"].T
        return y.reshape(*x.shape[:-1], 3, self.c["heads"], self.hd)

    def rest(self, x, o, p):
        w = self.w
        x = x + o @ w[p + "attn.c_proj.weight"].T
        return x + gelu(norm(x, w[p + "ln_2.weight"]) @ w[p + "mlp.c_fc.weight"].T) @ w[p + "mlp.c_proj.weight"].T

    def head(self, x):
        return norm(x, self.w["transformer.ln_f.weight"]) @ self.w["lm_head.weight"].T

    def marked(self, ids):
        """All logits for ids that hold landmarks."""
        mem = ids == self.c["vocab"]
        x = self.w["lm_head.weight"][ids]
        for i in range(self.c["layers"]):
            p = f"transformer.h.{i}."
            y = self.qkv(x, p)
            o = np.zeros_like(x).reshape(len(x), self.c["heads"], self.hd)
            for h in range(self.c["heads"]):
                q, k = (np.stack([rope(y[n, part, h], n) for n in range(len(x))]) for part in (0, 1))
                o[:, h] = grouped(q @ k.T / math.sqrt(self.hd), mem) @ y[:, 2, h]
            x = self.rest(x, o.reshape(x.shape), p)
        return self.head(x)

    def forward(self, ids):
        ids = list(ids)
        marked, keep = [], []
        for n, t in enumerate(ids):
            keep.append(len(marked))
            marked.append(t)
            if (n + 1) % self.c["block"] == 0:
                marked.append(self.c["vocab"])
        return self.marked(np.array(marked))[keep][:, :-1]

    def attend(self, y, rows, whole, off):
        """Equation 6 of one layer for the newest row."""
        c, b1, hd = self.c, self.c["block"] + 1, self.hd
        exact = not c["stingy"] or whole <= c["topk"]
        own = whole if exact else c["topk"] + 1
        first = [b if exact else max(0, b - (whole - c["topk"] - 1)) for b in range(whole)]
        o = np.zeros((c["heads"], hd))
        for h in range(c["heads"]):
            q = rope(y[0, h], own * b1 + off) / math.sqrt(hd)

            def score(row, slot, j):
                return q @ rope(rows[row][0][h], slot * b1 + j)

            marks = [score(b * b1 + c["block"], first[b], c["block"]) + 0.001 * b for b in range(whole)]
            order = sorted(range(whole), key=lambda b: (-marks[b], b))
            if whole > c["topk"]:
                self.margin = min(self.margin, marks[order[c["topk"] - 1]] - marks[order[c["topk"]]])
            keys, gates, inner, values = [], [], [], []
            for r, b in enumerate(sorted(order[:c["topk"]])):
                slot = b if exact else r + (first[b] > 0)
                gates.append(score(b * b1 + c["block"], slot, c["block"]))
                inner.append(softmax(np.array([score(b * b1 + j, slot, j) for j in range(c["block"])])))
                values.append(np.stack([rows[b * b1 + j][1][h] for j in range(c["block"])]))
            ordinary = range(min(off + 1, c["block"]))
            keys = [score(whole * b1 + j, own, j) for j in ordinary]
            t = softmax(np.array(keys + gates))
            for j in ordinary:
                o[h] += t[j] * rows[whole * b1 + j][1][h]
            for k in range(len(gates)):
                o[h] += t[len(keys) + k] * (inner[k] @ values[k])
        return o.reshape(-1)

    def feed(self, token):
        whole, off = divmod(self.len, self.c["block"] + 1)
        x = self.w["lm_head.weight"][token]
        for i, rows in enumerate(self.rows):
            p = f"transformer.h.{i}."
            y = self.qkv(x, p)
            rows.append((y[1], y[2]))
            x = self.rest(x, self.attend(y, rows, whole, off), p)
        self.len += 1
        return self.head(x)[:-1]

    def step(self, token):
        z = self.feed(token)
        if self.len % (self.c["block"] + 1) == self.c["block"]:
            self.feed(self.c["vocab"])
        return z

    def generate(self, prompt, new):
        self.reset()
        for token in prompt:
            z = self.step(token)
        ids = []
        for k in range(new):
            best = np.sort(z)[::-1]
            self.margin = min(self.margin, best[0] - best[1])
            ids.append(int(np.argmax(z)))
            if k + 1 < new:
                z = self.step(ids[-1])
        return ids


def softmaxes(t):
    patterns = [[0], [1], [0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 1, 0, 0], [1, 1, 0, 1, 0, 1, 1, 0], [0, 1, 0, 1, 0, 1, 0],
                [1, 0, 0, 0, 0, 1, 1, 0, 1]]
    calls, wants = [], []
    for mem in patterns:
        s = t.normal(len(mem), len(mem), scale=3)
        calls.append(t.call("grouped_softmax", "p", x=s, is_mem=np.array(mem)))
        wants.append((s, np.array(mem, bool)))
    large = [t.call("grouped_softmax", "p", x=100 * s, is_mem=mem.astype(int)) for s, mem in wants]
    got = [g["p"] for g in t.run(*calls, *large)]
    for k, (s, mem) in enumerate(wants):
        n = len(mem)
        t.near(f"grouped {patterns[k]}", got[k], grouped(s, mem))
        t.near(f"grouped, large scores {patterns[k]}", got[len(wants) + k], grouped(100 * s, mem), 1e-5)
        t.equal(f"landmarks get nothing {patterns[k]}", got[k][:, mem], np.zeros((n, int(mem.sum()))))
        if not mem.any():
            t.near("without landmarks", got[k], softmax(s, np.tril(np.ones((n, n), bool))))
    for k in 2, 3, 5:  # no block is empty; a row of a landmark of a block counts, too
        t.near(f"rows sum to 1 {patterns[k]}", got[k].sum(1), np.ones(len(patterns[k])))


def forwards(t):
    c, block = t.c, t.c["block"]
    m = Model(t.w, c)
    lengths = [1, block, block + 1, 3 * block - 1, 3 * block + 2]
    ids = [t.ids(c["vocab"], n) for n in lengths]
    marked = t.ids(c["vocab"] + 1, 13)
    marked[[2, 5, 6]] = c["vocab"]
    changed = ids[-1].copy()
    changed[-1] = (changed[-1] + 1) % c["vocab"]
    whole = np.concatenate([np.append(ids[-1][k:k + block], c["vocab"]) for k in range(0, 3 * block, block)])
    got = t.run(*(t.call("forward", "logits", ids=x) for x in ids), t.call("forward", "logits", ids=changed),
                t.call("forward_marked", "logits", ids=marked), t.call("forward_marked", "logits", ids=whole),
                *(t.call("loss", "loss", ids=x) for x in ids[1:]))
    for k, x in enumerate(ids):
        z = m.forward(x)
        t.near(f"forward {len(x)}", got[k]["logits"], z)
        if k and len(x) > 1:
            t.near(f"loss {len(x)}", got[7 + k]["loss"], np.mean(logsumexp(z[:-1]) - z[np.arange(len(x) - 1), x[1:]]))
    n = len(ids)
    t.near("causal", got[n]["logits"][:-1], got[n - 1]["logits"][:-1])
    t.near("forward_marked", got[n + 1]["logits"], m.marked(marked))
    rows = np.flatnonzero(whole != c["vocab"])
    t.near("forward marks the blocks", got[n + 2]["logits"][rows, :-1], got[n - 1]["logits"][:3 * block])


def steps(t):
    c, block = t.c, t.c["block"]
    m = Model(t.w, c)
    n = 5 * block + 2
    for _ in range(200):
        ids = t.ids(c["vocab"], n)
        m.reset()
        want = np.stack([m.step(x) for x in ids])
        margin = m.margin
        prompt = ids[:block + 2]
        new = m.generate(prompt, 3 * block)
        if min(margin, m.margin) > MARGIN:
            break
    else:
        raise RuntimeError("no clear choices")
    got = t.run(t.call("forward", "logits", ids=ids), *(t.call("step", "logits", id=x) for x in ids),
                t.call("generate", "ids", prompt=prompt, max_new=3 * block), t.call("step", "logits", id=new[-1]),
                t.call("generate", "ids", prompt=prompt, max_new=0), t.call("reset", ""),
                *(t.call("step", "logits", id=x) for x in ids[:3]))
    z = np.stack([g["logits"] for g in got[1:n + 1]])
    t.near("step", z, want)
    same = n if c["topk"] >= 5 else (c["topk"] + 1) * block
    t.near("step is forward while all blocks are fetched", z[:same], got[0]["logits"][:same])
    if c["topk"] < 5:
        t.check("later blocks are left out", np.max(np.abs(z[same:] - got[0]["logits"][same:])) > 1e-3)
    t.equal("generate", got[n + 1]["ids"], new)
    t.near("step goes on", got[n + 2]["logits"], m.step(new[-1]))
    t.equal("nothing generated", got[n + 3]["ids"], np.zeros(0))
    t.near("reset", np.stack([g["logits"] for g in got[-3:]]), want[:3])


def check(t):
    softmaxes(t)
    forwards(t)
    steps(t)
    t.fails("a negative token", t.call("step", "logits", id=-1), says="is below 0")
    for entry in "forward", "forward_marked":
        t.fails("outside", t.call(entry, "logits", ids=np.array([0, t.c["vocab"] + 1])), says="is not below")
    t.fails("heads", t.call("forward", "logits", ids=np.array([0])), more=["-D", "heads=5"], says="multiple of heads")
    t.fails("no prompt", t.call("generate", "ids", prompt=np.zeros(0, np.int32), max_new=1), says="the prompt is empty")
