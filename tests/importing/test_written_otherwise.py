"""Ways in which some write what others write as a convolution: fixed matrices, chosen channels, masks in one dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from causal_modules import CausalConv1d, randomised
from torch import Tensor, nn
from torch.nn import functional as F

import refar
from refar.importing import ImportRefused, from_torch


class Net(nn.Module):
    """A causal convolution, and a function behind it."""

    def __init__(self, behind: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.matrix, self.behind = CausalConv1d(2, 4, 3), nn.Parameter(torch.randn(4, 3)), behind

    def forward(self, x: Tensor) -> Any:
        return self.behind(self, self.conv(x))


BEHIND: dict[str, Callable[[Any, Tensor], Any]] = {
    "matrix behind": lambda net, h: h.transpose(1, 2) @ net.matrix,
    "matrix before": lambda net, h: torch.matmul(net.matrix.t(), h),
    "index_select": lambda net, h: torch.index_select(h, 1, torch.tensor([3, 1, 0])),
    "list": lambda net, h: h[:, [2, 0]],
    "mask of channels": lambda net, h: h[:, torch.tensor([True, False, True, True])],
    "flipped channels": lambda net, h: h.flip(1),
    "a dictionary of one": lambda net, h: {"y": torch.tanh(h)},
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=list(BEHIND))
def test_what_is_a_dense_layer(behind: Callable[[Any, Tensor], Any]) -> None:
    got = from_torch(randomised(Net(behind)), torch.randn(2, 2, 20))
    assert got.report.largest_difference < 1e-9
    assert got.report.gradient_difference < 1e-9


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        (lambda net, h: h[:, :, [3, 1]], "a choice of other places than channels"),
        (lambda net, h: h.flip(2), "flip, a reversal"),
        (lambda net, h: h @ h.transpose(1, 2), "matmul"),
    ],
)
def test_what_is_none(behind: Callable[[Any, Tensor], Any], words: str) -> None:
    with pytest.raises(ImportRefused, match=words):
        from_torch(randomised(Net(behind)), torch.randn(2, 2, 20))


class TimeFirst(nn.Module):
    """fairseq's convolution, of T, B, C."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 2, 4)), nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.conv_tbc(x, self.weight, self.bias, 2)[:-2]


def test_time_first() -> None:
    assert from_torch(randomised(TimeFirst()), torch.randn(20, 2, 2), axes="TBC").report.largest_difference < 1e-9


class Masked(nn.Module):
    """Two masked convolutions with padding at both ends; the first hides the present if it is strict."""

    def __init__(self, strict: bool, bias: bool, in_place: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv1d(2, 4, 5, padding=4, dilation=2, bias=bias), nn.Conv1d(4, 3, 3, padding=1, bias=bias)]
        )
        self.in_place = in_place
        for i, kernel in enumerate((5, 3)):
            mask = torch.ones(kernel)
            mask[kernel // 2 + (1 - (strict and i == 0)) :] = 0
            self.register_buffer(f"mask{i}", mask)

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            mask = getattr(self, f"mask{i}")
            if self.in_place:
                with torch.no_grad():
                    conv.weight.mul_(mask)
                x = torch.tanh(conv(x))
            else:
                x = torch.tanh(F.conv1d(x, conv.weight * mask, conv.bias, padding=conv.padding, dilation=conv.dilation))
        return x


@pytest.mark.parametrize("in_place", [False, True], ids=["product", "in place"])
@pytest.mark.parametrize("bias", [False, True], ids=["without bias", "bias"])
@pytest.mark.parametrize("strict", [False, True], ids=["B", "A"])
def test_masks_in_one_dimension(strict: bool, bias: bool, in_place: bool) -> None:
    got = from_torch(randomised(Masked(strict, bias, in_place)), torch.randn(2, 2, 30))
    assert got.report.largest_difference < 1e-9
    assert refar.is_strict(got.graph) == strict
