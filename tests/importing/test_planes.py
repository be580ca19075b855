"""Networks of images become graphs that compute the same, and what cannot be taken is refused by its name."""

from __future__ import annotations

import numpy as np
import pytest
from plane_modules import PLANES

import refar
from refar.importing import from_torch


@pytest.mark.parametrize("name", PLANES)
def test_a_network_of_images_becomes_a_graph_that_agrees(name: str) -> None:
    module, example, options = PLANES[name]()
    got = from_torch(module, example, **options)
    assert got.report.largest_difference < 1e-9
    assert got.report.gradient_difference < 1e-9
    assert len(got.report.checked) >= 4
    assert set(got.report.origins) == set(got.params)
    assert refar.from_json(refar.to_json(got.graph)) == got.graph
    assert refar.is_strict(got.graph)
    assert isinstance(got.report.receptive_field, tuple)
    assert all(np.isfinite(array).all() for array in got.params.values())
