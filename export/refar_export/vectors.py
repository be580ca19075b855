"""Short inputs and the oracle's outputs for them, which go into a bundle."""

from __future__ import annotations

import numpy as np

from refar import noise
from refar.analysis.facts import facts
from refar.arguments.arrays import Arrays
from refar.graph.graph import Graph
from refar.oracle.functions import forward


def vectors(graph: Graph, params: Arrays) -> Arrays:
    """Two sequences longer than the receptive field, and the oracle's outputs in float64 at some positions.

    "x", "condition.<name>", "positions" and "y" = output[:, :, positions]: the first 8, the last 16, and 8 between them.
    Positions in an image count pixels in raster order.
    Drawn from fixed noise.
    """
    found = facts(graph)
    length = max(facts(graph).left_context + 5, 12)
    side = min(facts(graph).left_context + 3, 24)
    inputs: Arrays = {}
    for stream, name in enumerate((found.sequence, *found.conditions)):
        kind = found.types[name]
        shape = [{"b": 2, "c": kind.channels, "t": length, "h": side, "w": side + 1}[axis] for axis in kind.axes]
        u = noise.uniform(0, [stream], 0, 1, int(np.prod(shape))).reshape(shape)
        inputs[name] = (u * kind.size).astype(np.int64) if kind.indexed else (4 * u - 2).astype(np.float32)
    y = forward(graph, params, inputs)
    y = y.reshape(*y.shape[:2], -1)
    length = y.shape[2]
    between = (noise.uniform(0, [len(inputs)], 0, 1, 8).ravel() * length).astype(np.int64)
    kept = np.unique([*range(min(8, length)), *between, *range(max(0, length - 16), length)])
    y = y[:, :, kept]
    stored = {"x": inputs[found.sequence], "positions": kept, "y": y}
    stored |= {f"condition.{name}": inputs[name] for name in found.conditions}
    return {name: np.ascontiguousarray(array) for name, array in stored.items()}  # safetensors writes memory, not values
