"""The normalisation of one column of channels over exact numbers: nothing rounds but a root and what it divides."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Literal

from refar.exact.curves import Exact, decimal


class Normed:
    """d_c / √(Σ d²/C + eps) of the C numbers of a column: d is what they are away from their mean, or with "rms" from 0."""

    def __init__(self, kind: Literal["layer", "rms"], column: list[Exact], eps: Fraction) -> None:
        self.count = len(column)
        self.shared = Fraction(1, self.count) if kind == "layer" else Fraction(0)
        mean = self.shared * sum(column)
        self.d = [each - mean for each in column]
        self.square = sum((each * each for each in self.d), Fraction(0)) / self.count + eps

    def value(self, c: int) -> Decimal:
        """Return number c."""
        return decimal(Fraction(self.d[c])) / decimal(self.square).sqrt()

    def slope(self, c: int, j: int) -> Decimal:
        """Return the derivative of number c with respect to number j of the column."""
        part = int(j == c) - self.shared - self.d[c] * self.d[j] / (self.count * self.square)
        return decimal(Fraction(part)) / decimal(self.square).sqrt()
