"""Randomness as data: what it depends on, and what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import refuses
from hypothesis import given
from hypothesis import strategies as st

from refar import noise, ops
from refar.errors import InputError
from refar.testing import strategies


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(1, 9), st.data())
def test_a_number_depends_on_seed_stream_and_step_only(seed: int, start: int, size: int, data: st.DataObject) -> None:
    whole = noise.uniform(seed, [3, 0, 8], start, 7, size)
    assert whole.shape == (7, 3, size)
    assert ((whole > 0) & (whole < 1)).all()
    lengths = data.draw(strategies.splits(7))
    ends = np.cumsum([0, *lengths])
    parts = [noise.uniform(seed, [3, 0, 8], start + int(e), n, size) for e, n in zip(ends, lengths, strict=False)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for row, stream in enumerate((3, 0, 8)):
        np.testing.assert_array_equal(noise.uniform(seed, [stream], start, 7, size)[:, 0], whole[:, row])


HEADS = [
    ops.Categorical(), ops.Gaussian(), ops.MixtureLogistics(components=2, classes=5), ops.LearntGaussian(),
    ops.MixtureGaussians(components=2),
]  # fmt: skip


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_noise_goes_where_it_is_wanted(head: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are worked on at once, and rounded to what it is kept in."""
    expected, streams = noise.draw(head, 4, [3, 0, 8, 1, 2], 6, 7, 6), [3, 0, 8, 1, 2]
    for at_once in (1, 100, 2**20):
        monkeypatch.setattr(noise, "_AT_ONCE", at_once)
        np.testing.assert_array_equal(noise.draw(head, 4, streams, 6, 7, 6), expected)
        wider = np.full((7, 9, expected.shape[2]), 9, np.float32)
        noise.draw(head, 4, streams, 6, 7, 6, out=wider[:, 2:7])
        np.testing.assert_array_equal(wider[:, 2:7], expected.astype(np.float32))
        assert (wider[:, [0, 1, 7, 8]] == 9).all()
    assert noise.draw(head, 4, [], 6, 7, 6).shape == (7, 0, expected.shape[2])


def test_seeds_streams_and_steps_differ() -> None:
    u = noise.uniform(1, range(4), 0, 5, 6)
    assert np.unique(u).size == u.size
    assert not np.intersect1d(u, noise.uniform(2, range(4), 0, 5, 6)).size


def test_the_ends_of_the_interval_are_out_of_reach() -> None:
    """The least and the greatest word give 2**-53 and 1 - 2**-53."""
    for word in (0, 2**64 - 1):
        u = ((np.uint64(word) >> np.uint64(12)).astype(float) + 0.5) * 2.0**-52
        assert 0 < u < 1
        assert np.isfinite(-np.log(-np.log(u)))


def philox(counter: int, key: tuple[int, int]) -> list[int]:
    """Philox4x64-10 as published: ten rounds over four words of 64 bits."""
    mask, k = 2**64 - 1, list(key)
    c = [counter >> 64 * i & mask for i in range(4)]
    for _ in range(10):
        high_0, low_0 = divmod(0xD2E7470EE14C6C93 * c[0], 2**64)
        high_1, low_1 = divmod(0xCA5A826395121157 * c[2], 2**64)
        c = [high_1 ^ c[1] ^ k[0], low_1, high_0 ^ c[3] ^ k[1], low_0]
        k = [k[0] + 0x9E3779B97F4A7C15 & mask, k[1] + 0xBB67AE8584CAA73B & mask]
    return c


@pytest.mark.parametrize(("seed", "stream", "step", "size"), [(0, 0, 0, 4), (5, 7, 3, 10), (2**64 - 1, 2**63, 2**40, 3)])
def test_the_same_numbers_everywhere(seed: int, stream: int, step: int, size: int) -> None:
    """From the published algorithm alone: NumPy counts up before it draws, so step t starts at counter t·blocks + 1."""
    blocks = -(-size // 4)
    words = [word for b in range(blocks) for word in philox(step * blocks + b + 1, (seed, stream))]
    expected = [((word >> 12) + 0.5) * 2.0**-52 for word in words[:size]]
    assert noise.uniform(seed, [stream], step, 1, size)[0, 0].tolist() == expected


def test_uniform_is_uniform() -> None:
    counts = np.histogram(noise.uniform(5, range(10), 0, 100, 10), bins=20, range=(0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 43.8, "chi-square, 19 degrees of freedom, the 0.1 % quantile"


def test_normal_noise_has_the_moments_of_a_normal() -> None:
    n = noise.draw(ops.Gaussian(), 6, range(10), 0, 1000, 2)
    assert abs(n.mean()) < 0.03
    assert abs(n.var() - 1) < 0.05
    assert abs((n**4).mean() - 3) < 0.3
    assert abs((n[:, :, 0] * n[:, :, 1]).mean()) < 0.04


@pytest.mark.parametrize("temperature", [0.999999, 1.0])
def test_large_numbers_do_not_round_the_noise_away(temperature: float) -> None:
    draws = noise.draw(ops.Categorical(), 0, range(400), 0, 1, 2)[0]
    y = np.full((400, 2), 1e17, np.float32)
    assert 0.4 < noise.sample(ops.Categorical(), y, draws, temperature).mean() < 0.6


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_gumbel_maximum_samples_the_softmax(temperature: float) -> None:
    rows = 6000
    logits = np.array([0.3, -1.0, 1.2, -0.2])
    draws = noise.draw(ops.Categorical(), 7, range(rows), 0, 1, 4)[0]
    tokens = noise.sample(ops.Categorical(), np.tile(logits, (rows, 1)), draws, temperature)
    p = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    counts = np.bincount(tokens, minlength=4)
    assert ((counts - rows * p) ** 2 / (rows * p)).sum() < 16.3, "chi-square, 3 degrees of freedom, the 0.1 % quantile"


def test_an_impossible_class_is_never_drawn() -> None:
    draws = noise.draw(ops.Categorical(), 8, range(2000), 0, 1, 3)[0]
    tokens = noise.sample(ops.Categorical(), np.tile([0.0, -np.inf, 0.0], (2000, 1)), draws, 1.0)
    assert set(tokens.tolist()) == {0, 2}


def test_temperature_zero_takes_the_most_probable_and_the_first_of_equals() -> None:
    y = np.array([[1.0, 3.0, 3.0], [5.0, 0.0, 1.0]])
    noise_bc = np.array([[90.0, 0.0, 80.0], [0.0, 70.0, 0.0]])
    assert noise.sample(ops.Categorical(), y, noise_bc, 0.0).tolist() == [1, 0]
    assert noise.sample(ops.Gaussian(2.0), y, noise_bc, 0.0).tolist() == y.tolist()
    assert noise.sample(ops.Gaussian(2.0), y, np.ones((2, 3)), 0.5).tolist() == (y + 1).tolist()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", None, True, [1]])
def test_a_seed_out_of_range_is_refused(seed: Any) -> None:
    with refuses(InputError, "seed: expected an integer from 0 to 18446744073709551615", f"got {seed!r}"):
        noise.uniform(seed, [0], 0, 1, 1)
