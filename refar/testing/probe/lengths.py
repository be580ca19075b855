"""Whether an output depends on how long the sequence is, and where in it it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.closeness import differences, furthest
from refar.testing.explain.dependence import Dependence
from refar.testing.explain.words import counted
from refar.testing.probe.watched import Watched
from refar.testing.report import ContractError, Raised

_RUN, _UPTO = 16, 64


def first_positions(f: Watched, x: Array, axes: int) -> tuple[list[str], list[str]]:
    """Compare the first positions alone with the first outputs: mistakes, and notes where f takes one length only.

    Sixteen lengths in a row are tried, since padding to a multiple of 8 shows at seven of eight.
    """
    y, length = f(x), x.shape[-axes]
    near = f.tolerance(y, axes)
    upto = min(length, _UPTO)
    lengths = {1, length // 2, length - 1, *range(upto - _RUN, upto)} & set(range(1, length))
    refused: list[int] = []
    doubtful = ""
    for count in sorted(lengths):
        begin: tuple[Any, ...] = (..., slice(count), *[slice(None)] * (axes - 1))
        said = f"on the first {count} of {length} positions: "
        try:
            short, expected = f(x[begin]), y[begin]
        except Raised:
            refused.append(count)
            continue
        except ContractError as error:
            return [f"{said}{error}"], []
        if short.shape != expected.shape:
            return [f"{said}expected shape {expected.shape}, got {short.shape}"], []
        if (place := furthest(short, expected, near.most)) is None:
            continue
        what = f"at {list(place)} {short[place]:.6g}, in the whole {expected[place]:.6g}"
        alone = f"the first {count} of {length} positions alone give another output: {what}"
        if furthest(short, expected, near.rounding) is not None:
            return [f"{alone}; it knows how long the sequence is"], []
        doubtful = doubtful or f"{alone}; {near.dtype} cannot show whether that is rounding"
    return [], [*_refused(refused, sorted(lengths), length), *([doubtful] if doubtful else [])]


def _refused(refused: list[int], lengths: list[int], length: int) -> list[str]:
    if not refused:
        return []
    if refused == lengths:
        return [f"other lengths than {length} are not taken"]
    return [f"{counted(len(refused), 'length')} of the {len(lengths)} tried, such as {refused[0]}, are not taken"]


def elsewhere(f: Watched, x: Array, found: Dependence) -> list[str]:
    """Say whether the same window gives another output one position further on, as positional encodings do."""
    begin = max(found.offsets, default=0) + 1 if not found.domain.image else found.domain.count
    if begin + 1 >= found.domain.count:
        return []
    moved = np.concatenate([x[..., :1], x[..., :-1]], axis=-1)
    expected, actual = f(x)[..., begin - 1 : -1], f(moved)[..., begin:]
    place = furthest(actual, expected, f.tolerance(expected, len(found.domain.sides)).rounding)
    what = "the same window gives another output one position further on"
    return [] if place is None else [
        f"{what}: {actual[place]:.6g}, not {expected[place]:.6g}; the result depends on the position"
    ]  # fmt: skip


def in_front(f: Watched, x: Array) -> Callable[[Callable[[Array], Array]], bool]:
    """Return what tells whether f gives the same outputs where what is made of x is put in front of x."""

    def tried(made: Callable[[Array], Array]) -> bool:
        front = made(x)
        try:
            y, longer = f(x), f(np.concatenate([front, x], axis=-1))[..., front.shape[-1] :]
        except ContractError:  # it takes no other lengths: nothing is reproduced
            return False
        return longer.shape == y.shape and bool((differences(longer, y) <= f.tolerance(y, 1).most).all())

    return tried
