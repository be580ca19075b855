"""By how much steps may differ: half precision and channels of unlike size, right steps beside wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from refar.testing import ContractError, check_streaming
from refar.testing.probe.tolerance import computed_in, tolerance

Result = tuple[torch.Tensor, torch.Tensor]
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}
T = 16


def layer(seed: int, dtype: torch.dtype) -> tuple[Callable[[Any], torch.Tensor], dict[str, Callable[[Any, Any], Result]]]:
    """A convolution of two taps, four apart, with its steps, which round after every product: right ones, and wrong ones."""
    draw = torch.Generator().manual_seed(seed)
    w, b = torch.randn(4, 3, 2, generator=draw).to(dtype), torch.randn(4, generator=draw).to(dtype)

    def full(x: Any) -> torch.Tensor:
        return F.conv1d(F.pad(torch.as_tensor(x).to(dtype), (4, 0)), w, b, dilation=4)

    def taps(queue: torch.Tensor, x: torch.Tensor, back: int) -> torch.Tensor:
        return (w[:, :, 0] @ queue[..., -back].T + w[:, :, 1] @ x.T).T

    def pushed(queue: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([queue[..., 1:], x[..., None]], dim=2)

    def of(y: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], push: Any = pushed) -> Callable[[Any, Any], Result]:
        def step(queue: Any, x: Any) -> Result:
            x = torch.as_tensor(x).to(dtype)
            return y(queue, x), push(queue, x)

        return step

    return full, {
        "right": of(lambda q, x: taps(q, x, 4) + b),
        "no bias": of(lambda q, x: taps(q, x, 4)),
        "never fed back": of(lambda q, x: taps(q, x, 4) + b, lambda q, x: q),
        "one short": of(lambda q, x: taps(q, x, 3) + b),
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", HALF)
def test_half_precision(name: str, seed: int) -> None:
    dtype = HALF[name]
    full, steps = layer(seed, dtype)
    options: dict[str, Any] = {
        "shape": (2, 3, T),
        "initial_state": lambda rows: torch.zeros(rows, 3, 4, dtype=dtype),
        "seed": seed,
    }
    figure = check_streaming(full, steps["right"], **options).lines[1].figure
    assert f"allowed 96 roundings of {name} (2^-{ {'float16': 11, 'bfloat16': 8}[name] }) of the largest value" in figure
    assert "at most 1/100 of the channel's spread" in figure
    for wrong in ("no bias", "never fed back", "one short"):
        with pytest.raises(ContractError, match="law 'step'"):
            check_streaming(full, steps[wrong], **options)


def test_what_half_precision_cannot_show() -> None:
    """Off by 3 % of the spread everywhere: in bfloat16 many roundings might do that, in float32 none."""

    def full(x: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(x).bfloat16()

    def near(state: Any, x: np.ndarray) -> tuple[torch.Tensor, Any]:
        off = 0.1 * np.sign(np.sin(1e4 * x))
        return torch.as_tensor(x + off).bfloat16(), state

    with pytest.raises(ContractError, match="bfloat16 cannot show whether the steps are right: they differ by more than a hundr"):
        check_streaming(full, near, shape=(2, 3, T))
    with pytest.raises(ContractError) as caught:
        check_streaming(lambda x: x, lambda s, x: (near(s, x)[0].float().numpy() + 1e-7, s), shape=(2, 3, T))
    assert "cannot show" not in str(caught.value)
    check_streaming(full, near, shape=(2, 3, T), tolerance=0.1)


def test_every_channel_by_its_own_size() -> None:
    scale = np.array([1e4, 1.0], np.float32)[:, None]

    def full(x: np.ndarray) -> np.ndarray:
        return scale * np.tanh(x)

    check_streaming(full, lambda s, x: (scale[:, 0] * np.tanh(x), s), shape=(2, 2, T))
    with pytest.raises(ContractError, match="wrong at every position, only in channel 1"):
        check_streaming(full, lambda s, x: (scale[:, 0] * np.tanh(x) * [1, 0.999], s), shape=(2, 2, T))


def test_a_channel_without_spread() -> None:
    """A probability that is 1 up to rounding shows nothing, and is no reason to refuse."""

    def full(x: np.ndarray) -> np.ndarray:
        e = np.exp(x)
        p = e / e.sum(axis=1, keepdims=True)
        return np.concatenate([p, p.sum(axis=1, keepdims=True)], axis=1)

    def step(state: Any, x: np.ndarray) -> tuple[np.ndarray, Any]:
        p = np.exp(x - np.log(np.exp(x).sum(axis=1, keepdims=True)))
        return np.concatenate([p, p.sum(axis=1, keepdims=True)], axis=1), state

    check_streaming(full, step, shape=(2, 5, T))


def test_the_dtype_is_seen_in_the_values() -> None:
    y = torch.randn(2, 3, 10, generator=torch.Generator().manual_seed(0))
    for name, dtype in HALF.items():
        assert computed_in(y.to(dtype).float().numpy(), "float32") == name
        assert computed_in(y.to(dtype).double().numpy(), "float64") == name
    assert computed_in(y.numpy(), "float32") == "float32"
    assert computed_in(y.double().numpy(), "float64") == "float32"
    assert computed_in(np.arange(-9.0, 9), "float64") == "float64"
    assert computed_in(np.arange(256) / 128.0, "float64") == "float64"
    assert computed_in(np.array([0.5, 2.0, 4.0]), "float64") == "float64"


def test_the_tolerance_in_numbers() -> None:
    """T = 16: 16·(2 + 4) = 96 roundings; the second channel has a spread of 2^-12, of which a hundredth is less."""
    y = np.zeros((1, 3, 16), np.float32)
    y[0, 0, :2], y[0, 1], y[0, 2] = (-2, 1), 1, 7
    y[0, 1, 0] += 2.0**-12
    found = tolerance(y, ["float32", "int64"])
    assert found.rounding[:, 0].tolist() == [96 * 2.0**-23, 96 * 2.0**-24 * (1 + 2.0**-12), 96 * 7 * 2.0**-24]
    assert found.most[:, 0].tolist() == [96 * 2.0**-23, 2.0**-12 / 100, 96 * 7 * 2.0**-24]
    assert not tolerance(y.astype(int), ["int64"]).most.any()
    assert tolerance(y, ["float32"], 0.5).most[:, 0].tolist() == [1, 0.5 * (1 + 2.0**-12), 3.5]
