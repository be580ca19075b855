"""Randomness as data: numbers that depend on (seed, stream, step) alone, and the samplers that consume them.

Row b of a batch reads stream b, position t reads step t. A row of a batch therefore draws the same noise as the same row
alone, in blocks of any length, on any backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from refar import ops
from refar.errors import InputError

Floats = NDArray[Any]
_WORDS = 4  # a Philox block holds four 64-bit words


def uniform(seed: int, streams: Sequence[int], start: int, steps: int, size: int) -> NDArray[np.float64]:
    """u_tbn in the open interval (0, 1): `steps` steps from `start`, one row per stream, `size` numbers each.

    Philox4x64-10 with key (seed, stream); step t takes ⌈size/4⌉ blocks from counter t·⌈size/4⌉ + 1 on. u = (⌊word/2¹²⌋ + ½)·2⁻⁵²,
    so neither 0 nor 1 occurs. Raises InputError for a seed outside 0..2⁶⁴-1.
    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    if not 0 <= seed < 2**64:
        raise InputError(f"seed: expected an integer from 0 to 2**64 - 1, got {seed}")
    blocks = -(-size // _WORDS)
    words = np.empty((len(streams), steps, blocks * _WORDS), np.uint64)
    for row, stream in enumerate(streams):
        generator = np.random.Philox(key=np.array([seed, stream], np.uint64), counter=start * blocks)
        words[row] = generator.random_raw(steps * blocks * _WORDS).reshape(steps, blocks * _WORDS)
    return ((words[:, :, :size] >> np.uint64(12)).astype(np.float64).transpose(1, 0, 2) + 0.5) * 2.0**-52


def draw(head: ops.AnyHead, seed: int, streams: Sequence[int], start: int, steps: int, size: int) -> NDArray[np.float64]:
    """The noise that `sample` takes: n_tbc, Gumbel(0, 1) for a categorical head, N(0, 1) for a Gaussian one.

    Gumbel: -log(-log u). Normal: √(-2·log u₁)·cos(2π·u₂).
    """
    match head:
        case ops.Categorical():
            return -np.log(-np.log(uniform(seed, streams, start, steps, size)))
        case ops.Gaussian():
            u = uniform(seed, streams, start, steps, 2 * size)
            return np.sqrt(-2 * np.log(u[:, :, :size])) * np.cos(2 * np.pi * u[:, :, size:])
        case _:
            assert_never(head)


def sample(head: ops.AnyHead, y: Floats, noise: Floats, temperature: float) -> Floats:
    """A token for each row: y_bc and noise_bc → indices x_b (categorical) or a signal x_bc (Gaussian).

    Categorical: argmax_q (y_q / temperature + noise_q), the first of equals; temperature 0 is argmax_q y_q.
    Gaussian: y + temperature · std · noise.
    Source: the Gumbel-max identity, Gumbel 1954; Maddison et al. 2014.
    """
    y = y.astype(np.float64)
    match head:
        case ops.Categorical():
            scores = y if temperature == 0 else y / temperature + noise
            return np.argmax(scores, axis=1)
        case ops.Gaussian():
            return y + temperature * head.std * noise
        case _:
            assert_never(head)


def check_temperature(temperature: float) -> None:
    """Raise InputError unless the temperature is a finite number ≥ 0."""
    if not (np.isfinite(temperature) and temperature >= 0):
        raise InputError(f"temperature: expected a finite number ≥ 0, got {temperature}")
