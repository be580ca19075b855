"""Every rule of the explainer's tables has an example that it is the first to fit, and says its sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from refar.testing.explain import future, numbers, offsets, outputs
from refar.testing.explain.dependence import Dependence, Domain
from refar.testing.explain.offsets import OverImage, OverTime
from refar.testing.explain.words import Rule, first, spell

A = {(2, 1), (2, 0), (2, -1), (1, 1), (1, 0), (1, -1), (0, 2), (0, 1)}
SEQUENCE = {
    "nothing": ({1}, set()),
    "moved": ({2, 5}, {0, 3}),
    "respaced": ({0, 1, 2}, {0, 3, 6}),
    "mirrored": ({0, 4, 6}, {0, 2, 6}),
    "field": ({0, 1}, {0, 1, 2, 5}),
    "holes": ({0, 6}, {0, 3, 5, 6}),
    "filled": ({0, 1, 2, 6}, {0, 2, 6}),
    "elsewhere": ({0, 1, 6}, {0, 4, 6}),
}
IMAGE = {
    "seen itself": (A | {(0, 0)}, A),
    "not itself": (A, A | {(0, 0)}),
    "transposed": ({(left, up) for up, left in A}, A),
    "left and right": ({(1, -2), (0, -1)}, {(1, 2), (0, 1)}),
    "reversed": ({(-up, -left) for up, left in A}, A),
    "moved": ({(up + 1, left - 2) for up, left in A}, A),
    "blind spot": (A - {(1, -1)}, A),
    "too short": ({(up, left) for up, left in A if up < 2}, A),
    "surplus": (A | {(2, 4)}, A),
    "missing": (A - {(1, 0)}, A),
}


def seen(*wanted: int, at: slice = slice(None), length: int = 16) -> Dependence:
    """A sequence of which the outputs at some places see these offsets."""
    change = np.zeros((length, length))
    for q in range(length)[at]:
        for offset in wanted:
            if 0 <= q - offset < length:
                change[q, q - offset] = 1
    return Dependence(Domain((length,)), change, np.zeros((length, length, 4)))


def all_see(place: int) -> Dependence:
    found = seen(0)
    found.change[:, place] = 1
    return found


def pixels(*wanted: tuple[int, int]) -> Dependence:
    """An image of which every output sees these offsets."""
    places = list(np.ndindex(4, 5))
    change = np.array([[(q[0] - p[0], q[1] - p[1]) in wanted for p in places] for q in places], float)
    return Dependence(Domain((4, 5)), change, np.zeros((20, 20, 4)))


def coloured() -> Dependence:
    """An image of two colours; the first sees the second in its own pixel."""
    change = np.eye(8) + np.kron(np.eye(4), [[0, 1], [0, 0]])
    return Dependence(Domain((2, 2), 2), change, np.zeros((8, 8, 4)))


TIME = {
    "all": (seen(*range(-15, 16)), 0),
    "one for all": (all_see(12), 0),
    "circular": (seen(0, -13, at=slice(3)), 1),
    "reflected": (seen(0, -2, at=slice(3)), 2),
    "from the end": (seen(0, -13, at=slice(3)), 0),
    "rare": (seen(0, -1, at=slice(3, None, 6)), 1),
    "nothing else": (seen(-2), 0),
    "no past": (seen(-4, -2, 0), 0),
    "symmetric": (seen(-3, 0, 3), 0),
    "ahead": (seen(-2, 1, 4), 0),
}
"""What is seen, and which trial reproduces the outputs: none, the sequence in front, or its mirror image."""
PIXELS = {
    "all": pixels(*np.ndindex(4, 5), *((-a, -b) for a, b in np.ndindex(4, 5)), *((a, -b) for a, b in np.ndindex(4, 5)),
                  *((-a, b) for a, b in np.ndindex(4, 5))),
    "colours": coloured(),
    "alike": pixels((0, 0), (0, 1), (0, -1)),
    "reversed": pixels((0, 0), (0, -1), (-1, 1)),
    "right": pixels((0, 1), (1, 0), (0, -1), (0, -2)),
    "one below": pixels((0, 1), (-1, 0), (1, 1)),
    "below": pixels((0, 1), (-1, 0), (-1, 1)),
}  # fmt: skip
PRESENT = {"seen": (seen(0, 1), True), "not seen": (pixels((0, 1)), False), "nearest": (seen(3), False)}
RIGHT = np.arange(48.0).reshape(2, 3, 8) ** 2 + 5
STRIPE = np.arange(8) < 3
NUMBERS = {
    "no numbers": RIGHT * np.nan,
    "small": RIGHT * (1 + 1e-7),
    "factor": -2 * RIGHT,
    "bias": RIGHT + np.arange(3)[:, None],
    "moved": np.pad(RIGHT, ((0, 0), (0, 0), (2, 0)))[..., :-2],
    "confined": RIGHT + 9 * STRIPE,
}
CHUNKS = {
    "short chunks": ([7, 8], [8, 8], {1: False, 8: True}),
    "begin of a chunk": ([8, 9, 13], [8, 5, 3], {}),
    "end of a chunk": ([7, 15], [8, 8], {}),
}


def fits(rules: list[Rule[Any]], facts: Any, name: str) -> None:
    """The rule is the first that the facts fit; its sentence names what it needs."""
    found = next((rule for rule in rules if rule[1](facts)), ("none",))
    assert found[0] == name
    assert first(rules, facts)


@pytest.mark.parametrize(
    ("rules", "examples"),
    [
        (offsets.SEQUENCE, SEQUENCE),
        (offsets.IMAGE, IMAGE),
        (future.TIME, TIME),
        (future.IMAGE, PIXELS | {"one for all": None}),
        (future.PRESENT, PRESENT),
        ([*numbers.ODD, *numbers.RELATIONS, *numbers.PLACES], NUMBERS | {"classes": None}),
        (outputs.CHUNKS, CHUNKS),
    ],
)
def test_every_rule_has_a_name_and_an_example(rules: list[Rule[Any]], examples: dict[str, Any]) -> None:
    names = [name for name, _, _ in rules]
    assert len(set(names)) == len(names)
    assert set(names) == examples.keys()


@pytest.mark.parametrize("name", SEQUENCE)
def test_offsets_of_a_sequence(name: str) -> None:
    fits(offsets.SEQUENCE, OverTime(*map(frozenset, SEQUENCE[name])), name)


@pytest.mark.parametrize("name", IMAGE)
def test_offsets_of_an_image(name: str) -> None:
    fits(offsets.IMAGE, OverImage(*map(frozenset, IMAGE[name])), name)


@pytest.mark.parametrize("name", TIME)
def test_the_future_of_a_sequence(name: str) -> None:
    found, right = TIME[name]
    x = np.arange(4.0)

    def tried(made: Callable[[np.ndarray], np.ndarray]) -> bool:
        return right == (1 if np.array_equal(made(x), x) else 2)

    fits(future.TIME, future.FutureInTime(found, np.triu(found.seen, 1), tried), name)


@pytest.mark.parametrize("name", PIXELS)
def test_the_future_of_an_image(name: str) -> None:
    fits(future.IMAGE, future.FutureInImage(PIXELS[name], np.triu(PIXELS[name].seen, 1)), name)


@pytest.mark.parametrize("name", PRESENT)
def test_the_present(name: str) -> None:
    fits(future.PRESENT, future.Present(*PRESENT[name]), name)


@pytest.mark.parametrize("name", NUMBERS)
def test_wrong_numbers(name: str) -> None:
    came = NUMBERS[name]
    fits([*numbers.ODD, *numbers.RELATIONS, *numbers.PLACES], numbers.Wrong(RIGHT, came, came != RIGHT, "bot"), name)


def test_classes_that_are_off_by_one() -> None:
    right = np.array([[1, 4, 2]])
    fits(numbers.RELATIONS, numbers.Wrong(right, right + 1, right == right, "bt"), "classes")
    turned = right[:, [0, 2, 1]]
    assert described(right, turned) == "wrong only at positions from 1 on"


def described(right: np.ndarray, came: np.ndarray, axes: str = "bt") -> str:
    return numbers.describe(numbers.Wrong(right, came, (right != came) & ~(np.isnan(right) & np.isnan(came)), axes), [])


def test_a_long_list_of_places_is_cut_visibly() -> None:
    right = RIGHT[:, :, :1] + np.zeros((1, 1, 64))
    came = right + np.where((np.arange(64) >= 20) & (np.arange(64) < 32), np.arange(64), 0)
    assert described(right, came, "bot") == "wrong only at position 20..31"


def test_a_relation_that_other_numbers_contradict_is_not_said() -> None:
    half = numbers.Wrong(RIGHT, RIGHT / 2, RIGHT == RIGHT, "bot")
    moved = numbers.Wrong(RIGHT, NUMBERS["moved"], NUMBERS["moved"] != RIGHT, "bot")
    assert numbers.describe(half, [half]) == "all numbers are 0.5 times the right ones"
    assert "times" not in numbers.describe(half, [moved])


def test_infinities_that_are_meant_are_no_warning() -> None:
    right = np.array([[0.5, -np.inf, 3.0, 1.0]])
    assert described(right, np.full_like(right, np.nan)).endswith("numbers are NaN")
    assert described(right, np.array([[0.5, -2.0, 3.0, 1.0]]))


@pytest.mark.parametrize("name", CHUNKS)
def test_chunks(name: str) -> None:
    places, lengths, right = CHUNKS[name]
    fits(outputs.CHUNKS, outputs.Chunks(np.isin(np.arange(16), places), lengths, right), name)


def test_what_is_faint_is_neither_missing_nor_surplus() -> None:
    found = OverTime(frozenset({0, 1}), frozenset({0, 1, 2}), faint=frozenset({2, 3}))
    assert not found.missing
    assert not found.surplus


def test_sets_in_few_words() -> None:
    assert spell([]) == "none"
    assert spell([7, 0, 1, 2, 4, 5]) == "0..2, 4, 5, 7"
    assert spell([(1, -1), (1, 0), (1, 1), (0, 2), (0, 2)][:4]) == "(0, 2), (1, -1..1)"
    assert spell([(0, 1, 2), (0, 1, 0)]) == "(0, 1, 0), (0, 1, 2)"
    assert spell(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, …, 34, 36, 38 (20 in all)"
