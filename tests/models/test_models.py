"""The networks of the literature: their published counts, and against formulas written out here."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

import refar
from refar import Graph, models
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.errors import InputError
from refar.testing.contract.cases import generic_parameters


def count(graph: Graph) -> int:
    return sum(int(np.prod(shape)) for shape in facts(graph).parameters.values())


def test_models_are_strict_and_have_a_head(model: Graph) -> None:
    assert is_strict(model)
    assert model.head is not None


@pytest.mark.row("001-6")
@pytest.mark.parametrize("classes", [2, 10, 256])
def test_parameters_of_nettoy(classes: int) -> None:
    assert count(models.nettoy1d(classes)) == 8384 + 33 * classes
    assert count(models.nettoy1d_dilated(classes)) == 8384 + 33 * classes


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def conv(p: dict[str, np.ndarray], name: str, x: np.ndarray, dilation: int = 1, strict: int = 0) -> np.ndarray:
    """One position after the other, x_ct."""
    w = p[f"{name}.weight"]
    y = np.zeros((w.shape[0], x.shape[1])) + (p[f"{name}.bias"][:, None] if f"{name}.bias" in p else 0)
    for t in range(x.shape[1]):
        for k in range(w.shape[2]):
            past = t - strict - (w.shape[2] - 1 - k) * dilation
            if past >= 0:
                y[:, t] += w[:, :, k] @ x[:, past]
    return y


@pytest.mark.row("001-8")
def test_nettoy_written_out() -> None:
    graph = models.nettoy1d_dilated(6, hidden=5, mean=2.5, std=1.7)
    p = generic_parameters(graph, np.random.default_rng(0))
    x = np.random.default_rng(1).integers(0, 6, (2, 40))
    for row, y in zip(x, refar.forward(graph, p, x), strict=True):
        h = np.concatenate([[0.0], (row[:-1] - 2.5) / 1.7])[None]
        h = relu(conv(p, "conv0", h))
        for i, dilation in enumerate((2, 4, 8, 16), start=1):
            h = relu(conv(p, f"conv{i}", h, dilation))
        np.testing.assert_allclose(y, conv(p, "conv5", h), rtol=1e-12, atol=1e-13)


@pytest.mark.row("002-6")
def test_wavenet_written_out() -> None:
    """The skips are taken from the gated values, before the residual add."""
    graph = models.wavenet(6, [1, 2, 4, 1, 2], residual=4, gate=3, skip=5, kernel=3, front=2, condition="class:4")
    p = generic_parameters(graph, np.random.default_rng(2))
    x, c = np.random.default_rng(3).integers(0, 6, (3, 30)), np.array([1, 3, 0])
    for row, label, y in zip(x, c, refar.forward(graph, p, x, c), strict=True):
        h = conv(p, "front", np.eye(6)[:, row], strict=1)
        skips = np.zeros((5, 30))
        for i, dilation in enumerate((1, 2, 4, 1, 2)):
            z = conv(p, f"block{i}.conv", h, dilation) + p[f"block{i}.condition.weight"][:, label]
            u = np.tanh(z[:3]) * sigmoid(z[3:])
            skips += conv(p, f"block{i}.skip", u)
            if i < 4:
                h = h + conv(p, f"block{i}.residual", u)
        hidden = relu(conv(p, "head.hidden", relu(skips)))
        np.testing.assert_allclose(y, conv(p, "head.logits", hidden), rtol=1e-12, atol=1e-13)


@pytest.mark.row("002-3")
@pytest.mark.parametrize(("kernel", "front", "dilations"), [(2, 2, [1, 2, 4]), (3, 2, [1, 3]), (2, 1, [5]), (4, 3, [1, 1])])
def test_receptive_field_of_wavenet(kernel: int, front: int, dilations: list[int]) -> None:
    graph = models.wavenet(4, dilations, kernel=kernel, front=front)
    assert max(refar.offsets(graph)) == front + sum((kernel - 1) * d for d in dilations)


def test_a_vector_condition_is_a_linear_map_of_it() -> None:
    by_class = models.wavenet(4, [1, 2], residual=3, gate=2, skip=3, condition="class:5")
    by_vector = models.wavenet(4, [1, 2], residual=3, gate=2, skip=3, condition="vector:5")
    params = generic_parameters(by_class, np.random.default_rng(4))
    x = np.random.default_rng(5).integers(0, 4, (2, 9))
    same = refar.forward(by_vector, params, x, np.eye(5)[[4, 2]])
    np.testing.assert_array_equal(refar.forward(by_class, params, x, [4, 2]), same)


def series(theta: list[float], constant: float, length: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(6)
    x = np.zeros(length + 50)
    for t in range(len(theta), len(x)):
        x[t] = constant + sum(a * x[t - i] for i, a in enumerate(theta, start=1)) + noise * rng.normal()
    return x[50:]


@pytest.mark.row("002-2")
def test_least_squares_is_the_one_layer_network() -> None:
    x = series([0.5, -0.3, 0.2], 0.7, 400, 1.0)
    params, std = models.fit_linear_ar(x, 3)
    design = np.stack([np.ones(397), x[2:-1], x[1:-2], x[:-3]], axis=1)
    theta, residual, *_ = np.linalg.lstsq(design, x[3:], rcond=None)
    np.testing.assert_allclose(params["ar.bias"], theta[:1], rtol=1e-10)
    np.testing.assert_allclose(params["ar.weight"][0, 0], theta[:0:-1], rtol=1e-10)
    assert std == pytest.approx(np.sqrt(residual[0] / 397), rel=1e-10)
    graph = models.linear_ar(3, std=std)
    predictions = refar.forward(graph, params, x[None, None])[0, 0, 3:]
    np.testing.assert_allclose(predictions, design @ theta, rtol=1e-10)
    y = refar.forward(graph, params, x[None, None])
    dy = np.where(np.arange(400) >= 3, y - x, 0)
    for name, gradient in refar.backward(graph, params, x[None, None], dy)["params"].items():
        np.testing.assert_allclose(gradient, 0, atol=1e-9, err_msg=f"least squares has no slope left in {name}")


def test_known_coefficients_are_recovered() -> None:
    params, std = models.fit_linear_ar(series([0.6, -0.4], 0.5, 20_000, 0.3), 2)
    np.testing.assert_allclose(params["ar.weight"][0, 0], [-0.4, 0.6], atol=0.02)
    np.testing.assert_allclose(params["ar.bias"], [0.5], atol=0.02)
    assert std == pytest.approx(0.3, rel=0.02)
    exact, residual = models.fit_linear_ar(series([0.6, -0.4], 0.5, 60, 1e-9) + 0, 2)
    assert exact["ar.weight"].shape == (1, 1, 2)
    assert residual < 1e-8


def test_several_series_are_fitted_together() -> None:
    one, two = series([0.5], 0.1, 60, 1.0), series([0.5], 0.1, 90, 1.0)[30:]
    params, _ = models.fit_linear_ar(np.stack([one, two])[:, None], 1)
    past, target = np.concatenate([one[:-1], two[:-1]]), np.concatenate([one[1:], two[1:]])
    slope, constant = np.polyfit(past, target, 1)
    assert (params["ar.weight"].item(), params["ar.bias"].item()) == (pytest.approx(slope), pytest.approx(constant))


@pytest.mark.parametrize(
    ("x", "fragments"), [(np.ones(5), ["at least 4 positions t ≥ 3", "got 2"]), (np.ones((2, 3)), ["(2, 3)"])]
)
def test_series_that_cannot_be_fitted(x: np.ndarray, fragments: list[str]) -> None:
    with refuses(InputError, "x: expected", *fragments):
        models.fit_linear_ar(x, 3)


def test_models_by_name_read_text_as_values() -> None:
    options = {"classes": "16", "dilations": "1,2,4", "residual": "8", "condition": "none"}
    assert models.by_name("wavenet", options) == models.wavenet(16, [1, 2, 4], residual=8)
    assert models.by_name("nettoy1d", {"mean": "1.5", "std": 2}) == models.nettoy1d(mean=1.5, std=2.0)
    assert models.by_name("wavenet", {"dilations": [1, 2]}) == models.wavenet(dilations=[1, 2])


def test_initial_parameters_are_reproducible_and_bounded(model: Graph) -> None:
    params = refar.init(model, seed=3)
    assert {name: array.shape for name, array in params.items()} == facts(model).parameters
    for name, array in params.items():
        assert array.dtype == np.float32
        assert (array != 0).all()
        np.testing.assert_array_equal(array, refar.init(model, seed=3)[name])
    assert any((array != refar.init(model, seed=4)[name]).any() for name, array in params.items())
