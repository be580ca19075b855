"""What is wrong with the outputs of steps, in words: tried out where it can be, told by the positions where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import RefarError
from refar.testing.closeness import differences, shifted, wrong_at
from refar.testing.explain.offsets import STEPS, OverTime
from refar.testing.explain.words import MOVED, Rule, counted, first, late
from refar.testing.report import ContractError

_LATE = 16
WARM_UP = "wrong only at the first {s.count}, what the state holds before the first one is wrong: "


@dataclass(frozen=True)
class StepRun:
    """A sequence, what the whole function says of it, what the steps say, and how far apart the two may be.

    `whole` and `steps` compute the same for other sequences; `alone(x)` is the output of one step from a fresh state.
    `offsets(begin)` measures what whole and steps see where outputs are wrong from position `begin` on.
    """

    x: Array
    expected: Array
    actual: Array
    most: float
    whole: Callable[[Array], Array]
    steps: Callable[[Array], Array]
    alone: Callable[[Array], Array]
    measured: Callable[[int], OverTime]

    def equal(self, actual: Array, expected: Array) -> bool:
        """Return whether both lie within what is allowed, and are not empty."""
        return actual.shape == expected.shape and actual.size > 0 and bool(differences(actual, expected).max() <= self.most)

    @cached_property
    def wrong(self) -> list[int]:
        """The positions at which the two differ."""
        return np.flatnonzero(wrong_at(self.actual, self.expected, self.most)).tolist()

    @cached_property
    def by(self) -> int:
        """By how many positions the steps are late, or early if negative; 0 if neither."""
        return shifted(self.actual, self.expected, min(_LATE, (self.x.shape[-1] - 1) // 2), self.equal)

    @property
    def late(self) -> str:
        """The same in words."""
        return late(self.by)

    @property
    def count(self) -> str:
        """How many positions there are up to the last wrong one."""
        return counted(self.wrong[-1] + 1, one="")

    @property
    def heals(self) -> bool:
        """Whether the end is right."""
        return self.wrong[-1] + 1 <= 3 * self.x.shape[-1] // 4

    def forgotten(self) -> bool:
        """Return whether every step alone, from a fresh state, gives what it gave in the sequence."""
        each = [self.alone(self.x[..., t : t + 1]) for t in range(self.x.shape[-1])]
        return len(each) > 1 and self.equal(np.concatenate(each, axis=-1), self.actual)

    def after_zeros(self, f: Callable[[Array], Array], expected: Array) -> bool:
        """Return whether f gives the expected outputs where as many zeros were fed before."""
        ahead = np.zeros_like(self.x)
        try:
            return self.equal(f(np.concatenate([ahead, self.x], axis=-1))[..., ahead.shape[-1] :], expected)
        except Exception:  # one guess less: it need not take other lengths
            return False

    @property
    def offsets(self) -> str:
        """What the steps see and the whole does not, where they are wrong to the end."""
        begin = self.wrong[0]
        upto = f"right at the first {counted(begin, one='')}, wrong from position {begin} on: " if begin else ""
        try:
            return upto + first(STEPS, self.measured(begin))
        except (ContractError, RefarError) as error:
            return upto + str(error)


LIKELY: list[Rule[StepRun]] = [
    ("late", lambda s: s.by > 0, MOVED),
    ("early", lambda s: s.by < 0, MOVED + ": these are the outputs of later positions"),
    ("forgotten", lambda s: s.forgotten(), "the state is never fed back: every step answers as if it were the first"),
    ("zeros wanted", lambda s: s.heals and s.after_zeros(s.steps, s.expected),
     WARM_UP + "it has to be the response to zeros, as after feeding zeros; zeros in every queue are something else where a "
     "layer answers zeros with its bias"),
    ("zeros fed", lambda s: s.heals and s.after_zeros(s.whole, s.actual),
     WARM_UP + "it is the response to zeros, where every layer has to see zeros of its own"),
    ("warm-up", lambda s: s.heals, WARM_UP + "a queue that is not initialised, or primed with the wrong slice"),
    ("offsets", lambda s: True, "{s.offsets}"),
]  # fmt: skip


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
    ("cut", lambda s: 0 < s.failing < s.passing,
     "wrong for chunks of at most {s.failing}, right for {s.passing} and more: the new state is cut from the chunk alone, and "
     "forgets what it held where the chunk is shorter than the queue"),
    ("carried over", lambda s: s.later and s.behind < s.longest,
     "wrong only at the first {s.words[0]} of a chunk: what is carried over from the chunk before is wrong"),
    ("ahead", lambda s: not s.first_alone and s.ahead < s.longest // 2,
     "wrong only at the last {s.words[1]} of a chunk: it sees what comes next, which is not there at the border"),
]  # fmt: skip
