"""The parameters of a bundle of version 1, which stand in its models alone."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import numpy_helper

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays, check_parameters
from refar.errors import FileError, ParameterError
from refar.graph.graph import Graph


def of_model(data: bytes, graph: Graph, path: Path) -> Arrays:
    """Read the parameters out of full.onnx of a bundle of version 1, which holds them under their names.

    Raises FileError for a damaged model, and for one of which a weight is stored in another form (groups on a constant).
    """
    shapes = facts(graph).parameters
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # onnx does not say which; protobuf's DecodeError is one, and bytes are all that can be wrong here
        raise FileError(f"bundle {str(path)!r}: full.onnx is damaged: {error}") from None
    try:
        stored = {tensor.name: _array(tensor) for tensor in model.graph.initializer if tensor.name in shapes}
    except ValueError as error:
        raise FileError(f"bundle {str(path)!r}: full.onnx is damaged: {error}") from None
    if missing := [name for name in shapes if name not in stored]:
        raise FileError(f"bundle {str(path)!r}: full.onnx does not hold the parameter {missing[0]!r} under its name")
    try:
        return check_parameters(facts(graph), {name: stored[name].reshape(shape) for name, shape in shapes.items()})
    except (ParameterError, ValueError) as error:
        raise FileError(f"bundle {str(path)!r}: full.onnx: {error}") from None


def _array(tensor: onnx.TensorProto) -> Array:
    """A parameter that stands in the model itself: not in another file, and in float32."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.data_type != onnx.TensorProto.FLOAT:
        raise ValueError(f"expected the parameter {tensor.name!r} in the model itself, in float32")
    return numpy_helper.to_array(tensor)
