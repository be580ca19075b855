"""The ONNX graphs of a network. Their ports and the state are described in export/README.md."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Any, Literal, assert_never

import onnx
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import TensorProto, helper

from refar import ops
from refar.analysis.linear import windows
from refar.analysis.slots import StateLayout, state_layout
from refar.analysis.types import Type
from refar.errors import GraphError
from refar.graph.graph import Graph, Node, to_json
from refar.runtime.bundle import CLOCK, FIXED, FORMAT, IR, LENGTH, OPSET, OUTPUT, PAST, PRESENT
from refar_export import block_graph, in_place, visit_graphs, whole_graphs, window_graph
from refar_export.emitter import Emitter
from refar_export.rewrites import REWRITES, rewritten

VALUE = "value"
"""Outputs of a graph that exposes its nodes begin with it: "value/<node>"."""

Kind = Literal["full", "prefill", "condition", "step", "block", "window"]

JOINED = "joined"
"""The choice, among rewrites, that a sum of products costs no node of its own: see `rows`."""

_REWRITTEN = dict.fromkeys(("step", "block", "window"), (*REWRITES, JOINED))


def build(
    graph: Graph,
    params: dict[str, NDArray[Any]],
    kind: Kind,
    *,
    spare: int = 0,
    expose: bool = False,
    rewrites: Iterable[str] | None = None,
) -> onnx.ModelProto:
    """One ONNX model, checked. `params` are checked float32 arrays; the last `spare` visits may be made once more.

    With `expose`, for looking inside, every node that computes something is an output too, "value/<node>", and nothing is
    rewritten. Otherwise step, block and window are rewritten by `rewrites`, by all that pay if it is left out, `JOINED` too.
    Raises GraphError for a node whose name would collide with a port, and for a graph that looks ahead, unless `kind` is "full".
    """
    _check_names(graph)
    run = graph if kind == "full" else of_stream(graph)
    chosen = () if expose else tuple(_REWRITTEN.get(kind, ()) if rewrites is None else rewrites)
    if chosen:
        run, params = rewritten(run, params, [name for name in chosen if name != JOINED])
    e = Emitter(params, run)
    layout = None if kind == "full" else state_layout(e.facts, spare)
    outputs = _emit(e, layout, kind, chosen)
    ports = _Ports(e, layout, kind)
    exits = [ports.declared(name) for name in outputs]
    if expose:
        exits += [ports.exposed(node) for node in e.graph.nodes if node.name in e.values and not isinstance(node.op, ops.Input)]
    model = assembled(e, graph, kind, [ports.declared(name) for name in ports.inputs()], exits)
    in_place.require_order(model, f"{kind}.onnx")
    in_place.require_windows(model, f"{kind}.onnx", {name: f"{PRESENT}.{node}" for name, node in ports.windows.items()})
    return model


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


def of_stream(graph: Graph) -> Graph:
    """The graph that a stream runs: for padding "valid" that of layer padding, of which the first outputs mean nothing."""
    return replace(graph, padding="layer") if graph.padding == "valid" else graph


def metadata(graph: Graph, kind: str) -> dict[str, str]:
    """Return the essentials, which each file holds."""
    text = to_json(graph)
    return {
        "refar.format": FORMAT,
        "refar.kind": kind,
        "refar.graph_sha256": hashlib.sha256(text).hexdigest(),
        "refar.graph": text.decode(),
    }


def _check_names(graph: Graph) -> None:
    kept = (PAST, PRESENT, FIXED, LENGTH, OUTPUT)
    for node in graph.nodes:
        if node.name.split(".")[0] in kept:
            raise GraphError(f"node {node.name!r}: names that begin with {', '.join(kept)} are kept for ports")


def _emit(e: Emitter, layout: StateLayout | None, kind: Kind, rewrites: Collection[str]) -> list[str]:
    if layout is None:
        return whole_graphs.full(e)
    match kind:
        case "prefill":
            return whole_graphs.prefill(e, layout)
        case "condition":
            return whole_graphs.condition(e, layout)
        case "step":
            return visit_graphs.step(e, layout, joined=JOINED in rewrites, lookups="lookups" in rewrites)
        case "block":
            return block_graph.block(e, layout, joined=JOINED in rewrites, lookups="lookups" in rewrites)
        case "window":
            return window_graph.window(e, layout, joined=JOINED in rewrites, lookups="lookups" in rewrites)
        case "full":
            raise AssertionError(kind)
        case _:
            assert_never(kind)


class _Ports:
    """The types of the inputs and outputs of one model."""

    def __init__(self, e: Emitter, layout: StateLayout | None, kind: Kind) -> None:
        self.e, self.layout, self.kind = e, layout, kind
        read = windows(e.facts, layout).values() if kind == "window" and layout is not None else ()
        self.windows = {f"{PAST}.{each.port}": each.node for each in read}

    def inputs(self) -> list[str]:
        """The names of all inputs."""
        found, types = self.e.facts.inputs, self.e.types
        match self.kind:
            case "full":
                return list(found)
            case "prefill":
                return [*found, LENGTH]
            case "condition":
                return [name for name in found if not types[name].timed]
            case "step" | "block":
                assert self.layout is not None
                state = [*(f"{PAST}.{tensor}" for tensor in self.layout.tensors), f"{PAST}.{CLOCK}"]
                return [*(name for name in found if types[name].timed), *(f"{FIXED}.{n}" for n in self.layout.fixed), *state]
            case "window":
                assert self.layout is not None
                state = list(self.windows)
                return [*(name for name in found if types[name].timed), *(f"{FIXED}.{n}" for n in self.layout.fixed), *state]
            case _:
                assert_never(self.kind)

    def declared(self, name: str) -> onnx.ValueInfoProto:
        """Declare the type of an input or output."""
        side, _, rest = name.partition(".")
        if name == LENGTH:
            return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size"])
        if self.kind == "window" and side != FIXED:
            return self._rows(name)
        if side in (PAST, PRESENT) and rest == CLOCK:
            return helper.make_tensor_value_info(name, TensorProto.INT64, [])
        if side in (PAST, PRESENT):
            assert self.layout is not None
            (slots, channels), classes = self.layout.sizes[rest], self.layout.tensors[rest][0].classes
            kind = TensorProto.INT64 if classes else TensorProto.FLOAT
            return helper.make_tensor_value_info(name, kind, [slots, "batch_size", channels])
        if side == FIXED:
            return declared(name, self.e.types[rest], "")
        first = self.e.facts.first_position if self.kind == "full" else 0
        length = "output_length" if name == OUTPUT and first else "sequence_length"
        return declared(name, self._type(self.e.graph.output if name == OUTPUT else name, name == OUTPUT), length)

    def _rows(self, name: str) -> onnx.ValueInfoProto:
        """Declare a port of a graph over windows: rows (T·B, C), or classes (T·B), and of an input (T, B, C) or (T, B)."""
        side, _, rest = name.partition(".")
        node = self.windows.get(name, rest if side == PRESENT else self.e.graph.output if name == OUTPUT else name)
        slots = self.layout.slots.get(node) if self.layout is not None and side in (PAST, PRESENT) else None
        indexed = slots.classes > 0 if slots is not None else self.e.types[node].indexed
        axes = ["sequence_length", "batch_size"] if name in self.e.facts.inputs else [f"rows of {name}"]
        element = TensorProto.INT64 if indexed else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, element, [*axes, *([] if indexed else [self.e.types[node].channels])])

    def exposed(self, node: Node) -> onnx.ValueInfoProto:
        """Emit one more output: the value of a node, of the axes that it has in this graph."""
        name = f"{VALUE}/{node.name}"
        if self.kind == "block" and self.e.types[node.name].timed:
            block_graph.over_time(self.e, node.name, name)
        else:
            self.e.emit("Identity", self.e.values[node.name], outputs=[name])
        return declared(name, self._type(node.name, False), f"length of {node.name}")

    def _type(self, name: str, last: bool) -> Type:
        """The type of a node's value: without time in a step, and where it is the last output of a prefill."""
        found = self.e.types[name]
        return found.at_once if self.kind == "step" or (self.kind == "prefill" and last) else found


def declared(name: str, type_: Type, length: str) -> onnx.ValueInfoProto:
    """Declare an input or output of this type."""
    sizes: dict[str, str | int | None] = {
        "b": "batch_size", "c": type_.channels, "t": length, "h": "height", "w": "width"
    }  # fmt: skip
    element = TensorProto.INT64 if type_.indexed else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, element, [sizes[axis] for axis in type_.axes])
