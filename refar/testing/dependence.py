"""Laws 4, 5 and 7: causality, reach, batch."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from refar import ops
from refar.arrays import Array, Arrays
from refar.graph import Graph
from refar.infer import analyse, offsets
from refar.spec import run
from refar.testing.cases import generic_inputs, generic_parameters, other_values
from refar.testing.report import ContractError, Measure
from refar.testing.subject import Subject

_DRAWS = 8


def causality(subject: Subject, measure: Measure) -> None:
    """A change from position p on leaves every output before p + the smallest offset bit-identical: p + 1 if strict."""
    nearest = min(offsets(subject.graph), default=0)
    kind = analyse(subject.graph).types[subject.sequence]
    for length in subject.sizes.lengths:
        x = subject.inputs(length)[subject.sequence]
        rng = subject.rng(4, length)
        for positions in _positions(rng, x.shape[0], length, 3 if subject.small else 1):
            changed = x.copy()
            for b, p in enumerate(positions):
                changed[b, ..., p:] = other_values(kind, x, rng)[b, ..., p:]
            for reading in subject.readings:
                before = subject.forward(reading, length)
                after = reading.forward({**subject.inputs(length), subject.sequence: changed})
                for b, p in enumerate(positions):
                    until = max(p + nearest, 0)
                    what = f"{reading.name}: output of row {b} before position {until}, when x changes from {p} on, [c, t]"
                    measure.equal(what, after[b, :, :until], before[b, :, :until])
    measure.notes.append(f"lengths {', '.join(map(str, subject.sizes.lengths))}")


def _positions(rng: np.random.Generator, rows: int, length: int, runs: int) -> list[list[int]]:
    """One position for each row of each run: the last, the first, the others at random."""
    flat = [length - 1, 0, *(int(p) for p in rng.integers(0, length, (rows * runs,)))]
    return [flat[n * rows : (n + 1) * rows] for n in range(runs)]


def reach(subject: Subject, measure: Measure) -> None:
    """The output depends on exactly the inferred offsets, for each distinct set among its channels.

    No more: everything outside them is replaced, and the output stays bit-identical. No less: under freshly drawn parameters
    the gradient is not zero at each of them, at least once in several draws, since a relu may be off.
    """
    per_channel = analyse(subject.graph).offsets[subject.graph.output]
    for inferred in dict.fromkeys(per_channel):
        channels = [c for c, seen in enumerate(per_channel) if seen == inferred]
        _no_more(subject, inferred, channels, measure)
        if subject.params is not None:
            for channel in dict.fromkeys((channels[0], channels[-1])):  # together they could feel what neither does
                _no_less(subject, inferred, [channel])
    counts = [len(seen) for seen in dict.fromkeys(per_channel)]
    measure.notes.append(f"{counts[0]} offsets" if len(counts) == 1 else f"{len(counts)} sets of offsets")


def _no_more(subject: Subject, inferred: frozenset[int], channels: list[int], measure: Measure) -> None:
    length, rng = subject.sizes.long, subject.rng(5)
    x = subject.inputs(length)[subject.sequence]
    early = int(rng.integers(0, subject.sizes.settled))
    times = [length - 1, early, *(int(t) for t in rng.integers(0, length, x.shape[:1]))][: x.shape[0]]
    changed = other_values(analyse(subject.graph).types[subject.sequence], x, rng)
    for b, t in enumerate(times):
        seen = [t - offset for offset in inferred if 0 <= t - offset < length]
        changed[b, ..., seen] = x[b, ..., seen]
    for reading in subject.readings:
        before = subject.forward(reading, length)
        after = reading.forward({**subject.inputs(length), subject.sequence: changed})
        for b, t in enumerate(times):
            what = f"{reading.name}: output of row {b} at position {t}, when x changes everywhere but at its offsets, channel"
            measure.equal(f"{what} of {_brief(channels)}", after[b, channels, t], before[b, channels, t])


def _averaged(graph: Graph) -> Graph:
    """Averages in the place of maxima, which read the same but pass a gradient to one of their window only."""
    nodes = (replace(node, op=replace(node.op, kind="avg")) if isinstance(node.op, ops.Pool1d) else node for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def _no_less(subject: Subject, inferred: frozenset[int], channels: list[int]) -> None:
    graph, last = _averaged(subject.graph), subject.sizes.settled - 1
    rows = subject.sizes.batch if subject.small else 1
    felt: set[int] = set()
    for draw in range(_DRAWS):
        rng = subject.rng(5, draw)
        params = generic_parameters(graph, rng, alive=draw % 2 == 0)
        inputs = generic_inputs(graph, rng, rows, last + 1 + subject.sizes.ahead)
        values = run.forward_nodes(graph, params, run.cast(inputs, np.float64), np.float64)
        dy = np.zeros_like(values[graph.output])
        dy[:, channels, last] = rng.normal(size=(rows, len(channels)))
        dvalues, _ = run.backward_nodes(graph, params, values, dy)
        felt |= {last - t for t in np.flatnonzero(_felt(subject, dvalues)).tolist()}
        if surplus := felt - inferred:
            raise ContractError(
                f"output channels {_brief(channels)} at position {last}: expected no gradient at offset {min(surplus)}, "
                f"got one; the inferred offsets are {_brief(sorted(inferred))}"
            )
        if felt == inferred:
            return
    raise ContractError(
        f"output channels {_brief(channels)} at position {last}: expected a gradient at offset {min(inferred - felt)}, got 0 "
        f"in {_DRAWS} draws of parameters; {len(felt)} of {len(inferred)} inferred offsets are felt. Too much is inferred, or "
        "numbers in the graph itself cut the path, like relu(sigmoid(x) - 1)"
    )


def _felt(subject: Subject, dvalues: Arrays) -> Array:
    """Where a gradient arrives at the sequence: Boolean over t. For class indices, at the nodes that look them up."""
    if analyse(subject.graph).types[subject.sequence].indexed:
        readers = [node for node in subject.graph.nodes if subject.sequence in node.inputs]
        lookups = [node.name for node in readers if not isinstance(node.op, ops.Ones)]  # whose value is no function of x
    else:
        lookups = [subject.sequence]
    felt = np.zeros(dvalues[subject.graph.output].shape[2], bool)
    return np.any([felt, *((dvalues[name] != 0).any(axis=(0, 1)) for name in lookups)], axis=0)


def batch(subject: Subject, measure: Measure) -> None:
    """Rows do not see each other: other rows may change, bit-identically, and a row alone gives the same within rounding."""
    length, rng = subject.sizes.short, subject.rng(7)
    inputs = subject.inputs(length)
    types = analyse(subject.graph).types
    rows = inputs[subject.sequence].shape[0]
    for kept in range(rows):
        others = [b for b in range(rows) if b != kept]
        changed = {}
        for name, array in inputs.items():
            changed[name] = array.copy()
            changed[name][others] = other_values(types[name], array, rng)[others]
        for reading in subject.readings:
            before = subject.forward(reading, length)
            what = f"{reading.name}: output of row {kept}"
            measure.equal(f"{what} when all other rows change, [c, t]", reading.forward(changed)[kept], before[kept])
            alone = reading.forward({name: array[kept : kept + 1] for name, array in inputs.items()})
            measure.close(f"{what} on its own, [c, t]", alone[0], before[kept], subject.tolerance(reading.dtype))
    measure.notes.append(f"{rows} rows")


def _brief(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) if len(numbers) <= 8 else f"{', '.join(map(str, numbers[:6]))} … {numbers[-1]}"
