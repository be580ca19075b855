"""The ONNX graphs of a network: full, prefill, step and block. Ports and state are described in export/README.md."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, assert_never

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from refar import ops
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.analysis.schedule import Schedule
from refar.analysis.types import Type
from refar.analysis.windows import offsets_of_node
from refar.errors import GraphError
from refar.graph.graph import Graph, Node, to_json
from refar.runtime.bundle import FORMAT, OUTPUT, PAST, PRESENT, START, ports
from refar_export import lower
from refar_export.lower import Emitter

OPSET, IR = 18, 10
"""The widest choice in which every operator used here has CPU and CUDA kernels in onnxruntime."""

VALUE = "value"
"""Outputs of a graph that exposes its nodes begin with it: "value/<node>"."""

Kind = Literal["full", "prefill", "step", "block"]


def build(graph: Graph, params: dict[str, NDArray[Any]], kind: Kind, *, expose: bool = False) -> onnx.ModelProto:
    """One ONNX model, checked. `params` are checked float32 arrays.

    With `expose`, for looking inside, every node that computes something is an output too, "value/<node>".
    Raises GraphError for a node whose name would collide with a port.
    """
    for node in graph.nodes:
        if node.name.split(".")[0] in {PAST, PRESENT, START, OUTPUT}:
            raise GraphError(f"node {node.name!r}: names that begin with past, present, start or output are kept for ports")
    e = Emitter(params, graph)
    match kind:
        case "step":
            outputs = _step(e, graph)
        case "block":
            outputs = _block(e, graph)
        case _:
            outputs = _sequence(e, graph, with_state=kind == "prefill")
    entries = _declared_ports(e, _inputs(e, kind), kind)
    exits = _declared_ports(e, outputs, kind)
    if expose:
        exits += [_exposed(e, node, kind) for node in graph.nodes if not isinstance(node.op, ops.Input)]
    return assembled(e, graph, kind, entries, exits)


def assembled(
    e: Emitter, graph: Graph, kind: str, entries: list[onnx.ValueInfoProto], exits: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """Make a model of what was emitted, with these inputs and outputs, and check it."""
    body = helper.make_graph(e.nodes, f"refar_{kind}", entries, exits, e.protos())
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    model.producer_name, model.producer_version = "refar", FORMAT
    helper.set_model_props(model, metadata(graph, kind))
    onnx.checker.check_model(model, full_check=True)
    return model


def metadata(graph: Graph, kind: str) -> dict[str, str]:
    """Return the essentials, which each file holds."""
    text = to_json(graph)
    return {
        "refar.format": FORMAT,
        "refar.kind": kind,
        "refar.state": msgspec.json.encode(ports(graph).state).decode(),
        "refar.graph_sha256": hashlib.sha256(text).hexdigest(),
        "refar.graph": text.decode(),
    }


def _inputs(e: Emitter, kind: Kind) -> list[str]:
    inputs = list(e.facts.inputs)
    if kind == "step" and e.ports.start:
        inputs.append(START)
    if kind in ("step", "block"):
        inputs += [f"{PAST}.{port.node}" for port in e.ports.state]
    return inputs


def _declared_ports(e: Emitter, names: Sequence[str], kind: Kind) -> list[onnx.ValueInfoProto]:
    """Declare the types of inputs or outputs, by their names."""
    state = {f"{side}.{port.node}": port for port in e.ports.state for side in (PAST, PRESENT)}
    found = []
    for name in names:
        if name == START:
            found.append(helper.make_tensor_value_info(name, TensorProto.BOOL, []))
        elif name in state:
            shape: list[str | int | None] = ["batch_size", state[name].channels, state[name].length]
            found.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        else:
            type_ = e.types[e.facts.graph.output if name == OUTPUT else name]
            if type_.timed and (kind == "step" or (kind == "prefill" and name == OUTPUT)):
                type_ = type_.at_once
            length = "output_length" if name == OUTPUT and e.facts.first_position else "sequence_length"
            found.append(declared(name, type_, length))
    return found


def _exposed(e: Emitter, node: Node, kind: Kind) -> onnx.ValueInfoProto:
    """One more output: the value of a node, of the axes that it has in this graph."""
    type_ = e.types[node.name]
    name = e.emit("Identity", e.values[node.name], outputs=[f"{VALUE}/{node.name}"])
    return declared(name, type_.at_once if kind == "step" else type_, f"length of {node.name}")


def declared(name: str, type_: Type, length: str) -> onnx.ValueInfoProto:
    """Declare an input or output of this type; `length` names its axis of time."""
    sizes: dict[str, str | int | None] = {
        "b": "batch_size", "c": type_.channels, "t": length, "h": "height", "w": "width"
    }  # fmt: skip
    element = TensorProto.INT64 if type_.indexed else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, element, [sizes[axis] for axis in type_.axes])


def _sequence(e: Emitter, graph: Graph, *, with_state: bool) -> list[str]:
    """Every position at once; with state, only the last output and what `step` needs to go on from there."""
    values = e.values
    before: dict[str, str] = {}
    for node in graph.nodes:
        e.own(node.name)
        args = [values[name] for name in node.inputs]
        values[node.name] = whole(e, node, args, [before.get(name) for name in node.inputs])
        if graph.padding != "input" or not e.types[node.name].timed:
            continue
        if node.name in e.facts.sources:
            before[node.name] = lower.zeros_before(e, e.facts.sequence, e.types[node.name].size)
        else:  # its steady state: one position, at which every tap sees the same
            earlier = [before.get(name, values[name]) for name in node.inputs]
            before[node.name] = whole(e, node, earlier, earlier)
    e.own(OUTPUT)
    if not with_state:
        return [_from(e, values[graph.output], e.facts.first_position)]
    e.emit("Gather", values[graph.output], e.constant(-1), outputs=[OUTPUT], axis=2)
    cache = e.ports.schedule.cache
    return [OUTPUT, *(_prefilled(e, graph, name, values[name], before.get(name), cache[name]) for name in cache)]


def _from(e: Emitter, value: str, first: int) -> str:
    """The output, from this position on."""
    if first == 0:
        return e.emit("Identity", value, outputs=[OUTPUT])
    return e.emit("Slice", value, e.constant([first]), e.constant([lower.LAST]), e.constant([2]), outputs=[OUTPUT])


def whole(e: Emitter, node: Node, args: list[str], before: Sequence[str | None]) -> str:
    """One node at every position."""
    kinds = e.facts.kinds[node.name]
    if isinstance(node.op, ops.PointwiseOp):
        return lower.pointwise(e, node.op, args, kinds, sequence=True)
    match node.op:
        case ops.Input():
            return node.name
        case ops.Conv1d() if not kinds[0].timed:
            return lower.dense(e, node.op, args[0], kinds[0].size)
        case ops.Conv1d():
            return lower.conv1d_sequence(e, node.op, args[0], before[0])
        case ops.Conv2d():
            return lower.conv2d(e, node.op, args[0])
        case ops.Shift2d():
            return lower.shift2d(e, node.op, args[0])
        case ops.Shift():
            return lower.window_sequence(e, args[0], node.op.steps, before[0])
        case ops.Pool1d():
            offsets = sorted(offsets_of_node(node.op), reverse=True)
            windows = [[lower.window_sequence(e, x, o, b) for o in offsets] for x, b in zip(args, before, strict=True)]
            return lower.pool1d(e, node.op, windows[0], windows[1] if len(windows) > 1 else None)
        case _:
            assert_never(node.op)


def _prefilled(e: Emitter, graph: Graph, name: str, value: str, before: str | None, length: int) -> str:
    """The last `length` values of a node. A strict prompt ends in a dummy token, which only nodes of lead 1 may use."""
    e.own(f"{PRESENT}.{name}")
    unseen = 1 - e.ports.schedule.lead[name] if e.ports.strict else 0
    extended = lower.extend(e, value, length, before)
    begin, end = e.constant([-length - unseen]), e.constant([-unseen if unseen else lower.LAST])
    return e.emit("Slice", extended, begin, end, e.constant([2]), outputs=[f"{PRESENT}.{name}"])


def _step(e: Emitter, graph: Graph) -> list[str]:
    """One position: every value is (B, C); what lies in the past is read from the state."""
    run, values = e.ports.schedule, e.values
    buffers: dict[str, str] = {}
    for node in graph.nodes:
        e.own(node.name)
        value = _at_once(e, node, buffers)
        if e.ports.start and _feeds_ahead(e, node.name):
            value = e.emit("Where", START, e.constant(0, np.float32), value)
        values[node.name] = value
        if node.name in run.cache:
            buffers[node.name] = e.emit("Concat", f"{PAST}.{node.name}", _unsqueezed(e, value), axis=2)
    return _outputs(e, buffers, graph.output, begins=dict.fromkeys(run.cache, 1))


def _at_once(e: Emitter, node: Node, buffers: dict[str, str]) -> str:
    """One node at one position."""
    op, kinds = node.op, e.facts.kinds[node.name]
    if isinstance(op, ops.Input):
        return node.name
    assert not isinstance(op, ops.ImageOp)  # a graph of images has no step graph yet
    args = [_aligned_source(e, source, node.name, buffers) for source in node.inputs]
    if isinstance(op, ops.PointwiseOp):
        return lower.pointwise(e, op, args, kinds, sequence=False)
    if isinstance(op, ops.Conv1d) and (not kinds[0].timed or offsets_of_node(op) == (0,)):
        return lower.dense(e, op, args[0], kinds[0].size)
    past = [buffers[s] if s in buffers else _unsqueezed(e, e.values[s]) for s in node.inputs]
    where = [lower.places(op, source, node.name, e.ports.schedule) for source in node.inputs]
    return lower.windowed_step(e, op, past, where, kinds[0])


def _outputs(e: Emitter, buffers: dict[str, str], output: str, begins: dict[str, int]) -> list[str]:
    """Emit the output and the new state: of each node's old and new values, those from `begins` on."""
    e.own(OUTPUT)
    outputs = [e.emit("Identity", e.values[output], outputs=[OUTPUT])]
    for name, begin in begins.items():
        e.own(f"{PRESENT}.{name}")
        bounds = e.constant([begin]), e.constant([lower.LAST]), e.constant([2])
        outputs.append(e.emit("Slice", buffers[name], *bounds, outputs=[f"{PRESENT}.{name}"]))
    return outputs


def _aligned_source(e: Emitter, source: str, node: str, buffers: dict[str, str]) -> str:
    """The source's value at this node's position; a source that leads it has already put it into its cache."""
    run = e.ports.schedule
    behind = run.lead.get(source, 0) - run.lead.get(node, 0)
    if source not in run.lead or node not in run.lead or behind <= 0:
        return e.values[source]
    return e.emit("Gather", buffers[source], e.constant(run.cache[source] - behind), axis=2)


def _feeds_ahead(e: Emitter, name: str) -> bool:
    """Return True if this node's value must be masked to zero when `start` is set.

    It depends on the missing token, and either the state or a node that leads it reads it.
    """
    run = e.ports.schedule
    if run.lead.get(name) != 0 or e.types[name].indexed:
        return False
    return name in run.cache or any(name in node.inputs and run.lead.get(node.name) == 1 for node in e.facts.graph.nodes)


def _block(e: Emitter, graph: Graph) -> list[str]:
    """T positions: values over time are (B, C, T); what lies further back is read from the state."""
    run, values = e.ports.schedule, e.values
    buffers: dict[str, str] = {}
    for node in graph.nodes:
        e.own(node.name)
        values[node.name] = _several(e, node, buffers)
        if node.name in run.cache:
            buffers[node.name] = e.emit("Concat", f"{PAST}.{node.name}", values[node.name], axis=2)
    return _outputs(e, buffers, graph.output, begins={name: -kept for name, kept in run.cache.items()})


def _several(e: Emitter, node: Node, buffers: dict[str, str]) -> str:
    """One node at T positions."""
    op, kinds, run = node.op, e.facts.kinds[node.name], e.ports.schedule
    if isinstance(op, ops.Input):
        return node.name
    assert not isinstance(op, ops.ImageOp)  # a graph of images has no block graph yet
    if isinstance(op, ops.PointwiseOp):
        args = [_aligned_block(e, source, node, e.values, buffers, run) for source in node.inputs]
        return lower.pointwise(e, op, args, kinds, sequence=True)
    if isinstance(op, ops.Conv1d) and not kinds[0].timed:
        return lower.dense(e, op, e.values[node.inputs[0]], kinds[0].size)
    past = [buffers.get(name, e.values[name]) for name in node.inputs]
    where = [lower.places(op, source, node.name, run) for source in node.inputs]
    return lower.windowed_block(e, op, past, where, [run.cache.get(name, 0) for name in node.inputs])


def _aligned_block(e: Emitter, source: str, node: Node, values: dict[str, str], buffers: dict[str, str], run: Schedule) -> str:
    """The source's values at this node's positions, which begin in its cache if it leads this node."""
    if source not in run.lead or node.name not in run.lead or run.lead[source] == run.lead[node.name]:
        return values[source]
    return lower.span(e, buffers[source], lower.places(node.op, source, node.name, run), run.cache[source])


def _unsqueezed(e: Emitter, value: str) -> str:
    return e.emit("Unsqueeze", value, e.constant([2]))


def _run(graph: Graph) -> Schedule:
    return facts(graph).schedule(leading=is_strict(graph))
