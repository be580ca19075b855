"""When sampling ahead pays. Values do not depend on it, so it may look at a clock."""

from __future__ import annotations

STEPS = 4
"""Steps that are made, and timed, at once at least."""

TRIAL, RECENT = 4, 16
"""Calls after which guessing is given up if it is much slower, and the latest calls that count, after which it must pay."""

PAUSE, LONGEST_PAUSE = 512, 2**14
"""Values until guessing is tried again: first, and after doubling each time that it was in vain."""


FIRST_CHECK, LONGEST_CHECK = 16, 1024
"""Calls until some steps are timed once more, as other programs may have slowed them: first, and after doubling each time."""


class Pace:
    """Tell whether the next values are guessed, from what calls took until now, and from how many values each gave.

    Of a step, and of a call with each number of guesses, the fewest seconds are taken, as other programs slow some down. Guessing
    is given up while the latest calls take longer than the steps of as many values, and is tried again after a pause.
    """

    def __init__(self) -> None:
        self._step, self._least = float("inf"), dict[int, float]()
        self._recent: tuple[tuple[int, int], ...] = ()
        self._pause, self._wait = PAUSE, 0
        self._check, self._calls = FIRST_CHECK, 0

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
        self._least[guesses] = min(seconds, self._least.get(guesses, seconds))
        self._recent = (*self._recent[1 - RECENT :], (guesses, values))
        self._calls += 1
        count = len(self._recent)
        if count < TRIAL:
            return
        if self._step == float("inf"):
            self._wait = 2 * STEPS  # to know what a step takes; the first few also bind what they read
        elif self._slower(1 if count == RECENT else 1.5):
            self._recent, self._wait, self._pause = (), self._pause, min(2 * self._pause, LONGEST_PAUSE)
        elif self._calls >= self._check:
            self._wait, self._calls, self._check = STEPS, 0, min(2 * self._check, LONGEST_CHECK)
        elif count == RECENT:
            self._pause = PAUSE

    def _slower(self, times: float) -> bool:
        """Whether the latest calls took more than so many times the seconds of their values, step by step."""
        calls = sum(self._least[guesses] for guesses, _ in self._recent)
        return calls > times * self._step * sum(values for _, values in self._recent)
