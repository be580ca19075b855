"""All arithmetic is done in the dtype that was asked for, whatever that of the arrays handed in."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from helpers import generate_with_outputs

import refar
from refar import Builder, Graph, ops
from refar.testing.contract.cases import generic_parameters

RNG = np.random.default_rng(0)
C = RNG.normal(size=(2, 3))


def over_time(padding: Any) -> Graph:
    g = Builder()
    h = g.conv1d(g.input(channels=2), 4, kernel=2, strict=True)
    h = g.add(h, g.conv1d(g.condition("c", channels=3), 4), g.conv1d(g.condition("l", channels=1, local=True), 4, kernel=2))
    h = g.gate(g.conv1d(g.pool1d(h, "avg", 2, pad="zero"), 4, kernel=2))
    return g.build(g.conv1d(h, 2), ops.Gaussian(), padding=padding)


def over_a_plane() -> Graph:
    g = Builder()
    h = g.conv2d(g.image(channels=2), 4, kernel=3, mask="A")
    h = g.add(h, g.conv1d(g.condition("c", channels=3), 4), g.conv2d(g.condition("l", channels=1, local=True, axes="hw"), 4))
    return g.build(g.conv2d(g.gate(h), 2, kernel=3, mask="B"), ops.Gaussian())


def of(value: Any) -> set[Any]:
    """The dtypes of all arrays of an output, a state or gradients."""
    if isinstance(value, np.ndarray):
        return {value.dtype}
    if isinstance(value, dict):
        return set().union(*map(of, value.values()))
    return set().union(
        *(of(getattr(value, field.name)) for field in fields(value) if field.name not in ("shape", "place", "batch"))
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("padding", ["layer", "input"])
def test_over_time(padding: str, dtype: str) -> None:
    graph, wanted = over_time(padding), {np.dtype(dtype)}
    params = generic_parameters(graph, np.random.default_rng(1))
    x, local = RNG.normal(size=(2, 2, 5)), RNG.normal(size=(2, 1, 5))
    conditions, first = {"c": C, "l": local}, {"c": C, "l": local[:, :, 0]}
    y = refar.forward(graph, params, x, conditions, dtype=dtype)
    assert of(y) == wanted
    assert of(refar.backward(graph, params, x, RNG.normal(size=y.shape), conditions, dtype=dtype)) == wanted
    before = refar.initial_state(graph, params, 2, {"c": C}, dtype=dtype)
    assert of(before) == wanted
    for out in (
        refar.step(graph, params, before, x[:, :, 0], first, dtype=dtype),
        refar.block(graph, params, before, x, conditions, dtype=dtype),
        begun := refar.start(graph, params, 2, first, dtype=dtype),
        refar.next(graph, params, begun[1], x[:, :, 0], first, dtype=dtype),
        refar.next_block(graph, params, begun[1], x, conditions, dtype=dtype),
    ):
        assert of(out[0]) == of(out[1]) == wanted
    for algorithm in ("fast", "slow"):
        new, outputs = generate_with_outputs(graph, params, 4, batch=2, condition=conditions, algorithm=algorithm, dtype=dtype)
        assert of(new) == of(outputs) == wanted


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_over_a_plane(dtype: str) -> None:
    graph, wanted = over_a_plane(), {np.dtype(dtype)}
    params = generic_parameters(graph, np.random.default_rng(1))
    x, conditions = RNG.normal(size=(2, 2, 3, 4)), {"c": C, "l": RNG.normal(size=(2, 1, 3, 4))}
    y = refar.forward(graph, params, x, conditions, dtype=dtype)
    assert of(y) == wanted
    assert of(refar.backward(graph, params, x, RNG.normal(size=y.shape), conditions, dtype=dtype)) == wanted
    before = refar.initial_state(graph, params, 2, conditions, shape=(3, 4), dtype=dtype)
    for out in (
        refar.step(graph, params, before, x[:, :, 0, 0], dtype=dtype),
        begun := refar.start(graph, params, 2, conditions, shape=(3, 4), dtype=dtype),
        refar.next(graph, params, begun[1], x[:, :, 0, 0], dtype=dtype),
    ):
        assert of(out[0]) == of(out[1]) == of(before) == wanted
    for algorithm in ("fast", "slow"):
        images, outputs = generate_with_outputs(
            graph, params, (3, 4), batch=2, condition=conditions, algorithm=algorithm, dtype=dtype
        )
        assert of(images) == of(outputs) == wanted
