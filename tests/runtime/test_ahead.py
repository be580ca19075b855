"""Sampling ahead in onnxruntime gives the tokens of one step each, with every option, and watches whether it pays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ahead_cases import NETWORKS, conditions, parameters
from helpers import refuses

import refar
from refar import Builder, Graph, models, ops
from refar.arguments.sampling import Sampling
from refar.errors import BackendError, GraphError, InputError
from refar.graph.graph import require_head
from refar.oracle.ahead_generation import generate_ahead
from refar.oracle.bound_graph import bound_graph
from refar.runtime import ahead as of_ahead
from refar.runtime import load
from refar.runtime.generation import Draws, NoiseAhead
from refar.runtime.pace import Pace
from refar.runtime.session import Session
from refar.runtime.stream import Stream
from refar_export import export

N, SPARE = 40, 9


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Session]:
    folder = tmp_path_factory.mktemp("ahead")
    return {name: load(export(graph, parameters(graph), folder / name, spare=SPARE)) for name, graph in NETWORKS.items()}


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guess all the time, whatever it takes."""
    monkeypatch.setattr(Pace, "guesses", True)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("ahead", [1, 4, SPARE])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_tokens_are_those_of_one_step_each(sessions: dict[str, Session], name: str, ahead: int, rows: int) -> None:
    session, graph = sessions[name], NETWORKS[name]
    options: dict[str, Any] = {"batch": rows, "seed": 7, "condition": conditions(graph, rows, N)}
    found = session.generate(N, ahead=ahead, **options)
    np.testing.assert_array_equal(found, session.generate(N, **options))
    sampling = Sampling(require_head(graph, "generate"), rows, 7)
    expected, _ = generate_ahead(bound_graph(graph, parameters(graph)), N, None, options["condition"], sampling, ahead)
    np.testing.assert_array_equal(found, expected)


OPTIONS: dict[str, dict[str, Any]] = {
    "temperature 0": {"temperature": 0.0},
    "top k": {"temperature": 0.7, "top_k": 2},
    "seeds and temperatures": {"seed": [5, 1, 5], "temperature": [1.0, 0.3, 2.0]},
    "one prompt": {"prompt": [[0, 3, 1, 1, 2]]},
    "prompts of different lengths": {"prompt": [[0, 3, 1, 1, 2], [], [2]], "batch": None},
    "stops": {"stop": [1, None, 0]},
    "one stop": {"stop": 2, "seed": [3, 4, 5], "prompt": [[1], [0, 3, 0], [2, 2]], "batch": None},
}


CHOICES = [(name, chosen) for name in ("wavenet_class", "conditions", "mixture") for chosen in OPTIONS]
CHOICES.remove(("mixture", "top k"))  # a mixture has no logit for every class


@pytest.mark.parametrize(("name", "chosen"), CHOICES)
def test_the_same_with_options(sessions: dict[str, Session], chosen: str, name: str) -> None:
    given = conditions(NETWORKS[name], 3, N + 5)
    options = {"batch": 3, "seed": 7, "condition": given, **OPTIONS[chosen]}
    plain, log_p = sessions[name].generate(N, log_prob=True, **options)
    for ahead in (3, SPARE):
        found, each = sessions[name].generate(N, log_prob=True, ahead=ahead, **options)
        np.testing.assert_array_equal(found, plain)
        np.testing.assert_allclose(each, log_p, rtol=0, atol=1e-4)  # float32 outputs, in another order of sums
        np.testing.assert_array_equal(each == 0, log_p == 0)


@pytest.mark.parametrize("block", [1, 5, 16, N, 100])
def test_blocks_have_their_size(sessions: dict[str, Session], block: int) -> None:
    session = sessions["wavenet_class"]
    options: dict[str, Any] = {"condition": [0, 1], "seed": 3, "block": block}
    plain, found = (list(session.generate_blocks(N, ahead=ahead, **options)) for ahead in (0, 6))
    assert [each.shape for each in found] == [each.shape for each in plain]
    np.testing.assert_array_equal(np.concatenate(found, 1), np.concatenate(plain, 1))


def test_without_end_until_every_row_has_stopped(sessions: dict[str, Session]) -> None:
    session = sessions["wavenet_class"]
    options: dict[str, Any] = {"condition": [0, 1], "seed": 3, "block": 4, "stop": [1, 2]}
    plain, found = (np.concatenate(list(session.generate_blocks(ahead=ahead, **options)), 1) for ahead in (0, 6))
    least = min(plain.shape[1], found.shape[1])  # what is left of the last block is not the same
    np.testing.assert_array_equal(found[:, :least], plain[:, :least])
    assert (found[:, -1] == [1, 2]).all()
    assert (plain[:, least:] == [[1], [2]]).all()


def test_noise_is_looked_at_across_its_batches(sessions: dict[str, Session], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refar.runtime.generation.NoiseAhead", lambda: NoiseAhead(steps=3))
    session = sessions["wavenet_class"]
    found = session.generate(N, batch=2, condition=1, seed=1, ahead=8)
    np.testing.assert_array_equal(found, session.generate(N, batch=2, condition=1, seed=1))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_tokens_and_none(sessions: dict[str, Session], n: int) -> None:
    session = sessions["wavenet_class"]
    for batch in (0, 2):
        found = session.generate(n, batch=batch, condition=1, ahead=5)
        np.testing.assert_array_equal(found, session.generate(n, batch=batch, condition=1))


def test_progress_counts_every_token(sessions: dict[str, Session]) -> None:
    counted: list[int] = []
    sessions["wavenet_class"].generate(N, condition=1, ahead=5, progress=counted.append)
    assert counted == list(range(1, N + 1))


def test_the_clock_changes_no_token(sessions: dict[str, Session], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and rounds take turns, as a pace says that knows no reason."""
    coming = iter(np.random.default_rng(0).integers(0, 2, 1000))
    monkeypatch.setattr(Pace, "guesses", property(lambda _: bool(next(coming))))
    session = sessions["conditions"]
    options: dict[str, Any] = {"batch": 2, "seed": 2, "condition": conditions(NETWORKS["conditions"], 2, N), "log_prob": True}
    for one, other in zip(session.generate(N, ahead=6, **options), session.generate(N, **options), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


def test_more_guesses_than_can_be_taken_back_are_refused(sessions: dict[str, Session]) -> None:
    with refuses(InputError, "ahead: expected at most 9", "got 10", "--spare 10"):
        sessions["wavenet_class"].generate(N, condition=1, ahead=10)
    with refuses(InputError, "ahead: expected at most 9", "got 10"):
        sessions["wavenet_class"].generate_blocks(N, condition=1, ahead=10)
    with refuses(InputError, "ahead", "-1"):
        sessions["wavenet_class"].generate(N, condition=1, ahead=-1)


def test_signals_are_refused(tmp_path: Path) -> None:
    graph = models.linear_ar(4)
    session = load(export(graph, refar.init(graph), tmp_path / "b", spare=4))
    with refuses(GraphError, "ahead: expected a network of classes", "signals"):
        session.generate(5, ahead=2)
    assert session.generate(5, ahead=0).shape == (1, 1, 5)


def noise_of_the_position_before(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Draws.sample_several
    monkeypatch.setattr(Draws, "sample_several", lambda self, y, noises: right(self, y, np.roll(noises, 1, axis=0)))


def clock_not_turned_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "_take_back", lambda self, steps: None)


def one_guess_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    right = of_ahead.confirmed
    monkeypatch.setattr(of_ahead, "confirmed", lambda x, drawn, over: min(right(x, drawn, over) + 1, x.shape[1]))


def longest_prefix_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    right = of_ahead.confirmed
    monkeypatch.setattr(
        of_ahead, "confirmed", lambda *of: max(right(*(each[b : b + 1] for each in of)) for b in range(len(of[0])))
    )


def stops_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_ahead, "stopped_before", lambda tokens, stops, stopped: np.zeros(tokens.shape, bool))


def local_condition_of_the_position_before(monkeypatch: pytest.MonkeyPatch) -> None:
    right = of_ahead.window
    monkeypatch.setattr(of_ahead, "window", lambda array, start, length: right(array, start - 1, length))


MISTAKES: list[Callable[[pytest.MonkeyPatch], None]] = [
    noise_of_the_position_before, clock_not_turned_back, one_guess_too_many, longest_prefix_of_a_batch, stops_forgotten,
    local_condition_of_the_position_before,
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_other_tokens(
    sessions: dict[str, Session], mistake: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, given = sessions["conditions"], conditions(NETWORKS["conditions"], 3, N)
    options: dict[str, Any] = {"batch": 3, "seed": 7, "condition": given, "stop": [1, None, None]}
    plain = session.generate(N, **options)
    mistake(monkeypatch)
    assert (session.generate(N, ahead=4, **options) != plain).any()


def test_certify_speaks_about_the_same_tokens(sessions: dict[str, Session]) -> None:
    session = sessions["wavenet_class"]
    tokens = session.generate(12, batch=2, condition=[0, 2], seed=7, ahead=5)
    assert refar.certify(session.graph, session.weights, tokens, seed=7, condition=[0, 2])


def after_two_ones() -> tuple[Graph, dict[str, np.ndarray]]:
    """A network whose output is infinite after two 1s in a row, which it never draws."""
    g = Builder()
    graph = g.build(g.conv1d(g.embedding(g.input(classes=2), 1, name="e"), 2, kernel=2, strict=True, name="c"), ops.Categorical())
    weight = np.array([[[1.0, 1.0]], [[0.0, 0.0]]], np.float32)
    return graph, {"e.weight": np.array([[0], [2e38]], np.float32), "c.weight": weight, "c.bias": np.zeros(2, np.float32)}


@pytest.mark.filterwarnings("error")
def test_a_guess_may_lead_to_infinity(tmp_path: Path) -> None:
    """What lies behind a wrong guess means nothing."""
    graph, params = after_two_ones()
    session = load(export(graph, params, tmp_path / "b", spare=8))
    plain = session.generate(200, seed=1)
    assert plain.any()
    np.testing.assert_array_equal(session.generate(200, seed=1, ahead=4), plain)


def test_an_overflow_is_seen_with_and_without_guesses(tmp_path: Path) -> None:
    graph, params = after_two_ones()
    session = load(export(graph, {**params, "c.bias": np.array([3e38, 0], np.float32)}, tmp_path / "b", spare=8))
    prompt = [[0, 1]]
    for ahead in (0, 4):
        with pytest.raises(BackendError, match="expected finite outputs"):
            session.generate(20, seed=1, ahead=ahead, prompt=prompt)


@pytest.mark.parametrize("stop", [0, 1, [0, 2]])
def test_blocks_end_where_the_last_row_stops(sessions: dict[str, Session], stop: Any) -> None:
    options: dict[str, Any] = {"batch": 2, "condition": [0, 1], "seed": 3, "stop": stop, "block": 16}
    session = sessions["wavenet_class"]
    plain, found = (np.concatenate(list(session.generate_blocks(ahead=ahead, **options)), 1) for ahead in (0, 8))
    np.testing.assert_array_equal(found, plain)
    stops = np.broadcast_to(stop, 2)
    assert (plain[:, -1] == stops).all()
    assert plain.shape[1] == 1 or (plain[:, -2] != stops).any()


def test_an_early_stop_does_not_spoil_the_pace(sessions: dict[str, Session], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(Pace, "stepped", lambda self, seconds, values: told.append(values))
    session = sessions["wavenet_class"]
    tokens = session.generate(40, condition=1, seed=3, ahead=8, stop=1)
    assert sum(told) <= int((tokens == 1).argmax()) + 1
