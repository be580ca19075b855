"""DATA on the command line: a data set by name, or a file of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, check_array
from refar.cli import files, values
from refar.cli.sources import Source, near_file
from refar.errors import FileError, InputError, RefarError, near
from refar.graph.graph import Graph

HELP = "A .npz (x, condition), .npy or .csv file, or a data set, as in digits or digits:test."


@dataclass(frozen=True)
class Examples:
    """Sequences of a graph and what the data hold of its conditions."""

    title: str
    x: Array
    conditions: dict[str, Array]


def load(text: str, graph: Graph, *, conditions: bool = True) -> Examples:
    """Data that fit the graph, their conditions if wanted. Raises FileError or InputError naming what was tried."""
    found = facts(graph)
    title, x, given = _read(text, graph, found.conditions)
    x = values.fit(found.sequence, x, found.types[found.sequence])
    if x.size == 0:
        raise InputError(f"data {text!r}: expected at least one value, got shape {x.shape}")
    wanted = [name for name in found.conditions if name in given] if conditions else []
    fitting = {name: values.fit(name, given[name], found.types[name]) for name in wanted}
    for name, array in fitting.items():
        if len(array) != len(x):
            raise InputError(f"data {text!r}: {name!r} has {len(array)} rows, 'x' has {len(x)}")
    try:
        checked = {name: check_array(name, array, found.types[name]) for name, array in {found.sequence: x, **fitting}.items()}
    except InputError as error:
        raise InputError(f"data {text!r}: {error}") from None
    return Examples(title, checked.pop(found.sequence), checked)


def _read(text: str, graph: Graph, conditions: tuple[str, ...]) -> tuple[str, Array, dict[str, Array]]:
    """A title, the sequences, and the conditions under the graph's names for them."""
    from refar import data
    from refar.data.dataset import for_graph

    name, _, split = text.partition(":")
    path = Path(text)
    given: dict[str, Array]
    if name in data.NAMES:
        splits = for_graph(data.load(name), graph).splits
        if (split or "test") not in splits:
            raise InputError(f"data {text!r}: expected one of the splits {', '.join(splits)}, got {split!r}")
        chosen = splits[split or "test"]
        title, x, given = f"{name}, {split or 'test'} split", chosen.x, dict(chosen.conditions)
    elif not path.exists():
        hint = near(name, data.NAMES) or near_file(path)
        raise FileError(f"data {text!r} is neither a file nor a data set ({', '.join(data.NAMES)}){hint}")
    elif path.suffix.lower() == ".npz":
        known = ("x", "condition", *conditions, *(f"condition_{name}" for name in conditions))
        arrays = data.read_npz(path, tuple(dict.fromkeys(known)))
        title, x = text, arrays.pop("x")
        given = {name if name in conditions else name.removeprefix("condition_"): array for name, array in arrays.items()}
    else:
        title, x, given = text, files.read_array(path, "data"), {}
    if len(conditions) == 1 and "condition" in given:
        if len(given) > 1:
            raise InputError(f"data {text!r}: {conditions[0]!r} is given twice, by its name and as 'condition'")
        given = {conditions[0]: given["condition"]}
    return title, x, given


def metadata(run: Source) -> dict[str, str]:
    """What a bundle should know of the data its network was trained on; nothing if the data are not there."""
    from refar import data
    from refar.training.runs import load_run

    assert run.path is not None
    source = load_run(run.path).config.data.source
    try:
        shape = data.load(source).shape
    except RefarError:
        return {}
    known = {"data": source} if source in data.NAMES else {}
    return known if shape is None else {**known, "picture": f"{shape[0]}x{shape[1]}"}
