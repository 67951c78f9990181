"""What the references share: float64 numpy, from the textbook. Time first, Linear weight [out, in]."""
import math
import os

import numpy as np

_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x):
    return np.asarray(_erf(x), np.float64)


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softmax(s, allowed=True, axis=-1):
    """Where `allowed`; a row with nothing allowed is 0."""
    allowed = np.broadcast_to(allowed, s.shape)
    s = np.where(allowed, s, -np.inf)
    top = np.max(s, axis=axis, keepdims=True, initial=-np.inf)
    e = np.where(allowed, np.exp(s - np.where(np.isfinite(top), top, 0)), 0.0)
    total = e.sum(axis, keepdims=True)
    return e / np.where(total > 0, total, 1)


def logsumexp(x, axis=-1):
    top = x.max(axis, keepdims=True)
    return np.squeeze(top + np.log(np.exp(x - top).sum(axis, keepdims=True)), axis)


def linear(x, w, name):
    """With a bias where there is one."""
    y = x @ w[name + ".weight"].T
    return y + w[name + ".bias"] if name + ".bias" in w else y


def layer_norm(x, w, name, eps):
    """Biased variance, eps inside the root."""
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    return y * w[name + ".weight"] + w[name + ".bias"] if name else y


def rms_norm(x, weight, eps):
    return x / np.sqrt((x ** 2).mean(-1, keepdims=True) + eps) * weight


def heads_first(x, heads):
    """[N, d] -> [heads, N, d / heads]"""
    return x.reshape(len(x), heads, x.shape[-1] // heads).transpose(1, 0, 2)


def heads_last(x):
    """[heads, N, e] -> [N, heads * e]"""
    return x.transpose(1, 0, 2).reshape(x.shape[1], x.shape[0] * x.shape[2])


def alibi_slopes(heads):
    """A geometric sequence; for other numbers than powers of two, two of them interleaved."""
    power = 1
    while 2 * power <= heads:
        power *= 2

    def of(n):
        return [2.0 ** (-8 * (h + 1) / n) for h in range(n)]

    return np.array(of(power) + of(2 * power)[::2][:heads - power])


def greedy(forward, tokens, new):
    """The continuation by argmax of the last row of forward(tokens), and how clear the least clear choice was."""
    out, margin = list(tokens), np.inf
    for _ in range(new):
        z = forward(np.array(out))[-1]
        out.append(int(np.argmax(z)))
        margin = min([margin, *(z[out[-1]] - np.delete(z, out[-1]))])
    return np.array(out[len(tokens):], np.int32), margin


# ---- recurrent cells -----------------------------------------------------------------------------
def lstm(x, h, c, w, name, suffix=""):
    """Gates i, f, g, o; new output and cell."""
    z = (w[name + "weight_ih" + suffix] @ x + w[name + "bias_ih" + suffix]
         + w[name + "weight_hh" + suffix] @ h + w[name + "bias_hh" + suffix])
    i, f, g, o = z.reshape(4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x, h, w, name):
    """Gates r, z, n; new output."""
    a = w[name + "weight_ih"] @ x + w[name + "bias_ih"]
    b = w[name + "weight_hh"] @ h + w[name + "bias_hh"]
    (ar, az, an), (br, bz, bn) = a.reshape(3, -1), b.reshape(3, -1)
    z, n = sigmoid(az + bz), np.tanh(an + sigmoid(ar + br) * bn)
    return (1 - z) * n + z * h


# ---- weights -------------------------------------------------------------------------------------
def matrix(rng, *shape, gain=1.0):
    return gain * rng.normal(size=shape) / math.sqrt(max(shape[-1], 1))


def linear_weights(rng, name, o, i, bias=True):
    w = {name + ".weight": matrix(rng, o, i)}
    if bias:
        w[name + ".bias"] = 0.3 * rng.normal(size=o)
    return w


def norm_weights(rng, name, d, bias=True):
    w = {name + ".weight": 1 + 0.3 * rng.normal(size=d)}
    if bias:
        w[name + ".bias"] = 0.3 * rng.normal(size=d)
    return w


def cell_weights(rng, name, gates, h, i, suffix="", gain=1.0):
    o = gates * h
    return {name + "weight_ih" + suffix: matrix(rng, o, i, gain=gain),
            name + "weight_hh" + suffix: matrix(rng, o, h, gain=gain),
            name + "bias_ih" + suffix: 0.3 * rng.normal(size=o),
            name + "bias_hh" + suffix: 0.3 * rng.normal(size=o)}


def lstm_weights(rng, name, h, i, suffix="", gain=1.0):
    return cell_weights(rng, name, 4, h, i, suffix, gain)


def gru_weights(rng, name, h, i, suffix="", gain=1.0):
    return cell_weights(rng, name, 3, h, i, suffix, gain)
