"""Pictures as sequences and back: row by row, or in any other order of the pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from refar.arguments.arrays import Array
from refar.errors import InputError

__all__ = ["to_pixels", "to_sequence"]


def to_sequence(pixels: ArrayLike, order: ArrayLike | None = None) -> Array:
    """x_bhw → x_bt with t = row · width + column (scanline), or x_bt[:, t] = the scanline's pixel order[t].

    Raises InputError unless `order` is a permutation of 0..H·W-1.
    Source: Heindl 2021, "Image domain", which found other orders (Peano curves) worse.
    """
    images = np.asarray(pixels)
    if images.ndim != 3:
        raise InputError(f"pixels: expected axes bhw, got an array of shape {images.shape}")
    count = images.shape[1] * images.shape[2]
    return images.reshape(len(images), count)[:, _order(order, count)]


def to_pixels(sequence: ArrayLike, shape: tuple[int, int], order: ArrayLike | None = None) -> Array:
    """The inverse of `to_sequence`: x_bt → x_bhw with (H, W) = `shape`. Raises InputError unless T = H·W."""
    x, count = np.asarray(sequence), shape[0] * shape[1]
    if x.ndim != 2 or x.shape[1] != count:
        raise InputError(f"sequence: expected axes bt with {count} positions for {shape[0]}x{shape[1]}, got shape {x.shape}")
    scanline = np.empty_like(x)
    scanline[:, _order(order, count)] = x
    return scanline.reshape(len(x), *shape)


def _order(order: ArrayLike | None, count: int) -> Array:
    found = np.arange(count) if order is None else np.asarray(order)
    if found.shape != (count,) or found.dtype.kind not in "iu" or not np.array_equal(np.sort(found), np.arange(count)):
        raise InputError(f"order: expected each of 0..{count - 1} once, got {found.size} numbers of which some repeat or miss")
    return found
