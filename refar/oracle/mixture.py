"""The discretised mixture of logistics: negative log-likelihood and gradient, finite however far in a tail a class lies."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle.pointwise import softmax


class _Terms(NamedTuple):
    """Per component and position, (B, K, T): edges of the class as z-values, log of its width, log joint, who is an edge."""

    lower: Array
    upper: Array
    log_width: Array
    log_joint: Array
    first: Array
    last: Array


def mixture_nats(head: ops.MixtureLogistics, y_bct: Array, x_bt: Array) -> Array:
    """-log Σ_k softmax(l)_k · P_k(x[b,t]), shape (B, T); see `ops.MixtureLogistics`.

    With z± = (v ± h - μ)/s and δ = 2h/s, F(z+) - F(z-) = F(z+) · F(-z-) · (1 - exp(-δ)): a product without cancellation,
    whose logarithm is finite as long as z± is. The first class keeps F(z+) alone, the last F(-z-).
    """
    return -_logsumexp(_terms(head, y_bct, x_bt).log_joint)


def mixture_nats_backward(head: ops.MixtureLogistics, y_bct: Array, x_bt: Array, d_bt: Array) -> Array:
    """The gradient of Σ d·mixture_nats: with r_k = p(k | x), the responsibilities,

    ∂/∂l_k = softmax(l)_k - r_k;   ∂/∂μ_k = r_k · (F(-z+) - F(z-)) / s_k;
    ∂/∂λ_k = r_k · (z+·F(-z+) - z-·F(z-) + δ/(exp(δ) - 1)),
    where the first class has no z-, the last no z+, and neither δ.
    """
    terms = _terms(head, y_bct, x_bt)
    logits, _, log_scales = np.split(y_bct, 3, axis=1)
    responsibility = np.exp(terms.log_joint - _logsumexp(terms.log_joint)[:, None])
    above = np.where(terms.last, 0, np.exp(_log_sigmoid(-terms.upper)))
    below = np.where(terms.first, 0, np.exp(_log_sigmoid(terms.lower)))
    width = np.exp(np.clip(terms.log_width, -40, 5))  # δ/(exp(δ) - 1) is 1 below and 0 above, to rounding
    narrowing = np.where(terms.first | terms.last, 0, width / np.expm1(width))
    dmeans = responsibility * (above - below) * np.exp(-log_scales)
    dlog_scales = responsibility * (terms.upper * above - terms.lower * below + narrowing)
    return d_bt[:, None] * np.concatenate([softmax(logits) - responsibility, dmeans, dlog_scales], axis=1)


def _terms(head: ops.MixtureLogistics, y_bct: Array, x_bt: Array) -> _Terms:
    logits, means, log_scales = np.split(y_bct, 3, axis=1)
    q, last = x_bt[:, None], head.classes - 1
    # one expression for both edges: where two classes meet they see the same z, so their probabilities sum up
    lower, upper = ((((2 * i - head.classes) / last).astype(y_bct.dtype) - means) * np.exp(-log_scales) for i in (q, q + 1))
    log_width = math.log(2 / last) - log_scales
    width = np.exp(np.clip(log_width, -40, 5))  # 1 - exp(-δ) is δ below and 1 above, to rounding
    log_inside = np.where(log_width < -40, log_width, np.log(-np.expm1(-width)))
    log_p = (
        np.where(q == last, 0, _log_sigmoid(upper))
        + np.where(q == 0, 0, _log_sigmoid(-lower))
        + np.where((q == 0) | (q == last), 0, log_inside)
    )
    log_joint = logits - _logsumexp(logits)[:, None] + log_p
    return _Terms(lower, upper, log_width, log_joint, q == 0, q == last)


def _log_sigmoid(z: Array) -> Array:
    return -np.logaddexp(0, -z)


def _logsumexp(v_bkt: Array) -> Array:
    top = v_bkt.max(axis=1)
    return top + np.log(np.exp(v_bkt - top[:, None]).sum(axis=1))
