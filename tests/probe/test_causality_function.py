"""What `check_causality` says of what is no function of x, or cannot be asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import ml_dtypes
import numpy as np
import pytest
import torch
from helpers import refuses
from torch.nn import functional as F

from refar.errors import InputError
from refar.testing import ContractError, check_causality

SHAPE = (3, 2, 25)
Function = Callable[[np.ndarray], Any]


def says(words: str, f: Function, **options: Any) -> str:
    """The check fails with these words; returns all of them."""
    with pytest.raises(ContractError) as caught:
        check_causality(f, **{"shape": SHAPE, **options})
    assert words in str(caught.value), str(caught.value)
    return str(caught.value)


def test_what_is_returned_is_reported_for_what_it_is() -> None:
    says("returned the wrong shape: expected (3, …, 25), got (3, 25, 2): the channels come last", lambda x: x.transpose(0, 2, 1))
    says("got (3, 2, 24): 1 positions too few", lambda x: x[..., :-1])
    says("expected one array, got None", lambda x: None)
    says("expected one array, got a tuple of 2", lambda x: (x, x))
    says("expected one array, got a list of unequal parts", lambda x: [[1.0], [1.0, 2.0]])
    says("got (2, 2, 25)", lambda x: x[:2])
    says("expected a multiple of 3 channels, got 4", lambda x: np.concatenate([x, x[:, :1]], 1), shape=(2, 3, 4, 5), colours=3)
    says("on the first 1 of 25 positions: nan_if_short returned NaN", nan_if_short)
    says("returned the wrong dtype: expected real numbers, got complex", lambda x: x + 0j)
    says("returned the wrong dtype: expected real numbers, got object", lambda x: x.astype(object))
    says("returned NaN for finite input at [0, 0, 3] (6 of 150 are NaN)", nan_at_three)
    says("the output depends on no input", lambda x: 0 * x)
    says("gives different outputs for the same input", lambda x: x + np.random.default_rng().normal(size=x.shape))
    says("different outputs for the same input: at [0, ", lambda x: F.dropout(torch.tensor(x)))


@pytest.mark.parametrize("calls", [2, 3, 8, 12, 20])
def test_a_function_that_changes_after_many_calls(calls: int) -> None:
    """What was measured before and after does not belong together: no padding is suspected."""
    count = 0

    def f(x: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return np.cumsum(x, -1) + (count > calls)

    message = says("gives different outputs for the same input: at [0, ", f)
    assert " after other calls" in message


def nan_at_three(x: np.ndarray) -> np.ndarray:
    y = x.copy()
    y[..., 3] = np.nan
    return y


def nan_if_short(x: np.ndarray) -> np.ndarray:
    return x * (np.nan if x.shape[-1] == 1 else 1)


def test_arguments_that_are_changed_and_views_that_change() -> None:
    def in_place(x: np.ndarray) -> np.ndarray:
        x += 1
        return x.copy()

    buffer = np.zeros(SHAPE, np.float32)

    def view(x: np.ndarray) -> np.ndarray:
        buffer[...] = x
        return buffer

    assert says("in_place changed its argument x: at [0, 0, 0] it was ", in_place).endswith("it must leave its arguments alone")
    assert "return a copy" in says("a later call of view changed the y that an earlier one had returned: at [0, 0, 0]", view)


def test_rows_that_mix() -> None:
    says("rows of the batch mix: the output at [1, 0, 0] goes from", lambda x: x - x.mean(0))
    norm = torch.nn.BatchNorm1d(2)
    says("rows of the batch mix: the output at ", lambda x: norm(torch.tensor(x)))
    norm.eval()
    check_causality(lambda x: norm(torch.tensor(x)), shape=SHAPE, reach={0})
    says("rows of the batch mix", lambda x: x.reshape(2, 3, 25).transpose(1, 0, 2))


def test_tensors_lose_their_gradient_and_their_half_precision() -> None:
    layer = torch.nn.Conv1d(2, 3, 1)
    check_causality(lambda x: layer(torch.tensor(x)), shape=SHAPE, reach={0})
    check_causality(lambda x: torch.tensor(x).bfloat16(), shape=SHAPE, reach={0})
    check_causality(lambda x: x.astype(ml_dtypes.bfloat16), shape=SHAPE, reach={0})


def test_a_module_gets_tensors_where_it_takes_no_arrays() -> None:
    assert check_causality(torch.nn.Conv1d(2, 3, 1), shape=SHAPE, reach={0}).offsets == {0}

    class OfArrays(torch.nn.Module):
        def forward(self, x: np.ndarray) -> torch.Tensor:
            return torch.tensor(np.cumsum(x, axis=-1))

    assert check_causality(OfArrays(), shape=SHAPE).offsets == set(range(25))


def test_a_function_that_takes_tensors_says_how_to_wrap_it() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return F.relu(x)

    said = "function gets arrays of NumPy; if it takes tensors, give convert=torch.from_numpy"
    with pytest.raises(ContractError, match=f"function raised TypeError for x of shape .*{said}\nto repeat: ") as caught:
        check_causality(cast(Any, function), shape=(2, 2, 20))
    assert caught.value.__cause__ is None
    with refuses(InputError, "f: expected a function, got int"):
        check_causality(cast(Any, 3), shape=(2, 2, 20))


def test_what_a_caller_may_not_ask() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return x

    for options, fragments in [
        ({}, ["expected either an example x or the shape of one, got none"]),
        ({"x": np.zeros((2, 3)), "shape": (2, 3)}, ["got both"]),
        ({"shape": (3,)}, ["shape: expected (B, C, T)", "got (3,)"]),
        ({"shape": (3, 4), "kind": "image"}, ["shape: expected (B, C, H, W)"]),
        ({"shape": (3, 4), "kind": "video"}, ["kind: expected 'sequence' or 'image', got 'video'"]),
        ({"shape": (3, 0)}, ["shape: expected an integer ≥ 1, got 0"]),
        ({"shape": (3, 4), "classes": 1}, ["classes: expected at least 2"]),
        ({"shape": (3, 4), "colours": 3}, ["colours: expected images (B, 3, H, W)"]),
        ({"shape": (3, 4), "reach": {0, 4}}, ["reach: 4 positions away do not fit into x", "got 4"]),
        ({"shape": (3, 4), "reach": {(0, 1)}}, ["reach: expected integers, got {(0, 1)}"]),
        ({"shape": (3, 2, 4, 5), "reach": 3}, ["reach: expected a set of (rows up, columns left)", "got 3"]),
        ({"shape": (3, 2, 4, 5), "reach": {1}}, ["reach: expected pairs (rows up, columns left)"]),
        ({"shape": (3, 2, 4, 5), "reach": {(4, 0)}}, ["4 rows away do not fit"]),
        ({"x": np.full((2, 3), np.nan)}, ["x: expected finite numbers"]),
        ({"x": np.zeros((2, 3), int)}, ["x: expected values that differ from position to position"]),
    ]:
        with refuses(InputError, *fragments):
            check_causality(f, **options)
