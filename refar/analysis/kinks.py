"""The kinks of the functions of `ops.Activation`: places without a derivative, with the derivatives to the left and right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

from numpy.typing import NDArray

from refar import ops


@dataclass(frozen=True)
class Kink:
    """A place, and the derivatives on its left and on its right; those on the left may be one for each channel, (C, 1)."""

    at: float
    left: float | NDArray[Any]
    right: float


def bends(op: ops.AnyOp) -> tuple[float, ...]:
    """Return the places where the derivative of an operator on one number jumps; of a learnt slope, whatever it is."""
    if isinstance(op, ops.Activation):
        return tuple(kink.at for kink in kinks(op))
    return (0.0,) if isinstance(op, ops.PRelu) else ()


def kinks(op: ops.Activation) -> tuple[Kink, ...]:
    """Return the kinks of a function."""
    match op.kind:
        case "relu":
            found = [Kink(0.0, 0.0, 1.0)]
        case "leaky_relu":
            found = [Kink(0.0, op.slope, 1.0)]
        case "elu":
            found = [Kink(0.0, op.alpha, 1.0)]
        case "selu":
            found = [Kink(0.0, ops.SELU_SCALE * ops.SELU_ALPHA, ops.SELU_SCALE)]
        case "clip":
            found = [Kink(op.low, 0.0, 1.0), Kink(op.high, 1.0, 0.0)]
        case "hard_sigmoid":
            found = [Kink(-3.0, 0.0, 1 / 6), Kink(3.0, 1 / 6, 0.0)]
        case "hard_swish":
            found = [Kink(-3.0, 0.0, -0.5), Kink(3.0, 1.5, 1.0)]
        case "tanh" | "sigmoid" | "gelu" | "gelu_tanh" | "silu" | "softplus" | "softsign" | "mish" | "sin" | "snake":
            found = []
        case _:
            assert_never(op.kind)
    return tuple(kink for kink in found if kink.left != kink.right)
