"""One node of an ONNX file with what it is given: its numbers decoded, and the way into the calls that the core knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto

from refar.arguments.arrays import Array
from refar.importing.calls import call
from refar.importing.context import PLAIN, Context, parted
from refar.importing.draft import legal
from refar.importing.refusal import ImportRefused, Place
from refar.importing.values import Anything, Constant, Filled, Labelled, Varying


@dataclass(frozen=True)
class PerRun:
    """Numbers that follow from the length or the batch, as they are in each run."""

    arrays: tuple[Array, ...]


def together(arrays: Sequence[Array], origins: tuple[str, ...] = ()) -> Constant | PerRun:
    """Return what was evaluated in each run: one constant if it is the same in all of them. Real numbers are in float64."""
    wide = [array.astype(np.float64) if array.dtype.kind == "f" else array for array in arrays]
    first = wide[0]
    if all(array.shape == first.shape and np.array_equal(array, first, equal_nan=first.dtype.kind == "f") for array in wide[1:]):
        return Constant(first, origins)
    return PerRun(tuple(wide))


@dataclass(frozen=True)
class NodePlace(Place):
    """Where a node stands in the file. `call` is what a node of the graph that comes of it is called."""

    said: str = ""

    def __str__(self) -> str:
        return self.said


@dataclass(frozen=True)
class NodeContext(Context):
    """The context of a node: what comes of it has the name of its first initialiser where that is legal, else of its output."""

    def named(self, *constants: Any) -> tuple[str, str]:
        """Return the name that a node with these parameters wants, and where they come from."""
        origins = list(dict.fromkeys(name for c in constants if isinstance(c, Constant) for name in c.origins))
        if not origins or legal(origins[0]) != origins[0]:
            return self.place.call, ", ".join(origins) or "fixed numbers"
        module, own = parted(origins[0])
        return module if module and own in PLAIN else origins[0], ", ".join(origins)


@dataclass(frozen=True)
class NodeCall:
    """A node with what it is given, None for an input that is left out, and the opset that says what it means."""

    c: Context
    node: NodeProto
    given: tuple[Anything, ...]
    opset: int

    def core(self, name: str, /, **arguments: Any) -> Any:
        """Make a call that the core knows."""
        return call(self.c, name, arguments)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or what stands for one that is not there."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                found = onnx.helper.get_attribute_value(attribute)
                return found.decode() if isinstance(found, bytes) else found
        return default

    def real(self, name: str, default: float) -> float:
        """Return an attribute that is a real number; what stands for it if it is left out is of float32 too."""
        return float(self.attribute(name, np.float32(default)))

    def input(self, i: int) -> Anything:
        """Return what is given for input i, or None."""
        return self.given[i] if i < len(self.given) else None

    def operand(self, i: int) -> Anything:
        """Return input i as the core takes it: numbers of the length are a tensor of one number, or one whole number."""
        match self.input(i):
            case PerRun(arrays):
                sizes = tuple(zip(*(array.shape for array in arrays), strict=True))
                first = arrays[0].flat[0] if arrays[0].size else 0
                if all((array == first).all() for array in arrays):
                    return Filled(float(first), sizes)
                if not sizes:
                    return Varying(tuple(int(array) for array in arrays))
                raise self.c.refuse(
                    "numbers made from the length: they depend on the position, which a stream does not know", "leave them out"
                )
            case given:
                return given

    def value(self, i: int) -> Labelled:
        """Return input i, which must be computed from the input of the model."""
        return self.c.value(self.operand(i))

    def constant(self, i: int, what: str) -> Constant:
        """Return input i, which must be fixed; what differs between the runs, or is computed, is refused."""
        given = self.operand(i)
        if not isinstance(given, Constant):
            raise self.c.refuse(f"{what} is computed from the input", "use fixed numbers")
        return given

    def numbers(self, i: int, what: str) -> list[int | Varying] | None:
        """Return the whole numbers of input i, which may differ between the runs; None if it is left out."""
        match self.input(i):
            case None:
                return None
            case Constant(array):
                return [int(n) for n in np.asarray(array).reshape(-1)]
            case PerRun(arrays):
                columns = zip(*(np.asarray(array).reshape(-1).tolist() for array in arrays), strict=True)
                return [int(column[0]) if len(set(column)) == 1 else Varying(tuple(map(int, column))) for column in columns]
            case _:
                raise self.c.refuse(f"{what} depends on the numbers of the input, not on its shape alone", "use a fixed number")

    def listed(self, name: str, i: int, since: int) -> list[int | Varying] | None:
        """Return whole numbers that are an attribute before opset `since`, and input i from it on; None if left out."""
        if self.opset < since:
            found = self.attribute(name)
            return None if found is None else [int(n) for n in (found if isinstance(found, Sequence) else [found])]
        return self.numbers(i, f"its {name}")

    def fixed(self, name: str, i: int, since: int) -> list[int] | None:
        """Return whole numbers as `listed` does, of which none may depend on the length."""
        found = self.listed(name, i, since)
        return None if found is None else [self.c.whole(n, f"its {name}") for n in found]

    def ints(self, name: str, default: Sequence[int]) -> list[int]:
        """Return an attribute of whole numbers."""
        return list(self.attribute(name, default))

    def refuse(self, what: str, do: str = "") -> ImportRefused:
        """Make the error of this node."""
        return self.c.refuse(what, do)
