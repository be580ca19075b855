"""Mistakes of gates, activations, lookups and distributions that no rewrite of the node can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import Attributes
from refar.mistakes.of_graphs import HALVES
from refar.mistakes.on_arrays import ArrayNode, Mistake, gradient_of, result_of


def sigmoid(x: Array) -> Array:
    """Compute 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def _gate(of: Callable[[Array, Array], Array]) -> Mistake:
    """Of the two halves of the channels."""
    return result_of(lambda arrays, _: of(*np.split(arrays["x"], 2, axis=1)))


def _halves_swapped(arrays: Arrays, _: Attributes) -> Array:
    dy, (a, b) = arrays["dy"], np.split(arrays["x"], 2, axis=1)
    t, s = np.tanh(a), sigmoid(b)
    return np.concatenate([dy * t * s * (1 - s), dy * s * (1 - t**2)], axis=1)


GATES: Mapping[str, Mistake] = {
    HALVES: _gate(lambda a, b: np.tanh(b) * sigmoid(a)),
    "even and odd channels instead of halves": result_of(
        lambda arrays, _: np.tanh(arrays["x"][:, ::2]) * sigmoid(arrays["x"][:, 1::2])
    ),
    "one half feeds both gates": _gate(lambda a, b: np.tanh(a) * sigmoid(a)),
    "no tanh (gated linear unit)": _gate(lambda a, b: a * sigmoid(b)),
    "tanh of both": _gate(lambda a, b: np.tanh(a) * np.tanh(b)),
    "sigmoid of both": _gate(lambda a, b: sigmoid(a) * sigmoid(b)),
    "sum instead of product": _gate(lambda a, b: np.tanh(a) + sigmoid(b)),
    "gradient of x: halves swapped": gradient_of("x", _halves_swapped),
}


def softmax(x: Array, axis: int = 1) -> Array:
    """Compute exp(x) / Σ exp(x)."""
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _naive(arrays: Arrays, _: Attributes) -> Array:
    e = np.exp(arrays["x"])
    return np.asarray(e / e.sum(1, keepdims=True))


SOFTMAXES: Mapping[str, Mistake] = {
    "over the last axis instead of the channels": result_of(lambda arrays, _: softmax(arrays["x"], -1)),
    "over the batch instead of the channels": result_of(lambda arrays, _: softmax(arrays["x"], 0)),
    "overflows: the largest is not subtracted": result_of(_naive),
    "sigmoid of each": result_of(lambda arrays, _: sigmoid(arrays["x"])),
    "logarithm of it": result_of(lambda arrays, _: np.log(softmax(arrays["x"]))),
    "gradient of x: diagonal alone": gradient_of("x", lambda a, _: a["dy"] * softmax(a["x"]) * (1 - softmax(a["x"]))),
}


_ACTIVATION = ArrayNode("activation", ops.Activation)


def _overflowing(arrays: Arrays, a: Attributes) -> Array:
    e = np.exp(arrays["x"])
    kinds = {"tanh": (e - 1 / e) / (e + 1 / e), "sigmoid": e / (1 + e)}
    return np.asarray(kinds[a["kind"]] if a["kind"] in kinds else _ACTIVATION.right(arrays, a)["y"])


def _no_slope_at_zero(arrays: Arrays, a: Attributes) -> Array:
    at_zero = (arrays["x"] == 0) & (a["kind"] == "leaky_relu")
    return np.where(at_zero, 0, _ACTIVATION.right(arrays, a)["gradient.x"])


def _both_slopes_at_zero(arrays: Arrays, a: Attributes) -> Array:
    at_zero = (arrays["x"] == 0) & (a["kind"] == "leaky_relu")
    return np.where(at_zero, (1 + a["slope"]) * arrays["dy"], _ACTIVATION.right(arrays, a)["gradient.x"])


def _slope_of_the_value(arrays: Arrays, a: Attributes) -> Array:
    return _ACTIVATION.right({**arrays, "x": _ACTIVATION.right(arrays, a)["y"]}, a)["gradient.x"]


def _leaky_on_the_other_side(arrays: Arrays, a: Attributes) -> Array:
    sign = -1 if a["kind"] == "leaky_relu" else 1
    return sign * _ACTIVATION.right({**arrays, "x": sign * arrays["x"]}, a)["y"]


ACTIVATIONS: Mapping[str, Mistake] = {
    **_ACTIVATION.rewrites(
        "gelu by a tanh where erf is meant",
        "gelu by erf where a tanh is meant",
        "alpha ignored (1)",
        "ends of the clip ignored (-1 and 1)",
    ),
    "slope on the positive side": result_of(_leaky_on_the_other_side),
    "exponential overflows": result_of(_overflowing),
    "gradient of x: derivative 0 at 0": gradient_of("x", _no_slope_at_zero),
    "gradient of x: derivatives of both sides added at 0": gradient_of("x", _both_slopes_at_zero),
    "gradient of x: of the value instead of the argument": gradient_of("x", _slope_of_the_value),
}


def _one_hot(x: Array, classes: int) -> Array:
    return np.moveaxis(np.eye(classes)[x], -1, 1)


ONE_HOTS: Mapping[str, Mistake] = {
    "channels last": result_of(lambda arrays, a: np.eye(a["classes"])[arrays["x"]]),
    "classes counted from 1": result_of(lambda arrays, a: _one_hot((arrays["x"] - 1) % a["classes"], a["classes"])),
    "classes in reverse order": result_of(lambda arrays, a: _one_hot(a["classes"] - 1 - arrays["x"], a["classes"])),
    "as many channels as classes occur": result_of(lambda arrays, a: _one_hot(arrays["x"], int(arrays["x"].max()) + 1)),
    "class index itself": result_of(lambda arrays, a: arrays["x"][:, None].astype(float)),
}


def _overwritten(arrays: Arrays, _: Attributes) -> Array:
    """The last position of a class alone, where all add up."""
    dw = np.zeros(arrays["w"].shape)
    dw[arrays["x"]] = np.moveaxis(arrays["dy"], 1, -1)
    return dw


def _last_row(arrays: Arrays, _: Attributes) -> Arrays:
    return {"w": arrays["w"] * (np.arange(len(arrays["w"])) < len(arrays["w"]) - 1)[:, None]}


def _without_gradient(row: int) -> Mistake:
    def dw(arrays: Arrays, a: Attributes) -> Array:
        found = _EMBEDDING.right(arrays, a)["gradient.w"].copy()
        found[row] = 0
        return found

    return gradient_of("w", dw)


_EMBEDDING = ArrayNode("embedding", ops.Embedding)

EMBEDDINGS: Mapping[str, Mistake] = {
    **_EMBEDDING.rewrites(),
    "last class is padding, all zero": _EMBEDDING.given(_last_row),
    "gradient of w: class 0 is padding, none": _without_gradient(0),
    "gradient of w: last class is padding, none": _without_gradient(-1),
    "channels last": result_of(lambda arrays, _: arrays["w"][arrays["x"]]),
    "gradient of w: last of repeated classes alone": gradient_of("w", _overwritten),
}

STANDARDIZATIONS: Mapping[str, Mistake] = {
    **ArrayNode("standardize", ops.Standardize).rewrites(),
    "without the axis of channels": result_of(lambda arrays, a: (arrays["x"] - a["mean"]) / a["std"]),
}


def _bits(arrays: Arrays, bits: int, base: int = 0) -> tuple[Array, Array]:
    batch, _, height, width = arrays["x"].shape
    place = np.indices((height, width)) + base
    found = [(p[None] >> np.arange(bits)[:, None, None] & 1).astype(float) for p in place]
    rows, columns = (np.broadcast_to(f, (batch, *f.shape)) for f in found)
    return rows, columns


def _encoding(join: Callable[[Array, Array], Array], base: int = 0) -> Mistake:
    return result_of(lambda arrays, a: join(*_bits(arrays, a["bits"], base)))


def _joined(rows: Array, columns: Array) -> Array:
    return np.concatenate([rows, columns], axis=1)


POSITIONS: Mapping[str, Mistake] = {
    "columns before rows": _encoding(lambda rows, columns: _joined(columns, rows)),
    "most significant bit first": _encoding(lambda rows, columns: _joined(rows[:, ::-1], columns[:, ::-1])),
    "bits of row and column alternate": _encoding(
        lambda rows, columns: np.stack([rows, columns], axis=2).reshape(len(rows), -1, *rows.shape[2:])
    ),
    "counted from 1": _encoding(_joined, base=1),
    "rows alone": _encoding(lambda rows, _: rows),
}
