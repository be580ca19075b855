"""Changes of what a step remembers: the whole function on another past, up to one position, or the steps from another state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.explain.outputs import Change, Pair, Sample, StepRun
from refar.testing.explain.words import counted

_PROBES, _FEW, _AGES, _MENDS, _PARTS = 8, 3, 12, 24, 40
Past = Callable[[Array, int], Array]
"""Of a sequence x and a position t: the sequence whose last output stands in the place of that at t."""
Age = Callable[[int], int]
"""Of how many positions old something is: how old is what is taken in its place; below 0 for zeros."""


def _extended(x: Array, past: Array) -> Array:
    """Return a sequence as long as x that begins with `past`: no output there depends on what follows."""
    return np.concatenate([past, x[..., : x.shape[-1] - past.shape[-1]]], axis=-1)


def _few(positions: Sequence[int], most: int) -> list[int]:
    """Return some of the positions, the first and the last among them."""
    at = np.linspace(0, len(positions) - 1, most).astype(int).tolist() if positions else []
    return [positions[i] for i in dict.fromkeys(at)]


def at_positions(run: StepRun, says: str, past: Past) -> Change:
    """Return the change after which the output at t is the last of `past(x, t)`; tried where outputs are wrong, and where not.

    A past that is longer than x cannot be tried. Where that holds of all wrong positions, the change reproduces nothing.
    """
    right = sorted(set(range(run.sample.actual.shape[-1])) - set(run.wrong))

    def gives(sample: Sample) -> Iterator[Pair]:
        pasts = {t: past(sample.x, t) for t in _few(run.wrong, _PROBES) + _few(right, _FEW)}
        tried = {t: other for t, other in pasts.items() if 0 < other.shape[-1] <= sample.x.shape[-1]}
        for t, other in tried.items() if tried.keys() & set(run.wrong) else ():
            last = slice(other.shape[-1] - 1, other.shape[-1])
            yield run.whole(_extended(sample.x, other))[..., last], sample.actual[..., t : t + 1]

    return Change(says, gives)


def anew(run: StepRun, says: str, begins: Sequence[int]) -> Change:
    """Return the change after which the sequence begins anew at each of `begins`, of which the first is 0."""
    spans = list(pairwise([*begins, run.sample.x.shape[-1]]))

    def gives(sample: Sample) -> Iterator[Pair]:
        for n in _few(range(len(spans)), _PARTS):
            begin, end = spans[n]
            y = run.whole(_extended(sample.x, sample.x[..., begin:end]))[..., : end - begin]
            yield y, sample.actual[..., begin:end]

    return Change(says, gives)


def beginnings(run: StepRun) -> Iterator[Change]:
    """Yield changes that lose the past: at every step, every chunk, one position, every n-th, or beyond n positions."""
    count, first = run.sample.x.shape[-1], run.wrong[0]
    yield anew(run, "the state is never fed back: every step answers as if it were the first", range(count))
    if max(run.sample.lengths) > 1:
        says = "nothing is carried over: every chunk is answered as if it were the first"
        yield anew(run, says, sorted(set(run.sample.begins.tolist())))
    for n in range(max(1, first - _FEW), first + 1):
        lost = f"the state is lost before position {n}: from there on the steps answer as if the sequence began there"
        yield anew(run, lost, [0, n])
        if n > 1:
            yield anew(
                run, f"the state is lost every {n} positions: the steps answer as if a sequence began there", range(0, count, n)
            )
    if first:
        last = f"the steps give what the whole gives for the last {counted(first, one='')} alone"
        yield at_positions(run, f"{last}: what is older is forgotten", lambda x, t: x[..., max(0, t + 1 - first) : t + 1])
        zeros = f"the steps give what the whole gives with zeros for all but the last {counted(first, one='')}"
        yield _aged(run, f"{zeros}: what is older is forgotten", lambda o: o if o < first else -1)


def lags(run: StepRun) -> Iterator[Change]:
    """Yield changes after which state or input are of another step."""
    for n in (1, 2):
        yield at_positions(run, f"the state is {counted(n)} behind: what stands just before each step is left out", _skipping(n))
    yield at_positions(
        run, "the input is stale: each step takes x of the position before, with the right state",
        lambda x, t: _joined(x[..., :t], x[..., max(0, t - 1)]),
    )  # fmt: skip
    yield at_positions(
        run, "every position goes into the state twice", lambda x, t: _joined(np.repeat(x[..., :t], 2, axis=-1), x[..., t])
    )
    yield at_positions(
        run, "each step takes x into the state before it answers, and once more to answer",
        lambda x, t: _joined(x[..., : t + 1], x[..., t]),
    )  # fmt: skip
    for n in range(max(1, run.wrong[0] - _FEW), run.wrong[0] + 1):
        yield at_positions(run, f"the state is not fed back from position {n} on: what came since then is left out", _until(n))


def _joined(past: Array, present: Array) -> Array:
    return np.concatenate([past, present[..., None]], axis=-1)


def _skipping(n: int) -> Past:
    return lambda x, t: _joined(x[..., : max(0, t - n)], x[..., t])


def _until(n: int) -> Past:
    return lambda x, t: _joined(x[..., : min(n, t)], x[..., t])


def ages(run: StepRun) -> Iterator[Change]:
    """Yield changes that take what is some positions old from another age: queues too long, too short, or in another order."""
    first = run.wrong[0]
    for by, what in (
        (1, "one position too long, or read before the push"),
        (-1, "one position too short, or read after the push"),
    ):
        near = first + (by < 0)
        for m in dict.fromkeys([near, *range(near - 1, max(0, near - _AGES), -1), *range(near + 1, near + _FEW)]):
            if m > 0:
                yield _aged(run, f"a queue is {what}, {m + by} back where {m} was meant", _further(m, by))
    for n in range(2, _AGES):
        yield _aged(run, f"the last {n} positions are read in the opposite order", _mirrored(0, n - 1))
        yield _aged(run, f"what is 1 to {n} positions old is read in the opposite order", _mirrored(1, n))
    for a, b in combinations(range(6), 2):
        yield _aged(run, f"what is {a} and what is {b} positions old are read in each other's place", _placed({a: b, b: a}))
    for a in dict.fromkeys([first, *range(_AGES)]):
        yield _aged(run, f"what is {counted(a)} old is taken for zero", _placed({a: -1}))


def _aged(run: StepRun, says: str, age: Age) -> Change:
    return at_positions(run, says, lambda x, t: _reread(x, t, age))


def _further(m: int, by: int) -> Age:
    return lambda o: o + by if o >= m else o


def _mirrored(low: int, high: int) -> Age:
    return lambda o: low + high - o if low <= o <= high else o


def _placed(places: dict[int, int]) -> Age:
    return lambda o: places.get(o, o)


def _reread(x: Array, t: int, age: Age) -> Array:
    """Return the past of t in which x of another age stands, zeros before the first; it begins sooner where that is needed."""
    oldest = max([t, *(o for o in range(t + 1, t + 1 + _AGES) if 0 <= age(o) <= t)])
    past = np.zeros((*x.shape[:-1], oldest + 1), x.dtype)
    for o in range(oldest + 1):
        if 0 <= age(o) <= t:
            past[..., oldest - o] = x[..., t - age(o)]
    return past


def first_states(run: StepRun) -> Iterator[Change]:
    """Yield other first states that mend the steps: zeros, the answer to zeros, an array of it longer or shorter by one."""

    def after_zeros(f: Callable[[Array], Array], x: Array) -> Array:
        return f(np.concatenate([np.zeros_like(x), x], axis=-1))[..., x.shape[-1] :]

    if run.shapes:
        yield _mended(run, "the first state is wrong: from zeros in its place the steps are right", lambda leaf, n: leaf * 0)
    if run.wrong == list(range(len(run.wrong))):  # else zeros before only move the fault out of sight
        yield Change(
            "the first state has to be what the steps come to after zeros: they are right if as many zeros are fed before",
            lambda s: iter([(after_zeros(run.steps, s.x), s.expected)]),
        )
    yield Change(
        "the first state is what comes after zeros, where every layer has to see zeros of its own: the whole gives the same with "
        "as many zeros before", lambda s: iter([(after_zeros(run.whole, s.x), s.actual)]),
    )  # fmt: skip
    sizes = [(n, axis, size) for n, shape in enumerate(run.shapes) for axis, size in enumerate(shape) if axis and size]
    for n, axis, size in sizes[:_MENDS]:
        array = f"with array {n} of the first state, of shape {run.shapes[n]}, one"
        along = f"along axis {axis} the steps are right"
        short, long = _resized(n, axis, [0, *range(size)]), _resized(n, axis, range(1, size))
        yield _mended(run, f"a queue is one position too short, or read after the push: {array} longer {along}", short)
        yield _mended(run, f"a queue is one position too long, or read before the push: {array} shorter {along}", long)


def _mended(run: StepRun, says: str, change: Callable[[Any, int], Any]) -> Change:
    return Change(says, lambda s: iter([(run.mended(s.x, change), s.expected)]))


def _resized(n: int, axis: int, index: Sequence[int]) -> Callable[[Any, int], Any]:
    """Return what takes these places of the n-th array along an axis, and leaves the others."""
    places = (*(slice(None),) * axis, np.array(index, dtype=int))
    return lambda leaf, m: leaf[places] if m == n else leaf
