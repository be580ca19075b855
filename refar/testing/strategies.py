"""Hypothesis strategies for small graphs, splits and data. Needs hypothesis."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from refar import ops
from refar.arrays import Array
from refar.graph import Builder, Graph


def convolutions() -> SearchStrategy[ops.Conv1d]:
    """A convolution of any small kernel and dilation, strict or not, with or without bias."""
    return st.builds(ops.Conv1d, st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.booleans(), st.booleans())


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


@dataclass
class _Drawn:
    """A graph under construction: real values over time, with their channels."""

    builder: Builder
    values: list[tuple[str, int]] = field(default_factory=list)
    constants: list[tuple[str, int]] = field(default_factory=list)


@st.composite
def graphs(draw: DrawFn, *, strict: bool | None = None, exact: bool = False, largest: int = 6) -> Graph:
    """A random graph of up to `largest` operators over one sequence and perhaps a condition, with a convolution at its end.

    Strict, not strict, or either. `exact` keeps to polynomial and piecewise-linear operators with integral attributes.
    Operators that make an inferred offset vanish (a softmax over one channel, a relu that is always off) are not drawn.
    """
    g = Builder()
    drawn = _Drawn(g)
    indexed = draw(st.booleans())
    classes = draw(st.integers(2, 5))
    if indexed:
        x = g.input(classes=classes)
        lookup = draw(st.sampled_from(("one_hot", "embedding", "standardize")))
        if lookup == "one_hot":
            drawn.values.append((g.one_hot(x), classes))
        elif lookup == "embedding":
            drawn.values.append((g.embedding(x, 3), 3))
        else:
            drawn.values.append((g.standardize(x, 1, 0.5), 1))
    else:
        drawn.values.append((g.input(channels=(channels := draw(st.integers(1, 3)))), channels))
    if draw(st.booleans()):
        drawn.constants.append((g.condition(channels=2), 2) if draw(st.booleans()) else (g.one_hot(g.condition(classes=3)), 3))
    if strict:
        name, channels = drawn.values.pop()
        drawn.values.append((g.delay(name, draw(st.integers(1, 2))), channels))
    for _ in range(draw(st.integers(0, largest))):
        _add_operator(draw, drawn, exact)
    name, _ = drawn.values[-1]
    name = g.conv1d(name, 2, kernel=draw(st.integers(1, 3)), strict=strict is None and draw(st.booleans()), name="last")
    return g.build(g.add(name, g.conv1d(drawn.values[0][0], 2, name="first")) if strict is False else name)


def _add_operator(draw: DrawFn, drawn: _Drawn, exact: bool) -> None:
    g = drawn.builder
    name, channels = draw(st.sampled_from(drawn.values))
    kinds = ["conv1d", "delay", "relu", "leaky_relu", "affine", "slice", "concat", "add", "multiply", "condition"]
    match draw(st.sampled_from(kinds if exact else [*kinds, "tanh", "sigmoid", "gate", "softmax"])):
        case "conv1d":
            op = draw(convolutions())
            drawn.values.append((g.add_op(op, name), op.channels))
        case "delay":
            drawn.values.append((g.delay(name, draw(st.integers(1, 3))), channels))
        case "relu":
            drawn.values.append((g.relu(g.conv1d(name, 3)), 3))
        case "leaky_relu":
            drawn.values.append((g.leaky_relu(name, 2 if exact else 0.2), channels))
        case "affine":
            drawn.values.append((g.affine(name, 2, 1) if exact else g.affine(name, 0.7, -0.3), channels))
        case "slice":
            start = draw(st.integers(0, channels - 1))
            stop = draw(st.integers(start + 1, channels))
            drawn.values.append((g.slice(name, start, stop), stop - start))
        case "concat":
            other, more = draw(st.sampled_from(drawn.values + drawn.constants))
            drawn.values.append((g.concat(name, other), channels + more))
        case "add":
            other, _ = draw(st.sampled_from(drawn.values))
            drawn.values.append((g.add(name, g.conv1d(other, channels)), channels))
        case "multiply":
            other, _ = draw(st.sampled_from(drawn.values))
            drawn.values.append((g.multiply(name, g.conv1d(other, channels)), channels))
        case "condition" if drawn.constants:
            constant, _ = draw(st.sampled_from(drawn.constants))
            drawn.values.append((g.add(name, g.conv1d(constant, channels, bias=False)), channels))
        case "tanh":
            drawn.values.append((g.tanh(name), channels))
        case "sigmoid":
            drawn.values.append((g.sigmoid(name), channels))
        case "gate":
            drawn.values.append((g.gate(g.conv1d(name, 4)), 2))
        case "softmax":
            drawn.values.append((g.softmax(g.conv1d(name, 3)), 3))
