"""The inputs of a module as its example shows them: which axis is which, at any length and batch."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from refar.importing.ports import Port, Role, port_of
from refar.importing.probes import Extent
from refar.importing.refusal import ImportRefused


@dataclass(frozen=True)
class TensorPort(Port):
    """An input of a module: its type as well, and whether it is given by name."""

    dtype: torch.dtype
    keyword: bool

    def tensor(self, rng: np.random.Generator, extent: Extent, batch: int) -> torch.Tensor:
        """Draw a tensor of this input: classes, or normal numbers in float64."""
        drawn = torch.from_numpy(self.as_model(self.draw(rng, extent, batch)))
        return drawn.to(self.dtype) if self.classes else drawn


def zeros(shapes: Mapping[str, tuple[int, ...]], classes: Collection[str]) -> dict[str, torch.Tensor]:
    """Make an example of inputs of these shapes, of which some are class indices; its values do not matter."""
    return {name: torch.zeros(shape, dtype=torch.int64 if name in classes else None) for name, shape in shapes.items()}


def ports(module: torch.nn.Module, example: Any, axes: Mapping[str, str], classes: Mapping[str, int]) -> list[TensorPort]:
    """Read the example: a tensor, a tuple of them, or a mapping by the names of forward's arguments; the sequence comes first."""
    given, keyword = _named(module, example)
    if not given:
        raise ImportRefused("example: expected a tensor for the sequence, got none")
    names = list(given)
    for option, mapping in (("axes", axes), ("classes", classes)):
        if unknown := [name for name in mapping if name not in given]:
            raise ImportRefused(f"{option}: {unknown[0]!r} is no input of the example; these are {', '.join(names)}")
    first = _port(names[0], given[names[0]], "sequence", axes, classes, keyword, extent=None)
    extent = extent_of(first, given[names[0]])
    return [first] + [_port(name, given[name], None, axes, classes, keyword, extent=extent) for name in names[1:]]


def extent_of(port: Port, tensor: torch.Tensor) -> Extent:
    """Return how many positions a tensor of an input has: (T,), or (H, W) of an image."""
    return tuple(int(tensor.shape[port.axes.index(axis)]) for axis in port.places)


def _named(module: torch.nn.Module, example: Any) -> tuple[dict[str, torch.Tensor], bool]:
    keyword = isinstance(example, Mapping)
    if keyword:
        given, taken = dict(example), inspect.signature(module.forward).parameters
        named = all(p.kind is not p.VAR_KEYWORD for p in taken.values())
        if named and (unknown := [name for name in given if name not in taken]):
            raise ImportRefused(f"example: forward takes {', '.join(taken) or 'nothing'}, and no {unknown[0]!r}")
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
    extent: Extent | None,
) -> TensorPort:
    indexed = not tensor.is_floating_point()
    named = axes[name].upper() if name in axes else _guessed(name, tensor, indexed, extent)
    port = port_of(name, tuple(tensor.shape), indexed, named, role, classes.get(name))
    return TensorPort(port.name, port.role, port.axes, port.channels, port.classes, tensor.dtype, keyword)


def _guessed(name: str, tensor: torch.Tensor, indexed: bool, extent: Extent | None) -> str:
    """Guess the axes of an input that the caller left open. `extent` is that of the sequence, for a condition."""
    shape = tuple(tensor.shape)
    if extent is None:
        guesses = {2: "BT", 3: "BHW", 4: "BCHW"} if indexed else {2: "BT", 3: "BCT", 4: "BCHW"}
    elif len(extent) == 2:
        over = shape[-2:] == extent
        guesses = {1: "B", 2: "B1", 3: "BHW"} if indexed else {2: "BC", 3: "BHW" if over else "BC1"}
        guesses[4] = "BCHW" if over else "B111" if indexed else "BC11"
    elif indexed:
        guesses = {1: "B", 2: "BT" if shape[-1:] == extent else "B1"}
    else:
        guesses = {2: "BC", 3: "BCT" if shape[-1:] == extent else "BC1"}
    if tensor.ndim not in guesses:
        what = "a sequence of shape (B, T) or (B, C, T), an image of shape (B, C, H, W)"
        raise ImportRefused(f"example: {name}: expected {what}, or axes=, got shape {shape}")
    return guesses[tensor.ndim]
