"""Networks of images with colours that see each other in order, as people write them: channels of a colour side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch
from causal_modules import Made, randomised
from plane_modules import Halves, Kind, mask_of
from torch import Tensor, nn
from torch.nn import functional as F


def coloured_mask(kind: Kind, kernel: tuple[int, int], outputs: Tensor, inputs: Tensor) -> Tensor:
    """The mask of a kernel where output and input channels belong to these colours."""
    height, width = kernel
    mask = mask_of("A", height, width).expand(len(outputs), len(inputs), -1, -1).clone()
    sees = outputs[:, None] > inputs if kind == "A" else outputs[:, None] >= inputs
    mask[:, :, height // 2, width // 2] = sees.float()
    return mask


def blocks(count: int, colours: int = 3, parts: int = 1) -> Tensor:
    """The colours of channels that lie side by side, in each of some parts."""
    return torch.arange(colours).repeat_interleave(count // colours // parts).repeat(parts)


class OrderedConv2d(nn.Conv2d):
    """A convolution whose mask knows the colours of its channels."""

    def __init__(self, kind: Kind, inputs: Tensor, outputs: Tensor, kernel: int) -> None:
        super().__init__(len(inputs), len(outputs), kernel, padding=kernel // 2)
        self.register_buffer("mask", coloured_mask(kind, (kernel, kernel), outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Thirds(nn.Module):
    """Residual blocks whose first third of the channels is red, the second green, the last blue; logits (B, Q, C, H, W)."""

    def __init__(self, colours: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.colours, self.classes = colours, classes
        wide, narrow, pixel, last = (blocks(n * colours, colours) for n in (4, 2, 1, classes))
        self.first = OrderedConv2d("A", pixel, wide, 3)
        self.down, self.mid = OrderedConv2d("B", wide, narrow, 1), OrderedConv2d("B", narrow, narrow, 3)
        self.up, self.norm = OrderedConv2d("B", narrow, wide, 1), nn.BatchNorm2d(len(wide))
        self.out = OrderedConv2d("B", wide, last, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.float() / (self.classes - 1) if not x.is_floating_point() else x
        h = torch.relu(self.first(x))
        h = h + self.norm(self.up(torch.relu(self.mid(torch.relu(self.down(h))))))
        y = self.out(torch.relu(h))
        return y.view(y.shape[0], self.colours, self.classes, *y.shape[2:]).permute(0, 2, 1, 3, 4)


def thirds() -> Made:
    return randomised(Thirds()), torch.randint(4, (2, 3, 5, 6)), {"classes": 4}


def halves_of_two() -> Made:
    return randomised(Thirds(2, 3)), torch.randn(2, 2, 6, 5), {}


class GatedColours(nn.Module):
    """A row stack with a gate whose halves both hold all colours, beside a column stack that knows none; channels unparted."""

    def __init__(self) -> None:
        super().__init__()
        pixel, hidden, both = blocks(3), blocks(6), blocks(12, parts=2)
        self.gate = Halves()
        self.v, self.link = nn.Conv2d(3, 6, (2, 3), padding=(2, 1)), nn.Conv2d(6, 12, 1)
        self.a, self.row = OrderedConv2d("A", pixel, both, 3), OrderedConv2d("B", hidden, both, 3)
        self.mix, self.out = OrderedConv2d("B", hidden, hidden, 1), OrderedConv2d("B", hidden, blocks(9), 1)

    def forward(self, x: Tensor) -> Tensor:
        v = self.v(x)[:, :, : x.shape[2]]
        h = self.gate(self.a(x) + self.link(v))
        h = h + self.mix(self.gate(self.row(h) + self.link(torch.tanh(v))))
        return self.out(F.elu(h))


def gated_colours() -> Made:
    return randomised(GatedColours()), torch.randn(2, 3, 6, 5), {}


class InTurn(nn.Module):
    """Channel j belongs to colour j mod 3, as in a graph; the colours' means come out."""

    def __init__(self) -> None:
        super().__init__()
        pixel, hidden = (torch.arange(n) % 3 for n in (3, 6))
        self.a, self.b, self.out = (
            OrderedConv2d("A", pixel, hidden, 3),
            OrderedConv2d("B", hidden, hidden, 3),
            OrderedConv2d("B", hidden, pixel, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.b(torch.cat([F.elu(h) for h in (self.a(x),)], 1))))


def in_turn() -> Made:
    return randomised(InTurn()), torch.randn(1, 3, 5, 5), {}


class Concatenated(nn.Module):
    """Concat ELU over channels of three colours: each half holds all of them."""

    def __init__(self) -> None:
        super().__init__()
        pixel, hidden, both = blocks(3), blocks(6), blocks(12, parts=2)
        self.a, self.b, self.out = (
            OrderedConv2d("A", pixel, hidden, 3),
            OrderedConv2d("B", both, hidden, 3),
            OrderedConv2d("B", hidden, blocks(6), 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        h = h + self.b(F.elu(torch.cat([h, -h], 1)))
        y = self.out(h)
        return y.view(y.shape[0], 3, 2, *y.shape[2:])


def concatenated_colours() -> Made:
    return randomised(Concatenated()), torch.randn(1, 3, 5, 5), {}


COLOURED: dict[str, Callable[[], Made]] = {
    made.__name__: made for made in (thirds, halves_of_two, gated_colours, in_turn, concatenated_colours)
}
