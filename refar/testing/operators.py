"""Operators on their own, and whole graphs on integers: cases of which the exact result is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import msgspec
import numpy as np

from refar import ops
from refar.arrays import Array, Arrays
from refar.graph import Builder, Graph, Node
from refar.infer import Type, analyse, taps
from refar.spec import literal, run
from refar.testing.cases import SMALL, generic_inputs, generic_parameters, integer_inputs

_LARGEST_KERNEL = 33
_FLOAT32_INTEGERS = 2**24


@dataclass(frozen=True)
class Case:
    """One operator of a graph as a small graph of its own, with data and an upstream gradient."""

    node: str
    graph: Graph
    params: Arrays
    inputs: Arrays
    dy: Array

    def expected(self) -> tuple[Array, Arrays]:
        """y and all gradients by `spec.literal`, node after node, rounded to float64 once where they are not exact."""
        values: Arrays = {}
        own = {node.name: self._own(node) for node in self.graph.nodes}
        types = analyse(self.graph).types
        for node in self.graph.nodes:
            args = [values[name] for name in node.inputs]
            classes = types[node.inputs[0]].size if args else 0
            is_input = isinstance(node.op, ops.Input)
            values[node.name] = (
                self.inputs[node.name] if is_input else literal.evaluate(node.op, args, own[node.name], classes=classes)
            )
        upstream = {node.name: literal.exact(np.zeros(values[node.name].shape, np.int64)) for node in self.graph.nodes}
        upstream[self.graph.output] = literal.exact(self.dy)
        gradients: Arrays = {}
        for node in reversed(self.graph.nodes):
            if isinstance(node.op, ops.Input):
                continue
            found = literal.gradient(node.op, [values[n] for n in node.inputs], upstream[node.name], own[node.name])
            for n, source in enumerate(node.inputs):
                upstream[source] = upstream[source] + literal.exact(found[str(n)])
            gradients |= {f"{node.name}.{key}": found[key].astype(np.float64) for key in own[node.name]}
        real = [name for name in self.inputs if not types[name].indexed]
        gradients |= {name: upstream[name].astype(np.float64) for name in real}
        return values[self.graph.output].astype(np.float64), gradients

    def _own(self, node: Node) -> Arrays:
        return {suffix: self.params[key] for suffix in ("weight", "bias") if (key := f"{node.name}.{suffix}") in self.params}


def exact_cases(graph: Graph, rng: np.random.Generator) -> list[Case]:
    """Each distinct polynomial or piecewise-linear operator on integers in -8..8, with small integral attributes."""
    return _cases(graph, rng, integers=True)


def rounded_cases(graph: Graph, rng: np.random.Generator) -> list[Case]:
    """Each distinct operator of which the definition is not exact in floats: an exponential, or attributes with many digits."""
    return _cases(graph, rng, integers=False)


def _cases(graph: Graph, rng: np.random.Generator, *, integers: bool) -> list[Case]:
    found: dict[object, Case] = {}
    types = analyse(graph).types
    for node in graph.nodes:
        if isinstance(node.op, ops.Input):
            continue
        wanted = literal.is_exact(node.op) if integers else not literal.is_exact(node.op) or integral(node.op) != node.op
        op, kinds = _reduce(integral(node.op) if integers else node.op, [types[name] for name in node.inputs])
        places = tuple(node.inputs.index(name) for name in node.inputs)
        key = (op, *kinds, *places)
        if wanted and key not in found:
            found[key] = _case(node.name, op, kinds, places, rng, integers)
    return list(found.values())


def _reduce(op: ops.AnyOp, kinds: list[Type]) -> tuple[ops.AnyOp, list[Type]]:
    """The same operator on fewer channels and classes, and with at most 33 taps: loops in Python must end."""

    def sized(*limits: int) -> list[Type]:
        return [Type(min(k.size, limit), k.indexed, k.timed) for k, limit in zip(kinds, limits, strict=True)]

    match op:
        case ops.Conv1d():
            kernel = min(op.kernel, _LARGEST_KERNEL)
            return msgspec.structs.replace(op, channels=min(op.channels, 4), kernel=kernel), sized(3)
        case ops.Embedding():
            return msgspec.structs.replace(op, channels=min(op.channels, 4)), sized(5)
        case ops.Gate():
            return op, sized(4 if kinds[0].size >= 4 else 2)
        case ops.Slice():
            start, length = min(op.start, 2), min(op.stop - op.start, 2)
            after = min(kinds[0].size - op.stop, 1)
            return ops.Slice(start, start + length), sized(start + length + after)
        case ops.Concat():
            return op, sized(*(2 + n % 3 for n in range(len(kinds))))
        case ops.Add() | ops.Multiply():
            return op, sized(*[3] * len(kinds))
        case ops.OneHot() | ops.Standardize():
            return op, sized(5)
        case ops.Activation() | ops.Affine() | ops.Softmax() | ops.Shift() | ops.Input():
            return op, sized(*[3] * len(kinds))
        case _:
            assert_never(op)


def _case(node: str, op: ops.AnyOp, kinds: list[Type], places: tuple[int, ...], rng: np.random.Generator, integers: bool) -> Case:
    """Sources over time are slices of one sequence; the others are conditions, and the sequence is added to the result."""
    g = Builder()
    timed = [n for n in sorted(set(places)) if kinds[n].timed]
    sources: dict[int, str] = {}
    if len(timed) == 1:
        kind = kinds[timed[0]]
        sources[timed[0]] = g.input(classes=kind.size if kind.indexed else 0, channels=0 if kind.indexed else kind.size)
    elif timed:
        x, first = g.input(channels=sum(kinds[n].size for n in timed)), 0
        for n in timed:
            sources[n] = g.slice(x, first, first + kinds[n].size)
            first += kinds[n].size
    for n in sorted({*places} - {*timed}):
        kind = kinds[n]
        sources[n] = g.condition(f"c{n}", classes=kind.size if kind.indexed else 0, channels=0 if kind.indexed else kind.size)
    y = g.add_op(op, *(sources[n] for n in places), name="op")
    if not timed:
        size = _constant_size(op, kinds)
        y = g.add(g.input(channels=size), y)
    graph = g.build(y)
    furthest, dilation = max(taps(op)), op.dilation if isinstance(op, ops.Conv1d) else 1
    batch, length = 2 if furthest < SMALL else 1, furthest + (6 if furthest < SMALL else 3)
    length += dilation > 1 and length % dilation == 0
    found = analyse(graph)
    shape = (batch, found.types[graph.output].size, length)
    if integers:
        inputs = integer_inputs(graph, rng, batch, length, 8 if len(kinds) <= 4 else 2)
        params = {name: rng.integers(-8, 9, s).astype(np.float64) for name, s in found.parameters.items()}
        return Case(node, graph, params, inputs, rng.integers(-8, 9, shape).astype(np.float64))
    inputs = generic_inputs(graph, rng, batch, length)
    params = {name: array.astype(np.float32).astype(np.float64) for name, array in generic_parameters(graph, rng).items()}
    return Case(node, graph, params, inputs, rng.normal(size=shape).astype(np.float32).astype(np.float64))


def _constant_size(op: ops.AnyOp, kinds: list[Type]) -> int:
    g = Builder()
    names = [
        g.condition(f"c{n}", classes=k.size if k.indexed else 0, channels=0 if k.indexed else k.size) for n, k in enumerate(kinds)
    ]
    y = g.add_op(op, *names, name="op")
    return analyse(g.build(g.concat(y, g.input(channels=1)))).types[y].size


def integral(op: ops.AnyOp) -> ops.AnyOp:
    """The operator with attributes that keep integers integers: its own if they do, else small ones."""
    match op:
        case ops.Standardize():
            return op if _small(op.mean) and op.std in (0.5, 1) else ops.Standardize(3.0, 0.5)
        case ops.Activation():
            return op if op.kind != "leaky_relu" or op.slope in (0, 1, 2) else ops.Activation("leaky_relu", 2.0)
        case ops.Affine():
            return op if _small(op.scale) and _small(op.shift) else ops.Affine(3.0, -2.0)
        case ops.Input() | ops.Conv1d() | ops.Shift() | ops.OneHot() | ops.Embedding() | ops.Gate():
            return op
        case ops.Add() | ops.Multiply() | ops.Concat() | ops.Slice() | ops.Softmax():
            return op
        case _:
            assert_never(op)


def _small(number: float) -> bool:
    return number == int(number) and abs(number) <= 8


def integral_graph(graph: Graph) -> Graph | None:
    """The whole graph with integral attributes and no head; None if it has an operator that is not exact."""
    if not all(literal.is_exact(node.op) for node in graph.nodes):
        return None
    nodes = tuple(Node(node.name, integral(node.op), node.inputs) for node in graph.nodes)
    return Graph(format="refar-graph", version=1, nodes=nodes, output=graph.output)


def integer_case(graph: Graph, rng: np.random.Generator, batch: int, length: int) -> Case | None:
    """Integers for a whole integral graph such that no partial sum, forward or backward, reaches 2^24; None if that fails.

    The sums are bounded by the same graph on magnitudes: |weights|, |inputs|, |attributes|.
    """
    found = analyse(graph)
    magnitudes = Graph(
        format="refar-graph",
        version=1,
        nodes=tuple(Node(node.name, _magnitude(node.op), node.inputs) for node in graph.nodes),
        output=graph.output,
    )
    for largest, density in ((8, 1.0), (3, 1.0), (3, 0.3), (2, 0.1), (1, 0.1), (1, 0.03), (1, 0.01)):
        inputs = integer_inputs(graph, rng, batch, length, largest)
        params = {
            name: rng.integers(-largest, largest + 1, shape) * (rng.random(shape) < density) * 1.0
            for name, shape in found.parameters.items()
        }
        dy = rng.integers(-largest, largest + 1, (batch, found.types[graph.output].size, length)).astype(np.float64)
        absolute = {name: np.abs(array) for name, array in params.items()}
        values = run.forward_nodes(magnitudes, absolute, {name: np.abs(array) for name, array in inputs.items()}, np.float64)
        dvalues, dparams = run.backward_nodes(magnitudes, absolute, values, np.abs(dy))
        sums = [*values.values(), *dvalues.values(), *dparams.values()]
        if max(float(array.max(initial=0)) for array in sums) < _FLOAT32_INTEGERS:
            return Case("the whole graph", graph, params, inputs, dy)
    return None


def _magnitude(op: ops.AnyOp) -> ops.AnyOp:
    match op:
        case ops.Standardize():
            return ops.Standardize(-abs(op.mean), op.std)
        case ops.Affine():
            return ops.Affine(abs(op.scale), abs(op.shift))
        case ops.Activation():
            return ops.Affine(max(1.0, op.slope) if op.kind == "leaky_relu" else 1.0)
        case ops.Input() | ops.Conv1d() | ops.Shift() | ops.OneHot() | ops.Embedding() | ops.Gate():
            return op
        case ops.Add() | ops.Multiply() | ops.Concat() | ops.Slice() | ops.Softmax():
            return op
        case _:
            assert_never(op)
