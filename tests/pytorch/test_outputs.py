"""Heads and relaxed samples in PyTorch against NumPy: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import refuses

import refar.torch
from refar import noise, ops
from refar.errors import InputError
from refar.oracle import gumbel, losses
from refar.torch import nats


def outputs(classes: int, scales: tuple[float, float], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(classes)
    parts = [rng.normal(size=(2, 3, 5)), rng.uniform(-1.2, 1.2, (2, 3, 5)), rng.uniform(*scales, (2, 3, 5))]
    x = rng.integers(0, classes, (2, 5))
    x[0, :2] = 0, classes - 1
    return torch.tensor(np.concatenate(parts, axis=1), dtype=dtype, requires_grad=True), torch.tensor(x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("classes", "scales"), [(2, (-3, 3)), (256, (-5, 2)), (65536, (-5, 0)), (256, (10, 80)), (257, (-20, -10))]
)
def test_mixture_nats_and_gradient(classes: int, scales: tuple[float, float], dtype: torch.dtype) -> None:
    """In float32 an edge (v - μ)/s is known to u·(1 + |μ|)/s, and with it the value; ∂/∂μ is divided by s once more."""
    head = ops.MixtureLogistics(3, classes)
    y, x = outputs(classes, scales, dtype)
    d = torch.tensor(np.random.default_rng(1).normal(size=(2, 5)), dtype=dtype)
    found = nats(head, y, x)
    (found * d).sum().backward()
    assert found.dtype == dtype
    y64 = y.detach().numpy().astype(np.float64)
    unit = torch.finfo(dtype).eps / 2
    scale = np.exp(-np.split(y64, 3, axis=1)[2])
    value = unit * (10 + 2.3 * scale.max(axis=1) + np.abs(y64).max(axis=1) + np.log(classes))
    assert (np.abs(found.detach().numpy() - losses.nats(head, y64, x.numpy())) <= 4 * value).all()
    expected = losses.nats_backward(head, y64, x.numpy(), d.numpy().astype(np.float64))
    assert y.grad is not None
    size = np.concatenate([np.ones_like(scale), scale, 1 + 2.3 * scale], axis=1)
    assert (np.abs(y.grad.numpy() - expected) <= 4 * value[:, None] * size * np.abs(d.numpy())[:, None]).all()


@pytest.mark.parametrize("log_scale", [-80.0, -30.0, -7.0, 0.0, 30.0, 80.0])
def test_float32_stays_finite_at_every_scale(log_scale: float) -> None:
    head = ops.MixtureLogistics(1, 256)
    y = torch.tensor([0.0, 0.3, log_scale])[None, :, None].repeat(1, 1, 256).requires_grad_()
    found = nats(head, y, torch.arange(256)[None])
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert y.grad is not None
    assert torch.isfinite(y.grad).all()
    assert float(torch.exp(-found.detach().double()).sum()) == pytest.approx(1, abs=1e-5)


def test_gaussian_nats_and_gradient() -> None:
    rng, head = np.random.default_rng(2), ops.Gaussian(0.7)
    y, x, d = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 5))
    given = torch.tensor(y, requires_grad=True)
    found = nats(head, given, torch.tensor(x))
    (found * torch.tensor(d)).sum().backward()
    np.testing.assert_allclose(found.detach(), losses.nats(head, y, x), rtol=1e-14)
    np.testing.assert_allclose(given.grad, losses.nats_backward(head, y, x, d), rtol=1e-14)


LEARNT = [ops.LearntGaussian(-1.0), ops.MixtureGaussians(1, -1.0), ops.MixtureGaussians(3, -1.0)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("head", LEARNT)
def test_learnt_scales_nats_and_gradient(head: ops.AnyHead, scale: float, dtype: torch.dtype) -> None:
    """z = (x - μ)/σ is known to u·(|x| + |μ|)/σ and to u·|λ|·|z|; a gradient is at most (1 + z²)·(1 + 1/σ)."""
    rng = np.random.default_rng(4)
    size = 3 * head.components if isinstance(head, ops.MixtureGaussians) else 2
    given = torch.tensor(rng.normal(size=(2, size * 3, 5)) * scale, dtype=dtype, requires_grad=True)
    x, d = (torch.tensor(rng.normal(size=shape) * 2, dtype=dtype) for shape in ((2, 3, 5), (2, 5)))
    found = nats(head, given, x)
    (found * d).sum().backward()
    assert found.dtype == dtype
    y64, x64, d64 = (array.detach().numpy().astype(np.float64) for array in (given, x, d))
    unit, largest = torch.finfo(dtype).eps / 2, np.abs(y64).max() + np.abs(x64).max()
    off = 30 * unit * (1 + largest) ** 2 * np.exp(2)
    assert np.abs(found.detach().numpy() - losses.nats(head, y64, x64)).max() <= off
    assert given.grad is not None
    assert np.abs(given.grad.numpy() - losses.nats_backward(head, y64, x64, d64)).max() <= off * np.exp(1) * np.abs(d64).max()


@pytest.mark.parametrize("head", [ops.LearntGaussian(), ops.MixtureGaussians(2)])
@pytest.mark.parametrize("log_scale", [-1e30, -7.0, 0.0, 30.0, 600.0])
@pytest.mark.parametrize("distance", [0.0, 1.0, 1e6, 1e15])
def test_learnt_scales_stay_finite_in_float32(head: ops.AnyHead, log_scale: float, distance: float) -> None:
    numbers = [0.0, -900.0, 0.0, 1.0, log_scale, 2.0] if isinstance(head, ops.MixtureGaussians) else [0.0, log_scale]
    y = torch.tensor(numbers)[None, :, None].requires_grad_()
    found = nats(head, y, torch.full((1, 1, 1), distance))
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert y.grad is not None
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize("head", [ops.LearntGaussian(-2.0), ops.MixtureGaussians(1, -2.0)])
def test_the_floor_has_the_oracles_gradient(head: ops.AnyHead) -> None:
    """0 below it, that of the equation at it and above."""
    lead = [0.0] * isinstance(head, ops.MixtureGaussians)
    y = torch.tensor([[[*lead, 0.1, v] for v in (-9.0, -2.0, -1.0)]], dtype=torch.float64).transpose(1, 2).requires_grad_()
    x, d = torch.full((1, 1, 3), 0.3, dtype=torch.float64), np.ones((1, 3))
    nats(head, y, x).sum().backward()
    assert y.grad is not None
    np.testing.assert_allclose(y.grad, losses.nats_backward(head, y.detach().numpy(), x.numpy(), d), rtol=1e-13)


@pytest.mark.parametrize("head", LEARNT)
def test_learnt_scales_over_images(head: ops.AnyHead) -> None:
    """For every value, by rows, columns and colours: number k of the parameters of colour c is channel k·C + c."""
    rng = np.random.default_rng(5)
    size = 3 * head.components if isinstance(head, ops.MixtureGaussians) else 2
    y, x = rng.normal(size=(2, size * 3, 4, 5)), rng.normal(size=(2, 3, 4, 5))
    found = nats(head, torch.tensor(y), torch.tensor(x)).numpy().reshape(2, 4, 5, 3)
    for c in range(3):
        own = losses.nats(head, y[:, c::3].reshape(2, size, 20), x[:, c].reshape(2, 1, 20))
        np.testing.assert_allclose(found[..., c].reshape(2, 20), own, rtol=1e-12)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_gumbel_softmax_and_gradient(temperature: float, hard: bool) -> None:
    rng = np.random.default_rng(3)
    logits, dy = rng.normal(size=(2, 2, 4, 3))
    draws = noise.draw(ops.Categorical(), 1, range(2), 0, 3, 4).transpose(1, 2, 0)
    given = torch.tensor(logits, requires_grad=True)
    y = refar.torch.gumbel_softmax(given, torch.tensor(draws), temperature, hard=hard)
    y.backward(torch.tensor(dy))
    expected = gumbel.gumbel_softmax(logits, draws, temperature, hard=hard)
    np.testing.assert_allclose(y.detach(), expected, rtol=0 if hard else 1e-13, atol=0 if hard else 1e-15)
    gradient = gumbel.gumbel_softmax_backward(logits, draws, temperature, dy)
    np.testing.assert_allclose(given.grad, gradient, rtol=1e-12, atol=1e-15)


def test_gumbel_softmax_refuses_what_it_cannot_take() -> None:
    logits = torch.zeros(2, 4, 3)
    for temperature in (0.0, -1.0, float("nan")):
        with refuses(InputError, "temperature: expected a finite number > 0", str(temperature)):
            refar.torch.gumbel_softmax(logits, logits, temperature)
    with refuses(InputError, "noise: expected the shape of the logits (2, 4, 3), got (3, 2, 4)"):
        refar.torch.gumbel_softmax(logits, logits.permute(2, 0, 1), 1.0)


@pytest.mark.parametrize("head", [ops.Categorical(), ops.Gaussian(), ops.MixtureLogistics(2, 4), *LEARNT])
def test_no_images(head: ops.AnyHead) -> None:
    channels = {ops.Categorical: 8, ops.Gaussian: 2, ops.LearntGaussian: 4}.get(type(head), 6 * getattr(head, "components", 0))
    dtype = torch.float64
    x = torch.zeros((0, 2, 3, 4), dtype=dtype if isinstance(head, ops.SignalHead) else torch.int64)
    assert nats(head, torch.zeros((0, channels, 3, 4), dtype=dtype), x).shape == (0, 24)
