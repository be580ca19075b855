"""Both ends of an imported model: its inputs in the draft, its output, and the graph that is returned."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np

from refar import ops
from refar.analysis.causality import is_strict, offsets, receptive_field
from refar.analysis.facts import facts
from refar.analysis.offsets import union
from refar.building.rewrite import strictify
from refar.errors import InputError
from refar.graph.graph import Graph, Padding
from refar.importing.agreement import Agreement, Found
from refar.importing.beginnings import classes_before
from refar.importing.colours import in_order
from refar.importing.draft import Built, GraphDraft, built
from refar.importing.imported import Imported, ImportReport
from refar.importing.moves import ahead, looks_ahead
from refar.importing.ports import Port, places_of
from refar.importing.probes import Extent
from refar.importing.refusal import ImportRefused, Place, refuse
from refar.importing.values import Labelled, Part, Runs, Span
from refar.ops import AnyHead

MORE = {"T": (0, 1, 17, 0), "H": (0, 1, 17, 0), "W": (0, 17, 1, 0)}
"""By how much the lengths exceed the shortest at which a model is read, in each of its runs."""


def require_shift(shift: str, start: int | None) -> None:
    """Refuse a word that says nothing of a shift, and a shift at the output beside a start token."""
    if shift not in ("none", "input", "output"):
        raise InputError(f"shift: expected 'none', 'input' or 'output', got {shift!r}")
    if start is not None and shift == "output":
        raise InputError("start_token stands in front of the input; leave shift out beside it, or say shift='input'")


def runs_of(extent: Extent, batches: tuple[int, int] = (2, 3)) -> Runs:
    """Return the lengths and batches at which a model is read: numbers that depend on them differ between these."""
    one, other = batches
    places = {axis: tuple(length + n for n in MORE[axis]) for axis, length in places_of(extent).items()}
    return Runs(places, (one, one, one, other))


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
    compare: Callable[[Found, Extent], Agreement],
    with_gradients: bool,
) -> Imported:
    """Make the graph, have it compared with the model, which is called `noun`, and return it with its report.

    `own` are the names of the model's own parameters. `compare` holds what was found, of a receptive field, against the model,
    and raises ImportRefused where they differ.
    """
    start, classes = inputs[0].start, inputs[0].classes
    if start is not None and output.size == start == classes - 1:
        raise ImportRefused(
            f"the {noun} gives {start} channels, and start_token {start} is no class of its output: say classes={start}"
        )
    chosen = _padding(draft, output, padding, noun)
    found, output, arranged = _arranged(draft, output, head, chosen)
    graph, params, origins = found.graph, found.params, found.origins
    for name, array in params.items():
        if not np.isfinite(array).all():
            raise ImportRefused(f"the parameter {name}, made from {origins[name]}, is not finite")
    require_causal(graph, found.places)
    field = receptive_field(graph)
    extent = (field,) if isinstance(field, int) else field
    if start is not None and min(cast(Iterable[int], offsets(graph))) > 1:
        why = "does not see the present, so that nothing need stand in front"
        raise ImportRefused(f"the {noun}'s output {why}; leave start_token out")
    agreement = compare(Found(graph, params, origins, inputs, output, noun), extent)
    said = [*notes, *draft.notes, *arranged, *_notes(output, chosen, origins, own, noun), *agreement.notes]
    if start is not None:
        said.append(f"class {start} stands in front of the sequence, which the {noun} is given one position later")
    if output.image and not is_strict(graph):
        said.append("some output sees the colour of its pixel that it models, or a later one: the graph cannot generate")
    elif head is not None and shift == "none" and not is_strict(graph):
        said.append("its output at t sees x_t, which the head models; say shift='output' or shift='input' to generate")
    if shift != "none" and not is_strict(graph):
        graph = strictify(graph, at=shift)
        said.append(f"one position later, at the {shift}: the {noun}'s own output at t is the graph's at t + 1")
    gradient = agreement.beside if with_gradients else math.nan
    report = ImportReport(field, chosen, origins, agreement.value, gradient, agreement.checked, tuple(said))
    return Imported(graph, params, report)


def _arranged(draft: GraphDraft, output: Labelled, head: AnyHead | None, padding: Padding) -> tuple[Built, Labelled, list[str]]:
    """Build the graph, where an image has colours that see each other in order with its channels in that order."""
    planned, name = draft.finished(output.node)
    sequence = next(node.op for node in planned.values() if isinstance(node.op, ops.Input) and node.op.role == "sequence")
    plain = built(planned, name, head, padding)
    colours, wanted = sequence.channels, None
    if not output.image or colours == 1 or facts(plain.graph).looks_ahead is not None:
        return plain, output, []
    if "K" in output.axes and colours in (output.inner, output.size // output.inner):
        count = np.arange(output.size)
        wanted = count % colours if output.inner == colours else count // output.inner
    in_place = wanted is None or output.inner == colours
    if in_place and is_strict(plain.graph):
        return plain, output, []
    found = in_order(planned, name, colours, wanted)
    if found is None:
        return plain, output, []
    ordered, order = built(found.nodes, name, head, padding), tuple(map(int, found.order[name]))
    if not is_strict(plain.graph) and not is_strict(ordered.graph):
        return plain, output, []
    listed = ", ".join(map(str, order[:6])) + (", …" if len(order) > 6 else "")
    note = (
        f"channels were put in another order, so that channel j belongs to colour j mod {colours}: the first of the graph's "
        f"output are the module's channels {listed}"
    )
    return ordered, replace(output, order=order), [note] if found.moved else []


def require_causal(graph: Graph, places: Mapping[str, Place]) -> None:
    """Refuse an image of which an output sees what comes after its pixel, naming the call at which that begins."""
    found = facts(graph)
    if found.grid is None or found.looks_ahead is None:
        return
    seen = {name: min(union(offsets), default=0) for name, offsets in found.offsets.items()}
    node = found.nodes[graph.output]
    while later := [name for name in node.inputs if seen[name] < 0]:
        node = found.nodes[later[0]]
    if seen[node.name] >= 0:
        node = found.looks_ahead
    _, left = found.grid.step(seen[node.name])
    what = f"it looks ahead: the output at (r, c) depends on the pixel at (r, c + {-left}), which comes later in raster order"
    do = "put a mask on the weights to the right of the pixel, or pad on the left alone"
    raise refuse(places[node.name], what, do)


def input_value(draft: GraphDraft, port: Port) -> Labelled:
    """Put an input into the draft."""
    node = draft.add(port.op, wish=port.name)
    colours = port.channels if port.classes and port.image else 1
    axes = tuple(("N" if colours > 1 else "1") if axis == "C" and port.classes else axis for axis in port.axes)
    value = Labelled(
        node,
        axes,
        port.classes or port.channels,
        {axis: Span() for axis in port.places},
        indexed=port.classes > 0,
        timed=port.role != "global",
        inner=colours,
        given=port.role != "sequence",
        place=Place(port.name),
    )
    if port.start is None:
        return value
    started = classes_before(value, [port.start], value.place)
    return started.spanning(T=started.spans["T"].padded(0, -1))


def output_value(draft: GraphDraft, given: Any, noun: str) -> Labelled:
    """Return the one value that a model gives. Raises ImportRefused unless it is a causal output over time."""
    while isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if isinstance(given, Part):
        raise given.error
    if not isinstance(given, Labelled):
        raise ImportRefused(f"the {noun}'s output is no value of its input; return one tensor that is computed from it")
    if (error := refused_output(draft, given, noun)) is not None:
        raise error
    return given


def refused_output(draft: GraphDraft, value: Labelled, noun: str) -> ImportRefused | None:
    """Return why a value cannot be the output of a graph; None if it can."""
    kept = sorted(axis for axis in value.axes if axis != "1")
    places = sorted(value.spans)
    possible = [sorted(["B", *channels, *places]) for channels in (["C"], ["K", "N"], [])]
    if kept not in possible or not value.timed or value.indexed:
        expected = f"B, C, {', '.join(places)}: a value at every position"
        return ImportRefused(f"the {noun}'s output has the axes {', '.join(value.axes)}; expected {expected}")
    if any(ahead(span) for span in value.spans.values()):
        return looks_ahead(draft, value)
    for axis, span in value.spans.items():
        if span.end > 0:
            what, after, cut = _TOO_LONG[axis]
            return ImportRefused(
                f"the {noun}'s output is {span.end - span.first} {what} longer than its input: its last {span.end} stand after "
                f"the end of the {after} (the last call is {value.place}); cut them off: {cut.format(span.end)}"
            )
    return None


_TOO_LONG = {
    "T": ("positions", "sequence", "x[..., :-{}]"),
    "H": ("rows", "image", "x[:, :, :-{}]"),
    "W": ("columns", "image", "x[..., :-{}]"),
}
"""For each axis of an output that is too long: its unit, the thing whose end it passes, and a slice that cuts the rest off."""


def _padding(draft: GraphDraft, output: Labelled, wanted: Padding | None, noun: str) -> Padding:
    """Choose the padding under which the graph is the model. Raises ImportRefused if there is none, or not the one wanted."""
    against = draft.against(output.node)
    if output.image and wanted not in (None, "layer"):
        raise ImportRefused(f"padding {wanted!r} is one of sequences; around an image every layer sees zeros: 'layer'")
    if wanted is not None:
        if wanted in against:
            raise ImportRefused(f"padding {wanted!r} is not that of the {noun}: {against[wanted]}")
        return wanted
    order: tuple[Padding, ...] = ("layer",)
    if not output.image:
        order = ("input", "layer") if output.first > 0 else ("layer", "input")
    for padding in order:
        if padding not in against:
            return padding
    if output.image:
        raise ImportRefused(f"the values outside of the image are not zero at every layer: {against['layer']}")
    raise ImportRefused(
        "the values before the first position are neither zero at every layer nor zero at the input alone: "
        f"not the first, since {against['layer']}; not the second, since {against['input']}"
    )


def _notes(output: Labelled, padding: Padding, origins: dict[str, str], own: Collection[str], noun: str) -> list[str]:
    notes = []
    for axis, span in output.spans.items():
        what = _TOO_LONG[axis][0]
        if span.first > 0:
            notes.append(
                f"the {noun} has no outputs for the first {span.first} {what}; the graph's there are new, of padding {padding!r}"
            )
        if span.first < 0:
            outputs = "outputs" if axis == "T" else f"{what} of outputs"
            notes.append(f"the first {-span.first} {outputs} of the {noun}, at times before the first input, are left out")
        if span.end < 0:
            notes.append(f"the {noun} has no outputs for the last {-span.end} {what}; the graph's there are new")
    readers: dict[str, dict[str, None]] = {}
    for name, origin in origins.items():
        for one in origin.split(", "):
            readers.setdefault(one, {})[name.rpartition(".")[0]] = None
    for one, nodes in readers.items():
        if len(nodes) > 1 and one in own:
            notes.append(f"{one} is used more than once, and copied under each name: {', '.join(nodes)}")
    return notes
