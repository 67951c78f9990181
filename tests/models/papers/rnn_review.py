"""The networks of the review of recurrent networks: Elman, Jordan, three LSTMs, bidirectional."""
from common import *

DEFAULTS = dict(din=5, h=10, dout=4, lr=0.3, tbptt=4)
CONFIGS = [
    dict(din=3, h=7, dout=2),
    {},
    dict(din=1, h=1, dout=1),
    dict(din=8, h=16, dout=17),
]
LSTMS = {"lstm": "gifo", "lstm_1997": "gio", "lstm_peephole": "gifo"}
STEPPED = ["elman", "jordan", *LSTMS]


def weights(rng, c):
    din, h, dout = c["din"], c["h"], c["dout"]
    w = {}
    for m in "elman", "jordan", "brnn":
        w |= {m + ".w_hx": matrix(rng, h, din, gain=2), m + ".b_h": rng.normal(size=h),
              m + ".w_hh": matrix(rng, h, dout if m == "jordan" else h, gain=3)}
    w |= {"brnn.w_zx": matrix(rng, h, din, gain=2), "brnn.w_zz": matrix(rng, h, h, gain=3),
          "brnn.b_z": rng.normal(size=h), "brnn.w_yz": matrix(rng, dout, h, gain=2)}
    for m, gates in LSTMS.items():
        for g in gates:
            w |= {f"{m}.w_{g}x": matrix(rng, h, din, gain=2), f"{m}.w_{g}h": matrix(rng, h, h, gain=2),
                  f"{m}.b_{g}": rng.normal(size=h)}
    w |= {f"lstm_peephole.p_{g}": rng.normal(size=h) for g in "ifo"}
    for m in *STEPPED, "brnn":
        w |= {m + ".w_yh": matrix(rng, dout, h, gain=2), m + ".b_y": rng.normal(size=dout)}
    return w


def elman(x, w, c):
    h, rows = np.zeros(c["h"]), []
    for v in x:
        h = sigmoid(w["elman.w_hx"] @ v + w["elman.w_hh"] @ h + w["elman.b_h"])
        rows.append(w["elman.w_yh"] @ h + w["elman.b_y"])
    return rows


def jordan(x, w, c):
    said, rows = np.zeros(c["dout"]), []
    for v in x:
        h = sigmoid(w["jordan.w_hx"] @ v + w["jordan.w_hh"] @ said + w["jordan.b_h"])
        rows.append(w["jordan.w_yh"] @ h + w["jordan.b_y"])
        said = softmax(rows[-1])
    return rows


def cells(x, w, c, m):
    h, s, rows = np.zeros(c["h"]), np.zeros(c["h"]), []
    for v in x:
        z = {g: w[f"{m}.w_{g}x"] @ v + w[f"{m}.w_{g}h"] @ h + w[f"{m}.b_{g}"] for g in LSTMS[m]}
        peep = {g: w[f"{m}.p_{g}"] if m == "lstm_peephole" else 0 for g in "ifo"}
        f = sigmoid(z["f"] + peep["f"] * s) if "f" in z else 1
        s = np.tanh(z["g"]) * sigmoid(z["i"] + peep["i"] * s) + s * f
        h = np.tanh(s) * sigmoid(z["o"] + peep["o"] * s)
        rows.append(w[m + ".w_yh"] @ h + w[m + ".b_y"])
    return rows


def brnn(x, w, c):
    n = len(x)
    h, z = np.zeros((n + 1, c["h"])), np.zeros((n + 1, c["h"]))
    for t in range(n):  # h[t + 1] is h_t, z[t] is z_t
        h[t + 1] = sigmoid(w["brnn.w_hx"] @ x[t] + w["brnn.w_hh"] @ h[t] + w["brnn.b_h"])
    for t in reversed(range(n)):
        z[t] = sigmoid(w["brnn.w_zx"] @ x[t] + w["brnn.w_zz"] @ z[t + 1] + w["brnn.b_z"])
    return [w["brnn.w_yh"] @ h[t + 1] + w["brnn.w_yz"] @ z[t] + w["brnn.b_y"] for t in range(n)]


def reference(m, x, w, c):
    f = {"elman": elman, "jordan": jordan, "brnn": brnn}.get(m) or (lambda *a: cells(*a, m))
    return np.array(f(x, w, c)).reshape(len(x), c["dout"])


def networks(t):
    for n in 1, 6, 13, 0:
        x = t.normal(n, t.c["din"], scale=1.5)
        calls = [t.call(m, "logits", x=x) for m in (*STEPPED, "brnn")]
        for v in x:  # interleaved: every network has its own state
            calls += [t.call(m + "_step", "logits", x=v) for m in STEPPED]
        calls += [t.call("lstm", "logits", x=x), t.call("reset", "")]
        if n:
            calls += [t.call(m + "_step", "logits", x=x[0]) for m in STEPPED]
        got = t.run(*calls)
        for k, m in enumerate((*STEPPED, "brnn")):
            t.near(f"{m} {n}", got[k]["logits"], reference(m, x, t.w, t.c))
        for k, m in enumerate(STEPPED if n else []):
            steps = [g["logits"] for g in got[6 + k:6 + 5 * n:5]]
            t.near(f"{m} steps {n}", np.array(steps), reference(m, x, t.w, t.c))
            t.near(f"{m} reset {n}", got[8 + 5 * n + k]["logits"], steps[0])
        t.near(f"steps leave sequences alone {n}", got[6 + 5 * n]["logits"], got[2]["logits"])


def causality(t):
    x = t.normal(7, t.c["din"])
    changed = x.copy()
    changed[-1] += 1
    names = [*STEPPED, "brnn"]
    a = t.run(*(t.call(m, "logits", x=x) for m in names))
    b = t.run(*(t.call(m, "logits", x=changed) for m in names))
    for m, p, q in zip(names, a, b):
        if m == "brnn":
            t.check("brnn looks ahead", not np.allclose(p["logits"][:-1], q["logits"][:-1], rtol=1e-7, atol=0))
        else:
            t.near(f"{m} is causal", p["logits"][:-1], q["logits"][:-1], 1e-7)


def limits(t):
    """With peepholes 0 and the same weights, lstm_peephole is lstm; with f = 1, lstm is lstm_1997."""
    x = t.normal(9, t.c["din"])
    w = dict(t.w)
    for name in [n for n in w if n.startswith("lstm.")]:
        rest = name.split(".")[1]
        w["lstm_peephole." + rest] = w[name]
        if "lstm_1997." + rest in w:
            w["lstm_1997." + rest] = w[name]
    for g in "ifo":
        w[f"lstm_peephole.p_{g}"] = 0 * w["lstm_peephole.p_i"]
    t.save(w, t.path)
    got = t.run(t.call("lstm", "logits", x=x), t.call("lstm_peephole", "logits", x=x))
    t.near("no peepholes", got[1]["logits"], got[0]["logits"])
    for n in "w_fx", "w_fh":
        w["lstm." + n] = 0 * w["lstm." + n]
    w["lstm.b_f"] = 60 + 0 * w["lstm.b_f"]
    t.save(w, t.path)
    got = t.run(t.call("lstm", "logits", x=x), t.call("lstm_1997", "logits", x=x))
    t.near("nothing forgotten", got[1]["logits"], got[0]["logits"])
    t.save(t.w, t.path)


def state_size(t):
    sizes = {t.state_bytes(*(t.call(m + "_step", [], x=v) for v in t.normal(n, t.c["din"]) for m in STEPPED))
             for n in (1, 9)}
    t.check("states do not grow", len(sizes) == 1, str(sizes))


def check(t):
    networks(t)
    causality(t)
    limits(t)
    if t.k == 0:
        state_size(t)
        t.fails("a wide input", t.call("elman", [], x=t.normal(2, t.c["din"] + 1)), says="x")
        t.fails("a matrix for a step", t.call("lstm_step", [], x=t.normal(1, t.c["din"])), says="x")
