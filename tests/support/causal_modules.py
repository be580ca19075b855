"""Causal modules as people write them, one function for each: it returns the module, an example, and options of `from_torch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, weight_norm

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


class Keraslike(nn.Module):
    """Channels last throughout: dense layers, and convolutions between transposes."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(3, 6)
        self.conv = nn.Conv1d(6, 6, 2, dilation=2)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        y = F.pad(h.permute(0, 2, 1), (2, 0))
        h = h + torch.tanh(self.conv(y)).permute(0, 2, 1)
        b, t, c = h.shape
        return self.out(h.reshape(b * t, c)).view(b, t, 2)


def channels_last() -> Made:
    return Keraslike(), torch.randn(2, 20, 3), {"axes": "BTC"}


class CharLM(nn.Module):
    """Embedding, weight norm by parametrisation, GLU, logits with channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.convs = nn.ModuleList(parametrizations.weight_norm(nn.Conv1d(6, 12, 3)) for _ in range(2))
        self.fc = nn.Linear(6, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens).transpose(1, 2)
        for conv in self.convs:
            x = x + F.glu(conv(F.pad(x, (2, 0))), dim=1)
            x = x * 0.5**0.5
        return self.fc(x.transpose(1, 2))


def embedded_text() -> Made:
    return CharLM(), torch.randint(11, (3, 20)), {"classes": 11}


class Conditioned(nn.Module):
    """A speaker for the whole sequence, and features at every position."""

    def __init__(self) -> None:
        super().__init__()
        self.speakers = nn.Embedding(5, 4)
        self.conv = CausalConv1d(1, 8, 2)
        self.of_speaker = nn.Linear(4, 8)
        self.of_pitch = nn.Conv1d(3, 8, 1, bias=False)
        self.out = nn.Conv1d(4, 2, 1)

    def forward(self, x: Tensor, speaker: Tensor, pitch: Tensor) -> Tensor:
        z = self.conv(x) + self.of_speaker(self.speakers(speaker)).unsqueeze(-1) + self.of_pitch(pitch)
        a, b = torch.split(z, 4, dim=1)
        return self.out(a.tanh() * b.sigmoid())


def conditions() -> Made:
    example = {"x": torch.randn(2, 1, 20), "speaker": torch.tensor([1, 2]), "pitch": torch.randn(2, 3, 20)}
    return Conditioned(), example, {"classes": {"speaker": 5}}


class GlobalVector(nn.Module):
    """A vector for the whole sequence, expanded over time and concatenated to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = CausalConv1d(2 + 3, 4, 3)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        wide = z.unsqueeze(2).expand(-1, -1, x.size(2))
        return F.silu(self.conv(torch.cat([F.pad(x, (1, -1)), wide[:, :, :] * 1.0], dim=1)))


class FilmVector(nn.Module):
    """Scale and shift by a vector for the whole sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = CausalConv1d(2, 4, 3)
        self.film = nn.Linear(3, 8)
        self.out = nn.Conv1d(4, 1, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        gamma, beta = self.film(z)[:, :, None].chunk(2, 1)
        return self.out(torch.relu(self.conv(x) * (1 + gamma) + beta))


def film() -> Made:
    return FilmVector(), (torch.randn(2, 2, 20), torch.randn(2, 3)), {}


class Pooled(nn.Module):
    """Poolings with stride 1 behind zeros, and DenseNet's concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = CausalConv1d(2, 3, 2)
        self.avg = nn.AvgPool1d(3, stride=1)
        self.max = nn.MaxPool1d(2, stride=1, dilation=2)
        self.out = nn.Conv1d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.cat([x, torch.relu(self.conv(x))], dim=1)
        return self.out(torch.cat([self.avg(F.pad(x, (2, 0))), x, self.max(F.pad(h[:, :4], (2, 0)))], dim=1))


def pooled() -> Made:
    return Pooled(), torch.randn(2, 2, 20), {}


class Normed(nn.Module):
    """Batch norm before the convolution, where it cannot be a part of one."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(3)
        self.conv = nn.Conv1d(3, 3, 3, padding=2)
        self.bn2 = nn.BatchNorm1d(3, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(F.relu(self.bn(x)))
        return x + self.bn2(y[..., : x.size(-1)])


def batch_norms() -> Made:
    return Normed(), torch.randn(2, 3, 20), {}


class Symmetric(nn.Module):
    """A parametrisation of one's own."""

    def forward(self, w: Tensor) -> Tensor:
        return w + w.flip(-1)


def own_parametrisation() -> Made:
    conv = CausalConv1d(2, 2, 3)
    parametrize.register_parametrization(conv, "weight", Symmetric())
    return nn.Sequential(conv, nn.Sigmoid(), CausalConv1d(2, 2, 2)), torch.randn(2, 2, 20), {}


class Samples(nn.Module):
    """Samples without a channel axis in, and out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 3, 2)
        self.out = nn.Conv1d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x.unsqueeze(1), [1, 0])
        return self.out(F.leaky_relu(self.conv(x), 0.1)).squeeze(1)


def without_channels() -> Made:
    return Samples(), torch.randn(3, 20), {}


class Functional(nn.Module):
    """Parameters of one's own, and F.conv1d."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(4, 2, 2)), nn.Parameter(torch.randn(4))
        self.w2 = nn.Parameter(torch.randn(2, 4, 1))
        self.register_buffer("mask", torch.tensor([1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        h = F.conv1d(F.pad(x, (3, 0)), self.w1 * self.mask, self.b1, dilation=3)
        return F.conv1d(h.clamp_min(0) if False else F.relu(h), self.w2) - x / 4 + 1


def functional() -> Made:
    return Functional(), torch.randn(2, 2, 20), {}


class Levels(nn.Module):
    """Class indices used as numbers, logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = CausalConv1d(1, 6, 4)
        self.out = nn.Conv1d(6, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = (x.float() - 3.5) / 2.0
        x = F.pad(x.unsqueeze(1), (1, -1))
        return self.out(torch.relu_(self.conv(x)))


def levels() -> Made:
    return Levels(), torch.randint(8, (2, 20)), {"classes": 8}


class Shared(nn.Module):
    """One layer used twice, dropout between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = CausalConv1d(3, 3, 2)
        self.drop = nn.Dropout1d(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.mul(self.conv(self.drop(torch.tanh(self.conv(x)))), x).add(1)


def shared() -> Made:
    return Shared(), torch.randn(2, 3, 20), {}


class Prepended(nn.Module):
    """One output more than inputs: the first of them stands before the first input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 2, padding=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[..., :-2] * 2


def one_more() -> Made:
    return Prepended(), torch.randn(2, 2, 20), {}


def global_vector() -> Made:
    return GlobalVector(), (torch.randn(2, 2, 20), torch.randn(2, 3)), {}


CAUSAL: dict[str, Callable[[], Made]] = {
    made.__name__: made
    for made in (
        locuslab_tcn, causal_stack, wavenet, valid_wavenet, input_padded, same_and_crop, cat_zeros, strict_conv, late_input,
        channels_last, embedded_text, conditions, global_vector, film, pooled, batch_norms, own_parametrisation, without_channels,
        functional, levels, shared, one_more,
    )
}  # fmt: skip


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
