"""`check_causality` as it is first used: long reaches, tensors, axes in another order."""

from __future__ import annotations

import numpy as np
import pytest

from refar.testing import ContractError, check_causality


def late(x: np.ndarray, by: int) -> np.ndarray:
    return np.concatenate([np.zeros((*x.shape[:-1], by), x.dtype), x], axis=-1)[..., : x.shape[-1]]


def test_a_reach_of_2048_is_seen_to_its_end() -> None:
    found = check_causality(lambda x: x + late(x, 2047), shape=(8, 1, 2100), strict=False, reach={0, 2047})
    assert found.receptive_field == 2048
    with pytest.raises(ContractError, match="missing 2047, surplus 2046"):
        check_causality(lambda x: x + late(x, 2046), shape=(8, 1, 2100), reach={0, 2047})


def test_many_offsets_too_many_are_listed_in_runs() -> None:
    with pytest.raises(ContractError, match=r"surplus 5\.\.299; it reaches further than expected; position \d+ of the output"):
        check_causality(lambda x: np.cumsum(x, axis=-1), shape=(4, 1, 300), reach=range(5))


def test_calls_grow_with_positions_over_rows() -> None:
    calls: list[int] = []
    for rows in (2, 8):
        count = 0

        def f(x: np.ndarray) -> np.ndarray:
            nonlocal count
            count += 1
            return x

        check_causality(f, shape=(rows, 1, 64), reach={0})
        calls.append(count)
    assert calls[0] - calls[1] == 4 * (64 // 2 - 64 // 8)
