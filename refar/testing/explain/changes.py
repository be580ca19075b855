"""Changes of outputs and inputs that may give what steps gave, and the one that does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MappingProxyType

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.explain.histories import ages, beginnings, first_states, lags
from refar.testing.explain.outputs import Change, Pair, Sample, StepRun
from refar.testing.explain.words import late

_LATE, _HELD, _PHASE, _LISTED = 16, 16, 8, 256
_LARGE = 1e-2


def _softmax(y: Array) -> Array:
    e = np.exp(y - y.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


ACTIVATIONS = MappingProxyType[str, Callable[[Array], Array]]({
    "relu": lambda y: np.maximum(y, 0), "tanh": np.tanh, "sigmoid": lambda y: 1 / (1 + np.exp(-y)), "softmax": _softmax,
    "log-softmax": lambda y: np.log(_softmax(y)), "exp": np.exp, "square": np.square, "magnitude": np.abs,
})  # fmt: skip
Places = Callable[[Sample], Array]
"""Of a sample: for each position the one whose output, or input, stands there; -1 where there is none."""


def _moved(run: StepRun) -> Iterator[tuple[str, Places]]:
    """Yield other places for positions, with words for them."""
    count = run.sample.actual.shape[-1]
    for n in range(1, min(_LATE, (count - 1) // 2) + 1):
        yield late(n), _later(n)
        yield f"{late(-n)}: these are the outputs of later positions", _later(-n)
    yield "those of position 0 everywhere", lambda s: np.zeros(count, int)
    if max(run.sample.lengths) == 1:
        for n in range(2, min(_HELD, count // 2) + 1):
            yield f"each held for {n} positions", _held(n)
        return
    yield "in each chunk those of its first position", lambda s: s.begins
    yield "in each chunk those of its last position", lambda s: np.minimum(s.lasts, count - 1)
    yield "in each chunk in the opposite order", lambda s: s.begins + np.minimum(s.lasts, count - 1) - np.arange(count)
    yield "late by a chunk", _later(run.sample.lengths[0])


def _later(by: int) -> Places:
    def places(s: Sample) -> Array:
        at = np.arange(s.actual.shape[-1]) - by
        return np.where((at >= 0) & (at < len(at)), at, -1)

    return places


def _held(n: int) -> Places:
    return lambda s: np.arange(s.actual.shape[-1]) // n * n


def outputs_moved(run: StepRun) -> Iterator[Change]:
    """Yield the right numbers at other positions."""
    for words, places in _moved(run):
        yield Change(f"the right numbers, {words}", _taken(places))


def _taken(places: Places) -> Callable[[Sample], Iterator[Pair]]:
    def gives(s: Sample) -> Iterator[Pair]:
        at = places(s)
        yield s.expected[..., at[at >= 0]], s.actual[..., at >= 0]

    return gives


def outputs_changed(run: StepRun) -> Iterator[Change]:
    """Yield a factor, a constant in each channel, an activation too many or too few, and another order of rows or channels."""
    expected, actual = run.sample.expected.astype(np.float64), run.sample.actual.astype(np.float64)
    yield Change("all outputs are 0", lambda s: iter([(np.zeros_like(s.expected), s.actual)]))
    large = np.abs(expected) > _LARGE * np.abs(expected).max(initial=0.0)
    if large.any():
        factor = float(np.median(actual[large] / expected[large]))
        yield Change(f"all outputs are {factor:.6g} times the right ones", lambda s: iter([(factor * s.expected, s.actual)]))
    shift = np.median(actual - expected, axis=(0, expected.ndim - 1), keepdims=True)[0]
    yield Change(
        "in every channel all outputs are off by one constant, as by a bias", lambda s: iter([(s.expected + shift, s.actual)])
    )
    for name, f in ACTIVATIONS.items():
        yield Change(f"the outputs are the {name} of the right ones", _applied(f, False))
        yield Change(f"a {name} is left out: that of the outputs is right", _applied(f, True))
    for axis, noun in ((0, "row"), (1, "channel")):
        if expected.ndim > axis + 1 and (order := _order(run, axis)):
            meant = ", ".join(map(str, range(len(order))))
            yield Change(f"{noun}s {', '.join(map(str, order))} stand where {meant} are meant", _put(order, axis))


def _applied(f: Callable[[Array], Array], to_actual: bool) -> Callable[[Sample], Iterator[Pair]]:
    def gives(s: Sample) -> Iterator[Pair]:
        y, other = (s.actual, s.expected) if to_actual else (s.expected, s.actual)
        yield f(y.astype(np.float64)), other

    return gives


def _put(order: list[int], axis: int) -> Callable[[Sample], Iterator[Pair]]:
    return lambda s: iter([(s.expected.take(order, axis), s.actual)])


def _order(run: StepRun, axis: int) -> list[int]:
    """Return which rows or channels of the right outputs those that came are; nothing where one is none of them."""
    expected, actual = np.moveaxis(run.sample.expected, axis, 0), np.moveaxis(run.sample.actual, axis, 0)
    if len(actual) > _LISTED:
        return []
    most = float(run.most.max())
    found = [next((n for n, e in enumerate(expected) if (np.abs(a - e) <= most).all()), -1) for a in actual]
    return [] if -1 in found else found


def inputs_changed(run: StepRun) -> Iterator[Change]:
    """Yield the whole function on other inputs: late, held, in the opposite order, rounded."""
    says = "the steps give what the whole gives for other inputs:"
    for words, places in _moved(run):
        yield Change(f"{says} the right ones, {words}", _fed(run, places))
    for name in ("float32", "float16") if run.sample.x.dtype.kind == "f" else ():
        yield Change(f"{says} x rounded to {name}", _fed_rounded(run, name))


def _fed(run: StepRun, places: Places) -> Callable[[Sample], Iterator[Pair]]:
    def gives(s: Sample) -> Iterator[Pair]:
        at = places(s)
        yield run.whole(np.where(at >= 0, s.x[..., at], np.zeros((), s.x.dtype))), s.actual

    return gives


def _fed_rounded(run: StepRun, name: str) -> Callable[[Sample], Iterator[Pair]]:
    return lambda s: iter([(run.whole(s.x.astype(name).astype(s.x.dtype)), s.actual)])


def phases(run: StepRun) -> Iterator[Change]:
    """Yield phases that every chunk begins anew: the right past, but positions are counted from the begin of the chunk."""
    for n in range(2, _PHASE + 1) if max(run.sample.lengths) > 1 else ():
        says = f"the phase is lost: every chunk is answered as if it began at a multiple of {n} positions"
        yield Change(says, _counted_anew(run, n))


def _counted_anew(run: StepRun, n: int) -> Callable[[Sample], Iterator[Pair]]:
    """Return what yields the outputs with so many zeros before x that each chunk begins at a multiple of n.

    Outputs that zeros move behind the end of x cannot be tried. Where those are all wrong ones, nothing is yielded.
    """

    def gives(s: Sample) -> Iterator[Pair]:
        count, ahead = s.x.shape[-1], -s.begins % n
        kept = np.arange(count) + ahead < count
        for by in sorted(set(ahead.tolist())) if kept[run.wrong].any() else ():
            at = np.flatnonzero((ahead == by) & kept)
            x = np.concatenate([np.zeros_like(s.x[..., :by]), s.x], axis=-1)[..., :count]
            yield run.whole(x)[..., at + by], s.actual[..., at]

    return gives


OF_OUTPUTS: tuple[Callable[[StepRun], Iterator[Change]], ...] = (outputs_moved, outputs_changed)
"""Changes that need no other call of the whole function."""
OF_INPUTS: tuple[Callable[[StepRun], Iterator[Change]], ...] = (beginnings, first_states, ages, lags, inputs_changed, phases)
"""Changes of what goes in: for a plain sequence, where an output belongs to the position at which it comes."""


@np.errstate(all="ignore")
def cause(run: StepRun) -> str:
    """Return the sentence of the first change that reproduces what came; nothing where none does."""
    found = (change for rule in OF_OUTPUTS + (OF_INPUTS if run.plain else ()) for change in rule(run))
    return next((change.says for change in found if run.reproduces(change)), "")
