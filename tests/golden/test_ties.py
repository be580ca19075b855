"""Gradients at ties: every choice that a subgradient may make is right, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from refar.golden import Case, golden_cases
from refar.golden.compare import wrong_at
from refar.golden.ties import one_of

FLOAT32, FLOAT64 = 2.0**-24, 2.0**-53
ATTRIBUTES: dict[str, Any] = {"kind": "max", "kernel": 3, "dilation": 1, "pad": "zero"}


def windows(x: np.ndarray, a: dict[str, Any]) -> list[list[int]]:
    """The places of the largest value of each window of one row; before the start they are negative, each of its own."""
    found = []
    for t in range(len(x)):
        places = [t - k * a["dilation"] for k in range(a["kernel"])]
        places = [s for s in places if s >= 0 or a["pad"] == "zero"]
        values = [x[s] if s >= 0 else 0.0 for s in places]
        found.append([s for s, value in zip(places, values, strict=True) if value == max(values)])
    return found


def routed(x: np.ndarray, dy: np.ndarray, a: dict[str, Any], rng: np.random.Generator, share: bool) -> np.ndarray:
    """A gradient that gives dy of each window to one of its largest values, or shares it out."""
    dx = np.zeros(x.shape)
    for row in np.ndindex(x.shape[:2]):
        for t, places in enumerate(windows(x[row], a)):
            share_out = share and len(places) > 1
            weights = rng.dirichlet(np.ones(len(places))) if share_out else rng.permutation(np.eye(len(places))[0])
            for s, weight in zip(places, weights, strict=True):
                if s >= 0:
                    dx[row][s] += weight * dy[row][t]
    return dx


def pooled(x: np.ndarray, dy: np.ndarray, a: dict[str, Any]) -> Case:
    arrays = {"x": x.astype(np.float32), "dy": dy.astype(np.float32)}
    dx = routed(x, dy, a, np.random.default_rng(0), share=False)
    bound = np.full(dx.shape, a["kernel"] * np.abs(dy).max() * np.any(dy != np.round(dy)), np.float32)
    expected, bounds = {"gradient.x": dx}, {"gradient.x": bound} if bound.any() else {}
    return Case("causal_pool1d/drawn", "op", "causal_pool1d", 0, "", a, arrays, expected, bounds, one_of=("gradient.x",))


def drawn(seed: int) -> tuple[np.random.Generator, Case]:
    rng = np.random.default_rng(seed)
    a = {
        "kind": "max",
        "kernel": int(rng.integers(2, 6)),
        "dilation": int(rng.integers(1, 4)),
        "pad": ["zero", "exclude"][seed % 2],
    }
    shape, most = (1, 2, int(rng.integers(1, 14))), int(rng.integers(0, 3))
    dy = rng.integers(-8, 9, shape) if seed % 3 else rng.normal(size=shape).astype(np.float32)
    return rng, pooled(rng.integers(-most, most + 1, shape), dy, a)


@pytest.mark.parametrize("seed", range(30))
def test_any_choice_in_every_window_is_right(seed: int) -> None:
    rng, case = drawn(seed)
    for share in (False, True):
        dx = routed(case.arrays["x"], case.arrays["dy"], dict(case.attributes), rng, share)
        assert not wrong_at(case, "gradient.x", dx, FLOAT64).any()
        single = dx.astype(np.float32)
        assert not wrong_at(case, "gradient.x", single, FLOAT32).any()


@pytest.mark.parametrize("seed", range(40))
def test_a_linear_program_says_the_same(seed: int) -> None:
    """Of gradients that moved a little: whether weights exist that give them."""
    rng, case = drawn(seed)
    x, dy, a = case.arrays["x"][:, :1], case.arrays["dy"][:, :1], dict(case.attributes)
    case = pooled(x, dy, a)
    dx = routed(x, dy, a, rng, share=bool(seed % 2))
    moved = dx + rng.integers(-1, 2, dx.shape) * (rng.random(dx.shape) < 0.3)
    places = windows(x[0, 0], a)
    pairs = [(t, s) for t, each in enumerate(places) for s in each]
    sums = np.array([[float(t == n) for t, _ in pairs] for n in range(len(places))])
    received = np.array([[float(s == n) * dy[0, 0, t] for t, s in pairs] for n in range(len(places))])
    found = linprog(np.zeros(len(pairs)), A_eq=np.concatenate([sums, received]), b_eq=[*np.ones(len(places)), *moved[0, 0]])
    assert bool(wrong_at(case, "gradient.x", moved, FLOAT64).any()) == (found.status == 2)


@pytest.mark.parametrize(
    ("came", "right"),
    [
        ([0, 2, 0], True),
        ([2, 0, 0], True),
        ([0.5, 1.5, 0], True),
        ([1, 1, 0.5], False),  # a place that is not the largest of its window
        ([2, 2, 0], False),  # all of dy to both
        ([0, 0, 0], False),  # lost
        ([3, -1, 0], False),  # no convex combination
    ],
)
def test_by_hand(came: list[float], right: bool) -> None:
    """The largest of (5, 5, 1) stands twice, and only the last window counts."""
    case = pooled(np.array([[[5, 5, 1]]]), np.array([[[0, 0, 2]]]), ATTRIBUTES)
    assert wrong_at(case, "gradient.x", np.array([[came]]), FLOAT64).any() != right


def test_the_zeros_before_the_start_take_part() -> None:
    """(0, 0, x_0 = 0): x_0 receives from nothing to all; beside -1 it is the zeros alone that receive."""
    case = pooled(np.array([[[0.0]]]), np.array([[[4.0]]]), ATTRIBUTES)
    for part, right in ((0.0, True), (1.5, True), (4.0, True), (4.5, False), (-1.0, False)):
        assert wrong_at(case, "gradient.x", np.array([[[part]]]), FLOAT64).any() != right
    leak = pooled(np.array([[[-1.0]]]), np.array([[[4.0]]]), ATTRIBUTES)
    assert wrong_at(leak, "gradient.x", np.array([[[4.0]]]), FLOAT64).all()


def test_windows_that_overlap_cannot_give_the_same_twice() -> None:
    """Two windows hold both 3s: their 2 and 5 may go anywhere between them, but 7 in all."""
    case = pooled(np.array([[[3, 3, 0]]]), np.array([[[0, 2, 5]]]), ATTRIBUTES)
    for came, right in (([7, 0], True), ([2, 5], True), ([4.25, 2.75], True), ([7, 5], False), ([8, -1], False)):
        assert wrong_at(case, "gradient.x", np.array([[[*came, 0]]]), FLOAT64).any() != right
    opposite = pooled(np.array([[[3, 3, 0]]]), np.array([[[0, 2, -5]]]), ATTRIBUTES)
    for came, right in (([2, -5], True), ([-5, 2], True), ([-3, 0], True), ([3, -6], False)):
        assert wrong_at(opposite, "gradient.x", np.array([[[*came, 0]]]), FLOAT64).any() != right


@pytest.mark.parametrize(("kind", "slope", "low"), [("relu", 0.01, 0.0), ("leaky_relu", 0.25, 0.25), ("leaky_relu", 3.0, 1.0)])
def test_a_kink_has_every_derivative_between_its_sides(kind: str, slope: float, low: float) -> None:
    x, dy = np.array([[[-1, 0, -0.0, 2]]], np.float32), np.array([[[1, 2, -2, 4]]], np.float32)
    left = slope if kind == "leaky_relu" else 0.0
    high = max(left, 1.0)
    a = {"kind": kind, "slope": slope}
    arrays = {"x": x, "dy": dy}
    assert one_of("activation", a, arrays) == ("gradient.x",)
    expected = {"gradient.x": np.where(x > 0, dy, left * dy)}
    case = Case("activation/drawn", "op", "activation", 0, "", a, arrays, expected, one_of=("gradient.x",))
    for derivative in (low, (low + high) / 2, high):
        dx = np.where(x == 0, derivative * dy, expected["gradient.x"])
        assert not wrong_at(case, "gradient.x", dx, FLOAT64).any()
    for derivative in (low - 0.1, high + 0.1):
        dx = np.where(x == 0, derivative * dy, expected["gradient.x"])
        assert wrong_at(case, "gradient.x", dx, FLOAT64).tolist() == [[[False, True, True, False]]]
    assert wrong_at(case, "gradient.x", np.where(x < 0, (left + 1) / 2 * dy, expected["gradient.x"]), FLOAT64).any()


def test_where_nothing_is_equal_nothing_is_one_of_several() -> None:
    assert one_of("activation", {"kind": "relu", "slope": 0.01}, {"x": np.ones((1, 1, 2)), "dy": np.ones((1, 1, 2))}) == ()
    assert one_of("activation", {"kind": "tanh", "slope": 0.01}, {"x": np.zeros((1, 1, 2)), "dy": np.ones((1, 1, 2))}) == ()
    x = np.array([[[1.0, 2.0, 3.0]]])
    assert one_of("causal_pool1d", ATTRIBUTES, {"x": x, "dy": x}) == ()
    assert one_of("causal_pool1d", ATTRIBUTES, {"x": x}) == ()
    assert one_of("causal_pool1d", {**ATTRIBUTES, "kind": "avg"}, {"x": 0 * x, "dy": x}) == ()
    marked = [case.id for case in golden_cases("activation") if case.one_of]
    assert marked == [f"activation/{kind}{end}" for kind in ("relu", "leaky_relu") for end in ("", "-extreme")]
    case = golden_cases("causal_pool1d")[2]
    assert case.one_of
    with_nan = replace(case, arrays=dict(case.arrays))
    assert wrong_at(with_nan, "gradient.x", np.full(case.arrays["x"].shape, np.nan), FLOAT64).all()
