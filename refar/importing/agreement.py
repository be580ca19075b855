"""An imported graph held against what it was read from, by numbers: at many lengths, or sizes, with one and three sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from refar.arguments.arrays import Array
from refar.graph.graph import Graph
from refar.importing.ports import Port
from refar.importing.probes import Extent, called
from refar.importing.refusal import ImportRefused
from refar.importing.values import Labelled
from refar.oracle.functions import forward

LIMIT = 1e-9
"""The largest error of a channel that is allowed in float64, relative to the largest value of the channel."""


@dataclass(frozen=True)
class Found:
    """The graph, its parameters and what they are made from, the inputs in order, and the labels of the output.

    `noun` is what the model is called.
    """

    graph: Graph
    params: dict[str, Array]
    origins: Mapping[str, str]
    inputs: Sequence[Port]
    output: Labelled
    noun: str

    def fed(self, given: Sequence[Array]) -> dict[str, Array]:
        """Return arrays of the model's inputs as those of the graph, by name."""
        names = [node.name for node in self.graph.nodes if not node.inputs]
        return {name: port.as_refar(array) for name, port, array in zip(names, self.inputs, given, strict=True)}


@dataclass(frozen=True)
class Pair:
    """One length, or size of an image, and batch, with what the model was given, and the numbers that are drawn next."""

    extent: Extent
    batch: int
    given: Sequence[Array]
    rng: np.random.Generator

    def __str__(self) -> str:
        return f"{called(self.extent)}, batch {self.batch}"


class Answer(Protocol):
    """The output of one run of the model, and a comparison of more than that."""

    @property
    def y(self) -> Array:
        """The output in float64, with its own axes."""

    def beside(self, found: Found, pair: Pair) -> float:
        """Compare more than the output, and return how far that is apart, nan if nothing is. Raises ImportRefused if too far."""


@dataclass(frozen=True)
class Agreement:
    """The largest errors of the graph, relative to the largest value of each channel.

    `value` is that of the output in float64, `beside` that of what else was compared, gradients or float32, nan if nothing
    was. `checked` are the pairs (length, batch) that were compared, of images (rows, columns, batch).
    """

    value: float
    beside: float
    checked: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]


LARGEST_SIDE = 24
"""Images with more rows or columns than this are not compared."""


def extents(field: Extent, more: Sequence[Extent] = ()) -> list[Extent]:
    """List the extents at which a graph is compared, from small to large, for its receptive field.

    Of sequences lengths 1, 2, 3, odd and even ones below and above the field, and some `more`; of images a pixel, a row, a
    column, small ones, and ones that are not square above the field.
    """
    if len(field) == 1:
        (n,) = field
        lengths = {1, 2, 3, n // 2, n - 1, n, n + 1, n + 6, 2 * n + 7}  # a field of 0 is that of what reads nothing
        return sorted({*((length,) for length in lengths if length > 0), *more})
    rows, columns = (min(side + 1, LARGEST_SIDE) for side in field)
    twice = min(2 * rows, LARGEST_SIDE)  # where nothing is padded, windows of odd kernels reach as far down
    return sorted({(1, 1), (2, 3), (3, 2), (1, columns), (rows, 1), (twice, columns + 1), (twice + 1, columns + 2), *more})


def compare(found: Found, field: Extent, run: Callable[[Sequence[Array]], Answer], more: Sequence[Extent] = ()) -> Agreement:
    """Hold the graph against the model, which is `run`. Raises ImportRefused where they differ, naming the first place.

    At all `extents`, with 1 and 3 sequences.
    """
    checked, short = list[tuple[int, ...]](), list[Extent]()
    same: list[Array] = []
    said = ""
    worst, beside = 0.0, math.nan
    for extent in extents(field, more):
        for batch in (1, 3):
            rng = np.random.default_rng([*extent, batch])
            pair = Pair(extent, batch, [port.draw(rng, extent, batch) for port in found.inputs], rng)
            try:
                answer = run(pair.given)
            except Exception as error:  # the model is the user's; what it raises is said in the refusal
                said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
                if checked:
                    raise ImportRefused(f"the {found.noun} itself fails at {pair}: {said}") from error
                short.append(extent)
                break
            if answer.y.size and all(part.start < part.stop for part in window(found.output, extent)[1][2:]):
                same.append(_same_in_each_sequence(as_graph(answer.y, found.output)))
                worst = max(worst, _value(found, pair, answer.y))
                if any(field) or not np.all(same):  # where nothing is read, gradients are rounding alone; it is refused below
                    beside = float(np.fmax(beside, answer.beside(found, pair)))
                checked.append((*extent, batch))
    if len(checked) < 4:
        raise ImportRefused(f"the {found.noun} could not be compared at enough lengths: {said or 'it gave no values'}")
    at = [" x ".join(map(str, extent)) for extent in short]
    many = "lengths" if len(field) == 1 else "sizes"
    failed = (f"the {found.noun} itself fails at the {many} {', '.join(at)}: {said}",) if short else ()
    return Agreement(worst, beside, tuple(checked), (*failed, *_constant(np.all(same, axis=0), found.noun)))


def _same_in_each_sequence(y: Array) -> Array:
    """Whether a channel is the same in all sequences, so that no input changed it; true of a single one, which shows nothing."""
    return np.asarray((y == y[:1]).all(axis=all_but_channels(y)))


def all_but_channels(y: Array) -> tuple[int, ...]:
    """Return the axes of batch and positions."""
    return tuple(axis for axis in range(y.ndim) if axis != 1)


def _constant(constant: Array, noun: str) -> tuple[str, ...]:
    """Say which channels no input changed. Raises ImportRefused if that is true of all."""
    if constant.all():
        raise ImportRefused(
            f"with these weights the {noun}'s output is the same for every input that was tried, so that no comparison would "
            f"find a fault; give the {noun} with its trained weights"
        )
    which = ", ".join(map(str, np.flatnonzero(constant)))
    return (f"channels of the output that no input changed: {which}",) if constant.any() else ()


def as_graph(y: Array, output: Labelled) -> Array:
    """Return the output of the model with the axes of the graph: B, C, T, or B, C, H, W."""
    names = list(output.axes)
    y = y.reshape([n for n, axis in zip(y.shape, names, strict=True) if axis != "1"])
    names = [axis for axis in names if axis != "1"]
    channels = "KN" if "K" in names else "C"
    if "C" in channels and "C" not in names:
        y, names = y[..., None], [*names, "C"]
    y = y.transpose([names.index(axis) for axis in ("B", *channels, *output.spans)])
    y = y.reshape(len(y), -1, *y.shape[1 + len(channels) :])
    return y if output.order is None else y[:, list(output.order)]


def window(output: Labelled, extent: Extent) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return slices of all axes of a graph, of the model's output and of the graph's, that hold the same positions."""
    own, graphs = [slice(None)] * 2, [slice(None)] * 2
    for span, length in zip(output.spans.values(), extent, strict=True):
        first, last = max(0, span.first), length + min(0, span.end)
        own.append(slice(first - span.first, last - span.first))
        graphs.append(slice(first, last))
    return tuple(own), tuple(graphs)


def _value(found: Found, pair: Pair, y: Array) -> float:
    theirs, mine, start = side_by_side(found, pair, y, forward(found.graph, found.params, found.fed(pair.given)))
    return apart(found.noun, "output", theirs, mine, pair, start)


def side_by_side(found: Found, pair: Pair, y: Array, mine: Array) -> tuple[Array, Array, Extent]:
    """Return the model's output and the graph's, both cut to the positions that they share, and the first of these positions."""
    output = found.output
    theirs = as_graph(y, output)
    expected = tuple(n + span.end - span.first for n, span in zip(pair.extent, output.spans.values(), strict=True))
    if theirs.shape != (pair.batch, mine.shape[1], *expected):
        positions = " x ".join(map(str, expected))
        at = f"at {called(pair.extent)}, where {positions} positions follow"
        raise ImportRefused(f"the {found.noun}'s output has the shape {tuple(y.shape)} {at}")
    own, graphs = window(output, pair.extent)
    if output.image:
        return theirs[own], mine[graphs], tuple(part.start for part in graphs[2:])
    offset = pair.extent[0] - mine.shape[-1]  # of padding "valid", which drops the first
    start = max(0, graphs[2].start - offset)
    b = mine[..., start : graphs[2].stop - offset]
    a = theirs[own]
    return a[..., a.shape[-1] - b.shape[-1] :], b, (start + offset,)


def apart(noun: str, what: str, a: Array, b: Array, pair: Pair, start: Extent, least: float = 0.0) -> float:
    """Return the largest distance of a channel, as a part of its largest value, or of `least` if that is larger.

    Raises ImportRefused where it is above LIMIT.
    """
    if a.shape != b.shape:
        raise ImportRefused(f"{what}: the {noun} gives the shape {a.shape} and the graph {b.shape} at {called(pair.extent)}")
    if not a.size:
        return 0.0
    scale = np.maximum(np.abs(a).max(axis=all_but_channels(a), keepdims=True), max(least, np.finfo(float).tiny))
    ratio = np.nan_to_num(np.abs(a - b) / scale, nan=np.inf)
    worst = float(ratio.max())
    if worst > LIMIT:
        at = np.unravel_index(ratio.argmax(), ratio.shape)
        row, channel, *place = at
        positions = [n + first for n, first in zip(place, start, strict=True)]
        where = f"t = {positions[0]}" if len(positions) == 1 else f"row {positions[0]}, column {positions[1]}"
        raise ImportRefused(
            f"the graph that was found does not compute what the {noun} computes: {what} at {pair}, sequence {row}, channel "
            f"{channel}, {where}: the {noun} gives {a[at]:.6g}, the graph {b[at]:.6g}. Nothing is returned; this is a fault of "
            "the import, please report it"
        )
    return worst
