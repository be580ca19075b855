"""Arrays in and out of files: every failure is a sentence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import FileError
from refar.files import check_writable, replacing


def check_output(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Raise FileError for a file of another kind, or one that cannot be written, before any work is done for it."""
    if suffixes:
        _check_suffix(path, suffixes)
    check_writable(path)


def write_array(path: Path, array: Array) -> None:
    """As .npy or .csv, a line per row of the batch."""
    with replacing(path) as temporary:
        match path.suffix.lower():
            case ".npy":
                with temporary.open("wb") as file:
                    np.save(file, array, allow_pickle=False)
            case ".csv":
                table = array.reshape(len(array), math.prod(array.shape[1:]))
                np.savetxt(temporary, table, fmt="%d" if table.dtype.kind in "iu" else "%.9g", delimiter=",")
            case suffix:
                raise FileError(f"{str(path)!r}: expected .npy or .csv, got {suffix or 'no suffix'}")


def read_array(path: Path, what: str) -> Array:
    """An array of finite numbers from .npy or .csv. Raises FileError saying what the file holds instead."""
    what = f"{what} {str(path)!r}"
    if not path.exists():
        raise FileError(f"{what}: there is no such file")
    _check_suffix(path, (".npy", ".csv"))
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # "input contained no data"
                array = np.loadtxt(path, delimiter=",", ndmin=2)
    except Exception as error:  # the readers raise whatever a damaged file makes them stumble over
        if isinstance(error, OSError) and error.strerror is not None:
            raise FileError(f"{what} cannot be read: {error.strerror}") from None
        reason = "it is no .npy file, or holds Python objects" if "pickle" in str(error) else error
        raise FileError(f"{what} holds no array that can be read: {reason}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise FileError(f"{what}: expected an array of numbers, got {kind}")
    if not np.isfinite(array).all():
        raise FileError(f"{what}: expected finite numbers, got {array[~np.isfinite(array)][0]}")
    return array


def _check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix.lower() not in suffixes:
        raise FileError(f"{str(path)!r}: expected a name that ends in {', '.join(suffixes)}")
