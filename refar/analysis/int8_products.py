"""Which products of a network int8 knows, and how their inputs are quantised."""

from __future__ import annotations

from typing import NamedTuple

from refar import ops
from refar.analysis.facts import Facts
from refar.errors import GraphError


class InputScale(NamedTuple):
    """Map the input x of one convolution to integers q from 0 to 255: x ≈ scale · (q - zero). `scale` is a number of float32."""

    scale: float
    zero: int


def int8_products(found: Facts) -> tuple[str, ...]:
    """Name every convolution over time, in the order of the graph: int8 takes all of them or none.

    A sum of integers is exact in any order. So a step gives the bits that the whole pass gives, and a value that rounding
    moved across the border of two levels is moved alike in both; one convolution in float32 among them would undo that.
    Convolutions of constants stay in float32. Raises GraphError, naming the node, for one in groups and one over images, and
    for padding "input" and a network without any.
    """
    if found.graph.padding == "input":
        raise GraphError("int8 knows the paddings 'layer' and 'valid'; expected one of them, got padding 'input'")
    names = []
    for node in found.graph.nodes:
        if isinstance(node.op, ops.Conv2d):
            raise GraphError(
                f"node {node.name!r} (conv2d): int8 knows convolutions over time; expected conv1d, got one over images"
            )
        if isinstance(node.op, ops.Conv1d) and found.types[node.inputs[0]].timed:
            if node.op.groups != 1:
                raise GraphError(
                    f"node {node.name!r} (conv1d): int8 knows convolutions in one group, got groups={node.op.groups}"
                )
            names.append(node.name)
    if not names:
        raise GraphError("int8 is for convolutions over time, of which this network has none")
    return tuple(names)
