"""The ONNX graphs that compute an image row by row and pixel by pixel. Ports and state are described in export/README.md."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from refar import ops
from refar.analysis.image_slots import CONDITION, PIXEL, PIXELS, ROW, ImageSlots, image_slots
from refar.errors import GraphError
from refar.graph.graph import Graph
from refar.runtime.bundle import OUTPUT, image_table
from refar_export.build import assembled, declared
from refar_export.emitter import Emitter
from refar_export.image_columns import ManyColumns, OneColumn
from refar_export.image_pixels import PixelGraph
from refar_export.image_rewrites import moved_biases
from refar_export.image_rows import RowGraph
from refar_export.whole_graphs import whole_node

NUMBERS = ("row", "column", "batch", "height", "width")
"""The inputs that are one whole number each."""

Params = dict[str, NDArray[Any]]
Size = str | int | None


BIASES, SUMS = "biases", "sums"
REWRITES = (BIASES, SUMS)
"""The rewrites of images: `image_rewrites.moved_biases`, and sums of products as in `image_sums`."""


def image_models(graph: Graph, params: Params, rewrites: Collection[str] = REWRITES) -> dict[str, onnx.ModelProto]:
    """Make all graphs that there are, by the names of their files, with these rewrites. Raises as `pixel`."""
    found = {CONDITION: condition(graph, params), ROW: row(graph, params, rewrites)}
    found |= {PIXEL: pixel(graph, params, 1, rewrites), PIXELS: pixel(graph, params, None, rewrites)}
    return {name: model for name, model in found.items() if model is not None}


def pixel(graph: Graph, params: Params, columns: Literal[1] | None = 1, rewrites: Collection[str] = REWRITES) -> onnx.ModelProto:
    """Make the graph of one visit, or with `columns=None` of any number n ≥ 1 in a row. `params` are checked float32 arrays.

    `row` must be made with the same `rewrites`.
    Raises GraphError for a graph over time, one whose output sees what comes after its pixel, and names of ports.
    """
    slots, e = _begun(graph, params, rewrites)
    file, access = (PIXEL, OneColumn) if columns == 1 else (PIXELS, ManyColumns)
    PixelGraph(e, slots, access(e, slots), joined_sums=SUMS in rewrites).emit()
    return _model(e, slots, file, graph)


def row(graph: Graph, params: Params, rewrites: Collection[str] = REWRITES) -> onnx.ModelProto | None:
    """Make the graph that runs before each row; None if rows above and constants add nothing. Raises as `pixel`."""
    slots, e = _begun(graph, params, rewrites)
    if not slots.lines:
        return None
    RowGraph(e, slots).emit()
    return _model(e, slots, ROW, graph)


def condition(graph: Graph, params: Params) -> onnx.ModelProto | None:
    """Make the graph of what does not depend on the image; None if there is nothing. Raises as `pixel`."""
    slots, e = _begun(graph, params, ())
    if not slots.fixed:
        return None
    for name in slots.blank:
        e.own(name)
        e.values[name] = _blank(e, name)
    for name in slots.constant_nodes:
        e.own(name)
        args = [e.values[source] for source in e.facts.nodes[name].inputs]
        e.values[name] = whole_node(e, e.facts.nodes[name], args, [None] * len(args))
    for name in slots.fixed:
        _fixed(e, name)
    return _model(e, slots, CONDITION, graph)


def _blank(e: Emitter, name: str) -> str:
    """Emit zeros over the image in place of a value of which the shape alone is used."""
    kind = e.types[name]
    sizes = [e.emit("Unsqueeze", size, e.constant([0])) for size in ("batch", "height", "width")]
    target = e.emit("Concat", sizes[0], e.constant([kind.channels]), *sizes[1:], axis=0)
    return e.emit("Expand", e.constant(0, np.int64 if kind.indexed else np.float32), target)


def _fixed(e: Emitter, name: str) -> None:
    """Emit a constant. Lines are real, so class indices, which only an output can be, become numbers."""
    e.own(f"present.fixed.{name}")
    kind = "Cast" if e.types[name].indexed else "Identity"
    to = {"to": TensorProto.FLOAT} if kind == "Cast" else {}
    e.emit(kind, e.values[name], outputs=[f"fixed.{name}"], **to)


def _begun(graph: Graph, params: Params, rewrites: Collection[str]) -> tuple[ImageSlots, Emitter]:
    slots = image_slots(graph)
    for node in graph.nodes:
        first = node.name.split(".")[0]
        if first in ("past", "present", "fixed", OUTPUT) or (isinstance(node.op, ops.Input) and first in (*NUMBERS, "line")):
            raise GraphError(f"node {node.name!r}: this name is kept for a port of the pixel graphs")
    if BIASES in rewrites:
        graph, params = moved_biases(graph, params)
    return slots, Emitter(params, graph)


def _model(e: Emitter, slots: ImageSlots, file: str, graph: Graph) -> onnx.ModelProto:
    """Declare the ports, and check that nothing is missing. `graph` is the network before it was rewritten."""
    ports = slots.ports[file]
    entries, exits = ([_port(e, slots, name, file) for name in names] for names in (ports.inputs, ports.outputs))
    model = assembled(e, graph, file.removesuffix(".onnx"), entries, exits)
    model.metadata_props.add(key="refar.image", value=msgspec.json.encode(image_table(graph)).decode())
    return model


def _port(e: Emitter, slots: ImageSlots, name: str, file: str) -> onnx.ValueInfoProto:
    """Declare one input or output by its name."""
    side, _, rest = name.partition(".")
    if name in NUMBERS:
        return helper.make_tensor_value_info(name, TensorProto.INT64, [])
    if name == "line":
        return _real(name, ["visits", "batch_size", slots.line_channels])
    if rest == "pixels" and side in ("past", "present"):
        return _real(name, ["slots", "batch_size", slots.stored_channels])
    if side in ("past", "present"):
        node = rest.removeprefix("rows.")
        return _real(name, [slots.rings[node], "batch_size", e.types[node].channels, "width"])
    if side == "fixed":
        over: list[Size] = ["height", "width"] if e.types[rest].timed else []
        return _real(name, ["batch_size", e.types[rest].channels, *over])
    if file == CONDITION:
        return declared(name, e.types[name], "sequence_length")
    type_ = e.types[e.facts.graph.output if name == OUTPUT else name]
    visits: list[Size] = ["columns"] if file == PIXELS else []
    element = TensorProto.INT64 if type_.indexed else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, element, [*visits, "batch_size", type_.channels])


def _real(name: str, shape: list[Size]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
