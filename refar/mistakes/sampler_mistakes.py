"""Wrong samplers and wrong noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import Attributes
from refar.mistakes.elementwise_mistakes import softmax
from refar.mistakes.on_arrays import Mistake

Scores = Callable[[Array, Array, float], Array]


def _kept(y: Array, k: int | None) -> Array:
    """Which are among the k largest, of equals the first."""
    order = np.argsort(-y, axis=1, kind="stable")[:, :k]
    kept = np.zeros(y.shape, bool)
    np.put_along_axis(kept, order, True, axis=1)
    return kept


def _with_ties(y: Array, k: int | None) -> Array:
    return y >= np.sort(y, axis=1)[:, -(k or y.shape[1])][:, None]


def _last_kept(y: Array, k: int | None) -> Array:
    return _kept(y[:, ::-1], k)[:, ::-1]


def _draw(scores: Scores, kept: Callable[[Array, int | None], Array] = _kept, last: bool = False) -> Mistake:
    def x(arrays: Arrays, a: Attributes) -> Arrays:
        y, t = arrays["y"], a["temperature"]
        each = np.where(kept(y, a["top_k"]), y if t == 0 else scores(y, arrays["noise"], t), -np.inf)
        return {"x": each.shape[1] - 1 - np.argmax(each[:, ::-1], axis=1) if last else np.argmax(each, axis=1)}

    return x


def _right(y: Array, n: Array, t: float) -> Array:
    return (y - y.max(1, keepdims=True)) / t + n


def _divided_by_zero(arrays: Arrays, a: Attributes) -> Arrays:
    y, t = arrays["y"], np.float64(a["temperature"])
    return (
        {"x": np.argmax(np.where(_kept(y, a["top_k"]), softmax(y / t) + 0 * arrays["noise"], -np.inf), axis=1)} if t == 0 else {}
    )


def _overflowing(arrays: Arrays, a: Attributes) -> Arrays:
    """In float32, logits divided by a tiny temperature are infinite."""
    t = a["temperature"]
    y = arrays["y"] if t == 0 else (arrays["y"].astype(np.float32) / np.float32(t)).astype(np.float64) + arrays["noise"]
    return {"x": np.argmax(np.where(_kept(arrays["y"], a["top_k"]), y, -np.inf), axis=1)}


CATEGORICALS: Mapping[str, Mistake] = {
    "temperature multiplies the logits": _draw(lambda y, n, t: y * t + n),
    "temperature ignored, or it divides the noise too": _draw(lambda y, n, t: y + n),
    "temperature 0 divides by zero": _divided_by_zero,
    "overflows at a small temperature": _overflowing,
    "noise ignored: always the most probable": _draw(lambda y, n, t: y),
    "noise subtracted": _draw(lambda y, n, t: y / t - n),
    "probabilities instead of logits": _draw(lambda y, n, t: softmax(y / t) + n),
    "last of equals": _draw(_right, last=True),
    "top-k keeps more where the k-th is not alone": _draw(_right, _with_ties),
    "top-k keeps the higher classes of equals": _draw(_right, _last_kept),
    "top-k ignored, or taken after the noise": _draw(_right, lambda y, k: np.ones(y.shape, bool)),
    "one class fewer than k": _draw(_right, lambda y, k: _kept(y, max(k - 1, 1) if k else k)),
}


def _cdf(of: Callable[[Array, Array, Array], Array]) -> Mistake:
    return lambda arrays, _: {"x": of(arrays["p"], np.cumsum(arrays["p"], axis=1), arrays["u"][:, None])}


INVERSE_CDFS: Mapping[str, Mistake] = {
    "falls off the end": _cdf(lambda p, c, u: (c <= u).sum(1)),
    "falls to the last class though it has probability 0": _cdf(lambda p, c, u: np.minimum((c <= u).sum(1), p.shape[1] - 1)),
    "≥ for >: picks a class of probability 0 at an edge": _cdf(lambda p, c, u: np.minimum((c < u).sum(1), p.shape[1] - 1)),
    "counted from the last class": _cdf(
        lambda p, c, u: p.shape[1] - 1 - (np.cumsum(p[:, ::-1], axis=1) <= u).sum(1).clip(max=p.shape[1] - 1)
    ),
    "one class too low": _cdf(lambda p, c, u: ((c <= u).sum(1) - 1).clip(min=0)),
    "most probable class": _cdf(lambda p, c, u: p.argmax(1)),
}


def _mixed(change: Callable[[Arrays, Attributes], tuple[Arrays, Attributes]], low: float = 0.5, cut: bool = True) -> Mistake:
    def x(arrays: Arrays, a: Attributes) -> Arrays:
        arrays, a = change(arrays, a)
        t, last = a["temperature"], a["classes"] - 1
        logits, means, log_scales = np.split(arrays["y"], 3, axis=1)
        k = np.argmax(logits if t == 0 else logits / t + a.get("gumbel", 1) * arrays["noise"][:, :-1], axis=1)[:, None]
        scale = a.get("scale", np.exp)(np.take_along_axis(log_scales, k, axis=1))
        v = np.take_along_axis(means, k, axis=1) + a.get("spread", t) * scale * arrays["noise"][:, -1:]
        q = np.floor((v[:, 0] + 1) / 2 * last + low).astype(np.int64)
        return {"x": q.clip(0, last) if cut else q}

    return x


MIXTURES: Mapping[str, Mistake] = {
    "rounded down instead of to the nearest class": _mixed(lambda arrays, a: (arrays, a), low=0.0),
    "not cut to the classes": _mixed(lambda arrays, a: (arrays, a), cut=False),
    "temperature of the component ignored in the scale": _mixed(
        lambda arrays, a: (arrays, {**a, "spread": float(a["temperature"] > 0)})
    ),
    "log-scale taken for the scale": _mixed(lambda arrays, a: (arrays, {**a, "scale": np.abs})),
    "noise of the components ignored": _mixed(lambda arrays, a: (arrays, {**a, "gumbel": 0})),
    "noise of the value first": _mixed(lambda arrays, a: (arrays | {"noise": np.roll(arrays["noise"], -1, axis=1)}, a)),
    "means before logits": _mixed(
        lambda arrays, a: (arrays | {"y": np.concatenate([np.split(arrays["y"], 3, 1)[n] for n in (1, 0, 2)], axis=1)}, a)
    ),
}

GAUSSIANS: Mapping[str, Mistake] = {
    "std taken for the variance": lambda arrays, a: {"x": arrays["y"] + a["temperature"] * a["std"] ** 0.5 * arrays["noise"]},
    "std squared": lambda arrays, a: {"x": arrays["y"] + a["temperature"] * a["std"] ** 2 * arrays["noise"]},
    "temperature ignored": lambda arrays, a: {"x": arrays["y"] + a["std"] * arrays["noise"]},
    "temperature under a root": lambda arrays, a: {"x": arrays["y"] + a["temperature"] ** 0.5 * a["std"] * arrays["noise"]},
    "noise ignored": lambda arrays, _: {"x": arrays["y"]},
}


def _stream(seed: int, stream: int, counter: int, count: int) -> Array:
    words = np.random.Philox(key=np.array([seed, stream], np.uint64), counter=counter).random_raw(count)
    return np.asarray(words, np.uint64)


def _uniform(a: Attributes, by_row: bool = True, low: float = 0.5, bits: int = 52) -> Array:
    blocks = -(-a["size"] // 4) if by_row else 0
    rows = []
    for t in range(a["start"], a["start"] + a["steps"]):
        for s in a["streams"]:
            if by_row:
                words = _stream(a["seed"], s, t * blocks, 4 * blocks)[: a["size"]]
            else:
                words = _stream(a["seed"], s, 0, (t + 1) * a["size"])[-a["size"] :]
            rows.append(((words >> np.uint64(64 - bits)).astype(np.float64) + low) * 2.0**-bits)
    return np.array(rows).reshape(a["steps"], len(a["streams"]), a["size"])


UNIFORMS: Mapping[str, Mistake] = {
    "half a step too low: 0 can occur": lambda _, a: {"u": _uniform(a, low=0.0)},
    "32 bits": lambda _, a: {"u": _uniform(a, bits=32)},
    "words of a step follow those of the last, not whole blocks": lambda _, a: {"u": _uniform(a, by_row=False)},
    "one stream for all rows": lambda _, a: {"u": _uniform({**a, "streams": [a["streams"][0]] * len(a["streams"])})},
    "start ignored": lambda _, a: {"u": _uniform({**a, "start": 0})},
    "one step late": lambda _, a: {"u": _uniform({**a, "start": a["start"] + 1})},
    "axes of step and stream swapped": lambda _, a: {"u": _uniform(a).swapaxes(0, 1)},
}

GUMBEL_NOISES: Mapping[str, Mistake] = {
    "1e-20 added inside the logarithms": lambda arrays, _: {"n": -np.log(-np.log(arrays["u"] + 1e-20) + 1e-20)},
    "1e-7 added inside the logarithms": lambda arrays, _: {"n": -np.log(-np.log(arrays["u"] + 1e-7) + 1e-7)},
    "one logarithm": lambda arrays, _: {"n": -np.log(arrays["u"])},
    "1 - u for u": lambda arrays, _: {"n": -np.log(-np.log1p(-arrays["u"]))},
    "sign wrong": lambda arrays, _: {"n": np.log(-np.log(arrays["u"]))},
}
