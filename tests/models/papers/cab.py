"""CAB: ten attention methods under four patterns, by full matrices and explicit loops."""
from common import *

DEFAULTS = dict(d=16, heads=2, wsize=3, landmarks=4, features=6, factor=2, ls_window=4, ls_landmarks=3, ls_chunk=4,
                ls_cwindow=5, ls_rank=1, s4d_state=8, s4d_channels=2, nys_conv=3)
CONFIGS = [
    dict(d=6, heads=3, wsize=2, landmarks=3, features=5, ls_window=3, ls_landmarks=2, ls_chunk=3, ls_cwindow=4,
         ls_rank=2, s4d_state=5, s4d_channels=3, nys_conv=4),
    {},
    dict(d=1, heads=1, wsize=1, landmarks=1, features=1, factor=1, ls_window=1, ls_landmarks=1, ls_chunk=1,
         ls_cwindow=1, ls_rank=1, s4d_state=2, s4d_channels=1, nys_conv=1),
    dict(d=20, heads=4, wsize=7, landmarks=6, features=11, factor=3, ls_window=7, ls_landmarks=5, ls_chunk=6,
         ls_cwindow=3, ls_rank=3, s4d_state=16, s4d_channels=1, nys_conv=5),
]
SAME = ("vanilla", "local", "cosformer", "lara", "nystrom", "performer", "abc")
CAUSAL = ("vanilla", "local", "abc", "longshort", "s4d")


def weights(rng, c):
    d, h = c["d"], c["heads"]
    dh, w = d // h, {}
    for m in SAME:
        for n in "q_proj", "k_proj", "v_proj", "out_proj":
            w |= linear_weights(rng, f"{m}.{n}", d, d)
    for n in "query", "key", "value", "out":
        w |= linear_weights(rng, f"probsparse.{n}_projection", d, d)
    w["performer.eval_proj"] = rng.normal(size=(h, c["features"], dh))
    for n in "compress_k", "compress_v":
        w["abc." + n] = rng.normal(size=(dh, c["landmarks"]))
    w["nystrom.conv.weight"] = rng.normal(size=(h, 1, c["nys_conv"], 1))
    for n in "W_q", "W_k", "W_v", "W_o":
        w |= linear_weights(rng, "longshort_ns." + n, d, d)
    w |= norm_weights(rng, "longshort_ns.dual_ln_s", d) | norm_weights(rng, "longshort_ns.dual_ln_l", d)
    w |= linear_weights(rng, "longshort_ns.dconv_fc", h * c["ls_landmarks"], d)
    for n in "proj_query", "proj_key", "proj_val", "proj_out", "r_net":
        w |= linear_weights(rng, "longshort_cs." + n, d, d, bias=False)
    w |= linear_weights(rng, "longshort_cs.r_net_chunk", d, d)
    w |= linear_weights(rng, "longshort_cs.dconv_1", h * c["ls_rank"], d)
    w["longshort_cs.r_r_bias"] = rng.normal(size=(1, h, 1, dh))
    w["longshort_cs.r_w_bias"] = rng.normal(size=(1, h, 1, 1, dh))
    w |= norm_weights(rng, "longshort_cs.dual_ln_dproj", d) | norm_weights(rng, "longshort_cs.dual_ln_win", d)
    C, n = c["s4d_channels"], c["s4d_state"] // 2
    for m, both in ("s4d_ns", 2), ("s4d_cs", 1):
        w[m + ".D"] = rng.normal(size=(C, d))
        w[m + ".kernel.kernel.C"] = rng.normal(size=(both * C, d, n, 2))
        w[m + ".kernel.kernel.log_dt"] = rng.uniform(-5, -1, size=d)
        w[m + ".kernel.kernel.log_w_real"] = rng.uniform(-1, 0.5, size=(1, n))
        w[m + ".kernel.kernel.w_imag"] = rng.uniform(0, 6, size=(1, n))
        w |= linear_weights(rng, m + ".output_linear", d, C * d)
    return w


class Model:
    def __init__(self, w, c):
        self.w, self.c = w, c
        self.d, self.h = c["d"], c["heads"]
        self.dh = self.d // self.h

    def qkv(self, m, x, src, names=("q_proj", "k_proj", "v_proj")):
        return [heads_first(linear(a, self.w, f"{m}.{n}"), self.h) for a, n in zip((x, src, src), names)]

    def out(self, m, o, name="out_proj"):
        return linear(heads_last(np.asarray(o)), self.w, f"{m}.{name}")

    # ---- 1, 2
    def softmax_attention(self, m, x, src, allowed=True):
        q, k, v = self.qkv(m, x, src)
        return self.out(m, softmax(q @ k.transpose(0, 2, 1) / np.sqrt(self.dh), allowed) @ v)

    def vanilla_ns(self, x):
        return self.softmax_attention("vanilla", x, x)

    def vanilla_nc(self, x, src):
        return self.softmax_attention("vanilla", x, src)

    vanilla_cc = vanilla_nc

    def vanilla_cs(self, x):
        return self.softmax_attention("vanilla", x, x, np.tri(len(x), dtype=bool))

    def local_ns(self, x):
        i = np.arange(len(x))
        return self.softmax_attention("local", x, x, abs(i[:, None] - i) <= self.c["wsize"])

    def local_cs(self, x):
        apart = np.arange(len(x))[:, None] - np.arange(len(x))
        return self.softmax_attention("local", x, x, (apart >= 0) & (apart < self.c["wsize"]))

    # ---- 3
    def cosformer_nc(self, x, src):
        q, k, v = self.qkv("cosformer", x, src)
        q, k = np.maximum(q, 0), np.maximum(k, 0)
        M = max(len(x), len(src))
        apart = (np.arange(len(x))[:, None] - np.arange(len(src))) * np.pi / 2 / M
        a = (q @ k.transpose(0, 2, 1)) * np.cos(apart)  # sin sin + cos cos
        return self.out("cosformer", a @ v / np.maximum(a.sum(-1, keepdims=True), 1e-6))

    def cosformer_ns(self, x):
        return self.cosformer_nc(x, x)

    # ---- 4
    @staticmethod
    def segments(x, c):
        n = len(x)
        if n < c:
            return x
        s = n // c
        sizes = [s] * ((s + 1) * c - n)
        sizes += [s + 1] * (c - len(sizes))
        rows, at = [], 0
        for size in sizes:
            rows.append(x[at:at + size].mean(0))
            at += size
        return np.array(rows)

    # ---- 5
    def lara_ns(self, x):
        o, s = [], self.dh ** -0.5
        for q, k, v in zip(*self.qkv("lara", x, x)):
            mu = self.segments(q, self.c["landmarks"]) + self.segments(k, self.c["landmarks"])

            def f(a):
                return s * mu @ a.T - s * (a ** 2).sum(-1) / 2

            values = softmax(f(k)) @ v
            r = s * mu @ q.T + f(q) + (logsumexp(f(k)) - s * (mu ** 2).sum(-1) / 2)[:, None]
            o.append(softmax(r, axis=0).T @ values)
        return self.out("lara", o)

    # ---- 6
    def nystrom_ns(self, x):
        q, k, v = self.qkv("nystrom", x, x)
        q, k, c = q * self.dh ** -0.25, k * self.dh ** -0.25, self.c["landmarks"]
        if len(x) <= c:
            y = softmax(q @ k.transpose(0, 2, 1)) @ v
        else:
            ql, kl = (np.array([self.segments(a, c) for a in b]) for b in (q, k))
            F, A, B = (softmax(a @ b.transpose(0, 2, 1)) for a, b in ((q, kl), (ql, kl), (ql, k)))
            Z = A.transpose(0, 2, 1) / A.sum(1).max()
            one = np.eye(c)
            for _ in range(6):
                AZ = A @ Z
                Z = Z @ (13 * one - AZ @ (15 * one - AZ @ (7 * one - AZ))) / 4
            y = F @ Z @ (B @ v)
        t = self.c["nys_conv"]
        for h in range(self.h):
            for i in range(len(x)):
                for j in range(t):
                    if 0 <= i + j - t // 2 < len(x):
                        y[h, i] += self.w["nystrom.conv.weight"][h, 0, j, 0] * v[h, i + j - t // 2]
        return self.out("nystrom", y)

    # ---- 7
    def performer_nc(self, x, src):
        o = []
        for q, k, v, W in zip(*self.qkv("performer", x, src), self.w["performer.eval_proj"]):
            def phi(a, axis):
                z = (a * self.dh ** -0.25) @ W.T
                norm = (a ** 2).sum(-1, keepdims=True) / (2 * np.sqrt(self.dh))
                return (np.exp(z - norm - z.max(axis, keepdims=True)) + 1e-4) / np.sqrt(len(W))

            a = phi(q, -1) @ phi(k, None).T
            o.append(a @ v / np.maximum(a.sum(-1, keepdims=True), 0.1))
        return self.out("performer", o)

    performer_cc = performer_nc

    def performer_ns(self, x):
        return self.performer_nc(x, x)

    # ---- 8
    def longshort_ns(self, x):
        m, c, n = "longshort_ns", self.c, len(x)
        r, w = c["ls_landmarks"], c["ls_window"]
        Q = linear(x, self.w, m + ".W_q") / np.sqrt(self.dh)
        K, V = (layer_norm(linear(x, self.w, m + "." + a), self.w, m + ".dual_ln_l", 1e-5) for a in ("W_k", "W_v"))
        p = softmax(linear(x, self.w, m + ".dconv_fc").reshape(n, self.h, r), axis=0)
        Kc, Vc = (layer_norm(np.einsum("nhr,nhe->rhe", p, a.reshape(n, self.h, -1)).reshape(r, -1), self.w,
                             m + ".dual_ln_s", 1e-5) for a in (K, V))
        o = np.zeros((n, self.d))
        e = max(w // 2, 1)
        for i in range(n):
            g = i // w
            rows = slice(max(g * w - e, 0), min(g * w + w + e, n))
            for h in range(self.h):
                mine = slice(h * self.dh, (h + 1) * self.dh)
                keys, values = (np.concatenate([a[:, mine], b[rows, mine]]) for a, b in ((Kc, K), (Vc, V)))
                o[i, mine] = softmax(keys @ Q[i, mine]) @ values
        return linear(o, self.w, m + ".W_o")

    # ---- 9
    def positions(self, p):
        f = 10000.0 ** (-2 * np.arange((self.d + 1) // 2) / self.d)
        return np.concatenate([np.sin(p * f), np.cos(p * f)])[:self.d]

    def longshort_cs(self, x):
        m, c, n = "longshort_cs", self.c, len(x)
        l, w, rank = c["ls_chunk"], c["ls_cwindow"], c["ls_rank"]
        q = linear(x, self.w, m + ".proj_query") / np.sqrt(self.dh)
        K, V = linear(x, self.w, m + ".proj_key"), linear(x, self.w, m + ".proj_val")
        Kw, Vw = (layer_norm(a, self.w, m + ".dual_ln_win", 1e-5) for a in (K, V))
        Kc, Vc = np.zeros((0, self.d)), np.zeros((0, self.d))
        for g in range(n // l):
            rows = slice(g * l, (g + 1) * l)
            a = softmax(linear(x[rows], self.w, m + ".dconv_1").reshape(l, self.h, rank), axis=0)
            kc, vc = (np.einsum("lhr,lhe->rhe", a, b[rows].reshape(l, self.h, -1)).reshape(rank, -1) for b in (K, V))
            Kc, Vc = (np.concatenate([s, layer_norm(b, self.w, m + ".dual_ln_dproj", 1e-5)])
                      for s, b in ((Kc, kc), (Vc, vc)))
        o = np.zeros((n, self.d))
        for i in range(n):
            near, seen = range(max(i - w + 1, 0), i + 1), i // l * rank
            for h in range(self.h):
                mine = slice(h * self.dh, (h + 1) * self.dh)
                rw, rr = self.w[m + ".r_w_bias"][0, h, 0, 0], self.w[m + ".r_r_bias"][0, h, 0]
                s, values = [], []
                for j in near:
                    r = (self.w[m + ".r_net.weight"] @ self.positions(i - j))[mine]
                    s.append((q[i, mine] + rw) @ Kw[j, mine] + (q[i, mine] + rr) @ r)
                    values.append(Vw[j, mine])
                for j in range(seen):
                    r = linear(self.positions(seen - 1 - j), self.w, m + ".r_net_chunk")[mine]
                    s.append(q[i, mine] @ (Kc[j, mine] + r))
                    values.append(Vc[j, mine])
                o[i, mine] = softmax(np.array(s)) @ np.array(values)
        return linear(o, self.w, m + ".proj_out")

    # ---- 10
    def probsparse_ns(self, x, sample):
        names = ["query_projection", "key_projection", "value_projection"]
        q, k, v = self.qkv("probsparse", x, x, names)
        n, u = sample.shape
        o = np.repeat(v.mean(1, keepdims=True), n, 1)
        for h in range(self.h):
            s = np.array([[q[h, i] @ k[h, j] for j in sample[i]] for i in range(n)]).reshape(n, u)
            M = s.max(1, initial=-np.inf) - s.sum(1) / n
            for i in np.argsort(-M, kind="stable")[:u]:
                o[h, i] = softmax(k[h] @ q[h, i] / np.sqrt(self.dh)) @ v[h]
        return self.out("probsparse", o, "out_projection")

    # ---- 11
    def memory(self, a, name):
        return np.array([softmax(b @ self.w["abc." + name], axis=0).T @ b for b in a])

    def memories(self, src):
        _, k, v = self.qkv("abc", src, src)
        return self.memory(k, "compress_k"), self.memory(v, "compress_v")

    def abc_nc(self, x, src):
        q, _, _ = self.qkv("abc", x, src)
        k, v = self.memories(src)
        return self.out("abc", softmax(q @ k.transpose(0, 2, 1) / np.sqrt(self.dh)) @ v)

    abc_cc = abc_nc

    def abc_ns(self, x):
        return self.abc_nc(x, x)

    def abc_cs(self, x):
        return np.array([self.abc_nc(x[:i + 1], x[:i + 1])[-1] for i in range(len(x))]).reshape(x.shape)

    # ---- 12
    def s4d(self, x, m, both):
        n, C = len(x), self.c["s4d_channels"]
        p = {a: self.w[f"{m}.kernel.kernel.{a}"] for a in ("C", "log_dt", "log_w_real", "w_imag")}
        w = -np.exp(p["log_w_real"][0]) + 1j * p["w_imag"][0]
        dta = w * np.exp(p["log_dt"])[:, None]
        gain = (p["C"][..., 0] + 1j * p["C"][..., 1]) * (np.exp(dta) - 1) / w
        kernel = 2 * np.real(np.einsum("cfm,fml->cfl", gain, np.exp(dta[..., None] * np.arange(max(n, 1)))))
        y = np.zeros((n, C, self.d))
        for i in range(n):
            for j in range(n if both else i + 1):
                for c in range(C):
                    y[i, c] += (kernel[c, :, i - j] if j <= i else kernel[C + c, :, j - i - 1]) * x[j]
            y[i] += self.w[m + ".D"] * x[i]
        return linear(gelu(y).reshape(n, -1), self.w, m + ".output_linear")

    def s4d_cs(self, x):
        return self.s4d(x, "s4d_cs", False)

    def s4d_ns(self, x):
        return self.s4d(x, "s4d_ns", True)


SELF = ["vanilla_ns", "vanilla_cs", "local_ns", "local_cs", "cosformer_ns", "lara_ns", "nystrom_ns", "performer_ns",
        "longshort_ns", "longshort_cs", "abc_ns", "abc_cs", "s4d_ns", "s4d_cs"]
CROSS = ["vanilla_nc", "vanilla_cc", "cosformer_nc", "performer_nc", "performer_cc", "abc_nc", "abc_cc"]


def sampled(t, n, u=None):
    u = min(n, t.c["factor"] * math.ceil(math.log(n))) if u is None else u
    return np.array([t.rng.permutation(n)[:u] for _ in range(n)], np.int32).reshape(n, u)


def forward(t, model, n):
    x, sample = t.normal(n, t.c["d"]), sampled(t, n)
    changed = x.copy()
    changed[-1] += 1
    calls = [t.call(e, "y", x=x) for e in SELF] + [t.call("probsparse_ns", "y", x=x, sample=sample)]
    calls += [t.call(m + "_cs", "y", x=changed) for m in CAUSAL]
    steps = [t.call(m + "_cs_step", "y", x=row) for row in x for m in CAUSAL]  # interleaved: states are apart
    got = t.run(*calls, *steps)
    want = {e: getattr(model, e)(x) for e in SELF}
    for e, g in zip(SELF, got):
        t.near(f"{e} {n}", g["y"], want[e])
    t.near(f"probsparse_ns {n}", got[len(SELF)]["y"], model.probsparse_ns(x, sample))
    for k, m in enumerate(CAUSAL):
        t.near(f"{m}_cs is causal {n}", got[len(SELF) + 1 + k]["y"][:-1], want[m + "_cs"][:-1])
        rows = [g["y"] for g in got[len(calls) + k::len(CAUSAL)]]
        t.near(f"{m}_cs_step {n}", np.array(rows), want[m + "_cs"])


def cross(t, model, n, s):
    x, src = t.normal(n, t.c["d"]), t.normal(s, t.c["d"])
    mixed, part = src[t.rng.permutation(s)], x[:(n + 1) // 2]
    unordered = ["vanilla_nc", "performer_nc", "abc_nc"]
    steps = [t.call("abc_cc_source", "mem_k mem_v", src=src)] + [t.call("abc_cc_step", "y", x=row) for row in x]
    got = iter(t.run(*[t.call(e, "y", x=x, src=src) for e in CROSS],
                     *[t.call(e, "y", x=x, src=mixed) for e in unordered],
                     *[t.call(m + "_cc", "y", x=part, src=src) for m in ("vanilla", "performer", "abc")], *steps))
    want = {e: getattr(model, e)(x, src) for e in CROSS}
    for e in CROSS:
        t.near(f"{e} {n} {s}", next(got)["y"], want[e])
    for e in unordered:
        t.near(f"{e} {n} {s} in another order", next(got)["y"], want[e])
    for m in "vanilla", "performer", "abc":
        t.near(f"{m}_cc {n} {s} of a part", next(got)["y"], want[m + "_cc"][:len(part)])
    memories = next(got)
    for name, memory in zip(("mem_k", "mem_v"), model.memories(src)):
        t.near(f"abc_cc_source {name} {s}", memories[name], memory)
    t.near(f"abc_cc_step {n} {s}", np.array([g["y"] for g in got]), want["abc_cc"])


def limits(t):
    """Where the methods are attention itself, and what cosformer depends on."""
    w, c, d = t.w.copy(), t.c, t.c["d"]
    n = min(c["landmarks"], c["wsize"])
    x, long = t.normal(n, d), t.normal(9, d)
    for m, name in ("local", "{}_proj"), ("nystrom", "{}_proj"), ("probsparse", "{}_projection"):
        for a, b in zip("qkvo", ("q", "k", "v", "out") if name == "{}_proj" else ("query", "key", "value", "out")):
            for part in "weight", "bias":
                w[f"{m}.{name.format(b)}.{part}"] = w[f"vanilla.{'out' if a == 'o' else a}_proj.{part}"]
    w["nystrom.conv.weight"] = np.zeros_like(w["nystrom.conv.weight"])
    t.save(w, t.path)
    got = [g["y"] for g in t.run(
        t.call("vanilla_ns", "y", x=x), t.call("vanilla_cs", "y", x=x), t.call("nystrom_ns", "y", x=x),
        t.call("local_ns", "y", x=x), t.call("local_cs", "y", x=x), t.call("vanilla_ns", "y", x=long),
        t.call("probsparse_ns", "y", x=long, sample=sampled(t, 9, 9)),
        t.call("cosformer_nc", "y", x=long, src=long[:4]), t.call("cosformer_nc", "y", x=long, src=long[3::-1]),
        t.call("cosformer_nc", "y", x=long[:4], src=long[:4]))]
    t.save(t.w, t.path)
    t.near("nystrom is vanilla", got[2], got[0])
    t.near("local_ns is vanilla", got[3], got[0])
    t.near("local_cs is vanilla", got[4], got[1])
    t.near("probsparse is vanilla", got[6], got[5])
    if d > 1:
        t.check("cosformer depends on the order", np.abs(got[8] - got[7]).max() > 1e-3)
        t.check("cosformer depends on N", np.abs(got[9] - got[7][:4]).max() > 1e-3)


def memory(t):
    """What a step keeps: bytes of the saved state after 13 and after 13 + 12 rows, for each method."""
    x, path, c = t.normal(25, t.c["d"]), os.path.join(t.folder, "state"), t.c
    item = 8 if t.f64 else 4

    def size(m, n):
        t.runner.run([t.call(m + "_cs_step", "y", x=row) for row in x[:n]], ["--save-state", path])
        return os.path.getsize(path)

    more = 12 // c["ls_chunk"] if 12 % c["ls_chunk"] == 0 else None
    for m in CAUSAL:
        growth = size(m, 25) - size(m, 13)
        if m == "vanilla":
            t.check("vanilla grows by keys and values", abs(growth - 12 * 2 * c["d"] * item) < 64, str(growth))
        elif m == "longshort" and more:
            want = more * 3 * c["ls_rank"] * c["d"] * item  # a key, a value and a distance
            t.check("longshort grows by what is compressed", abs(growth - want) < 64, str(growth))
        elif m != "longshort":
            t.check(m + " is flat", abs(growth) < 64, str(growth))


def check(t):
    model = Model(t.w, t.c)
    for n in 1, 2, 7, 13:
        forward(t, model, n)
    for n, s in (1, 1), (5, 11), (11, 3):
        cross(t, model, n, s)
    limits(t)
    if t.k < 2:
        memory(t)
    x = t.normal(3, t.c["d"])
    t.fails("sample", t.call("probsparse_ns", "y", x=x, sample=np.full((3, 1), 3)), says="index out of range")
    t.fails("width", t.call("vanilla_ns", "y", x=t.normal(3, t.c["d"] + 1)), says="axis 1")
    t.fails("no such pattern", t.call("lara_cs", "y", x=x), status=2, says="no entry `lara_cs`")
