"""The arrays of readers, divided into three parts, scaled, and cut into sequences."""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array
from refar.data.crops import Series, crops, length_of, short_pieces, side_by_side
from refar.data.dataset import Chosen, Dataset, Split, Supply
from refar.data.described import DataConfig
from refar.data.found import Recordings, Stacked, check_scalable, check_scaled
from refar.data.meaning import Meaning, levelled, standardised
from refar.data.parts import pieces_of, rows_of, units_at_random
from refar.data.record import Record
from refar.errors import InputError


def stack(config: DataConfig, found: Stacked, known: Record | None) -> Dataset:
    """Examples of one shape: those for training stay where they are, the others are copied."""
    parts, division = rows_of(config, found, None if known is None else known.division)
    given = {} if found.condition is None else {"condition": found.condition}
    valid, test = (Split(found.x, given).take(part) for part in (parts.valid, parts.test))
    classes = found.meaning.levels or _classes(found.x)
    return Dataset(
        config.title, Chosen(found.x, parts.train, given), valid, test, classes, _condition_classes(found), found.meaning.size,
        meaning=found.meaning, division=division,
    )  # fmt: skip


def cut(config: DataConfig, found: Recordings, known: Record | None) -> Dataset:
    """Recordings: training draws windows of them at random places, or every `hop` values; what is held out lies side by side."""
    what = f"data {config.title!r}"
    if config.window is None:
        raise InputError(f"{what}: say how many values a sequence has, as in window = 256 in [data]")
    if config.split == "random" and len(found.pieces) == 1:
        return _shuffled(config, found, config.window, known)
    check_scalable(found)
    parts, division = pieces_of(config, found, None if known is None else known.division)
    meaning = known.meaning if known is not None else _scaled(what, config, found.meaning, parts[0].pieces)
    check_scaled(found, meaning)
    train, *held = (Series([encoded(piece, meaning) for piece in part.pieces], part.names, part.condition) for part in parts)
    drawn: Supply
    if config.hop is None:
        drawn, note = crops(what, train, config.window)
    else:
        drawn = side_by_side(what, train, config.window, config.hop)
        note = _left_out(what, train, config.window, "training")
    valid, test = (side_by_side(what, part, config.window) for part in held)
    notes = (
        note,
        *(_left_out(what, part, config.window, name) for part, name in zip(held, ("validation", "the test"), strict=True)),
    )
    return Dataset(
        config.title, drawn, valid, test, meaning.levels or _classes(*found.pieces), _condition_classes(found), None,
        window=config.window, meaning=meaning, division=division, notes=tuple(filter(None, notes)),
    )  # fmt: skip


def _left_out(what: str, series: Series, window: int, part: str) -> str:
    """A note of the pieces that `side_by_side` leaves out; empty if there are none."""
    return short_pieces(what, series, length_of(series, window), part)


def _shuffled(config: DataConfig, found: Recordings, window: int, known: Record | None) -> Dataset:
    """Windows of one series divided at random, which is honest only if they do not overlap."""
    what = f"data {config.title!r}"
    if (config.hop or 1) < window:
        hop = "windows at random places" if config.hop is None else f"hop = {config.hop} and window = {window}"
        raise InputError(
            f'{what}: split = "random" of one series needs windows that do not overlap, or the held-out values are in the '
            f'training part too; got {hop}: write split = "time", or hop = {window}'
        )
    check_scalable(found)
    windows = side_by_side(what, Series(found.pieces, found.names, None), window, config.hop)
    parts, division = units_at_random(config, len(windows), [], None if known is None else known.division)
    meaning = known.meaning if known is not None else _scaled(what, config, found.meaning, list(windows.x[parts.train]))
    check_scaled(found, meaning)
    x = np.stack([encoded(values, meaning) for values in windows.x])
    train, valid, test = (Split(x[part]) for part in parts)
    return Dataset(
        config.title, train, valid, test, meaning.levels or _classes(x), window=window, meaning=meaning, division=division
    )


def _scaled(what: str, config: DataConfig, meaning: Meaning, train: list[Array]) -> Meaning:
    """The meaning with what is measured on the training part: mean and std, or the range of the levels."""
    if train[0].dtype.kind != "f":
        return meaning
    if config.levels is not None:
        return levelled(what, meaning, train, config.levels)
    wanted = config.scale or ("standard" if meaning.kind == "series" else "none")
    return standardised(what, meaning, train) if wanted == "standard" else meaning


def encoded(piece: Array, meaning: Meaning) -> Array:
    """A piece in the network's numbers; the classes of sound were made when it was read."""
    return meaning.encode(piece) if piece.dtype.kind == "f" else piece


def _condition_classes(found: Stacked | Recordings) -> dict[str, int]:
    return {} if found.condition is None else {"condition": len(found.meaning.names)}


def _classes(*arrays: Array) -> int:
    """The largest class in all arrays plus 1, and at least 2; 0 for real numbers."""
    return max((2, *(int(array.max()) + 1 for array in arrays if array.size))) if arrays[0].dtype.kind in "iu" else 0
