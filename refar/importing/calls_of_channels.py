"""Calls that choose, order or mix channels by fixed numbers: each is a dense layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from refar.importing import axes, pointwise
from refar.importing.context import Arguments, Context
from refar.importing.refusal import refuse_call
from refar.importing.values import Constant, Labelled


def matmul(c: Context, a: Arguments) -> Labelled:
    """The product of a value and a fixed matrix over its channels, from either side."""
    match a["self"], a["other"]:
        case Labelled() as x, Constant(array) as fixed if array.ndim == 2 and x.axes[-1] == "C":
            weight = np.asarray(array, np.float64).T
        case Constant(array) as fixed, Labelled() as x if array.ndim == 2 and x.axes[-2:-1] == ("C",):
            weight = np.asarray(array, np.float64)
        case _:
            raise refuse_call(c.place, "matmul")
    wish, origin = c.named(fixed)
    return pointwise.dense(c.draft, x, weight, None, wish=wish, origin=origin, place=c.place)


def _picked(c: Context, x: Labelled, which: Iterable[int]) -> Labelled:
    weight = np.eye(x.size)[list(which)]
    return pointwise.dense(c.draft, x, weight, None, wish=c.place.call, origin="a choice of channels", place=c.place)


def index_select(c: Context, a: Arguments) -> Labelled:
    """Some channels, in the order that is given."""
    x, which = c.value(a["self"]), c.array(a["index"], "its index").astype(int)
    if x.axes[axes.position(x, a["dim"])] != "C":
        raise c.refuse("a choice of other places than channels", "keep all positions and sequences")
    return _picked(c, x, which.reshape(-1))


def index(c: Context, a: Arguments) -> Labelled:
    """Some channels, written as x[:, [2, 0]]."""
    x = c.value(a["self"])
    given = [(i, part) for i, part in enumerate(a["indices"]) if part is not None]
    if len(given) != 1 or x.axes[given[0][0]] != "C" or not isinstance(given[0][1], Constant) or given[0][1].array.ndim != 1:
        raise c.refuse("a choice of other places than channels, or one that is computed", "choose channels by fixed numbers")
    chosen = given[0][1].array
    return _picked(c, x, np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(int))


def flip(c: Context, a: Arguments) -> Labelled:
    """Channels in reverse."""
    x = c.value(a["self"])
    if [x.axes[axes.position(x, dim)] for dim in a["dims"]] != ["C"]:
        raise refuse_call(c.place, "flip")
    return _picked(c, x, range(x.size)[::-1])


def conv_tbc(c: Context, a: Arguments, conv1d: Any) -> Labelled:
    """A convolution of a value with time first, and its weight with the kernel first."""
    x, weight = c.value(a["self"]), a["weight"]
    if x.axes != ("T", "B", "C") or not isinstance(weight, Constant):
        raise c.refuse(f"expected the axes T, B, C, got {', '.join(x.axes)}", "transpose before, or say the axes of the example")
    kernel = replace(weight, array=np.transpose(weight.array, (2, 1, 0)))
    rest = {"stride": 1, "dilation": 1, "groups": 1, "padding": [a["pad"]]}
    found = conv1d(c, {"input": axes.permuted(x, (1, 2, 0)), "weight": kernel, "bias": a["bias"], **rest})
    return axes.permuted(found, (2, 0, 1))
