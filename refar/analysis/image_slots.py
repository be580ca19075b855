"""Lay out the state of an image that a row graph and a pixel graph compute. The graphs and the program that runs them use it.

The present row is run through in *visits*. Visit s computes the nodes of lead 0 at column s and those of lead 1 at column s + 1;
visit -1 comes before the first pixel is known. What later visits or rows read of pixel nodes lies side by side in one tensor,
`past.pixels` (slots, B, channels), of P + 1 + W slots: visit s writes slot P + 1 + s and reads earlier ones only, so that a visit
can be repeated. The slots left of visit -1 are never written and stay 0, as all values outside the image.

What rows above and constants add to the present row comes from the row graph as `line` (W + 1, B, channels): visit s reads entry
s + 1. Whole rows that later rows read lie in rings, `past.rows.<node>` (kept + 1, B, C, W): row r of the image in entry
r mod (kept + 1). One entry is spare, so that the row that is written is never one that is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise

from refar import ops
from refar.analysis.facts import Facts, facts
from refar.analysis.windows import adds_taps, steps_of_node
from refar.errors import GraphError
from refar.graph.graph import Graph, Node

CONDITION, ROW, PIXEL, PIXELS = "condition.onnx", "row.onnx", "pixel.onnx", "pixels.onnx"
"""The files of the graphs. condition.onnx runs once, row.onnx before each row, pixel.onnx for one visit, pixels.onnx for n."""


@dataclass(frozen=True)
class LinePart:
    """Name channels of `line`: what visit s reads of a node at column s + `lead`; 0 outside the image.

    With `above` the node is a convolution, and its line holds the bias and what its taps in rows above add. Otherwise the line
    holds the node's own value in the present row.
    """

    node: str
    above: bool
    lead: int
    channels: range


@dataclass(frozen=True)
class ImagePorts:
    """List the inputs and outputs of one graph, in their order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class ImageSlots:
    """Hold the layout that follows from a graph. Nodes that the output does not need are left out everywhere.

    `first_visit`: -1 if some node, or the output, is computed one pixel ahead, else 0. `output_lead`: visit s gives the output at
    column s + `output_lead`.
    `past`: P, the largest age, in visits, at which a value of the present row is read. `pixels`: the channels of each stored
    pixel node in `past.pixels`, those that are read at the largest age first. `oldest`: that age of each, 0 for nodes that only
    later rows read. `lines`: in the order of their channels. `rings`: how many entries each ring has.
    `masked_left`: nodes of lead 0 that must be 0 at visit -1, as a tap reads them left of the image. `masked_right`: nodes of
    lead 1 that must be 0 at visit W - 1, which computes them at column W, as a tap reads them right of the image.
    `pixel_nodes`, `row_nodes`, `constant_nodes`: what is computed at each visit, before each row, and once. `conditions`: the
    inputs among the constants.
    `pixel_constants`, `row_constants`: the constants (B, C) that the pixel and the row graph read; `planes`: the constants
    (B, C, H, W) that the row graph reads. `blank`: the values over the image of which constants use the shape alone.
    `reads_rows`: the nodes of which the row graph reads whole rows. `ends_rows`: whether there are nodes of which a row is known
    only when it is complete.
    """

    first_visit: int
    output_lead: int
    past: int
    pixels: dict[str, range]
    oldest: dict[str, int]
    lines: tuple[LinePart, ...]
    rings: dict[str, int]
    masked_left: frozenset[str]
    masked_right: frozenset[str]
    pixel_nodes: tuple[str, ...]
    row_nodes: tuple[str, ...]
    constant_nodes: tuple[str, ...]
    conditions: tuple[str, ...]
    pixel_constants: tuple[str, ...]
    row_constants: tuple[str, ...]
    planes: tuple[str, ...]
    blank: tuple[str, ...]
    sequence: str
    ends_rows: bool
    reads_rows: frozenset[str]

    @cached_property
    def stored_channels(self) -> int:
        """Count the channels of `past.pixels`."""
        return sum(map(len, self.pixels.values()))

    @cached_property
    def line_channels(self) -> int:
        """Count the channels of `line`; 0 if there is no row graph."""
        return sum(len(line.channels) for line in self.lines)

    def slots(self, width: int) -> int:
        """Return how many slots `past.pixels` has for rows of `width` pixels."""
        return self.past + 1 + width

    @property
    def fixed(self) -> tuple[str, ...]:
        """List the nodes that the condition graph gives, as `fixed.<node>`; if there are none, there is no such graph."""
        return tuple(dict.fromkeys(self.pixel_constants + self.row_constants + self.planes))

    @cached_property
    def ports(self) -> dict[str, ImagePorts]:
        """Give the inputs and outputs of the graphs that there are, by the names of their files."""
        found = {CONDITION: self._condition(), ROW: self._row(), PIXEL: self._pixel(), PIXELS: self._pixel()}
        return {name: ports for name, ports in found.items() if ports.outputs}

    def _condition(self) -> ImagePorts:
        shape = ("batch", "height", "width") if self.blank else ()
        return ImagePorts((*self.conditions, *shape), tuple(f"fixed.{name}" for name in self.fixed))

    def _row(self) -> ImagePorts:
        if not self.lines:
            return ImagePorts((), ())
        row = ("row",) if self.rings or self.planes or self.ends_rows else ()
        pixels = ("past.pixels",) if self.reads_rows & self.pixels.keys() else ()
        constants = [f"fixed.{name}" for name in self.row_constants + self.planes]
        rings, after = ([f"{side}.rows.{name}" for name in self.rings] for side in ("past", "present"))
        return ImagePorts((*row, *pixels, *rings, *constants), ("line", *after))

    def _pixel(self) -> ImagePorts:
        constants = [f"fixed.{name}" for name in self.pixel_constants]
        used = {
            "column": self.pixels or self.lines or self.masked_left or self.masked_right,
            "width": self.masked_right,
            "past.pixels": self.pixels,
            "line": self.lines,
        }
        inputs = (self.sequence, *(name for name, where in used.items() if where), *constants)
        return ImagePorts(inputs, ("output", "present.pixels") if self.pixels else ("output",))


@dataclass(frozen=True)
class _Read:
    """Hold a tap: `reader` at pixel (r, c) needs `source` at (r - up, c - left)."""

    reader: Node
    source: str
    up: int
    left: int


@lru_cache(maxsize=64)
def image_slots(graph: Graph) -> ImageSlots:
    """Find the layout. Raises GraphError for a graph over time, or one whose output sees what comes after its pixel."""
    found = facts(graph)
    if found.grid is None:
        raise GraphError(f"pixel graphs are of images; this graph is over time (its sequence is {found.sequence!r})")
    found.require_causal("a pixel graph")
    return _Search(found).layout()


class _Search:
    """Put the layout together from the nodes that the output needs, by clock, and what they read."""

    def __init__(self, found: Facts) -> None:
        self.found, self.plan = found, found.raster
        self.nodes = _needed(found)
        self.reads = [
            _Read(node, source, up, left)
            for node in self.nodes
            if self.clock(node.name) != "constant"
            for source in node.inputs
            for up, left in sorted(steps_of_node(node.op))
        ]

    def clock(self, name: str) -> str:
        return self.plan.clock.get(name, "constant")

    def channels(self, name: str) -> int:
        return self.found.types[name].channels

    def layout(self) -> ImageSlots:
        output = self.found.graph.output
        output_lead = self.plan.lead.get(output, 1)  # an output that is no pixel node is there before the row begins
        ahead = max([output_lead, *(self.plan.lead[node.name] for node in self.of("pixel"))])
        oldest, rows = self.oldest(), self.row_sources()
        return ImageSlots(
            first_visit=-ahead,
            output_lead=output_lead,
            past=max(oldest.values(), default=0),
            pixels=dict(zip(oldest, _side_by_side(self.channels(name) for name in oldest), strict=True)),
            oldest=oldest,
            lines=self.lines(),
            rings={name: kept + 1 for name, kept in self.plan.rows.items() if name in rows},
            masked_left=self.read_outside(lead=0) if ahead else frozenset(),
            masked_right=self.read_outside(lead=1),
            pixel_nodes=_names(self.of("pixel")),
            row_nodes=_names(self.of("row-start", "row-end")),
            constant_nodes=_names(self.of("constant")),
            conditions=_names(node for node in self.of("constant") if isinstance(node.op, ops.Input)),
            pixel_constants=self.constants("pixel"),
            row_constants=self.constants("row-start", "row-end"),
            planes=self.planes(),
            blank=self.blank(),
            sequence=self.found.sequence,
            ends_rows=bool(self.of("row-end")),
            reads_rows=rows,
        )

    def of(self, *clocks: str) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if self.clock(node.name) in clocks)

    def beside(self) -> list[_Read]:
        """List what pixel nodes read of each other in their own row."""
        both = [read for read in self.reads if self.clock(read.reader.name) == self.clock(read.source) == "pixel"]
        return [read for read in both if read.up == 0]

    def age(self, read: _Read) -> int:
        return read.left + self.plan.lead[read.source] - self.plan.lead[read.reader.name]

    def row_sources(self) -> frozenset[str]:
        """Find the nodes of which the row graph reads whole rows."""
        varying = [read for read in self.reads if self.clock(read.source) != "constant"]
        return frozenset(read.source for read in varying if self.clock(read.reader.name) != "pixel" or read.up > 0)

    def oldest(self) -> dict[str, int]:
        """Give the largest age at which each stored pixel node is read in its row, in the order of their channels."""
        ages = {node.name: 0 for node in self.of("pixel")}
        for read in self.beside():
            ages[read.source] = max(ages[read.source], self.age(read))
        rows = self.row_sources()
        stored = {name: age for name, age in ages.items() if age or name in rows}
        return dict(sorted(stored.items(), key=lambda item: -item[1]))

    def lines(self) -> tuple[LinePart, ...]:
        wanted = {(node.name, True, self.plan.lead[node.name]) for node in self.of("pixel") if _looks_above(node)}
        for read in self.reads:
            if self.clock(read.reader.name) == "pixel" and self.is_line(read.source):
                wanted.add((read.source, False, self.plan.lead[read.reader.name]))
        if self.is_line(self.found.graph.output):
            wanted.add((self.found.graph.output, False, 1))
        order = {node.name: i for i, node in enumerate(self.nodes)}
        lines = sorted(wanted, key=lambda line: (line[2], order[line[0]]))
        channels = _side_by_side(self.channels(name) for name, _, _ in lines)
        return tuple(LinePart(*line, each) for line, each in zip(lines, channels, strict=True))

    def is_line(self, name: str) -> bool:
        """Say whether the value in a row is known before the row begins."""
        return self.clock(name) == "row-start" or (self.clock(name) == "constant" and self.found.types[name].timed)

    def planes(self) -> tuple[str, ...]:
        read = {line.node for line in self.lines()}
        read |= {read.source for read in self.reads if self.clock(read.reader.name) in ("row-start", "row-end")}
        return tuple(node.name for node in self.of("constant") if node.name in read and self.found.types[node.name].timed)

    def constants(self, *clocks: str) -> tuple[str, ...]:
        read = {read.source for read in self.reads if self.clock(read.reader.name) in clocks}
        return tuple(node.name for node in self.of("constant") if node.name in read and not self.found.types[node.name].timed)

    def read_outside(self, lead: int) -> frozenset[str]:
        """Find the nodes of this lead that a tap in their row reads outside the image, where a visit computes them too."""
        side = -1 if lead else 1
        return frozenset(r.source for r in self.beside() if self.plan.lead[r.source] == lead and r.left * side > 0)

    def blank(self) -> tuple[str, ...]:
        read = {name for node in self.of("constant") for name in node.inputs}
        return tuple(name for name in self.plan.clock if name in read and self.clock(name) != "constant")


def _needed(found: Facts) -> list[Node]:
    """List the nodes that the output is computed from. Constants use of a value that varies nothing but its shape."""
    wanted = {found.graph.output}
    for node in reversed(found.graph.nodes):
        if node.name in wanted:
            fixed = node.name not in found.varying
            wanted.update(name for name in node.inputs if not (fixed and name in found.varying))
    return [node for node in found.graph.nodes if node.name in wanted]


def _names(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(node.name for node in nodes)


def _looks_above(node: Node) -> bool:
    return adds_taps(node.op) and any(up > 0 for up, _ in steps_of_node(node.op))


def _side_by_side(sizes: Iterable[int]) -> list[range]:
    """Give each the next channels of a tensor."""
    ends = list(accumulate(sizes, initial=0))
    return [range(start, stop) for start, stop in pairwise(ends)]
