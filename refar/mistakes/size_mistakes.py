"""Mistakes that only show at sizes beyond those of the golden cases: a kernel that knows so many taps, channels or positions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import Attributes
from refar.mistakes.on_arrays import ArrayNode, Mistake, Result, result_of

TAPS, CHANNELS, TILES, CLASSES = (3, 4, 5, 6, 8), (16, 32, 64, 128), (8, 16, 32, 64, 128, 256), (256, 1024, 32768)

_CONV1D, _POOL = ArrayNode("causal_conv1d", ops.Conv1d), ArrayNode("causal_pool1d", ops.Pool1d)
_CONV2D = ArrayNode("masked_conv2d", ops.Conv2d)


def _older_taps(taps: int) -> Mistake:
    def change(arrays: Arrays, _: Attributes) -> Arrays:
        w = arrays["w"].copy()
        w[:, :, : max(w.shape[2] - taps, 0)] = 0
        return {"w": w}

    return _CONV1D.given(change)


def _further_channels(node: ArrayNode, channels: int) -> Mistake:
    """Input channels of a group beyond the first few."""

    def change(arrays: Arrays, _: Attributes) -> Arrays:
        w = arrays["w"].copy()
        w[:, channels:] = 0
        return {"w": w}

    return node.given(change)


def _tiled(node: ArrayNode, tile: int) -> Mistake:
    """Each tile as if nothing came before it."""

    def y(arrays: Arrays, a: Attributes) -> Array:
        starts = range(0, arrays["x"].shape[-1], tile)
        tiles = ({**arrays, "x": arrays["x"][..., n : n + tile], "dy": np.zeros(0)} for n in starts)
        return np.concatenate([node.right(each, a)["y"] for each in tiles], axis=-1)

    return result_of(y)


def _few_outputs(node: ArrayNode, channels: int) -> Mistake:
    def y(arrays: Arrays, a: Attributes) -> Array:
        found = node.right(arrays, a)["y"].copy()
        found[:, channels:] = 0
        return found

    return result_of(y)


def _first_classes(classes: int) -> Result:
    """A softmax that sums over the first classes alone."""

    def y(arrays: Arrays, _: Attributes) -> Array:
        e = np.exp(arrays["x"] - arrays["x"].max(1, keepdims=True))
        return np.asarray(e / e[:, :classes].sum(1, keepdims=True))

    return y


def _log(of: Result) -> Result:
    return lambda arrays, a: np.log(of(arrays, a))


SIZED: Mapping[str, Mapping[str, Mistake]] = {
    "causal_conv1d": {
        **{f"only the last {n} taps": _older_taps(n) for n in TAPS},
        **{f"every {n} positions begin with zeros before them": _tiled(_CONV1D, n) for n in TILES},
        **{f"only the first {n} input channels of a group": _further_channels(_CONV1D, n) for n in CHANNELS},
        **{f"zeros in output channels from {n} on": _few_outputs(_CONV1D, n) for n in CHANNELS},
    },
    "masked_conv2d": {
        **{f"only the first {n} input channels of a group": _further_channels(_CONV2D, n) for n in CHANNELS[:-1]},
        **{f"zeros in output channels from {n} on": _few_outputs(_CONV2D, n) for n in CHANNELS[:-1]},
    },
    "causal_pool1d": {f"every {n} positions begin with nothing before them": _tiled(_POOL, n) for n in TILES},
    "softmax": {f"sum over the first {n} classes": result_of(_first_classes(n)) for n in CLASSES},
    "log_softmax": {f"sum over the first {n} classes": result_of(_log(_first_classes(n))) for n in CLASSES},
}
"""By operator and name; an operator without a row has no such mistake."""
