"""Mistakes that rewrite an operator and its parameters, by name: one row for each type of operator that can have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from msgspec.structs import replace

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.mistakes.masks import MASKS, Mask, anchor
from refar.oracle.convolution import mask_oihw

Rewritten = tuple[ops.AnyOp, Arrays]
Rewrite = Callable[[Any, Arrays], Rewritten]
"""Give the wrong operator and its own parameters {"weight": …, "bias": …}; both as they are where it cannot be made."""


def _to(**fields: Any) -> Rewrite:
    """With these fields; where one is a function, what it makes of the operator."""
    return lambda op, own: (replace(op, **{name: f(op) if callable(f) else f for name, f in fields.items()}), own)


def _own(name: str, change: Callable[[Any, Array], Array]) -> Rewrite:
    return lambda op, own: (op, own | {name: change(op, own[name])} if name in own else own)


def _weight(change: Callable[[Array], Array]) -> Rewrite:
    return _own("weight", lambda op, w: change(w))


def _masked(mask: Mask) -> Rewrite:
    """The mask taken into the weight, so that any mask is a graph."""

    def rewrite(op: ops.Conv2d, own: Arrays) -> Rewritten:
        shape = own["weight"].shape
        if np.array_equal(mask(op, shape), mask_oihw(op, shape)):
            return op, own
        weight = np.where(mask(op, shape), own["weight"], 0)
        return replace(op, mask="none", colours=1), own | {"weight": weight}

    return rewrite


def _kind(kind: str) -> Rewrite:
    return lambda op, own: (replace(op, kind=kind), own)


def _instead(kind: str, other: str) -> Rewrite:
    """One kind for another."""
    return _to(kind=lambda op: other if op.kind == kind else op.kind)


def _mirrored(op: ops.Conv2d) -> tuple[int, int]:
    """The other of the two middle taps of an even side."""
    a, e = (n - 1 - p if n % 2 == 0 else p for p, n in zip(anchor(op), op.kernel, strict=True))
    return a, e


def _transposed(op: ops.AnyOp, w: Array) -> Array:
    return w.swapaxes(0, 1) if w.shape[0] == w.shape[1] else w


def _square(w: Array) -> Array:
    return w.swapaxes(2, 3) if w.shape[2] == w.shape[3] else w


_CONVOLUTIONS = (ops.Conv1d, ops.Conv2d)

REWRITES: Mapping[str, Mapping[type[ops.Op], Rewrite]] = {
    "strict ignored: sees the present": {ops.Conv1d: _to(strict=False)},
    "strict where it is not: hides the present": {ops.Conv1d: _to(strict=True)},
    "dilation ignored": {ops.Conv1d: _to(dilation=1), ops.Pool1d: _to(dilation=1), ops.Conv2d: _to(dilation=(1, 1))},
    "kernel flipped": {
        ops.Conv1d: _weight(lambda w: w[:, :, ::-1]),
        ops.Conv2d: _weight(lambda w: w[:, :, ::-1, ::-1]),
    },
    "bias dropped": dict.fromkeys((*_CONVOLUTIONS, ops.ScaleShift, ops.Norm), _own("bias", lambda op, b: 0 * b)),
    "scale of the channels left out": dict.fromkeys((ops.ScaleShift, ops.Norm), _weight(np.ones_like)),
    "one slope for all channels": {ops.PRelu: _weight(lambda w: np.full_like(w, w[0]))},
    "slopes ignored (0.25)": {ops.PRelu: _weight(lambda w: np.full_like(w, 0.25))},
    "mean not subtracted from the channels": {ops.Norm: _instead("layer", "rms")},
    "mean subtracted from the channels": {ops.Norm: _instead("rms", "layer")},
    "eps ignored (1e-5)": {ops.Norm: _to(eps=1e-5)},
    "bias added at every tap": {ops.Conv1d: _own("bias", lambda op, b: b * op.kernel)},
    "weight transposed": dict.fromkeys(_CONVOLUTIONS, _own("weight", _transposed)),
    "kernel transposed": {ops.Conv2d: _weight(_square)},
    **{name: {ops.Conv2d: _masked(mask)} for name, mask in MASKS.items()},
    "dilation of rows and columns swapped": {ops.Conv2d: _to(dilation=lambda op: op.dilation[::-1])},
    "anchor ignored, taken for the centre": {ops.Conv2d: _to(anchor=lambda op: (op.kernel[0] // 2, op.kernel[1] // 2))},
    "anchor of rows and columns swapped": {ops.Conv2d: _to(anchor=lambda op: anchor(op)[::-1])},
    "even kernel padded on the wrong side": {ops.Conv2d: _to(anchor=_mirrored)},
    "not shifted": {ops.Shift: _to(steps=0), ops.Shift2d: _to(down=0, right=0)},
    "shifted to the wrong side": {
        ops.Shift: _to(steps=lambda op: -op.steps),
        ops.Shift2d: _to(down=lambda op: -op.down, right=lambda op: -op.right),
    },
    "shifted one step too far": {ops.Shift: _to(steps=lambda op: op.steps + 1)},
    "shifted one step too few": {ops.Shift: _to(steps=lambda op: op.steps - 1)},
    "down and right swapped": {ops.Shift2d: _to(down=lambda op: op.right, right=lambda op: op.down)},
    "down ignored": {ops.Shift2d: _to(down=0)},
    "right ignored": {ops.Shift2d: _to(right=0)},
    "activation left out": {ops.Activation: lambda op, own: (ops.Affine(), own)},
    **{f"{kind} for another activation": {ops.Activation: _kind(kind)} for kind in ("relu", "leaky_relu", "tanh", "sigmoid")},
    "gelu by a tanh where erf is meant": {ops.Activation: _instead("gelu", "gelu_tanh")},
    "gelu by erf where a tanh is meant": {ops.Activation: _instead("gelu_tanh", "gelu")},
    "alpha ignored (1)": {ops.Activation: _to(alpha=1.0)},
    "ends of the clip ignored (-1 and 1)": {ops.Activation: _to(low=-1.0, high=1.0)},
    "slope ignored (0.01)": {ops.Activation: _to(slope=0.01)},
    "maximum for average": {ops.Pool1d: _kind("max")},
    "average for maximum": {ops.Pool1d: _kind("avg")},
    "window of one more": {ops.Pool1d: _to(kernel=lambda op: op.kernel + 1)},
    "not standardised": {ops.Standardize: _to(mean=0.0, std=1.0)},
    "divided by the variance": {ops.Standardize: _to(std=lambda op: op.std**2)},
    "multiplied by the standard deviation": {ops.Standardize: _to(std=lambda op: 1 / op.std)},
    "mean not subtracted": {ops.Standardize: _to(mean=0.0)},
    "mean subtracted after the division": {ops.Standardize: _to(mean=lambda op: op.mean * op.std)},
    "classes counted from 1": {ops.Embedding: _weight(lambda w: np.roll(w, 1, axis=0))},
    "class 0 is padding, all zero": {
        ops.Embedding: _weight(lambda w: w * (np.arange(len(w)) > 0)[:, None]),
    },
}


def rewritten(name: str, op: ops.AnyOp, own: Arrays) -> Rewritten | None:
    """Return an operator and its own parameters with one mistake; None where it cannot be made, or changes nothing."""
    row = REWRITES[name].get(type(op))
    if row is None:
        return None
    wrong, weights = row(op, own)
    same = wrong == op and all(np.array_equal(weights[key], own[key]) for key in own)
    return None if same else (wrong, weights)
