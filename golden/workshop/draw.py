"""The numbers of golden cases: the same on every machine, since only integer arithmetic and exact roundings make them."""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import ArrayLike

from refar import noise
from refar.arguments.arrays import Array


def float32(numbers: ArrayLike) -> Array:
    """Return given numbers in float32, which holds them exactly or rounds them."""
    return np.array(numbers, np.float32)


class Draw:
    """A source of arrays; each call takes the next stream of the seed, which is the CRC-32 of a case's id."""

    def __init__(self, id: str) -> None:
        self.seed = zlib.crc32(id.encode())
        self._streams = 0

    def integers(self, *shape: int, most: int = 8, zero: bool = True) -> Array:
        """Draw integers from -most to most as float32, without 0 unless `zero`."""
        if zero:
            return (np.floor(self._uniform(shape) * (2 * most + 1)) - most).astype(np.float32)
        drawn = np.floor(self._uniform(shape) * (2 * most)) - most
        return np.where(drawn < 0, drawn, drawn + 1).astype(np.float32)

    def reals(self, *shape: int, scale: float = 1.0) -> Array:
        """Draw uniformly from -scale to scale, float32."""
        return ((2 * self._uniform(shape) - 1) * scale).astype(np.float32)

    def classes(self, *shape: int, classes: int) -> Array:
        """Draw uniformly over 0..classes-1, int64."""
        return np.floor(self._uniform(shape) * classes).astype(np.int64)

    def _uniform(self, shape: tuple[int, ...]) -> Array:
        self._streams += 1
        return noise.uniform(self.seed, [self._streams], 0, 1, math.prod(shape)).reshape(shape)
