"""Error bounds of single operators: kept by float32 and float64, and not far above what happens."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from operator_cases import CASES

from refar import ops
from refar.exact import literal
from refar.oracle import node
from refar.rounding import bound

RNG = np.random.default_rng(7)
EXACT = {
    "relu", "maximum", "maximum of what is there", "one_hot", "one_hot of colours", "embedding", "embedding of colours", "concat",
    "slice", "shift", "shift ahead", "shift2d", "pad_channels", "position", "ones", "a mask that hides all", "dropout",
}  # fmt: skip


def in_dtype(name: str, dtype: str) -> tuple[ops.AnyOp, list[Any], dict[str, Any]]:
    op, args, own = CASES[name]
    return op, [a if a.dtype == np.int64 else a.astype(dtype) for a in args], {n: a.astype(dtype) for n, a in own.items()}


def ratio(observed: Any, allowed: Any) -> float:
    assert observed.shape == allowed.shape
    assert (observed[allowed == 0] == 0).all()
    return float((observed[allowed > 0] / allowed[allowed > 0]).max(initial=0))


@pytest.mark.parametrize("name", CASES)
def test_float32_keeps_the_bound(name: str) -> None:
    op, args, own = in_dtype(name, "float32")
    wide_args, wide = (
        [a if a.dtype == np.int64 else a.astype(np.float64) for a in args],
        {n: a.astype(float) for n, a in own.items()},
    )
    none: list[Any] = [None] * len(args)
    y = node.forward(op, args, none, own, 5, np.dtype(np.float32))
    exact = node.forward(op, wide_args, none, wide, 5, np.dtype(np.float64))
    allowed = bound.forward(op, wide_args, wide, 5, bound.FLOAT32)
    found = ratio(np.abs(y - exact), allowed)
    assert found <= 1
    assert (found == 0) == (name in EXACT)
    assert found == 0 or found > 1e-2, "the bound is loose"
    dy = RNG.normal(size=y.shape).astype(np.float32)
    dargs, _, downs = node.backward(op, args, none, own, y, dy)
    exacts, _, exact_own = node.backward(op, wide_args, none, wide, exact, dy.astype(np.float64))
    errors, own_errors = bound.backward(op, wide_args, dy.astype(np.float64), wide, bound.FLOAT32)
    for got, want, error in zip(dargs, exacts, errors, strict=True):
        assert (got is None) == (error is None)
        if got is not None and want is not None and error is not None:
            assert ratio(np.abs(got - want), error) <= 1
    for suffix, got in downs.items():
        assert ratio(np.abs(got - exact_own[suffix]), own_errors[suffix]) <= 1


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "add", "multiply", "affine", "average", "leaky_relu", "standardize"])
def test_float64_keeps_the_bound_of_rationals(name: str) -> None:
    op, args, own = in_dtype(name, "float64")
    args = [a[:1, :, :8] if a.ndim == 3 else a[:1] for a in args]
    if name == "standardize":
        args = [CASES[name][1][0][:1, :8]]
    y = node.forward(op, args, [None] * len(args), own, 5, np.dtype(np.float64))
    exact = literal.evaluate(op, args, own, classes=5 if args[0].dtype == np.int64 else 0)
    off = np.array([float(abs(Fraction(a) - b)) for a, b in zip(y.ravel().tolist(), exact.ravel(), strict=True)]).reshape(y.shape)
    assert ratio(off, bound.forward(op, args, own, 5, bound.FLOAT64)) <= 1


@pytest.mark.parametrize("order", [1, -1])
def test_the_worst_case_of_a_sum_stays_inside(order: int) -> None:
    """1 followed by many halves of its last place: added one by one from the large end, each is lost."""
    count = 4096
    x = np.concatenate([[1.0], np.full(count, 2.0**-24)])[::order].astype(np.float32).reshape(1, -1, 1)
    total = np.float32(0)
    for term in x.ravel():
        total += term
    op, own = ops.Conv1d(1, bias=False), {"weight": np.ones((1, count + 1, 1))}
    allowed = bound.forward(op, [x.astype(np.float64)], own, 0, bound.FLOAT32).item()
    off = abs(float(total) - (1 + count * 2.0**-24))
    assert off <= allowed
    assert order < 0 or off > 0.4 * allowed


def test_a_one_hot_input_counts_its_taps_alone() -> None:
    """m is the number of products that are not 0: K, not K·Q, and the bias."""
    x = np.eye(32)[None, :, :]
    own = {"weight": np.ones((1, 32, 3)), "bias": np.ones(1)}
    allowed = bound.forward(ops.Conv1d(1, 3), [x], own, 0, bound.FLOAT32)[0, 0]
    np.testing.assert_allclose(allowed, [2, 3, *[4] * 30] * bound.gamma(np.array([2, 3, *[4] * 30]), bound.FLOAT32))


def test_reduced_inputs_add_their_own_rounding() -> None:
    op, args, own = in_dtype("conv1d", "float32")
    wide = {name: array.astype(float) for name, array in own.items()}

    def rounded(array: Any) -> Any:
        """To 11 bits, as TF32 does."""
        mantissa, exponent = np.frexp(array.astype(np.float64))
        return np.ldexp(np.rint(mantissa * 2**11) / 2**11, exponent).astype(np.float32)

    y = node.forward(
        op, [rounded(args[0])], [None], {n: rounded(a) if n == "weight" else a for n, a in own.items()}, 0, np.dtype("f4")
    )
    exact = node.forward(op, [args[0].astype(float)], [None], wide, 0, np.dtype("f8"))
    assert ratio(np.abs(y - exact), bound.forward(op, [args[0].astype(float)], wide, 0, bound.FLOAT32)) > 1
    assert ratio(np.abs(y - exact), bound.forward(op, [args[0].astype(float)], wide, 0, bound.FLOAT32, reduced=bound.TF32)) <= 1


def test_where_nothing_can_be_said_the_bound_is_infinite() -> None:
    assert bound.gamma(2**24, bound.FLOAT32) == np.inf
    assert bound.gamma(10, 2.0**-53) == 10 * 2.0**-53 / (1 - 10 * 2.0**-53)


def test_units_are_half_of_the_last_place_of_one() -> None:
    for unit, dtype in ((bound.FLOAT64, "float64"), (bound.FLOAT32, "float32")):
        assert 2 * unit == np.finfo(dtype).eps
        assert bound.tiny(unit) == np.finfo(dtype).tiny
    assert np.finfo("float16").eps == 2 * bound.FLOAT16


def test_units_of_what_numpy_does_not_know() -> None:
    assert (bound.TF32, bound.BFLOAT16) == (2.0**-11, 2.0**-8)  # 11 and 8 bits, counting the one that is not stored
