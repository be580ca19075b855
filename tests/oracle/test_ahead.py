"""Sampling ahead in NumPy gives the tokens of one step each; a mistake in it gives others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ahead_cases import NETWORKS, conditions, parameters

import refar
from refar import Builder, ops
from refar.arguments.sampling import Sampling
from refar.graph.graph import require_head
from refar.oracle import ahead_generation as of_ahead
from refar.oracle.ahead_generation import generate_ahead
from refar.oracle.bound_graph import bound_graph

N = 24


def both(name: str, ahead: int, rows: int, prompt: int = 0, **options: Any) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The tokens of one step each, those of sampling ahead, and how many each round gave."""
    graph = NETWORKS[name]
    params, given = parameters(graph), conditions(graph, rows, prompt + N)
    first = np.random.default_rng(6).integers(0, 4, (rows, prompt))
    plain = refar.generate(graph, params, N, batch=rows, seed=7, prompt=first, condition=given, **options)
    sampling = Sampling(require_head(graph, "generate"), rows, 7, **options)
    found, rounds = generate_ahead(bound_graph(graph, params), N, first, given, sampling, ahead)
    return plain, found, rounds


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("ahead", [0, 1, 4, 30])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_tokens_are_those_of_one_step_each(name: str, ahead: int, rows: int) -> None:
    plain, found, rounds = both(name, ahead, rows)
    np.testing.assert_array_equal(found, plain)
    assert sum(rounds) == N
    assert min(rounds) >= 1
    assert max(rounds) <= ahead + 1


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 0.5, "top_k": 2}, {"prompt": 1}, {"prompt": 9}])
def test_the_same_with_options(options: dict[str, Any]) -> None:
    for name in ("wavenet_class", "conditions"):
        plain, found, _ = both(name, 5, 2, **options)
        np.testing.assert_array_equal(found, plain)


def test_exact_arithmetic_certifies_the_tokens() -> None:
    _, found, _ = both("wavenet_class", 4, 2)
    graph = NETWORKS["wavenet_class"]
    assert refar.certify(graph, parameters(graph), found, seed=7, condition=conditions(graph, 2, N))


def test_what_does_not_depend_on_the_past_is_found_in_the_second_round() -> None:
    """Of 8 guesses the first round draws all right, from outputs that see no guess; the second confirms them."""
    g = Builder()
    graph = g.build(g.conv1d(g.one_hot(g.input(classes=5)), 5, strict=True, name="out"), ops.Categorical())
    params = {"out.weight": np.zeros((5, 5, 1)), "out.bias": np.zeros(5)}
    plain = refar.generate(graph, params, N, seed=3)
    found, rounds = generate_ahead(bound_graph(graph, params), N, None, None, Sampling(ops.Categorical(), 1, 3), 8)
    np.testing.assert_array_equal(found, plain)
    assert rounds[1] >= 8


def noise_of_the_position_before(monkeypatch: pytest.MonkeyPatch) -> None:
    right = of_ahead.noise.draw
    monkeypatch.setattr(of_ahead.noise, "draw", lambda *of: np.roll(right(*of), 1, axis=0))


def clock_not_turned_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_ahead, "replace", lambda state, **_: state)


def one_guess_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    right = of_ahead._kept
    monkeypatch.setattr(of_ahead, "_kept", lambda x, drawn: min(right(x, drawn) + 1, len(drawn)))


def longest_prefix_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    right = of_ahead._kept

    def longest(x: np.ndarray, drawn: list[np.ndarray]) -> int:
        return max(right(x[b : b + 1], [each[b : b + 1] for each in drawn]) for b in range(len(x)))

    monkeypatch.setattr(of_ahead, "_kept", longest)


MISTAKES: list[Callable[[pytest.MonkeyPatch], None]] = [
    noise_of_the_position_before, clock_not_turned_back, one_guess_too_many, longest_prefix_of_a_batch
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_other_tokens(mistake: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _, _ = both("wavenet_class", 4, 3)
    mistake(monkeypatch)
    graph = NETWORKS["wavenet_class"]
    sampling = Sampling(require_head(graph, "generate"), 3, 7)
    found, _ = generate_ahead(bound_graph(graph, parameters(graph)), N, None, conditions(graph, 3, N), sampling, 4)
    assert (found != plain).any()
