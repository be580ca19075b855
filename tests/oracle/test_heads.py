"""Outputs that are not plain logits: values and gradients against 60 digits, sums, tails, samples."""

from __future__ import annotations

import numpy as np
import pytest

from refar import noise, ops
from refar.exact import literal_heads
from refar.oracle import losses

U = 2.0**-53


def mixture(classes: int, scales: tuple[float, float], seed: int = 0) -> tuple[ops.MixtureLogistics, np.ndarray, np.ndarray]:
    """A head, an output whose log-scales lie in an interval, and classes, the first and the last among them."""
    rng = np.random.default_rng([classes, seed])
    y = [rng.normal(size=(2, 3, 4)) * 3, rng.uniform(-1.2, 1.2, (2, 3, 4)), rng.uniform(*scales, (2, 3, 4))]
    x = rng.integers(0, classes, (2, 4))
    x[0, :2] = 0, classes - 1
    return ops.MixtureLogistics(3, classes), np.concatenate(y, axis=1), x


def rounding(y_bct: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Units of the last place that inputs of this size leave in the value, (B, T), and in its gradient, (B, 3K, T).

    An edge (v ± h - μ)/s is known to u·(1 + |μ|)/s only, and ∂/∂μ is divided by s once more.
    """
    logits, means, log_scales = np.split(y_bct, 3, axis=1)
    edge = (1.1 + np.abs(means)) * np.exp(-log_scales)
    value = U * (1 + np.abs(logits).max(axis=1) + edge.max(axis=1) + np.abs(log_scales).max(axis=1) + np.log(classes))
    return value, value[:, None] * np.concatenate([np.ones_like(logits), np.exp(-log_scales), 1 + edge], axis=1)


CASES = [
    (2, (-3, 3)),
    (3, (-3, 30)),
    (255, (-5, 1)),
    (256, (-6, 2)),
    (256, (-2, 20)),
    (65536, (-5, 0)),
    (256, (34, 37)),
    (256, (100, 300)),
]


@pytest.mark.parametrize(("classes", "scales"), CASES)
def test_mixture_is_its_definition(classes: int, scales: tuple[float, float]) -> None:
    head, y, x = mixture(classes, scales)
    d = np.random.default_rng(1).normal(size=x.shape)
    value, gradient = rounding(y, classes)
    assert (np.abs(losses.nats(head, y, x) - literal_heads.mixture(head, y, x)) <= 4 * value).all()
    error = np.abs(losses.nats_backward(head, y, x, d) - literal_heads.mixture_gradient(head, y, x, d))
    assert (error <= 4 * gradient * np.abs(d)[:, None]).all()


@pytest.mark.parametrize("classes", [2, 3, 4, 255, 256, 65536])
@pytest.mark.parametrize("log_scale", [-600.0, -60.0, -8.0, -3.0, 0.0, 3.0, 20.0, 60.0, 600.0])
def test_probabilities_sum_to_one_at_every_scale(classes: int, log_scale: float) -> None:
    head, x = ops.MixtureLogistics(2, classes), np.arange(classes)[None]
    for mean in (0.0, 0.3, 1.0, -1.0, 1 / 255, -5.0, 1e6):
        y = np.tile(np.array([0.3, -2.0, mean, 0.77, log_scale, -1.0])[None, :, None], (1, 1, classes))
        nats = losses.nats(head, y, x)
        assert np.isfinite(nats).all()
        assert abs(np.exp(-nats).sum() - 1) <= 1e-13
        assert np.isfinite(losses.nats_backward(head, y, x, np.ones(x.shape))).all()


def test_mixture_by_hand() -> None:
    """One component with scale 1 and mean 0 over three classes with edges -½ and ½."""
    head, y = ops.MixtureLogistics(1, 3), np.zeros((1, 3, 3))
    tail = 1 / (1 + np.exp(0.5))
    expected = -np.log([tail, 1 - 2 * tail, tail])
    np.testing.assert_allclose(losses.nats(head, y, np.array([[0, 1, 2]])), expected[None], rtol=1e-15)


def test_a_class_deep_in_the_tail_costs_its_distance() -> None:
    head = ops.MixtureLogistics(1, 256)
    y = np.array([0.0, -1.0, -12.0])[None, :, None]
    cost = float(losses.nats(head, y, np.array([[254]])).item())
    assert cost == pytest.approx((507 / 255) * np.exp(12.0), rel=1e-12)
    assert np.isfinite(losses.nats_backward(head, y, np.array([[254]]), np.ones((1, 1)))).all()


def test_the_decimals_reach_as_far_as_the_tail() -> None:
    """Above z = 1692 lies exp(-z), of which the class takes the first δ = 0.43: 1 - F(z) has 734 zeros.

    The other component has mass enough, but a weight of exp(-6000).
    """
    head, scale = ops.MixtureLogistics(2, 256), np.exp(-4.0)
    y = np.array([0.0, -6000.0, -30.0, 0.0, -4.0, 0.0])[None, :, None]
    lower, width = (252 / 255 + 30) / scale, 2 / 255 / scale
    cost = literal_heads.mixture(head, y, np.array([[254]])).item()
    assert cost == pytest.approx(lower - np.log1p(-np.exp(-width)), rel=1e-14, abs=0)


def test_float32_stays_float32() -> None:
    head, y, x = mixture(256, (-6, 2))
    nats = losses.nats(head, y.astype(np.float32), x)
    assert nats.dtype == losses.nats_backward(head, y.astype(np.float32), x, nats).dtype == np.float32
    np.testing.assert_allclose(nats, losses.nats(head, y, x), rtol=1e-3)


def test_gaussian_is_its_definition() -> None:
    rng = np.random.default_rng(2)
    head, y, x, d = ops.Gaussian(0.7), rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 3))
    nats = literal_heads.gaussian(head, y, x)
    assert (np.abs(losses.nats(head, y, x) - nats) <= 16 * U * (1 + np.abs(nats))).all()
    gradient = literal_heads.gaussian_gradient(head, y, x, d)
    np.testing.assert_allclose(losses.nats_backward(head, y, x, d), gradient, rtol=8 * U, atol=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_mixture(temperature: float) -> None:
    rows, classes = 8000, 6
    head = ops.MixtureLogistics(3, classes)
    y = np.array([0.4, -0.3, 1.2, -0.9, 0.5, 0.1, -1.0, -2.0, -3.0])
    draws = noise.draw(head, 3, range(rows), 0, 1, 9)[0]
    assert draws.shape == (rows, 4)
    tokens = noise.sample(head, np.tile(y, (rows, 1)), draws, temperature)
    assert tokens.dtype == np.int64
    tempered = np.concatenate([y[:3] / temperature, y[3:6], y[6:] + np.log(temperature)])
    p = np.exp(-losses.nats(head, np.tile(tempered[None, :, None], (1, 1, classes)), np.arange(classes)[None]))[0]
    counts = np.bincount(tokens, minlength=classes)
    assert ((counts - rows * p) ** 2 / (rows * p)).sum() < 20.6, "chi-square, 5 degrees of freedom, the 0.1 % quantile"


def test_gaussian_samples_follow_the_gaussian() -> None:
    head = ops.Gaussian(0.5)
    tokens = noise.sample(head, np.full((8000, 1), 0.25), noise.draw(head, 4, range(8000), 0, 1, 1)[0], 2.0)
    counts = np.histogram(tokens, [-np.inf, 0.25 - 0.6744897501960817, 0.25, 0.25 + 0.6744897501960817, np.inf])[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 16.3, "quartiles; chi-square, 3 degrees of freedom, the 0.1 % quantile"


def test_every_class_is_reached_exactly_between_its_edges() -> None:
    """With one component the noise is the inverse CDF: classes change where F((edge - μ)/s) lies, and never leave 0..Q-1."""
    head, mean, scale = ops.MixtureLogistics(1, 5), 0.1, 0.4
    edges = np.array([-0.75, -0.25, 0.25, 0.75])
    logistic = np.concatenate([(edges - mean) / scale - 1e-9, (edges - mean) / scale + 1e-9, [-1e300, 1e300]])
    draws = np.stack([np.zeros_like(logistic), logistic], axis=1)
    tokens = noise.sample(head, np.tile([0.0, mean, np.log(scale)], (len(draws), 1)), draws, 1.0)
    assert tokens.tolist() == [0, 1, 2, 3, 1, 2, 3, 4, 0, 4]


def test_temperature_zero_is_the_heaviest_mean() -> None:
    head = ops.MixtureLogistics(2, 256)
    y = np.array([[0.0, 1.0, -0.9, 0.5, 800.0, 800.0], [2.0, 2.0, 9.0, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, -7.0, 0.0, 0.0]])
    draws = noise.draw(head, 5, range(3), 0, 1, 6)[0]
    assert noise.sample(head, y, draws, 0.0).tolist() == [round(1.5 / 2 * 255), 255, 0]


def test_an_overflowing_scale_draws_the_ends() -> None:
    head, rows = ops.MixtureLogistics(1, 7), 200
    tokens = noise.sample(head, np.tile([0.0, 0.3, 800.0], (rows, 1)), noise.draw(head, 6, range(rows), 0, 1, 3)[0], 1.0)
    assert set(tokens.tolist()) == {0, 6}


def test_a_row_draws_the_same_alone_and_in_blocks() -> None:
    head = ops.MixtureLogistics(4, 256)
    whole = noise.draw(head, 7, [0, 5], 0, 6, 12)
    np.testing.assert_array_equal(noise.draw(head, 7, [5], 2, 3, 12), whole[2:5, 1:])
    assert np.isfinite(whole).all()


def test_a_temperature_next_to_zero_takes_the_most_probable() -> None:
    y = np.array([[1.0, 3.0, 2.0], [-5.0, -9.0, -4.0]])
    for temperature in (5e-324, 1e-300, 1e-9):
        assert noise.sample(ops.Categorical(), y, np.zeros((2, 3)), temperature).tolist() == [1, 2]
