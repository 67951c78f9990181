"""A survey of efficient attention: every mechanism as attention over all pairs with a mask, or its plain sums."""
from common import *

DEFAULTS = dict(d=32, heads=4, max_len=64, window=4, stride=6, c_fix=2, block=5, n_glob=1, buckets=4, rounds=2,
                chunk=6, linf_k=8, feats=24, landmarks=6, syn_hidden=20, syn_rank=4)
CONFIGS = [
    dict(d=9, heads=3, max_len=14, window=2, stride=3, c_fix=1, block=3, n_glob=0, buckets=6, rounds=3, chunk=2,
         linf_k=4, feats=5, landmarks=3, syn_hidden=7, syn_rank=2),
    {},
    dict(d=1, heads=1, max_len=12, window=0, stride=1, c_fix=0, block=1, n_glob=2, buckets=2, rounds=1, chunk=1,
         linf_k=1, feats=1, landmarks=1, syn_hidden=1, syn_rank=1),
    dict(d=20, heads=5, max_len=31, window=7, stride=5, c_fix=3, block=4, n_glob=2, buckets=8, rounds=1, chunk=50,
         linf_k=12, feats=40, landmarks=9, syn_hidden=3, syn_rank=7),
]
PLAIN = "full sparse_strided sparse_fixed linformer linear_causal nystrom synth_dense synth_random synth_factor".split()


def weights(rng, c):
    d, h, n, w = c["d"], c["heads"], c["max_len"], {}
    for m in "q_proj", "k_proj", "v_proj", "o_proj", "q_glob", "k_glob", "v_glob":
        w |= linear_weights(rng, m, d, d)
    for m in "E", "F":
        w["linformer." + m] = matrix(rng, c["linf_k"], n)
    w |= linear_weights(rng, "synth.w1", c["syn_hidden"], d)
    w |= linear_weights(rng, "synth.w2", h * n, c["syn_hidden"])
    w["synth.R"] = rng.normal(size=(h, n, n))
    w["synth.R1"], w["synth.R2"] = (rng.normal(size=(h, n, c["syn_rank"])) for _ in range(2))
    return w


class Model:
    def __init__(self, w, c):
        self.w, self.c = w, c
        self.h, self.hd = c["heads"], c["d"] // c["heads"]

    def heads(self, x, *names):
        return [heads_first(linear(x, self.w, n), self.h) for n in names]

    def qkv(self, x):
        return self.heads(x, "q_proj", "k_proj", "v_proj")

    def out(self, o):
        return linear(heads_last(np.asarray(o)), self.w, "o_proj")

    def attend(self, q, k, v, allowed=True):
        return softmax(q @ k.transpose(0, 2, 1) / np.sqrt(self.hd), allowed) @ v

    def masked(self, x, allowed=None):
        n = len(x)
        mask = np.array([[allowed is None or allowed(i, j) for j in range(n)] for i in range(n)], bool).reshape(n, n)
        return self.out(self.attend(*self.qkv(x), mask))

    def full(self, x):
        return self.masked(x)

    def longformer(self, x, is_global):
        i, j = np.arange(len(x))[:, None], np.arange(len(x))
        local = self.attend(*self.qkv(x), (abs(i - j) <= self.c["window"]) | (is_global[None] != 0))
        wide = self.attend(*self.heads(x, "q_glob", "k_glob", "v_glob"))
        return self.out(np.where(is_global[None, :, None] != 0, wide, local))

    def sparse_strided(self, x):
        s = self.c["stride"]
        return self.masked(x, lambda i, j: j <= i and (i - j <= s or (i - j) % s == 0))

    def sparse_fixed(self, x):
        s = self.c["stride"]
        return self.masked(x, lambda i, j: j <= i and (j // s == i // s or j % s >= s - self.c["c_fix"]))

    def bigbird(self, x, rand):
        b, g = self.c["block"], self.c["n_glob"]

        def see(i, j):
            return abs(i // b - j // b) <= 1 or min(i // b, j // b) < g or j // b in rand[i // b]

        return self.masked(x, see)

    def reformer(self, x, rot):
        q, _, v = self.qkv(x)
        k = q / np.maximum(np.sqrt((q ** 2).sum(-1, keepdims=True)), 1e-6)
        n, o = len(x), np.zeros((self.h, len(x), self.hd))
        for h in range(self.h):
            outs, logs = [], []
            for r in rot:
                a = q[h] @ r
                bucket = np.concatenate([a, -a], 1).argmax(1)
                rank = np.empty(n, int)
                rank[sorted(range(n), key=lambda i: (bucket[i], i))] = np.arange(n)
                chunk = rank // self.c["chunk"]
                s = q[h] @ k[h].T / np.sqrt(self.hd)
                np.fill_diagonal(s, -1e5)
                see = np.array([[j <= i and bucket[i] == bucket[j] and chunk[j] in (chunk[i] - 1, chunk[i])
                                 for j in range(n)] for i in range(n)])
                outs.append(softmax(s, see) @ v[h])
                logs.append(logsumexp(np.where(see, s, -np.inf)))
            o[h] = np.einsum("rn,rne->ne", softmax(np.array(logs), axis=0), np.array(outs))
        return self.out(o)

    def linformer(self, x):
        q, k, v = self.qkv(x)
        n = len(x)
        return self.out(self.attend(q, self.w["linformer.E"][:, :n] @ k, self.w["linformer.F"][:, :n] @ v))

    def kernel(self, x, phi, causal):
        q, k, v = self.qkv(x)
        a = phi(q) @ phi(k).transpose(0, 2, 1)
        a = np.where(np.tri(len(x), dtype=bool), a, 0) if causal else a
        return self.out(a @ v / a.sum(-1, keepdims=True))

    def performer(self, x, proj, causal=False):
        def phi(u):
            u = u / self.hd ** 0.25
            return np.exp(u @ proj.T - (u ** 2).sum(-1, keepdims=True) / 2) / np.sqrt(len(proj))

        return self.kernel(x, phi, causal)

    def performer_causal(self, x, proj):
        return self.performer(x, proj, True)

    def linear_causal(self, x):
        return self.kernel(x, lambda u: np.where(u > 0, u + 1, np.exp(np.minimum(u, 0))), True)

    def nystrom(self, x):
        n, c = len(x), self.c["landmarks"]
        if c >= n:
            return self.full(x)
        q, k, v = self.qkv(x)
        ql, kl = (np.stack([a[:, r * n // c:(r + 1) * n // c].mean(1) for r in range(c)], 1) for a in (q, k))
        s = np.sqrt(self.hd)
        a1, a2, a3 = (softmax(a @ b.transpose(0, 2, 1) / s) for a, b in ((q, kl), (ql, kl), (ql, k)))
        z = a2.transpose(0, 2, 1) / (np.abs(a2).sum(1).max() * np.abs(a2).sum(2).max())
        one = np.eye(c)
        for _ in range(6):
            m = a2 @ z
            z = z @ (13 * one - m @ (15 * one - m @ (7 * one - m))) / 4
        return self.out(a1 @ z @ (a3 @ v))

    def synth(self, x, s):
        return self.out(softmax(s) @ self.qkv(x)[2])

    def synth_dense(self, x):
        s = linear(np.maximum(linear(x, self.w, "synth.w1"), 0), self.w, "synth.w2")
        return self.synth(x, s.reshape(len(x), self.h, -1)[:, :, :len(x)].transpose(1, 0, 2))

    def synth_random(self, x):
        return self.synth(x, self.w["synth.R"][:, :len(x), :len(x)])

    def synth_factor(self, x):
        return self.synth(x, self.w["synth.R1"][:, :len(x)] @ self.w["synth.R2"][:, :len(x)].transpose(0, 2, 1))


def extras(t, n):
    c = t.c
    hd, nb = c["d"] // c["heads"], -(-n // c["block"])
    return dict(longformer=dict(is_global=t.ids(4, n) // 3), bigbird=dict(rand=t.ids(nb, nb, 2)),
                reformer=dict(rot=t.normal(c["rounds"], hd, c["buckets"] // 2)),
                performer=dict(proj=t.normal(c["feats"], hd)), performer_causal=dict(proj=t.normal(c["feats"], hd)))


def forward(t, model, n):
    x, more = t.normal(n, t.c["d"]), extras(t, n)
    proj = more["performer_causal"]["proj"]
    changed = x.copy()
    changed[-1] += 1
    every = [(e, {}) for e in PLAIN] + list(more.items())
    causal = [(e, more.get(e, {})) for e in ("sparse_strided", "sparse_fixed", "performer_causal", "linear_causal")]
    steps = [c for row in x
             for c in (t.call("linear_step", "y", x=row), t.call("performer_step", "y", x=row, proj=proj))]
    got = t.run(*[t.call(e, "y", x=x, **k) for e, k in every], *[t.call(e, "y", x=changed, **k) for e, k in causal],
                *steps, t.call("reset", ""), *steps[:2])
    want = {e: getattr(model, e)(x, **k) for e, k in every}
    for (e, _), g in zip(every, got):
        t.near(f"{e} {n}", g["y"], want[e], 1e-8 if t.f64 and e == "nystrom" else None)
    for (e, _), g in zip(causal, got[len(every):]):
        t.near(f"{e} {n} is causal", g["y"][:-1], want[e][:-1])
    rows = got[len(every) + len(causal):]
    for k, e in enumerate(("linear", "performer")):
        t.near(f"{e}_step {n}", np.array([g["y"] for g in rows[k:2 * n:2]]), want[e + "_causal"])
        t.near(f"{e}_step {n} after reset", rows[2 * n + 1 + k]["y"], want[e + "_causal"][0])


def limits(t, model):
    """Where a mechanism is full attention, and what commutes with permutations of rows."""
    n, d, hd = 11, t.c["d"], t.c["d"] // t.c["heads"]
    x = t.normal(n, d)
    wide = [a for n in ("window=11", "block=11", "landmarks=11", "stride=11", "buckets=2", "rounds=1", "chunk=11")
            for a in ("-D", n)]
    rot = np.zeros((1, hd, 1))
    got = t.run(t.call("full", "y", x=x), t.call("longformer", "y", x=x, is_global=np.zeros(n, np.int32)),
                t.call("bigbird", "y", x=x, rand=np.zeros((1, 0), np.int32)), t.call("nystrom", "y", x=x),
                t.call("sparse_strided", "y", x=x), t.call("reformer", "y", x=x, rot=rot), more=wide)
    for k, e in enumerate(("longformer", "bigbird", "nystrom")):
        t.near(e + " is full", got[k + 1]["y"], got[0]["y"])
    # A later row moves the borders of the reformer's chunks; where one chunk holds all, nothing of it is left.
    changed, rot = np.concatenate([x[:-1], x[-1:] + 1]), t.normal(t.c["rounds"], hd, t.c["buckets"] // 2)
    one = t.run(*[t.call("reformer", "y", x=a, rot=rot) for a in (x, changed)], more=["-D", "chunk=11"])
    t.near("reformer is causal", one[1]["y"][:-1], one[0]["y"][:-1])
    causal = model.masked(x, lambda i, j: j <= i)
    t.near("stride N is causal attention", got[4]["y"], causal)
    one = t.run(t.call("sparse_strided", "y", x=x), more=["-D", "stride=1"])
    t.near("stride 1 is causal attention", one[0]["y"], causal)
    q, _, v = model.qkv(x)
    s = q @ (q / np.maximum(np.sqrt((q ** 2).sum(-1, keepdims=True)), 1e-6)).transpose(0, 2, 1) / np.sqrt(hd)
    s[:, np.arange(n), np.arange(n)] = -1e5
    t.near("reformer with one bucket", got[5]["y"], model.out(softmax(s, np.tri(n, dtype=bool)) @ v))
    order, proj = t.rng.permutation(n), t.normal(t.c["feats"], hd)
    got = t.run(*[t.call("full", "y", x=a) for a in (x, x[order])],
                *[t.call("performer", "y", x=a, proj=proj) for a in (x, x[order])])
    t.near("full and permutations", got[1]["y"], got[0]["y"][order])
    t.near("performer and permutations", got[3]["y"], got[2]["y"][order])


def features(t):
    """The error of random features falls with their number."""
    hd = t.c["d"] // t.c["heads"]
    x = t.normal(10, t.c["d"], scale=0.5)
    full, error = t.one("full", "y", x=x), []
    for feats in 64, 1024:
        calls = [t.call("performer", "y", x=x, proj=t.normal(feats, hd)) for _ in range(8)]
        got = t.run(*calls, more=["-D", f"feats={feats}"])
        error.append(np.mean([np.abs(g["y"] - full).mean() for g in got]))
    t.check("more features, less error", 2.5 < error[0] / error[1] < 6.5, str(error))  # sqrt(16) = 4


def size(t):
    x, path, sizes = t.normal(9, t.c["d"]), os.path.join(t.folder, "state"), []
    for n in 2, 9:
        t.runner.run([t.call("linear_step", "y", x=row) for row in x[:n]], ["--save-state", path])
        sizes.append(os.path.getsize(path))
    t.equal("the state is flat", sizes[0], sizes[1])


def check(t):
    model = Model(t.w, t.c)
    for n in 1, 2, 7, 12:
        forward(t, model, n)
    limits(t, model)
    if t.k == 1:
        features(t)
    size(t)
    long = t.normal(t.c["max_len"] + 1, t.c["d"])
    for e in "linformer", "synth_dense", "synth_random", "synth_factor":
        t.fails(e + " too long", t.call(e, "y", x=long), says="longer than max_len")
    rand = np.zeros((1, 1), np.int32)
    t.fails("rows of rand", t.call("bigbird", "y", x=long, rand=rand), says="a row for each block")
