"""What a training loss averages, and all that is right for it to return: each with its meaning, weights and gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle import losses

MEAN, SUM = "the mean", "the sum"


@dataclass(frozen=True)
class Reading:
    """A loss that is right: Σ weight·nats, arranged in some shape.

    `weight`, (B, 1, N), says how much the nats of each pair count, and `arrange` makes of weighted numbers (B, C, N) what the
    loss returns: it adds them up, puts them in another order, or drops those that do not count.
    """

    meaning: str
    weight: Array
    arrange: Callable[[Array], Array]

    def of(self, numbers: Array) -> Array:
        """Return what a loss gives whose nats are `numbers`, (B, C, N) or (B, 1, N)."""
        return np.asarray(self.arrange(numbers * self.weight))


@dataclass(frozen=True)
class Averaged:
    """The nats of a sequence: y_bkn beside x_bn (x_bcn of a signal), of which output n is for value n + `late`.

    `mask` (B, N) says which values count; none before `prefix` does. `each` is -log p of each pair, (B, N - late). The values of
    an image stand in the order in which they are modelled, and `picture` is (colours, height, width); of a sequence it is empty.
    """

    head: ops.AnyHead
    y: Array
    x: Array
    mask: Array
    prefix: int
    late: int
    each: Array
    picture: tuple[int, ...]

    @classmethod
    def of(
        cls, head: ops.AnyHead, y: Array, x: Array, mask: Array, prefix: int, late: int, picture: tuple[int, ...] = ()
    ) -> Averaged:
        """Compute the nats of each pair."""
        length = x.shape[-1]
        mask = mask if mask.shape == (len(x), length) else np.ones((len(x), length), bool)
        pairs = y[..., max(0, -late) : length - max(0, late)], x[..., max(0, late) : length + min(0, late)]
        return cls(head, y, x, mask, prefix, late, losses.nats(head, *pairs), picture)

    def changed(
        self, *, y: Array | None = None, mask: Array | None = None, prefix: int | None = None, late: int | None = None
    ) -> Averaged:
        """Return the same with other outputs, or with another mask, prefix or alignment, in which an image is no picture more."""
        prefix, late = self.prefix if prefix is None else prefix, self.late if late is None else late
        y, mask = self.y if y is None else y, self.mask if mask is None else mask
        return Averaged.of(self.head, y, self.x, mask, prefix, late, self.picture if late == self.late else ())

    @property
    def pairs(self) -> tuple[Array, Array]:
        """The outputs and the values that belong to each other, (B, K, N - late) and (B, N - late) or (B, C, N - late)."""
        length = self.x.shape[-1]
        late, early = max(0, self.late), max(0, -self.late)
        return self.y[..., early : length - late], self.x[..., late : length - early]

    @property
    def by_channel(self) -> tuple[Array, Array]:
        """The pairs of each channel of a signal as rows of their own: (B·C, K/C, N - late) and (B·C, 1, N - late)."""
        y, x = self.pairs
        if x.ndim == 2:
            return y, x
        batch, channels, length = x.shape
        rows = np.moveaxis(y.reshape(batch, -1, channels, length), 2, 1).reshape(batch * channels, -1, length)
        return rows, x.reshape(batch * channels, 1, length)

    @cached_property
    def by_value(self) -> Array:
        """-log p of each channel of a signal: (B, C, N - late); C is 1 where x_bn has no channels."""
        return losses.nats(self.head, *self.by_channel).reshape(len(self.x), self.values, -1)

    @cached_property
    def counted(self) -> Array:
        """Which pairs count, (B, N - late)."""
        length = self.x.shape[-1]
        places = np.arange(max(0, self.late), length + min(0, self.late))
        return self.mask[:, places] & (places >= self.prefix)

    @property
    def values(self) -> int:
        """How many values each position has: the channels of a signal."""
        return int(np.prod(self.x.shape[1:-1]))

    @property
    def ignored(self) -> tuple[Array, Array]:
        """Which outputs and which values of x do not count, each (B, N)."""
        outputs, values = (np.ones(self.mask.shape, bool) for _ in range(2))
        rows, pairs = np.nonzero(self.counted)
        outputs[rows, pairs + max(0, -self.late)] = False
        values[rows, pairs + max(0, self.late)] = False
        return outputs, values

    def gradient(self, reading: Reading) -> Array:
        """Return the gradient with respect to y of the sum of what such a loss returns, in the shape of y as it was given."""
        return self.as_given(losses.nats_backward(self.head, *self.pairs, reading.weight[:, 0]))

    def as_given(self, pairs: Array) -> Array:
        """Return numbers of the outputs of all pairs, (B, K, N - late), in the shape of y as it was given; 0 elsewhere."""
        found = np.zeros(self.y.shape)
        found[..., max(0, -self.late) : self.x.shape[-1] - max(0, self.late)] = pairs
        if not self.picture:
            return found
        colours, height, width = self.picture
        by_colour = found.reshape(len(found), -1, height, width, colours)
        return np.moveaxis(by_colour, -1, 2).reshape(len(found), -1, height, width)


def readings(averaged: Averaged) -> list[Reading]:
    """Return all that is right for a loss to return, the mean first."""
    return [*_scalars(averaged), *_of_rows(averaged), *_of_positions(averaged)]


def _scalars(averaged: Averaged) -> Iterator[Reading]:
    counted, several, place = averaged.counted[:, None], *_places(averaged)
    count = averaged.values * averaged.counted.sum()
    yield Reading(MEAN, counted / count, np.sum)
    if several > 1:
        yield Reading(f"the mean over {place} of their sums", counted * (several / count), np.sum)
    yield Reading(SUM, counted * 1.0, np.sum)
    yield Reading("the mean over rows of their sums", counted / len(counted), np.sum)


def _of_rows(averaged: Averaged) -> Iterator[Reading]:
    counted, several, place = averaged.counted[:, None], *_places(averaged)
    count = averaged.values * averaged.counted.sum(axis=1)[:, None, None]
    yield Reading("the sum of each row", counted * 1.0, _row_sums)
    if count.all():
        yield Reading("the mean of each row", counted / count, _row_sums)
        if several > 1:
            yield Reading(f"the mean over the {place} of each row", counted * (several / count), _row_sums)


def _of_positions(averaged: Averaged) -> Iterator[Reading]:
    counted, first = averaged.counted, max(averaged.prefix - averaged.late, 0)
    each, positions = counted[:, None] * 1.0, "one number for each position"
    if averaged.picture:
        colours, height, width = averaged.picture

        def image(numbers: Array) -> Array:
            return np.moveaxis(numbers.reshape(len(numbers), height, width, colours), -1, 1)

        yield Reading("one number for each value, (B, C, H, W)", each, image)
        yield Reading("one number for each pixel, (B, H, W)", each, lambda f: image(f).sum(axis=1))
        yield Reading("one number for each value, (B, C, H, W), in one axis", each, lambda f: image(f).ravel())
        positions = "one number for each value, in the order in which they are modelled"
    yield Reading(positions, each, lambda f: f.sum(axis=1))
    yield Reading("one number for each channel and position", each, lambda f: f)
    if first:
        yield Reading(f"{positions} after the prefix", each, lambda f: f.sum(axis=1)[:, first:])
        yield Reading("one number for each channel and position after the prefix", each, lambda f: f[..., first:])
    yield Reading(f"{positions}, in one axis", each, lambda f: f.sum(axis=1).ravel())
    if not counted.all():
        yield Reading(f"{positions} that counts, in one axis", each, lambda f: f.sum(axis=1)[counted])


def _row_sums(numbers: Array) -> Array:
    return np.asarray(numbers.sum(axis=(1, 2)))


def _places(averaged: Averaged) -> tuple[int, str]:
    """How many values share a place, and what a place is called."""
    return (averaged.picture[0], "pixels") if averaged.picture else (averaged.values, "positions")
