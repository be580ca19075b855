"""Sequences and images alike: which values of the input an output sees, by the inferred offsets.

A *place* is a position in a sequence or a pixel of an image, counted in raster order; a *value* is what stands there, counted
in the order in which the sequence runs: in an image a pixel has one for each channel. A sequence is an image of one row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from refar.analysis.facts import facts
from refar.analysis.windows import Grid
from refar.arguments.arrays import Array
from refar.graph.graph import Graph
from refar.ops import FURTHEST
from refar.testing.contract.cases import Extent

_LINE = Grid(2**10 * FURTHEST, 1)
"""Offsets over time as numbers of a grid: all in one row."""


@dataclass(frozen=True)
class Places:
    """The places of one extent. Values come as Boolean arrays over t, or over (channel, row, column)."""

    extent: Extent
    grid: Grid

    @property
    def count(self) -> int:
        """How many places there are."""
        return math.prod(self.extent)

    @property
    def values(self) -> int:
        """How many values there are."""
        return self.count * self.grid.colours

    def name(self, place: int) -> str:
        """As a message says it."""
        return f"position {place}" if len(self.extent) == 1 else f"pixel {divmod(place, self.extent[1])}"

    def number(self, *index: int) -> int:
        """The place with these coordinates."""
        return int(np.ravel_multi_index(index, self.extent))

    def value(self, n: int) -> str:
        """As a message says it."""
        channel = f", channel {n % self.grid.colours}" if self.grid.colours > 1 else ""
        return self.name(n // self.grid.colours) + channel

    def from_value(self, n: int) -> Array:
        """Value n and all that come after it."""
        return self._over(np.arange(self.values) >= n)

    def seen(self, place: int, offsets: Iterable[int]) -> Array:
        """The values that lie at these offsets from a place."""
        row, column = divmod(place, self.extent[-1])
        found = np.zeros((self.count // self.extent[-1], self.extent[-1], self.grid.colours), bool)
        for number in offsets:
            (up, left), colour = self.grid.step(number), self.grid.colour(number)
            if 0 <= row - up < found.shape[0] and 0 <= column - left < found.shape[1]:
                found[row - up, column - left, colour] = True
        return self._over(found)

    def unaware(self, n: int, offsets: frozenset[int]) -> Array:
        """The places from which value n and what comes after it lie outside these offsets, by the nearest of them: (places,)."""
        if not offsets:
            return np.ones(self.count, bool)
        up, left = nearest = self.grid.step(min(offsets))
        colour = max(self.grid.colour(number) for number in offsets if self.grid.step(number) == nearest)
        row, column = np.divmod(np.arange(self.count), self.extent[-1])
        width = self.extent[-1] * self.grid.colours
        latest = (row - up) * width + np.clip((column - left) * self.grid.colours + colour, -1, width - 1)
        unaware: Array = latest < n
        return unaware

    def offset(self, place: int, index: tuple[int, ...]) -> tuple[int, ...]:
        """Of one of the values, seen from a place: (rows up, columns left, channel), or over time just (offset,)."""
        if len(self.extent) == 1:
            return (place - index[0],)
        row, column = divmod(place, self.extent[1])
        return row - index[1], column - index[2], index[0]

    def _over(self, values: Array) -> Array:
        """Values in their order over the axes of the input."""
        if len(self.extent) == 1:
            return values.reshape(self.extent)
        return np.moveaxis(values.reshape(*self.extent, self.grid.colours), -1, 0)


def in_raster(y: Array) -> Array:
    """An output over its places: y_bct as it is, y_bchw with its pixels in raster order."""
    return y.reshape(*y.shape[:2], -1)


def places(graph: Graph, extent: Extent) -> Places:
    """Of sequences or images of this extent."""
    return Places(extent, facts(graph).grid or _LINE)
