"""Files in and out: nothing is left half-written, and every failure is a sentence."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from refar.arrays import Array
from refar.errors import FileError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` with the same suffix, moved into place if all goes well and removed otherwise."""
    if path.is_dir():
        raise FileError(f"{str(path)!r} is a folder; expected the name of a file to write")
    if not path.parent.is_dir():
        raise FileError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}")
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Raise FileError for a file of another kind, before any work is done for it."""
    if path.suffix.lower() not in suffixes:
        raise FileError(f"{str(path)!r}: expected a name that ends in {', '.join(suffixes)}")


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
    """An array of numbers from .npy or .csv. Raises FileError saying what the file holds instead."""
    if not path.exists():
        raise FileError(f"{what} {str(path)!r}: there is no such file")
    check_suffix(path, (".npy", ".csv"))
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # "input contained no data"
                array = np.loadtxt(path, delimiter=",", ndmin=2)
                array = array.astype(np.int64) if np.all(array == np.floor(array)) else array
    except OSError as error:
        if error.strerror is not None:
            raise FileError(f"{what} {str(path)!r} cannot be read: {error.strerror}") from None
        raise FileError(f"{what} {str(path)!r} holds no array that can be read: {error}") from None
    except (ValueError, EOFError, UserWarning) as error:
        reason = "it is no .npy file, or holds Python objects" if "pickle" in str(error) else error
        raise FileError(f"{what} {str(path)!r} holds no array that can be read: {reason}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise FileError(f"{what} {str(path)!r}: expected an array of numbers, got {kind}")
    return array
