"""Mistakes put into a graph on purpose: the one that gives what a module gives is most likely the module's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import RefarError
from refar.graph.graph import Graph, Node

Change = tuple[ops.AnyOp, Callable[[Arrays], Arrays]]
"""What becomes of an operator, and of its own parameters {"weight": …, "bias": …}."""


@dataclass(frozen=True)
class Suspect:
    """A graph with one mistake, in words."""

    words: str
    graph: Graph
    params: Arrays


def suspects(graph: Graph, params: Arrays) -> Iterator[Suspect]:
    """Each mistake everywhere, then in all nodes whose names end alike, then in one node after the other."""
    kept = graph.padding
    for padding in ("layer", "input"):
        if padding != kept:
            with_other = _built(replace, graph, padding=padding)
            if with_other is not None:
                yield Suspect(
                    f"zeros in front of {'every layer' if padding == 'layer' else 'the input alone'}", with_other, params
                )
    changes = {node.name: _changes(node, params) for node in graph.nodes}
    kinds = list(dict.fromkeys(words for each in changes.values() for words in each))
    for words in kinds:
        able = [name for name, each in changes.items() if words in each]
        endings = dict.fromkeys(name.rpartition(".")[2] for name in able)
        groups = [able, *([n for n in able if n.rpartition(".")[2] == end] for end in endings), *([name] for name in able)]
        for group in dict.fromkeys(map(tuple, groups)):
            suspect = _changed(graph, params, {name: changes[name][words] for name in group})
            if suspect is not None:
                where = "everywhere" if len(group) > 1 and len(group) == len(able) else f"in {', '.join(map(repr, group[:4]))}"
                yield Suspect(f"{words} {where}", *suspect)
    yield from _swapped_gates(graph, params)


def _built(make: Callable[..., Graph], *args: object, **fields: object) -> Graph | None:
    try:
        return make(*args, **fields)
    except RefarError:
        return None


def _changed(graph: Graph, params: Arrays, changes: dict[str, Change]) -> tuple[Graph, Arrays] | None:
    nodes = tuple(replace(node, op=changes[node.name][0]) if node.name in changes else node for node in graph.nodes)
    built = _built(replace, graph, nodes=nodes)
    if built is None:
        return None
    weights = dict(params)
    for name, (_, change) in changes.items():
        own = {leaf: params[key] for leaf in ("weight", "bias") if (key := f"{name}.{leaf}") in params}
        weights |= {f"{name}.{leaf}": array for leaf, array in change(own).items()}
    return built, weights


def _same(own: Arrays) -> Arrays:
    return own


def _weight(change: Callable[[Array], Array]) -> Callable[[Arrays], Arrays]:
    return lambda own: {**own, "weight": change(own["weight"])}


def _changes(node: Node, params: Arrays) -> dict[str, Change]:
    """Every mistake that such an operator may have, by its words."""
    op = node.op
    found: dict[str, Change] = {}
    match op:
        case ops.Conv1d() | ops.Conv2d():
            weight = params[f"{node.name}.weight"]
            if op.bias:
                found["no bias"] = op, lambda own: {**own, "bias": 0 * own["bias"]}
            if op.groups == 1 and weight.shape[0] == weight.shape[1] > 1:
                found["a transposed weight"] = op, _weight(lambda w: w.swapaxes(0, 1))
            found |= _of_sequences(op) if isinstance(op, ops.Conv1d) else _of_images(op)
        case ops.Shift():
            found = {f"a shift by {n} for {op.steps}": (replace(op, steps=n), _same) for n in (0, -op.steps, op.steps + 1)}
        case ops.Shift2d():
            others = {
                "no shift": (0, 0),
                "a shift to the wrong side": (-op.down, -op.right),
                "a shift along the wrong axis": (op.right, op.down),
            }
            found = {words: (replace(op, down=down, right=right), _same) for words, (down, right) in others.items()}
        case ops.Activation():
            kinds: tuple[Any, ...] = ("relu", "leaky_relu", "tanh", "sigmoid")
            found = {f"{kind} for {op.kind}": (replace(op, kind=kind), _same) for kind in kinds if kind != op.kind}
            found[f"no {op.kind}"] = ops.Affine(), _same
        case ops.Pool1d():
            other = "avg" if op.kind == "max" else "max"
            found[f"pooling by {other} for {op.kind}"] = replace(op, kind=other), _same
            if op.dilation > 1:
                found["dilation ignored"] = replace(op, dilation=1), _same
        case ops.Standardize():
            found["no standardisation"] = ops.Standardize(), _same
        case ops.Add():
            pass
        case _:
            pass
    return found


def _of_sequences(op: ops.Conv1d) -> dict[str, Change]:
    found: dict[str, Change] = {}
    if op.kernel > 1:
        found["the kernel reversed"] = op, _weight(lambda w: w[:, :, ::-1])
        if op.dilation > 1:
            found["dilation ignored"] = replace(op, dilation=1), _same
    words = "the present not hidden (strict ignored)" if op.strict else "one position too late"
    found[words] = replace(op, strict=not op.strict), _same
    return found


def _of_images(op: ops.Conv2d) -> dict[str, Change]:
    found: dict[str, Change] = {}
    if max(op.kernel) > 1:
        found["the kernel reversed"] = op, _weight(lambda w: w[:, :, ::-1, ::-1])
        if max(op.dilation) > 1:
            found["dilation ignored"] = replace(op, dilation=(1, 1)), _same
        if op.kernel[0] == op.kernel[1]:
            found["rows and columns of the kernel swapped"] = op, _weight(lambda w: w.swapaxes(2, 3))
    if op.mask != "none":
        found["the mask not applied"] = replace(op, mask="none"), _same
        other = "A" if op.mask == "B" else "B"
        found[f"mask {other} for {op.mask}"] = replace(op, mask=other), _same
        if op.colours > 1:
            found["the colours ignored by the mask"] = replace(op, colours=1), _same
    return found


def _swapped_gates(graph: Graph, params: Arrays) -> Iterator[Suspect]:
    """The halves of every gate: σ where tanh was meant."""
    nodes: list[Node] = []
    sizes = facts(graph).types
    for node in graph.nodes:
        if isinstance(node.op, ops.Gate):
            (source,) = node.inputs
            half = sizes[node.name].size
            a, b, both = (f"{node.name}_{part}" for part in ("first", "second", "swapped"))
            nodes += [
                Node(a, ops.Slice(start=0, stop=half), (source,)),
                Node(b, ops.Slice(start=half, stop=2 * half), (source,)),
                Node(both, ops.Concat(), (b, a)),
                replace(node, inputs=(both,)),
            ]
        else:
            nodes.append(node)
    if len(nodes) > len(graph.nodes) and (built := _built(replace, graph, nodes=tuple(nodes))) is not None:
        yield Suspect("the halves of the gate swapped: σ where tanh was meant", built, params)


def of_output(y: Array, expected: Array) -> Iterator[tuple[str, Array, Array]]:
    """What may have been done to the right output at the end: (words, what it would be, what came)."""
    shifted = np.exp(expected - expected.max(axis=1, keepdims=True))
    softmax = shifted / shifted.sum(axis=1, keepdims=True)
    yield "a softmax at the end, where the graph gives logits", softmax, y
    yield "a log-softmax at the end, where the graph gives logits", np.log(np.maximum(softmax, 1e-300)), y
    for by in (1, 2, 3):
        if expected.ndim == 3 and expected.shape[2] > by + 1:
            late = "one position" if by == 1 else f"{by} positions"
            yield f"the same outputs {late} late", expected[..., :-by], y[..., by:]
            yield f"the same outputs {late} early", expected[..., by:], y[..., :-by]
