"""The operators over an image against their definitions: by == on integers in every backend, and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from typing import Any

import numpy as np
import pytest
from helpers import compare_exactly, single_2d
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import from_numpy
from torch.nn import functional as F

import refar
from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.analysis.masks import mask_oihw
from refar.analysis.windows import furthest, steps
from refar.exact import literal
from refar.testing.contract.backends import open_backends

BACKENDS = ("numpy", "torch", "onnx")


@st.composite
def convolutions(draw: DrawFn) -> tuple[ops.Conv2d, int]:
    """A convolution of images of any kind, and how many channels its input has."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    anchor = draw(st.tuples(*(st.integers(0, side - 1) for side in kernel)))
    mask: Any = draw(st.sampled_from(("none", "A", "B")))
    colours = 1 if mask == "none" else draw(st.integers(1, 3))
    groups = draw(st.integers(1, 2))
    fan_in, fan_out = (lcm(groups, colours) * draw(st.integers(1, 2)) for _ in range(2))
    op = ops.Conv2d(
        channels=fan_out,
        kernel=kernel,
        mask=mask,
        anchor=None if kernel[0] % 2 and kernel[1] % 2 and draw(st.booleans()) else anchor,
        dilation=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        colours=colours,
        bias=draw(st.booleans()),
        groups=groups,
    )
    return op, fan_in


@given(convolutions(), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.integers(0, 99))
def test_convolution_is_its_definition(drawn: tuple[ops.Conv2d, int], shape: tuple[int, int], seed: int) -> None:
    (op, channels), rng = drawn, np.random.default_rng(seed)
    compare_exactly(single_2d(op, channels=channels), rng, rng.integers(-8, 9, (2, channels, *shape)).astype(float))


@settings(max_examples=30)
@given(convolutions(), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.integers(0, 99))
def test_convolution_is_its_definition_in_every_backend(drawn: tuple[ops.Conv2d, int], shape: tuple[int, int], seed: int) -> None:
    (op, channels), rng = drawn, np.random.default_rng(seed)
    x = rng.integers(-8, 9, (2, channels, *shape)).astype(float)
    compare_exactly(single_2d(op, channels=channels), rng, x, BACKENDS)


@given(convolutions())
def test_how_far_it_looks_is_known_without_looking(drawn: tuple[ops.Conv2d, int]) -> None:
    op, channels = drawn
    seen = steps(op)
    assert furthest(op) == max((max(abs(up), abs(left)) for up, left in seen), default=0)
    mask = mask_oihw(op, facts(single_2d(op, channels=channels)).parameters["op.weight"])
    assert op.groups > 1 or len(seen) == mask.any(axis=(0, 1)).sum()


@pytest.mark.parametrize("op", [ops.Conv2d(4, (3, 2), "B", (1, 1)), ops.Shift2d(1, -1), ops.Position(2), ops.Slice(0, 1)])
def test_no_images_at_all(op: ops.AnyOp) -> None:
    compare_exactly(single_2d(op, channels=2), np.random.default_rng(0), np.zeros((0, 2, 4, 3)), ("numpy", "torch"))


@pytest.mark.parametrize("op", [ops.OneHot(), ops.Embedding(3), ops.Standardize(3.0, 0.5), ops.Ones()])
def test_no_images_of_class_indices_at_all(op: ops.AnyOp) -> None:
    x = np.zeros((0, 2, 4, 3), int)
    compare_exactly(single_2d(op, classes=5, channels=2), np.random.default_rng(0), x, BACKENDS)


X = np.arange(1.0, 10).reshape(1, 1, 3, 3)
POWERS = 2.0 ** np.arange(9).reshape(1, 1, 3, 3)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("A", [[0, 8, 16], [10, 49, 40 + 8], [28, 94, 81]]),
        ("B", [[16, 40, 64], [74, 129, 144], [140, 222, 225]]),
    ],
)
def test_masked_convolution_by_hand(mask: Any, expected: list[list[int]]) -> None:
    """Weights 1, 2, 4 see the row above, 8 the left and 16 the pixel itself; 32 and more what comes after it."""
    graph = single_2d(ops.Conv2d(1, (3, 3), mask, bias=False))
    for backend in open_backends(graph, {"op.weight": POWERS}, BACKENDS):
        np.testing.assert_array_equal(backend.forward({"x": X})[0, 0], expected, backend.name)


def test_even_kernels_and_dilation_by_hand() -> None:
    """The anchor (0, 1) of a kernel 2 x 2: the left and the pixel, and two rows below them."""
    graph = single_2d(ops.Conv2d(1, (2, 2), "none", (0, 1), dilation=(2, 1)))
    params = {"op.weight": np.array([[[[1.0, 10], [100, 1000]]]]), "op.bias": np.array([0.5])}
    expected = [[7000 + 10, 700 + 8000 + 1 + 20, 800 + 9000 + 2 + 30], [40, 4 + 50, 5 + 60], [70, 7 + 80, 8 + 90]]
    for backend in open_backends(graph, params, BACKENDS):
        np.testing.assert_array_equal(backend.forward({"x": X})[0, 0], np.array(expected) + 0.5, backend.name)


def seen_from_the_centre(op: ops.Conv2d, channels: int, side: int) -> list[np.ndarray]:
    """In every backend: for each output channel, which channel and pixel of an image of this side its centre sees."""
    graph = single_2d(op, channels=channels)
    shape = facts(graph).parameters["op.weight"]
    impulses = np.eye(channels * side * side).reshape(-1, channels, side, side)
    seen = []
    for backend in open_backends(graph, {"op.weight": np.ones(shape)}, BACKENDS):
        y = backend.forward({"x": impulses})[:, :, side // 2, side // 2]
        seen.append(y.T.reshape(-1, channels, side, side))
    return seen


A5 = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
B5 = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize(("mask", "expected", "ones"), [("A", A5, 12), ("B", B5, 13), ("none", np.ones((5, 5)), 25)])
def test_masks_of_one_colour_as_in_the_paper(mask: Any, expected: Any, ones: int) -> None:
    assert np.sum(expected) == ones
    op = ops.Conv2d(1, (5, 5), mask, bias=False)
    np.testing.assert_array_equal(mask_oihw(op, (1, 1, 5, 5))[0, 0], expected)
    for seen in seen_from_the_centre(op, 1, 5):
        np.testing.assert_array_equal(seen[0, 0], expected)


@pytest.mark.row("003-3")
@pytest.mark.parametrize(
    ("mask", "centre"),
    [
        ("A", [[0, 0, 0], [1, 0, 0], [1, 1, 0]]),  # G sees R, and B sees R and G
        ("B", [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
    ],
)
@pytest.mark.parametrize("each", [1, 2])
def test_red_then_green_then_blue(mask: Any, centre: Any, each: int) -> None:
    """Of the pixel itself, output o sees input i as the matrix says of their colours; before it every colour sees every other."""
    op = ops.Conv2d(3 * each, (5, 5), mask, colours=3, bias=False)
    for seen in seen_from_the_centre(op, 3 * each, 5):
        for o, i in np.ndindex(3 * each, 3 * each):
            expected = np.array(A5)
            expected[2, 2] = centre[o % 3][i % 3]
            np.testing.assert_array_equal(seen[o, i], expected)


def test_colours_are_counted_through_all_groups() -> None:
    """Two groups of three channels for two colours: the second group begins with colour 1."""
    op = ops.Conv2d(6, (1, 1), "A", colours=2, bias=False, groups=2)
    one, two = [[0, 0, 0], [1, 0, 1], [0, 0, 0]], [[0, 1, 0], [0, 0, 0], [0, 1, 0]]
    expected = np.block([[np.array(one), np.zeros((3, 3))], [np.zeros((3, 3)), np.array(two)]])
    for seen in seen_from_the_centre(op, 6, 1):
        np.testing.assert_array_equal(seen[:, :, 0, 0], expected)


def test_masked_weights_have_no_effect_and_no_gradient() -> None:
    rng, op = np.random.default_rng(0), ops.Conv2d(3, (3, 3), "A", colours=3)
    graph, mask = single_2d(op, channels=3), mask_oihw(op, (3, 3, 3, 3))
    params = {name: rng.normal(size=shape) for name, shape in facts(graph).parameters.items()}
    huge = params | {"op.weight": np.where(mask, params["op.weight"], 1e30)}
    x, dy = rng.normal(size=(2, 3, 4, 5)).astype(np.float32).astype(float), rng.normal(size=(2, 3, 4, 5))
    pairs = zip(open_backends(graph, params, BACKENDS), open_backends(graph, huge, BACKENDS), strict=True)
    for backend, masked in pairs:
        np.testing.assert_array_equal(backend.forward({"x": x}), masked.forward({"x": x}), backend.name)
        if (gradient := masked.gradient({"x": x}, dy)) is not None:
            assert (gradient["op.weight"][~mask] == 0).all()
            assert (gradient["op.weight"][mask] != 0).all()


@pytest.mark.row("001-10")
@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -2), (2, -1), (-3, 3), (3, 0), (0, -9), (9, 9)])
def test_shifts_are_pytorchs_signed_padding(down: int, right: int) -> None:
    rng = np.random.default_rng(1)
    graph = single_2d(ops.Shift2d(down, right), channels=2)
    x = rng.integers(-8, 9, (2, 2, 3, 4)).astype(float)
    compare_exactly(graph, rng, x, BACKENDS)
    inside = abs(down) <= 3 and abs(right) <= 4
    expected = F.pad(from_numpy(x), (right, -right, down, -down)).numpy() if inside else np.zeros_like(x)
    np.testing.assert_array_equal(refar.forward(graph, {}, x), expected)


@pytest.mark.parametrize(
    ("down", "right", "expected"),
    [
        (1, 0, [[0, 0, 0], [1, 2, 3], [4, 5, 6]]),
        (0, 1, [[0, 1, 2], [0, 4, 5], [0, 7, 8]]),
        (-1, -1, [[5, 6, 0], [8, 9, 0], [0, 0, 0]]),
        (2, -2, [[0, 0, 0], [0, 0, 0], [3, 0, 0]]),
        (3, 0, [[0, 0, 0]] * 3),
    ],
)
def test_shifts_by_hand(down: int, right: int, expected: list[list[int]]) -> None:
    for backend in open_backends(single_2d(ops.Shift2d(down, right)), {}, BACKENDS):
        np.testing.assert_array_equal(backend.forward({"x": X})[0, 0], expected, backend.name)


@pytest.mark.row("001-12")
def test_position_by_hand() -> None:
    """Two bits for three rows and two columns: the low and the high bit of the row, then those of the column."""
    x = np.full((2, 1, 3, 2), 7.0)
    expected = [
        [[0, 0], [1, 1], [0, 0]],
        [[0, 0], [0, 0], [1, 1]],
        [[0, 1], [0, 1], [0, 1]],
        [[0, 0], [0, 0], [0, 0]],
    ]
    for backend in open_backends(single_2d(ops.Position(2)), {}, BACKENDS):
        np.testing.assert_array_equal(backend.forward({"x": x}), [expected, expected], backend.name)


@pytest.mark.row("001-12")
def test_ten_bits_tell_all_pixels_of_a_28_by_28_image_apart() -> None:
    g = Builder()
    x = g.image(channels=2)
    graph = g.build(g.concat(x, g.position(x, 5)))
    image = np.random.default_rng(2).integers(-8, 9, (2, 2, 28, 28)).astype(float)
    compare_exactly(single_2d(ops.Position(5), channels=2), np.random.default_rng(3), image[:, :, :9, :5], BACKENDS)
    for backend in open_backends(graph, {}, BACKENDS):
        y = backend.forward({"x": image})
        assert y.shape == (2, 12, 28, 28)
        np.testing.assert_array_equal(y[:, :2], image)
        np.testing.assert_array_equal(y[0, 2:, 27, 19], [1, 1, 0, 1, 1, 1, 1, 0, 0, 1])  # 27 = 11011, 19 = 10011 in binary
        np.testing.assert_array_equal(y[1, 2:, 6, 16], [0, 1, 1, 0, 0, 0, 0, 0, 0, 1])
        assert len({tuple(pixel) for pixel in y[0, 2:].reshape(10, -1).T}) == 28 * 28
        rows, columns = np.tensordot(2 ** np.arange(5), y[0, 2:].reshape(2, 5, 28, 28), (0, 1))
        np.testing.assert_array_equal((rows, columns), np.indices((28, 28)))


COLOURED = np.array([[[[0, 1]], [[2, 0]]]])  # (1, 2, 1, 2): two colours, three classes, one row of two pixels


@pytest.mark.parametrize(
    ("op", "weight", "expected"),
    [
        (ops.OneHot(), None, [[1, 0], [0, 1], [0, 1], [0, 0], [0, 0], [1, 0]]),  # class 0 of both colours, then 1, then 2
        (ops.Standardize(1.0, 0.5), None, [[-2, 0], [2, -2]]),
        (ops.Embedding(2), [[1, 2], [3, 4], [5, 6]], [[1, 3], [5, 1], [2, 4], [6, 2]]),
    ],
)
def test_lookups_of_an_image_with_colours_by_hand(op: ops.AnyOp, weight: Any, expected: Sequence[Any]) -> None:
    """Channel k·C + c is number k of colour c."""
    graph = single_2d(op, classes=3, channels=2)
    params = {} if weight is None else {"op.weight": np.array(weight, float)}
    for backend in open_backends(graph, params, BACKENDS):
        np.testing.assert_array_equal(backend.forward({"x": COLOURED})[0, :, 0], expected, backend.name)


@pytest.mark.parametrize("colours", [1, 2, 3])
@pytest.mark.parametrize("op", [ops.OneHot(), ops.Embedding(3), ops.Standardize(3.0, 0.5), ops.Ones(), ops.Position(2)])
def test_what_is_made_of_class_indices_is_its_definition(op: ops.AnyOp, colours: int) -> None:
    rng = np.random.default_rng(colours)
    compare_exactly(single_2d(op, classes=6, channels=colours), rng, rng.integers(0, 6, (2, colours, 3, 4)), BACKENDS)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
@pytest.mark.parametrize(
    "op",
    [
        ops.PadChannels(2, 1),
        ops.Ones(),
        ops.Activation("relu"),
        ops.Activation("leaky_relu", 0.25),
        ops.Affine(1.5, -0.75),
        ops.Slice(1, 3),
    ],
)
def test_what_looks_at_one_pixel_is_its_definition(op: ops.AnyOp, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    x = rng.integers(-2, 3, (3, 4, *shape)).astype(float)
    compare_exactly(single_2d(op, channels=4), rng, x, BACKENDS)


@pytest.mark.parametrize("op", [ops.Activation("tanh"), ops.Activation("sigmoid"), ops.Gate(), ops.Softmax()])
def test_exponentials_over_a_plane(op: ops.AnyOp) -> None:
    rng, graph = np.random.default_rng(5), single_2d(op, channels=4)
    x = rng.normal(size=(2, 4, 3, 2)).astype(np.float32).astype(float)
    dy = rng.normal(size=refar.forward(graph, {}, x).shape)
    for backend in open_backends(graph, {}, BACKENDS):
        ulp = float(np.finfo(backend.dtype).eps)
        assert np.abs(backend.forward({"x": x}) - literal.evaluate(op, [x])).max() <= 4 * ulp
        if (gradient := backend.gradient({"x": x}, dy)) is not None:
            assert np.abs(gradient["x"] - literal.gradient(op, [x], dy)["0"]).max() <= 16 * ulp


def with_constant(kind: type[ops.Op], first: str) -> Graph:
    g = Builder()
    x, c = g.image(channels=3), g.condition("c", channels=3)
    return g.build(g.add_op(kind(), *((x, c, x) if first == "x" else (c, x, x)), name="op"))


@pytest.mark.parametrize("first", ["x", "c"])
@pytest.mark.parametrize("kind", [ops.Add, ops.Multiply, ops.Concat])
def test_a_global_condition_is_repeated_over_the_plane_and_its_gradient_summed(kind: type[ops.Op], first: str) -> None:
    graph, rng = with_constant(kind, first), np.random.default_rng(6)
    x, c = rng.integers(-8, 9, (2, 3, 4, 5)).astype(float), rng.integers(-8, 9, (2, 3)).astype(float)
    args = [x, c, x] if first == "x" else [c, x, x]
    expected = literal.evaluate(kind(), args).astype(float)
    dy = rng.integers(-8, 9, expected.shape).astype(float)
    wanted = literal.gradient(kind(), args, dy)
    at_c, at_x = ("1", ("0", "2")) if first == "x" else ("0", ("1", "2"))
    for backend in open_backends(graph, {}, BACKENDS):
        np.testing.assert_array_equal(backend.forward({"x": x, "c": c}), expected, backend.name)
        if (gradient := backend.gradient({"x": x, "c": c}, dy)) is not None:
            np.testing.assert_array_equal(gradient["c"], wanted[at_c].astype(float), backend.name)
            np.testing.assert_array_equal(gradient["x"], (wanted[at_x[0]] + wanted[at_x[1]]).astype(float), backend.name)


def test_a_condition_by_hand_over_two_pixels() -> None:
    g = Builder()
    graph = g.build(g.add(g.image(channels=1), g.conv1d(g.condition(channels=2), 1, name="to")))
    params = {"to.weight": np.array([[[10.0], [100]]]), "to.bias": np.array([0.5])}
    for backend in open_backends(graph, params, BACKENDS):
        y = backend.forward({"x": np.array([[[[1.0, 2]]]]), "condition": np.array([[3.0, 4]])})
        np.testing.assert_array_equal(y, [[[[431.5, 432.5]]]], backend.name)
