"""A graph in the making out of the numbers of a .nam file: which of them is which parameter, and the nodes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from refar.arguments.arrays import Array
from refar.building.builder import Builder
from refar.importing.nam_model import NamModel
from refar.importing.refusal import ImportRefused


@dataclass(frozen=True)
class NamPart:
    """A run of the file's numbers: the name of the parameter that they are, and its shape, the last axis running fastest."""

    name: str
    shape: tuple[int, ...]


def conv_parts(
    name: str, outputs: int, inputs: int, kernel: int = 1, *, groups: int = 1, bias: bool = True, place: str = ""
) -> Iterator[NamPart]:
    """The numbers of a convolution: weight_oik, then bias_o. Raises ImportRefused for groups that do not divide the channels."""
    if inputs % groups or outputs % groups:
        raise ImportRefused(f"{place}: {name}: expected groups that divide {inputs} inputs and {outputs} outputs, got {groups}")
    yield NamPart(f"{name}.weight", (outputs, inputs // groups, kernel))
    if bias:
        yield NamPart(f"{name}.bias", (outputs,))


@dataclass(frozen=True)
class NamNumbers:
    """The value of one part, in float64, and where in the file it stands."""

    value: Array
    origin: str

    def part(self, *which: slice) -> NamNumbers:
        """Return some of them: which along each of the first axes."""
        return NamNumbers(np.array(self.value[which], order="C"), self.origin)


def cut(model: NamModel, parts: Sequence[NamPart]) -> dict[str, NamNumbers]:
    """Return the numbers of every part, which follow each other in the file; NAM keeps them in float32, and so they are rounded.

    Raises ImportRefused for too few or too many, naming the part in which they end.
    """
    expected, came = sum(math.prod(part.shape) for part in parts), len(model.weights)
    found: dict[str, NamNumbers] = {}
    start = 0
    for part in parts:
        stop = start + math.prod(part.shape)
        if stop > came:
            where = f"they end in {part.name!r}, the numbers {start} to {stop - 1}"
            raise ImportRefused(f"{model.spot.at('weights')}: expected {expected} numbers, got {came}; {where}")
        value = np.asarray(model.weights[start:stop], np.float32).astype(np.float64).reshape(part.shape)
        found[part.name] = NamNumbers(value, model.spot.at(f"weights[{start}:{stop}]").field)
        start = stop
    if came > expected:
        last = f"{came - expected} are left over after the last part, {parts[-1].name!r}"
        raise ImportRefused(f"{model.spot.at('weights')}: expected {expected} numbers, got {came}; {last}")
    return found


@dataclass(frozen=True)
class NamNetwork(ABC):
    """A model of a file, read and checked: how many channels it takes and gives, and its sample rate in Hz if it has one."""

    inputs: int
    outputs: int
    rate: float | None

    @abstractmethod
    def add(self, net: NamNet, x: str, name: str) -> str:
        """Add its nodes to a graph, below `name`, and return the name of the one that holds its output."""


class NamNet:
    """Collects nodes, their parameters with their origins, and notes; the names of nodes are those of the parts."""

    def __init__(self) -> None:
        self.builder = Builder()
        self.params: dict[str, Array] = {}
        self.origins: dict[str, str] = {}
        self.notes: list[str] = []

    def conv(self, x: str, name: str, numbers: Mapping[str, NamNumbers], *, part: str, dilation: int = 1, groups: int = 1) -> str:
        """Add the convolution of a part, with the kernel and the channels of its weight, and a bias if there is one."""
        weight, bias = numbers[f"{part}.weight"], numbers.get(f"{part}.bias")
        return self.conv_of(x, name + part, weight, bias, dilation=dilation, groups=groups)

    def conv_of(
        self, x: str, name: str, weight: NamNumbers, bias: NamNumbers | None, *, dilation: int = 1, groups: int = 1
    ) -> str:
        """Add a convolution with this weight_oik and bias_o."""
        channels, _, kernel = weight.value.shape
        node = self.builder.conv1d(x, channels, kernel=kernel, dilation=dilation, bias=bias is not None, groups=groups, name=name)
        for last, given in {"weight": weight, "bias": bias}.items():
            if given is not None:
                self.params[f"{node}.{last}"], self.origins[f"{node}.{last}"] = given.value, given.origin
        return node
