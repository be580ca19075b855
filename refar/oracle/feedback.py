"""Tokens that an unrolled network is fed back, made from its output, and the gradient through them."""

from __future__ import annotations

from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.arguments.unrolling import Unrolling
from refar.oracle.gumbel import gumbel_softmax, gumbel_softmax_backward
from refar.oracle.mixture import mixture_nats, mixture_nats_backward
from refar.oracle.pointwise import softmax


def fed_back(head: ops.AnyHead, y_bct: Array, noise_bkt: Array, unrolling: Unrolling) -> Array:
    """The token z_bkt of each position, over all classes or as a signal; the equations are in `Unrolling`."""
    match head:
        case ops.Categorical():
            return gumbel_softmax(y_bct, noise_bkt, unrolling.temperature, hard=unrolling.feedback == "straight-through")
        case ops.MixtureLogistics():
            logits = _log_p(head, y_bct)
            return gumbel_softmax(logits, noise_bkt, unrolling.temperature, hard=unrolling.feedback == "straight-through")
        case ops.Gaussian():
            return y_bct if unrolling.feedback == "mean" else y_bct + unrolling.temperature * head.std * noise_bkt
        case ops.LearntGaussian():
            means, log_scales = np.split(y_bct, 2, axis=1)
            if unrolling.feedback == "mean":
                return means
            return means + unrolling.temperature * np.exp(np.maximum(log_scales, head.floor)) * noise_bkt
        case ops.MixtureGaussians():
            logits, means, _ = _components(head, y_bct)
            return (softmax(logits) * means).sum(axis=1)
        case _:
            assert_never(head)


def fed_back_backward(head: ops.AnyHead, y_bct: Array, noise_bkt: Array, unrolling: Unrolling, dz_bkt: Array) -> Array:
    """The gradient of Σ dz·z with respect to y. With logits l_q = log p(q | y) it is Σ_q dl_q · ∂log p(q)/∂y."""
    match head:
        case ops.Categorical():
            return gumbel_softmax_backward(y_bct, noise_bkt, unrolling.temperature, dz_bkt)
        case ops.MixtureLogistics():
            dlogits = gumbel_softmax_backward(_log_p(head, y_bct), noise_bkt, unrolling.temperature, dz_bkt)
            dy = np.zeros_like(y_bct)
            for q in range(head.classes):
                dy += mixture_nats_backward(head, y_bct, np.full((len(y_bct), y_bct.shape[2]), q), -dlogits[:, q])
            return dy
        case ops.Gaussian():
            return dz_bkt
        case ops.LearntGaussian():
            log_scales = np.split(y_bct, 2, axis=1)[1]
            if unrolling.feedback == "mean":
                return np.concatenate([dz_bkt, np.zeros_like(dz_bkt)], axis=1)
            slope = unrolling.temperature * np.exp(np.maximum(log_scales, head.floor)) * noise_bkt
            return np.concatenate([dz_bkt, np.where(log_scales >= head.floor, dz_bkt * slope, 0)], axis=1)
        case ops.MixtureGaussians():
            logits, means, _ = _components(head, y_bct)
            weights = softmax(logits)
            dlogits = weights * (means - (weights * means).sum(axis=1, keepdims=True)) * dz_bkt[:, None]
            return np.concatenate([dlogits, weights * dz_bkt[:, None], np.zeros_like(means)], axis=1).reshape(y_bct.shape)
        case _:
            assert_never(head)


def _components(head: ops.MixtureGaussians, y_bct: Array) -> list[Array]:
    """Logits, means and log-scales, each (B, K, C, T)."""
    each = y_bct.shape[1] // (3 * head.components)
    return np.split(y_bct.reshape(len(y_bct), 3 * head.components, each, -1), 3, axis=1)


def _log_p(head: ops.MixtureLogistics, y_bct: Array) -> Array:
    """log p(q) of every class, (B, Q, T)."""
    shape = (len(y_bct), y_bct.shape[2])
    return np.stack([-mixture_nats(head, y_bct, np.full(shape, q)) for q in range(head.classes)], axis=1)
