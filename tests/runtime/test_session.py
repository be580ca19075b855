"""A bundle at work: the same numbers and tokens as the oracle, and clear refusals."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import generate_with_outputs, refuses
from plain_caller import Caller

import refar
from refar import Graph, models, noise
from refar.analysis.causality import receptive_field
from refar.analysis.facts import facts
from refar.errors import BackendError, FileError, GraphError, InputError
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.runtime.session import Session
from refar_export import export


def conditions(graph: Graph, rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    kinds = {name: facts(graph).types[name] for name in facts(graph).conditions}
    return {n: rng.integers(0, k.size, rows) if k.indexed else rng.normal(size=(rows, k.size)) for n, k in kinds.items()}


@pytest.fixture(scope="module")
def pair(model: Graph, tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, dict[str, np.ndarray]]:
    """A session, and its parameters: drawn three times wider than for training, so that logits lie well apart."""
    params = {name: 3 * value for name, value in refar.init(model, seed=4).items()}
    return load(export(model, params, tmp_path_factory.mktemp("b") / "b")), params


@pytest.mark.row("002-8")
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("prompt_length", ["0", "1", "R-1", "R", "R+1"])
def test_the_same_tokens_as_both_numpy_algorithms(
    pair: tuple[Session, dict[str, np.ndarray]], batch: int, temperature: float, prompt_length: str
) -> None:
    session, params = pair
    graph, head = session.graph, session.graph.head
    assert head is not None
    r, n = receptive_field(graph), 12
    length = {"0": 0, "1": 1, "R-1": r - 1, "R": r, "R+1": r + 1}[prompt_length]
    kind = facts(graph).types[facts(graph).sequence]
    rng = np.random.default_rng(7)
    prompt = rng.integers(0, kind.size, (batch, length)) if kind.indexed else rng.normal(size=(batch, kind.size, length))
    options = {"batch": batch, "seed": 11, "temperature": temperature, "prompt": prompt, "condition": conditions(graph, batch)}
    fast, outputs = generate_with_outputs(graph, params, n, **options)
    slow, slow_outputs = generate_with_outputs(graph, params, n, algorithm="slow", **options)
    sequence = np.concatenate([prompt, fast], axis=-1)
    forced = [session.prefill(prompt, options["condition"], batch)]
    forced += [session.step(sequence[..., t]) for t in range(length, length + n - 1)]
    difference = max(np.abs(np.stack(forced, axis=-1) - outputs).max(), np.abs(slow_outputs - outputs).max())
    if not kind.indexed:
        # the filter is unstable: errors grow with the values themselves, and stay within rounding of the largest
        assert np.abs(session.generate(n, **options) - fast).max() <= tolerance(graph, fast, np.float32)
        assert np.abs(slow - fast).max() <= tolerance(graph, fast, np.float64)
        return
    draws = noise.draw(head, 11, range(batch), length, n, kind.size).transpose(1, 2, 0)
    scores = np.sort(outputs if temperature == 0 else outputs / temperature + draws, axis=1)
    assert (scores[:, -1] - scores[:, -2]).min() > 2 * difference, "the case does not decide: two classes are too close"
    assert np.array_equal(fast, slow)
    assert np.array_equal(fast, session.generate(n, **options))


def test_scores_are_the_oracles(pair: tuple[Session, dict[str, np.ndarray]]) -> None:
    session, params = pair
    graph = session.graph
    kind = facts(graph).types[facts(graph).sequence]
    rng = np.random.default_rng(8)
    x = rng.integers(0, kind.size, (3, 20)) if kind.indexed else rng.normal(size=(3, kind.size, 20))
    c = conditions(graph, 3)
    # 20 positions, each off by no more than a few float32 roundings of logits below 100
    assert np.abs(session.score(x, c) - refar.log_prob(graph, params, x, c)).max() < 1e-3


def test_classify_is_bayes_rule(wavenet_bundle: Path) -> None:
    session = load(wavenet_bundle)
    x = np.random.default_rng(0).integers(0, 5, (4, 9))
    prior = np.array([0.5, 0.5, 0.0])
    joint = np.stack([np.exp(session.score(x, np.full(4, c))) * prior[c] for c in range(3)], axis=1)
    assert np.allclose(session.classify(x, prior), joint / joint.sum(axis=1, keepdims=True), rtol=1e-9)
    assert np.allclose(session.classify(x).sum(axis=1), 1)
    assert session.classify(np.zeros((0, 9), int)).shape == (0, 3)


def test_state_is_the_oracles(pair: tuple[Session, dict[str, np.ndarray]]) -> None:
    session, params = pair
    graph = session.graph
    kind = facts(graph).types[facts(graph).sequence]
    x = np.random.default_rng(9).integers(0, kind.size, (2, 7)) if kind.indexed else np.ones((2, kind.size, 7))
    c = conditions(graph, 2)
    _, state = refar.start(graph, params, 2, c)
    _, state = refar.next_block(graph, params, state, x, c)
    session.prefill(x[..., :3], c)
    for t in range(3, 7):
        session.step(x[..., t])
    assert session.state.keys() == state.keys()
    for name, value in state.items():
        assert np.abs(session.state[name] - value).max() <= tolerance(graph, value, np.float32), name


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_the_files_alone_are_right_from_the_start(model: Graph, level: str, tmp_path: Path) -> None:
    """Prompts of no token and of three, then steps and a block, as a program without refar runs them."""
    params = refar.init(model, seed=6)
    caller = Caller(export(model, params, tmp_path / "b"), level)
    kind = facts(model).types[facts(model).sequence]
    rng = np.random.default_rng(3)
    x = rng.integers(0, kind.size, (2, 16)) if kind.indexed else rng.normal(size=(2, kind.size, 16)).astype(np.float32)
    c = {name: v if v.dtype == np.int64 else v.astype(np.float32) for name, v in conditions(model, 2).items()}
    lengths = np.array([0, 3])
    y = [caller.start({"x": np.ascontiguousarray(x[..., :4]), **c}, lengths)[..., None]]

    def tokens(begin: int, end: int) -> np.ndarray:
        return np.stack([row[..., first + begin : first + end] for row, first in zip(x, lengths, strict=True)])

    y += [caller.step({"x": tokens(t, t + 1)[..., 0]})[..., None] for t in range(5)]
    y += [caller.block({"x": tokens(5, 11)})]
    whole = refar.forward(model, params, x, c)
    expected = np.stack([row[:, first : first + 12] for row, first in zip(whole, lengths, strict=True)])
    assert np.abs(np.concatenate(y, axis=-1) - expected).max() <= tolerance(model, whole, np.float32)


def test_rows_do_not_see_each_other(wavenet_bundle: Path) -> None:
    session = load(wavenet_bundle)
    x = np.random.default_rng(0).integers(0, 5, (3, 8))
    c = np.array([0, 1, 2])
    together = session.forward(x, c)
    allowed = tolerance(session.graph, together, np.float32)
    for row in range(3):
        assert np.abs(session.forward(x[row : row + 1], c[row : row + 1]) - together[row]).max() <= allowed


def test_a_row_of_a_batch_draws_what_it_draws_alone(wavenet_bundle: Path) -> None:
    session = load(wavenet_bundle)
    assert np.array_equal(session.generate(20, batch=5, seed=3, condition=1)[0], session.generate(20, seed=3, condition=1)[0])


def test_generating_leaves_the_stream_of_prefill_and_step_alone(wavenet_bundle: Path) -> None:
    session, untouched = load(wavenet_bundle), load(wavenet_bundle)
    for each in (session, untouched):
        each.prefill([[0, 1]], [1])
        each.step([2])
    session.generate(5, condition=0, batch=2)
    assert np.array_equal(session.step([3]), untouched.step([3]))


def test_conditions_belong_to_the_stream_from_prefill_on(tmp_path: Path) -> None:
    graph = models.wavenet(5, [1, 2], residual=6, gate=4, skip=7, condition="vector:3")
    session = load(export(graph, refar.init(graph), tmp_path / "b"))
    vector = np.ones((1, 3), np.float32)
    session.prefill(None, vector)
    expected = session.step([1])
    session.prefill(None, vector)
    vector[:] = 9
    assert np.array_equal(session.step([1]), expected)


def test_nothing_asked_for_gives_nothing(wavenet_bundle: Path) -> None:
    session = load(wavenet_bundle)
    assert session.generate(0, batch=3, condition=0).shape == (3, 0)
    assert session.score(np.zeros((0, 4), int), np.zeros(0, int)).shape == (0,)
    assert session.forward(np.zeros((2, 0), int), np.zeros(2, int)).shape == (2, 5, 0)


def test_no_rows_may_be_stepped(tmp_path: Path) -> None:
    g = refar.Builder()
    h = g.conv1d(g.conv1d(g.input(channels=2), 4, strict=True, kernel=2), 2, kernel=2, groups=2)
    graph = g.build(h, refar.ops.Gaussian())
    session = load(export(graph, refar.init(graph), tmp_path / "b"))
    assert session.prefill(batch=0).shape == (0, 2)
    assert session.step(np.zeros((0, 2))).shape == (0, 2)


def test_progress_is_told(wavenet_bundle: Path) -> None:
    seen: list[int] = []
    load(wavenet_bundle).generate(4, condition=0, progress=seen.append)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.generate(-1, condition=0), InputError, "n: expected an integer from 0 to 2147483647, got -1"),
        (
            lambda s: s.generate(3, condition=0, temperature=-0.5),
            InputError,
            "temperature: expected a finite number ≥ 0, got -0.5",
        ),
        (lambda s: s.generate(3, condition=0, temperature=np.nan), InputError, "temperature: .* got nan"),
        (lambda s: s.generate(3), InputError, "condition 'condition' .3 classes constant. is missing"),
        (lambda s: s.generate(3, condition=3), InputError, "expected classes 0..2, got 3"),
        (lambda s: s.generate(3, condition={"speaker": 1}), InputError, "'speaker': the graph has no such condition"),
        (lambda s: s.generate(3, batch=2, condition=[0, 1, 2]), InputError, "expected 1 or 2 rows, got 3"),
        (lambda s: s.generate(3, condition=0, prompt=[[0, 5]]), InputError, "'prompt': expected classes 0..4, got 5"),
        (lambda s: s.generate(3, condition=0, prompt=[0.5]), InputError, "'prompt': expected integers"),
        (lambda s: s.generate(3, condition=0, prompt=[[[0]]]), InputError, "'prompt': expected axes bt"),
        (lambda s: s.generate(3, condition=0, seed=-1), InputError, "seed: expected an integer from 0"),
        (lambda s: s.step([0]), InputError, "call prefill first"),
        (lambda s: (s.prefill(condition=0), s.step([-1])), InputError, "'x': expected classes 0..4, got -1"),
        (lambda s: (s.prefill(condition=0), s.step([1, 2])), InputError, "'x': expected 1 rows, as the stream has, got 2"),
        (
            lambda s: (s.prefill(condition=0), s.step([1], condition={"speaker": 2})),
            InputError,
            "step: there is no condition 'speaker'",
        ),
        (lambda s: s.generate(10**6, batch=10**6, condition=0), InputError, "at most 2147483647 tokens in all rows together"),
        (lambda s: s.score([[0, 1]], [0, 1]), InputError, "condition 'condition': expected 1 row, got 2"),
        (lambda s: s.classify([[0, 1]], prior=[1, 1, 1]), InputError, "prior: expected 3 probabilities that sum to 1"),
    ],
)
def test_bad_input_is_named(wavenet_bundle: Path, call, error: type[Exception], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call(load(wavenet_bundle))


@pytest.mark.parametrize("threads", ["a", -1, 0, None, 1.5, True, 10**6])
def test_threads_are_a_number(wavenet_bundle: Path, threads: Any) -> None:
    with refuses(InputError, "threads: expected an integer from 1 to 1024", f"got {threads!r}"):
        load(wavenet_bundle, threads=threads)


@pytest.mark.parametrize("provider", ["gpu", None, [], 3])
def test_a_provider_that_is_none(wavenet_bundle: Path, provider: Any) -> None:
    with refuses(BackendError, "provider: expected one of cpu, cuda", f"got {provider!r}"):
        load(wavenet_bundle, provider)


@pytest.mark.parametrize("path", [None, 3, models.linear_ar(2)])
def test_a_path_that_is_none(path: Any) -> None:
    with refuses(FileError, "expected the path of a file or folder", type(path).__name__):
        load(path)


def test_a_single_row_of_a_condition_is_for_every_sequence(wavenet_bundle: Path) -> None:
    session, x = load(wavenet_bundle), np.array([[0, 1, 4], [2, 2, 3]])
    for call in (session.forward, session.score, lambda x, c: session.prefill(x, c)):
        expected = call(x, [2, 2])
        np.testing.assert_array_equal(call(x, 2), expected)
        np.testing.assert_array_equal(call(x, [2]), expected)
    session.prefill(condition=2)
    expected = session.step([1])
    session.prefill(condition=2)
    np.testing.assert_array_equal(session.step(1), expected)


def test_only_a_class_condition_can_be_classified(tmp_path: Path) -> None:
    graph = models.nettoy1d(4, hidden=3)
    session = load(export(graph, refar.init(graph), tmp_path / "b"))
    with pytest.raises(GraphError, match="whose only condition is a class"):
        session.classify([[0, 1]])


def test_an_unshifted_graph_steps_but_does_not_generate(tmp_path: Path) -> None:
    g = refar.Builder()
    graph = g.build(g.conv1d(g.one_hot(g.input(classes=3)), 3, kernel=3, name="conv"), refar.ops.Categorical())
    params = refar.init(graph)
    session = load(export(graph, params, tmp_path / "b"))
    x = np.array([[0, 2, 1, 1, 0]])
    got = [session.prefill(x[:, :2]), *(session.step(x[:, t]) for t in range(2, 5))]
    y = refar.forward(graph, params, x)
    assert np.abs(np.stack(got, axis=-1) - y[:, :, 1:]).max() <= tolerance(graph, y, np.float32)
    for call in (lambda: session.generate(3), lambda: session.score(x)):
        with pytest.raises(GraphError, match=r"needs a strict graph.*offset 0 gets through x → one_hot → conv"):
            call()
    assert np.isnan(session.prefill(batch=2)).all()
    assert np.isnan(session.prefill()).shape == (1, 3)


FILES = ["bundle.json", "full.onnx", "prefill.onnx", "condition.onnx", "step.onnx", "block.onnx"]


@pytest.mark.parametrize(("name", "damage"), list(itertools.product(FILES, ["missing", "truncated", "altered", "empty"])))
def test_a_damaged_bundle_is_refused_by_name(wavenet_bundle: Path, tmp_path: Path, name: str, damage: str) -> None:
    for file in wavenet_bundle.iterdir():
        data = bytearray(file.read_bytes())
        if file.name == name:
            if damage == "missing":
                continue
            data = {"truncated": data[: len(data) // 2], "empty": data[:0], "altered": data}[damage]
            if damage == "altered":
                data[len(data) // 2] ^= 0x55
        (tmp_path / file.name).write_bytes(data)
    with pytest.raises(FileError, match=name):
        load(tmp_path)


def test_damaged_check_vectors_are_refused(wavenet_bundle: Path, tmp_path: Path) -> None:
    for file in wavenet_bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: -1 if file.suffix == ".safetensors" else None])
    with pytest.raises(FileError, match=r"safetensors is not what was exported"):
        load(tmp_path).check_vectors()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 2', '"version": 3', "version 3; this refar reads version 2"),
        ('"strict": true', '"strict": false', "bundle.json: strict: expected True, got False"),
        ('"kept": 2', '"kept": 3', "bundle.json: state: entry [0-9]+: kept: expected 2, got 3"),
        ('"base": 0', '"base": 3', "bundle.json: state: entry 0: base: expected 0, got 3"),
        ('"fixed": [', '"fixed": ["zz", ', "bundle.json: fixed: entry 0: expected block0.condition, got zz"),
        ('"first_output": 0', '"first_output": 1', "bundle.json: first_output: expected 0, got 1"),
        ('"opset": 18', '"opset": -5', "bundle.json: opset: expected 18, got -5"),
        ('"refar": "refar-bundle 2"', '"refar": "mine"', "bundle.json: refar: expected refar-bundle 2, got mine"),
        ('"version": 2', '"version": true', "is damaged"),
        ('"opset": 18', '"opset": 18, "opset": 18', "holds the key 'opset' twice"),
        ('"opset": 18', '"opset": NaN', "is damaged"),
        ('"type": "gate"', '"type": "gat"', "gat"),
        ('"name": "head.hidden"', '"name": "head.other"', "is not a node"),
    ],
)
def test_an_edited_manifest_is_refused(wavenet_bundle: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    for file in wavenet_bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text = (tmp_path / "bundle.json").read_text()
    assert old in text
    (tmp_path / "bundle.json").write_text(text.replace(old, new, 1))
    with pytest.raises(FileError, match=message):
        load(tmp_path)


def test_a_graph_that_is_not_the_models_is_refused(wavenet_bundle: Path, tmp_path: Path) -> None:
    for file in wavenet_bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text = (tmp_path / "bundle.json").read_text()
    assert '"kind": "relu"' in text
    (tmp_path / "bundle.json").write_text(text.replace('"kind": "relu"', '"kind": "tanh"', 1))
    with pytest.raises(FileError, match="exported from another graph"):
        load(tmp_path)


def test_the_provider_is_named_and_cuda_is_not_faked(wavenet_bundle: Path) -> None:
    assert load(wavenet_bundle).provider == "cpu"
    with pytest.raises(BackendError, match="expected one of cpu, cuda, got 'tpu'"):
        load(wavenet_bundle, "tpu")  # type: ignore[arg-type]


def test_cuda_runs_or_says_that_it_does_not(wavenet_bundle: Path) -> None:
    session = load(wavenet_bundle, "cuda", fallback=True)
    if session.provider == "cpu":
        with pytest.raises(BackendError, match="provider 'cuda' did not start"):
            load(wavenet_bundle, "cuda")
    x = np.array([[0, 3, 1, 4, 2]])
    y = load(wavenet_bundle).forward(x, [1])
    assert np.abs(session.forward(x, [1]) - y).max() <= tolerance(session.graph, y, np.float32)
    assert np.array_equal(session.generate(5, batch=2, condition=0), load(wavenet_bundle).generate(5, batch=2, condition=0))


def test_the_runtime_needs_neither_torch_nor_onnx(wavenet_bundle: Path) -> None:
    program = (
        "import sys; sys.modules.update(torch=None, onnx=None)\n"
        "from refar.runtime import load\n"
        f"print(load({str(wavenet_bundle)!r}).generate(5, condition=2).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 5)"


def test_a_state_is_set_to_go_on_from_there(tmp_path: Path) -> None:
    graph = models.wavenet(classes=6, dilations=[1, 2, 4], residual=4, gate=4, skip=4)
    session = load(export(graph, refar.init(graph), tmp_path / "b"))
    x = np.random.default_rng(0).integers(0, 6, (3, 12))
    session.prefill(x[:, :8])
    kept = session.state
    first = [session.step(x[:, t]) for t in range(8, 12)]
    session.state = kept
    for t, y in zip(range(8, 12), first, strict=True):
        np.testing.assert_array_equal(session.step(x[:, t]), y)
    with refuses(InputError, "state"):
        session.state = {}
