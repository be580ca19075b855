"""One operator over all positions: its value and its gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.oracle import backward as gradients
from refar.oracle import forward as values
from refar.oracle.convolution import by_tap, by_tap_backward
from refar.oracle.windows import steady_windows, steady_windows_backward, whole_windows, whole_windows_backward

Before = Sequence[Array | None]
"""The values of each argument at t < 0, (B, C, 1); None is zero."""


def forward(op: ops.AnyOp, args: Sequence[Array], before: Before, own: Arrays, classes: int, dtype: np.dtype) -> Array:
    """Return y, in `dtype`. `own` may hold "weight" and "bias"; `classes` is that of an argument of class indices."""
    if not isinstance(op, ops.WindowedOp | ops.ImageOp):
        return values.forward(op, args, own, classes, dtype)
    places, own = by_tap(op, own)
    windows = [whole_windows(x, places, b) for x, b in zip(args, before, strict=True)]
    return values.forward(op, windows, own, classes, dtype)


def backward(
    op: ops.AnyOp, args: Sequence[Array], before: Before, own: Arrays, y: Array, dy: Array
) -> tuple[list[Array | None], list[Array | None], Arrays]:
    """Return the gradients of Σ dy·y for the arguments (None where nothing flows), for their values at t < 0, and for `own`."""
    dbefore: list[Array | None] = [None] * len(args)
    if not isinstance(op, ops.WindowedOp | ops.ImageOp):
        dargs, dparams = gradients.backward(op, args, own, y, dy)
        return dargs, dbefore, dparams
    places, tapped = by_tap(op, own)
    windows = [whole_windows(x, places, b) for x, b in zip(args, before, strict=True)]
    dargs, dparams = gradients.backward(op, windows, tapped, y, dy)
    for n, dwindows in enumerate(dargs):
        if dwindows is not None:
            dargs[n], dbefore[n] = whole_windows_backward(dwindows, args[n], places)
    return dargs, dbefore, by_tap_backward(op, own, dparams)


def steady(op: ops.AnyOp, args: Sequence[Array], own: Arrays, classes: int, dtype: np.dtype) -> Array:
    """Return the value where nothing changes, so that every tap sees the same: args x_bc1, or constants x_bc."""
    if isinstance(op, ops.WindowedOp | ops.ImageOp):
        places, own = by_tap(op, own)
        args = [steady_windows(x, len(places)) for x in args]
    return values.forward(op, args, own, classes, dtype)


def steady_backward(op: ops.AnyOp, args: Sequence[Array], own: Arrays, y: Array, dy: Array) -> tuple[list[Array | None], Arrays]:
    """Return the gradients of Σ dy·steady, for the arguments and for `own`."""
    if not isinstance(op, ops.WindowedOp | ops.ImageOp):
        return gradients.backward(op, args, own, y, dy)
    places, tapped = by_tap(op, own)
    dwindows, dparams = gradients.backward(op, [steady_windows(x, len(places)) for x in args], tapped, y, dy)
    return [None if d is None else steady_windows_backward(d) for d in dwindows], by_tap_backward(op, own, dparams)
