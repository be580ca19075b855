"""What a data set is, and whether it fits a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refar import noise
from refar.analysis.facts import facts
from refar.analysis.types import Type
from refar.arguments.arrays import Array, extent
from refar.errors import InputError
from refar.graph.graph import Graph


@dataclass(frozen=True)
class Split:
    """Sequences x_bt (class indices) or x_bct (signals), or images x_bchw; and what belongs to each of them.

    `conditions` are arrays by the graph's names for them: global c_b or c_bc, local c_bt, c_bct or c_bchw. Data with one
    condition call it "condition", which fits the graph's only one whatever that is called. `target` y_bct is what the network
    should answer with where it maps one signal onto another. `lengths` (B,) says how many positions of each sequence are real
    where they differ; what is behind them is padding.
    """

    x: Array
    conditions: Mapping[str, Array] = field(default_factory=dict)
    target: Array | None = None
    lengths: Array | None = None

    @property
    def condition(self) -> Array | None:
        """The condition of data that have one: the only one, or the one called "condition"; None if there is none."""
        return next(iter(self.conditions.values())) if len(self.conditions) == 1 else self.conditions.get("condition")

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays by name, those that are not there left out; a condition bears its own name behind "condition "."""
        named = {"x": self.x, "target": self.target, "lengths": self.lengths}
        named |= {f"condition {name}": array for name, array in self.conditions.items()}
        return {name: array for name, array in named.items() if array is not None}

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Array | slice) -> Split:
        conditions = {name: array[rows] for name, array in self.conditions.items()}
        target, lengths = (None if array is None else array[rows] for array in (self.target, self.lengths))
        return Split(self.x[rows], conditions, target, lengths)


@dataclass(frozen=True)
class Dataset:
    """Sequences of one length, or images of one size, in three splits.

    `classes` is the number of classes of an index sequence, 0 for a signal; `classes_of` likewise for each condition by name.
    `shape` is that of a picture, be it an image or a sequence that holds the pixels row by row.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    classes: int = 0
    classes_of: Mapping[str, int] = field(default_factory=dict)
    shape: tuple[int, int] | None = None
    licence: str = "unknown"
    source: str = "unknown"

    @property
    def condition_classes(self) -> int:
        """The number of classes of the only condition, or of the one called "condition"; 0 if there is none, or of numbers."""
        return next(iter(self.classes_of.values())) if len(self.classes_of) == 1 else self.classes_of.get("condition", 0)

    @property
    def splits(self) -> dict[str, Split]:
        """All three by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def digest(self) -> str:
        """SHA-256 of all arrays."""
        digest = hashlib.sha256()
        for split, held in self.splits.items():
            for name, array in held.arrays.items():
                # As version 0.1.0 wrote it, when a split had no other arrays: runs of that version go on.
                title = split if name in ("x", "condition condition") else f"{split} {name}"
                digest.update(f"\n{title} {array.dtype.str} {array.shape}\n".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()


def permutation(seed: int, stream: int, step: int, size: int) -> Array:
    """0..size-1 in an order that depends on (seed, stream, step) alone, the same with every version of NumPy."""
    return np.argsort(noise.uniform(seed, [stream], step, 1, size).reshape(size), kind="stable")


def for_graph(data: Dataset, graph: Graph) -> Dataset:
    """The data in the form that a graph takes: a condition called "condition" gets the graph's name, if it has one condition.

    For a graph of images, sequences of pixels become images of one colour, and conditions over them too.
    """
    found = facts(graph)
    if len(found.conditions) == 1 and found.conditions[0] not in data.train.conditions:
        data = _renamed(data, {"condition": found.conditions[0]})
    if data.shape is None or data.train.x.ndim != 2 or not found.types[found.sequence].image:
        return data
    maps = [name for name in found.conditions if found.types[name].image and name in data.train.conditions]
    images = [_as_images(split, maps, data.shape) for split in data.splits.values()]
    return replace(data, train=images[0], valid=images[1], test=images[2])


def _renamed(data: Dataset, names: Mapping[str, str]) -> Dataset:
    if not names.keys() & data.train.conditions.keys():
        return data

    def named(values: Mapping[str, Any]) -> dict[str, Any]:
        return {names.get(name, name): value for name, value in values.items()}

    train, valid, test = (replace(split, conditions=named(split.conditions)) for split in data.splits.values())
    return replace(data, train=train, valid=valid, test=test, classes_of=named(data.classes_of))


def _as_images(split: Split, maps: Sequence[str], shape: tuple[int, int]) -> Split:
    over = {name: split.conditions[name] for name in maps if split.conditions[name].ndim < 4}
    conditions = {name: array.reshape(len(array), -1, *shape) for name, array in over.items()}
    return replace(split, x=split.x.reshape(-1, 1, *shape), conditions={**split.conditions, **conditions})


def check_fit(data: Dataset, graph: Graph) -> None:
    """Raise InputError unless the network can take these sequences and conditions.

    Conditions that the network does not have are not used. Fewer classes than the network has are fine.
    """
    found = facts(graph)
    _check(f"data {data.name!r}: x", data.train.x, data.classes, found.types[found.sequence], found.sequence)
    given = data.train.conditions
    for name in found.conditions:
        if name not in given:
            held = f"only {', '.join(map(repr, given))}" if given else "no condition"
            raise InputError(f"data {data.name!r} has {held}, but the graph needs {name!r} ({found.types[name]})")
        what = "condition" if len(found.conditions) == 1 else f"condition {name!r}"
        _check(f"data {data.name!r}: {what}", given[name], data.classes_of.get(name, 0), found.types[name], name)
        wanted, came = (extent(found.types[n], array) for n, array in ((found.sequence, data.train.x), (name, given[name])))
        if found.types[name].timed and came != wanted:
            raise InputError(f"data {data.name!r}: {what}: expected {_size(wanted)} as x has, got {_size(came)}")


def _size(extents: tuple[int, ...]) -> str:
    return f"{extents[0]} positions" if len(extents) == 1 else f"{' x '.join(map(str, extents))} pixels"


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
