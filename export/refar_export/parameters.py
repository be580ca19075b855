"""The parameters of a bundle, read back from its full graph."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import numpy_helper

from refar.analysis.facts import facts
from refar.arguments.arrays import Arrays, check_parameters
from refar.errors import FileError
from refar.runtime.bundle import read_file, read_manifest


def parameters(path: str | Path) -> Arrays:
    """{name: float32 array} of an exported network, in the order of its graph; masked weights are 0.

    Raises FileError for a damaged bundle, and for one of which a weight is stored in another form (groups on a constant).
    """
    manifest = read_manifest(path)
    model = onnx.load_model_from_string(read_file(path, "full.onnx", manifest))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    shapes = facts(manifest.graph).parameters
    if missing := [name for name in shapes if name not in stored]:
        raise FileError(f"bundle {str(path)!r}: full.onnx does not hold the parameter {missing[0]!r} under its name")
    arrays = {name: numpy_helper.to_array(stored[name]).reshape(shape) for name, shape in shapes.items()}
    return check_parameters(facts(manifest.graph), arrays)
