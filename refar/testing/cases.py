"""Data that can see mistakes: generic numbers, small integers, lengths around the receptive field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from refar import ops
from refar.arrays import Array, Arrays
from refar.graph import Graph
from refar.infer import analyse, offsets, taps, transient
from refar.types import Type

SMALL = 128
"""Up to this reach whole sequences are cheap, and every law is run on several of them."""


@dataclass(frozen=True)
class Sizes:
    """Batch and lengths, distinct from each other and from the graph's channels, kernels and dilations where possible.

    `equal` is the receptive field with the present. `settled` is the first length with an output that feels neither end: the
    same, or more where a condition is shifted further than the sequence. `ahead`: how many positions the end is felt.
    """

    batch: int
    short: int
    equal: int
    settled: int
    long: int
    ahead: int

    @property
    def lengths(self) -> list[int]:
        """Shorter than the receptive field, equal to it, longer."""
        return sorted({self.short, self.equal, self.settled, self.long})


def sizes(graph: Graph) -> Sizes:
    """T < R, T = R and T > R, where R counts the present; for large R the last is only just larger, and the first small."""
    seen = {0, *offsets(graph)}
    reach = max(seen) - min(seen) + 1
    ahead = _ahead(graph)
    settled = max(reach, transient(graph) + 1 + ahead)
    types = analyse(graph).types.values()
    taken = {kind.size for kind in types}
    spans = {
        span
        for node in graph.nodes
        if isinstance(node.op, ops.Conv1d | ops.Pool1d)
        for span in (node.op.kernel, node.op.dilation)
    }
    small = settled <= SMALL

    def length(at_least: int, avoid: Sequence[int] = ()) -> int:
        fits = (t for t in range(at_least, at_least + 50) if t not in taken | {*avoid} and all(t % d for d in spans if d > 1))
        return next(fits, at_least)

    batch = 3 if small else 2
    short = length(max(2, reach // 2) if small else 13, (batch,))
    long = length(2 * settled + 5 if small else settled + 7, (batch, short))
    return Sizes(batch, short, max(2, reach), max(2, settled), long, ahead)


def _ahead(graph: Graph) -> int:
    """The longest path into the future, as `infer.transient` is the longest into the past."""
    felt: dict[str, int] = {}
    for node in graph.nodes:
        felt[node.name] = max((felt[name] for name in node.inputs), default=0) - min(0, *taps(node.op))
    return felt[graph.output]


def generic_parameters(graph: Graph, rng: np.random.Generator, *, alive: bool = False) -> Arrays:
    """Normal weights that keep the scale, and biases that are nowhere zero.

    With `alive` all are positive and small enough for tanh and σ not to saturate: then no relu is off and nothing cancels.
    """
    shapes = analyse(graph).parameters
    params: Arrays = {}
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:])) if name.endswith(".weight") and len(shape) == 3 else 1
        if alive:
            params[name] = rng.uniform(0.5, 1.5, shape) / fan_in * (1 if name.endswith(".weight") else 0.2)
        else:
            sign = rng.choice((-1, 1), shape)
            params[name] = rng.normal(size=shape) / np.sqrt(fan_in) if len(shape) > 1 else sign * rng.uniform(0.1, 0.5, shape)
    return params


def generic_inputs(graph: Graph, rng: np.random.Generator, batch: int, length: int) -> Arrays:
    """Uniform classes and normal signals that float32 holds exactly; {node: array}, sequence first."""
    found = analyse(graph)
    return {name: generic_array(found.types[name], rng, batch, length) for name in (found.sequence, *found.conditions)}


def generic_array(kind: Type, rng: np.random.Generator, batch: int, length: int) -> Array:
    """One input."""
    time = (length,) if kind.timed else ()
    if kind.indexed:
        return rng.integers(0, kind.size, (batch, *time))
    return rng.normal(size=(batch, kind.size, *time)).astype(np.float32).astype(np.float64)


def other_values(kind: Type, x: Array, rng: np.random.Generator) -> Array:
    """Values that differ from x everywhere."""
    if kind.indexed:
        return (x + rng.integers(1, kind.size, x.shape)) % kind.size
    return x + rng.choice((-1, 1), x.shape) * rng.uniform(0.5, 2, x.shape)


def integer_inputs(graph: Graph, rng: np.random.Generator, batch: int, length: int, largest: int) -> Arrays:
    """Classes, small ones where there are many, and signals of integers up to `largest` in magnitude, some of them zero."""
    found = analyse(graph)
    inputs: Arrays = {}
    for name in (found.sequence, *found.conditions):
        kind = found.types[name]
        if kind.indexed:
            few = Type(min(kind.size, 9), True, kind.timed)
            inputs[name] = generic_array(few, rng, batch, length)
        else:
            shape = (batch, kind.size, length) if kind.timed else (batch, kind.size)
            signal = rng.integers(-largest, largest + 1, shape).astype(np.float64)
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
