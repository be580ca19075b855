"""The law of bundles whose parameters were rounded to float16: how far they are from the network before that."""

from __future__ import annotations

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.rounding.stored import stored_bounds
from refar.testing.contract.backends import OnnxBackend
from refar.testing.contract.places import in_raster
from refar.testing.contract.subject import Subject
from refar.testing.report import ContractError, Measure

_OUTPUTS = 12


def precision(subject: Subject, measure: Measure) -> None:
    """Outputs are those of the parameters before they were rounded to float16, within the first-order bound of that rounding."""
    graph, found, worst = subject.graph, facts(subject.graph), 0.0
    for backend in subject.backends:
        assert isinstance(backend, OnnxBackend)
        vectors = backend.session.check_vectors()
        if "y.unrounded" not in vectors:
            measure.does_not_apply("made anew, and what the parameters were before rounding is not known")
            return
        inputs = {found.sequence: vectors["x"]} | {name: vectors[f"condition.{name}"] for name in found.conditions}
        params = {name: array.astype(np.float64) for name, array in backend.session.weights.items()}
        values = forward_nodes(unchecked(graph, params, np.float64), cast(inputs, np.float64))
        local = _local(subject, params, values)
        got, places = in_raster(backend.forward(inputs)), vectors["positions"] + found.first_position
        off = np.abs(got[:, :, places] - vectors["y.unrounded"])
        rng = subject.rng(12, len(places))
        for _ in range(_OUTPUTS):
            channel, n = int(rng.integers(off.shape[1])), int(rng.integers(len(places)))
            allowed = _allowed(subject, params, values, local, (channel, int(places[n])))
            measure.statements += 1
            _require(f"{backend.name}: channel {channel}, position {places[n]}", off[:, channel, n], allowed)
            worst = max(worst, float((off[:, channel, n] / np.where(allowed > 0, allowed, 1)).max()))
        measure.notes.append(f"off by {off.max():.2g} at most, at {worst:.2g} of the bound of float16")


def _local(subject: Subject, params: Arrays, values: Arrays) -> tuple[Arrays, Arrays]:
    """What float32 arithmetic and the rounding of the parameters may do to each node."""
    arithmetic = rounding.local_bounds(subject.graph, params, values, bound.FLOAT32)
    added = stored_bounds(subject.graph, params, values)
    each, steady = ({n: a + more.get(n, 0.0) for n, a in base.items()} for base, more in zip(arithmetic, added, strict=True))
    return each, steady


def _allowed(subject: Subject, params: Arrays, values: Arrays, local: tuple[Arrays, Arrays], at: tuple[int, int]) -> Array:
    """The bound of one output of each row, `at` (channel, position in raster order): (B,)."""
    dy = np.zeros(in_raster(values[subject.graph.output]).shape)
    dy[(slice(None), *at)] = 1
    return rounding.first_order(subject.graph, params, values, local, dy.reshape(values[subject.graph.output].shape))[0]


def _require(where: str, off: Array, allowed: Array) -> None:
    if not (off <= allowed).all():
        row = int(np.argmax(off - allowed))
        raise ContractError(
            f"{where}, row {row}: off by {off[row]:.3g} from the network before its parameters were rounded to float16, "
            f"first-order bound {allowed[row]:.3g}"
        )
