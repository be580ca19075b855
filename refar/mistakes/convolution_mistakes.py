"""Mistakes of causal and of masked convolutions that no rewrite of the node can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import Attributes
from refar.mistakes.masks import anchor
from refar.mistakes.on_arrays import ArrayNode, Mistake, gradient_of, result_of, window

_CONV1D = ArrayNode("causal_conv1d", ops.Conv1d)
_CONV2D = ArrayNode("masked_conv2d", ops.Conv2d)


def _reach(op: ops.Conv1d) -> int:
    """(K-1)·D: how many zeros stand on the left."""
    return (op.kernel - 1) * op.dilation


def _cut(keep: Callable[[Array, ops.Conv1d], Array], **changed: object) -> Mistake:
    """Part of the right result, or of that with other attributes."""

    def y(arrays: Arrays, a: Attributes) -> Array:
        return keep(_CONV1D.right(arrays, {**a, **changed})["y"], _CONV1D.op(arrays, a))

    return result_of(y)


def _padded_by_taps(arrays: Arrays, a: Attributes) -> Array:
    """D·K zeros on the left, one dilation too many, and nothing cut."""
    return _CONV1D.longer(arrays, a, a["dilation"], 0)


def _undilated_same(arrays: Arrays, a: Attributes) -> Array:
    """(K-1)/2 zeros on both sides, as if the kernel were not dilated."""
    op = _CONV1D.op(arrays, a)
    left = (op.kernel - 1) // 2
    return _CONV1D.longer(arrays, a, 0, op.kernel - 1 - left)[..., _reach(op) - left :]


def _reversed_in_time(arrays: Arrays, a: Attributes) -> Array:
    turned = {**arrays, "x": arrays["x"][..., ::-1]}
    return _CONV1D.right(turned, a)["y"][..., ::-1]


def _phases(arrays: Arrays, a: Attributes) -> Array:
    """Time to batch by a reshape alone: the D phases of the signal are taken for D stretches of it."""
    x, d = arrays["x"], a["dilation"]
    batch, channels, length = x.shape
    x = np.pad(x, ((0, 0), (0, 0), (-length % d, 0))).reshape(batch, channels, d, -1).swapaxes(1, 2)
    short = {**arrays, "x": x.reshape(batch * d, channels, -1), "dy": np.zeros(0)}
    y = _CONV1D.right(short, {**a, "dilation": 1, "strict": False})["y"].reshape(batch, d, -1, x.shape[3]).swapaxes(1, 2)
    return window(y.reshape(batch, y.shape[1], -1)[..., -length % d :], a["strict"])


def _interleaved(arrays: Arrays, a: Attributes) -> Arrays:
    """Input channel c in group c mod G."""
    x = arrays["x"]
    return {"x": x.reshape(len(x), -1, a["groups"], x.shape[2]).swapaxes(1, 2).reshape(x.shape)}


def _remainder(arrays: Arrays, a: Attributes) -> Array:
    """The gradient of whole groups of D positions: what is left over at the end gets none."""
    length, d = arrays["x"].shape[2], a["dilation"]
    return np.where(np.arange(length) < length - length % d, _CONV1D.right(arrays, a)["gradient.x"], 0)


CAUSAL_CONV1D: Mapping[str, Mistake] = {
    **_CONV1D.rewrites("weight transposed"),
    "dilation passed as stride": _cut(lambda y, op: y[..., :: op.dilation], dilation=1),
    "padded by K-1, dilation forgotten": _cut(lambda y, op: y[..., (op.kernel - 1) * (op.dilation - 1) :]),
    "padded by D·K": result_of(_padded_by_taps),
    "padded by D·K and cut to T": _CONV1D.ahead(lambda op: -op.dilation),
    "not padded": _cut(lambda y, op: y[..., _reach(op) :]),
    "padded on both sides (same)": _CONV1D.ahead(lambda op: _reach(op) // 2),
    "padded on both sides (same), the odd one on the right": _CONV1D.ahead(lambda op: (_reach(op) + 1) // 2),
    "padded on both sides, dilation forgotten": result_of(_undilated_same),
    "padded on the right (anticausal)": _CONV1D.ahead(_reach),
    "time reversed (offsets of the wrong sign)": result_of(_reversed_in_time),
    "padded with the first value": _CONV1D.edges("edge"),
    "wraps around": _CONV1D.edges("wrap"),
    "shifted by one into the past": _CONV1D.ahead(lambda op: -1),
    "sees one sample too many: the next one, or if strict the present": _CONV1D.ahead(lambda op: 1),
    "dilation 2^D for D": _CONV1D.given(lambda arrays, a: {"dilation": 2 ** a["dilation"]}),
    "strict by shifting the output: no bias at the first position": _cut(
        lambda y, op: window(y, 1) if op.strict else y, strict=False
    ),
    "strict hides two samples": _CONV1D.ahead(lambda op: -op.strict),
    "strict shifts by the dilation": _CONV1D.ahead(lambda op: -op.strict * (op.dilation - 1)),
    "cut by [..., :-0]": _cut(lambda y, op: y if _reach(op) + op.strict else y[..., :0]),
    "time to batch without the transpose": result_of(_phases),
    "channels of the groups interleaved": _CONV1D.given(_interleaved),
    "gradient of x: dilation ignored": _CONV1D.gradient("x", "dilation ignored"),
    "gradient of x: kernel flipped": _CONV1D.gradient("x", "kernel flipped"),
    "gradient of x: to the wrong side": _CONV1D.mirrored_gradient(),
    "gradient of x: remainder of T mod D left out": gradient_of("x", _remainder),
    "gradient of w: kernel flipped": gradient_of("w", lambda arrays, a: _CONV1D.right(arrays, a)["gradient.w"][:, :, ::-1]),
    "gradient of w: averaged over the batch": _CONV1D.averaged("w"),
    "gradient of b: averaged over the batch": _CONV1D.averaged("b"),
}


def _swapped_padding(arrays: Arrays, a: Attributes) -> Array:
    """The zeros above and below put on the left and right, and the other way round."""
    op, x = _CONV2D.op(arrays, a), arrays["x"]
    zeros = [(p * d, (k - 1 - p) * d) for p, k, d in zip(anchor(op), op.kernel, op.dilation, strict=True)]
    padded = np.pad(x, ((0, 0), (0, 0), *zeros[::-1]))
    y = _CONV2D.right({**arrays, "x": padded, "dy": np.zeros(0)}, a)["y"]
    kept = [slice(first, max(first, n - last)) for (first, last), n in zip(zeros, padded.shape[2:], strict=True)]
    return y[:, :, *kept]


MASKED_CONV2D: Mapping[str, Mistake] = {
    **_CONV2D.rewrites("weight transposed"),
    "padding of rows and columns swapped": result_of(_swapped_padding),
    "shifted by one pixel down and right": _CONV2D.ahead(lambda op: -1),
    "wraps around": _CONV2D.edges("wrap"),
    "padded with the nearest pixel": _CONV2D.edges("edge"),
    "gradient of w: masked weights receive one": _CONV2D.gradient("w", "mask ignored"),
    "gradient of w: averaged over the batch": _CONV2D.averaged("w"),
    "gradient of x: mask ignored": _CONV2D.gradient("x", "mask ignored"),
    "gradient of x: dilation ignored": _CONV2D.gradient("x", "dilation ignored"),
    "gradient of x: kernel flipped": _CONV2D.mirrored_gradient(),
}
