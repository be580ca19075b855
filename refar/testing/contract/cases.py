"""Data that can see mistakes: generic numbers, small integers, lengths around the receptive field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from refar import ops
from refar.analysis.causality import offsets
from refar.analysis.facts import facts
from refar.analysis.masks import mask_oihw
from refar.analysis.types import Type
from refar.analysis.windows import offsets_of_node, steps_of_node
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph, Node

Extent = tuple[int, ...]
"""How many positions there are: (T,) in a sequence, (H, W) in an image."""

SMALL = 128
"""Up to this reach whole sequences are cheap, and every law is run on several of them."""
SMALL_IMAGE = 256
"""The same for the pixels of an image."""


@dataclass(frozen=True)
class Sizes:
    """Batch and extents, distinct from each other and from the graph's channels, kernels and dilations where possible.

    `equal` is the receptive field with the present. `settled` is the first extent with an output that feels no border: the
    same, or more where a condition is shifted further than the sequence. `inner` is where that output stands.
    """

    batch: int
    short: Extent
    equal: Extent
    settled: Extent
    long: Extent
    inner: Extent

    @property
    def single(self) -> Extent:
        """One position."""
        return (1,) * len(self.settled)

    @property
    def extents(self) -> list[Extent]:
        """One position; fewer than the receptive field has, as many, more."""
        return sorted({self.single, self.short, self.equal, self.settled, self.long})

    @property
    def small(self) -> bool:
        """Whether whole sequences are cheap."""
        return self.rows(self.settled) > 1

    def rows(self, extent: Extent) -> int:
        """The whole batch, or one row where that is expensive."""
        return self.batch if math.prod(extent) <= (SMALL_IMAGE if len(extent) > 1 else SMALL) else 1


def sizes(graph: Graph) -> Sizes:
    """T < R, T = R and T > R, where R counts the present, along each axis; for large R the last is only just larger."""
    found = facts(graph)
    image = found.grid is not None
    seen = list(zip((0, 0), *offsets(graph), strict=True)) if image else [(0, *offsets(graph))]
    reach = [max(along) - min(along) + 1 for along in seen]
    margins = [
        (max(before, *along), max(after, -min(along))) for (before, after), along in zip(_margins(graph), seen, strict=True)
    ]
    taken = {kind.size for kind in found.types.values()}
    small = math.prod(before + 1 + after for before, after in margins) <= (SMALL_IMAGE if image else SMALL)

    def extent(at_least: Sequence[int], *avoid: int) -> Extent:
        chosen: list[int] = []
        for axis, low in enumerate(at_least):
            used, spans = taken | {*avoid, *chosen}, {span for node in graph.nodes for span in _spans(node, axis)}
            fits = (n for n in range(low, low + 50) if n not in used and all(n % d for d in spans if d > 1))
            chosen.append(next(fits, low))
        return tuple(chosen)

    batch = 3 if small else 2
    short = extent([max(2, r // 2) if small else 13 for r in reach], batch)
    equal = _oblong([max(2, r) for r in reach])
    settled = _oblong([max(2, before + 1 + after) for before, after in margins])
    long = extent([n + (2 if image else n + 5 if small else 7) for n in settled], batch, *short)
    inner = tuple(n - 1 - after for n, (_, after) in zip(settled, margins, strict=True))
    return Sizes(batch, short, equal, settled, long, inner)


def _oblong(lengths: list[int]) -> Extent:
    """An image of as many columns as rows gets one more, so that the two cannot be taken for each other."""
    return (lengths[0], lengths[0] + 1) if len({*lengths}) < len(lengths) else tuple(lengths)


def _spans(node: Node, axis: int) -> tuple[int, ...]:
    """Kernel and dilation along one axis."""
    if isinstance(node.op, ops.Conv2d):
        return node.op.kernel[axis], node.op.dilation[axis]
    return (node.op.kernel, node.op.dilation) if isinstance(node.op, ops.Conv1d | ops.Pool1d) else ()


def _margins(graph: Graph) -> list[tuple[int, int]]:
    """Along each axis, how far before and after its place the output may feel a border: the longest paths of taps to it."""
    image = facts(graph).grid is not None
    felt: dict[str, list[tuple[int, int]]] = {}
    for node in graph.nodes:
        steps = list(zip(*steps_of_node(node.op) | {(0, 0)}, strict=True)) if image else [(0, *offsets_of_node(node.op))]
        felt[node.name] = [
            (
                max((felt[name][axis][0] for name in node.inputs), default=0) + max(along),
                max((felt[name][axis][1] for name in node.inputs), default=0) - min(along),
            )
            for axis, along in enumerate(steps)
        ]
    return felt[graph.output]


def masks(graph: Graph) -> Arrays:
    """Where a weight may be seen, for each that its mask hides in part."""
    found = facts(graph).parameters
    each = {f"{n.name}.weight": mask_oihw(n.op, found[f"{n.name}.weight"]) for n in graph.nodes if isinstance(n.op, ops.Conv2d)}
    return {name: mask for name, mask in each.items() if not mask.all()}


def generic_parameters(graph: Graph, rng: np.random.Generator, *, alive: bool = False) -> Arrays:
    """Normal weights that keep the scale, and biases that are nowhere zero. Masked weights too: they must not matter.

    With `alive` all are positive and small enough for tanh and σ not to saturate: then no relu is off and nothing cancels.
    """
    shapes = facts(graph).parameters
    params: Arrays = {}
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:])) if name.endswith(".weight") and len(shape) > 2 else 1
        if alive:
            params[name] = rng.uniform(0.5, 1.5, shape) / fan_in * (1 if name.endswith(".weight") else 0.2)
        else:
            sign = rng.choice((-1, 1), shape)
            params[name] = rng.normal(size=shape) / np.sqrt(fan_in) if len(shape) > 1 else sign * rng.uniform(0.1, 0.5, shape)
    return params


def generic_inputs(graph: Graph, rng: np.random.Generator, batch: int, *extent: int) -> Arrays:
    """Uniform classes and normal signals that float32 holds exactly; {node: array}, sequence first."""
    found = facts(graph)
    return {name: generic_array(found.types[name], rng, batch, *extent) for name in (found.sequence, *found.conditions)}


def shape_of(kind: Type, batch: int, *extent: int) -> tuple[int, ...]:
    """The shape of a value over T positions or H x W pixels."""
    return (batch, *([kind.channels] if "c" in kind.axes else []), *(extent if kind.timed else ()))


def generic_array(kind: Type, rng: np.random.Generator, batch: int, *extent: int) -> Array:
    """One input."""
    shape = shape_of(kind, batch, *extent)
    return rng.integers(0, kind.size, shape) if kind.indexed else rng.normal(size=shape).astype(np.float32).astype(np.float64)


def other_values(kind: Type, x: Array, rng: np.random.Generator) -> Array:
    """Values that differ from x everywhere."""
    if kind.indexed:
        return (x + rng.integers(1, kind.size, x.shape)) % kind.size
    return x + rng.choice((-1, 1), x.shape) * rng.uniform(0.5, 2, x.shape)


def integer_inputs(graph: Graph, rng: np.random.Generator, largest: int, batch: int, *extent: int) -> Arrays:
    """Classes, small ones where there are many, and signals of integers up to `largest` in magnitude, some of them zero."""
    found = facts(graph)
    inputs: Arrays = {}
    for name in (found.sequence, *found.conditions):
        kind = found.types[name]
        if kind.indexed:
            inputs[name] = generic_array(replace(kind, size=min(kind.size, 9)), rng, batch, *extent)
        else:
            signal = rng.integers(-largest, largest + 1, shape_of(kind, batch, *extent)).astype(np.float64)
            signal.flat[rng.permutation(signal.size)[: signal.size // 8]] = 0  # where a relu has its kink
            inputs[name] = signal
    return inputs


def splits(rng: np.random.Generator, total: int, firsts: Sequence[int]) -> list[list[int]]:
    """For every possible first length, one way to cut `total` positions into pieces; the rest is cut at random."""
    found = []
    for first in sorted({length for length in firsts if 0 <= length <= total}):
        rest = total - first
        cuts = np.flatnonzero(rng.random(max(rest - 1, 0)) < 2 / (rest + 1)) + 1
        ends = [0, *(int(cut) for cut in cuts), rest]
        found.append([first, *(end - begin for begin, end in pairwise(ends) if end > begin)])
    return found
