"""Only the k largest logits can be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import generate_with_outputs, refuses, tiny

import refar
from refar import models, noise, ops
from refar.errors import InputError
from refar.testing.contract.cases import generic_parameters


def sample(y: np.ndarray, top_k: int | None, temperature: float = 1.0, seed: int = 0) -> np.ndarray:
    draws = noise.draw(ops.Categorical(), seed, range(len(y)), 0, 1, y.shape[1])[0]
    return noise.sample(ops.Categorical(), y, draws, temperature, top_k)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_k_largest_are_drawn_by_their_softmax(k: int, temperature: float) -> None:
    rows, logits = 6000, np.array([0.1, 1.3, -2.0, 0.9, 0.4])
    tokens = sample(np.tile(logits, (rows, 1)), k, temperature)
    kept = np.argsort(-logits)[:k]
    assert set(tokens.tolist()) == set(kept.tolist())
    p = np.exp(logits[kept] / temperature)
    expected = rows * p / p.sum()
    observed = np.bincount(tokens, minlength=5)[kept]
    assert ((observed - expected) ** 2 / expected).sum() < 13.9, "chi-square, at most 2 degrees of freedom, the 0.1 % quantile"


def test_of_equals_the_lower_classes_stay() -> None:
    y = np.tile([0.0, 2.0, 1.0, 1.0, 1.0], (500, 1))
    assert set(sample(y, 2).tolist()) == {1, 2}
    assert set(sample(y, 3).tolist()) == {1, 2, 3}
    assert set(sample(np.zeros((500, 5)), 2).tolist()) == {0, 1}


def test_rows_have_their_own_largest() -> None:
    y = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
    assert sample(y, 1).tolist() == [2, 0, 1]
    assert sample(y, 2, temperature=0.0).tolist() == [2, 0, 1]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_all_classes_are_no_limit(temperature: float) -> None:
    y = np.random.default_rng(1).normal(size=(300, 6))
    np.testing.assert_array_equal(sample(y, 6, temperature), sample(y, None, temperature))
    graph = tiny()
    params = generic_parameters(graph, np.random.default_rng(2))
    options = {"batch": 3, "seed": 4, "temperature": temperature}
    free = refar.generate(graph, params, 20, **options)
    np.testing.assert_array_equal(refar.generate(graph, params, 20, top_k=3, **options), free)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_slow_and_fast_agree(k: int, temperature: float) -> None:
    graph = models.wavenet(5, [1, 2], residual=4, gate=3, skip=6)
    params = generic_parameters(graph, np.random.default_rng(5))
    options = {"batch": 3, "seed": 7, "top_k": k, "temperature": temperature}
    fast, y = generate_with_outputs(graph, params, 15, **options)
    slow, y_slow = generate_with_outputs(graph, params, 15, algorithm="slow", **options)
    assert np.abs(y - y_slow).max() <= 1e-13
    np.testing.assert_array_equal(fast, slow)
    rank = (y > np.take_along_axis(y, fast[:, None], axis=1)).sum(axis=1)
    assert rank.max() == k - 1, "all of the k largest are drawn, and no other"
    if k == 1:
        np.testing.assert_array_equal(fast, refar.generate(graph, params, 15, batch=3, temperature=0.0))


@pytest.mark.parametrize("k", [0, -1, 4, 2.0, True])
def test_a_k_beyond_the_classes_is_refused(k: object) -> None:
    with refuses(InputError, "top_k: expected an integer from 1 to 3", str(k)):
        refar.generate(tiny(), refar.init(tiny()), 2, top_k=k)


def test_only_a_categorical_head_has_a_top_k() -> None:
    graph = models.linear_ar(2)
    with refuses(InputError, "top_k: expected a categorical head", "Gaussian"):
        refar.generate(graph, refar.init(graph), 2, top_k=1)
