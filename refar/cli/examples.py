"""DATA on the command line: the data of a training, a data set by name, or a file or folder of the user's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, check_array
from refar.cli import files, values
from refar.cli.sources import Source, near_file
from refar.errors import FileError, InputError, RefarError, near
from refar.graph.graph import Graph

if TYPE_CHECKING:
    from refar.data import Dataset, Split
    from refar.data.described import DataConfig
    from refar.data.meaning import Meaning
    from refar.data.record import Record

HELP = "data:test, what the training held out; digits:test, a data set; mine.npz:test, my.csv, a folder: files of your own."


@dataclass(frozen=True)
class Examples:
    """Sequences of a graph and what the data hold of its conditions; `dtype` is that of the sequences as the data hold them.

    `lengths` (B,) says how many positions of each sequence are real, where that is not all of them. `target` v_bct is what the
    network should answer with, where the data are pairs: then the sequences are inputs, and nothing that a network models.
    `held` are the arrays of the data as they are, the sequences as "x", for an encoder.
    """

    title: str
    x: Array
    conditions: dict[str, Array]
    dtype: np.dtype[Any]
    lengths: Array | None = None
    target: Array | None = None
    held: dict[str, Array] = field(default_factory=dict)

    @property
    def values(self) -> Array:
        """The number of real values of each sequence, (B,): those that are no padding."""
        if self.lengths is None:
            return np.full(len(self.x), math.prod(self.x.shape[1:]))
        return self.lengths.astype(np.int64) * math.prod(self.x.shape[1:-1])

    def require_sequences(self, text: str) -> None:
        """Raise InputError for pairs, which are named `text`: of them nats are not defined."""
        if self.target is not None:
            raise InputError(f"data {text!r} holds pairs of x and 'target', of which nats are not defined")

    def require_one_length(self, text: str, purpose: str) -> None:
        """Raise InputError unless all positions of the data, which are named `text`, are real."""
        if self.lengths is not None:
            row = int(np.argmax(self.lengths < self.x.shape[-1]))
            raise InputError(
                f"data {text!r}: {purpose} takes sequences of one length, but by 'lengths' sequence {row} has "
                f"{self.lengths[row]} of {self.x.shape[-1]} positions"
            )


def load(
    text: str, graph: Graph, record: Record | None = None, *, conditions: bool = True, encoded: str | None = None
) -> Examples:
    """Data that fit the graph, their conditions if wanted, but for the one that is `encoded`, which an encoder makes.

    `record` says on which data the network was trained.

    Raises FileError or InputError naming what was tried.
    """
    found = facts(graph)
    title, split = _read(text, graph, record)
    x, given, dtype = split.x, split.conditions, split.x.dtype
    x = values.fit(found.sequence, x, found.types[found.sequence])
    if x.size == 0:
        raise InputError(f"data {text!r}: expected at least one value, got shape {x.shape}")
    wanted = [name for name in found.conditions if name in given and name != encoded] if conditions else []
    fitting = {name: values.fit(name, given[name], found.types[name]) for name in wanted}
    for name, array in fitting.items():
        if len(array) != len(x):
            raise InputError(f"data {text!r}: {name!r} has {len(array)} rows, 'x' has {len(x)}")
    try:
        checked = {name: check_array(name, array, found.types[name]) for name, array in {found.sequence: x, **fitting}.items()}
    except InputError as error:
        raise InputError(f"data {text!r}: {error}") from None
    fitted = checked.pop(found.sequence)
    lengths = split.lengths if split.lengths is not None and (split.lengths < fitted.shape[-1]).any() else None
    held = {"x": split.x, **split.conditions}
    return Examples(title, fitted, checked, dtype, lengths, split.target, held)


def _read(text: str, graph: Graph, record: Record | None) -> tuple[str, Split]:
    """A title, and the sequences with what belongs to them, the conditions under the graph's names for them."""
    from refar import data

    source, colon, part = (text, "", "") if Path(text).exists() else text.rpartition(":")
    source, part = (source, part) if colon else (text, "")
    if source == "data":
        return _part(text, _of_training(text, record), part, graph, record)
    if source in data.NAMES:
        trained = record is not None and record.table.name == source  # by the same levels, then
        return _part(text, data.load(record.table if record is not None and trained else source), part, graph, None)
    if Path(source).exists() and part:
        described = _described(source, record)
        known = record if record is not None and described == record.table else None
        if known is None and record is not None:
            known = msgspec.structs.replace(record, table=described, division=None, digests={})
        return _part(text, data.load(described, known), part, graph, known)
    if not Path(text).exists():
        hint = near(source, data.NAMES) or near_file(Path(source))
        raise FileError(f"data {text!r} is neither a file nor a data set ({', '.join(data.NAMES)}){hint}")
    return _file(text, graph, record)


def _of_training(text: str, record: Record | None) -> Dataset:
    from refar import data

    if record is None:
        raise InputError(f"data {text!r}: nothing says what this network was trained on; name a file, as in mine.npz:test")
    try:
        return data.load(record.table, record)
    except RefarError as error:
        hint = "" if record.table.path is None else "; name them with their folder, as in folder/mine.npz:test"
        raise FileError(f"data {text!r}: the data of the training cannot be read: {error}{hint}") from None


def _part(text: str, whole: Dataset, part: str, graph: Graph, record: Record | None) -> tuple[str, Split]:
    """One part of a data set, the test part if none is named. Raises FileError if it is not the one that was held out."""
    from refar.data.dataset import for_graph

    name = part or "test"
    if name not in whole.splits:
        raise InputError(f"data {text!r}: expected one of the splits {', '.join(whole.splits)}, got {name!r}")
    expected = None if record is None else record.digests.get(name)
    if expected not in (None, whole.digest_of(name)):
        raise FileError(
            f"data {text!r}: expected the {name} part that the training saw, SHA-256 {expected[:12]}…, got another: "
            f"{whole.source!r} has changed"
        )
    return f"{whole.name}, {name} split", _all(for_graph(whole, graph).splits[name])


def _all(split: object) -> Split:
    """Every example once; of a series that is drawn at random places, the windows that do not overlap."""
    from refar.data.crops import Crops
    from refar.data.dataset import Chosen, Split

    if isinstance(split, Crops):
        return split.side_by_side()
    assert isinstance(split, Split | Chosen)
    return split[:]


def _described(path: str, record: Record | None) -> DataConfig:
    """The table [data] for another file: that of the training, if the file is of the same kind, else one without options."""
    from refar.data.described import DataConfig
    from refar.data.kinds import kind_of

    plain = DataConfig(path=str(Path(path).absolute()))
    if record is None or record.table.path is None:
        return plain
    before: str | None
    try:
        before = kind_of(record.table, Path(record.table.path))
    except FileError:  # the data of the training are gone; their meaning says enough
        before = {"series": "table", "sound": "sound", "picture": "pictures"}.get(record.meaning.kind)
    same = before == kind_of(plain, Path(path)) or (before is None and Path(record.table.path).suffix == Path(path).suffix)
    return msgspec.structs.replace(record.table, path=plain.path) if same else plain


def _file(text: str, graph: Graph, record: Record | None) -> tuple[str, Split]:
    """All of a file in the numbers that the network was trained on; those of .npz are taken to be so."""
    from refar import data
    from refar.data.dataset import Dataset, Split, for_graph
    from refar.data.npy import network_numbers
    from refar.data.npz import without_padding

    path, conditions = Path(text), facts(graph).conditions
    if path.suffix.lower() == ".npz":
        arrays = data.read_npz(path, tuple(dict.fromkeys(("x", "condition", "target", "lengths", *conditions))))
        if "lengths" not in conditions:
            arrays = without_padding(path.name, arrays)
        x = arrays.pop("x")
        lengths, target = (None if name in conditions else arrays.pop(name, None) for name in ("lengths", "target"))
        return text, Split(x, _of_one(text, arrays, conditions), target, lengths)
    if path.suffix.lower() == ".npy" or (path.suffix.lower() == ".csv" and (record is None or record.meaning.kind != "series")):
        array = files.read_array(path, "data")
        if path.suffix.lower() == ".npy":
            array = network_numbers(f"data {text!r}", array, meaning_of(record))
        return text, Split(array)
    if record is None:
        raise InputError(f"data {text!r}: nothing says on which data this network was trained; expected .npz, .npy or .csv")
    from refar.data.load import whole

    described = _described(text, record)
    if path.is_file():  # a file alone has no folder that would be its class
        described = msgspec.structs.replace(described, condition=None)
    split, note = whole(described, record.meaning)
    shaped = for_graph(Dataset(path.name, split, split, split, shape=record.meaning.size, meaning=record.meaning), graph)
    return f"{text} ({note})" if note else text, shaped.test


def _of_one(text: str, given: dict[str, Array], conditions: tuple[str, ...]) -> dict[str, Array]:
    """Conditions by the graph's names: "condition" is the graph's only one, whatever that is called."""
    if len(conditions) != 1 or "condition" not in given:
        return given
    if len(given) > 1:
        raise InputError(f"data {text!r}: {conditions[0]!r} is given twice, by its name and as 'condition'")
    return {conditions[0]: given["condition"]}


def metadata(run: Source) -> dict[str, str]:
    """What a bundle should know of the data its network was trained on; nothing if the data are not there."""
    from refar import data
    from refar.data.record import Record, to_text
    from refar.training.runs import load_run, read_record

    assert run.path is not None
    table = load_run(run.path).config.data
    record = read_record(run.path)
    try:
        size = data.load(table).shape if record is None else record.meaning.size
    except RefarError:
        return {}
    known = {"data": table.source} if table.source in data.NAMES else {}
    if size is not None:
        known["picture"] = f"{size[0]}x{size[1]}"
    return {**known, "record": to_text(record or Record(table), indent=-1)}


def to_share(metadata: Mapping[str, str]) -> dict[str, str]:
    """The same for others: of the path of the data only its last part, as the folders of one machine are nobody's concern."""
    from refar.data.record import to_text

    record = record_of(metadata)
    if record is None or record.table.path is None:
        return dict(metadata)
    name = Path(record.table.path).name
    source = name if record.source == record.table.path else record.source
    table = msgspec.structs.replace(record.table, path=name)
    return {**metadata, "record": to_text(msgspec.structs.replace(record, table=table, source=source), indent=-1)}


def record_of(metadata: Mapping[str, str]) -> Record | None:
    """Read the record of the data that is in a bundle; None for a bundle without one, or with nothing but the name of the data.

    A path in it begins at the present folder.
    """
    from refar.data.described import DataConfig
    from refar.data.record import Record, from_json

    if "record" in metadata:
        record = from_json(metadata["record"], "bundle.json: record of the data")
        if record.table.path is None:
            return record
        table = msgspec.structs.replace(record.table, path=str(Path(record.table.path).absolute()))
        return msgspec.structs.replace(record, table=table)
    return Record(DataConfig(name=metadata["data"])) if "data" in metadata else None


def meaning_of(record: Record | None) -> Meaning:
    """Return the meaning that a record holds; that of bare numbers without a record."""
    from refar.data.meaning import Meaning

    return Meaning() if record is None else record.meaning
