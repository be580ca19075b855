"""Each bound is the formula that `rounding.bound` derives, and no looser: number by number, with magnitudes from the definitions.

With 11 bits and a smallest number of 2⁻¹⁴, as in half precision, so that second orders and what is flushed weigh like the rest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from refar import ops
from refar.exact import literal
from refar.rounding import bound, elementwise

U, TINY = 2.0**-11, 2.0**-14


@pytest.fixture(autouse=True)
def half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bound, elementwise):
        monkeypatch.setattr(module, "tiny", {U: TINY}.__getitem__)


def draw(*shape: int, seed: int = 0) -> Any:
    """Halves, among them 0 and -1, of which a count of terms must see the one alone; the same for a shape and seed."""
    return np.random.default_rng((seed, *shape)).integers(-4, 5, shape) / 2


def gamma(m: float) -> float:
    return m * U / (1 - m * U)


def floats(array: Any) -> Any:
    return array.astype(float)


X, IMAGE, CLASSES = draw(2, 6, 7), draw(2, 4, 3, 5), np.random.default_rng(0).integers(0, 5, (2, 7))
LINEAR: dict[str, tuple[ops.AnyOp, list[Any], dict[str, Any]]] = {
    "conv1d": (ops.Conv1d(4, 3, 2), [X], {"weight": draw(4, 6, 3), "bias": draw(4)}),
    "conv1d, groups": (ops.Conv1d(4, 2, groups=2, strict=True, bias=False), [X], {"weight": draw(4, 3, 2)}),
    "conv1d of a constant": (ops.Conv1d(4), [X[:, :, 0]], {"weight": draw(4, 6, 1), "bias": draw(4)}),
    "conv2d": (ops.Conv2d(4, (3, 3), "A", colours=2), [IMAGE], {"weight": draw(4, 4, 3, 3), "bias": draw(4)}),
}


@pytest.mark.parametrize("reduced", [0.0, 2.0**-8])
@pytest.mark.parametrize("name", LINEAR)
def test_sums_of_products(name: str, reduced: float) -> None:
    op, args, own = LINEAR[name]
    sizes = literal.evaluate(op, [np.abs(a) for a in args], {n: np.abs(a) for n, a in own.items()})
    counts = literal.evaluate(op, [(a != 0) * 1 for a in args], {n: (a != 0) * 1 for n, a in own.items()})
    there, ones = [(a != 0) * 1 for a in args], {n: (a != 0) * 1 for n, a in own.items()}
    spread = literal.evaluate(op, there, {n: np.abs(a) for n, a in own.items()}) + literal.evaluate(op, map(np.abs, args), ones)
    r, lost = reduced, 2.0**-25 * (reduced > 0)
    wanted = []
    for s, m, apart in zip(floats(sizes).flat, counts.flat, floats(spread).flat, strict=True):
        more = (2 * r + r * r) * s + lost * (1 + r) * apart + lost * lost * m
        wanted.append(s * gamma(m) + more * (1 + gamma(m)) + 2 * m * TINY)
    got = bound.forward(op, args, own, 0, U, reduced=reduced)
    np.testing.assert_allclose(got, np.reshape(wanted, sizes.shape), rtol=1e-12)


OTHERS: dict[str, tuple[ops.AnyOp, list[Any], dict[str, Any], int]] = {
    "add": (ops.Add(), [X, X[::-1], X[:, :, 0]], {}, 0),
    "multiply": (ops.Multiply(), [X, X[::-1], X[:, :, 0]], {}, 3),
    "concat": (ops.Concat(), [X, X[:, :2, 0]], {}, 0),
    "embedding": (ops.Embedding(3), [CLASSES], {"weight": draw(5, 3)}, 0),
}


@pytest.mark.parametrize("name", [*LINEAR, *OTHERS])
def test_gradients_that_are_sums_of_products(name: str) -> None:
    op, args, own, factors = OTHERS[name] if name in OTHERS else (*LINEAR[name], 0)
    dy = draw(*literal.evaluate(op, args, own, classes=0).shape, seed=1)
    real = args[0].dtype != np.int64
    sizes = literal.gradient(op, [np.abs(a) for a in args], np.abs(dy), {n: np.abs(a) for n, a in own.items()})
    there = [(a != 0) * 1 if real else a for a in args]
    counts = literal.gradient(op, there, (dy != 0) * 1, {n: (a != 0) * 1 for n, a in own.items()})
    if "bias" in own:  # dy alone, whatever the bias is
        counts["bias"] = literal.gradient(op, there, (dy != 0) * 1, {n: a * 0 + 1 for n, a in own.items()})["bias"]
    errors, own_errors = bound.backward(op, args, dy, own, U)
    assert all((error is not None) == real for error in errors)
    for key, error in {**{str(n): e for n, e in enumerate(errors) if e is not None}, **own_errors}.items():
        terms = floats(counts[key])
        lost = 2 * terms * TINY
        if factors:  # what underflow takes may be multiplied up again
            terms += factors
            most = [np.maximum(np.abs(a), 1) for a in args]
            lost = (factors + 1) * TINY * floats(literal.gradient(op, most, np.maximum(np.abs(dy), 1), {})[key])
        np.testing.assert_allclose(error, gamma_of(terms) * floats(sizes[key]) + lost, rtol=1e-12, err_msg=key)


def gamma_of(terms: Any) -> Any:
    return np.vectorize(gamma)(terms)


@pytest.mark.parametrize("pad", ["zero", "exclude"])
def test_averages(pad: Any) -> None:
    op = ops.Pool1d("avg", 3, pad, 2)
    args = [X] if pad == "zero" else [X, np.ones((2, 1, 7))]
    got = bound.forward(op, args, {}, 0, U)
    np.testing.assert_allclose(got, gamma(4) * floats(literal.evaluate(op, [np.abs(X)])) + 3 * TINY, rtol=1e-12)
    dy = draw(*X.shape, seed=1)
    errors, _ = bound.backward(op, args, dy, {}, U)
    wanted = gamma(5) * floats(literal.gradient(op, [X], np.abs(dy))["0"]) + 5 * TINY
    assert errors[0] is not None
    np.testing.assert_allclose(errors[0], wanted, rtol=1e-12)


def test_maxima() -> None:
    op, dy = ops.Pool1d("max", 3, "zero", 2), draw(*X.shape, seed=1)
    assert not bound.forward(op, [X], {}, 0, U).any()
    errors, _ = bound.backward(op, [X], dy, {}, U)
    assert errors[0] is not None
    np.testing.assert_allclose(errors[0], gamma(2) * floats(literal.gradient(op, [X], np.abs(dy))["0"]), rtol=1e-12)


ELEMENTWISE: dict[str, tuple[ops.AnyOp, Any, Any]] = {
    "relu": (ops.Activation("relu"), lambda x: 0, lambda x: 0),
    "leaky_relu": (
        ops.Activation("leaky_relu", 0.3),
        lambda x: 0 if x > 0 else gamma(2) * abs(0.3 * x) + TINY,
        lambda x: gamma(2) * 0.3,
    ),
    "tanh": (
        ops.Activation("tanh"),
        lambda x: 8 * U,
        lambda x: 2 * 8 * U * abs(math.tanh(x)) + (8 * U) ** 2 + gamma(3),
    ),
    "sigmoid": (
        ops.Activation("sigmoid"),
        lambda x: 8 * U,
        lambda x: 8 * U * (1 + 2 / (1 + math.exp(-x))) + (8 * U) ** 2 + gamma(3),
    ),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activations(name: str) -> None:
    op, value, slope = ELEMENTWISE[name]
    dy = draw(*X.shape, seed=1)
    np.testing.assert_allclose(bound.forward(op, [X], {}, 0, U), np.vectorize(value, [float])(X), rtol=1e-12)
    (error,), own = bound.backward(op, [X], dy, {}, U)
    assert own == {}
    assert error is not None
    np.testing.assert_allclose(error, np.abs(dy) * np.vectorize(slope, [float])(X) + 2 * TINY, rtol=1e-12)


def test_products_and_sums_of_numbers() -> None:
    args = [X, X[::-1], X[:, :, 0]]
    sizes = floats(literal.evaluate(ops.Add(), [np.abs(a) for a in args]))
    np.testing.assert_allclose(bound.forward(ops.Add(), args, {}, 0, U), gamma(2) * sizes + 3 * TINY, rtol=1e-12)
    sizes = floats(literal.evaluate(ops.Multiply(), [np.abs(a) for a in args]))
    large = floats(literal.evaluate(ops.Multiply(), [np.maximum(np.abs(a), 1) for a in args]))
    np.testing.assert_allclose(bound.forward(ops.Multiply(), args, {}, 0, U), gamma(2) * sizes + 3 * TINY * large, rtol=1e-12)
    op, dy = ops.Affine(-0.7, -0.3), draw(*X.shape, seed=1)
    wanted = gamma(3) * (0.7 * np.abs(X) + 0.3) + 2 * TINY
    np.testing.assert_allclose(bound.forward(op, [X], {}, 0, U), wanted, rtol=1e-12)
    (error,), _ = bound.backward(op, [X], dy, {}, U)
    assert error is not None
    np.testing.assert_allclose(error, gamma(2) * 0.7 * np.abs(dy) + TINY, rtol=1e-12)
    op = ops.Standardize(1.3, 0.7)
    wanted = gamma(3) * (np.abs((CLASSES[:, None] - 1.3) / 0.7) + 1.3 / 0.7) + TINY
    np.testing.assert_allclose(bound.forward(op, [CLASSES], {}, 5, U), wanted, rtol=1e-12)


def test_gates() -> None:
    """Value t·s and gradient s·(1 - t²), t·s·(1 - s): every factor off by its own error, all products of errors counted."""
    dy = draw(2, 3, 7, seed=1)
    forward = bound.forward(ops.Gate(), [X], {}, 0, U)
    (backward,), _ = bound.backward(ops.Gate(), [X], dy, {}, U)
    assert backward is not None
    e = 8 * U
    for b, c, t in np.ndindex(dy.shape):
        th, s, size = abs(math.tanh(X[b, c, t])), 1 / (1 + math.exp(-X[b, c + 3, t])), abs(dy[b, c, t])
        exact = (th + e) * (s + e) - th * s + U * (th + e) * (s + e) + TINY
        assert forward[b, c, t] == pytest.approx(exact, rel=1e-12)
        by_t, by_s = (th + e) ** 2 - th**2 + 2 * U, (s + e) * (1 - s + e) - s * (1 - s) + 2 * e * s + 2 * U
        slope_t, slope_s = 1 - th**2, s * (1 - s)
        da = (s + e) * (slope_t + by_t) * (1 + gamma(4)) - s * slope_t
        db = (th + e) * (slope_s + by_s) * (1 + gamma(4)) - th * slope_s
        assert backward[b, c, t] == pytest.approx(size * da + 4 * TINY, rel=1e-9)
        assert backward[b, c + 3, t] == pytest.approx(size * db + 4 * TINY, rel=1e-9)


def test_softmax() -> None:
    dy = draw(*X.shape, seed=1)
    forward = bound.forward(ops.Softmax(), [X], {}, 0, U)
    (backward,), _ = bound.backward(ops.Softmax(), [X], dy, {}, U)
    assert backward is not None
    for b, t in np.ndindex(2, 7):
        e = [math.exp(v) for v in X[b, :, t]]
        y = [v / sum(e) for v in e]
        r = [(abs(v - max(X[b, :, t])) + 4) * U for v in X[b, :, t]]
        relative = [r[c] + sum(map(math.prod, zip(y, r, strict=True))) + gamma(7) for c in range(6)]
        off = [y[c] * relative[c] * (1 + relative[c]) + 6 * TINY for c in range(6)]
        np.testing.assert_allclose(forward[b, :, t], off, rtol=1e-12)
        size = np.abs(dy[b, :, t])
        inner, spread = sum(size * y), sum(size * off)
        inner_off = spread + gamma(6) * (inner + spread)
        for c in range(6):
            parts = (y[c] + off[c]) * (inner_off + gamma(3) * (size[c] + inner + inner_off)) + off[c] * (size[c] + inner)
            assert backward[b, c, t] == pytest.approx(parts + 6 * TINY, rel=1e-12)


@pytest.mark.parametrize("op", [ops.Conv1d(4, 3, 2), ops.Shift(3), ops.Pool1d("avg", 3, "zero", 2)])
def test_what_stands_before_the_start_counts_as_what_follows_it(op: ops.AnyOp) -> None:
    own = {"weight": draw(4, 6, 3), "bias": draw(4)} if isinstance(op, ops.Conv1d) else {}
    before = draw(2, 6, 1)
    longer = np.concatenate([before] * 5 + [X], axis=2)
    got = bound.forward(op, [X], own, 0, U, before=[before])
    np.testing.assert_allclose(got, bound.forward(op, [longer], own, 0, U)[:, :, 5:], rtol=1e-12)
    dy = draw(*got.shape, seed=1)
    (error,), own_errors = bound.backward(op, [X], dy, own, U, before=[before])
    dy_longer = np.concatenate([np.zeros((*dy.shape[:2], 5)), dy], axis=2)
    (wanted,), own_wanted = bound.backward(op, [longer], dy_longer, own, U)
    assert error is not None
    assert wanted is not None
    np.testing.assert_allclose(error, wanted[:, :, 5:], rtol=1e-12)
    assert own_errors.keys() == own_wanted.keys()
    for name, found in own_errors.items():
        np.testing.assert_allclose(found, own_wanted[name], rtol=1e-12)


def test_around_a_point() -> None:
    """The bound for the worst of all arguments that lie within `off`."""
    off = np.abs(draw(*X.shape, seed=2))
    for op in (ops.Activation("tanh"), ops.Affine(0.7, 0.2), ops.Pool1d("avg", 2, "zero")):
        wanted = bound.forward(op, [np.abs(X) + off], {}, 0, U)
        np.testing.assert_array_equal(bound.forward(op, [X], {}, 0, U, off=[off]), wanted)
    leaky = np.where(X - off > 0, 0, gamma(2) * 0.3 * (np.abs(X) + off) + TINY)
    got = bound.forward(ops.Activation("leaky_relu", 0.3), [X], {}, 0, U, off=[off])
    np.testing.assert_allclose(got, leaky, rtol=1e-12)
    got = bound.forward(ops.Softmax(), [X], {}, 0, U, off=[off / 8])
    for b, t in np.ndindex(2, 7):
        e, further = [math.exp(v) for v in X[b, :, t]], 2 * max(off[b, :, t]) / 8
        y = [min(v / sum(e) * math.exp(further), 1) for v in e]
        r = [(abs(v - max(X[b, :, t])) + further + 4) * U for v in X[b, :, t]]
        relative = [r[c] + sum(map(math.prod, zip(y, r, strict=True))) + gamma(7) for c in range(6)]
        np.testing.assert_allclose(
            got[b, :, t], [y[c] * relative[c] * (1 + relative[c]) + 6 * TINY for c in range(6)], rtol=1e-12
        )
    far = bound.forward(ops.Softmax(), [X], {}, 0, U, off=[np.full(X.shape, 1e3)])  # any y may be 1
    assert np.isfinite(far).all()
    assert (far > bound.forward(ops.Softmax(), [X], {}, 0, U)).all()
    table = bound.forward(ops.Embedding(3), [CLASSES], {"weight": draw(5, 3)}, 5, U, off=[np.zeros(CLASSES.shape)])
    assert table.shape == (2, 3, 7)
    assert not table.any()


def test_copies_are_exact() -> None:
    for op, args, own in (
        (ops.Shift(2), [X], {}), (ops.Shift2d(1, -1), [IMAGE], {}), (ops.PadChannels(1, 2), [X], {}), (ops.Ones(), [X], {}),
        (ops.Position(2), [IMAGE], {}), (ops.OneHot(), [CLASSES], {}), (ops.Embedding(3), [CLASSES], {"weight": draw(5, 3)}),
        (ops.Concat(), [X, X[:, :, 0]], {}), (ops.Slice(1, 3), [X], {}),
    ):  # fmt: skip
        assert not bound.forward(op, args, own, 5, U).any()
    for op in (ops.Shift(2), ops.PadChannels(1, 2), ops.Slice(1, 3)):
        dy = draw(*literal.evaluate(op, [X]).shape, seed=1)
        errors, own_errors = bound.backward(op, [X], dy, {}, U)
        assert own_errors == {}
        assert [error.shape for error in errors if error is not None] == [X.shape]
        assert not np.any(errors[0])
