"""Norms over channels, learnt slopes, and scales and shifts of channels, as people call them and as they write them out."""

from __future__ import annotations

import torch
from causal_modules import CausalConv1d, Made
from torch import Tensor, nn


class ChannelsFirst(nn.Module):
    """The LayerNorm of ConvNeXt with channels first."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + self.eps)
        return self.weight[:, None] * x + self.bias[:, None]


class Channelwise(nn.Module):
    """The channel-wise norm of Conv-TasNet, by a variance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.mean(x, dim=1, keepdim=True)
        var = torch.var(x, dim=1, keepdim=True, unbiased=False)
        return (self.gamma * ((x - mean) / (var + 1e-8).sqrt()).transpose(1, -1) + self.beta).transpose(1, -1)


class RootMeanSquare(nn.Module):
    """A norm without a mean, by the inverse of a root."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-5) * self.scale


class Normed(nn.Module):
    """Each of them behind a convolution, and of one scaled value two readers."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(CausalConv1d(2, 4, 2) for _ in range(5))
        self.last, self.plain = nn.LayerNorm(4), nn.LayerNorm(4, elementwise_affine=False)
        self.first, self.channelwise, self.root = ChannelsFirst(4), Channelwise(4), RootMeanSquare(4)
        self.slopes, self.slope = nn.PReLU(4), nn.PReLU()
        self.scale, self.shift = nn.Parameter(torch.ones(1, 4, 1)), nn.Parameter(torch.ones(4, 1))
        self.start = nn.BatchNorm1d(2)
        self.out = nn.Conv1d(20, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        a, b, c, d, e = (conv(x) for conv in self.convs)
        a = self.plain(self.last(a.transpose(1, 2))).transpose(1, 2)
        b, c = self.slopes(self.first(b)), self.slope(self.channelwise(c))
        e = torch.tanh(e) * torch.sigmoid(d) * self.scale
        return self.out(torch.cat([a, b, c, self.root(d), (e + self.shift) * torch.sigmoid(e)], 1))


def normed() -> Made:
    return Normed(), torch.randn(2, 2, 20), {}
