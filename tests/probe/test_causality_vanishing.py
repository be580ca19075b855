"""`check_causality` where rounding decides: what vanishes in it is not absent, and what it adds is no dependence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from refar.testing import ContractError, check_causality

DILATIONS = [2**i for i in range(5)] * 2
REACH = 1 + sum(DILATIONS)
WRONG = {
    "a layer is missing": DILATIONS[:-1],
    "a layer in the middle is missing": [*DILATIONS[:4], *DILATIONS[5:]],
    "a layer too many": [*DILATIONS, 16],
    "a dilation ignored": [*DILATIONS[:-1], 1],
    "a dilation one too large": [*DILATIONS[:-1], 17],
    "a dilation one too small": [*DILATIONS[:-1], 15],
}


class Layer(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.both = nn.Conv1d(channels, 2 * channels, 2, dilation=dilation)
        self.on, self.skip = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, channels, 1)

    def forward(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        filtered, gate = self.both(F.pad(h, (self.dilation, 0))).chunk(2, 1)
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        return h + self.on(z), self.skip(z)


class WaveNet(nn.Module):
    """As in the paper, in PyTorch's own initialisation: the furthest input passes the older tap of every layer."""

    def __init__(self, dilations: Sequence[int], seed: int = 0, channels: int = 8) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = nn.Conv1d(1, channels, 1), nn.Conv1d(channels, 4, 1)
        self.layers = nn.ModuleList(Layer(channels, dilation) for dilation in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, skips = self.first(x), torch.zeros(())
        for layer in self.layers:
            h, skip = layer(h)
            skips = skips + skip
        return self.last(torch.relu(skips))


def opaque(net: WaveNet) -> Any:
    """As people write it: arrays in, arrays out, and no derivative to be had."""
    return lambda x: net(torch.as_tensor(x)).detach().numpy()


@pytest.mark.parametrize("seed", range(2))
def test_a_right_wavenet_is_seen_to_its_end_by_derivatives(seed: int) -> None:
    found = check_causality(WaveNet(DILATIONS, seed), shape=(2, 1, REACH + 10), reach=REACH)
    assert found.offsets == set(range(REACH))


@pytest.mark.parametrize("seed", range(2))
def test_what_vanishes_is_not_called_absent(seed: int) -> None:
    dilations = [2**i for i in range(7)] * 2
    reach = 1 + sum(dilations)
    found = check_causality(opaque(WaveNet(dilations, seed)), shape=(4, 1, reach + 10), reach=reach)
    assert found.offsets < set(range(reach))
    (note,) = [note for note in found.notes if "were not seen" in note]
    assert "there a change of x moves the output by less than rounding" in note


def test_float64_sees_further() -> None:
    net = WaveNet(DILATIONS).double()
    assert check_causality(opaque(net), shape=(4, 1, REACH + 10), reach=REACH, dtype="float64").receptive_field == REACH


@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_wavenets_are_refused(mistake: str) -> None:
    with pytest.raises(ContractError, match=r"missing|surplus"):
        check_causality(WaveNet(WRONG[mistake], 1), shape=(2, 1, REACH + 10), reach=REACH)


@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_networks_are_refused_without_derivatives_where_the_effect_is_large(mistake: str) -> None:
    """Only additions: every offset shows at the scale of the values."""

    def network(dilations: list[int]) -> Any:
        def f(x: np.ndarray) -> np.ndarray:
            for dilation in dilations:
                x = x + np.pad(x, ((0, 0), (0, 0), (dilation, 0)))[..., : x.shape[-1]]
            return np.tanh(x / 8)

        return f

    assert check_causality(network(DILATIONS), shape=(4, 1, REACH + 10), reach=REACH).receptive_field == REACH
    with pytest.raises(ContractError, match=r"missing|surplus"):
        check_causality(network(WRONG[mistake]), shape=(4, 1, REACH + 10), reach=REACH)


def test_a_reach_of_a_thousand_takes_few_seconds() -> None:
    """Twenty layers; the aim is 3 s of one core that has nothing else to do, and there is room here for one that has."""
    dilations = [2**i for i in range(9)] * 2 + [1, 1]
    net, begin = WaveNet(dilations, 0, 8), time.process_time()
    found = check_causality(net, shape=(2, 1, sum(dilations) + 20), reach=1 + sum(dilations))
    assert found.receptive_field == 1025
    assert time.process_time() - begin < 12


KERNEL = np.random.default_rng(0).normal(size=(3, 2, 5))


def by_fft(x: np.ndarray, dtype: str | None = None, kernel: np.ndarray = KERNEL) -> np.ndarray:
    n = 2 * x.shape[-1] + kernel.shape[-1]
    k = np.fft.rfft(kernel[..., ::-1].astype(x.dtype), n)
    y = np.fft.irfft(np.einsum("bif,oif->bof", np.fft.rfft(x, n), k), n)[..., : x.shape[-1]]
    return y if dtype is None else y.astype(dtype)


def torch_fft(x: torch.Tensor) -> torch.Tensor:
    n = 2 * x.shape[-1] + 5
    k = torch.fft.rfft(torch.tensor(KERNEL[..., ::-1].copy(), dtype=x.dtype), n)
    return torch.fft.irfft(torch.einsum("bif,oif->bof", torch.fft.rfft(x, n), k), n)[..., : x.shape[-1]]


@pytest.mark.parametrize("length", [20, 61, 300])
@pytest.mark.parametrize("options", [{}, {"reach": 5}, {"reach": 5, "dtype": "float64"}])
def test_rounding_everywhere_is_no_dependence(length: int, options: dict[str, Any]) -> None:
    for f in (by_fft, lambda x: by_fft(x, "float32"), torch_fft):
        more = {"convert": torch.from_numpy} if f is torch_fft else {}
        assert check_causality(f, shape=(3, 2, length), **options, **more).offsets == set(range(5))


def test_sums_that_cancel_leave_no_dependence() -> None:
    """A window as a difference of two running sums, and a running sum without the present."""

    def window(x: np.ndarray) -> np.ndarray:
        sums = np.cumsum(x, axis=-1)
        return sums - np.pad(sums, ((0, 0), (0, 0), (6, 0)))[..., :-6] if x.shape[-1] > 6 else sums

    assert check_causality(window, shape=(3, 2, 40), reach=6).offsets == set(range(6))
    assert check_causality(lambda x: np.cumsum(x, -1) - x, shape=(3, 2, 40), strict=True).offsets == set(range(1, 40))


@pytest.mark.parametrize("weight", [1e-1, 1e-3, 1e-5])
def test_a_small_leak_is_refused(weight: float) -> None:
    """In float64 a leak stays where rounding shrinks."""

    def leak(x: np.ndarray) -> np.ndarray:
        return by_fft(x) + weight * (x[:, :1] - x[:, :1].mean(-1, keepdims=True)).astype(x.dtype)

    def torch_leak(x: torch.Tensor) -> torch.Tensor:
        return torch_fft(x) + weight * x[:, :1] / x.std(-1, keepdim=True)[:, :1]

    with pytest.raises(ContractError, match="it sees the future"):
        check_causality(leak, shape=(3, 2, 40))
    with pytest.raises(ContractError, match="it sees the future"):
        check_causality(torch_leak, shape=(3, 2, 40), convert=torch.from_numpy)


def test_a_small_leak_adds_up() -> None:
    """Of a function that computes in float32 whatever it is given, no position alone shows more than rounding."""

    def f(x: np.ndarray) -> np.ndarray:
        y = by_fft(x.astype("f4")) + np.float32(2e-4) * x.astype("f4").mean(axis=(1, 2), keepdims=True)
        return y.astype("f4")

    with pytest.raises(ContractError, match="when x changes at all places after position"):
        check_causality(f, shape=(3, 2, 200))


def test_of_a_wrong_reach_what_rounding_hides_is_not_called_missing() -> None:
    net = WaveNet(DILATIONS)
    with pytest.raises(ContractError, match=r"surplus 41.*; R = \d+ or more, not 41") as error:
        check_causality(opaque(net), shape=(2, 1, 100), reach=41)
    assert "missing" not in str(error.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_fft_of_float32_beside_weights_in_float64(dtype: type) -> None:
    w = np.random.default_rng(0).normal(size=(4, 3, 9))

    def convolved(x: np.ndarray) -> np.ndarray:  # NumPy transforms float32 in float32, and the product is float64
        n = x.shape[-1] + 8
        product = np.einsum("oif,bif->bof", np.fft.rfft(w[:, :, ::-1], n), np.fft.rfft(x, n))
        return np.fft.irfft(product, n)[..., : x.shape[-1]]

    assert check_causality(convolved, shape=(2, 3, 40), reach=9, dtype=dtype).offsets == set(range(9))
