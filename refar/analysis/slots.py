"""Lay out the past values of a stream over time. Each node that later calls read has slots of a tensor, and writes them in turn.

A *visit* is the work for one token. Visits are counted by a clock c = 0, 1, …, which the state holds. Visit c computes the node n
at position c + lead[n], counted from the end of the prompt, and writes its value to slot base + c mod count. So a slot holds the
value of one visit until `count` visits later, and nothing is moved. A node that reads another by an offset reads the value of an
earlier visit: see `ages`. The contract with all its rules is in export/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from refar import ops
from refar.analysis.facts import Facts
from refar.analysis.schedule import Schedule
from refar.analysis.windows import offsets_of_node
from refar.graph.graph import Node

CLASSES, NUMBERS = "int64x", "float32x"
"""The beginnings of the names of tensors: of classes, and of numbers."""


@dataclass(frozen=True)
class Slots:
    """The slots of one node: `count` of `tensor` (slots, B, C), from `base` on.

    `kept`: how many of the node's last values a later visit reads. `lead`: how many positions the node is ahead of the newest
    token, 0 or 1. `channels`: the C of the tensor. `classes`: Q of a one-hot, of which a slot holds the class, and Q for none;
    0 where a slot holds the values themselves.
    """

    node: str
    tensor: str
    base: int
    count: int
    kept: int
    lead: int
    channels: int
    classes: int = 0

    @property
    def width(self) -> int:
        """The channels of the node."""
        return self.classes or self.channels


@dataclass(frozen=True)
class StateLayout:
    """The state of a stream: `slots` {node: Slots}, and the values that only depend on constants, `fixed`.

    `spare`: how many of the last visits may be made once more. `schedule`: the leads that the layout was made for. Nodes of equal
    width share a tensor, and all one-hots do; `sizes` {tensor: number of slots}.
    """

    spare: int
    schedule: Schedule
    slots: dict[str, Slots]
    fixed: tuple[str, ...]

    @cached_property
    def tensors(self) -> dict[str, list[Slots]]:
        """The nodes of each tensor, in the order of their slots."""
        found: dict[str, list[Slots]] = {}
        for each in self.slots.values():
            found.setdefault(each.tensor, []).append(each)
        return found

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """The number of slots and of channels of each tensor."""
        return {name: (nodes[-1].base + nodes[-1].count, nodes[0].channels) for name, nodes in self.tensors.items()}

    def ages(self, node: Node, source: str) -> list[int]:
        """List how many visits ago the value was computed that each tap of `node` reads of `source`, oldest first.

        Age 0 is the same visit. Offset o of a node of lead λ reads a source of lead λ' at age o + λ' - λ.
        """
        behind = self.schedule.lead[source] - self.schedule.lead[node.name]
        return sorted((offset + behind for offset in offsets_of_node(node.op)), reverse=True)


@lru_cache(maxsize=64)
def state_layout(found: Facts, spare: int = 0) -> StateLayout:
    """Lay out the state of a causal graph over time; a strict one runs nodes that do not see the newest token one ahead.

    Raises GraphError for a graph that looks ahead.
    """
    plan = found.schedule(leading=found.strict)
    slots: dict[str, Slots] = {}
    ends: dict[str, int] = {}
    for name, kept in plan.cache.items():
        size = found.types[name].size
        classes = size if isinstance(found.nodes[name].op, ops.OneHot) else 0
        tensor = f"{CLASSES}1" if classes else f"{NUMBERS}{size}"
        base, count = ends.get(tensor, 0), kept + spare
        slots[name] = Slots(name, tensor, base, count, kept, plan.lead[name], 1 if classes else size, classes)
        ends[tensor] = base + count
    timed = [node for node in found.graph.nodes if found.types[node.name].timed]
    read = {name: None for node in timed for name in node.inputs if not found.types[name].timed}
    return StateLayout(spare, plan, slots, tuple(read))
