"""Pooling over windows, forward and backward."""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array
from refar.oracle.windows import Windows


def pool(kind: str, windows_bck: Windows, there_b1k: Windows | None) -> Array:
    """max_k or the average over k of windows[b,c,k,…]; with `there`, which is 1 or 0, over those k alone where it is 1."""
    if kind == "max":
        return np.take_along_axis(windows_bck, _largest(windows_bck, there_b1k), axis=2)[:, :, 0]
    return windows_bck.sum(axis=2) / (windows_bck.shape[2] if there_b1k is None else there_b1k.sum(axis=2))


def pool_backward(kind: str, windows_bck: Windows, there_b1k: Windows | None, dy_bc: Array) -> Windows:
    """Return the gradient for every window: to the most recent of the largest, or dy over the number of values averaged."""
    taps, dy_bc1 = windows_bck.shape[2], dy_bc[:, :, None]
    if kind == "max":
        number = np.arange(taps).reshape(-1, *[1] * (dy_bc.ndim - 2))
        return np.where(_largest(windows_bck, there_b1k) == number, dy_bc1, 0)
    if there_b1k is None:
        return np.repeat(dy_bc1 / taps, taps, axis=2)
    return dy_bc1 * there_b1k / there_b1k.sum(axis=2, keepdims=True)


def _largest(windows_bck: Windows, there_b1k: Windows | None) -> Array:
    """Find the window k that holds the maximum, the most recent of equal ones: (B, C, 1, …)."""
    values_bck = windows_bck.real if there_b1k is None else np.where(there_b1k.real > 0, windows_bck.real, -np.inf)
    return windows_bck.shape[2] - 1 - np.argmax(values_bck[:, :, ::-1], axis=2, keepdims=True)
