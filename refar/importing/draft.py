"""A graph in the making: nodes with their parameters and origins, of which those that nothing reads are left out in the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.building.builder import Builder
from refar.graph.graph import Graph, Padding
from refar.importing.refusal import refuse
from refar.importing.values import Labelled
from refar.ops import AnyHead, AnyOp

FIXED = "fixed numbers"
"""The origin of parameters that are made of none of the module's."""

Objections = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Planned:
    """One node: its operator and inputs, its parameters by their last names, where they come from, and the name it wants.

    `against` are paddings of a graph under which the node would differ from the module, with the reason.
    `folds` is said of scales and shifts of channels: where nothing else reads the node before, that one takes up their numbers if
    it is a convolution. If it is a norm, or a scale and shift itself, it takes up those of all, also of nodes without `folds`.
    """

    op: AnyOp
    inputs: tuple[str, ...]
    params: dict[str, Array]
    origin: str
    wish: str
    against: tuple[tuple[str, str], ...] = ()
    folds: bool = False


class GraphDraft:
    """Collects nodes under names of its own; `finish` drops what is not read and gives each node the name it wants."""

    def __init__(self) -> None:
        self.planned: dict[str, Planned] = {}
        self.notes: dict[str, None] = {}
        """What calls have to say of how they were taken, once each."""
        self._delayed: dict[tuple[str, int, int, int], Labelled] = {}

    def add(
        self,
        op: AnyOp,
        *inputs: str,
        wish: str,
        params: dict[str, Array] | None = None,
        origin: str = "",
        against: Objections = (),
        folds: bool = False,
    ) -> str:
        """Add a node and return its provisional name."""
        name = f"n{len(self.planned)}"
        self.planned[name] = Planned(op, inputs, params or {}, origin, wish, tuple(against), folds)
        return name

    def read(self, output: str) -> set[str]:
        """Return the nodes that an output needs."""
        return needed(self.planned, output)

    def against(self, output: str) -> dict[str, str]:
        """Return the paddings under which the graph of an output would differ from the module, each with its first reason."""
        read, found = self.read(output), dict[str, str]()
        for name, node in self.planned.items():
            for padding, why in node.against if name in read else ():
                found.setdefault(padding, why)
        return found

    def delay(self, value: Labelled, steps: int) -> Labelled:
        """Return `value` delayed by `steps`: its number at index 0 then belongs to position value.first + steps.

        A node that is not 0 where its delayed self would read t < 0 is made anew from delayed inputs instead.
        """
        if steps == 0 or not value.timed:
            return value
        key = (value.node, value.first, value.end, steps)
        if key not in self._delayed:
            self._delayed[key] = self._made_later(value, steps)
        return replace(self._delayed[key], axes=value.axes)

    def _made_later(self, value: Labelled, steps: int) -> Labelled:
        if value.again is not None and not value.indexed and not value.zero_before:
            return value.again(*(self.delay(source, steps) for source in value.inputs))
        if value.indexed:
            raise refuse(value.place, "class indices are moved in time and then used by themselves", "look them up first")
        against = []
        if not value.zero_before:
            against.append(("layer", str(refuse(value.place, "it holds values before the first position that are not zero"))))
        if not value.response_before:
            against.append(("input", str(refuse(value.place, "it holds values before the first position that answer no zeros"))))
        wish = f"{self.planned[value.node].wish}_delayed"
        node = self.add(ops.Shift(steps), value.node, wish=wish, against=against)
        first, end = value.first + steps, value.end + steps
        return replace(
            value, node=node, first=first, end=end, bare=value.clear, inputs=(value,), again=lambda v: self.delay(v, steps)
        )

    def finish(self, output: str, head: AnyHead | None, padding: Padding) -> tuple[Graph, dict[str, Array], dict[str, str]]:
        """Return the graph, its parameters, and the origin of each parameter."""
        planned, output = folded(self.planned, self.read(output), output)
        read = needed(planned, output)
        builder, params, origins = Builder(), dict[str, Array](), dict[str, str]()
        final: dict[str, str] = {}
        for name, node in planned.items():
            if name not in read and not isinstance(node.op, ops.Input):
                continue
            chosen = _free(legal(node.wish), set(final.values()))
            final[name] = builder.add_op(node.op, *(final[source] for source in node.inputs), name=chosen)
            for last, array in node.params.items():
                params[f"{chosen}.{last}"] = array
                origins[f"{chosen}.{last}"] = node.origin
        return builder.build(final[output], head, padding=padding), params, origins


def needed(planned: dict[str, Planned], output: str) -> set[str]:
    """Return the nodes that an output needs."""
    found = {output}
    for name in reversed(planned):
        if name in found:
            found.update(planned[name].inputs)
    return found


def folded(planned: dict[str, Planned], read: set[str], output: str) -> tuple[dict[str, Planned], str]:
    """Return the nodes with scales and shifts made parts of the nodes that have such numbers, where nothing else reads those.

    Two of them that undo each other are gone, and what follows reads the node before them, beside all others that read it.
    """
    made, read = dict(planned), set(read)
    for name in planned:
        before = next(iter(made[name].inputs), output)
        alone = before != output and [each for each in read if before in made[each].inputs] == [name]
        both = _merged(made[before], made[name]) if alone else None
        if both is None:
            continue
        undone = both.op == ops.Affine()
        made[before], instead = both, both.inputs[0] if undone else before
        read -= {name, before} if undone else {name}
        made = {each: replace(node, inputs=_renamed(node.inputs, name, instead)) for each, node in made.items() if each != name}
        (output,) = _renamed([output], name, instead)
    return made, output


def _renamed(names: Sequence[str], old: str, new: str) -> tuple[str, ...]:
    return tuple(new if name == old else name for name in names)


def _merged(before: Planned, node: Planned) -> Planned | None:
    """Return one node for two that follow each other, a scale and shift behind what has such numbers; None if there is none."""
    if isinstance(before.op, ops.Affine) and isinstance(node.op, ops.Affine):
        scale, shift = before.op.scale * node.op.scale, before.op.shift * node.op.scale + node.op.shift
        return replace(before, op=ops.Affine(scale, shift))
    takes = (ops.Conv1d, ops.ScaleShift, ops.Norm) if node.folds else (ops.ScaleShift, ops.Norm)
    if not (isinstance(node.op, ops.ScaleShift) and isinstance(before.op, takes)):
        return None
    params = _scaled(before.params, node.params["weight"], node.params.get("bias"))
    op = msgspec.structs.replace(before.op, bias="bias" in params)
    joined = replace(before, origin=", ".join(dict.fromkeys([before.origin, node.origin])))
    named = node if before.origin == FIXED else joined
    return replace(before, op=op, params=params, origin=named.origin, wish=named.wish)


def _scaled(params: dict[str, Array], scale: Array, shift: Array | None) -> dict[str, Array]:
    """Return the parameters of a node of which each channel is then scaled and shifted."""
    found = {"weight": params["weight"] * scale.reshape(-1, *[1] * (params["weight"].ndim - 1))}
    if "bias" in params or shift is not None:
        found["bias"] = params.get("bias", np.zeros(len(scale))) * scale + (0.0 if shift is None else shift)
    return found


def legal(name: str) -> str:
    """Return a name of which each part is an identifier or a number."""
    parts = (re.sub(r"[^A-Za-z0-9_]", "_", part) for part in name.split(".") if part)
    return ".".join(part if part.isdigit() or not part[0].isdigit() else f"_{part}" for part in parts) or "node"


def _free(name: str, taken: set[str]) -> str:
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name}.copy{count}" if name.rpartition(".")[2].isdigit() else f"{name}_{count}"
    return free
