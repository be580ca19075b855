"""What a function depends on, as it was measured: which output place changes when the input changes at one place only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.explain.words import Offset, spell


@dataclass(frozen=True)
class Domain:
    """The positions of a sequence, (T,), or the pixels of an image, (H, W); with colours each pixel has as many values.

    A *place* is one of them, counted in the order in which the sequence runs: by rows, columns, colours.
    """

    sides: tuple[int, ...]
    colours: int = 1

    @property
    def image(self) -> bool:
        """Whether this is an image."""
        return len(self.sides) > 1

    @property
    def count(self) -> int:
        """How many places there are."""
        return math.prod(self.sides) * self.colours

    def index(self, place: int) -> tuple[int, ...]:
        """Return the position, or row and column, of a place; with colours the colour too."""
        index = tuple(int(i) for i in np.unravel_index(place // self.colours, self.sides))
        return (*index, place % self.colours) if self.colours > 1 else index

    def name(self, place: int) -> str:
        """Name a place as a message does."""
        index = self.index(place)
        colour = f", colour {index[2]}" if self.colours > 1 else ""
        return f"pixel {index[:2]}{colour}" if self.image else f"position {index[0]}"

    def places(self, x: Array) -> Array:
        """Return values at places: (B, …, *sides) as (B, M, places). With colours, channel j belongs to colour j mod n."""
        split = x.reshape(len(x), -1, self.colours, math.prod(self.sides))
        return np.moveaxis(split, 2, -1).reshape(len(x), split.shape[1], -1)


@dataclass(frozen=True)
class Dependence:
    """What was measured. `change[q, p]` is the largest change seen at output place q when x changed at place p only.

    `example[q, p]` holds where that was, and both values: (row, number of the channel, before, after).
    """

    domain: Domain
    change: Array
    example: Array
    notes: tuple[str, ...] = ()

    @cached_property
    def seen(self) -> Array:
        """Boolean: whether output place q depends on input place p."""
        return self.change > 0

    @cached_property
    def _numbers(self) -> Array:
        """Offsets as one integer each, in their order: (places, places)."""
        rows, columns = np.divmod(np.arange(self.domain.count) // self.domain.colours, self.domain.sides[-1])
        number = 2 * self.domain.sides[-1] * rows + columns
        return np.asarray(number[:, None] - number)

    def _offset(self, number: int) -> Any:
        width = self.domain.sides[-1]
        up, left = divmod(number + width, 2 * width)
        return (up, left - width) if self.domain.image else left - width

    @cached_property
    def offsets(self) -> frozenset[Any]:
        """The exact set of offsets at which any output sees the input; negative ones lie in the future."""
        return frozenset(map(self._offset, np.unique(self._numbers[self.seen]).tolist()))

    @cached_property
    def colour_offsets(self) -> tuple[frozenset[tuple[int, ...]], ...]:
        """For the outputs of each colour, the exact set of (rows up, columns left, colour of the input)."""
        n = self.domain.colours
        own = [np.argwhere(self.seen[c::n]).tolist() for c in range(n)]
        return tuple(
            frozenset((*self._offset(int(self._numbers[q * n + c, p])), p % n) for q, p in pairs) for c, pairs in enumerate(own)
        )

    def at(self, offsets: Iterable[Offset]) -> Array:
        """Boolean, like `seen`: where these offsets lie."""
        each = (offset if isinstance(offset, tuple) else (0, offset) for offset in offsets)
        return np.isin(self._numbers, [2 * self.domain.sides[-1] * up + left for up, left in each])

    @property
    def receptive_field(self) -> Any:
        """R = largest - smallest offset + 1; of an image the box (rows, columns)."""
        axes = len(self.domain.sides)
        along = zip(*self.offsets, strict=True) if self.domain.image else [self.offsets]
        sides = tuple(max(axis) - min(axis) + 1 for axis in along) if self.offsets else (0,) * axes
        return sides if self.domain.image else sides[0]

    def evidence(self, where: Array) -> str:
        """Say the largest change among those (q, p), with both places and both values."""
        q, p = np.unravel_index(int(np.where(where, self.change, 0).argmax()), self.change.shape)
        row, channel, before, after = self.example[q, p]
        place = f"{self.domain.name(int(q))} of the output (row {int(row)}, channel {int(channel)})"
        values = f"{before:.6g} to {after:.6g}" if abs(after - before) > 1e-4 * abs(before) else f"{before} to {after}"
        return f"{place} goes from {values} when x changes at {self.domain.name(int(p))} only"

    def __str__(self) -> str:
        field = self.receptive_field
        shape = f"{field[0]} x {field[1]}" if self.domain.image else str(field)
        return "; ".join([f"offsets {spell(self.offsets)}; R = {shape}", *self.notes])
