"""What the documents say of networks over images: their order, density, positions, and what they are conditioned on."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import refar
from refar import Graph, models
from refar.analysis.facts import facts
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.torch import Module

Params = dict[str, np.ndarray]

TINY: dict[str, dict[str, Any]] = {
    "pixelcnn": {"kernel": 3, "hidden": 6, "position": 1},
    "masked_pixelcnn": {"layers": 2, "hidden": 6, "kernel": 3, "first_kernel": 3},
    "gated_pixelcnn": {"layers": 2, "hidden": 6, "kernel": 3, "first_kernel": 3},
}


def tiny(name: str, classes: int = 2, **options: Any) -> Graph:
    return models.by_name(name, {"classes": classes, **TINY[name], **options})


def draw(graph: Graph, seed: int = 0) -> Params:
    """Weights that keep the scale, biases that are nowhere zero."""
    rng, shapes = np.random.default_rng(seed), facts(graph).parameters
    return {name: rng.normal(size=shape) * 1.5 / np.sqrt(max(np.prod(shape[1:]), 1)) for name, shape in shapes.items()}


def pictures(graph: Graph, rows: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    kind = facts(graph).types["x"]
    return np.random.default_rng(seed).integers(0, kind.size, (rows, kind.channels, height, width))


def all_images(classes: int, colours: int, height: int, width: int) -> np.ndarray:
    """Every image, sorted by its values in the order row, column, colour."""
    values = np.array(list(product(range(classes), repeat=height * width * colours)))
    return values.reshape(-1, height, width, colours).transpose(0, 3, 1, 2)


def in_order(x_bchw: np.ndarray) -> np.ndarray:
    return x_bchw.transpose(0, 2, 3, 1).reshape(len(x_bchw), -1)


def log_softmax(graph: Graph, y: np.ndarray) -> np.ndarray:
    """Of every value in order, (B, N, Q): channel q·C + c is the logit of class q of colour c."""
    kind = facts(graph).types["x"]
    y_bqchw = y.reshape(len(y), kind.size, kind.channels, *y.shape[2:])
    y_bnq = y_bqchw.transpose(0, 3, 4, 2, 1).reshape(len(y), -1, kind.size)
    return y_bnq - np.log(np.exp(y_bnq).sum(-1, keepdims=True))


SHAPES = [(2, 1, 2, 2), (3, 1, 2, 2), (2, 2, 2, 2), (2, 3, 1, 2), (2, 3, 2, 1), (2, 2, 1, 2), (3, 2, 2, 1), (4, 1, 1, 1)]


@pytest.mark.row("002-1")
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("classes", "colours", "height", "width"), SHAPES)
@pytest.mark.parametrize("mixture", [0, 2])
def test_the_probabilities_of_all_images_sum_to_1(
    name: str, classes: int, colours: int, height: int, width: int, mixture: int
) -> None:
    graph = tiny(name, classes, channels=colours, mixture=mixture)
    x, params = all_images(classes, colours, height, width), draw(graph)
    p = np.exp(refar.log_prob(graph, params, x))
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert p.max() > 1.01 * p.min()


@pytest.mark.row("002-1")
@pytest.mark.row("002-16")
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("colours", [1, 2])
def test_the_marginal_probabilities_of_all_images_sum_to_1(name: str, colours: int) -> None:
    graph = tiny(name, channels=colours, condition="class:3")
    x, params, prior = all_images(2, colours, 2, 2), draw(graph), np.array([0.2, 0.5, 0.3])
    marginal = refar.log_marginal(graph, params, x, prior)
    assert np.exp(marginal).sum() == pytest.approx(1, abs=1e-12)
    joint = [np.log(prior[y]) + refar.log_prob(graph, params, x, [y]) for y in range(3)]
    np.testing.assert_allclose(marginal, np.logaddexp.reduce(joint), rtol=1e-12)
    np.testing.assert_allclose(refar.posterior(graph, params, x, prior).T, np.exp(joint - marginal), rtol=1e-10)


@pytest.mark.row("003-3")
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("colours", "height", "width"), [(1, 3, 3), (3, 1, 3), (3, 2, 2), (2, 2, 2)])
def test_each_output_is_the_conditional_of_its_value_given_those_before_it(
    name: str, colours: int, height: int, width: int
) -> None:
    """By rows from the top, in a row from the left, in a pixel R, G, B: the conditionals of the joint in this order."""
    graph = tiny(name, channels=colours)
    x, params = all_images(2, colours, height, width), draw(graph)
    values, p = in_order(x), np.exp(refar.log_prob(graph, params, x))
    outputs = np.exp(log_softmax(graph, refar.forward(graph, params, x)))
    for n in range(values.shape[1]):
        by_prefix = p.reshape(2**n, 2, -1).sum(-1)  # the images are sorted by their values in order
        conditional = by_prefix / by_prefix.sum(1, keepdims=True)
        prefix = values[:, :n] @ 2 ** np.arange(n)[::-1]
        np.testing.assert_allclose(outputs[:, n], conditional[prefix.astype(int)], rtol=1e-9)


@pytest.mark.row("003-3")
@pytest.mark.row("001-2")
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("colours", [1, 3])
def test_a_value_changes_only_what_comes_later(name: str, colours: int) -> None:
    """Every value of an image in turn: the outputs of all before it and its own stay bit for bit, some later one changes."""
    graph = tiny(name, 4, channels=colours)
    x, params = pictures(graph, 1, 4, 5), draw(graph)
    count = 4 * 5 * colours
    changed = np.repeat(x, count + 1, axis=0)
    for n in range(count):
        pixel, c = divmod(n, colours)
        changed[n + 1, c, pixel // 5, pixel % 5] += 1
    y = log_softmax(graph, refar.forward(graph, params, changed % 4))
    for n in range(count):
        np.testing.assert_array_equal(y[n + 1, : n + 1], y[0, : n + 1])
        followed = n < count - colours or (n < count - 1 and name != "pixelcnn")  # which does not order colours
        if followed:
            assert (y[n + 1, n + 1 :] != y[0, n + 1 :]).any(), f"value {n} changes nothing"


@pytest.mark.row("001-3")
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("colours", "mixture"), [(1, 0), (3, 0), (3, 2)])
def test_one_pass_computes_the_whole_loss(name: str, colours: int, mixture: int) -> None:
    """The sum over all values, each from an image of which it and what follows are replaced by 0."""
    graph = tiny(name, 4, channels=colours, mixture=mixture, condition="class:3")
    x, params = pictures(graph, 2, 3, 4), draw(graph)
    count, values = 12 * colours, in_order(x)
    y = refar.forward(graph, params, x, [2, 0])
    if not mixture:
        whole = np.take_along_axis(log_softmax(graph, y), values[:, :, None], axis=2).sum((1, 2))
        np.testing.assert_allclose(refar.log_prob(graph, params, x, [2, 0]), whole, rtol=1e-12)
    for n in range(count):
        known = np.where(np.arange(count) < n, values, 0).reshape(2, 3, 4, colours).transpose(0, 3, 1, 2)
        masked = refar.forward(graph, params, known, [2, 0])
        pixel, c = divmod(n, colours)
        here = (slice(None), slice(c, None, colours), pixel // 4, pixel % 4)
        np.testing.assert_array_equal(masked[here], y[here])


@pytest.mark.row("001-12")
def test_positions_of_28_by_28_pixels() -> None:
    """Ten channels concatenated to the input: bit i of the row, then bit i of the column."""
    graph = models.pixelcnn(4, hidden=1, position=5, mean=1.0, std=2.0)
    x = pictures(graph, 2, 28, 28)
    located = forward_nodes(unchecked(graph, draw(graph), np.float64), {"x": x})["located"]
    assert located.shape == (2, 11, 28, 28)
    np.testing.assert_array_equal(located[:, :1], (x - 1) / 2)
    for r, s in np.ndindex(28, 28):
        bits = [int(bit) for number in (r, s) for bit in reversed(f"{number:05b}")]
        assert located[0, 1:, r, s].tolist() == located[1, 1:, r, s].tolist() == bits
    assert len(np.unique(located[0, 1:].reshape(10, -1), axis=1).T) == 784


@pytest.mark.row("001-12")
def test_only_positions_tell_one_place_of_a_uniform_image_from_another() -> None:
    x = np.ones((1, 1, 14, 14), int)
    for position, distinct in ((0, False), (4, True)):
        graph = models.pixelcnn(3, hidden=4, position=position)
        inner = refar.forward(graph, draw(graph), x)[0, :, 5:, 5:-4].reshape(3, -1)
        assert (len(np.unique(inner.round(9), axis=1).T) > 1) is distinct


@pytest.mark.row("003-7")
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("role", ["condition", "local"])
def test_a_latent_conditions_every_pixel_and_has_a_gradient(name: str, role: str) -> None:
    """A vector for the image, or a map: each changes the logits, and its gradient is that of differences."""
    graph = tiny(name, 3, **{role: "vector:4"})
    rng, x, params = np.random.default_rng(1), pictures(graph, 2, 3, 4), draw(graph)
    z, direction = rng.normal(size=(2, 2, 4, *([3, 4] if role == "local" else [])))
    y = refar.forward(graph, params, x, z)
    assert (abs(refar.forward(graph, params, x, z + direction) - y).max(axis=1) > 1e-6).all(), "at every pixel"
    dy = rng.normal(size=y.shape)
    gradient = refar.backward(graph, params, x, dy, z)["inputs"][role]
    assert (gradient != 0).all()
    step = 1e-6
    difference = [(dy * refar.forward(graph, params, x, z + sign * step * direction)).sum() for sign in (1, -1)]
    assert (gradient * direction).sum() == pytest.approx((difference[0] - difference[1]) / (2 * step), rel=1e-6)
    module, latent = Module(graph, params), torch.from_numpy(z).requires_grad_()
    module(torch.from_numpy(x), latent).backward(torch.from_numpy(dy))
    assert latent.grad is not None
    np.testing.assert_allclose(latent.grad.numpy(), gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.row("001-9")
@pytest.mark.row("002-8")
@pytest.mark.row("003-3")
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("colours", "mixture"), [(1, 0), (3, 0), (3, 2)])
def test_images_are_painted_alike_pixel_by_pixel_and_by_one_pass_for_each_value(name: str, colours: int, mixture: int) -> None:
    graph = tiny(name, 4, channels=colours, mixture=mixture, condition="class:3")
    params, options = draw(graph), {"batch": 3, "condition": [2, 0, 1], "seed": 5}
    fast, slow = (refar.generate(graph, params, (4, 5), algorithm=algorithm, **options) for algorithm in ("fast", "slow"))
    assert fast.shape == (3, colours, 4, 5)
    np.testing.assert_array_equal(fast, slow)
    assert len(np.unique(fast)) > 1
