"""Arrays that lie in memory in other ways than freshly made ones do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar.arguments.arrays import Array

Layout = Callable[[Array], Array]


def _gaps(a: Array) -> Array:
    """Every second number of the last axis of a larger array; between them stands nothing that may be read."""
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), np.nan if a.dtype.kind == "f" else 0, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def _inside(a: Array) -> Array:
    """The middle of a larger array: rows do not follow each other, and the first number is not at the start."""
    wide = np.full((*a.shape[:-1], a.shape[-1] + 3), np.nan if a.dtype.kind == "f" else 0, a.dtype)
    wide[..., 1:-2] = a
    return wide[..., 1:-2]


def _transposed(a: Array) -> Array:
    """Stored with its first two axes exchanged, as (in, out, taps) or (time, batch) are."""
    return a if a.ndim < 2 else np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1)


def _channels_last(a: Array) -> Array:
    return a if a.ndim < 3 else np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def _read_only(a: Array) -> Array:
    fixed = a.copy()
    fixed.setflags(write=False)
    return fixed


LAYOUTS: Mapping[str, Layout] = {
    "with gaps between the numbers (strided)": _gaps,
    "in Fortran's order": np.asfortranarray,
    "that are transposed views": _transposed,
    "that are parts of larger ones": _inside,
    "with the channels last in memory": _channels_last,
}
"""The same numbers, laid out in memory otherwise. Names go on after "arrays". A function may refuse one, not misread it."""

READ_ONLY: Mapping[str, Layout] = {"that are read-only": _read_only}
"""For functions that take arrays of NumPy themselves: no tensor knows of this."""
