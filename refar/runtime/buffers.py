"""Memory of onnxruntime that calls read and write, made once and bound once."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from refar.arguments.arrays import Array, Arrays
from refar.errors import BackendError
from refar.runtime.provider import ERRORS, free_memory


class Buffer:
    """One tensor on a device. On the CPU it is the memory of a NumPy array."""

    def __init__(self, value: Array, device: str) -> None:
        self._array = np.array(value, order="C")  # a copy of its own
        self._shared = device == "cpu"
        self.value: Any = onnxruntime.OrtValue.ortvalue_from_numpy(self._array, device)

    def set(self, value: Array | int) -> None:
        """Write other numbers of the same shape and dtype; one whole number where the shape is ()."""
        if self._shared:
            self._array[...] = value
        else:
            self.value.update_inplace(np.ascontiguousarray(value, self._array.dtype))

    def get(self) -> Array:
        """Copy the numbers."""
        return self._array.copy() if self._shared else np.array(self.value.numpy())

    def read(self, into: Array) -> None:
        """Copy the numbers into an array of the same shape."""
        into[...] = self._array if self._shared else self.value.numpy()


def made(what: str, arrays: Arrays, device: str) -> dict[str, Buffer]:
    """Copy arrays to a device. Raises BackendError, saying how much they take and how much there is, where they do not fit."""
    try:
        return {name: Buffer(array, device) for name, array in arrays.items()}
    except ERRORS:
        takes = sum(array.nbytes for array in arrays.values()) / 1e6
        raise BackendError(f"{what} takes {takes:.0f} MB on {device}, {free_memory(device)}") from None
