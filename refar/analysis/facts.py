"""All that follows from a graph alone, as one frozen value: found once, checked once, handed on.

`facts(graph)` is what every other part asks; a graph that has no meaning is refused here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn, assert_never

from refar import ops
from refar.analysis.heads import output_numbers
from refar.analysis.offsets import Offsets, offsets_of
from refar.analysis.raster import RasterPlan, raster_plan, varying
from refar.analysis.schedule import Schedule, schedule
from refar.analysis.types import Rule, Type, refuse, rule
from refar.analysis.windows import Grid, furthest, grid_for, offsets_of_node, steps_of_node
from refar.errors import GraphError
from refar.graph.graph import Graph, Node, check_graph


@dataclass(frozen=True, eq=False)
class Facts:
    """Hold what is derived from `graph`. Mappings are keyed by node name, in the order of evaluation.

    `types[n]` is the type of node n's value, `parameters` the shape of each parameter by its full name, `lookback[n]` the
    longest path of taps to node n, through conditions too. `sequence` and `conditions` name the inputs. `grid` says what the
    offsets mean if the sequence is an image, else it is None.
    """

    graph: Graph
    nodes: dict[str, Node]
    rules: dict[str, Rule]
    types: dict[str, Type]
    parameters: dict[str, tuple[int, ...]]
    sequence: str
    conditions: tuple[str, ...]
    lookback: dict[str, int]
    grid: Grid | None

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The names of all inputs, the sequence first."""
        return (self.sequence, *self.conditions)

    @cached_property
    def kinds(self) -> dict[str, tuple[Type, ...]]:
        """The types of each node's inputs."""
        return {node.name: tuple(self.types[name] for name in node.inputs) for node in self.graph.nodes}

    @cached_property
    def classes(self) -> dict[str, int]:
        """The size of each node's first input, which of a lookup are the classes; 0 of an input."""
        return {node.name: self.types[node.inputs[0]].size if node.inputs else 0 for node in self.graph.nodes}

    @cached_property
    def own(self) -> dict[str, tuple[str, ...]]:
        """The last names of each node's own parameters."""
        return {name: tuple(found.parameters) for name, found in self.rules.items()}

    @cached_property
    def last_reader(self) -> dict[str, str]:
        """For each node the last one that needs its value, itself if none does; "" for the output, which is kept."""
        read = {name: node.name for node in self.graph.nodes for name in (*node.inputs, node.name)}
        return read | {self.graph.output: ""}

    @cached_property
    def starts(self) -> dict[str, tuple[float, float]]:
        """For each parameter, middle and half-width of the uniform distribution that training starts from."""
        own = {f"{node}.{name}": p for node, found in self.rules.items() for name, p in found.parameters.items()}
        return {name: (p.around, p.width) for name, p in own.items()}

    @cached_property
    def offsets(self) -> dict[str, tuple[Offsets, ...]]:
        """The exact offsets of each channel of each node with respect to the sequence."""
        found: dict[str, tuple[Offsets, ...]] = {}
        for node in self.graph.nodes:
            found[node.name] = offsets_of(node.op, self.rules[node.name], [found[name] for name in node.inputs], self.grid)
        return found

    @property
    def left_context(self) -> int:
        """From t = left_context on, y_t does not depend on where the sequence began: the longest path of taps to the output."""
        return self.lookback[self.graph.output]

    @property
    def first_position(self) -> int:
        """The first t with an output y_t: 0, or under padding "valid" the first for which every layer has its whole window."""
        return self.left_context if self.graph.padding == "valid" else 0

    @cached_property
    def sources(self) -> frozenset[str]:
        """The nodes at which a sequence becomes numbers: an input over time, the lookup of one, or the ones that mark it."""
        return frozenset(node.name for node in self.graph.nodes if self._is_source(node))

    def _is_source(self, node: Node) -> bool:
        lookup = any(self.types[name].indexed for name in node.inputs)
        return self.types[node.name].timed and (lookup or isinstance(node.op, ops.Input | ops.Ones))

    @cached_property
    def varying(self) -> frozenset[str]:
        """The nodes of an image that are computed from the sequence, also where no channel of theirs depends on it."""
        return varying(self.graph, self.sequence)

    @cached_property
    def looks_ahead(self) -> Node | None:
        """The first node that reads positions after its own, which no stream can do; None if there is none.

        Of an image rows below count, and what lies to the right in the same row if the output sees it: on the way a node may
        see its whole row, of which a later one hides what comes after the pixel.
        """
        if self.grid is None:
            return next((node for node in self.graph.nodes if min(offsets_of_node(node.op)) < 0), None)
        depends = [node for node in self.graph.nodes if node.name in self.varying]
        below = next((node for node in depends if min(steps_of_node(node.op))[0] < 0), None)
        if below is None and self.raster.clock[self.graph.output] == "row-end":
            return next(node for node in depends if self.raster.clock[node.name] == "row-end")
        return below

    @cached_property
    def aligned(self) -> Schedule:
        """Return the schedule of `step`: all nodes run at the newest position. Raises GraphError for a graph that looks ahead."""
        self.require_causal("a stream")
        return schedule(self.graph, self.types, self.sequence, leading=False)

    @cached_property
    def leading(self) -> Schedule:
        """Return the schedule of `next`: nodes that do not see the newest token run one position ahead. Raises as `aligned`."""
        self.require_causal("a stream")
        return schedule(self.graph, self.types, self.sequence, leading=True)

    def schedule(self, *, leading: bool) -> Schedule:
        """Return `leading` or `aligned`."""
        return self.leading if leading else self.aligned

    @cached_property
    def raster(self) -> RasterPlan:
        """Return the schedule of an image, by pixels. Raises GraphError if a node of the sequence reads rows below its own."""
        return raster_plan(self.graph, self.types, self.sequence, self.varying)

    @cached_property
    def strict(self) -> bool:
        """Whether y_t is computed without x_t, so that it can model x_t; see `analysis.causality`."""
        if self.looks_ahead is not None:
            return False
        if self.grid is not None:
            return self.sees_itself is None
        return self.leading.lead[self.graph.output] == 1

    @cached_property
    def sees_itself(self) -> tuple[int, int] | None:
        """Of an image, the first output channel that sees its own colour of the pixel or a later one, and which; or None."""
        assert self.grid is not None
        for channel, seen in enumerate(self.offsets[self.graph.output]):
            wrong = [number for number in seen if channel % self.grid.colours <= number < self.grid.colours]
            if wrong:
                return channel, max(wrong)
        return None

    @cached_property
    def ordered(self) -> bool:
        """Whether a strict image graph must be evaluated once for each colour: some output sees colours of its own pixel."""
        grid = self.grid
        return grid is not None and any(0 <= n < grid.colours for seen in self.offsets[self.graph.output] for n in seen)

    def require_causal(self, purpose: str) -> None:
        """Raise GraphError, naming node and position, if some node looks ahead."""
        node = self.looks_ahead
        if node is not None:
            _refuse_look_ahead(node, purpose, self.grid is not None)


def _refuse_look_ahead(node: Node, purpose: str, image: bool) -> NoReturn:
    if image:
        up, left = min(steps_of_node(node.op))
        here, there = "pixel (r, c)", f"pixel ({_before('r', up)}, {_before('c', left)})"
    else:
        here, there = "position t", f"position t + {-min(offsets_of_node(node.op))}"
    raise GraphError(
        f"{purpose} needs a causal graph; node {node.name!r} ({node.op.__struct_config__.tag}) at {here} reads {there}. "
        "Such a graph can only be evaluated as a whole"
    )


def _before(place: str, by: int) -> str:
    return place if by == 0 else f"{place} {'-' if by > 0 else '+'} {abs(by)}"


_KEPT = "facts"
"""The name under which a graph keeps its facts."""


def facts(graph: Graph) -> Facts:
    """Find all that follows from a graph, once. Raises GraphError if it is none, or naming the first node without a meaning.

    They are kept with this very graph: one that is equal to it may still differ, by the sign of a zero.
    """
    kept = graph.__dict__ if isinstance(graph, Graph) else check_graph(graph).__dict__
    if _KEPT not in kept:
        kept[_KEPT] = _found(graph)
    found: Facts = kept[_KEPT]
    return found


def validated(graph: Graph) -> Graph:
    """Return the graph itself. Raises GraphError as `facts` does."""
    return facts(graph).graph


def _found(graph: Graph) -> Facts:
    types: dict[str, Type] = {}
    rules: dict[str, Rule] = {}
    parameters: dict[str, tuple[int, ...]] = {}
    lookback: dict[str, int] = {}
    count = 0
    for node in graph.nodes:
        lookback[node.name] = max((lookback[name] for name in node.inputs), default=0) + _furthest(node.op)
        _check_lookback(node, lookback[node.name])  # before the rule, which lists what a mask shows
        found = rules[node.name] = rule(node, [types[name] for name in node.inputs])
        _check_padding(graph, node)
        types[node.name] = found.type
        for suffix, parameter in found.parameters.items():
            parameters[f"{node.name}.{suffix}"] = parameter.shape
            count += math.prod(parameter.shape)
        _check_size(node, found.type, count)
    sequence, conditions = _inputs(graph, types)
    grid = grid_for(max(lookback.values()), types[sequence].channels) if types[sequence].image else None
    if not types[graph.output].timed:
        raise GraphError(f"output {graph.output!r} does not depend on the sequence {sequence!r}")
    nodes = {node.name: node for node in graph.nodes}
    _check_head(graph, nodes[graph.output], types[graph.output], types[sequence])
    if doubled := sorted(parameters.keys() & types.keys()):
        raise GraphError(f"node {doubled[0]!r} has the name of a parameter of another node; expected another name")
    return Facts(graph, nodes, rules, types, parameters, sequence, conditions, lookback, grid)


def _furthest(op: ops.AnyOp) -> int:
    return furthest(op) if isinstance(op, ops.ImageOp) else max(0, *offsets_of_node(op))


def _check_lookback(node: Node, lookback: int) -> None:
    image = isinstance(node.op, ops.ImageOp)
    most, what = (ops.FURTHEST_2D, "rows or columns to look away") if image else (ops.FURTHEST, "positions to look back")
    if lookback > most:
        raise refuse(node, f"at most {most} {what} from here, all layers together", lookback)


def _check_size(node: Node, value: Type, parameters: int) -> None:
    if value.size > ops.LARGEST:
        raise refuse(node, f"at most {ops.LARGEST} channels", value.size)
    if parameters > ops.MOST_PARAMETERS:
        raise refuse(node, f"at most {ops.MOST_PARAMETERS} parameters up to here", parameters)


def _check_padding(graph: Graph, node: Node) -> None:
    """Check that pad="exclude" counts the ones of the pool's own input, and that only layer padding has nodes that look ahead."""
    excludes = isinstance(node.op, ops.Pool1d) and node.op.pad == "exclude"
    if excludes:
        ones = graph[node.inputs[1]]
        if not isinstance(ones.op, ops.Ones) or ones.inputs != node.inputs[:1]:
            raise refuse(node, f"as its second input the `ones` of {node.inputs[0]!r}", repr(ones.name))
    if graph.padding == "layer":
        return
    if excludes and graph.padding == "input":
        raise refuse(node, "pad='zero', since under input padding nothing is left out before the start", "'exclude'")
    ahead = -min(offsets_of_node(node.op))
    if ahead > 0:  # its value at t < 0 would change with t, or the last of its outputs would not exist
        raise refuse(node, f"no look ahead under {graph.padding} padding", f"one of {ahead} positions")


def _inputs(graph: Graph, types: dict[str, Type]) -> tuple[str, tuple[str, ...]]:
    """Find the sequence and the conditions. Raises GraphError unless there is one sequence, and all are images or none is."""
    inputs = [(node, node.op) for node in graph.nodes if isinstance(node.op, ops.Input)]
    sequences = [node.name for node, op in inputs if op.role == "sequence"]
    if len(sequences) != 1:
        raise GraphError(f"expected one sequence input, got {len(sequences)}: {', '.join(sequences) or 'none'}")
    image = types[sequences[0]].image
    for node, op in inputs:
        if op.role == "local" and types[node.name].image != image:
            raise refuse(node, f"axes={'hw' if image else 't'!r}, as the sequence {sequences[0]!r} has", repr(op.axes))
    if image and graph.padding != "layer":
        raise GraphError(f"padding: expected 'layer' for a graph of images, got {graph.padding!r}")
    return sequences[0], tuple(node.name for node, op in inputs if op.role != "sequence")


def _check_head(graph: Graph, node: Node, output: Type, sequence: Type) -> None:
    """Raise GraphError unless the output has the channels that the head says."""
    if graph.head is None:
        return
    if isinstance(graph.head, ops.Categorical) and isinstance(node.op, ops.Softmax):
        raise GraphError(f"output {graph.output!r}: a categorical head expects logits, got the output of a softmax")
    modelled = sequence.indexed != isinstance(graph.head, ops.SignalHead)
    size = output_numbers(graph.head, sequence.size) * sequence.channels
    match graph.head:
        case ops.Categorical():
            expected = "logits for the classes of an index sequence"
        case ops.Gaussian():
            expected = "means for the channels of a signal"
        case ops.LearntGaussian():
            expected = "means and log-scales for the channels of a signal"
        case ops.MixtureGaussians(components):
            expected = f"logits, means and log-scales of {components} components for each channel of a signal"
        case ops.MixtureLogistics(components, classes):
            expected = f"{size} channels (logits, means and log-scales of {components} components) for {classes} classes"
            modelled = modelled and sequence.size == classes
        case _:
            assert_never(graph.head)
    if not modelled:
        raise GraphError(f"output {graph.output!r}: the head expects {expected}, but the sequence that it models is {sequence}")
    if output.size != size or output.indexed:
        raise GraphError(f"output {graph.output!r}: the head expects {expected} ({sequence}), got {output}")
