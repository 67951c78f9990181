"""MambaOut: gated CNN blocks, every convolution pixel by pixel."""
from common import *

DEFAULTS = dict(classes=10, in_ch=3, dim0=8, dim1=12, dim2=16, dim3=20, n0=1, n1=1, n2=2, n3=1, kernel=7, ratio_num=8,
                ratio_den=3, conv_num=1, conv_den=1, mlp_ratio=4, eps=1e-6)
CONFIGS = [
    dict(classes=3, in_ch=2, dim0=4, dim1=5, dim2=3, dim3=6, n0=2, n1=1, n2=1, n3=1, kernel=3, ratio_num=7, ratio_den=2,
         conv_num=3, conv_den=4, mlp_ratio=2),
    {},
    dict(classes=1, in_ch=1, dim0=2, dim1=1, dim2=1, dim3=1, n1=0, n2=1, kernel=1, ratio_num=1, ratio_den=1, mlp_ratio=1),
    dict(dim0=8, dim1=8, dim2=8, dim3=8, conv_num=27, conv_den=10),  # 21 of 21 channels at this width
    dict(kernel=5, ratio_num=1, ratio_den=1, n2=1, mlp_ratio=1, eps=1e-3),
]


def dims(c):
    return [(c[f"dim{i}"], c["ratio_num"] * c[f"dim{i}"] // c["ratio_den"],
             c["conv_num"] * c[f"dim{i}"] // c["conv_den"], c[f"n{i}"]) for i in range(4)]


def conv_weights(rng, name, o, i, k):
    return {name + ".weight": rng.normal(size=(o, i, k, k)) / np.sqrt(i * k * k), name + ".bias": 0.3 * rng.normal(size=o)}


def weights(rng, c):
    w, before = {}, c["in_ch"]
    for i, (d, h, cc, n) in enumerate(dims(c)):
        p = f"downsample_layers.{i}."
        if i == 0:
            w |= conv_weights(rng, p + "conv1", d // 2, before, 3) | norm_weights(rng, p + "norm1", d // 2)
            w |= conv_weights(rng, p + "conv2", d, d // 2, 3) | norm_weights(rng, p + "norm2", d)
        else:
            w |= conv_weights(rng, p + "conv", d, before, 3) | norm_weights(rng, p + "norm", d)
        before = d
        for j in range(n):
            p = f"stages.{i}.{j}."
            w |= norm_weights(rng, p + "norm", d) | linear_weights(rng, p + "fc1", 2 * h, d)
            w |= conv_weights(rng, p + "conv", cc, 1, c["kernel"]) | linear_weights(rng, p + "fc2", d, h)
    m = c["mlp_ratio"] * before
    w |= norm_weights(rng, "norm", before) | linear_weights(rng, "head.fc1", m, before) | norm_weights(rng, "head.norm", m)
    return w | linear_weights(rng, "head.fc2", c["classes"], m)


def conv(x, w, name, stride, groups=1):
    """x [H, W, I]; zeros around."""
    k, b = w[name + ".weight"], w[name + ".bias"]
    half, size = k.shape[2] // 2, k.shape[2]
    padded = np.pad(x, ((half, half), (half, half), (0, 0)))
    rows, cols = (x.shape[0] - 1) // stride + 1, (x.shape[1] - 1) // stride + 1
    y = np.zeros((rows, cols, len(k)))
    for i in range(rows):
        for j in range(cols):
            part = padded[stride * i:stride * i + size, stride * j:stride * j + size]
            y[i, j] = np.einsum("klc,ckl->c", part, k[:, 0]) if groups > 1 else np.einsum("klc,ockl->o", part, k)
    return y + b


def block(x, w, p, c, d, h, cc):
    u = linear(layer_norm(x, w, p + "norm", c["eps"]), w, p + "fc1")
    g, passed, v = u[..., :h], u[..., h:2 * h - cc], u[..., 2 * h - cc:]
    if cc == 1:
        v = conv(v, w, p + "conv", 1)
    else:
        v = conv(v, w, p + "conv", 1, cc)
    return x + linear(gelu(g) * np.concatenate([passed, v], -1), w, p + "fc2")


def features(image, w, c):
    x = image.transpose(1, 2, 0)
    for i, (d, h, cc, n) in enumerate(dims(c)):
        p = f"downsample_layers.{i}."
        if i == 0:
            x = gelu(layer_norm(conv(x, w, p + "conv1", 2), w, p + "norm1", c["eps"]))
            x = layer_norm(conv(x, w, p + "conv2", 2), w, p + "norm2", c["eps"])
        else:
            x = layer_norm(conv(x, w, p + "conv", 2), w, p + "norm", c["eps"])
        for j in range(n):
            x = block(x, w, f"stages.{i}.{j}.", c, d, h, cc)
    return x


def head(x, w, c):
    p = layer_norm(x, w, "norm", c["eps"])
    return linear(layer_norm(gelu(linear(p, w, "head.fc1")), w, "head.norm", c["eps"]), w, "head.fc2")


def images(t):
    for h, w in (1, 1), (2, 5), (33, 17), (37, 1):
        image = t.normal(t.c["in_ch"], h, w)
        got = t.run(t.call("features", "y", image=image), t.call("forward", "logits", image=image))
        y = features(image, t.w, t.c)
        t.near(f"features {h} {w}", got[0]["y"], y)
        t.near(f"forward {h} {w}", got[1]["logits"], head(y.mean((0, 1)), t.w, t.c))
        t.near(f"forward is the head of the features {h} {w}", got[1]["logits"],
               head(got[0]["y"].astype(float).mean((0, 1)), t.w, t.c))
    t.fails("more channels to convolve than there are", t.call("forward", "", image=t.normal(t.c["in_ch"], 4, 4)),
            says="more channels are convolved", more=["-D", "conv_num=3", "-D", "conv_den=1", "-D", "ratio_num=5", "-D", "ratio_den=2"])
    t.fails("another number of channels", t.call("forward", "", image=t.normal(t.c["in_ch"] + 1, 4, 4)), says="axis 0 must be")


def blocks(t):
    d, h, cc, _ = dims(t.c)[0]
    half = t.c["kernel"] // 2
    for rows, cols in (1, 1), (7, 11), (1, 13):
        x = t.normal(rows, cols, d)
        got = t.one("block", "y", x=x)
        t.near(f"block {rows} {cols}", got, block(x, t.w, "stages.0.0.", t.c, d, h, cc))
    rows, cols = 2 * half + 6, 2 * half + 5
    x, y = t.normal(rows, cols, d), t.normal(rows, cols, d)
    changed = x.copy()
    changed[half + 2, 3] += t.normal(d)
    moved = np.roll(x, (1, 2), (0, 1))
    got = [g["y"] for g in t.run(*[t.call("block", "y", x=v) for v in (x, changed, moved)])]
    near = np.zeros((rows, cols), bool)
    near[2:2 * half + 3, max(3 - half, 0):half + 4] = True
    t.equal("a pixel reaches no farther than the kernel", got[1][~near], got[0][~near])
    t.check("a pixel reaches the kernel's border", np.all(np.any(got[1] != got[0], 2)[near]))
    a, b = slice(half + 1, rows - half), slice(half + 2, cols - half)
    inside = got[0][half:rows - half - 1, half:cols - half - 2]
    t.near("the interior moves along", got[2][a, b], inside, 1e-9 if t.f64 else 1e-5)
    delta = dict(t.w)
    k = np.zeros_like(t.w["stages.0.0.conv.weight"])
    k[:, :, half, half] = 1
    delta["stages.0.0.conv.weight"] = k
    order = t.rng.permutation(rows * cols)
    shuffled = x.reshape(-1, d)[order].reshape(rows, cols, d)
    got = [g["y"] for g in t.run(t.call("block", "y", x=x), t.call("block", "y", x=shuffled), weights=delta)]
    t.near("without neighbours the order of pixels is nothing", got[1].reshape(-1, d), got[0].reshape(-1, d)[order],
           1e-9 if t.f64 else 1e-5)


def check(t):
    images(t)
    blocks(t)
