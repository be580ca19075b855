"""What a loss averages, and changes of it that people make: a cause is named only if it gives the same values in every draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle import losses

MEAN, SUM, ROWS, EACH = "the mean", "the sum", "the sum of each row", "one number for each position"


@dataclass(frozen=True)
class Averaged:
    """The nats of a sequence: y_bkn beside x_bn (x_bcn of a signal), of which output n is for value n + `late`.

    `mask` (B, N) says which values count; none before `prefix` does. `each` is -log p of each pair, (B, N - late).
    """

    head: ops.AnyHead
    y: Array
    x: Array
    mask: Array
    prefix: int
    late: int
    each: Array

    @classmethod
    def of(cls, head: ops.AnyHead, y: Array, x: Array, mask: Array, prefix: int, late: int) -> Averaged:
        """Compute the nats of each pair."""
        length = x.shape[-1]
        mask = mask if mask.shape == (len(x), length) else np.ones((len(x), length), bool)
        pairs = y[..., max(0, -late) : length - max(0, late)], x[..., max(0, late) : length + min(0, late)]
        return cls(head, y, x, mask, prefix, late, losses.nats(head, *pairs))

    def changed(
        self, *, y: Array | None = None, mask: Array | None = None, prefix: int | None = None, late: int | None = None
    ) -> Averaged:
        """Return the same with other outputs, or with another mask, prefix or alignment."""
        prefix, late = self.prefix if prefix is None else prefix, self.late if late is None else late
        return Averaged.of(self.head, self.y if y is None else y, self.x, self.mask if mask is None else mask, prefix, late)

    @property
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

    def gradient(self, reduction: str, shape: tuple[int, ...]) -> Array:
        """Return the gradient with respect to y of what is reduced so, summed, in the shape of y."""
        d = self.counted / (self.values * self.counted.sum() if reduction == MEAN else 1.0)
        length, found = self.x.shape[-1], np.zeros(self.y.shape)
        place = slice(max(0, -self.late), length - max(0, self.late))
        found[..., place] = losses.nats_backward(
            self.head, self.y[..., place], self.x[..., max(0, self.late) : length + min(0, self.late)], d
        )
        if len(shape) == 3:
            return found
        batch, channels, height, width = shape
        colours = self.y.shape[-1] // (height * width)
        by_colour = found.reshape(batch, channels // colours, height, width, colours)
        return np.moveaxis(by_colour, -1, 2).reshape(shape)


def reductions(averaged: Averaged) -> dict[str, Array]:
    """Return the losses that are right, by name."""
    kept = np.where(averaged.counted, averaged.each, 0.0)
    found = {
        MEAN: np.asarray(kept.sum() / (averaged.values * averaged.counted.sum())),
        SUM: np.asarray(kept.sum()),
        ROWS: kept.sum(axis=1),
        EACH: kept,
    }
    if averaged.values > 1:
        found["the mean over positions"] = found[MEAN] * averaged.values
    return found


def cause(averaged: Sequence[Averaged], came: Sequence[Array], near: float) -> str:
    """Say which change of the right loss gives what came, in all draws; nothing where none does."""
    for words, change in _CHANGES:
        for name in (MEAN, SUM, ROWS):
            if all(_gives(change, name, right, value, near) for right, value in zip(averaged, came, strict=True)):
                return words.format(reduction=name)
    return ""


Change = Callable[[Averaged], Iterator[dict[str, Array]]]


def _gives(change: Change, name: str, averaged: Averaged, came: Array, near: float) -> bool:
    for each in change(averaged):
        value = each.get(name)
        if value is not None and value.shape == came.shape and np.isfinite(value).all():
            right = reductions(averaged).get(name)
            same = right is not None and right.shape == value.shape and np.allclose(value, right, rtol=near, atol=0.0)
            if not same and np.allclose(came, value, rtol=near, atol=0.0):
                return True
    return False


def _aligned(late: int) -> Change:
    """The output n beside the value n + `late`, of all values that have one."""

    def change(averaged: Averaged) -> Iterator[dict[str, Array]]:
        if late != averaged.late:
            yield reductions(averaged.changed(late=late))

    return change


def _first_left_out(averaged: Averaged) -> Iterator[dict[str, Array]]:
    yield reductions(averaged.changed(prefix=max(averaged.prefix, averaged.late) + 1))


def _last_left_out(averaged: Averaged) -> Iterator[dict[str, Array]]:
    mask = averaged.mask.copy()
    mask[:, -1] = False
    yield reductions(averaged.changed(mask=mask))


def _prefix_counts(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if averaged.prefix:
        yield reductions(averaged.changed(prefix=0))


def _prefix_too_short(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if averaged.prefix:
        yield reductions(averaged.changed(prefix=averaged.prefix - 1))


def _mask_ignored(averaged: Averaged) -> Iterator[dict[str, Array]]:
    yield reductions(averaged.changed(mask=np.ones_like(averaged.mask)))


def _mask_reversed(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if not averaged.mask.all():
        yield reductions(averaged.changed(mask=~averaged.mask))


def _divided_by_all(averaged: Averaged) -> Iterator[dict[str, Array]]:
    total = reductions(averaged)[SUM]
    yield {MEAN: total / (averaged.values * averaged.each.size)}
    yield {MEAN: total / (averaged.values * averaged.mask.size)}
    yield {MEAN: total / (averaged.values * max(1, averaged.mask.sum()))}


def _mean_of_rows(averaged: Averaged) -> Iterator[dict[str, Array]]:
    counts = averaged.counted.sum(axis=1)
    if counts.all():
        yield {MEAN: np.asarray((reductions(averaged)[ROWS] / (averaged.values * counts)).mean())}


def _mean_over_rows(averaged: Averaged) -> Iterator[dict[str, Array]]:
    yield {MEAN: reductions(averaged)[SUM] / len(averaged.each)}


def _bits(averaged: Averaged) -> Iterator[dict[str, Array]]:
    yield {name: value / math.log(2) for name, value in reductions(averaged).items()}


def _negative(averaged: Averaged) -> Iterator[dict[str, Array]]:
    yield {name: -value for name, value in reductions(averaged).items()}


def _softmax_twice(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if isinstance(averaged.head, ops.Categorical):
        yield reductions(averaged.changed(y=np.exp(losses.log_softmax(averaged.y))))


def _epsilon(averaged: Averaged) -> Iterator[dict[str, Array]]:
    for size in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
        yield reductions(replace(averaged, each=-np.log(np.exp(-averaged.each) + size)))


def _reshaped(averaged: Averaged) -> Iterator[dict[str, Array]]:
    """Outputs y_bqt whose numbers were taken in order as (B·T, Q), without moving the axis of classes behind."""
    if isinstance(averaged.head, ops.Categorical) and not averaged.late:
        batch, classes, length = averaged.y.shape
        yield reductions(averaged.changed(y=averaged.y.reshape(batch, length, classes).swapaxes(1, 2)))


def _without_constant(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if isinstance(averaged.head, ops.Gaussian):
        constant = averaged.values * math.log(averaged.head.std * math.sqrt(2 * math.pi))
        yield reductions(replace(averaged, each=averaged.each - constant))
        yield reductions(replace(averaged, each=(averaged.each - constant) * 2 * averaged.head.std**2))


_CHANGES: list[tuple[str, Change]] = [
    ("it is {reduction} where y_t is for x_{{t+1}}", _aligned(1)),
    ("it is {reduction} where y_t is for x_t", _aligned(0)),
    ("it is {reduction} where y_t is for x_{{t-1}}", _aligned(-1)),
    ("it is {reduction} where y_t is for x_{{t+2}}", _aligned(2)),
    ("the first value that counts is left out of {reduction}", _first_left_out),
    ("the last position is left out of {reduction}", _last_left_out),
    ("it is {reduction} with the prefix", _prefix_counts),
    ("it is {reduction} with the last position of the prefix", _prefix_too_short),
    ("it is {reduction} without regard to the mask", _mask_ignored),
    ("it is {reduction} where the mask is reversed", _mask_reversed),
    ("the sum is divided by more than the number of values that count", _divided_by_all),
    ("it is the mean of the means of the rows, in which different numbers of values count", _mean_of_rows),
    ("the sum is divided by the number of rows", _mean_over_rows),
    ("it is {reduction} in bits, not nats", _bits),
    ("it is {reduction} with the wrong sign", _negative),
    ("it is {reduction} where the softmax is taken twice", _softmax_twice),
    ("it is {reduction} with a small number added inside the logarithm", _epsilon),
    ("it is {reduction} where y is reshaped without moving the axis of classes behind", _reshaped),
    ("it is {reduction} without the constant or the scale of the density", _without_constant),
]
