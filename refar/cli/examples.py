"""DATA on the command line: a data set by name, or a file of the user's own."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refar.arrays import Array
from refar.cli import files, values
from refar.cli.sources import Source, near, near_file
from refar.errors import FileError, InputError, RefarError
from refar.graph import Graph
from refar.infer import analyse

HELP = "A .npz (x, condition), .npy or .csv file, or a data set, as in digits or digits:test."


@dataclass(frozen=True)
class Examples:
    """Sequences and, if the data hold them, conditions, as arrays that are not checked against a graph yet."""

    title: str
    x: Array
    condition: Array | None = None


def load(text: str, graph: Graph) -> Examples:
    """Raises FileError or InputError naming what was tried."""
    from refar import data

    name, _, split = text.partition(":")
    if name in data.NAMES:
        splits = data.load(name).splits
        if (split or "test") not in splits:
            raise InputError(f"data {text!r}: expected one of the splits {', '.join(splits)}, got {split!r}")
        chosen = splits[split or "test"]
        return Examples(f"{name}, {split or 'test'} split", chosen.x, chosen.condition)
    path = Path(text)
    if not path.exists():
        hint = near(name, data.NAMES) or near_file(path)
        raise FileError(f"data {text!r} is neither a file nor a data set ({', '.join(data.NAMES)}){hint}")
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    return Examples(text, values.sequence(graph, files.read_array(path, "data")))


def _read_npz(path: Path) -> Examples:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(f"data {str(path)!r} cannot be read as .npz: {error}") from None
    if "x" not in arrays or not arrays.keys() <= {"x", "condition"}:
        raise FileError(f"data {str(path)!r}: expected the arrays x and, if there is one, condition; got {', '.join(arrays)}")
    return Examples(str(path), arrays["x"], arrays.get("condition"))


def condition(graph: Graph, examples: Examples, texts: list[str]) -> dict[str, Array] | None:
    """The condition to score under: the options' if given, else the data's."""
    names = analyse(graph).conditions
    if texts or examples.condition is None or len(names) != 1:
        given = values.conditions(graph, texts)
        rows = len(examples.x)
        return {n: np.repeat(c, rows, axis=0) if len(c) == 1 else c for n, c in given.items()} if given else None
    return {names[0]: examples.condition}


def metadata(run: Source) -> dict[str, str]:
    """What a bundle should know of the data its network was trained on; nothing if the data are not there."""
    from refar import data
    from refar.runs import load_run

    assert run.path is not None
    source = load_run(run.path).config.data.source
    try:
        shape = data.load(source).shape
    except RefarError:
        return {}
    known = {"data": source} if source in data.NAMES else {}
    return known if shape is None else {**known, "picture": f"{shape[0]}x{shape[1]}"}
