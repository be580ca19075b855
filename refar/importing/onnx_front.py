"""`from_onnx`: an ONNX file as a graph, held against the file before it is returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onnx import ModelProto, TensorProto

from refar.graph.graph import Padding
from refar.importing.draft import GraphDraft
from refar.importing.ends import concluded, input_value, output_value, require_shift, runs_of
from refar.importing.imported import Imported
from refar.importing.onnx_check import fixed, held
from refar.importing.onnx_file import (
    WHOLE,
    Dimension,
    all_nodes,
    freed,
    inputs_of,
    kinds_of,
    opened,
    retyped,
)
from refar.importing.onnx_walk import NodeWalk
from refar.importing.ports import Port, port_of, started
from refar.importing.refusal import ImportRefused
from refar.importing.values import Labelled, Runs
from refar.ops import AnyHead

Sizes = tuple[Dimension, ...]
Inputs = Mapping[str, tuple[int, Sizes]]

SHORTEST = 64
"""The length at which a file is read that leaves it open, besides what its windows reach back."""


def import_file(
    model: Any,
    *,
    classes: int | Mapping[str, int] | None,
    axes: str | Mapping[str, str] | None,
    head: AnyHead | None,
    padding: Padding | None,
    shift: Literal["none", "input", "output"],
    start_token: int | None,
) -> Imported:
    """See `refar.from_onnx`."""
    require_shift(shift, start_token)
    given = opened(model)
    if len(given.graph.output) != 1:
        listed = ", ".join(repr(output.name) for output in given.graph.output)
        raise ImportRefused(
            f"the file has {len(given.graph.output)} outputs: {listed}; one is taken, keep it: onnx.utils.extract_model"
        )
    inputs = inputs_of(given)
    if not inputs:
        raise ImportRefused("the file has no input: its output is fixed")
    named, counts = _named(axes, inputs, "axes"), _named(classes, inputs, "classes")
    try:
        file = _read(given, inputs, named, counts, start_token)
    except ImportRefused as error:
        raise _with_other_axes(error, given, inputs, named, counts, start_token) from None
    names, kinds = list(inputs), [kind for kind, _ in inputs.values()]
    own = (file.length, file.batch)
    return concluded(
        file.draft,
        file.output,
        file.ports,
        head=head,
        padding=padding,
        shift=shift,
        noun="file",
        own=[tensor.name for tensor in file.free.graph.initializer],
        notes=[*_notes(*own), *_half(given)],
        compare=lambda graph, field: held(file.free, names, kinds, graph, field, own),
        with_gradients=False,
    )


@dataclass(frozen=True)
class _File:
    """A file that was read: its inputs, the length and batch that it fixes, the model with both free, and the draft."""

    ports: list[Port]
    length: int | None
    batch: int | None
    free: ModelProto
    draft: GraphDraft
    output: Labelled


def _read(given: ModelProto, inputs: Inputs, axes: Mapping[str, str], classes: Mapping[str, int], start: int | None) -> _File:
    ports = _ports(inputs, axes, classes)
    ports[0] = started(ports[0], start)
    length, batch = _fixed(ports, inputs, "T"), _fixed(ports, inputs, "B")
    free = freed(given, {port.name: port.axes for port in ports})
    exact = retyped(free, TensorProto.DOUBLE)
    start, sequences = length or SHORTEST + _reach(given), batch or 2
    try:
        draft, output = _walked(exact, ports, runs_of((start,), (sequences, sequences + 1)))
    except ImportRefused as error:
        if (length, batch) == (None, None):
            raise
        try:
            _walked(exact, ports, Runs({"T": (start,) * 4}, (sequences,) * 4))
        except ImportRefused:
            raise error from None
        raise ImportRefused(f"{error}; {fixed(length, batch)}") from None  # at that size alone it can be read
    return _File(ports, length, batch, free, draft, output)


def _walked(model: ModelProto, inputs: Sequence[Port], runs: Runs) -> tuple[GraphDraft, Labelled]:
    draft = GraphDraft()
    walk = NodeWalk(model, draft, runs)
    for port in inputs:
        walk.known[port.name] = input_value(draft, port)
    return draft, output_value(draft, walk.output(), "file")


def _with_other_axes(
    error: ImportRefused,
    given: ModelProto,
    inputs: Inputs,
    axes: Mapping[str, str],
    classes: Mapping[str, int],
    start: int | None,
) -> ImportRefused:
    """Say that the sequence's axes were guessed wrongly, if the file can be read with its channels last."""
    name, (_, sizes) = next(iter(inputs.items()))
    if name in axes or len(sizes) != 3 or not all(isinstance(size, int) for size in sizes[1:]):
        return error
    try:
        _read(given, inputs, {**axes, name: "BTC"}, classes, start)
    except ImportRefused:
        return error
    return ImportRefused(
        f"{error}; the file fixes both axes of {name!r}, of which the first was taken for channels: "
        f"it can be read with axes={{{name!r}: 'BTC'}}"
    )


def _named(given: Any, inputs: Mapping[str, Any], option: str) -> dict[str, Any]:
    """One value stands for the first input."""
    if given is None:
        return {}
    named = dict(given) if isinstance(given, Mapping) else {next(iter(inputs)): given}
    if unknown := [name for name in named if name not in inputs]:
        raise ImportRefused(f"{option}: {unknown[0]!r} is no input of the file; these are {', '.join(inputs)}")
    return named


def _ports(inputs: Inputs, axes: Mapping[str, str], classes: Mapping[str, int]) -> list[Port]:
    """Find out which axis of each input is which; the sequence comes first."""
    found: list[Port] = []
    time: Dimension = None
    for name, (kind, sizes) in inputs.items():
        indexed = kind in WHOLE
        named = axes[name].upper() if name in axes else _guessed(name, sizes, indexed, bool(found), time)
        if len(named) == len(sizes) and "C" in named and not isinstance(sizes[named.index("C")], int):
            raise ImportRefused(
                f"the file does not say how many channels its input {name!r} has: its sizes are {_written(sizes)}; "
                f"export it with the axis of channels fixed, or say which one it is: axes={{{name!r}: 'BTC'}}"
            )
        shape = [size if isinstance(size, int) else 0 for size in sizes]
        found.append(port_of(name, shape, indexed, named, None if found else "sequence", classes.get(name)))
        if len(found) == 1:
            time = sizes[named.index("T")]
    return found


def _guessed(name: str, sizes: Sizes, indexed: bool, condition: bool, time: Dimension) -> str:
    """Guess the axes of an input that the caller left open: an axis that is free, or as long as the sequence, is time."""
    moves = [not isinstance(size, int) or (condition and size == time) for size in sizes]
    match len(sizes), indexed:
        case 1, True if condition:
            return "B"
        case 2, True:
            return "BT" if moves[1] or not condition else "B1"
        case 2, False:
            return "BT" if moves[1] or not condition else "BC"
        case 3, False if condition and not moves[1] and not moves[2]:
            return "B1C" if sizes[1] == 1 and sizes[2] != 1 else "BC1"
        case 3, False:
            return "BTC" if moves[1] and not moves[2] else "BCT"
        case _:
            expected = "(B,) or (B, T) of class indices" if indexed else "(B, T) or (B, C, T)"
            raise ImportRefused(f"the input {name!r} has the sizes {_written(sizes)}; expected {expected}, or axes=")


def _written(sizes: Sizes) -> str:
    return f"({', '.join(str(size) if size is not None else '?' for size in sizes)})"


def _fixed(found: Sequence[Port], inputs: Inputs, axis: str) -> int | None:
    """Return the length or batch that the file fixes, or None."""
    for port in found:
        for named, size in zip(port.axes, inputs[port.name][1], strict=True):
            if named == axis and isinstance(size, int):
                return size
    return None


def _reach(model: ModelProto) -> int:
    """Return how far all windows of the file reach back together."""
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in all_nodes(model.graph):
        given = {attribute.name: list(attribute.ints) for attribute in node.attribute}
        weight = sizes.get(node.input[1], []) if node.op_type == "Conv" else []
        kernel = given.get("kernel_shape") or weight[2:]
        dilations = given.get("dilations") or [1] * len(kernel)
        total += sum((k - 1) * d for k, d in zip(kernel, dilations, strict=False))
    return total


def _notes(length: int | None, batch: int | None) -> list[str]:
    notes = []
    if length is not None:
        notes.append(
            f"the file fixes its length to {length}: it was read, and compared, with that axis free, and at {length}; numbers in "
            "it that the exporter may have made from the length are taken as fixed"
        )
    if batch is not None:
        notes.append(f"the file fixes its batch to {batch}: it was read, and compared, with that axis free")
    return notes


def _half(model: ModelProto) -> list[str]:
    halves = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
    found = [name for kind, name in halves.items() if kind in kinds_of(model)]
    if not found:
        return []
    return [f"the file is in {' and '.join(found)}: its weights were imported as they are, and computed with in more digits"]
