"""A network whose convolutions over time are computed in int8, in NumPy: see `refar.exact.int8` for the definition.

All else is computed in float64. Integers are held as floats, in which their sums are exact.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refar import ops
from refar.analysis.int8_products import InputScale
from refar.arguments.arrays import Array, Arrays
from refar.oracle import node as nodes
from refar.oracle.bound_graph import BoundGraph

_LARGEST = np.float32(64)


def quantized(x: Array, at: InputScale) -> Array:
    """Quantise `x`, any shape, rounded to float32 first: integers 0 … 255, in float64."""
    levels = np.rint(x.astype(np.float32) / np.float32(at.scale)).astype(np.float64) + at.zero
    return np.asarray(np.clip(levels, 0, 255))


def quantized_weight(weight: Array) -> tuple[Array, Array]:
    """Quantise `weight` (O, I, K): integers -64 … 64, in float64, and the scale of each output channel, float32 (O,)."""
    narrow = weight.astype(np.float32)
    scale = np.abs(narrow).reshape(len(narrow), -1).max(axis=1, initial=0) / _LARGEST
    scale = np.where(scale == 0, np.float32(1), scale)
    return np.rint(narrow / scale[:, None, None]).astype(np.float64), scale


def product(op: ops.Conv1d, x: Array, own: Arrays, at: InputScale) -> tuple[Array, Array]:
    """One convolution of x (B, I, T) with its parameters `own`: the part that is a product, and y = product + bias, (B, O, T)."""
    integers, scale = quantized_weight(own["weight"])
    bare = ops.Conv1d(op.channels, op.kernel, op.dilation, bias=False, strict=op.strict)
    sums = nodes.forward(bare, [quantized(x, at) - at.zero], [None], {"weight": integers}, 0, np.dtype(np.float64))
    y = sums * (at.scale * scale.astype(np.float64))[:, None]
    return y, y + own["bias"][:, None] if op.bias else y


def forward_nodes(net: BoundGraph, inputs: Arrays, scales: Mapping[str, InputScale]) -> Arrays:
    """Return the value of every node at every position, those that `scales` names in int8; layer padding."""
    values: Arrays = {}
    for node in net.graph.nodes:
        args = [inputs[node.name]] if isinstance(node.op, ops.Input) else [values[name] for name in node.inputs]
        if isinstance(node.op, ops.Conv1d) and node.name in scales:
            values[node.name] = product(node.op, args[0], net.own[node.name], scales[node.name])[1]
        else:
            none, classes = [None] * len(args), net.facts.classes[node.name]
            values[node.name] = nodes.forward(node.op, args, none, net.own[node.name], classes, net.dtype)
    return values
