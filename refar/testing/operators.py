"""Operators on their own, and whole graphs on integers: cases of which the exact result is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import msgspec
import numpy as np

from refar import ops
from refar.arrays import Array, Arrays
from refar.graph import Builder, Graph, Node
from refar.infer import analyse, offsets, taps
from refar.spec import literal, run
from refar.testing.cases import SMALL, generic_inputs, generic_parameters, integer_inputs, other_values
from refar.types import Type

_LARGEST_KERNEL = 33
_FLOAT32_INTEGERS = 2**24
_CHANGES = 16


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
            classes = types[node.inputs[0]].size if args and types[node.inputs[0]].indexed else 0
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
            if op.groups > 1:
                return msgspec.structs.replace(op, channels=4, kernel=kernel, groups=2), [Type(6, False, kinds[0].timed)]
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
        case ops.Pool1d():
            return msgspec.structs.replace(op, kernel=min(op.kernel, _LARGEST_KERNEL)), sized(*(3, 1)[: len(kinds)])
        case ops.Conv2d():
            raise NotImplementedError
        case ops.Activation() | ops.Affine() | ops.Softmax() | ops.Shift() | ops.PadChannels() | ops.Ones() | ops.Input():
            return op, sized(*[3] * len(kinds))
        case ops.Shift2d() | ops.Position():
            return op, sized(3)
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
    if isinstance(op, ops.Pool1d) and op.pad == "exclude":
        sources[places[1]] = g.add_op(ops.Ones(), sources[places[0]])
    y = g.add_op(op, *(sources[n] for n in places), name="op")
    if not timed:
        size = _constant_size(op, kinds)
        y = g.add(g.input(channels=size), y)
    graph = g.build(y)
    furthest, dilation = max(0, *taps(op)), op.dilation if isinstance(op, ops.Conv1d | ops.Pool1d) else 1
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
        case ops.Pool1d():
            return msgspec.structs.replace(op, kernel=2) if op.kind == "avg" and op.kernel not in (1, 2) else op
        case (
            ops.Input() | ops.Conv1d() | ops.Conv2d() | ops.Shift() | ops.Shift2d() | ops.OneHot() | ops.Embedding() | ops.Gate()
        ):
            return op
        case ops.Position():
            return op
        case ops.Add() | ops.Multiply() | ops.Concat() | ops.Slice() | ops.Softmax() | ops.PadChannels() | ops.Ones():
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
    return msgspec.structs.replace(graph, nodes=nodes, head=None)


def integer_case(graph: Graph, rng: np.random.Generator, batch: int, length: int) -> Case | None:
    """Integers for a whole integral graph on which nothing rounds in float32 and nothing is dead; None if no draw is such."""
    found = analyse(graph)
    shape = (batch, found.types[graph.output].size, length)
    for draw in _DRAWS:
        inputs = integer_inputs(graph, rng, batch, length, draw.largest)
        params = {name: draw.parameter(sizes, rng) for name, sizes in found.parameters.items()}
        dy = rng.integers(-draw.largest, draw.largest + 1, shape).astype(np.float64)
        case = Case("the whole graph", graph, params, inputs, dy)
        if _is_exact(case) and _is_alive(case, rng):
            return case
    return None


@dataclass(frozen=True)
class _Draw:
    """How integers are drawn: up to `largest`, and, unless dense, into thin convolutions.

    A thin weight_oik has ±1 at as few places as let each output and each input have its part at each tap, so that sums stay
    small through depth. Still fewer: of an output's taps all but one are left out unless kept with probability `kept`.
    Signs are `negative` with that probability only, and most biases positive, so that most relus let something through.
    """

    largest: int
    kept: float = 1.0
    negative: float | None = None

    def parameter(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """A weight or a bias."""
        if self.negative is None or len(shape) == 2:
            return rng.choice((-1.0, 1.0), shape) * rng.integers(1, self.largest + 1, shape)
        if len(shape) == 1:
            return rng.integers(-1, 3, shape).astype(np.float64)
        weight = np.zeros(shape)
        links = np.arange(max(shape[:2]))
        always = rng.integers(0, shape[2], len(links))
        for k in range(shape[2]):
            kept = (always == k) | (rng.random(len(links)) < self.kept)
            signs = np.where(rng.random(len(links)) < self.negative, -1, 1)
            weight[links % shape[0], rng.permutation(links) % shape[1], k] = kept * signs
        return weight


_THIN = [_Draw(n, kept, negative) for negative in (0.25, 0.05) for kept in (1.0, 0.7, 0.4, 0.1) for n in (8, 3, 1, 1)]
_DRAWS = [_Draw(8), _Draw(3), *_THIN]


def _sweep(graph: Graph, params: Arrays, inputs: Arrays, dy: Array) -> tuple[Arrays, Arrays]:
    """The oracle's value of every node, and the gradient of every node and parameter."""
    values = run.forward_nodes(graph, params, run.cast(inputs, np.float64), np.float64)
    dvalues, dparams = run.backward_nodes(graph, params, values, dy)
    return values, dvalues | dparams


def _is_exact(case: Case) -> bool:
    """No sum of products, forward or backward, leaves what float32 holds: the same graph on magnitudes bounds them all.

    Averages of two give fractions; the products of numbers with f binary places have 2f.
    """
    params, inputs = ({name: np.abs(array) for name, array in arrays.items()} for arrays in (case.params, case.inputs))
    bounds = _sweep(_magnitudes(case.graph), params, inputs, np.abs(case.dy))
    largest = max(float(array.max(initial=0)) for arrays in bounds for array in arrays.values())
    if largest >= _FLOAT32_INTEGERS:
        return False
    numbers = [a for arrays in _sweep(case.graph, case.params, case.inputs, case.dy) for a in arrays.values()]
    places = next((f for f in range(13) if not any((array * 2.0**f % 1).any() for array in numbers)), 13)
    return largest * 4**places < _FLOAT32_INTEGERS


def _is_alive(case: Case, rng: np.random.Generator) -> bool:
    """Every gradient to which a path leads is not zero throughout, and y changes at every inferred offset of a change of x."""
    graph, found = case.graph, analyse(case.graph)
    values, gradients = _sweep(graph, case.params, case.inputs, case.dy)
    params, inputs = ({name: np.ones_like(array) for name, array in arrays.items()} for arrays in (case.params, case.inputs))
    _, paths = _sweep(_magnitudes(graph), params, inputs, np.ones_like(case.dy))
    leaves = [*case.params, *(name for name in case.inputs if not found.types[name].indexed)]
    if any(paths[name].any() and not gradients[name].any() for name in leaves):
        return False
    x, inferred, felt = case.inputs[found.sequence], offsets(graph), set[int]()
    batch, length = case.dy.shape[0], case.dy.shape[2]
    for _ in range(_CHANGES):
        places = rng.integers(-min({0, *inferred}), length - max({0, *inferred}), batch)
        changed = x.copy()
        for b, p in enumerate(places):
            changed[b, ..., p] = other_values(found.types[found.sequence], x, rng)[b, ..., p]
        inputs = run.cast({**case.inputs, found.sequence: changed}, np.float64)
        after = run.forward_nodes(graph, case.params, inputs, np.float64)[graph.output]
        for b, p in enumerate(places):
            felt |= {int(t - p) for t in np.flatnonzero((after[b] != values[graph.output][b]).any(axis=0))}
        if inferred <= felt:
            return True
    return False


def _magnitudes(graph: Graph) -> Graph:
    """A graph of which the values and gradients on magnitudes are at least the magnitudes of this one's, sum by sum."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, ops.Pool1d):  # the sum of the window: wherever the largest of it stands
            mean = Node(f"{node.name}.mean", msgspec.structs.replace(node.op, kind="avg"), node.inputs)
            nodes += [mean, Node(node.name, ops.Affine(float(node.op.kernel)), (mean.name,))]
        else:
            nodes.append(Node(node.name, _magnitude(node.op), node.inputs))
    return msgspec.structs.replace(graph, nodes=tuple(nodes), head=None)


def _magnitude(op: ops.AnyOp) -> ops.AnyOp:
    match op:
        case ops.Standardize():
            return ops.Standardize(-abs(op.mean), op.std)
        case ops.Affine():
            return ops.Affine(abs(op.scale), abs(op.shift))
        case ops.Activation():
            return ops.Affine(max(1.0, op.slope) if op.kind == "leaky_relu" else 1.0)
        case (
            ops.Conv1d() | ops.Conv2d() | ops.Shift() | ops.Shift2d() | ops.Pool1d() | ops.OneHot() | ops.Embedding() | ops.Gate()
        ):
            return op
        case ops.Position():
            return op
        case (
            ops.Input() | ops.Add() | ops.Multiply() | ops.Concat() | ops.Slice() | ops.Softmax() | ops.PadChannels() | ops.Ones()
        ):
            return op
        case _:
            assert_never(op)
