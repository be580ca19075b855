"""Laws 4, 5 and 7: causality, reach, batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import backward_nodes, forward_nodes
from refar.testing.contract.cases import Extent, generic_inputs, generic_parameters, other_values
from refar.testing.contract.places import Places, in_raster, places
from refar.testing.contract.subject import Subject
from refar.testing.report import ContractError, Measure

_DRAWS = 8


def causality(subject: Subject, measure: Measure) -> None:
    """A change from position p on leaves every output before p + the smallest offset bit-identical: p + 1 if strict.

    Over an image, from one colour of pixel p on: by the order of rows, columns and colours.
    """
    found = facts(subject.graph)
    kind, per_channel = found.types[subject.sequence], found.offsets[subject.graph.output]
    for extent in subject.sizes.extents:
        x, where = subject.inputs(extent)[subject.sequence], places(subject.graph, extent)
        rng = subject.rng(4, *extent)
        for firsts in _positions(rng, x.shape[0], where.values, 3 if subject.small else 1):
            other = other_values(kind, x, rng)
            changed = np.stack([np.where(where.from_value(n), other[b], x[b]) for b, n in enumerate(firsts)])
            unaware = [{seen: where.unaware(n, seen).reshape(extent) for seen in set(per_channel)} for n in firsts]
            for backend in subject.backends:
                before = subject.forward(backend, extent)
                after = backend.forward({**subject.inputs(extent), subject.sequence: changed})
                for b, n in enumerate(firsts):
                    kept = np.stack([unaware[b][seen] for seen in per_channel])
                    what = f"{backend.name}: output of row {b} where it sees nothing of x from {where.value(n)} on"
                    measure.equal(f"{what}, {subject.axes(1)}", after[b], before[b], where=kept)
    measure.notes.append(f"{'images of' if subject.image else 'lengths'} {', '.join(map(_by, subject.sizes.extents))}")


def _by(extent: Extent) -> str:
    return " x ".join(map(str, extent))


def _positions(rng: np.random.Generator, rows: int, count: int, runs: int) -> list[list[int]]:
    """One position for each row of each run: the last, the first, the others at random."""
    flat = [count - 1, 0, *(int(p) for p in rng.integers(0, count, (rows * runs,)))]
    return [flat[n * rows : (n + 1) * rows] for n in range(runs)]


def reach(subject: Subject, measure: Measure) -> None:
    """The output depends on exactly the inferred offsets, for each distinct set among its channels.

    No more: everything outside them is replaced, and the output stays bit-identical. No less: under freshly drawn parameters
    the gradient is not zero at each of them, at least once in several draws, since a relu may be off. Over an image an offset
    is (rows up, columns left, channel of the input).
    """
    per_channel = facts(subject.graph).offsets[subject.graph.output]
    for inferred in dict.fromkeys(per_channel):
        channels = [c for c, seen in enumerate(per_channel) if seen == inferred]
        _no_more(subject, inferred, channels, measure)
        if subject.params is not None:
            for channel in dict.fromkeys((channels[0], channels[-1])):  # together they could feel what neither does
                _no_less(subject, inferred, [channel])
    counts = [len(seen) for seen in dict.fromkeys(per_channel)]
    measure.notes.append(f"{counts[0]} offsets" if len(counts) == 1 else f"{len(counts)} sets of offsets")


def _no_more(subject: Subject, inferred: frozenset[int], channels: list[int], measure: Measure) -> None:
    extent, rng = subject.sizes.long, subject.rng(5)
    x, where = subject.inputs(extent)[subject.sequence], places(subject.graph, extent)
    early = where.number(*(int(rng.integers(0, n)) for n in subject.sizes.settled))
    chosen = [where.count - 1, early, *(int(n) for n in rng.integers(0, where.count, x.shape[:1]))][: x.shape[0]]
    other = other_values(facts(subject.graph).types[subject.sequence], x, rng)
    changed = np.stack([np.where(where.seen(place, inferred), x[b], other[b]) for b, place in enumerate(chosen)])
    for backend in subject.backends:
        before = in_raster(subject.forward(backend, extent))
        after = in_raster(backend.forward({**subject.inputs(extent), subject.sequence: changed}))
        for b, place in enumerate(chosen):
            what = f"{backend.name}: output of row {b} at {where.name(place)}, when x changes everywhere but at its offsets"
            measure.equal(f"{what}, channel of {_brief(channels)}", after[b, channels, place], before[b, channels, place])


def _averaged(graph: Graph) -> Graph:
    """Averages in the place of maxima, which read the same but pass a gradient to one of their window only."""
    nodes = (replace(node, op=replace(node.op, kind="avg")) if isinstance(node.op, ops.Pool1d) else node for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def _no_less(subject: Subject, inferred: frozenset[int], channels: list[int]) -> None:
    graph, sizes = _averaged(subject.graph), subject.sizes
    where = places(graph, sizes.settled)
    place, rows = where.number(*sizes.inner), sizes.rows(sizes.settled)
    expected, felt = where.seen(place, inferred), np.zeros_like(where.from_value(0))
    output = f"output channels {_brief(channels)} at {where.name(place)}"
    for draw in range(_DRAWS):
        rng = subject.rng(5, draw)
        params = generic_parameters(graph, rng, alive=draw % 2 == 0)
        inputs = generic_inputs(graph, rng, rows, *sizes.settled)
        values = forward_nodes(unchecked(graph, params, np.float64), cast(inputs, np.float64))
        dy = np.zeros(values[graph.output].shape)
        in_raster(dy)[:, channels, place] = rng.normal(size=(rows, len(channels)))
        dvalues, _ = backward_nodes(unchecked(graph, params, dy.dtype), values, dy)
        felt |= _felt(subject, dvalues).reshape(felt.shape)
        if (felt & ~expected).any():
            raise ContractError(
                f"{output}: expected no gradient at offset {_offsets(where, place, felt & ~expected)[0]}, got one; "
                f"the inferred offsets are {_brief(_offsets(where, place, expected))}"
            )
        if (felt == expected).all():
            return
    raise ContractError(
        f"{output}: expected a gradient at offset {_offsets(where, place, expected & ~felt)[0]}, got 0 "
        f"in {_DRAWS} draws of parameters; {felt.sum()} of {expected.sum()} inferred offsets are felt. Too much is inferred, or "
        "numbers in the graph itself cut the path, like relu(sigmoid(x) - 1)"
    )


def _offsets(where: Places, place: int, values: Array) -> list[object]:
    found = sorted(where.offset(place, tuple(map(int, index))) for index in np.argwhere(values))
    return [offset[0] if len(offset) == 1 else offset for offset in found]


def _felt(subject: Subject, dvalues: Arrays) -> Array:
    """Where a gradient arrives at the sequence: Boolean over its values. For class indices, at the nodes that look them up."""
    kind = facts(subject.graph).types[subject.sequence]
    names, colours = [subject.sequence], kind.channels if kind.image else 1
    if kind.indexed:
        readers = [node for node in subject.graph.nodes if subject.sequence in node.inputs]
        names = [node.name for node in readers if not isinstance(node.op, ops.Ones | ops.Position)]  # no functions of x
    felt = np.zeros((colours, *dvalues[subject.graph.output].shape[2:]), bool)
    for name in names:
        felt |= (dvalues[name] != 0).reshape(len(dvalues[name]), -1, *felt.shape).any(axis=(0, 1))
    return felt


def batch(subject: Subject, measure: Measure) -> None:
    """Rows do not see each other: other rows may change, bit-identically, and a row alone gives the same within rounding."""
    extent, rng = subject.sizes.short, subject.rng(7)
    inputs = subject.inputs(extent)
    types = facts(subject.graph).types
    rows = inputs[subject.sequence].shape[0]
    for kept in range(rows):
        others = [b for b in range(rows) if b != kept]
        changed = {}
        for name, array in inputs.items():
            changed[name] = array.copy()
            changed[name][others] = other_values(types[name], array, rng)[others]
        for backend in subject.backends:
            before = subject.forward(backend, extent)
            what = f"{backend.name}: output of row {kept}"
            measure.equal(f"{what} when all other rows change, {subject.axes(1)}", backend.forward(changed)[kept], before[kept])
            alone = backend.forward({name: array[kept : kept + 1] for name, array in inputs.items()})
            measure.close(f"{what} on its own, {subject.axes(1)}", alone[0], before[kept], subject.tolerance(backend.dtype))
    measure.notes.append(f"{rows} rows")


def _brief(numbers: Sequence[object]) -> str:
    return ", ".join(map(str, numbers)) if len(numbers) <= 8 else f"{', '.join(map(str, numbers[:6]))} … {numbers[-1]}"
