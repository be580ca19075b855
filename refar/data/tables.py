"""Series from tables (.csv): a row for each time, a column for each quantity."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np

from refar.arguments.arrays import Array
from refar.data.described import DataConfig
from refar.data.found import Recordings, files_of, relative
from refar.data.meaning import Meaning
from refar.errors import FileError, InputError, near


def read_tables(config: DataConfig, root: Path, only: Collection[str] = ()) -> Recordings:
    """One table, or all in a folder, or `only` those of such names: v_ct in float64, a channel for each column that is asked for.

    The first line holds the names of the columns, unless it holds numbers alone. Raises FileError, with line and column, for a
    gap, text, or a number that is not finite; InputError for a column that is not there.
    """
    paths = files_of(root, (".csv",), only)
    pieces, columns = [], list[str]()
    for path in paths:
        piece, found = _read(config, path, f"data {relative(path, root)!r}")
        if columns and found != columns:
            raise FileError(f"data {relative(path, root)!r}: expected the columns {', '.join(columns)}, got {', '.join(found)}")
        pieces.append(piece)
        columns = found
    return Recordings(pieces, Meaning(kind="series", columns=columns), [relative(path, root) for path in paths])


def _read(config: DataConfig, path: Path, what: str) -> tuple[Array, list[str]]:
    rows = _rows(path, what, config.separator)
    names = [str(n) for n in range(len(rows[0]))] if all(_is_number(cell) for cell in rows[0]) else rows[0]
    first = 0 if names is not rows[0] else 1
    chosen = _columns(config, what, names)
    values = np.empty((len(chosen), len(rows) - first))
    for t, row in enumerate(rows[first:]):
        line = t + first + 1
        if len(row) != len(names):
            raise FileError(f"{what}, line {line}: expected {len(names)} cells as in the first line, got {len(row)}")
        for channel, column in enumerate(chosen):
            values[channel, t] = _number(row[column], f"{what}, line {line}, column {names[column]!r}")
    if values.shape[1] == 0:
        raise FileError(f"{what}: expected lines of numbers below the names of the columns, got none")
    return values, [names[column] for column in chosen]


def _rows(path: Path, what: str, separator: str) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=separator)]
    except OSError as error:
        raise FileError(f"{what} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{what} cannot be read as a table in UTF-8: {error}") from None
    while rows and not any(rows[-1]):
        rows.pop()  # blank lines at the end are no gap
    if not rows:
        raise FileError(f"{what}: expected a table, got an empty file")
    for other in (";", "\t", ","):
        if len(rows[0]) == 1 and other != separator and other in rows[0][0]:
            raise FileError(
                f"{what}: expected columns separated by {separator!r}, got {other!r}; write separator = {_toml(other)} in [data]"
            )
    return rows


def _columns(config: DataConfig, what: str, names: list[str]) -> list[int]:
    wanted = [config.column] if isinstance(config.column, str) else config.column
    if wanted is None:
        if len(names) > 1:
            raise InputError(
                f"{what} has the columns {', '.join(names)}: say which in [data], as in column = {_toml(names[-1])}; "
                "several are the channels of one series"
            )
        return [0]
    if not wanted or len(set(wanted)) < len(wanted):
        raise InputError(f"{what}: column: expected different names of columns, got {', '.join(wanted) or 'none'}")
    for name in wanted:
        if names.count(name) != 1:
            came = "there is none" if name not in names else "there are several"
            hint = near(name, names)
            listed = f"{' The' if hint else '; the'} columns are {', '.join(names)}"
            raise InputError(f"{what}: column {name!r}: {came}{hint}{listed}")
    return [names.index(name) for name in wanted]


def _is_number(cell: str) -> bool:
    """Tell whether a cell is a number in digits; Python's 1_0 and digits of other scripts are none."""
    if "_" in cell or not cell.isascii():
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, where: str) -> float:
    if not cell:
        raise FileError(f"{where}: expected a number, got a gap; fill it in, or leave the line out if time may jump")
    if not _is_number(cell):
        point = "; numbers have a decimal point" if _is_number(cell.replace(",", ".", 1)) else ""
        raise FileError(f"{where}: expected a number, got {cell!r}{point}")
    if not math.isfinite(value := float(cell)):
        raise FileError(f"{where}: expected a finite number, got {cell!r}")
    return value


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'
