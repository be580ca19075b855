"""Negative log-likelihoods in nats, one per position, and their gradients."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle.gaussians import gaussians_nats, gaussians_nats_backward
from refar.oracle.mixture import mixture_nats, mixture_nats_backward
from refar.oracle.pointwise import softmax


def log_softmax(y_bqt: Array) -> Array:
    """y_q - log Σ_j exp(y_j) over axis 1, shifted by the largest y_j so that nothing overflows."""
    shifted = y_bqt - y_bqt.real.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cross_entropy(y_bqt: Array, x_bt: Array) -> Array:
    """-log softmax(y[b,:,t])_{x[b,t]}, shape (B, T): the categorical cross-entropy of class x under logits y."""
    return -np.take_along_axis(log_softmax(y_bqt), x_bt[:, None], axis=1)[:, 0]


def cross_entropy_backward(y_bqt: Array, x_bt: Array, d_bt: Array) -> Array:
    """d · (softmax(y) - onehot(x)): the gradient of Σ d·cross_entropy with respect to y."""
    p = softmax(y_bqt)
    target = np.zeros_like(p)
    np.put_along_axis(target, x_bt[:, None], 1, axis=1)
    return d_bt[:, None] * (p - target)


def squared_error(y_bct: Array, x_bct: Array) -> Array:
    """Σ_c (y[b,c,t] - x[b,c,t])², shape (B, T)."""
    return ((y_bct - x_bct) ** 2).sum(axis=1)


def squared_error_backward(y_bct: Array, x_bct: Array, d_bt: Array) -> Array:
    """d · 2·(y - x): the gradient of Σ d·squared_error with respect to y."""
    return d_bt[:, None] * 2 * (y_bct - x_bct)


def nats(head: ops.AnyHead, y: Array, x: Array) -> Array:
    """-log p(x_t | x_<t) for every position, shape (B, T).

    Categorical: cross-entropy. Gaussian: squared_error / (2·std²) + C·log(std·√(2π)), a density.
    MixtureLogistics: see `oracle.mixture`. LearntGaussian and MixtureGaussians, densities too: see `oracle.gaussians`.
    """
    match head:
        case ops.Categorical():
            return cross_entropy(y, x)
        case ops.Gaussian():
            constant = x.shape[1] * math.log(head.std * math.sqrt(2 * math.pi))
            return squared_error(y, x) / (2 * head.std**2) + constant
        case ops.MixtureLogistics():
            return mixture_nats(head, y, x)
        case ops.LearntGaussian() | ops.MixtureGaussians():
            return gaussians_nats(head, y, x)
        case _:
            assert_never(head)


def nats_backward(head: ops.AnyHead, y: Array, x: Array, d_bt: Array) -> Array:
    """The gradient of Σ d·nats with respect to y."""
    match head:
        case ops.Categorical():
            return cross_entropy_backward(y, x, d_bt)
        case ops.Gaussian():
            return squared_error_backward(y, x, d_bt / (2 * head.std**2))
        case ops.MixtureLogistics():
            return mixture_nats_backward(head, y, x, d_bt)
        case ops.LearntGaussian() | ops.MixtureGaussians():
            return gaussians_nats_backward(head, y, x, d_bt)
        case _:
            assert_never(head)
