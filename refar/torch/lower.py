"""Each operator in PyTorch: one match table. The definitions are in `refar.ops`."""

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

    `before` are the values of each argument at t < 0, (B, C, 1); None is zero.

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
        case ops.Conv2d():
            assert weight is not None
            return conv2d(op, x, weight, bias)
        case ops.Shift2d():
            return _shifted(x, op.down, op.right)
        case ops.Position():
            return position(op, x, dtype)
        case ops.PadChannels():
            front, behind = (x.new_zeros((len(x), count, *x.shape[2:])) for count in (op.before, op.after))
            return torch.cat([front, x, behind], dim=1)  # F.pad of PyTorch 2.4 refuses an empty sequence
        case ops.Ones():
            return torch.ones_like(x[:, :1] if x.is_floating_point() or x.ndim == 4 else x.unsqueeze(1), dtype=dtype)
        case ops.Pool1d():
            return pool1d(op, x, before[0], args[1] if op.pad == "exclude" else None)
        case ops.OneHot():
            return _channels_first(F.one_hot(x, classes)).to(dtype)
        case ops.Embedding():
            assert weight is not None
            return _channels_first(F.embedding(x, weight))
        case ops.Standardize():
            # In float64 and rounded once, so that (c - mean) / std does not depend on how its parts would round.
            return _channels_first(((x.double() - op.mean) / op.std).to(dtype).unsqueeze(-1))
        case ops.Activation():
            return activation(op, x)
        case ops.Gate():
            a, b = x.chunk(2, dim=1)
            return torch.tanh(a) * torch.sigmoid(b)
        case ops.Add():
            return _fold(torch.add, args)
        case ops.Multiply():
            return _fold(torch.mul, args)
        case ops.Dropout():
            return x.view_as(x)  # a value of its own, with its own gradient; `Module` multiplies by the mask, if it was given one
        case ops.Affine():
            return op.scale * x + op.shift
        case ops.ScaleShift():
            assert weight is not None
            return scale_shift(x, weight, bias)
        case ops.PRelu():
            assert weight is not None
            return F.prelu(x, weight)
        case ops.Norm():
            assert weight is not None
            return scale_shift(_normed(op, x), weight, bias)
        case ops.Concat():
            return torch.cat(_over_time(args), dim=1)
        case ops.Slice():
            return x[:, op.start : op.stop]
        case ops.Softmax():
            return torch.softmax(x, dim=1)
        case _:
            assert_never(op)


def conv1d(op: ops.Conv1d, x: Tensor, before: Tensor | None, weight_oik: Tensor, bias_o: Tensor | None) -> Tensor:
    """x_bit → y_bot: the values at t < 0 on the left only; a strict convolution drops its last output."""
    if x.ndim == 2:
        return F.conv1d(x.unsqueeze(2), weight_oik, bias_o, groups=op.groups)[:, :, 0]
    length = x.shape[2]
    past = (op.kernel - 1) * op.dilation + int(op.strict)
    padded = _extend(x, past, before)
    if not length:  # F.conv1d refuses to return an empty sequence
        padded = F.pad(padded, (0, 1))
    return F.conv1d(padded, weight_oik, bias_o, dilation=op.dilation, groups=op.groups)[:, :, :length]


def conv2d(op: ops.Conv2d, x: Tensor, weight_oihw: Tensor, bias_o: Tensor | None) -> Tensor:
    """x_bihw → y_bohw: zeros on all four sides, as many as the kernel reaches beyond its anchor there; weights masked."""
    anchor = op.anchor or (op.kernel[0] // 2, op.kernel[1] // 2)
    (top, bottom), (left, right) = (
        (a * d, (k - 1 - a) * d) for a, k, d in zip(anchor, op.kernel, op.dilation, strict=True)
    )  # fmt: skip
    weight = weight_oihw if op.mask == "none" else torch.where(_mask(op, anchor, weight_oihw), weight_oihw, 0)
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias_o, dilation=op.dilation, groups=op.groups)


def _mask(op: ops.Conv2d, anchor: tuple[int, int], weight_oihw: Tensor) -> Tensor:
    """What weight_oihw may see: taps before the anchor in raster order, and at the anchor what the order of colours allows."""
    fan_out, fan_in, height, width = weight_oihw.shape
    device = weight_oihw.device
    place = torch.arange(height * width, device=device).view(height, width) - (anchor[0] * width + anchor[1])
    wanted = torch.arange(fan_out, device=device)
    given = (wanted // (fan_out // op.groups) * fan_in)[:, None] + torch.arange(fan_in, device=device)
    given, wanted = given % op.colours, wanted[:, None] % op.colours
    allowed = given <= wanted if op.mask == "B" else given < wanted
    return (place < 0) | ((place == 0) & allowed[:, :, None, None])


def _shifted(x: Tensor, down: int, right: int) -> Tensor:
    """x[b,c,r-down,s-right], 0 outside the image: padded where values come in from, and cut where they leave."""
    height, width = x.shape[2:]
    padded = F.pad(x, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)))
    return padded[:, :, max(-down, 0) :, max(-right, 0) :][:, :, :height, :width]


def position(op: ops.Position, x: Tensor, dtype: torch.dtype) -> Tensor:
    """The bits of the row, then those of the column."""
    batch, _, *place = x.shape
    weights = 2 ** torch.arange(op.bits, device=x.device)
    rows, columns = (torch.arange(side, device=x.device) // weights[:, None] % 2 for side in place)
    both = torch.cat([rows[:, :, None].expand(-1, -1, place[1]), columns[:, None].expand(-1, place[0], -1)])
    return both.to(dtype).expand(batch, -1, -1, -1)


def _channels_first(found: Tensor) -> Tensor:
    """What was looked up, from the last axis to axis 1; of an image, number k of colour c becomes channel k·C + c."""
    moved = found.movedim(-1, 1)
    return moved.flatten(1, 2) if moved.ndim == 5 else moved


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
    """x[b,c,t-offset]: `before` (default 0) at t < 0, zero past the end."""
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
        case "elu":
            return F.elu(x, op.alpha)
        case "selu":
            return F.selu(x)
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "silu":
            return F.silu(x)
        case "softplus":
            return F.softplus(x, threshold=40)  # beyond 20, which it has unless told, x is off by 2e-9
        case "softsign":
            return F.softsign(x)
        case "clip":
            return F.hardtanh(x, op.low, op.high)
        case "hard_sigmoid":
            return hard_sigmoid(x)
        case "hard_swish":
            return x * hard_sigmoid(x)  # of F.hardswish the derivative at 3 and -3 depends on the version
        case "mish":
            return F.mish(x)
        case "sin":
            return torch.sin(x)
        case "snake":
            return x + torch.sin(op.alpha * x) ** 2 / op.alpha
        case _:
            assert_never(op.kind)


def hard_sigmoid(x: Tensor) -> Tensor:
    """min(max(x/6 + ½, 0), 1). F.hardsigmoid takes a sixth in float32 for its gradient, in float64 too."""
    return (F.hardtanh(x, -3, 3) + 3) / 6


def scale_shift(x: Tensor, weight_c: Tensor, bias_c: Tensor | None) -> Tensor:
    """weight[c]·x + bias[c]."""
    shape = (-1, *[1] * (x.ndim - 2))
    y = weight_c.view(shape) * x
    return y if bias_c is None else y + bias_c.view(shape)


def _normed(op: ops.Norm, x: Tensor) -> Tensor:
    """d / √(Σ d²/C + eps), step by step: kernels of a whole norm sum up in other ways, of which no bound is known here."""
    d = x - x.mean(1, keepdim=True) if op.kind == "layer" else x
    return d / torch.sqrt((d * d).mean(1, keepdim=True) + op.eps)


def _fold(function: Callable[[Tensor, Tensor], Tensor], args: Sequence[Tensor]) -> Tensor:
    return reduce(function, _with_time_axis(args))


def _with_time_axis(args: Sequence[Tensor]) -> list[Tensor]:
    """Constants get axes of length 1 where any argument is over time or an image, so that they broadcast."""
    ndim = max(arg.ndim for arg in args)
    return [arg.reshape(*arg.shape, *(1,) * (ndim - arg.ndim)) for arg in args]


def _over_time(args: Sequence[Tensor]) -> list[Tensor]:
    """Constants repeated at every position where any argument is over time or an image."""
    extent = next((arg.shape[2:] for arg in args if arg.ndim > 2), ())
    return [arg.expand(-1, -1, *extent) for arg in _with_time_axis(args)]
