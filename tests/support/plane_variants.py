"""More networks of images: other ways to write masks, shifts, inputs and gates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from causal_modules import Made, randomised
from plane_modules import MaskedByProduct, mask_of
from torch import Tensor, nn
from torch.nn import functional as F


class Ways(nn.Module):
    """A mask by `where` and one by `masked_fill`, kernels of one channel each, and constants beside the image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 5, padding=2, groups=4), nn.Conv2d(4, 6, 1)
        self.register_buffer("first", mask_of("A", 3, 3).bool())
        self.register_buffer("hidden", mask_of("B", 5, 5) == 0)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([2 * x - 1, torch.full((x.shape[0], 1, *x.shape[2:]), 0.5)], 1)
        h = F.conv2d(x, torch.where(self.first, self.a.weight, 0.0), self.a.bias, padding=1)
        h = F.relu(F.conv2d(h, self.b.weight.masked_fill(self.hidden, 0), self.b.bias, padding="same", groups=4), inplace=True)
        one, two = self.c(h).split([3, 3], dim=-3)
        one = one * torch.sigmoid(two)
        one += 1
        return one


def ways_of_masks() -> Made:
    return randomised(Ways()), torch.randn(2, 1, 6, 8), {}


class PaddedBefore(nn.Module):
    """Padding by layers, of which what is too much is cut before the kernel comes."""

    def __init__(self) -> None:
        super().__init__()
        self.v = nn.Sequential(nn.ConstantPad2d((2, 2, 3, -1), 0.0), nn.Conv2d(5, 4, (3, 5)), nn.BatchNorm2d(4))
        self.h, self.out = nn.Conv2d(5, 4, (1, 3), bias=False), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.one_hot(x, 5).permute(0, 3, 1, 2).float()
        row = F.pad(x, (3, 0))[:, :, :, :-1]
        return self.out(F.gelu(self.v(x) + self.h(row))).permute(0, 2, 3, 1)


def padded_before() -> Made:
    return randomised(PaddedBefore()), torch.randint(5, (2, 5, 7)), {"classes": 5}


class Rows(nn.Module):
    """Zeros put above with cat, a vector of a condition for the gates, and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.a, self.b = MaskedByProduct("B", 1, 3, 3, padding=1), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        above = torch.cat([torch.zeros(x.shape[0], x.shape[1], 1, x.shape[3]), x[:, :, :-1]], dim=2)
        h = self.conv(above)
        a, b = self.a(c).view(-1, 3, 1, 1), self.b(c)[:, :, None, None]
        return (torch.tanh(h + a) * torch.sigmoid(h * b)).softmax(1)


def rows_above() -> Made:
    return randomised(Rows()), (torch.randn(2, 1, 6, 7), torch.randn(2, 4)), {}


class Numbers(nn.Module):
    """Colours as numbers from 0 to 1, all of a pixel at once, and logits for each in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = MaskedByProduct("A", 3, 8, (3, 5), padding=(1, 2))
        self.out = nn.Conv2d(8, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.out(F.silu(self.conv(x / 3.0)))
        return y.unflatten(1, (3, 4)).transpose(1, 2)


def numbers_of_colours() -> Made:
    return randomised(Numbers()), torch.randint(4, (2, 3, 6, 5)), {"classes": 4}


class Embedded(nn.Module):
    """Three colours, each looked up, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv = nn.Embedding(4, 2), MaskedByProduct("A", 6, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).permute(0, 4, 1, 2, 3)
        return self.conv(h.reshape(x.shape[0], 6, *x.shape[2:]))


def embedded_colours() -> Made:
    return randomised(Embedded()), torch.randint(4, (2, 3, 6, 5)), {"classes": 4}


VARIANTS: dict[str, Callable[[], Made]] = {
    made.__name__: made for made in (ways_of_masks, padded_before, rows_above, numbers_of_colours, embedded_colours)
}
