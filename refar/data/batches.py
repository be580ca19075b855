"""Which examples make up a step, as a function of (seed, step) alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from refar import noise
from refar.arguments.arrays import Array
from refar.data.crops import Crops
from refar.data.dataset import Split, Supply, permutation

# Streams that no parameter (refar.init) and no row of a batch reads.
_ORDER, _AUGMENT, _PLACES = 2**32, 2**32 + 1, 2**32 + 16

_epoch = lru_cache(maxsize=2)(permutation)


def batch(split: Supply, seed: int, step: int, size: int) -> Split:
    """The examples of one step: `size` consecutive ones of the epochs' permutations, written one after the other.

    Every example comes once in an epoch; a batch may span two. Of `Crops` they are windows at random places, each equally
    likely.
    """
    count, first, order = len(split), step * size, []
    if isinstance(split, Crops):
        drawn = (noise.uniform(seed, [_PLACES], step, 1, size).reshape(size) * count).astype(np.int64)
        return split[np.minimum(drawn, count - 1)]  # rounding may take u·count to count
    for epoch in range(first // count, (first + size - 1) // count + 1):
        begin = epoch * count
        order.append(_epoch(seed, _ORDER, epoch, count)[max(0, first - begin) : first + size - begin])
    return split[np.concatenate(order)]


def shift(x: Array, shape: tuple[int, int], seed: int, step: int, probability: float) -> Array:
    """Pictures or what is beside them for each pixel, x_bt, x_bct or x_bchw, moved by -1, 0 or 1 rows and columns.

    Each of the nine is equally likely; zeros come in. A picture stays as it is with 1 - `probability`.
    """
    rows, (height, width) = len(x), shape
    chance, down, right = noise.uniform(seed, [_AUGMENT], step, 1, 3 * rows).reshape(3, rows)
    moved = chance < probability
    top = np.where(moved, np.floor(3 * down), 1).astype(np.int64)[:, None, None] + np.arange(height)[:, None]
    left = np.where(moved, np.floor(3 * right), 1).astype(np.int64)[:, None, None] + np.arange(width)
    padded = np.pad(x.reshape(rows, -1, height, width), ((0, 0), (0, 0), (1, 1), (1, 1)))
    moved_bhwc = np.moveaxis(padded, 1, -1)[np.arange(rows)[:, None, None], top, left]
    return np.moveaxis(moved_bhwc, -1, 1).reshape(x.shape)
