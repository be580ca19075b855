"""sampler.onnx: its ports, the tokens of the oracle for every head, and every mistake in it seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import refuses
from hypothesis import given, settings
from small_models import MODELS
from stream_graphs import GRAPHS

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import GraphError, InputError, RefarError
from refar.runtime import load
from refar.testing import check_bundle, run_bundle_laws, strategies
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar_export import export, in_place, sampler_graph
from refar_export.sampler_graph import sampler


def mixture() -> Graph:
    g = Builder()
    h = g.conv1d(g.standardize(g.input(classes=9), 4, 3), 6, kernel=2, dilation=2, strict=True)
    return g.build(g.conv1d(g.tanh(h), 9, kernel=2), ops.MixtureLogistics(components=3, classes=9))


def signal(head: ops.SignalHead, channels: int) -> Graph:
    """A network that cannot drive its own signal to infinity, with a head that takes so many channels of two."""
    g = Builder()
    h = g.tanh(g.conv1d(g.tanh(g.input(channels=2)), 6, kernel=2, dilation=2, strict=True))
    return g.build(g.tanh(g.conv1d(h, channels, kernel=2)), head)


LEARNT = {
    "learnt gaussian": signal(ops.LearntGaussian(-0.5), 4),
    "mixture of gaussians": signal(ops.MixtureGaussians(components=3, floor=-0.5), 18),
}
SMALL = {**GRAPHS, **MODELS, "mixture": mixture(), **LEARNT}
STRICT = {name: graph for name, graph in SMALL.items() if facts(graph).strict and graph.head}


def parameters(graph: Graph) -> dict[str, Any]:
    return {name: a.astype(np.float32) for name, a in generic_parameters(graph, np.random.default_rng(5)).items()}


def conditions(graph: Graph, rows: int, n: int) -> dict[str, Any]:
    given = generic_inputs(graph, np.random.default_rng(6), rows, n)
    return {name: given[name] for name in facts(graph).conditions}


def test_there_is_every_head() -> None:
    assert {type(graph.head) for graph in STRICT.values()} == {*get_args(ops.AnyHead)}


@pytest.mark.parametrize("name", STRICT)
def test_tokens_are_those_of_the_oracle(name: str, tmp_path: Path) -> None:
    graph = STRICT[name]
    params, given = parameters(graph), conditions(graph, 3, 70)
    session = load(export(graph, params, tmp_path / "b", sampler=True))
    for temperature in (1.0, 0.7, 0.0):
        options: dict[str, Any] = {"batch": 3, "seed": 4, "temperature": temperature, "condition": given or None}
        found, expected = session.generate(70, sampler=True, **options), refar.generate(graph, params, 70, **options)
        if expected.dtype == np.int64:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_tokens_of_the_largest_logits(top_k: int, tmp_path: Path) -> None:
    graph = MODELS["wavenet"]
    params = parameters(graph)
    session = load(export(graph, params, tmp_path / "b", sampler=True, top_k=top_k))
    options: dict[str, Any] = {"batch": 5, "seed": 4, "temperature": 1.3, "top_k": top_k}
    np.testing.assert_array_equal(session.generate(60, sampler=True, **options), refar.generate(graph, params, 60, **options))


@pytest.mark.parametrize("name", STRICT)
def test_every_law_holds(name: str, tmp_path: Path) -> None:
    graph = STRICT[name]
    report = check_bundle(export(graph, parameters(graph), tmp_path / "b", sampler=True, spare=2))
    assert report.lines[-1].law == "sampler"
    assert report.lines[-1].applies


@settings(max_examples=25)
@given(graph=strategies.graphs(strict=True, paddings=("layer", "input")))
def test_the_law_holds_of_random_networks(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        bundle = export(graph, parameters(graph), tmp_path_factory.mktemp("sampler") / "b", sampler=True)
    except GraphError:
        assert graph.head is None
        return
    (line,) = [line for line in run_bundle_laws(bundle).lines if line.law == "sampler"]
    assert line.passed, line.message


@pytest.mark.parametrize("option", [{"dtype": "float16"}, {"quantize": "int8", "calibration": np.arange(40)[None] % 5}])
def test_smaller_files(option: dict[str, Any], tmp_path: Path) -> None:
    graph = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7)
    bundle = export(graph, refar.init(graph), tmp_path / "b", sampler=True, verify=True, **option)
    check_bundle(bundle)
    session = load(bundle)
    np.testing.assert_array_equal(session.generate(50, batch=2, sampler=True), session.generate(50, batch=2))
    rebuilt = load(bundle, trust="rebuild")
    np.testing.assert_array_equal(rebuilt.generate(50, batch=2, sampler=True), session.generate(50, batch=2))


@pytest.mark.parametrize("name", STRICT)
def test_state_and_tokens_may_be_written_where_they_are_read(name: str) -> None:
    graph = STRICT[name]
    model = sampler(graph, parameters(graph))
    assert in_place.unordered(model) == []
    assert not [node for node in model.graph.node if node.op_type == "ScatterND"]
    written = {value.name.partition(".")[2] for value in model.graph.output} - {""}
    assert {"clock", "turn", "drawn", "faults"} <= written


def test_nothing_is_known_on_the_cpu_but_the_shapes_of_indices() -> None:
    """A CUDA graph takes nothing from the CPU, where the result of Shape is."""
    for graph in STRICT.values():
        model = sampler(graph, parameters(graph))
        shapes = {node.output[0] for node in model.graph.node if node.op_type == "Shape"}
        for node in model.graph.node:
            read = [i for i, name in enumerate(node.input) if name in shapes]
            assert not read or (node.op_type, read) == ("Expand", [1])


def test_ports() -> None:
    model = sampler(GRAPHS["conditions"], parameters(GRAPHS["conditions"]), spare=3)

    def sizes(values: Any) -> dict[str, list[Any]]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    entries, exits = sizes(model.graph.input), sizes(model.graph.output)
    assert entries["noise"] == ["steps", "batch_size", 4]
    assert entries["temperature"] == ["batch_size", 1]
    assert entries["steps.below"] == ["steps", "batch_size", 2]
    assert entries["steps.above"] == ["steps", "batch_size"]
    assert "x" not in entries
    assert "below" not in entries
    assert entries["past.drawn"] == exits["present.drawn"] == ["entries", "batch_size"]
    assert entries["past.turn"] == entries["past.clock"] == []
    assert entries["past.faults"] == exits["present.faults"] == ["batch_size", 4]
    assert exits["output"] == ["batch_size", 4]
    assert {name.replace("past", "present") for name in entries if name.startswith("past")} == exits.keys() - {"output"}


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
@pytest.mark.parametrize("name", ["wavenet", "mixture", "conditions", "pools", *LEARNT])
def test_one_memory_gives_what_copies_give(name: str, level: str) -> None:
    """Bit for bit, at every level of what onnxruntime does to a graph."""
    graph, rng = STRICT[name], np.random.default_rng(1)
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    session = ort.InferenceSession(sampler(graph, parameters(graph)).SerializeToString(), options)
    sizes = {"batch_size": 2, "steps": 9, "entries": 10}
    state: dict[str, Any] = {}
    for port in session.get_inputs():
        shape = [sizes[n] if isinstance(n, str) else n for n in port.shape]
        kind = np.float32 if port.type == "tensor(float)" else np.int64
        drawn = kind is np.float32 and port.name != "past.faults"
        state[port.name] = rng.normal(size=shape).astype(kind) if drawn else np.zeros(shape, kind)
    memory = {name: ort.OrtValue.ortvalue_from_numpy(np.array(value), "cpu") for name, value in state.items()}
    binding = session.io_binding()
    for name, value in memory.items():
        binding.bind_ortvalue_input(name, value)
    for port in session.get_outputs()[1:]:
        binding.bind_ortvalue_output(port.name, memory[port.name.replace("present", "past")])
    binding.bind_output("output", "cpu")
    for _ in range(9):
        results = session.run(None, state)
        state |= {p.name.replace("present", "past"): r for p, r in zip(session.get_outputs()[1:], results[1:], strict=True)}
        session.run_with_iobinding(binding)
        np.testing.assert_array_equal(binding.get_outputs()[-1].numpy(), results[0])
        for name, value in state.items():
            np.testing.assert_array_equal(memory[name].numpy(), value, name)


Planted = Callable[[onnx.ModelProto], None]


def without(kind: str, owner: str) -> Planted:
    """Take the second input of a node away: what adds or scales is passed by."""

    def plant(model: onnx.ModelProto) -> None:
        (node,) = [node for node in model.graph.node if node.op_type == kind and node.output[0].startswith(f"{owner}/")]
        node.op_type = "Identity"
        del node.input[1:]

    return plant


def one_more(model: onnx.ModelProto) -> None:
    """Draw of one class more than the k largest."""
    (node,) = [node for node in model.graph.node if node.op_type == "TopK"]
    (k,) = [each for each in model.graph.initializer if each.name == node.input[1]]
    k.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(k) + 1, k.name))


def read_from(slot: int) -> Planted:
    """Read noise, or all that belongs to a step, at another turn."""

    def plant(model: onnx.ModelProto) -> None:
        (node,) = [node for node in model.graph.node if node.input[0] == "noise"]
        turns = next(each.output[0] for each in model.graph.node if each.input[0] == "past.turn")
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(slot), "planted"))
        new = onnx.helper.make_node("Gather", [turns, "planted"], ["planted/turn"])
        model.graph.node.insert(list(model.graph.node).index(node), new)
        node.input[1] = "planted/turn"

    return plant


def token_overwritten(model: onnx.ModelProto) -> None:
    """Store the token that is drawn in place of the one that was read, as where both lie in one memory."""
    drawn = next(
        node.input[0] for node in model.graph.node if node.output[0].startswith("present.drawn/") and node.op_type == "Unsqueeze"
    )
    (shape,) = [
        n for n in model.graph.node if n.op_type == "Reshape" and n.input[0] == "x" and n.output[0].startswith("present.int64x1/")
    ]
    shape.input[0] = drawn
    nodes = list(model.graph.node)
    late = [n for n in nodes if n.output[0].startswith("present.int64x1")]
    for node in late:
        model.graph.node.remove(node)
    model.graph.node.extend(late)


MISTAKES: dict[str, Planted] = {
    "the noise is not added": without("Add", "noise/drawn"),
    "the temperature is forgotten": without("Mul", "noise/drawn"),
    "the noise is that of the next step": read_from(1),
    "the token is overwritten before it is stored": token_overwritten,
}


def with_mistake(model: onnx.ModelProto, plant: Planted) -> onnx.ModelProto:
    plant(model)
    onnx.checker.check_model(model)
    return model


def law(bundle: Path) -> str:
    """What the law of the sampler says of a bundle; "" if it holds."""
    (line,) = [line for line in run_bundle_laws(bundle).lines if line.law == "sampler"]
    return line.message


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_breaks_the_law(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = MODELS["wavenet"]
    right = sampler_graph.sampler
    monkeypatch.setattr("refar_export.contents.sampler_model", lambda *a, **k: with_mistake(right(*a, **k), MISTAKES[mistake]))
    assert law(export(graph, parameters(graph), tmp_path / "b", sampler=True)) != ""


@pytest.mark.parametrize("name", LEARNT)
@pytest.mark.parametrize(("kind", "mistake"), [("Max", "the floor is forgotten"), ("Exp", "a log-scale taken for the scale")])
def test_a_mistake_in_a_learnt_scale_breaks_the_law(
    name: str, kind: str, mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, right = LEARNT[name], sampler_graph.sampler
    assert law(export(graph, parameters(graph), tmp_path / "a", sampler=True)) == ""
    plant = without(kind, "noise/drawn")
    monkeypatch.setattr("refar_export.contents.sampler_model", lambda *a, **k: with_mistake(right(*a, **k), plant))
    assert "expected token" in law(export(graph, parameters(graph), tmp_path / "b", sampler=True)), mistake


def test_one_class_too_many_breaks_the_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, right = MODELS["wavenet"], sampler_graph.sampler
    assert law(export(graph, parameters(graph), tmp_path / "a", sampler=True, top_k=1)) == ""
    monkeypatch.setattr("refar_export.contents.sampler_model", lambda *a, **k: with_mistake(right(*a, **k), one_more))
    assert "expected token" in law(export(graph, parameters(graph), tmp_path / "b", sampler=True, top_k=1))


def test_the_law_compares_outputs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, right = MODELS["wavenet"], sampler_graph.sampler

    def changed(graph: Graph, params: Any, **options: Any) -> onnx.ModelProto:
        return right(graph, {name: a * np.float32(1.001) for name, a in params.items()}, **options)

    monkeypatch.setattr("refar_export.contents.sampler_model", changed)
    assert "from the oracle, first-order bound" in law(export(graph, parameters(graph), tmp_path / "b", sampler=True))


def test_what_cannot_be_drawn_in_the_graph_is_refused(tmp_path: Path) -> None:
    def exported(graph: Graph, error: type[RefarError], *words: str, **options: Any) -> None:
        with refuses(error, *words):
            export(graph, refar.init(graph), tmp_path / "b", **{"sampler": True, **options})

    exported(models.pixelcnn(4, hidden=2), GraphError, "sampler: expected a network over time, got one over images")
    exported(GRAPHS["pools, not strict"], GraphError, "sampler needs a strict graph")
    exported(MODELS["wavenet"], InputError, "top_k", top_k=0)
    exported(MODELS["linear_ar"], InputError, "top_k: expected a categorical head", top_k=2)
    exported(MODELS["wavenet"], InputError, "top_k: expected sampler=True with it", sampler=False, top_k=2)
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 4, strict=True, name="noise")
    named = g.build(h, ops.Categorical())
    exported(named, GraphError, "sampler: node 'noise': names that begin with noise, temperature, steps are kept for its ports")


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_a_network_that_drives_its_own_tokens_to_infinity(scale: float, tmp_path: Path) -> None:
    """Its outputs square what it drew: after some steps, or at once, they overflow in every backend."""
    g = Builder()
    h = g.conv1d(g.input(channels=1), 1, strict=True, kernel=1, name="h")
    graph = g.build(g.multiply(h, h), ops.Gaussian(1.0))
    params = {"h.weight": np.full((1, 1, 1), scale), "h.bias": np.zeros(1)}
    line = run_bundle_laws(export(graph, params, tmp_path / "b", sampler=True)).lines[-1]
    assert (line.law, line.passed, line.applies) == ("sampler", True, scale < 1e10), line.message


def test_a_node_may_be_called_drawn(tmp_path: Path) -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.one_hot(g.input(classes=4)), 4, strict=True, name="drawn"), ops.Categorical())
    check_bundle(export(graph, refar.init(graph), tmp_path / "b", sampler=True))


@pytest.mark.parametrize("head", [ops.LearntGaussian(-2), ops.MixtureGaussians(2, -2)])
def test_the_law_goes_as_far_as_the_numbers_are_finite(head: ops.SignalHead, tmp_path: Path) -> None:
    g = Builder()
    h = g.conv1d(g.input(channels=2), 4, kernel=2, strict=True)
    h = g.add(h, g.conv1d(g.condition("local", channels=2, local=True), 4))
    graph = g.build(g.conv1d(h, 4 if isinstance(head, ops.LearntGaussian) else 12), head)
    params = {name: array.astype(np.float32) for name, array in generic_parameters(graph, np.random.default_rng(0)).items()}
    report = run_bundle_laws(export(graph, params, tmp_path / "b", sampler=True))
    assert report.passed, str(report)
