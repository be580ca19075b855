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
    op: AnyOp,
    args: Sequence[Tensor],
    before: Sequence[Tensor | None],
    weight: Tensor | None,
    bias: Tensor | None,
    classes: int,
    dtype: torch.dtype,
) -> Tensor:
    """The value of one operator, in `dtype`. For `Input`, the one argument is what the caller gave.

    `before` is what stands before the start of each argument, (B, C, 1); None is zero.

    `classes` is the number of classes of an indexed argument, and matters to the lookups only.
    """
    x = args[0]
    match op:
        case ops.Input():
            return x.long() if op.classes else x.to(dtype)
        case ops.Conv1d():
            assert weight is not None
            return conv1d(op, x, before[0], weight, bias)
        case ops.Shift():
            return _window(x, op.steps, before[0])
        case ops.PadChannels():
            return F.pad(x, (*[0, 0] * (x.ndim - 2), op.before, op.after))
        case ops.Ones():
            return torch.ones_like(x[:, :1] if x.is_floating_point() else x.unsqueeze(1), dtype=dtype)
        case ops.Pool1d():
            return pool1d(op, x, before[0], args[1] if op.pad == "exclude" else None)
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


def conv1d(op: ops.Conv1d, x: Tensor, before: Tensor | None, weight_oik: Tensor, bias_o: Tensor | None) -> Tensor:
    """x_bit → y_bot: what stands before the start on the left only; a strict convolution drops its last output."""
    if x.ndim == 2:
        return F.conv1d(x.unsqueeze(2), weight_oik, bias_o, groups=op.groups)[:, :, 0]
    length = x.shape[2]
    past = (op.kernel - 1) * op.dilation + int(op.strict)
    padded = _extend(x, past, before)
    if not length:  # F.conv1d refuses to return an empty sequence
        padded = F.pad(padded, (0, 1))
    return F.conv1d(padded, weight_oik, bias_o, dilation=op.dilation, groups=op.groups)[:, :, :length]


def pool1d(op: ops.Pool1d, x: Tensor, before: Tensor | None, ones: Tensor | None) -> Tensor:
    """Maximum or average over windows of the past, the most recent first, so that it gets the gradient of equal values."""
    offsets = [k * op.dilation for k in range(op.kernel)]
    windows = torch.stack([_window(x, offset, before) for offset in offsets])
    there = None if ones is None else torch.stack([_window(ones, offset, None) for offset in offsets])
    if op.kind == "avg":
        return windows.sum(0) / (op.kernel if there is None else there.sum(0))
    if there is not None:
        windows = windows.masked_fill(there == 0, -torch.inf)
    return windows.gather(0, windows.argmax(0, keepdim=True))[0]


def _window(x: Tensor, offset: int, before: Tensor | None) -> Tensor:
    """x[b,c,t-offset]: what stands before the start, zero after the end."""
    length = x.shape[2]
    if offset < 0:
        return F.pad(x, (0, -offset))[:, :, -offset:]
    return _extend(x, offset, before)[:, :, :length]


def _extend(x: Tensor, count: int, before: Tensor | None) -> Tensor:
    """`count` more positions on the left."""
    if before is None:
        return F.pad(x, (count, 0)) if count else x
    return torch.cat([before.expand(x.shape[0], -1, count), x], dim=2)


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
