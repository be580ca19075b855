"""The ONNX graphs of a network: full, prefill, step and block. Ports and state are described in export/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

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
from refar.graph.graph import Graph, Node, digest, to_json
from refar.runtime.bundle import FORMAT, OUTPUT, PAST, PRESENT, START, has_start, state_ports
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
    e = Emitter(params, facts(graph).types)
    match kind:
        case "step":
            outputs = _step(e, graph)
        case "block":
            outputs = _block(e, graph)
        case _:
            outputs = _sequence(e, graph, with_state=kind == "prefill")
    ports = [_port(graph, name, kind) for name in _inputs(graph, kind)]
    exits = [_port(graph, name, kind) for name in outputs]
    if expose:
        exits += [_exposed(e, node, kind) for node in graph.nodes if not isinstance(node.op, ops.Input)]
    body = helper.make_graph(e.nodes, f"refar_{kind}", ports, exits, e.protos())
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    model.producer_name, model.producer_version = "refar", FORMAT
    helper.set_model_props(model, metadata(graph, kind))
    onnx.checker.check_model(model, full_check=True)
    return model


def metadata(graph: Graph, kind: Kind) -> dict[str, str]:
    """The essentials that stand in each file."""
    text = to_json(graph)
    return {
        "refar.format": FORMAT,
        "refar.kind": kind,
        "refar.state": msgspec.json.encode(state_ports(graph)).decode(),
        "refar.graph_sha256": digest(graph),
        "refar.graph": text.decode(),
    }


def _inputs(graph: Graph, kind: Kind) -> list[str]:
    found = facts(graph)
    inputs = [found.sequence, *found.conditions]
    if kind == "step" and has_start(graph):
        inputs.append(START)
    if kind in ("step", "block"):
        inputs += [f"{PAST}.{port.node}" for port in state_ports(graph)]
    return inputs


def _port(graph: Graph, name: str, kind: Kind) -> onnx.ValueInfoProto:
    """The declared type of an input or output, by its name."""
    types = facts(graph).types
    if name == START:
        return helper.make_tensor_value_info(name, TensorProto.BOOL, [])
    for port in state_ports(graph):
        if name in (f"{PAST}.{port.node}", f"{PRESENT}.{port.node}"):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch_size", port.channels, port.length])
    type_ = types[graph.output if name == OUTPUT else name]
    if type_.timed and (kind == "step" or (kind == "prefill" and name == OUTPUT)):
        type_ = type_.at_once
    return _declared(name, type_, "output_length" if name == OUTPUT and facts(graph).first_position else "sequence_length")


def _exposed(e: Emitter, node: Node, kind: Kind) -> onnx.ValueInfoProto:
    """One more output: the value of a node, of the axes that it has in this graph."""
    type_ = e.types[node.name]
    name = e.emit("Identity", e.values[node.name], outputs=[f"{VALUE}/{node.name}"])
    return _declared(name, type_.at_once if kind == "step" else type_, f"length of {node.name}")


def _declared(name: str, type_: Type, length: str) -> onnx.ValueInfoProto:
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
        values[node.name] = _whole(e, node, args, [before.get(name) for name in node.inputs])
        if graph.padding != "input" or not e.types[node.name].timed:
            continue
        if node.name in facts(graph).sources:
            before[node.name] = lower.zeros_before(e, facts(graph).sequence, e.types[node.name].size)
        else:  # where nothing changes: one position, before which stands the same
            earlier = [before.get(name, values[name]) for name in node.inputs]
            before[node.name] = _whole(e, node, earlier, earlier)
    e.own(OUTPUT)
    if not with_state:
        return [_from(e, values[graph.output], facts(graph).first_position)]
    e.emit("Gather", values[graph.output], e.constant(-1), outputs=[OUTPUT], axis=2)
    history = _run(graph).cache
    return [OUTPUT, *(_prefilled(e, graph, name, values[name], before.get(name), history[name]) for name in history)]


def _from(e: Emitter, value: str, first: int) -> str:
    """The output, from this position on."""
    if first == 0:
        return e.emit("Identity", value, outputs=[OUTPUT])
    return e.emit("Slice", value, e.constant([first]), e.constant([lower.LAST]), e.constant([2]), outputs=[OUTPUT])


def _whole(e: Emitter, node: Node, args: list[str], before: Sequence[str | None]) -> str:
    """One node at every position."""
    kinds = [e.types[name] for name in node.inputs]
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
            return lower.pointwise(e, node.op, args, kinds, sequence=True)


def _prefilled(e: Emitter, graph: Graph, name: str, value: str, before: str | None, length: int) -> str:
    """The last `length` values of a node. A strict prompt ends in a dummy token, which only lead-1 nodes may stand at."""
    e.own(f"{PRESENT}.{name}")
    unseen = 1 - _run(graph).lead[name] if is_strict(graph) else 0
    extended = lower.extend(e, value, length, before)
    begin, end = e.constant([-length - unseen]), e.constant([-unseen if unseen else lower.LAST])
    return e.emit("Slice", extended, begin, end, e.constant([2]), outputs=[f"{PRESENT}.{name}"])


def _step(e: Emitter, graph: Graph) -> list[str]:
    """One position: every value is (B, C); what lies in the past is read from the state."""
    run = _run(graph)
    values = e.values
    buffers: dict[str, str] = {}
    for node in graph.nodes:
        e.own(node.name)
        kinds = [e.types[name] for name in node.inputs]
        assert not isinstance(node.op, ops.ImageOp)  # a graph over a plane has no step graph yet
        args = [_aligned_source(e, source, node.name, values, buffers, run) for source in node.inputs]
        match node.op:
            case ops.Input():
                value = node.name
            case ops.Conv1d() if not kinds[0].timed or offsets_of_node(node.op) == (0,):
                value = lower.dense(e, node.op, args[0], kinds[0].size)
            case ops.Conv1d() | ops.Shift() | ops.Pool1d():
                past = [buffers[s] if s in buffers else _unsqueezed(e, values[s]) for s in node.inputs]
                where = [lower.places(node.op, source, node.name, run) for source in node.inputs]
                value = lower.windowed_step(e, node.op, past, where, kinds[0])
            case _:
                value = lower.pointwise(e, node.op, args, kinds, sequence=False)
        if _feeds_ahead(graph, node.name, run):
            zero = e.constant(0, np.float32)
            value = e.emit("Where", START, zero, value)
        values[node.name] = value
        if node.name in run.cache:
            buffers[node.name] = e.emit("Concat", f"{PAST}.{node.name}", _unsqueezed(e, value), axis=2)
    e.own(OUTPUT)
    outputs = [e.emit("Identity", values[graph.output], outputs=[OUTPUT])]
    for name in run.cache:
        e.own(f"{PRESENT}.{name}")
        bounds = [e.constant([1]), e.constant([lower.LAST]), e.constant([2])]
        outputs.append(e.emit("Slice", buffers[name], *bounds, outputs=[f"{PRESENT}.{name}"]))
    return outputs


def _aligned_source(e: Emitter, source: str, node: str, values: dict[str, str], buffers: dict[str, str], run: Schedule) -> str:
    """The source's value at this node's position, which a source that stands ahead has already put into its history."""
    behind = run.lead.get(source, 0) - run.lead.get(node, 0)
    if source not in run.lead or node not in run.lead or behind <= 0:
        return values[source]
    return e.emit("Gather", buffers[source], e.constant(run.cache[source] - behind), axis=2)


def _feeds_ahead(graph: Graph, name: str, run: Schedule) -> bool:
    """Whether this node's value must read as zero before the first token: it stands at the token, and outlives the call."""
    if not has_start(graph) or run.lead.get(name) != 0 or facts(graph).types[name].indexed:
        return False
    return name in run.cache or any(name in node.inputs and run.lead.get(node.name) == 1 for node in graph.nodes)


def _block(e: Emitter, graph: Graph) -> list[str]:
    """T positions: values over time are (B, C, T); what lies further back is read from the state."""
    run = _run(graph)
    values = e.values
    buffers: dict[str, str] = {}
    for node in graph.nodes:
        e.own(node.name)
        kinds = [e.types[name] for name in node.inputs]
        assert not isinstance(node.op, ops.ImageOp)  # a graph over a plane has no block graph yet
        match node.op:
            case ops.Input():
                value = node.name
            case ops.Conv1d() if not kinds[0].timed:
                value = lower.dense(e, node.op, values[node.inputs[0]], kinds[0].size)
            case ops.Conv1d() | ops.Shift() | ops.Pool1d():
                past = [buffers.get(name, values[name]) for name in node.inputs]
                where = [lower.places(node.op, source, node.name, run) for source in node.inputs]
                value = lower.windowed_block(e, node.op, past, where, [run.cache.get(name, 0) for name in node.inputs])
            case _:
                args = [_aligned_block(e, source, node, values, buffers, run) for source in node.inputs]
                value = lower.pointwise(e, node.op, args, kinds, sequence=True)
        values[node.name] = value
        if node.name in run.cache:
            buffers[node.name] = e.emit("Concat", f"{PAST}.{node.name}", value, axis=2)
    e.own(OUTPUT)
    outputs = [e.emit("Identity", values[graph.output], outputs=[OUTPUT])]
    for name, kept in run.cache.items():
        e.own(f"{PRESENT}.{name}")
        bounds = [e.constant([-kept]), e.constant([lower.LAST]), e.constant([2])]
        outputs.append(e.emit("Slice", buffers[name], *bounds, outputs=[f"{PRESENT}.{name}"]))
    return outputs


def _aligned_block(e: Emitter, source: str, node: Node, values: dict[str, str], buffers: dict[str, str], run: Schedule) -> str:
    """The source's values at this node's positions, which begin in its history if it stands ahead."""
    if source not in run.lead or node.name not in run.lead or run.lead[source] == run.lead[node.name]:
        return values[source]
    return lower.span(e, buffers[source], lower.places(node.op, source, node.name, run), run.cache[source])


def _unsqueezed(e: Emitter, value: str) -> str:
    return e.emit("Unsqueeze", value, e.constant([2]))


def _run(graph: Graph) -> Schedule:
    return facts(graph).schedule(leading=is_strict(graph))
