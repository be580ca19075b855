"""What a graph must keep to beyond the types of its values: arity, marked padding, what a head needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from refar import ops
from refar.errors import GraphError
from refar.graph.graph import Graph, Node

if TYPE_CHECKING:
    from refar.analysis.types import Type


def refuse(node: Node, expected: str, came: object) -> GraphError:
    """The error of a node: what was expected of it, and what came."""
    return GraphError(f"node {node.name!r} ({node.op.__struct_config__.tag}): expected {expected}, got {came}")


def check_arity(node: Node) -> None:
    """The number of inputs."""
    count = len(node.inputs)
    match node.op:
        case ops.Input():
            fits, expected = count == 0, "no input"
        case ops.Add() | ops.Multiply() | ops.Concat():
            fits, expected = count >= 2, "at least two inputs"
        case ops.Pool1d(pad="exclude"):
            fits, expected = count == 2, "two inputs, a value and its `ones`, since padding is left out"
        case _:
            fits, expected = count == 1, "one input"
    if not fits:
        raise refuse(node, expected, count)


def check_padding(graph: Graph, node: Node, furthest_ahead: int) -> None:
    """What a pool leaves out is marked by the ones of its own input; padding other than by layers is for what looks back only."""
    excludes = isinstance(node.op, ops.Pool1d) and node.op.pad == "exclude"
    if excludes:
        ones = graph[node.inputs[1]]
        if not isinstance(ones.op, ops.Ones) or ones.inputs != node.inputs[:1]:
            raise refuse(node, f"as its second input the `ones` of {node.inputs[0]!r}", repr(ones.name))
    if graph.padding == "layer":
        return
    if excludes and graph.padding == "input":
        raise refuse(node, "pad='zero', since under input padding nothing is left out before the start", "'exclude'")
    if furthest_ahead > 0:  # what it holds before the start would change, or the last of its outputs would not exist
        raise refuse(node, f"no look ahead under {graph.padding} padding", f"one of {furthest_ahead} positions")


def check_head(graph: Graph, output: Type, sequence: Type) -> None:
    """The output has the channels that the head says."""
    match graph.head:
        case None:
            return
        case ops.Categorical():
            if isinstance(graph[graph.output].op, ops.Softmax):
                raise GraphError(f"output {graph.output!r}: a categorical head expects logits, got the output of a softmax")
            expected, fits = "logits for the classes of an index sequence", sequence.indexed
            size = sequence.size * sequence.colours
        case ops.Gaussian():
            size, expected, fits = sequence.size, "means for the channels of a signal", not sequence.indexed
        case ops.MixtureLogistics(components, classes):
            size = 3 * components * sequence.colours
            expected = f"{size} channels (logits, means and log-scales of {components} components) for {classes} classes"
            fits = sequence.indexed and sequence.size == classes
        case _:
            assert_never(graph.head)
    if not fits or output.size != size or output.indexed:
        raise GraphError(f"output {graph.output!r}: the head expects {expected} ({sequence}), got {output}")
