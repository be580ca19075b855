"""The contract of the row and pixel graphs in NumPy: it gives what the whole pass gives, and only what visits allow is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import refuses
from hypothesis import given, settings
from image_corners import CORNERS
from small_models import IMAGE_MODELS

import refar
from refar import Graph, models
from refar.analysis.facts import facts
from refar.analysis.image_slots import ImageSlots, image_slots
from refar.arguments.arrays import Array, Arrays
from refar.errors import GraphError
from refar.oracle.bound_graph import bound_graph
from refar.oracle.image_visits import ImageVisits
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.testing.strategies import plane_graphs

NETWORKS = {**IMAGE_MODELS, **CORNERS}


def visited(visits: ImageVisits, inputs: Arrays, guess: Array | None = None) -> Array:
    """y_bchw by rows and visits; slots that no visit has written hold nan. With `guess`, two visits with it come before each."""
    net, slots = visits.net, visits.slots
    x = net.cast(inputs)[net.facts.sequence]
    batch, _, height, width = x.shape
    fixed = visits.constants(net.cast(inputs), batch, (height, width))
    pixels, rings = visits.empty(batch, width)
    y = np.zeros((batch, net.facts.types[net.graph.output].channels, height, width))
    for row in range(height):
        line, rings = visits.row(row, pixels, rings, fixed)
        pixels[slots.past + 1 + slots.first_visit :] = np.nan
        for visit in range(slots.first_visit, width):
            for wrong in range(visit, min(visit + 2, width) if guess is not None else visit):
                _, pixels = visits.pixel(wrong, guess, width, pixels, line, fixed)
            y_bc, pixels = visits.pixel(visit, x[:, :, row, visit], width, pixels, line, fixed)
            if visit + slots.output_lead < width:
                y[:, :, row, visit + slots.output_lead] = y_bc
    return y


def difference(graph: Graph, shape: tuple[int, int], *, guess: bool = False, slots: ImageSlots | None = None) -> float:
    """How far visits are from the whole pass, relative to the largest output."""
    rng = np.random.default_rng([7, *shape])
    params, inputs = generic_parameters(graph, rng, alive=guess), generic_inputs(graph, rng, 2, *shape)
    visits = ImageVisits(bound_graph(graph, params))
    visits.slots = slots or visits.slots
    y = refar.forward(graph, params, inputs)
    found = visited(visits, inputs, np.flip(inputs[facts(graph).sequence])[:, :, 0, 0] if guess else None)
    return float(np.nan_to_num(np.abs(found - y), nan=np.inf).max() / max(1, np.abs(y).max()))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (7, 5)])
@pytest.mark.parametrize("guess", [False, True])
def test_visits_are_the_whole_pass(name: str, shape: tuple[int, int], guess: bool) -> None:
    assert difference(NETWORKS[name], shape, guess=guess) < 1e-12


@settings(max_examples=60)
@given(plane_graphs())
def test_visits_of_random_graphs(graph: Graph) -> None:
    if facts(graph).looks_ahead is None:
        assert difference(graph, (4, 3), guess=True) < 1e-12


@pytest.mark.parametrize("name", [name for name, graph in NETWORKS.items() if image_slots(graph).masked_left])
def test_without_the_left_mask_values_left_of_the_image_are_not_zero(name: str) -> None:
    graph = NETWORKS[name]
    assert difference(graph, (7, 5), guess=True, slots=replace(image_slots(graph), masked_left=frozenset())) > 1e-6


def test_without_the_right_mask_values_right_of_the_image_are_not_zero() -> None:
    graph = CORNERS["right_neighbour"]
    assert difference(graph, (7, 5), slots=replace(image_slots(graph), masked_right=frozenset())) > 1e-6


def test_the_layout_of_two_stacks() -> None:
    """By hand, of two stacks with kernel 3 and positions: P = 1, and channels by age."""
    slots = image_slots(IMAGE_MODELS["pixelcnn"])
    assert (slots.first_visit, slots.output_lead, slots.past, slots.slots(28)) == (-1, 1, 1, 30)
    assert slots.pixels == {"right": range(5), "conv1v_relu": range(5, 8), "located": range(8, 13)}
    assert slots.oldest == {"right": 1, "conv1v_relu": 1, "located": 0}
    assert slots.rings == {"down": 2, "conv1h_relu": 2}
    assert [(line.node, line.above, line.lead) for line in slots.lines] == [("position", False, 0), ("conv2h_relu", False, 1)]
    assert slots.masked_left == {"located"}
    assert slots.planes == ("position",)


def test_a_line_that_both_leads_read_is_there_twice() -> None:
    lines = [(line.node, line.lead) for line in image_slots(CORNERS["two_leads"]).lines]
    assert lines == [("chart", 0), ("add", 0), ("ones", 0), ("position", 0), ("chart", 1), ("add", 1)]


def test_what_the_output_does_not_need_is_left_out() -> None:
    slots = image_slots(CORNERS["chart_alone"])
    assert (slots.pixels, slots.pixel_nodes, slots.rings) == ({}, (), {})


def test_only_causal_graphs_of_images_have_a_layout() -> None:
    with refuses(GraphError, "pixel graphs are of images", "over time"):
        image_slots(models.linear_ar(4))
    g = refar.Builder()
    ahead = g.build(g.shift2d(g.image(channels=1), right=-1))
    with refuses(GraphError, "a pixel graph needs a causal graph", "shift2d"):
        image_slots(ahead)
