"""How sampler.onnx draws a token, number by number in float32: what the graph is checked against.

y is the output of one row, n its noise, T its temperature, std and Q those of the head; each result is rounded to float32.

    categorical           argmax_q (y_q + T·n_q), of equals the lower class
    the same with top_k   argmax over the k largest y_q, of equals those of the lower classes; of equal sums that of
                          the larger y_q
    Gaussian              x = y + (T·n)·std
    mixture of K          i = argmax_k (l_k + T·n_k), s = min(exp(log-scale_i), the largest number of float32),
    logistics             x = mean_i + (T·n_K)·s, and the class floor((x + 1)·((Q - 1)/2) + ½), cut to 0 … Q - 1
    learnt Gaussian       s = min(exp(max(log-scale, floor)), the largest number of float32), x = mean + (T·n)·s, cut to
                          ± the largest number
    mixture of K          i = argmax_k (l_k + T·n_k), of equals the first, for each channel with Gumbels of its own, and x
    Gaussians             from mean i, log-scale i and the normal noise of the channel, as a learnt Gaussian

Over the reals these are the tokens of `refar.noise.sample`: y/T + n is (y + T·n)/T. T = 0 needs no rule of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from refar import ops

_LARGEST = np.finfo(np.float32).max

Row = NDArray[np.float32]


def drawn(head: ops.AnyHead, y: Row, noise: Row, temperature: np.float32, top_k: int | None = None) -> Any:
    """The token of one row: a class, or numbers (C) of a signal. y (C), noise (K) and temperature are float32."""
    with np.errstate(over="ignore"):  # what is beyond all numbers is infinite, as in the graph
        match head:
            case ops.Categorical():
                return _largest_sum(y, noise, temperature, range(len(y)) if top_k is None else _best(y, top_k))
            case ops.Gaussian():
                std = np.float32(head.std)
                return np.array([y[c] + temperature * noise[c] * std for c in range(len(y))], np.float32)
            case ops.MixtureLogistics():
                return _of_mixture(head, y, noise, temperature)
            case ops.LearntGaussian():
                channels = len(y) // 2
                each = [_number(y[c], y[channels + c], temperature * noise[c], head.floor) for c in range(channels)]
                return np.array(each, np.float32)
            case ops.MixtureGaussians():
                channels = len(y) // (3 * head.components)
                each = [_of_gaussians(head, y[c::channels], noise[c::channels], temperature) for c in range(channels)]
                return np.array(each, np.float32)
            case _:
                assert_never(head)


def _best(y: Row, k: int) -> list[int]:
    """The classes of the k largest numbers, the largest first, of equals the lower class."""
    return sorted(range(len(y)), key=lambda q: (-y[q], q))[:k]


def _largest_sum(y: Row, noise: Row, temperature: np.float32, classes: Sequence[int]) -> int:
    """The first of these classes with the largest sum."""
    best = classes[0]
    for q in classes:
        if y[q] + temperature * noise[q] > y[best] + temperature * noise[best]:
            best = q
    return best


def _of_mixture(head: ops.MixtureLogistics, y: Row, noise: Row, temperature: np.float32) -> int:
    """The class that is nearest to a number drawn from one component."""
    k = head.components
    i = _largest_sum(y[:k], noise[:k], temperature, range(k))
    x = y[k + i] + temperature * noise[k] * np.minimum(np.exp(y[2 * k + i]), _LARGEST)
    place = np.floor((x + np.float32(1)) * np.float32((head.classes - 1) / 2) + np.float32(0.5))
    return int(np.clip(place, 0, head.classes - 1))


def _of_gaussians(head: ops.MixtureGaussians, y: Row, noise: Row, temperature: np.float32) -> np.float32:
    """A number drawn from one component of a channel."""
    k = head.components
    i = _largest_sum(y[:k], noise[:k], temperature, range(k))
    return _number(y[k + i], y[2 * k + i], temperature * noise[k], head.floor)


def _number(mean: np.float32, log_scale: np.float32, scaled: np.float32, floor: float) -> np.float32:
    """The number of a Gaussian for noise that was multiplied by the temperature."""
    scale = np.minimum(np.exp(np.maximum(log_scale, np.float32(floor))), _LARGEST)
    return np.clip(mean + scaled * scale, -_LARGEST, _LARGEST)
