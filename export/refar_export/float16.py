"""Parameters and models in float16: numbers are stored in half the bytes, and computed with in float32.

Every port, the state and all arithmetic stay float32. onnxruntime has few float16 kernels for the CPU: there it casts around the
operators and drops casts as it sees fit, so that the place of a rounding would depend on provider and version. Here the one
rounding is that of the parameters, before anything is computed.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from refar.arguments.arrays import Arrays
from refar.errors import ParameterError

_LEAST = 64
"""Numbers of an initialiser from which on storing it in float16 saves more bytes than the Cast takes."""


def rounded(weights: Arrays) -> Arrays:
    """Round `weights`, {name: float32 array}, to the nearest float16, ties to even; they come back as float32.

    Below 2^-14 float16 has a fixed spacing of 2^-24 (IEEE 754, binary16). Raises ParameterError, naming the parameter and the
    place, for a number beyond 65504, the largest of float16.
    """
    with np.errstate(over="ignore"):
        found = {name: array.astype(np.float16).astype(np.float32) for name, array in weights.items()}
    for name, array in found.items():
        if not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ParameterError(
                f"parameter {name!r}: expected numbers that float16 holds, at most 65504, got {weights[name][place]:g} at "
                f"index {place}; export in float32"
            )
    return found


def stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with its float32 initialisers in float16 and a Cast behind each, wherever float16 holds every number.

    So the model computes what it computed before. A runtime that folds constants casts once, when the model is loaded.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    tensors, casts = list(found.graph.initializer), []
    del found.graph.initializer[:]
    for tensor in tensors:
        if (half := _halved(tensor)) is not None:
            casts.append(helper.make_node("Cast", [half.name], [tensor.name], name=f"Cast:{tensor.name}", to=TensorProto.FLOAT))
        found.graph.initializer.append(tensor if half is None else half)
    nodes = list(found.graph.node)
    del found.graph.node[:]
    found.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(found, full_check=True)
    return found


def _halved(tensor: onnx.TensorProto) -> onnx.TensorProto | None:
    """The same numbers in float16; None where they are too few, of another type, or not the same."""
    if tensor.data_type != TensorProto.FLOAT:
        return None
    array = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if array.size < _LEAST or not np.array_equal(half.astype(np.float32), array):
        return None
    return numpy_helper.from_array(half, f"{tensor.name}/float16")
