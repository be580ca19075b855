"""The meaning of a data set's numbers: the way from a file to a network, and from generated numbers back to a file."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from refar import quantize
from refar.arguments.arrays import Array
from refar.errors import InputError

Small = np.uint8


class Meaning(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The maps from a file's numbers v to a network's x, and back.

    A signal (C, T): v = x·std + mean, each channel with its own; without std and mean v = x. With a `quantizer` of `levels`
    classes x is a class, and its centre in [-1, 1] stands for x in that equation. A picture has `levels` of light, class 0
    being black. `columns` names the channels of a series, `rate` is that of sound in Hz, `size` that of a picture in rows and
    columns, `names` are those of the classes of the condition.
    """

    kind: Literal["numbers", "series", "sound", "picture"] = "numbers"
    columns: list[str] = []
    mean: list[float] = []
    std: list[float] = []
    quantizer: Literal["mu-law", "linear"] | None = None
    levels: int = 0
    rate: int = 0
    size: tuple[int, int] | None = None
    colours: Literal["grey", "rgb"] = "grey"
    names: list[str] = []

    @property
    def channels(self) -> int:
        """The number of colours of a pixel."""
        return 3 if self.colours == "rgb" else 1

    def channel(self, number: int) -> str:
        """The name of a channel for messages."""
        return f"column {self.columns[number]!r}" if self.columns else f"channel {number}"

    def encode(self, values: Array) -> Array:
        """The numbers of a file, v_ct, as a network takes them: x_ct in float32 or float64, or classes x_t.

        Classes are kept in the smallest unsigned type. Numbers beyond the range of a linear quantiser fall into its outermost
        classes. Raises InputError for another number of channels than mean and std have.
        """
        if self.std:
            if len(values) != len(self.std):
                raise InputError(f"data: expected {len(self.std)} channels as in the training, got {len(values)}")
            values = (values - _column(self.mean)) / _column(self.std)
        if self.quantizer is None:
            return values
        classes = _quantizer(self.quantizer, self.levels).encode(np.clip(values[0], -1, 1))
        return classes.astype(np.min_scalar_type(self.levels - 1))

    def decode(self, x: Array) -> Array:
        """A batch of a network's numbers, x_bt or x_bct, as the numbers of a file, v_bct in float64."""
        if self.quantizer is not None:
            x = _quantizer(self.quantizer, self.levels).decode(x)[:, None]
        values = np.asarray(x, np.float64)
        return values * _column(self.std) + _column(self.mean) if self.std else values

    def light(self, x: Array) -> Array:
        """Pictures of classes, of any shape, as light 0..255 in uint8."""
        return lighten(x, self.levels)


def lighten(x: Array, levels: int) -> Array:
    """Classes as light 0..255 in uint8, from black to white in equal steps, each within what `darken` takes for its class."""
    classes = np.asarray(x, np.int64)
    first, last = -(-256 * classes // levels), -(-256 * (classes + 1) // levels) - 1
    return np.clip(np.rint(classes * (255 / (levels - 1))), first, last).astype(Small)


def darken(light: Array, levels: int) -> Array:
    """Light 0..255 in uint8 as the classes ⌊light·levels/256⌋ in uint8."""
    return light if levels == 256 else (light.astype(np.uint16) * levels >> 8).astype(Small)


def standardised(what: str, meaning: Meaning, pieces: list[Array]) -> Meaning:
    """The meaning with mean and std of v_ct over all pieces, those for training.

    Raises InputError for a constant channel, and for one whose mean or std is beyond float64.
    """
    count = sum(piece.shape[1] for piece in pieces)
    with np.errstate(over="ignore", invalid="ignore"):  # `_check_varies` refuses what comes of it
        mean = sum(piece.sum(axis=1, dtype=np.float64) for piece in pieces) / count
        square = sum(((piece - mean[:, None]) ** 2).sum(axis=1, dtype=np.float64) for piece in pieces) / count
        std = np.sqrt(square)
    _check_varies(what, meaning, mean, std)
    return msgspec.structs.replace(meaning, mean=mean.tolist(), std=std.tolist())


def levelled(what: str, meaning: Meaning, pieces: list[Array], levels: int) -> Meaning:
    """The meaning with `levels` classes of equal width over the range of v_t in all pieces, those for training, and a tenth more.

    The tenth comes on each side. Raises InputError for several channels, and for a constant series.
    """
    if pieces[0].shape[0] != 1:
        raise InputError(
            f"{what}: `levels` makes classes of one column, got {pieces[0].shape[0]}; leave it out, or name one column"
        )
    low, high = min(float(p.min()) for p in pieces), max(float(p.max()) for p in pieces)
    middle, half = np.array([low / 2 + high / 2]), np.array([high / 2 - low / 2])
    _check_varies(what, meaning, middle, half)
    return msgspec.structs.replace(
        meaning, quantizer="linear", levels=levels, mean=middle.tolist(), std=(1.2 * half).tolist()
    )  # fmt: skip


def _check_varies(what: str, meaning: Meaning, middle: Array, width: Array) -> None:
    """Raise InputError for a width that is not finite, or no more than what rounding makes of a constant."""
    for channel, (value, spread) in enumerate(zip(middle, width, strict=True)):
        name = meaning.channel(channel)
        if not (np.isfinite(value) and 1.2 * spread < np.inf):
            raise InputError(f"{what}: {name} has numbers too large to be scaled; expected numbers below 1e150")
        if not spread > 16 * np.finfo(np.float64).eps * abs(value):
            raise InputError(f"{what}: {name} is {value:g} throughout its training part; expected numbers that differ")


def _quantizer(name: str, levels: int) -> quantize.Quantizer:
    return quantize.mu_law(levels) if name == "mu-law" else quantize.linear(levels)


def _column(numbers: list[float]) -> Array:
    return np.array(numbers)[:, None]
