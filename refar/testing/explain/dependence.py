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

    A *place* is one of them, counted in the order in which the sequence runs: by rows, columns, colours. A *key* is a number for
    how an output place q lies to an input place p: the same for all pairs with the same offset and the same two colours.
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

    @cached_property
    def _numbers(self) -> Array:
        """One integer for each place, whose differences tell (rows up, columns left)."""
        rows, columns = np.divmod(np.arange(self.count) // self.colours, self.sides[-1])
        return np.asarray(2 * self.sides[-1] * rows + columns)

    @property
    def _span(self) -> int:
        return int(self._numbers[-1])

    @property
    def kinds(self) -> int:
        """How many keys there are."""
        return (2 * self._span + 1) * self.colours**2

    def keys(self, outputs: Any, inputs: Any) -> Array:
        """Return the keys of pairs of places."""
        apart = self._numbers[outputs] - self._numbers[inputs] + self._span
        return np.asarray((apart * self.colours + np.mod(outputs, self.colours)) * self.colours + np.mod(inputs, self.colours))

    @cached_property
    def pairs(self) -> Array:
        """The keys of all pairs, (output places, input places)."""
        places = np.arange(self.count)
        return self.keys(places[:, None], places)

    def offset(self, key: int) -> Any:
        """Return the offset of a key: how far back, or over an image (rows up, columns left)."""
        width = self.sides[-1]
        up, left = divmod(key // self.colours**2 - self._span + width, 2 * width)
        return (up, left - width) if self.image else left - width

    def holds(self, offsets: Iterable[Offset]) -> Array:
        """Return which keys have one of these offsets."""
        wanted = set(offsets)
        return np.array([self.offset(key) in wanted for key in range(self.kinds)])

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

    `example[q, p]` holds where that was, and both values: (row, number of the channel, before, after). `derived[q, p]` says
    that the derivative of the output at q by x at p is not 0, where derivatives could be had. `changed[p]`: x was
    changed at p; of long inputs it is not at every place.
    """

    domain: Domain
    change: Array
    example: Array
    notes: tuple[str, ...] = ()
    derived: Array | None = None
    changed: Array | None = None

    @cached_property
    def looked(self) -> Array:
        """Boolean: at which input places x was changed; of long inputs not at all of them."""
        return np.ones(self.domain.count, bool) if self.changed is None else self.changed

    @cached_property
    def seen(self) -> Array:
        """Boolean: whether output place q depends on input place p."""
        return self.change > 0 if self.derived is None else (self.change > 0) | self.derived

    @cached_property
    def offsets(self) -> frozenset[Any]:
        """The exact set of offsets at which any output sees the input; negative ones lie in the future."""
        return frozenset(map(self.domain.offset, np.flatnonzero(np.bincount(self.domain.pairs[self.seen])).tolist()))

    @cached_property
    def colour_offsets(self) -> tuple[frozenset[tuple[int, ...]], ...]:
        """For the outputs of each colour, the exact set of (rows up, columns left, colour of the input)."""
        n, own = self.domain.colours, self.domain.pairs
        each = [np.flatnonzero(np.bincount(own[c::n][self.seen[c::n]])).tolist() for c in range(n)]
        return tuple(frozenset((*self.domain.offset(key), key % n) for key in keys) for keys in each)

    @cached_property
    def whole_windows(self) -> Array:
        """Boolean, by output place: whether all places at the offsets that were seen lie in x, and none before its start."""
        n, pairs = self.domain.colours, self.domain.pairs
        own = np.bincount(pairs[self.seen], minlength=self.domain.kinds)[pairs] > 0
        inside = own.sum(axis=1)
        return np.asarray(inside == np.tile([inside[c::n].max() for c in range(n)], self.domain.count // n))

    def at(self, offsets: Iterable[Offset]) -> Array:
        """Boolean, like `seen`: where these offsets lie."""
        return self.domain.holds(offsets)[self.domain.pairs]

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
