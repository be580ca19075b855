"""The flags of NumPy's products: a false "invalid value" is not a warning, and an overflow is one."""

from __future__ import annotations

import numpy as np
import pytest

import refar
from refar import Builder, Graph


def graph() -> Graph:
    g = Builder()
    return g.build(g.conv1d(g.input(channels=2), 1, bias=False, name="y"))


def test_an_invalid_value_that_only_a_kernel_of_blas_saw_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    product = np.matmul

    def alarming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        np.subtract(np.inf, np.inf)  # sets the flag, as the kernel does
        return product(a, b)

    monkeypatch.setattr(np, "matmul", alarming)
    x, weight = np.ones((1, 2, 3)), {"y.weight": np.array([[[2.0], [3.0]]])}
    with pytest.warns(RuntimeWarning, match="invalid value"):
        alarming(weight["y.weight"][0], x[0, :1, :1])
    assert refar.forward(graph(), weight, x).tolist() == [[[5.0, 5.0, 5.0]]]
    gradients = refar.backward(graph(), weight, x, np.ones((1, 1, 3)))
    assert gradients["params"]["y.weight"].tolist() == [[[3.0], [3.0]]]


def test_an_overflow_is_a_warning_even_where_it_ends_in_no_number() -> None:
    weight = {"y.weight": np.array([[[1e200], [-1e200]]])}
    with pytest.warns(RuntimeWarning, match="overflow"):
        refar.forward(graph(), weight, np.full((1, 2, 3), 1e200))
