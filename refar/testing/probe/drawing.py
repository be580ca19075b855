"""Inputs for somebody else's function: an example that the caller gives, or numbers drawn in a shape; and their positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar.arguments.arrays import Array
from refar.errors import InputError, check_integer

Draw = Callable[[np.random.Generator, int], tuple[Array, Array]]
"""Of draw number n: an input, and one that differs from it at every position."""

_SCALES = (1.0, 1.0, 4.0, 0.25, 1.0, 16.0)


@dataclass(frozen=True)
class Extent:
    """The positions of a sequence, (T,), or the pixels of an image, (H, W); with colours each pixel has as many values.

    A *place* is one of them, counted in the order in which the sequence runs: by rows, columns, colours.
    """

    sides: tuple[int, ...]
    colours: int = 1

    @property
    def plane(self) -> bool:
        """Whether this is an image."""
        return len(self.sides) > 1

    @property
    def count(self) -> int:
        """How many places there are."""
        return math.prod(self.sides) * self.colours

    def index(self, place: int) -> tuple[int, ...]:
        """Position, or row and column; with colours the colour too."""
        index = tuple(int(i) for i in np.unravel_index(place // self.colours, self.sides))
        return (*index, place % self.colours) if self.colours > 1 else index

    def name(self, place: int) -> str:
        """As a message says it."""
        index = self.index(place)
        colour = f", colour {index[2]}" if self.colours > 1 else ""
        return f"pixel {index[:2]}{colour}" if self.plane else f"position {index[0]}"

    def offsets(self) -> Array:
        """From each place (axis 0) to each place (axis 1), how far back: (places, places, axes)."""
        index = np.stack(np.unravel_index(np.arange(self.count) // self.colours, self.sides), axis=-1)
        return index[:, None] - index[None]

    def places(self, x: Array) -> Array:
        """Values at places: (B, …, *sides) as (B, M, places). With colours, channel j belongs to colour j mod n."""
        split = x.reshape(len(x), -1, self.colours, math.prod(self.sides))
        return np.moveaxis(split, 2, -1).reshape(len(x), split.shape[1], -1)


def example(
    who: str, x: ArrayLike | None, shape: Sequence[int] | None, kind: str | None, classes: int, colours: int, dtype: DTypeLike
) -> tuple[Draw, Extent]:
    """Where inputs come from, and their positions. Raises InputError, naming `who` asked, for what makes no input."""
    if (x is None) == (shape is None):
        raise InputError(f"{who}: expected either an example x or the shape of one, got {'none' if x is None else 'both'}")
    if kind not in (None, "sequence", "image"):
        raise InputError(f"kind: expected 'sequence' or 'image', got {kind!r}")
    if check_integer("classes", classes, 0) == 1:
        raise InputError("classes: expected at least 2, or 0 for signals, got 1")
    check_integer("colours", colours, 1)
    array = None if x is None else np.asarray(x)
    if shape is not None and not isinstance(shape, Sequence):
        raise InputError(f"shape: expected the lengths of all axes, like (B, C, T), got {shape!r}")
    full = tuple(check_integer("shape", n, 1) for n in (shape if array is None else array.shape) or ())
    axes = 2 if kind == "image" or (kind is None and len(full) == 4) else 1
    if len(full) <= axes:
        expected = "(B, C, H, W)" if axes == 2 else "(B, C, T), or (B, T) for class indices"
        raise InputError(f"{'x' if shape is None else 'shape'}: expected {expected}, got {full}")
    if colours > 1 and (axes == 1 or len(full) != 4 or full[1] != colours):
        raise InputError(f"colours: expected images (B, {colours}, H, W), got {full}")
    extent = Extent(full[-axes:], colours)
    if array is None:
        return drawn(full, classes, _floats(dtype)), extent
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise InputError(f"x: expected finite numbers or class indices, got {array.dtype}")
    return given(array, axes), extent


def _floats(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.kind not in "fV" or found.names:  # V are those that ml_dtypes adds, like bfloat16
        raise InputError(
            f"dtype: expected one of floats that NumPy knows, like 'float32', got {dtype!r}; for indices give classes="
        )
    return found


def drawn(shape: tuple[int, ...], classes: int, dtype: DTypeLike) -> Draw:
    """Class indices below `classes`, or normal numbers of several scales where there are none."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        if classes:
            x = rng.integers(0, classes, shape)
            return x, (x + rng.integers(1, classes, shape)) % classes
        scale = _SCALES[n % len(_SCALES)]
        signal = scale * rng.normal(size=shape)
        changed = signal + scale * rng.choice((-1, 1), shape) * rng.uniform(0.5, 2, shape)
        return signal.astype(dtype), changed.astype(dtype)

    return draw


def given(x: Array, axes: int) -> Draw:
    """x itself, then with its positions shuffled; what differs is taken from other positions, so that all stays in kind.

    Where x is the same everywhere, other numbers must do. The last `axes` axes are the positions.
    """

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        inner = x.shape[1 : x.ndim - axes]
        pool = np.moveaxis(x.reshape(len(x), math.prod(inner), -1), 1, -1).reshape(-1, math.prod(inner))
        rows = pool if n == 0 else pool[rng.permutation(len(pool))]
        other = rows.copy()
        for _ in range(20):
            same = (other == rows).all(axis=1)
            other[same] = pool[rng.integers(0, len(pool), same.sum())]
        same = (other == rows).all(axis=1)
        if same.any() and x.dtype.kind != "f":
            raise InputError(f"x: expected values that differ from position to position, got {rows[same][0].tolist()} only")
        other[same] += rng.uniform(0.5, 2, other[same].shape).astype(x.dtype)
        return _back(rows, x.shape, axes), _back(other, x.shape, axes)

    return draw


def _back(rows: Array, shape: tuple[int, ...], axes: int) -> Array:
    sides = shape[len(shape) - axes :]
    return np.moveaxis(rows.reshape(shape[0], math.prod(sides), -1), -1, 1).reshape(shape).copy()
