"""step, block and window.onnx: their ports, that their state may be written in place, and every mistake in them seen."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from helpers import refuses
from onnx import helper
from plain_caller import Caller
from stream_graphs import GRAPHS, conditioned, delays, pools

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.analysis.slots import Slots, StateLayout, state_layout
from refar.errors import BackendError, FileError, InputError
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.runtime.linear import LinearMemory
from refar.runtime.stream import Stream
from refar.testing import run_bundle_laws
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar_export import block_graph, export, in_place, lower, visit_graphs, whole_graphs, window_graph
from refar_export.build import build
from refar_export.emitter import Emitter
from refar_export.rows import Rows
from refar_export.verify import verify

LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]


def test_a_bundle_agrees_with_the_oracle(streamed: Graph, tmp_path: Path) -> None:
    params = generic_parameters(streamed, np.random.default_rng(0))
    comparisons = verify(export(streamed, params, tmp_path / "b", verify=True, spare=2))
    assert [c.what for c in comparisons[:5]] == ["full", "prefill", "step", "block", "window"]
    for comparison in comparisons:
        assert comparison.difference <= comparison.allowed, str(comparison)
    (state,) = [c.what for c in comparisons[5:]]
    assert state in {f"state of {name} after blocks" for name in state_layout(facts(streamed)).slots}


@pytest.mark.parametrize("kind", ["step", "block"])
def test_ports(streamed: Graph, kind: Any) -> None:
    model = build(streamed, refar.init(streamed), kind, spare=3)
    found, layout = facts(streamed), state_layout(facts(streamed), 3)

    def sizes(values: Any) -> dict[str, list[Any]]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    def axes(name: str) -> list[Any]:
        kept = found.types[name].at_once if kind == "step" else found.types[name]
        return [{"b": "batch_size", "t": "sequence_length"}.get(axis, kept.channels) for axis in kept.axes]

    state = {tensor: [slots, "batch_size", channels] for tensor, (slots, channels) in layout.sizes.items()} | {"clock": []}
    assert sizes(model.graph.input) == {
        **{name: axes(name) for name in found.inputs if found.types[name].timed},
        **{f"fixed.{name}": ["batch_size", found.types[name].size] for name in layout.fixed},
        **{f"past.{name}": shape for name, shape in state.items()},
    }
    output = ["batch_size", found.types[streamed.output].size, *(["sequence_length"] if kind == "block" else [])]
    assert sizes(model.graph.output) == {"output": output, **{f"present.{name}": shape for name, shape in state.items()}}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_state_may_be_written_where_it_is_read(graph: str, level: str, tmp_path: Path) -> None:
    """Steps and blocks in one memory give what they give from copies, bit for bit."""
    network, rng = GRAPHS[graph], np.random.default_rng(3)
    bundle = export(network, generic_parameters(network, rng), tmp_path / "b", spare=1)
    copying, found = Caller(bundle, level), facts(network)
    inputs = {n: a if a.dtype == np.int64 else a.astype(np.float32) for n, a in generic_inputs(network, rng, 2, 24).items()}
    timed = [name for name in inputs if found.types[name].timed]
    copying.start({name: a[..., :2] if name in timed else a for name, a in inputs.items()}, np.ones(2, np.int64))
    memory = {name: value.copy() for name, value in copying.state.items()}
    shared = {name: ort.OrtValue.ortvalue_from_numpy(value, "cpu") for name, value in memory.items()}
    at = 2
    for size in (1, 3, 1, 1, 9, 2):
        now = {
            name: np.ascontiguousarray(inputs[name][..., at] if size == 1 else inputs[name][..., at : at + size])
            for name in timed
        }
        expected = copying.step(now) if size == 1 else copying.block(now)
        model = copying.models["step" if size == 1 else "block"]
        binding = model.io_binding()
        for port in model.get_inputs():
            if port.name in now:
                binding.bind_cpu_input(port.name, now[port.name])
            else:
                binding.bind_ortvalue_input(port.name, shared[port.name])
        binding.bind_output("output", "cpu")
        for port in model.get_outputs()[1:]:
            binding.bind_ortvalue_output(port.name, shared[port.name.replace("present", "past")])
        model.run_with_iobinding(binding)
        np.testing.assert_array_equal(binding.get_outputs()[0].numpy(), expected)
        for name, value in copying.state.items():
            np.testing.assert_array_equal(memory[name], value, name)
        at += size


def written_early(*, view: bool = False) -> onnx.ModelProto:
    """A state that nothing computes from what is read of it, or that is read through a view."""
    read = [helper.make_node("Reshape", ["past.a", "shape"], ["flat"], name="view")] if view else []
    nodes = [
        *read,
        helper.make_node("Neg", ["flat" if view else "past.a"], ["output"], name="read"),
        helper.make_node("Neg", ["x"], ["present.a"], name="write"),
    ]
    ports = [helper.make_tensor_value_info(name, 1, [2]) for name in ("x", "past.a", "output", "present.a")]
    shape = helper.make_tensor("shape", 7, [1], [2])
    return helper.make_model(helper.make_graph(nodes, "g", ports[:2], ports[2:], [shape]))


def test_a_write_that_does_not_wait_for_the_read_is_named() -> None:
    assert in_place.unordered(written_early()) == ["present.a may be written before read has read past.a"]
    assert in_place.unordered(written_early(view=True))[-1] == "present.a may be written before read has read past.a"


@pytest.mark.parametrize("kind", ["step", "block"])
def test_the_order_is_forced_where_no_value_does_it(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pushed depends on the token alone, and what is read goes to the output alone."""
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=2), 2, kernel=3))
    assert not in_place.unordered(build(graph, refar.init(graph), kind))
    monkeypatch.setattr(visit_graphs, "depends", lambda *_: True)
    with pytest.raises(BackendError, match=r"cannot be written in place: .* may be written before"):
        build(graph, refar.init(graph), kind)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = models.linear_ar(3)
    return export(graph, refar.init(graph), tmp_path_factory.mktemp("b") / "b")


def test_a_file_of_another_kind_is_refused(linear: Path, tmp_path: Path) -> None:
    shutil.copytree(linear, tmp_path / "b")
    shutil.copy(linear / "step.onnx", tmp_path / "b" / "block.onnx")
    text = (linear / "bundle.json").read_text()
    digests = {name: refar_digest(linear / name) for name in ("step.onnx", "block.onnx")}
    (tmp_path / "b" / "bundle.json").write_text(text.replace(digests["block.onnx"], digests["step.onnx"]))
    with pytest.raises(FileError, match=r"block\.onnx: refar\.kind: expected 'block', got 'step'"):
        load(tmp_path / "b")


def refar_digest(path: Path) -> str:
    from refar.runtime.bundle import digest

    return digest(path.read_bytes())


Mistake = Callable[[pytest.MonkeyPatch], None]


def emitted(module: Any, name: str, change: Callable[..., str]) -> Mistake:
    """While module.name builds its graph, every ONNX node is emitted by change(right, operator, inputs, attributes, emitter)."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        right = getattr(module, name)

        def wrong(e: Emitter, layout: StateLayout, **options: bool) -> list[str]:
            emit = e.emit
            patch.setattr(e, "emit", lambda kind, *inputs, **attributes: change(emit, kind, inputs, attributes, e))
            found: list[str] = right(e, layout, **options)
            return found

        patch.setattr(module, name, wrong)

    return put_in


def reversed_taps(emit: Any, kind: str, inputs: Any, attributes: Any, e: Emitter) -> str:
    if kind == "Conv":
        e.initializer(inputs[1], e.params[inputs[1]][..., ::-1].copy())
    if kind == "Concat" and attributes["axis"] == 1:
        inputs = inputs[::-1]
    found: str = emit(kind, *inputs, **attributes)
    return found


def without_bias(emit: Any, kind: str, inputs: Any, attributes: Any, e: Emitter) -> str:
    found: str = emit(kind, *(inputs[:2] if kind in ("Conv", "Gemm") else inputs), **attributes)
    return found


def first_new(emit: Any, kind: str, inputs: Any, attributes: Any, e: Emitter) -> str:
    """Of more new values than there are slots the first are kept, not the last."""
    if kind == "GreaterOrEqual":  # t ≥ T - slots
        (slots,) = [node.input[1] for node in e.nodes if inputs[1] in node.output]
        kind, inputs = "Less", (inputs[0], slots)
    found: str = emit(kind, *inputs, **attributes)
    return found


def clock_by(steps: int) -> Callable[..., str]:
    """The clock goes on by so many visits too many."""

    def change(emit: Any, kind: str, inputs: Any, attributes: Any, e: Emitter) -> str:
        if attributes.get("outputs") != ["present.clock"]:
            found: str = emit(kind, *inputs, **attributes)
            return found
        late: str = emit("Add", emit(kind, *inputs), e.constant(steps), **attributes)
        return late

    return change


def slots(change: Callable[[Slots], Slots]) -> Mistake:
    """Of the slots that a prefill fills."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        right = whole_graphs._last_values
        patch.setattr(whole_graphs, "_last_values", lambda e, each, before: right(e, change(each), before))

    return put_in


def later_by(steps: int) -> Mistake:
    """Every past value is read so many visits too late."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        right = StateLayout.ages
        patch.setattr(StateLayout, "ages", lambda *of: [max(1, age - steps) if age else 0 for age in right(*of)])

    return put_in


def windows_later_by(steps: int) -> Mistake:
    """Every window begins so many visits too late in the memory."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        right = LinearMemory._rows
        patch.setattr(LinearMemory, "_rows", lambda self, name, begin, visits: right(self, name, min(begin + steps, 0), visits))

    return put_in


def never_moved(patch: pytest.MonkeyPatch) -> None:
    """The last rows of a memory that is left are not written back."""
    patch.setattr(LinearMemory, "leave", lambda *_: None)


def lead_forgotten(each: Slots) -> Slots:
    return Slots(each.node, each.tensor, each.base, each.count, each.kept, 1 - each.lead, each.channels)


def the_condition_of_the_position_before(patch: pytest.MonkeyPatch) -> None:
    right = Stream.push
    patch.setattr(Stream, "push", lambda self, x, c=None: right(self, x, {n: np.roll(a, 1, -1) for n, a in (c or {}).items()}))


EVERYWHERE: dict[str, Mistake] = {
    "taps of a step in the wrong order": emitted(visit_graphs, "step", reversed_taps),
    "taps of a block in the wrong order": emitted(block_graph, "block", reversed_taps),
    "bias dropped in a step": emitted(visit_graphs, "step", without_bias),
    "bias dropped in a block": emitted(block_graph, "block", without_bias),
    "the first of a long block kept": emitted(block_graph, "block", first_new),
    "the clock of a step stands still": emitted(visit_graphs, "step", clock_by(-1)),
    "the clock of a step one too far": emitted(visit_graphs, "step", clock_by(1)),
    "the clock of a block one too far": emitted(block_graph, "block", clock_by(1)),
    "the past one visit too late": later_by(1),
    "bias dropped in a window": emitted(window_graph, "window", without_bias),
    "windows one visit too late": windows_later_by(1),
    "a state that stays in linear memory": never_moved,
    "a prompt's values of the wrong lead": slots(lead_forgotten),
}


@pytest.mark.parametrize("graph", [conditioned(strict=True), delays(), pools(strict=True), pools(strict=False)])
@pytest.mark.parametrize("mistake", EVERYWHERE)
def test_every_mistake_is_seen(mistake: str, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the exporter's own check and, where there is neither onnx nor the oracle's parameters, by `check_bundle`."""
    params = generic_parameters(graph, np.random.default_rng(5))
    EVERYWHERE[mistake](monkeypatch)
    with pytest.raises(BackendError, match=r"\[x\]|expected finite outputs|could not run it"):
        export(graph, params, tmp_path / "b", verify=True)
    report = run_bundle_laws(export(graph, params, tmp_path / "b"))
    assert not report.passed, str(report)


@pytest.mark.parametrize("graph", [conditioned(strict=True), delays()])
def test_taps_of_a_window_in_the_wrong_order_are_seen(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tap is a product of its own there."""
    right = Rows._by_tap
    monkeypatch.setattr(Rows, "_by_tap", lambda self, node, weight, taps: right(self, node, weight[..., ::-1], taps))
    with pytest.raises(BackendError, match=r"\[x\] window"):
        export(graph, generic_parameters(graph, np.random.default_rng(5)), tmp_path / "b", verify=True)


def test_a_state_that_is_read_much_later_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pushed into a long queue comes out of it only after more tokens than are checked."""
    graph = models.wavenet(4, [1, 64], residual=3, gate=3, skip=3)
    right = block_graph._write

    def wrong(e: Emitter, layout: StateLayout, visits: Any, past: Any, gathered: Any) -> None:
        for each in layout.slots.values():
            if each.kept > 60:
                past[each.node].new = e.emit("Neg", past[each.node].new)
        right(e, layout, visits, past, gathered)

    monkeypatch.setattr(block_graph, "_write", wrong)
    path = export(graph, generic_parameters(graph, np.random.default_rng(6)), tmp_path / "b")
    assert [c.what for c in verify(path) if c.difference > c.allowed][-1:] == ["state of block0.out after blocks"]


def test_conditions_of_the_positions_before_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = conditioned(strict=True)
    path = export(graph, generic_parameters(graph, np.random.default_rng(7)), tmp_path / "b")
    the_condition_of_the_position_before(monkeypatch)
    assert "block" in [c.what for c in verify(path) if c.difference > c.allowed]


def test_a_visit_too_many_cannot_be_taken_back(tmp_path: Path) -> None:
    """With two spare slots two steps are taken back exactly; a third would read what has been overwritten."""
    graph, rng = conditioned(strict=True), np.random.default_rng(8)
    caller = Caller(export(graph, generic_parameters(graph, rng), tmp_path / "b", spare=2))
    inputs = {n: a if a.dtype == np.int64 else a.astype(np.float32) for n, a in generic_inputs(graph, rng, 2, 24).items()}
    timed = [name for name in inputs if facts(graph).types[name].timed]

    def at(t: int) -> dict[str, np.ndarray]:
        return {name: np.ascontiguousarray(inputs[name][..., t + (name != "x")]) for name in timed}

    caller.start({name: a[..., :2] if name in timed else a for name, a in inputs.items()}, np.ones(2, np.int64))
    outputs = {t: caller.step(at(t)) for t in range(1, 12)}
    allowed = tolerance(graph, np.stack(list(outputs.values())), np.float32)
    caller.rewind(2)
    caller.step(at(3)), caller.step(at(4))
    caller.rewind(2)
    assert all(np.abs(caller.step(at(t)) - outputs[t]).max() <= allowed for t in (10, 11))
    caller.rewind(3)
    assert any(np.abs(caller.step(at(t)) - outputs[t]).max() > allowed for t in (9, 10, 11))


def of_classes(kernel: int = 3) -> Graph:
    """A product of one-hots over several tokens, and their one-hots read as numbers too."""
    g = Builder()
    h = g.one_hot(g.input(classes=5), name="classes")
    mixed = g.conv1d(h, 4, kernel=kernel, dilation=2, strict=True, name="mixed")
    return g.build(g.conv1d(g.concat(g.tanh(mixed), g.delay(h, 2)), 5), ops.Categorical())


@pytest.mark.parametrize("kind", ["step", "block"])
def test_a_product_of_one_hots_is_a_lookup_for_each_tap(kind: Any) -> None:
    graph = models.wavenet(9, [1, 2], residual=4, gate=3, skip=5)
    found = {node.op_type for node in build(graph, refar.init(graph), kind).graph.node}
    assert "OneHot" not in found
    assert "OneHot" in {node.op_type for node in build(graph, refar.init(graph), kind, rewrites=()).graph.node}


@pytest.mark.parametrize("rewrites", [None, ()])
def test_classes_in_slots(rewrites: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = of_classes()
    (port,) = [each for each in state_layout(facts(graph)).slots.values() if each.node == "classes"]
    assert (port.tensor, port.channels, port.classes, port.width) == ("int64x1", 1, 5, 5)
    if rewrites is not None:
        monkeypatch.setattr("refar_export.build._REWRITTEN", {"step": rewrites, "block": rewrites})
    path = export(graph, generic_parameters(graph, np.random.default_rng(3)), tmp_path / "b", verify=True)
    stream = load(path).stream(2, prompt=[[], [3]])
    state = stream.state["classes"]
    assert state.shape == (2, 5, port.kept)
    assert state.sum(axis=(1, 2)).tolist() == [0, 1]
    assert state[1, 3, -1] == 1
    y = stream.push([[1, 4], [0, 2]])
    stream.state = load(path).stream(2, prompt=[[], [3]]).state
    np.testing.assert_array_equal(stream.push([[1, 4], [0, 2]]), y)
    with refuses(InputError, "state 'classes': expected one 1 among zeros at each position, or zeros alone"):
        stream.state = {name: value * 0.5 if name == "classes" else value for name, value in stream.state.items()}


def test_many_classes_cost_a_row_each(tmp_path: Path) -> None:
    """A one-hot of 65 536 classes would be read, multiplied and kept in every step."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=2**16)), 3, kernel=2, strict=True)
    graph = g.build(g.conv1d(h, 2))
    model = build(graph, refar.init(graph), "step")
    assert {node.op_type for node in model.graph.node}.isdisjoint({"OneHot", "Concat"})
    session = load(export(graph, refar.init(graph), tmp_path / "b"))
    y = session.stream(prompt=[[65535, 0, 7]]).output
    x = np.array([[65535, 0, 7, 1]])
    np.testing.assert_allclose(y, refar.forward(graph, session.weights, x)[:, :, 3], atol=1e-6)


def none_is_a_class(patch: pytest.MonkeyPatch) -> None:
    """What is not there is looked up as class 0."""
    right = lower.looked_up

    def wrong(e: Emitter, op: ops.Conv1d, classes: Any) -> str:
        return right(e, op, [e.emit("Mod", index, e.constant(e.params[f"{e.owner}.weight"].shape[1])) for index in classes])

    patch.setattr(lower, "looked_up", wrong)


def taps_of_lookups_reversed(patch: pytest.MonkeyPatch) -> None:
    right = lower.looked_up
    patch.setattr(lower, "looked_up", lambda e, op, classes: right(e, op, classes[::-1]))


@pytest.mark.parametrize("mistake", [none_is_a_class, taps_of_lookups_reversed])
def test_mistakes_in_lookups_are_seen(mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = of_classes()
    mistake(monkeypatch)
    with pytest.raises(BackendError, match=r"\[x\] step"):
        export(graph, generic_parameters(graph, np.random.default_rng(3)), tmp_path / "b", verify=True)
