"""Functions that return more or fewer positions than they take."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import InputError


@dataclass(frozen=True, init=False)
class Rate:
    """How many output positions there are for one of the input: `up` of them, or one for `down`; one of the two is 1.

    Those that belong together are folded into an axis of their own, so that x and y have equally many positions, the last axis.
    """

    up: int
    down: int

    def __init__(self, rate: float | Fraction) -> None:
        try:
            exact = Fraction(rate).limit_denominator(1 << 16)
        except (TypeError, ValueError, OverflowError):
            exact = Fraction(0)
        if exact <= 0 or 1 not in (exact.numerator, exact.denominator):
            raise InputError(f"rate: expected a whole number of outputs for each position, or 1/n for one in n, got {rate!r}")
        object.__setattr__(self, "up", exact.numerator)
        object.__setattr__(self, "down", exact.denominator)

    def positions(self, length: int) -> int:
        """Return how many frames there are of `length` inputs."""
        if length % self.down:
            raise InputError(f"rate: expected a number of positions that {self.down} divides, got {length}")
        return length // self.down

    def fold(self, a: Array, n: int) -> Array:
        """Return (…, T·n) as (…, n, T)."""
        return a if n == 1 else np.swapaxes(a.reshape(*a.shape[:-1], -1, n), -1, -2)

    def unfold(self, a: Array) -> Array:
        """Return the inputs (…, n, T) as (…, T·n)."""
        return a if self.down == 1 else np.swapaxes(a, -1, -2).reshape(*a.shape[:-2], -1)
