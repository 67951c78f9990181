"""Recycled Attention: decoding with full steps and steps over the tokens that the last full step liked most."""
from common import *

DEFAULTS = dict(vocab=64, d=32, heads=4, kv_heads=2, head_dim=8, layers=2, ffn=48, eps=1e-5, rope_theta=10000, K=8,
                S=4, QC=2, sim=0.6)
CONFIGS = [
    dict(vocab=11, d=6, heads=4, kv_heads=2, head_dim=4, layers=2, ffn=7, K=3, S=3, QC=2, sim=0.2),
    dict(vocab=7, d=5, heads=3, kv_heads=3, head_dim=2, layers=3, ffn=4, K=1, S=5, QC=3, sim=0.5, eps=1e-3),
    {},
    dict(vocab=9, d=8, heads=4, kv_heads=1, head_dim=6, layers=1, ffn=5, K=30, S=1, QC=1, sim=1.5, rope_theta=100),
    dict(vocab=9, d=8, heads=2, kv_heads=1, head_dim=2, layers=2, ffn=5, K=4, S=1, QC=1, sim=1.5),
]
MARGIN = 2e-5  # of every choice


def weights(rng, c):
    d, e = c["d"], c["head_dim"]
    w = {"model.embed_tokens.weight": rng.normal(size=(c["vocab"], d))}
    w |= linear_weights(rng, "lm_head", c["vocab"], d, bias=False) | norm_weights(rng, "model.norm", d, bias=False)
    for i in range(c["layers"]):
        p = f"model.layers.{i}."
        w |= norm_weights(rng, p + "input_layernorm", d, bias=False)
        w |= norm_weights(rng, p + "post_attention_layernorm", d, bias=False)
        for n, o, into in (("q", c["heads"] * e, d), ("k", c["kv_heads"] * e, d), ("v", c["kv_heads"] * e, d),
                           ("o", d, c["heads"] * e)):
            w[f"{p}self_attn.{n}_proj.weight"] = matrix(rng, o, into, gain=2 if n in "qk" else 1)
        for n, o, into in (("gate", c["ffn"], d), ("up", c["ffn"], d), ("down", d, c["ffn"])):
            w[f"{p}mlp.{n}_proj.weight"] = matrix(rng, o, into)
    return w


class Layer:
    def __init__(self, c):
        self.keys, self.values = [], []                     # [kv_heads, head_dim] a token
        self.sets = [{} for _ in range(c["kv_heads"])]      # position -> score
        self.last = np.zeros((c["heads"], c["head_dim"]))


class Model:
    def __init__(self, w, c):
        self.w, self.c = w, c
        self.group = c["heads"] // c["kv_heads"]
        self.reset()

    def reset(self):
        self.layer = [Layer(self.c) for _ in range(self.c["layers"])]
        self.t = self.n = 0
        self.margin = math.inf
        self.seen = []  # of each full step: layer, scores

    def rope(self, x, pos):
        half = self.c["head_dim"] // 2
        a = pos * self.c["rope_theta"] ** (-2 * np.arange(half) / self.c["head_dim"])
        z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * a)
        return np.concatenate([z.real, z.imag], -1)

    def attend(self, l, q, members):
        """Outputs and weights over `members[g]` of every head."""
        o, a = [], []
        for h in range(self.c["heads"]):
            g = h // self.group
            k = np.stack([l.keys[j][g] for j in members[g]])
            a.append(softmax(k @ q[h] / math.sqrt(self.c["head_dim"])))
            o.append(a[-1] @ np.stack([l.values[j][g] for j in members[g]]))
        return np.concatenate(o), a

    def remember(self, l, raw, a):
        """Equation 2."""
        for g in range(self.c["kv_heads"]):
            score = np.max(a[g * self.group:(g + 1) * self.group], axis=0)
            order = sorted(range(len(score)), key=lambda j: (-score[j], j))
            k = self.c["K"]
            if len(order) > k:
                self.margin = min(self.margin, score[order[k - 1]] - score[order[k]])
            l.sets[g] = {j: score[j] for j in sorted(order[:k])}
        l.last = raw

    def recycle(self, l):
        """Equation 3."""
        for s in l.sets:
            s[self.t] = math.inf
            if len(s) > self.c["K"]:
                order = sorted(s, key=lambda j: (s[j], j))
                if len(order) > 1 and s[order[0]] < math.inf:
                    self.margin = min(self.margin, s[order[1]] - s[order[0]])
                del s[order[0]]

    def is_full(self, rule, l, raw):
        c = self.c
        if rule == "fixed":
            return self.n % c["S"] == 0
        if rule == "dynamic":
            if self.n % c["QC"]:
                return False
            cos = [a @ b / max(math.sqrt(a @ a * (b @ b)), 1e-8) for a, b in zip(raw, l.last)]
            self.margin = min(self.margin, abs(np.mean(cos) - c["sim"]))
            return np.mean(cos) < c["sim"]
        return True

    def token(self, token, rule):
        w, c, full = self.w, self.c, []
        x = w["model.embed_tokens.weight"][token]
        for i, l in enumerate(self.layer):
            p = f"model.layers.{i}."
            y = rms_norm(x, w[p + "input_layernorm.weight"], c["eps"])
            raw, k, v = ((w[f"{p}self_attn.{n}_proj.weight"] @ y).reshape(-1, c["head_dim"]) for n in "qkv")
            l.keys.append(self.rope(k, self.t))
            l.values.append(v)
            q = self.rope(raw, self.t)
            full.append(int(self.is_full(rule, l, raw)))
            if full[-1]:
                o, a = self.attend(l, q, [range(self.t + 1)] * c["kv_heads"])
                self.remember(l, raw, a)
            else:
                self.recycle(l)
                o, _ = self.attend(l, q, [sorted(s) for s in l.sets])
            x = x + w[p + "self_attn.o_proj.weight"] @ o
            y = rms_norm(x, w[p + "post_attention_layernorm.weight"], c["eps"])
            y = silu(w[p + "mlp.gate_proj.weight"] @ y) * (w[p + "mlp.up_proj.weight"] @ y)
            x = x + w[p + "mlp.down_proj.weight"] @ y
        self.t += 1
        return w["lm_head.weight"] @ rms_norm(x, w["model.norm.weight"], c["eps"]), full

    def prefill(self, ids):
        for token in ids:
            z, _ = self.token(token, "full")
        self.n = 0
        return z

    def step(self, token, rule):
        self.n += 1
        return self.token(token, rule)

    def recycled_set(self):
        k = self.c["K"]
        return np.array([[(sorted(s) + [-1] * k)[:k] for s in l.sets] for l in self.layer])

    def forward(self, ids):
        self.reset()
        return np.stack([self.token(token, "full")[0] for token in ids])

    def generate(self, prompt, new):
        self.reset()
        z, ids = self.prefill(prompt), []
        for k in range(new):
            best = np.sort(z)[::-1]
            self.margin = min(self.margin, best[0] - best[1])
            ids.append(int(np.argmax(z)))
            if k + 1 < new:
                z, _ = self.step(ids[-1], "fixed")
        return ids


def script(t):
    """What is done, in order: prefills of several tokens, steps of all kinds in every order."""
    def tokens(n):
        return t.ids(t.c["vocab"], n)

    plan = [("prefill", tokens(5))] + [("fixed", x) for x in tokens(9)]
    plan += [("prefill", tokens(2))] + [("dynamic", x) for x in tokens(9)]
    plan += [("fixed", x) for x in tokens(3)] + [("full", tokens(1)[0])] + [("dynamic", x) for x in tokens(4)]
    return plan + [("prefill", tokens(1))] + [("fixed", x) for x in tokens(2)]


def play(m, plan):
    """Logits, which layers were full, the sets afterwards."""
    m.reset()
    out = []
    for kind, x in plan:
        z, full = (m.prefill(x), None) if kind == "prefill" else m.step(x, kind)
        out.append((z, full, m.recycled_set()))
    return out


def clear(make, use, m):
    for _ in range(300):
        x = make()
        m.reset()
        want = use(x)
        if m.margin > MARGIN:
            return x, want
    raise RuntimeError("no clear choices")


def steps(t):
    m = Model(t.w, t.c)
    plan, want = clear(lambda: script(t), lambda p: play(m, p), m)
    calls = []
    for kind, x in plan:
        if kind == "prefill":
            calls.append(t.call("prefill", "logits", ids=x))
        else:
            calls.append(t.call("step_" + kind, "logits" if kind == "full" else "logits full", id=x))
        calls.append(t.call("recycled_set", "idx"))
    everything = np.concatenate([np.atleast_1d(x) for _, x in plan])
    got = t.run(t.call("forward", "logits", ids=everything), *calls, t.call("reset", ""), t.call("recycled_set", "idx"),
                t.call("prefill", "logits", ids=everything[:5]))
    seen, since, newest = 0, 0, []
    exact = t.c["K"] >= len(everything) or t.c["S"] == 1 and t.c["QC"] == 1 and t.c["sim"] > 1
    for k, (kind, x) in enumerate(plan):
        z, full, sets = want[k]
        g, idx = got[1 + 2 * k], got[2 + 2 * k]["idx"]
        name = f"{k} {kind}"
        t.near(name, g["logits"], z)
        t.equal(name + " set", idx, sets)
        if "full" in g:
            t.equal(name + " full", g["full"], full)
        seen += np.size(x)
        if exact:
            t.near(name + " is forward", g["logits"], got[0]["logits"][seen - 1])
        valid = idx >= 0
        t.check(name + " as many as there are", np.all(valid.sum(-1) == min(t.c["K"], seen)))
        t.check(name + " ascending", np.all(np.diff(np.where(valid, idx, 10 ** 6 + np.arange(t.c["K"]))) > 0))
        full = full or [1] * t.c["layers"]
        newest = [0 if f else r + 1 for f, r in zip(full, newest or [0] * t.c["layers"])]
        for i, r in enumerate(newest):
            last = set(range(seen - min(r, t.c["K"]), seen))
            t.check(f"{name} the newest stay in layer {i}", all(last <= set(s) for s in idx[i]))
    t.equal("reset empties the sets", got[-2]["idx"], np.full_like(got[-2]["idx"], -1))
    t.near("reset", got[-1]["logits"], want[0][0])


def forwards(t):
    m = Model(t.w, t.c)
    ids = t.ids(t.c["vocab"], 13)
    changed = np.append(ids[:-1], (ids[-1] + 1) % t.c["vocab"])
    prompt, new = clear(lambda: t.ids(t.c["vocab"], 4), lambda p: m.generate(p, 7), m)
    got = t.run(t.call("forward", "logits", ids=ids), t.call("forward", "logits", ids=changed),
                t.call("forward", "logits", ids=ids[:1]), t.call("step_full", "logits", id=3),
                t.call("generate_fixed", "ids", prompt=prompt, max_new=7),
                t.call("generate_fixed", "ids", prompt=prompt[:1], max_new=0))
    want = m.forward(ids)
    t.near("forward", got[0]["logits"], want)
    t.near("causal", got[1]["logits"][:-1], want[:-1])
    t.near("forward of one", got[2]["logits"], want[:1])
    t.near("forward leaves the state", got[3]["logits"], m.forward([3])[0])
    t.equal("generate_fixed", got[4]["ids"], new)
    t.equal("nothing generated", got[5]["ids"], np.zeros(0))


def check(t):
    forwards(t)
    steps(t)
    t.fails("a token outside", t.call("step_fixed", "logits", id=t.c["vocab"]), says="is not below")
    t.fails("heads", t.call("forward", "logits", ids=np.array([0])), more=["-D", "heads=3", "-D", "kv_heads=2"],
            says="multiple of kv_heads")
    t.fails("no prompt", t.call("prefill", "", ids=np.zeros(0, np.int32)), says="the prompt is empty")
