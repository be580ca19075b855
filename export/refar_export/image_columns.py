"""Read the inputs and the state of a pixel graph, for one visit or for n visits in a row. The network itself is the same in both.

Values are rows (R, C): R = B at one visit, R = n·B at several, the visits one after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from refar.analysis.image_slots import ImageSlots
from refar.runtime.bundle import OUTPUT
from refar_export import lower
from refar_export.emitter import Emitter


class Columns(ABC):
    """Read and write the ports of a pixel graph."""

    def __init__(self, e: Emitter, slots: ImageSlots) -> None:
        self.e, self.slots = e, slots
        self.kept: dict[object, str] = {}  # what is emitted once and used again

    @abstractmethod
    def sequence(self) -> str:
        """Return the pixels, (R, C)."""

    @abstractmethod
    def line(self) -> str:
        """Return what the row graph says of these visits, (R, C)."""

    @abstractmethod
    def constant(self, port: str) -> str:
        """Return a constant (B, C) for every row, (R, C)."""

    @abstractmethod
    def earlier(self, name: str, age: int) -> str:
        """Return the value of a stored node `age` ≥ 1 visits earlier, (R, C)."""

    @abstractmethod
    def is_at(self, offset: int, port: str) -> str:
        """Return whether visit + `offset` is the number in a port or initialiser, in a shape that broadcasts to (R, C)."""

    @abstractmethod
    def write(self, value: str) -> None:
        """Put the stored nodes, (R, channels), into their slots: emit `present.pixels`."""

    @abstractmethod
    def result(self, value: str, channels: int) -> None:
        """Emit the output."""

    def is_before(self) -> str:
        """Return whether the visit is the one before the first pixel."""
        if "before" not in self.kept:
            self.kept["before"] = self.is_at(0, self.e.constant(-1))
        return self.kept["before"]

    def is_last(self) -> str:
        """Return whether the visit is the last of the row, at which nodes of lead 1 lie right of the image."""
        if "last" not in self.kept:
            self.kept["last"] = self.is_at(1, "width")
        return self.kept["last"]


class OneColumn(Columns):
    """Make a single visit: `x` (B, C), one Gather for each age at which something is read."""

    def sequence(self) -> str:
        """Return the pixel, (B, C): the port itself."""
        return self.slots.sequence

    def line(self) -> str:
        """Take entry s + 1."""
        return self.e.emit("Gather", "line", self._shifted(1), axis=0)

    def constant(self, port: str) -> str:
        """Return it as it is."""
        return port

    def earlier(self, name: str, age: int) -> str:
        """Take it out of slot P + 1 + s - age, which is cut into the nodes that some tap reads so early: the first ones."""
        if (name, age) not in self.kept:
            found = self.e.emit("Gather", "past.pixels", self._shifted(self.slots.past + 1 - age), axis=0)
            for each, value in _nodes(self.e, self.slots, found, age, axis=1).items():
                self.kept[each, age] = value
        return self.kept[name, age]

    def is_at(self, offset: int, port: str) -> str:
        """Return one Boolean, ()."""
        return self.e.emit("Equal", self._shifted(offset), port)

    def write(self, value: str) -> None:
        """Emit one ScatterND, into slot P + 1 + s: the sum with a vector (1,) is an index, of which the update is (B, C)."""
        slot = self.e.emit("Add", "column", self.e.constant([self.slots.past + 1]))
        self.e.emit("ScatterND", "past.pixels", slot, value, outputs=["present.pixels"])

    def result(self, value: str, channels: int) -> None:
        """Emit the output (B, C), which must not be an input itself."""
        self.e.emit("Identity", value, outputs=[OUTPUT])

    def _shifted(self, offset: int) -> str:
        return self.e.emit("Add", "column", self.e.constant(offset)) if offset else "column"


class ManyColumns(Columns):
    """Make any number n ≥ 1 of visits, from `column` on: `x` (n, B, C). What lies before them is gathered at once."""

    def sequence(self) -> str:
        """Return the pixels, one visit after the other."""
        return self._rows(self.slots.sequence, self.e.types[self.slots.sequence].channels)

    def line(self) -> str:
        """Take entries s + 1 … s + n."""
        return self._rows(self.e.emit("Gather", "line", self._shifted(1), axis=0), self.slots.line_channels)

    def constant(self, port: str) -> str:
        """Repeat it for every visit."""
        channels = self.e.types[port.removeprefix("fixed.")].channels
        target = self.e.emit("Concat", self._count(), self.e.constant([1, 1]), axis=0)
        return self._rows(self.e.emit("Expand", port, target), channels)

    def earlier(self, name: str, age: int) -> str:
        """Take it out of what lies before these visits and their own values, one after the other, (oldest + n, B, C)."""
        if (name, age) not in self.kept:
            if name not in self.kept:
                self.kept[name] = self._history(name)
            oldest = self.slots.oldest[name]
            bounds = self.e.constant([oldest - age]), self.e.constant([-age]), self.e.constant([0])
            self.kept[name, age] = self._rows(self.e.emit("Slice", self.kept[name], *bounds), self.e.types[name].channels)
        return self.kept[name, age]

    def is_at(self, offset: int, port: str) -> str:
        """Return a Boolean for each row, (R, 1)."""
        marks = self.e.emit("Unsqueeze", self.e.emit("Equal", self._shifted(offset), port), self.e.constant([1]))
        target = self.e.emit("Concat", self._count(), self._batch(), axis=0)
        return self.e.emit("Reshape", self.e.emit("Expand", marks, target), self.e.constant([-1, 1]))

    def write(self, value: str) -> None:
        """Emit one ScatterND, into slots P + 1 + s … P + s + n."""
        slots = self.e.emit("Unsqueeze", self._shifted(self.slots.past + 1), self.e.constant([1]))
        update_nbc = self._by_visit(value, self.slots.stored_channels)
        self.e.emit("ScatterND", "past.pixels", slots, update_nbc, outputs=["present.pixels"])

    def result(self, value: str, channels: int) -> None:
        """Emit the output (n, B, C)."""
        target = self.e.emit("Concat", self.e.constant([-1]), self._batch(), self.e.constant([channels]), axis=0)
        self.e.emit("Reshape", value, target, outputs=[OUTPUT])

    def _history(self, name: str) -> str:
        """Join a node's last values before these visits and its values at them, (oldest + n, B, C)."""
        if "past" not in self.kept:
            before = self.e.emit("Add", "column", self.e.constant(np.arange(1, self.slots.past + 1)))
            self.kept["past"] = self.e.emit("Gather", "past.pixels", before, axis=0)
            for each, value in _nodes(self.e, self.slots, self.kept["past"], 1, axis=2).items():
                self.kept["past", each] = value
        before, unread = self.kept["past", name], self.slots.past - self.slots.oldest[name]
        if unread:
            bounds = self.e.constant([unread]), self.e.constant([lower.LAST]), self.e.constant([0])
            before = self.e.emit("Slice", before, *bounds)
        return self.e.emit("Concat", before, self._by_visit(self.e.values[name], self.e.types[name].channels), axis=0)

    def _rows(self, value: str, channels: int) -> str:
        return self.e.emit("Reshape", value, self.e.constant([-1, channels]))

    def _by_visit(self, value: str, channels: int) -> str:
        target = self.e.emit("Concat", self.e.constant([-1]), self._batch(), self.e.constant([channels]), axis=0)
        return self.e.emit("Reshape", value, target)

    def _shifted(self, offset: int) -> str:
        """Return the numbers of the visits, plus `offset`: (n,)."""
        if ("visits", offset) not in self.kept:
            count = self.e.emit("Squeeze", self._count(), self.e.constant([0]))
            steps = self.e.emit("Range", self.e.constant(0), count, self.e.constant(1))
            first = self.e.emit("Add", "column", self.e.constant(offset))
            self.kept["visits", offset] = self.e.emit("Add", first, steps)
        return self.kept["visits", offset]

    def _count(self) -> str:
        return self._size("count", 0)

    def _batch(self) -> str:
        return self._size("batch", 1)

    def _size(self, key: str, axis: int) -> str:
        if key not in self.kept:
            self.kept[key] = self.e.emit("Shape", self.slots.sequence, start=axis, end=axis + 1)
        return self.kept[key]


def cut(e: Emitter, value: str, sizes: Sequence[int], axis: int) -> list[str]:
    """Cut a value into pieces along an axis."""
    if len(sizes) == 1:
        return [value]
    pieces = [e.fresh() for _ in sizes]
    e.emit("Split", value, e.constant(list(sizes)), outputs=pieces, axis=axis)
    return pieces


def joined(e: Emitter, values: Sequence[str], axis: int) -> str:
    """Put values one after the other along an axis."""
    return values[0] if len(values) == 1 else e.emit("Concat", *values, axis=axis)


def _nodes(e: Emitter, slots: ImageSlots, value: str, age: int, axis: int) -> dict[str, str]:
    """Cut out the stored nodes that some tap reads `age` visits later or more: they come first, the others stay in one piece."""
    read = [name for name, oldest in slots.oldest.items() if oldest >= age]
    sizes = [len(slots.pixels[name]) for name in read]
    rest = slots.stored_channels - sum(sizes)
    return dict(zip(read, cut(e, value, [*sizes, *[rest] * bool(rest)], axis), strict=False))
