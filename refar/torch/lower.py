"""Each operator in PyTorch: one match table. The definitions stand in `refar.ops`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from refar import ops
from refar.ops import AnyOp


def apply(
    op: AnyOp, args: Sequence[Tensor], weight: Tensor | None, bias: Tensor | None, classes: int, dtype: torch.dtype
) -> Tensor:
    """The value of one operator, in `dtype`. For `Input`, the one argument is what the caller gave.

    `classes` is the number of classes of an indexed argument, and matters to the lookups only.
    """
    x = args[0]
    match op:
        case ops.Input():
            return x.long() if op.classes else x.to(dtype)
        case ops.Conv1d():
            assert weight is not None
            return conv1d(op, x, weight, bias)
        case ops.Shift():
            return F.pad(x, (op.steps, 0))[:, :, : x.shape[2]]
        case ops.OneHot():
            return F.one_hot(x, classes).movedim(-1, 1).to(dtype)
        case ops.Embedding():
            assert weight is not None
            return F.embedding(x, weight).movedim(-1, 1)
        case ops.Standardize():
            # In float64 and rounded once, so that (c - mean) / std does not depend on how its parts would round.
            return ((x.double() - op.mean) / op.std).to(dtype).unsqueeze(1)
        case ops.Activation():
            return activation(op, x)
        case ops.Gate():
            a, b = x.chunk(2, dim=1)
            return torch.tanh(a) * torch.sigmoid(b)
        case ops.Add():
            return _fold(torch.add, args)
        case ops.Multiply():
            return _fold(torch.mul, args)
        case ops.Affine():
            return op.scale * x + op.shift
        case ops.Concat():
            return torch.cat(_over_time(args), dim=1)
        case ops.Slice():
            return x[:, op.start : op.stop]
        case ops.Softmax():
            return torch.softmax(x, dim=1)
        case _:
            assert_never(op)


def conv1d(op: ops.Conv1d, x: Tensor, weight_oik: Tensor, bias_o: Tensor | None) -> Tensor:
    """x_bit → y_bot by zeros on the left only; a strict convolution gets one zero more and drops the last sample."""
    if x.ndim == 2:
        return F.linear(x, weight_oik[:, :, 0], bias_o)
    length = x.shape[2]
    seen = x[:, :, : length - 1] if op.strict else x
    past = (op.kernel - 1) * op.dilation + int(op.strict)
    # An empty sequence is padded on the right too, since F.conv1d refuses to return one.
    padded = F.pad(seen, (past, 0 if length else 1)) if past or not length else seen
    return F.conv1d(padded, weight_oik, bias_o, dilation=op.dilation)[:, :, :length]


def activation(op: ops.Activation, x: Tensor) -> Tensor:
    """f(x), element by element."""
    match op.kind:
        case "relu":
            return F.relu(x)
        case "leaky_relu":
            return F.leaky_relu(x, op.slope)
        case "tanh":
            return torch.tanh(x)
        case "sigmoid":
            return torch.sigmoid(x)
        case _:
            assert_never(op.kind)


def _fold(function: Callable[[Tensor, Tensor], Tensor], args: Sequence[Tensor]) -> Tensor:
    return reduce(function, _with_time_axis(args))


def _with_time_axis(args: Sequence[Tensor]) -> list[Tensor]:
    """Constants get a time axis of length 1 where any argument has one, so that they broadcast."""
    timed = any(arg.ndim == 3 for arg in args)
    return [arg.unsqueeze(2) if timed and arg.ndim == 2 else arg for arg in args]


def _over_time(args: Sequence[Tensor]) -> list[Tensor]:
    """Constants repeated at every t where any argument is over time."""
    lengths = [arg.shape[2] for arg in args if arg.ndim == 3]
    return [arg.unsqueeze(2).expand(-1, -1, lengths[0]) if lengths and arg.ndim == 2 else arg for arg in args]
