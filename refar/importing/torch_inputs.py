"""The inputs of a module as its example shows them: which axis is which, at any length and batch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from refar import ops
from refar.importing.refusal import ImportRefused

Role = Literal["sequence", "global", "local"]


@dataclass(frozen=True)
class Port:
    """One input of a module: its axes in order, of B, C, T and 1; how many channels or classes; its type, and its place."""

    name: str
    role: Role
    axes: tuple[str, ...]
    channels: int
    classes: int
    dtype: torch.dtype
    keyword: bool

    @property
    def op(self) -> ops.Input:
        """The input of the graph."""
        return ops.Input(self.role, classes=self.classes) if self.classes else ops.Input(self.role, channels=self.channels)

    def draw(self, rng: np.random.Generator, length: int, batch: int) -> torch.Tensor:
        """Draw numbers of this input: classes, or normal ones in float64."""
        sizes = [{"B": batch, "C": self.channels, "T": length, "1": 1}[axis] for axis in self.axes]
        if self.classes:
            return torch.from_numpy(rng.integers(self.classes, size=sizes)).to(self.dtype)
        return torch.from_numpy(rng.standard_normal(sizes))

    def as_refar(self, tensor: torch.Tensor) -> Any:
        """The same numbers with the axes of a graph's input: x_bt, x_bct, c_b or c_bc."""
        wanted = ["B", "C", "T"] if not self.classes else ["B", "T"]
        wanted = [axis for axis in wanted if axis != "T" or self.role != "global"]
        names = list(self.axes)
        array = tensor.detach().numpy()
        for axis in [axis for axis in wanted if axis not in names]:
            array, names = array[..., None], [*names, axis]
        array = array.transpose([names.index(a) for a in wanted] + [i for i, a in enumerate(names) if a not in wanted])
        return array.reshape(array.shape[: len(wanted)])


def ports(module: torch.nn.Module, example: Any, axes: Mapping[str, str], classes: Mapping[str, int]) -> list[Port]:
    """Read the example: a tensor, a tuple of them, or a mapping by the names of forward's arguments; the sequence comes first."""
    given, keyword = _named(module, example)
    if not given:
        raise ImportRefused("example: expected a tensor for the sequence, got none")
    names = list(given)
    for option, mapping in (("axes", axes), ("classes", classes)):
        if unknown := [name for name in mapping if name not in given]:
            raise ImportRefused(f"{option}: {unknown[0]!r} is no input of the example; these are {', '.join(names)}")
    first = _port(names[0], given[names[0]], "sequence", axes, classes, keyword, length=None)
    length = given[names[0]].shape[first.axes.index("T")]
    return [first] + [_port(name, given[name], None, axes, classes, keyword, length=length) for name in names[1:]]


def _named(module: torch.nn.Module, example: Any) -> tuple[dict[str, torch.Tensor], bool]:
    keyword = isinstance(example, Mapping)
    if keyword:
        given = dict(example)
    else:
        listed = example if isinstance(example, tuple | list) else (example,)
        names = [
            p.name
            for p in inspect.signature(module.forward).parameters.values()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)
        ]
        names += [f"input{i}" for i in range(len(names), len(listed))]
        given = dict(zip(names, listed, strict=False))
    for name, tensor in given.items():
        if not isinstance(tensor, torch.Tensor):
            raise ImportRefused(f"example: {name}: expected a torch.Tensor, got {type(tensor).__name__}")
        if tensor.is_meta:
            raise ImportRefused(f"example: {name}: expected a tensor with numbers, got one on the device meta")
    return given, keyword


def _port(
    name: str,
    tensor: torch.Tensor,
    role: Role | None,
    axes: Mapping[str, str],
    classes: Mapping[str, int],
    keyword: bool,
    length: int | None,
) -> Port:
    indexed = not tensor.is_floating_point()
    named = axes[name].upper() if name in axes else _guessed(name, tensor, indexed, length)
    if len(named) != tensor.ndim or sorted(named.replace("1", "")) not in _POSSIBLE[indexed]:
        expected = "B and T of class indices" if indexed else "B, C and T"
        raise ImportRefused(f"axes: {name}: expected a letter for each of {tensor.ndim} axes, of {expected}, got {named!r}")
    if role is None:
        role = "local" if "T" in named else "global"
    if "T" not in named and role == "sequence":
        raise ImportRefused(f"axes: {name}: expected T, the axis of time, in the sequence, got {named!r}")
    channels = tensor.shape[named.index("C")] if "C" in named else 1
    count = 0
    if indexed:
        if name not in classes:
            raise ImportRefused(f"classes: {name} holds whole numbers; say how many classes there are: classes={{'{name}': 256}}")
        count = classes[name]
    return Port(name, role, tuple(named), 0 if indexed else channels, count, tensor.dtype, keyword)


_POSSIBLE = {True: [["B", "T"], ["B"]], False: [["B", "C", "T"], ["B", "T"], ["B", "C"]]}


def _guessed(name: str, tensor: torch.Tensor, indexed: bool, length: int | None) -> str:
    """Guess the axes of an input that the caller left open. `length` is that of the sequence, for a condition."""
    shape = tuple(tensor.shape)
    if indexed:
        guesses = {1: "B", 2: "BT" if length in (None, shape[-1]) else "B1"}
    elif length is None:
        guesses = {2: "BT", 3: "BCT"}
    else:
        guesses = {2: "BC", 3: "BCT" if shape[-1] == length else "BC1"}
    if tensor.ndim not in guesses:
        raise ImportRefused(f"example: {name}: expected a sequence of shape (B, T) or (B, C, T), or axes=, got shape {shape}")
    return guesses[tensor.ndim]
