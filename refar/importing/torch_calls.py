"""How a module may be called with the inputs of a graph, and how its output may lie: orders of axes, and the time of index 0."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, permutations, product
from typing import Any, Literal

import numpy as np
import torch

from refar import ops
from refar.analysis.facts import Facts
from refar.analysis.types import Type
from refar.arguments.arrays import Array, Arrays

MOST = 300
"""How many orders of axes of all inputs together are tried."""
_EARLIER = 64
"""How many times of index 0 are tried for an output that is not as long as its input."""
_INPUTS = {"BT": ("BT", "TB"), "BCT": tuple(map("".join, permutations("BCT"))), "B": ("B", "B1"), "BC": ("BC", "BC1", "B1C")}
_IMAGES = ("BQHW", "BHWQ", "BKCHW", "BCKHW", "BCHWK", "BHWKC", "BHWCK", "BRHW")
"""Orders of an output over images. Q are all channels, K those of one of C colours; in R both share an axis, colours first."""


@dataclass(frozen=True)
class Call:
    """One way to call a module: the axes of each argument, 1 for one that has a single element; and how they are given.

    They come in order, by their names, or as one mapping. The input `delayed` comes one position later, after a 0, or after the
    class `start`.
    """

    axes: tuple[tuple[str, str], ...]
    given: Literal["in order", "by name", "as a mapping"]
    delayed: str = ""
    start: int | None = None

    def arguments(self, inputs: Arrays) -> tuple[tuple[Any, ...], dict[str, torch.Tensor]]:
        """Return the arguments of the module for inputs of the graph."""
        arrays = {name: _later(array, self.start or 0) if name == self.delayed else array for name, array in inputs.items()}
        tensors = {name: _tensor(arrays[name], letters) for name, letters in self.axes}
        match self.given:
            case "in order":
                return tuple(tensors.values()), {}
            case "by name":
                return (), tensors
            case "as a mapping":
                return (tensors,), {}


def calls(module: torch.nn.Module, found: Facts) -> Iterator[Call]:
    """List the ways to call a module with the inputs of a graph, those in the graph's own order of axes first.

    A strict graph over time may be the module with its sequence one position later, see `strictify`; or behind a start token.
    """
    takes = inspect.signature(module.forward).parameters
    given: Literal["in order", "by name"] = "by name" if all(name in takes for name in found.inputs) else "in order"
    for letters in islice(product(*(_orders(found.types[name]) for name in found.inputs)), MOST):
        axes = tuple(zip(found.inputs, letters, strict=True))
        yield Call(axes, given)
        if found.strict and found.grid is None:
            yield from (Call(axes, given, found.sequence, start) for start in _starts(found))
    yield Call(tuple((name, found.types[name].axes.upper()) for name in found.inputs), "as a mapping")


def _starts(found: Facts) -> list[int | None]:
    """List what may stand in front of the sequence: a class if the graph marks its start, that beside its own first; else a 0."""
    classes = found.types[found.sequence].size if found.types[found.sequence].indexed else 0
    ones = {node.name for node in found.graph.nodes if isinstance(node.op, ops.Ones)}
    marked = any(ones.intersection(node.inputs) for node in found.graph.nodes if not isinstance(node.op, ops.Pool1d))
    return [classes, *range(classes)][:MOST] if classes and marked else [None]


def _orders(kind: Type) -> list[str]:
    own = kind.axes.upper()
    orders = list(("BCHW", "BHWC") if kind.image and kind.timed else _INPUTS[own])
    if "C" in own and kind.channels == 1:
        orders += list(("BHW",) if kind.image and kind.timed else _INPUTS[own.replace("C", "")])
    return orders


def _later(array: Array, first: int) -> Array:
    return np.concatenate([np.full_like(array[..., :1], first), array[..., :-1]], axis=-1)


def _tensor(array: Array, letters: str) -> torch.Tensor:
    """An input of a graph with its axes in another order; what is no class index is in float64."""
    own = {1: "B", 2: "BT" if "T" in letters else "BC", 3: "BCT", 4: "BCHW"}[array.ndim]
    if "C" in own and "C" not in letters:
        array, own = array.take(0, axis=own.index("C")), own.replace("C", "")
    array = array.transpose([own.index(letter) for letter in letters if letter != "1"])
    array = np.expand_dims(array, [i for i, letter in enumerate(letters) if letter == "1"])
    return torch.from_numpy(np.array(array if array.dtype == np.int64 else array.astype(np.float64)))


@dataclass(frozen=True)
class Lie:
    """How an output lies: its axes, 1 for those of one element beside them, and the time `first` at which its index 0 stands.

    From `settled` on it is the graph's.
    """

    axes: str
    first: int = 0
    settled: int = 0

    def of_graph(self, y: Array, colours: int) -> Array:
        """Return an output with the graph's axes B, Q and T, or B, Q, H and W."""
        letters = self.axes.replace("1", "")
        y = y.reshape([count for count, letter in zip(y.shape, self.axes, strict=True) if letter != "1"])
        if "R" in letters:
            y, letters = y.reshape(len(y), colours, -1, *y.shape[2:]), "BCKHW"
        y = y.transpose([letters.index(letter) for letter in "BQKCTHW" if letter in letters])
        if "K" in letters:
            return y.reshape(len(y), -1, *y.shape[3:])
        return y if "Q" in letters else y[:, None]

    def window(self, found: Facts, length: int, count: int) -> tuple[int, int]:
        """Return from which position to which an output of `count` positions and the graph's, for `length` of input, both are."""
        begin = max(self.first, found.first_position, self.settled, 0)
        return begin, max(begin, min(length, self.first + count))


def lies(call: Call, came: Sequence[int], found: Facts, inputs: Arrays, size: int) -> Iterator[Lie]:
    """List the ways in which an output of a shape may lie, if it has the graph's batch, positions and channels, `size` of them.

    An output as long as its input stands where the input does. A shorter or longer one says nothing of the time; it may end
    where the input ends, or somewhat before. A strict graph may be the module one position later. Where the module was given
    classes later, the first of them is none of the graph's.
    """
    kind, batch = found.types[found.sequence], len(inputs[found.sequence])
    if kind.image:
        height, width = inputs[found.sequence].shape[2:]
        sizes = {"B": batch, "Q": size, "R": size, "H": height, "W": width, "C": kind.channels, "K": size // kind.channels}
        orders = [*_IMAGES, *(["BHW"] if size == 1 else [])]
        yield from (Lie(letters) for letters in orders if tuple(sizes[letter] for letter in letters) == tuple(came))
        return
    length = inputs[found.sequence].shape[-1]
    for axes in _over_time(came, size):
        if came[axes.index("B")] != batch or ("Q" in axes and came[axes.index("Q")] != size):
            continue
        lacking = length - came[axes.index("T")]
        firsts = [0] if not lacking else [lacking, 0, *range(lacking - 1, lacking - _EARLIER, -1)]
        for first in dict.fromkeys(firsts):
            unsettled = call.delayed and kind.indexed and call.start is None
            yield Lie(axes, first, found.left_context if unsettled else 0)
            if found.strict and not call.delayed:
                yield Lie(axes, first + 1, 1)


def _over_time(came: Sequence[int], size: int) -> Iterator[str]:
    """List the orders of axes of an output over time, 1 for those that have a single element beside them."""
    for letters in [*permutations("BQT"), *(permutations("BT") if size == 1 and len(came) == 2 else ())]:
        for single in combinations(range(len(came)), max(0, len(came) - len(letters))):
            if len(came) == len(letters) + len(single) and all(came[place] == 1 for place in single):
                named = iter(letters)
                yield "".join("1" if place in single else next(named) for place in range(len(came)))


def shown(value: Any) -> str:
    """Return the first line of an error for a message."""
    return f"{type(value).__name__}: {(str(value).splitlines() or [''])[0][:200]}"
