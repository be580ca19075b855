"""How far steps and the whole may lie apart, for each channel, by the dtype that they compute in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from refar.arguments.arrays import Array

BITS = MappingProxyType({"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53})
"""Significant bits of a dtype; one rounding to nearest is off by u = 2^-bits of the value at most."""
LEVEL = 16
"""Roundings of the largest value that each level of a path may add."""
SPREAD = 100
CONSTANT = 4
DISTINCT = 4


@dataclass(frozen=True)
class Tolerance:
    """By how much each channel may differ: `most`, and `rounding`, beyond which it is surely no rounding; (…, Q, 1).

    Over n positions a path from an input to an output has about log2 n levels, of a tree of sums or of layers whose dilations
    double, and two more before and behind them. Each level rounds: rounding = 16·(2 + log2 n)·u·max|y_c|. (On convolutions,
    WaveNets, GRU, LSTM, attention and FFT, T = 40 and 200, right steps are off by 8·u·max|y_c| at most, in every
    dtype.) `most` is that, but never above a hundredth of the channel's spread, its largest minus its smallest value: more
    could hide a mistake. A channel without spread, constant up to two roundings, has no such limit.
    """

    most: Array
    rounding: Array
    dtype: str
    levels: float = 0.0
    asked: float | None = None

    def __str__(self) -> str:
        if not self.most.any():
            return "allowed 0, compared by =="
        if self.asked is not None:
            return f"allowed {self.asked:.3g} of the largest value of each channel, as asked for"
        capped = (self.most < self.rounding).any()
        limit = f", at most 1/{SPREAD} of the channel's spread" if capped else ""
        return (
            f"allowed {LEVEL * self.levels:.0f} roundings of {self.dtype} (2^-{BITS[self.dtype]}) of the largest value of each "
            f"channel{limit}: {_range(self.most)}"
        )


def _range(most: Array) -> str:
    low, high = f"{most.min():.2g}", f"{most.max():.2g}"
    return low if low == high else f"{low} to {high}"


def tolerance(expected: Array, dtypes: Iterable[str], relative: float | None = None) -> Tolerance:
    """Return how far from `expected`, (B, …, T), outputs may lie; the coarsest of the `dtypes` that take part decides.

    0 where `expected` is no float, or `relative` is 0; else `relative` times the largest value of a channel, if given.
    """
    y = np.where(np.isfinite(expected), expected, 0).astype(np.float64)
    axes = (0, y.ndim - 1)
    largest = np.abs(y).max(axis=axes, keepdims=True)[0]
    largest = np.where(largest == 0, largest.max(initial=0.0), largest)
    if expected.dtype.kind != "f":
        return Tolerance(0 * largest, 0 * largest, "")
    if relative is not None:
        return Tolerance(relative * largest, relative * largest, "", asked=relative)
    dtype = min((dtype for dtype in dtypes if dtype in BITS), key=BITS.__getitem__, default="float64")
    levels = 2 + math.log2(expected.shape[-1])
    u = 2.0 ** -BITS[dtype]
    spread = (y.max(axis=axes, keepdims=True) - y.min(axis=axes, keepdims=True))[0]
    rounding = LEVEL * levels * u * largest
    most = np.where(spread <= CONSTANT * u * largest, rounding, np.minimum(rounding, spread / SPREAD))
    return Tolerance(most, rounding, dtype, levels)


def computed_in(array: Array, named: str) -> str:
    """Return the dtype that an output was computed in: `named`, its own, or a coarser one that all its values fit into."""
    return in_values(array) or (named if named in BITS else array.dtype.name)


def in_values(array: Array) -> str:
    """Return the dtype that all values fit into, if it has fewer bits than the array's own: half precision, stored wider.

    A few values, or multiples of one step such as small integers, tell nothing: then nothing is returned.
    """
    if array.dtype.kind != "f":
        return ""
    values = array[np.isfinite(array) & (array != 0)].astype(np.float64)
    mantissa, exponent = np.frexp(values)
    if len(np.unique(np.abs(mantissa))) < DISTINCT:
        return ""
    for name, bits in BITS.items():
        if bits >= BITS.get(array.dtype.name, 53):
            return ""
        scaled, steps = np.ldexp(mantissa, bits), np.ldexp(values, bits - int(exponent.max()))
        if (scaled == np.rint(scaled)).all() and (steps != np.rint(steps)).any():
            return name
    return ""
