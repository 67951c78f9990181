"""SpikeGPT: averages as sums over the whole past (equation 5), neurons one by one."""
import os

from common import *
from harness import Runner

DEFAULTS = dict(vocab=64, d=32, layers=2, tau=2.0, vth=1.0, eps=1e-5)
CONFIGS = [
    dict(vocab=9, d=5, layers=3, tau=1.5, vth=0.5),
    {},
    dict(vocab=2, d=1, layers=1, tau=1.0, vth=0.25, eps=1e-3),
    dict(vocab=21, d=13, layers=1, tau=4.0, vth=0.75),
]


def weights(rng, c):
    d = c["d"]
    w = {"emb.weight": rng.normal(size=(c["vocab"], d)), "head.weight": matrix(rng, c["vocab"], d)}
    w |= norm_weights(rng, "ln_out", d) | norm_weights(rng, "blocks.0.ln0", d)
    for i in range(c["layers"]):
        p = f"blocks.{i}."
        w |= norm_weights(rng, p + "ln1", d) | norm_weights(rng, p + "ln2", d)
        w[p + "att.time_decay"], w[p + "att.time_first"] = rng.normal(size=d) - 1, rng.normal(size=d)
        for n in "att.time_mix_k", "att.time_mix_v", "att.time_mix_r", "ffn.time_mix_k", "ffn.time_mix_r":
            w[p + n] = rng.uniform(size=(1, 1, d))
        for n in "att.key", "att.value", "att.receptance", "ffn.receptance":
            w[f"{p}{n}.weight"] = matrix(rng, d, d, gain=2)
        w[p + "att.output.weight"] = matrix(rng, d, d, gain=4)
        w[p + "ffn.key.weight"], w[p + "ffn.value.weight"] = matrix(rng, 4 * d, d), matrix(rng, d, 4 * d, gain=2)
    return w


margin = [np.inf]  # between a membrane and the threshold


def fire(I, c):  # equation 8
    spikes = np.zeros_like(I)
    for channel in range(I.shape[1]):
        U = 0.0
        for t in range(len(I)):
            V = U + (I[t, channel] - U) / c["tau"]
            margin[0] = min(margin[0], abs(V - c["vth"]))
            spikes[t, channel] = V >= c["vth"]
            U = 0.0 if V >= c["vth"] else V
    return spikes


def average(k, v, decay, first):  # equation 5, in logarithms
    w, out = -np.exp(decay), np.zeros_like(v)
    for t in range(len(k)):
        s = np.concatenate([(t - 1 - np.arange(t))[:, None] * w + k[:t], (first + k[t])[None]])
        out[t] = (np.exp(s - logsumexp(s, 0)) * v[:t + 1]).sum(0)
    return out


def forward(tokens, w, c):
    """logits, spike rates"""
    x = layer_norm((w["emb.weight"][tokens] >= 0).astype(np.float64), w, "blocks.0.ln0", c["eps"])
    rates = np.zeros((c["layers"], 2))
    for i in range(c["layers"]):
        p = f"blocks.{i}."

        def mix(y, name):  # equation 3
            m = w[f"{p}{name}"][0, 0]
            return y * m + np.concatenate([np.zeros((1, c["d"])), y[:-1]]) * (1 - m)

        def dense(x, name):
            return x @ w[f"{p}{name}.weight"].T

        y = layer_norm(x, w, p + "ln1", c["eps"])
        wkv = average(dense(mix(y, "att.time_mix_k"), "att.key"), dense(mix(y, "att.time_mix_v"), "att.value"),
                      w[p + "att.time_decay"], w[p + "att.time_first"])
        r = sigmoid(dense(mix(y, "att.time_mix_r"), "att.receptance"))
        s1 = fire(dense(r * wkv, "att.output"), c)
        x = x + s1
        y = layer_norm(x, w, p + "ln2", c["eps"])
        k = np.maximum(dense(mix(y, "ffn.time_mix_k"), "ffn.key"), 0) ** 2
        s2 = fire(sigmoid(dense(mix(y, "ffn.time_mix_r"), "ffn.receptance")) * dense(k, "ffn.value"), c)
        x = x + s2
        rates[i] = s1.mean(), s2.mean()
    return layer_norm(x, w, "ln_out", c["eps"]) @ w["head.weight"].T, rates


def with_weights(t, changes):
    path = os.path.join(t.folder, "changed.safetensors")
    t.save({**t.w, **changes}, path)
    return Runner(t.runner.seqm, t.runner.model, [path if o == t.path else o for o in t.runner.options], t.folder)


def reading(t):
    c = t.c
    for n in 1, 2, 17:
        tokens = t.ids(c["vocab"], n)
        changed = tokens.copy()
        changed[-1] = (changed[-1] + 1) % c["vocab"]
        calls = [t.call("forward", "logits", tokens=x) for x in (tokens, changed)]
        calls += [t.call("rates", "rates", tokens=tokens)]
        calls += [t.call("step", "logits", token=x) for x in tokens]
        calls += [t.call("forward", "logits", tokens=tokens[:1]), t.call("reset", "")]  # `forward` leaves the state
        calls += [t.call("step", "logits", token=x) for x in changed]
        got = t.run(*calls)
        want, rates = forward(tokens, t.w, c)
        t.near(f"forward {n}", got[0]["logits"], want)
        t.near(f"causal {n}", got[1]["logits"][:-1], want[:-1])
        t.near(f"rates {n}", got[2]["rates"], rates)
        counts = got[2]["rates"] * n * c["d"]
        t.near(f"rates count spikes {n}", counts, np.round(counts), 1e-5)
        t.check(f"rates are in 0 .. 1 {n}", got[2]["rates"].min() >= 0 and got[2]["rates"].max() <= 1)
        t.near(f"steps {n}", np.stack([g["logits"] for g in got[3:3 + n]]), want)
        t.near(f"steps after reset {n}", np.stack([g["logits"] for g in got[5 + n:]]), forward(changed, t.w, c)[0])
        t.check(f"spikes do not hang on rounding {n}", margin[0] > 1e-4, f"{margin[0]}")


def writing(t):
    c = t.c
    for n, new in (1, 0), (1, 6), (7, 5):
        prompt = t.ids(c["vocab"], n)
        got = t.run(t.call("step", "", token=0), t.call("generate", "tokens", prompt=prompt, max_new=new))
        tokens = list(prompt)
        for _ in range(new):
            tokens.append(int(forward(np.array(tokens), t.w, c)[0][-1].argmax()))
        t.equal(f"generate {n} {new}", got[1]["tokens"], np.array(tokens[n:], np.int32))


def extremes(t):
    c, tokens = t.c, t.ids(t.c["vocab"], 11)
    call = t.call("forward", ["logits"], tokens=tokens)
    plain = t.run(call)[0]["logits"]
    for scale in 1e-3, 3.7:
        got = with_weights(t, {"emb.weight": scale * t.w["emb.weight"]}).run([call])[0]["logits"]
        t.equal(f"only signs of the embedding count {scale}", got, plain)
    keys = {n: (40 * v).astype(np.float32).astype(np.float64) for n, v in t.w.items() if "att.key" in n}
    w = {**t.w, **keys}
    margin[0] = np.inf
    want = forward(tokens, w, c)[0]
    got = with_weights(t, keys).run([call])[0]["logits"]
    t.check("large keys: finite", bool(np.all(np.isfinite(got))))
    if margin[0] > 1e-3:
        t.near("large keys", got, want, 10 * t.tolerance)


def state_size(t):
    sizes = []
    for n in 1, 30:
        path = os.path.join(t.folder, "state")
        t.run(*[t.call("step", "logits", token=0) for _ in range(n)], more=["--save-state", path])
        sizes.append(os.path.getsize(path))
    t.check("state is flat", sizes[0] == sizes[1], f"{sizes}")


def check(t):
    margin[0] = np.inf
    reading(t)
    writing(t)
    extremes(t)
    if t.k == 0:
        state_size(t)
        t.fails("token outside", t.call("forward", "", tokens=np.array([1, 9], np.int32)), says="index out of range")
        t.fails("nothing to go on from", t.call("generate", "", prompt=np.zeros(0, np.int32), max_new=2), says="empty")
