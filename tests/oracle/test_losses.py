"""Densities: gradients, the first position, and that probabilities sum to one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from helpers import tiny

import refar
from refar import models, ops
from refar.oracle import losses
from refar.testing.contract.cases import generic_parameters


@pytest.mark.parametrize("head", [ops.Categorical(), ops.Gaussian(0.7)])
def test_gradient_of_the_loss_by_a_complex_step(head: ops.AnyHead) -> None:
    rng = np.random.default_rng(0)
    y, v, d = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 3))
    x = rng.integers(0, 4, (2, 3)) if isinstance(head, ops.Categorical) else rng.normal(size=(2, 4, 3))
    h = 2.0**-100
    moved = (losses.nats(head, y + 1j * h * v, x).imag / h * d).sum()
    assert moved == pytest.approx((losses.nats_backward(head, y, x, d) * v).sum(), rel=1e-13)


@pytest.mark.row("002-1")
def test_all_sequences_together_have_probability_one() -> None:
    graph = tiny(classes=3)
    params = generic_parameters(graph, np.random.default_rng(1))
    x = np.array(list(itertools.product(range(3), repeat=5)))
    log_p = refar.log_prob(graph, params, x)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-13)
    assert np.unique(np.round(log_p, 9)).size == len(x), "every sequence has a probability of its own"


def test_the_first_position_counts() -> None:
    graph = tiny(classes=3)
    params = generic_parameters(graph, np.random.default_rng(1))
    assert np.exp(refar.log_prob(graph, params, [[0], [1], [2]])).sum() == pytest.approx(1, abs=1e-14)
    assert refar.log_prob(graph, params, np.zeros((2, 0), int)).tolist() == [0, 0]


@pytest.mark.row("002-1")
def test_chain_rule() -> None:
    """log p(x) is the sum of the conditionals, each from its own pass over the prefix alone."""
    graph = tiny(classes=4)
    params = generic_parameters(graph, np.random.default_rng(2))
    x = np.random.default_rng(3).integers(0, 4, (2, 9))
    total = np.zeros(2)
    for t in range(9):
        y = refar.forward(graph, params, x[:, : t + 1])[:, :, t]
        total += np.log(np.exp(y) / np.exp(y).sum(axis=1, keepdims=True))[[0, 1], x[:, t]]
    np.testing.assert_allclose(refar.log_prob(graph, params, x), total, rtol=1e-13)
    assert refar.nll(graph, params, x) == pytest.approx(-total.sum() / 18, rel=1e-13)


def test_gaussian_density_integrates_to_one() -> None:
    graph = models.linear_ar(2, std=0.5)
    params = {"ar.weight": np.array([[[0.3, -0.8]]]), "ar.bias": np.array([0.2])}
    grid = np.linspace(-6, 6, 2401)
    x = np.stack([np.full_like(grid, 0.4), np.full_like(grid, -1.1), grid], axis=1)[:, None]
    p = np.exp(refar.log_prob(graph, params, x) - refar.log_prob(graph, params, x[:1, :, :2]))
    assert p.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-12)


def test_gaussian_log_density_by_hand() -> None:
    graph = models.linear_ar(1, std=2.0)
    params = {"ar.weight": np.array([[[0.5]]]), "ar.bias": np.array([1.0])}
    expected = sum(-((r / 2) ** 2) / 2 - math.log(2 * math.sqrt(2 * math.pi)) for r in (3 - 1, 4 - 2.5))
    assert refar.log_prob(graph, params, [[[3.0, 4.0]]]).item() == pytest.approx(expected, rel=1e-15)
