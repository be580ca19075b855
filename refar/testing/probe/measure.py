"""What a function depends on, measured: which output position changes when the input changes at one position only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.closeness import differences
from refar.testing.explain.dependence import Dependence, Domain
from refar.testing.probe.inputs import Draw
from refar.testing.report import ContractError
from refar.testing.under_test import FunctionUnderTest

_DRAWS, _QUIET = 10, 3
_ECHOES = 24
Record = Callable[[list[int], Array, Array], bool]
"""Takes changed places, one for each row, and the outputs before and after, (rows, channels, places); whether any is new."""


def measure(f: FunctionUnderTest, draw: Draw, domain: Domain, *, seed: int = 0, rounding: float = 0.0) -> Dependence:
    """Change x at one place after the other and see where the output changes, bit by bit at equal shapes.

    Each row of the batch has another place changed, so that B rows take T / B calls; 4 to 10 draws, since a relu may hide a
    change. Changes up to `rounding` times the largest output are left out. Raises ContractError if the same input gives
    different outputs, at once or after other calls, or if rows mix.
    """
    shape = (domain.count, domain.count)
    change, example = np.zeros(shape), np.zeros((*shape, 4))  # by input place, then by output place: written row by row

    def chunks(rng: np.random.Generator, n: int, rows: int) -> list[list[int]]:
        order = rng.permutation(domain.count).tolist()
        return [order[begin : begin + rows] for begin in range(0, domain.count, rows)]

    def record(places: list[int], before: Array, after: Array) -> bool:
        least = rounding * float(np.abs(before[np.isfinite(before)]).max(initial=0.0))
        new = [_note(change[place], example[place], row, before[row], after[row], least) for row, place in enumerate(places)]
        return any(new)

    _probe(f, draw, domain, seed, _DRAWS, _QUIET, chunks, record)
    return Dependence(domain, change.T, example.swapaxes(0, 1))


def echoes(f: FunctionUnderTest, draw: Draw, length: int, *, seed: int = 0) -> dict[int, float]:
    """Return the offsets at which outputs of a sequence answer a change at one position, and how much: a call shows all of them.

    Fewer positions are tried than by `measure`, and nothing is known of the others. Raises ContractError as that does.
    """
    found: dict[int, float] = {}

    def places(rng: np.random.Generator, n: int, rows: int) -> list[list[int]]:
        chosen = rng.integers(0, length // 2 + 1, rows)
        chosen[n % rows] = 0  # from where all of the sequence lies ahead
        return [chosen.tolist()]

    def record(places: list[int], before: Array, after: Array) -> bool:
        by, count = differences(after, before).max(axis=1), len(found)
        for row, position in np.argwhere(by).tolist():
            offset = position - places[row]
            found[offset] = max(found.get(offset, 0.0), float(by[row, position]))
        return len(found) > count

    _probe(f, draw, Domain((length,)), seed, _ECHOES, 2 * _QUIET, places, record)
    return dict(sorted(found.items()))


def _probe(
    f: FunctionUnderTest, draw: Draw, domain: Domain, seed: int, draws: int, quiet: int, plan: Callable[..., Any], record: Record
) -> None:
    """Change x at the places that `plan` gives, until `quiet` draws one after the other have recorded nothing new."""
    rng, idle = np.random.default_rng(seed), 0
    for n in range(draws):
        x, other = draw(rng, n)
        y = require_same(f, x, domain)
        if n == 0:
            require_rows_apart(f, x, other, y)
            first = x, y
        before, new = domain.places(y.astype(np.float64)), False
        for places in plan(rng, n, len(x)):
            after = f(_replaced(x, other, places, domain), shape=y.shape)
            new |= record(places, before, domain.places(after.astype(np.float64)))
        idle = 0 if new else idle + 1
        if idle == quiet:
            break
    require_stateless(f, *first)


def _note(change: Array, example: Array, row: int, before: Array, after: Array, least: float) -> bool:
    """Keep what changed by more than in earlier draws: `before` and `after` are (channels, places). Whether any is new."""
    touched = np.flatnonzero((before != after).any(axis=0))
    before, after = before[:, touched], after[:, touched]
    by = differences(after, before)
    channel, here = by.argmax(axis=0), np.arange(len(touched))
    larger = (by[channel, here] > least) & (by[channel, here] > change[touched])
    new = bool((change[touched[larger]] == 0).any())
    change[touched[larger]] = by[channel, here][larger]
    values = [v[channel, here] for v in (before, after)]
    example[touched[larger]] = np.stack([np.full(channel.shape, row), channel, *values], axis=-1)[larger]
    return new


def _replaced(x: Array, other: Array, places: Iterable[int], domain: Domain) -> Array:
    """Return x with row b changed at the b-th place only."""
    changed = x.copy()
    for row, place in enumerate(places):
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
    _require_equal(f, y, f(x, shape=y.shape), "then {again}; is dropout on (call .eval()), does it draw random numbers, or keep "
                   "something from call to call?")  # fmt: skip
    return y


def _shape_hint(x: tuple[int, ...], y: tuple[int, ...], sides: tuple[int, ...]) -> str:
    expected = f"expected ({x[0]}, …, {', '.join(map(str, sides))}), got {y}"
    if y[:1] == x[:1] and y[1 : 1 + len(sides)] == sides and len(y) > 1 + len(sides):
        return f"{expected}: the channels come last, move them to axis 1"
    if y[:1] == x[:1] and len(y) > len(sides) == 1 and y[-1] != sides[0]:
        off = f"{abs(y[-1] - sides[0])} positions too {'many' if y[-1] > sides[0] else 'few'}"
        return f"{expected}: {off} (the last axis of x and y are the positions, channels are axis 1)"
    return expected


def require_stateless(f: FunctionUnderTest, x: Array, y: Array) -> None:
    """Require that f(x) is still y after many calls with other inputs."""
    again = f(x, shape=y.shape)
    f.recheck()
    _require_equal(f, y, again, "{again} after other calls; it keeps a state, like a counter of calls or a buffer, or draws "
                   "random numbers now and then")  # fmt: skip


def _require_equal(f: FunctionUnderTest, y: Array, again: Array, said: str) -> None:
    if (wrong := y != again).any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        what = f"{f.name} gives different outputs for the same input: at {list(place)} first {y[place]!s}"
        raise ContractError(f"{what}, {said.format(again=again[place])}")


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
                f"in row {row} only; is batch normalisation in training mode (call .eval()), or are batch and another axis mixed "
                "up by a reshape or a sum?"
            )
