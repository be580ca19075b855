"""Heads whose scale is learnt: values and gradients against 60 digits and against plain loops, tails, the floor, samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

import refar
from refar import Builder, Graph, noise, ops
from refar.exact import literal_heads
from refar.oracle import losses
from refar.testing.contract.cases import generic_parameters

Head = ops.LearntGaussian | ops.MixtureGaussians

HEADS: list[Head] = [ops.LearntGaussian(-1.0), ops.MixtureGaussians(1, -1.0), ops.MixtureGaussians(3, -1.0)]


def parameters(head: Head) -> int:
    """How many numbers the output holds for each channel."""
    return 3 * head.components if isinstance(head, ops.MixtureGaussians) else 2


def drawn(head: Head, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An output of three channels, some of whose log-scales lie below the floor; a signal; an upstream gradient."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(2, 3 * parameters(head), 4)) * scale
    return y, rng.normal(size=(2, 3, 4)) * 3, rng.normal(size=(2, 4))


def by_loops(head: Head, y: list[float], x: list[float]) -> float:
    """-log p of one position, with nothing but numbers: parameter k of channel c is number k·C + c of y."""
    channels, total = len(x), 0.0
    k = head.components if isinstance(head, ops.MixtureGaussians) else 1
    for c in range(channels):
        logits = [y[j * channels + c] for j in range(k)] if isinstance(head, ops.MixtureGaussians) else [0.0]
        skip = k if isinstance(head, ops.MixtureGaussians) else 0
        p = 0.0
        for j in range(k):
            mean, log_scale = y[(skip + j) * channels + c], y[(skip + k + j) * channels + c]
            std = math.exp(max(log_scale, head.floor))
            weight = math.exp(logits[j]) / sum(math.exp(logit) for logit in logits)
            p += weight * math.exp(-((x[c] - mean) ** 2) / (2 * std**2)) / math.sqrt(2 * math.pi * std**2)
        total -= math.log(p)
    return total


@pytest.mark.parametrize("head", HEADS)
def test_nats_are_those_of_plain_loops(head: Head) -> None:
    y, x, _ = drawn(head)
    expected = [[by_loops(head, y[b, :, t].tolist(), x[b, :, t].tolist()) for t in range(4)] for b in range(2)]
    np.testing.assert_allclose(losses.nats(head, y, x), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 5.0, 30.0])
@pytest.mark.parametrize("head", HEADS)
def test_nats_and_gradient_are_the_definitions(head: Head, scale: float) -> None:
    y, x, d = drawn(head, 1, scale)
    nats = literal_heads.gaussians(head, y, x)
    np.testing.assert_allclose(losses.nats(head, y, x), nats, rtol=1e-13, atol=1e-13)
    expected = literal_heads.gaussians_gradient(head, y, x, d)
    np.testing.assert_allclose(losses.nats_backward(head, y, x, d), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("head", HEADS)
def test_gradient_by_a_complex_step(head: Head) -> None:
    y, x, d = drawn(head, 2, 1.0)
    h, v = 2.0**-100, np.random.default_rng(3).normal(size=y.shape)
    moved = (losses.nats(head, y + 1j * h * v, x).imag / h * d).sum()
    assert moved == pytest.approx((losses.nats_backward(head, y, x, d) * v).sum(), rel=1e-13)


@pytest.mark.parametrize("head", HEADS)
def test_gradient_by_central_differences(head: Head) -> None:
    y, x, d = drawn(head, 4, 1.0)
    gradient, h = losses.nats_backward(head, y, x, d), 1e-5
    for place in np.ndindex(y.shape):
        up, down = y.copy(), y.copy()
        up[place], down[place] = up[place] + h, down[place] - h
        slope = ((losses.nats(head, up, x) - losses.nats(head, down, x)) * d).sum() / (2 * h)
        assert slope == pytest.approx(gradient[place], rel=1e-6, abs=1e-7)


def test_by_hand() -> None:
    """x = 3, mean 1, σ = 2: ½·1² + log 2 + ½·log 2π. Two equal components are one."""
    constant = math.log(2 * math.pi) / 2
    y = np.array([1.0, math.log(2.0)])[None, :, None]
    assert losses.nats(ops.LearntGaussian(), y, np.full((1, 1, 1), 3.0)).item() == pytest.approx(0.5 + math.log(2) + constant)
    y = np.array([7.0, 7.0, 1.0, 1.0, math.log(2.0), math.log(2.0)])[None, :, None]
    assert losses.nats(ops.MixtureGaussians(2), y, np.full((1, 1, 1), 3.0)).item() == pytest.approx(0.5 + math.log(2) + constant)


def test_a_mixture_of_one_is_the_gaussian_and_of_a_fixed_scale_the_fixed_one() -> None:
    y, x, d = drawn(ops.LearntGaussian(-1.0), 5)
    logits = np.random.default_rng(6).normal(size=(2, 3, 4))
    mixed, one = np.concatenate([logits, y], axis=1), ops.MixtureGaussians(1, -1.0)
    np.testing.assert_allclose(losses.nats(one, mixed, x), losses.nats(ops.LearntGaussian(-1.0), y, x), rtol=1e-15)
    gradient = losses.nats_backward(one, mixed, x, d)
    assert (gradient[:, :3] == 0).all()
    np.testing.assert_allclose(gradient[:, 3:], losses.nats_backward(ops.LearntGaussian(-1.0), y, x, d), rtol=1e-15)
    y[:, 3:] = math.log(0.7)
    np.testing.assert_allclose(losses.nats(ops.LearntGaussian(), y, x), losses.nats(ops.Gaussian(0.7), y[:, :3], x), rtol=1e-13)


@pytest.mark.parametrize("head", [ops.LearntGaussian(-2.0), ops.MixtureGaussians(1, -2.0)])
def test_below_the_floor_the_scale_is_the_floor_and_has_no_gradient(head: Head) -> None:
    lead = [0.0] * (parameters(head) - 2)
    x, d = np.full((1, 1, 5), 0.3), np.ones((1, 5))
    y = np.stack([np.array([*lead, 0.1, log_scale]) for log_scale in (-1e30, -3.0, -2.0, -2.0 + 1e-9, -1.0)], axis=-1)[None]
    nats, gradient = losses.nats(head, y, x), losses.nats_backward(head, y, x, d)
    assert nats[0, 0] == nats[0, 1] == nats[0, 2]
    z = 0.2 * math.exp(2)
    np.testing.assert_allclose(gradient[0, -1], [0, 0, 1 - z**2, 1 - z**2, 1 - (0.2 * math.exp(1)) ** 2], rtol=1e-7)
    np.testing.assert_allclose(gradient[0, -2, :3], -0.2 * math.exp(4), rtol=1e-12)
    np.testing.assert_allclose(literal_heads.gaussians_gradient(head, y, x, d), gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("log_scale", [-1e30, -7.0, 0.0, 30.0, 600.0])
@pytest.mark.parametrize("distance", [0.0, 1.0, 1e6, 1e100])
def test_values_and_gradients_are_finite_in_the_tails(distance: float, log_scale: float) -> None:
    for head in (ops.LearntGaussian(), ops.MixtureGaussians(2)):
        y = np.array([0.0, -900.0, 0.0, 1.0, log_scale, 2.0] if parameters(head) == 6 else [0.0, log_scale])[None, :, None]
        x = np.full((1, 1, 1), distance)
        assert np.isfinite(losses.nats(head, y, x)).all()
        assert np.isfinite(losses.nats_backward(head, y, x, np.ones((1, 1)))).all()


@pytest.mark.parametrize("head", HEADS)
def test_float32_stays_float32(head: Head) -> None:
    y, x, d = (array.astype(np.float32) for array in drawn(head))
    nats = losses.nats(head, y, x)
    assert nats.dtype == losses.nats_backward(head, y, x, d).dtype == np.float32
    np.testing.assert_allclose(nats, losses.nats(head, *(array.astype(np.float64) for array in (y, x))), rtol=1e-5)


def test_a_density_integrates_to_one() -> None:
    head = ops.MixtureGaussians(3, -2.0)
    y = np.array([0.4, -0.3, 1.2, -3.0, 2.0, 5.0, -9.0, 0.3, -1.0])
    grid = np.linspace(-20, 20, 40001)
    p = np.exp(-losses.nats(head, np.tile(y[None, :, None], (1, 1, len(grid))), grid[None, None]))
    assert p.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-10)


def cumulative(head: ops.MixtureGaussians, y: list[float], x: float) -> float:
    """P(value ≤ x) of one channel."""
    k = head.components
    weights = [math.exp(logit) for logit in y[:k]]
    each = [
        (1 + math.erf((x - mean) / (math.exp(max(log_scale, head.floor)) * math.sqrt(2)))) / 2
        for mean, log_scale in zip(y[k : 2 * k], y[2 * k :], strict=True)
    ]
    return sum(w * p for w, p in zip(weights, each, strict=True)) / sum(weights)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_mixture_channel_by_channel(temperature: float) -> None:
    """Two channels with mixtures of their own; with a temperature the logits are divided by it, and the scales multiplied."""
    rows, head = 8000, ops.MixtureGaussians(2, -1.5)
    channels = [[0.7, -0.2, -1.0, 1.0, -9.0, -0.5], [-1.0, 1.0, 5.0, 3.0, 0.2, -1.0]]
    y = np.stack(channels, axis=1).reshape(-1)
    draws = noise.draw(head, 3, range(rows), 0, 1, 12)[0]
    assert draws.shape == (rows, 6)
    x = noise.sample(head, np.tile(y, (rows, 1)), draws, temperature)
    assert x.shape == (rows, 2)
    assert abs(np.corrcoef(x.T)[0, 1]) < 0.05
    edges = np.linspace(-3, 8, 12)
    tempered = ops.MixtureGaussians(2, -30.0)
    for c, each in enumerate(channels):
        scales = [max(log_scale, -1.5) + math.log(temperature) for log_scale in each[4:]]
        parameters = [each[0] / temperature, each[1] / temperature, *each[2:4], *scales]
        p = np.diff([0, *(cumulative(tempered, parameters, edge) for edge in edges), 1])
        counts = np.diff([0, *(int((x[:, c] <= edge).sum()) for edge in edges), rows])
        kept = p * rows > 5
        statistic = ((counts - rows * p)[kept] ** 2 / (rows * p[kept])).sum()
        assert statistic < 34.5, "chi-square, at most 12 degrees of freedom, the 0.05 % quantile"


def test_gaussian_samples_follow_the_gaussian() -> None:
    head = ops.LearntGaussian()
    y = np.tile([0.25, math.log(0.5)], (8000, 1))
    x = noise.sample(head, y, noise.draw(head, 4, range(8000), 0, 1, 2)[0], 2.0)
    counts = np.histogram(x, [-np.inf, 0.25 - 0.6744897501960817, 0.25, 0.25 + 0.6744897501960817, np.inf])[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 16.3, "quartiles; chi-square, 3 degrees of freedom, the 0.1 % quantile"


def test_the_noise_of_a_learnt_gaussian_is_that_of_a_fixed_one() -> None:
    fixed, learnt = noise.draw(ops.Gaussian(), 1, [0, 4], 3, 5, 2), noise.draw(ops.LearntGaussian(), 1, [0, 4], 3, 5, 4)
    np.testing.assert_array_equal(fixed, learnt)


def test_temperature_zero_is_the_mean_of_the_heaviest_component() -> None:
    y = np.array([[0.0, 1.0, 2.0, -1.0, 9.0, 8.0, 7.0, 6.0, 900.0, 900.0, 900.0, 900.0]])  # of two channels
    head = ops.MixtureGaussians(2)
    assert noise.sample(head, y, noise.draw(head, 5, range(1), 0, 1, 12)[0], 0.0).tolist() == [[7.0, 8.0]]
    assert noise.sample(ops.LearntGaussian(), np.array([[7.0, 900.0]]), np.ones((1, 1)), 0.0).tolist() == [[7.0]]


def test_a_scale_beyond_all_numbers_draws_the_largest_number() -> None:
    largest = float(np.finfo(np.float32).max)
    y, draws = np.array([[0.3, 900.0], [0.3, 900.0], [0.3, 85.0]]), np.array([[2.0], [-2.0], [0.0]])
    assert noise.sample(ops.LearntGaussian(), y, draws, 1.0).tolist() == [[largest], [-largest], [0.3]]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("head", HEADS)
def test_numbers_in_float32_are_drawn_from_in_float64(head: Head, temperature: float) -> None:
    y = drawn(head)[0][:, :, 0].astype(np.float32)
    draws = noise.draw(head, 1, range(2), 0, 1, y.shape[1])[0]
    x = noise.sample(head, y, draws, temperature)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, noise.sample(head, y.astype(np.float64), draws, temperature))


@pytest.mark.parametrize("head", HEADS)
def test_no_rows_and_no_positions(head: Head) -> None:
    size = 3 * parameters(head)
    assert noise.sample(head, np.zeros((0, size)), noise.draw(head, 0, [], 0, 1, size)[0], 1.0).shape == (0, 3)
    for shape in ((0, 4), (2, 0)):
        y, x = np.zeros((shape[0], size, shape[1])), np.zeros((shape[0], 3, shape[1]))
        assert losses.nats(head, y, x).shape == shape
        assert losses.nats_backward(head, y, x, np.zeros(shape)).shape == y.shape


@pytest.mark.parametrize("head", HEADS)
def test_a_row_draws_the_same_alone_and_in_blocks(head: Head) -> None:
    size = 2 * parameters(head)
    whole = noise.draw(head, 7, [0, 5], 0, 6, size)
    np.testing.assert_array_equal(noise.draw(head, 7, [5], 2, 3, size), whole[2:5, 1:])
    assert np.isfinite(whole).all()


def over_time(head: Head) -> Graph:
    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=2), 5, kernel=2, strict=True))
    h = g.add(h, g.embedding(g.condition(classes=3), 5))
    return g.build(g.conv1d(g.tanh(h), 2 * parameters(head), kernel=2, dilation=2), head)


@pytest.mark.parametrize("head", HEADS)
def test_generation_over_time(head: Head) -> None:
    """Both algorithms; and each value is drawn from the output of the values before it, with its own noise."""
    graph = over_time(head)
    params = generic_parameters(graph, np.random.default_rng(0))
    given = {"batch": 3, "seed": 2, "temperature": 0.8, "condition": [0, 1, 2]}
    fast = refar.generate(graph, params, 12, **given)
    np.testing.assert_allclose(refar.generate(graph, params, 12, algorithm="slow", **given), fast, rtol=1e-12)
    assert fast.shape == (3, 2, 12)
    y, draws = refar.forward(graph, params, fast, [0, 1, 2]), noise.draw(head, 2, range(3), 0, 12, 2 * parameters(head))
    again = [noise.sample(head, y[:, :, t], draws[t], 0.8) for t in range(12)]
    np.testing.assert_allclose(np.stack(again, axis=2), fast, rtol=1e-12)


@pytest.mark.parametrize("head", HEADS)
def test_densities_over_time(head: Head) -> None:
    """The chain rule by plain loops, the marginal as the sum over classes, and the class by Bayes' rule."""
    graph = over_time(head)
    params = generic_parameters(graph, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(2, 2, 6))
    each = []
    for c in range(3):
        y = refar.forward(graph, params, x, [c, c])
        each.append([-sum(by_loops(head, y[b, :, t].tolist(), x[b, :, t].tolist()) for t in range(6)) for b in range(2)])
        np.testing.assert_allclose(refar.log_prob(graph, params, x, [c, c]), each[-1], rtol=1e-12)
    joint = np.exp(np.array(each)) / 3
    np.testing.assert_allclose(refar.log_marginal(graph, params, x), np.log(joint.sum(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(refar.posterior(graph, params, x), (joint / joint.sum(axis=0)).T, rtol=1e-10)


def over_an_image(head: Head) -> Graph:
    g = Builder()
    h = g.tanh(g.conv2d(g.image(channels=3), 6, kernel=3, mask="A", colours=3))
    return g.build(g.conv2d(h, 3 * parameters(head), mask="B", colours=3), head)


@pytest.mark.parametrize("head", HEADS)
def test_colours_of_an_image_have_their_own_parameters(head: Head) -> None:
    """Channel k·C + c of the output is number k of the parameters of colour c, in densities and in drawing."""
    graph = over_an_image(head)
    params = generic_parameters(graph, np.random.default_rng(0))
    images = refar.generate(graph, params, (3, 2), batch=2, seed=1)
    np.testing.assert_allclose(refar.generate(graph, params, (3, 2), batch=2, seed=1, algorithm="slow"), images, rtol=1e-12)
    y, draws = refar.forward(graph, params, images), noise.draw(head, 1, range(2), 0, 18, parameters(head))
    total = np.zeros(2)
    for n, (r, s, c) in enumerate(np.ndindex(3, 2, 3)):
        own = y[:, c::3, r, s]
        np.testing.assert_allclose(noise.sample(head, own, draws[n], 1.0)[:, 0], images[:, c, r, s], rtol=1e-12)
        total -= [by_loops(head, own[b].tolist(), [float(images[b, c, r, s])]) for b in range(2)]
    np.testing.assert_allclose(refar.log_prob(graph, params, images), total, rtol=1e-12)
