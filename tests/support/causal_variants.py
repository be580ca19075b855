"""Causal modules as other people write them: other axes, inputs, conditions, poolings, norms and parametrisations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from causal_modules import (
    CausalConv1d,
    Made,
    cat_zeros,
    causal_stack,
    input_padded,
    late_input,
    locuslab_tcn,
    same_and_crop,
    strict_conv,
    valid_wavenet,
    wavenet,
)
from normed_modules import normed
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize


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
        return self.without(self.out(F.leaky_relu(self.conv(x), 0.1)))

    def without(self, y: Tensor) -> Tensor:
        return y.squeeze(1)


class Flattened(Samples):
    """The single channel and the positions become one axis."""

    def without(self, y: Tensor) -> Tensor:
        return y.flatten(1)


def without_channels() -> Made:
    return Samples(), torch.randn(3, 20), {}


def flattened() -> Made:
    return Flattened(), torch.randn(3, 20), {}


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


class Activated(nn.Module):
    """Every function of an element that PyTorch has and refar takes, side by side; snake as audio codecs write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = CausalConv1d(2, 3, 2)
        self.layers = nn.ModuleList([
            nn.ELU(0.7), nn.CELU(), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Softplus(2.0), nn.Softsign(),
            nn.Hardtanh(-0.3, 0.4), nn.ReLU6(), nn.Hardsigmoid(), nn.Hardswish(), nn.Mish(), nn.LogSigmoid(), nn.PReLU(),
            nn.PReLU(3), nn.LeakyReLU(0.3),
        ])  # fmt: skip
        self.alpha = nn.Parameter(torch.rand(1, 3, 1) + 0.5)
        self.out = nn.Conv1d(3 * 22, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        gelu = 0.5 * h * (1.0 + torch.erf(h / 2**0.5))
        found = [layer(h) for layer in self.layers]
        snake = h + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * h).pow(2)
        return self.out(torch.cat([*found, snake, gelu, h.abs(), h.clamp(min=-0.1), torch.clamp(h, max=0.2)], 1))


def activated() -> Made:
    return Activated(), torch.randn(2, 2, 20), {}


class Masks(nn.Module):
    """A mask for each source, of which there is one; the sum of what was skipped begins with a tensor of one zero."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CausalConv1d(3, 3, 3, dilation=d) for d in (1, 2))
        self.skips = nn.ModuleList(nn.Conv1d(3, 4, 1) for _ in range(2))
        self.mask = nn.Sequential(nn.Tanh(), nn.Conv1d(4, 2, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        total = torch.tensor([0.0], device=x.device)
        for layer, skip in zip(self.layers, self.skips, strict=True):
            h = torch.relu(layer(x))
            total = total + skip(h)
            x = x + h
        batch, _, frames = x.size()
        return self.mask(total).view(batch, 1, 2, frames)


def one_source() -> Made:
    return Masks(), torch.randn(2, 3, 20), {}


class MaskedByData(nn.Conv1d):
    """A convolution that puts a mask on its own weights in each call, past autograd, or without gradients."""

    def __init__(self, data: bool) -> None:
        super().__init__(3, 3, 3, padding=1)
        self.data = data
        self.register_buffer("mask", torch.tensor([1.0, 1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        if self.data:
            self.weight.data *= self.mask
        else:
            with torch.no_grad():
                self.weight.mul_(self.mask)
        return super().forward(x)


def masked_weights() -> Made:
    return nn.Sequential(MaskedByData(True), nn.ReLU(), MaskedByData(False)), torch.randn(2, 3, 20), {}


CAUSAL: dict[str, Callable[[], Made]] = {
    made.__name__: made
    for made in (
        locuslab_tcn, causal_stack, wavenet, valid_wavenet, input_padded, same_and_crop, cat_zeros, strict_conv, late_input,
        channels_last, embedded_text, conditions, global_vector, film, pooled, batch_norms, own_parametrisation, without_channels,
        functional, levels, shared, one_more, activated, one_source,
        flattened, normed, masked_weights,
    )
}  # fmt: skip
