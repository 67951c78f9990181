"""Linear attention in context: columns against columns, the flow through traces of whole products."""
import os

from common import *
from harness import Runner

DEFAULTS = dict(d=4, ntrain=10, lr=0.005, dt=0.02)
CONFIGS = [
    dict(d=3, ntrain=7, dt=0.03),
    {},
    dict(d=1, ntrain=1),
    dict(d=9, ntrain=40, dt=0.01),
]


def covariance(rng, d):
    a = rng.normal(size=(d, d)) / np.sqrt(d)
    return a @ a.T + 0.4 * np.eye(d)


def weights(rng, c):
    k = c["d"] + 1
    return {"w_pv": matrix(rng, k, k), "w_kq": matrix(rng, k, k), "lam": covariance(rng, c["d"])}


def attention(x, y, xq, w):  # equations 1 and 2, pair by pair
    E = np.concatenate([np.concatenate([x, y[:, None]], 1), np.append(xq, 0)[None]])
    out = E.copy()
    for q in range(len(E)):
        for j in range(len(E)):
            out[q] += w["w_pv"] @ E[j] * (E[j] @ w["w_kq"] @ E[q]) / max(len(x), 1)
    return out[-1, -1], out.T


def gamma(w, c):  # equation 5
    return (1 + 1 / c["ntrain"]) * w["lam"] + np.trace(w["lam"]) / c["ntrain"] * np.eye(c["d"])


def population(U, u, w, c):  # equation 6
    G, L = gamma(w, c), w["lam"]
    return 0.5 * u ** 2 * np.trace(G @ L @ U @ L @ U.T) - u * np.trace(L @ L @ U.T) + 0.5 * np.trace(L)


def flow(w, c, steps):  # equation 7; changes w
    w["w_pv"], w["w_kq"] = w["w_pv"].copy(), w["w_kq"].copy()
    G, L, d, loss = gamma(w, c), w["lam"], c["d"], []
    for _ in range(steps):
        U, u = w["w_kq"][:d, :d].copy(), w["w_pv"][d, d]
        loss.append(population(U, u, w, c))
        w["w_kq"][:d, :d] += c["dt"] * (-u ** 2 * G @ L @ U @ L + u * L @ L)
        w["w_pv"][d, d] += c["dt"] * -np.trace(u * G @ L @ U @ L @ U.T - L @ L @ U.T)
    return loss


def optimum(w, c):  # equation 8
    d, L = c["d"], w["lam"]
    inv = np.linalg.inv(gamma(w, c))
    scale = np.trace(inv @ inv) ** 0.25
    pv, kq = np.zeros((d + 1, d + 1)), np.zeros((d + 1, d + 1))
    pv[d, d], kq[:d, :d] = scale, inv / scale
    return pv, kq, 0.5 * np.trace(L - L @ L @ inv)


def beginning(rng, c, sigma=0.5):  # equation 9
    d = c["d"]
    theta = rng.normal(size=(d, d))
    theta = theta @ theta.T
    pv, kq = np.zeros((d + 1, d + 1)), np.zeros((d + 1, d + 1))
    pv[d, d], kq[:d, :d] = sigma, sigma * theta / np.linalg.norm(theta)
    return {"w_pv": pv, "w_kq": kq}


def with_weights(t, changes):
    w = {n: v.astype(np.float32).astype(np.float64) for n, v in {**t.w, **changes}.items()}
    path = os.path.join(t.folder, "changed.safetensors")
    t.save(w, path)
    return w, Runner(t.runner.seqm, t.runner.model, [path if o == t.path else o for o in t.runner.options], t.folder)


def predicting(t):
    d = t.c["d"]
    for n in 0, 1, 6, 31:
        x, y, xq = t.normal(n, d), t.normal(n), t.normal(d)
        order = t.rng.permutation(n)
        calls = [t.call("forward", "yhat out", x=x, y=y, xq=xq),
                 t.call("forward", "yhat", x=x[order], y=y[order], xq=xq)]
        calls += [t.call("observe", "", x=row, y=float(label)) for row, label in zip(x, y)]
        calls += [t.call("predict", "yhat", xq=xq), t.call("predict", "yhat", xq=xq), t.call("reset", ""),
                  t.call("predict", "yhat", xq=xq)]
        got = t.run(*calls)
        yhat, out = attention(x, y, xq, t.w)
        t.near(f"prediction {n}", got[0]["yhat"], yhat)
        t.near(f"out {n}", got[0]["out"], out)
        t.near(f"order of examples {n}", got[1]["yhat"], yhat)
        t.near(f"streaming {n}", got[2 + n]["yhat"], yhat)
        t.near(f"again {n}", got[3 + n]["yhat"], yhat)
        t.near(f"after reset {n}", got[5 + n]["yhat"], attention(x[:0], y[:0], xq, t.w)[0])


def best(t):
    c, d = t.c, t.c["d"]
    got = t.run(t.call("optimum", "gamma w_pv w_kq min_loss"), t.call("flow", "w_pv w_kq", steps=0))
    pv, kq, least = optimum(t.w, c)
    t.near("gamma", got[0]["gamma"], gamma(t.w, c))
    t.near("optimal w_pv", got[0]["w_pv"], pv)
    t.near("optimal w_kq", got[0]["w_kq"], kq)
    t.near("least loss", got[0]["min_loss"], least)
    t.near("optimum leaves w_pv", got[1]["w_pv"], t.w["w_pv"])
    t.near("optimum leaves w_kq", got[1]["w_kq"], t.w["w_kq"])
    x, y, xq = t.normal(12, d), t.normal(12), t.normal(d)
    w, runner = with_weights(t, {"w_pv": pv, "w_kq": kq})
    for n in 5, 12:
        yhat = runner.run([t.call("forward", ["yhat"], x=x[:n], y=y[:n], xq=xq)])[0]["yhat"]
        t.near(f"prediction at the optimum {n}", yhat, xq @ np.linalg.solve(gamma(w, c), y[:n] @ x[:n] / n), 1e-5)


def flowing(t):
    c, d, w = t.c, t.c["d"], dict(t.w)
    x, y, xq = t.normal(4, d), t.normal(4), t.normal(d)
    got = t.run(t.call("flow", "loss w_pv w_kq", steps=4), t.call("reset", ""),
                t.call("flow", "loss w_pv w_kq", steps=3), t.call("forward", "yhat", x=x, y=y, xq=xq))
    for k, steps in (0, 4), (2, 3):
        t.near(f"loss of flow {k}", got[k]["loss"], flow(w, c, steps))
        t.near(f"w_pv of flow {k}", got[k]["w_pv"], w["w_pv"])
        t.near(f"w_kq of flow {k}", got[k]["w_kq"], w["w_kq"])
    t.near("prediction after flow", got[3]["yhat"], attention(x, y, xq, w)[0])


def converging(t):
    c, d = t.c, t.c["d"]
    w, runner = with_weights(t, beginning(t.rng, c))
    steps = 600 if t.slow else 6000
    got = runner.run([t.call("flow", ["loss", "w_pv", "w_kq"], steps=steps)])[0]
    loss, U, u = got["loss"].astype(np.float64), got["w_kq"][:d, :d].astype(np.float64), float(got["w_pv"][d, d])
    pv, kq, least = optimum(w, c)
    rises = np.diff(loss).max() / max(1, loss[0])
    t.check("loss never rises", rises <= (1e-12 if t.f64 else 2e-6), f"{rises}")
    before = w["w_pv"][d, d] ** 2 - np.sum(w["w_kq"][:d, :d] ** 2)
    t.near("balance", u ** 2 - np.sum(U ** 2), before, 0.05)
    if steps == 6000 and t.k < 2:
        t.near("loss reaches the least", loss[-1], least, 1e-5)
        t.near("U reaches the best", U, kq[:d, :d], 0.02)
        t.near("u reaches the best", u, pv[d, d], 0.02)


def expected(t):
    """The mean over many prompts is the population's loss."""
    c, d, m = t.c, t.c["d"], 40000
    w, runner = with_weights(t, beginning(t.rng, c))
    U, u = w["w_kq"][:d, :d], w["w_pv"][d, d]
    root = np.linalg.cholesky(w["lam"])
    x, xq = t.rng.normal(size=(m, c["ntrain"], d)) @ root.T, t.rng.normal(size=(m, d)) @ root.T
    task = t.rng.normal(size=(m, d))
    y = np.einsum("bnd,bd->bn", x, task)
    yhat = u * np.einsum("bn,bnd,de,be->b", y, x, U, xq) / c["ntrain"]
    losses = 0.5 * (yhat - (xq * task).sum(1)) ** 2
    b = t.call("forward", ["yhat"], x=x[0], y=y[0], xq=xq[0])
    got = runner.run([b, t.call("flow", ["loss"], steps=1)])
    t.near("prediction of one prompt", got[0]["yhat"], yhat[0])
    error = losses.std() / np.sqrt(m)
    t.check("population loss is the mean over prompts", abs(got[1]["loss"][0] - losses.mean()) < 5 * error,
            f"{got[1]['loss'][0]}, {losses.mean()} +- {error}")


def check(t):
    predicting(t)
    best(t)
    flowing(t)
    converging(t)
    expected(t)
    if t.k == 0:
        t.fails("examples and labels", t.call("forward", "", x=t.normal(3, 3), y=t.normal(2), xq=t.normal(3)),
                says="`y`")
