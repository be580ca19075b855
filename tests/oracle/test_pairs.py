"""Losses of pairs of signals: numbers worked out by hand, loops, complex steps, and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from refar.oracle import pairs
from refar.torch import pairs as torch_pairs

OPTIONS = [{}, {"pre_emphasis": 0.85}, {"dc": 1.0}, {"pre_emphasis": 0.95, "dc": 0.3}]


def signals(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.arange(7) < np.array([[7], [4], [0]])
    mask[0, :2] = False
    return rng.normal(size=(3, 2, 7)), rng.normal(size=(3, 2, 7)), mask


def test_by_hand() -> None:
    """Errors 1, 2 and 0 of a signal 3, 0, 4: 5/3 squared on average; 5/25. With a = ½ the errors are 1, 1.5, -1 of 3, -1.5, 4."""
    y, v = np.array([[[4.0, 2.0, 4.0]]]), np.array([[[3.0, 0.0, 4.0]]])
    mask = np.ones((1, 3), bool)
    assert pairs.mean_square(y, v, mask)[0] == pytest.approx(5 / 3, rel=1e-15)
    assert pairs.error_to_signal(y, v, mask)[0] == pytest.approx(5 / (25 + 3e-5), rel=1e-14)
    assert pairs.error_to_signal(y, v, mask, 0.5)[0] == pytest.approx(4.25 / (9 + 2.25 + 16 + 3e-5), rel=1e-14)
    assert pairs.error_to_signal(y, v, mask, dc=2.0)[0] == pytest.approx((5 + 2 * 3) / (25 + 3e-5), rel=1e-14)
    mask[0, 0] = False
    assert pairs.mean_square(y, v, mask)[0] == 2
    assert pairs.error_to_signal(y, v, mask, 0.5)[0] == pytest.approx(3.25 / (2.25 + 16 + 2e-5), rel=1e-14)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_ratio_in_loops(options: dict[str, Any]) -> None:
    y, v, mask = signals()
    a, w = options.get("pre_emphasis", 0.0), options.get("dc", 0.0)
    for b, found in enumerate(pairs.error_to_signal(y, v, mask, **options)):
        above = below = signal = offset = 0.0
        count = 2 * mask[b].sum()
        for c in range(2):
            mean = 0.0
            for t in np.flatnonzero(mask[b]):
                e, s = y[b, c] - v[b, c], v[b, c]
                above += (e[t] - (a * e[t - 1] if t else 0)) ** 2
                below += (s[t] - (a * s[t - 1] if t else 0)) ** 2
                signal += s[t] ** 2
                mean += e[t] / (count / 2)
            offset += mean**2 / 2
        n = max(count, 1)
        assert found == pytest.approx(above / n / (below / n + 1e-5) + w * offset / (signal / n + 1e-5), rel=1e-12)


@pytest.mark.parametrize("options", [None, *OPTIONS])
def test_gradients_by_a_complex_step_and_in_pytorch(options: dict[str, Any] | None) -> None:
    y, v, mask = signals(1)
    rng, h = np.random.default_rng(2), 2.0**-100
    towards, d = rng.normal(size=y.shape), rng.normal(size=3)
    if options is None:
        value, gradient, own, more = pairs.mean_square, pairs.mean_square_backward, torch_pairs.mean_square, {}
    else:
        value, gradient, own, more = pairs.error_to_signal, pairs.error_to_signal_backward, torch_pairs.error_to_signal, options
    moved = (value(y + 1j * h * towards, v, mask, **more).imag / h * d).sum()
    wanted = gradient(y, v, mask, d, **more)
    assert moved == pytest.approx((wanted * towards).sum(), rel=1e-12)
    tensor = torch.tensor(y, requires_grad=True)
    losses = own(tensor, torch.tensor(v), torch.tensor(mask), **more)
    np.testing.assert_allclose(losses.detach().numpy(), value(y, v, mask, **more), rtol=1e-13)
    (losses * torch.tensor(d)).sum().backward()
    # 4·14 roundings of a sum of 14 values and of what is divided by it
    np.testing.assert_allclose(tensor.grad.numpy(), wanted, rtol=0, atol=56 * 2.0**-53 * np.abs(wanted).max())
    assert losses[2] == 0
    assert (tensor.grad[2] == 0).all()
