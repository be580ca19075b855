"""What can be said of a graph without running it: types, parameters, offsets, receptive field, strictness, state.

Everything a backend needs to know of a network's shape comes from here, so that no backend works it out again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from refar import ops
from refar.errors import GraphError
from refar.graph import Graph, Node, check_graph
from refar.rules import check_arity, check_head, check_padding, refuse

Offsets = frozenset[int]
"""How far into the past a value looks: t - offset. 0 is the present sample."""


@dataclass(frozen=True)
class Type:
    """What a node's value is: `size` classes (indexed) or channels; one value per position (timed) or one per sequence.

    x_bt: indexed and timed. x_bct: timed. c_b: indexed. c_bc: neither.
    """

    size: int
    indexed: bool
    timed: bool

    @property
    def axes(self) -> str:
        """The axes of an array of this type: 'bt', 'bct', 'b' or 'bc'."""
        return "b" + ("" if self.indexed else "c") + ("t" if self.timed else "")

    def __str__(self) -> str:
        return f"{self.size} {'classes' if self.indexed else 'channels'} {'over time' if self.timed else 'constant'}"


@dataclass(frozen=True)
class Analysis:
    """All that follows from a graph alone. Dictionaries are keyed by node name, in the order of evaluation.

    `reach[n]` is how far back the longest path of taps to node n goes, through conditions too.
    """

    types: dict[str, Type]
    parameters: dict[str, tuple[int, ...]]
    sequence: str
    conditions: tuple[str, ...]
    offsets: dict[str, tuple[Offsets, ...]]
    reach: dict[str, int]


@dataclass(frozen=True)
class Stream:
    """How a graph is run position by position.

    `lead[n]`: the position at which node n stands, relative to the newest token. `history[n]`: how many of its last
    values must be kept, because a later call reads them; nodes that keep nothing are absent. This is the state.
    """

    lead: dict[str, int]
    history: dict[str, int]


def taps(op: ops.AnyOp) -> Offsets:
    """The offsets that one operator adds between its input and its output."""
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
    offsets: dict[str, tuple[Offsets, ...]] = {}
    reach: dict[str, int] = {}
    count = 0
    for node in graph.nodes:
        sources = [types[name] for name in node.inputs]
        check_arity(node)
        check_padding(graph, node, -min(taps(node.op)))
        types[node.name] = _type(node, sources)
        for suffix, shape in _parameters(node, sources).items():
            parameters[f"{node.name}.{suffix}"] = shape
            count += math.prod(shape)
        reach[node.name] = max((reach[name] for name in node.inputs), default=0) + max(0, *taps(node.op))
        if types[node.name].size > ops.LARGEST:
            raise refuse(node, f"at most {ops.LARGEST} channels", types[node.name].size)
        if reach[node.name] > ops.FURTHEST:
            raise refuse(node, f"at most {ops.FURTHEST} positions to look back from here, all layers together", reach[node.name])
        if count > ops.MOST_PARAMETERS:
            raise refuse(node, f"at most {ops.MOST_PARAMETERS} parameters up to here", count)
        offsets[node.name] = _offsets(node.op, types[node.name], [offsets[name] for name in node.inputs])
    inputs = [(node.name, node.op) for node in graph.nodes if isinstance(node.op, ops.Input)]
    sequences = [name for name, op in inputs if op.role == "sequence"]
    if len(sequences) != 1:
        raise GraphError(f"expected one sequence input, got {len(sequences)}: {', '.join(sequences) or 'none'}")
    conditions = tuple(name for name, op in inputs if op.role != "sequence")
    if not types[graph.output].timed:
        raise GraphError(f"output {graph.output!r} does not depend on the sequence {sequences[0]!r}")
    check_head(graph, types[graph.output], types[sequences[0]])
    if doubled := sorted(parameters.keys() & types.keys()):
        raise GraphError(f"node {doubled[0]!r} has the name of a parameter of another node; expected another name")
    return Analysis(types, parameters, sequences[0], conditions, offsets, reach)


def _type(node: Node, sources: list[Type]) -> Type:
    op = node.op
    match op:
        case ops.Input():
            if (op.classes > 0) == (op.channels > 0):
                came = f"classes={op.classes}, channels={op.channels}"
                raise refuse(node, "either classes ≥ 2 or channels ≥ 1, and the other left out", came)
            if op.classes == 1:
                raise refuse(node, "classes ≥ 2", op.classes)
            return Type(op.classes or op.channels, op.classes > 0, op.role != "global")
        case ops.Conv1d():
            source = _real(node, sources[0])
            if not source.timed and taps(op) != {0}:
                raise refuse(node, "kernel 1 and no strictness on a constant value, which has no past", op)
            if source.size % op.groups or op.channels % op.groups:
                came = f"{source.size} input and {op.channels} output channels"
                raise refuse(node, f"channels that {op.groups} groups divide", came)
            return Type(op.channels, False, source.timed)
        case ops.Shift():
            source = _real(node, sources[0])
            if not source.timed:
                raise refuse(node, "a value over time to delay", source)
            return source
        case ops.PadChannels():
            source = _real(node, sources[0])
            return Type(op.before + source.size + op.after, False, source.timed)
        case ops.Ones():
            return Type(1, False, sources[0].timed)
        case ops.Pool1d():
            source = _real(node, sources[0])
            if not all(s.timed for s in sources):
                raise refuse(node, "a value over time to pool", source)
            return source
        case ops.OneHot():
            return Type(_indexed(node, sources[0]).size, False, sources[0].timed)
        case ops.Embedding():
            return Type(op.channels, False, _indexed(node, sources[0]).timed)
        case ops.Standardize():
            return Type(1, False, _indexed(node, sources[0]).timed)
        case ops.Activation() | ops.Affine() | ops.Softmax():
            return _real(node, sources[0])
        case ops.Gate():
            source = _real(node, sources[0])
            if source.size % 2:
                raise refuse(node, "an even number of channels, half for tanh and half for sigmoid", source.size)
            return Type(source.size // 2, False, source.timed)
        case ops.Add() | ops.Multiply():
            if len({_real(node, source).size for source in sources}) > 1:
                sizes = [f"{name!r} with {source.size}" for name, source in zip(node.inputs, sources, strict=True)]
                raise refuse(node, "equal channels", ", ".join(sizes))
            return Type(sources[0].size, False, any(source.timed for source in sources))
        case ops.Concat():
            size = sum(_real(node, source).size for source in sources)
            return Type(size, False, any(source.timed for source in sources))
        case ops.Slice():
            source = _real(node, sources[0])
            if not op.start < op.stop <= source.size:
                raise refuse(node, f"start < stop ≤ {source.size} channels", f"start={op.start}, stop={op.stop}")
            return Type(op.stop - op.start, False, source.timed)
        case _:
            assert_never(op)


def _real(node: Node, source: Type) -> Type:
    if source.indexed:
        raise refuse(node, "real values (put one_hot, embedding or standardize before it)", source)
    return source


def _indexed(node: Node, source: Type) -> Type:
    if not source.indexed:
        raise refuse(node, "class indices", source)
    return source


def _parameters(node: Node, sources: list[Type]) -> dict[str, tuple[int, ...]]:
    match node.op:
        case ops.Conv1d() as op:
            shapes: dict[str, tuple[int, ...]] = {"weight": (op.channels, sources[0].size // op.groups, op.kernel)}
            return shapes | {"bias": (op.channels,)} if op.bias else shapes
        case ops.Embedding() as op:
            return {"weight": (sources[0].size, op.channels)}
        case _:
            return {}


def _offsets(op: ops.AnyOp, value: Type, sources: list[tuple[Offsets, ...]]) -> tuple[Offsets, ...]:
    """The offsets of each channel with respect to the sequence input; the empty set where nothing depends on it."""
    size = 1 if value.indexed else value.size
    match op:
        case ops.Input():
            return (frozenset({0} if op.role == "sequence" else ()),) * size
        case ops.Conv1d():
            fan_in, fan_out = len(sources[0]) // op.groups, size // op.groups
            seen = [_behind(_union(sources[0][g * fan_in : (g + 1) * fan_in]), op) for g in range(op.groups)]
            return tuple(seen[o // fan_out] for o in range(size))
        case ops.Shift() | ops.Pool1d():
            behind = {channel: _behind(channel, op) for channel in set(sources[0])}
            return tuple(behind[channel] for channel in sources[0])
        case ops.PadChannels():
            none: Offsets = frozenset()
            return ((none,) * op.before) + sources[0] + ((none,) * op.after)
        case ops.Ones():
            return (frozenset(),)
        case ops.OneHot() | ops.Embedding() | ops.Standardize():
            return (_union(sources[0]),) * size
        case ops.Softmax():  # over a single channel it is 1
            return (_union(sources[0]) if size > 1 else frozenset(),) * size
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


def _behind(seen: Offsets, op: ops.AnyOp) -> Offsets:
    """All sums of an offset and a tap: sets as the bits of a number, since both may be long."""
    if not seen:
        return seen
    nearest, steps = min(seen), sorted(taps(op))
    bits, sums = sum(1 << past - nearest for past in seen), 0
    for step in steps:
        sums |= bits << step - steps[0]
    return frozenset(nearest + steps[0] + i for i, bit in enumerate(reversed(f"{sums:b}")) if bit == "1")


def _union(sets: Iterable[Offsets]) -> Offsets:
    distinct = set(sets)
    return next(iter(distinct)) if len(distinct) == 1 else frozenset().union(*distinct)


def offsets(graph: Graph) -> Offsets:
    """The exact set of offsets that the output depends on, holes included; 0 is the present sample."""
    return _union(analyse(graph).offsets[graph.output])


def receptive_field(graph: Graph) -> int:
    """R = largest - smallest offset + 1; 0 if the output depends on nothing."""
    seen = offsets(graph)
    return max(seen) - min(seen) + 1 if seen else 0


def is_source(graph: Graph, node: Node) -> bool:
    """Whether this is where a sequence becomes numbers: an input, the lookup of one, or the ones that mark it."""
    types = analyse(graph).types
    lookup = any(types[name].indexed for name in node.inputs)
    return types[node.name].timed and (lookup or isinstance(node.op, ops.Input | ops.Ones))


def transient(graph: Graph) -> int:
    """From t = transient on, y_t does not depend on where the sequence began: the longest path of taps to the output."""
    return analyse(graph).reach[graph.output]


def looks_ahead(graph: Graph) -> Node | None:
    """The first node that reads positions after its own, which no stream can do; None if there is none."""
    return next((node for node in check_graph(graph).nodes if min(taps(node.op)) < 0), None)


def require_causal(graph: Graph, purpose: str) -> None:
    """Raise GraphError, naming node and position, if some node looks ahead."""
    node = looks_ahead(graph)
    if node is not None:
        raise GraphError(
            f"{purpose} needs a causal graph; node {node.name!r} ({node.op.__struct_config__.tag}) at position t reads "
            f"position t + {-min(taps(node.op))}. Such a graph can only be evaluated as a whole"
        )


@lru_cache(maxsize=256)
def stream(graph: Graph, ahead: bool) -> Stream:
    """How to run the graph position by position.

    Not ahead: every node stands at the newest token's position; this is `step`, whose output is the one of `forward`.
    Ahead: a node whose offsets are all at least 1 *emits* the next position (lead 1) as soon as the token is there; the
    others *push* the token (lead 0); this is `next`. A node may stand one position ahead of its source only by a tap ≥ 1.
    Raises GraphError for a graph that looks ahead.
    """
    require_causal(graph, "a stream")
    types = analyse(graph).types
    lead: dict[str, int] = {}
    history: dict[str, int] = {}
    for node in graph.nodes:
        if not types[node.name].timed:
            continue
        sources = [name for name in node.inputs if types[name].timed]
        reach = taps(node.op)
        if node.name == analyse(graph).sequence:
            lead[node.name] = 0
        else:  # a local condition has no source and is known one position ahead
            lead[node.name] = min([1, *(lead[name] + min(reach) for name in sources)]) if ahead else 0
        for name in sources:
            kept = max(reach) + lead[name] - lead[node.name]
            history[name] = max(history.get(name, 0), kept)
    return Stream(lead, {name: history[name] for name in lead if history.get(name, 0) > 0})


def is_strict(graph: Graph) -> bool:
    """Whether y_t is computed without x_t, so that it can model x_t.

    This goes by nodes: one that joins channels which see the present with channels which do not stands at the present.
    """
    return looks_ahead(graph) is None and stream(graph, ahead=True).lead[graph.output] == 1


def require_strict(graph: Graph, purpose: str) -> None:
    """Raise GraphError, naming the path by which the present sample gets through, unless the graph is strict."""
    require_causal(graph, purpose)
    if is_strict(graph):
        return
    if min(offsets(graph), default=0) >= 1:
        raise GraphError(
            f"{purpose} needs a strict graph; here y_t does not depend on x_t, but some node joins channels that see the "
            "present with channels that do not, so it cannot be computed before x_t is known. Slice before joining them"
        )
    lead = stream(graph, ahead=True).lead
    path = [graph.output]
    while (node := graph[path[-1]]).inputs:
        path.append(next(name for name in node.inputs if lead.get(name) == 0 and min(taps(node.op)) == 0))
    raise GraphError(
        f"{purpose} needs a strict graph, in which y_t models x_t without seeing it; here offset 0 gets through "
        f"{' → '.join(reversed(path))}. Delay the input (Builder.delay) or make the first convolution strict"
    )
