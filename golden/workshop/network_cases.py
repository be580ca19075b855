"""Golden cases of whole networks: outputs and all gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from refar import models, ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Arrays
from refar.building.builder import Builder
from refar.golden.case import Case
from refar.golden.compare import as_dtype, differs
from refar.golden.graph_families import gradient_name, graph_of, inputs, network_arrays, parameters
from refar.graph.graph import Graph
from refar.mistakes import of_graphs
from workshop import exact_graph, network_bounds
from workshop.draw import Draw
from workshop.making import FamilyMaker, rounded_up

Extent = tuple[int, ...]


def wavenet() -> Graph:
    """Make a WaveNet with a class for the whole sequence and a vector at every position."""
    return models.wavenet(4, [1, 2, 4], residual=3, gate=2, skip=4, condition="class:3", local="vector:2")


def _pooled() -> Graph:
    """What the built-in networks lack: pooling of both kinds, groups, products, softmax inside, input padding."""
    g = Builder()
    x = g.delay(g.input(channels=2))
    h = g.conv1d(x, 6, kernel=2, dilation=3, groups=2, name="grouped")
    h = g.concat(g.pool1d(h, "max", 3, pad="zero", dilation=2), g.pool1d(g.leaky_relu(h, 0.25), "avg", 3, pad="zero"))
    h = g.multiply(g.conv1d(h, 4, name="left"), g.softmax(g.conv1d(h, 4, kernel=2, name="right")))
    return g.build(g.conv1d(g.concat(g.tanh(h), g.sigmoid(h)), 2, name="out"), ops.Gaussian(0.5))


_ROWS: tuple[tuple[str, Callable[[], Graph], int, Extent, str], ...] = (
    ("linear_ar", lambda: models.linear_ar(4), 3, (9,), "refar.models.linear_ar"),
    ("nettoy1d", lambda: models.nettoy1d(5, hidden=4, mean=2.0, std=1.5), 2, (9,), "Fleuret, Deep learning 10.2, NetToy1d"),
    (
        "nettoy1d_dilated",
        lambda: models.nettoy1d_dilated(4, hidden=3, mean=1.5, std=0.5),
        2,
        (35,),
        "Fleuret, Deep learning 10.2, NetToy1dWithDilation",
    ),
    ("wavenet", wavenet, 2, (11,), "van den Oord et al. 2016 (WaveNet), figure 4 and section 2.5"),
    (
        "wavenet_dense",
        lambda: models.wavenet(5, [1, 2], residual=3, gate=2, skip=3, merge="concat"),
        3,
        (7,),
        "Huang et al. 2017 (DenseNet), equation 2, in a WaveNet",
    ),
    ("tcn", lambda: models.tcn(4, [3, 3, 2], kernel=2), 2, (17,), "Bai et al. 2018, figure 1"),
    ("pooled", _pooled, 2, (13,), "none: the operators that the published networks lack"),
    (
        "pixelcnn",
        lambda: models.pixelcnn(3, kernel=3, hidden=2, mean=1.0, std=0.5, position=2),
        2,
        (4, 5),
        "Fleuret, Deep learning 10.2, PixelCNN with two stacks",
    ),
    (
        "masked_pixelcnn",
        lambda: models.masked_pixelcnn(2, channels=3, layers=1, hidden=3, kernel=3, first_kernel=3, mean=0.5, std=0.5),
        2,
        (3, 4),
        "van den Oord et al. 2016a, Pixel recurrent neural networks, section 3.4",
    ),
    (
        "gated_pixelcnn",
        lambda: models.gated_pixelcnn(
            3, channels=2, layers=2, hidden=2, kernel=3, first_kernel=3, mean=1.0, std=1.0, condition="class:2"
        ),
        2,
        (3, 4),
        "van den Oord et al. 2016b, Conditional image generation with PixelCNN decoders, figure 2",
    ),
)


def draw_parameters(graph: Graph, draw: Draw) -> Arrays:
    """Draw weights that keep the scale, and biases that are nowhere 0; masked weights too."""
    found: Arrays = {}
    for name, shape in facts(graph).parameters.items():
        if len(shape) > 1:
            found[name] = draw.reals(*shape, scale=math.sqrt(3 / math.prod(shape[1:])))
        else:
            found[name] = np.sign(draw.reals(*shape)) * (np.abs(draw.reals(*shape, scale=0.4)) + np.float32(0.125))
    return found


def draw_inputs(graph: Graph, draw: Draw, batch: int, extent: Extent) -> Arrays:
    """Draw classes, and signals from -1 to 1."""
    found = facts(graph)
    drawn: Arrays = {}
    for name in (found.sequence, *found.conditions):
        kind = found.types[name]
        shape = (batch, *([kind.channels] if "c" in kind.axes else []), *(extent if kind.timed else ()))
        drawn[name] = draw.classes(*shape, classes=kind.size) if kind.indexed else draw.reals(*shape)
    return drawn


def _cases() -> Iterator[Case]:
    for id, make, batch, extent, source in _ROWS:
        graph, draw = make(), Draw(f"network/{id}")
        params, given = draw_parameters(graph, draw), draw_inputs(graph, draw, batch, extent)
        known = exact_graph.values(graph, params, given)
        y = known[graph.output]
        dy = draw.reals(*y.shape)
        expected = {"y": exact_graph.rounded(y)}
        bound: Arrays = {"y": network_bounds.outputs(graph, params, given)}
        slack = network_bounds.gradients(graph, params, given, dy)
        for name, gradient in exact_graph.gradients(graph, params, known, dy).items():
            expected[gradient_name(name, params)] = exact_graph.rounded(gradient)
            bound[gradient_name(name, params)] = slack[name]
        case = Case(
            id=f"network/{id}",
            kind="model",
            operator="network",
            seed=draw.seed,
            source=source,
            arrays=network_arrays(params, given, dy=dy),
            expected=expected,
            bound={name: rounded_up(bound[name], array) for name, array in expected.items()},
            graph=graph,
        )
        yield with_catches(case)


def with_catches(case: Case) -> Case:
    """Return the case with the names of the wrong networks of which the output y shows."""
    params, given = as_dtype(parameters(case), np.float64), as_dtype(inputs(case), np.float64)
    caught = []
    for name in of_graphs.NAMES:
        wrong = of_graphs.everywhere(name, graph_of(case), params)
        if wrong is not None and differs(case, {"y": of_graphs.output(wrong, given)}):
            caught.append(name)
    return replace(case, catches=tuple(caught))


def _named(name: str, params: Arrays) -> str:
    return f"gradient.{'param' if name in params else 'input'}.{name}"


NETWORK = FamilyMaker("network", "model", _cases)
