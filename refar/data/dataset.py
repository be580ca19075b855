"""What a data set is, and whether it fits a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from refar import noise
from refar.analysis.facts import facts
from refar.analysis.types import Type
from refar.arguments.arrays import Array, extent
from refar.data.division import Division
from refar.data.meaning import Meaning
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
        taken = self.take(rows)
        conditions = {name: widened(array) for name, array in taken.conditions.items()}
        return replace(taken, x=widened(taken.x), conditions=conditions)

    def take(self, rows: Array | slice) -> Split:
        """The rows in the dtypes that they are kept in; `split[rows]` has class indices as int64, as networks take them."""
        conditions = {name: array[rows] for name, array in self.conditions.items()}
        target, lengths = (None if array is None else array[rows] for array in (self.target, self.lengths))
        return Split(self.x[rows], conditions, target, lengths)


class OfOneLength:
    """Data without pairs, of which all sequences have one length."""

    @property
    def target(self) -> None:
        """None: such data are no pairs."""

    @property
    def lengths(self) -> None:
        """None: such data are all of one length."""


@dataclass(frozen=True)
class Chosen(OfOneLength):
    """Some rows of arrays that stay where they are, perhaps on disk: those of `rows`, in their order."""

    x: Array
    rows: Array
    conditions: Mapping[str, Array] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays by name."""
        return {"x": self.x, "rows": self.rows, **{f"condition {name}": array for name, array in self.conditions.items()}}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Array | slice) -> Split:
        return Split(self.x, self.conditions)[self.rows[rows]]


class Supply(Protocol):
    """The examples that training draws its batches from: a `Split`, or something that makes one of any of its rows.

    Of `x` only the dtype, and the shape but for the first axis, tell something of those rows.
    """

    @property
    def x(self) -> Array:
        """An array like that of the rows."""

    @property
    def target(self) -> Array | None:
        """The signals that a network from one signal onto another should answer with; None for data without pairs."""

    @property
    def lengths(self) -> Array | None:
        """The number of real positions of each sequence; None where all are of one length."""

    @property
    def conditions(self) -> Mapping[str, Array]:
        """Arrays by the graph's names for the conditions."""

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays by name."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Array | slice) -> Split: ...


@dataclass(frozen=True)
class Dataset:
    """Sequences of one length, or images of one size, in three splits.

    `classes` is the number of classes of an index sequence, 0 for a signal; `classes_of` likewise for each condition by name.
    `shape` is that of a picture, be it an image or a sequence that holds the pixels row by row. `window` is the length of the
    sequences that a series was cut into. `meaning` says what the numbers stand for, `division` how the splits were made, and
    `notes` are what a reader should know, such as what was left out.
    """

    name: str
    train: Supply
    valid: Split
    test: Split
    classes: int = 0
    classes_of: Mapping[str, int] = field(default_factory=dict)
    shape: tuple[int, int] | None = None
    licence: str = "unknown"
    source: str = "unknown"
    window: int | None = None
    meaning: Meaning = Meaning()  # noqa: RUF009 -- it is frozen
    division: Division | None = None
    notes: tuple[str, ...] = ()

    @property
    def condition_classes(self) -> int:
        """The number of classes of the only condition, or of the one called "condition"; 0 if there is none, or of numbers."""
        return next(iter(self.classes_of.values())) if len(self.classes_of) == 1 else self.classes_of.get("condition", 0)

    @property
    def splits(self) -> dict[str, Supply]:
        """All three by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def digest(self) -> str:
        """SHA-256 of all arrays, which are read for it once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for split, held in self.splits.items():
            for name, array in held.arrays.items():
                # As version 0.1.0 wrote it, when a split had no other arrays: runs of that version go on.
                title = split if name in ("x", "condition condition") else f"{split} {name}"
                _add(digest, title, array)
        return digest.hexdigest()

    def digest_of(self, name: str) -> str:
        """SHA-256 of the arrays of one split."""
        digest = hashlib.sha256()
        for title, array in self.splits[name].arrays.items():
            _add(digest, title, array)
        return digest.hexdigest()


def widened(array: Array) -> Array:
    """Class indices as int64, whatever integers they are kept as; other numbers as they are."""
    return array.astype(np.int64, copy=False) if array.dtype.kind in "iu" else np.asarray(array)


def _add(digest: Any, title: str, array: Array) -> None:
    """Integers count as int64, so that it does not matter how they are kept; no array is widened as a whole."""
    dtype = np.dtype(np.int64) if array.dtype.kind in "iu" else array.dtype
    digest.update(f"\n{title} {dtype.str} {array.shape}\n".encode())
    rows = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
    step = max(1, 2**20 // max(1, rows.shape[1]))
    for first in range(0, len(rows), step):
        digest.update(np.ascontiguousarray(widened(rows[first : first + step])).data)


def permutation(seed: int, stream: int, step: int, size: int) -> Array:
    """0..size-1 in an order that depends on (seed, stream, step) alone, the same with every version of NumPy."""
    return np.argsort(noise.uniform(seed, [stream], step, 1, size).reshape(size), kind="stable")


def for_graph(data: Dataset, graph: Graph) -> Dataset:
    """The data in the form that a graph takes: a condition called "condition" gets the graph's name, if it has one condition.

    For a graph of images, sequences of pixels become images of one colour, and conditions over them too. For a graph over
    time, pictures become sequences, row by row, each pixel's red, green and blue one after the other.
    """
    found = facts(graph)
    if len(found.conditions) == 1 and found.conditions[0] not in data.valid.conditions:
        data = _renamed(data, {"condition": found.conditions[0]})
    image = found.types[found.sequence].image
    if data.meaning.kind == "picture" and data.valid.x.ndim == 4 and not image:
        sequences = _reshaped(data, _as_sequences)
        return replace(sequences, shape=data.shape if data.valid.x.shape[1] == 1 else None)
    if data.shape is None or data.valid.x.ndim != 2 or not image:
        return data
    maps = [name for name in found.conditions if found.types[name].image and name in data.valid.conditions]
    shape = data.shape
    return _reshaped(data, lambda split: _as_images(split, maps, shape))


def _reshaped(data: Dataset, reshape: Callable[[Any], Any]) -> Dataset:
    train, valid, test = (reshape(split) for split in data.splits.values())
    return replace(data, train=train, valid=valid, test=test)


def _as_sequences(split: Any) -> Any:
    return replace(split, x=np.moveaxis(split.x, 1, -1).reshape(len(split.x), -1))


def _renamed(data: Dataset, names: Mapping[str, str]) -> Dataset:
    if not names.keys() & data.valid.conditions.keys():
        return data

    def named(values: Mapping[str, Any]) -> dict[str, Any]:
        return {names.get(name, name): value for name, value in values.items()}

    renamed = _reshaped(data, lambda split: replace(split, conditions=named(split.conditions)))
    return replace(renamed, classes_of=named(data.classes_of))


def _as_images(split: Any, maps: Sequence[str], shape: tuple[int, int]) -> Any:
    over = {name: split.conditions[name] for name in maps if split.conditions[name].ndim < 4}
    conditions = {name: array.reshape(len(array), -1, *shape) for name, array in over.items()}
    return replace(split, x=split.x.reshape(-1, 1, *shape), conditions={**split.conditions, **conditions})


def check_fit(data: Dataset, graph: Graph, made: Collection[str] = ()) -> None:
    """Raise InputError unless the network can take these sequences and conditions; those in `made` come from elsewhere.

    Conditions that the network does not have are not used. Fewer classes than the network has are fine.
    """
    found = facts(graph)
    _check_columns(data, found.types[found.sequence])
    _check(f"data {data.name!r}: x", data.train.x, data.classes, found.types[found.sequence], found.sequence, "classes")
    given = data.train.conditions
    for name in [name for name in found.conditions if name not in made]:
        if name not in given:
            held = f"only {', '.join(map(repr, given))}" if given else "no condition"
            raise InputError(f"data {data.name!r} has {held}, but the graph needs {name!r} ({found.types[name]})")
        what = "condition" if len(found.conditions) == 1 else f"condition {name!r}"
        _check(f"data {data.name!r}: {what}", given[name], data.classes_of.get(name, 0), found.types[name], name, name)
        wanted, came = (extent(found.types[n], array) for n, array in ((found.sequence, data.train.x), (name, given[name])))
        if found.types[name].timed and came != wanted:
            raise InputError(f"data {data.name!r}: {what}: expected {_size(wanted)} as x has, got {_size(came)}")


def _check_columns(data: Dataset, kind: Type) -> None:
    """Raise InputError for a table with another number of columns than the network has channels."""
    columns = data.meaning.columns
    if kind.axes == "bct" and columns and data.train.x.ndim == 3 and len(columns) != kind.channels:
        one = "one channel" if kind.channels == 1 else f"{kind.channels} channels"
        raise InputError(
            f"data {data.name!r}: the network models {one}, got the columns {', '.join(columns)}; "
            f"say with `column` in [data] which, or take a network of {len(columns)} channels"
        )


def guessed_last(array: Array) -> str:
    """A hint for an array with more channels than positions in a line, whose channels are likely to come last; else nothing."""
    return last_axis(array) if array.ndim > 2 and array.shape[1] > array.shape[-1] else ""


def last_axis(array: Array) -> str:
    """Return advice for an array whose channels come last."""
    axes = "(N, H, W, C)" if array.ndim == 4 else "(N, T, C)"
    return f"; yours may be {axes} {array.shape}: move the last axis to the second place"


def _size(extents: tuple[int, ...]) -> str:
    return f"{extents[0]} positions" if len(extents) == 1 else f"{' x '.join(map(str, extents))} pixels"


def _check(what: str, array: Array, classes: int, kind: Type, name: str, option: str) -> None:
    if bool(classes) != kind.indexed:
        came = f"{classes} classes" if classes else "real numbers"
        raise InputError(f"{what}: the graph's input {name!r} expects {kind}, got {came}")
    if classes > kind.size:
        value = f"classes = {classes}" if option == "classes" else f'{option} = "class:{classes}"'
        raise InputError(
            f"{what}: the graph's input {name!r} expects {kind}, got {classes} classes; write {value} in [model], or leave it out"
        )
    if array.ndim != len(kind.axes):
        raise InputError(f"{what}: the graph's input {name!r} expects {kind}, got an array of shape {array.shape}")
    if "c" in kind.axes and array.shape[1] != kind.channels:
        hint = last_axis(array) if array.ndim > 2 and array.shape[-1] == kind.channels else guessed_last(array)
        raise InputError(f"{what}: the graph's input {name!r} expects {kind}, got {array.shape[1]} channels{hint}")
