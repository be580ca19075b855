"""Operators on their own: cases of which the exact result is known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import assert_never

import msgspec
import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.types import Type, rule
from refar.analysis.windows import kernel_steps, offsets_of_node
from refar.arguments.arrays import Array, Arrays
from refar.building.builder import Builder
from refar.errors import GraphError
from refar.exact import literal
from refar.graph.graph import Graph, Node
from refar.testing.contract.cases import SMALL, Extent, generic_inputs, generic_parameters, integer_inputs

_LARGEST_KERNEL, _LARGEST_SIDE = 33, 7
_FEW_TERMS = 200


@dataclass(frozen=True)
class OperatorCase:
    """One operator of a graph as a small graph of its own, with data and an upstream gradient."""

    node: str
    graph: Graph
    params: Arrays
    inputs: Arrays
    dy: Array

    def expected(self) -> tuple[Array, Arrays]:
        """y and all gradients by `exact.literal`, node after node, rounded to float64 once where they are not exact."""
        values: Arrays = {}
        own = {node.name: self._own(node) for node in self.graph.nodes}
        types = facts(self.graph).types
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


def exact_cases(graph: Graph, rng: np.random.Generator) -> list[OperatorCase]:
    """Each distinct polynomial or piecewise-linear operator on integers in -8..8, with small integral attributes."""
    return _cases(graph, rng, integers=True)


def rounded_cases(graph: Graph, rng: np.random.Generator) -> list[OperatorCase]:
    """Each distinct operator of which the definition is not exact in floats: an exponential, or attributes with many digits."""
    return _cases(graph, rng, integers=False)


def _cases(graph: Graph, rng: np.random.Generator, *, integers: bool) -> list[OperatorCase]:
    found: dict[object, OperatorCase] = {}
    types = facts(graph).types
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
    if isinstance(op, ops.Input | ops.PointwiseOp):
        return _reduce_pointwise(op, kinds)
    match op:
        case ops.Conv1d():
            kernel = min(op.kernel, _LARGEST_KERNEL)
            if op.groups > 1:
                return msgspec.structs.replace(op, channels=4, kernel=kernel, groups=2), [Type(6, False, kinds[0].timed)]
            return msgspec.structs.replace(op, channels=min(op.channels, 4), kernel=kernel), _sized(kinds, 3)
        case ops.Shift():
            return op, _sized(kinds, 3)
        case ops.Pool1d():
            return msgspec.structs.replace(op, kernel=min(op.kernel, _LARGEST_KERNEL)), _sized(kinds, *(3, 1)[: len(kinds)])
        case ops.Conv2d():
            return _smaller(op, kinds[0])
        case ops.Shift2d():
            return ops.Shift2d(*(int(np.sign(by)) * min(abs(by), _LARGEST_KERNEL) for by in (op.down, op.right))), _sized(
                kinds, 3
            )
        case _:
            assert_never(op)


def _reduce_pointwise(op: ops.Input | ops.PointwiseOp, kinds: list[Type]) -> tuple[ops.AnyOp, list[Type]]:
    """Of two or more inputs that may differ 2, 3, 4, … channels, else the fewest from 3 (classes: 5) on that the rule allows."""
    if isinstance(op, ops.Embedding):
        op = msgspec.structs.replace(op, channels=min(op.channels, 4))
    if isinstance(op, ops.Slice):
        start, length = min(op.start, 2), min(op.stop - op.start, 2)
        return ops.Slice(start, start + length), _sized(kinds, start + length + min(kinds[0].size - op.stop, 1))
    if isinstance(op, ops.Concat):
        return op, _sized(kinds, *(2 + n % 3 for n in range(len(kinds))))
    node = Node("op", op, tuple(f"c{n}" for n in range(len(kinds))))
    for limit in range(3, max((kind.size for kind in kinds), default=3)):
        fewer = _sized(kinds, *[5 if kind.indexed else limit for kind in kinds])
        with suppress(GraphError):
            rule(node, fewer)
            return op, fewer
    return op, _sized(kinds, *[5 if kind.indexed else kind.size for kind in kinds])


def _sized(kinds: list[Type], *limits: int) -> list[Type]:
    each = zip(kinds, limits, strict=True)
    return [replace(k, size=min(k.size, limit), colours=min(k.colours, 3) if k.indexed else 1) for k, limit in each]


def _smaller(op: ops.Conv2d, kind: Type) -> tuple[ops.Conv2d, list[Type]]:
    """Colours, groups, the place of the anchor and the dilation of either side stay, and two or three channels for each."""
    colours, groups = op.colours if op.colours <= 4 else 3, op.groups if op.groups <= 4 else 2

    def fewer(channels: int) -> int:
        each = channels // math.lcm(op.colours, op.groups)
        return math.lcm(colours, groups) * min(each, 2 + each % 2)

    kernel = _pair(side if side <= _LARGEST_SIDE else _LARGEST_SIDE - 1 + side % 2 for side in op.kernel)
    gaps = _pair(min(gap, max(1, 2 * _LARGEST_SIDE // max(1, side - 1))) for gap, side in zip(op.dilation, kernel, strict=True))
    anchor = op.anchor and _pair(
        new - 1 if a == old - 1 else min(a, new // 2) for a, old, new in zip(op.anchor, op.kernel, kernel, strict=True)
    )
    smaller = msgspec.structs.replace(
        op, channels=fewer(op.channels), kernel=kernel, anchor=anchor, dilation=gaps, colours=colours, groups=groups
    )
    return smaller, [Type(fewer(kind.size), False, True, True)]


def _pair(numbers: Iterable[int]) -> tuple[int, int]:
    rows, columns = numbers
    return rows, columns


def _case(
    node: str, op: ops.AnyOp, kinds: list[Type], places: tuple[int, ...], rng: np.random.Generator, integers: bool
) -> OperatorCase:
    """Sources over time or an image are slices of one sequence; the others are conditions, to which the sequence is added."""
    g = Builder()
    ones = {places[1]} if isinstance(op, ops.Pool1d) and op.pad == "exclude" else set()
    timed = [n for n in sorted({*places} - ones) if kinds[n].timed]
    sources: dict[int, str] = {}
    if len(timed) == 1:
        sources[timed[0]] = _input(g, kinds[timed[0]])
    elif timed:
        x, first = _input(g, replace(kinds[timed[0]], size=sum(kinds[n].size for n in timed))), 0
        for n in timed:
            sources[n] = g.slice(x, first, first + kinds[n].size)
            first += kinds[n].size
    for n in sorted({*places} - {*timed} - ones):
        kind = kinds[n]
        sources[n] = g.condition(f"c{n}", classes=kind.size if kind.indexed else 0, channels=0 if kind.indexed else kind.size)
    sources |= {n: g.add_op(ops.Ones(), sources[places[0]]) for n in ones}
    y = g.add_op(op, *(sources[n] for n in places), name="op")
    if not timed:
        size = rule(Node("op", op, tuple(sources[n] for n in places)), [kinds[n] for n in places]).type.size
        y = g.add(g.input(channels=size), y)
    graph = g.build(y)
    batch, extent = _sizes(op, image=any(kind.image for kind in kinds))
    found = facts(graph)
    shape = (batch, found.types[graph.output].size, *extent)
    if integers:
        inputs = integer_inputs(graph, rng, 8 if len(kinds) <= 4 else 2, batch, *extent)
        params = {name: rng.integers(-8, 9, s).astype(np.float64) for name, s in found.parameters.items()}
        return OperatorCase(node, graph, params, inputs, rng.integers(-8, 9, shape).astype(np.float64))
    inputs = generic_inputs(graph, rng, batch, *extent)
    params = {name: array.astype(np.float32).astype(np.float64) for name, array in generic_parameters(graph, rng).items()}
    return OperatorCase(node, graph, params, inputs, rng.normal(size=shape).astype(np.float32).astype(np.float64))


def _input(g: Builder, kind: Type) -> str:
    """The sequence, of this type."""
    if kind.image:
        return g.image(classes=kind.size if kind.indexed else 0, channels=kind.channels)
    return g.input(classes=kind.size if kind.indexed else 0, channels=0 if kind.indexed else kind.size)


def _sizes(op: ops.AnyOp, *, image: bool) -> tuple[int, Extent]:
    """Batch and extent: a little more than the operator reaches, and no multiple of its dilation."""
    if not image:
        furthest, dilation = max(0, *offsets_of_node(op)), op.dilation if isinstance(op, ops.Conv1d | ops.Pool1d) else 1
        batch, length = (2, furthest + 6) if furthest < SMALL else (1, furthest + 3)
        return batch, (length + (dilation > 1 and length % dilation == 0),)
    steps = {step for row in kernel_steps(op) for step in row} if isinstance(op, ops.ImageOp) else {(0, 0)}
    gaps = op.dilation if isinstance(op, ops.Conv2d) else (1, 1)
    least = min(2**op.bits, 16) if isinstance(op, ops.Position) else 0
    height, width = (max(least, *map(abs, along)) + more for along, more in zip(zip(*steps, strict=True), (2, 4), strict=True))
    height += gaps[0] > 1 and height % gaps[0] == 0
    width += (gaps[1] > 1 and width % gaps[1] == 0) or width == height
    return 2 if len(steps) * height * width < _FEW_TERMS else 1, (height, width)


def integral(op: ops.AnyOp) -> ops.AnyOp:
    """The operator with attributes that keep integers integers: its own if they do, else small ones."""
    if isinstance(op, ops.Standardize):
        return op if _small(op.mean) and op.std in (0.5, 1) else ops.Standardize(3.0, 0.5)
    if isinstance(op, ops.Pool1d):
        return msgspec.structs.replace(op, kernel=2) if op.kind == "avg" and op.kernel not in (1, 2) else op
    if isinstance(op, ops.Dropout):  # its value does not depend on its rate
        return op
    if isinstance(op, ops.Activation):
        slope = op.slope if _small(op.slope) else 2.0
        low, high = (end if _small(end) else outside for end, outside in ((op.low, -2.0), (op.high, 3.0)))
        attributes = {"leaky_relu": {"slope": slope}, "clip": {"low": low, "high": high if low < high else low + 1}}
        return msgspec.structs.replace(op, **attributes.get(op.kind, {}))
    if not literal.is_exact(op):
        return op
    numbers = {name: value for name in op.__struct_fields__ if isinstance(value := getattr(op, name), float)}
    small = {name: value if _small(value) else 2.0 + n for n, (name, value) in enumerate(numbers.items())}
    return msgspec.structs.replace(op, **small)


def _small(number: float) -> bool:
    return number == int(number) and abs(number) <= 8
