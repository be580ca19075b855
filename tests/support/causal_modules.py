"""Causal modules as people write them, one function for each: it returns the module, an example, and options of `from_torch`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import weight_norm

Made = tuple[nn.Module, Any, dict[str, Any]]


class Chomp1d(nn.Module):
    """Cut what symmetric padding put behind."""

    def __init__(self, chomp_size: int) -> None:
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    """The block of locuslab's TCN (Bai et al. 2018), with weight norm and in-place activations."""

    def __init__(self, n_inputs: int, n_outputs: int, kernel_size: int, dilation: int, dropout: float = 0.2) -> None:
        super().__init__()
        padding = (kernel_size - 1) * dilation
        self.conv1 = weight_norm(nn.Conv1d(n_inputs, n_outputs, kernel_size, padding=padding, dilation=dilation))
        self.chomp1 = Chomp1d(padding)
        self.relu1 = nn.ReLU()
        self.conv2 = weight_norm(nn.Conv1d(n_outputs, n_outputs, kernel_size, padding=padding, dilation=dilation))
        self.net = nn.Sequential(
            self.conv1, self.chomp1, self.relu1, nn.Dropout(dropout), self.conv2, Chomp1d(padding), nn.ReLU(), nn.Dropout(dropout)
        )
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        res = x if self.downsample is None else self.downsample(x)
        return self.relu(out + res)


def locuslab_tcn() -> Made:
    blocks = [TemporalBlock(i, o, 3, 2**k) for k, (i, o) in enumerate([(2, 5), (5, 5)])]
    return nn.Sequential(*blocks, nn.Conv1d(5, 3, 1)), torch.randn(1, 2, 30), {}


class CausalConv1d(nn.Conv1d):
    """A convolution that pads itself on the left."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


def causal_stack() -> Made:
    net = nn.Sequential(
        CausalConv1d(2, 6, 3, dilation=2),
        nn.BatchNorm1d(6),
        nn.LeakyReLU(0.2),
        CausalConv1d(6, 4, 2, groups=2, bias=False),
        nn.Tanh(),
    )
    return net, torch.randn(4, 2, 25), {}


class WaveNet(nn.Module):
    """Classes in, logits out; filter and gate are convolutions of their own, skips are collected in a list and summed."""

    def __init__(self, classes: int = 9, residual: int = 4, skip: int = 5) -> None:
        super().__init__()
        self.classes = classes
        self.front = CausalConv1d(classes, residual, 2)
        dilations = [1, 2, 4]
        self.filters = nn.ModuleList(CausalConv1d(residual, residual, 2, dilation=d) for d in dilations)
        self.gates = nn.ModuleList(CausalConv1d(residual, residual, 2, dilation=d) for d in dilations)
        self.residuals = nn.ModuleList(nn.Conv1d(residual, residual, 1) for _ in dilations)
        self.skips = nn.ModuleList(nn.Conv1d(residual, skip, 1) for _ in dilations)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.front(F.one_hot(x, self.classes).float().transpose(1, 2))
        skips = []
        for f, g, r, s in zip(self.filters, self.gates, self.residuals, self.skips, strict=True):
            z = torch.tanh(f(h)) * torch.sigmoid(g(h))
            skips.append(s(z))
            h = h + r(z)
        return self.head(torch.stack(skips).sum(dim=0))


def wavenet() -> Made:
    return WaveNet(), torch.randint(9, (2, 40)), {"classes": 9}


class FastWaveNet(nn.Module):
    """Valid convolutions; residual and skip are cropped to fit. No padding at all."""

    def __init__(self, keep: int = 0) -> None:
        super().__init__()
        self.start = nn.Conv1d(1, 4, 1)
        self.layers = nn.ModuleList(nn.Conv1d(4, 8, 2, dilation=d) for d in (1, 2, 4))
        self.mix = nn.ModuleList(nn.Conv1d(4, 4, 1) for _ in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(4, 3, 1) for _ in range(3))
        self.end = nn.Conv1d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, total = self.start(x), None
        for layer, mix, skip in zip(self.layers, self.mix, self.skips, strict=True):
            a, b = layer(h).chunk(2, dim=1)
            z = torch.tanh(a) * torch.sigmoid(b)
            h = mix(z) + h[:, :, -z.size(2) :]
            s = skip(z)
            total = s if total is None else total[:, :, -s.size(2) :] + s
        return self.end(F.relu(total))


def valid_wavenet() -> Made:
    return FastWaveNet(), torch.randn(2, 1, 40), {}


class InputPadded(nn.Module):
    """Zeros in front of the input once, then valid convolutions."""

    def __init__(self, net: nn.Module, pad: int) -> None:
        super().__init__()
        self.net, self.pad = net, pad

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.pad(x, (self.pad, 0)))


def input_padded() -> Made:
    return InputPadded(FastWaveNet(), 7), torch.randn(2, 1, 40), {}


class SameCropped(nn.Module):
    """padding='same' over an input that was padded in front, cropped behind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 5, padding="same", dilation=2)
        self.out = nn.Conv1d(4, 2, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        y = self.conv(F.pad(x, (8, 0)))[..., 4 : 4 + length]
        return self.out(F.pad(torch.relu(y), (2, 0)))[:, :, 1:-1]


def same_and_crop() -> Made:
    return SameCropped(), torch.randn(2, 3, 30), {}


class CatZeros(nn.Module):
    """Zeros put in front with cat; the input is one step late."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3)
        self.out = nn.Conv1d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        shifted = torch.cat([torch.zeros_like(x[:, :, :1]), x[:, :, :-1]], dim=2)
        front = torch.zeros(x.size(0), 2, 2, dtype=x.dtype, device=x.device)
        return self.out(torch.relu(self.conv(torch.cat((front, shifted), dim=-1))))


def cat_zeros() -> Made:
    return CatZeros(), torch.randn(2, 2, 20), {}


class StrictConv(nn.Module):
    """The first layer hides the present: one more zero in front, the last output cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 4, 2, padding=2)
        self.second = nn.Conv1d(4, 4, 2, dilation=2)
        self.scale = nn.Parameter(torch.randn(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))[:, :, :-3]
        return self.second(F.pad(h, (2, 0))) * self.scale + h


def strict_conv() -> Made:
    return StrictConv(), torch.randn(2, 1, 20), {}


class LateInput(nn.Module):
    """One zero in front of the input, T + 1 positions throughout, the last output cut off at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            CausalConv1d(1, 4, 2), nn.ReLU(), CausalConv1d(4, 4, 2, dilation=2), nn.ReLU(), nn.Conv1d(4, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.pad(x, (1, 0)))[..., :-1]


def late_input() -> Made:
    return LateInput(), torch.randn(2, 1, 20), {}


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and running statistic random numbers that are not zero, and return the module in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.empty_like(parameter).uniform_(0.2, 0.9, generator=generator) * (
            torch.randint(2, parameter.shape, generator=generator) * 2 - 1
        )
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2.0, generator=generator)
    return module.eval()
