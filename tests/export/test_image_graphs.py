"""Row, pixel and condition graphs in onnxruntime alone, driven as export/README.md says: outputs within the computed bound."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import refuses
from hypothesis import given, settings
from hypothesis import strategies as st
from image_corners import CORNERS
from image_graphs import LEVELS, WAYS, Drive, Way, case, expected, opened
from small_models import IMAGE_MODELS

import refar
from refar import Builder, Graph
from refar.analysis.facts import facts
from refar.analysis.image_slots import PIXEL, PIXELS, ROW, ImageSlots, image_slots
from refar.errors import GraphError
from refar.graph.graph import digest
from refar.oracle.bound_graph import bound_graph
from refar.oracle.image_visits import ImageVisits
from refar.oracle.whole import forward_nodes
from refar.testing.contract.cases import integer_inputs
from refar.testing.strategies import plane_graphs
from refar_export import image_graphs
from refar_export.image_graphs import image_models
from refar_export.image_rewrites import moved_biases

NETWORKS = {**IMAGE_MODELS, **CORNERS}


def ratios(
    graph: Graph, batch: int, shape: tuple[int, int], ways: tuple[Way, ...] = WAYS, level: str = LEVELS[-1]
) -> list[float]:
    """The largest difference over the bound, driven in these ways."""
    params, inputs = case(graph, 1, batch, shape)
    sessions, wanted = opened(graph, params, level), expected(graph, params, inputs)
    return [wanted.ratio(Drive(graph, sessions, inputs, way).outputs()) for way in ways]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("batch", "shape"), [(1, (1, 1)), (7, (1, 9)), (1, (9, 1)), (2, (7, 5))])
def test_outputs_are_within_the_bound(name: str, batch: int, shape: tuple[int, int]) -> None:
    """In place and not, one visit and several in a call, with wrong guesses first, and nan in slots that no visit has written."""
    assert max(ratios(NETWORKS[name], batch, shape)) <= 1


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["pixelcnn", "masked_rgb", "gated_class", "two_leads", "whole_rows", "far_rows"])
def test_every_optimisation_level(name: str, level: str) -> None:
    assert max(ratios(NETWORKS[name], 2, (6, 4), WAYS, level)) <= 1


@settings(max_examples=80)
@given(plane_graphs())
def test_random_graphs(graph: Graph) -> None:
    if facts(graph).looks_ahead is None:
        assert max(ratios(graph, 2, (4, 3), (Way(guesses=2), Way(visits=2, in_place=False)))) <= 1


@settings(max_examples=60)
@given(plane_graphs(exact=True), st.integers(0, 2**32 - 1))
def test_integers_are_equal(graph: Graph, seed: int) -> None:
    """Where every number is a small integer nothing is rounded, and the outputs equal the oracle's."""
    rng = np.random.default_rng(seed)
    params = {name: rng.integers(-1, 2, shape).astype(float) for name, shape in facts(graph).parameters.items()}
    inputs = integer_inputs(graph, rng, 2, 2, 4, 3)
    net = bound_graph(graph, params)
    largest = max(np.abs(value).max() for value in forward_nodes(net, net.cast(inputs)).values())
    if facts(graph).looks_ahead is None and largest < 2**16:  # sums of some hundred terms stay below 2²⁴
        found = Drive(graph, opened(graph, params), inputs, Way(guesses=1)).outputs()
        np.testing.assert_array_equal(found, refar.forward(graph, params, inputs))


@pytest.mark.parametrize("name", ["gated_class", "far_rows", "two_leads"])
def test_the_state_is_that_of_the_contract(name: str) -> None:
    """Lines, rings and slots equal those of the NumPy reference, number by number, of the network with moved biases."""
    graph = NETWORKS[name]
    params, inputs = case(graph, 1, 2, (4, 5))
    visits = ImageVisits(bound_graph(*moved_biases(graph, params)))
    drive = Drive(graph, opened(graph, params), inputs, Way(poisoned=False))
    slots, x = visits.slots, visits.net.cast(inputs)[facts(graph).sequence]
    drive.outputs()
    fixed = visits.constants(visits.net.cast(inputs), 2, (4, 5))
    pixels, rings = visits.empty(2, 5)
    for row in range(4):
        line, rings = visits.row(row, pixels, rings, fixed)
        for visit in range(slots.first_visit, 5):
            _, pixels = visits.pixel(visit, x[:, :, row, max(visit, 0)], 5, pixels, line, fixed)
    state = {"past.pixels": pixels, "line": line, **{f"past.rows.{node}": ring for node, ring in rings.items()}}
    for port, array in state.items():
        np.testing.assert_allclose(drive.ports[port], array, rtol=0, atol=1e-5 * np.abs(array).max(), err_msg=port)


def mutated(monkeypatch: pytest.MonkeyPatch, graph: Graph, **changes: Any) -> None:
    """Another layout for the exporter."""

    def changed(_: Graph) -> ImageSlots:
        return replace(image_slots(graph), **changes)

    monkeypatch.setattr(image_graphs, "image_slots", changed)


@pytest.mark.parametrize("name", [name for name, graph in NETWORKS.items() if image_slots(graph).rings])
def test_without_the_spare_row_the_oldest_is_overwritten_before_it_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = NETWORKS[name]
    mutated(monkeypatch, graph, rings={node: entries - 1 for node, entries in image_slots(graph).rings.items()})
    assert ratios(graph, 2, (7, 5), (Way(),))[0] > 10


@pytest.mark.parametrize("name", [name for name, graph in NETWORKS.items() if image_slots(graph).masked_left])
def test_without_the_left_mask(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutated(monkeypatch, NETWORKS[name], masked_left=frozenset())
    assert min(ratios(NETWORKS[name], 2, (7, 5), (Way(), Way(visits=3)))) > 10


def test_without_the_right_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    mutated(monkeypatch, NETWORKS["right_neighbour"], masked_right=frozenset())
    assert min(ratios(NETWORKS["right_neighbour"], 2, (7, 5), (Way(), Way(visits=3)))) > 10


@pytest.mark.parametrize("name", NETWORKS)
def test_models(name: str) -> None:
    """What a deployment may rely on: versions, ports, operators, and that nothing but the pixel may go unused."""
    graph = NETWORKS[name]
    slots, models = image_slots(graph), image_models(graph, float32(graph))
    assert models.keys() == slots.ports.keys()
    for file, model in models.items():
        assert ([opset.version for opset in model.opset_import], model.ir_version) == ([18], 10)
        inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
        assert (tuple(inputs), tuple(outputs)) == (slots.ports[file].inputs, slots.ports[file].outputs)
        assert not set(inputs) & set(outputs)
        read = {name for node in model.graph.node for name in node.input}
        assert set(inputs) - read <= {slots.sequence} if file in (PIXEL, PIXELS) else set(inputs) <= read
        kinds = Counter(node.op_type for node in model.graph.node)
        assert not kinds.keys() & {"Loop", "Scan", "If", "RandomNormal", "RandomUniform", "Multinomial", "Bernoulli"}
        assert kinds["ScatterND"] == sum(output.startswith("present.") for output in outputs)
        meta = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(meta["refar.image"])["past"] == slots.past
        assert (meta["refar.kind"], meta["refar.graph_sha256"]) == (file.removesuffix(".onnx"), digest(graph))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pixelcnn", {"past": 1, "first_visit": -1, "output_lead": 1, "looks": 1}),
        ("masked_rgb", {"past": 2, "first_visit": 0, "output_lead": 0, "looks": 3}),
        ("right_neighbour", {"past": 2, "first_visit": -1, "output_lead": 0, "looks": 1}),
    ],
)
def test_what_no_port_says_is_in_the_metadata(name: str, said: dict[str, int]) -> None:
    models = image_models(NETWORKS[name], float32(NETWORKS[name]))
    for model in models.values():
        assert json.loads({entry.key: entry.value for entry in model.metadata_props}["refar.image"]).items() >= said.items()


def test_one_gather_for_each_age_and_for_the_line() -> None:
    graph = IMAGE_MODELS["masked_rgb"]
    kinds = Counter(node.op_type for node in image_models(graph, float32(graph))[PIXEL].graph.node)
    assert (image_slots(graph).past, kinds["Gather"]) == (2, 2 + 1 + 1), "a line, two ages, and the table of a lookup"


def test_the_same_graph_gives_the_same_bytes() -> None:
    graph = IMAGE_MODELS["gated_rgb_map"]
    first, second = (image_models(graph, float32(graph)) for _ in range(2))
    assert all(first[name].SerializeToString() == second[name].SerializeToString() for name in first)


@pytest.mark.parametrize(("first", "rest"), [("fixed", ".conv"), ("past", ""), ("output", ""), ("present", ".rows")])
def test_names_of_ports_are_refused(first: str, rest: str) -> None:
    g = Builder()
    graph = g.build(g.conv2d(g.image(channels=1), 2, name=first + rest))
    with refuses(GraphError, repr(first + rest), "kept for a port"):
        image_models(graph, float32(graph))


def test_an_input_may_not_have_the_name_of_a_number() -> None:
    g = Builder()
    graph = g.build(g.add(g.image(channels=1), g.condition("row", channels=1)))
    with refuses(GraphError, "'row'", "kept for a port"):
        image_models(graph, float32(graph))
    g = Builder()
    graph = g.build(g.conv2d(g.image(channels=1), 1, name="row"))  # not an input: no port has its name
    assert image_models(graph, float32(graph))


def float32(graph: Graph) -> dict[str, np.ndarray]:
    return {name: array.astype(np.float32) for name, array in refar.init(graph).items()}


def test_no_row_graph_without_rows() -> None:
    assert image_graphs.row(CORNERS["no_rows"], float32(CORNERS["no_rows"])) is None
    assert image_graphs.condition(CORNERS["no_rows"], float32(CORNERS["no_rows"])) is None
    assert ROW not in image_slots(CORNERS["no_rows"]).ports
    assert isinstance(image_graphs.row(CORNERS["far_rows"], float32(CORNERS["far_rows"])), onnx.ModelProto)
