"""The context that each function of the table of calls gets: the draft of the graph, refusals, and checks of arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.importing.draft import FIXED, GraphDraft
from refar.importing.refusal import ImportRefused, Place, refuse
from refar.importing.values import Constant, Filled, Labelled, Part, Runs, StackedValues, Varying

Arguments = Mapping[str, Any]
PLAIN = {"weight", "bias", "weight_g", "weight_v", "mask", "running_mean", "running_var"}
"""Last names that say nothing more than the name of their module."""


@dataclass(frozen=True)
class Context:
    """The draft that a call adds to, the runs in which the module was traced, and where the call stands."""

    draft: GraphDraft
    runs: Runs
    place: Place

    def refuse(self, what: str, do: str = "") -> ImportRefused:
        """Make the error of this call."""
        return refuse(self.place, what, do)

    def value(self, given: Any, what: str = "its input") -> Labelled:
        """Return what is a value of the sequence or of a condition; anything else is refused."""
        match given:
            case Labelled():
                return given
            case Part():
                raise given.error
            case StackedValues():
                raise self.refuse(f"{what} is a stack of values", "sum it, or take it apart, before")
            case Filled() | Constant():
                raise self.refuse(f"{what} is made of fixed numbers alone, not of the input")
            case _:
                raise self.refuse(f"{what} is {type(given).__name__}, no value of one tensor")

    def array(self, given: Any, what: str) -> Array:
        """Return fixed numbers; what is computed from the input is refused."""
        if not isinstance(given, Constant):
            raise self.refuse(f"{what} is computed from the input", "use fixed weights")
        return np.asarray(given.array, np.float64)

    def optional(self, given: Any, what: str) -> Array | None:
        """Return fixed numbers, or None for none."""
        return None if given is None else self.array(given, what)

    def of_channels(self, array: Array, x: Labelled, what: str) -> Array:
        """Return one fixed number for each channel of x; a single one stands for all."""
        if array.size not in (1, x.size):
            raise self.refuse(f"{what} has the shape {array.shape} for {x.size} channels", "give one for each, or one for all")
        return np.broadcast_to(array.reshape(-1), (x.size,)).copy()

    def whole(self, given: Any, what: str) -> int:
        """Return a whole number that does not depend on the length."""
        if isinstance(given, Sequence) and len(given) == 1:
            given = given[0]
        if isinstance(given, Varying):
            why = "as where a sequence is filled up to a multiple of a stride: a stream has no length"
            raise self.refuse(f"{what} changes with the length, {why}")
        if isinstance(given, bool) or not isinstance(given, int):
            raise self.refuse(f"{what} is {given}, where one fixed number was expected")
        return given

    def named(self, *constants: Any) -> tuple[str, str]:
        """Return the name that a node with these parameters wants, and where they come from."""
        origins = list(dict.fromkeys(name for c in constants if isinstance(c, Constant) for name in c.origins))
        own = [name for name in origins if parted(name)[1] in PLAIN]  # beside, say, a mask that several layers share
        stems = dict.fromkeys(stem for stem, _ in map(parted, own or origins))
        leaves = {leaf for _, leaf in map(parted, origins)} - PLAIN
        if len(stems) != 1:
            return self.place.module or self.place.call, ", ".join(origins) or FIXED
        stem = next(iter(stems))
        if len(leaves) == 1 and len(origins) == 1:
            stem = f"{stem}.{leaves.pop()}"
        return stem or self.place.call, ", ".join(origins)


def parted(name: str) -> tuple[str, str]:
    """Part the name of a parameter into that of its module and its own."""
    module, _, own = name.rpartition(".")
    if ".parametrizations." in f".{name}":
        module, _, own = f".{name}".rpartition(".parametrizations.")
        return module.lstrip("."), own.split(".")[0]
    return module, own
