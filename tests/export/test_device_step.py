"""The step of sampler.onnx: how few nodes it has, which gates are one tanh, that values stay, and every mistake in it seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.analysis.slots import state_layout
from refar.errors import BackendError
from refar.rounding import bound
from refar.runtime import load
from refar.testing import run_bundle_laws
from refar.testing.contract.cases import generic_parameters
from refar_export import device_rows, device_step, export
from refar_export.device_rows import DeviceRows
from refar_export.one_tanh import one_tanh
from refar_export.rewrites import rewritten
from refar_export.rows import Rows
from refar_export.sampler_graph import sampler

WAVENET = models.wavenet(5, [1, 2, 4, 8], residual=4, gate=3, skip=6)


def taps() -> Graph:
    """Convolutions of several shapes and numbers of taps, in sums and alone, with and without a tap on the newest value."""
    g = Builder()
    h = first = g.conv1d(g.one_hot(g.input(classes=4)), 4, kernel=2, strict=True)
    for kernel, dilation, width in ((2, 1, 4), (2, 2, 4), (3, 1, 6), (3, 2, 6), (4, 3, 6)):
        products = g.conv1d(h, width, kernel=kernel, dilation=dilation), g.conv1d(first, width, kernel=3)
        h = g.add(h, g.conv1d(g.tanh(g.add(*products)), 4))
    late = g.concat(h, g.delay(h, 2), g.conv1d(g.delay(first, 1), 4, kernel=2), g.relu(g.conv1d(first, 4, kernel=2, bias=False)))
    return g.build(g.conv1d(late, 4), ops.Categorical())


GRAPHS = {"wavenet": WAVENET, "taps": taps()}


def parameters(graph: Graph) -> dict[str, Any]:
    return {name: a.astype(np.float32) for name, a in generic_parameters(graph, np.random.default_rng(5)).items()}


def law(graph: Graph, path: Path, **options: Any) -> str:
    """What the law of the sampler says of a bundle; "" if it holds."""
    bundle = export(graph, parameters(graph), path, sampler=True, **options)
    (line,) = [line for line in run_bundle_laws(bundle).lines if line.law == "sampler"]
    return line.message


@pytest.mark.parametrize("spare", [0, 2])
@pytest.mark.parametrize("name", GRAPHS)
def test_tokens_are_those_of_the_oracle(name: str, spare: int, tmp_path: Path) -> None:
    graph = GRAPHS[name]
    assert law(graph, tmp_path / "a", spare=spare) == ""
    params = parameters(graph)
    session = load(export(graph, params, tmp_path / "b", sampler=True, spare=spare))
    np.testing.assert_array_equal(
        session.generate(60, batch=3, seed=4, sampler=True), refar.generate(graph, params, 60, batch=3, seed=4)
    )


def test_a_layer_is_two_products_and_a_gate() -> None:
    nodes = sampler(WAVENET, parameters(WAVENET)).graph.node
    kinds = Counter(node.op_type for node in nodes)
    assert (kinds["MatMul"], kinds["Tanh"], kinds["Sigmoid"], kinds["Concat"]) == (1, 4, 0, 2)
    assert kinds["Gemm"] == 4 + 3 + 1 + 2  # on the newest values, in residual sums, of all skips, in the head
    assert kinds["Split"] == 1 + 4
    assert not any(node.op_type == "Gemm" and node.attribute for node in nodes)  # no weight is turned round


def test_what_never_changes_is_no_node() -> None:
    """A front of two taps keeps one token, in a slot that is always the same; of each layer one slot is read and written."""
    model = sampler(WAVENET, parameters(WAVENET))
    makers = {name: node for node in model.graph.node for name in node.output}
    assert makers["present.int64x1"].op_type == "Where"
    (written,) = [node for node in model.graph.node if node.output[0] == "present.float32x4"]
    (read,) = [node for node in model.graph.node if node.input[0] == "past.float32x4" and node.op_type == "Gather"]
    indices = makers[makers[written.input[1]].input[0]]
    assert (indices.op_type, indices.input[0]) == ("Reshape", read.input[1])


def gated(
    read: Callable[[Builder, Any], Any], source: Callable[[Builder, Any], Any] = lambda g, h: g.conv1d(h, 6, kernel=2)
) -> Graph:
    """A gate on `source`, and what reads it."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 4, kernel=2, strict=True)
    return g.build(g.conv1d(read(g, g.gate(source(g, h))), 4), ops.Categorical())


def both_read(g: Builder, h: Any) -> Any:
    product = g.conv1d(h, 6)
    return g.concat(product, g.slice(product, 0, 4))


DOUBLED = {
    "a product": (gated(lambda g, y: y), 1),
    "a product without a bias": (gated(lambda g, y: y, lambda g, h: g.conv1d(h, 6, bias=False)), 1),
    "two products": (gated(lambda g, y: g.add(g.conv1d(y, 5), g.conv1d(y, 5))), 1),
    "side by side": (gated(lambda g, y: g.concat(y, g.gate(g.conv1d(y, 8)))), 2),
    "a product that a gate reads": (gated(lambda g, y: g.gate(g.conv1d(y, 8))), 2),
    "side by side with another value": (gated(lambda g, y: g.concat(y, g.tanh(g.conv1d(y, 2)))), 0),
    "side by side with a gate on a sum": (
        gated(lambda g, y: g.concat(y, g.gate(g.add(g.conv1d(y, 8), g.conv1d(y, 8, kernel=2))))), 0
    ),
    "a tanh": (gated(lambda g, y: g.tanh(y)), 0),
    "a convolution in groups": (gated(lambda g, y: g.conv1d(y, 3, groups=3)), 0),
    "a convolution of past values": (gated(lambda g, y: g.conv1d(y, 3, kernel=2)), 0),
    "a gate on a grouped convolution": (gated(lambda g, y: y, lambda g, h: g.conv1d(h, 6, groups=2)), 0),
    "a gate on what others read": (gated(lambda g, y: y, both_read), 0),
    "a gate on no product": (gated(lambda g, y: y, lambda g, h: g.tanh(h)), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBLED)
def test_which_gates_are_one_tanh(name: str, tmp_path: Path) -> None:
    graph, expected = DOUBLED[name]
    params = parameters(graph)
    run, given = rewritten(graph, params, ("lookups", "sums"))
    before = {name: a.copy() for name, a in given.items()}
    gates, _ = one_tanh(run, state_layout(facts(run)), given)
    assert len(gates) == expected
    assert all(np.array_equal(a, before[name]) for name, a in given.items())
    assert law(graph, tmp_path / "b") == ""


def test_a_gate_that_is_the_output_is_not_doubled(tmp_path: Path) -> None:
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 4, kernel=2, strict=True)
    graph = g.build(g.gate(g.conv1d(h, 8)), ops.Categorical())
    assert one_tanh(graph, state_layout(facts(graph)), parameters(graph))[0] == frozenset()
    assert law(graph, tmp_path / "b") == ""


def test_one_tanh_is_within_the_bound_of_a_gate() -> None:
    """Where either half is tiny or large, too."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(20_000, 2)) * 10.0 ** rng.uniform(-7, 2, (20_000, 2))).astype(np.float32)
    nodes = [
        helper.make_node("Tanh", ["x"], ["both"]),
        helper.make_node("Split", ["both"], ["t", "s"], axis=1, num_outputs=2),
        helper.make_node("Mul", ["t", "s"], ["product"]),
        helper.make_node("Add", ["t", "product"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 2), ("y", 1))]
    model = helper.make_model(
        helper.make_graph(nodes, "gate", ports[:1], ports[1:]), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    (doubled,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x * np.float32([1, 0.5])})
    a, b = x.astype(np.float64).T
    exact = np.tanh(a) / (1 + np.exp(-b))
    allowed = bound.forward(ops.Gate(), [x.astype(np.float64)], {})[:, 0]
    assert (np.abs(doubled[:, 0].astype(np.float64) / 2 - exact) <= allowed).all()


Change = Callable[..., Any]


def newest_first(right: Change, *given: Any) -> Any:
    """Past taps take the weights of each other."""

    def turned(batch: device_rows.TapBatch) -> device_rows.TapBatch:
        count = len(batch.reads) // len(batch.nodes)
        reads = [batch.reads[i : i + count][::-1] for i in range(0, len(batch.reads), count)]
        return replace(batch, reads=tuple(read for each in reads for read in each))

    return [turned(batch) for batch in right(*given)]


def next_layer(right: Change, *given: Any) -> Any:
    """Each convolution takes what another one of its batch takes from past visits."""
    found = right(*given)
    return dict(zip(found, [*list(found.values())[1:], next(iter(found.values()))], strict=True))


def without_bias(right: Change, *given: Any) -> Any:
    return None


def without_offset(right: Change, self: Rows, node: Any, op: ops.Conv1d, taps: Any) -> Any:
    return self._e.params[f"{node.name}.bias"] if op.bias else None


def only_named(right: Change, *given: Any) -> Any:
    """Gates are doubled, and no weight is halved."""
    gates, _ = right(*given)
    return gates, given[2]


def one_visit_late(right: Change, e: Any, wanted: Any) -> Any:
    """What is read was written a visit before."""
    return right(e, [[(slots, age + 1 if age > 1 else age) for slots, age in each] for each in wanted])


MISTAKES: dict[str, tuple[str, Any, str, Change]] = {
    "past taps in the wrong order": ("taps", device_step, "batches", newest_first),
    "the past of another layer": ("wavenet", device_step, "ahead", next_layer),
    "no bias": ("wavenet", DeviceRows, "_bias", without_bias),
    "a bias that forgets the offset": ("wavenet", DeviceRows, "_bias", without_offset),
    "doubled gates in weights that are not halved": ("wavenet", device_step, "one_tanh", only_named),
    "a slot too late": ("wavenet", device_step, "_slots", one_visit_late),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_breaks_the_law(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, owner, function, change = MISTAKES[mistake]
    right = getattr(owner, function)
    monkeypatch.setattr(owner, function, lambda *given: change(right, *given))
    assert law(GRAPHS[name], tmp_path / "b") != ""


@pytest.mark.parametrize("name", GRAPHS)
def test_a_write_that_does_not_wait_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        device_step, "_after", lambda e, value, read, name="": value if not name else e.emit("Abs", value, outputs=[name])
    )
    with pytest.raises(BackendError, match=r"sampler.onnx: its state cannot be written in place"):
        sampler(GRAPHS[name], parameters(GRAPHS[name]))


def test_the_output_is_made_by_its_own_node() -> None:
    model = sampler(WAVENET, parameters(WAVENET))
    (maker,) = [node for node in model.graph.node if node.output[0] == "output"]
    assert maker.op_type == "Gemm"
    onnx.checker.check_model(model)
