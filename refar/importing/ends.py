"""Both ends of an imported model: its inputs in the draft, its output, and the graph that is returned."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import numpy as np

from refar.analysis.causality import is_strict, receptive_field
from refar.building.rewrite import strictify
from refar.errors import InputError
from refar.graph.graph import Padding
from refar.importing.agreement import Agreement, Found
from refar.importing.draft import GraphDraft
from refar.importing.imported import Imported, ImportReport
from refar.importing.in_time import looks_ahead
from refar.importing.ports import Port
from refar.importing.refusal import ImportRefused, Place
from refar.importing.values import Labelled, Part, Runs
from refar.ops import AnyHead

MORE = (0, 1, 17)
"""By how much the lengths exceed the shortest at which a model is read."""


def require_shift(shift: str) -> None:
    """Refuse a word that says nothing of a shift."""
    if shift not in ("none", "input", "output"):
        raise InputError(f"shift: expected 'none', 'input' or 'output', got {shift!r}")


def runs_of(length: int, batches: tuple[int, int] = (2, 3)) -> Runs:
    """Return the lengths and batches at which a model is read: numbers that depend on them differ between these."""
    one, other = batches
    return Runs((*(length + n for n in MORE), length), (one, one, one, other))


def concluded(
    draft: GraphDraft,
    output: Labelled,
    inputs: Sequence[Port],
    *,
    head: AnyHead | None,
    padding: Padding | None,
    shift: Literal["none", "input", "output"],
    noun: str,
    own: Collection[str],
    notes: Sequence[str],
    compare: Callable[[Found, int], Agreement],
    with_gradients: bool,
) -> Imported:
    """Make the graph, have it compared with the model, which is called `noun`, and return it with its report.

    `own` are the names of the model's own parameters. `compare` holds what was found, of a receptive field, against the model,
    and raises ImportRefused where they differ.
    """
    chosen = _padding(draft, output, padding, noun)
    graph, params, origins = draft.finish(output.node, head, chosen)
    for name, array in params.items():
        if not np.isfinite(array).all():
            raise ImportRefused(f"the parameter {name}, made from {origins[name]}, is not finite")
    field = receptive_field(graph)
    assert isinstance(field, int)  # of a graph over time
    agreement = compare(Found(graph, params, origins, inputs, output, noun), field)
    said = [*notes, *draft.notes, *_notes(output, chosen, origins, own, noun), *agreement.notes]
    if shift != "none" and not is_strict(graph):
        graph = strictify(graph, at=shift)
        said.append(f"one position later, at the {shift}: the {noun}'s own output at t is the graph's at t + 1")
    gradient = agreement.beside if with_gradients else math.nan
    report = ImportReport(field, chosen, origins, agreement.value, gradient, agreement.checked, tuple(said))
    return Imported(graph, params, report)


def input_value(draft: GraphDraft, port: Port) -> Labelled:
    """Put an input into the draft."""
    node = draft.add(port.op, wish=port.name)
    return Labelled(
        node,
        port.axes,
        port.classes or port.channels,
        indexed=port.classes > 0,
        timed=port.role != "global",
        place=Place(port.name),
    )


def output_value(draft: GraphDraft, given: Any, noun: str) -> Labelled:
    """Return the one value that a model gives. Raises ImportRefused unless it is a causal output over time."""
    while isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if isinstance(given, Part):
        raise given.error
    if not isinstance(given, Labelled):
        raise ImportRefused(f"the {noun}'s output is no value of its input; return one tensor that is computed from it")
    kept = tuple(axis for axis in given.axes if axis != "1")
    if sorted(kept) not in (["B", "C", "T"], ["B", "T"]) or not given.timed or given.indexed:
        raise ImportRefused(
            f"the {noun}'s output has the axes {', '.join(given.axes)}; expected B, C, T: a value at every position"
        )
    if given.first > 0 and given.end > 0:
        raise looks_ahead(draft, given)
    if given.end > 0:
        raise ImportRefused(
            f"the {noun}'s output is {given.end - given.first} positions longer than its input: its last {given.end} stand after "
            f"the end of the sequence (the last call is {given.place}); cut them off: x[..., :-{given.end}]"
        )
    return given


def _padding(draft: GraphDraft, output: Labelled, wanted: Padding | None, noun: str) -> Padding:
    """Choose the padding under which the graph is the model. Raises ImportRefused if there is none, or not the one wanted."""
    against = draft.against(output.node)
    if wanted is not None:
        if wanted in against:
            raise ImportRefused(f"padding {wanted!r} is not that of the {noun}: {against[wanted]}")
        return wanted
    order: tuple[Padding, ...] = ("input", "layer") if output.first > 0 else ("layer", "input")
    for padding in order:
        if padding not in against:
            return padding
    raise ImportRefused(
        "the values before the first position are neither zero at every layer nor zero at the input alone: "
        f"not the first, since {against['layer']}; not the second, since {against['input']}"
    )


def _notes(output: Labelled, padding: Padding, origins: dict[str, str], own: Collection[str], noun: str) -> list[str]:
    notes = []
    if output.first > 0:
        notes.append(
            f"the {noun} has no outputs for the first {output.first} positions; the graph's there are new, of padding {padding!r}"
        )
    if output.first < 0:
        notes.append(f"the first {-output.first} outputs of the {noun}, which stand before the first input, are left out")
    if output.end < 0:
        notes.append(f"the {noun} has no outputs for the last {-output.end} positions; the graph's there are new")
    readers: dict[str, dict[str, None]] = {}
    for name, origin in origins.items():
        for one in origin.split(", "):
            readers.setdefault(one, {})[name.rpartition(".")[0]] = None
    for one, nodes in readers.items():
        if len(nodes) > 1 and one in own:
            notes.append(f"{one} is used more than once, and copied under each name: {', '.join(nodes)}")
    return notes
