"""One operator over all positions: its value and its gradients. The match tables of the oracle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.oracle import causal1d, masked2d, pointwise

Before = Sequence[Array | None]
"""What stands before the start of each argument, (B, C, 1); None is zero."""


def forward(op: ops.AnyOp, args: Sequence[Array], before: Before, own: Arrays, classes: int, dtype: np.dtype) -> Array:
    """y, in `dtype`. `own` may hold "weight" and "bias"; `classes` is that of an argument of class indices."""
    match op:
        case ops.Input():
            return args[0]
        case ops.Conv1d() | ops.Shift() | ops.Pool1d() if args[0].ndim == 2:
            return causal1d.at_rest(op, args, own)
        case ops.Conv1d() | ops.Shift() | ops.Pool1d():
            return causal1d.forward(op, _windows(op, args, before), own)
        case ops.Conv2d() | ops.Shift2d():
            return masked2d.forward(op, args[0], own)
        case _:
            return pointwise.forward(op, args, classes, own.get("weight"), dtype)


def backward(
    op: ops.AnyOp, args: Sequence[Array], before: Before, own: Arrays, y: Array, dy: Array
) -> tuple[list[Array | None], list[Array | None], Arrays]:
    """The gradients of Σ dy·y for the arguments (None for class indices), for what stands before them, and for `own`."""
    nothing: list[Array | None] = [None] * len(args)
    match op:
        case ops.Input():
            return nothing, nothing, {}
        case ops.Conv1d() | ops.Shift() | ops.Pool1d() if args[0].ndim == 2:
            dargs, dparams = causal1d.at_rest_backward(op, args, dy, own)
            return dargs, nothing, dparams
        case ops.Conv1d() | ops.Shift() | ops.Pool1d():
            dwindows, dparams = causal1d.backward(op, _windows(op, args, before), dy, own)
            dargs, dearlier = list(nothing), list(nothing)
            for n, each in enumerate(dwindows):
                dargs[n], dearlier[n] = causal1d.windows_backward(each, causal1d.window_offsets(op))
            return dargs, dearlier, dparams
        case ops.Conv2d() | ops.Shift2d():
            dx, dparams = masked2d.backward(op, args[0], dy, own)
            return [dx], nothing, dparams
        case _:
            dargs, dweight = pointwise.backward(op, args, y, dy, own.get("weight"))
            return dargs, nothing, {} if dweight is None else {"weight": dweight}


def _windows(op: ops.WindowedOp, args: Sequence[Array], before: Before) -> list[causal1d.Windows]:
    offsets = causal1d.window_offsets(op)
    return [causal1d.windows_of(x, offsets, b) for x, b in zip(args, before, strict=True)]
