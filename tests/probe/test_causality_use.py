"""`check_causality` as it is first used: long reaches, tensors, axes in another order."""

from __future__ import annotations

from typing import Any, cast

import ml_dtypes
import numpy as np
import pytest
import torch
from helpers import refuses
from torch import nn

from refar.errors import InputError
from refar.testing import ContractError, check_causality


def late(x: np.ndarray, by: int) -> np.ndarray:
    return np.concatenate([np.zeros((*x.shape[:-1], by), x.dtype), x], axis=-1)[..., : x.shape[-1]]


def test_a_reach_of_2048_is_seen_to_its_end() -> None:
    found = check_causality(lambda x: x + late(x, 2047), shape=(8, 1, 2100), strict=False, reach={0, 2047})
    assert found.receptive_field == 2048
    with pytest.raises(ContractError, match="missing 2047, surplus 2046"):
        check_causality(lambda x: x + late(x, 2046), shape=(8, 1, 2100), reach={0, 2047})


def test_many_offsets_too_many_are_listed_in_runs() -> None:
    with pytest.raises(ContractError, match=r"surplus 5\.\.299; R = 300, not 5; position \d+ of the output"):
        check_causality(lambda x: np.cumsum(x, axis=-1), shape=(4, 1, 300), reach=range(5))


def test_few_calls_and_few_rows_of_long_sequences() -> None:
    """Short rows are computed many at once, long ones few; a function of one number of rows gets that."""
    for shape, calls_at_most, positions_at_most in [((2, 1, 64), 60, 80_000), ((16, 1, 1030), 90, 400_000)]:
        sizes: list[int] = []

        def f(x: np.ndarray, sizes: list[int] = sizes) -> np.ndarray:
            sizes.append(x.size)
            return x

        check_causality(f, shape=shape, reach={0})
        assert len(sizes) <= calls_at_most
        assert sum(sizes) <= positions_at_most, sum(sizes)

    def of_three_rows(x: np.ndarray) -> np.ndarray:
        assert len(x) == 3
        return np.cumsum(x, axis=-1)

    assert check_causality(of_three_rows, shape=(3, 1, 20), reach=20).receptive_field == 20


def test_rows_that_mix_show_in_other_batches_too() -> None:
    with pytest.raises(ContractError, match=r"rows of the batch mix: the same row gives at \[\d, 0, \d+\]"):
        check_causality(lambda x: x * len(x), shape=(3, 1, 20))


class Causal(nn.Conv1d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (2, 0)))


def test_convert_gives_a_module_its_tensors() -> None:
    assert check_causality(Causal(3, 4, 3), shape=(2, 3, 12), convert=torch.from_numpy).offsets == {0, 1, 2}
    network = nn.Sequential(nn.Embedding(5, 3), nn.ReLU())
    indices = check_causality(lambda x: network(x).mT, shape=(2, 12), classes=5, convert=torch.from_numpy)
    assert indices.offsets == {0}

    def in_place(x: torch.Tensor) -> torch.Tensor:
        return x.add_(1)

    with pytest.raises(ContractError, match="in_place changed its argument x"):
        check_causality(in_place, shape=(2, 3, 12), convert=torch.from_numpy)
    with refuses(InputError, "convert: expected a function of an array, like torch.from_numpy, got str"):
        check_causality(in_place, shape=(2, 3, 12), convert=cast(Any, "torch"))


def test_indices_that_were_not_asked_for() -> None:
    network = nn.Embedding(5, 3)
    said = "gets floats; if it takes class indices, give classes= and their shape, or integers as x"
    with pytest.raises(ContractError, match=f"Embedding raised .*Embedding {said}\nto repeat: "):
        check_causality(network, shape=(2, 12), convert=torch.from_numpy)
    with pytest.raises(ContractError, match=f"the function raised IndexError for x of shape .*the function {said}\nto repeat: "):
        check_causality(lambda x: np.eye(5)[x], shape=(2, 12))


def test_channels_that_come_last_in_x() -> None:
    with pytest.raises(ContractError, match=r"37 positions too many \(the last axis of x and y are the positions"):
        check_causality(lambda x: x.transpose(0, 2, 1).repeat(2, axis=1), shape=(2, 40, 3))


def test_a_shape_or_dtype_that_is_none() -> None:
    with refuses(InputError, "shape: expected the lengths of all axes, like (B, C, T), got 20"):
        check_causality(np.cumsum, shape=cast(Any, 20))
    for dtype in ("foo", "int64", torch.float32, "f4,f4"):
        with refuses(InputError, "dtype: expected one of floats that NumPy knows, like 'float32', got", "classes="):
            check_causality(np.cumsum, shape=(2, 3, 4), dtype=cast(Any, dtype))
    check_causality(lambda x: x, shape=(2, 3, 4), dtype=ml_dtypes.bfloat16)
