"""Functions as people write them, of which `check_function` may refuse none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.signal
import scipy.special
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn

Function = Callable[..., Any]
UNSTRICT: dict[str, Any] = {"strict": False}
DENSE: dict[str, Any] = {"strict": False, "groups": 1}

FEW: dict[str, Any] = {"only": DENSE, "sizes": [{"t": 257, "k": 9, "dilation": 3}], "dtypes": ("float64",)}
"""For what convolves pair by pair of channels in Python, and is slow."""


@dataclass(frozen=True)
class Right:
    """A right function: what it is made with, the operator that it is, and how it is checked. Without NumPy it takes tensors."""

    made_with: str
    operator: str
    f: Function
    numpy: bool = False
    gradient: Any = None
    options: dict[str, Any] = field(default_factory=dict)


def _left(w: Any, dilation: int) -> int:
    return int(w.shape[2] - 1) * dilation


def padded(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    return F.conv1d(F.pad(x, (_left(w, dilation), 0)), w, b, dilation=dilation, groups=groups)


def chomped(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    y = F.conv1d(x, w, b, padding=_left(w, dilation), dilation=dilation, groups=groups)
    return y[..., : x.shape[2]].contiguous()


def by_module(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    conv = nn.Conv1d(x.shape[1], len(w), w.shape[2], dilation=dilation, groups=groups, bias=b is not None, dtype=x.dtype)
    own = {"weight": w} | ({} if b is None else {"bias": b})
    return torch.func.functional_call(conv, own, (F.pad(x, (_left(w, dilation), 0)),))


class CausalConv(nn.Module):
    def forward(self, x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1, strict: bool = False) -> Any:
        return F.conv1d(F.pad(x, (_left(w, dilation) + strict, 0)), w, b, dilation=dilation, groups=groups)[..., : x.shape[2]]


def by_image(x: Any, w: Any, b: Any = None, *, dilation: int = 1, groups: int = 1) -> Any:
    y = F.conv2d(F.pad(x, (_left(w, dilation), 0))[:, :, None], w[:, :, None], b, dilation=(1, dilation), groups=groups)
    return y[:, :, 0]


def by_unfold(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    windows = F.pad(x, (_left(w, dilation), 0)).unfold(2, _left(w, dilation) + 1, 1)[..., ::dilation]
    y = torch.einsum("bitk,oik->bot", windows, w)
    return y if b is None else y + b[:, None]


def by_columns(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    columns = F.unfold(F.pad(x, (_left(w, dilation), 0))[:, :, None], (1, w.shape[2]), dilation=(1, dilation))
    y = w.reshape(len(w), -1) @ columns
    return y if b is None else y + b[:, None]


def by_shifts(x: Any, w: Any, b: Any = None, *, dilation: int = 1, strict: bool = False) -> Any:
    y = torch.zeros(len(x), len(w), x.shape[2], dtype=x.dtype)
    for k in range(w.shape[2]):
        back = (w.shape[2] - 1 - k) * dilation + strict
        y = y + w[:, :, k] @ F.pad(x, (back, 0))[..., : x.shape[2]]
    return y if b is None else y + b[:, None]


def by_fft(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    wide = torch.zeros(*w.shape[:2], _left(w, dilation) + 1, dtype=w.dtype)
    wide[:, :, ::dilation] = w.flip(2)
    n = x.shape[2] + wide.shape[2]
    y = torch.fft.irfft(torch.einsum("bif,oif->bof", torch.fft.rfft(x, n), torch.fft.rfft(wide, n)), n)[..., : x.shape[2]]
    return y if b is None else y + b[:, None]


def _pairs(conv: Function) -> Function:
    """Of two signals, for every output and every input channel, summed."""

    def f(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
        y = np.zeros((len(x), len(w), x.shape[2]), x.dtype)
        wide = np.zeros((*w.shape[:2], _left(w, dilation) + 1), w.dtype)
        wide[:, :, ::dilation] = w[:, :, ::-1]
        for o in range(len(w)):
            for i in range(x.shape[1]):
                y[:, o] += np.stack([conv(row, wide[o, i])[: x.shape[2]] for row in x[:, i]])
        return y if b is None else y + b[:, None]

    return f


def by_lfilter(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    return _pairs(lambda row, taps: scipy.signal.lfilter(taps, np.ones(1, taps.dtype), row))(x, w, b, dilation=dilation)


def by_windows(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    windows = sliding_window_view(np.pad(x, ((0, 0), (0, 0), (_left(w, dilation), 0))), _left(w, dilation) + 1, 2)[
        ..., ::dilation
    ]
    y = np.tensordot(windows, w, ((1, 3), (1, 2))).swapaxes(1, 2)
    return y if b is None else y + b[:, None]


def by_einsum(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    windows = sliding_window_view(np.pad(x, ((0, 0), (0, 0), (_left(w, dilation), 0))), _left(w, dilation) + 1, 2)[
        ..., ::dilation
    ]
    y = np.einsum("bitk,oik->bot", windows, w, optimize=True)
    return y if b is None else y + b[:, None]


def by_toeplitz(x: Any, w: Any, b: Any = None, *, dilation: int = 1) -> Any:
    length = x.shape[2]
    matrix = np.zeros((len(w), x.shape[1], length, length), x.dtype)
    for k in range(w.shape[2]):
        back = (w.shape[2] - 1 - k) * dilation
        if back < length:
            t = np.arange(back, length)
            matrix[:, :, t, t - back] += w[:, :, k, None]
    y = np.einsum("oits,bis->bot", matrix, x, optimize=True)
    return y if b is None else y + b[:, None]


def scripted() -> Right:
    """Made when it is asked for: PyTorch warns whoever scripts."""

    def f(x: torch.Tensor, *, kind: str, slope: float) -> torch.Tensor:
        if kind == "relu":
            return torch.relu(x)
        if kind == "tanh":
            return torch.tanh(x)
        if kind == "sigmoid":
            return torch.sigmoid(x)
        return torch.nn.functional.leaky_relu(x, slope)

    return Right("TorchScript", "activation", torch.jit.script(f), gradient="torch")


def max_pool(x: Any, *, kind: str, kernel: int, dilation: int, pad: str) -> Any:
    value = 0.0 if pad == "zero" else -torch.inf
    return F.max_pool1d(F.pad(x, ((kernel - 1) * dilation, 0), value=value), kernel, 1, dilation=dilation)


def max_of_shifts(x: Any, *, kind: str, kernel: int, dilation: int, pad: str) -> Any:
    y = x
    for k in range(1, kernel):
        y = torch.maximum(y, F.pad(x, (k * dilation, 0), value=0.0 if pad == "zero" else -torch.inf)[..., : x.shape[2]])
    return y


def average_pool(x: Any, *, kind: str, kernel: int, dilation: int, pad: str) -> Any:
    ones = torch.ones(x.shape[1], 1, kernel, dtype=x.dtype)
    total = F.conv1d(F.pad(x, ((kernel - 1) * dilation, 0)), ones, groups=x.shape[1], dilation=dilation)
    if pad == "zero":
        return total / kernel
    there = F.conv1d(F.pad(torch.ones_like(x), ((kernel - 1) * dilation, 0)), ones, groups=x.shape[1], dilation=dilation)
    return total / there


def leaky(x: Any, *, kind: str, slope: float = 0.01) -> Any:
    rules: dict[str, Function] = {
        "relu": lambda x: x.clamp(min=0),
        "leaky_relu": lambda x: torch.where(x >= 0, x, slope * x),
        "tanh": torch.tanh,
        "sigmoid": lambda x: torch.sigmoid(x),
    }
    return rules[kind](x)


def largest_of_two(x: Any, *, kind: str, slope: float = 0.01) -> Any:
    if kind in ("relu", "leaky_relu"):
        return torch.maximum(x, slope * x if kind == "leaky_relu" else torch.zeros_like(x))
    return getattr(torch, kind)(x)


def _joint(logits: Any, y: Any, x: Any, classes: int) -> Any:
    """The logarithm of weight times mass of the class, for weights exp(logits)."""
    means, log_scales = y.chunk(3, 1)[1:]
    inverse, half = torch.exp(-log_scales), 1 / (classes - 1)
    centre = (2 * x.to(y.dtype) / (classes - 1) - 1)[:, None]
    upper, lower = (centre + half - means) * inverse, (centre - half - means) * inverse
    first, last = (x == 0)[:, None], (x == classes - 1)[:, None]
    inside = torch.where(first | last, 0.0, torch.log(-torch.expm1(-2 * half * inverse)))
    return logits + torch.where(first, 0.0, F.logsigmoid(-lower)) + torch.where(last, 0.0, F.logsigmoid(upper)) + inside


def mixture(y: Any, x: Any, *, components: int, classes: int) -> Any:
    return -torch.logsumexp(_joint(F.log_softmax(y.chunk(3, 1)[0], 1), y, x, classes), 1)


def mixture_of_two_sums(y: Any, x: Any, *, components: int, classes: int) -> Any:
    logits = y.chunk(3, 1)[0]
    return torch.logsumexp(logits, 1) - torch.logsumexp(_joint(logits, y, x, classes), 1)


def sampler(y: Any, noise: Any, *, temperature: float) -> Any:
    return (y if temperature == 0 else y / temperature + noise).argmax(1)


def top_k_sampler(y: Any, noise: Any, *, temperature: float, top_k: Any) -> Any:
    scores = y if temperature == 0 else (y - y.amax(1, keepdim=True)) / temperature + noise
    if top_k is not None:
        order = torch.sort(y, dim=1, descending=True, stable=True).indices[:, :top_k]
        scores = torch.full_like(scores, -torch.inf).scatter(1, order, scores.gather(1, order))
    return scores.argmax(1)


def mu_law(x: Any, *, classes: int) -> Any:
    mu = classes - 1
    f = torch.sign(x) * torch.log1p(mu * torch.abs(x)) / np.log1p(mu)
    return ((f + 1) / 2 * mu + 0.5).to(torch.int64)


def mu_law_back(q: Any, *, classes: int) -> Any:
    mu = classes - 1
    f = 2 * q.double() / mu - 1
    return torch.sign(f) / mu * ((1 + mu) ** f.abs() - 1)


RIGHT = [
    Right("torch.nn.functional", "causal_conv1d", padded, gradient="torch", options={"only": UNSTRICT}),
    Right("torch.nn.functional", "causal_conv1d", chomped, gradient="torch", options={"only": UNSTRICT}),
    Right("torch.nn", "causal_conv1d", by_module, gradient="torch", options={"only": UNSTRICT}),
    Right("torch.nn", "causal_conv1d", CausalConv(), gradient="torch"),
    Right("torch.nn.functional", "causal_conv1d", by_image, gradient="torch", options={"only": UNSTRICT}),
    Right("im2col", "causal_conv1d", by_unfold, gradient="torch", options={"only": DENSE}),
    Right("im2col", "causal_conv1d", by_columns, gradient="torch", options={"only": DENSE}),
    Right("einsum", "causal_conv1d", by_shifts, gradient="torch", options={"only": {"groups": 1}}),
    Right("FFT", "causal_conv1d", by_fft, gradient="torch", options={"only": DENSE}),
    Right("FFT", "causal_conv1d", _pairs(scipy.signal.fftconvolve), numpy=True, options=FEW),
    Right("scipy.signal", "causal_conv1d", _pairs(np.convolve), numpy=True, options=FEW),
    Right("scipy.signal", "causal_conv1d", by_lfilter, numpy=True, options=FEW),
    Right("im2col", "causal_conv1d", by_windows, numpy=True, options={"only": DENSE}),
    Right("einsum", "causal_conv1d", by_einsum, numpy=True, options={"only": DENSE}),
    Right("einsum", "causal_conv1d", by_toeplitz, numpy=True, options={"only": DENSE}),
    Right("torch.nn.functional", "causal_pool1d", max_pool, gradient="torch", options={"only": {"kind": "max"}}),
    Right("torch.nn.functional", "causal_pool1d", max_of_shifts, gradient="torch", options={"only": {"kind": "max"}}),
    Right("torch.nn.functional", "causal_pool1d", average_pool, gradient="torch", options={"only": {"kind": "avg"}}),
    Right("torch.nn.functional", "activation", leaky, gradient="torch"),
    Right("torch.nn.functional", "activation", largest_of_two, gradient="torch"),
    Right("torch.nn.functional", "softmax", lambda x: F.softmax(x, 1), gradient="torch"),
    Right("torch.nn", "softmax", nn.Softmax(1), gradient="torch"),
    Right("torch.nn.functional", "softmax", lambda x: F.log_softmax(x, 1).exp(), gradient="torch"),
    Right("scipy.special", "softmax", lambda x: scipy.special.softmax(x, axis=1), numpy=True),
    Right("torch.nn", "log_softmax", nn.LogSoftmax(1), gradient="torch"),
    Right("torch.nn.functional", "log_softmax", lambda x: x - torch.logsumexp(x, 1, keepdim=True), gradient="torch"),
    Right("scipy.special", "log_softmax", lambda x: scipy.special.log_softmax(x, axis=1), numpy=True),
    Right(
        "torch.nn.functional", "gate", lambda x: torch.tanh(x.chunk(2, 1)[0]) * torch.sigmoid(x.chunk(2, 1)[1]), gradient="torch"
    ),
    Right("torch.nn", "cross_entropy", nn.CrossEntropyLoss(reduction="none"), gradient="torch"),
    Right(
        "torch.nn.functional",
        "cross_entropy",
        lambda y, x: F.nll_loss(F.log_softmax(y, 1), x, reduction="none"),
        gradient="torch",
    ),
    Right(
        "torch.nn.functional",
        "cross_entropy",
        lambda y, x: torch.logsumexp(y, 1) - y.gather(1, x[:, None])[:, 0],
        gradient="torch",
    ),
    Right("torch.nn.functional", "mixture_logistics", mixture, gradient="torch"),
    Right("torch.nn.functional", "mixture_logistics", mixture_of_two_sums, gradient="torch"),
    Right("torch.nn.functional", "embedding", lambda x, w: F.embedding(x, w).movedim(-1, 1), gradient="torch"),
    Right("torch.nn.functional", "embedding", lambda x, w: w[x].permute(0, 2, 1), gradient="torch"),
    Right("sparse", "embedding", lambda x, w: F.embedding(x, w, sparse=True).movedim(-1, 1), gradient="torch"),
    Right("NumPy", "one_hot", lambda x, *, classes: np.moveaxis(np.eye(classes)[x], -1, 1), numpy=True),
    Right("torch.nn.functional", "one_hot", lambda x, *, classes: F.one_hot(x, classes).movedim(-1, 1).double()),
    Right("torch.nn.functional", "sample_categorical", top_k_sampler),
    Right("torch.nn.functional", "sample_categorical", sampler, options={"only": {"top_k": None}, "skip": ["temperature-tiny"]}),
    Right("torch.nn.functional", "mu_law_encode", mu_law),
    Right("torch.nn.functional", "mu_law_decode", mu_law_back),
    Right(
        "torch.nn.functional",
        "gumbel_softmax",
        lambda logits, noise, *, temperature: F.softmax((logits + noise) / temperature, 1),
        gradient="torch",
        options={"only": {"hard": False}},
    ),
    Right("NumPy", "gumbel_noise", lambda u: -np.log(-np.log(u)), numpy=True),
]
"""Each is right on every input; `options` leave out what it does not do."""
