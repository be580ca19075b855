"""A pace tells whether sampling ahead pays, from seconds that are made up here."""

from __future__ import annotations

from refar.runtime.pace import FIRST_CHECK, LONGEST_PAUSE, PAUSE, RECENT, STEPS, TRIAL, Pace


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
    heard(pace, [4, 3, 5, 4] * (FIRST_CHECK // 4 - 1))
    assert not pace.guesses  # a few steps are timed once more
    pace.stepped(1.0 * STEPS, STEPS)
    heard(pace, [4] * FIRST_CHECK, 3.9)  # slowed down by others: the fewest seconds count
    for _ in range(2 * RECENT):
        if not pace.guesses:
            break
        pace.guessed(3.0, 7, 2)
    assert pace.steps > STEPS  # given up


def test_a_step_that_was_slowed_down_is_timed_once_more() -> None:
    pace = Pace()
    heard(pace, [2] * TRIAL)
    pace.stepped(5.0 * 2 * STEPS, 2 * STEPS)  # five times what it takes
    heard(pace, [2] * (FIRST_CHECK - TRIAL))
    pace.stepped(1.0 * STEPS, STEPS)
    assert pace.guesses
    pace.guessed(3.0, 7, 2)
    assert not pace.guesses
    assert pace.steps > STEPS
