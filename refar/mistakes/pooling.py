"""Wrong pooling and wrong shifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.mistakes.mistake import Attributes, Mistake
from refar.mistakes.windows import gradient_of, result_of, window

Offset = Callable[[Attributes, int], int]


def _right(a: Attributes, k: int) -> int:
    return k * a["dilation"]


def _windows(x: Array, a: Attributes, offset: Offset = _right) -> tuple[Array, Array]:
    """The values (K, B, C, T), most recent first, and whether they exist (K, 1, 1, T)."""
    there = np.ones((1, 1, x.shape[2]))
    offsets = [offset(a, k) for k in range(a["kernel"])]
    return np.stack([window(x, o) for o in offsets]), np.stack([window(there, o) for o in offsets]) > 0


def _y(arrays: Arrays, a: Attributes, offset: Offset = _right) -> Array:
    values, there = _windows(arrays["x"], a, offset)
    if a["kind"] == "max":
        return np.where(there | (a["pad"] == "zero"), values, -np.inf).max(0)
    return values.sum(0) / (there.sum(0) if a["pad"] == "exclude" else a["kernel"])


def _seen(offset: Offset) -> Mistake:
    return result_of(lambda arrays, a: _y(arrays, a, offset))


def _but(**changed: object) -> Mistake:
    return result_of(lambda arrays, a: _y(arrays, {**a, **changed}))


def _kept(arrays: Arrays, a: Attributes) -> Array:
    """Every K-th output, as if pooling had to shorten."""
    return _y(arrays, a)[..., a["kernel"] - 1 :: a["kernel"]]


def _routed(among: Callable[[Array], Array]) -> Mistake:
    """The gradient of a maximum to the places that `among` picks of those that hold it, (K, B, C, T)."""

    def dx(arrays: Arrays, a: Attributes) -> Array:
        x, dy = arrays["x"], arrays["dy"]
        values, there = _windows(x, a)
        if a["kind"] == "max":
            padded = np.where(there | (a["pad"] == "zero"), values, -np.inf)
            share = among(padded == padded.max(0))
        else:
            share = there / (there.sum(0) if a["pad"] == "exclude" else a["kernel"]) * np.ones(values.shape)
        return np.sum([window(dy * share[k], -k * a["dilation"]) for k in range(a["kernel"])], axis=0)

    return gradient_of("x", dx)


def _into_the_start(arrays: Arrays, a: Attributes) -> Array:
    """The gradient that belongs to the padding goes to the first value."""
    values, there = _windows(arrays["x"], a)
    padded = np.where(there | (a["pad"] == "zero"), values, -np.inf)
    share = _first(padded == padded.max(0)) if a["kind"] == "max" else np.full(values.shape, 1 / a["kernel"])
    if a["kind"] == "avg" and a["pad"] == "exclude":
        share = there / there.sum(0) * np.ones(values.shape)
    parts = [window(arrays["dy"] * share[k], -k * a["dilation"]) for k in range(a["kernel"])]
    lost = np.sum([(arrays["dy"] * share[k] * ~there[k]).sum(-1) for k in range(a["kernel"])], axis=0)
    dx: Array = np.sum(parts, axis=0)
    dx[..., 0] += lost
    return dx


def _first(largest: Array) -> Array:
    return (largest & (np.cumsum(largest, axis=0) == 1)).astype(float)


POOLS: Mapping[str, Mistake] = {
    "dilation ignored": _seen(lambda a, k: k),
    "ring of K places instead of D·(K-1)+1": _seen(lambda a, k: k * a["dilation"] % a["kernel"]),
    "window centred": _seen(lambda a, k: k * a["dilation"] - (a["kernel"] - 1) * a["dilation"] // 2),
    "looks ahead": _seen(lambda a, k: -k * a["dilation"]),
    "shifted by one into the past": _seen(lambda a, k: k * a["dilation"] + 1),
    "window of one more": result_of(lambda arrays, a: _y(arrays, {**a, "kernel": a["kernel"] + 1})),
    "padding left out (-inf in a maximum, not counted in an average)": _but(pad="exclude"),
    "padding of zeros taken in": _but(pad="zero"),
    "maximum for average": _but(kind="max"),
    "average for maximum": _but(kind="avg"),
    "sum for average": result_of(lambda arrays, a: _y(arrays, a) * (a["kernel"] if a["kind"] == "avg" else 1)),
    "strided": result_of(_kept),
    "gradient of x: to the oldest of equal values": _routed(lambda largest: _first(largest[::-1])[::-1]),
    "gradient of x: to all of equal values": _routed(lambda largest: largest.astype(float)),
    "gradient of x: that of the padding goes to the first value": gradient_of("x", _into_the_start),
    "gradient of x: shared by equal values": _routed(lambda largest: largest / largest.sum(0)),
}


def _shift(step: Callable[[int], int], edge: str = "zero") -> Mistake:
    return lambda arrays, a: (
        {"y": window(arrays["x"], step(a["steps"]), edge)}
        | ({"gradient.x": window(arrays["dy"], -step(a["steps"]), edge)} if "dy" in arrays else {})
    )


SHIFTS: Mapping[str, Mistake] = {
    "to the wrong side": _shift(lambda steps: -steps),
    "one step too far": _shift(lambda steps: steps + 1),
    "one step too few": _shift(lambda steps: steps - 1),
    "wraps around": _shift(lambda steps: steps, "wrap"),
    "repeats the value at the edge": _shift(lambda steps: steps, "nearest"),
    "lengthens the sequence": result_of(
        lambda arrays, a: np.pad(arrays["x"], ((0, 0), (0, 0), (max(a["steps"], 0), max(-a["steps"], 0))))
    ),
    "channels shifted instead of time": result_of(
        lambda arrays, a: window(arrays["x"].swapaxes(1, 2), a["steps"]).swapaxes(1, 2)
    ),
    "gradient of x: to the wrong side": gradient_of("x", lambda arrays, a: window(arrays["dy"], a["steps"])),
}


def _plane(x: Array, down: int, right: int, edge: str = "zero") -> Array:
    return window(window(x.swapaxes(2, 3), down, edge).swapaxes(2, 3), right, edge)


SHIFTS_2D: Mapping[str, Mistake] = {
    "down and right swapped": result_of(lambda arrays, a: _plane(arrays["x"], a["right"], a["down"])),
    "to the wrong side": result_of(lambda arrays, a: _plane(arrays["x"], -a["down"], -a["right"])),
    "wraps around": result_of(lambda arrays, a: _plane(arrays["x"], a["down"], a["right"], "wrap")),
    "repeats the pixels at the edge": result_of(lambda arrays, a: _plane(arrays["x"], a["down"], a["right"], "nearest")),
    "down ignored": result_of(lambda arrays, a: _plane(arrays["x"], 0, a["right"])),
    "right ignored": result_of(lambda arrays, a: _plane(arrays["x"], a["down"], 0)),
    "gradient of x: to the wrong side": gradient_of("x", lambda arrays, a: _plane(arrays["dy"], a["down"], a["right"])),
}
