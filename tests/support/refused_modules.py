"""Modules that cannot be taken, one function for each: the module, an example, options, and words that the refusal must say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from causal_modules import CausalConv1d
from torch import Tensor, nn
from torch.nn import functional as F

Refused = tuple[nn.Module, Any, dict[str, Any], tuple[str, ...]]

X = torch.randn(2, 3, 24)


class Wrapped(nn.Module):
    """One layer behind a convolution; `forward` is given as a function."""

    def __init__(self, function: Callable[[Tensor], Tensor], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = CausalConv1d(3, 3, 2)
        self.layer = layer
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.function(y if self.layer is None else self.layer(y))


def layered(layer: nn.Module, *words: str) -> Refused:
    return Wrapped(lambda y: y, layer), X, {}, words


def computed(function: Callable[[Tensor], Tensor], *words: str) -> Refused:
    return Wrapped(function), X, {}, words


def strided() -> Refused:
    return layered(nn.Conv1d(3, 4, 2, stride=2), "conv1d_1", "layer", "stride 2", "dilation")


def strided_pool() -> Refused:
    return layered(nn.MaxPool1d(2), "max_pool1d", "stride 2")


def filled_up() -> Refused:
    return computed(lambda y: F.pad(y, (2, y.shape[2] % 2)), "in Wrapped", "changes with the length", "multiple of a stride")


def every_second() -> Refused:
    return computed(lambda y: y[:, :, ::2], "a slice with step 2")


def transposed_convolution() -> Refused:
    return layered(
        nn.ConvTranspose1d(3, 3, 2), "conv_transpose1d", "change of rate", "what stands behind it, each at its own rate"
    )


def reflection() -> Refused:
    return layered(nn.Sequential(nn.ReflectionPad1d((2, 0)), nn.Conv1d(3, 3, 3)), "reflect", "zeros")


def replication() -> Refused:
    return computed(lambda y: F.pad(y, (2, 0), mode="replicate"), "replicate", "zeros")


def symmetric() -> Refused:
    return layered(nn.Conv1d(3, 3, 3, padding=1), "conv1d_1", "layer", "looks ahead", "i + 1")


def symmetric_same() -> Refused:
    return layered(nn.Conv1d(3, 3, 5, padding="same", dilation=2), "layer", "looks ahead", "i + 4")


class Residual(nn.Module):
    """Symmetric padding behind a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.conv(x))


def symmetric_residual() -> Refused:
    return Residual(), X, {}, ("conv1d in conv (Conv1d)", "looks ahead", "i + 1")


def never_chomped() -> Refused:
    return layered(nn.Conv1d(3, 3, 3, padding=2), "2 positions longer", "x[..., :-2]")


def layer_norm_over_time() -> Refused:
    return layered(nn.LayerNorm(24), "layer (LayerNorm)", "length 25")


def norm_without_eps() -> Refused:
    return computed(lambda y: F.rms_norm(y.transpose(1, 2), (3,)).transpose(1, 2), "eps of None", "say eps=")


def root_of_another() -> Refused:
    return computed(lambda y: y / torch.sqrt((2 * y).pow(2).mean(1, keepdim=True) + 1e-5), "does not divide", "mean square")


def variance_over_time() -> Refused:
    return computed(lambda y: y / (y.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt(), "a variance over", "channels")


def layer_norm_over_all() -> Refused:
    return computed(lambda y: F.layer_norm(y, y.shape[1:]), "later")


def instance_norm() -> Refused:
    return layered(nn.InstanceNorm1d(3), "layer (InstanceNorm1d)", "over time", "BatchNorm1d")


def group_norm() -> Refused:
    return layered(nn.GroupNorm(1, 3), "layer (GroupNorm)", "over time")


def mean_over_time() -> Refused:
    return computed(lambda y: y - y.mean(dim=2, keepdim=True), "mean over axis T")


def global_norm() -> Refused:
    def normed(y: Tensor) -> Tensor:
        mean = y.mean((1, 2), keepdim=True)
        return (y - mean) / ((y - mean) ** 2).mean((1, 2), keepdim=True).sqrt()

    return computed(normed, "a mean over the axes C, T", "every position would read all others")


def softmax_over_time() -> Refused:
    return computed(lambda y: y.softmax(-1), "softmax over axis T")


class Attention(nn.Module):
    """Self-attention with a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = x.transpose(1, 2)
        n = h.shape[1]
        mask = torch.triu(torch.ones(n, n, dtype=torch.bool), 1)
        return self.attention(h, h, h, attn_mask=mask, need_weights=False)[0].transpose(1, 2)


def attention() -> Refused:
    return Attention(), X, {}, ("triu in Attention", "attention")


def scaled_dot_product() -> Refused:
    def attend(y: Tensor) -> Tensor:
        h = y.transpose(1, 2)
        return F.scaled_dot_product_attention(h, h, h, is_causal=True).transpose(1, 2)

    return computed(attend, "scaled_dot_product_attention", "every position may read every other")


class Recurrent(nn.Module):
    """A recurrent layer behind a convolution."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.conv = CausalConv1d(3, 3, 2)
        self.rnn = kind(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.conv(x).transpose(1, 2))[0].transpose(1, 2)


def lstm() -> Refused:
    return Recurrent(nn.LSTM), X, {}, ("lstm", "rnn (LSTM)", "recurrent", "convolutional part")


def gru() -> Refused:
    return Recurrent(nn.GRU), X, {}, ("gru", "recurrent")


def fourier() -> Refused:
    return computed(lambda y: torch.fft.irfft(torch.fft.rfft(y), n=24), "fft")


def unfold_einsum() -> Refused:
    def by_hand(y: Tensor) -> Tensor:
        return torch.einsum("bctk,k->bct", F.pad(y, (1, 0)).unfold(2, 2, 1), torch.tensor([1.0, 2.0]))

    return computed(by_hand, "unfold", "write conv1d")


def cumulative() -> Refused:
    return computed(lambda y: y.cumsum(2), "cumsum", "all past positions")


def depends_on_data() -> Refused:
    return computed(lambda y: y * 2 if y.sum() > 0 else y, "torch.export cannot trace", "depend on the data")


def depends_on_parity() -> Refused:
    return computed(lambda y: y * 2 if y.shape[2] % 2 else torch.relu(y), "another length")


def scaled_by_length() -> Refused:
    return computed(lambda y: y * (1 / y.shape[2]), "length")


def scaled_by_whole_length() -> Refused:
    return computed(lambda y: y * y.shape[2], "mul in Wrapped", "length")


def positions() -> Refused:
    return computed(lambda y: y + torch.arange(y.shape[2]), "arange", "position")


def last_position() -> Refused:
    return computed(lambda y: y[:, :, -1], "one index of axis T")


def half_of_time() -> Refused:
    return computed(lambda y: y[:, :, : y.shape[2] // 2], "2", "length")


def reversed_in_time() -> Refused:
    return computed(lambda y: y.flip(2), "flip", "reversal")


def over_the_batch() -> Refused:
    return computed(lambda y: y.softmax(0), "softmax over axis B")


def mixed_reshape() -> Refused:
    return computed(lambda y: y.reshape(y.shape[0], y.shape[2], y.shape[1]).transpose(1, 2), "reshape", "mixes")


def dense_over_time() -> Refused:
    return layered(nn.Linear(24, 24), "layer (Linear)", "length 25")


def unknown_activation() -> Refused:
    return layered(nn.Hardshrink(), "no operator for hardshrink", "layer (Hardshrink)")


def training() -> Refused:
    module = layered(nn.Dropout(0.1))[0]
    module.train()
    return module, X, {}, ("training mode", ".eval()")


class Counting(nn.Module):
    """A buffer that changes in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = CausalConv1d(3, 3, 2)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(x) * self.calls


def mutable_buffer() -> Refused:
    return Counting(), X, {}, ("'calls'", "second call")


class Queued(nn.Module):
    """A stream: the past of the last call stands in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 3)
        self.register_buffer("past", torch.zeros(1, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        whole = torch.cat([self.past.expand(x.shape[0], -1, -1), x], 2)
        self.past.copy_(whole[:1, :, -2:])
        return self.conv(whole)


def own_state() -> Refused:
    return Queued(), X, {}, ("past",)


def two_outputs() -> Refused:
    return computed(lambda y: (y, y * 2), "returns", "one tensor")


def random_numbers() -> Refused:
    return computed(lambda y: y + torch.randn_like(y), "randn_like")


def always_the_same() -> Refused:
    return computed(lambda y: torch.relu(y * 0 - 1) + 2, "same for every input")


def changed_in_place() -> Refused:
    def change(y: Tensor) -> Tensor:
        half = y[:, :2]
        half.mul_(2)
        return y

    return computed(change, "in place")


REFUSED: dict[str, Callable[[], Refused]] = {
    made.__name__: made
    for made in (
        strided, strided_pool, filled_up, every_second, transposed_convolution, reflection, replication,
        symmetric, symmetric_same, symmetric_residual,
        never_chomped, layer_norm_over_time, norm_without_eps, root_of_another, variance_over_time,
        layer_norm_over_all,
        instance_norm, group_norm, mean_over_time, global_norm,
        softmax_over_time, attention, scaled_dot_product, lstm, gru, fourier, unfold_einsum, cumulative, depends_on_data,
        depends_on_parity, scaled_by_length, scaled_by_whole_length, positions, last_position, half_of_time, reversed_in_time,
        over_the_batch, mixed_reshape, dense_over_time, unknown_activation, training, mutable_buffer, own_state, two_outputs,
        random_numbers, changed_in_place,
        always_the_same,
    )
}  # fmt: skip
