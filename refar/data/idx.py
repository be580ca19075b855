"""IDX files, as MNIST comes in, and folders of four of them."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import FileError

FILES = {
    "train_x": "train-images-idx3-ubyte", "train_y": "train-labels-idx1-ubyte",
    "test_x": "t10k-images-idx3-ubyte", "test_y": "t10k-labels-idx1-ubyte",
}  # fmt: skip
"""The names of the four files, each perhaps with .gz behind it."""

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_PLAIN = "expected an IDX file"


def find(folder: Path, name: str) -> Path | None:
    """One of the four files in a folder, packed or not, if it is there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def is_folder_of_idx(folder: Path) -> bool:
    """Whether a folder holds one of the four files at least."""
    return any(find(folder, name) is not None for name in FILES.values())


def read_idx(path: Path) -> Array:
    """The array of a file; that of a file which is not packed stays on disk.

    Raises FileError for a file that is missing, no IDX file, or shorter or longer than its header says.
    """
    what = f"data {str(path)!r}"
    try:
        head, size = _head(path)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{what} cannot be read: {reason}") from None
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not 1 <= head[3] <= 4:
        raise FileError(f"{what}: {_PLAIN}, which begins with 0, 0, a type and 1 to 4 axes, got {list(head[:4])}")
    begin = 4 + 4 * head[3]
    shape = tuple(int(n) for n in np.frombuffer(head[4:begin], ">u4")) if len(head) >= begin else ()
    dtype = np.dtype(_TYPES[head[2]])
    expected = begin + math.prod(shape) * dtype.itemsize
    if len(head) < begin or size != expected:
        raise FileError(f"{what}: {_PLAIN} of {expected} bytes, as its header says, got {size}")
    if path.suffix == ".gz":
        return np.frombuffer(gzip.decompress(path.read_bytes()), dtype, offset=begin).reshape(shape)
    return np.memmap(path, dtype, "r", begin, shape)


def _head(path: Path) -> tuple[bytes, int]:
    """The first bytes, and how many there are in all."""
    if path.suffix == ".gz":
        content = gzip.decompress(path.read_bytes())
        return content[:20], len(content)
    with path.open("rb") as file:
        return file.read(20), path.stat().st_size
