"""An imported graph held against what it was read from, by numbers: at many lengths, with one sequence and with three."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from refar.arguments.arrays import Array
from refar.graph.graph import Graph
from refar.importing.ports import Port
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
    """One length and batch, with the arrays that the model was given, and the numbers that are drawn next."""

    length: int
    batch: int
    given: Sequence[Array]
    rng: np.random.Generator


class Answer(Protocol):
    """The output of one run of the model, and a comparison of more than that."""

    @property
    def y(self) -> Array:
        """The output in float64, with its own axes."""

    def beside(self, found: Found, pair: Pair) -> float:
        """Compare more than the output, and return how far that is apart. Raises ImportRefused if it is too far."""


@dataclass(frozen=True)
class Agreement:
    """The largest errors of the graph, relative to the largest value of each channel.

    `value` is that of the output in float64, `beside` that of what else was compared, gradients or float32. `checked` are the
    pairs (length, batch) that were compared.
    """

    value: float
    beside: float
    checked: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]


def compare(found: Found, field: int, run: Callable[[Sequence[Array]], Answer], more: Sequence[int] = ()) -> Agreement:
    """Hold the graph against the model, which is `run`. Raises ImportRefused where they differ, naming the first place.

    At lengths 1, 2, 3, odd and even ones below and above the receptive field, and some `more`, with 1 and 3 sequences.
    """
    around = {field // 2, field - 1, field, field + 1, field + 6, 2 * field + 7}  # a field of 0 is that of what reads nothing
    lengths = sorted({1, 2, 3, *(length for length in around if length > 0), *more})
    checked, short = list[tuple[int, int]](), list[int]()
    same: list[Array] = []
    said = ""
    worst = beside = 0.0
    for length in lengths:
        for batch in (1, 3):
            rng = np.random.default_rng([length, batch])
            pair = Pair(length, batch, [port.draw(rng, length, batch) for port in found.inputs], rng)
            try:
                answer = run(pair.given)
            except Exception as error:  # the model is the user's; what it raises is said in the refusal
                said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
                if checked:
                    raise ImportRefused(f"the {found.noun} itself fails at length {length}, batch {batch}: {said}") from error
                short.append(length)
                break
            if answer.y.size and length + found.output.end > found.output.first:
                same.append(_same_in_each_sequence(as_bct(answer.y, found.output)))
                worst = max(worst, _value(found, pair, answer.y))
                if field or not np.all(same):  # where nothing is read, gradients are rounding alone; it is refused below
                    beside = max(beside, answer.beside(found, pair))
                checked.append((length, batch))
    if len(checked) < 4:
        raise ImportRefused(f"the {found.noun} could not be compared at enough lengths: {said or 'it gave no values'}")
    failed = (f"the {found.noun} itself fails at the lengths {', '.join(map(str, short))}: {said}",) if short else ()
    return Agreement(worst, beside, tuple(checked), (*failed, *_constant(np.all(same, axis=0), found.noun)))


def _same_in_each_sequence(y_bct: Array) -> Array:
    """Whether a channel is the same in all sequences, so that no input changed it; true of a single one, which shows nothing."""
    return np.asarray((y_bct == y_bct[:1]).all(axis=(0, 2)))


def _constant(constant: Array, noun: str) -> tuple[str, ...]:
    """Say which channels no input changed. Raises ImportRefused if that is true of all."""
    if constant.all():
        raise ImportRefused(
            f"with these weights the {noun}'s output is the same for every input that was tried, so that no comparison would "
            f"find a fault; give the {noun} with its trained weights"
        )
    which = ", ".join(map(str, np.flatnonzero(constant)))
    return (f"channels of the output that no input changed: {which}",) if constant.any() else ()


def as_bct(y: Array, output: Labelled) -> Array:
    """Return the output of the model with axes B, C, T: a view."""
    names = list(output.axes)
    y = y.reshape([n for n, axis in zip(y.shape, names, strict=True) if axis != "1"])
    names = [axis for axis in names if axis != "1"]
    if "C" not in names:
        y, names = y[..., None], [*names, "C"]
    return y.transpose([names.index(axis) for axis in "BCT"])


def window(output: Labelled, length: int) -> tuple[slice, slice]:
    """Return two slices of time, one of the model's output and one of the graph's, that hold the same positions."""
    first, last = max(0, output.first), length + min(0, output.end)
    return slice(first - output.first, last - output.first), slice(first, last)


def _value(found: Found, pair: Pair, y: Array) -> float:
    theirs, mine, start = side_by_side(found, pair, y, forward(found.graph, found.params, found.fed(pair.given)))
    return apart(found.noun, "output", theirs, mine, pair, start)


def side_by_side(found: Found, pair: Pair, y: Array, mine: Array) -> tuple[Array, Array, int]:
    """Return the model's output and the graph's, both cut to the positions that they share, and the first of these positions."""
    output, length = found.output, pair.length
    theirs = as_bct(y, output)
    expected = length + output.end - output.first
    if theirs.shape != (pair.batch, mine.shape[1], expected):
        raise ImportRefused(
            f"the {found.noun}'s output has the shape {tuple(y.shape)} at length {length}, where {expected} positions follow"
        )
    own, graphs = window(output, length)
    offset = length - mine.shape[-1]  # of padding "valid", which drops the first
    start = max(0, graphs.start - offset)
    b = mine[..., start : graphs.stop - offset]
    a = theirs[..., own]
    return a[..., a.shape[-1] - b.shape[-1] :], b, start + offset


def apart(noun: str, what: str, a: Array, b: Array, pair: Pair, start: int, least: float = 0.0) -> float:
    """Return the largest distance of a channel, as a part of its largest value, or of `least` if that is larger.

    Raises ImportRefused where it is above LIMIT.
    """
    if a.shape != b.shape:
        raise ImportRefused(f"{what}: the {noun} gives the shape {a.shape} and the graph {b.shape} at length {pair.length}")
    if not a.size:
        return 0.0
    scale = np.maximum(np.abs(a).max(axis=(0, 2), keepdims=True), max(least, np.finfo(float).tiny))
    ratio = np.nan_to_num(np.abs(a - b) / scale, nan=np.inf)
    worst = float(ratio.max())
    if worst > LIMIT:
        row, channel, at = np.unravel_index(ratio.argmax(), ratio.shape)
        raise ImportRefused(
            f"the graph that was found does not compute what the {noun} computes: {what} at length {pair.length}, batch "
            f"{pair.batch}, sequence {row}, channel {channel}, t = {at + start}: the {noun} gives {a[row, channel, at]:.6g}, "
            f"the graph {b[row, channel, at]:.6g}. Nothing is returned; this is a fault of the import, please report it"
        )
    return worst
