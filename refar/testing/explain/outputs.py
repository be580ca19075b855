"""What is wrong with the outputs of steps, in words: a cause if it reproduces them, else where they are wrong and by how much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import RefarError
from refar.testing.closeness import differences, wrong_at
from refar.testing.explain.words import Rule, counted, first, spell
from refar.testing.report import ContractError

Pair = tuple[Array, Array]
"""Outputs as a change would give them, and those that came, at the same positions."""


@dataclass(frozen=True)
class Sample:
    """A sequence, what the whole function says of it, what the steps say, and the lengths of the chunks they took it in.

    With a latency, or several segments, there are fewer outputs than positions.
    """

    x: Array
    expected: Array
    actual: Array
    lengths: list[int]

    @cached_property
    def begins(self) -> Array:
        """Where the chunk begins in which a position lies."""
        ends = np.cumsum(self.lengths)
        return np.repeat(ends - self.lengths, self.lengths)[: self.actual.shape[-1]]

    @cached_property
    def lasts(self) -> Array:
        """Where that chunk ends: its last position."""
        return np.repeat(np.cumsum(self.lengths) - 1, self.lengths)[: self.actual.shape[-1]]


@dataclass(frozen=True)
class Change:
    """A change of the whole function, or of the steps, and what is said where it reproduces what came.

    `gives` yields pairs that have to be equal for the change to be the cause.
    """

    says: str
    gives: Callable[[Sample], Iterator[Pair]]


class StepRun:
    """Wrong outputs of steps on one sequence, and what can be tried to find out why.

    `second()` gives another sample. Outputs may differ by `most`. `whole` and `steps` compute what they say of other sequences.
    `mended(x, change)` are the outputs of the steps from another first state, change(array, n) in the place of its n-th array;
    `shapes` are those of its arrays. `plain` is False with a latency or several segments. `right` says which lengths of all
    chunks give right outputs, if they were tried.
    """

    def __init__(
        self, sample: Sample, second: Callable[[], Sample], most: Array, whole: Callable[[Array], Array],
        steps: Callable[[Array], Array], mended: Callable[..., Array], shapes: list[tuple[int, ...]], plain: bool,
        right: dict[int, bool],
    ) -> None:  # fmt: skip
        self.sample, self._second, self.most, self.whole, self.steps = sample, second, most, whole, steps
        self.mended, self.shapes, self.plain, self.right = mended, shapes, plain, right
        self.wrong = np.flatnonzero(wrong_at(sample.actual, sample.expected, most)).tolist()

    @cached_property
    def second(self) -> Sample:
        """Another sample, to confirm on what was found on the first."""
        return self._second()

    def equal(self, a: Array, b: Array) -> bool:
        """Return whether both lie within what is allowed."""
        return a.shape == b.shape and bool((differences(a, b) <= self.most).all())

    def reproduces(self, change: Change) -> bool:
        """Return whether a change gives what came, on the sample and on the second one."""
        try:
            return self._holds(change, self.sample) and self._holds(change, self.second)
        except (ContractError, RefarError):  # a function need not take what the change asks of it: then it is not the cause
            return False

    def _holds(self, change: Change, sample: Sample) -> bool:
        pairs = 0
        for given, came in change.gives(sample):
            if not self.equal(given, came):
                return False
            pairs += came.shape[-1]
        return pairs > 0


def where(run: StepRun, names: Array) -> str:
    """Say where outputs are wrong and by how much; `names` are the positions that they belong to."""
    sample, wrong = run.sample, run.wrong
    lengths = [n for n in sample.lengths if n]
    said = [first(CHUNKS, Chunks(wrong_at(sample.actual, sample.expected, run.most), lengths, run.right)) if run.right else ""]
    said[0] = said[0] or _positions(wrong, sample.actual.shape[-1], names)
    bad = differences(sample.actual, sample.expected) > run.most
    for axis, noun in ((0, "row"), (1, "channel")):
        if bad.ndim > axis + 1 and bad.shape[axis] > 1:
            at = np.flatnonzero(bad.any(axis=tuple(n for n in range(bad.ndim) if n != axis))).tolist()
            said += [f"only in {noun} {spell(at)}"] if 2 * len(at) <= bad.shape[axis] else []
    scale = float(np.abs(sample.expected[np.isfinite(sample.expected)]).max(initial=0.0))
    off = float(differences(sample.actual, sample.expected).max()) / scale if scale else np.inf
    said += [f"off by at most {off:.2g} of the largest value"] if off < 1e-2 else []
    return ", ".join(said)


def _positions(wrong: list[int], count: int, names: Array) -> str:
    """Say at which of `count` positions something is wrong."""
    first_, last = wrong[0], wrong[-1]
    if len(wrong) == count:
        return "wrong at every position"
    if last == count - 1:
        gaps = "" if len(wrong) == count - first_ else f", at {len(wrong)} of the {count - first_} positions"
        return f"right at the first {counted(first_, one='')}, wrong from position {names[first_]} on{gaps}" if first_ else (
            f"wrong at {len(wrong)} of {count} positions")  # fmt: skip
    if first_ == 0:
        return f"wrong only at the first {counted(last + 1, one='')}, right from position {names[last + 1]} on"
    begin, end = names[first_], names[last]
    at = f"wrong at {counted(len(wrong), one='')} from {begin} to {end}" if end > begin else "wrong there alone"
    return f"right before position {begin} and after position {end}, {at}"


class Chunks:
    """Where outputs are wrong if a sequence is cut into chunks of these lengths; `right` says which lengths of all chunks are."""

    def __init__(self, wrong: Array, lengths: list[int], right: dict[int, bool]) -> None:
        self.failing = max((length for length, holds in right.items() if not holds), default=0)
        self.passing = min((length for length, holds in right.items() if holds), default=0)
        self.longest, begin = max(lengths), lengths[0]
        self.later, self.first_alone = not wrong[:begin].any(), not wrong[begin:].any()
        behind, ahead = (int(np.concatenate([np.arange(n)[::way] for n in lengths])[wrong].max()) + 1 for way in (1, -1))
        self.behind, self.ahead, self.words = behind, ahead, (counted(behind, one=""), counted(ahead, one=""))


CHUNKS: list[Rule[Chunks]] = [
    ("short chunks", lambda s: 0 < s.failing < s.passing,
     "wrong for chunks of at most {s.failing}, right for {s.passing} and more"),
    ("begin of a chunk", lambda s: s.later and s.behind < s.longest,
     "wrong only at the first {s.words[0]} of a chunk, and right in the first chunk"),
    ("end of a chunk", lambda s: not s.first_alone and s.ahead < s.longest // 2,
     "wrong only at the last {s.words[1]} of a chunk"),
]  # fmt: skip
"""Where outputs are wrong, and nothing about why."""
