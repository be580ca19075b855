"""Gaussians whose scale is learnt, one or a mixture: negative log-likelihood and gradient, finite however far a value lies."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle.pointwise import softmax

Head = ops.LearntGaussian | ops.MixtureGaussians


class _Normals(NamedTuple):
    """Per component, channel and position, (B, K, C, T): logits, 1/σ, z = (x - μ)/σ, log joint, and where λ ≥ floor.

    There are no `logits` where there is one component alone.
    """

    logits: Array | None
    inverse: Array
    z: Array
    log_joint: Array
    free: Array


def gaussians_nats(head: Head, y_bct: Array, x_bct: Array) -> Array:
    """Σ_c -log Σ_k softmax(l_c)_k · N(x_c; μ_ck, σ_ck²), shape (B, T); see `ops.MixtureGaussians` and `ops.LearntGaussian`."""
    return -_logsumexp(_terms(head, y_bct, x_bct).log_joint).sum(axis=1)


def gaussians_nats_backward(head: Head, y_bct: Array, x_bct: Array, d_bt: Array) -> Array:
    """The gradient of Σ d·gaussians_nats: with r_k = p(k | x), the responsibilities, which are 1 where there is no mixture,

    ∂/∂l_k = softmax(l)_k - r_k;   ∂/∂μ_k = -r_k · z_k/σ_k;   ∂/∂λ_k = r_k · (1 - z_k²) for λ_k ≥ floor, else 0.
    """
    terms = _terms(head, y_bct, x_bct)
    responsibility = np.exp(terms.log_joint - _logsumexp(terms.log_joint)[:, None])
    dlogits = [] if terms.logits is None else [softmax(terms.logits) - responsibility]
    dmeans = -responsibility * terms.z * terms.inverse
    dlog_scales = np.where(terms.free, responsibility * (1 - terms.z**2), 0)
    each = np.concatenate([*dlogits, dmeans, dlog_scales], axis=1)
    return d_bt[:, None] * each.reshape(y_bct.shape)


def _terms(head: Head, y_bct: Array, x_bct: Array) -> _Normals:
    batch, channels, length = x_bct.shape
    components = head.components if isinstance(head, ops.MixtureGaussians) else 1
    parts = y_bct.reshape(batch, y_bct.shape[1] // channels, channels, length)
    *logits, means, log_scales = np.split(parts, parts.shape[1] // components, axis=1)
    free = log_scales.real >= head.floor
    log_scales = np.where(free, log_scales, np.asarray(head.floor, log_scales.dtype))
    inverse = np.exp(-log_scales)
    z = (x_bct[:, None] - means) * inverse
    log_p = -0.5 * z**2 - log_scales - math.log(2 * math.pi) / 2
    if not logits:
        return _Normals(None, inverse, z, log_p, free)
    return _Normals(logits[0], inverse, z, logits[0] - _logsumexp(logits[0])[:, None] + log_p, free)


def _logsumexp(v_bkct: Array) -> Array:
    """log Σ_k exp(v_k), relative to the largest."""
    top = v_bkct.real.max(axis=1)
    return np.asarray(top + np.log(np.exp(v_bkct - top[:, None]).sum(axis=1)))
