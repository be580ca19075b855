"""The inputs of a model: which axis is which, at any length and batch; and how they are fed to a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.errors import check_integer
from refar.importing.probes import Extent
from refar.importing.refusal import ImportRefused

PortType = TypeVar("PortType", bound="Port")
Role = Literal["sequence", "global", "local"]

_POSSIBLE = {True: ("BT", "B", "BHW", "BCHW"), False: ("BCT", "BT", "BC", "BHW", "BCHW")}
_PLACES = {1: "T", 2: "HW"}
"""The axes of positions, by how many there are."""


def places_of(extent: Extent) -> dict[str, int]:
    """Return the axes of positions with their lengths."""
    return dict(zip(_PLACES[len(extent)], extent, strict=True))


@dataclass(frozen=True)
class Port:
    """One input of a model: its axes in order, of B, C, T or H and W, and 1; how many channels, and how many classes if any.

    A `start` is the class that the model is given in front of the sequence, whose last is left out; the graph is not given it.
    """

    name: str
    role: Role
    axes: tuple[str, ...]
    channels: int
    classes: int
    start: int | None = field(default=None, kw_only=True)

    @property
    def op(self) -> ops.Input:
        """The input of the graph."""
        if self.image:
            return ops.Input(self.role, classes=self.classes, channels=self.channels, axes="hw")
        return ops.Input(self.role, classes=self.classes) if self.classes else ops.Input(self.role, channels=self.channels)

    @property
    def image(self) -> bool:
        """Whether it lies over an image."""
        return "W" in self.axes

    @property
    def places(self) -> tuple[str, ...]:
        """The axes of positions, in the order of a graph's."""
        return tuple(axis for axis in "THW" if axis in self.axes)

    def draw(self, rng: np.random.Generator, extent: Extent, batch: int) -> Array:
        """Draw numbers of this input: classes, or normal ones in float64."""
        known = {"B": batch, "C": self.channels, "1": 1, **places_of(extent)}
        sizes = [known[axis] for axis in self.axes]
        return rng.integers(self.classes, size=sizes) if self.classes else rng.standard_normal(sizes)

    def as_model(self, array: Array) -> Array:
        """Return numbers of the graph's input as the model is given them: behind the start."""
        if self.start is None:
            return array
        at = self.axes.index("T")
        first = np.full_like(array.take([0], axis=at), self.start)
        return np.concatenate([first, array.take(range(array.shape[at] - 1), axis=at)], axis=at)

    def as_refar(self, array: Array) -> Array:
        """The same numbers with the axes of a graph's input: x_bt, x_bct, x_bchw, c_b or c_bc."""
        wanted = ["B", *([] if self.classes and not self.image else ["C"]), *self.places]
        names = list(self.axes)
        for axis in [axis for axis in wanted if axis not in names]:
            array, names = array[..., None], [*names, axis]
        array = array.transpose([names.index(a) for a in wanted] + [i for i, a in enumerate(names) if a not in wanted])
        return array.reshape(array.shape[: len(wanted)])


def port_of(name: str, shape: Sequence[int], indexed: bool, named: str, role: Role | None, count: int | None) -> Port:
    """Return an input whose axes are `named`, a letter each; without a role it is a condition. `count` is that of its classes."""
    if len(named) != len(shape) or sorted(named.replace("1", "")) not in [sorted(letters) for letters in _POSSIBLE[indexed]]:
        expected = "B and T of class indices, or B, C, H and W of images" if indexed else "B, C and T, or B, C, H and W of images"
        raise ImportRefused(f"axes: {name}: expected a letter for each of {len(shape)} axes, of {expected}, got {named!r}")
    over = {"T", "H"} & set(named)
    if role is None:
        role = "local" if over else "global"
    if not over and role == "sequence":
        raise ImportRefused(f"axes: {name}: expected T, the axis of time, or H and W in the sequence, got {named!r}")
    channels = shape[named.index("C")] if "C" in named else 1
    if indexed and count is None:
        raise ImportRefused(f"classes: {name} holds whole numbers; say how many classes there are: classes={{'{name}': 256}}")
    return Port(name, role, tuple(named), 0 if indexed and "H" not in over else channels, count or 0 if indexed else 0)


def started(port: PortType, start: int | None) -> PortType:
    """Return the port of a sequence with a start token. Raises ImportRefused for a sequence that is none of class indices."""
    if start is None:
        return port
    if port.image:
        raise ImportRefused(f"start_token stands in front of a sequence, and {port.name!r} is an image; leave it out")
    if not port.classes:
        raise ImportRefused(f"start_token stands in front of class indices, and {port.name!r} holds a signal; leave it out")
    return replace(port, start=check_integer("start_token", start, 0))
