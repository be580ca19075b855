"""The masks of a graph's weights, for whoever asks, and for the weights that a `refar.torch.Module` keeps at 0.

Each backend masks what it computes with by a derivation of its own: the oracle, PyTorch's `lower`, the exporter's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.windows import kernel_steps, sees
from refar.graph.graph import Graph


@lru_cache(maxsize=64)
def masks(graph: Graph) -> dict[str, NDArray[np.bool_]]:
    """Say which weights see anything: {full name: Boolean array of the weight's shape}, of every masked convolution."""
    shapes = facts(graph).parameters
    masked = [(f"{node.name}.weight", node.op) for node in graph.nodes if isinstance(node.op, ops.Conv2d)]
    found = {name: mask_oihw(op, shapes[name]) for name, op in masked if op.mask != "none"}
    for mask in found.values():
        mask.setflags(write=False)  # one for all that ask
    return found


def mask_oihw(op: ops.Conv2d, shape: tuple[int, ...]) -> NDArray[Any]:
    """Say which weights of a masked convolution see anything: Boolean, of the shape of its weight_oihw. See `ops.Conv2d`."""
    fan_out, fan_in = shape[0] // op.groups, shape[1]
    o = np.arange(shape[0])[:, None]
    i = o // fan_out * fan_in + np.arange(fan_in)
    mask = np.zeros(shape, bool)
    for u, row in enumerate(kernel_steps(op)):
        for v, step in enumerate(row):
            if step != (0, 0):
                mask[:, :, u, v] = sees(op, step, 0, 0)
                continue
            by_colour = np.array([[sees(op, step, given, wanted) for given in range(op.colours)] for wanted in range(op.colours)])
            mask[:, :, u, v] = by_colour[o % op.colours, i % op.colours]
    return mask
