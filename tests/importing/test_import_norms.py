"""Norms, slopes and scales of channels in other people's modules: the forms that are taken, and the reasons where one is not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from causal_modules import randomised
from torch import Tensor, nn

from refar.importing import Imported, from_torch

CHANNELS = 4


class Behind(nn.Module):
    """A function of the module and of what its convolution gives."""

    def __init__(self, function: Callable[[Behind, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.batch_norm = nn.Conv1d(3, CHANNELS, 1), nn.BatchNorm1d(CHANNELS)
        self.scale, self.shift = nn.Parameter(torch.ones(CHANNELS, 1)), nn.Parameter(torch.zeros(CHANNELS, 1))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.conv(x))


def taken(function: Callable[[Behind, Tensor], Tensor]) -> Imported:
    return from_torch(randomised(Behind(function)), torch.randn(2, 3, 20))


def operators(function: Callable[[Behind, Tensor], Tensor]) -> list[str]:
    """The operators behind the input and the first convolution."""
    return [node.op.__struct_config__.tag for node in taken(function).graph.nodes[2:]]


def test_numbers_that_undo_each_other_leave_a_value_to_all_its_readers() -> None:
    def beside(m: Behind, h: Tensor) -> Tensor:
        return m.batch_norm((h + 1) - 1) + torch.tanh(h)

    def twice(m: Behind, h: Tensor) -> Tensor:
        return m.batch_norm(((h * 2) * 0.5 + 1) - 1) * torch.tanh((h - 3) + 3)

    def alone(m: Behind, h: Tensor) -> Tensor:
        return m.batch_norm((h + 1) - 1)

    assert operators(beside) == ["scale_shift", "activation", "add"]
    assert operators(twice) == ["scale_shift", "activation", "multiply"]
    assert operators(alone) == []
