"""When sampling ahead pays. Values do not depend on it, so it may look at a clock."""

from __future__ import annotations

STEPS = 16
"""Steps that are made, and timed, at once at least. Of fewer, what it takes to begin would count for too much."""

STAKE, MOST_SAVED = 16.0, 128.0
"""Steps that guessing may lose before it is given up, and the most that it may have saved before."""

PAUSE, LONGEST_PAUSE = 512, 2**14
"""Values until guessing is tried again: first, and after doubling each time that it was in vain."""

CHECK, LONGEST_CHECK = 16, 1024
"""Calls until some steps are timed once more, as other programs may have slowed them: first, and after doubling each time."""


class Pace:
    """Tell whether the next values are guessed, from what calls took until now, and from how many values each gave.

    Of a step, and of a call with each number of guesses or more, the fewest seconds are taken: other programs slow some down,
    and the first call of a length has to prepare. What a call saves is its values less the steps that could be made in its
    time. Guessing begins with a stake, to which each call adds what it saves, or from which it takes what it loses. When
    nothing is left, guessing pauses, and is tried again later.
    """

    def __init__(self) -> None:
        self._step, self._least = float("inf"), dict[int, float]()
        self._saved, self._pause, self._wait = STAKE, PAUSE, 2 * STEPS  # at first, to know what a step takes
        self._check, self._calls = CHECK, 0

    @property
    def guesses(self) -> bool:
        """Whether the next values are guessed."""
        return self._wait <= 0

    @property
    def steps(self) -> int:
        """How many steps are made at once where nothing is guessed."""
        return max(STEPS, self._wait // 8)

    def stepped(self, seconds: float, values: int) -> None:
        """Hear how long so many values took, step by step."""
        self._step = min(self._step, seconds / values)
        self._wait -= values

    def guessed(self, seconds: float, guesses: int, values: int) -> None:
        """Hear how long a call with so many guesses took, and how many values it gave."""
        takes = min([seconds, *(least for more, least in self._least.items() if more >= guesses)])
        self._least[guesses] = takes
        self._saved = min(MOST_SAVED, self._saved + values - takes / self._step)
        self._calls += 1
        if self._saved < 0:
            self._saved, self._wait, self._pause = STAKE, self._pause, min(2 * self._pause, LONGEST_PAUSE)
        elif self._calls >= self._check:
            self._wait, self._calls, self._check = STEPS, 0, min(2 * self._check, LONGEST_CHECK)
        if self._saved == MOST_SAVED:
            self._pause = PAUSE
