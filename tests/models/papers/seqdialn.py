"""SeqDialN: dialogs about images, fused by dense symmetric co-attention, reasoned over by an LSTM or a transformer."""
from common import *

DEFAULTS = dict(vocab=30, we=8, h=6, lstm_layers=2, img=7, sub_maps=4, K=2, stack=2, heads=3, layers=2, dec=10,
                dec_layers=2, eps=1e-5, pad=0, bos=1, eos=2, scale=0.25, lr=0.05, clip=1.0)
CONFIGS = [
    dict(vocab=9, we=3, h=3, lstm_layers=1, img=4, sub_maps=2, K=3, stack=1, heads=2, layers=1, dec=5, dec_layers=1, pad=2, eos=0),
    {},
    dict(vocab=4, we=1, h=1, lstm_layers=1, img=1, sub_maps=1, K=1, stack=1, heads=1, layers=1, dec=1, dec_layers=1),
    dict(vocab=17, we=5, h=5, lstm_layers=3, img=3, sub_maps=5, K=1, stack=3, heads=5, layers=3, dec=7, dec_layers=3, eps=1e-3, scale=1.5),
]
ATT = "encoder.DCAEncoder.att_layer."


def lstm_weights(rng, name, i, h, layers, both=False):
    w = {}
    for l in range(layers):
        for way in ("", "_reverse") if both else ("",):
            wide = i if not l else 2 * h if both else h
            w[f"{name}weight_ih_l{l}{way}"], w[f"{name}weight_hh_l{l}{way}"] = matrix(rng, 4 * h, wide), matrix(rng, 4 * h, h)
            w[f"{name}bias_ih_l{l}{way}"], w[f"{name}bias_hh_l{l}{way}"] = 0.3 * rng.normal(size=(2, 4 * h))
    return w


def c1d_weights(rng, name, i, o):
    return {name + ".weight": matrix(rng, o, i).T.copy(), name + ".bias": 0.3 * rng.normal(size=o)}


def weights(rng, c):
    f, h, maps = 2 * c["h"], c["h"], c["sub_maps"]
    w = {n + ".word_embed.weight": rng.normal(size=(c["vocab"], c["we"])) for n in ("encoder", "decoder")}
    w |= linear_weights(rng, ATT + "imfea_reducer", f, c["img"])
    w |= lstm_weights(rng, ATT + "content_lstm.rnn_model.", c["we"], h, c["lstm_layers"], both=True)
    for i in range(c["stack"]):
        for n in "vq":
            w[f"{ATT}sub_proj_W{n}.{i}"] = matrix(rng, maps, f // maps, f)
            w[f"{ATT}non_att_M{n}.{i}"] = rng.normal(size=(c["K"], f))
        w |= linear_weights(rng, f"{ATT}fc.{i}.0", f, 2 * f) | linear_weights(rng, f"{ATT}fc.{i}.1", f, 2 * f)
    for n in "QV":
        p = f"encoder.DCAEncoder.mlp_{n}."
        w |= linear_weights(rng, p + "0", h, f) | linear_weights(rng, p + "2", 1, h)
    w |= lstm_weights(rng, "encoder.DCAEncoder.hist_rnn.rnn_model.", f, f, 2)
    for l in range(c["layers"]):
        for part, norms in ("encoder_x", ("ln_1", "ln_2")), ("encoder_y2x", ("ln_1_x", "ln_1_y", "ln_2_y")):
            p = f"encoder.reason_trans.h.{l}.{part}."
            for n in norms:
                w |= norm_weights(rng, p + n, f)
            w |= c1d_weights(rng, p + "attn.c_attn", f, 3 * f) | c1d_weights(rng, p + "attn.c_proj", f, f)
            w |= c1d_weights(rng, p + "mlp.c_fc", f, 4 * f) | c1d_weights(rng, p + "mlp.c_proj", 4 * f, f)
    w |= norm_weights(rng, "encoder.reason_trans.ln_f_x", f) | norm_weights(rng, "encoder.reason_trans.ln_f_y", f)
    w |= linear_weights(rng, "encoder.question_dialog_projection", c["dec"], 2 * f)
    for n in "answer_rnn.", "option_rnn.rnn_model.":
        w |= lstm_weights(rng, "decoder." + n, c["we"], c["dec"], c["dec_layers"])
    for n in "query", "key", "value":
        w |= linear_weights(rng, f"decoder.{n}_linear", c["dec"], c["dec"])
    return w | linear_weights(rng, "decoder.lstm_to_words", c["vocab"], c["dec"])


def lstm(xs, w, name, end, start=None):
    """One layer in one direction: the outputs."""
    h = np.zeros(w[f"{name}weight_hh{end}"].shape[1]) if start is None else start
    c, out = np.zeros(len(h)), []
    for x in xs:
        z = w[f"{name}weight_ih{end}"] @ x + w[f"{name}bias_ih{end}"] + w[f"{name}weight_hh{end}"] @ h + w[f"{name}bias_hh{end}"]
        i, f, g, o = np.split(z, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return out


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def c1d(x, w, name):
    return x @ w[name + ".weight"] + w[name + ".bias"]


class Model:
    def __init__(self, w, c):
        self.w, self.c, self.f = w, c, 2 * c["h"]

    def norm(self, x, name):
        return layer_norm(x, self.w, name, self.c["eps"])

    def stack(self, xs, name, layers, start=None):
        for l in range(layers):
            xs = lstm(xs, self.w, name, f"_l{l}", start)
        return np.array(xs)

    # ---- equations 1 to 4
    def read(self, text, n):
        xs = [self.w["encoder.word_embed.weight"][i] for i in text[:n]]
        p = ATT + "content_lstm.rnn_model."
        for l in range(self.c["lstm_layers"]):
            back = lstm(xs[::-1], self.w, p, f"_l{l}_reverse")[::-1]
            xs = [np.concatenate(pair) for pair in zip(lstm(xs, self.w, p, f"_l{l}"), back)]
        return np.concatenate([np.array(xs), np.zeros((len(text) - n, self.f))])

    def joint(self, img, text, n):
        w, maps, K = self.w, self.c["sub_maps"], self.c["K"]
        Q, V = self.read(text, n), linear(img, w, ATT + "imfea_reducer")
        N, R = len(Q), len(V)
        for i in range(self.c["stack"]):
            Qt = np.concatenate([Q, np.zeros((K, self.f))])
            Qt[n:n + K] = w[f"{ATT}non_att_Mq.{i}"]
            Vt = np.concatenate([V, w[f"{ATT}non_att_Mv.{i}"]])
            Aq, Av = np.zeros((R + K, N + K)), np.zeros((N + K, R + K))
            for s in range(maps):
                A = (w[f"{ATT}sub_proj_Wv.{i}"][s] @ Vt.T).T @ (w[f"{ATT}sub_proj_Wq.{i}"][s] @ Qt.T) / math.sqrt(maps)
                Aq += softmax(A) / maps
                Av += softmax(A.T) / maps
            Ql, Vl = Aq[:R] @ Qt, Av[:N] @ Vt
            V, Q = (np.maximum(linear(np.concatenate([V, Ql], 1), w, f"{ATT}fc.{i}.0"), 0) + V,
                    np.maximum(linear(np.concatenate([Q, Vl], 1), w, f"{ATT}fc.{i}.1"), 0) + Q)
        return self.pool(Q, "Q") + self.pool(V, "V")

    def pool(self, x, name):
        p = f"encoder.DCAEncoder.mlp_{name}."
        s = linear(np.maximum(linear(x, self.w, p + "0"), 0), self.w, p + "2")[:, 0]
        return softmax(s) @ x

    def fuse(self, img, text, text_len):
        return np.array([self.joint(img, a, n) for a, n in zip(text, text_len)])

    # ---- equations 5 to 9
    def encode_ip(self, img, ques, ques_len, hist, hist_len):
        name = "encoder.DCAEncoder.hist_rnn.rnn_model."
        both = [self.stack(self.fuse(img, a, n), name, 2) for a, n in ((ques, ques_len), (hist, hist_len))]
        return linear(np.concatenate(both, 1), self.w, "encoder.question_dialog_projection")

    def places(self, n):
        pe = np.zeros((n, self.f))
        for t in range(n):
            for m in range(self.f):
                a = t * 10000 ** (-(2 * (m // 2)) / self.f)
                pe[t, m] = math.cos(a) if m % 2 else math.sin(a)
        return pe

    def parts(self, x, name):
        return [heads_first(p, self.c["heads"]) for p in np.split(c1d(x, self.w, name + "attn.c_attn"), 3, axis=1)]

    def mlp(self, x, name):
        return c1d(gelu_tanh(c1d(x, self.w, name + "mlp.c_fc")), self.w, name + "mlp.c_proj")

    def encode_mr(self, img, ques, ques_len, hist, hist_len):
        x, y = self.fuse(img, hist, hist_len), self.fuse(img, ques, ques_len)
        n = len(x)
        x, y = x + self.places(n), y + self.places(n)
        root = math.sqrt(self.f / self.c["heads"])
        for l in range(self.c["layers"]):
            p = f"encoder.reason_trans.h.{l}.encoder_x."
            q, k, v = self.parts(self.norm(x, p + "ln_1"), p)
            a = softmax(q @ k.transpose(0, 2, 1) / root, np.tril(np.ones((n, n), bool)))
            x = x + c1d(heads_last(a @ v), self.w, p + "attn.c_proj")
            x = x + self.mlp(self.norm(x, p + "ln_2"), p)
            p = f"encoder.reason_trans.h.{l}.encoder_y2x."
            y = self.norm(y, p + "ln_1_y")
            _, kx, vx = self.parts(self.norm(x, p + "ln_1_x"), p)
            q, ky, vy = self.parts(y, p)
            out = np.zeros_like(q)
            for t in range(n):  # the rounds so far, then its own key
                for h in range(len(q)):
                    keys, values = np.vstack([kx[h, :t + 1], ky[h, t]]), np.vstack([vx[h, :t + 1], vy[h, t]])
                    out[h, t] = softmax(keys @ q[h, t] / root) @ values
            y = y + c1d(heads_last(out), self.w, p + "attn.c_proj")
            y = y + self.mlp(self.norm(y, p + "ln_2_y"), p)
        both = [self.norm(y, "encoder.reason_trans.ln_f_y"), self.norm(x, "encoder.reason_trans.ln_f_x")]
        return linear(np.concatenate(both, 1), self.w, "encoder.question_dialog_projection")

    # ---- equations 10 and 11
    def logp(self, enc, given):
        o = self.stack([self.w["decoder.word_embed.weight"][i] for i in given], "decoder.answer_rnn.", self.c["dec_layers"], enc)
        q, k, v = (linear(o, self.w, f"decoder.{n}_linear") for n in ("query", "key", "value"))
        a = softmax(q @ k.T, np.tril(np.ones((len(o), len(o)), bool))) @ v
        z = linear(a, self.w, "decoder.lstm_to_words")
        return z - logsumexp(z)[:, None]

    def generative(self, enc, given, wanted):
        lp = self.logp(enc, given)
        real = [i for i in range(len(wanted)) if wanted[i] != self.c["pad"]]
        return sum(lp[i, wanted[i]] for i in real) / math.sqrt(len(real))

    def discriminative(self, enc, option, n):
        o = self.stack([self.w["decoder.word_embed.weight"][i] for i in option[:n]], "decoder.option_rnn.rnn_model.", self.c["dec_layers"])
        return enc @ o[-1]

    def generate(self, enc, max_new):
        given, ids = [self.c["bos"]], []
        while len(ids) < max_new and (not ids or ids[-1] != self.c["eos"]):
            ids.append(int(np.argmax(self.logp(enc, given)[-1])))
            given.append(ids[-1])
        return np.array(ids + [-1] * (max_new - len(ids)), np.int32)


def draw(t, regions, rounds, lq, lh):
    def texts(n, longest):
        lengths = t.rng.integers(1, longest + 1, size=n).astype(np.int32)
        lengths[-1] = longest
        return t.ids(t.c["vocab"], n, longest), lengths

    ques, ques_len = texts(rounds, lq)
    hist, hist_len = texts(rounds, lh)
    return dict(img=t.normal(regions, t.c["img"]), ques=ques, ques_len=ques_len, hist=hist, hist_len=hist_len)


def one_round(d, k):
    return dict(img=d["img"], ques=d["ques"][k], ques_len=int(d["ques_len"][k]), hist=d["hist"][k], hist_len=int(d["hist_len"][k]))


def changed(t, d, name, k):
    """The first word of round k is another one."""
    other = d[name].copy()
    other[k, 0] = (other[k, 0] + 1) % t.c["vocab"]
    return d | {name: other}


def encoder_calls(t, d):
    rounds = len(d["ques"])
    k = rounds // 2
    longer = np.pad(d["hist"], ((0, 0), (0, 2)))
    calls = [t.call("fuse", "joint", img=d["img"], text=text, text_len=d["hist_len"]) for text in (d["hist"], longer)]
    calls += [t.call(e, "enc", **x) for e in ("encode_ip", "encode_mr")
              for x in (d, d | {"img": d["img"][::-1].copy()}, changed(t, d, "ques", k), changed(t, d, "hist", k))]
    calls += [t.call(e, "enc", **one_round(d, i)) for e in ("round_ip", "round_mr") for i in range(rounds)]
    calls += [t.call("encode_mr", "enc", **d), t.call("reset", "")]
    calls += [t.call(e, "enc", **one_round(d, i)) for i in range(rounds) for e in ("round_ip", "round_mr")]
    return calls + [t.call("reset", "")]


def encoder_results(t, d, got):
    m, rounds = Model(t.w, t.c), len(d["ques"])
    text, k = f"{rounds} rounds", rounds // 2
    longer = np.pad(d["hist"], ((0, 0), (0, 2)))
    t.near(f"fuse {text}", got[0]["joint"], m.fuse(d["img"], d["hist"], d["hist_len"]))
    t.near(f"wider text {text}", got[1]["joint"], m.fuse(d["img"], longer, d["hist_len"]))
    t.check(f"the width matters {text}", np.abs(got[0]["joint"] - got[1]["joint"]).max() > 1e-6)
    for i, (name, want) in enumerate((("ip", m.encode_ip(**d)), ("mr", m.encode_mr(**d)))):
        plain, turned, ques, hist = (g["enc"] for g in got[2 + 4 * i:6 + 4 * i])
        t.near(f"encode_{name} {text}", plain, want)
        t.near(f"regions turned {name} {text}", turned, want)
        t.near(f"causal in questions {name} {text}", ques[:k], want[:k])
        t.near(f"causal in history {name} {text}", hist[:k], want[:k])
        if t.c["dec"] > 1:
            t.check(f"not blind to questions {name} {text}", np.abs(ques[k] - want[k]).max() > 1e-4)
        if name == "mr":
            t.near(f"a question is of its round {text}", np.delete(ques, k, 0), np.delete(want, k, 0))
        rows = [g["enc"] for g in got[10 + i * rounds:10 + (i + 1) * rounds]]
        t.near(f"round_{name} {text}", np.array(rows), want)
        rows = [g["enc"] for g in got[12 + 2 * rounds + i:12 + 4 * rounds:2]]
        t.near(f"round_{name} once more {text}", np.array(rows), want)


def encoders(t):
    draws = [draw(t, 1, 1, 1, 1), draw(t, 5, 4, 3, 6)]
    calls = [encoder_calls(t, d) for d in draws]
    got = t.run(*calls[0], *calls[1])
    encoder_results(t, draws[0], got[:len(calls[0])])
    encoder_results(t, draws[1], got[len(calls[0]):])


def answers(t):
    c, m = t.c, Model(t.w, t.c)
    d = draw(t, 3, 2, 4, 5)
    encs = [m.encode_ip(**d), m.encode_mr(**d)]
    calls, wants = [], []
    for options, width in (1, 1), (3, 5):
        given = t.ids(c["vocab"], 2, options, width)
        wanted = t.ids(c["vocab"], 2, options, width)
        wanted[:, :, 0] = (c["pad"] + 1) % c["vocab"]  # a word, at least
        lengths = t.rng.integers(1, width + 1, size=(2, options)).astype(np.int32)
        for name, enc in zip(("ip", "mr"), encs):
            pairs = [[(enc[i], given[i, o], wanted[i, o], lengths[i, o]) for o in range(options)] for i in range(2)]
            calls += [t.call("score_gen_" + name, "scores", opt_in=given, opt_out=wanted, **d),
                      t.call("score_disc_" + name, "scores", opt=given, opt_len=lengths, **d)]
            wants += [np.array([[m.generative(e, a, b) for e, a, b, _ in row] for row in pairs]),
                      np.array([[m.discriminative(e, a, n) for e, a, _, n in row] for row in pairs])]
    news = [0, 1, 9]
    got = t.run(*calls, *(t.call("generate_mr", "ids", max_new=n, **d) for n in news))
    for k, want in enumerate(wants):
        t.near(f"{calls[k][0]} {want.shape[1]}", got[k]["scores"], want)
        if "gen" in calls[k][0]:
            t.check(f"{calls[k][0]} {want.shape[1]} < 0", np.all(got[k]["scores"] < 0))
    for n, g in zip(news, got[len(calls):]):
        t.equal(f"generate_mr {n}", g["ids"], m.generate(encs[1][-1], n))
    w = dict(t.w)
    w["decoder.lstm_to_words.bias"] = w["decoder.lstm_to_words.bias"] + 50 * (np.arange(c["vocab"]) == c["eos"])
    t.save(w, t.path)
    t.equal("eos is the last word", t.one("generate_mr", "ids", max_new=3, **d), [c["eos"], -1, -1])
    t.save(t.w, t.path)
    return d


def losses(t):
    calls, wants = [], []
    for rounds, options in (1, 1), (4, 6):
        s, target = t.normal(rounds, options, scale=3), t.ids(options, rounds)
        wants += 2 * [np.mean([logsumexp((s[k] - s[k, target[k]]) / t.c["scale"]) for k in range(rounds)])]
        calls += [t.call("npair_loss", "loss", scores=x, target=target) for x in (s, s + t.normal(rounds, 1))]
    for k, (g, want) in enumerate(zip(t.run(*calls), wants)):  # odd ones have a number added to each row
        t.near(f"npair_loss {k}", g["loss"], want, 1e-9 if t.f64 else 1e-3)
    t.fails("target out of range", t.call("npair_loss", "", scores=s, target=target + 6), says="out of range")


def check(t):
    encoders(t)
    d = answers(t)
    losses(t)
    d["ques"][0, 0] = t.c["vocab"]
    t.fails("word out of range", t.call("encode_mr", "", **d), says="out of range")
    d["ques"][0, 0] = 0
    d["ques_len"][0] = d["ques"].shape[1] + 1
    t.fails("longer than its width", t.call("encode_ip", "", **d), says="between 1 word and its width")
