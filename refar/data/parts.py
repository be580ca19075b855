"""Which data are for training and which are held out, and how a run remembers it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refar.arguments.arrays import Array
from refar.data.dataset import permutation
from refar.data.described import DataConfig
from refar.data.division import Division, share
from refar.data.found import Recordings, Stacked
from refar.errors import FileError, InputError

MANY = 10
"""So many files at least are divided at random by default; fewer are each cut by time, or by rows."""


class Parts(NamedTuple):
    """Something for each of the three splits, here arrays of numbers of units or of rows."""

    train: Array
    valid: Array
    test: Array


def units_at_random(config: DataConfig, count: int, names: list[str], known: Division | None) -> tuple[Parts, Division]:
    """The units of each part, as before if `known`. Raises InputError for too few, FileError for files that are missing."""
    what = f"data {config.title!r}"
    if known is not None and known.by == "random" and names:
        missing = sorted({*known.valid, *known.test} - set(names))
        if missing:
            raise FileError(f"{what}: {missing[0]!r}, which the training held out, is not there any more")
        held = [np.array([names.index(name) for name in part], np.int64) for part in (known.valid, known.test)]
        return Parts(np.setdiff1d(np.arange(count), np.concatenate(held)), held[0], held[1]), known
    test, valid = (max(1, share(count, part)) for part in (config.test, config.valid))
    if count <= test + valid:
        raise InputError(f"{what}: expected at least {test + valid + 1} to divide at random, got {count}; see `split` in [data]")
    order = permutation(0, 0, 0, count)
    parts = Parts(np.sort(order[: -test - valid]), np.sort(order[-test - valid : -test]), np.sort(order[-test:]))
    listed = [[names[i] for i in part] if names else [] for part in (parts.valid, parts.test)]
    return parts, Division("random", count, listed[0], listed[1], names)


def rows_of(config: DataConfig, found: Stacked, known: Division | None) -> tuple[Parts, Division]:
    """The rows of each part: whole units at random, or the lowest tiles of each picture."""
    count = len(found.names) or int(found.unit.max()) + 1
    by = known.by if known is not None else config.split or ("random" if found.rows is None or count >= MANY else "rows")
    if by == "time":
        raise InputError(f'data {config.title!r}: split = "time" is for series and sound; expected "random" or "rows"')
    if by == "random":
        parts, division = units_at_random(config, count, found.names, known)
        return Parts(*(np.flatnonzero(np.isin(found.unit, part)) for part in parts)), division
    if found.rows is None:
        raise InputError(f'data {config.title!r}: split = "rows" is for pictures cut into tiles, which fit = "tiles" does')
    # In whole rows, part of one counting as one; 10 · (0.3 + 0.3) must not become 7 by rounding.
    (row, of), share = found.rows.T, (config.valid + config.test, config.test)
    low, lowest = (row < np.ceil(of * part - 1e-9) for part in share)
    parts = Parts(*(np.flatnonzero(part) for part in (~low, low & ~lowest, lowest)))
    for name, part in parts._asdict().items():
        if not len(part):
            raise InputError(f"data {config.title!r}: no row of tiles is left for {name!r}; the pictures are too few tiles high")
    return parts, Division("rows", count, files=_listed(config, found.names))


def pieces_of(config: DataConfig, found: Recordings, known: Division | None) -> tuple[list[Recordings], Division]:
    """The recordings of each of the three parts: whole ones at random, or of each what comes first, then, and last in time."""
    count = len(found.pieces)
    by = known.by if known is not None else config.split or ("random" if count >= MANY else "time")
    if by == "rows":
        raise InputError(f'data {config.title!r}: split = "rows" is for pictures; expected "time" or "random"')
    if by == "random":
        parts, division = units_at_random(config, count, found.names, known)
        return [_chosen(found, part) for part in parts], division
    cut: list[list[Array]] = [[], [], []]
    for piece in found.pieces:
        length = piece.shape[-1]
        end = length - share(length, config.test)
        middle = end - share(length, config.valid)
        for part, (first, last) in zip(cut, ((0, middle), (middle, end), (end, length)), strict=True):
            part.append(piece[..., first:last])
    return [replace(found, pieces=pieces) for pieces in cut], Division("time", count, files=_listed(config, found.names))


def _listed(config: DataConfig, names: list[str]) -> list[str]:
    """The names of the files of a folder, be it one or many."""
    return names if config.path is not None and Path(config.path).is_dir() else []


def _chosen(found: Recordings, rows: Array) -> Recordings:
    pieces, names = [found.pieces[i] for i in rows], [found.names[i] for i in rows]
    return replace(found, pieces=pieces, names=names, condition=None if found.condition is None else found.condition[rows])
