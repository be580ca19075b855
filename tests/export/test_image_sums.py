"""Sums and gates in row and pixel graphs: products that take what is added, halves under a gate, biases added once a row."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from helpers import with_surplus
from hypothesis import given, settings
from hypothesis import strategies as st
from image_corners import CORNERS
from image_graphs import WAYS, Drive, Way, case, expected, opened
from small_models import IMAGE_MODELS

import refar
from refar import Builder, Graph, models
from refar.analysis.facts import facts
from refar.analysis.image_slots import PIXEL, ROW, image_slots
from refar.testing.contract.cases import integer_inputs
from refar_export.image_graphs import BIASES, REWRITES, SUMS, image_models
from refar_export.image_rewrites import moved_biases

NETWORKS = {**IMAGE_MODELS, **CORNERS}


@st.composite
def sums_of_rows(draw: st.DrawFn, exact: bool = False) -> Graph:
    """Sums, some in sums, of convolutions at the pixel, of rows above, and of both, of maps and constants; gated or not."""
    g, channels = Builder(), 2 * draw(st.integers(1, 2))
    x = g.image(channels=2)
    known = {"chart": g.condition("chart", channels=2, local=True, axes="hw"), "vector": g.condition("vector", channels=channels)}
    above, left = g.shift2d(g.conv2d(x, 2, kernel=(2, 3), anchor=(1, 1)), down=1), g.shift2d(x, right=1)
    bias, here = st.booleans(), st.sampled_from([left, left, x])

    def term(kind: str) -> str:
        match kind:
            case "pixel":
                groups = draw(st.integers(1, 2))
                return g.conv2d(draw(here), channels, kernel=(1, 2), anchor=(0, 1), bias=draw(bias), groups=groups)
            case "row":
                return g.conv2d(above, channels, kernel=(1, draw(st.sampled_from([1, 3]))), bias=draw(bias))
            case "both":
                return g.conv2d(x, channels, kernel=(2, 3), anchor=(1, 1), mask="A", bias=draw(bias))
            case "chart":
                return g.conv2d(known["chart"], channels, bias=draw(bias))
        return known["vector"]

    terms = [term(kind) for kind in draw(st.lists(st.sampled_from(["pixel", "row", "both", "chart", "vector"]), min_size=1))]
    h = g.add(term("pixel"), *terms)
    h = g.add(h, term("row"), term("pixel")) if draw(bias) else h
    more = [draw(st.sampled_from([h, *terms, left])) for _ in range(draw(st.integers(0, 2)))]  # what is read twice
    return with_surplus(g, g.conv2d(g.concat(g.relu(h) if exact else g.gate(h), left, *more), 2))


@settings(max_examples=100)
@given(sums_of_rows(), st.sampled_from([REWRITES, (SUMS,)]))
def test_random_sums(graph: Graph, rewrites: tuple[str, ...]) -> None:
    params, inputs = case(graph, 1, 2, (4, 3))
    sessions, wanted = opened(graph, params, rewrites=rewrites), expected(graph, params, inputs)
    assert max(wanted.ratio(Drive(graph, sessions, inputs, way).outputs()) for way in (Way(guesses=2), Way(visits=2))) <= 1


@pytest.mark.parametrize("rewrites", [(), (BIASES,), (SUMS,)], ids=["none", BIASES, SUMS])
@pytest.mark.parametrize("name", ["pixelcnn", "masked_rgb", "gated_class", "gated_rgb_map", "two_leads"])
def test_every_rewrite_alone(name: str, rewrites: tuple[str, ...]) -> None:
    graph = NETWORKS[name]
    params, inputs = case(graph, 1, 2, (6, 4))
    sessions, wanted = opened(graph, params, rewrites=rewrites), expected(graph, params, inputs)
    assert max(wanted.ratio(Drive(graph, sessions, inputs, way).outputs()) for way in WAYS) <= 1


@settings(max_examples=60)
@given(sums_of_rows(exact=True), st.integers(0, 2**32 - 1))
def test_moved_biases_change_no_output(graph: Graph, seed: int) -> None:
    """Of integers, where nothing is rounded; and nothing is stored elsewhere."""
    rng = np.random.default_rng(seed)
    params = {name: rng.integers(-1, 2, shape).astype(float) for name, shape in facts(graph).parameters.items()}
    inputs = integer_inputs(graph, rng, 2, 2, 4, 3)
    moved, theirs = moved_biases(graph, params)
    np.testing.assert_array_equal(refar.forward(moved, theirs, inputs), refar.forward(graph, params, inputs))
    assert image_slots(moved) == image_slots(graph)


def test_biases_are_moved_to_what_is_known_before_a_row() -> None:
    """Those of convolutions in a sum, each once; that of one which more than the sum reads stays."""
    graph = models.gated_pixelcnn(4, layers=3, hidden=4, kernel=3, first_kernel=3)
    params = {name: np.ones(shape) for name, shape in facts(graph).parameters.items()}
    _, moved = moved_biases(graph, params)
    assert params.keys() - moved.keys() == {f"layer{i}.horizontal.conv.bias" for i in range(3)}
    assert all((moved[f"layer{i}.horizontal.above.bias"] == 2).all() for i in range(3))
    assert all((moved[f"layer{i}.horizontal.out.bias"] == 1).all() for i in range(3))


def test_a_bias_that_the_row_graph_does_not_take_is_missed() -> None:
    graph = NETWORKS["gated_class"]
    params, inputs = case(graph, 1, 2, (6, 4))
    sessions = opened(graph, params) | {ROW: opened(graph, params, rewrites=(SUMS,))[ROW]}
    assert expected(graph, params, inputs).ratio(Drive(graph, sessions, inputs, Way()).outputs()) > 10


def test_a_gate_on_a_sum_is_two_products() -> None:
    """Of a layer: what it reads side by side, a product for each half, their activations, the gate, and the way out."""
    graph = models.gated_pixelcnn(4, layers=3, hidden=4, kernel=3, first_kernel=3)
    params = {name: array.astype(np.float32) for name, array in refar.init(graph).items()}
    nodes = image_models(graph, params)[PIXEL].graph.node
    by_output = {output: node for node in nodes for output in node.output}
    gates = [node for node in nodes if node.op_type in ("Tanh", "Sigmoid")]
    assert [by_output[node.input[0]].op_type for node in gates] == ["Gemm"] * 6
    kinds = Counter(node.op_type for node in nodes)
    assert (kinds["Gemm"], kinds["Mul"], kinds["Split"]) == (3 * 3 + 2, 3, 1 + 1), "the line, and one age of several nodes"
