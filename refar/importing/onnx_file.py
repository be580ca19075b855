"""An ONNX file as it is given: read, refused where no refar could take it, and remade with free axes or other real numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto
from onnx.inliner import inline_local_functions

from refar.importing.refusal import ImportRefused

OLDEST = 7
"""The first opset in which operators broadcast as they do today."""

REAL = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
WHOLE = {
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
}  # fmt: skip
OWN = ("", "ai.onnx")
"""The domain of ONNX's own operators, by both its names."""

Dimension = int | str | None
"""A size, the name of one that is free, or one of which nothing is known."""


def opened(model: Any) -> ModelProto:
    """Read a path, the bytes of a file, or a model; functions of its own are put where they are called."""
    match model:
        case str() | os.PathLike():
            found = _from_path(Path(model))
        case bytes() | bytearray():
            found = _parsed(bytes(model), "the bytes")
            _require_weights(found, "the bytes have no folder")
        case ModelProto():
            found = ModelProto()
            found.CopyFrom(model)
            _require_weights(found, "a model in memory has no folder")
        case _:
            raise ImportRefused(f"expected the path of an ONNX file, its bytes or an onnx.ModelProto, got {type(model).__name__}")
    _require_versions(found)
    _require_valid(found)
    if found.functions:
        found = inline_local_functions(found)
    return found


def _from_path(path: Path) -> ModelProto:
    if not path.is_file():
        raise ImportRefused(f"{path}: there is no such file")
    found = _parsed(path.read_bytes(), str(path))
    for tensor in _tensors(found):
        file = _external(tensor)
        if file and not (path.parent / file).is_file():
            raise ImportRefused(
                f"{path}: the numbers of {tensor.name!r} stand in {file!r}, which is missing beside it; put that file there"
            )
    try:
        onnx.load_external_data_for_model(found, str(path.parent))
    except Exception as error:  # damaged or too short, links, places outside of the folder: onnx says which
        raise ImportRefused(f"{path}: the numbers that stand in other files cannot be read: {_first(error)}") from error
    return found


def _parsed(content: bytes, name: str) -> ModelProto:
    try:
        found = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own, of which onnx exports no base class
        raise ImportRefused(f"{name}: this is no ONNX model: {_first(error)}") from error
    if not found.graph.node:
        raise ImportRefused(f"{name}: this is no ONNX model with a graph: it has no nodes")
    return found


def _require_weights(model: ModelProto, why: str) -> None:
    for tensor in _tensors(model):
        if file := _external(tensor):
            raise ImportRefused(f"the numbers of {tensor.name!r} stand in {file!r}, and {why}; give the path of the file instead")


def _external(tensor: TensorProto) -> str:
    """Return the file in which a tensor's numbers stand, or nothing."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return ""
    return {entry.key: entry.value for entry in tensor.external_data}.get("location", "?")


def opset_of(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    return max((entry.version for entry in model.opset_import if entry.domain in OWN), default=1)


def _require_versions(model: ModelProto) -> None:
    opset, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ImportRefused(
            f"the file is of opset {opset}, and the installed onnx {onnx.__version__} knows them up to {newest}; "
            "upgrade onnx, or export with an older opset"
        )
    if model.ir_version > onnx.IR_VERSION:
        raise ImportRefused(
            f"the file is of IR version {model.ir_version}, and the installed onnx {onnx.__version__} knows them up to "
            f"{onnx.IR_VERSION}; upgrade onnx"
        )
    if opset < OLDEST:
        raise ImportRefused(
            f"the file is of opset {opset}, older than {OLDEST}, the first that broadcasts as today; "
            "convert it: onnx.version_converter.convert_version(model, 17)"
        )


def _require_valid(model: ModelProto) -> None:
    """Refuse a damaged model; nodes of domains that onnx does not know are named before."""
    local = {(function.domain, function.name) for function in model.functions}
    for node in all_nodes(model.graph):
        if node.domain not in OWN and (node.domain, node.op_type) not in local:
            raise ImportRefused(
                f"{said(node)}: it is of the domain {node.domain!r}, which is not ONNX's own: what it computes stands nowhere; "
                "export without it, before any optimisation for one runtime"
            )
    inputs_of(model)
    for output in model.graph.output:  # whose shapes follow, but which onnx wants to be there
        output.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # a ValidationError, or protobuf's own for a model above 2 GB
        raise ImportRefused(f"the file is no valid ONNX model: {_first(error)}") from error


def said(node: NodeProto) -> str:
    """Return how a node is called in an error: its operator, its name and its output."""
    outputs = ", ".join(repr(name) for name in node.output if name)
    return f"{node.op_type} {node.name!r} (its output is {outputs})" if node.name else f"{node.op_type} (its output is {outputs})"


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Walk through the nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs:
                yield from all_nodes(inner)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in all_nodes(model.graph):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            if attribute.type == AttributeProto.GRAPH:
                yield from attribute.g.initializer


def inputs_of(model: ModelProto) -> dict[str, tuple[int, tuple[Dimension, ...]]]:
    """Return the type and the sizes of every input that is no initialiser. Raises ImportRefused for one without a shape."""
    held = {tensor.name for tensor in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name in held:
            continue
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise ImportRefused(f"the input {value.name!r} is no tensor, but of {kind or 'no type'}; refar takes tensors alone")
        tensor = value.type.tensor_type
        if tensor.elem_type not in REAL | WHOLE:
            name = TensorProto.DataType.Name(tensor.elem_type).lower()
            raise ImportRefused(f"the input {value.name!r} is of the type {name}, where real or whole numbers were expected")
        if not tensor.HasField("shape"):
            raise ImportRefused(
                f"the file says nothing of the shape of its input {value.name!r}; export it with one, or set it: "
                "onnx.tools.update_model_dims.update_inputs_outputs_dims"
            )
        found[value.name] = (tensor.elem_type, tuple(_size(dim) for dim in tensor.shape.dim))
    return found


def _size(dim: Any) -> Dimension:
    match dim.WhichOneof("value"):
        case "dim_value":
            return int(dim.dim_value) if dim.dim_value > 0 else None
        case "dim_param":
            return str(dim.dim_param) or None
        case _:
            return None


def freed(model: ModelProto, axes: Mapping[str, tuple[str, ...]]) -> ModelProto:
    """Return the model with B and T free in its inputs, whose axes are given, and without the shapes that followed from them."""
    found = ModelProto()
    found.CopyFrom(model)
    del found.graph.value_info[:]
    for value in found.graph.input:
        for dim, axis in zip(value.type.tensor_type.shape.dim, axes.get(value.name, ()), strict=False):
            if axis in ("B", "T"):
                dim.Clear()
                dim.dim_param = axis
    for value in found.graph.output:
        value.type.tensor_type.ClearField("shape")
    return found


def kinds_of(model: ModelProto) -> set[int]:
    """Return the types of real numbers that the initialisers have."""
    return {tensor.data_type for tensor in _tensors(model)} & REAL


def retyped(model: ModelProto, kind: int) -> ModelProto:
    """Return the model with all real numbers of one kind: its inputs, its weights, and the casts between."""
    found = ModelProto()
    found.CopyFrom(model)
    _retype_graph(found.graph, kind)
    return found


def _retype_graph(graph: GraphProto, kind: int) -> None:
    del graph.value_info[:]
    for tensor in graph.initializer:
        _retype(tensor, kind)
    for value in (*graph.input, *graph.output):
        _retype_type(value.type, kind)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _retype(attribute.t, kind)
            elif attribute.type == AttributeProto.GRAPH:
                _retype_graph(attribute.g, kind)
            elif attribute.name in ("to", "dtype") and attribute.i in REAL:
                attribute.i = kind
        if node.op_type == "Constant" and node.attribute[0].name in ("value_float", "value_floats"):
            _retype_constant(node, kind)


def _retype(tensor: TensorProto, kind: int) -> None:
    if tensor.data_type in REAL - {kind}:
        array = onnx.numpy_helper.to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def _retype_constant(node: NodeProto, kind: int) -> None:
    """A constant of written-out floats is a tensor of the kind."""
    given = node.attribute[0]
    shape = () if given.name == "value_float" else (len(given.floats),)
    numbers = [given.f] if given.name == "value_float" else list(given.floats)
    tensor = onnx.helper.make_tensor("", TensorProto.DOUBLE, shape, numbers)
    _retype(tensor, kind)
    given.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _retype_type(given: TypeProto, kind: int) -> None:
    if given.tensor_type.elem_type in REAL:
        given.tensor_type.elem_type = kind


def _first(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
