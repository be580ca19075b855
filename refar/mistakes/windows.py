"""What wrong windows are made of: any offsets, any edges, in plain NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.mistakes.mistake import Attributes, Mistake

Offsets = Callable[[Attributes, int], Sequence[int]]


def window(x: Array, offset: int, edge: str = "zero") -> Array:
    """x[..., t - offset] for every t; beyond the ends zero, or the "nearest" value, or from the other end ("wrap")."""
    length = x.shape[-1]
    at = np.arange(length) - offset
    there = (at >= 0) & (at < length)
    if edge == "wrap":
        return x[..., at % length]
    found = x[..., np.clip(at, 0, length - 1)]
    return found if edge == "nearest" else np.where(there, found, 0)


def correlate(windows: Sequence[Array], w: Array, b: Array | None, groups: int = 1) -> Array:
    """b[o] + Σ_{i,k} w[o,i,k] · windows[k][b,i,…], i in the group of o."""
    out, size = w.shape[0] // groups, w.shape[1]
    y: Any = 0
    for k, x in enumerate(windows):
        parts = [
            np.einsum("oi,bi...->bo...", w[g * out : (g + 1) * out, :, k], x[:, g * size : (g + 1) * size]) for g in range(groups)
        ]
        y = y + np.concatenate(parts, axis=1)
    return y if b is None else y + b.reshape(-1, *[1] * (y.ndim - 2))


def result_of(f: Callable[[Arrays, Attributes], Array]) -> Mistake:
    """A mistake in the result y."""
    return lambda arrays, attributes: {"y": f(arrays, attributes)}


def gradient_of(name: str, f: Callable[[Arrays, Attributes], Array]) -> Mistake:
    """A mistake in the gradient of one argument, where there is an upstream gradient and the argument is given."""
    return lambda a, attributes: {f"gradient.{name}": f(a, attributes)} if "dy" in a and name in a else {}
