"""Randomness as data: numbers that depend on (seed, stream, step) alone, and the samplers that consume them.

Row b of a batch reads stream b, position t reads step t. A row of a batch therefore draws the same noise as the same row
alone, in blocks of any length, on any backend.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from refar import ops
from refar.errors import InputError, check_integer

__all__ = ["check_seed", "check_temperature", "check_top_k", "draw", "sample", "uniform"]

Floats = NDArray[Any]
_WORDS = 4  # a Philox block holds four 64-bit words
_LARGEST = float(np.finfo(np.float32).max)
_AT_ONCE = 2**17  # numbers that are worked on at once: 1 MiB, which stays in the cache of a core


def uniform(seed: int, streams: Sequence[int], start: int, steps: int, size: int) -> NDArray[np.float64]:
    """u_tbn in the open interval (0, 1): `steps` steps from `start`, one row per stream, `size` numbers each.

    Philox4x64-10 with key (seed, stream); step t takes ⌈size/4⌉ blocks from counter t·⌈size/4⌉ + 1 on. u = (⌊word/2¹²⌋ + ½)·2⁻⁵²,
    so neither 0 nor 1 occurs. Raises InputError for a seed outside 0..2⁶⁴-1.
    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    u_btn = np.empty((len(streams), steps, size))
    _fill(u_btn, check_seed(seed), streams, start)
    return np.ascontiguousarray(u_btn.swapaxes(0, 1))


def _fill(u_btn: NDArray[np.float64], seed: int, streams: Sequence[int], start: int) -> None:
    """Write the numbers of `uniform`. Few calls of NumPy, on much each: only while it computes do other threads go on."""
    _, steps, size = u_btn.shape
    blocks = -(-size // _WORDS)
    generator = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=start * blocks)
    state = generator.state
    for u_tn, stream in zip(u_btn, streams, strict=True):
        state["state"]["key"][1] = stream
        generator.state = state  # which takes a tenth of the time of making another generator
        words = generator.random_raw(steps * blocks * _WORDS).reshape(steps, blocks * _WORDS)[:, :size]
        np.right_shift(words, np.uint64(12), out=u_tn, casting="unsafe")  # of 52 bits: float64 holds them exactly
    u_btn += 0.5
    u_btn *= 2.0**-52


def draw(
    head: ops.AnyHead, seed: int, streams: Sequence[int], start: int, steps: int, size: int, *, out: Floats | None = None
) -> Floats:
    """The noise that `sample` takes: n_tbc, Gumbel(0, 1) for a categorical head, N(0, 1) for a Gaussian one.

    One whose scale is learnt takes one for each channel of the signal, `size` / 2. A mixture of K logistics takes K Gumbels, for
    the component, and one Logistic(0, 1), whatever `size` (3K) is. A mixture of K Gaussians over C channels, of `size` 3K·C,
    takes K·C Gumbels, number k·C + c for component k of channel c, and then C numbers of N(0, 1).
    Gumbel: -log(-log u). Normal: √(-2·log u₁)·cos(2π·u₂). Logistic: log u - log(1-u) = 2·artanh(2u-1).
    With `out`, of that shape, it is written there, rounded to the dtype of `out`; else it is a new array of float64.
    """
    taken, given = _counts(head, size)
    seed, found = check_seed(seed), np.empty((steps, len(streams), given)) if out is None else out
    if found.dtype == np.float64 and given == taken:  # in place
        rows, memory = len(streams), found.swapaxes(0, 1)
    else:  # in pieces, of which all but the result stays in the cache
        rows = min(len(streams), max(1, _AT_ONCE // max(1, steps * taken)))
        memory = np.empty((rows, steps, taken))
    for first in range(0, len(streams), max(1, rows)):
        some, part = streams[first : first + rows], found[:, first : first + rows].swapaxes(0, 1)
        u_btn = memory[: len(some)]
        _fill(u_btn, seed, some, start)
        _transform(head, u_btn, part)
    return found


def _counts(head: ops.AnyHead, size: int) -> tuple[int, int]:
    """Count the numbers of `uniform` that the noise of a step takes, and the numbers of that noise."""
    match head:
        case ops.Categorical():
            return size, size
        case ops.Gaussian():
            return 2 * size, size
        case ops.MixtureLogistics():
            return head.components + 1, head.components + 1
        case ops.LearntGaussian():
            return size, size // 2
        case ops.MixtureGaussians():
            channels = size // (3 * head.components)
            return channels * (head.components + 2), channels * (head.components + 1)
        case _:
            assert_never(head)


def _transform(head: ops.AnyHead, u: Floats, out: Floats) -> None:
    """Turn numbers of `uniform`, (…, taken), into noise, (…, given), which may lie in their memory; that is used anyway."""
    match head:
        case ops.Categorical():
            _gumbel(u, out)
        case ops.Gaussian() | ops.LearntGaussian():
            _normal(u, out)
        case ops.MixtureLogistics():
            _gumbel(u[:, :, :-1], out[:, :, :-1])
            np.multiply(2, np.arctanh(2 * u[:, :, -1:] - 1), out=out[:, :, -1:], casting="same_kind")
        case ops.MixtureGaussians():
            gumbels = out.shape[2] // (head.components + 1) * head.components
            _gumbel(u[:, :, :gumbels], out[:, :, :gumbels])
            _normal(u[:, :, gumbels:], out[:, :, gumbels:])
        case _:
            assert_never(head)


def sample(head: ops.AnyHead, y: Floats, noise: Floats, temperature: float, top_k: int | None = None) -> Floats:
    """A token for each row: y_bc and noise_bc → indices x_b, or a signal x_bc for a head over signals.

    Categorical: argmax_q (y_q / temperature + noise_q), the first of equals; temperature 0 is argmax_q y_q. With `top_k`
    only the k largest y_q take part, of equals those of the lower classes.
    Gaussian: y + temperature · std · noise.
    MixtureLogistics: k = argmax_k (l_k / temperature + noise_k), x = μ_k + temperature · s_k · noise_K, and the class whose
    centre is nearest, 0 or Q-1 beyond the ends; temperature 0 is the class of the mean of the heaviest component.
    LearntGaussian: μ + temperature · σ · noise. MixtureGaussians: the same of component k of each channel, k as above. Both are
    cut to the numbers of float32, which a scale that is learnt may leave.
    Source: the Gumbel-max identity, Gumbel 1954; Maddison et al. 2014.
    """
    match head:
        case ops.Categorical():
            return _gumbel_max(y if top_k is None else _largest(y, top_k), noise, temperature)
        case ops.Gaussian():
            return y.astype(np.float64) + temperature * head.std * noise
        case ops.MixtureLogistics():
            logits, means, log_scales = np.split(y.astype(np.float64), 3, axis=1)
            k = _gumbel_max(logits, noise[:, :-1], temperature)[:, None]
            x = np.take_along_axis(means, k, axis=1)[:, 0]
            if temperature > 0:
                with np.errstate(over="ignore"):  # a scale beyond all numbers reaches the first or the last class
                    x = x + temperature * np.exp(np.take_along_axis(log_scales, k, axis=1)[:, 0]) * noise[:, -1]
            nearest = np.floor((x + 1) / 2 * (head.classes - 1) + 0.5)
            return np.fmax(np.fmin(nearest, head.classes - 1), 0).astype(np.int64)  # a class, even of what is no number
        case ops.LearntGaussian():
            means, log_scales = np.split(y.astype(np.float64), 2, axis=1)
            return _scaled(means, log_scales, noise, temperature, head.floor)
        case ops.MixtureGaussians():
            of_logits, shape = y.shape[1] // 3, (len(y), head.components, y.shape[1] // (3 * head.components))
            logits, means, log_scales = (each.reshape(shape) for each in np.split(y.astype(np.float64), 3, axis=1))  # y_bkc
            k = _gumbel_max(logits, noise[:, :of_logits].reshape(shape), temperature)[:, None]
            means, log_scales = (np.take_along_axis(each, k, axis=1)[:, 0] for each in (means, log_scales))
            return _scaled(means, log_scales, noise[:, of_logits:], temperature, head.floor)
        case _:
            assert_never(head)


def _scaled(means: Floats, log_scales: Floats, noise: Floats, temperature: float, floor: float) -> Floats:
    """μ + temperature · exp(max(λ, floor)) · noise, cut to the numbers of float32."""
    with np.errstate(over="ignore"):  # the largest number takes the place of a scale beyond all numbers
        scales = np.minimum(np.exp(np.maximum(log_scales, floor)), _LARGEST)
    return np.clip(means + temperature * noise * scales, -_LARGEST, _LARGEST)


def _normal(u: Floats, out: Floats) -> None:
    """Write √(-2·log u₁)·cos(2π·u₂) with u₁ the first half of the last axis, u₂ the second."""
    first, second = np.split(u, 2, axis=-1)
    np.multiply(np.sqrt(-2 * np.log(first)), np.cos(2 * np.pi * second), out=out, casting="same_kind")


def _gumbel(u: Floats, out: Floats) -> None:
    """Write -log(-log u). The memory of u is used."""
    np.negative(np.log(u, out=u), out=u)
    np.negative(np.log(u, out=u), out=out, casting="same_kind")


def _gumbel_max(y_bq: Floats, noise_bq: Floats, temperature: float) -> Floats:
    """argmax_q (y_q / temperature + noise_q), in float64.

    Relative to the largest y, which then is 0: large numbers do not round the noise away, and a tiny temperature leaves that one.
    """
    if temperature == 0:
        return y_bq.argmax(axis=1)
    scores = np.subtract(y_bq, y_bq.max(axis=1, keepdims=True), dtype=np.float64)
    if temperature != 1:
        with np.errstate(over="ignore"):
            scores /= temperature
    scores += noise_bq
    return scores.argmax(axis=1)


def _largest(y_bq: Floats, k: int) -> Floats:
    """The k largest of each row, the first of equals; -∞ elsewhere."""
    kept = np.argsort(-y_bq, axis=1, kind="stable")[:, :k]
    result = np.full(y_bq.shape, -np.inf)
    np.put_along_axis(result, kept, np.take_along_axis(y_bq, kept, axis=1), axis=1)
    return result


def check_seed(seed: int) -> int:
    """The seed as an int. Raises InputError unless it is a whole number from 0 to 2⁶⁴-1."""
    return check_integer("seed", seed, 0, 2**64 - 1)


def check_temperature(temperature: float, *, positive: bool = False) -> None:
    """Raise InputError unless the temperature is a finite number ≥ 0, or > 0 where it must be `positive`."""
    fits = isinstance(temperature, int | float | np.integer | np.floating) and not isinstance(temperature, bool)
    fits = fits and 0 <= (temperature if isinstance(temperature, int) else float(temperature)) <= sys.float_info.max
    if not fits or (positive and temperature == 0):
        raise InputError(f"temperature: expected a finite number {'>' if positive else '≥'} 0, got {temperature!r}")


def check_top_k(head: ops.AnyHead, top_k: int | None, classes: int) -> None:
    """Raise InputError unless `top_k` is None, or a number from 1 to the classes of a categorical head."""
    if top_k is None:
        return
    if not isinstance(head, ops.Categorical):
        raise InputError(f"top_k: expected a categorical head, which has a logit for every class, got {type(head).__name__}")
    check_integer("top_k", top_k, 1, classes)
