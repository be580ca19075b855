"""Golden cases of the operators that look at one position only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from refar.arguments.arrays import Array
from workshop.draw import Draw, float32
from workshop.making import Draft
from workshop.node_definitions import node_operator

EXTREMES = (0.0, -0.0, 1e-20, -1e-7, 20.0, -20.0, 89.0, -89.0, 104.0, -104.0)
"""Where exponentials overflow or vanish in float32; in float64 they do beyond 709."""


def extreme(draw: Draw, *shape: int) -> Array:
    """Draw numbers that hold all the extremes, in another order for each case."""
    numbers = draw.reals(*shape, scale=4)
    numbers.reshape(-1)[: len(EXTREMES)] = EXTREMES
    return numbers.reshape(-1)[np.argsort(draw.reals(numbers.size), kind="stable")].reshape(shape)


def _gates() -> Iterator[Draft]:
    for id, b, c, t in (("2-channels", 3, 2, 5), ("6-channels", 2, 6, 5), ("8-channels", 3, 8, 4)):
        draw = Draw(f"gate/{id}")
        yield Draft(id, draw.seed, {"x": draw.reals(b, c, t, scale=3), "dy": draw.reals(b, c // 2, t)}, {}, False)
    draw = Draw("gate/saturated")
    yield Draft("saturated", draw.seed, {"x": extreme(draw, 2, 4, 5), "dy": draw.reals(2, 2, 5)}, {}, False)


def _softmaxes() -> Iterator[Draft]:
    for id, b, c, t in (("2-classes", 3, 2, 4), ("5-classes", 2, 5, 7), ("17-classes", 2, 17, 3)):
        draw = Draw(f"softmax/{id}")
        yield Draft(id, draw.seed, {"x": draw.reals(b, c, t, scale=4), "dy": draw.reals(b, c, t)}, {}, False)
    draw = Draw("softmax/large")
    x = draw.reals(2, 2, 1, scale=3) + float32([[[720]], [[-720]]])
    yield Draft("large", draw.seed, {"x": x, "dy": draw.reals(2, 2, 1)}, {}, False)
    draw = Draw("softmax/far-apart")
    yield Draft("far-apart", draw.seed, {"x": extreme(draw, 2, 5, 3), "dy": draw.reals(2, 5, 3)}, {}, False)


def _activations() -> Iterator[Draft]:
    kinds: tuple[Literal["relu", "leaky_relu", "tanh", "sigmoid"], ...] = ("relu", "leaky_relu", "tanh", "sigmoid")
    for kind in kinds:
        exact = kind in ("relu", "leaky_relu")
        for id, b, c, t in ((f"{kind}", 2, 3, 7), (f"{kind}-extreme", 3, 2, 5)):
            draw = Draw(f"activation/{id}")
            x = draw.integers(b, c, t, most=3) if exact and not id.endswith("extreme") else extreme(draw, b, c, t)
            slope = 0.25 if kind == "leaky_relu" else 0.01
            yield Draft(id, draw.seed, {"x": x, "dy": draw.reals(b, c, t)}, {"kind": kind, "slope": slope}, exact)
    for kind in kinds[2:]:
        draw = Draw(f"activation/{kind}-large")
        arrays = {"x": float32([[[-720]], [[800]]]), "dy": draw.reals(2, 1, 1)}
        yield Draft(f"{kind}-large", draw.seed, arrays, {"kind": kind}, False)


def _one_hots() -> Iterator[Draft]:
    for id, b, t, classes in (("2-classes", 3, 5, 2), ("5-classes", 2, 7, 5), ("13-classes", 3, 4, 13)):
        draw = Draw(f"one_hot/{id}")
        yield Draft(id, draw.seed, {"x": draw.classes(b, t, classes=classes)}, {"classes": classes}, True)
    draw = Draw("one_hot/last-class-absent")
    yield Draft("last-class-absent", draw.seed, {"x": draw.classes(2, 5, classes=4)}, {"classes": 7}, True)


def _embeddings() -> Iterator[Draft]:
    for id, b, t, classes, c in (("5-classes", 2, 7, 5, 3), ("3-classes", 3, 11, 3, 4), ("11-classes", 2, 5, 11, 2)):
        draw = Draw(f"embedding/{id}")
        # equal classes add up: integers keep that exact
        arrays = {"x": draw.classes(b, t, classes=classes), "w": draw.reals(classes, c), "dy": draw.integers(b, c, t)}
        yield Draft(id, draw.seed, arrays, {}, True)


def _standardizations() -> Iterator[Draft]:
    for id, classes, mean, std, exact in (
        ("powers-of-two", 7, 2.5, 0.5, True),
        ("identity", 5, 0.0, 1.0, True),
        ("generic", 256, 33.25, 78.5, False),
    ):
        draw = Draw(f"standardize/{id}")
        yield Draft(id, draw.seed, {"x": draw.classes(2, 7, classes=classes)}, {"mean": mean, "std": std}, exact)


def _positions() -> Iterator[Draft]:
    for id, b, c, h, w, bits in (("3-bits", 2, 1, 5, 7, 3), ("5-bits", 1, 3, 28, 3, 5), ("repeats", 2, 2, 6, 3, 2)):
        draw = Draw(f"positional_encoding/{id}")
        yield Draft(id, draw.seed, {"x": draw.reals(b, c, h, w)}, {"bits": bits}, True)


POINTWISE = (
    node_operator(
        "gate(x_bct) -> y_bct",
        "y[b,c,t] = tanh(x[b,c,t]) · σ(x[b,C+c,t]), x has 2C channels; van den Oord et al. 2016 (WaveNet), equation 2",
        _gates,
    ),
    node_operator(
        "softmax(x_bct) -> y_bct",
        "y[b,c,t] = exp(x[b,c,t]) / Σ_j exp(x[b,j,t])",
        _softmaxes,
    ),
    node_operator(
        "activation(x_bct, *, kind, slope=0.01) -> y_bct",
        "relu: max(x, 0); leaky_relu: x if x > 0 else slope·x; tanh; sigmoid; the derivative at 0 is 0 and slope",
        _activations,
    ),
    node_operator(
        "one_hot(x_bt, *, classes) -> y_bqt",
        "y[b,q,t] = 1 if x[b,t] = q else 0",
        _one_hots,
    ),
    node_operator(
        "embedding(x_bt, w_qc) -> y_bct",
        "y[b,c,t] = w[x[b,t], c]",
        _embeddings,
    ),
    node_operator(
        "standardize(x_bt, *, mean, std) -> y_bct",
        "y[b,0,t] = (x[b,t] - mean) / std; Fleuret, Deep learning 10.2",
        _standardizations,
    ),
    node_operator(
        "positional_encoding(x_bchw, *, bits) -> y_bchw",
        "y[b,i,r,s] = bit i of r, y[b,bits+i,r,s] = bit i of s, least significant first; Fleuret, Deep learning 10.2",
        _positions,
    ),
)
