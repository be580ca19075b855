"""Gumbel-softmax samples and their gradient against 60 digits."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

from refar import noise, ops
from refar.errors import InputError
from refar.exact import literal_heads
from refar.oracle import gumbel

U = 2.0**-53


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    draws = noise.draw(ops.Categorical(), seed, range(2), 0, 3, 5).transpose(1, 2, 0)
    return rng.normal(size=(2, 5, 3)), draws, rng.normal(size=(2, 5, 3))


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 5.0])
def test_value_and_gradient_are_the_definitions(temperature: float) -> None:
    logits, draws, dy = data()
    unit = U * (4 + np.abs(logits + draws).max() / temperature)
    y = gumbel.gumbel_softmax(logits, draws, temperature)
    assert np.abs(y - literal_heads.gumbel_softmax(logits, draws, temperature)).max() <= 2 * unit
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=4 * U)
    found = gumbel.gumbel_softmax_backward(logits, draws, temperature, dy)
    wanted = literal_heads.gumbel_softmax_gradient(logits, draws, temperature, dy)
    assert np.abs(found - wanted).max() <= 4 * unit * np.abs(dy).max() / temperature


@pytest.mark.parametrize("temperature", [0.1, 3.0])
def test_straight_through_is_the_token_that_generation_draws(temperature: float) -> None:
    logits, draws, _ = data(1)
    y = gumbel.gumbel_softmax(logits, draws, temperature, hard=True)
    assert set(y.ravel().tolist()) == {0, 1}
    for t in range(3):
        tokens = noise.sample(ops.Categorical(), logits[:, :, t], draws[:, :, t].copy(), 1.0)
        np.testing.assert_array_equal(y[:, :, t], np.eye(5)[tokens])


def test_of_equals_the_first() -> None:
    y = gumbel.gumbel_softmax(np.zeros((1, 3, 1)), np.zeros((1, 3, 1)), 1.0, hard=True)
    assert y[0, :, 0].tolist() == [1, 0, 0]


def test_a_low_temperature_tends_to_the_one_hot() -> None:
    logits, draws, _ = data(2)
    soft = gumbel.gumbel_softmax(logits, draws, 1e-3)
    np.testing.assert_allclose(soft, gumbel.gumbel_softmax(logits, draws, 1e-3, hard=True), atol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    logits, draws, dy = data()
    for call in (
        lambda: gumbel.gumbel_softmax(logits, draws, temperature),
        lambda: gumbel.gumbel_softmax_backward(logits, draws, temperature, dy),
    ):
        with refuses(InputError, "temperature: expected a finite number > 0", str(temperature)):
            call()


def test_noise_of_another_shape_is_refused() -> None:
    with refuses(InputError, "noise: expected the shape of the logits (2, 5, 3), got (3, 2, 5)"):
        gumbel.gumbel_softmax(data()[0], data()[1].transpose(2, 0, 1), 1.0)
    with refuses(InputError, "noise: expected the shape of the logits (2, 5, 3), got (3, 2, 5)"):
        gumbel.gumbel_softmax_backward(data()[0], data()[1].transpose(2, 0, 1), 1.0, data()[2])
