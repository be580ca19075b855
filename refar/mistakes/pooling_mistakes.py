"""Mistakes of pooling and of shifts that no rewrite of the node can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import Attributes
from refar.mistakes.on_arrays import ArrayNode, Mistake, gradient_of, result_of, window

_POOL, _SHIFT, _SHIFT2D = (
    ArrayNode("causal_pool1d", ops.Pool1d),
    ArrayNode("shift1d", ops.Shift),
    ArrayNode("shift2d", ops.Shift2d),
)


def _windows(x: Array, a: Attributes, ring: int = 2**30) -> tuple[Array, Array]:
    """The values (K, B, C, T), most recent first, and whether they exist (K, 1, 1, T); offsets modulo `ring`."""
    offsets = [k * a["dilation"] % ring for k in range(a["kernel"])]
    there = np.ones((1, 1, x.shape[2]))
    return np.stack([window(x, o) for o in offsets]), np.stack([window(there, o) for o in offsets]) > 0


def _ring(arrays: Arrays, a: Attributes) -> Array:
    values, there = _windows(arrays["x"], a, a["kernel"])
    if a["kind"] == "max":
        return np.where(there | (a["pad"] == "zero"), values, -np.inf).max(0)
    return values.sum(0) / (there.sum(0) if a["pad"] == "exclude" else a["kernel"])


def _routed(among: Callable[[Array], Array], into_the_start: bool = False) -> Mistake:
    """The gradient of a maximum to the places that `among` picks of those that hold it, (K, B, C, T).

    With `into_the_start` what belongs to the padding goes to the first value.
    """

    def dx(arrays: Arrays, a: Attributes) -> Array:
        values, there = _windows(arrays["x"], a)
        share = there / there.sum(0) if a["pad"] == "exclude" else np.full(there.shape, 1 / a["kernel"])
        if a["kind"] == "max":
            padded = np.where(there | (a["pad"] == "zero"), values, -np.inf)
            share = among(padded == padded.max(0))
        parts = arrays["dy"] * share
        found: Array = np.sum([window(part, -k * a["dilation"]) for k, part in enumerate(parts)], axis=0)
        if into_the_start:
            found[..., 0] += (parts * ~there).sum((0, -1))
        return found

    return gradient_of("x", dx)


def _first(largest: Array) -> Array:
    return (largest & (np.cumsum(largest, axis=0) == 1)).astype(float)


CAUSAL_POOL1D: Mapping[str, Mistake] = {
    **_POOL.rewrites(),
    "ring of K places instead of D·(K-1)+1": result_of(_ring),
    "window centred": _POOL.ahead(lambda op: (op.kernel - 1) * op.dilation // 2),
    "looks ahead": _POOL.ahead(lambda op: (op.kernel - 1) * op.dilation),
    "shifted by one into the past": _POOL.ahead(lambda op: -1),
    "one position early": _POOL.ahead(lambda op: 1),
    "padding left out (-inf in a maximum, not counted in an average)": _POOL.given(lambda arrays, a: {"pad": "exclude"}),
    "padding of zeros taken in": _POOL.given(lambda arrays, a: {"pad": "zero"}),
    "sum for average": result_of(lambda arrays, a: _POOL.right(arrays, a)["y"] * (a["kernel"] if a["kind"] == "avg" else 1)),
    "strided": result_of(lambda arrays, a: _POOL.right(arrays, a)["y"][..., a["kernel"] - 1 :: a["kernel"]]),
    "gradient of x: to all of equal values": _routed(lambda largest: largest.astype(float)),
    "gradient of x: that of the padding goes to the first value": _routed(_first, into_the_start=True),
}


def _lengthened(arrays: Arrays, a: Attributes) -> Array:
    return np.pad(arrays["x"], ((0, 0), (0, 0), (max(a["steps"], 0), max(-a["steps"], 0))))


SHIFT1D: Mapping[str, Mistake] = {
    **_SHIFT.rewrites(),
    "wraps around": _SHIFT.edges("wrap"),
    "repeats the value at the edge": _SHIFT.edges("edge"),
    "lengthens the sequence": result_of(_lengthened),
    "channels shifted instead of time": result_of(
        lambda arrays, a: window(arrays["x"].swapaxes(1, 2), a["steps"]).swapaxes(1, 2)
    ),
    "gradient of x: to the wrong side": _SHIFT.mirrored_gradient(),
}

SHIFT2D: Mapping[str, Mistake] = {
    **_SHIFT2D.rewrites(),
    "wraps around": _SHIFT2D.edges("wrap"),
    "repeats the pixels at the edge": _SHIFT2D.edges("edge"),
    "gradient of x: to the wrong side": _SHIFT2D.mirrored_gradient(),
}
