"""The tolerance for floats is its formula, and nothing wider."""

from __future__ import annotations

import numpy as np
import pytest

from refar import Builder, models
from refar.rounding.tolerance import relative_tolerance, tolerance


def test_of_small_sums_it_is_64_roundings_of_every_node() -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=2), 3))
    assert relative_tolerance(graph, np.float32) == 2.0**-24 * 2 * 64
    assert relative_tolerance(graph, np.float64, positions=2**12) == 2.0**-53 * 2 * 128


def test_of_large_sums_it_grows_with_their_root() -> None:
    graph = models.linear_ar(2**12)
    assert relative_tolerance(graph, np.float32) == 2.0**-24 * len(graph.nodes) * 128


@pytest.mark.parametrize("size", [0.01, 1.0, 50.0])
def test_it_is_relative_to_the_largest_magnitude(size: float) -> None:
    graph = models.linear_ar(2)
    reference = np.array([size / 3, -size])
    assert tolerance(graph, reference, np.float32) == relative_tolerance(graph, np.float32) * size
    assert tolerance(graph, np.zeros(0), np.float32) == 0
    assert tolerance(graph, reference, np.float32, 2**12) == relative_tolerance(graph, np.float32, 2**12) * size
