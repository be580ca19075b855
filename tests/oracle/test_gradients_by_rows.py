"""The backward sweep takes some rows at a time: how many changes nothing but the memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import refar
from refar import Builder, Graph
from refar.oracle import whole

RNG = np.random.default_rng(0)
PARAMS = {
    "front.weight": RNG.integers(-3, 4, (2, 1, 2)).astype(float),
    "matrix.weight": RNG.integers(-3, 4, (2, 3, 1)).astype(float),
}


def graph() -> Graph:
    g = Builder()
    h = g.conv1d(g.input(channels=1), 2, kernel=2, bias=False, name="front")
    return g.build(g.multiply(h, g.conv1d(g.condition("c", channels=3), 2, bias=False, name="matrix")))


@pytest.mark.parametrize(("length", "rows"), [(683, [2, 1]), (1024, [2, 1]), (1025, [1, 1, 1]), (2100, [1, 1, 1]), (9, [3])])
def test_gradients_add_up_over_rows(length: int, rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """2048 positions at once, or one row. On integers the sums are exact."""
    right, seen = whole.forward_nodes, []

    def recorded(net: Any, inputs: Any) -> Any:
        seen.append(len(inputs["x"]))
        return right(net, inputs)

    x, c, dy = (RNG.integers(-3, 4, shape).astype(float) for shape in ((3, 1, length), (3, 3), (3, 2, length)))
    alone = [refar.backward(graph(), PARAMS, x[b : b + 1], dy[b : b + 1], c[b : b + 1]) for b in range(3)]
    monkeypatch.setattr(whole, "forward_nodes", recorded)
    together = refar.backward(graph(), PARAMS, x, dy, c)
    assert seen == rows
    for name, gradient in together["params"].items():
        np.testing.assert_array_equal(gradient, sum(each["params"][name] for each in alone))
    for name, gradient in together["inputs"].items():
        np.testing.assert_array_equal(gradient, np.concatenate([each["inputs"][name] for each in alone]))


@pytest.mark.parametrize(("batch", "length"), [(0, 5), (2, 0), (0, 0)])
def test_gradients_of_nothing(batch: int, length: int) -> None:
    x, dy = np.zeros((batch, 1, length)), np.zeros((batch, 2, length))
    found = refar.backward(graph(), PARAMS, x, dy, np.ones((batch, 3)))
    assert {name: array.shape for name, array in found["inputs"].items()} == {"x": (batch, 1, length), "c": (batch, 3)}
    assert found["params"].keys() == PARAMS.keys()
    assert not any(array.any() for part in found.values() for array in part.values())
