"""A pace tells whether sampling ahead pays, from seconds that are made up here: a step takes one."""

from __future__ import annotations

from itertools import cycle

from refar.runtime.pace import CHECK, LONGEST_PAUSE, MOST_SAVED, PAUSE, STAKE, STEPS, Pace


def until_given_up(pace: Pace, seconds: float, values: list[int], most: int = 1000) -> int:
    """Calls that take so many seconds and give these values, in turn, until guessing is given up: how many there were."""
    for count, given in enumerate(cycle(values)):
        if not pace.guesses and pace.steps > STEPS:
            return count
        if not pace.guesses:
            pace.stepped(1.0 * STEPS, STEPS)
        if count == most:
            return most
        pace.guessed(seconds, 7, given)
    raise AssertionError


def begun(step: float = 1.0) -> Pace:
    """A pace that has heard what a step takes."""
    pace = Pace()
    while not pace.guesses:
        pace.stepped(step * pace.steps, pace.steps)
    return pace


def test_what_a_step_takes_is_heard_first() -> None:
    assert not Pace().guesses
    assert Pace().steps == STEPS
    assert begun().guesses


def test_guessing_is_given_up_when_it_has_lost_its_stake() -> None:
    pace, pauses = begun(), list[int]()
    for _ in range(8):
        assert until_given_up(pace, 3.0, [1]) in range(int(STAKE / 2), int(STAKE / 2) + 2)  # two steps lost by each call
        pauses.append(0)
        while not pace.guesses:
            count = pace.steps
            pace.stepped(1.0 * count, count)
            pauses[-1] += count
    assert pauses[0] in range(PAUSE, PAUSE + PAUSE // 8)
    assert pauses[1] > 1.8 * pauses[0]
    assert max(pauses) < LONGEST_PAUSE * 1.125


def test_guessing_goes_on_where_it_pays() -> None:
    pace = begun()
    assert until_given_up(pace, 3.0, [1, 8, 1, 3, 4]) == 1000
    assert until_given_up(pace, 9.0, [4]) == 1000  # slowed down by others: the fewest seconds count
    assert until_given_up(pace, 3.0, [1]) in range(int(MOST_SAVED / 2), int(MOST_SAVED / 2) + 2)  # what it saved is lost first


def test_a_step_that_was_slowed_down_is_timed_once_more() -> None:
    pace = begun(step=5.0)
    assert until_given_up(pace, 3.0, [2]) > CHECK
    assert until_given_up(begun(), 3.0, [2]) in range(int(STAKE), int(STAKE) + 2)


def test_a_first_call_is_not_held_against_its_length() -> None:
    pace = begun()
    pace.guessed(3.0, 27, 8)
    for guesses in range(26, 14, -1):  # each with something to prepare
        pace.guessed(12.0, guesses, 3)
    assert pace.guesses
    pace.guessed(12.0, 28, 1)  # of more guesses nothing is known
    pace.guessed(12.0, 28, 1)
    assert not pace.guesses
