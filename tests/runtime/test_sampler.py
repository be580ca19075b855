"""`generate(…, sampler=True)`: every option gives what drawing outside the graph gives, in memory that is kept and used again."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import refuses
from stream_graphs import GRAPHS

import refar
from refar import Graph, models, noise, ops
from refar.errors import BackendError, FileError, GraphError, InputError
from refar.runtime import buffers, in_graph, load, provider, resident
from refar.runtime.generation import NoiseAhead
from refar.runtime.session import Session
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar_export import export

NETWORK = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7, condition="class:3")


def opened(graph: Graph, path: Path, **options: Any) -> Session:
    params = {name: a.astype(np.float32) for name, a in generic_parameters(graph, np.random.default_rng(2)).items()}
    return load(export(graph, params, path / "b", sampler=True, **options))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return opened(NETWORK, tmp_path_factory.mktemp("sampler"))


OPTIONS: dict[str, dict[str, Any]] = {
    "one token": {"n": 1},
    "no token": {"n": 0},
    "no row": {"n": 5, "batch": 0, "condition": np.zeros(0, int)},
    "several batches of steps": {"n": 150},
    "rows of their own": {"n": 40, "seed": [3, 1, 3], "temperature": [1.0, 0.0, 0.3]},
    "a prompt": {"n": 40, "prompt": [[0, 1, 2]]},
    "prompts of different lengths": {"n": 40, "prompt": [[0, 1], [], [3, 4, 1, 0, 0, 2, 1]]},
    "a class that ends": {"n": 70, "stop": 2},
    "classes that end": {"n": 70, "stop": [1, None, 0]},
    "rows that end at once": {"n": 70, "stop": 0, "temperature": 0, "prompt": [[0] * 9]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option(session: Session, name: str) -> None:
    options = {"batch": 3, "seed": 1, "condition": [0, 1, 2], **OPTIONS[name]}
    n = options.pop("n")
    expected, log_p = session.generate(n, log_prob=True, **options)
    np.testing.assert_array_equal(session.generate(n, sampler=True, **options), expected)
    found, each = session.generate(n, sampler=True, log_prob=True, **options)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(each, log_p, atol=1e-6)
    if expected.size == 0:
        return
    blocks = list(session.generate_blocks(n, block=16, sampler=True, **options))
    assert all(block.shape[1] == 16 for block in blocks[:-1])
    joined = np.concatenate(blocks, axis=1)
    np.testing.assert_array_equal(joined, expected[:, : joined.shape[1]])


@pytest.mark.parametrize(("threads", "numbers", "steps"), [(1, 2**20, 64), (3, 2**20, 7), (5, 40, 64), (2, 1, 3)])
def test_noise_that_is_drawn_by_several_threads_is_the_same(
    threads: int, numbers: int, steps: int, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one seed and of seeds of their own, from one position and from several, in batches of any size."""
    monkeypatch.setattr(in_graph, "_noise_ahead", lambda *_: NoiseAhead(threads, numbers, np.float32, steps))
    for options in (
        {},
        {"seed": [3, 1, 3]},
        {"prompt": [[0, 1], [], [3, 4, 1]]},
        {"seed": [1, 2, 3], "prompt": [[0], [1, 1], []]},
    ):
        given: dict[str, Any] = {"batch": 3, "condition": [0, 1, 2], **options}
        expected = session.generate(150, **given)
        np.testing.assert_array_equal(session.generate(150, sampler=True, **given), expected)


def test_steps_are_fed_while_others_are_made(session: Session) -> None:
    """What is fed waits for the next draw, and memory of the steps under way is not touched."""
    options: dict[str, Any] = {"batch": 2, "condition": [0, 1]}
    expected = session.generate(21, **options)
    stream, draws = session.stream(2, np.array([0, 1])), noise.draw(ops.Categorical(), 0, range(2), 0, 21, 5).astype(np.float32)
    with resident.borrowed(session._opened, 2) as memory:
        memory.begin(stream._visits, expected[:, 0], np.ones(2))
        memory.feed(draws[1:9], {})
        first = memory.draw(4)
        rest = memory.draw(4, lambda: memory.feed(draws[9:20], {}))
        later = [memory.draw(1) for _ in range(11)]
        memory.feed(draws[20:], {})
        last = memory.draw(1)
    np.testing.assert_array_equal(np.concatenate([expected[:, :1], first, rest, *later, last], axis=1), expected)


def test_an_error_meanwhile_is_raised_after_the_steps(session: Session) -> None:
    def wrong() -> None:
        raise ValueError("meanwhile")

    with resident.borrowed(session._opened, 2) as memory:
        memory.begin(session.stream(2, np.array([0, 1]))._visits, np.zeros(2, np.int64), np.ones(2))
        memory.feed(np.zeros((4, 2, 5), np.float32), {})
        with pytest.raises(ValueError, match="meanwhile"):
            memory.draw(2, wrong)
        assert not session._opened.sampling.locked()


@pytest.mark.parametrize("name", ["conditions", "wavenet, local", "pools"])
def test_local_conditions_and_signals(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]
    session, found = opened(graph, tmp_path), refar.analysis.facts.facts(graph)
    given = generic_inputs(graph, np.random.default_rng(1), 2, 100)
    condition = {key: given[key] for key in found.conditions} or None
    for prompt in (None, given[found.sequence][..., :7]):
        options: dict[str, Any] = {"batch": 2, "condition": condition, "prompt": prompt}
        expected, found_ = session.generate(90, **options), session.generate(90, sampler=True, **options)
        np.testing.assert_allclose(found_, expected, atol=0 if expected.dtype == np.int64 else 1e-4)
        assert found_.dtype == expected.dtype


def test_without_an_end_until_every_row_has_stopped(session: Session) -> None:
    options: dict[str, Any] = {"batch": 2, "seed": 5, "condition": [0, 1], "stop": [2, 3]}
    found = np.concatenate(list(session.generate_blocks(sampler=True, block=8, **options)), axis=1)
    expected = np.concatenate(list(session.generate_blocks(block=8, **options)), axis=1)
    np.testing.assert_array_equal(found[:, : expected.shape[1]], expected)


def test_progress_counts_tokens(session: Session) -> None:
    said: list[int] = []
    session.generate(100, condition=0, sampler=True, progress=said.append)
    assert said == list(range(1, 101))


def test_memory_is_used_again_by_its_thread_alone(session: Session) -> None:
    session.generate(10, batch=2, condition=0, sampler=True)
    mine, held = session._opened.residents.last, list[Any]()
    assert mine is not None
    first = session.generate(30, batch=2, condition=1, seed=8, sampler=True)
    assert session._opened.residents.last is mine
    results: list[Any] = []

    def generate() -> None:
        results.append(session.generate(30, batch=2, condition=1, seed=8, sampler=True))
        held.append(weakref.ref(session._opened.residents.last))

    for _ in range(4):  # one after the other: threads that have the number of one that has ended
        other = threading.Thread(target=generate)
        other.start()
        other.join()
    for found in results:
        np.testing.assert_array_equal(found, first)
    gc.collect()
    assert [each() for each in held] == [None] * 4
    assert session._opened.residents.last is mine
    session.generate(10, batch=3, condition=0, sampler=True)
    assert session._opened.residents.last.rows == 3


def test_a_thread_with_the_number_of_one_that_has_ended_is_another(session: Session) -> None:
    seen: list[tuple[int, Any]] = []

    def generate() -> None:
        session.generate(5, batch=2, condition=1, sampler=True)
        seen.append((threading.get_ident(), session._opened.residents.thread))

    for _ in range(4):
        other = threading.Thread(target=generate)
        other.start()
        other.join()
    assert len({id(thread) for _, thread in seen}) == 4


def test_memory_that_is_not_there_is_told(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("refar.runtime.buffers.np.zeros", full)
    with pytest.raises(BackendError, match=r"a batch of 7 takes [0-9]+ MB on cpu"):
        resident.Resident(session._opened, 7)


def test_two_generations_at_once_do_not_share_memory(session: Session) -> None:
    expected = [session.generate(60, batch=2, condition=1, seed=seed) for seed in (1, 2)]
    each = [session.generate_blocks(60, batch=2, condition=1, seed=seed, block=10, sampler=True) for seed in (1, 2)]
    pairs = list(zip(*each, strict=True))
    for row in range(2):
        np.testing.assert_array_equal(np.concatenate([pair[row] for pair in pairs], axis=1), expected[row])


def test_what_a_capture_leaves_behind_is_reset(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA the call that records a step makes it three times; here as many calls are made on the memory of zeros."""
    options: dict[str, Any] = {"batch": 4, "condition": 2, "seed": 3}
    expected, begin = session.generate(50, **options), resident.Resident._begin_session

    def captured(self: resident.Resident) -> None:
        begin(self)
        self._run(3)

    monkeypatch.setattr(resident.Resident, "_begin_session", captured)
    np.testing.assert_array_equal(session.generate(50, sampler=True, **options), expected)
    np.testing.assert_array_equal(session.generate(50, sampler=True, **options), expected)


def test_a_session_that_cannot_capture_goes_on_without(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a kernel refuses to be recorded: the session is opened anew, and the reason kept."""
    opened = session._opened
    run, failed = resident.Resident._run, []

    def refusing(self: resident.Resident, count: int, *more: Any) -> None:
        if opened.captures:
            failed.append(count)
            raise BackendError("no capture")
        run(self, count, *more)

    right = provider.open_session
    monkeypatch.setattr(provider, "open_session", lambda data, what, _, **options: right(data, what, "cpu", **options))
    monkeypatch.setattr(opened, "not_captured", "")
    monkeypatch.setattr(resident.Resident, "_run", refusing)
    found = session.generate(20, batch=6, condition=0, sampler=True)
    np.testing.assert_array_equal(found, session.generate(20, batch=6, condition=0))
    assert failed == [1]
    assert session.not_captured == "no capture"
    session._opened.residents.last = None


def test_a_model_that_cannot_be_captured_is_opened_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: Any, cuda: dict[str, str], **__: Any) -> str:
        if "enable_cuda_graph" in cuda:
            raise FileError("nodes on the CPU")
        return "session"

    monkeypatch.setattr(provider, "open_session", refusing)
    monkeypatch.setattr(provider, "running", lambda _: "cuda")
    found = provider.open_captured(b"", "sampler.onnx", "cuda", fallback=False, threads=1, cuda={})
    assert found == ("session", "nodes on the CPU")


def test_a_batch_that_does_not_fit_says_how_much_it_takes(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(buffers.Buffer):
        def __init__(self, value: Any, device: str) -> None:
            if value.ndim == 3 and value.shape[1] == 700:
                raise MemoryError
            super().__init__(value, device)

    monkeypatch.setattr(buffers, "Buffer", Full)
    with refuses(BackendError, "a batch of 700 takes ", " MB on cpu, more than there is"):
        buffers.made("a batch of 700", {"noise": np.zeros((9, 700, 2))}, "cpu")
    monkeypatch.setattr(buffers, "memory", lambda device: (2_000_000, 3_000_000))
    with refuses(BackendError, "a batch of 90000 takes ", " MB on cpu, where 2 MB of 3 MB are free"):
        session.generate(5, batch=90_000, condition=0, sampler=True)


def test_a_captured_step_stays_in_its_thread(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session._opened, "not_captured", "")
    blocks = session.generate_blocks(150, batch=5, condition=0, block=10, sampler=True)
    for _ in range(2):
        next(blocks)  # the first steps are made; more follow
    with (
        ThreadPoolExecutor(1) as other,
        refuses(BackendError, "sampler.onnx: expected the thread in which the generation began"),
    ):
        other.submit(list, blocks).result()
    session._opened.residents.last = None


def test_free_memory_is_that_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
            free._obj.value, total._obj.value = 3_000_000, 80_000_000
            return 0

    monkeypatch.setattr("ctypes.CDLL", lambda name: Driver())
    assert provider.memory("cuda") == (3_000_000, 80_000_000)
    assert provider.memory("cpu") is None


def test_outputs_that_are_not_finite_are_seen(tmp_path: Path) -> None:
    g = refar.Builder()
    h = g.affine(g.conv1d(g.one_hot(g.input(classes=3)), 3, strict=True, name="front"), 1e30)
    graph = g.build(g.multiply(h, h), refar.ops.Categorical())
    params = {name: np.zeros(shape) for name, shape in refar.analysis.facts.facts(graph).parameters.items()}
    params["front.weight"][:, 1] = 1.0
    session = load(export(graph, params, tmp_path / "b", sampler=True))
    for row in (0, 2):
        session.generate(1, prompt=[[row]], sampler=True)
    with refuses(BackendError, "sampler.onnx: expected finite outputs, got nan or infinity at one of"):
        session.generate(40, batch=4, sampler=True)
    with refuses(BackendError, "sampler.onnx: expected finite outputs, got nan or infinity at one of 1 steps"):
        session.generate(40, batch=4, sampler=True, log_prob=True)


def test_what_does_not_fit_is_refused(session: Session, tmp_path: Path) -> None:
    plain = load(export(NETWORK, refar.init(NETWORK), tmp_path / "plain", spare=3))
    with refuses(
        InputError, "sampler: expected a bundle with sampler.onnx, got one without; export it with refar export --sampler"
    ):
        plain.generate(5, condition=0, sampler=True)
    with refuses(InputError, "top_k: expected None, which sampler.onnx of this bundle was made for, got 2"):
        session.generate(5, condition=0, top_k=2, sampler=True)
    two = opened(NETWORK, tmp_path / "two", top_k=2, spare=3)
    with refuses(InputError, "top_k: expected 2, which sampler.onnx of this bundle was made for, got None"):
        next(two.generate_blocks(5, condition=0, sampler=True))
    with refuses(InputError, "ahead: expected 0 where tokens are drawn in the graph, got 3"):
        two.generate(5, condition=0, top_k=2, ahead=3, sampler=True)
    with refuses(InputError, "temperature"):
        session.generate(5, condition=0, temperature=1e39, sampler=True)
    images = models.pixelcnn(4, hidden=2)
    painter = load(export(images, refar.init(images), tmp_path / "images"))
    with refuses(GraphError, "sampler: expected a network over time, got one over images"):
        painter.generate((3, 3), sampler=True)
    with refuses(InputError, "tf32: expected provider 'cuda' with it, whose products it rounds; got 'cpu'"):
        load(tmp_path / "plain", tf32=True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"sampler": {"top_k": 2}', '"sampler": {"top_k": 9}', "bundle.json: sampler: top_k"),
        (',\n  "sampler": {"top_k": 2}', "", "bundle.json: expected digests of"),
        ('"sampler": {"top_k": 2}', '"sampler": {"top_k": 2, "top_p": 1}', "unknown field"),
    ],
)
def test_a_damaged_manifest(old: str, new: str, said: str, tmp_path: Path) -> None:
    opened(NETWORK, tmp_path, top_k=2)
    text = (tmp_path / "b" / "bundle.json").read_text()
    compact = text.replace('"sampler": {\n    "top_k": 2\n  }', '"sampler": {"top_k": 2}')
    assert old in compact
    (tmp_path / "b" / "bundle.json").write_text(compact.replace(old, new))
    with refuses(FileError, said):
        load(tmp_path / "b")
