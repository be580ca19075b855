"""Whole sequences: probabilities that sum to one, the marginal over the condition, Bayes' rule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import refuses, tiny, with_surplus

import refar
from refar import Builder, Graph, ops
from refar.errors import GraphError, InputError
from refar.testing.contract.cases import generic_parameters

PRIOR = np.array([0.2, 0.7, 0.1])


def mixed(classes: int = 3, condition: bool = False) -> Graph:
    """A strict network whose output is a mixture of two logistics, with a class as condition if asked for."""
    g = Builder()
    h = g.conv1d(g.standardize(g.input(classes=classes), 1.0, 0.8), 4, kernel=3, strict=True)
    if condition:
        h = g.add(h, g.embedding(g.condition(classes=3), 4))
    return g.build(g.conv1d(g.tanh(h), 6), ops.MixtureLogistics(2, classes))


def pair(condition: bool, head: str) -> tuple[Graph, dict[str, np.ndarray]]:
    graph = mixed(condition=condition) if head == "mixture" else tiny(condition="class" if condition else None)
    return graph, generic_parameters(graph, np.random.default_rng(1))


def sequences(length: int, classes: int = 3) -> np.ndarray:
    return np.array(list(itertools.product(range(classes), repeat=length))).reshape(-1, length)


def brute_force(graph: Graph, params: dict[str, np.ndarray], x: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """p(x, y) by conditionals, each from all continuations of a prefix by one token: (B, classes)."""
    joint = np.tile(prior, (len(x), 1))
    for y, t in itertools.product(range(len(prior)), range(x.shape[1])):
        now = np.repeat(x[:, : t + 1], 3, axis=0)
        now[:, t] = np.tile(range(3), len(x))
        p = np.exp(refar.log_prob(graph, params, now, np.full(len(now), y))).reshape(len(x), 3)
        joint[:, y] *= p[range(len(x)), x[:, t]] / p.sum(axis=1)
    return joint


@pytest.mark.row("002-1")
@pytest.mark.parametrize("head", ["categorical", "mixture"])
@pytest.mark.parametrize("condition", [False, True])
def test_all_sequences_together_have_probability_one(head: str, condition: bool) -> None:
    graph, params = pair(condition, head)
    x = sequences(4)
    for y in range(3) if condition else [None]:
        log_p = refar.log_prob(graph, params, x, None if y is None else np.full(len(x), y))
        assert abs(np.exp(log_p).sum() - 1) <= 1e-13
        assert np.unique(np.round(log_p, 9)).size == len(x), "every sequence has a probability of its own"
    if condition:
        assert abs(np.exp(refar.log_marginal(graph, params, x, PRIOR)).sum() - 1) <= 1e-13


@pytest.mark.parametrize("head", ["categorical", "mixture"])
def test_the_first_position_counts(head: str) -> None:
    graph, params = pair(True, head)
    x = sequences(1)
    p = np.exp(refar.log_marginal(graph, params, x, PRIOR))
    assert abs(p.sum() - 1) <= 1e-14
    assert np.ptp(p) > 0.01
    posterior = refar.posterior(graph, params, x, PRIOR)
    assert np.abs(posterior - PRIOR).max() > 0.01, "one token already tells something"


@pytest.mark.row("002-16")
@pytest.mark.parametrize("head", ["categorical", "mixture"])
@pytest.mark.parametrize("prior", [None, PRIOR, [0.5, 0.5, 0.0]])
def test_marginal_and_posterior_are_brute_force(head: str, prior: object) -> None:
    graph, params = pair(True, head)
    x = np.random.default_rng(2).integers(0, 3, (4, 6))
    p = np.full(3, 1 / 3) if prior is None else np.asarray(prior)
    joint = brute_force(graph, params, x, p)
    np.testing.assert_allclose(refar.log_marginal(graph, params, x, prior), np.log(joint.sum(axis=1)), rtol=1e-12)
    found = refar.posterior(graph, params, x, prior)
    np.testing.assert_allclose(found, joint / joint.sum(axis=1, keepdims=True), rtol=1e-11)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-14)


@pytest.mark.parametrize("head", ["categorical", "mixture"])
def test_progressive_posterior_sees_the_first_h_positions(head: str) -> None:
    graph, params = pair(True, head)
    x = np.random.default_rng(3).integers(0, 3, (4, 7))
    found = refar.posterior(graph, params, x, PRIOR, observed=[0, 1, 4, 7])
    assert found.shape == (4, 4, 3)
    np.testing.assert_allclose(found[:, 0], np.tile(PRIOR, (4, 1)), rtol=1e-14)
    for i, h in enumerate([0, 1, 4, 7]):
        np.testing.assert_allclose(found[:, i], refar.posterior(graph, params, x[:, :h], PRIOR), rtol=1e-12)
        np.testing.assert_array_equal(found[:, i], refar.posterior(graph, params, x, PRIOR, observed=h))
    np.testing.assert_array_equal(found[:, 3], refar.posterior(graph, params, x, PRIOR))
    assert np.abs(np.diff(found, axis=1)).max(axis=(0, 2)).min() > 1e-3, "every horizon tells something else"


def test_a_long_sequence_does_not_underflow() -> None:
    graph, params = pair(True, "categorical")
    x = np.random.default_rng(4).integers(0, 3, (2, 3000))
    each = np.stack([refar.log_prob(graph, params, x, [y, y]) for y in range(3)], axis=1)
    assert (each < -1000).all()
    top = each.max(axis=1)
    expected = top + np.log((np.exp(each - top[:, None]) * PRIOR).sum(axis=1))
    np.testing.assert_allclose(refar.log_marginal(graph, params, x, PRIOR), expected, rtol=1e-13)
    assert np.isfinite(refar.posterior(graph, params, x, PRIOR)).all()


def test_no_rows_and_no_positions() -> None:
    graph, params = pair(True, "categorical")
    assert refar.posterior(graph, params, np.zeros((0, 4), int)).shape == (0, 3)
    assert refar.posterior(graph, params, np.zeros((0, 4), int), observed=[1, 2]).shape == (0, 2, 3)
    np.testing.assert_allclose(refar.posterior(graph, params, np.zeros((2, 0), int), PRIOR), [PRIOR, PRIOR], rtol=1e-15)
    np.testing.assert_allclose(refar.log_marginal(graph, params, np.zeros((2, 0), int), PRIOR), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("prior", "came"),
    [
        ([0.5, 0.5], "got [0.5, 0.5]"),
        ([0.5, 0.5, 0.5], "got [0.5, 0.5, 0.5]"),
        ([1.2, -0.2, 0.0], "-0.2"),
        ([np.nan, 0.5, 0.5], "nan"),
        ([[0.2, 0.3, 0.5]], "[[0.2, 0.3, 0.5]]"),
        ("even", "'even'"),
    ],
)
def test_a_prior_that_is_none_is_refused(prior: object, came: str) -> None:
    graph, params = pair(True, "categorical")
    for call in (refar.log_marginal, refar.posterior):
        with refuses(InputError, "prior: expected 3 probabilities that sum to 1", came):
            call(graph, params, np.zeros((1, 2), int), prior)


@pytest.mark.parametrize("observed", [-1, 5, [0, 5], [1.0], [True], "two"])
def test_a_horizon_outside_the_sequence_is_refused(observed: object) -> None:
    graph, params = pair(True, "categorical")
    with refuses(InputError, "observed: expected integers from 0 to the length 4"):
        refar.posterior(graph, params, np.zeros((1, 4), int), observed=observed)


def test_only_a_strict_graph_with_a_class_and_a_head_has_a_posterior() -> None:
    g = Builder()
    x = g.one_hot(g.input(classes=3))
    g.condition(classes=2)
    unshifted = with_surplus(g, g.conv1d(x, 3, kernel=2), ops.Categorical())
    x = g.delay(x)
    headless = with_surplus(g, g.conv1d(x, 3))
    for call in (refar.log_marginal, refar.posterior):
        with refuses(GraphError, "needs a graph whose only condition is a class; this one has none"):
            call(tiny(), refar.init(tiny()), [[0]])
        with refuses(GraphError, "needs a graph whose only condition is a class", "'condition' (2 channels constant)"):
            call(tiny(condition="vector"), refar.init(tiny(condition="vector")), [[0]])
        with refuses(GraphError, "needs a strict graph"):
            call(unshifted, refar.init(unshifted), [[0]])
        with refuses(GraphError, "needs a graph with a head"):
            call(headless, refar.init(headless), [[0]])
        with refuses(InputError, "input 'x': expected classes 0..2, got 3"):
            call(tiny(condition="class"), refar.init(tiny(condition="class")), [[3]])


def test_all_arithmetic_but_the_priors_is_in_the_dtype() -> None:
    graph, params = pair(True, "categorical")
    x = np.random.default_rng(2).integers(0, 3, (2, 30))
    for density in (refar.log_marginal, refar.posterior):
        single, double = density(graph, params, x, PRIOR, dtype="float32"), density(graph, params, x, PRIOR)
        assert (single != double).any()
        np.testing.assert_allclose(single, double, rtol=1e-4)
