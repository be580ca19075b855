"""The results of the readers of files: examples of one shape, or recordings that are yet to be cut."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refar.arguments.arrays import Array
from refar.data.meaning import Meaning
from refar.errors import FileError, InputError

LARGEST = float(np.finfo(np.float32).max)
"""Networks compute in float32: a larger number would be infinite there."""
_SCALABLE = 1e150
"""The square of a number that is not larger is finite in float64, and so is the sum of many."""
_ROWS = 2**18


@dataclass(frozen=True)
class Stacked:
    """Examples x (N, …) of one shape, each with the number of its unit: what is held out is whole units.

    `names` are those of the units, where they are files. `rows` (N, 2) says in which row of tiles one lies,
    counted from 0 for the lowest of its picture, and how many rows there are.
    """

    x: Array
    meaning: Meaning
    unit: Array
    names: list[str]
    condition: Array | None = None
    rows: Array | None = None


@dataclass(frozen=True)
class Recordings:
    """Series of any length: numbers v_ct as the files have them, or classes x_t; and the class of each, if any."""

    pieces: list[Array]
    meaning: Meaning
    names: list[str]
    condition: Array | None = None


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files at any depth that end so, in the order of their names; what begins with a dot is left out."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file()]
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(shown, key=lambda path: path.relative_to(folder).as_posix())


def files_of(root: Path, suffixes: tuple[str, ...], only: Collection[str]) -> list[Path]:
    """The file itself, or those below a folder, `only` those of such names if any are given. Raises FileError if none is left."""
    if root.is_file():
        return [root]
    found = [path for path in files_below(root, suffixes) if not only or relative(path, root) in only]
    if not found:
        raise FileError(f"data {str(root)!r}: none of the {len(only)} files that the training read is there any more")
    return found


def relative(path: Path, root: Path) -> str:
    """The name of a file below the folder of the data, or of the file that is all of the data."""
    return path.name if path == root else path.relative_to(root).as_posix()


def classes_by_folder(root: Path, paths: list[Path]) -> tuple[Array, list[str]]:
    """The class of each file, which is its folder, and the names of the classes in order. Raises InputError for one folder."""
    if root.is_file():
        raise InputError(f'data {root.name!r}: condition = "folder" expects a folder, got a file')
    folders = [relative(path.parent, root) if path.parent != root else root.name for path in paths]
    names = sorted(set(folders))
    if len(names) < 2:
        raise InputError(f'data {root.name!r}: condition = "folder" expects files in two folders or more, got only {names[0]!r}')
    return np.array([names.index(folder) for folder in folders], np.int64), names


def check_finite(what: str, array: Array, *, single: bool = False) -> None:
    """Raise FileError for the first number that is not finite, with its index; with `single`, not finite in float32."""
    if array.dtype.kind != "f":
        return
    largest = LARGEST if single and array.dtype.itemsize > 4 else np.inf
    step = max(1, 2**22 // max(1, array[0].size)) if len(array) else 1
    for first in range(0, len(array), step):
        some = array[first : first + step]
        finite = np.isfinite(some) & (abs(some) <= largest)
        if not finite.all():
            place = tuple(int(i) for i in np.argwhere(~finite)[0])
            index = (place[0] + first, *place[1:])
            where = index[0] if len(index) == 1 else index
            expected = "numbers within float32" if np.isfinite(array[index]) else "finite numbers"
            raise FileError(f"{what}: expected {expected}, got {array[index]} at index {where}")


def check_scaled(found: Recordings, meaning: Meaning) -> None:
    """Raise FileError for the first number that is beyond float32 in the network's units, with file, channel and row."""
    for piece, name in zip(found.pieces, found.names, strict=True):
        check_piece(f"data {name!r}", piece, meaning)


def check_scalable(found: Recordings) -> None:
    """Raise FileError for the first number whose square is beyond float64, with file, channel and row: it has no deviation."""
    for piece, name in zip(found.pieces, found.names, strict=True):
        if piece.dtype == np.float64 and (beyond := abs(piece) >= _SCALABLE).any():
            channel, row = (int(i) for i in np.argwhere(beyond)[0])
            raise FileError(
                f"data {name!r}, {found.meaning.channel(channel)}, row {row + 1} of the numbers: "
                f"expected a number below {_SCALABLE:g}, got {piece[channel, row]:g}"
            )


def check_piece(what: str, piece: Array, meaning: Meaning) -> None:
    """Raise FileError for the first number of v_ct that is beyond float32 in the network's units, with channel and row."""
    if meaning.quantizer is not None or piece.dtype.kind != "f" or (piece.dtype.itemsize <= 4 and not meaning.std):
        return
    for first in range(0, piece.shape[1], _ROWS):
        values = piece[:, first : first + _ROWS]
        with np.errstate(over="ignore"):
            beyond = ~(abs(meaning.encode(values)) <= LARGEST)
        if beyond.any():
            channel, row = (int(i) for i in np.argwhere(beyond)[0])
            raise FileError(
                f"{what}, {meaning.channel(channel)}, row {first + row + 1} of the numbers: "
                f"expected a number within float32{' after scaling' if meaning.std else ''}, got {values[channel, row]:g}"
            )
