"""The networks over images keep the contract in every backend, and run as full graphs in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import refar
from refar import Graph, models
from refar.analysis.facts import facts
from refar.rounding.tolerance import tolerance
from refar.runtime import load
from refar.testing import check_contract
from refar.torch import Module
from refar_export import export


def test_contract(image_model: Graph) -> None:
    check_contract(image_model)


def conditions(graph: Graph, rng: np.random.Generator, rows: int, height: int, width: int) -> dict[str, np.ndarray]:
    kinds = {name: facts(graph).types[name] for name in facts(graph).conditions}
    return {
        name: rng.integers(0, kind.size, rows)
        if kind.indexed
        else rng.normal(size=(rows, kind.size, *([height, width] if kind.timed else [])))
        for name, kind in kinds.items()
    }


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 6), (5, 1), (6, 7)])
def test_the_full_graph_runs_without_torch_at_any_size(image_model: Graph, tmp_path: Path, height: int, width: int) -> None:
    rng, kind = np.random.default_rng(0), facts(image_model).types["x"]
    params = refar.init(image_model, seed=1)
    session = load(export(image_model, params, tmp_path / "bundle", verify=True))
    x, given = rng.integers(0, kind.size, (2, kind.channels, height, width)), conditions(image_model, rng, 2, height, width)
    y = refar.forward(image_model, params, x, given)
    assert np.abs(session.forward(x, given) - y).max() <= tolerance(image_model, y, np.float32)
    np.testing.assert_allclose(session.score(x, given), refar.log_prob(image_model, params, x, given), rtol=1e-4)


def test_what_masks_hide_is_zero_in_the_file_whatever_was_given(image_model: Graph, tmp_path: Path) -> None:
    params = {name: array + np.float32(0.1) for name, array in refar.init(image_model).items()}
    given, held = (
        export(image_model, params, tmp_path / "a"),
        export(image_model, Module(image_model, params).arrays(), tmp_path / "b"),
    )
    assert (given / "full.onnx").read_bytes() == (held / "full.onnx").read_bytes()


def test_classes_of_images_without_torch(tmp_path: Path) -> None:
    graph = models.gated_pixelcnn(4, layers=2, hidden=5, kernel=3, first_kernel=5, condition="class:3")
    params, x = refar.init(graph, seed=2), np.random.default_rng(3).integers(0, 4, (3, 1, 4, 5))
    session = load(export(graph, params, tmp_path / "bundle"))
    for observed in (None, [0, 7, 20]):
        found, expected = session.classify(x, observed=observed), refar.posterior(graph, params, x, observed=observed)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(session.log_marginal(x), refar.log_marginal(graph, params, x), rtol=1e-5)
