"""Axes of values: moved, added, taken away, merged and parted again; the node underneath stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from refar.importing.refusal import Place, refuse
from refar.importing.values import Labelled, Runs, Sizes, Span, Varying, shape, size_of

NAMES = {"T": "time", "H": "rows", "W": "columns"}
"""The name of each axis of positions, for messages."""


def sizes_of(number: int | Varying, runs: Runs) -> Sizes:
    """Return a number as it is in each run."""
    return number.sizes if isinstance(number, Varying) else runs.same(number)


def position(value: Labelled, dim: int, *, new: bool = False) -> int:
    """Return an axis that may be counted from the end as one counted from the start."""
    return dim % (len(value.axes) + new)


def permuted(value: Labelled, order: Sequence[int]) -> Labelled:
    """Return the axes in another order."""
    return replace(value, axes=tuple(value.axes[position(value, i)] for i in order))


def transposed(value: Labelled, one: int, other: int) -> Labelled:
    """Exchange two axes."""
    order = list(range(len(value.axes)))
    a, b = position(value, one), position(value, other)
    order[a], order[b] = order[b], order[a]
    return permuted(value, order)


def unsqueezed(value: Labelled, dim: int) -> Labelled:
    """Put in an axis of one element: the channels of a signal that has none yet."""
    at = position(value, dim, new=True)
    name = "1" if value.indexed or {"C", "K"} & set(value.atoms) else "C"
    return replace(value, axes=(*value.axes[:at], name, *value.axes[at:]))


def squeezed(value: Labelled, dims: Sequence[int], runs: Runs, place: Place) -> Labelled:
    """Take away those of the axes that have one element."""
    gone = {position(value, dim) for dim in dims}
    for i in gone:
        if value.axes[i] not in ("1", "C"):
            raise refuse(place, f"an axis of positions or sequences is squeezed ({value.axes[i]})")
    single = runs.same(1)
    kept = tuple(a for i, a in enumerate(value.axes) if i not in gone or size_of(value, a, runs) != single)
    return replace(value, axes=kept)


def reshaped(value: Labelled, target: Sequence[int | Varying], runs: Runs, place: Place) -> Labelled:
    """Return the value with other sizes, where axes are merged, parted again, or of one element; else it is refused."""
    wanted = [sizes_of(number, runs) for number in target]
    whole = _product([*shape(value, runs)], runs)
    if runs.same(-1) in wanted:
        others = _product([w for w in wanted if w != runs.same(-1)], runs)
        wanted[wanted.index(runs.same(-1))] = tuple(a // b for a, b in zip(whole, others, strict=True))
    single = runs.same(1)
    atoms = [atom for atom in value.atoms if size_of(value, atom, runs) != single]
    axes: list[str] = []
    for number in wanted:
        axis, size = "", single
        while size != number and atoms:
            if atoms[0] == "C" and axis == "" and _parts(value.size, number, runs):
                value, atoms[:1] = replace(value, inner=value.size // number[0]), ["K", "N"]
            axis += atoms.pop(0)
            size = size_of(value, axis, runs)
        if size != number:
            raise refuse(
                place, f"a reshape that parts or mixes the axes {', '.join(value.axes)}", "split and concatenate channels"
            )
        axes.append(axis or "1")
    if atoms:
        raise refuse(place, f"a reshape that parts or mixes the axes {', '.join(value.axes)}", "split and concatenate channels")
    if not value.indexed and not {"C", "K"} & set("".join(axes)) and "1" in axes:
        axes[_of_channels(value, axes)] = "C"
    return rejoined(replace(value, axes=tuple(axes)))


def _parts(size: int, number: Sizes, runs: Runs) -> bool:
    """Whether channels can be parted into so many groups of equally many."""
    return number == runs.same(number[0]) and 1 < number[0] < size and size % number[0] == 0


def rejoined(value: Labelled) -> Labelled:
    """Return channels that were parted and lie one after the other again as the channels that they were."""
    if "KN" not in value.axes:
        return value
    return replace(value, axes=tuple("C" if axis == "KN" else axis for axis in value.axes), inner=1)


def _of_channels(value: Labelled, axes: list[str]) -> int:
    """Of the axes of one element the one that is the single channel: where the channels were, if it is one of them."""
    where = value.axes.index("C") if "C" in value.axes else -1
    return where if 0 <= where < len(axes) and axes[where] == "1" else axes.index("1")


def _product(factors: list[Sizes], runs: Runs) -> Sizes:
    product = runs.same(1)
    for factor in factors:
        product = tuple(a * b for a, b in zip(product, factor, strict=True))
    return product


def expanded(value: Labelled, target: Sequence[int | Varying], runs: Runs, place: Place) -> Labelled:
    """Repeat axes of one element; a value that does not change over time may be repeated over it."""
    wanted = [sizes_of(number, runs) for number in target]
    axes = ["1"] * (len(wanted) - len(value.axes)) + list(value.axes)
    keep, single = runs.same(-1), runs.same(1)
    for i, (axis, number) in enumerate(zip(axes, wanted, strict=True)):
        size = size_of(value, axis, runs)
        if number in (keep, size):
            continue
        if size != single or axis != "1" or value.timed or number == runs.same(number[0]):
            raise refuse(place, f"axis {i} is repeated from {size[0]} to {number[0]}", "only a global condition is, over time")
        axes[i], more = _place_of(number, runs, place)
        value = value.spanning(**{axes[i]: Span(0, more)})
    return replace(value, axes=tuple(axes))


def _place_of(number: Sizes, runs: Runs, place: Place) -> tuple[str, int]:
    """Return the axis of positions that a size moves with, and by how much it is larger."""
    for axis, sizes in runs.places.items():
        more = {n - size for n, size in zip(number, sizes, strict=True)}
        if len(more) == 1:
            return axis, more.pop()
    raise refuse(place, "a value is repeated over a length that is not that of the sequence")


def lengths(
    value: Labelled, axis: str, place: Place, start: int | Varying | None, stop: int | Varying | None, runs: Runs
) -> tuple[int, int]:
    """Return how many positions a slice of one axis drops at its start and at its end."""
    sizes = size_of(value, axis, runs)
    low = _clipped(sizes_of(0 if start is None else start, runs), sizes)
    high = sizes if stop is None else _clipped(sizes_of(stop, runs), sizes)
    before, after = set(low), {size - n for size, n in zip(sizes, high, strict=True)}
    if len(before) > 1 or len(after) > 1:
        what = f"a slice of {NAMES[axis]} whose ends do not move with the length"
        raise refuse(place, what, "cut a fixed number at either end")
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise refuse(place, f"a slice of {NAMES[axis]} that is empty", "give a longer example")
    return before.pop(), after.pop()


def cut(value: Labelled, axis: str, start: int | Varying | None, stop: int | Varying | None, runs: Runs) -> tuple[Sizes, ...]:
    """Return the sizes of a slice of one axis, whatever its ends."""
    sizes = size_of(value, axis, runs)
    low = _clipped(sizes_of(0 if start is None else start, runs), sizes)
    high = sizes if stop is None else _clipped(sizes_of(stop, runs), sizes)
    left = tuple(max(0, b - a) for a, b in zip(low, high, strict=True))
    return tuple(left if other == axis else size_of(value, other, runs) for other in value.axes)


def _clipped(numbers: Sizes, sizes: Sizes) -> Sizes:
    return tuple(max(0, n + size) if n < 0 else min(n, size) for n, size in zip(numbers, sizes, strict=True))


def repeated(value: Labelled, counts: Sequence[int | Varying], runs: Runs, place: Place) -> Labelled:
    """Repeat axes of one element as `expanded` does; an axis that is repeated once keeps its size."""
    single, keep = runs.same(1), -1
    return expanded(value, [keep if sizes_of(n, runs) == single else n for n in counts], runs, place)
