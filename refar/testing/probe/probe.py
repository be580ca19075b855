"""What a function depends on, measured: which output position changes when the input changes at one position only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.callee import Callee
from refar.testing.closeness import differences
from refar.testing.probe.drawing import Draw, Extent
from refar.testing.report import ContractError

Offset = int | tuple[int, ...]
"""How far into the past: positions, or over an image (rows up, columns left)."""
_DRAWS, _QUIET = 10, 3
_ECHOES = 24


@dataclass(frozen=True)
class Dependence:
    """What was measured. `change[q, p]` is the largest change seen at output place q when x changed at place p only.

    `example[q, p]` holds where that was, and both values: (row, number of the channel, before, after).
    """

    extent: Extent
    change: Array
    example: Array
    notes: tuple[str, ...] = ()

    @cached_property
    def seen(self) -> Array:
        """Boolean: whether output place q depends on input place p."""
        return self.change > 0

    @cached_property
    def offsets(self) -> frozenset[Any]:
        """The exact set of offsets at which any output sees the input; negative ones lie in the future."""
        found = np.unique(self._numbers()[self.seen])
        pairs = zip(*(axis.tolist() for axis in np.divmod(found, self._width)), strict=True)
        width = self.extent.sides[-1]
        return frozenset((up, left - width) if self.extent.plane else left - width for up, left in pairs)

    @property
    def _width(self) -> int:
        return 2 * self.extent.sides[-1]

    def _numbers(self) -> Array:
        """Offsets as one integer each, in their order: (places, places)."""
        rows, columns = np.divmod(np.arange(self.extent.count) // self.extent.colours, self.extent.sides[-1])
        number = self._width * rows + columns
        return np.asarray(number[:, None] - number + self.extent.sides[-1])

    def at(self, offsets: Iterable[Offset]) -> Array:
        """Boolean, like `seen`: where these offsets lie."""
        each = (offset if isinstance(offset, tuple) else (0, offset) for offset in offsets)
        return np.isin(self._numbers(), [self._width * up + left + self.extent.sides[-1] for up, left in each])

    @cached_property
    def colour_offsets(self) -> tuple[frozenset[tuple[int, ...]], ...]:
        """For the outputs of each colour, the exact set of (rows up, columns left, colour of the input)."""
        n, far = self.extent.colours, self.extent.offsets()
        own = [np.argwhere(self.seen[c::n]) for c in range(n)]
        return tuple(frozenset((*far[q * n + c, p].tolist(), int(p % n)) for q, p in pairs) for c, pairs in enumerate(own))

    @property
    def receptive_field(self) -> Any:
        """R = largest - smallest offset + 1; of an image the box (rows, columns)."""
        along = list(zip(*self.offsets, strict=True)) if self.extent.plane else [tuple(self.offsets)]
        sides = tuple(max(axis) - min(axis) + 1 if axis else 0 for axis in along or [(), ()])
        return sides if self.extent.plane else sides[0]

    def evidence(self, where: Array) -> str:
        """The largest change among those (q, p), with both places and both values."""
        q, p = np.unravel_index(int(np.where(where, self.change, 0).argmax()), self.change.shape)
        row, channel, before, after = self.example[q, p]
        place = f"{self.extent.name(int(q))} of the output (row {int(row)}, channel {int(channel)})"
        values = f"{before:.6g} to {after:.6g}" if abs(after - before) > 1e-4 * abs(before) else f"{before} to {after}"
        return f"{place} goes from {values} when x changes at {self.extent.name(int(p))} only"

    def __str__(self) -> str:
        field = self.receptive_field
        shape = f"{field[0]} x {field[1]}" if self.extent.plane else str(field)
        return "; ".join([f"offsets {spell(self.offsets)}; R = {shape}", *self.notes])


def measure(f: Callee, draw: Draw, extent: Extent, *, seed: int = 0, rounding: float = 0.0) -> Dependence:
    """Change x at one place after the other and see where the output changes, bit by bit at equal shapes.

    Each row of the batch has another place changed, so that B rows take T / B calls; 4 to 10 draws, since a relu may hide a
    change. Changes up to `rounding` times the largest output are left out. Raises ContractError if the same input gives
    different outputs, at once or after other calls, or if rows mix.
    """
    rng = np.random.default_rng(seed)
    shape = (extent.count, extent.count)
    change, example = np.zeros(shape), np.zeros((*shape, 4))  # by input place, then by output place: written row by row
    quiet = 0
    for n in range(_DRAWS):
        x, other = draw(rng, n)
        y = require_same(f, x, extent)
        if n == 0:
            require_rows_apart(f, x, other, y, extent)
            first = x, y
        before = (change > 0).sum()
        base = extent.places(y.astype(np.float64))
        least = rounding * float(np.abs(base[np.isfinite(base)]).max(initial=0.0))
        for places in _chunks(rng.permutation(extent.count), len(x)):
            changed = _replaced(x, other, places, extent)
            after = extent.places(f(changed, shape=y.shape).astype(np.float64))
            for row, place in enumerate(places):
                _note(change[place], example[place], row, base[row], after[row], least)
        quiet = quiet + 1 if (change > 0).sum() == before else 0
        if quiet == _QUIET:
            break
    require_stateless(f, *first)
    return Dependence(extent, change.T, example.swapaxes(0, 1))


def echoes(f: Callee, draw: Draw, length: int, *, seed: int = 0) -> dict[int, float]:
    """The offsets at which outputs of a sequence answer a change at one position, and how much: one call shows all of them.

    Fewer positions are tried than by `measure`, and nothing is known of the others. Raises ContractError as that does.
    """
    rng, extent = np.random.default_rng(seed), Extent((length,))
    found: dict[int, float] = {}
    quiet = 0
    for n in range(_ECHOES):
        x, other = draw(rng, n)
        y = require_same(f, x, extent) if n == 0 else f(x)
        if n == 0:
            require_rows_apart(f, x, other, y, extent)
        places = rng.integers(0, length // 2 + 1, len(x))
        places[n % len(x)] = 0  # from where all of the sequence lies ahead
        after = f(_replaced(x, other, places.tolist(), extent), shape=y.shape)
        by = extent.places(differences(after, y)).max(axis=1)
        rows, positions = np.nonzero(by)
        before = len(found)
        for offset, size in zip((positions - places[rows]).tolist(), by[rows, positions].tolist(), strict=True):
            found[offset] = max(found.get(offset, 0.0), size)
        quiet = quiet + 1 if len(found) == before else 0
        if quiet == 2 * _QUIET:
            break
    return dict(sorted(found.items()))


def _note(change: Array, example: Array, row: int, before: Array, after: Array, least: float) -> None:
    """Keep what changed by more than in earlier draws: `before` and `after` are (channels, places)."""
    touched = np.flatnonzero((before != after).any(axis=0))
    before, after = before[:, touched], after[:, touched]
    by = differences(after, before)
    channel, here = by.argmax(axis=0), np.arange(len(touched))
    largest = by[channel, here]
    larger = (largest > least) & (largest > change[touched])
    change[touched[larger]] = largest[larger]
    values = [v[channel, here] for v in (before, after)]
    example[touched[larger]] = np.stack([np.full(channel.shape, row), channel, *values], axis=-1)[larger]


def _chunks(places: Array, rows: int) -> Iterator[list[int]]:
    for begin in range(0, len(places), rows):
        yield places[begin : begin + rows].tolist()


def _replaced(x: Array, other: Array, places: list[int], extent: Extent) -> Array:
    """Row b of x, changed at the b-th place only."""
    changed = x.copy()
    for row, place in enumerate(places):
        index = extent.index(place)
        if extent.colours > 1:
            changed[row, index[2], *index[:2]] = other[row, index[2], *index[:2]]
        else:
            where: tuple[Any, ...] = (row, ..., *index)
            changed[where] = other[where]
    return changed


def require_same(f: Callee, x: Array, extent: Extent) -> Array:
    """f(x), computed twice. Raises ContractError for a wrong shape, and if the two differ."""
    y, again = f(x), f(x)
    if y.shape[:1] != x.shape[:1] or y.shape[-len(extent.sides) :] != extent.sides or y.ndim <= len(extent.sides):
        raise ContractError(f"{f.name} returned the wrong shape: {_shape_hint(x.shape, y.shape, extent)}")
    if extent.colours > 1 and math.prod(y.shape[1:-2]) % extent.colours:
        came = f"{math.prod(y.shape[1:-2])} channels"
        raise ContractError(f"{f.name} returned the wrong shape: expected a multiple of {extent.colours} channels, got {came}")
    wrong = y != again
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ContractError(
            f"{f.name} gives different outputs for the same input: at {list(place)} first {y[place]!s}, then {again[place]!s}; "
            "is dropout on (call .eval()), does it draw random numbers, or keep something from call to call?"
        )
    return y


def _shape_hint(x: tuple[int, ...], y: tuple[int, ...], extent: Extent) -> str:
    sides = len(extent.sides)
    expected = f"expected ({x[0]}, …, {', '.join(map(str, extent.sides))}), got {y}"
    if y[:1] == x[:1] and y[1 : 1 + sides] == extent.sides and len(y) > 1 + sides:
        return f"{expected}: the channels come last, move them to axis 1"
    if y[:1] == x[:1] and len(y) > sides and sides == 1 and y[-1] != extent.sides[0]:
        off = f"{abs(y[-1] - extent.sides[0])} positions too {'many' if y[-1] > extent.sides[0] else 'few'}"
        return f"{expected}: {off} (the last axis of x and y are the positions, channels are axis 1)"
    return expected


def require_stateless(f: Callee, x: Array, y: Array) -> None:
    """f(x) is still y after many calls with other inputs. Raises ContractError."""
    again = f(x, shape=y.shape)
    f.recheck()
    if (wrong := y != again).any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ContractError(
            f"{f.name} gives different outputs for the same input: at {list(place)} first {y[place]!s}, {again[place]!s} after "
            "other calls; it keeps a state, like a counter of calls or a buffer, or draws random numbers now and then"
        )


def require_rows_apart(f: Callee, x: Array, other: Array, y: Array, extent: Extent) -> None:
    """Rows of the batch do not see each other. Raises ContractError."""
    for row in {0, len(x) - 1} if len(x) > 1 else ():
        changed = x.copy()
        changed[row] = other[row]
        after = f(changed, shape=y.shape)
        wrong = after != y
        wrong[row] = False
        if wrong.any():
            require_stateless(f, x, y)
            place = tuple(np.argwhere(wrong)[0].tolist())
            raise ContractError(
                f"rows of the batch mix: the output at {list(place)} goes from {y[place]!s} to {after[place]!s} when x changes "
                f"in row {row} only; is batch normalisation in training mode (call .eval()), or are batch and another axis mixed "
                "up by a reshape or a sum?"
            )


def spell(offsets: Iterable[Offset]) -> str:
    """A set in few words: runs of numbers as 0..5, so that (1, -2..2) are five pixels; long lists are cut in the middle."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for offset in sorted(offsets):
        each = offset if isinstance(offset, tuple) else (offset,)
        groups.setdefault(each[:-1], []).append(each[-1])
    parts = [_joined(*outer, run) for outer, last in groups.items() for run in _runs(last)]
    count = sum(map(len, groups.values()))
    shown = parts if len(parts) <= 12 else [*parts[:6], "…", *parts[-3:]]
    return (", ".join(shown) or "none") + (f" ({count} in all)" if len(parts) > 12 else "")


def _joined(*parts: object) -> str:
    return f"({', '.join(map(str, parts))})" if len(parts) > 1 else str(parts[0])


def _runs(numbers: list[int]) -> list[str]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [part for run in runs for part in ([f"{run[0]}..{run[-1]}"] if len(run) > 2 else map(str, run))]
