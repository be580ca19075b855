"""Series and recordings cut into sequences of one length: at random places for training, side by side for what is held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from refar.arguments.arrays import Array
from refar.data.dataset import OfOneLength, Split, widened
from refar.errors import InputError


@dataclass(frozen=True)
class Crops(OfOneLength):
    """Every window of `window` values within one of the recordings; training draws from them.

    `values` are all recordings end to end, v_t or v_ct, and recording i is that from `bounds[i]` to `bounds[i + 1]`; each is at
    least one window long. `conditions` hold a class for each recording.
    """

    values: Array
    bounds: Array
    window: int
    conditions: Mapping[str, Array] = field(default_factory=dict)

    @property
    def x(self) -> Array:
        """A window at every place, v_nt or v_nct, also at those where one runs from a recording into the next."""
        return np.moveaxis(sliding_window_view(self.values, self.window, axis=-1), -2, 0)

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays by name."""
        given = {f"condition {name}": array for name, array in self.conditions.items()}
        return {"values": self.values, "bounds": self.bounds, "window": np.array(self.window), **given}

    def __len__(self) -> int:
        return int((np.diff(self.bounds) - self.window + 1).sum())

    def __getitem__(self, rows: Array | slice) -> Split:
        numbers = np.arange(len(self))[rows] if isinstance(rows, slice) else rows
        ends = np.cumsum(np.diff(self.bounds) - self.window + 1)
        recording = np.searchsorted(ends, numbers, side="right")
        place = self.bounds[recording] + numbers - np.concatenate([[0], ends])[recording]
        return Split(widened(self.x[place]), {name: array[recording] for name, array in self.conditions.items()})

    def side_by_side(self) -> Split:
        """The windows that do not overlap: a window after the other from the beginning of each recording."""
        counts = np.diff(self.bounds) - self.window + 1
        firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        return self[np.concatenate([first + np.arange(0, n, self.window) for first, n in zip(firsts, counts, strict=True)])]


class Series(NamedTuple):
    """The pieces of one part, each v_t or v_ct, their names for messages, and the class of each, if any."""

    pieces: list[Array]
    names: list[str]
    classes: Array | None


def crops(what: str, series: Series, window: int) -> tuple[Crops, str]:
    """All windows of the pieces, and a note of the pieces that are too short, if any. Raises InputError if all are."""
    long = [i for i, piece in enumerate(series.pieces) if piece.shape[-1] >= window]
    if not long:
        most = max(piece.shape[-1] for piece in series.pieces)
        raise InputError(f"{what}: window: expected at most {most}, the longest piece of the training part, got {window}")
    note = short_pieces(what, series, window, "training")
    pieces = [series.pieces[i] for i in long]
    values = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)
    bounds = np.cumsum([0, *(piece.shape[-1] for piece in pieces)])
    return Crops(values, bounds, window, _given(series.classes, np.array(long))), note


def side_by_side(what: str, series: Series, window: int, hop: int | None = None) -> Split:
    """A window every `hop` values of each piece, by default without overlap; what remains at the end of a piece is left out.

    If no piece is a window long, the sequences are as long as the longest piece. Raises InputError if there is no value at all.
    """
    length = length_of(series, window)
    if length == 0:
        raise InputError(f"{what}: expected values to hold out, got none; the series is too short to be divided by time")
    places = [(i, range(0, piece.shape[-1] - length + 1, hop or length)) for i, piece in enumerate(series.pieces)]
    cut = [series.pieces[i][..., first : first + length] for i, firsts in places for first in firsts]
    owner = np.array([i for i, firsts in places for _ in firsts])
    return Split(np.stack(cut), _given(series.classes, owner))


def length_of(series: Series, window: int) -> int:
    """The length of the sequences of a part: a window, or the longest piece if none is a window long."""
    return min(window, max(piece.shape[-1] for piece in series.pieces))


def _given(classes: Array | None, rows: Array) -> dict[str, Array]:
    return {} if classes is None else {"condition": classes[rows]}


def short_pieces(what: str, series: Series, window: int, part: str) -> str:
    """A note of the pieces that are shorter than a window and thus left out of a part; empty if there are none."""
    lengths = [piece.shape[-1] for piece in series.pieces]
    short = sum(length < window for length in lengths)
    if not short:
        return ""
    shortest = int(np.argmin(lengths))
    return (
        f"{what}: {short} of {len(lengths)} pieces are shorter than a window of {window} and are left out of "
        f"{part}; the shortest is {series.names[shortest]!r} with {lengths[shortest]} values"
    )


def left_over(what: str, series: Series, window: int) -> str:
    """A note of the values behind the last whole window of each piece, which are left out; empty if there are none."""
    lengths = np.array([piece.shape[-1] for piece in series.pieces])
    left = int((lengths % window).sum())
    return f"{what}: {left} of {lengths.sum()} values fill no window of {window} and are left out" if left else ""
