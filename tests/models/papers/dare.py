"""DARE: click prediction over a long history, attention and representation in tables apart."""
from common import *

DEFAULTS = dict(n_items=50, n_cats=12, n_times=30, di=8, dc=8, dt=8, ai=4, ac=4, at=4, topk=6, h1=20, h2=12,
                haux=16, lr=0.01, wd=1e-6)
CONFIGS = [
    dict(n_items=9, n_cats=4, n_times=6, di=2, dc=1, dt=3, ai=1, ac=3, at=2, topk=3, h1=5, h2=4, haux=3, wd=0.01),
    {},
    dict(n_items=1, n_cats=1, n_times=1, di=1, dc=1, dt=1, ai=1, ac=1, at=1, topk=1, h1=1, h2=1, haux=1),
    dict(n_items=7, n_cats=11, n_times=5, di=3, dc=5, dt=1, ai=2, ac=3, at=5, topk=17, h1=13, h2=7, haux=11, wd=0.1),
]
KINDS = ("item", "i"), ("category", "c"), ("time", "t")


def weights(rng, c):
    w = {}
    for kind, short in KINDS:
        rows = c[{"item": "n_items", "category": "n_cats", "time": "n_times"}[kind]]
        for role, letter in ("attention", "a"), ("representation", "d"):
            w[f"{kind}_id_embedding_layer_for_{role}_of_target.weight"] = rng.normal(size=(rows, c[letter + short]))
    f = 3 * (c["di"] + c["dc"] + c["dt"])
    for name, widths in ("main_mlp.", [f, c["h1"], c["h2"], 2]), ("auxiliary_mlp.", [f, c["haux"], 2]):
        w |= norm_weights(rng, name + "0", f)
        w[name + "0.running_mean"], w[name + "0.running_var"] = 0.3 * rng.normal(size=f), rng.uniform(0.3, 2, size=f)
        for k in range(len(widths) - 1):
            w |= linear_weights(rng, f"{name}{2 * k + 1}", widths[k + 1], widths[k])
            if k:
                w[f"{name}{2 * k}.weight"] = rng.uniform(0.1, 0.5, size=1)
    return w


def rows(w, role, ids):
    return np.concatenate([w[f"{kind}_id_embedding_layer_for_{role}_of_target.weight"][i]
                           for (kind, _), i in zip(KINDS, ids)], -1)


class Model:
    def __init__(self, w, c):
        self.w, self.c = w, c

    def scores(self, target, history, mask, role="attention"):  # one example
        c, letter = self.c, "a" if role == "attention" else "d"
        q, k = rows(self.w, role, target), rows(self.w, role, history)
        both = c[letter + "i"] + c[letter + "c"]
        s = k[:, :both] @ q[:both] / math.sqrt(both) + k[:, both:] @ q[both:] / math.sqrt(c[letter + "t"])
        return np.where(mask != 0, s, -2.0 ** 32 + 1)

    def search(self, s, mask):
        order = sorted((n for n in range(len(s)) if mask[n]), key=lambda n: (-s[n], n))
        return order[:self.c["topk"]]

    def features(self, target, history, mask, role="attention", everything=False):
        s = self.scores(target, history, mask, role)
        at = [n for n in range(len(s)) if mask[n]] if everything else self.search(s, mask)
        r, v = rows(self.w, "representation", target), rows(self.w, "representation", history)
        u = sum(p * v[n] for p, n in zip(softmax(s[at]), at))
        return np.concatenate([r, u, r * u])

    def mlp(self, x, name, train):
        w = self.w
        mean, var = (x.mean(0), x.var(0)) if train else (w[name + "0.running_mean"], w[name + "0.running_var"])
        x = (x - mean) / np.sqrt(var + 1e-5) * w[name + "0.weight"] + w[name + "0.bias"]
        for k in 1, 3, 5:
            if k > 1:
                x = np.where(x > 0, x, w[f"{name}{k - 1}.weight"] * x)
            x = linear(x, w, f"{name}{k}")
            if f"{name}{k + 2}.weight" not in w:
                return softmax(x) + 1e-8

    def forward(self, batch, role="attention"):
        return self.mlp(np.stack([self.features(*one, role=role) for one in batch]), "main_mlp.", False)

    def loss(self, batch, label):
        total = 0
        for name, everything in ("main_mlp.", False), ("auxiliary_mlp.", True):
            p = self.mlp(np.stack([self.features(*one, everything=everything) for one in batch]), name, True)
            total -= np.mean(np.log((p * label).sum(1)))
        counted = [v for n, v in self.w.items() if not any(x in n for x in ("bias", "embedding", "running"))]
        return total + self.c["wd"] * sum(np.sum(v ** 2) for v in counted)


def draw(t, b, n, empty=0.4):
    c = t.c
    sizes = c["n_items"], c["n_cats"], c["n_times"]
    given = dict(zip(("iid", "cid", "tid"), (t.ids(k, b) for k in sizes)))
    given |= dict(zip(("hist_iid", "hist_cid", "hist_tid"), (t.ids(k, b, n) for k in sizes)))
    mask = (t.rng.random((b, n)) > empty).astype(np.int32)
    mask[np.arange(b), t.rng.integers(0, n, size=b)] = 1
    return given | {"mask": mask}


def examples(given):
    target, history = ([given[p + k] for k in ("iid", "cid", "tid")] for p in ("", "hist_"))
    return [(tuple(x[b] for x in target), tuple(x[b] for x in history), given["mask"][b]) for b in range(len(target[0]))]


def check(t):
    c, m = t.c, Model(t.w, t.c)
    for b, n in (1, 1), (3, 7), (5, 23):
        given = draw(t, b, n)
        batch, mask = examples(given), given["mask"]
        order = t.rng.permutation(n)
        shuffled = {k: v[:, order].copy() if v.ndim == 2 else v for k, v in given.items()}
        padded = {k: np.where(mask != 0, v, 0) if v.ndim == 2 else v for k, v in given.items()}
        label = np.eye(2, dtype=np.int32)[t.ids(2, b)]
        got = t.run(t.call("scores", "scores", **given), t.call("search", "idx val", **given), t.call("forward", "prob", **given),
                    t.call("forward_coupled", "prob", **given), t.call("loss", "loss", **given, label=label),
                    t.call("forward", "prob", **shuffled), t.call("forward", "prob", **padded), t.call("loss", "loss", **padded, label=label))
        want = np.stack([m.scores(*one) for one in batch])
        real = mask != 0
        t.near(f"scores {n}", np.where(real, got[0]["scores"], 0), np.where(real, want, 0))
        t.near(f"scores of padding {n}", np.where(real, 0, got[0]["scores"]) / 2.0 ** 32, np.where(real, 0, want) / 2.0 ** 32)
        idx, val = np.full((b, c["topk"]), -1), np.zeros((b, c["topk"]))
        for k in range(b):
            s = got[0]["scores"][k]
            at = m.search(s, mask[k])
            idx[k, :len(at)], val[k, :len(at)] = at, s[at]
        t.equal(f"idx {n}", got[1]["idx"], idx.astype(np.int32))
        t.near(f"val {n}", got[1]["val"], val, 1e-6)
        t.near(f"forward {n}", got[2]["prob"], m.forward(batch))
        t.near(f"forward_coupled {n}", got[3]["prob"], m.forward(batch, "representation"))
        t.near(f"loss {n}", got[4]["loss"], m.loss(batch, label), 1e-9 if t.f64 else 1e-3)
        t.near(f"history shuffled {n}", got[5]["prob"], got[2]["prob"])
        t.near(f"padding is not seen {n}", got[6]["prob"], got[2]["prob"], 1e-6)
        t.near(f"nor in the loss {n}", got[7]["loss"], got[4]["loss"], 1e-5)
    everything(t)
    given = draw(t, 2, 4, empty=0)
    given["hist_cid"][1, 2] = c["n_cats"]
    t.fails("category out of range", t.call("forward", [], **given), says="out of range")


def everything(t):
    """A topk of all behaviours: both branches see the same (property 3)."""
    m = Model(t.w, t.c)
    given = draw(t, 3, t.c["topk"], empty=0.3)
    batch = examples(given)
    for one in batch:
        t.near("topk of all", m.features(*one), m.features(*one, everything=True), 1e-12)
    t.near("short history", t.one("forward", "prob", **given), m.forward(batch))
    same = {k: v[:, :1].repeat(v.shape[1], 1) if v.ndim == 2 else v for k, v in given.items()}
    same["mask"][:] = 1
    t.equal("ties go to the front", t.one("search", "idx", **same), np.arange(t.c["topk"])[None].repeat(3, 0).astype(np.int32))
