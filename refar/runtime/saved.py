"""Streams in files: the tensors of a stream, with the digest of the network that it belongs to."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from refar.arguments.arrays import Arrays
from refar.errors import FileError, newer, printable
from refar.files import as_path, write_bytes
from refar.runtime.bundle_files import read_regular

_FORMAT = "refar-stream 1"
_MOST = 2**34
"""Bytes of a file that is opened."""


def write(path: str | Path, tensors: Arrays, digest: str) -> None:
    """Write the tensors of a stream of the network of this digest."""
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    metadata = {"format": _FORMAT, "bundle": digest, "tensors": _digest(contiguous)}
    write_bytes(as_path(path), safetensors.numpy.save(contiguous, metadata=metadata))


def _digest(tensors: Arrays) -> str:
    """The SHA-256 over the names, dtypes, shapes and bytes of all tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return found.hexdigest()


def _of_format(path: str | Path, came: str | None) -> FileError:
    """Make the error for a file of another format, or of a later version of this one."""
    name, _, version = _FORMAT.partition(" ")
    later = re.fullmatch(rf"{name} ([1-9][0-9]{{0,8}})", came or "")
    if later and int(later[1]) > int(version):
        return FileError(newer(f"stream {str(path)!r}: version {later[1]}", f"version {version}"))
    return FileError(f"{str(path)!r} is no stream: expected the format {_FORMAT!r}, got {came!r}")


def read(path: str | Path, digest: str) -> Arrays:
    """Read the tensors of a stream. Raises FileError for one of another network, and for a damaged file."""
    data = read_regular(as_path(path), _MOST, f"stream {str(path)!r}")
    try:
        tensors = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])  # which safetensors has checked
        metadata = header.get("__metadata__", {})
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise FileError(f"stream {str(path)!r} is damaged: {printable(str(error))}") from None
    if metadata.get("format") != _FORMAT:
        raise _of_format(path, metadata.get("format"))
    if metadata.get("bundle") != digest:
        raise FileError(f"stream {str(path)!r} belongs to another network, or to other parameters, than the bundle")
    if metadata.get("tensors") != _digest(tensors):
        raise FileError(f"stream {str(path)!r} is damaged: its values are not those that were saved")
    return tensors
