"""Hypothesis strategies for small graphs over time and over an image, splits and data. Needs hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from msgspec.structs import replace

from refar import ops
from refar.analysis.facts import validated
from refar.arguments.arrays import Array
from refar.building.builder import Builder
from refar.graph.graph import Graph, Padding, pruned
from refar.testing.examples import POINTWISE, Example, Value


def convolutions() -> SearchStrategy[ops.Conv1d]:
    """A convolution of any small kernel and dilation, strict or not, with or without bias."""
    return st.builds(ops.Conv1d, st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.booleans(), st.booleans())


def pools() -> SearchStrategy[ops.Pool1d]:
    """A pool of any kind, pad and small kernel and dilation."""
    kinds, pads = st.sampled_from(("avg", "max")), st.sampled_from(("zero", "exclude"))
    return st.builds(ops.Pool1d, kinds, st.integers(1, 4), pads, st.integers(1, 5))


@st.composite
def splits(draw: DrawFn, total: int) -> list[int]:
    """Lengths ≥ 0 that sum to `total`."""
    lengths: list[int] = []
    while sum(lengths) < total:
        lengths.append(draw(st.integers(0 if lengths[-1:] != [0] else 1, total - sum(lengths))))
    return lengths


@st.composite
def integer_arrays(draw: DrawFn, shape: tuple[int, ...], largest: int = 8) -> Array:
    """Integers up to `largest` in magnitude, as float64."""
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(-largest, largest + 1, shape).astype(np.float64)


def heads(classes: int, channels: int, size: int) -> SearchStrategy[tuple[ops.AnyHead | None, int]]:
    """None, for an output of `size` channels, or a head that fits the sequence input, and the channels that it takes.

    `classes` and `channels` are those of the input: of class indices there is one channel for each colour.
    """
    fitting: list[tuple[ops.AnyHead | None, int]] = [(None, size)]
    if classes:
        fitting += [(ops.MixtureLogistics(k, classes), 3 * k * channels) for k in (1, 2)]
        fitting.append((ops.Categorical(), classes * channels))
    else:
        fitting += [(ops.Gaussian(0.5), channels), (ops.LearntGaussian(-2.0), 2 * channels)]
        fitting += [(ops.MixtureGaussians(k, -2.0), 3 * k * channels) for k in (1, 2)]
    return st.sampled_from(fitting)


@dataclass
class _Drawn:
    """A graph under construction: values that depend on the sequence and conditions that do not, with their channels."""

    builder: Builder
    excluding: bool
    values: list[tuple[str, int]] = field(default_factory=list)
    constants: list[tuple[str, int]] = field(default_factory=list)
    local: list[tuple[str, int]] = field(default_factory=list)


@st.composite
def graphs(
    draw: DrawFn,
    *,
    strict: bool | None = None,
    exact: bool = False,
    largest: int = 6,
    paddings: Sequence[Padding] = ("layer", "input", "valid"),
) -> Graph:
    """A random graph of up to `largest` operators over one sequence and perhaps conditions, with a convolution at its end.

    Strict, not strict, or either; in the last case it may look ahead. With or without a head. Under any of the `paddings`.
    `exact` keeps to polynomial and piecewise-linear operators with integral attributes.
    What makes an inferred offset vanish (a product with a channel of zeros, a relu that is always off) is not drawn.
    """
    g = Builder()
    padding = draw(st.sampled_from(paddings))
    drawn = _Drawn(g, excluding=padding != "input")
    classes, channels = draw(st.integers(2, 5)) * draw(st.booleans()), 1
    if classes:
        x = g.input(classes=classes)
        lookup = draw(st.sampled_from(("one_hot", "embedding", "standardize")))
        if lookup == "one_hot":
            drawn.values.append((g.one_hot(x), classes))
        elif lookup == "embedding":
            drawn.values.append((g.embedding(x, 3), 3))
        else:
            drawn.values.append((g.standardize(x, 1, 0.5), 1))
    else:
        channels = draw(st.integers(1, 3))
        drawn.values.append((g.input(channels=channels), channels))
    if draw(st.booleans()):
        drawn.constants.append((g.condition(channels=2), 2) if draw(st.booleans()) else (g.one_hot(g.condition(classes=3)), 3))
    if draw(st.booleans()):
        vector = draw(st.booleans())
        signal = g.condition("local", channels=2 * vector, classes=3 * (not vector), local=True)
        drawn.local.append((signal, 2) if vector else (g.one_hot(signal), 3))
    if strict:
        name, size = drawn.values.pop()
        drawn.values.append((g.delay(name, draw(st.integers(1, 2))), size))
    kinds = ["conv1d", "grouped", "pool", "delay", "slice", "pad_channels", "concat", "add", "multiply"]
    kinds += [name for name, each in _POINTWISE.items() if each.space in ("t", "any") and (each.integral or not exact)]
    # what is not always there comes last, and is drawn for all, so that shrinking takes it away and leaves the rest
    kinds += ["condition"] * bool(drawn.constants) + ["local"] * bool(drawn.local)
    kinds += ["look ahead"] * (draw(st.integers(0, 3)) == 3 and strict is None and padding == "layer")
    for _ in range(draw(st.integers(0, largest))):
        _add_operator(draw, drawn, draw(st.sampled_from(kinds)), exact)
    head, size = draw(heads(classes, channels, 2))
    name, _ = drawn.values[-1]
    name = g.conv1d(name, size, kernel=draw(st.integers(1, 3)), strict=strict is None and draw(st.booleans()), name="last")
    output = g.add(name, g.conv1d(drawn.values[0][0], size, name="first")) if strict is False else name
    return _built(g, output, head, padding)


def _built(g: Builder, output: str, head: ops.AnyHead | None, padding: Padding = "layer") -> Graph:
    """Return the graph that ends in `output`, without the operators drawn that the output does not need."""
    return pruned(validated(Graph(format="refar-graph", version=1, nodes=g.nodes, output=output, head=head, padding=padding)))


def _add_operator(draw: DrawFn, drawn: _Drawn, kind: str, exact: bool) -> None:
    g = drawn.builder
    name, channels = draw(st.sampled_from(drawn.values))
    if kind in _POINTWISE:
        found = _applied(_POINTWISE[kind], g, Value(name, channels), exact)
        drawn.values.append((found.name, found.channels))
        return
    match kind:
        case "conv1d":
            op = draw(convolutions())
            drawn.values.append((g.add_op(op, name), op.channels))
        case "grouped":
            other, more = draw(st.sampled_from(drawn.values))
            both = g.concat(name, other)
            groups = draw(st.sampled_from([d for d in (1, 2, 3, 4) if (channels + more) % d == 0]))
            op = replace(draw(convolutions()), channels=groups * draw(st.integers(1, 2)), groups=groups)
            drawn.values.append((g.add_op(op, both), op.channels))
        case "pool":
            pool = draw(pools())
            pad = pool.pad if drawn.excluding else "zero"
            y = g.pool1d(name, pool.kind, pool.kernel, pad=pad, dilation=pool.dilation)
            drawn.values.append((y, channels))
        case "pad_channels":
            before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
            drawn.values.append((g.pad_channels(name, before, after), before + channels + after))
        case "delay":
            drawn.values.append((g.delay(name, draw(st.integers(0, 3))), channels))
        case "look ahead":
            drawn.values.append((g.delay(name, -draw(st.integers(1, 3))), channels))
        case "slice":
            start = draw(st.integers(0, channels - 1))
            stop = draw(st.integers(start + 1, channels))
            drawn.values.append((g.slice(name, start, stop), stop - start))
        case "concat":
            other, more = draw(st.sampled_from(drawn.values + drawn.constants + drawn.local))
            drawn.values.append((g.concat(name, other), channels + more))
        case "add":
            other, _ = draw(st.sampled_from(drawn.values))
            drawn.values.append((g.add(name, g.conv1d(other, channels)), channels))
        case "multiply":
            other, _ = draw(st.sampled_from(drawn.values))
            drawn.values.append((g.multiply(g.conv1d(name, channels), g.conv1d(other, channels)), channels))
        case "local":
            local, _ = draw(st.sampled_from(drawn.local))
            kernel, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3))
            drawn.values.append((g.add(name, g.conv1d(local, channels, kernel=kernel, dilation=dilation)), channels))
        case "condition":
            constant, _ = draw(st.sampled_from(drawn.constants))
            drawn.values.append((g.add(name, g.conv1d(constant, channels, bias=False)), channels))
        case _:
            raise AssertionError(f"{kind!r} is not drawn over time")


_POINTWISE = {example.name: example for example in POINTWISE}


def _applied(example: Example, g: Builder, x: Value, exact: bool) -> Value:
    apply = example.integral if exact else example.apply
    assert apply is not None
    return apply(g, x)


@dataclass
class _Plane:
    """A graph of images under construction: values over it that depend on the image, with their channels.

    All channels are multiples of the colours, and where there is an order of colours every convolution keeps it.
    """

    builder: Builder
    colours: int
    ordered: bool
    causal: bool
    values: list[tuple[str, int]] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    maps: list[str] = field(default_factory=list)

    def mixed(self, name: str, channels: int) -> str:
        """A 1x1 convolution."""
        if self.ordered:
            return self.builder.conv2d(name, channels, mask="B", colours=self.colours)
        return self.builder.conv2d(name, channels)


@st.composite
def plane_graphs(draw: DrawFn, *, strict: bool | None = None, exact: bool = False, largest: int = 5) -> Graph:
    """A random graph of up to `largest` operators over one image and perhaps conditions, as `graphs` draws them over time.

    Strict, with or without an order of colours; causal but not strict; or either, in which case it may look ahead. With or
    without a head.
    """
    g = Builder()
    colours = draw(st.integers(1, 3))
    drawn = _Plane(g, colours, ordered=colours > 1 and draw(st.booleans()), causal=strict is not None or draw(st.booleans()))
    lookup = draw(st.sampled_from(("none", "one_hot", "embedding", "standardize")))
    classes = draw(st.integers(2, 4)) if lookup != "none" else 0
    x, channels = g.image(classes=classes, channels=colours), colours
    if lookup == "one_hot":
        x, channels = g.one_hot(x), classes * colours
    elif lookup == "embedding":
        x, channels = g.embedding(x, 2), 2 * colours
    elif lookup == "standardize":
        x = g.standardize(x, 1, 0.5)
    if draw(st.booleans()):
        drawn.constants.append(g.condition(channels=2) if draw(st.booleans()) else g.one_hot(g.condition(classes=3)))
    if draw(st.booleans()):
        vector = draw(st.booleans())
        chart = g.condition("map", channels=2, classes=0 if vector else 3, local=True, axes="hw")
        drawn.maps.append(chart if vector else g.one_hot(chart))
    drawn.values.append((x, channels))
    if strict:
        drawn.values = [_hidden(draw, drawn, x, channels)]
    kinds = [*["conv2d"] * 3, "grouped", "slice", "pad_channels", "concat", "add", "multiply", "shift2d"]
    kinds += [] if drawn.ordered else ["vertical"]
    fitting = {name: each for name, each in _POINTWISE.items() if each.space in ("hw", "any") and (each.integral or not exact)}
    kinds += [name for name, each in fitting.items() if not (each.joins and drawn.ordered)]
    kinds += ["condition"] * len(drawn.constants) + ["map"] * len(drawn.maps)
    for _ in range(draw(st.integers(0, largest))):
        _add_plane_operator(draw, drawn, draw(st.sampled_from(kinds)), exact)
    head, size = draw(heads(classes, colours, 2 * colours))
    output = drawn.mixed(drawn.values[-1][0], size)
    return _built(g, g.add(output, drawn.mixed(x, size)) if strict is False else output, head)


def _hidden(draw: DrawFn, drawn: _Plane, x: str, channels: int) -> tuple[str, int]:
    """The present pixel hidden, by a mask or a shift; or of each colour itself and the colours after it."""
    if drawn.ordered or draw(st.booleans()):
        op = draw(_masked(drawn, channels, draw(st.integers(1, 2)) * drawn.colours))
        return drawn.builder.add_op(replace(op, mask="A", colours=drawn.colours if drawn.ordered else 1), x), op.channels
    down, right = draw(st.sampled_from(((0, 1), (1, 0), (1, -1), (0, 2), (2, 1))))
    return drawn.builder.shift2d(x, down=down, right=right), channels


@st.composite
def _masked(draw: DrawFn, drawn: _Plane, channels: int, wanted: int) -> ops.Conv2d:
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    odd = kernel[0] % 2 and kernel[1] % 2
    anchor = None if odd and draw(st.booleans()) else (draw(st.integers(0, kernel[0] - 1)), draw(st.integers(0, kernel[1] - 1)))
    groups = draw(st.sampled_from([d for d in (1, 2, 3) if channels % d == 0 and wanted % d == 0]))
    colours = drawn.colours if drawn.ordered or draw(st.booleans()) else 1
    gaps = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    mask: Literal["A", "B"] = draw(st.sampled_from(("A", "B")))
    return ops.Conv2d(wanted, kernel, mask, anchor, gaps, colours, True, groups)


@st.composite
def _convolutions_2d(draw: DrawFn, drawn: _Plane, channels: int) -> ops.Conv2d:
    """Masked, or with its anchor in the last corner, or anywhere if that is allowed."""
    op = draw(_masked(drawn, channels, draw(st.integers(1, 2)) * drawn.colours))
    if drawn.ordered or draw(st.booleans()):
        return op
    rows, columns = op.kernel
    anywhere = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    return replace(op, mask="none", colours=1, anchor=(rows - 1, columns - 1) if drawn.causal else anywhere)


def _add_plane_operator(draw: DrawFn, drawn: _Plane, kind: str, exact: bool) -> None:
    g, n = drawn.builder, drawn.colours
    name, channels = draw(st.sampled_from(drawn.values))
    y, size = name, channels
    if kind in _POINTWISE:
        found = _applied(_POINTWISE[kind], g, Value(name, channels, n, image=True, ordered=drawn.ordered), exact)
        drawn.values.append((found.name, found.channels))
        return
    match kind:
        case "conv2d":
            op = draw(_convolutions_2d(drawn, channels))
            y, size = g.add_op(op, name), op.channels
        case "grouped":
            other, more = draw(st.sampled_from(drawn.values))
            op = draw(_convolutions_2d(drawn, channels + more))
            y, size = g.add_op(op, g.concat(name, other)), op.channels
        case "vertical":  # sees its whole row, and shows it to the rows below
            tall = g.conv2d(name, 2 * n, kernel=(2, 3), anchor=(1, 1))
            y, size = g.shift2d(tall, down=draw(st.integers(1, 2)), right=draw(st.integers(-1, 1))), 2 * n
        case "shift2d":
            down, right = draw(st.integers(0, 2)), draw(st.integers(0, 2))
            y = g.shift2d(name, down=down, right=right) if drawn.causal else g.shift2d(name, down=1 - down, right=1 - right)
        case "slice":
            start = draw(st.integers(0, channels // n - 1))
            size = n * draw(st.integers(1, channels // n - start))
            y = g.slice(name, n * start, n * start + size)
        case "pad_channels":
            before, after = n * draw(st.integers(0, 1)), n * draw(st.integers(0, 1))
            y, size = g.pad_channels(name, before, after), before + channels + after
        case "concat":
            other, more = draw(st.sampled_from(drawn.values))
            y, size = g.concat(name, other), channels + more
        case "add":
            other, _ = draw(st.sampled_from(drawn.values))
            y = g.add(name, drawn.mixed(other, channels))
        case "multiply":
            other, _ = draw(st.sampled_from(drawn.values))
            y = g.multiply(drawn.mixed(name, channels), drawn.mixed(other, channels))
        case "condition":
            y = g.add(name, g.conv1d(drawn.constants[0], channels, bias=False))
        case "map":
            y = g.add(name, g.conv2d(drawn.maps[0], channels, kernel=draw(st.sampled_from((1, 3)))))
        case _:
            raise AssertionError(f"{kind!r} is not drawn for images")
    drawn.values.append((y, size))
