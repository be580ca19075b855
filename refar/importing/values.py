"""Values of a traced module with their labels: what each axis is, and at which position its first and its last index stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from refar.importing.refusal import ImportRefused, Place

Sizes = tuple[int, ...]
"""One number as it was in each of the runs in which a module was traced."""


@dataclass(frozen=True)
class Runs:
    """The lengths and batches of the runs: a number that is the same in all of them depends on neither."""

    places: Mapping[str, Sizes]
    """The sizes of the axes of positions: T of a sequence, H and W of an image."""
    batches: Sizes

    @property
    def each(self) -> list[tuple[Sizes, int]]:
        """The extent of the positions and the batch of each run."""
        return list(zip(zip(*self.places.values(), strict=True), self.batches, strict=True))

    def same(self, number: int) -> Sizes:
        """Return a number that depends on nothing."""
        return (number,) * len(self.batches)


@dataclass(frozen=True)
class Span:
    """Where one axis of a value stands: its index 0 at position `first`, its last index at N - 1 + `end` of N positions."""

    first: int = 0
    end: int = 0

    def padded(self, before: int, after: int) -> Span:
        """Return the span with so many positions more at both ends; negative numbers cut."""
        return Span(self.first - before, self.end + after)

    def moved(self, steps: int) -> Span:
        """Return the span of the same numbers, `steps` positions later."""
        return Span(self.first + steps, self.end + steps)


Spans = Mapping[str, Span]
"""The spans of a value, by the letter of the axis."""

Steps = Mapping[str, int]
"""By how many positions a value is moved, by the letter of the axis."""


@dataclass(frozen=True)
class Labelled:
    """What `node` computes, as the module holds it.

    `axes` are made of B, C, T or H and W, and of 1 for an axis of one element; "BT" are two axes that were merged. Where C was
    parted into two, they are K and N: channel k·N + c, with N = `inner`.
    `spans` say at which position the indices of T, H and W stand: index 0 of time holds what the node has at t = first, the last
    index what it has at t = T - 1 + end. So a value that is padded on the left has first < 0, and one of whole windows first > 0.
    Of what the module holds at t < 0, or of an image above, left and right of it: `zero` says that it
    is 0, as in a graph of padding "layer"; `response` that it is what the node gives for zeros, as in one of padding "input".
    `quiet` says that this answer is 0 too. `bare` says that the node is 0 at all t < first, also where first > 0.
    Channel j of an output's graph is the module's channel `order[j]`, if that is not j.
    Of class indices, index 0 and on hold those of `before`, and only then those of the node; they are looked up together.
    What is computed from conditions alone is `given`: it may look ahead.
    `later(steps)` makes the value anew so that its numbers stand so many positions later, and `place` is the call that made it.
    """

    node: str
    axes: tuple[str, ...]
    size: int
    spans: Spans = field(default_factory=lambda: {"T": Span()})
    zero: bool = True
    response: bool = True
    quiet: bool = True
    bare: bool = True
    indexed: bool = False
    timed: bool = True
    inner: int = 1
    given: bool = False
    order: tuple[int, ...] | None = None
    before: tuple[int, ...] = ()
    inputs: tuple[Labelled, ...] = field(default=(), compare=False, repr=False)
    later: Callable[[Steps], Labelled] | None = field(default=None, compare=False, repr=False)
    place: Place = field(default=Place(""), compare=False, repr=False)

    @property
    def atoms(self) -> str:
        """The axes, one letter each, merged ones apart."""
        return "".join(self.axes)

    @property
    def image(self) -> bool:
        """Whether the positions are those of an image."""
        return "W" in self.spans

    @property
    def first(self) -> int:
        """The time of index 0."""
        return self.spans["T"].first

    @property
    def end(self) -> int:
        """How many positions after the end of the sequence the last index stands."""
        return self.spans["T"].end

    @property
    def inside(self) -> bool:
        """Whether the module holds nothing at t < 0; of an image nothing above, left or right of it. What is below none reads."""
        return all(span.first >= 0 and (axis != "W" or span.end <= 0) for axis, span in self.spans.items())

    @property
    def zero_before(self) -> bool:
        """Whether all that the module holds at t < 0, or outside of the image, is 0."""
        return self.inside or self.zero

    @property
    def response_before(self) -> bool:
        """Whether all that the module holds there is the answer to zeros."""
        return self.inside or self.response

    @property
    def clear(self) -> bool:
        """Whether zeros put before the first index are what the node has there."""
        return self.bare or all(span.first <= 0 for span in self.spans.values())

    def spanning(self, **spans: Span) -> Labelled:
        """Return the same with other spans of some axes."""
        return replace(self, spans={**self.spans, **spans})


@dataclass(frozen=True)
class Constant:
    """Numbers that depend on nothing, and the names of the module's parameters and buffers that they are made from."""

    array: NDArray[Any]
    origins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Varying:
    """A whole number that differs between the runs."""

    sizes: Sizes


@dataclass(frozen=True)
class Filled:
    """A tensor of one number; its `sizes` may depend on the length and the batch."""

    number: float
    sizes: tuple[Sizes, ...]


@dataclass(frozen=True)
class Part:
    """Some positions of a value, as many at any length: of use for its `sizes` alone; what reads it is refused by `error`."""

    sizes: tuple[Sizes, ...]
    error: ImportRefused


@dataclass(frozen=True)
class StackedValues:
    """Values along a new axis at position `axis`, until it is summed or taken apart."""

    parts: tuple[Labelled, ...]
    axis: int


def size_of(value: Labelled, axis: str, runs: Runs) -> Sizes:
    """Return the size of one axis in each run."""
    sizes = runs.same(1)
    for atom in axis:
        match atom:
            case "B":
                more = runs.batches
            case "C":
                more = runs.same(value.size)
            case "K":
                more = runs.same(value.size // value.inner)
            case "N":
                more = runs.same(value.inner)
            case "T" | "H" | "W":
                span = value.spans[atom]
                more = tuple(n + span.end - span.first for n in runs.places[atom])
            case "1":
                more = runs.same(1)
            case _:
                raise AssertionError(f"an axis {atom!r}")
        sizes = tuple(a * b for a, b in zip(sizes, more, strict=True))
    return sizes


def shape(value: Labelled, runs: Runs) -> tuple[Sizes, ...]:
    """Return the sizes of all axes."""
    return tuple(size_of(value, axis, runs) for axis in value.axes)


Anything = Any
"""What a call may take and give: a Labelled, StackedValues, Filled, a constant array, a number, or a tuple of such."""
