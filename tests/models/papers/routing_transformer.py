"""Routing Transformer: half of the heads in a window, the others inside clusters of similar tokens."""
from common import *

DEFAULTS = dict(vocab=64, d=32, heads=4, layers=2, ff=64, clusters=4, window=5, max_len=64, causal=1, decay=0.5,
                eps=1e-5)
CONFIGS = [
    dict(vocab=11, d=9, heads=3, layers=2, ff=7, clusters=3, window=3, max_len=20),
    dict(vocab=13, d=8, heads=2, layers=2, ff=5, clusters=5, window=2, max_len=20, causal=0, decay=0.9, eps=1e-3),
    {},
    dict(vocab=5, d=4, heads=1, layers=1, ff=3, clusters=1, window=1, max_len=17),
    dict(vocab=17, d=15, heads=5, layers=3, ff=6, clusters=7, window=30, max_len=20, causal=0),
]
MARGIN = 1e-3  # of every choice, so that rounding does not change it


def weights(rng, c):
    d = c["d"]
    w = {"emb.weight": rng.normal(size=(c["vocab"], d)), "pos.weight": 0.5 * rng.normal(size=(c["max_len"], d)),
         "head.weight": matrix(rng, c["vocab"], d)}
    w["emb.weight"][1] = w["emb.weight"][0] + 1e-4 * rng.normal(size=d)  # a word that is nearly another
    w |= norm_weights(rng, "norm", d)
    for i in range(c["layers"]):
        p = f"layers.{i}."
        w |= norm_weights(rng, p + "norm1", d) | norm_weights(rng, p + "norm2", d)
        for n in "wq", "wk", "wv", "wo":
            w |= linear_weights(rng, p + n, d, d, bias=False)
        routing = c["heads"] - c["heads"] // 2
        w[p + "centroids"] = rng.normal(size=(routing, c["clusters"], d // c["heads"]))
        w |= linear_weights(rng, p + "ff1", c["ff"], d) | linear_weights(rng, p + "ff2", d, c["ff"])
    return w


class Choices:
    """The smallest distance between what was chosen and what nearly was."""

    def __init__(self):
        self.margin = math.inf

    def nearest(self, x, mu):
        """For every row of x the centroid with the largest product."""
        s = x @ mu.T
        for row in s:
            best = np.sort(row)[::-1]
            if len(best) > 1:
                self.margin = min(self.margin, best[0] - best[1])
        return s.argmax(1)

    def members(self, x, mu):
        """Equation 4: for every centroid the w nearest rows of x, ascending."""
        n, c = len(x), len(mu)
        w = min(n, -(-n // c))
        lists = []
        for m in mu:
            s = x @ m
            order = sorted(range(n), key=lambda i: (-s[i], i))
            if w < n:
                self.margin = min(self.margin, s[order[w - 1]] - s[order[w]])
            lists.append(sorted(order[:w]))
        return lists


def attend_routed(q, k, v, mine, others, causal):
    """Equations 5 and 6, token by token."""
    out, count = np.zeros_like(v), np.zeros(len(q))
    for members, keys in zip(mine, others):
        for i in members:
            seen = [j for j in keys if not causal or j <= i]
            count[i] += 1
            if seen:
                a = softmax(k[seen] @ q[i] / math.sqrt(q.shape[1]))
                out[i] += a @ v[seen]
    return out / np.maximum(count, 1)[:, None]


def routing_attention(q, v, mu, eps, choices):
    qn = layer_norm(q, None, None, eps)
    m = choices.members(qn, mu)
    return attend_routed(qn, qn, v, m, m, True), m


class Model:
    def __init__(self, w, c):
        self.w, self.c, self.choices = w, c, Choices()

    def layer(self, x, p):
        """The next x, and of every routing head: normalised queries and keys."""
        w, c = self.w, self.c
        y = layer_norm(x, w, p + "norm1", c["eps"])
        q, k, v = (heads_first(linear(y, w, p + n), c["heads"]) for n in ("wq", "wk", "wv"))
        n, local = len(x), c["heads"] // 2
        outs, routed = [], []
        for h in range(c["heads"]):
            if h < local:
                gap = np.arange(n)[:, None] - np.arange(n)[None]
                see = (gap >= 0) & (gap < c["window"]) if c["causal"] else np.abs(gap) < c["window"]
                outs.append(softmax(q[h] @ k[h].T / math.sqrt(q.shape[2]), see) @ v[h])
                continue
            mu = w[p + "centroids"][h - local]
            qn = layer_norm(q[h], None, None, c["eps"])
            kn = qn if c["causal"] else layer_norm(k[h], None, None, c["eps"])
            mine, others = self.choices.members(qn, mu), self.choices.members(kn, mu)
            outs.append(attend_routed(qn, kn, v[h], mine, others, c["causal"]))
            routed.append((qn, kn, mine, mu))
        x = x + linear(heads_last(np.stack(outs)), w, p + "wo")
        y = gelu(linear(layer_norm(x, w, p + "norm2", c["eps"]), w, p + "ff1"))
        return x + linear(y, w, p + "ff2"), routed

    def run(self, tokens):
        """Logits, nearest centroids, members, the centroids after one step of equation 7."""
        w, c = self.w, self.c
        x = w["emb.weight"][tokens] + w["pos.weight"][:len(tokens)]
        assign, members, centroids = [], [], []
        for i in range(c["layers"]):
            x, routed = self.layer(x, f"layers.{i}.")
            assign.append([self.choices.nearest(qn, mu) for qn, _, _, mu in routed])
            members.append([mine for _, _, mine, _ in routed])
            centroids.append([self.moved(*r) for r in routed])
        return linear(layer_norm(x, w, "norm", c["eps"]), w, "head"), *map(np.array, (assign, members, centroids))

    def moved(self, qn, kn, _, mu):
        a, b = self.choices.nearest(qn, mu), self.choices.nearest(kn, mu)
        new = mu.copy()
        for r in range(len(mu)):
            if np.any(a == r) or np.any(b == r):
                pull = qn[a == r].sum(0) / 2 + kn[b == r].sum(0) / 2
                new[r] = self.c["decay"] * mu[r] + (1 - self.c["decay"]) * pull
        return new


def sure_tokens(t, n, accept=lambda tokens: True, w=None):
    """Random tokens whose choices are all clear."""
    for _ in range(200):
        tokens = t.ids(t.c["vocab"], n)
        model = Model(w or t.w, t.c)
        model.run(tokens)
        if model.choices.margin > MARGIN and accept(tokens):
            return tokens
    raise RuntimeError(f"no {n} tokens with clear choices")


def raw(t):
    calls, wants, names = [], [], []
    for n, a, b, c in (1, 2, 1, 1), (13, 3, 5, 4), (12, 4, 2, 1), (3, 5, 1, 7), (30, 4, 3, 6):
        while True:
            choices = Choices()
            q, v, mu = t.normal(n, a), t.normal(n, b), t.normal(c, a)
            want = routing_attention(q, v, mu, t.c["eps"], choices)
            if choices.margin > MARGIN:
                break
        calls.append(t.call("routing_attention", "o members", q=q, v=v, mu=mu))
        wants.append(want)
        names.append(f"n={n} c={c}")
        if c == 1:  # property 2: one cluster is the whole text
            qn = layer_norm(q, None, None, t.c["eps"])
            full = softmax(qn @ qn.T / math.sqrt(a), np.tril(np.ones((n, n), bool))) @ v
            t.near(f"one cluster is full attention, {names[-1]}", want[0], full, 1e-12)
    calls.append(t.call("routing_attention", "o members", q=np.zeros((5, 2)), v=t.normal(5, 1), mu=np.ones((2, 2))))
    got = t.run(*calls)
    for g, want, name in zip(got, wants, names):
        t.near("o " + name, g["o"], want[0])
        t.equal("members " + name, g["members"], np.array(want[1]))
    t.equal("ties go to the first tokens", got[-1]["members"], [[0, 1, 2]] * 2)
    t.equal("a token in no cluster", got[-1]["o"][3:], np.zeros((2, 1)))


def model(t):
    calls, tokens, wants = [], [], []
    for n in 1, 2, 7, 17:
        tokens.append(sure_tokens(t, n))
        wants.append(Model(t.w, t.c).run(tokens[-1]))
        calls += [t.call("forward", "logits", tokens=tokens[-1]), t.call("route", "assign members", tokens=tokens[-1])]
    got = t.run(*calls)
    for k, (x, want) in enumerate(zip(tokens, wants)):
        forward, route = got[2 * k], got[2 * k + 1]
        t.near(f"forward {len(x)}", forward["logits"], want[0])
        t.equal(f"assign {len(x)}", route["assign"], want[1])
        t.equal(f"members {len(x)}", route["members"], want[2])
        members = route["members"]
        t.check(f"members increase {len(x)}", np.all(np.diff(members, axis=-1) > 0))
        t.check(f"members fill the clusters {len(x)}", members.shape[-1] == min(len(x), -(-len(x) // t.c["clusters"])))


def same_routes(t):
    """Property 3: where the routes are the same, the past does not see the last token."""
    if not t.c["causal"]:
        return
    a = sure_tokens(t, 9, lambda x: x[-1] == 0)
    b = a.copy()
    b[-1] = 1
    got = t.run(t.call("forward", "logits", tokens=a), t.call("forward", "logits", tokens=b),
                t.call("route", "members", tokens=a), t.call("route", "members", tokens=b))
    t.equal("the routes are the same", got[2]["members"], got[3]["members"])
    t.near("causal while the routes are the same", got[1]["logits"][:-1], got[0]["logits"][:-1])


def learning(t):
    """Property 4: two steps of online k-means, and what they change."""
    w = dict(t.w)
    calls, wants = [], []
    for n in 11, 6:
        x = sure_tokens(t, n, w=w)
        centroids = Model(w, t.c).run(x)[3]
        w |= {f"layers.{i}.centroids": c for i, c in enumerate(centroids)}
        calls.append(t.call("update_centroids", "centroids", tokens=x))
        wants.append(centroids)
    x = sure_tokens(t, 9, w=w)
    got = t.run(t.call("forward", "logits", tokens=x), *calls, t.call("forward", "logits", tokens=x),
                t.call("reset", ""), t.call("forward", "logits", tokens=x))
    for k in range(2):
        t.near(f"centroids {k}", got[1 + k]["centroids"], wants[k])
    want = Model(w, t.c).run(x)[0]
    t.near("forward with new centroids", got[3]["logits"], want)
    t.near("reset keeps them", got[5]["logits"], want)
    if t.c["clusters"] > 1:
        t.check("new centroids change forward", np.max(np.abs(got[3]["logits"] - got[0]["logits"])) > 1e-3)


def check(t):
    raw(t)
    model(t)
    same_routes(t)
    learning(t)
    t.fails("a token outside", t.call("forward", "logits", tokens=np.array([0, t.c["vocab"]])), says="is not below")
    t.fails("too long", t.call("forward", "logits", tokens=t.ids(t.c["vocab"], t.c["max_len"] + 1)), says="longer than")
