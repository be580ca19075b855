"""Long sequences of which outputs may see given offsets: all outputs are looked at, several in one row."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from refar.testing import ContractError, check_causality
from refar.testing.probe.apart import Windows

WEIGHT = torch.tensor(np.random.default_rng(5).normal(size=(4, 3, 3)), dtype=torch.float32)


def conv(x: torch.Tensor) -> torch.Tensor:
    return F.conv1d(F.pad(x, (2, 0)), WEIGHT)


def ahead_at_borders(every: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Sees the next position at the last of each block."""

    def f(x: torch.Tensor) -> torch.Tensor:
        y = conv(x).clone()
        n = y[..., every - 1 : -1 : every].shape[-1]
        y[..., every - 1 : -1 : every] += 0.5 * x[:, :1, every::every][..., :n]
        return y

    return f


def forgets_at_borders(every: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.cat([conv(part) for part in x.split(every, -1)], -1)


def sees_far_back(at: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """One output alone sees the first position too."""

    def f(x: torch.Tensor) -> torch.Tensor:
        y = conv(x).clone()
        y[..., at] += 0.3 * x[:, :1, 0]
        return y

    return f


@pytest.mark.parametrize("offsets", [{0, 1, 2}, {0, 4, 9}, {1}, {0, 100}, set()])
def test_windows_of_a_phase_lie_apart_and_phases_choose_all(offsets: set[int]) -> None:
    count = 150
    windows = Windows(count, offsets)
    phases = [phase for some in windows.phases(2, count, 4, np.random.default_rng(0)) for phase in some]
    assert set(range(min(2 * windows.span, count))) <= set(phases)
    assert {q for phase in phases for q in windows.outputs(phase)} == set(range(count))
    for phase in phases:
        outside = set(windows.outside(phase))
        for q in windows.outputs(phase):
            assert not outside & {q - o for o in offsets}
        owner = windows.owners(phase % windows.span)
        chosen = set(windows.apart(phase % windows.span))
        for q in range(count):
            near = {p for p in chosen if offsets and min(offsets) <= q - p <= max(offsets)}
            assert near <= {owner[q]}
            assert owner[q] in {-1} | chosen


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("f", "said"),
    [
        (ahead_at_borders(256), "it sees the future"),
        (ahead_at_borders(100), "it sees the future"),
        (sees_far_back(777), "surplus 777"),
        (forgets_at_borders(512), "outputs see less than others at the positions 512, 513"),
    ],
)
def test_a_fault_at_few_outputs_of_a_long_sequence(f: Callable[[torch.Tensor], torch.Tensor], said: str, seed: int) -> None:
    with pytest.raises(ContractError, match=said):
        check_causality(f, shape=(2, 3, 1050), reach=3, convert=torch.from_numpy, seed=seed)
    assert check_causality(conv, shape=(2, 3, 1050), reach=3, convert=torch.from_numpy, seed=seed).looked.all()


class Shy(nn.Module):
    """Units that are mostly off: the present shows in few draws."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(8 if i else 3, 8, 2, dilation=2**i) for i in range(3)])
        for layer in self.layers:
            nn.init.constant_(layer.bias, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = F.relu(layer(F.pad(x, (layer.dilation[0], 0))))
        return x


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("bias", [-0.8, -1.2])
def test_the_nearest_offset_is_settled_by_all_that_was_seen(bias: float, seed: int) -> None:
    torch.manual_seed(seed)
    module = Shy(bias)
    check_causality(module, shape=(2, 3, 40), reach=8)
    check_causality(module, shape=(2, 3, 40), reach=range(8))
    with pytest.raises(ContractError):
        check_causality(module, shape=(2, 3, 40), reach=range(1, 9))


def test_what_zeros_before_the_start_hide_is_a_note() -> None:
    """A product with x of before is 0 at the first output, whatever x is there."""

    def product(x: np.ndarray) -> np.ndarray:
        return x * np.pad(x, ((0, 0), (0, 0), (1, 0)))[..., :-1]

    def teager(x: np.ndarray) -> np.ndarray:
        p = np.pad(x, ((0, 0), (0, 0), (2, 0)))
        return p[..., 1:-1] ** 2 - p[..., 2:] * p[..., :-2]

    found = check_causality(product, shape=(2, 3, 60), reach={0, 1})
    assert "part of what position 0 would see lies outside of x" in str(found)
    check_causality(teager, shape=(2, 3, 60), reach={0, 1, 2})
    with pytest.raises(ContractError, match="position 30 does not see the offsets 1"):
        check_causality(lambda x: np.where(np.arange(60) == 30, x, product(x)), shape=(2, 3, 60), reach={0, 1})


@pytest.mark.parametrize("seed", [0, 1])
def test_half_precision_is_judged_by_its_own_roundings(seed: int) -> None:
    torch.manual_seed(seed)
    gru = nn.GRU(3, 16, batch_first=True).bfloat16()
    check_causality(lambda x: gru(x.bfloat16().transpose(1, 2))[0].transpose(1, 2), shape=(2, 3, 60), convert=torch.from_numpy)
    half = torch.randn(8, 3, 5).half()

    def by_length(x: torch.Tensor) -> torch.Tensor:
        return F.conv1d(F.pad(x, (4, 0)), half) * (1 + 0.5 * (x.shape[-1] % 2))

    def by_the_sixth(x: torch.Tensor) -> torch.Tensor:
        y = F.conv1d(F.pad(x, (4, 0)), half).clone()
        y[..., 0] += 0.5 * x[:, :1, 5]
        return y

    options = {"shape": (2, 3, 40), "dtype": "float16", "convert": torch.from_numpy}
    with pytest.raises(ContractError, match="it knows how long the sequence is"):
        check_causality(by_length, **options)
    with pytest.raises(ContractError) as caught:
        check_causality(by_the_sixth, **options)
    assert "pads" not in str(caught.value)
