"""The masks of dropout: which numbers a training step sets to 0, as a function of (seed, step, node, row of the batch)."""

from __future__ import annotations

import numpy as np

from refar import noise, ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, extent
from refar.graph.graph import Graph

_MASKS = 2**40
"""The first stream of the first node; 2³² rows further begins that of the next. Nothing else reads streams so high."""


def rates(graph: Graph) -> dict[str, float]:
    """Return the rate of each dropout, by node."""
    return {node.name: node.op.rate for node in graph.nodes if isinstance(node.op, ops.Dropout)}


def draw_masks(graph: Graph, x: Array, seed: int, step: int, rows: range) -> dict[str, Array]:
    """Return, for each dropout, what training multiplies by: 0 with probability `rate`, else 1 / (1 - rate), float32.

    `x` are sequences or images of the right size, `rows` the numbers of those that are wanted in the whole batch. The masks have
    the shape of the node's value for these rows.
    """
    found, over = facts(graph), extent(facts(graph).types[facts(graph).sequence], x)
    masks = {}
    for number, (name, rate) in enumerate(rates(graph).items()):
        kind = found.types[name]
        shape = (kind.channels, *(over if kind.timed else ()))
        streams = [_MASKS + number * 2**32 + row for row in rows]
        u = noise.uniform(seed, streams, step, 1, int(np.prod(shape)))[0]
        masks[name] = np.where(u < rate, 0, 1 / (1 - rate)).astype(np.float32).reshape(len(rows), *shape)
    return masks
