"""The example models in float64 numpy, written from their equations alone. Nothing here knows seqm.

Each class takes a dict of weights (by the names of the public checkpoints) and a dict of the
model's constants; all arithmetic is float64.
"""
import math

import numpy as np

_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x):
    return _erf(x).astype(np.float64)


def softmax(s, allowed):
    """Over the last axis, only where `allowed`; a row with nothing allowed is 0."""
    s = np.where(allowed, s, -np.inf)
    top = np.max(s, axis=-1, keepdims=True, initial=-np.inf)
    e = np.where(allowed, np.exp(s - np.where(np.isfinite(top), top, 0)), 0.0)
    total = e.sum(-1, keepdims=True)
    return e / np.where(total > 0, total, 1)


def logsumexp(x):
    top = x.max(-1, keepdims=True)
    return (top + np.log(np.exp(x - top).sum(-1, keepdims=True)))[..., 0]


def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + eps) * weight + bias


def next_token_loss(logits, ids):
    n = len(ids) - 1
    if n < 1:
        return 0.0
    return float(np.mean([logsumexp(logits[t]) - logits[t, ids[t + 1]] for t in range(n)]))


class Minilm:
    def __init__(self, weights, c):
        self.w, self.c = {k: v.astype(np.float64) for k, v in weights.items()}, c

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, x, name):
        return layer_norm(x, self.w[name + ".weight"], self.w[name + ".bias"], self.c["eps"])

    def hidden(self, ids, mask):
        c, w = self.c, self.w
        batch, n = ids.shape
        heads, hd = c["heads"], c["d"] // c["heads"]
        x = (w["embeddings.word_embeddings.weight"][ids] +
             w["embeddings.position_embeddings.weight"][:n] +
             w["embeddings.token_type_embeddings.weight"][0])
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(c["layers"]):
            p = f"encoder.layer.{i}."
            q, k, v = (self.linear(x, p + "attention.self." + part).reshape(batch, n, heads, hd)
                       for part in ("query", "key", "value"))
            s = np.einsum("bihe,bjhe->bhij", q, k) / math.sqrt(hd)
            a = softmax(s, (mask != 0)[:, None, None, :])
            o = np.einsum("bhij,bjhe->bihe", a, v).reshape(batch, n, heads * hd)
            x = self.norm(self.linear(o, p + "attention.output.dense") + x,
                          p + "attention.output.LayerNorm")
            u = self.linear(x, p + "intermediate.dense")
            u = u / 2 * (1 + erf(u / math.sqrt(2)))
            x = self.norm(self.linear(u, p + "output.dense") + x, p + "output.LayerNorm")
        return x

    def forward(self, ids, mask):
        h = self.hidden(ids, mask)
        m = mask.astype(np.float64)
        pooled = (m[:, :, None] * h).sum(1) / np.maximum(m.sum(1), 1e-9)[:, None]
        return pooled / np.maximum(np.sqrt((pooled ** 2).sum(-1, keepdims=True)), 1e-12)

    def similarity(self, ids_a, mask_a, ids_b, mask_b):
        return self.forward(ids_a, mask_a) @ self.forward(ids_b, mask_b).T


class Gpt2:
    """Names without the prefix `transformer.`."""

    def __init__(self, weights, c):
        self.w, self.c = {k: v.astype(np.float64) for k, v in weights.items()}, c

    def norm(self, x, name):
        return layer_norm(x, self.w[name + ".weight"], self.w[name + ".bias"], self.c["eps"])

    def conv(self, x, name):
        return x @ self.w[name + ".weight"] + self.w[name + ".bias"]

    def forward(self, ids):
        c, w, n = self.c, self.w, len(ids)
        heads, d = c["heads"], c["d"]
        hd = d // heads
        causal = np.tril(np.ones((n, n), bool))
        x = w["wte.weight"][ids] + w["wpe.weight"][:n]
        for i in range(c["layers"]):
            p = f"h.{i}."
            y = self.conv(self.norm(x, p + "ln_1"), p + "attn.c_attn")
            q, k, v = (part.reshape(n, heads, hd) for part in np.split(y, 3, axis=-1))
            a = softmax(np.einsum("ihe,jhe->hij", q, k) / math.sqrt(hd), causal)
            x = x + self.conv(np.einsum("hij,jhe->ihe", a, v).reshape(n, d), p + "attn.c_proj")
            u = self.conv(self.norm(x, p + "ln_2"), p + "mlp.c_fc")
            u = 0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u ** 3)))
            x = x + self.conv(u, p + "mlp.c_proj")
        return self.norm(x, "ln_f") @ w["wte.weight"].T

    def loss(self, ids):
        return next_token_loss(self.forward(ids), ids)


class Llama:
    def __init__(self, weights, c):
        self.w, self.c = {k: v.astype(np.float64) for k, v in weights.items()}, c

    def norm(self, x, name):
        return (x / np.sqrt((x ** 2).mean(-1, keepdims=True) + self.c["eps"]) *
                self.w[name + ".weight"])

    def frequencies(self):
        c, hd = self.c, self.c["head_dim"]
        out = []
        for m in range(hd // 2):
            f = float(c["rope_theta"]) ** (-2 * m / hd)
            if c["rope_factor"] > 1:
                length = 2 * math.pi / f
                if length > c["rope_orig"] / c["rope_low"]:
                    f = f / c["rope_factor"]
                elif not length < c["rope_orig"] / c["rope_high"]:
                    s = ((c["rope_orig"] / length - c["rope_low"]) /
                         (c["rope_high"] - c["rope_low"]))
                    f = (1 - s) * f / c["rope_factor"] + s * f
            out.append(f)
        return np.array(out)

    def rotate(self, u, first):
        half = u.shape[-1] // 2
        angle = (np.arange(len(u)) + first)[:, None] * self.frequencies()
        cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        lo, hi = u[..., :half], u[..., half:]
        return np.concatenate([lo * cos - hi * sin, hi * cos + lo * sin], -1)

    def forward(self, ids, first=0):
        """`first` is the position of the first token: the result does not depend on it, but for
        rounding (scores depend on differences of positions alone)."""
        c, w, n = self.c, self.w, len(ids)
        heads, groups, hd = c["heads"], c["kv_heads"], c["head_dim"]
        causal = np.tril(np.ones((n, n), bool))
        x = w["model.embed_tokens.weight"][ids]
        for i in range(c["layers"]):
            p = f"model.layers.{i}."
            y = self.norm(x, p + "input_layernorm")
            q = self.rotate((y @ w[p + "self_attn.q_proj.weight"].T).reshape(n, heads, hd), first)
            k = self.rotate((y @ w[p + "self_attn.k_proj.weight"].T).reshape(n, groups, hd), first)
            v = (y @ w[p + "self_attn.v_proj.weight"].T).reshape(n, groups, hd)
            k, v = (np.repeat(t, heads // groups, axis=1) for t in (k, v))
            a = softmax(np.einsum("ihe,jhe->hij", q, k) / math.sqrt(hd), causal)
            o = np.einsum("hij,jhe->ihe", a, v).reshape(n, heads * hd)
            x = x + o @ w[p + "self_attn.o_proj.weight"].T
            z = self.norm(x, p + "post_attention_layernorm")
            g = z @ w[p + "mlp.gate_proj.weight"].T
            x = x + (g / (1 + np.exp(-g)) * (z @ w[p + "mlp.up_proj.weight"].T)
                     ) @ w[p + "mlp.down_proj.weight"].T
        head = w["model.embed_tokens.weight" if c["tie"] else "lm_head.weight"]
        return self.norm(x, "model.norm") @ head.T

    def loss(self, ids):
        return next_token_loss(self.forward(ids), ids)
