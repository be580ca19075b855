"""The laws on graphs of images: random ones, the data that they are run on, and what each law says of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import single_2d
from hypothesis import given, settings
from hypothesis import strategies as st

import refar
from refar import Builder, Graph, init, models, ops
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.analysis.types import Type
from refar.exact import literal
from refar.testing import Line, check_bundle, check_contract, run_laws, strategies
from refar.testing.contract import backends, integers, operators
from refar.testing.contract.cases import generic_array, generic_inputs, generic_parameters, masks, other_values, sizes
from refar.testing.contract.places import places
from refar_export import export


def tiny(colours: int = 2) -> Graph:
    """Strict, in the order of its colours."""
    g = Builder()
    h = g.conv2d(g.embedding(g.image(classes=3, channels=colours), 2), 2 * colours, kernel=3, mask="A", colours=colours)
    h = g.add(h, g.conv2d(g.condition("map", channels=1, local=True, axes="hw"), 2 * colours))
    return g.build(g.conv2d(g.relu(h), 3 * colours, mask="B", colours=colours), ops.Categorical())


def said(graph: Graph, **options: Any) -> dict[str, Line]:
    return {line.law: line for line in run_laws(graph, **options).lines}


@settings(max_examples=50)
@given(strategies.plane_graphs())
def test_random_graphs(graph: Graph) -> None:
    check_contract(graph, backends=("numpy",))


@settings(max_examples=25)
@given(strategies.plane_graphs())
def test_random_graphs_on_every_backend(graph: Graph) -> None:
    check_contract(graph)


@settings(max_examples=15)
@given(strategies.plane_graphs(strict=True, exact=True))
def test_random_graphs_of_exact_operators(graph: Graph) -> None:
    assert is_strict(graph)
    exact = next(line for line in check_contract(graph, backends=("numpy",)).lines if line.law == "exact")
    assert "the whole graph" in exact.figure
    assert "round" not in exact.figure


@settings(max_examples=10)
@given(strategies.plane_graphs(strict=False))
def test_random_graphs_that_see_the_present(graph: Graph) -> None:
    assert facts(graph).looks_ahead is None
    assert not is_strict(graph)
    check_contract(graph, backends=("numpy",))


def test_channels_that_no_pixel_reaches_are_read_in_a_stream() -> None:
    """The second group sees nothing but its bias; what is computed from it is no function of the image, yet not of zeros."""
    g = Builder()
    h = g.conv2d(g.image(channels=2), 4, kernel=(1, 2), mask="A", anchor=(0, 0), colours=2, groups=2)
    y = g.conv2d(g.slice(h, 2, 4), 2, mask="A", colours=2)
    graph = g.build(g.add(y, g.conv2d(g.shift2d(h, right=1), 2)))
    assert "pixel" in facts(graph).raster.clock[y]
    check_contract(graph, backends=())


@settings(max_examples=10)
@given(graph=strategies.plane_graphs())
def test_random_bundles(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_bundle(export(graph, generic_parameters(graph, np.random.default_rng(0)), tmp_path_factory.mktemp("bundle") / "b"))


def test_what_does_not_apply_says_why(tmp_path: Path) -> None:
    lines = said(tiny(), backends=())
    assert {law: line.figure for law, line in lines.items() if not line.applies} == {
        "block": "does not apply: images are run pixel by pixel"
    }
    ahead = said(single_2d(ops.Conv2d(1, (3, 3))), backends=())
    assert ahead["step"].figure == "does not apply: the graph looks ahead"
    report = check_bundle(export(tiny(), init(tiny()), tmp_path / "bundle"))
    idle = {line.law: line.figure for line in report.lines if not line.applies}
    assert idle.keys() == {"block"}


def test_figures_speak_of_images() -> None:
    lines = said(tiny(), backends=("torch",))
    assert lines["causality"].figure.endswith("images of 1 x 1, 2 x 3, 2 x 5, 7 x 8")
    assert lines["reach"].figure.endswith("2 sets of offsets")
    hidden = sum(int((~mask).sum()) for mask in masks(tiny()).values())
    assert f"{hidden} masked weights" in lines["exact"].figure
    assert "numpy float64, numpy float32" in lines["step"].figure


@pytest.mark.parametrize("name", ["torch", "onnx", "numpy"])
def test_an_empty_image_must_be_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = {"torch": backends.TorchBackend, "onnx": backends.OnnxBackend, "numpy": backends.NumpyBackend}[name]
    right = owner.forward

    def forward(self: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
        x = inputs["x"]
        return np.zeros((len(x), 6, *x.shape[2:]), self.dtype) if x.size == 0 else right(self, inputs)

    monkeypatch.setattr(owner, "forward", forward)
    message = said(tiny(), backends=(name,))["types"].message
    for fragment in ("an image of 0 x 3 pixels", "expected InputError", "got no error"):
        assert fragment in message


def test_a_difference_names_pixel_and_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    right = backends.TorchBackend.forward
    monkeypatch.setattr(backends.TorchBackend, "forward", lambda self, inputs: right(self, inputs)[:, :, ::-1].copy())
    lines = said(tiny(), backends=("torch",))
    assert {law for law, line in lines.items() if not line.passed} >= {"causality", "reach", "exact", "rounding"}
    assert "x from pixel (" in lines["causality"].message
    assert ", channel " in lines["causality"].message
    assert "[c, h, w] at [" in lines["causality"].message
    assert "at pixel (" in lines["reach"].message
    assert "output, [b, c, h, w] at [" in lines["rounding"].message


def test_the_offset_that_is_not_felt_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from refar.oracle import node

    right = node.backward

    def backward(op: ops.AnyOp, args: Any, *rest: Any) -> Any:
        dargs, dbefore, dparams = right(op, args, *rest)
        lost = isinstance(op, ops.Conv2d) and args[0].shape[1] == 4 and op.kernel == (3, 3)
        return [0 * dx for dx in dargs] if lost else dargs, dbefore, dparams

    monkeypatch.setattr(node, "backward", backward)
    message = said(tiny(), backends=())["reach"].message
    for fragment in ("output channels 0 at pixel (", "expected a gradient at offset (0, 1, 0)", "0 of 8 inferred"):
        assert fragment in message, message


@given(strategies.plane_graphs())
def test_sizes_are_oblong_and_feel_no_border(graph: Graph) -> None:
    found = sizes(graph)
    assert all(height != width for height, width in (found.short, found.equal, found.settled, found.long))
    assert found.extents[0] == found.single == (1, 1)
    assert len({found.batch, *found.long}) == 3
    steps = {(0, 0), *refar.offsets(graph)}
    for axis in (0, 1):
        along = [step[axis] for step in steps]
        assert found.inner[axis] - max(along) >= 0
        assert found.inner[axis] - min(along) < found.settled[axis] < found.long[axis]
        assert found.equal[axis] >= max(along) - min(along) + 1


def test_sizes_hold_the_field() -> None:
    found = sizes(models.pixelcnn(4, hidden=3))
    assert (found.equal, found.settled, found.inner) == ((6, 10), (6, 10), (5, 5))
    assert found.short < found.equal
    large = sizes(models.masked_pixelcnn(4, hidden=2, layers=30))
    assert not large.small
    assert large.rows(large.long) == 1


def brute(graph: Graph, extent: tuple[int, ...], channel: int) -> dict[tuple[int, ...], set[int]]:
    """Of each pixel, the numbers of the values that the channel sees there, in their order."""
    found = facts(graph)
    assert found.grid is not None
    height, width = extent
    seen: dict[tuple[int, ...], set[int]] = {}
    for r, s in product(range(height), range(width)):
        seen[r, s] = set()
        for number in found.offsets[graph.output][channel]:
            up, left = found.grid.step(number)
            if 0 <= r - up < height and 0 <= s - left < width:
                seen[r, s].add(((r - up) * width + s - left) * found.grid.colours + found.grid.colour(number))
    return seen


@given(strategies.plane_graphs(), st.integers(1, 5), st.integers(1, 5), st.data())
def test_places_are_counted_in_the_order_of_the_sequence(graph: Graph, height: int, width: int, data: st.DataObject) -> None:
    where, found = places(graph, (height, width)), facts(graph)
    colours = found.types["x"].channels
    order = np.arange(where.values).reshape(height, width, colours)
    n = data.draw(st.integers(0, where.values - 1))
    np.testing.assert_array_equal(where.from_value(n), np.moveaxis(order >= n, -1, 0))
    channel = data.draw(st.integers(0, found.types[graph.output].size - 1))
    offsets = found.offsets[graph.output][channel]
    unaware = where.unaware(n, offsets).reshape(height, width)
    for (r, s), seen in brute(graph, (height, width), channel).items():
        mask = where.seen(r * width + s, offsets)
        assert {int(i) for i in np.flatnonzero(np.moveaxis(mask, 0, -1))} == seen
        assert not unaware[r, s] or max(seen, default=-1) < n, "what is compared sees nothing that has changed"
        for index in np.argwhere(mask):
            colour, row, column = (int(i) for i in index)
            assert where.offset(r * width + s, (colour, row, column)) == (r - row, s - column, colour)


def test_places_that_see_nothing_new_are_compared() -> None:
    """The nearest offset is the latest, but at the border, where it lies outside of the image."""
    graph, extent = tiny(), (4, 3)
    where, offsets = places(graph, extent), facts(graph).offsets[graph.output]
    for channel, n in product(range(6), range(where.values)):
        unaware = where.unaware(n, offsets[channel]).reshape(extent)
        expected = {pixel: max(seen, default=-1) < n for pixel, seen in brute(graph, extent, channel).items() if pixel[1] > 0}
        assert {pixel: unaware[pixel] for pixel in expected} == expected


@pytest.mark.parametrize("kind", [Type(4, True, True, True, 3), Type(3, False, True, True)])
def test_generic_images(kind: Type) -> None:
    rng = np.random.default_rng(0)
    x = generic_array(kind, rng, 2, 4, 5)
    assert x.shape == (2, 3, 4, 5)
    assert (other_values(kind, x, rng) != x).all()


def test_masked_weights_are_drawn_too() -> None:
    graph = models.masked_pixelcnn(4, channels=3, hidden=6, layers=1)
    rng = np.random.default_rng(0)
    params = generic_parameters(graph, rng)
    assert masks(graph).keys() < params.keys()
    assert all((array != 0).all() for array in params.values())
    integral = integers.integral_graph(tiny())
    assert integral is not None
    case = integers.integer_case(integral, rng, 2, (7, 8))
    assert case is not None
    assert all((case.params[name][~mask] != 0).all() for name, mask in masks(integral).items())


@given(strategies.plane_graphs())
def test_each_operator_has_a_case(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    cases = [*operators.exact_cases(graph, rng), *operators.rounded_cases(graph, rng)]
    assert {type(node.op) for node in graph.nodes} - {ops.Input} <= {type(n.op) for case in cases for n in case.graph.nodes}
    assert all(literal.is_exact(node.op) for case in operators.exact_cases(graph, rng) for node in case.graph.nodes)


@pytest.mark.parametrize(
    ("op", "channels"),
    [
        (ops.Conv2d(48, (3, 3), "B", colours=3), 48),
        (ops.Conv2d(30, (7, 7), "A", dilation=(1, 9), colours=3, groups=2), 60),
        (ops.Conv2d(12, (4, 12), "B", (3, 5), colours=2, groups=2), 6),
        (ops.Conv2d(64, (3, 3), "B", groups=64), 64),
        (ops.Conv2d(9, (1, 1), "A", colours=9), 9),
        (ops.Conv2d(32, (9, 8), anchor=(8, 7), dilation=(3, 4)), 1),
    ],
)
def test_reduced_convolutions_keep_what_masks_get_wrong(op: ops.Conv2d, channels: int) -> None:
    """Colours, groups, whether a group begins with the first colour, where the anchor stands, kernels that are even."""
    case = operators.exact_cases(single_2d(op, channels=channels), np.random.default_rng(0))[0]
    small, given = case.graph["op"].op, facts(case.graph).types["x"].size
    assert isinstance(small, ops.Conv2d)
    assert small.mask == op.mask
    assert (small.colours > 1, small.groups > 1, small.bias) == (op.colours > 1, op.groups > 1, op.bias)
    assert (given // small.groups % small.colours == 0) == (channels // op.groups % op.colours == 0)
    assert (given > small.colours) == (channels > op.colours)
    assert (small.channels > small.colours) == (op.channels > op.colours)
    assert [side % 2 for side in small.kernel] == [side % 2 for side in op.kernel]
    if op.anchor is not None and small.anchor is not None:
        last = [[a == side - 1 for a, side in zip(o.anchor or (), o.kernel, strict=True)] for o in (small, op)]
        assert last[0] == last[1]
    assert [gap > 1 for gap in small.dilation] == [gap > 1 for gap in op.dilation]
    assert case.dy.size * (given // small.groups) * small.kernel[0] * small.kernel[1] < 300_000, "loops in Python must end"


def hidden_shows(self: Any, inputs: Any, *, right: Callable[..., Any]) -> Any:
    """A backend that adds up all its weights."""
    return right(self, inputs) + np.float32(sum(float(a.sum()) for a in self.params.values()))


def test_a_masked_weight_that_matters_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = backends.NumpyBackend.forward
    monkeypatch.setattr(backends.NumpyBackend, "forward", lambda self, inputs: hidden_shows(self, inputs, right=right))
    monkeypatch.setattr(operators, "exact_cases", lambda graph, rng: [])
    message = said(tiny(), backends=())["exact"].message
    assert "output with other numbers in the place of masked weights, [b, c, h, w]" in message


def test_a_gradient_of_masked_weights_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = backends.NumpyBackend.gradient

    def gradient(self: Any, inputs: Any, dy: Any) -> Any:
        found = right(self, inputs, dy)
        return {name: a + 1e-15 * (a == 0) if a.ndim == 4 else a for name, a in found.items()}

    monkeypatch.setattr(backends.NumpyBackend, "gradient", gradient)
    monkeypatch.setattr(operators, "exact_cases", lambda graph, rng: [])
    lines = said(tiny(), backends=())
    assert [law for law, line in lines.items() if not line.passed] == ["exact"], "too little for the law of rounding"
    assert "gradient of the masked weights in 'conv2d.weight', [o, i, h, w] at [0, " in lines["exact"].message


def test_generic_inputs_of_a_map_lie_over_the_image() -> None:
    inputs = generic_inputs(tiny(), np.random.default_rng(0), 2, 3, 4)
    assert {name: array.shape for name, array in inputs.items()} == {"x": (2, 2, 3, 4), "map": (2, 1, 3, 4)}
