"""Bounds hold at every magnitude: what PyTorch and NumPy compute in float32, from the smallest normal numbers to the largest.

The numbers are drawn over the whole range of exponents, each by itself, so that sums cancel, gates saturate, and products
vanish on the way and come back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from refar import ops
from refar.oracle import node
from refar.rounding import bound

SMALLEST, LARGEST, FAR = 2.0**-126, 1e30, 300


def rounded(x: Any) -> Any:
    """The nearest numbers that float32 holds."""
    return x.astype(np.float32).astype(np.float64)


def wild(rng: np.random.Generator, shape: tuple[int, ...], decades: float) -> Any:
    """Of random sign and exponent, some of them 0, none subnormal."""
    x = rng.normal(size=shape) * 10 ** rng.uniform(-decades, decades, shape) * (rng.random(shape) < 0.9)
    x = np.clip(x, -LARGEST, LARGEST).astype(np.float32).astype(np.float64)
    return np.where(np.abs(x) < SMALLEST, 0, x)


def conv1d(x: Any, weight: Any, bias: Any) -> Any:
    return F.conv1d(F.pad(x, (4, 0)), weight, bias, dilation=2, groups=2)


def conv2d(x: Any, weight: Any, bias: Any) -> Any:
    mask = torch.ones_like(weight)
    mask[:, :, 1, 1:] = mask[:, :, 2:] = 0
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), weight * mask, bias)


X, IMAGE = (2, 6, 40), (2, 3, 6, 7)
CONV1D = ops.Conv1d(4, 3, 2, groups=2), [X], {"weight": (4, 3, 3), "bias": (4,)}, conv1d
CONV2D = ops.Conv2d(4, (3, 3), "A"), [IMAGE], {"weight": (4, 3, 3, 3), "bias": (4,)}, conv2d
OPERATORS: dict[str, tuple[ops.AnyOp, list[Any], dict[str, Any], Callable[..., Any]]] = {
    "conv1d": CONV1D,
    "conv2d": CONV2D,
    "add": (ops.Add(), [X, X, X, X[:2]], {}, lambda a, b, c, d: a + b + c + d[:, :, None]),
    "multiply": (ops.Multiply(), [X, X, X], {}, lambda a, b, c: a * b * c),
    "multiply from the right": (ops.Multiply(), [X, X, X], {}, lambda a, b, c: a * (b * c)),
    "multiply a constant": (ops.Multiply(), [X, X[:2], X], {}, lambda a, b, c: a * b[:, :, None] * c),
    "affine": (ops.Affine(0.7, -0.3), [X], {}, lambda x: 0.7 * x - 0.3),
    "gate": (ops.Gate(), [X], {}, lambda x: torch.tanh(x[:, :3]) * torch.sigmoid(x[:, 3:])),
    "tanh": (ops.Activation("tanh"), [X], {}, torch.tanh),
    "sigmoid": (ops.Activation("sigmoid"), [X], {}, torch.sigmoid),
    "relu": (ops.Activation("relu"), [X], {}, torch.relu),
    "leaky_relu": (ops.Activation("leaky_relu", 0.3), [X], {}, lambda x: F.leaky_relu(x, 0.3)),
    "elu": (ops.Activation("elu", alpha=0.7), [X], {}, lambda x: F.elu(x, 0.7)),
    "selu": (ops.Activation("selu"), [X], {}, F.selu),
    "gelu": (ops.Activation("gelu"), [X], {}, F.gelu),
    "gelu_tanh": (ops.Activation("gelu_tanh"), [X], {}, lambda x: F.gelu(x, approximate="tanh")),
    "silu": (ops.Activation("silu"), [X], {}, F.silu),
    "silu, written out": (ops.Activation("silu"), [X], {}, lambda x: x * torch.sigmoid(x)),
    "softplus": (ops.Activation("softplus"), [X], {}, F.softplus),
    "softplus, written out": (ops.Activation("softplus"), [X], {}, lambda x: torch.logaddexp(x, torch.zeros_like(x))),
    "softsign": (ops.Activation("softsign"), [X], {}, F.softsign),
    "clip": (ops.Activation("clip", low=-0.7, high=0.9), [X], {}, lambda x: F.hardtanh(x, -0.7, 0.9)),
    "clamp": (ops.Activation("clip", low=-0.7, high=0.9), [X], {}, lambda x: x.clamp(-0.7, 0.9)),
    "hard_sigmoid": (ops.Activation("hard_sigmoid"), [X], {}, F.hardsigmoid),
    "hard_sigmoid, clipped before": (ops.Activation("hard_sigmoid"), [X], {}, lambda x: (F.hardtanh(x, -3, 3) + 3) / 6),
    "hard_swish": (ops.Activation("hard_swish"), [X], {}, F.hardswish),
    "mish": (ops.Activation("mish"), [X], {}, F.mish),
    "mish, written out": (ops.Activation("mish"), [X], {}, lambda x: x * torch.tanh(F.softplus(x))),
    "sin": (ops.Activation("sin"), [X], {}, torch.sin),
    "snake": (ops.Activation("snake", alpha=0.8), [X], {}, lambda x: x + (0.8 * x).sin() ** 2 / 0.8),
    "snake, as in DAC": (ops.Activation("snake", alpha=0.8), [X], {}, lambda x: x + (0.8 + 1e-9) ** -1 * (0.8 * x).sin().pow(2)),
    "softmax": (ops.Softmax(), [X], {}, lambda x: x.softmax(1)),
    "average": (ops.Pool1d("avg", 3, "zero", 1), [X], {}, lambda x: F.avg_pool1d(F.pad(x, (2, 0)), 3, 1)),
    "scale_shift": (
        ops.ScaleShift(),
        [X],
        {"weight": (6,), "bias": (6,)},
        lambda x, weight, bias: along(weight) * x + along(bias),
    ),
    "prelu": (ops.PRelu(), [X], {"weight": (6,)}, F.prelu),
}


def along(weight: Any) -> Any:
    return weight[:, None]


def normed(d: Any, eps: float) -> Any:
    return d / torch.sqrt((d * d).mean(1, keepdim=True) + eps)


NORMS: dict[str, tuple[ops.AnyOp, list[Any], dict[str, Any], Callable[..., Any]]] = {
    "layer_norm": (
        ops.Norm("layer", 1e-5),
        [X],
        {"weight": (6,), "bias": (6,)},
        lambda x, weight, bias: along(weight) * normed(x - x.mean(1, keepdim=True), 1e-5) + along(bias),
    ),
    "layer_norm by variance": (
        ops.Norm("layer", 1e-3, bias=False),
        [X],
        {"weight": (6,)},
        lambda x, weight: along(weight) * (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-3).sqrt(),
    ),
    "rms_norm": (ops.Norm("rms", 1e-5, bias=False), [X], {"weight": (6,)}, lambda x, weight: along(weight) * normed(x, 1e-5)),
    "rms_norm by rsqrt": (
        ops.Norm("rms", 0.1, bias=False),
        [X],
        {"weight": (6,)},
        lambda x, weight: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 0.1) * along(weight),
    ),
}


def worst(came: Any, exact: Any, allowed: Any) -> float:
    """The largest error over its bound, of numbers that did not overflow."""
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(np.asarray(came, np.float64) - exact)
        return float(np.where(np.isfinite(came) & (off > 0), off / allowed, 0).max(initial=0))


@pytest.mark.parametrize("decades", [0.0, 3.0, 12.0, 25.0, 37.0])
@pytest.mark.parametrize("name", OPERATORS | NORMS)
def test_float32_at_every_magnitude(name: str, decades: float) -> None:
    op, shapes, parameters, function = (OPERATORS | NORMS)[name]
    rng = np.random.default_rng((len(name), int(decades)))
    for _ in range(5):
        args = [wild(rng, shape, decades) for shape in shapes]
        own = {key: wild(rng, shape, decades) for key, shape in parameters.items()}
        compare(op, args, own, function, rng, decades)


@pytest.mark.parametrize("name", OPERATORS | NORMS)
def test_bounds_are_near_where_all_numbers_are_of_one_magnitude(name: str) -> None:
    """Of values and of each gradient: what PyTorch computes is within them, and not far within."""
    op, shapes, parameters, function = (OPERATORS | NORMS)[name]
    rng = np.random.default_rng(0)
    args, own = ([rng.normal(size=shape) for shape in shapes], {key: rng.normal(size=shape) for key, shape in parameters.items()})
    found = compare(op, [rounded(x) for x in args], {key: rounded(w) for key, w in own.items()}, function, rng, 0)
    assert all(ratio == 0 or ratio > 1 / FAR for ratio in found), found


@pytest.mark.parametrize(("op", "shapes", "parameters", "function"), [CONV1D, CONV2D])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_factors_rounded_first_to_a_shorter_format(
    op: ops.AnyOp, shapes: Any, parameters: Any, function: Any, scale: float, dtype: str
) -> None:
    """Forward and backward; weights of 1e-5 and less are subnormal in float16 or vanish."""
    rng, kind = np.random.default_rng(0), getattr(torch, dtype)

    class Rounded(torch.autograd.Function):
        """Rounds the gradient too, as a backend that multiplies in a shorter format does."""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.to(kind).to(x.dtype)

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            return gradients[0]

    class Back(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            return gradients[0].to(kind).to(gradients[0].dtype)

    def short(x: Any, weight: Any, bias: Any) -> Any:
        y = Back.apply(function(Rounded.apply(x), Rounded.apply(weight), 0 * bias))
        return y + bias.reshape(-1, *[1] * (y.ndim - 2))

    args, own = [wild(rng, shape, 0) for shape in shapes], {key: wild(rng, shape, 0) for key, shape in parameters.items()}
    own["weight"] = (own["weight"] * scale).astype(np.float32).astype(np.float64)
    reduced = {"float16": bound.FLOAT16, "bfloat16": bound.BFLOAT16}[dtype]
    assert max(compare(op, args, own, short, rng, 0, reduced)) > 1e-3


def compare(
    op: ops.AnyOp, args: Any, own: Any, function: Any, rng: np.random.Generator, decades: float, reduced: float = 0.0
) -> list[float]:
    """Value and gradients of PyTorch, and the value of NumPy, in float32; returns the largest error of each over its bound."""
    none = [None] * len(args)
    tensors = [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in args]
    leaves = {key: torch.tensor(a, dtype=torch.float32, requires_grad=True) for key, a in own.items()}
    y = function(*tensors, **leaves)
    dy = wild(rng, tuple(y.shape), min(decades, 5.0))
    y.backward(torch.tensor(dy, dtype=torch.float32))
    exact = node.forward(op, args, none, own, 0, np.dtype("f8"))
    allowed = bound.forward(op, args, own, 0, bound.FLOAT32, reduced=reduced)
    found = [worst(y.detach().numpy(), exact, allowed)]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        numpy = node.forward(
            op, [a.astype("f4") for a in args], none, {k: a.astype("f4") for k, a in own.items()}, 0, np.dtype("f4")
        )
    found.append(worst(numpy, exact, allowed) if not reduced else 0.0)
    dargs, _, down = node.backward(op, args, none, own, exact, dy)
    errors, own_errors = bound.backward(op, args, dy, own, bound.FLOAT32, reduced=reduced)
    for tensor, gradient, error in zip(tensors, dargs, errors, strict=True):
        assert tensor.grad is not None
        found.append(worst(tensor.grad.numpy(), gradient, error))
    for key, leaf in leaves.items():
        assert leaf.grad is not None
        found.append(worst(leaf.grad.numpy(), down[key], own_errors[key]))
    assert max(found) <= 1, [f"{ratio:.3g}" for ratio in found]
    return found


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("size", [1e17, 1e18, 1e19, 1e20, 1e30, 3e37])
def test_norms_whose_squares_overflow_have_no_bound(name: str, size: float) -> None:
    """And below they have one. PyTorch's value is 0 there, the oracle's is not, neither in float64 nor in float32."""
    op, _, parameters, function = NORMS[name]
    rng = np.random.default_rng(0)
    x = rounded(rng.uniform(0.5, 1, (2, 6, 4)) * [[[1], [-2], [3], [1], [-1], [2]]] * size)
    own = {key: rounded(rng.uniform(1, 2, shape)) for key, shape in parameters.items()}
    exact = node.forward(op, [x], [None], own, 0, np.dtype("f8"))
    own_32 = {key: value.astype("f4") for key, value in own.items()}
    np.testing.assert_allclose(node.forward(op, [x.astype("f4")], [None], own_32, 0, np.dtype("f4")), exact, rtol=1e-3, atol=1e-3)
    came = function(*(torch.tensor(a, dtype=torch.float32) for a in (x, *own.values()))).numpy()
    allowed = bound.forward(op, [x], own)
    dargs, dparams = bound.backward(op, [x], np.ones(x.shape), own)
    assert np.isinf(allowed).all() == np.isinf(np.asarray(dargs)).all() == np.isinf(dparams["weight"]).all() == (size > 1e18)
    assert (np.abs(came - exact) <= allowed).all()


def test_a_norm_of_numbers_whose_squares_overflow_float64() -> None:
    x = np.array([[1e160, 2e160]])
    for op, expected in ((ops.Norm("rms", bias=False), [1, 2]), (ops.Norm("layer", bias=False), [-0.5, 0.5])):
        y = node.forward(op, [x], [None], {"weight": np.ones(2)}, 0, np.dtype("f8"))
        np.testing.assert_allclose(y[0], expected / np.sqrt(np.mean(np.square(expected))), rtol=1e-15)
        assert np.isinf(bound.forward(op, [x], {"weight": np.zeros(2)}, unit=bound.FLOAT64)).all()


@pytest.mark.parametrize("eps", [1e-5, 1e-12])
@pytest.mark.parametrize("at", [1e3, 1e5, 1e7])
def test_no_value_of_a_norm_is_off_by_more_than_the_largest_there_is(at: float, eps: float) -> None:
    """Of equal channels far from 0 nothing is left but what rounded: values are bounded all the same, and so are gradients."""
    rng, count = np.random.default_rng(0), 8
    for spread in (0, 1e-7, 1e-3):
        op, x = ops.Norm("layer", eps, False), rounded(at * (1 + spread * rng.normal(size=(4, count, 5))))
        own = {"weight": np.ones(count)}
        z = np.abs(node.forward(op, [x], [None], own, 0, np.dtype("f8")))
        allowed = bound.forward(op, [x], own)
        assert (allowed <= (z + np.sqrt(count)) * (1 + 1e-5)).all()
        compare(op, [x], own, lambda x, weight: along(weight) * normed(x - x.mean(1, keepdim=True), eps), rng, 0)
