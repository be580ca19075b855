"""Memory of onnxruntime that calls read and write, made once and bound once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnxruntime

from refar.arguments.arrays import Array, Arrays
from refar.errors import BackendError
from refar.runtime.provider import ERRORS, memory


class Buffer:
    """One tensor on a device. On the CPU it is the memory of a NumPy array."""

    def __init__(self, value: Array, device: str) -> None:
        array = np.array(value, order="C")  # a copy of its own
        self._array, self._dtype = array if device == "cpu" else None, array.dtype
        self.value: Any = onnxruntime.OrtValue.ortvalue_from_numpy(array, device)

    def set(self, value: Array | int) -> None:
        """Write other numbers of the same shape and dtype; one whole number where the shape is ()."""
        if self._array is not None:
            self._array[...] = value
        else:
            self.value.update_inplace(np.ascontiguousarray(value, self._dtype))

    def set_first(self, values: Array) -> None:
        """Write other numbers for the first entries along axis 0. Those of all others then mean nothing."""
        shape = tuple(self.value.shape())
        if self._array is not None:
            self._array[: len(values)] = values
        elif len(values) == shape[0]:
            self.set(values)
        else:
            self.set(np.concatenate([values, np.zeros((shape[0] - len(values), *shape[1:]), self._dtype)]))

    @property
    def array(self) -> Array:
        """The numbers: on the CPU the memory itself, which the next call overwrites; elsewhere a copy."""
        found: Array = self.value.numpy() if self._array is None else self._array
        return found

    def get(self) -> Array:
        """Copy the numbers."""
        return self.array if self._array is None else self._array.copy()

    def read(self, into: Array) -> None:
        """Copy the numbers into an array of the same shape."""
        into[...] = self.value.numpy() if self._array is None else self._array


def zeros(what: str, shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]]) -> Arrays:
    """Return arrays of zeros, {name: (shape, dtype)}. Raises BackendError, saying how much they take, where they do not fit."""
    try:
        return {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
    except MemoryError:
        raise _too_large(what, sum(math.prod(s) * np.dtype(d).itemsize for s, d in shapes.values()), "cpu") from None


def made(what: str, arrays: Arrays, device: str) -> dict[str, Buffer]:
    """Copy arrays to a device. Raises BackendError, saying how much they take and how much there is, where they do not fit."""
    try:
        return {name: Buffer(array, device) for name, array in arrays.items()}
    except ERRORS:
        raise _too_large(what, sum(array.nbytes for array in arrays.values()), device) from None


def require_room(what: str, takes: int, device: str) -> None:
    """Raise BackendError where so many bytes are more than the device has. Less may not fit either, which `made` finds."""
    there = memory(device)
    if there is not None and takes > there[1]:
        raise _too_large(what, takes, device)


def _too_large(what: str, takes: int, device: str) -> BackendError:
    there = memory(device)
    room = "more than there is" if there is None else f"where {there[0] / 1e6:.0f} MB of {there[1] / 1e6:.0f} MB are free"
    return BackendError(f"{what} takes {takes / 1e6:.0f} MB on {device}, {room}")
