"""Streams for people: from the first sample on, forked, joined, saved, with other conditions; and what they refuse."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import refuses
from msgspec.structs import replace
from stream_graphs import GRAPHS

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import BackendError, FileError, InputError
from refar.rounding.certify import certify
from refar.rounding.tolerance import tolerance
from refar.runtime import beginning, load
from refar.runtime.generation import NoiseAhead
from refar.runtime.session import Session
from refar.runtime.stream import Stream
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar_export import export

Arrays = dict[str, np.ndarray]
LENGTH = 40


class Case:
    """A network with inputs of three rows, its session, and what the oracle gives for the whole."""

    def __init__(self, graph: Graph, folder: Path, spare: int = 2) -> None:
        rng = np.random.default_rng(1)
        params = {name: array.astype(np.float32) for name, array in generic_parameters(graph, rng).items()}
        self.graph, self.found, self.params = graph, facts(graph), params
        self.session = load(export(graph, params, folder / "b", spare=spare))
        self.inputs = generic_inputs(graph, rng, 3, LENGTH)
        self.y = refar.forward(graph, params, self.inputs)
        self.allowed, self.strict = tolerance(graph, self.y, np.float32), int(self.found.strict)

    def part(self, begin: int, end: int, rows: Any = slice(None), *, local: bool = True) -> Arrays:
        """The conditions up to a position, or the local ones of some positions."""
        found = {}
        for name in self.found.conditions:
            timed = self.found.types[name].timed
            if timed or not local:
                array = self.inputs[name][rows]
                found[name] = array[..., begin:end] if timed else array
        return found

    def tokens(self, begin: int, end: int, rows: Any = slice(None)) -> np.ndarray:
        return self.inputs[self.found.sequence][rows][..., begin:end]

    def begin(self, rows: Any = slice(None)) -> Stream:
        batch = len(self.inputs[self.found.sequence][rows])
        return self.session.stream(batch, self.part(0, self.strict, rows, local=False) or None)

    def push(self, stream: Stream, begin: int, end: int, rows: Any = slice(None)) -> None:
        """Push tokens, and compare the outputs with those of the whole."""
        local = self.part(begin + self.strict, end + self.strict, rows)
        y = stream.push(self.tokens(begin, end, rows), local or None)
        expected = self.y[rows][:, :, begin + self.strict : end + self.strict]
        assert np.abs(y - expected).max(initial=0) <= self.allowed


@pytest.fixture(scope="module", params=GRAPHS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(GRAPHS[request.param], tmp_path_factory.mktemp("stream"))


def test_pushes_from_the_first_sample_on(case: Case) -> None:
    stream, at = case.begin(), 0
    if case.strict:
        assert stream.output is not None
        assert np.abs(stream.output - case.y[:, :, 0]).max() <= case.allowed
    for size in (1, 5, 0, 1, 2, 20, 1, 8):
        case.push(stream, at, at + size)
        at += size
        assert stream.taken.tolist() == [at] * 3
    assert stream.output is not None
    assert np.abs(stream.output - case.y[:, :, at - 1 + case.strict]).max() <= case.allowed


def test_prompts_of_different_lengths(case: Case) -> None:
    lengths = [0, 4, 11]
    prompt = [case.tokens(0, length, b)[..., :length] for b, length in enumerate(lengths)]
    stream = case.session.stream(condition=case.part(0, 11 + case.strict, local=False) or None, prompt=prompt)
    assert stream.taken.tolist() == lengths
    rows = [row for row, length in enumerate(lengths) if length + case.strict > 0]
    expected = np.stack([case.y[row, :, lengths[row] + case.strict - 1] for row in rows])
    assert stream.output is not None
    assert np.abs(stream.output[rows] - expected).max() <= case.allowed
    assert np.isnan(stream.output).any(axis=1).tolist() == [row not in rows for row in range(3)]
    for t in range(5):
        local = {n: a[np.arange(3), ..., np.array(lengths) + t + case.strict] for n, a in case.part(0, LENGTH).items()}
        x = case.inputs[case.found.sequence]
        y = stream.step(x[np.arange(3), ..., np.array(lengths) + t], local or None)
        expected = np.stack([case.y[b, :, length + t + case.strict] for b, length in enumerate(lengths)])
        assert np.abs(y - expected).max() <= case.allowed


def test_a_prompt_of_any_length_is_taken_in_pieces(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [3, 30, 17]
    prompt = [case.tokens(0, length, b) for b, length in enumerate(lengths)]
    condition = case.part(0, 30 + case.strict, local=False) or None
    whole = case.session.stream(condition=condition, prompt=prompt)
    monkeypatch.setattr(beginning, "_LEAST", 8)
    monkeypatch.setattr(beginning, "_AT_ONCE", 3 * 8)
    pieces = case.session.stream(condition=condition, prompt=prompt)
    assert pieces.taken.tolist() == lengths
    assert pieces.output is not None
    assert whole.output is not None
    assert np.abs(pieces.output - whole.output).max() <= case.allowed
    for name, value in whole.state.items():
        assert np.abs(pieces.state[name] - value).max() <= tolerance(case.graph, value, np.float32)


def test_forks_rows_and_joins(case: Case) -> None:
    stream = case.begin()
    case.push(stream, 0, 7)
    fork, pair = stream.fork(), stream.take([2, 0])
    case.push(stream, 7, 12)
    case.push(pair, 7, 15, [2, 0])
    case.push(fork, 7, 9)
    late = case.begin([1])
    case.push(late, 0, 15, [1])
    joined = pair.join(late)
    assert joined.batch == 3
    case.push(joined, 15, 24, [2, 0, 1])
    case.push(fork, 9, 20)


def test_steps_are_taken_back(case: Case) -> None:
    stream = case.begin()
    case.push(stream, 0, 9)
    case.push(stream, 9, 10)
    stream.rewind(2)
    assert stream.output is None
    stream.push(case.tokens(1, 3), case.part(8 + case.strict, 10 + case.strict) or None)  # guesses, which are wrong
    stream.rewind(2)
    case.push(stream, 8, 14)
    with refuses(InputError, "rewind: expected at most 2 steps, got 3", "spare=2"):
        stream.rewind(3)
    case.push(stream, 14, 15)


def test_rows_begin_anew(case: Case) -> None:
    stream = case.begin()
    case.push(stream, 0, 9)
    stream.reset([1], case.part(0, case.strict, [1]) or None)
    assert stream.taken.tolist() == [9, 0, 9]
    at = np.array([9, 0, 9])
    for t in range(6):
        local = {n: a[np.arange(3), ..., at + t + case.strict] for n, a in case.part(0, LENGTH).items()}
        y = stream.step(case.inputs[case.found.sequence][np.arange(3), ..., at + t], local or None)
        expected = np.stack([case.y[b, :, p + t + case.strict] for b, p in enumerate(at)])
        assert np.abs(y - expected).max() <= case.allowed


def test_a_state_is_read_set_saved_and_loaded(case: Case, tmp_path: Path) -> None:
    stream = case.begin()
    case.push(stream, 0, 10)
    stream.save(tmp_path / "stream")
    other, loaded = case.begin(), case.session.load_stream(tmp_path / "stream")
    other.state = stream.state
    assert loaded.taken.tolist() == [10] * 3
    np.testing.assert_array_equal(loaded.output, stream.output)
    for each in (stream, other, loaded):
        case.push(each, 10, 21)
    for name, value in stream.state.items():
        np.testing.assert_array_equal(other.state[name], value)


def local_twin(graph: Graph) -> Graph:
    """The same network with its global condition as a local one."""
    nodes = [replace(n, op=replace(n.op, role="local")) if n.name == "condition" else n for n in graph.nodes]
    return replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize("strict", [True, False])
def test_a_condition_that_changes_is_one_that_is_piecewise_constant(strict: bool, tmp_path: Path) -> None:
    graph = models.wavenet(5, [1, 2, 4], residual=4, gate=3, skip=5, condition="class:3")
    if not strict:
        g = Builder()
        h = g.gate(g.add(g.conv1d(g.input(channels=1), 6, kernel=3), g.embedding(g.condition(classes=3), 6)))
        graph = g.build(g.conv1d(h, 2, kernel=4))
    case = Case(graph, tmp_path)
    x, first, then = case.inputs["x"], np.array([0, 1, 2]), np.array([2, 2, 0])
    over_time = np.concatenate([np.repeat(first[:, None], 9 + strict, 1), np.repeat(then[:, None], LENGTH - 9 - strict, 1)], 1)
    y = refar.forward(local_twin(graph), case.params, {"x": x, "condition": over_time})
    stream = case.session.stream(3, first)
    found = [stream.push(x[..., :9]), stream.push(x[..., 9:20], {"condition": then}), stream.push(x[..., 20 : LENGTH - strict])]
    assert np.abs(np.concatenate(found, axis=2) - y[:, :, strict:]).max() <= tolerance(graph, y, np.float32)
    assert stream.conditions["condition"].tolist() == then.tolist()


def test_a_condition_that_must_not_change_is_refused_with_the_node(tmp_path: Path) -> None:
    g = Builder()
    h = g.add(g.embedding(g.input(classes=4), 3), g.embedding(g.condition("speaker", classes=2), 3), name="under")
    graph = g.build(g.conv1d(h, 4, kernel=2, strict=True), ops.Categorical())
    case = Case(graph, tmp_path)
    stream = case.begin()
    case.push(stream, 0, 5)
    with refuses(InputError, "push: 'speaker' cannot change in mid-stream: node 'under' (add) is at the position of the token"):
        stream.push(case.tokens(5, 7), {"speaker": [0, 1, 0]})
    case.push(stream, 5, 9)
    padded = replace(models.wavenet(4, [1], residual=2, gate=2, skip=2, condition="class:2"), padding="input")
    stream = load(export(padded, refar.init(padded), tmp_path / "padded")).stream(1, 0)
    with refuses(InputError, "cannot change in mid-stream under padding 'input'"):
        stream.step([0], {"condition": [1]})


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Session:
    graph = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7, condition="class:3")
    return load(export(graph, refar.init(graph, seed=1), tmp_path_factory.mktemp("b") / "b"))


def test_what_a_stream_refuses_leaves_it_as_it_was(speaking: Session, tmp_path: Path) -> None:
    stream = speaking.stream(2, [0, 1])
    stream.push([[0, 1, 2], [3, 4, 0]])
    before = stream.state
    g = Builder()
    other = g.build(g.conv1d(g.input(channels=1), 1, kernel=2))
    foreign = load(export(other, refar.init(other), tmp_path / "other")).stream()
    foreign.save(tmp_path / "foreign")
    for call, fragments in [
        (lambda: stream.push([[0, 5], [0, 0]]), ["'x': expected classes 0..4, got 5"]),
        (lambda: stream.push([[0]]), ["'x': expected 2 rows, as the stream has, got 1"]),
        (lambda: stream.push([[0], [1]], {"condition": [3, 0]}), ["'condition': expected classes 0..2, got 3"]),
        (lambda: stream.push([[0], [1]], {"condition": [0, 1, 2]}), ["condition 'condition': expected 1 or 2 rows, got 3"]),
        (
            lambda: stream.push([[0], [1]], {"speaker": 0}),
            ["push: there is no condition 'speaker'; those of this network are 'condition' (global)"],
        ),
        (lambda: stream.take([2]), ["take: expected rows 0..1, got [2]"]),
        (lambda: stream.take([0.5]), ["take: expected the numbers of rows"]),
        (lambda: stream.reset([-1]), ["reset: expected rows 0..1, got [-1]"]),
        (lambda: stream.reset([0, 0]), ["reset: expected each row once"]),
        (lambda: stream.rewind(1), ["rewind: expected at most 0 steps, got 1", "spare=0"]),
        (lambda: stream.join(foreign), ["join: expected a stream of the same bundle, got one of another bundle"]),
        (lambda: setattr(stream, "state", {}), ["state: expected a mapping with", "got []"]),
        (lambda: setattr(stream, "state", {n: a[:1] for n, a in before.items()}), ["expected shape (2, ", "got (1, "]),
        (lambda: setattr(stream, "state", {n: a * np.nan for n, a in before.items()}), ["expected finite numbers, got nan"]),
    ]:
        with refuses(InputError, *fragments):
            call()
    with refuses(InputError, "'x': expected finite numbers, got nan"):
        foreign.push([[[np.nan]]])
    with refuses(FileError, "belongs to another network"):
        speaking.load_stream(tmp_path / "foreign")
    (tmp_path / "damaged").write_bytes((tmp_path / "foreign").read_bytes()[:-3])
    with refuses(FileError, "damaged' is damaged"):
        speaking.load_stream(tmp_path / "damaged")
    with refuses(FileError, "nowhere' cannot be read"):
        speaking.load_stream(tmp_path / "nowhere")
    assert all(np.array_equal(before[name], value) for name, value in stream.state.items())
    assert stream.taken.tolist() == [3, 3]


def test_a_stream_belongs_to_one_thread_at_a_time(speaking: Session) -> None:
    stream = speaking.stream(1, 0)
    caught: list[Exception] = []

    def push() -> None:
        try:
            stream.push([[0]])
        except BackendError as error:
            caught.append(error)

    with stream._lock:
        other = threading.Thread(target=push)
        other.start()
        other.join()
    (error,) = caught
    assert "push: this stream is at work in another thread; give each thread one" in str(error)
    stream.push([[0]])


def test_one_bundle_serves_many_streams_in_many_threads(speaking: Session) -> None:
    x = np.random.default_rng(0).integers(0, 5, (8, 60))
    expected = speaking.forward(x, np.arange(8) % 3)
    found: dict[int, np.ndarray] = {}

    def run(row: int) -> None:
        stream = speaking.stream(1, row % 3)
        found[row] = np.concatenate([stream.push(x[row : row + 1, n : n + 3]) for n in range(0, 57, 3)], axis=2)

    threads = [threading.Thread(target=run, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row in range(8):
        assert np.abs(found[row] - expected[row : row + 1, :, 1:58]).max() <= tolerance(speaking.graph, expected, np.float32)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_stream_that_overflows_says_so_until_it_begins_anew(tmp_path: Path) -> None:
    graph = models.linear_ar(2)
    params = {"ar.weight": np.full((1, 1, 2), 3e38), "ar.bias": np.zeros(1)}
    stream = load(export(graph, params, tmp_path / "b")).stream()
    with refuses(BackendError, "step.onnx: expected finite outputs, got inf"):
        stream.push([[[9.0]]])
    with refuses(BackendError, "push: rows [0] of this stream have become numbers that are not finite; reset them"):
        stream.push([[[0.0]]])
    stream.reset()
    assert stream.push([[[0.0]]]).tolist() == [[[0.0]]]


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("size", [1, 2])
def test_what_overflowed_is_taken_back_where_there_are_spare_slots(tmp_path: Path, size: int) -> None:
    graph = models.linear_ar(2)
    params = {"ar.weight": np.array([[[0.5, 3e38]]]), "ar.bias": np.zeros(1)}
    stream = load(export(graph, params, tmp_path / "b", spare=2)).stream(2)
    stream.push([[[0.5]], [[0.0]]])
    with refuses(BackendError, "expected finite outputs"):
        stream.push(np.array([9.0, 0.25])[:, None, None] * np.ones((2, 1, size)))
    assert stream.taken.tolist() == [1 + size] * 2
    with refuses(BackendError, "push: rows [0] of this stream have become numbers that are not finite; reset them, or rewind"):
        stream.push(np.zeros((2, 1, 1)))
    with refuses(BackendError, "rows [0] of this stream"):
        stream.take([1, 0]).take([1]).push([[[0.0]]])
    stream.rewind(size)
    assert stream.push(np.full((2, 1, 1), 1e-37))[:, 0, 0].tolist() == pytest.approx([0.25 + 30, 30])
    assert stream.push(np.zeros((2, 1, 2)))[:, 0, -1].tolist() == [0, 0]
    stream.save(tmp_path / "stream")


@pytest.mark.filterwarnings("ignore:overflow")
def test_what_was_finite_before_an_overflow_need_not_be_taken_back(tmp_path: Path) -> None:
    params = {"ar.weight": np.array([[[0.5, 3e38]]]), "ar.bias": np.zeros(1)}
    stream = load(export(models.linear_ar(2), params, tmp_path / "b", spare=3)).stream()
    with refuses(BackendError, "block.onnx: expected finite outputs, got inf at index (0, 0, 1); the tokens have been taken"):
        stream.push([[[0.5, 9.0, 0.25]]])
    stream.rewind(1)
    with refuses(BackendError, "rows [0] of this stream"):
        stream.push([[[0.0]]])
    stream.rewind(1)
    assert stream.push([[[0.25]]]).tolist() == pytest.approx(np.array([[[7.5e37 + 0.25]]]))


def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    """No output shows it yet."""
    g = Builder()
    x = g.input(channels=1)
    graph = g.build(g.tanh(g.conv1d(g.conv1d(x, 1, kernel=1, name="large"), 1, kernel=2)))
    params = {name: np.full_like(array, 1e30) for name, array in refar.init(graph).items()}
    stream = load(export(graph, params, tmp_path / "b")).stream(2)
    assert stream.push([[[1e30]], [[0.0]]])[:, 0, 0].tolist() == [1.0, 1.0]
    with refuses(BackendError, "save: the state of node 'large' is not finite in rows [0]; reset them"):
        stream.save(tmp_path / "stream")
    assert not (tmp_path / "stream").exists()
    stream.reset([0])
    stream.save(tmp_path / "stream")


def test_generation_with_a_seed_temperature_and_stop_class_for_each_row(speaking: Session) -> None:
    alone = [speaking.generate(12, seed=s, temperature=t, condition=c) for s, t, c in [(3, 1.0, 0), (4, 0.5, 1), (5, 0.0, 2)]]
    rows = speaking.generate(12, seed=[3, 4, 5], temperature=[1.0, 0.5, 0.0], condition=[0, 1, 2])
    np.testing.assert_array_equal(rows, np.concatenate(alone))
    tokens = speaking.generate(40, batch=3, condition=1, seed=6, stop=[2, None, 0])
    free = speaking.generate(40, batch=3, condition=1, seed=6)
    for row, stop in enumerate([2, None, 0]):
        end = next((t for t in range(40) if free[row, t] == stop), 40)
        np.testing.assert_array_equal(tokens[row, : end + 1], free[row, : end + 1])
        assert (tokens[row, end:] == (stop if stop is not None else free[row, end:])).all()


def test_generation_after_prompts_of_different_lengths(speaking: Session) -> None:
    prompt = [[0, 1, 2, 3], [4], []]
    rows = speaking.generate(9, seed=[7, 8, 9], prompt=prompt, condition=[0, 1, 2])
    for row, (each, seed) in enumerate(zip(prompt, [7, 8, 9], strict=True)):
        alone = speaking.generate(9, seed=seed, prompt=np.array([each], int), condition=row)
        np.testing.assert_array_equal(rows[row : row + 1], alone)


def test_the_log_probability_of_what_was_drawn(speaking: Session) -> None:
    tokens, log_p = speaking.generate(15, batch=2, condition=[0, 2], seed=1, log_prob=True)
    np.testing.assert_allclose(log_p.sum(axis=1), speaking.score(tokens, [0, 2]), rtol=1e-5)


def test_blocks_as_soon_as_they_are_there(speaking: Session) -> None:
    expected = speaking.generate(600, batch=2, condition=1, seed=2)
    blocks = list(speaking.generate_blocks(600, block=7, batch=2, condition=1, seed=2))
    assert {block.shape[1] for block in blocks} == {7, 5}
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), expected)
    endless = speaking.generate_blocks(block=50, condition=1, seed=2)
    first = np.concatenate([next(endless) for _ in range(3)], axis=1)
    np.testing.assert_array_equal(first, speaking.generate(150, condition=1, seed=2))
    ended = list(speaking.generate_blocks(block=10, condition=1, seed=2, stop=3))
    assert ended[-1][0, -1] == 3
    assert len(ended) < 30
    pairs = list(speaking.generate_blocks(40, block=7, batch=2, condition=1, seed=2, log_prob=True))
    tokens, log_p = speaking.generate(40, batch=2, condition=1, seed=2, log_prob=True)
    np.testing.assert_array_equal(np.concatenate([block for block, _ in pairs], axis=1), tokens)
    np.testing.assert_array_equal(np.concatenate([each for _, each in pairs], axis=1), log_p)


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"seed": [1, 2]}, ["seed: expected one, or one for each of 3 rows, got 2"]),
        ({"temperature": [1.0, -1.0, 0.0]}, ["temperature: expected a finite number ≥ 0, got -1.0"]),
        ({"stop": 5}, ["stop: expected an integer from 0 to 4, got 5"]),
        ({"stop": [1, 2]}, ["stop: expected one, or one for each of 3 rows, got 2"]),
        ({"prompt": [[0], [1, 2]]}, ["prompt: expected 1 or 3 rows, got 2"]),
        ({"prompt": [[0], [1, 7], []]}, ["'prompt 1': expected classes 0..4, got 7"]),
    ],
)
def test_options_that_do_not_fit(speaking: Session, options: dict[str, Any], fragments: list[str]) -> None:
    with refuses(InputError, *fragments):
        speaking.generate(5, batch=3, condition=0, **options)


def test_tokens_of_every_network_with_prompts_seeds_and_conditions_of_their_own(model: Graph, tmp_path: Path) -> None:
    """Batch 7: the oracle's tokens for each row alone; where float32 draws another, exact arithmetic cannot tell for certain."""
    params = {name: (3 * value).astype(np.float32) for name, value in refar.init(model, seed=4).items()}
    session, found, rng = load(export(model, params, tmp_path / "b")), facts(model), np.random.default_rng(5)
    lengths, seeds, kind = [0, 1, 2, 5, 9, 9, 14], list(range(20, 27)), found.types[found.sequence]
    whole = generic_inputs(model, rng, 7, 14)
    prompt = [whole[found.sequence][row][..., :length] for row, length in enumerate(lengths)]
    given = {name: whole[name] for name in found.conditions}
    tokens = session.generate(12, prompt=prompt, seed=seeds, condition=given or None)
    for row, (start, seed) in enumerate(zip(prompt, seeds, strict=True)):
        own = {name: array[row : row + 1] for name, array in given.items()} or None
        expected = refar.generate(model, params, 12, prompt=start[None], seed=seed, condition=own)
        if not kind.indexed:
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(tokens[row : row + 1], expected, rtol=0, atol=1e-4 * scale)
        elif not np.array_equal(tokens[row : row + 1], expected):
            first = int(np.argmax(tokens[row] != expected[0]))
            certificate = certify(model, params, tokens[row : row + 1], prompt=start[None], seed=seed, condition=own)
            assert certificate.doubts, f"row {row}, step {first}"
            assert certificate.doubts[0].step <= len(start) + first


def test_noise_that_is_drawn_ahead_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of any size, a last one that is smaller, and any number of threads."""
    graph = models.nettoy1d(5, hidden=4, mean=2.0, std=1.0)
    params = {name: (3 * array).astype(np.float32) for name, array in refar.init(graph, seed=1).items()}
    session = load(export(graph, params, tmp_path / "b"))
    expected = refar.generate(graph, params, 600, batch=2, seed=9)
    for threads, numbers in ((1, 2**22), (1, 70), (3, 70), (1, 10), (3, 10), (1, 1)):
        monkeypatch.setattr("refar.runtime.generation.NoiseAhead", lambda t=threads, n=numbers: NoiseAhead(t, n))
        np.testing.assert_array_equal(session.generate(600, batch=2, seed=9), expected)
        parts = [block for block, _ in zip(session.generate_blocks(block=100, batch=2, seed=9), range(6), strict=False)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)
