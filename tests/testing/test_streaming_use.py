"""`check_streaming` as it is first used: long sequences, what is forgotten in the call, what is given in another form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kit_streams import SHAPE, full, step, zeros

from refar.testing import ContractError, check_streaming

Result = tuple[np.ndarray, Any]
OPTIONS: dict[str, Any] = {"shape": SHAPE, "initial_state": zeros, "dtype": "float64"}


def late(x: np.ndarray, by: int) -> np.ndarray:
    return np.concatenate([np.zeros((*x.shape[:-1], by), x.dtype), x], axis=-1)[..., : x.shape[-1]]


def queue(count: int) -> dict[str, Any]:
    return {"initial_state": lambda rows: np.zeros((rows, 2, count), np.float32)}


def delayed(state: np.ndarray, x: np.ndarray) -> Result:
    return x + state[:, :, 0], np.concatenate([state[:, :, 1:], x[:, :, None]], axis=2)


def counted(f: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    calls = [0]

    def counting(*arguments: Any) -> Any:
        calls[0] += 1
        return f(*arguments)

    return counting, calls


@pytest.mark.parametrize("length", [100, 800])
def test_a_failing_check_costs_little_more_than_one_that_passes(length: int) -> None:
    right, right_calls = counted(delayed)
    check_streaming(lambda x: x + late(x, 4), right, shape=(2, 2, length), **queue(4))
    wrong, wrong_calls = counted(delayed)
    with pytest.raises(ContractError, match="a queue is one position too short, or read after the push, 3 back where 4"):
        check_streaming(lambda x: x + late(x, 4), wrong, shape=(2, 2, length), **queue(3))
    assert wrong_calls[0] < 3 * right_calls[0] + 24 * (64 + 2 * 8)


def test_a_queue_of_the_wrong_length_far_back() -> None:
    with pytest.raises(ContractError, match="301 back where 300 was meant: the whole sees the offsets 0, 300") as caught:
        check_streaming(lambda x: x + late(x, 300), delayed, shape=(2, 2, 700), **queue(301))
    assert "the steps see 0, 301" in str(caught.value)
