"""The functions of an element far out, at their kinks, and next to PyTorch's; laws and golden cases look at the rest."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch

from refar import ops
from refar.analysis.kinks import kinks
from refar.exact import literal
from refar.oracle.elementwise import activation, activation_slope
from refar.rounding import bound
from refar.torch import lower

KINDS = get_args(ops.FunctionName)
FAR = np.array([-1e30, -1e4, -700.0, -90.0, -38.0, -20.0, 20.0, 38.0, 90.0, 700.0, 1e4, 1e30])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_far_out_nothing_overflows_and_pytorch_says_the_same(kind: ops.FunctionName, dtype: Any) -> None:
    """A warning of NumPy is an error here."""
    op, unit = ops.Activation(kind), bound.FLOAT32 if dtype == np.float32 else bound.FLOAT64
    x = FAR.astype(dtype)
    y = activation(op, x)
    slope = activation_slope(op, x, y)
    assert y.dtype == slope.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(slope).all()
    leaf = torch.tensor(x, requires_grad=True)
    theirs = lower.activation(op, leaf)
    theirs.sum().backward()
    allowed = 2 * bound.forward(op, [x.astype(float)], {}, 0, unit)
    assert (np.abs(theirs.detach().numpy().astype(float) - y) <= allowed).all()
    assert leaf.grad is not None
    defined = np.isfinite(leaf.grad.numpy())  # of gelu_tanh PyTorch loses it where a square overflows
    assert defined[1:-1].all()
    (error,), _ = bound.backward(op, [x.astype(float)], np.ones(x.shape), {}, unit)
    assert error is not None
    assert (np.abs(leaf.grad.numpy().astype(float) - slope) <= 2 * error)[defined].all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kinks(ops.Activation(kind, alpha=0.5))])
def test_the_derivative_at_a_kink_is_that_of_the_definition_and_lies_between_its_sides(kind: ops.FunctionName) -> None:
    op = ops.Activation(kind, alpha=0.5, low=-0.5, high=2.0)
    for kink in kinks(op):
        x = np.array([kink.at])
        slope = activation_slope(op, x, activation(op, x))
        exact = literal.gradient(op, [x[None]], np.ones((1, 1)))["0"].astype(float)
        np.testing.assert_allclose(slope, exact[0], rtol=1e-15)
        assert min(kink.left, kink.right) - 1e-15 <= slope[0] <= max(kink.left, kink.right) + 1e-15
        leaf = torch.tensor(x, requires_grad=True)
        lower.activation(op, leaf).sum().backward()
        assert leaf.grad is not None
        np.testing.assert_allclose(leaf.grad.numpy(), slope, rtol=1e-15)
        for side, derivative in ((-1, kink.left), (1, kink.right)):
            beside = x + side * 2.0**-20
            np.testing.assert_allclose(activation_slope(op, beside, activation(op, beside)), derivative, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_infinitely_small_imaginary_part_carries_the_derivative(kind: ops.FunctionName) -> None:
    op, x = ops.Activation(kind, alpha=0.7, low=-0.5, high=2.0), np.array([-60.0, -7.0, -1.3, -0.2, 0.4, 1.7, 5.0, 60.0])
    moved = activation(op, x + 1j * 2.0**-100)
    np.testing.assert_allclose(moved.real, activation(op, x), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(moved.imag * 2.0**100, activation_slope(op, x, activation(op, x)), rtol=1e-12, atol=1e-13)
