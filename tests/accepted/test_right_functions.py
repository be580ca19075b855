"""Right code that nobody here bent to fit: causal functions of many kinds, of which only the dependence is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from refar.testing import check_causality

Array = np.ndarray
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(4, 3, 5)).astype(np.float32)
W = torch.from_numpy(KERNEL)
SHAPE = (3, 3, 40)


def direct(x: Tensor) -> Tensor:
    return F.conv1d(F.pad(x, (4, 0)), W)


def by_fft(x: Tensor) -> Tensor:
    n = x.shape[2] + 4
    spectrum = torch.einsum("oif,bif->bof", torch.fft.rfft(W.flip(2), n), torch.fft.rfft(x, n))
    return torch.fft.irfft(spectrum, n)[..., : x.shape[2]]


def numpy_fft(x: Array) -> Array:
    n = x.shape[2] + 4
    spectrum = np.einsum("oif,bif->bof", np.fft.rfft(KERNEL[..., ::-1], n), np.fft.rfft(x, n))
    return np.fft.irfft(spectrum, n)[..., : x.shape[2]].astype(x.dtype)


def overlap_save(x: Tensor) -> Tensor:
    """Chunks of 16 with the four positions before each."""
    parts = [direct(x[..., max(0, t - 4) : t + 16])[..., min(t, 4) :] for t in range(0, x.shape[2], 16)]
    return torch.cat(parts, 2)


def attention(x: Tensor) -> Tensor:
    """Attention over the last five positions."""
    t = torch.arange(x.shape[2])
    back = t[:, None] - t
    h = torch.einsum("oi,bit->bto", W[:, :, 0], x)
    scores = (h @ h.mT / 2).masked_fill((back < 0) | (back > 4), -torch.inf)
    return (scores.softmax(-1) @ h).mT


def layer_norm(x: Tensor) -> Tensor:
    """Over channels, at each position."""
    h = direct(x)
    return F.layer_norm(h.mT, (4,)).mT


def normed(x: Tensor) -> Tensor:
    return nn.functional.batch_norm(direct(x), torch.zeros(4), torch.ones(4), training=False)


FIXED: dict[str, tuple[Callable[..., Any], bool]] = {
    "padding on the left": (direct, True),
    "FFT in PyTorch": (by_fft, True),
    "FFT in NumPy": (numpy_fft, False),
    "chunks that overlap": (overlap_save, True),
    "attention over a window": (attention, True),
    "layer norm over channels": (layer_norm, True),
    "batch norm in eval": (normed, True),
}


@pytest.mark.parametrize("name", FIXED)
def test_a_reach_of_five(name: str) -> None:
    f, tensors = FIXED[name]
    check_causality(f, shape=SHAPE, reach=5, strict=False, convert=torch.from_numpy if tensors else None)


class Residual(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(channels, channels, 2, dilation=dilation))
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.conv(F.pad(x, (self.dilation, 0))))


def stack(layers: int, seed: int) -> nn.Sequential:
    """A TCN as PyTorch initialises it."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(1, 8, 1), *[Residual(8, 2**n) for n in range(layers)], nn.Conv1d(8, 2, 1))


@pytest.mark.parametrize("layers", [4, 7, 8])
@pytest.mark.parametrize("seed", range(3))
def test_networks_as_pytorch_initialises_them(layers: int, seed: int) -> None:
    reach = 2**layers
    with torch.no_grad():
        check_causality(stack(layers, seed), shape=(16, 1, reach + 20), reach=reach, convert=torch.from_numpy)


def test_images() -> None:
    w = torch.from_numpy(RNG.normal(size=(2, 1, 3, 3)).astype(np.float32))
    w[:, :, 1, 1:] = 0
    w[:, :, 2] = 0
    above = {(1, -1), (1, 0), (1, 1), (0, 1)}
    check_causality(lambda x: F.conv2d(x, w, padding=1), shape=(4, 1, 6, 7), reach=above, strict=True, convert=torch.from_numpy)


def test_a_recurrent_network() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(3, 4, batch_first=True)
    with torch.no_grad():
        check_causality(lambda x: gru(x.mT)[0].mT, shape=(3, 3, 12), reach=12, convert=torch.from_numpy)


def test_cumulative_sums() -> None:
    check_causality(lambda x: np.cumsum(x, axis=-1), shape=(3, 2, 12), reach=12)
    check_causality(lambda x: np.maximum.accumulate(x, axis=-1), shape=(3, 2, 12), reach=12)


def test_classes() -> None:
    table = RNG.normal(size=(6, 3)).astype(np.float32)
    check_causality(
        lambda x: np.pad(table[x].swapaxes(1, 2), ((0, 0), (0, 0), (1, 0)))[..., :-1],
        shape=(3, 20),
        classes=6,
        reach=1,
        strict=True,
    )
