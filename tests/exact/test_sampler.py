"""The definition of the draw in float32: by hand, and the tokens of the draw in float64 wherever rounding does not decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refar import noise, ops
from refar.exact.sampler import drawn

HEADS: dict[str, tuple[ops.AnyHead, int]] = {
    "categorical": (ops.Categorical(), 7),
    "gaussian": (ops.Gaussian(0.3), 3),
    "mixture": (ops.MixtureLogistics(components=3, classes=9), 9),
    "learnt gaussian": (ops.LearntGaussian(-0.5), 4),
    "mixture of gaussians": (ops.MixtureGaussians(components=3, floor=-0.5), 18),
}


def row(*numbers: float) -> Any:
    return np.array(numbers, np.float32)


def test_a_class_is_that_of_the_largest_sum_and_of_equals_the_lower_one() -> None:
    y, n = row(1, 2, 3), row(4, 0, 2)
    assert drawn(ops.Categorical(), y, n, np.float32(1)) == 0  # 5, 2, 5
    assert drawn(ops.Categorical(), y, n, np.float32(0.5)) == 2  # 3, 2, 4
    assert drawn(ops.Categorical(), y, n, np.float32(0)) == 2


def test_the_largest_k_alone_are_drawn_from() -> None:
    y, n = row(1, 2, 2, 0), row(9, 0, 1, 99)
    assert drawn(ops.Categorical(), y, n, np.float32(1), 1) == 1  # of equal logits the lower class
    assert drawn(ops.Categorical(), y, n, np.float32(1), 2) == 2
    assert drawn(ops.Categorical(), y, n, np.float32(1), 3) == 0
    assert drawn(ops.Categorical(), row(1, 3), row(2, 0), np.float32(1), 2) == 1  # of equal sums that of the larger logit


def test_a_signal_is_its_mean_and_scaled_noise() -> None:
    assert drawn(ops.Gaussian(0.5), row(1, -1), row(2, 4), np.float32(0.25)).tolist() == [1.25, -0.5]


def test_a_class_of_a_mixture_is_the_nearest_to_a_number() -> None:
    head = ops.MixtureLogistics(components=2, classes=5)  # centres -1, -0.5, 0, 0.5, 1
    y = row(0, 1, -1, 0.5, 0, np.log(0.25))  # logits, means, log-scales
    assert drawn(head, y, row(0, 0, 0), np.float32(1)) == 3
    assert drawn(head, y, row(0, 0, 1), np.float32(1)) == 4  # 0.75, which is as near to both
    assert drawn(head, y, row(2, 0, 0), np.float32(1)) == 0  # the other component
    assert drawn(head, y, row(2, 0, 9), np.float32(0)) == 3  # temperature 0 takes neither noise
    assert drawn(head, row(0, 1, 0, 0, 0, 200), row(0, 0, -5), np.float32(1)) == 0  # a scale beyond all numbers
    assert drawn(head, row(0, 1, 0, 0, 0, 200), row(0, 0, 5), np.float32(0)) == 2


def test_a_signal_of_a_learnt_scale_is_its_mean_and_scaled_noise() -> None:
    head, half = ops.LearntGaussian(float(np.log(np.float32(0.5)))), np.log(np.float32(2))
    y = row(1, -1, half, -5)  # means, then log-scales, of which one lies below the floor
    assert drawn(head, y, row(2, 4), np.float32(0.25)).tolist() == [2, -0.5]
    assert drawn(head, row(3, 200), row(1), np.float32(0)).tolist() == [3]
    assert drawn(head, row(3, 200), row(-9), np.float32(1)).tolist() == [-np.finfo(np.float32).max]


def test_a_signal_of_a_mixture_is_drawn_channel_by_channel() -> None:
    head = ops.MixtureGaussians(components=2)
    y = row(0, 1, 1, 0, -1, -2, 3, 4, 0, 0, 0, 0)  # of two channels: logits, means, log-scales
    assert drawn(head, y, row(0, 0, 0, 0, 0, 0), np.float32(1)).tolist() == [3, -2]
    assert drawn(head, y, row(2, 0, 0, 2, 0.5, -0.5), np.float32(1)).tolist() == [-0.5, 3.5]
    assert drawn(head, y, row(2, 0, 0, 2, 9, 9), np.float32(0)).tolist() == [3, -2]


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1e-30, 0.0])
@pytest.mark.parametrize("head", HEADS)
def test_it_draws_what_float64_draws(head: str, temperature: float) -> None:
    kind, size = HEADS[head]
    rng = np.random.default_rng(0)
    for top_k in (None, 3) if head == "categorical" else (None,):
        y = rng.normal(size=(200, size)).astype(np.float32)
        draws = noise.draw(kind, 1, range(200), 0, 1, size)[0]
        expected = noise.sample(kind, y, draws, temperature, top_k)
        found = [drawn(kind, y[b], draws[b].astype(np.float32), np.float32(temperature), top_k) for b in range(200)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)  # classes are equal
