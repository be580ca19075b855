"""Which large cases are drawn for each operator: their sizes, where kernels of others have failed, and the arrays of such sizes.

63, 64, 65, 127, 128, 129, 257: one less and one more than the tiles that kernels work in. Convolutions and pools are of small
integers, which every format adds up exactly. Of samplers and encoders no case is near an edge that rounding could cross.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import FUNCTIONS

Sizes = Mapping[str, Any]
"""{axis, count or attribute: value}: how large a case is, and with which attributes."""

_EDGE = 0.1
"""How far numbers stay from the edge of their class, in classes."""


class Floats:
    """Numbers that float32 holds, from one seed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def integers(self, *shape: int) -> Array:
        """Draw from -8 to 8."""
        return self.rng.integers(-8, 9, shape).astype(np.float32)

    def reals(self, *shape: int, scale: float = 1.0) -> Array:
        """Draw uniformly from -scale to scale."""
        return (scale * (2 * self.rng.random(shape) - 1)).astype(np.float32)

    def classes(self, *shape: int, classes: int) -> Array:
        """Draw classes, the first and the last and those beside them among them."""
        x = self.rng.integers(0, classes, shape)
        ends = np.array([0, classes - 1, 1, classes - 2, classes // 2])[: x.size] % classes
        x.reshape(-1)[self.rng.permutation(x.size)[: len(ends)]] = ends
        return x


@dataclass(frozen=True)
class Large:
    """The large cases of one operator: `plain` sizes for what a row of `rows` leaves out, and what makes arrays of all of them.

    `length` is the size that a bare number stands for.
    """

    length: str
    plain: Sizes
    rows: tuple[Sizes, ...]
    arrays: Callable[[Floats, Sizes], Arrays]


def _conv1d(draw: Floats, s: Sizes) -> Arrays:
    arrays = {"x": draw.integers(s["b"], s["i"], s["t"]), "w": draw.integers(s["o"], s["i"] // s["groups"], s["k"])}
    bias = {"b": 1 + np.abs(draw.integers(s["o"]))} if s["bias"] else {}
    return arrays | bias | {"dy": draw.integers(s["b"], s["o"], s["t"])}


def _conv2d(draw: Floats, s: Sizes) -> Arrays:
    arrays = {"x": draw.integers(s["b"], s["i"], s["h"], s["w"]), "w": draw.integers(s["o"], s["i"] // s["groups"], *s["kernel"])}
    bias = {"b": 1 + np.abs(draw.integers(s["o"]))} if s["bias"] else {}
    return arrays | bias | {"dy": draw.integers(s["b"], s["o"], s["h"], s["w"])}


def _over_time(draw: Floats, s: Sizes) -> Arrays:
    return {name: draw.integers(s["b"], s["c"], s["t"]) for name in ("x", "dy")}


def _over_images(draw: Floats, s: Sizes) -> Arrays:
    return {name: draw.integers(s["b"], s["c"], s["h"], s["w"]) for name in ("x", "dy")}


def _gate(draw: Floats, s: Sizes) -> Arrays:
    return {"x": draw.reals(s["b"], 2 * s["c"], s["t"], scale=3), "dy": draw.reals(s["b"], s["c"], s["t"])}


def _real(draw: Floats, s: Sizes) -> Arrays:
    return {name: draw.reals(s["b"], s["c"], s["t"], scale=scale) for name, scale in (("x", 4), ("dy", 1))}


def _of_channels(draw: Floats, s: Sizes) -> Arrays:
    """With numbers of their own for the channels, no two of them near each other."""
    given = {"w": draw.reals(s["c"]) + np.float32(1.5)} | ({"b": draw.reals(s["c"])} if s.get("bias") else {})
    return {"x": draw.reals(s["b"], s["c"], s["t"], scale=4), **given, "dy": draw.reals(s["b"], s["c"], s["t"])}


def _embedding(draw: Floats, s: Sizes) -> Arrays:
    x = draw.classes(s["b"], s["t"], classes=s["q"])
    return {"x": x, "w": draw.integers(s["q"], s["c"]), "dy": draw.integers(s["b"], s["c"], s["t"])}


def _loss(
    parameters: Callable[[Floats, Sizes], Array], values: Callable[[Floats, Sizes], Array]
) -> Callable[[Floats, Sizes], Arrays]:
    def arrays(draw: Floats, s: Sizes) -> Arrays:
        return {"y": parameters(draw, s), "x": values(draw, s), "dnats": draw.reals(s["b"], s["t"])}

    return arrays


def _mixed(draw: Floats, s: Sizes, count: int, *rest: int) -> Array:
    """Logits, means and log-scales of so many components."""
    scaled = (draw.reals(s["b"], count, *rest, scale=scale) for scale in (2, 0.9, 0.5))
    logits, means, log_scales = scaled
    return np.concatenate([logits, means, log_scales - np.float32(1.5)], axis=1)


def _learnt(draw: Floats, s: Sizes, *rest: int) -> Array:
    parts = [draw.reals(s["b"], s["c"], *rest, scale=2), draw.reals(s["b"], s["c"], *rest) - np.float32(0.5)]
    return np.concatenate(parts, axis=1)


def _values(draw: Floats, s: Sizes) -> Array:
    return draw.reals(s["b"], s["c"], s["t"], scale=2)


def _gumbel_softmax(draw: Floats, s: Sizes) -> Arrays:
    shape = s["b"], s["q"], s["t"]
    logits, drawn = draw.reals(*shape, scale=2), draw.reals(*shape, scale=3)
    best = draw.rng.integers(0, s["q"], (s["b"], 1, s["t"]))
    np.put_along_axis(drawn, best, 4, axis=1)  # clearly the largest, for a hard sample
    np.put_along_axis(logits, best, 2.5, axis=1)
    return {"logits": logits, "noise": drawn, "dy": draw.reals(*shape)}


def _encoded(of_class: Callable[[Array, int], Array]) -> Callable[[Floats, Sizes], Arrays]:
    """Numbers inside of classes, the ends, and silence."""

    def arrays(draw: Floats, s: Sizes) -> Arrays:
        drawn = draw.reals(4 * s["b"] * s["t"] + 64)
        place = of_class(drawn.astype(np.float64), s["classes"]) % 1
        kept = drawn[(place > _EDGE) & (place < 1 - _EDGE)][: s["b"] * s["t"]]
        kept[:2] = -1, 1
        return {"x": kept.reshape(s["b"], s["t"])}

    return arrays


def _mu_law_place(x: Array, classes: int) -> Array:
    return np.asarray((np.sign(x) * np.log1p((classes - 1) * np.abs(x)) / np.log(classes) + 1) / 2 * (classes - 1) + 0.5)


def _decoded(draw: Floats, s: Sizes) -> Arrays:
    return {"q": draw.classes(s["b"], s["t"], classes=s["classes"])}


def _categorical(draw: Floats, s: Sizes) -> Arrays:
    """One class is clearly the best, and among the k largest logits."""
    y, drawn = draw.reals(s["b"], s["q"], scale=4), draw.reals(s["b"], s["q"], scale=3)
    best = draw.rng.integers(0, s["q"], (s["b"], 1))
    np.put_along_axis(y, best, 4.5, axis=1)
    np.put_along_axis(drawn, best, 3.25, axis=1)
    return {"y": y, "noise": drawn}


def _mixture_sample(draw: Floats, s: Sizes) -> Arrays:
    """Values inside of classes, of a component that is clearly the best."""
    k, t, last = s["components"], s["temperature"], s["classes"] - 1
    y, drawn = _mixed(draw, s, k), draw.reals(s["b"], k + 1, scale=3)
    best = draw.rng.integers(0, k, (s["b"], 1))
    np.put_along_axis(y, best, 4, axis=1)
    np.put_along_axis(drawn, best, 8, axis=1)
    mean, log_scale = (np.take_along_axis(y[:, n * k : (n + 1) * k], best, axis=1)[:, 0].astype(np.float64) for n in (1, 2))
    place = (mean + t * np.exp(log_scale) * drawn[:, -1] + 1) / 2 * last
    centre = np.rint(place) / last * 2 - 1 - t * np.exp(log_scale) * drawn[:, -1]
    np.put_along_axis(y, best + k, centre.astype(np.float32)[:, None], axis=1)
    return {"y": y, "noise": drawn}


def _mixture_of_gaussians_sample(draw: Floats, s: Sizes) -> Arrays:
    k, c = s["components"], s["c"]
    y, gumbels = _mixed(draw, s, k * c), draw.reals(s["b"], k * c, scale=3)
    best = draw.rng.integers(0, k, (s["b"], c)) * c + np.arange(c)
    np.put_along_axis(y, best, 4, axis=1)
    np.put_along_axis(gumbels, best, 8, axis=1)
    return {"y": y, "noise": np.concatenate([gumbels, draw.reals(s["b"], c, scale=3)], axis=1)}


def _gumbel_noise(draw: Floats, s: Sizes) -> Arrays:
    return {"u": (draw.rng.integers(1, 2**24, (s["b"], s["n"])) / 2**24).astype(np.float32)}


def _inverse_cdf(draw: Floats, s: Sizes) -> Arrays:
    """Probabilities that are multiples of 2^-20, and u between two sums of them: every format adds them up exactly."""
    counts = draw.rng.multinomial(2**20, np.full(s["q"], 1 / s["q"]), s["b"])
    u: Array = (draw.rng.integers(0, 2**20, (s["b"],)) + 0.5) / 2**20
    u[:2] = [0.5 / 2**20, 1 - 0.5 / 2**20][: len(u)]
    return {"p": (counts / 2**20).astype(np.float32), "u": u.astype(np.float32)}


_SIDES = ({"t": 63}, {"t": 64, "c": 33}, {"t": 65}, {"t": 127, "c": 65}, {"t": 128, "b": 33}, {"t": 129}, {"t": 257})
_MANY = ({"c": 65536, "t": 2, "b": 1}, {"c": 257, "t": 65}, {"c": 3, "t": 129, "b": 33})
_NORMED = ({"c": 65, "t": 129}, {"c": 1030, "t": 3}, {"c": 3, "t": 257, "b": 33})
_TIME = {"b": 2, "c": 3, "t": 65}

PLANS: dict[str, Large] = {
    "causal_conv1d": Large(
        "t",
        {"b": 2, "i": 3, "o": 4, "k": 7, "t": 129, "bias": True},
        (
            {"t": 63, "o": 5, "dilation": 2},
            {"b": 1, "i": 48, "o": 6, "k": 3, "t": 64, "strict": True},
            {"i": 4, "o": 66, "k": 5, "t": 65, "groups": 2},
            {"b": 1, "i": 33, "k": 2, "t": 127, "dilation": 64},
            {"b": 33, "i": 2, "o": 3, "k": 9, "t": 128, "dilation": 3},
            {"i": 65, "k": 3, "bias": False},
            {"b": 1, "i": 6, "t": 257, "dilation": 16, "strict": True},
            {"b": 1, "i": 40, "o": 40, "k": 4, "t": 257, "groups": 40},
            {"b": 1, "i": 130, "o": 2, "k": 2, "t": 9},
            {"b": 1, "i": 2, "o": 131, "k": 2, "t": 9},
        ),
        _conv1d,
    ),
    "masked_conv2d": Large(
        "w",
        {"b": 1, "i": 3, "o": 4, "h": 9, "w": 33, "kernel": [3, 3], "bias": True},
        (
            {"o": 5, "h": 33, "w": 65, "kernel": [7, 7], "mask": "B"},
            {"b": 2, "i": 36, "o": 6, "h": 17, "w": 9, "mask": "A", "colours": 3},
            {"i": 2, "o": 66, "w": 31, "kernel": [3, 5], "dilation": [2, 1]},
            {"b": 33, "h": 8, "w": 7, "kernel": [1, 1], "mask": "B", "colours": 3},
            {"i": 10, "o": 8, "h": 64, "w": 16, "mask": "B", "colours": 3, "groups": 2},
            {"i": 65, "h": 5, "w": 129, "kernel": [1, 7], "mask": "A", "bias": False},
        ),
        _conv2d,
    ),
    "causal_pool1d": Large(
        "t",
        {**_TIME, "kind": "max", "kernel": 7, "pad": "zero"},
        (
            {"t": 63, "dilation": 3},
            {"t": 64, "c": 33, "kernel": 2, "kind": "avg"},
            {"t": 65, "kernel": 9, "pad": "exclude"},
            {"t": 129, "b": 33, "kernel": 5, "kind": "avg", "pad": "exclude"},
            {"t": 257, "kernel": 3, "dilation": 64},
            {"t": 257, "kernel": 16, "kind": "avg"},
        ),
        _over_time,
    ),
    "shift1d": Large(
        "t",
        {**_TIME, "steps": 1},
        tuple({**s, "steps": n} for s, n in zip(_SIDES, (1, 2, -1, 64, -65, 128, 200), strict=True)),
        _over_time,
    ),
    "shift2d": Large(
        "w",
        {"b": 2, "c": 3, "h": 9, "w": 65},
        ({"h": 33, "w": 65, "down": 1}, {"h": 129, "w": 8, "down": 64, "right": 1}, {"c": 33, "w": 64, "right": 33}),
        _over_images,
    ),
    "gate": Large("t", _TIME, ({"t": 257}, {"c": 65, "t": 65}, {"b": 33, "t": 64}), _gate),
    "softmax": Large("t", _TIME, _MANY, _real),
    "activation": Large(
        "t",
        {**_TIME, "kind": "relu"},
        tuple({"c": 65, "t": 129, "kind": kind} for kind in ("relu", "leaky_relu", "tanh", "sigmoid")),
        _real,
    ),
    **{name: Large("t", _TIME, ({"c": 65, "t": 129},), _real) for name in FUNCTIONS},
    "layer_norm": Large("t", {**_TIME, "bias": True, "eps": 2.0**-17}, _NORMED, _of_channels),
    "rms_norm": Large("t", {**_TIME, "eps": 2.0**-17}, _NORMED, _of_channels),
    "prelu": Large("t", _TIME, ({"c": 65, "t": 129}, {"c": 3, "t": 257, "b": 33}), _of_channels),
    "one_hot": Large(
        "t",
        {"b": 2, "t": 65, "classes": 256},
        ({"b": 1, "t": 3, "classes": 1025}, {"t": 257}, {"b": 33}),
        lambda draw, s: {"x": draw.classes(s["b"], s["t"], classes=s["classes"])},
    ),
    "embedding": Large("t", {**_TIME, "q": 256}, ({"q": 65536, "t": 33}, {"q": 257, "c": 65, "t": 257}, {"b": 33}), _embedding),
    "standardize": Large(
        "t",
        {"b": 2, "t": 257, "q": 65536, "mean": 128.0, "std": 64.0},
        ({}, {"b": 33, "t": 65, "q": 256}),
        lambda draw, s: {"x": draw.classes(s["b"], s["t"], classes=s["q"])},
    ),
    "positional_encoding": Large(
        "w",
        {"b": 2, "c": 1, "h": 9, "w": 65, "bits": 8},
        ({"h": 257, "w": 65, "bits": 9}, {"h": 33, "w": 300}),
        lambda draw, s: {"x": draw.reals(s["b"], s["c"], s["h"], s["w"])},
    ),
    "log_softmax": Large("t", _TIME, _MANY, _real),
    "cross_entropy": Large(
        "t",
        {"b": 2, "q": 256, "t": 65},
        ({"b": 1, "q": 65536, "t": 3}, {"q": 257, "t": 129}, {"b": 33, "q": 5}),
        _loss(
            lambda draw, s: draw.reals(s["b"], s["q"], s["t"], scale=4),
            lambda draw, s: draw.classes(s["b"], s["t"], classes=s["q"]),
        ),
    ),
    "gaussian": Large("t", _TIME, ({"t": 257}, {"c": 65}, {"b": 33}), _loss(_values, _values)),
    "mixture_logistics": Large(
        "t",
        {"b": 2, "t": 65, "components": 3, "classes": 256},
        ({"t": 129, "classes": 65536}, {"t": 257, "components": 10}, {"components": 33}, {"b": 33, "classes": 1024}),
        _loss(
            lambda draw, s: _mixed(draw, s, s["components"], s["t"]),
            lambda draw, s: draw.classes(s["b"], s["t"], classes=s["classes"]),
        ),
    ),
    "learnt_gaussian": Large(
        "t", _TIME, ({"t": 257}, {"c": 65}, {"b": 33}), _loss(lambda draw, s: _learnt(draw, s, s["t"]), _values)
    ),
    "mixture_gaussians": Large(
        "t",
        {**_TIME, "components": 3},
        ({"t": 257}, {"c": 33, "components": 10}, {"b": 33}),
        _loss(lambda draw, s: _mixed(draw, s, s["components"] * s["c"], s["t"]), _values),
    ),
    "gumbel_softmax": Large(
        "t",
        {"b": 2, "q": 256, "t": 65, "temperature": 1.0},
        ({"q": 65536, "t": 2, "b": 1}, {"t": 129, "temperature": 0.5}, {"hard": True, "q": 257}),
        _gumbel_softmax,
    ),
    "mu_law_encode": Large("t", {"b": 2, "t": 257}, ({}, {"classes": 65536}, {"b": 33, "classes": 10}), _encoded(_mu_law_place)),
    "linear_encode": Large(
        "t",
        {"b": 2, "t": 257},
        ({}, {"classes": 65536}, {"b": 33, "classes": 10}),
        _encoded(lambda x, classes: (x + 1) * classes / 2),
    ),
    "mu_law_decode": Large("t", {"b": 2, "t": 257}, ({}, {"classes": 65536}, {"b": 33, "classes": 10}), _decoded),
    "linear_decode": Large("t", {"b": 2, "t": 257}, ({}, {"classes": 65536}, {"b": 33, "classes": 10}), _decoded),
    "sample_categorical": Large(
        "q", {"b": 3, "q": 257}, ({"q": 65536}, {"b": 65, "temperature": 0.5}, {"q": 1025, "top_k": 50}), _categorical
    ),
    "sample_mixture_logistics": Large(
        "b", {"b": 33, "components": 10, "classes": 256}, ({}, {"b": 129, "components": 33}, {"classes": 65536}), _mixture_sample
    ),
    "sample_gaussian": Large(
        "c",
        {"b": 2, "c": 257},
        ({}, {"b": 65, "c": 3, "std": 0.25}),
        lambda draw, s: {"y": draw.reals(s["b"], s["c"]), "noise": draw.reals(s["b"], s["c"], scale=3)},
    ),
    "sample_learnt_gaussian": Large(
        "c",
        {"b": 2, "c": 257},
        ({}, {"b": 65, "c": 3}),
        lambda draw, s: {"y": _learnt(draw, s), "noise": draw.reals(s["b"], s["c"], scale=3)},
    ),
    "sample_mixture_gaussians": Large(
        "c", {"b": 2, "c": 65, "components": 3}, ({}, {"b": 65, "c": 2, "components": 10}), _mixture_of_gaussians_sample
    ),
    "inverse_cdf": Large("q", {"b": 5, "q": 257}, ({"q": 65536}, {"b": 129}), _inverse_cdf),
    "uniform": Large(
        "size",
        {"seed": 7, "streams": [0, 5], "start": 3, "steps": 2, "size": 257},
        ({}, {"steps": 65, "size": 5}, {"streams": list(range(33))}),
        lambda draw, s: {},
    ),
    "gumbel_noise": Large("n", {"b": 2, "n": 257}, ({}, {"b": 65}), _gumbel_noise),
}
