"""TITAN: bimodal attention over convolutions of an epitope and a receptor; Levenshtein K-NN."""
from common import *

DEFAULTS = dict(lig_vocab=20, rec_vocab=28, lig_len=10, rec_len=8, lig_emb=6, rec_emb=5, lig_filters=[4, 4],
                rec_filters=[3, 5], lig_kernels=[3, 5], rec_kernels=[3, 7], lig_att=7, rec_att=6,
                dense=[12, 8], bn_eps=1e-5, lr=0.1)
CONFIGS = [
    dict(lig_vocab=7, rec_vocab=5, lig_len=3, rec_len=4, lig_emb=2, rec_emb=3, lig_filters=[3], rec_filters=[2],
         lig_kernels=[5], rec_kernels=[1], lig_att=4, rec_att=5, dense=[3], bn_eps=1e-3),
    {},
    dict(lig_vocab=2, rec_vocab=2, lig_len=1, rec_len=1, lig_emb=1, rec_emb=1, lig_filters=[1, 1, 1],
         rec_filters=[1, 1, 1], lig_kernels=[1, 3, 7], rec_kernels=[3, 1, 1], lig_att=1, rec_att=1, dense=[1, 1, 1]),
    dict(lig_len=13, rec_len=5, lig_emb=3, rec_emb=7, lig_filters=[5, 2, 3], rec_filters=[1, 6, 4],
         lig_kernels=[9, 1, 3], rec_kernels=[5, 3, 11], dense=[7, 11, 2]),
]
SIDES = "ligand", "receptor"


def bn_weights(rng, name, n):
    return norm_weights(rng, name, n) | {name + ".running_mean": 0.5 * rng.normal(size=n),
                                         name + ".running_var": rng.uniform(0.3, 2, size=n)}


def sides(c):
    """(vocab, length, filters, kernels, attention, widths) of the ligand and of the receptor."""
    return [(c[p + "_vocab"], c[p + "_len"], c[p + "_filters"], c[p + "_kernels"], c[p + "_att"],
             [c[p + "_emb"], *c[p + "_filters"]]) for p in ("lig", "rec")]


def weights(rng, c):
    w, both = {}, sides(c)
    for m, (vocab, length, filters, kernels, att, widths), (_, length2, _, _, _, widths2) in zip(SIDES, both, both[::-1]):
        w[m + "_embedding.weight"] = rng.normal(size=(vocab, widths[0]))
        for i, (f, k) in enumerate(zip(filters, kernels)):
            p = f"{m}_convolutional_layers.{m}_convolutional_{i}."
            w[p + "convolve.weight"] = matrix(rng, f, 1, k, widths[0])
            w[p + "convolve.bias"] = 0.3 * rng.normal(size=f)
            w |= bn_weights(rng, p + "batch_norm", f)
        for i, (a, b) in enumerate(zip(widths, widths2)):
            p = f"context_attention_{m}_layers.context_attention_{m}_{i}."
            w |= linear_weights(rng, p + "reference_projection.projection", att, a)
            w |= linear_weights(rng, p + "context_projection.projection", att, b)
            w |= linear_weights(rng, p + "context_hidden_projection.projection", length, length2)
            w[p + "alpha_projection.projection.weight"] = 2 * rng.normal(size=(1, att))
    wide = sum(both[0][-1]) + sum(both[1][-1])
    w |= bn_weights(rng, "batch_norm", wide)
    for i, o in enumerate(c["dense"]):
        w |= linear_weights(rng, f"dense_layers.dense_{i}.projection", o, wide)
        w |= bn_weights(rng, f"dense_layers.dense_{i}.batch_norm", o)
        wide = o
    return w | linear_weights(rng, "final_dense.0", 1, wide)


def batch_norm(x, w, name, c):
    y = (x - w[name + ".running_mean"]) / np.sqrt(w[name + ".running_var"] + c["bn_eps"])
    return y * w[name + ".weight"] + w[name + ".bias"]


def scales(m, ids, w, c):  # equation 1
    x = w[m + "_embedding.weight"][ids]
    xs = [x]
    for i in range(len(c["lig_filters"])):
        p = f"{m}_convolutional_layers.{m}_convolutional_{i}."
        kernel, y = w[p + "convolve.weight"][:, 0], []
        half = kernel.shape[1] // 2
        for t in range(len(x)):
            near = [(j, t + j - half) for j in range(kernel.shape[1]) if 0 <= t + j - half < len(x)]
            y.append(w[p + "convolve.bias"] + sum(kernel[:, j] @ x[s] for j, s in near))
        xs.append(batch_norm(np.maximum(np.stack(y), 0), w, p + "batch_norm", c))
    return xs


def attend(m, i, r, x, w):  # equation 2
    p = f"context_attention_{m}_layers.context_attention_{m}_{i}."
    q = linear(x, w, p + "context_projection.projection")
    h = linear(q.T, w, p + "context_hidden_projection.projection").T
    y = np.tanh(linear(r, w, p + "reference_projection.projection") + h)
    alpha = softmax(y @ w[p + "alpha_projection.projection.weight"][0])
    return alpha @ r, alpha


def forward(ligand, receptor, w, c):  # one pair
    x, y = scales("ligand", ligand, w, c), scales("receptor", receptor, w, c)
    a = [attend("ligand", i, *xy, w) for i, xy in enumerate(zip(x, y))]
    b = [attend("receptor", i, *yx, w) for i, yx in enumerate(zip(y, x))]
    v = batch_norm(np.concatenate([o for o, _ in a + b]), w, "batch_norm", c)
    for i in range(len(c["dense"])):
        p = f"dense_layers.dense_{i}."
        v = np.maximum(batch_norm(linear(v, w, p + "projection"), w, p + "batch_norm", c), 0)
    z = linear(v, w, "final_dense.0")[0]
    return sigmoid(z), np.mean([p for _, p in a], 0), np.mean([p for _, p in b], 0)


def distance(a, b):  # equation 5, cell by cell
    a, b = [x for x in a if x], [x for x in b if x]
    d = np.zeros((len(a) + 1, len(b) + 1), int)
    d[:, 0], d[0] = range(len(a) + 1), range(len(b) + 1)
    for i in range(len(a)):
        for j in range(len(b)):
            d[i + 1, j + 1] = min(d[i, j] + (a[i] != b[j]), d[i, j + 1] + 1, d[i + 1, j] + 1)
    return d[-1, -1]


def knn(train_ep, train_tcr, labels, ep, tcr, k):  # equation 6
    e, s = [distance(ep, x) for x in train_ep], [distance(tcr, x) for x in train_tcr]
    ne, nt = np.count_nonzero(ep), np.count_nonzero(tcr)
    keys = [x * nt + y * ne for x, y in zip(e, s)]
    order = sorted(range(len(keys)), key=lambda m: (keys[m], m))[:k]
    return labels[order].mean(), order, np.array(e) / ne + np.array(s) / nt


def network(t):
    c = t.c
    n = 5
    lig, rec = t.ids(c["lig_vocab"], n, c["lig_len"]), t.ids(c["rec_vocab"], n, c["rec_len"])
    lig[:, -1] = 0  # padding is a token
    other = rec.copy()
    other[:, 0] = (other[:, 0] + 1) % c["rec_vocab"]
    names = ["prob", "ligand_attention", "receptor_attention"]
    got = t.run(t.call("forward", names, ligand=lig, receptor=rec), t.call("forward", names, ligand=lig, receptor=other),
                t.call("forward", names, ligand=lig[2:3], receptor=rec[2:3]),
                t.call("forward", names, ligand=lig[:0], receptor=rec[:0]))
    for r, text, k in (rec, "forward", 0), (other, "other receptor", 1):
        want = [forward(a, b, t.w, c) for a, b in zip(lig, r)]
        for i, name in enumerate(names):
            t.near(f"{text} {name}", got[k][name], np.array([x[i] for x in want]))
    for name in names[1:]:
        t.near(f"{name} sums to 1", got[0][name].sum(1), np.ones(n))
        t.check(f"{name} >= 0", np.all(got[0][name] >= 0))
    if c["lig_len"] > 1:
        moved = np.abs(got[0]["ligand_attention"] - got[1]["ligand_attention"]).max(1)
        t.check("a receptor token moves the ligand's attention", np.all(moved > 1e-5))
    for name in names:
        t.near(f"rows are independent {name}", got[2][name], got[0][name][2:3])
        t.check(f"no pairs {name}", len(got[3][name]) == 0)
    lig[3, 0] = c["lig_vocab"]
    t.fails("token out of range", t.call("forward", [], ligand=lig, receptor=rec), says="out of range")


def words(t, n, length, letters=3):
    """Words with zeros in the middle, too."""
    return t.rng.integers(0, letters + 1, size=(n, length)).astype(np.int32)


def strings(t):
    def call(a, b):
        return t.call("levenshtein", "dist", a=np.asarray(a, np.int32), b=np.asarray(b, np.int32))

    kitten, sitting = ([ord(x) for x in s] for s in ("kitten", "sitting"))
    pairs = [(kitten, sitting), ([], []), ([], [3, 0, 1]), ([0, 0], []), ([0, 4, 0], [4]), ([1, 2], [0, 1, 0, 2, 0]), ([5], [6])]
    pairs += [(words(t, 1, p)[0], words(t, 1, q)[0]) for p, q in ((1, 6), (7, 7), (11, 5), (13, 17))]
    three = words(t, 3, 6)
    pairs += [(x, y) for x in three for y in three]
    got = [int(g["dist"]) for g in t.run(*(call(a, b) for a, b in pairs), *(call(b, a) for a, b in pairs))]
    t.equal("levenshtein", got[:len(pairs)], [distance(a, b) for a, b in pairs])
    t.equal("symmetric", got[len(pairs):], got[:len(pairs)])
    t.equal("kitten and sitting", got[0], 3)
    d = np.array(got[len(pairs) - 9:len(pairs)]).reshape(3, 3)
    t.check("triangle", np.all(d[:, None, :] <= d[:, :, None] + d[None]))
    for k, (a, b) in enumerate(pairs):
        t.check(f"0 iff equal {k}", (got[k] == 0) == ([x for x in a if x] == [x for x in b if x]))


def neighbours(t):
    names = ["score", "neighbours", "dist"]
    m = 9
    ep, tcr, labels = words(t, m, 6), words(t, m, 8), t.ids(2, m)
    ep[4], tcr[4] = ep[1], tcr[1]  # a tie
    e, r = np.array([1, 0, 2, 3, 0, 0], np.int32), np.array([2, 2, 0, 1, 3, 0, 0, 0], np.int32)
    ep[6], tcr[6] = 0, 0
    ep[6, 1:4], tcr[6, 2:6] = [1, 2, 3], [2, 2, 1, 3]  # the query itself

    def call(k, ep=ep, tcr=tcr, e=e, r=r, labels=labels):
        return t.call("knn", names, train_ep=ep, train_tcr=tcr, labels=labels, ep=e, tcr=r, k=k)

    longer = [np.pad(x, ((0, 0), (0, 3))) for x in (ep, tcr)]
    got = t.run(*(call(k) for k in range(1, m + 1)), call(3, *longer, np.pad(e, (0, 3)), np.pad(r, (0, 3))),
                call(1, ep[:1], tcr[:1], labels=labels[:1]))
    for k in range(1, m + 1):
        score, order, dist = knn(ep, tcr, labels, e, r, k)
        t.near(f"score {k}", got[k - 1]["score"], score)
        t.equal(f"neighbours {k}", got[k - 1]["neighbours"], order)
        t.near(f"dist {k}", got[k - 1]["dist"], dist)
    t.near("all neighbours", got[m - 1]["score"], labels.mean())
    t.equal("a duplicate gives its label", got[0]["score"], labels[6])
    for name in names:
        t.equal(f"trailing zeros {name}", got[m][name], got[2][name])
    t.equal("one pair", got[m + 1]["neighbours"], [0])
    t.fails("k of 0", call(0), says="k must be")
    t.fails("k too large", call(m + 1), says="k must be")
    t.fails("no letters", call(1, e=0 * e), says="must have letters")


def check(t):
    network(t)
    strings(t)
    neighbours(t)
