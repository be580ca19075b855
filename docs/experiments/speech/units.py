"""A track of what is being said, without a transcript: short spectra of all voices, in groups of alike ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
RATE, HOP, FRAME = 8000, 160, 320
"""Samples a second; samples from one spectrum to the next, and in one: 20 ms and 40 ms."""
BANDS, UNITS = 20, 32
FITTED = 30_000
"""The number of spectra that k-means sees."""


def spectra(sound: Array) -> Array:
    """Compute the logarithm of the power in bands of the mel scale for each 20 ms of x_t in [-1, 1], (frames, BANDS)."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (FRAME - HOP) // 2), FRAME)[::HOP]
    power = abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)) ** 2
    return np.log(power @ _filters().T + 1e-4)


def _filters() -> Array:
    """Triangles that overlap by half, evenly spaced in mel from 100 Hz to 3800 Hz: (BANDS, frequencies)."""
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([100, 3800]) / 700)), BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FRAME, 1 / RATE)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.clip(np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)), 0, None)


def centres(voices: list[Array]) -> Array:
    """Find UNITS groups by k-means in the spectra of each voice, which are brought to mean 0 and deviation 1 band by band."""
    from scipy.cluster.vq import kmeans2

    every = np.concatenate([normalised(voice, voice) for voice in voices])
    some = every[np.random.default_rng(0).choice(len(every), min(FITTED, len(every)), replace=False)]
    return kmeans2(some, UNITS, minit="++", iter=30, rng=np.random.default_rng(0))[0]


def normalised(frames: Array, voice: Array) -> Array:
    """Subtract the mean of a voice's spectra and divide by their deviation."""
    return (frames - voice.mean(axis=0)) / voice.std(axis=0)


def track(sound: Array, voice: Array, groups: Array) -> Array:
    """Return the group of the spectrum at each sample of x_t, (T,); `voice` holds all spectra of its voice."""
    from scipy.cluster.vq import vq

    found = vq(normalised(spectra(sound), voice), groups)[0]
    return found[np.minimum(np.arange(len(sound)) // HOP, len(found) - 1)]
