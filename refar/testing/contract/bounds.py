"""Law 9: every node of every backend inside its own error bound, outputs inside that of first order, and bounds that hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.testing.contract.exposed import LEVELS, Exposed, expose
from refar.testing.contract.places import in_raster
from refar.testing.contract.spreading import perturb
from refar.testing.contract.subject import Subject
from refar.testing.report import ContractError, Measure

_OUTPUTS = 6


@dataclass(frozen=True)
class Oracle:
    """The oracle's values for some inputs, and how far float32 may be off at each node."""

    params: Arrays
    values: Arrays
    local: tuple[Arrays, Arrays]


def judge(subject: Subject, measure: Measure) -> None:
    """On short and long data, all that the backends of a subject compute.

    onnxruntime rewrites a graph as in a session for the long, and at a level that is drawn, so that random networks meet them
    all, for the short.
    """
    assert subject.params is not None
    nodes, end_to_end = 0.0, 0.0
    params = {name: array.astype(np.float32).astype(np.float64) for name, array in subject.params.items()}
    drawn = LEVELS[int(subject.rng(9, 2, len(subject.graph.nodes)).integers(len(LEVELS)))]
    for extent, level in ((subject.sizes.short, drawn), (subject.sizes.long, LEVELS[-1])):
        inputs, rng = cast(subject.inputs(extent), np.float64), subject.rng(9, 1, *extent)
        values = forward_nodes(unchecked(subject.graph, params, np.float64), inputs)
        dy = rng.normal(size=values[subject.graph.output].shape).astype(np.float32).astype(np.float64)
        dy[:, :, : facts(subject.graph).first_position] = 0
        oracle = Oracle(params, values, rounding.local_bounds(subject.graph, params, values, bound.FLOAT32))
        if extent == subject.sizes.short:
            perturb(subject.graph, params, values, rng, measure)
        for name in subject.names:
            for exposed in expose(subject.graph, params, name, inputs, dy, (level,)):
                nodes = max(nodes, _nodes(subject.graph, params, exposed, measure))
                if exposed.unit == bound.FLOAT32:
                    end_to_end = max(end_to_end, _outputs(subject.graph, oracle, exposed, rng, measure))
    measure.notes.append(f"nodes at {nodes:.2g} of their bounds, outputs at {end_to_end:.2g} of E₁")


def _nodes(graph: Graph, params: Arrays, exposed: Exposed, measure: Measure) -> float:
    found = rounding.node_errors(graph, params, exposed.values, exposed.unit)
    if exposed.dvalues and graph.padding != "input":  # there gradients flow through the values at t < 0 too
        found += rounding.gradient_errors(graph, params, exposed.values, exposed.dvalues, exposed.dparams, exposed.unit)
    for errors in found:
        measure.statements += 1
        if not errors.worst <= 1:
            raise ContractError(f"{exposed.name}: {errors}")
    return max((errors.worst for errors in found), default=0.0)


def _outputs(graph: Graph, oracle: Oracle, exposed: Exposed, rng: np.random.Generator, measure: Measure) -> float:
    """Compare some outputs of every row, at places drawn anew for each backend."""
    got, worst = in_raster(exposed.values[graph.output].astype(np.float64)), 0.0
    for _ in range(_OUTPUTS):
        channel = int(rng.integers(0, got.shape[1]))
        place = int(rng.integers(min(facts(graph).first_position, got.shape[2] - 1), got.shape[2]))
        measure.statements += 1
        worst = max(worst, compare(graph, oracle, (channel, place), got[:, channel, place], exposed.name))
    return worst


def compare(graph: Graph, oracle: Oracle, at: tuple[int, int], got_b: Array, what: str) -> float:
    """Compare one output of each row, `at` (channel, position in raster order), and return the largest difference over its bound.

    Raises ContractError, which begins with `what`, where a difference is larger than its bound of first order.
    """
    values = oracle.values[graph.output]
    exact = in_raster(values)
    dy = np.zeros(exact.shape)
    dy[(slice(None), *at)] = 1
    allowed, _ = rounding.first_order(graph, oracle.params, oracle.values, oracle.local, dy.reshape(values.shape))
    off = np.abs(got_b - exact[(slice(None), *at)])
    if not (off <= allowed).all():
        row = int(np.argmax(off - allowed))
        where = f"output of row {row}, channel {at[0]}, position {at[1]}"
        raise ContractError(f"{what}: {where}: off by {off[row]:.3g} from the oracle, first-order bound {allowed[row]:.3g}")
    return float((off / np.where(allowed > 0, allowed, 1)).max(initial=0))
