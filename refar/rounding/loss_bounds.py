"""How far a loss may be off, in units of u, for the usual ways to compute it: with and without the largest logit subtracted.

Second-order terms are left out; the constants have room for them. LOG: a logarithm is within LOG·u of itself, relative, as
exp is within EXP·u (see `refar.rounding.bound`, whose softmax is used here).
"""

from __future__ import annotations

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle import pointwise
from refar.rounding import bound
from refar.rounding.bound import EXP, FLOAT32, SIGMOID
from refar.rounding.units import LOG as LOG

_SOFTMAX = ops.Softmax()
_NARROW = 2.0**-12
"""A class with less mass than this under a component cannot be had as a difference of two values of F near 1."""


def softmax(y: Array) -> Array:
    """Bound the error of exp(y_q) / Σ_j exp(y_j)."""
    return bound.forward(_SOFTMAX, [y], {}, unit=FLOAT32) / FLOAT32


def probability(y: Array) -> Array:
    """Bound the error of p_q where a gradient needs it: a softmax, or the exp of a log-softmax, whatever that is off by."""
    return np.maximum(softmax(y), pointwise.softmax(y) * (log_softmax(y) + EXP))


def log_softmax(y: Array) -> Array:
    """Bound the error of y_q - log Σ_j exp(y_j), Q classes: with s = y - max y,

    |s_q| + Σ_j p_j·|s_j| + 2·EXP + Q + 2 for the sum, and LOG·(|log Σ| + |log Σ exp s| + |result|) for logarithm and difference.
    """
    top = y.max(axis=1, keepdims=True)
    s, p = y - top, pointwise.softmax(y)
    rest = np.log(np.exp(s).sum(axis=1, keepdims=True))
    sums = np.abs(s) + (p * np.abs(s)).sum(axis=1, keepdims=True) + 2 * EXP + y.shape[1] + 2
    return np.asarray(sums + LOG * (np.abs(top + rest) + rest + np.abs(s - rest)))


def log_softmax_backward(y: Array, dy: Array) -> Array:
    """Bound the error of dy_q - p_q·Σ_j dy_j: the error of p, of the sum, and three roundings."""
    p, sizes = pointwise.softmax(y), np.abs(dy).sum(axis=1, keepdims=True)
    return np.asarray(probability(y) * sizes + y.shape[1] * p * sizes + 3 * (np.abs(dy) + p * sizes))


def cross_entropy_backward(y: Array, x: Array, d: Array) -> Array:
    """Bound the error of d·(p - onehot(x)): the error of p and three roundings."""
    p = pointwise.softmax(y)
    target = np.zeros_like(p)
    np.put_along_axis(target, x[:, None], 1, axis=1)
    return np.asarray(np.abs(d)[:, None] * (probability(y) + 3 * np.abs(p - target)))


def gaussian(y: Array, x: Array, std: float) -> Array:
    """Bound the error of Σ_c (x - y)²/(2·std²) + C·log(std·√(2π)).

    C terms with six roundings each, and the constant in one part or in two.
    """
    channels, squares = y.shape[1], ((x - y) ** 2).sum(axis=1) / (2 * std**2)
    constant = channels * (abs(np.log(std)) + np.log(2 * np.pi) / 2)
    return np.asarray((channels + 6) * squares + (LOG + 4) * constant + 2 * (squares + constant))


def mixture(components: int, classes: int, y: Array, x: Array) -> tuple[Array, Array]:
    """Bound the error of the negative log-likelihood, and of its gradient for d = 1; see `ops.MixtureLogistics`.

    z± = (edge - μ)·exp(-λ) is off by δ± = 4·exp(-λ) + (EXP + 4)·|z±|. The mass F(z+) - F(z-) = F(z+)·F(-z-)·(1 - exp(-δ)) is
    off, relative, by F(-z+)·δ+ + F(z-)·δ- and the rounding of three logarithms; computed as a difference, by
    (2·SIGMOID + F'(z+)·δ+ + F'(z-)·δ-) / mass, which is allowed where the mass is at least 2^-12: in the tails nothing is left
    of a difference.

    The gradient for logit k is p_k - r_k, p = softmax(l), r the responsibilities, each r_k off by r_k·ρ_k. Whoever differentiates
    log softmax(l) step by step, as PyTorch does, computes p_k·Σ_j r_j - r_k. Σ r = 1 in exact numbers alone: in floating point it
    is off by at most Σ_j r_j·ρ_j and K further roundings, and p_k times that comes on top.
    """
    logits, means, log_scales = np.split(y, 3, axis=1)
    q, last = x[:, None], classes - 1
    inverse = np.exp(-log_scales)
    low, high = (((2 * i - classes) / last - means) * inverse for i in (q, q + 1))
    first, final = q == 0, q == last
    below, above = (4 * inverse + (EXP + 4) * np.abs(z) for z in (low, high))
    below, above = np.where(first, 0, below), np.where(final, 0, above)
    log_mass = _log_mass(low, high, 2 / last * inverse, first, final)
    mass, density_low, density_high = np.exp(log_mass), np.where(first, 0, _density(low)), np.where(final, 0, _density(high))
    stable = pointwise.sigmoid(-high) * above + pointwise.sigmoid(low) * below + 4 * EXP + LOG * (3 + np.abs(log_mass))
    difference = (2 * SIGMOID + density_high * above + density_low * below) / np.where(mass > _NARROW, mass, np.inf)
    off = np.maximum(stable, difference) + log_softmax(logits)
    joint = np.log(pointwise.softmax(logits)) + log_mass
    responsibility = pointwise.softmax(joint)
    spread = np.abs(joint - joint.max(axis=1, keepdims=True))
    total = (responsibility * (off + spread)).sum(axis=1) + EXP + components + 2
    nats = joint.max(axis=1) + np.log(np.exp(joint - joint.max(axis=1, keepdims=True)).sum(axis=1))
    relative = off + spread + total[:, None]
    factor = np.where(mass > _NARROW, 1 / mass, 0)
    tail = [np.where(edge, 0, pointwise.sigmoid(z)) for edge, z in ((final, -high), (first, low))]
    curve = (
        (density_high + density_low) * (2 * SIGMOID + above + below) * factor + 2 * SIGMOID + above * tail[0] + below * tail[1]
    )
    slope = np.abs(tail[0] - tail[1])
    reach = np.abs(np.where(final, 0, high)) + np.abs(np.where(first, 0, low)) + 1
    p, each = pointwise.softmax(logits), responsibility * relative
    dlogits = probability(logits) + each + p * sum_of_responsibilities(each) + 3 * (p + responsibility)
    dmeans = responsibility * inverse * (relative * slope + curve + (EXP + 4) * slope)
    dscales = responsibility * reach * (relative + curve + 2 * EXP)
    return np.asarray(total + LOG * np.abs(nats)), np.concatenate([dlogits, dmeans, dscales], axis=1)


def sum_of_responsibilities(off: Array) -> Array:
    """Bound |Σ_j r_j - 1| of K responsibilities along axis 1, each off by `off`: the sum of that, and a rounding for each."""
    return np.asarray(off.sum(axis=1, keepdims=True) + off.shape[1])


def gumbel_softmax(logits: Array, noise: Array, temperature: float, hard: bool, dy: Array) -> tuple[Array, Array]:
    """Bound the error of softmax((l + n)/τ), and of s·(dy - Σ s·dy)/τ.

    The scores are off by r = 2·(|l| + |n|)/τ, then as softmax. A hard sample is exact; its gradient is that of the soft one.
    """
    scores = (logits + noise) / temperature
    y, r = pointwise.softmax(scores), 2 * (np.abs(logits) + np.abs(noise)) / temperature
    off = y * (r + (y * r).sum(axis=1, keepdims=True))
    value = np.zeros_like(y) if hard else softmax(scores) + off
    (slack,), _ = bound.backward(_SOFTMAX, [scores], dy, {}, unit=FLOAT32)
    assert slack is not None
    inner = (np.abs(dy) * y).sum(axis=1, keepdims=True)
    moved = off * (np.abs(dy) + inner) + y * (np.abs(dy) * off).sum(axis=1, keepdims=True)
    exact = np.abs(y * (dy - (dy * y).sum(axis=1, keepdims=True)))
    return value, (slack / FLOAT32 + moved + 2 * exact) / temperature


def _log_mass(low: Array, high: Array, width: Array, first: Array, final: Array) -> Array:
    """log [F(z+) - F(z-)] without cancellation."""
    upper, lower = -np.logaddexp(0, -high), -np.logaddexp(0, low)
    inside = np.log(-np.expm1(-width))
    return np.where(final, 0, upper) + np.where(first, 0, lower) + np.where(first | final, 0, inside)


def _density(z: Array) -> Array:
    s = pointwise.sigmoid(z)
    return s * (1 - s)
