"""The range of every convolution's input over calibration data, by the oracle."""

from __future__ import annotations

import numpy as np

from refar.analysis.facts import facts
from refar.analysis.int8_products import InputScale, int8_products
from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import forward_nodes

_POSITIONS = 2**12
"""Positions that are computed at once, with the values of all nodes, and positions that a bundle keeps. Rows stay whole."""


def input_scales(graph: Graph, weights: Arrays, inputs: Arrays) -> dict[str, InputScale]:
    """Say how the input of each convolution is quantised, {node: scale and zero point}, from its range over checked `inputs`.

    Scale and zero point map the range, widened to hold 0, onto 0 … 255, so that 0 is exact. Raises InputError for inputs
    without a number, GraphError for a network that int8 does not know.
    """
    found = facts(graph)
    names, sequence = int8_products(found), inputs[found.sequence]
    if sequence.size == 0:
        raise InputError(f"calibration: expected at least one value, got shape {sequence.shape}")
    net = unchecked(graph, weights, np.float64)
    sources = {name: found.nodes[name].inputs[0] for name in names}
    ranges = dict.fromkeys(names, (0.0, 0.0))
    rows = max(1, _POSITIONS // sequence.shape[-1])
    for first in range(0, len(sequence), rows):
        values = forward_nodes(net, cast({name: array[first : first + rows] for name, array in inputs.items()}, np.float64))
        ranges = {name: _widened(ranges[name], values[source]) for name, source in sources.items()}
    return {name: _scale(*ends) for name, ends in ranges.items()}


def _widened(ends: tuple[float, float], values: Array) -> tuple[float, float]:
    return min(ends[0], float(values.min())), max(ends[1], float(values.max()))


def _scale(low: float, high: float) -> InputScale:
    scale = float(np.float32((high - low) / 255)) or 1.0
    return InputScale(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def kept(graph: Graph, inputs: Arrays) -> Arrays:
    """Cut checked `inputs` to the part that goes into a bundle, {"calibration.<input>": array}: the first rows and positions."""
    found = facts(graph)
    length = min(inputs[found.sequence].shape[-1], _POSITIONS)
    rows = max(1, _POSITIONS // length)
    cut = {name: array[:rows, ..., :length] if found.types[name].timed else array[:rows] for name, array in inputs.items()}
    return {f"calibration.{name}": array for name, array in cut.items()}
