"""Wrong losses and relaxed samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import Attributes
from refar.mistakes.elementwise_mistakes import sigmoid, softmax
from refar.mistakes.on_arrays import Mistake, gradient_of, result_of

Nats = Callable[[Arrays, Attributes], Array]


def _nats(f: Nats) -> Mistake:
    return lambda arrays, a: {"nats": f(arrays, a)}


def _dy(f: Nats) -> Mistake:
    return lambda arrays, a: {"gradient.y": f(arrays, a)} if "dnats" in arrays else {}


def _log_softmax(y: Array, axis: int = 1) -> Array:
    return y - np.log(np.exp(y).sum(axis, keepdims=True))


def _picked(table: Array, x: Array) -> Array:
    return np.take_along_axis(table, x[:, None], axis=1)[:, 0]


def _cross_entropy(arrays: Arrays, _: Attributes) -> Array:
    y = arrays["y"]
    return -_picked(y - y.max(1, keepdims=True) - np.log(np.exp(y - y.max(1, keepdims=True)).sum(1, keepdims=True)), arrays["x"])


def _target(arrays: Arrays) -> Array:
    return (np.arange(arrays["y"].shape[1])[:, None] == arrays["x"][:, None]) * 1.0


CROSS_ENTROPIES: Mapping[str, Mistake] = {
    "averaged over the positions": _nats(lambda arrays, a: _cross_entropy(arrays, a).mean(axis=1)),
    "one number for the whole batch": _nats(lambda arrays, a: _cross_entropy(arrays, a).mean()),
    "sign missing: log-likelihood": _nats(lambda arrays, a: -_cross_entropy(arrays, a)),
    "bits instead of nats": _nats(lambda arrays, a: _cross_entropy(arrays, a) / np.log(2)),
    "softmax over the positions": _nats(lambda arrays, _: -_picked(_log_softmax(arrays["y"], -1), arrays["x"])),
    "softmax taken twice": _nats(lambda arrays, _: -_picked(_log_softmax(softmax(arrays["y"])), arrays["x"])),
    "logits taken for log-probabilities": _nats(lambda arrays, _: -_picked(arrays["y"], arrays["x"])),
    "probability instead of its logarithm": _nats(lambda arrays, _: -_picked(softmax(arrays["y"]), arrays["x"])),
    "targets one position late": _nats(lambda arrays, a: _cross_entropy({**arrays, "x": np.roll(arrays["x"], 1, axis=1)}, a)),
    "targets one position early": _nats(lambda arrays, a: _cross_entropy({**arrays, "x": np.roll(arrays["x"], -1, axis=1)}, a)),
    "overflows: the largest is not subtracted": _nats(lambda arrays, _: -_picked(_log_softmax(arrays["y"]), arrays["x"])),
    "underflows: logarithm of a softmax": _nats(lambda arrays, _: -_picked(np.log(softmax(arrays["y"])), arrays["x"])),
    "1e-8 added inside the logarithm": _nats(lambda arrays, _: -np.log(_picked(softmax(arrays["y"]), arrays["x"]) + 1e-8)),
    "probability floored by 1e-7": _nats(lambda arrays, _: -np.log(_picked(softmax(arrays["y"]), arrays["x"]) + 1e-7)),
    "gradient of y: target not subtracted": _dy(lambda arrays, _: arrays["dnats"][:, None] * softmax(arrays["y"])),
    "gradient of y: averaged over the positions": _dy(
        lambda arrays, _: arrays["dnats"][:, None] * (softmax(arrays["y"]) - _target(arrays)) / arrays["x"].shape[1]
    ),
}


def _squares(arrays: Arrays) -> Array:
    return ((arrays["x"] - arrays["y"]) ** 2).sum(1)


def _gaussian(arrays: Arrays, std: float, constant: float = 1.0) -> Array:
    return _squares(arrays) / (2 * std**2) + constant * arrays["x"].shape[1] * np.log(std * np.sqrt(2 * np.pi))


GAUSSIANS: Mapping[str, Mistake] = {
    "normalising constant left out": _nats(lambda arrays, a: _gaussian(arrays, a["std"], 0)),
    "constant of one channel": _nats(lambda arrays, a: _gaussian(arrays, a["std"], 1 / arrays["x"].shape[1])),
    "std taken for the variance": _nats(lambda arrays, a: _gaussian(arrays, float(np.sqrt(a["std"])))),
    "half left out": _nats(lambda arrays, a: _gaussian(arrays, a["std"]) + _squares(arrays) / (2 * a["std"] ** 2)),
    "averaged over the channels": _nats(lambda arrays, a: _gaussian(arrays, a["std"]) / arrays["x"].shape[1]),
    "squared error": _nats(lambda arrays, _: _squares(arrays)),
    "gradient of y: wrong sign": _dy(lambda arrays, a: arrays["dnats"][:, None] * (arrays["x"] - arrays["y"]) / a["std"] ** 2),
    "gradient of y: not divided by the variance": _dy(lambda arrays, _: arrays["dnats"][:, None] * (arrays["y"] - arrays["x"])),
}


def _mixture(arrays: Arrays, a: Attributes, **wrong: Any) -> Array:
    """By its definition, with one thing changed."""
    logits, means, log_scales = wrong.get("split", lambda y: np.split(y, 3, axis=1))(arrays["y"])
    q, classes = arrays["x"][:, None], a["classes"]
    centre, half = wrong.get("class_", lambda q, n: (2 * q / (n - 1) - 1, 1 / (n - 1)))(q, classes)
    scale = wrong.get("scale", np.exp)(log_scales)
    upper, lower = sigmoid((centre + half - means) / scale), sigmoid((centre - half - means) / scale)
    if wrong.get("edges", True):
        first, last = wrong.get("outer", lambda v: (q == 0, q == classes - 1))(centre)
        upper, lower = np.where(last, 1, upper), np.where(first, 0, lower)
    mass = np.maximum(upper - lower, wrong.get("floor", 0))
    if "density" in wrong:  # where the mass is less than this, the density at the centre takes its place
        slope = sigmoid((centre - means) / scale) * sigmoid((means - centre) / scale) / scale
        mass = np.where(upper - lower > wrong["density"], mass, slope * 2 * half)
    return np.asarray(-np.log((wrong.get("weights", softmax)(logits) * mass).sum(1)))


def _by_component(y: Array) -> list[Array]:
    """Parameter j of component k in channel 3k + j."""
    return [y[:, j::3] for j in range(3)]


MIXTURES: Mapping[str, Mistake] = {
    "outer classes do not reach to infinity": _nats(lambda arrays, a: _mixture(arrays, a, edges=False)),
    "difference of two values of F in a tail": _nats(lambda arrays, a: _mixture(arrays, a)),
    "mass floored by 1e-12": _nats(lambda arrays, a: _mixture(arrays, a, floor=1e-12)),
    "below a mass of 1e-5 the density at the centre (PixelCNN++)": _nats(
        lambda arrays, a: _mixture(arrays, a, density=1e-5, floor=1e-12)
    ),
    "outer classes by |v| > 0.999 (PixelCNN++)": _nats(
        lambda arrays, a: _mixture(arrays, a, outer=lambda v: (v < -0.999, v > 0.999))
    ),
    "log-scale taken for the scale": _nats(lambda arrays, a: _mixture(arrays, a, scale=np.abs)),
    "scale inverted": _nats(lambda arrays, a: _mixture(arrays, a, scale=lambda s: np.exp(-s))),
    "scale floored by exp(-2)": _nats(lambda arrays, a: _mixture(arrays, a, scale=lambda s: np.exp(np.maximum(s, -2)))),
    "weights not normalised": _nats(lambda arrays, a: _mixture(arrays, a, weights=np.exp)),
    "centres of Q equal classes": _nats(lambda arrays, a: _mixture(arrays, a, class_=lambda q, n: ((2 * q + 1) / n - 1, 1 / n))),
    "half-width 1/Q": _nats(lambda arrays, a: _mixture(arrays, a, class_=lambda q, n: (2 * q / (n - 1) - 1, 1 / n))),
    "half-width doubled": _nats(lambda arrays, a: _mixture(arrays, a, class_=lambda q, n: (2 * q / (n - 1) - 1, 2 / (n - 1)))),
    "256 classes whatever Q": _nats(lambda arrays, a: _mixture(arrays, a, class_=lambda q, _: (2 * q / 255 - 1, 1 / 255))),
    "parameters of a component side by side": _nats(lambda arrays, a: _mixture(arrays, a, split=_by_component)),
    "means before logits": _nats(
        lambda arrays, a: _mixture(arrays, a, split=lambda y: [np.split(y, 3, 1)[n] for n in (1, 0, 2)])
    ),
    "log-scales before means": _nats(
        lambda arrays, a: _mixture(arrays, a, split=lambda y: [np.split(y, 3, 1)[n] for n in (0, 2, 1)])
    ),
}

LOG_SOFTMAXES: Mapping[str, Mistake] = {
    "over the last axis instead of the channels": result_of(lambda arrays, _: _log_softmax(arrays["x"], -1)),
    "softmax without the logarithm": result_of(lambda arrays, _: softmax(arrays["x"])),
    "underflows: logarithm of a softmax": result_of(lambda arrays, _: np.log(softmax(arrays["x"]))),
    "1e-8 added inside the logarithm": result_of(lambda arrays, _: np.log(softmax(arrays["x"]) + 1e-8)),
    "base 2": result_of(lambda arrays, _: _log_softmax(arrays["x"]) / np.log(2)),
    "gradient of x: that of a softmax": gradient_of(
        "x", lambda a, _: softmax(a["x"]) * (a["dy"] - (a["dy"] * softmax(a["x"])).sum(1, keepdims=True))
    ),
}


def _relaxed(of: Callable[[Array, Array, float], Array]) -> Mistake:
    def y(arrays: Arrays, a: Attributes) -> Array:
        soft = of(arrays["logits"], arrays["noise"], a["temperature"])
        return (soft == soft.max(1, keepdims=True)) * 1.0 if a["hard"] else soft

    return result_of(y)


def _relaxed_gradient(arrays: Arrays, temperature: float, dy: Array) -> Array:
    s = softmax((arrays["logits"] + arrays["noise"]) / temperature)
    return s * (dy - (s * dy).sum(1, keepdims=True))


def _dlogits(f: Nats) -> Mistake:
    return lambda arrays, a: {"gradient.logits": f(arrays, a)} if "dy" in arrays else {}


GUMBELS: Mapping[str, Mistake] = {
    "temperature divides the logits alone": _relaxed(lambda y, n, t: softmax(y / t + n)),
    "temperature multiplies": _relaxed(lambda y, n, t: softmax((y + n) * t)),
    "temperature ignored": _relaxed(lambda y, n, t: softmax(y + n)),
    "noise subtracted": _relaxed(lambda y, n, t: softmax((y - n) / t)),
    "noise ignored": _relaxed(lambda y, n, t: softmax(y / t)),
    "over the positions": _relaxed(lambda y, n, t: softmax((y + n) / t, -1)),
    "hard ignored": result_of(lambda arrays, a: softmax((arrays["logits"] + arrays["noise"]) / a["temperature"])),
    "gradient: not divided by the temperature": _dlogits(lambda a, at: _relaxed_gradient(a, at["temperature"], a["dy"])),
    "gradient: of a hard sample passed on as it is": _dlogits(
        lambda a, at: a["dy"] if at["hard"] else _relaxed_gradient(a, at["temperature"], a["dy"]) / at["temperature"]
    ),
}
