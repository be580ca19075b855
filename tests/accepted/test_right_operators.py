"""Right code that nobody here bent to fit: pooling, activations, losses, samplers and quantisers as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from refar import golden
from refar.testing import check_function

Array = np.ndarray


def max_pool(x: Any, *, kind: str, kernel: int, dilation: int = 1, pad: str = "zero") -> Any:
    fill = 0.0 if pad == "zero" else -np.inf
    return F.max_pool1d(F.pad(x, ((kernel - 1) * dilation, 0), value=fill), kernel, 1, dilation=dilation)


def max_of_shifts(x: Any, *, kind: str, kernel: int, dilation: int = 1, pad: str = "zero") -> Any:
    fill = 0.0 if pad == "zero" else -np.inf
    each = [F.pad(x, (k * dilation, 0), value=fill)[..., : x.shape[-1]] for k in range(kernel)]
    return torch.stack(each).amax(0)


def max_by_unfold(x: Any, *, kind: str, kernel: int, pad: str = "zero") -> Any:
    return F.pad(x, (kernel - 1, 0), value=0.0 if pad == "zero" else -np.inf).unfold(-1, kernel, 1).max(-1).values


def avg_pool(x: Any, *, kind: str, kernel: int, pad: str = "zero") -> Any:
    return F.avg_pool1d(F.pad(x, (kernel - 1, 0)), kernel, 1)


def avg_by_convolution(x: Any, *, kind: str, kernel: int, dilation: int = 1, pad: str = "zero") -> Any:
    w = torch.full((x.shape[1], 1, kernel), 1 / kernel, dtype=x.dtype)
    return F.conv1d(F.pad(x, ((kernel - 1) * dilation, 0)), w, groups=x.shape[1], dilation=dilation)


def numpy_max(x: Array, *, kind: str, kernel: int, dilation: int = 1, pad: str = "zero") -> Array:
    fill = 0.0 if pad == "zero" else -np.inf
    p = np.pad(x, ((0, 0), (0, 0), ((kernel - 1) * dilation, 0)), constant_values=fill)
    return np.max([p[..., k * dilation : k * dilation + x.shape[-1]] for k in range(kernel)], axis=0)


def numpy_mean(x: Array, *, kind: str, kernel: int, dilation: int = 1, pad: str = "zero") -> Array:
    p = np.pad(x, ((0, 0), (0, 0), ((kernel - 1) * dilation, 0)))
    total = np.sum([p[..., k * dilation : k * dilation + x.shape[-1]] for k in range(kernel)], axis=0, dtype=x.dtype)
    if pad == "zero":
        return total / kernel
    there = np.minimum(np.arange(x.shape[-1]) // dilation + 1, kernel)
    return (total / there).astype(x.dtype)


MAX, AVG = {"kind": "max"}, {"kind": "avg"}
POOLS: dict[str, tuple[Callable[..., Any], dict[str, Any], bool]] = {
    "F.max_pool1d": (max_pool, MAX, True),
    "the maximum of shifts": (max_of_shifts, MAX, True),
    "max of unfold": (max_by_unfold, {**MAX, "dilation": 1}, True),
    "F.avg_pool1d": (avg_pool, {**AVG, "dilation": 1, "pad": "zero"}, True),
    "the average as a convolution": (avg_by_convolution, {**AVG, "pad": "zero"}, True),
    "np.max": (numpy_max, MAX, False),
    "np.sum": (numpy_mean, AVG, False),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools(name: str) -> None:
    f, only, tensors = POOLS[name]
    options: dict[str, Any] = {"convert": torch.from_numpy, "gradient": "torch"} if tensors else {}
    check_function(f, "causal_pool1d", only=only, **options)


ACTIVATIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "F.relu": (F.relu, "relu"),
    "clamp": (lambda x: x.clamp(min=0), "relu"),
    "x times its sign": (lambda x: x * (x > 0), "relu"),
    "F.leaky_relu": (lambda x, slope: F.leaky_relu(x, slope), "leaky_relu"),
    "where": (lambda x, slope: torch.where(x >= 0, x, slope * x), "leaky_relu"),
    "torch.tanh": (torch.tanh, "tanh"),
    "tanh by sigmoid": (lambda x: 2 * torch.sigmoid(2 * x) - 1, "tanh"),
    "torch.sigmoid": (torch.sigmoid, "sigmoid"),
    "sigmoid by tanh": (lambda x: 0.5 * torch.tanh(0.5 * x) + 0.5, "sigmoid"),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    f, kind = ACTIVATIONS[name]

    def activation(x: Any, *, kind: str, slope: float = 0.0) -> Any:
        return f(x, slope) if kind == "leaky_relu" else f(x)

    check_function(activation, "activation", convert=torch.from_numpy, gradient="torch", only={"kind": kind})


def normal(x: Any) -> Any:
    return 0.5 * torch.erfc(-x / 2**0.5)


OF_AN_ELEMENT: dict[str, tuple[str, Callable[..., Any]]] = {
    "F.elu": ("elu", lambda x, *, alpha: F.elu(x, alpha)),
    "elu by where": ("elu", lambda x, *, alpha: torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))),
    "F.selu": ("selu", F.selu),
    "selu by elu": ("selu", lambda x: 1.0507009873554805 * F.elu(x, 1.6732632423543772)),
    "F.gelu": ("gelu", F.gelu),
    "gelu by erf": ("gelu", lambda x: 0.5 * x * (1 + torch.erf(x * 0.5**0.5))),
    "gelu by erfc": ("gelu", lambda x: x * normal(x)),
    "F.gelu, tanh": ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
    "gelu by tanh": ("gelu_tanh", lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x.pow(3))))),
    "gelu by sigmoid": ("gelu_tanh", lambda x: x * torch.sigmoid((8 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "F.silu": ("silu", F.silu),
    "x times sigmoid": ("silu", lambda x: x * x.sigmoid()),
    "F.softplus": ("softplus", F.softplus),
    "logaddexp": ("softplus", lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    "logarithm of sigmoid": ("softplus", lambda x: -F.logsigmoid(-x)),
    "F.softsign": ("softsign", F.softsign),
    "F.hardtanh": ("clip", lambda x, *, low, high: F.hardtanh(x, low, high)),
    "clip by clamp": ("clip", lambda x, *, low, high: x.clamp(low, high)),
    "minimum of maximum": ("clip", lambda x, *, low, high: torch.minimum(x.maximum(x.new_tensor(low)), x.new_tensor(high))),
    "relu6 of x + 3": ("hard_sigmoid", lambda x: F.relu6(x + 3) / 6),
    "F.hardswish": ("hard_swish", F.hardswish),
    "x times relu6": ("hard_swish", lambda x: x * F.relu6(x + 3) / 6),
    "F.mish": ("mish", F.mish),
    "mish by softplus": ("mish", lambda x: x * torch.tanh(F.softplus(x))),
    "torch.sin": ("sin", torch.sin),
    "snake": ("snake", lambda x, *, alpha: x + torch.sin(alpha * x) ** 2 / alpha),
    "snake by pow": ("snake", lambda x, *, alpha: x + alpha**-1 * torch.sin(alpha * x).pow(2)),
}


def normed(d: Any, eps: float) -> Any:
    return d / torch.sqrt((d * d).mean(1, keepdim=True) + eps)


def affine(y: Any, w: Any, b: Any = None) -> Any:
    return y * w[:, None] + (0 if b is None else b[:, None])


def by_variance(x: Any, w: Any, b: Any = None, *, eps: float) -> Any:
    var, mean = torch.var_mean(x, 1, unbiased=False, keepdim=True)
    return affine((x - mean) * torch.rsqrt(var + eps), w, b)


OF_CHANNELS: dict[str, tuple[str, Callable[..., Any]]] = {
    "F.layer_norm": (
        "layer_norm",
        lambda x, w, b=None, *, eps: F.layer_norm(x.transpose(1, 2), w.shape, w, b, eps).transpose(1, 2),
    ),
    "layer norm step by step": (
        "layer_norm",
        lambda x, w, b=None, *, eps: affine(normed(x - x.mean(1, keepdim=True), eps), w, b),
    ),
    "layer norm by a variance": ("layer_norm", by_variance),
    "F.rms_norm": ("rms_norm", lambda x, w, *, eps: F.rms_norm(x.transpose(1, 2), w.shape, w, eps).transpose(1, 2)),
    "rms norm step by step": ("rms_norm", lambda x, w, *, eps: affine(normed(x, eps), w)),
    "rms norm by rsqrt": ("rms_norm", lambda x, w, *, eps: affine(x * torch.rsqrt(x.pow(2).mean(1, True) + eps), w)),
    "F.prelu": ("prelu", F.prelu),
    "where, with 0 above": ("prelu", lambda x, w: torch.where(x >= 0, x, w[:, None] * x)),
    "where": ("prelu", lambda x, w: torch.where(x > 0, x, w[:, None] * x)),
}


@pytest.mark.parametrize("name", OF_CHANNELS)
def test_norms_and_slopes_of_channels(name: str) -> None:
    operator, f = OF_CHANNELS[name]
    check_function(f, operator, convert=torch.from_numpy, gradient="torch")


@pytest.mark.parametrize("name", OF_AN_ELEMENT)
def test_functions_of_an_element(name: str) -> None:
    operator, f = OF_AN_ELEMENT[name]
    check_function(f, operator, convert=torch.from_numpy, gradient="torch")


def test_hardsigmoid_of_pytorch_passes_in_float32() -> None:
    """Its gradient takes 1/6 in float32, in float64 too."""
    check_function(F.hardsigmoid, "hard_sigmoid", convert=torch.from_numpy, gradient="torch", dtypes=("float32",))
    with pytest.raises(AssertionError, match="float64"):
        check_function(F.hardsigmoid, "hard_sigmoid", convert=torch.from_numpy, gradient="torch")


def gate_by_chunk(x: Any) -> Any:
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


def gate_by_slices(x: Any) -> Any:
    n = x.shape[1] // 2
    return torch.sigmoid(x[:, n:]) * torch.tanh(x[:, :n])


@pytest.mark.parametrize("f", [gate_by_chunk, gate_by_slices])
def test_gates(f: Callable[..., Any]) -> None:
    check_function(f, "gate", convert=torch.from_numpy, gradient="torch")


CROSS_ENTROPIES: dict[str, Callable[..., Any]] = {
    "F.cross_entropy": lambda y, x: F.cross_entropy(y, x, reduction="none"),
    "log_softmax and gather": lambda y, x: -F.log_softmax(y, 1).gather(1, x[:, None])[:, 0],
    "logsumexp": lambda y, x: torch.logsumexp(y, 1) - y.gather(1, x[:, None])[:, 0],
    "F.nll_loss": lambda y, x: F.nll_loss(F.log_softmax(y, 1), x, reduction="none"),
    "distribution": lambda y, x: -torch.distributions.Categorical(logits=y.movedim(1, -1)).log_prob(x),
    "one-hot": lambda y, x: -(F.log_softmax(y, 1) * F.one_hot(x, y.shape[1]).movedim(-1, 1)).sum(1),
}


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_cross_entropies(name: str) -> None:
    operator = "cross_entropy"
    assert operator in golden.OPERATORS, sorted(golden.OPERATORS)
    check_function(CROSS_ENTROPIES[name], operator, convert=torch.from_numpy, gradient="torch")
