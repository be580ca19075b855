"""Reads of the slots of each node in T visits, and the new rows behind them.

At clock c a tap of age a reads the values of the visits c - a … c - a + T - 1; those from visit c on are new. If a node is read
at the ages a_1 > a_2 > … > a_K, and a_{K+1} = 0, the first min(T, a_k - a_{k+1}) rows of each age are gathered. After them come
the rows that are gathered of the next age, or the new ones. So the gathered rows with the new ones behind them hold each value
once, oldest first, and what a tap reads is T of them in one piece.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from refar import ops
from refar.analysis.slots import Slots, StateLayout
from refar.graph.graph import Node
from refar.runtime.bundle import PAST
from refar_export import lower
from refar_export.emitter import Emitter
from refar_export.lower import LAST
from refar_export.rows import together
from refar_export.visit_graphs import slots_at, split, timed

SIDE_BY_SIDE = 4
"""Taps of a convolution that are products of rows. A longer one may be a Conv over time: so many copies cost more."""

SHORT = 64
"""If no two neighbouring ages of a node lie further apart, all rows since the oldest are gathered: they are few."""

Amount = tuple[tuple[int, int], ...]
"""A number of visits that follows from T: (n, times) for each min(T, n) in a sum. min(T, 1) is 1, and min(T, LAST) is T."""


@dataclass(frozen=True)
class BlockVisits:
    """The names of numbers, (1): `clock`, `length` T and `batch` B; and `each`, 0 … T - 1."""

    clock: str
    length: str
    batch: str
    each: str


@dataclass(frozen=True)
class NodeReads:
    """Name the values of a node that taps read, by `ages` above 0, oldest first. A `dense` one is read by a Conv over time."""

    slots: Slots
    ages: tuple[int, ...]
    dense: bool

    @property
    def gaps(self) -> list[int]:
        """List the visits from each age to the next; from the last to the new values."""
        return [age - after for age, after in zip(self.ages, (*self.ages[1:], 0), strict=True)]

    @property
    def whole(self) -> bool:
        """Whether every value since the oldest age is gathered, whatever T is."""
        return self.dense or max(self.gaps) <= SHORT

    def gathered(self, until: int | None = None) -> Amount:
        """Count the visits that are gathered before those of the age number `until`; without it, of all ages."""
        if self.whole:
            return _amount({1: self.ages[0] - (0 if until is None else self.ages[until])})
        return _amount(Counter(self.gaps[:until]))

    @property
    def windows(self) -> list[tuple[Amount, Amount]]:
        """Return the begin and the end of the piece that each age reads, of the gathered values with the new ones behind them."""
        begins = [self.gathered(number) for number in range(len(self.ages))]
        return [(begin, _amount(dict(begin) | {LAST: 1})) for begin in begins]


def _amount(times: Mapping[int, int]) -> Amount:
    return tuple(sorted(pair for pair in times.items() if pair[1]))


def reads(e: Emitter, layout: StateLayout) -> dict[str, list[NodeReads]]:
    """List what is read of each tensor, {tensor: reads}, whole ones first."""
    ages: dict[str, set[int]] = {name: set() for name in layout.slots}
    for node in timed(e, layout):
        for source in node.inputs:
            if source in ages:
                ages[source] |= {age for age in layout.ages(node, source) if age > 0}
    dense = {e.facts.nodes[name].inputs[0] for name in dense_convolutions(e, layout)}
    found = {}
    for tensor, nodes in layout.tensors.items():
        each = [NodeReads(slots, tuple(sorted(ages[slots.node], reverse=True)), slots.node in dense) for slots in nodes]
        found[tensor] = sorted(each, key=lambda read: not read.whole)
    return found


class History:
    """The rows of a node that a block reads: those gathered and, once `new` (T·B, C) is there, those behind them.

    `windows`: of each age the names of where it begins, empty for 0, and ends.
    """

    def __init__(self, read: NodeReads, gathered: str, windows: Sequence[tuple[str, str]]) -> None:
        self._read, self._gathered, self._windows = read, gathered, windows
        self._rows, self._aged = "", dict[int, str]()
        self.new = ""

    def aged(self, e: Emitter, age: int) -> str:
        """The rows of `age` visits before each of T visits: (T·B, C), or classes (T·B)."""
        if age not in self._aged:
            (begin, end), zero = self._windows[self._read.ages.index(age)], e.constant([0])
            self._aged[age] = e.emit("Slice", self._all(e), begin or zero, end, zero)
        return self._aged[age]

    def by_visit(self, e: Emitter, batch: str) -> str:
        """All rows by visit, (kept + T, B, C), where they are whole."""
        shape = e.emit("Concat", e.constant([-1]), batch, e.constant([self._read.slots.channels]), axis=0)
        return e.emit("Reshape", self._all(e), shape)

    def _all(self, e: Emitter) -> str:
        if not self._rows:
            self._rows = e.emit("Concat", self._gathered, self.new, axis=0)
        return self._rows


def gather(e: Emitter, layout: StateLayout, visits: BlockVisits) -> tuple[dict[str, History], dict[str, str]]:
    """Gather what is read of each tensor. Returns the rows of each node, and of each tensor what was gathered, (rows, B, C)."""
    wanted = reads(e, layout)
    sizes, names = _numbers_of_rows(e, wanted.values(), visits)
    found, gathered = dict[str, History](), dict[str, str]()
    for (tensor, each), size in zip(wanted.items(), sizes, strict=True):
        e.own(f"{PAST}.{tensor}")
        gathered[tensor] = e.emit("Gather", f"{PAST}.{tensor}", _places(e, each, visits), axis=0)
        slots = each[0].slots
        rows = e.emit("Reshape", gathered[tensor], e.constant([-1] if slots.classes else [-1, slots.channels]))
        parts = [rows] if len(each) == 1 else [e.fresh() for _ in each]
        if len(each) > 1:
            e.emit("Split", rows, size, outputs=parts, axis=0)
        for read, part in zip(each, parts, strict=True):
            windows = [(names[begin] if begin else "", names[end]) for begin, end in read.windows]
            found[read.slots.node] = History(read, part, windows)
    return found, gathered


def _places(e: Emitter, wanted: Sequence[NodeReads], visits: BlockVisits) -> str:
    """The slots of a tensor that are read, by node, oldest first."""
    near = [(read.slots, age) for read in wanted if read.whole for age in range(read.ages[0], 0, -1)]
    far = [(read.slots, age, gap) for read in wanted if not read.whole for age, gap in zip(read.ages, read.gaps, strict=True)]
    parts = []
    if near:
        at = e.emit("Add", visits.clock, e.constant([-age for _, age in near]))
        parts.append(slots_at(e, at, [slots.count for slots, _ in near], [slots.base for slots, _ in near]))
    if far:  # a row for each age, of which the first min(T, gap) slots are taken
        each = e.emit("Slice", visits.each, e.constant([0]), e.constant([max(gap for *_, gap in far)]))
        at = e.emit("Add", e.emit("Add", visits.clock, e.constant([[-age] for _, age, _ in far])), each)
        places = slots_at(e, at, [[slots.count] for slots, *_ in far], [[slots.base] for slots, *_ in far])
        taken = e.emit("Less", each, e.constant([[gap] for *_, gap in far]))
        parts.append(e.emit("Compress", places, e.emit("Reshape", taken, e.constant([-1]))))
    return together(e, parts)


def _numbers_of_rows(
    e: Emitter, wanted: Iterable[Sequence[NodeReads]], visits: BlockVisits
) -> tuple[list[str], dict[Amount, str]]:
    """Emit how many rows of each node are gathered, a vector for each tensor; and where windows begin and end."""
    sizes = [[read.gathered() for read in each] for each in wanted]
    ends = list(dict.fromkeys(end for each in wanted for read in each for window in read.windows for end in window if end))
    amounts = [*chain(*sizes), *ends]
    units = sorted({n for amount in amounts for n, _ in amount})
    times = np.array([[dict(amount).get(n, 0) for amount in amounts] for n in units])
    counted = e.emit("MatMul", e.emit("Min", visits.length, e.constant(units)), e.constant(times))
    parts = split(e, e.emit("Mul", counted, visits.batch), [*map(len, sizes), *[1] * len(ends)])
    return parts[: len(sizes)], dict(zip(ends, parts[len(sizes) :], strict=True))


def is_long(layout: StateLayout, node: Node, op: ops.Conv1d) -> bool:
    """Whether a convolution has so many taps that a Conv over time costs less than products. Classes are looked up."""
    return op.kernel > SIDE_BY_SIDE and not layout.slots[node.inputs[0]].classes


def dense_convolutions(e: Emitter, layout: StateLayout) -> set[str]:
    """List the convolutions that a block computes over all rows since the oldest tap: long ones, of taps close to each other."""
    return {
        node.name
        for node in timed(e, layout)
        if isinstance(node.op, ops.Conv1d) and node.op.dilation <= SHORT and is_long(layout, node, node.op)
    }


def long_convolution(e: Emitter, layout: StateLayout, node: Node, op: ops.Conv1d, visits: str) -> str:
    """A convolution as a Conv over time, as rows; `visits` (kept + T, B, C) are all that it reads."""
    source = node.inputs[0]
    kept, ages = layout.slots[source].kept, layout.ages(node, source)
    over = e.emit("Transpose", visits, perm=[1, 2, 0])
    y = lower.conv1d_block(e, op, over, [kept - age for age in ages], kept)
    return e.emit("Reshape", e.emit("Transpose", y, perm=[2, 0, 1]), e.constant([-1, op.channels]))
