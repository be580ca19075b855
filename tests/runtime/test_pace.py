"""A pace tells whether sampling ahead pays, from seconds that are made up here."""

from __future__ import annotations

import pytest

from refar.runtime.pace import LONGEST_PAUSE, PAUSE, RECENT, STEPS, TRIAL, Pace


def heard(pace: Pace, tokens: list[int], round_: float = 3.0) -> None:
    for count in tokens:
        assert pace.guesses
        pace.guessed(round_, 7, count)


def test_a_pace_gives_up_where_a_round_takes_longer_than_its_tokens() -> None:
    pace, step = Pace(), 1.0
    heard(pace, [2] * TRIAL)
    assert not pace.guesses  # what a step takes is not known yet
    pace.stepped(2 * STEPS * step, 2 * STEPS)
    heard(pace, [2] * (RECENT - TRIAL))
    pauses = []
    for _ in range(8):
        assert not pace.guesses
        pauses.append(0)
        while not pace.guesses:
            count = pace.steps
            pace.stepped(count * step, count)
            pauses[-1] += count
        heard(pace, [1] * TRIAL)  # hopeless at once
    assert pauses[0] in range(PAUSE, PAUSE + PAUSE // 8)
    assert pauses[1] > 1.8 * pauses[0]
    assert max(pauses) < LONGEST_PAUSE * 1.125


def test_a_pace_goes_on_where_it_pays() -> None:
    pace = Pace()
    heard(pace, [4] * TRIAL)
    pace.stepped(8.0, 8)
    heard(pace, [4, 3, 5] * RECENT)
    heard(pace, [4] * RECENT, 3.9)  # slowed down by others: the fewest seconds count
    with pytest.raises(AssertionError):
        heard(pace, [2] * RECENT)
