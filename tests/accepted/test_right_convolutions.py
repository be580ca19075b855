"""Right code that nobody here bent to fit: causal convolutions as people write them, held against the golden cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from torch.nn import functional as F

from refar.testing import check_function

Array = np.ndarray
PLAIN = {"strict": False, "groups": 1}
DENSE = {"strict": False, "groups": 1, "dilation": 1}


def padded(x: Array, w: Array, dilation: int) -> Array:
    return np.pad(x, ((0, 0), (0, 0), ((w.shape[2] - 1) * dilation, 0)))


def biased(y: Array, b: Array | None) -> Array:
    return y if b is None else y + b[:, None]


def left_pad(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    return F.conv1d(F.pad(x, ((w.shape[2] - 1) * dilation, 0)), w, b, dilation=dilation, groups=groups)


def chomp(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    pad = (w.shape[2] - 1) * dilation
    return F.conv1d(x, w, b, padding=pad, dilation=dilation, groups=groups)[..., : x.shape[-1]]


def as_image(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    x = F.pad(x, ((w.shape[2] - 1) * dilation, 0))[:, :, None]
    return F.conv2d(x, w[:, :, None], b, dilation=(1, dilation), groups=groups)[:, :, 0]


def cat_zeros(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    zeros = x.new_zeros(*x.shape[:2], (w.shape[2] - 1) * dilation)
    return F.conv1d(torch.cat([zeros, x], 2), w, b, dilation=dilation, groups=groups)


def zero_pad_module(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    return F.conv1d(torch.nn.ConstantPad1d(((w.shape[2] - 1) * dilation, 0), 0.0)(x), w, b, dilation=dilation, groups=groups)


def shifted_matmuls(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    y = sum(w[:, :, k] @ F.pad(x, (back, 0))[..., : x.shape[-1]] for k, back in enumerate(reversed_offsets(w, dilation)))
    return y if b is None else y + b[:, None]


def reversed_offsets(w: Any, dilation: int) -> list[int]:
    return [(w.shape[2] - 1 - k) * dilation for k in range(w.shape[2])]


def unfolded(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    p = F.pad(x, ((w.shape[2] - 1) * dilation, 0))[:, :, None]
    columns = F.unfold(p, (1, w.shape[2]), dilation=(1, dilation))
    y = w.flatten(1) @ columns
    return y if b is None else y + b[:, None]


def torch_unfold(x: Any, w: Any, b: Any = None) -> Any:
    windows = F.pad(x, (w.shape[2] - 1, 0)).unfold(2, w.shape[2], 1)
    y = torch.einsum("bitk,oik->bot", windows, w)
    return y if b is None else y + b[:, None]


def transposed(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    """The adjoint of a convolution that looks ahead, cropped."""
    y = F.conv_transpose1d(x, w.flip(2).transpose(0, 1), b, dilation=dilation)
    return y[..., : x.shape[-1]]


def reversed_in_time(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    x = F.pad(x.flip(2), (0, (w.shape[2] - 1) * dilation))
    return F.conv1d(x, w.flip(2), b, dilation=dilation, groups=groups).flip(2)


def loops(x: Array, w: Array, b: Array | None = None, *, dilation: int = 1) -> Array:
    y = np.zeros((x.shape[0], w.shape[0], x.shape[2]), x.dtype)
    for t in range(x.shape[2]):
        for k, back in enumerate(reversed_offsets(w, dilation)):
            if t >= back:
                y[:, :, t] += x[:, :, t - back] @ w[:, :, k].T
    return biased(y, b)


def windows(x: Array, w: Array, b: Array | None = None, *, dilation: int = 1) -> Array:
    seen = sliding_window_view(padded(x, w, dilation), (w.shape[2] - 1) * dilation + 1, axis=2)[..., ::dilation]
    return biased(np.einsum("bitk,oik->bot", seen, w), b)


def strided(x: Array, w: Array, b: Array | None = None, *, dilation: int = 1) -> Array:
    p = np.ascontiguousarray(padded(x, w, dilation))
    batch, channels, step = p.strides
    seen = as_strided(p, (*x.shape, w.shape[2]), (batch, channels, step, step * dilation))
    return biased(np.tensordot(seen, w, ([1, 3], [1, 2])).swapaxes(1, 2), b)


def correlate(x: Array, w: Array, b: Array | None = None) -> Array:
    y = np.zeros((len(x), len(w), x.shape[2]), x.dtype)
    for n, row in enumerate(padded(x, w, 1)):
        for o, kernel in enumerate(w):
            for i, taps in enumerate(kernel):
                y[n, o] += np.correlate(row[i], taps, "valid")
    return biased(y, b)


def convolve(x: Array, w: Array, b: Array | None = None) -> Array:
    y = np.zeros((len(x), len(w), x.shape[2]), x.dtype)
    for n, o, i in np.ndindex(len(x), len(w), x.shape[1]):
        if x.shape[2]:
            y[n, o] += np.convolve(x[n, i], w[o, i, ::-1])[: x.shape[2]]
    return biased(y, b)


def toeplitz(x: Array, w: Array, b: Array | None = None, *, dilation: int = 1) -> Array:
    length = x.shape[2]
    matrix = np.zeros((*w.shape[:2], length, length), x.dtype)
    for k, back in enumerate(reversed_offsets(w, dilation)):
        t = np.arange(back, length)
        matrix[:, :, t, t - back] = w[:, :, k, None]
    return biased(np.einsum("oits,bis->bot", matrix, x), b)


def grouped(x: Array, w: Array, b: Array | None = None, *, dilation: int = 1, groups: int = 1) -> Array:
    parts = [windows(*each, None, dilation=dilation) for each in zip(np.split(x, groups, 1), np.split(w, groups, 0), strict=True)]
    return biased(np.concatenate(parts, 1), b)


def scattered(x: Array, w: Array, b: Array | None = None, *, dilation: int = 1) -> Array:
    """Each input adds to the outputs that see it."""
    reach = (w.shape[2] - 1) * dilation
    y = np.zeros((len(x), len(w), x.shape[2] + reach), x.dtype)
    for k, back in enumerate(reversed_offsets(w, dilation)):
        y[:, :, back : back + x.shape[2]] += np.einsum("oi,bit->bot", w[:, :, k], x)
    return biased(y[:, :, : x.shape[2]], b)


def polyphase(x: Array, w: Array, b: Array | None = None, *, dilation: int = 1) -> Array:
    """A dilated convolution as `dilation` dense ones side by side."""
    length = x.shape[2]
    filled = np.pad(x, ((0, 0), (0, 0), (0, -length % dilation)))
    y = np.zeros((len(x), len(w), filled.shape[2]), x.dtype)
    for phase in range(dilation):
        y[:, :, phase::dilation] = windows(filled[:, :, phase::dilation], w)
    return biased(y[:, :, :length], b)


TORCH: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "pad on the left": (left_pad, {"strict": False}),
    "pad both sides and chomp": (chomp, {"strict": False}),
    "conv2d of one row": (as_image, {"strict": False}),
    "zeros in front by cat": (cat_zeros, {"strict": False}),
    "ConstantPad1d": (zero_pad_module, {"strict": False}),
    "a matrix product for each tap": (shifted_matmuls, PLAIN),
    "im2col by F.unfold": (unfolded, PLAIN),
    "Tensor.unfold and einsum": (torch_unfold, DENSE),
    "a transposed convolution": (transposed, PLAIN),
    "reversed in time": (reversed_in_time, {"strict": False}),
}
NUMPY: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "loops": (loops, PLAIN),
    "sliding windows and einsum": (windows, PLAIN),
    "strides and tensordot": (strided, PLAIN),
    "np.correlate": (correlate, DENSE),
    "np.convolve": (convolve, DENSE),
    "Toeplitz matrices": (toeplitz, PLAIN),
    "groups by split": (grouped, {"strict": False}),
    "scattered from the inputs": (scattered, PLAIN),
    "phases of the dilation": (polyphase, PLAIN),
}


@pytest.mark.parametrize("name", TORCH)
def test_in_pytorch(name: str) -> None:
    f, only = TORCH[name]
    check_function(f, "causal_conv1d", convert=torch.from_numpy, gradient="torch", only=only)


@pytest.mark.parametrize("name", NUMPY)
def test_in_numpy(name: str) -> None:
    f, only = NUMPY[name]
    check_function(f, "causal_conv1d", only=only)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_function() -> None:
    text = """
def conv(x: Tensor, w: Tensor, b: Optional[Tensor] = None, dilation: int = 1, groups: int = 1) -> Tensor:
    return torch.conv1d(torch.constant_pad_nd(x, [(w.size(2) - 1) * dilation, 0]), w, b, dilation=dilation, groups=groups)
"""
    unit = torch.jit.CompilationUnit(text)
    check_function(
        lambda x, w, b=None, *, dilation=1, groups=1: unit.conv(x, w, b, dilation, groups),
        "causal_conv1d", convert=torch.from_numpy, gradient="torch", only={"strict": False},
    )  # fmt: skip
