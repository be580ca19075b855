"""Values of a traced module with their labels: what each axis is, and at which time the first and the last index stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from refar.importing.refusal import ImportRefused, Place

Sizes = tuple[int, ...]
"""One number as it was in each of the runs in which a module was traced."""


@dataclass(frozen=True)
class Runs:
    """The lengths and batches of the runs: a number that is the same in all of them depends on neither."""

    lengths: Sizes
    batches: Sizes

    def same(self, number: int) -> Sizes:
        """Return a number that depends on nothing."""
        return (number,) * len(self.lengths)


@dataclass(frozen=True)
class Labelled:
    """What `node` computes, as the module holds it.

    `axes` are made of B, C, T, and of 1 for an axis of one element; "BT" are two axes that were merged.
    Index 0 of time holds what the node has at t = `first`, the last index what it has at t = T - 1 + `end`. So a value that is
    padded on the left has first < 0, and one of whole windows first > 0. Of what the module holds at t < 0: `zero` says that it
    is 0, as in a graph of padding "layer"; `response` that it is what the node gives for zeros, as in one of padding "input".
    `quiet` says that this answer is 0 too. `bare` says that the node is 0 at all t < first, also where first > 0.
    Of class indices, index 0 and on hold those of `before`, and only then those of the node; they are looked up together.
    `again(*inputs)` makes the value anew from other inputs, and `place` is the call that made it.
    """

    node: str
    axes: tuple[str, ...]
    size: int
    first: int = 0
    end: int = 0
    zero: bool = True
    response: bool = True
    quiet: bool = True
    bare: bool = True
    indexed: bool = False
    timed: bool = True
    before: tuple[int, ...] = ()
    inputs: tuple[Labelled, ...] = field(default=(), compare=False, repr=False)
    again: Callable[..., Labelled] | None = field(default=None, compare=False, repr=False)
    place: Place = field(default=Place(""), compare=False, repr=False)

    @property
    def atoms(self) -> str:
        """The axes, one letter each, merged ones apart."""
        return "".join(self.axes)

    @property
    def zero_before(self) -> bool:
        """Whether all that the module holds at t < 0 is 0."""
        return self.first >= 0 or self.zero

    @property
    def response_before(self) -> bool:
        """Whether all that the module holds at t < 0 is the answer to zeros."""
        return self.first >= 0 or self.response

    @property
    def clear(self) -> bool:
        """Whether zeros put before the first index are what the node has there."""
        return self.first <= 0 or self.bare


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
            case "T":
                more = tuple(n + value.end - value.first for n in runs.lengths)
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
