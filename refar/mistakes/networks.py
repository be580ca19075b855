"""Wrong networks: a graph with one thing changed in all its operators. Parameters stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from refar import ops
from refar.graph.graph import Graph

Change = Callable[[Graph], Graph]


def _each(change: Callable[[ops.AnyOp], ops.AnyOp]) -> Change:
    return lambda graph: replace(graph, nodes=tuple(replace(node, op=change(node.op)) for node in graph.nodes))


def _unshifted(op: ops.AnyOp) -> ops.AnyOp:
    match op:
        case ops.Conv1d(strict=True):
            return replace(op, strict=False)
        case ops.Shift() if op.steps > 0:
            return replace(op, steps=op.steps - 1)
        case ops.Shift2d():
            return replace(op, right=max(op.right - 1, 0))
        case ops.Conv2d(mask="A"):
            return replace(op, mask="B")
        case _:
            return op


def _twice(op: ops.AnyOp) -> ops.AnyOp:
    match op:
        case ops.Shift() if op.steps > 0:
            return replace(op, steps=op.steps + 1)
        case ops.Shift2d() if op.right > 0:
            return replace(op, right=op.right + 1)
        case _:
            return op


def _undilated(op: ops.AnyOp) -> ops.AnyOp:
    match op:
        case ops.Conv1d() | ops.Pool1d():
            return replace(op, dilation=1)
        case ops.Conv2d():
            return replace(op, dilation=(1, 1))
        case _:
            return op


def _unmasked(op: ops.AnyOp) -> ops.AnyOp:
    return replace(op, mask="none") if isinstance(op, ops.Conv2d) else op


def _stricter(op: ops.AnyOp) -> ops.AnyOp:
    return replace(op, mask="A") if isinstance(op, ops.Conv2d) and op.mask == "B" else op


def _without_colours(op: ops.AnyOp) -> ops.AnyOp:
    return replace(op, colours=1) if isinstance(op, ops.Conv2d) else op


def _other_pad(op: ops.AnyOp) -> ops.AnyOp:
    return replace(op, kind="avg" if op.kind == "max" else "max") if isinstance(op, ops.Pool1d) else op


def _linear(op: ops.AnyOp) -> ops.AnyOp:
    return ops.Affine() if isinstance(op, ops.Activation) else op


MISTAKES: Mapping[str, Change] = {
    "not shifted: sees the present": _each(_unshifted),
    "shifted by two": _each(_twice),
    "dilation ignored": _each(_undilated),
    "input padding for layer padding, or the reverse": lambda g: replace(g, padding="layer" if g.padding == "input" else "input"),
    "activations left out": _each(_linear),
    "maximum and average swapped": _each(_other_pad),
    "masks ignored": _each(_unmasked),
    "mask B zeroes the centre": _each(_stricter),
    "colours ignored": _each(_without_colours),
}
