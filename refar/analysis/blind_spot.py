"""The blind spot: earlier pixels that a network of images would not see, however deep it were."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import gcd
from operator import or_
from typing import assert_never

from refar import ops
from refar.analysis.causality import image_offsets
from refar.analysis.facts import facts
from refar.analysis.offsets import offsets_of
from refar.analysis.windows import Step, furthest, grid_for, steps
from refar.errors import GraphError
from refar.graph.graph import Graph

MOST_BITS = 2**24
"""Positions of the largest region that is searched: a few seconds."""


def blind_spot(graph: Graph) -> frozenset[Step]:
    """The (rows up, columns left) that come before the pixel, lie in the box of the receptive field, and no depth ever reaches.

    Depth repeats every convolution any number of times, S → ∪_n S + n·steps, n ≥ 1; shifts are not repeated. The box has the
    rows 0..max up and the columns min left..max left of `offsets`. Colours are taken together.
    Raises GraphError for a graph over time, and for one that looks ahead.
    Source: van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders", section 2.2 and figure 1.
    """
    return _blind_spot(facts(graph).graph)


@lru_cache(maxsize=64)
def _blind_spot(graph: Graph) -> frozenset[Step]:
    found = facts(graph)
    if found.grid is None:
        raise GraphError(f"blind_spot: expected a graph of images, got one over time (its sequence is {found.sequence!r})")
    found.require_causal("a blind spot")
    seen = image_offsets(graph)
    if not seen:
        return frozenset()
    rows, lefts = max(up for up, _ in seen), {left for _, left in seen}
    columns = range(min(lefts), max(lefts) + 1)
    region = Region(rows + 1, _wander(graph, rows))
    reached = _reached(graph, region)
    unseen = ((up, left) for up in range(rows + 1) for left in region.missing(reached, up, columns))
    return frozenset(step for step in unseen if step > (0, 0))


@dataclass(frozen=True)
class Region:
    """Sets of steps as the bits of a number: rows 0..rows-1 up, columns -half..half left. What leaves it is dropped."""

    rows: int
    half: int

    def __post_init__(self) -> None:
        if self.rows * self.columns > MOST_BITS:
            came = f"{self.rows} rows by {self.columns} columns"
            raise GraphError(f"blind_spot: these dilations would need a search in {came}, more than {MOST_BITS} positions")

    @property
    def columns(self) -> int:
        """Of one row."""
        return 2 * self.half + 1

    def moved(self, seen: int, step: Step) -> int:
        """Every element further by one step."""
        up, left = step
        if not seen or up >= self.rows or abs(left) >= self.columns:
            return 0
        places = up * self.columns + left
        seen &= _staying(self, left)
        return (seen << places if places >= 0 else seen >> -places) & ((1 << self.rows * self.columns) - 1)

    def closed(self, seen: int, moves: Iterable[Step]) -> int:
        """Every element further by any number of each step: doubling reaches all multiples."""
        for up, left in moves:
            count = 1
            while (further := self.moved(seen, (count * up, count * left))) & ~seen:
                seen |= further
                count *= 2
        return seen

    def missing(self, seen: int, up: int, columns: range) -> list[int]:
        """Those of the columns left that a set lacks in a row."""
        lacks = ~(seen >> up * self.columns + self.half + columns.start) & ((1 << len(columns)) - 1)
        return [left for left, bit in zip(columns, reversed(f"{lacks:0{len(columns)}b}"), strict=True) if bit == "1"]


@lru_cache(maxsize=64)
def _staying(region: Region, left: int) -> int:
    """What does not leave its row on the way to the left."""
    stays, count = ((1 << region.columns - abs(left)) - 1) << max(0, -left), 1
    while count < region.rows:
        stays |= stays << count * region.columns
        count *= 2
    return stays


def _reached(graph: Graph, region: Region) -> int:
    """What the output reaches at any depth; `offsets_of` says which channels of its sources a channel takes, at which step."""
    found = facts(graph)
    reached: dict[str, tuple[int, ...]] = {}
    for node in graph.nodes:
        if node.name == found.sequence:
            reached[node.name] = (1 << region.half,) * found.types[node.name].channels
            continue
        given = list(dict.fromkeys(seen for name in node.inputs for seen in reached[name] if seen))
        index = {seen: k for k, seen in enumerate(given)}
        sources = [tuple(frozenset({index[seen]} if seen else ()) for seen in reached[name]) for name in node.inputs]
        grid = grid_for(furthest(node.op) if isinstance(node.op, ops.ImageOp) else 0, max(len(given), 1))
        taken = offsets_of(node.op, found.rules[node.name], sources, grid)
        sums: dict[frozenset[int], int] = {}
        for numbers in set(taken):
            total = reduce(or_, (region.moved(given[grid.colour(n)], grid.step(n)) for n in numbers), 0)
            sums[numbers] = region.closed(total, _repeated(node.op))
        reached[node.name] = tuple(sums[numbers] for numbers in taken)
    return reduce(or_, set(reached[graph.output]))


def _repeated(op: ops.AnyOp) -> frozenset[Step]:
    """The steps that depth repeats: those of a convolution."""
    if not isinstance(op, ops.ImageOp):
        return frozenset()
    match op:
        case ops.Conv2d():
            return steps(op)
        case ops.Shift2d():
            return frozenset()
        case _:
            assert_never(op)


def _wander(graph: Graph, rows: int) -> int:
    """How far to the side the sum of the first layers' steps may be, of a shortest way to a place in the box.

    The layers as they are go W columns to the side at most; further steps up, with ρ = max |left|/up, go ρ·rows; and of
    steps within the row, of which those with a sum of 0 can be left out, the ones in one direction go 2Δ²/gcd, those in
    the other as far as the place is from there. A longer way to the side leads nowhere that a shorter one does not.
    """
    moves = {step for node in graph.nodes for step in _repeated(node.op)}
    widest = facts(graph).lookback[graph.output]
    slope = max((-(-abs(left) // up) for up, left in moves if up > 0), default=0)
    within = {left for up, left in moves if up == 0}
    both = 2 * max(map(abs, within)) ** 2 // gcd(*within) if within and min(within) < 0 < max(within) else 0
    return 3 * widest + 2 * slope * rows + both
