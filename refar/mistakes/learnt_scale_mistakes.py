"""Wrong losses and samples of Gaussians whose scale is learnt, one and in a mixture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import Attributes
from refar.mistakes.elementwise_mistakes import softmax
from refar.mistakes.on_arrays import Mistake

Parts = tuple[Array, Array, Array]
"""Logits, means and log-scales of every component and channel, (B, K, C, …); logits of 0 where there is no mixture."""


def _parts(y: Array, a: Attributes, channels: int) -> Parts:
    """As they are defined: parameter k of channel c in channel k·C + c."""
    each = y.reshape(len(y), -1, channels, *y.shape[2:])
    if "components" not in a:
        return np.zeros_like(each[:, :1]), each[:, :1], each[:, 1:]
    k = a["components"]
    return each[:, :k], each[:, k : 2 * k], each[:, 2 * k :]


def _side_by_side(y: Array, a: Attributes, channels: int) -> Parts:
    """All parameters of channel 0, then those of channel 1."""
    each = np.moveaxis(y.reshape(len(y), channels, -1, *y.shape[2:]), 1, 2)
    return _parts(each.reshape(y.shape), a, channels)


def _by_component(y: Array, a: Attributes, channels: int) -> Parts:
    """Logit, mean and log-scale of component 0, then those of component 1."""
    each = y.reshape(len(y), -1, 3, channels, *y.shape[2:])
    return each[:, :, 0], each[:, :, 1], each[:, :, 2]


def _in_order(*order: int) -> Callable[[Array, Attributes, int], Parts]:
    def parts(y: Array, a: Attributes, channels: int) -> Parts:
        found = _parts(y, a, channels)
        return found[order[0]], found[order[1]], found[order[2]]

    return parts


def _floored(log_scales: Array, floor: float) -> Array:
    return np.maximum(log_scales, floor)


def _log_density(arrays: Arrays, a: Attributes, **wrong: Any) -> tuple[Array, Array]:
    """Log-weights and log-densities of the components, (B, K, C, T), with one thing changed."""
    x = arrays["x"]
    logits, means, log_scales = wrong.get("parts", _parts)(arrays["y"], a, x.shape[1])
    log_std = wrong.get("floored", _floored)(log_scales, a["floor"])
    std = wrong.get("std", np.exp)(log_std)
    squares = (x[:, None] - means) ** 2 / (wrong.get("half", 2) * wrong.get("variance", np.square)(std))
    constant = wrong.get("constant", np.log(2 * np.pi) / 2)
    weights = wrong.get("log_weights", lambda v: np.log(softmax(v)))(logits)
    return weights, -squares - wrong.get("share", 1) * np.log(std) - constant


def _gaussian(arrays: Arrays, a: Attributes, **wrong: Any) -> Array:
    return np.asarray(-_log_density(arrays, a, **wrong)[1][:, 0].sum(axis=1))


def _mixture(arrays: Arrays, a: Attributes, **wrong: Any) -> Array:
    return np.asarray(-np.logaddexp.reduce(_joint(arrays, a, **wrong), axis=1).sum(axis=1))


def _joint(arrays: Arrays, a: Attributes, **wrong: Any) -> Array:
    weights, densities = _log_density(arrays, a, **wrong)
    return weights + densities


def _nats(of: Callable[..., Array], **wrong: Any) -> Mistake:
    return lambda arrays, a: {"nats": of(arrays, a, **wrong)}


def _gradient(change: Callable[[Parts, Array, Array, Attributes], tuple[Array, Array]], weights: bool = False) -> Mistake:
    """Make the mistake that `change` makes of the right gradients by means and log-scales: (parts, z, σ, attributes) → the two.

    With `weights` the components count by their weights and not by their responsibilities.
    """

    def dy(arrays: Arrays, a: Attributes) -> Arrays:
        if "dnats" not in arrays:
            return {}
        x, y = arrays["x"], arrays["y"]
        parts = _parts(y, a, x.shape[1])
        joint = _log_density(arrays, a)[0] + (0 if weights else _log_density(arrays, a)[1])
        share = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
        std = np.exp(_floored(parts[2], a["floor"]))
        means, log_scales = change(parts, (x[:, None] - parts[1]) / std, std, a)
        dlogits = [softmax(parts[0]) - share] if "components" in a else []
        each = np.concatenate([*dlogits, share * means, share * log_scales], axis=1)
        return {"gradient.y": arrays["dnats"][:, None] * each.reshape(y.shape)}

    return dy


def _free(parts: Parts, a: Attributes) -> Array:
    return parts[2] >= a["floor"]


_OF_BOTH: dict[str, dict[str, Any]] = {
    "log-variance taken for the log-scale, or the reverse": {"std": lambda s: np.exp(s / 2)},
    "log-scale taken for the scale": {"std": np.abs},
    "softplus in place of exp": {"std": lambda s: np.logaddexp(0, s)},
    "scale in place of the variance": {"variance": np.abs},
    "half left out": {"half": 1},
    "log of the scale left out": {"share": 0},
    "normalising constant left out": {"constant": 0.0},
    "floor ignored": {"floored": lambda s, floor: s},
    "floor added to the scale": {"floored": lambda s, floor: np.logaddexp(s, floor)},
    "log-scales before means": {"parts": _in_order(0, 2, 1)},
    "parameters of a channel side by side": {"parts": _side_by_side},
}

_GRADIENTS: dict[str, Mistake] = {
    "gradient of y: passed to a log-scale below the floor": _gradient(lambda p, z, s, a: (-z / s, 1 - z**2)),
    "gradient of y: the floor stops that of the mean too": _gradient(
        lambda p, z, s, a: (-z / s * _free(p, a), (1 - z**2) * _free(p, a))
    ),
    "gradient of y: that of the mean not divided by the variance": _gradient(
        lambda p, z, s, a: (-z * s, (1 - z**2) * _free(p, a))
    ),
    "gradient of y: log of the scale left out": _gradient(lambda p, z, s, a: (-z / s, -(z**2) * _free(p, a))),
    "gradient of y: by the scale, not its logarithm": _gradient(lambda p, z, s, a: (-z / s, (1 - z**2) / s * _free(p, a))),
}

LEARNT_GAUSSIANS: Mapping[str, Mistake] = {
    **{name: _nats(_gaussian, **wrong) for name, wrong in _OF_BOTH.items()},
    "averaged over the channels": lambda arrays, a: {"nats": _gaussian(arrays, a) / arrays["x"].shape[1]},
    **_GRADIENTS,
}


def _of_all_channels(arrays: Arrays, a: Attributes) -> Arrays:
    return {"nats": -np.logaddexp.reduce(_joint(arrays, a).sum(axis=2), axis=1)}


def _outside(arrays: Arrays, a: Attributes) -> Arrays:
    weights, densities = _log_density(arrays, a)
    return {"nats": -(np.exp(weights) * densities).sum(axis=(1, 2))}


def _by_density(floor: float) -> Mistake:
    return lambda arrays, a: {"nats": -np.log(np.exp(_joint(arrays, a)).sum(axis=1) + floor).sum(axis=1)}


MIXTURES: Mapping[str, Mistake] = {
    **{name: _nats(_mixture, **wrong) for name, wrong in _OF_BOTH.items()},
    "weights not normalised": _nats(_mixture, log_weights=lambda v: v),
    "means before logits": _nats(_mixture, parts=_in_order(1, 0, 2)),
    "parameters of a component side by side": _nats(_mixture, parts=_by_component),
    "one component for all channels": _of_all_channels,
    "logarithm inside the sum over components": _outside,
    "heaviest component alone": lambda arrays, a: {"nats": -_joint(arrays, a).max(axis=1).sum(axis=1)},
    "underflows: logarithm of a sum of densities": _by_density(0.0),
    "density floored by 1e-12": _by_density(1e-12),
    **_GRADIENTS,
    "gradient of y: by weights, not responsibilities": _gradient(
        lambda p, z, s, a: (-z / s, (1 - z**2) * _free(p, a)), weights=True
    ),
}


def _drawn(arrays: Arrays, a: Attributes, **wrong: Any) -> Arrays:
    """x_bc with one thing changed."""
    channels, t = arrays["noise"].shape[1] // (a.get("components", 0) + 1), a["temperature"]
    logits, means, log_scales = wrong.get("parts", _parts)(arrays["y"], a, channels)
    gumbels, normals = np.split(wrong.get("noise", lambda n: n)(arrays["noise"]), [a.get("components", 0) * channels], axis=1)
    scores = logits if t == 0 else logits / t + wrong.get("gumbel", 1) * gumbels.reshape(logits.shape) if gumbels.size else logits
    best = wrong.get("choose", lambda v: np.argmax(v, axis=1)[:, None])(scores)
    mean, log_scale = (np.take_along_axis(each, best, axis=1)[:, 0] for each in (means, log_scales))
    std = wrong.get("std", np.exp)(wrong.get("floored", _floored)(log_scale, a["floor"]))
    if "mean" in wrong:
        mean = wrong["mean"](logits, means)
    return {"x": wrong.get("tempered_mean", lambda m, t: m)(mean, t) + wrong.get("tempered", lambda t: t)(t) * std * normals}


def _sampled(**wrong: Any) -> Mistake:
    return lambda arrays, a: _drawn(arrays, a, **wrong)


_DRAWS_OF_BOTH: dict[str, Mistake] = {
    "log-variance taken for the log-scale, or the reverse": _sampled(std=lambda s: np.exp(s / 2)),
    "log-scale taken for the scale": _sampled(std=np.abs),
    "scale squared": _sampled(std=lambda s: np.exp(2 * s)),
    "floor ignored": _sampled(floored=lambda s, floor: s),
    "temperature ignored in the scale": _sampled(tempered=lambda t: float(t > 0)),
    "temperature under a root": _sampled(tempered=np.sqrt),
    "temperature on the mean too": _sampled(tempered_mean=lambda m, t: t * m),
    "log-scales before means": _sampled(parts=_in_order(0, 2, 1)),
    "parameters of a channel side by side": _sampled(parts=_side_by_side),
}

LEARNT_GAUSSIAN_SAMPLES: Mapping[str, Mistake] = {**_DRAWS_OF_BOTH, "noise ignored": _sampled(tempered=lambda t: 0.0)}

MIXTURE_SAMPLES: Mapping[str, Mistake] = {
    **_DRAWS_OF_BOTH,
    "noise of the components ignored": _sampled(gumbel=0),
    "noise of the value first": _sampled(noise=lambda n: np.roll(n, -1, axis=1)),
    "means before logits": _sampled(parts=_in_order(1, 0, 2)),
    "parameters of a component side by side": _sampled(parts=_by_component),
    "one component for all channels": _sampled(
        choose=lambda v: np.repeat(np.argmax(v.sum(axis=2), axis=1)[:, None, None], v.shape[2], axis=2)
    ),
    "mean of the mixture in place of a component's": _sampled(mean=lambda logits, means: (softmax(logits) * means).sum(axis=1)),
}
