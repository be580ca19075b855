"""A graph in the making: nodes with their parameters and origins, of which those that nothing reads are left out in the end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.building.builder import Builder
from refar.graph.graph import Graph, Padding
from refar.importing.refusal import NOWHERE, Place, refuse
from refar.importing.values import Labelled, Steps
from refar.ops import AnyHead, AnyOp

CONVOLUTIONS = ops.Conv1d, ops.Conv2d
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
    place: Place = NOWHERE


class GraphDraft:
    """Collects nodes under names of its own; `finished` drops what is not read."""

    def __init__(self) -> None:
        self.planned: dict[str, Planned] = {}
        self.notes: dict[str, None] = {}
        """Remarks of calls for the report, each once."""
        self._moved: dict[tuple[object, ...], Labelled] = {}

    def add(
        self,
        op: AnyOp,
        *inputs: str,
        wish: str,
        params: dict[str, Array] | None = None,
        origin: str = "",
        against: Objections = (),
        folds: bool = False,
        place: Place = NOWHERE,
    ) -> str:
        """Add a node and return its provisional name."""
        name = f"n{len(self.planned)}"
        self.planned[name] = Planned(op, inputs, params or {}, origin, wish, tuple(against), folds, place)
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

    def moved(self, value: Labelled, steps: Steps) -> Labelled:
        """Return `value` so many `steps` later: its number at index 0 then belongs to the position first + steps of each axis.

        A node that is not 0 where its moved self would read t < 0, or outside of an image, is made anew from moved inputs
        instead; and so is one of an image that was cut, so that it sees no more to the right than the module does.
        """
        steps = {axis: n for axis, n in steps.items() if n}
        if not steps or not value.timed:
            return value
        key = (value.node, *((axis, span.first, span.end, steps.get(axis, 0)) for axis, span in value.spans.items()))
        if key not in self._moved:
            self._moved[key] = self._made_later(value, steps)
        return replace(self._moved[key], axes=value.axes)

    def _made_later(self, value: Labelled, steps: Steps) -> Labelled:
        cut = value.image and any(span.first > 0 or span.end < 0 for span in value.spans.values() if span.first != span.end)
        if value.later is not None and not value.indexed and (cut or not value.zero_before):
            return value.later(steps)
        if value.indexed:
            raise refuse(value.place, "class indices are moved in time and then used by themselves", "look them up first")
        against = []
        if not value.zero_before:
            against.append(("layer", str(refuse(value.place, "it holds values before the first position that are not zero"))))
        if not value.response_before:
            against.append(("input", str(refuse(value.place, "it holds values before the first position that answer no zeros"))))
        op = ops.Shift2d(steps.get("H", 0), steps.get("W", 0)) if value.image else ops.Shift(steps["T"])
        wish = f"{self.planned[value.node].wish}_{'shifted' if value.image else 'delayed'}"
        node = self.add(op, value.node, wish=wish, against=against, place=value.place)
        return replace(
            value.spanning(**{axis: value.spans[axis].moved(n) for axis, n in steps.items()}),
            node=node,
            bare=value.clear,
            inputs=(value,),
            later=lambda more: self.moved(self.moved(value, more), steps),
        )

    def finished(self, output: str) -> tuple[dict[str, Planned], str]:
        """Return the nodes that an output needs, and all inputs, with what folds folded; and the output's name."""
        planned, output = folded(self.planned, self.read(output), output)
        read = needed(planned, output)
        return {name: node for name, node in planned.items() if name in read or isinstance(node.op, ops.Input)}, output


@dataclass(frozen=True)
class Built:
    """A graph and its parameters; the origin of each parameter; and where the nodes that read other pixels stand in the code."""

    graph: Graph
    params: dict[str, Array]
    origins: dict[str, str]
    places: dict[str, Place]


def built(planned: Mapping[str, Planned], output: str, head: AnyHead | None, padding: Padding) -> Built:
    """Build the graph of these nodes, each with the name that it wants."""
    builder, params, origins = Builder(), dict[str, Array](), dict[str, str]()
    final, places = dict[str, str](), dict[str, Place]()
    for name, node in planned.items():
        chosen = _free(_unlike_ports(legal(node.wish)), set(final.values()))
        places[chosen] = node.place
        final[name] = builder.add_op(node.op, *(final[source] for source in node.inputs), name=chosen)
        for last, array in node.params.items():
            params[f"{chosen}.{last}"] = array
            origins[f"{chosen}.{last}"] = node.origin
    return Built(builder.build(final[output], head, padding=padding), params, origins, places)


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
    takes = (*CONVOLUTIONS, ops.ScaleShift, ops.Norm) if node.folds else (ops.ScaleShift, ops.Norm)
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


_PORTS = {"past", "present", "fixed", "length", "output"}
"""First parts of names that a bundle keeps for its own ports."""


def _unlike_ports(name: str) -> str:
    first, dot, rest = name.partition(".")
    return f"{first}_{dot}{rest}" if first in _PORTS else name


def _free(name: str, taken: set[str]) -> str:
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name}.copy{count}" if name.rpartition(".")[2].isdigit() else f"{name}_{count}"
    return free
