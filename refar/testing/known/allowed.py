"""How far each number of an operator's result and gradients may be off, in units of u, by the operator's name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import TO_OP, Attributes, arguments, class_count, named_gradients, own_parameters
from refar.rounding import bound, learnt_scale_bounds, loss_bounds
from refar.rounding.bound import EXP, FLOAT32
from refar.rounding.loss_bounds import LOG


def allowed(name: str, attributes: Attributes, arrays: Arrays) -> Arrays:
    """Return {name of an expected array: bound in units of u}; an array that is left out, or a bound of 0, is to be exact."""
    wide = {key: a if a.dtype == np.int64 else a.astype(np.float64) for key, a in arrays.items()}
    return _node(name, attributes, wide) if name in TO_OP else _ALLOWED[name](attributes, wide)


def _node(name: str, attributes: Attributes, arrays: Arrays) -> Arrays:
    op = TO_OP[name](attributes, arrays)
    own, args = own_parameters(arrays), arguments(attributes, arrays)
    found = {"y": bound.forward(op, args, own, class_count(attributes, arrays), FLOAT32) / FLOAT32}
    if "dy" in arrays:
        dargs, dparams = bound.backward(op, args, arrays["dy"], own, FLOAT32)
        each = dparams | ({} if dargs[0] is None else {"0": dargs[0]})
        found |= {key: error / FLOAT32 for key, error in named_gradients(arrays, each).items()}
    return found


def _loss(of: Callable[[Attributes, Array, Array], tuple[Array, Array]]) -> Callable[[Attributes, Arrays], Arrays]:
    """The bounds of a loss, and of its gradient for a d of 1."""

    def allow(a: Attributes, arrays: Arrays) -> Arrays:
        nats, gradient = of(a, arrays["y"], arrays["x"])
        return {"nats": nats, "gradient.y": np.abs(arrays["dnats"])[:, None] * gradient}

    return allow


def _cross_entropy(_: Attributes, arrays: Arrays) -> Arrays:
    y, x, d = arrays["y"], arrays["x"], arrays["dnats"]
    nats = np.take_along_axis(loss_bounds.log_softmax(y), x[:, None], axis=1)[:, 0]
    return {"nats": nats, "gradient.y": loss_bounds.cross_entropy_backward(y, x, d)}


def _log_softmax(_: Attributes, arrays: Arrays) -> Arrays:
    return {
        "y": loss_bounds.log_softmax(arrays["x"]),
        "gradient.x": loss_bounds.log_softmax_backward(arrays["x"], arrays["dy"]),
    }


def _gumbel_softmax(a: Attributes, arrays: Arrays) -> Arrays:
    logits, noise = arrays["logits"], arrays["noise"]
    value, gradient = loss_bounds.gumbel_softmax(logits, noise, a["temperature"], a["hard"], arrays["dy"])
    return {"y": value, "gradient.logits": gradient}


def _mu_law_decode(a: Attributes, arrays: Arrays) -> Arrays:
    """The exponent e = |f|·log Q is off by 6e: the power by EXP + 6e, relative, then -1, /μ and a sign."""
    mu = a["classes"] - 1
    e = np.abs(2 * arrays["q"] / mu - 1) * np.log(a["classes"])
    return {"x": (np.exp(e) * (EXP + 6 * e + 1) + 2 * np.exp(e)) / mu}


def _gaussian_sample(a: Attributes, arrays: Arrays) -> Arrays:
    return {"x": 3 * np.abs(a["temperature"] * a["std"] * arrays["noise"]) + np.abs(arrays["y"])}


def _learnt_sample(a: Attributes, arrays: Arrays) -> Arrays:
    """The scale is off by EXP, and what it multiplies by four roundings."""
    y, noise, t, k = arrays["y"], arrays["noise"], a["temperature"], a.get("components", 1)
    channels = noise.shape[1] // (k + 1 if "components" in a else 1)
    parts = y.reshape(len(y), -1, k, channels)
    scores = np.zeros((len(y), k, channels))
    if "components" in a:
        scores = parts[:, 0] if t == 0 else parts[:, 0] / t + noise[:, :-channels].reshape(scores.shape)
    best = scores.argmax(axis=1)[:, None]
    mean, log_scale = (np.take_along_axis(parts[:, n], best, axis=1)[:, 0] for n in (-2, -1))
    moved = t * np.exp(np.maximum(log_scale, a["floor"])) * noise[:, -channels:]
    return {"x": (EXP + 4) * np.abs(moved) + np.abs(mean)}


def _gumbel_noise(_: Attributes, arrays: Arrays) -> Arrays:
    return {"n": LOG + LOG * np.abs(np.log(-np.log(arrays["u"]))) + 1}


def _nothing(_: Attributes, arrays: Arrays) -> Arrays:
    return {}


_ALLOWED: dict[str, Callable[[Attributes, Arrays], Arrays]] = {
    "log_softmax": _log_softmax,
    "cross_entropy": _cross_entropy,
    "gaussian": _loss(
        lambda a, y, x: (loss_bounds.gaussian(y, x, a["std"]), 6 * np.abs((y - x) / a["std"] ** 2)),
    ),
    "mixture_logistics": _loss(lambda a, y, x: loss_bounds.mixture(a["components"], a["classes"], y, x)),
    "learnt_gaussian": _loss(lambda a, y, x: learnt_scale_bounds.gaussian(a["floor"], y, x)),
    "mixture_gaussians": _loss(lambda a, y, x: learnt_scale_bounds.mixture(a["components"], a["floor"], y, x)),
    "gumbel_softmax": _gumbel_softmax,
    "gumbel_noise": _gumbel_noise,
    "mu_law_decode": _mu_law_decode,
    # a quotient up to 2, rounded, and a difference
    "linear_decode": lambda a, arrays: {"x": 3 * (2 * arrays["q"] + 1) / a["classes"] + 1},
    "sample_gaussian": _gaussian_sample,
    "sample_learnt_gaussian": _learnt_sample,
    "sample_mixture_gaussians": _learnt_sample,
    **dict.fromkeys(
        ("mu_law_encode", "linear_encode", "sample_categorical", "sample_mixture_logistics", "inverse_cdf", "uniform"), _nothing
    ),
}
