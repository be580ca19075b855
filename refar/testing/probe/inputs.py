"""Inputs for a function under test: an example that the caller gives, or numbers drawn in a shape; and their positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar.arguments.arrays import Array
from refar.errors import InputError, check_integer
from refar.testing.explain.dependence import Domain
from refar.testing.probe.rate import Rate

Draw = Callable[[np.random.Generator, int], tuple[Array, Array]]
"""Of draw number n: an input, and one that differs from it at every position."""

LARGEST = 1 << 13
"""For each pair of positions is remembered what was seen: of 8 192 positions 4 GB."""
_SCALES = (1.0, 1.0, 4.0, 0.25, 1.0, 16.0)


def example(
    who: str, x: ArrayLike | None, shape: Sequence[int] | None, kind: str | None, classes: int, colours: int, dtype: DTypeLike
) -> tuple[Draw, Domain]:
    """Return where inputs come from, and their positions. Raises InputError, naming `who` asked, for what makes no input."""
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
    if not axes < len(full) <= 4:
        expected = "(B, C, H, W)" if axes == 2 else "(B, C, T), or (B, T) for class indices"
        raise InputError(f"{'x' if shape is None else 'shape'}: expected {expected}, got {full}")
    if colours > 1 and (axes == 1 or len(full) != 4 or full[1] != colours):
        raise InputError(f"colours: expected images (B, {colours}, H, W), got {full}")
    if array is None:
        return drawn(full, classes, _floats(dtype)), Domain(full[-axes:], colours)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise InputError(f"x: expected finite numbers or class indices, got {array.dtype}")
    return given(array, axes), Domain(full[-axes:], colours)


def _floats(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.kind not in "fV" or found.names:  # V are those that ml_dtypes adds, like bfloat16
        expected = "expected one of floats that NumPy knows, like 'float32'"
        raise InputError(f"dtype: {expected}, got {dtype!r}; for indices give classes=")
    return found


def drawn(shape: tuple[int, ...], classes: int, dtype: DTypeLike) -> Draw:
    """Draw class indices below `classes`, or normal numbers of several scales where there are none."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        if classes:
            x = rng.integers(0, classes, shape)
            return x, (x + rng.integers(1, classes, shape)) % classes
        scale = _SCALES[n % len(_SCALES)]
        signal = scale * rng.normal(size=shape)
        signs = rng.choice((-1, 1), shape) if n % 2 == 0 else 1.0  # of one sign, changes at many places add up
        changed = signal + scale * signs * rng.uniform(0.5, 2, shape)
        return signal.astype(dtype), changed.astype(dtype)

    return draw


def given(x: Array, axes: int) -> Draw:
    """Draw x itself, then x with its positions shuffled; what differs is taken from other positions, so that all stays in kind.

    Where x is the same everywhere, other numbers must do. The last `axes` axes are the positions.
    """
    inner, sides = x.shape[1 : x.ndim - axes], x.shape[x.ndim - axes :]

    def back(rows: Array) -> Array:
        return np.moveaxis(rows.reshape(len(x), math.prod(sides), -1), -1, 1).reshape(x.shape).copy()

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
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
        return back(rows), back(other)

    return draw


def folded(draw: Draw, rate: Rate) -> Draw:
    """Draw the same in frames."""

    def draw_folded(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        x, other = draw(rng, n)
        return rate.fold(x, rate.down), rate.fold(other, rate.down)

    return draw_folded


def resized(draw: Draw, rows: int) -> Draw:
    """Draw this number of rows: the first ones, or those of the next draws too."""

    def draw_resized(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        x, other = draw(rng, n)
        while len(x) < rows:
            more, others = draw(rng, n + 1)
            x, other = np.concatenate([x, more]), np.concatenate([other, others])
        return x[:rows], other[:rows]

    return draw_resized
