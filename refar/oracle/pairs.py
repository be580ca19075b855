"""Losses of a network that maps one signal onto another, y ≈ v: mean square, and error-to-signal ratio as amplifier models use.

`mask_bt` says which positions count. Of each sequence b there are N_b = C·Σ_t mask[b,t] counted values, and

    mse_b = 1/N_b · Σ (y - v)²
    esr_b = mean(p(y - v)²) / (mean(p(v)²) + ε) + w·(mean(y - v)² / (mean(v²) + ε)),   mean = 1/N_b · Σ over the counted values,

where p(s)[t] = s[t] - a·s[t-1], s[-1] = 0, emphasises what is high (a = `pre_emphasis`, 0.85 is usual; the filter runs over the
whole sequence), and w = `dc` weighs the square of the mean of y - v in each channel, averaged over the channels. ε = 10⁻⁵ keeps
silence from counting infinitely.
Source: Wright, Damskägg, Juvela and Välimäki 2020, "Real-time guitar amplifier emulation with deep learning".
"""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array

EPSILON = 1e-5


def mean_square(y_bct: Array, v_bct: Array, mask_bt: Array) -> Array:
    """mse_b, shape (B,); 0 for a sequence of which nothing counts."""
    return _mean((y_bct - v_bct) ** 2, mask_bt)


def mean_square_backward(y_bct: Array, v_bct: Array, mask_bt: Array, d_b: Array) -> Array:
    """The gradient of Σ d·mse with respect to y."""
    return 2 * (y_bct - v_bct) * _share(y_bct, mask_bt) * d_b[:, None, None]


def error_to_signal(y_bct: Array, v_bct: Array, mask_bt: Array, pre_emphasis: float = 0.0, dc: float = 0.0) -> Array:
    """esr_b, shape (B,); 0 for a sequence of which nothing counts."""
    error = y_bct - v_bct
    emphasised = _mean(_emphasis(error, pre_emphasis) ** 2, mask_bt)
    ratio = emphasised / (_mean(_emphasis(v_bct, pre_emphasis) ** 2, mask_bt) + EPSILON)
    means_bc = _channel_means(error, mask_bt)
    return ratio + dc * (means_bc**2).mean(axis=1) / (_mean(v_bct**2, mask_bt) + EPSILON)


def error_to_signal_backward(
    y_bct: Array, v_bct: Array, mask_bt: Array, d_b: Array, pre_emphasis: float = 0.0, dc: float = 0.0
) -> Array:
    """The gradient of Σ d·esr with respect to y: of the filter, the same filter backwards in time."""
    error, share = y_bct - v_bct, _share(y_bct, mask_bt)
    of_signal = (_mean(_emphasis(v_bct, pre_emphasis) ** 2, mask_bt) + EPSILON)[:, None, None]
    dy = _emphasis_backward(2 * _emphasis(error, pre_emphasis) * share / of_signal, pre_emphasis)
    means = _channel_means(error, mask_bt)[:, :, None] * np.ones_like(error)
    # The mean over channels of the square of each channel's mean: its share of one value is that of all values.
    dy = dy + dc * 2 * means * share / (_mean(v_bct**2, mask_bt) + EPSILON)[:, None, None]
    return dy * d_b[:, None, None]


def _emphasis(s_bct: Array, a: float) -> Array:
    """s[t] - a·s[t-1]."""
    filtered = s_bct.copy()
    filtered[:, :, 1:] -= a * s_bct[:, :, :-1]
    return filtered


def _emphasis_backward(d_bct: Array, a: float) -> Array:
    """d[t] - a·d[t+1]."""
    filtered = d_bct.copy()
    filtered[:, :, :-1] -= a * d_bct[:, :, 1:]
    return filtered


def _share(s_bct: Array, mask_bt: Array) -> Array:
    """1/N_b where a value counts, else 0."""
    counted = np.broadcast_to(mask_bt[:, None], s_bct.shape)
    return counted / np.maximum(counted.sum(axis=(1, 2), keepdims=True), 1)


def _mean(s_bct: Array, mask_bt: Array) -> Array:
    return (s_bct * _share(s_bct, mask_bt)).sum(axis=(1, 2))


def _channel_means(s_bct: Array, mask_bt: Array) -> Array:
    return (s_bct * mask_bt[:, None]).sum(axis=2) / np.maximum(mask_bt.sum(axis=1), 1)[:, None]
