"""Ensemble of one-dimensional CNNs for skeleton-based action recognition."""
from common import *

DEFAULTS = dict(joints=10, frames=16, classes=6, width=8, blocks=2, red=2, bn_eps=1e-5, lr=0.01,
                parts=[[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]])
CONFIGS = [
    dict(joints=4, frames=5, classes=3, width=3, blocks=3, red=4, parts=[[2], [3, 0, 1]], bn_eps=1e-3),
    {},
    dict(joints=1, frames=2, classes=1, width=1, blocks=1, red=100, parts=[[0]]),
    dict(joints=5, frames=13, classes=7, width=5, blocks=4, red=3, parts=[[4, 1], [0, 2], [3, 3, 1]]),
]


def weights(rng, c):
    w, last = {}, c["width"] * 2 ** (c["blocks"] - 1)

    def bn(name, n):
        w.update(norm_weights(rng, name, n))
        w[name + ".running_mean"], w[name + ".running_var"] = 0.3 * rng.normal(size=n), rng.uniform(0.3, 2, size=n)

    def conv(name, o, i, k):
        w[name + ".weight"] = rng.normal(size=(o, i, k)) / math.sqrt(i * k)

    def base(name, channels):
        conv(name + ".stem", c["width"], channels, 3)
        bn(name + ".stem_bn", c["width"])
        before = c["width"]
        for i in range(c["blocks"]):
            p, n = f"{name}.block{i}.", c["width"] * 2 ** i
            conv(p + "conv1", n, before, 3)
            bn(p + "bn1", n)
            conv(p + "conv2", n, n, 3)
            bn(p + "bn2", n)
            if i:
                conv(p + "short", n, before, 1)
                bn(p + "short_bn", n)
            before = n

    base("two_stream.temporal", 3 * c["joints"])
    base("two_stream.spatial", 3 * c["frames"])
    w |= linear_weights(rng, "two_stream.fc", c["classes"], 2 * last)
    for i, part in enumerate(c["parts"]):
        base(f"body_part.part{i}", 3 * len(part))
    w |= linear_weights(rng, "body_part.fc", c["classes"], len(c["parts"]) * last)
    for gate, n in ("channel", 3 * c["joints"]), ("frame", c["frames"]):
        hidden = max(n // c["red"], 1)
        w |= linear_weights(rng, f"attention.{gate}.fc1", hidden, n)
        w |= linear_weights(rng, f"attention.{gate}.fc2", n, hidden)
    base("attention.base", 3 * c["joints"])
    w |= linear_weights(rng, "attention.fc", c["classes"], last)
    base("frame_diff.base", 3 * c["joints"])
    return w | linear_weights(rng, "frame_diff.fc", c["classes"], last)


def resample(x, frames):  # equation 1
    n = len(x)
    if n == 1:
        return np.repeat(x, frames, 0)
    rows = []
    for i in range(frames):
        p = i * (n - 1) / (frames - 1)
        a = min(math.floor(p), n - 2)
        rows.append((1 - (p - a)) * x[a] + (p - a) * x[a + 1])
    return np.stack(rows)


def conv(x, w, name, stride=1):  # equation 3
    kernel, rows = w[name + ".weight"], []
    k = kernel.shape[2]
    for t in range(0, len(x), stride):
        near = [(j, t + j - k // 2) for j in range(k) if 0 <= t + j - k // 2 < len(x)]
        rows.append(sum(kernel[:, :, j] @ x[s] for j, s in near))
    return np.stack(rows)


class Net:
    def __init__(self, w, c):
        self.w, self.c = w, c

    def bn(self, x, name):
        w = self.w
        y = (x - w[name + ".running_mean"]) / np.sqrt(w[name + ".running_var"] + self.c["bn_eps"])
        return y * w[name + ".weight"] + w[name + ".bias"]

    def base(self, x, name):  # equation 4
        x = np.maximum(self.bn(conv(x, self.w, name + ".stem"), name + ".stem_bn"), 0)
        for i in range(self.c["blocks"]):
            p, stride = f"{name}.block{i}.", 2 if i else 1
            y = np.maximum(self.bn(conv(x, self.w, p + "conv1", stride), p + "bn1"), 0)
            y = self.bn(conv(y, self.w, p + "conv2"), p + "bn2")
            short = self.bn(conv(x, self.w, p + "short", stride), p + "short_bn") if i else x
            x = np.maximum(y + short, 0)
        return x.mean(0)

    def gate(self, x, name):
        h = np.maximum(linear(x, self.w, name + ".fc1"), 0)
        return sigmoid(linear(h, self.w, name + ".fc2"))

    def logits(self, x):
        y = resample(x, self.c["frames"])
        flat = y.reshape(len(y), -1)
        spatial = y.transpose(1, 0, 2).reshape(y.shape[1], -1)
        streams = [self.base(flat, "two_stream.temporal"), self.base(spatial, "two_stream.spatial")]
        parts = [self.base(y[:, part].reshape(len(y), -1), f"body_part.part{i}") for i, part in enumerate(self.c["parts"])]
        gates = np.outer(self.gate(flat.mean(1), "attention.frame"), self.gate(flat.mean(0), "attention.channel"))
        return np.stack([linear(np.concatenate(streams), self.w, "two_stream.fc"),
                         linear(np.concatenate(parts), self.w, "body_part.fc"),
                         linear(self.base(flat * gates, "attention.base"), self.w, "attention.fc"),
                         linear(self.base(flat[1:] - flat[:-1], "frame_diff.base"), self.w, "frame_diff.fc")])


def check(t):
    c = t.c
    net = Net(t.w, c)
    frames = c["frames"]
    lengths = [1, 2, 3, frames, frames + 1, 37]
    xs = [t.normal(n, c["joints"], 3) for n in lengths]
    moved = xs[4] + np.array([1.0, -2.0, 0.5])
    swapped = xs[4].copy()
    a, b = c["parts"][-1][0], c["parts"][-1][-1]
    swapped[:, [a, b]] = swapped[:, [b, a]]
    still = np.repeat(xs[0], 5, 0)
    inputs = xs + [moved, xs[4][::-1].copy(), swapped, still]
    got = t.run(*(t.call("forward", "logits prob", x=x) for x in inputs), *(t.call("resample", "y", x=x) for x in xs))
    for k, x in enumerate(inputs):
        want = net.logits(x)
        t.near(f"logits {k}", got[k]["logits"], want)
        t.near(f"prob {k}", got[k]["prob"], softmax(want).mean(0))
        t.near(f"prob sums to 1 {k}", got[k]["prob"].sum(), 1)
    base, shifted, back, other = (got[k]["logits"] for k in (4, 6, 7, 8))
    t.near("frame differences do not see where", shifted[3], base[3])
    if c["classes"] > 1:
        t.check("the others do", np.all(np.abs(shifted - base)[:3].max(1) > 1e-4))
        t.check("time has a direction", np.abs(back - base).max() > 1e-4)
    rest = [p for p in c["parts"][:-1] if a in p or b in p]
    if len(c["parts"]) > 1 and a != b and not rest:  # the part's own features alone
        w = dict(t.w)
        kept = c["width"] * 2 ** (c["blocks"] - 1) * (len(c["parts"]) - 1)
        w["body_part.fc.weight"] = np.where(np.arange(w["body_part.fc.weight"].shape[1]) < kept,
                                            w["body_part.fc.weight"], 0)
        t.save(w, t.path)
        one, two = t.run(t.call("forward", "logits", x=xs[4]), t.call("forward", "logits", x=swapped))
        t.save(t.w, t.path)
        t.near("other parts do not see a part's joints", one["logits"][1], two["logits"][1])
        t.check("the part does", np.abs(other - base)[1].max() > 1e-6)
    for k, x in enumerate(xs):
        t.near(f"resample {len(x)}", got[len(inputs) + k]["y"], resample(x, frames))
    t.equal("as long as frames", got[len(inputs) + 3]["y"], xs[3].astype(t.float))
    t.equal("one frame", got[len(inputs)]["y"], np.repeat(xs[0], frames, 0).astype(t.float))
    t.fails("no frame", t.call("forward", [], x=xs[0][:0]), says="there must be a frame")
    t.fails("other joints", t.call("forward", [], x=t.normal(3, c["joints"] + 1, 3)), says="shape")
