"""What can be said of a graph without running it: types, parameters, offsets, receptive field.

Everything a backend needs to know of a network's shape comes from here, so that no backend works it out again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, assert_never

from refar import ops
from refar.analysis.plane import Grid, furthest, grid_for, sees, steps
from refar.analysis.rules import check_arity, check_head, check_padding, refuse
from refar.analysis.types import Type, parameters_of, type_of
from refar.errors import GraphError
from refar.graph.graph import Graph, Node, check_graph

Offsets = frozenset[int]
"""How far into the past a value looks: t - offset. 0 is the present sample. Over a plane, numbers of a `Grid`."""


@dataclass(frozen=True)
class Analysis:
    """All that follows from a graph alone. Dictionaries are keyed by node name, in the order of evaluation.

    `reach[n]` is how far back the longest path of taps to node n goes, through conditions too. `grid` says what the offsets
    mean if the sequence is an image, else it is None.
    """

    types: dict[str, Type]
    parameters: dict[str, tuple[int, ...]]
    sequence: str
    conditions: tuple[str, ...]
    offsets: dict[str, tuple[Offsets, ...]]
    reach: dict[str, int]
    grid: Grid | None


def taps(op: ops.AnyOp) -> Offsets:
    """The offsets that one operator adds between its input and its output over time; `plane.steps` has those in a plane."""
    match op:
        case ops.Conv1d():
            return frozenset(int(op.strict) + k * op.dilation for k in range(op.kernel))
        case ops.Shift():
            return frozenset({op.steps})
        case ops.Pool1d():
            return frozenset(k * op.dilation for k in range(op.kernel))
        case _:
            return frozenset({0})


def analyse(graph: Graph) -> Analysis:
    """Types, parameters and offsets of every node. Raises GraphError naming the first node that has no meaning."""
    return _analyse(check_graph(graph))


@lru_cache(maxsize=256)
def _analyse(graph: Graph) -> Analysis:
    types: dict[str, Type] = {}
    parameters: dict[str, tuple[int, ...]] = {}
    reach: dict[str, int] = {}
    count = 0
    for node in graph.nodes:
        sources = [types[name] for name in node.inputs]
        check_arity(node)
        check_padding(graph, node, -min(taps(node.op)))
        types[node.name] = type_of(node, sources)
        for suffix, shape in parameters_of(node, sources).items():
            parameters[f"{node.name}.{suffix}"] = shape
            count += math.prod(shape)
        reach[node.name] = max((reach[name] for name in node.inputs), default=0) + _furthest(node.op)
        if types[node.name].size > ops.LARGEST:
            raise refuse(node, f"at most {ops.LARGEST} channels", types[node.name].size)
        most, what = (ops.FURTHEST, "positions to look back")
        if types[node.name].plane:
            most, what = (ops.FURTHEST_2D, "rows or columns to look away")
        if reach[node.name] > most:
            raise refuse(node, f"at most {most} {what} from here, all layers together", reach[node.name])
        if count > ops.MOST_PARAMETERS:
            raise refuse(node, f"at most {ops.MOST_PARAMETERS} parameters up to here", count)
    sequence, conditions = _inputs(graph, types)
    grid = grid_for(max(reach.values()), types[sequence].channels) if types[sequence].plane else None
    offsets: dict[str, tuple[Offsets, ...]] = {}
    for node in graph.nodes:
        offsets[node.name] = offsets_of(node.op, types[node.name], [offsets[name] for name in node.inputs], grid)
    if not types[graph.output].timed:
        raise GraphError(f"output {graph.output!r} does not depend on the sequence {sequence!r}")
    check_head(graph, types[graph.output], types[sequence])
    if doubled := sorted(parameters.keys() & types.keys()):
        raise GraphError(f"node {doubled[0]!r} has the name of a parameter of another node; expected another name")
    return Analysis(types, parameters, sequence, conditions, offsets, reach, grid)


def _furthest(op: ops.AnyOp) -> int:
    return furthest(op) if isinstance(op, ops.PlaneOp) else max(0, *taps(op))


def _inputs(graph: Graph, types: dict[str, Type]) -> tuple[str, tuple[str, ...]]:
    """The sequence and the conditions. Raises GraphError unless there is one sequence, and one kind of space."""
    inputs = [(node, node.op) for node in graph.nodes if isinstance(node.op, ops.Input)]
    sequences = [node.name for node, op in inputs if op.role == "sequence"]
    if len(sequences) != 1:
        raise GraphError(f"expected one sequence input, got {len(sequences)}: {', '.join(sequences) or 'none'}")
    plane = types[sequences[0]].plane
    for node, op in inputs:
        if op.role == "local" and types[node.name].plane != plane:
            raise refuse(node, f"axes={'hw' if plane else 't'!r}, as the sequence {sequences[0]!r} has", repr(op.axes))
    if plane and graph.padding != "layer":
        raise GraphError(f"padding: expected 'layer' for a graph over a plane, got {graph.padding!r}")
    return sequences[0], tuple(node.name for node, op in inputs if op.role != "sequence")


def offsets_of(op: ops.AnyOp, value: Type, sources: list[tuple[Offsets, ...]], grid: Grid | None) -> tuple[Offsets, ...]:
    """The offsets of each channel with respect to the sequence input; the empty set where nothing depends on it."""
    size, none = value.channels if value.plane or not value.indexed else 1, frozenset[int]()
    match op:
        case ops.Input():
            return tuple(frozenset({c if grid else 0}) if op.role == "sequence" else none for c in range(size))
        case ops.Conv1d():
            fan_in, fan_out = len(sources[0]) // op.groups, size // op.groups
            seen = [_behind(_union(sources[0][g * fan_in : (g + 1) * fan_in]), taps(op)) for g in range(op.groups)]
            return tuple(seen[o // fan_out] for o in range(size))
        case ops.Conv2d():
            assert grid is not None
            return _masked_offsets(op, sources[0], grid)
        case ops.Shift() | ops.Pool1d() | ops.Shift2d():
            moves = grid.numbers(steps(op)) if isinstance(op, ops.Shift2d) and grid else taps(op)
            behind = {channel: _behind(channel, moves) for channel in set(sources[0])}
            return tuple(behind[channel] for channel in sources[0])
        case ops.PadChannels():
            return ((none,) * op.before) + sources[0] + ((none,) * op.after)
        case ops.Ones() | ops.Position():
            return (none,) * size
        case ops.OneHot() | ops.Embedding() | ops.Standardize():
            return tuple(sources[0][j % len(sources[0])] for j in range(size))
        case ops.Softmax():  # over a single channel it is 1
            return (_union(sources[0]) if size > 1 else none,) * size
        case ops.Activation() | ops.Affine():
            return sources[0]
        case ops.Gate():
            return tuple(a | b for a, b in zip(sources[0][:size], sources[0][size:], strict=True))
        case ops.Add() | ops.Multiply():
            return tuple(_union(channels) for channels in zip(*sources, strict=True))
        case ops.Concat():
            return tuple(channel for source in sources for channel in source)
        case ops.Slice():
            return sources[0][op.start : op.stop]
        case _:
            assert_never(op)


def _masked_offsets(op: ops.Conv2d, source: tuple[Offsets, ...], grid: Grid) -> tuple[Offsets, ...]:
    """What the mask hides depends on the colours at the pixel itself alone, so that few sums are really different."""
    fan_in, fan_out = len(source) // op.groups, op.channels // op.groups
    present = steps(op) & {(0, 0)}
    moves = grid.numbers(steps(op) - present)
    found: dict[tuple[int, int], Offsets] = {}
    for o in range(op.channels):
        key = (o // fan_out, o % op.colours)
        if key in found:
            continue
        inputs = range(key[0] * fan_in, (key[0] + 1) * fan_in)
        others = _behind(_union(source[i] for i in inputs), moves)
        here = [source[i] for i in inputs if (0, 0) in present and sees(op, (0, 0), i, o)]
        found[key] = others | _union(here)
    return tuple(found[o // fan_out, o % op.colours] for o in range(op.channels))


def _behind(seen: Offsets, moves: Iterable[int]) -> Offsets:
    """All sums of an offset and a move: sets as the bits of a number, since both may be long."""
    few, many = sorted((seen, frozenset(moves)), key=len)
    if not few:
        return frozenset()
    first, nearest = min(few), min(many)
    digits = bytearray(b"0") * (max(many) - nearest + 1)
    for number in many:
        digits[nearest - 1 - number] = ord("1")
    bits, sums = int(digits, 2), 0
    for number in few:
        sums |= bits << number - first
    return frozenset(nearest + first + i for i, bit in enumerate(reversed(f"{sums:b}")) if bit == "1")


def _union(sets: Iterable[Offsets]) -> Offsets:
    distinct = set(sets)
    return next(iter(distinct)) if len(distinct) == 1 else frozenset[int]().union(*distinct)


def offsets(graph: Graph) -> frozenset[Any]:
    """The exact set of offsets that the output depends on, holes included; 0 is the present sample.

    Over a plane the set of (rows up, columns left), all colours together; `colour_offsets` keeps them apart.
    """
    found = analyse(graph)
    seen = _union(found.offsets[graph.output])
    return seen if found.grid is None else frozenset(map(found.grid.step, seen))


def colour_offsets(graph: Graph) -> tuple[frozenset[tuple[int, int, int]], ...]:
    """For the outputs of each colour, the exact set of (rows up, columns left, colour) that they depend on.

    Raises GraphError for a graph over time.
    """
    found = analyse(graph)
    if found.grid is None:
        raise GraphError(f"colour_offsets: expected a graph over a plane, got one over time (its sequence is {found.sequence!r})")
    grid, channels = found.grid, found.offsets[graph.output]
    seen = [_union(channels[c :: grid.colours]) for c in range(grid.colours)]
    return tuple(frozenset((*grid.step(number), grid.colour(number)) for number in numbers) for numbers in seen)


def receptive_field(graph: Graph) -> Any:
    """R = largest - smallest offset + 1; 0 if the output depends on nothing. Over a plane the box: (rows, columns)."""
    seen = offsets(graph)
    if analyse(graph).grid is None:
        return _span(seen)
    return _span({up for up, _ in seen}), _span({left for _, left in seen})


def _span(numbers: Collection[int]) -> int:
    return max(numbers) - min(numbers) + 1 if numbers else 0


def is_source(graph: Graph, node: Node) -> bool:
    """Whether this is where a sequence becomes numbers: an input, the lookup of one, or the ones that mark it."""
    types = analyse(graph).types
    lookup = any(types[name].indexed for name in node.inputs)
    return types[node.name].timed and (lookup or isinstance(node.op, ops.Input | ops.Ones))


def transient(graph: Graph) -> int:
    """From t = transient on, y_t does not depend on where the sequence began: the longest path of taps to the output."""
    return analyse(graph).reach[graph.output]


def first_position(graph: Graph) -> int:
    """The first t with an output y_t: 0, or under padding "valid" the first for which every layer has its whole window."""
    return transient(graph) if graph.padding == "valid" else 0
