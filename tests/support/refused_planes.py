"""Modules of images that cannot be taken: each with an example, options, and words that the refusal must say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from plane_modules import MaskedByProduct
from refused_modules import Refused
from torch import Tensor, nn
from torch.nn import functional as F

X = torch.randn(2, 3, 8, 9)


class Behind(nn.Module):
    """One layer, or a function, behind a masked convolution."""

    def __init__(self, function: Callable[[Tensor], Any], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = MaskedByProduct("A", 3, 4, 3, padding=1)
        self.layer = layer
        self.function = function

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        return self.function(y if self.layer is None else self.layer(y))


def layered(layer: nn.Module, *words: str) -> Refused:
    return Behind(lambda y: y, layer), X, {}, words


def computed(function: Callable[[Tensor], Any], *words: str) -> Refused:
    return Behind(function), X, {}, words


def strided_plane() -> Refused:
    return layered(nn.Conv2d(4, 4, (2, 1), stride=(2, 1), padding=(1, 0)), "layer (Conv2d)", "stride 2 x 1", "fewer pixels")


def symmetric_rows() -> Refused:
    return layered(nn.Conv2d(4, 4, 3, padding=1), "conv2d_1 in layer", "looks ahead", "in row r", "r + 1", "mask")


def symmetric_dilated() -> Refused:
    return layered(nn.Conv2d(4, 4, (5, 1), padding="same", dilation=2), "looks ahead", "r + 4")


def symmetric_row() -> Refused:
    return layered(nn.Conv2d(4, 4, (1, 5), padding=(0, 2)), "conv2d_1 in layer", "looks ahead", "(r, c + 1)", "raster order")


class WrongMask(MaskedByProduct):
    """A mask that shows the whole row."""

    def __init__(self) -> None:
        super().__init__("B", 4, 4, 5, padding=2)
        self.mask[2] = 1


def wrong_mask() -> Refused:
    return layered(WrongMask(), "conv2d_1 in layer (WrongMask)", "(r, c + 1)", "to the right of the pixel")


def unmasked_residual() -> Refused:
    return Behind(lambda y: y, Residual()), X, {}, ("layer.conv (Conv2d)", "r + 1")


class Residual(nn.Module):
    """Symmetric padding behind a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(torch.relu(self.conv(x)))


def instance_norm_of_images() -> Refused:
    return layered(nn.InstanceNorm2d(4), "layer (InstanceNorm2d)", "a normalisation", "depends on later ones")


def group_norm_of_images() -> Refused:
    return layered(nn.GroupNorm(2, 4), "layer (GroupNorm)", "a normalisation")


def layer_norm_of_images() -> Refused:
    return computed(lambda y: F.layer_norm(y, y.shape[1:]), "a normalisation over the axes C, H, W")


def mean_of_images() -> Refused:
    return computed(lambda y: y - y.mean((2, 3), keepdim=True), "a mean over the axes H, W", "read all others")


def softmax_of_rows() -> Refused:
    return computed(lambda y: y.softmax(3), "softmax over axis W")


def attention_of_pixels() -> Refused:
    def attend(y: Tensor) -> Tensor:
        b, c, h, w = y.shape
        flat = y.reshape(b, c, h * w).transpose(1, 2)
        return F.scaled_dot_product_attention(flat, flat, flat, is_causal=True).transpose(1, 2).reshape(b, c, h, w)

    return computed(attend, "scaled_dot_product_attention", "every position may read every other")


def attention_by_hand() -> Refused:
    def attend(y: Tensor) -> Tensor:
        flat = y.flatten(2)
        scores = torch.tril(flat.transpose(1, 2) @ flat)
        return (flat @ scores).view_as(y)

    return computed(attend, "matmul in Behind", "a product of matrices")


def transposed_plane() -> Refused:
    return layered(nn.ConvTranspose2d(4, 4, 2, stride=2), "conv_transpose2d", "change of rate")


def pooled_plane() -> Refused:
    return layered(nn.MaxPool2d(2), "max_pool2d", "a pooling of images", "masked convolution")


def pooled_same() -> Refused:
    return layered(nn.MaxPool2d(3, 1, 1), "max_pool2d", "a pooling of images")


def upsampled() -> Refused:
    return layered(nn.Upsample(scale_factor=2), "upsample_nearest2d", "change of rate")


def shuffled() -> Refused:
    return layered(nn.PixelShuffle(2), "pixel_shuffle", "change of rate")


def reflected_plane() -> Refused:
    return layered(nn.Sequential(nn.ReflectionPad2d((1, 1, 1, 0)), nn.Conv2d(4, 4, (2, 3))), "reflect padding")


def flattened_plane() -> Refused:
    return layered(
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 72, 10)), "fails in layer.1 (Linear) at 9 x 26 pixels", "takes 8 x 9"
    )


def flat_and_left() -> Refused:
    return computed(lambda y: y.flatten(2), "output has the axes B, C, HW", "expected B, C, H, W")


def mixed_plane() -> Refused:
    def mix(y: Tensor) -> Tensor:
        return y.reshape(y.shape[0], y.shape[2], y.shape[1], y.shape[3]).transpose(1, 2)

    return computed(mix, "a reshape that parts or mixes the axes")


def transposed_axes() -> Refused:
    return layered(Transposed(), "layer.conv (Conv2d)", "expected the axes B, C, H, W, got B, C, W, H")


class Transposed(nn.Module):
    """Rows and columns exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, (2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x.transpose(2, 3), (0, 0, 1, 0))).transpose(2, 3)


class Encoded(nn.Module):
    """A positional encoding of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = MaskedByProduct("A", 3, 4, 3, padding=1)
        self.register_buffer("place", torch.randn(1, 4, 8, 9))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.place


def encoded() -> Refused:
    return Encoded(), X, {}, ("at 9 x 26 pixels", "it takes 8 x 9 pixels, but must take any size")


def grid_of_places() -> Refused:
    def place(y: Tensor) -> Tensor:
        return y + torch.linspace(-1, 1, y.shape[3])

    return computed(place, "linspace", "position")


def flipped_plane() -> Refused:
    return computed(lambda y: y.flip(3), "flip, a reversal")


def rolled() -> Refused:
    return computed(lambda y: torch.roll(y, 1, 3), "roll, a rotation", "F.pad(x, (1, -1))")


def shifted_up() -> Refused:
    return computed(lambda y: F.pad(y, (0, 0, -1, 1)), "looks ahead", "r + 1")


def shifted_left() -> Refused:
    return computed(lambda y: F.pad(y, (-2, 2)), "looks ahead", "(r, c + 1)")


def never_cropped() -> Refused:
    return layered(nn.Conv2d(4, 4, (2, 1), padding=(1, 0)), "1 rows longer than its input", "x[:, :, :-1]")


def padded_twice() -> Refused:
    def pad(y: Tensor) -> Tensor:
        return y

    body = nn.Sequential(nn.ZeroPad2d((2, 0, 0, 0)), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, (1, 3)))
    return Behind(pad, body), X, {}, ("outside of the image", "not zero", "conv2d_2 in layer.2 (Conv2d)")


def every_second_row() -> Refused:
    return computed(lambda y: y[:, :, ::2], "a slice with step 2")


def half_of_rows() -> Refused:
    return computed(lambda y: y[:, :, : y.shape[2] // 2], "a slice of rows")


def last_pixel() -> Refused:
    return computed(lambda y: y[:, :, -1], "one index of axis H")


def unfolded() -> Refused:
    return computed(lambda y: F.unfold(y, 3, padding=1).view(y.shape[0], -1, *y.shape[2:]), "im2col", "conv2d")


def scaled_by_width() -> Refused:
    return computed(lambda y: y / y.shape[3], "length")


def shift_asked() -> Refused:
    module = nn.Sequential(MaskedByProduct("B", 3, 4, 3, padding=1))
    return module, X, {"shift": "output"}, ("of images", "mask 'A'")


REFUSED_PLANES: dict[str, Callable[[], Refused]] = {
    made.__name__: made
    for made in (
        strided_plane, symmetric_rows, symmetric_dilated, symmetric_row, wrong_mask, unmasked_residual, instance_norm_of_images,
        group_norm_of_images, layer_norm_of_images, mean_of_images, softmax_of_rows, attention_of_pixels, attention_by_hand,
        transposed_plane, pooled_plane, pooled_same, upsampled, shuffled, reflected_plane, flattened_plane, flat_and_left,
        mixed_plane, transposed_axes, encoded, grid_of_places, flipped_plane, rolled, shifted_up, shifted_left, never_cropped,
        padded_twice, every_second_row, half_of_rows, last_pixel, unfolded, scaled_by_width, shift_asked,
    )
}  # fmt: skip
