"""The laws of a training loss: its values, of large outputs too, its gradient, and that what does not count changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from refar.arguments.arrays import Array
from refar.rounding.bound import FLOAT32
from refar.testing.closeness import differences
from refar.testing.explain.averaged import Averaged, Reading, readings
from refar.testing.explain.loss import cause
from refar.testing.known import loss_tolerance
from refar.testing.known.loss_under_test import LossUnderTest
from refar.testing.report import ContractError, Measure, Raised
from refar.testing.under_test import require_numbers

FAR = 100.0
"""The size of the logits and means of far draws, whose probabilities go down to exp(-200)."""


@dataclass(frozen=True)
class Drawn:
    """What a loss is called with, y and x and where it is one of the arguments the mask, and what it averages."""

    arrays: tuple[Array, ...]
    averaged: Averaged


@dataclass
class LossLaws:
    """One loss on a few draws, `usual` ones and `far` ones with large outputs. Each method is a law."""

    loss: LossUnderTest
    usual: Sequence[Drawn]
    far: Sequence[Drawn]
    found: str = ""
    u: float = FLOAT32

    def value(self, measure: Measure) -> None:
        """The loss is the mean of the nats, or their sum, or one number for each."""
        came = [self.loss(drawn.arrays, self.loss.dtype) for drawn in self.usual]
        self.u = max(u for _, u in came)
        names = [reading.meaning for reading in readings(self.usual[0].averaged)]
        for drawn, (each, u) in zip(self.usual, came, strict=True):
            require_numbers(self.loss.name, each)
            fitting = _of_shape(self.loss.name, drawn.averaged, each.shape)
            right = [reading.meaning for reading in fitting if _wrong(drawn.averaged, reading, each, u) is None]
            if not (both := [name for name in names if name in right]):
                named = [reading.meaning for reading in fitting if reading.meaning in names]
                self._refuse(self.usual, came, named[0], "")
            names = both
        self.found = names[0]
        measure.statements += len(came)
        measure.notes.append(self.found)

    def far_values(self, measure: Measure) -> None:
        """It is that, too, of outputs up to 100, in float64 and float32."""
        for dtype in self._dtypes(measure):
            came = [self.loss(drawn.arrays, dtype) for drawn in self.far]
            for drawn, (each, u) in zip(self.far, came, strict=True):
                if _wrong(drawn.averaged, _reading(drawn.averaged, self.found), each, u) is not None:
                    self._refuse(self.far, came, self.found, f", where outputs go up to {FAR:.0f}, in {np.dtype(dtype).name}")
                measure.statements += 1
            measure.notes.append(f"outputs up to {FAR:.0f} in {np.dtype(dtype).name}")

    def gradient(self, measure: Measure) -> None:
        """The gradient with respect to y is that of the nats."""
        for drawn, dtype in [(self.usual[0], self.loss.dtype), *((self.far[0], dtype) for dtype in self._dtypes(Measure()))]:
            came = self.loss.gradient(drawn.arrays, dtype)
            if came is None:
                measure.does_not_apply("it is no tensor with a gradient")
                return
            reading = _reading(drawn.averaged, self.found)
            right = drawn.averaged.gradient(reading)
            most = loss_tolerance.of_gradient(drawn.averaged, reading, right, max(came[1], self.u))
            large = "" if drawn is self.usual[0] else f", where outputs go up to {FAR:.0f}, in {np.dtype(dtype).name}"
            measure.within(f"{self.loss.name}{large}: gradient of y", came[0], right, most)

    def unseen(self, measure: Measure) -> None:
        """What does not count changes nothing."""
        (y, x, *rest), (other_y, other_x, *_) = self.usual[0].arrays, self.usual[1].arrays
        outputs, values = self.usual[0].averaged.ignored
        if not outputs.any() and not values.any():
            measure.does_not_apply("all positions count")
            return
        changed = [np.where(_spread(where, a), b, a) for where, a, b in ((outputs, y, other_y), (values, x, other_x))]
        before, _ = self.loss(self.usual[0].arrays, self.loss.dtype)
        after, _ = self.loss([*changed, *rest], self.loss.dtype)
        measure.require(bool((before == after).all()), f"{self.loss.name} where what does not count is changed", before, after)

    def _dtypes(self, measure: Measure) -> list[DTypeLike]:
        """The dtypes in which large outputs are tried: those that the loss takes; none in half precision, which is too coarse."""
        if self.u > FLOAT32:
            measure.does_not_apply("it comes in half precision")
            return []
        try:
            self.loss(self.usual[0].arrays, np.float32)
        except Raised:
            measure.notes.append("it takes no float32")
            return [self.loss.dtype]
        return list(dict.fromkeys([self.loss.dtype, np.float32]))

    def _refuse(self, draws: Sequence[Drawn], came: Sequence[tuple[Array, float]], name: str, of: str) -> None:
        """Say where the loss first differs from what is right under a name, by how much, and what gives its values."""
        for drawn, (each, u) in zip(draws, came, strict=True):
            reading = _reading(drawn.averaged, name)
            place = _wrong(drawn.averaged, reading, each, u)
            if place is not None:
                break
        else:
            raise AssertionError("a loss is refused that is right in each draw")
        right, most = reading.of(drawn.averaged.by_value), _allowed(drawn.averaged, name, u)
        where = f" at {[int(i) for i in place]}" if place else ""
        off = differences(each, right)[place]
        said = f"{self.loss.name}{of}{where}: expected {right[place]:.8g} ({name}), got {each[place]:.8g}, off by {off:.2g}"
        why = ""
        if all(np.isfinite(numbers).all() for numbers, _ in came):
            near = float(most.max() / np.abs(right).max())
            why = cause([drawn.averaged for drawn in draws], [numbers for numbers, _ in came], near)
        raise ContractError(f"{said}, at most {most[place]:.2g}" + (f"; {why}" if why else ""))


def _reading(averaged: Averaged, name: str) -> Reading:
    return next(reading for reading in readings(averaged) if reading.meaning == name)


def _allowed(averaged: Averaged, name: str, u: float) -> Array:
    return loss_tolerance.of_value(averaged, _reading(averaged, name), u)


def _of_shape(name: str, averaged: Averaged, shape: tuple[int, ...]) -> list[Reading]:
    """Return the readings of a shape. Raises ContractError, which says what each shape would be, if there are none."""
    shapes: dict[tuple[int, ...], list[Reading]] = {}
    for reading in readings(averaged):
        shapes.setdefault(reading.of(averaged.by_value).shape, []).append(reading)
    if shape in shapes:
        return shapes[shape]
    known = [f"{right}, {' or '.join(reading.meaning for reading in fits)}" for right, fits in shapes.items()]
    raise ContractError(f"{name} returned the wrong shape: got {shape}; expected one of: " + "; ".join(known))


def _wrong(averaged: Averaged, reading: Reading, came: Array, u: float) -> tuple[int, ...] | None:
    """Return where a loss is the furthest out of its bound, in units of it; None if it is right."""
    error = differences(came, reading.of(averaged.by_value))
    over = error - loss_tolerance.of_value(averaged, reading, u)
    if not (over > 0).any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(over.argmax()), over.shape))


def _spread(where: Array, array: Array) -> Array:
    """Return (B, T) as a Boolean for each number of (B, T) or (B, C, T)."""
    return np.broadcast_to(where if array.ndim == 2 else where[:, None], array.shape)
