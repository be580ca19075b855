"""Random Fourier series: periodic signals, conditioned on their period."""

from __future__ import annotations

import numpy as np

from refar import noise, quantize
from refar.arguments.arrays import Array
from refar.data.dataset import Dataset, Split
from refar.data.meaning import Meaning

RATE, SECONDS, BINS, TERMS = 50, 10, 127, 4


def fourier() -> Dataset:
    """9216 sequences of 500 samples at 50 Hz in 127 classes, the condition being the period in seconds.

    Each is x(t) = Σ_{k=1..n} a_k·cos(2πkt/p) + b_k·sin(2πkt/p), divided by its largest |x(t)|. Drawn at random are the period
    p, uniformly from 5 to 10 seconds; the number of terms n, from 1 to 4; and the coefficients a_k and b_k, from -1 to 1.
    Classes are `refar.quantize.linear(127)`, of which the middle one stands for 0.
    Source: Heindl 2021, "1D Signal Setup".
    """
    train, valid, test = (_draw(range(first, end)) for first, end in ((0, 8192), (8192, 8704), (8704, 9216)))
    return Dataset(
        "fourier", train, valid, test, classes=BINS, licence="none: drawn at random by refar",
        source='Heindl 2021, "Autoregressive models, the WaveNet architecture", 1D Signal Setup',
        meaning=Meaning(kind="series", columns=["x"], quantizer="linear", levels=BINS),
    )  # fmt: skip


def _draw(rows: range) -> Split:
    """Sequence number i draws from stream i of seed 0: period, number of terms, 4 cosine and 4 sine coefficients."""
    u = noise.uniform(0, list(rows), 0, 1, 2 + 2 * TERMS)[0]
    period, count = 5 + 5 * u[:, 0], np.ceil(TERMS * u[:, 1])
    seconds = np.arange(RATE * SECONDS) / RATE
    x: Array = np.zeros((len(rows), len(seconds)))
    for k in range(1, TERMS + 1):
        cosine, sine = ((k <= count) * (2 * u[:, column + k] - 1) for column in (1, 1 + TERMS))
        angle = 2 * np.pi * k * seconds / period[:, None]
        x += cosine[:, None] * np.cos(angle) + sine[:, None] * np.sin(angle)
    x /= abs(x).max(axis=1, keepdims=True)
    return Split(quantize.linear(BINS).encode(x).astype(np.uint8), {"condition": period[:, None]})
