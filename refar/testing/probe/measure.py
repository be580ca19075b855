"""What every function under test has to keep, and which outputs answer a change of x."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.closeness import differences
from refar.testing.explain.dependence import Domain
from refar.testing.probe.inputs import Draw
from refar.testing.report import ContractError
from refar.testing.under_test import FunctionUnderTest

_ECHOES, _QUIET = 24, 6


def echoes(f: FunctionUnderTest, draw: Draw, length: int, *, seed: int = 0) -> dict[int, float]:
    """Return the offsets at which outputs of a sequence answer a change at one position, and how much: a call shows all of them.

    Some positions are tried, and nothing is known of the others. Raises ContractError if the same input gives different
    outputs, at once or after other calls, or if rows mix.
    """
    found: dict[int, float] = {}
    rng, domain, idle = np.random.default_rng(seed), Domain((length,)), 0
    for n in range(_ECHOES):
        x, other = draw(rng, n)
        y = require_same(f, x, domain)
        if n == 0:
            require_rows_apart(f, x, other, y)
            first = x, y
        places, count = rng.integers(0, length // 2 + 1, len(x)), len(found)
        places[n % len(x)] = 0  # from where all of the sequence lies ahead
        after = f(replaced(x, other, [[place] for place in places.tolist()], domain), shape=y.shape)
        by = differences(*(domain.places(v.astype(np.float64)) for v in (after, y))).max(axis=1)
        for row, position in np.argwhere(by).tolist():
            offset = position - int(places[row])
            found[offset] = max(found.get(offset, 0.0), float(by[row, position]))
        idle = 0 if len(found) > count else idle + 1
        if idle == _QUIET:
            break
    require_stateless(f, *first)
    return dict(sorted(found.items()))


def replaced(x: Array, other: Array, places: Iterable[Iterable[int]], domain: Domain) -> Array:
    """Return x with row b taken from `other` at the b-th places."""
    changed = x.copy()
    for row, each in enumerate(places):
        for place in each:
            *index, colour = (*domain.index(place), ...) if domain.colours == 1 else domain.index(place)
            where: tuple[Any, ...] = (row, colour, *index)
            changed[where] = other[where]
    return changed


def require_same(f: FunctionUnderTest, x: Array, domain: Domain) -> Array:
    """Return f(x), computed twice. Raises ContractError for a wrong shape, and if the two differ."""
    y = f(x)
    if y.shape[:1] != x.shape[:1] or y.shape[-len(domain.sides) :] != domain.sides or y.ndim <= len(domain.sides):
        raise ContractError(f"{f.name} returned the wrong shape: {_shape_hint(x.shape, y.shape, domain.sides)}")
    if domain.colours > 1 and (channels := math.prod(y.shape[1:-2])) % domain.colours:
        expected = f"expected a multiple of {domain.colours} channels"
        raise ContractError(f"{f.name} returned the wrong shape: {expected}, got {channels} channels")
    _require_equal(f, y, f(x, shape=y.shape), "in the next call")
    return y


def _shape_hint(x: tuple[int, ...], y: tuple[int, ...], sides: tuple[int, ...]) -> str:
    expected = f"expected ({x[0]}, …, {', '.join(map(str, sides))}), got {y}"
    if y[:1] == x[:1] and y[1 : 1 + len(sides)] == sides and len(y) > 1 + len(sides):
        return f"{expected}: the channels come last, move them to axis 1"
    if y[:1] == x[:1] and len(y) > len(sides) == 1 and y[-1] != sides[0]:
        if y[-1] and y[-1] % sides[0] == 0:
            return f"{expected}, {y[-1] // sides[0]} for each position of x: check_causality takes rate={y[-1] // sides[0]}"
        if y[-1] and sides[0] % y[-1] == 0:
            return f"{expected}, one for {sides[0] // y[-1]} positions of x: check_causality takes rate=1/{sides[0] // y[-1]}"
        off = f"{abs(y[-1] - sides[0])} positions too {'many' if y[-1] > sides[0] else 'few'}"
        return f"{expected}: {off} (the last axis of x and y are the positions, channels are axis 1)"
    return expected


def require_stateless(f: FunctionUnderTest, x: Array, y: Array) -> None:
    """Require that f(x) is still y after many calls with other inputs."""
    again = f(x, shape=y.shape)
    f.recheck()
    _require_equal(f, y, again, "after other calls")


def _require_equal(f: FunctionUnderTest, y: Array, again: Array, when: str) -> None:
    if (wrong := y != again).any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        values = f"first {y[place]!s}, {again[place]!s} {when}"
        raise ContractError(f"{f.name} gives different outputs for the same input: at {list(place)} {values}{f.mode}")


def require_rows_apart(f: FunctionUnderTest, x: Array, other: Array, y: Array) -> None:
    """Require that rows of the batch do not see each other."""
    for row in {0, len(x) - 1} if len(x) > 1 else ():
        changed = x.copy()
        changed[row] = other[row]
        after = f(changed, shape=y.shape)
        wrong = after != y
        wrong[row] = False
        if wrong.any():
            require_stateless(f, x, y)
            place = tuple(np.argwhere(wrong)[0].tolist())
            raise ContractError(
                f"rows of the batch mix: the output at {list(place)} goes from {y[place]!s} to {after[place]!s} when x changes "
                f"in row {row} only{f.mode}"
            )
