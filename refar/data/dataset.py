"""What a data set is, and whether it fits a network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from refar import noise
from refar.analysis.facts import facts
from refar.analysis.types import Type
from refar.arguments.arrays import Array
from refar.errors import GraphError, InputError
from refar.graph.graph import Graph


@dataclass(frozen=True)
class Split:
    """Sequences x_bt (class indices) or x_bct (signals), or images x_bchw; and their conditions c_b or c_bc, if any."""

    x: Array
    condition: Array | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Array | slice) -> Split:
        return Split(self.x[rows], None if self.condition is None else self.condition[rows])


@dataclass(frozen=True)
class Dataset:
    """Sequences of one length, or images of one size, in three splits.

    `classes` is the number of classes of an index sequence, 0 for a signal; `condition_classes` likewise for the condition.
    `shape` is that of a picture, be it an image or a sequence that holds the pixels row by row.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    classes: int = 0
    condition_classes: int = 0
    shape: tuple[int, int] | None = None
    licence: str = "unknown"
    source: str = "unknown"

    @property
    def splits(self) -> dict[str, Split]:
        """All three by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def digest(self) -> str:
        """SHA-256 of all arrays."""
        digest = hashlib.sha256()
        for name, split in self.splits.items():
            for array in (split.x, split.condition):
                if array is not None:
                    digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
                    digest.update(array.tobytes())
        return digest.hexdigest()


def permutation(seed: int, stream: int, step: int, size: int) -> Array:
    """0..size-1 in an order that depends on (seed, stream, step) alone, the same with every version of NumPy."""
    return np.argsort(noise.uniform(seed, [stream], step, 1, size).reshape(size), kind="stable")


def for_graph(data: Dataset, graph: Graph) -> Dataset:
    """The data in the form that a graph takes: for one of images, sequences of pixels become images of one colour."""
    found = facts(graph)
    if data.shape is None or data.train.x.ndim != 2 or not found.types[found.sequence].image:
        return data
    height, width = data.shape
    images = [replace(split, x=split.x.reshape(-1, 1, height, width)) for split in data.splits.values()]
    return replace(data, train=images[0], valid=images[1], test=images[2])


def check_fit(data: Dataset, graph: Graph) -> None:
    """Raise unless the network can take these sequences and conditions.

    A network without a condition may be given data with one, which is then not used. Fewer classes than the network has
    are fine. Raises InputError for data that misfit, GraphError for a network with several conditions.
    """
    found = facts(graph)
    _check(f"data {data.name!r}: x", data.train.x, data.classes, found.types[found.sequence], found.sequence)
    if len(found.conditions) > 1:
        raise GraphError(f"a data set has one condition at most, but the graph has {', '.join(map(repr, found.conditions))}")
    for name in found.conditions:
        if data.train.condition is None:
            raise InputError(f"data {data.name!r} has no condition, but the graph needs {name!r} ({found.types[name]})")
        _check(f"data {data.name!r}: condition", data.train.condition, data.condition_classes, found.types[name], name)


def _check(what: str, array: Array, classes: int, kind: Type, name: str) -> None:
    if bool(classes) != kind.indexed:
        came = f"{classes} classes" if classes else "real numbers"
        raise InputError(f"{what}: the graph's input {name!r} expects {kind}, got {came}")
    if classes > kind.size:
        raise InputError(f"{what}: the graph's input {name!r} expects {kind}, got {classes} classes")
    if array.ndim != len(kind.axes):
        raise InputError(f"{what}: the graph's input {name!r} expects {kind}, got an array of shape {array.shape}")
    if "c" in kind.axes and array.shape[1] != kind.channels:
        raise InputError(f"{what}: the graph's input {name!r} expects {kind}, got {array.shape[1]} channels")
