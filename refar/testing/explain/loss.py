"""Changes of a right loss that people make: a cause is named only if it gives the same values in every draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle import losses
from refar.testing.explain.averaged import MEAN, SUM, Averaged, readings


def cause(averaged: Sequence[Averaged], came: Sequence[Array], near: float) -> str:
    """Say which change of a right loss gives what came, in all draws, within `near` of it; nothing where none does."""
    right = [_values(each) for each in averaged]
    for words, change in _CHANGES:
        changed = [list(change(each)) for each in averaged]
        for name in right[0]:
            if all(_gives(*each, name, near) for each in zip(changed, right, came, strict=True)):
                return words.format(reduction=name)
    return ""


Change = Callable[[Averaged], Iterator[dict[str, Array]]]


def _gives(changed: Sequence[dict[str, Array]], right: dict[str, Array], came: Array, name: str, near: float) -> bool:
    """Say whether one of the `changed` values of that name is what `came`, and not what is `right`."""
    for value in (each[name] for each in changed if name in each):
        if value.shape == came.shape and np.isfinite(value).all():
            same = right[name].shape == value.shape and np.allclose(value, right[name], rtol=near, atol=0.0)
            if not same and np.allclose(came, value, rtol=near, atol=0.0):
                return True
    return False


def _values(averaged: Averaged) -> dict[str, Array]:
    """Return what is right, by its meaning."""
    return {reading.meaning: reading.of(averaged.each[:, None]) for reading in readings(averaged)}


def _aligned(late: int) -> Change:
    """The output n beside the value n + `late`, of all values that have one."""

    def change(averaged: Averaged) -> Iterator[dict[str, Array]]:
        if late != averaged.late:
            yield _values(averaged.changed(late=late))

    return change


def _first_left_out(averaged: Averaged) -> Iterator[dict[str, Array]]:
    yield _values(averaged.changed(prefix=max(averaged.prefix, averaged.late) + 1))


def _last_left_out(averaged: Averaged) -> Iterator[dict[str, Array]]:
    mask = averaged.mask.copy()
    mask[:, -1] = False
    yield _values(averaged.changed(mask=mask))


def _prefix_counts(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if averaged.prefix:
        yield _values(averaged.changed(prefix=0))


def _prefix_too_short(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if averaged.prefix:
        yield _values(averaged.changed(prefix=averaged.prefix - 1))


def _mask_ignored(averaged: Averaged) -> Iterator[dict[str, Array]]:
    yield _values(averaged.changed(mask=np.ones_like(averaged.mask)))


def _mask_reversed(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if not averaged.mask.all():
        yield _values(averaged.changed(mask=~averaged.mask))


def _divided_by_all(averaged: Averaged) -> Iterator[dict[str, Array]]:
    total = _values(averaged)[SUM]
    yield {MEAN: total / (averaged.values * averaged.each.size)}
    yield {MEAN: total / (averaged.values * averaged.mask.size)}
    yield {MEAN: total / (averaged.values * max(1, averaged.mask.sum()))}


def _mean_of_rows(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if (means := _values(averaged).get("the mean of each row")) is not None:
        yield {MEAN: np.asarray(means.mean())}


def _bits(averaged: Averaged) -> Iterator[dict[str, Array]]:
    yield {name: value / math.log(2) for name, value in _values(averaged).items()}


def _negative(averaged: Averaged) -> Iterator[dict[str, Array]]:
    yield {name: -value for name, value in _values(averaged).items()}


def _softmax_twice(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if isinstance(averaged.head, ops.Categorical):
        yield _values(averaged.changed(y=np.exp(losses.log_softmax(averaged.y))))


def _epsilon(averaged: Averaged) -> Iterator[dict[str, Array]]:
    for size in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
        yield _values(replace(averaged, each=-np.log(np.exp(-averaged.each) + size)))


def _reshaped(averaged: Averaged) -> Iterator[dict[str, Array]]:
    """Outputs y_bqt whose numbers were taken in order as (B·T, Q), without moving the axis of classes behind."""
    if isinstance(averaged.head, ops.Categorical) and not averaged.late:
        batch, classes, length = averaged.y.shape
        yield _values(averaged.changed(y=averaged.y.reshape(batch, length, classes).swapaxes(1, 2)))


def _without_constant(averaged: Averaged) -> Iterator[dict[str, Array]]:
    if isinstance(averaged.head, ops.Gaussian):
        constant = averaged.values * math.log(averaged.head.std * math.sqrt(2 * math.pi))
        yield _values(replace(averaged, each=averaged.each - constant))
        yield _values(replace(averaged, each=(averaged.each - constant) * 2 * averaged.head.std**2))


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
    ("it is {reduction} in bits, not nats", _bits),
    ("it is {reduction} with the wrong sign", _negative),
    ("it is {reduction} where the softmax is taken twice", _softmax_twice),
    ("it is {reduction} with a small number added inside the logarithm", _epsilon),
    ("it is {reduction} where y is reshaped without moving the axis of classes behind", _reshaped),
    ("it is {reduction} without the constant or the scale of the density", _without_constant),
]
