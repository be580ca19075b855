"""What is wrong with a step function, in words: tried out where it can be, told by the positions where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import RefarError
from refar.testing.callee import Callee
from refar.testing.closeness import EPSILONS, differences
from refar.testing.probe.drawing import Draw
from refar.testing.probe.probe import echoes, spell
from refar.testing.report import ContractError

_LATE = 16
_MORE = 64


@dataclass(frozen=True)
class Case:
    """A sequence, what the whole function says of it, what the steps say, and how far apart the two may be.

    `whole` and `steps` compute the same for other sequences; `first(x)` is the output of one step from a fresh state.
    """

    x: Array
    expected: Array
    actual: Array
    most: float
    whole: Callable[[Array], Array]
    steps: Callable[[Array], Array]
    first: Callable[[Array], Array]
    draw: Draw

    def equal(self, actual: Array, expected: Array) -> bool:
        """Within what is allowed, and not empty."""
        return actual.shape == expected.shape and actual.size > 0 and bool(differences(actual, expected).max() <= self.most)

    @property
    def wrong(self) -> Array:
        """At which positions the two differ."""
        return wrong_at(self.actual, self.expected, self.most)


def wrong_at(actual: Array, expected: Array, most: float) -> Array:
    """At which positions, the last axis, two outputs differ."""
    wrong = differences(actual, expected) > most
    return np.asarray(wrong.reshape(-1, expected.shape[-1]).any(axis=0))


def where(actual: Array, expected: Array, most: float) -> str:
    """The first position where the two differ, both values there, and how many positions there are."""
    wrong = wrong_at(actual, expected, most)
    t = int(wrong.argmax())
    error = differences(actual[..., t], expected[..., t])
    index = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    values = f"expected {expected[(*index, t)]:.6g}, got {actual[(*index, t)]:.6g}"
    inside = f"row {index[0]}" + (f", channel {', '.join(map(str, index[1:]))}" if len(index) > 1 else "")
    return f"position {t} ({inside}): {values} (allowed {most:.2g}; {int(wrong.sum())} of {wrong.size} positions differ)"


def symptom(case: Case) -> str:
    """The most likely mistake."""
    length, wrong = case.expected.shape[-1], case.wrong
    for by in range(1, min(_LATE, (length - 1) // 2) + 1):
        if case.equal(case.actual[..., by:], case.expected[..., :-by]):
            return f"the same outputs, but {_count(by)} late"
        if case.equal(case.actual[..., :-by], case.expected[..., by:]):
            return f"the same outputs, but {_count(by)} early: these are the outputs of later positions"
    each = [case.first(case.x[..., t : t + 1]) for t in range(length)]
    if length > 1 and case.equal(np.concatenate(each, axis=-1), case.actual):
        return "the state is never fed back: every step answers as if it were the first"
    last = length - 1 - int(wrong[::-1].argmax())
    if last + 1 <= 3 * length // 4:
        return _warm_up(case, last + 1)
    begin = int(wrong.argmax())
    upto = f"right at the first {_positions(begin)}, wrong from position {begin} on: " if begin else ""
    return f"{upto}{_queue(case, begin)}"


def _warm_up(case: Case, count: int) -> str:
    """Only the first `count` positions are wrong: what stood in the queues before the first sample is gone after them."""
    said = f"wrong only at the first {_positions(count)}, what the state holds before the first one is wrong: "
    ahead = np.zeros((*case.x.shape[:-1], max(count, case.x.shape[-1])), case.x.dtype)
    fed = np.concatenate([ahead, case.x], axis=-1)
    begin = ahead.shape[-1]
    if case.equal(_tried(case.steps, fed)[..., begin:], case.expected):
        return said + (
            "it has to be the response to zeros, as after feeding zeros; zeros in every queue are something else where a layer "
            "answers zeros with its bias"
        )
    if case.equal(_tried(case.whole, fed)[..., begin:], case.actual):
        return said + "it is the response to zeros, where every layer has to see zeros of its own"
    return said + "a queue that is not initialised, or primed with the wrong slice"


def _tried(f: Callable[[Array], Array], x: Array) -> Array:
    try:
        return f(x)
    except Exception:  # one guess less
        return np.zeros(0)


def _queue(case: Case, begin: int) -> str:
    """Steps and whole look at other positions, or at the same ones for other values: measured on both."""
    try:
        in_whole = echoes(Callee(case.whole), case.draw, case.x.shape[-1])
        in_steps = _seen_by_steps(case, 2 * (begin + max(in_whole, default=0)) + _MORE)
    except (ContractError, RefarError) as error:
        return str(error)
    wanted, seen = _clear(in_whole, case.expected), _clear(in_steps, case.expected)
    if not wanted:
        return "in the whole no output answers a change at one position: are all its units off?"
    missing, surplus = sorted(set(wanted) - in_steps.keys()), sorted(set(seen) - in_whole.keys())
    if not missing and not surplus:
        return (
            f"the steps see the same offsets {spell(wanted)} with other values: is something else stored than what is read "
            "(before or after an activation), are the weights in reverse order, or is a bias or a branch forgotten?"
        )
    both = f"the whole sees the offsets {spell(wanted)}, the steps see {spell(seen)}"
    if not surplus and seen == [offset for offset in wanted if offset <= max(seen, default=-1)]:
        return f"the state forgets what is {missing[0]} or more positions old, a queue of the wrong length: {both}"
    for by, what in ((1, "long, or read before the push"), (-1, "short, or read after the push")):
        if {offset + by for offset in missing} <= set(surplus) and {offset - by for offset in surplus} <= set(wanted):
            return f"a queue is one position too {what}, {surplus[0]} back where {surplus[0] - by} was meant: {both}"
    if sorted(wanted[0] + wanted[-1] - offset for offset in wanted) == seen:
        return f"the queue is read from the wrong end: {both}"
    return f"a queue of the wrong length or in the wrong order: {both}"


def _clear(echo: dict[int, float], y: Array) -> list[int]:
    """The offsets of which rounding does not decide whether they are seen: what dies away is lost in it at last."""
    eps = float(np.finfo(y.dtype).eps) if y.dtype.kind == "f" else 0.0
    return [offset for offset, size in echo.items() if size > EPSILONS * eps * max(echo.values())]


def _seen_by_steps(case: Case, enough: int) -> dict[int, float]:
    """Steps are dear: the first positions have to do."""
    length = min(enough, case.x.shape[-1])

    def first(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        x, other = case.draw(rng, n)
        return x[..., :length], other[..., :length]

    return echoes(Callee(case.steps), first, length)


def _positions(count: int) -> str:
    return "position" if count == 1 else f"{count} positions"


def _count(count: int) -> str:
    return "one position" if count == 1 else f"{count} positions"


def at_borders(wrong: Array, lengths: list[int]) -> str:
    """Nothing, or that outputs of pieces are wrong near the begin or the end of pieces only."""
    begins = np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(int)
    after = np.concatenate([np.arange(n) for n in lengths])
    before = np.concatenate([np.arange(n)[::-1] for n in lengths])
    if wrong[: lengths[0]].any() and len(lengths) > 1 and not wrong[lengths[0] :].any():
        return ""
    longest = max(lengths)
    near = int(after[wrong].max()) + 1
    if near < longest and not wrong[: lengths[0]].any() and len(begins) > 1:
        return f"wrong only at the first {_positions(near)} of a piece: what is carried over from the piece before is wrong"
    near = int(before[wrong].max()) + 1
    if near < longest // 2:
        return f"wrong only at the last {_positions(near)} of a piece: it sees what comes next, which is not there at the border"
    return ""
