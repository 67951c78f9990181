"""Universal Transformers: one block repeated in depth, each position decides when it stops."""
import os

from harness import Runner

from common import *

DEFAULTS = dict(vocab=32, d=32, heads=4, ff=64, max_steps=6, act_eps=0.01, eps=1e-6)
CONFIGS = [
    dict(vocab=7, d=6, heads=3, ff=5, max_steps=4, act_eps=0.1),
    dict(vocab=9, d=10, heads=2, ff=7, max_steps=9, act_eps=0.3, eps=1e-3),
    {},
    dict(vocab=3, d=2, heads=1, ff=1, max_steps=1),
    dict(vocab=9, d=8, heads=8, ff=7, max_steps=20, act_eps=0.05),
]
MARGIN = 1e-3


def weights(rng, c):
    d, w = c["d"], {"out.weight": matrix(rng, c["vocab"], c["d"], gain=2)}
    for s in "enc", "dec":
        w[s + ".emb.weight"] = rng.normal(size=(c["vocab"], d)) / math.sqrt(d)
        for n in ("self", "cross") if s == "dec" else ("self",):
            for m in "wq", "wk", "wv", "wo":
                w |= linear_weights(rng, f"{s}.{n}.{m}", d, d, bias=False)
        for n in ("norm1", "norm2", "norm_cross") if s == "dec" else ("norm1", "norm2"):
            w |= norm_weights(rng, f"{s}.{n}", d)
        w |= linear_weights(rng, s + ".ff1", c["ff"], d) | linear_weights(rng, s + ".ff2", d, c["ff"])
        w[s + ".halt.weight"] = matrix(rng, 1, d, gain=0.7)
        w[s + ".halt.bias"] = np.array([-0.8])
    return w


class Model:
    def __init__(self, w, c):
        self.w, self.c, self.margin = w, c, math.inf

    def place(self, n, t):
        """Equation 2, number by number."""
        p = np.zeros((n, self.c["d"]))
        for i in range(n):
            for k in range(0, self.c["d"], 2):
                f = 10000.0 ** (-k / self.c["d"])
                p[i, k] = math.sin((i + 1) * f) + math.sin(t * f)
                p[i, k + 1] = math.cos((i + 1) * f) + math.cos(t * f)
        return p

    def mha(self, x, memory, name, causal):
        q, k, v = (heads_first(linear(y, self.w, f"{name}.{m}"), self.c["heads"])
                   for y, m in ((x, "wq"), (memory, "wk"), (memory, "wv")))
        see = np.tril(np.ones((len(x), len(memory)), bool)) if causal else True
        return linear(heads_last(softmax(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[2]), see) @ v), self.w, name + ".wo")

    def block(self, u, s, memory):
        w, eps = self.w, self.c["eps"]
        a = layer_norm(u + self.mha(u, u, s + ".self", s == "dec"), w, s + ".norm1", eps)
        if s == "dec":
            a = layer_norm(a + self.mha(a, memory, "dec.cross", False), w, "dec.norm_cross", eps)
        return layer_norm(a + linear(np.maximum(linear(a, w, s + ".ff1"), 0), w, s + ".ff2"), w, s + ".norm2", eps)

    def embed(self, ids, s):
        return math.sqrt(self.c["d"]) * self.w[s + ".emb.weight"][ids]

    def fixed(self, ids, steps):
        h = self.embed(ids, "enc")
        for t in range(1, steps + 1):
            h = self.block(h + self.place(len(ids), t), "enc", None)
        return h

    def act(self, ids, s, memory=None):
        """Equation 5 with one Python loop over the positions; outputs, updates, remainders, steps."""
        x, n = self.embed(ids, s), len(ids)
        p, rest, count, out = [0.0] * n, [0.0] * n, [0] * n, np.zeros_like(x)
        running = [True] * n
        t = 1
        while t <= self.c["max_steps"] and any(running):
            x = x + self.place(n, t)
            pr = sigmoid(linear(x, self.w, s + ".halt"))[:, 0]
            share = [0.0] * n
            for i in range(n):
                if not running[i]:
                    continue
                count[i] += 1
                self.margin = min(self.margin, abs(p[i] + pr[i] - (1 - self.c["act_eps"])))
                if p[i] + pr[i] > 1 - self.c["act_eps"]:
                    running[i] = False
                    rest[i] = share[i] = 1 - p[i]
                else:
                    p[i] += pr[i]
                    share[i] = pr[i]
            x = self.block(x, s, memory)
            for i in range(n):
                out[i] = share[i] * x[i] + (1 - share[i]) * out[i]
            t += 1
        return out, np.array(count), np.array(rest), t - 1

    def forward(self, src, tgt):
        h, n, r, _ = self.act(src, "enc")
        y, m, q, steps = self.act(tgt, "dec", h)
        return y @ self.w["out.weight"].T, m, np.mean(n + r) + np.mean(m + q), steps

    def generate(self, src, new):
        ids = [0]
        for _ in range(new):
            z = self.forward(src, np.array(ids))[0][-1]
            best = np.sort(z)[::-1]
            self.margin = min(self.margin, best[0] - best[1])
            ids.append(int(np.argmax(z)))
        return ids[1:]


def clear(t, make, use):
    for _ in range(300):
        x, m = make(), Model(t.w, t.c)
        want = use(m, x)
        if m.margin > MARGIN:
            return x, want
    raise RuntimeError("no clear choices")


def encoder(t):
    c = t.c
    calls, wants, sources = [], [], []
    for n in 1, 5, 13:
        src, want = clear(t, lambda: t.ids(c["vocab"], n), lambda m, x: m.act(x, "enc"))
        calls.append(t.call("encode", "h n_updates remainders steps", src=src))
        wants.append(want)
        sources.append(src)
    fixed = [(sources[2], 0), (sources[2], 1), (sources[1], 3), (sources[2], c["max_steps"] + 2)]
    got = t.run(*calls, *(t.call("encode_fixed", "h", src=x, steps=s) for x, s in fixed))
    for k, want in enumerate(wants):
        n, g = len(sources[k]), got[k]
        t.near(f"encode {n}", g["h"], want[0])
        t.equal(f"updates {n}", g["n_updates"], want[1])
        t.near(f"remainders {n}", g["remainders"], want[2])
        t.equal(f"steps {n}", g["steps"], want[3])
        t.check(f"steps are the most updates {n}", g["steps"] == g["n_updates"].max() <= c["max_steps"])
        stopped = (g["n_updates"] < c["max_steps"]) | (g["remainders"] > 0)
        r = g["remainders"]
        t.check(f"remainders of those that stopped {n}", np.all((r[stopped] > 0) & (r[stopped] <= 1)))
        t.check(f"at least one update {n}", g["n_updates"].min() >= 1)
    for k, (x, s) in enumerate(fixed):
        t.near(f"fixed {len(x)} {s}", got[3 + k]["h"], Model(t.w, c).fixed(x, s))


def extremes(t):
    """Property 3, with other biases of the halting units."""
    src = t.ids(t.c["vocab"], 6)
    for bias, steps in (50.0, 1), (-50.0, t.c["max_steps"]):
        path = os.path.join(t.folder, f"halt{steps}.safetensors")
        t.save({**t.w, "enc.halt.bias": np.array([bias])}, path)
        options = [path if o == t.path else o for o in t.runner.options]
        runner = Runner(t.runner.seqm, t.runner.model, options, t.folder)
        got = runner.run([t.call("encode", "h n_updates remainders steps", src=src),
                          t.call("encode_fixed", "h", src=src, steps=1)])
        t.equal(f"steps at {bias}", got[0]["steps"], steps)
        t.near(f"output at {bias}", got[0]["h"], got[1]["h"] if bias > 0 else 0 * got[1]["h"], 1e-9)
        t.equal(f"remainders at {bias}", got[0]["remainders"], np.full(6, float(bias > 0)))


def decoder(t):
    c = t.c
    calls, wants = [], []
    for n, m in (1, 1), (7, 4), (3, 9):
        (src, tgt), want = clear(t, lambda: (t.ids(c["vocab"], n), np.append(0, t.ids(c["vocab"], m - 1))),
                                 lambda model, x: model.forward(*x))
        calls.append(t.call("forward", "logits dec_updates ponder", src=src, tgt=tgt))
        wants.append(want)
    changed, _ = clear(t, lambda: np.append(tgt[:-1], t.ids(c["vocab"], 1)), lambda model, x: model.forward(src, x))
    source, new = clear(t, lambda: t.ids(c["vocab"], 5), lambda model, x: model.generate(x, 6))
    again = [t.call("forward", "logits", src=source, tgt=np.array([0] + new[:k])) for k in range(6)]
    got = t.run(*calls, t.call("forward", "logits", src=src, tgt=changed), *again,
                t.call("generate", "tokens", src=source, max_new=6), t.call("generate", "tokens", src=source, max_new=0))
    for k, (z, m, ponder, _) in enumerate(wants):
        t.near(f"logits {k}", got[k]["logits"], z)
        t.equal(f"decoder's updates {k}", got[k]["dec_updates"], m)
        t.near(f"ponder {k}", got[k]["ponder"], ponder)
    t.near("causal", got[3]["logits"][:-1], got[2]["logits"][:-1], 1e-6)
    t.equal("generate", got[-2]["tokens"], new)
    t.equal("generate is argmax of forward", got[-2]["tokens"], [np.argmax(g["logits"][-1]) for g in got[4:10]])
    t.equal("nothing generated", got[-1]["tokens"], np.zeros(0))


def check(t):
    encoder(t)
    extremes(t)
    decoder(t)
    t.fails("a token outside", t.call("encode", "h", src=np.array([t.c["vocab"]])), says="is not below")
    t.fails("heads", t.call("encode", "h", src=np.array([0])), more=["-D", "d=6", "-D", "heads=4"],
            says="a multiple of heads")
