"""Lay out the past of a stream as windows of linear memory, for blocks of many tokens.

Each node that later visits read has memory of its own, in which its rows stand visit by visit, the newest last; nothing turns
round. What a tap reads in T visits is then one piece of that memory, a *window*, which is bound and not copied.
"""

from __future__ import annotations

from dataclasses import dataclass

from refar.analysis.facts import Facts
from refar.analysis.slots import StateLayout

_WINDOWS = 4
"""Windows of one node. Where its rows are read at more ages, one window holds all of them."""


@dataclass(frozen=True)
class Window:
    """Name the rows of `node` that a block of T visits reads, from `age` visits before its first visit on.

    There are T visits of them, or age + T where the window is `whole`. The last rows may be those that the block writes.
    """

    node: str
    age: int
    whole: bool = False

    @property
    def port(self) -> str:
        """The name of the input after "past."."""
        return f"{self.node}.{self.age}"

    def visits(self, length: int) -> int:
        """Return how many visits of a block of `length` it holds."""
        return length + self.age if self.whole else length


def windows(found: Facts, layout: StateLayout) -> dict[tuple[str, int], Window]:
    """List the window that each read of a past value looks into, {(node, age): window}, oldest first."""
    ages: dict[str, set[int]] = {name: set() for name in layout.slots}
    for node in found.graph.nodes:
        for source in node.inputs if node.name in layout.schedule.lead else ():
            if source in ages:
                ages[source] |= {age for age in layout.ages(node, source) if age > 0}
    reads: dict[tuple[str, int], Window] = {}
    for name, read in ages.items():
        whole = len(read) > _WINDOWS
        for age in sorted(read, reverse=True):
            reads[name, age] = Window(name, layout.slots[name].kept, whole=True) if whole else Window(name, age)
    return reads
