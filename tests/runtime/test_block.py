"""Blocks of tokens: what steps give, in one call, from the same state, mixed with steps at will."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from helpers import refuses
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plain_caller import Caller
from stream_graphs import GRAPHS

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.errors import BackendError, GraphError, InputError
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.runtime.session import Session
from refar.testing import strategies
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.testing.contract.integers import integer_case, integral_graph
from refar_export import block_reads, export

Arrays = dict[str, np.ndarray]
LENGTH = 23


@pytest.fixture(scope="module")
def pair(streamed: Graph, tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Arrays]:
    params = generic_parameters(streamed, np.random.default_rng(1))
    return load(export(streamed, params, tmp_path_factory.mktemp("b") / "b")), params


def run(session: Session, inputs: Arrays, prompt: int, pieces: list[int]) -> np.ndarray:
    """A prompt, then pieces: blocks of these lengths, or for -n as many single steps. The outputs from the prompt's on."""
    found, ahead = facts(session.graph), int(is_strict(session.graph))
    x, conditions = inputs[found.sequence], {name: inputs[name] for name in found.conditions}
    outputs = [session.prefill(x[..., :prompt], conditions, len(x))[..., None]]
    done = prompt
    for length in pieces:
        for size in [length] if length >= 0 else [1] * -length:
            there = slice(done + ahead, done + ahead + size)
            local = {name: array[..., there] for name, array in conditions.items() if found.types[name].timed}
            if length >= 0:
                outputs.append(session.block(x[..., done : done + size], local))
            else:
                outputs.append(session.step(x[..., done], {name: a[..., 0] for name, a in local.items()})[..., None])
            done += size
    return np.concatenate(outputs, axis=2)


def oracle_state(graph: Graph, params: Arrays, inputs: Arrays, consumed: int) -> Arrays:
    """The state of `refar.next` or `refar.step` after this many tokens."""
    found, rows = facts(graph), len(inputs[facts(graph).sequence])
    ahead = int(is_strict(graph))

    def part(begin: int, end: int) -> Arrays:
        return {name: a[..., begin:end] if found.types[name].timed else a for name, a in inputs.items()}

    conditions = {name: part(ahead, consumed + ahead)[name] for name in found.conditions}
    x = inputs[found.sequence][..., :consumed]
    if not ahead:
        before = refar.initial_state(graph, params, rows, conditions or None)
        return refar.block(graph, params, before, x, conditions or None)[1]
    first = {name: inputs[name][..., 0] if found.types[name].timed else inputs[name] for name in found.conditions}
    _, before = refar.start(graph, params, rows, first or None)
    return refar.next_block(graph, params, before, x, conditions or None)[1]


def random_pieces(rng: np.random.Generator, total: int) -> list[int]:
    """Blocks, empty ones too, and runs of steps, of `total` tokens in all."""
    pieces: list[int] = []
    while (left := total - sum(map(abs, pieces))) > 0:
        length = int(rng.integers(0, min(left, 8) + 1))
        pieces.append(length if rng.random() < 0.6 else -length)
    return pieces


@pytest.mark.parametrize("seed", range(6))
def test_blocks_and_steps_in_any_mix_are_the_oracles(pair: tuple[Session, Arrays], seed: int) -> None:
    session, params = pair
    graph, ahead = session.graph, int(is_strict(session.graph))
    rng = np.random.default_rng(seed)
    inputs = generic_inputs(graph, rng, 2, LENGTH)
    prompt = int(rng.integers(1 - ahead, LENGTH)) if seed else 1 - ahead
    total = LENGTH - ahead
    y = refar.forward(graph, params, inputs)
    got = run(session, inputs, prompt, random_pieces(rng, total - prompt))
    assert np.abs(got - y[:, :, prompt - 1 + ahead :]).max() <= tolerance(graph, y, np.float32)
    state = oracle_state(graph, params, inputs, total)
    assert session.state.keys() == state.keys()
    for name, value in state.items():
        assert np.abs(session.state[name] - value).max() <= tolerance(graph, value, np.float32), name


def exactly_equal(graph: Graph, pieces: list[list[int]], prompt: int, path: Path, seed: int = 0) -> bool:
    """On integers blocks and steps give the values and the state of the oracle; False if there are no such integers."""
    twin = integral_graph(graph)
    case = integer_case(twin, np.random.default_rng(seed), 2, (LENGTH + facts(graph).left_context,)) if twin else None
    if case is None:
        return False
    session, ahead = load(export(case.graph, case.params, path)), int(is_strict(case.graph))
    y, state = refar.forward(case.graph, case.params, case.inputs), {}
    for each in pieces:
        total = prompt + sum(map(abs, each))
        got = run(session, case.inputs, prompt, each)
        np.testing.assert_array_equal(got, y[:, :, prompt - 1 + ahead : total + ahead])
        state = oracle_state(case.graph, case.params, case.inputs, total)
        assert session.state.keys() == state.keys()
        for name, value in state.items():
            np.testing.assert_array_equal(session.state[name], value, name)
    return True


@settings(max_examples=40)
@given(
    graph=st.one_of(*[strategies.graphs(exact=True, strict=strict, paddings=("layer", "input")) for strict in (True, False)]),
    seed=st.integers(0, 99),
    short=st.sampled_from([0, 2, block_reads.SHORT]),
)
def test_random_graphs_on_integers(graph: Graph, seed: int, short: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`short`: where values are read so close to each other, a block gathers all of them."""
    rng = np.random.default_rng(seed)
    prompt, rest = int(rng.integers(1, 6 + facts(graph).left_context)), LENGTH - 6
    pieces = [random_pieces(rng, rest), [rest], [1] * rest, [-rest]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_reads, "SHORT", short)
        assume(exactly_equal(graph, pieces, prompt, tmp_path_factory.mktemp("b") / "b", seed))


@pytest.mark.parametrize("name", ["pools", "pools, not strict", "delays", "delays, input padding"])
def test_pools_and_delays_on_integers(name: str, tmp_path: Path) -> None:
    relu = [
        replace(node, op=ops.Activation("relu")) if node.op == ops.Activation("tanh") else node for node in GRAPHS[name].nodes
    ]
    graph = replace(GRAPHS[name], nodes=tuple(relu))
    assert exactly_equal(graph, [[1, 2, -3, 5, 0, 1, -1, 6], [-19], [1] * 19, [19]], 2, tmp_path / "b")


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_the_files_alone_from_the_start(streamed: Graph, level: str, tmp_path: Path) -> None:
    """A prompt of as few tokens as there can be, then blocks, as a program without refar runs them."""
    graph, ahead, found = streamed, int(is_strict(streamed)), facts(streamed)
    params = generic_parameters(graph, np.random.default_rng(3))
    caller = Caller(export(graph, params, tmp_path / "b"), level)
    inputs = generic_inputs(graph, np.random.default_rng(4), 2, LENGTH)
    feeds = {name: a if a.dtype == np.int64 else a.astype(np.float32) for name, a in inputs.items()}

    def part(begin: int, end: int, condition: int) -> Arrays:
        by = {name: 0 if name == found.sequence else condition for name in feeds}
        cut = {name: a[..., begin + by[name] : end + by[name]] if found.types[name].timed else a for name, a in feeds.items()}
        return {name: np.ascontiguousarray(a) for name, a in cut.items()}

    outputs, done = [caller.start(part(0, 1, 0), np.full(2, 1 - ahead))[..., None]], 1 - ahead
    for length in (1, 4, 2, LENGTH - 8):
        outputs.append(caller.block(part(done, done + length, ahead)))
        done += length
    y = refar.forward(graph, params, inputs)
    assert np.abs(np.concatenate(outputs, axis=2) - y).max() <= tolerance(graph, y, np.float32)


def test_a_block_may_be_longer_than_all_that_came_before(wavenet: Session) -> None:
    x = np.random.default_rng(0).integers(0, 5, (3, 400))
    wavenet.prefill(x[:, :2], [0, 1, 2])
    y = wavenet.forward(x, [0, 1, 2])
    assert np.abs(wavenet.block(x[:, 2:-1]) - y[:, :, 3:]).max() <= tolerance(wavenet.graph, y, np.float32)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7, condition="class:3")
    return export(graph, refar.init(graph, seed=1), tmp_path_factory.mktemp("b") / "b")


@pytest.fixture
def wavenet(blocks: Path) -> Session:
    return load(blocks)


def test_nothing_in_a_block_gives_nothing(wavenet: Session, tmp_path: Path) -> None:
    wavenet.prefill([[0, 1], [2, 3]], [0, 1])
    before = wavenet.state
    assert wavenet.block(np.zeros((2, 0), int)).shape == (2, 5, 0)
    assert all(np.array_equal(before[name], value) for name, value in wavenet.state.items())
    wavenet.prefill(batch=0, condition=np.zeros(0, int))
    assert wavenet.block(np.zeros((0, 4), int)).shape == (0, 5, 4)


def test_nothing_empty_reaches_onnxruntime(wavenet: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime 1.20 ends the process where a model is fed no rows."""
    wavenet.prefill([[0, 1], [2, 3]], [0, 1])
    before = wavenet.state
    for name in ("run", "run_with_iobinding"):
        monkeypatch.setattr(onnxruntime.InferenceSession, name, None)
    assert wavenet.block(np.zeros((2, 0), int)).shape == (2, 5, 0)
    assert all(np.array_equal(before[name], value) for name, value in wavenet.state.items())
    assert wavenet.forward(np.zeros((0, 4), int), np.zeros(0, int)).shape == (0, 5, 4)
    assert wavenet.generate(3, batch=0, condition=np.zeros(0, int)).shape == (0, 3)
    y = wavenet.prefill(batch=0, condition=np.zeros(0, int))
    assert (y.shape, y.dtype) == ((0, 5), np.float32)
    assert wavenet.block(np.zeros((0, 4), int)).shape == (0, 5, 4)
    assert wavenet.step(np.zeros(0, int)).shape == (0, 5)
    after = wavenet.state
    assert {name: value.shape for name, value in after.items()} == {name: (0, *a.shape[1:]) for name, a in before.items()}
    assert all(value.dtype == np.float32 for value in after.values())


def test_a_single_row_may_come_without_its_axis(wavenet: Session) -> None:
    wavenet.prefill([0, 1], 2)
    expected = wavenet.block([[3, 4, 0]])
    wavenet.prefill([0, 1], 2)
    np.testing.assert_array_equal(wavenet.block([3, 4, 0]), expected)


def test_a_block_stays_as_it_was_given(wavenet: Session) -> None:
    wavenet.prefill([[0, 1]], [1])
    first = wavenet.block([[2, 3]])
    kept, state = first.copy(), wavenet.state
    held = {name: value.copy() for name, value in state.items()}
    for x in ([[4, 0]], [[1, 1]]):
        wavenet.block(x)
    np.testing.assert_array_equal(first, kept)
    assert all(np.array_equal(held[name], value) for name, value in state.items())


def test_generating_leaves_the_stream_of_blocks_alone(blocks: Path) -> None:
    session, untouched = load(blocks), load(blocks)
    for each in (session, untouched):
        each.prefill([[0, 1]], [1])
        each.block([[2, 3]])
    session.generate(5, condition=0, batch=2)
    np.testing.assert_array_equal(session.block([[3, 1]]), untouched.block([[3, 1]]))


def test_the_provider_that_was_asked_for(blocks: Path) -> None:
    """On CUDA where it starts; elsewhere on the CPU, which is allowed here."""
    session, cpu = load(blocks, "cuda", fallback=True), load(blocks, threads=2)
    x = np.random.default_rng(1).integers(0, 5, (4, 30))
    for each in (session, cpu):
        each.prefill(x[:, :3], 1)
    for begin, end in ((3, 20), (20, 21), (21, 29)):
        y = cpu.block(x[:, begin:end])
        assert np.abs(session.block(x[:, begin:end]) - y).max() <= tolerance(cpu.graph, y, np.float32)
    y = cpu.step(x[:, 29])
    assert np.abs(session.step(x[:, 29]) - y).max() <= tolerance(cpu.graph, y, np.float32)


def test_bad_input_is_named(wavenet: Session, tmp_path: Path) -> None:
    with refuses(InputError, "block: expected a stream to go on from; call prefill first, with the conditions"):
        wavenet.block([[0]])
    wavenet.prefill([[0, 1], [2, 3]], [0, 1])
    with refuses(InputError, "'x': expected classes 0..4, got 5 at index (1, 2)"):
        wavenet.block([[0, 1, 2], [0, 1, 5]])
    with refuses(InputError, "'x': expected 2 rows, as the stream has, got 3"):
        wavenet.block(np.zeros((3, 2), int))
    with refuses(InputError, "'x': expected axes bt, got an array of shape (2, 1, 3)"):
        wavenet.block(np.zeros((2, 1, 3), int))
    with refuses(InputError, "'x': expected integers, the class indices, got float64"):
        wavenet.block(np.zeros((2, 3)))
    with refuses(InputError, "push: there is no condition 'speaker'"):
        wavenet.block([[0], [1]], {"speaker": [0, 1]})


def test_local_conditions_come_with_the_block(tmp_path: Path) -> None:
    graph = models.wavenet(4, [1, 2], residual=4, gate=3, skip=5, local="class:3")
    session = load(export(graph, refar.init(graph), tmp_path / "b"))
    session.prefill(None, [[0]], 2)
    with refuses(InputError, "push: condition 'local' is missing"):
        session.block([[0, 1], [2, 3]])
    with refuses(InputError, "push: expected as many conditions as tokens; 'x' has 2, 'local' has 3"):
        session.block([[0, 1], [2, 3]], [[0, 1, 2], [0, 1, 2]])
    with refuses(InputError, "condition 'local': expected 1 or 2 rows, got 3"):
        session.block([[0, 1], [2, 3]], np.zeros((3, 2), int))
    expected = session.block([[0, 1], [2, 3]], [[2, 1]])
    session.prefill(None, [[0]], 2)
    np.testing.assert_array_equal(session.block([[0, 1], [2, 3]], {"local": [[2, 1], [2, 1]]}), expected)


def test_graphs_that_are_not_run_position_by_position(tmp_path: Path) -> None:
    g = Builder()
    ahead = g.build(g.delay(g.input(channels=1), -1))
    session = load(export(ahead, {}, tmp_path / "ahead"))
    with refuses(GraphError, "block needs a causal graph; node 'shift'"):
        session.block(np.zeros((1, 1, 3)))
    image = models.pixelcnn(4, kernel=3, hidden=3)
    session = load(export(image, refar.init(image), tmp_path / "image"))
    with refuses(GraphError, "block needs a network over time; images are computed pixel by pixel"):
        session.block(np.zeros((1, 1, 3, 3), int))


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    graph = models.linear_ar(2)
    params = {"ar.weight": np.full((1, 1, 2), 3e38), "ar.bias": np.zeros(1)}
    session = load(export(graph, params, tmp_path / "b"))
    session.prefill(np.zeros((1, 1, 2)))
    with refuses(BackendError, "block.onnx: expected finite outputs, got inf at index (0, 0, 1)"):
        session.block(np.array([[[0.0, 9.0]]]))
