"""The densities and relaxed samples by their definitions, in many decimal digits, rounded to float64 once at the end.

What `oracle.losses`, `oracle.mixture`, `oracle.gaussians` and `oracle.gumbel` are checked against, sharing no code. Floats are
taken as the exact binary numbers that they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refar import ops
from refar.exact.curves import decimal
from refar.exact.literal import digits_for, exact

Array = NDArray[Any]
Gaussians = ops.LearntGaussian | ops.MixtureGaussians
Normal = tuple[Decimal, Decimal, Decimal, Decimal]

_DIGITS = 60
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")


def squared_error(y_bct: ArrayLike, x_bct: ArrayLike) -> Array:
    """Σ_c (y[b,c,t] - x[b,c,t])², exact, shape (B, T)."""
    y, x = exact(y_bct), exact(x_bct)
    result = np.full((y.shape[0], y.shape[2]), 0, object)
    for b, c, t in np.ndindex(y.shape):
        result[b, t] += (y[b, c, t] - x[b, c, t]) ** 2
    return result


def squared_error_gradient(y_bct: ArrayLike, x_bct: ArrayLike, d_bt: ArrayLike) -> Array:
    """d[b,t] · 2·(y[b,c,t] - x[b,c,t]), exact."""
    y, x, d = exact(y_bct), exact(x_bct), exact(d_bt)
    result = np.empty(y.shape, object)
    for b, c, t in np.ndindex(y.shape):
        result[b, c, t] = d[b, t] * 2 * (y[b, c, t] - x[b, c, t])
    return result


def cross_entropy(y_bqt: ArrayLike, x_bt: ArrayLike) -> Array:
    """log Σ_j exp(y[b,j,t]) - y[b,x,t] with x = x[b,t], float64, shape (B, T).

    Computed as log Σ_j exp(y_j - y_x), which is the same number.
    """
    y, x = exact(y_bqt), np.asarray(x_bt)
    result = np.empty(x.shape)
    for b, t in np.ndindex(x.shape):
        with localcontext(prec=digits_for(y[b, :, t])):
            logits = [decimal(value) for value in y[b, :, t]]
            result[b, t] = float(sum(((v - logits[x[b, t]]).exp() for v in logits), Decimal(0)).ln())
    return result


def cross_entropy_gradient(y_bqt: ArrayLike, x_bt: ArrayLike, d_bt: ArrayLike) -> Array:
    """d[b,t] · (exp(y_q) / Σ_j exp(y_j) - [q = x[b,t]]), float64."""
    y, x, d = exact(y_bqt), np.asarray(x_bt), exact(d_bt)
    result = np.empty(y.shape)
    for b, t in np.ndindex(x.shape):
        with localcontext(prec=digits_for(y[b, :, t])):
            e = [decimal(value).exp() for value in y[b, :, t]]
            for q in range(len(e)):
                result[b, q, t] = float(decimal(d[b, t]) * (e[q] / sum(e) - (q == x[b, t])))
    return result


def gaussian(head: ops.Gaussian, y_bct: ArrayLike, x_bct: ArrayLike) -> Array:
    """Σ_c [(x - y)²/(2·std²) + log(std·√(2π))], float64, shape (B, T)."""
    y, x = np.asarray(y_bct, float), np.asarray(x_bct, float)
    result = np.empty((y.shape[0], y.shape[2]))
    with localcontext(Context(prec=_DIGITS)):
        std = Decimal(head.std)
        for b, t in np.ndindex(result.shape):
            squares = [(Decimal(v) - Decimal(m)) ** 2 for v, m in zip(x[b, :, t].tolist(), y[b, :, t].tolist(), strict=True)]
            result[b, t] = float(sum(squares) / (2 * std**2) + len(squares) * (std * (2 * _PI).sqrt()).ln())
    return result


def gaussian_gradient(head: ops.Gaussian, y_bct: ArrayLike, x_bct: ArrayLike, d_bt: ArrayLike) -> Array:
    """d[b,t] · (y - x)/std², float64."""
    y, x, d = np.asarray(y_bct, float), np.asarray(x_bct, float), np.asarray(d_bt, float)
    result = np.empty(y.shape)
    for b, c, t in np.ndindex(y.shape):
        upstream, mean, value = (Fraction(float(v)) for v in (d[b, t], y[b, c, t], x[b, c, t]))
        result[b, c, t] = float(upstream * (mean - value) / Fraction(head.std) ** 2)
    return result


def gaussians(head: Gaussians, y_bct: ArrayLike, x_bct: ArrayLike) -> Array:
    """-Σ_c log Σ_k softmax(l_c)_k · exp(-(x_c - μ_ck)²/(2·σ_ck²)) / (σ_ck·√(2π)), float64, shape (B, T)."""
    y, x = np.asarray(y_bct, float), np.asarray(x_bct, float)
    result = np.empty((x.shape[0], x.shape[2]))
    for b, t in np.ndindex(result.shape):
        with localcontext(_wide_context()):
            each = [_normals(head, y[b, c :: x.shape[1], t].tolist(), float(x[b, c, t])) for c in range(x.shape[1])]
            result[b, t] = float(-sum((_mixed(normals).ln() for normals in each), Decimal(0)))
    return result


def gaussians_gradient(head: Gaussians, y_bct: ArrayLike, x_bct: ArrayLike, d_bt: ArrayLike) -> Array:
    """The gradient of Σ d·gaussians: -d/p · ∂p/∂y with p = Σ_k w_k·N_k of each channel, float64.

    ∂p/∂l_j = w_j·(N_j - p);  ∂p/∂μ_j = w_j·N_j·(x - μ_j)/σ_j²;  ∂p/∂λ_j = w_j·N_j·((x - μ_j)²/σ_j² - 1), 0 for λ_j < floor.
    """
    y, x, d = np.asarray(y_bct, float), np.asarray(x_bct, float), np.asarray(d_bt, float)
    result = np.empty(y.shape)
    channels = x.shape[1]
    for b, c, t in np.ndindex(x.shape):
        with localcontext(_wide_context()):
            normals = _normals(head, y[b, c::channels, t].tolist(), float(x[b, c, t]))
            p = _mixed(normals)
            factor = -Decimal(float(d[b, t])) / p
            by_logit = [w * (n - p) for w, n, *_ in normals] if isinstance(head, ops.MixtureGaussians) else []
            slopes = [*by_logit, *(w * n * by_mean for w, n, by_mean, _ in normals), *(w * n * s for w, n, _, s in normals)]
            result[b, c::channels, t] = [float(factor * slope) for slope in slopes]
    return result


def mixture(head: ops.MixtureLogistics, y_bct: ArrayLike, x_bt: ArrayLike) -> Array:
    """-log Σ_k softmax(l)_k · [F((v + h - μ_k)/s_k) - F((v - h - μ_k)/s_k)], float64, shape (B, T)."""
    y, x = np.asarray(y_bct, float), np.asarray(x_bt)
    result = np.empty(x.shape)
    for b, t in np.ndindex(x.shape):
        with localcontext(_context(y[b, :, t])):
            weights, masses, _ = _components(head, y[b, :, t].tolist(), int(x[b, t]))
            result[b, t] = float(-_dot(weights, masses).ln())
    return result


def mixture_gradient(head: ops.MixtureLogistics, y_bct: ArrayLike, x_bt: ArrayLike, d_bt: ArrayLike) -> Array:
    """The gradient of Σ d·mixture: -d/p · ∂p/∂y with p = Σ_k w_k·P_k and F' the logistic density, float64.

    ∂p/∂l_j = w_j·(P_j - p);  ∂p/∂μ_j = -w_j·[F'(z+) - F'(z-)]/s_j;  ∂p/∂λ_j = -w_j·[z+·F'(z+) - z-·F'(z-)].
    """
    y, x, d = np.asarray(y_bct, float), np.asarray(x_bt), np.asarray(d_bt, float)
    result = np.empty(y.shape)
    k = head.components
    for b, t in np.ndindex(x.shape):
        with localcontext(_context(y[b, :, t])):
            weights, masses, slopes = _components(head, y[b, :, t].tolist(), int(x[b, t]))
            p = _dot(weights, masses)
            factor = -Decimal(float(d[b, t])) / p
            for j, (w, mass, (by_mean, by_scale)) in enumerate(zip(weights, masses, slopes, strict=True)):
                result[b, j, t] = float(factor * w * (mass - p))
                result[b, k + j, t] = float(factor * w * by_mean)
                result[b, 2 * k + j, t] = float(factor * w * by_scale)
    return result


def gumbel_softmax(logits_bqt: ArrayLike, noise_bqt: ArrayLike, temperature: float) -> Array:
    """exp((l_q + n_q)/τ) / Σ_j exp((l_j + n_j)/τ) over axis 1, float64."""
    logits, noise = np.asarray(logits_bqt, float), np.asarray(noise_bqt, float)
    result = np.empty(logits.shape)
    for b, t in np.ndindex(logits.shape[0], logits.shape[2]):
        with localcontext(_context()):
            result[b, :, t] = [float(s) for s in _relaxed(logits[b, :, t].tolist(), noise[b, :, t].tolist(), temperature)]
    return result


def gumbel_softmax_gradient(logits_bqt: ArrayLike, noise_bqt: ArrayLike, temperature: float, dy_bqt: ArrayLike) -> Array:
    """Σ_j dy_j · s_j·([j = q] - s_q)/τ, float64."""
    logits, noise, dy = (np.asarray(a, float) for a in (logits_bqt, noise_bqt, dy_bqt))
    result = np.empty(logits.shape)
    for b, t in np.ndindex(logits.shape[0], logits.shape[2]):
        with localcontext(_context()):
            s = _relaxed(logits[b, :, t].tolist(), noise[b, :, t].tolist(), temperature)
            for q in range(len(s)):
                terms = [Decimal(v) * s[j] * ((j == q) - s[q]) for j, v in enumerate(dy[b, :, t].tolist())]
                result[b, q, t] = float(sum(terms, Decimal(0)) / Decimal(temperature))
    return result


def _mixed(normals: Sequence[Normal]) -> Decimal:
    """The density of a channel."""
    return sum((weight * density for weight, density, *_ in normals), Decimal(0))


def _normals(head: Gaussians, y: Sequence[float], x: float) -> list[Normal]:
    """Of each component of a channel its weight, its density N at x, and the slopes of log N by mean and log-scale."""
    k = head.components if isinstance(head, ops.MixtureGaussians) else 1
    e = [Decimal(v).exp() for v in (y[:k] if isinstance(head, ops.MixtureGaussians) else [0.0])]
    found = []
    for each, mean, log_scale in zip(e, y[-2 * k : -k], y[-k:], strict=True):
        std = Decimal(max(log_scale, head.floor)).exp()
        z = (Decimal(x) - Decimal(mean)) / std
        density = (-z * z / 2).exp() / (std * (2 * _PI).sqrt())
        found.append((each / sum(e), density, z / std, z * z - 1 if log_scale >= head.floor else Decimal(0)))
    return found


def _components(
    head: ops.MixtureLogistics, y: Sequence[float], q: int
) -> tuple[list[Decimal], list[Decimal], list[tuple[Decimal, Decimal]]]:
    """Of each component its weight, the mass of class q under it, and the mass's slopes by mean and log-scale."""
    k, last = head.components, head.classes - 1
    e = [Decimal(v).exp() for v in y[:k]]
    weights = [v / sum(e) for v in e]
    masses, slopes = [], []
    for mean, log_scale in zip(y[k : 2 * k], y[2 * k :], strict=True):
        s = Decimal(log_scale).exp()
        lower, upper = ((Decimal(2 * q - last + side) / last - Decimal(mean)) / s for side in (-1, 1))
        masses.append((_logistic(upper) if q < last else 1) - (_logistic(lower) if q > 0 else Decimal(0)))
        at_upper, at_lower = (_density(upper) if q < last else 0), (_density(lower) if q > 0 else 0)
        slopes.append(((at_lower - at_upper) / s, lower * at_lower - upper * at_upper))
    return weights, masses, slopes


def _relaxed(logits: Sequence[float], noise: Sequence[float], temperature: float) -> list[Decimal]:
    e = [((Decimal(v) + Decimal(n)) / Decimal(temperature)).exp() for v, n in zip(logits, noise, strict=True)]
    return [v / sum(e) for v in e]


def _logistic(z: Decimal) -> Decimal:
    return 1 / (1 + (-z).exp())


def _density(z: Decimal) -> Decimal:
    return _logistic(z) * _logistic(-z)


def _dot(a: Sequence[Decimal], b: Sequence[Decimal]) -> Decimal:
    return sum((v * w for v, w in zip(a, b, strict=True)), Decimal(0))


def _wide_context() -> Context:
    """Exponents of any size, for a density that no float64 holds."""
    return Context(prec=_DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN)


def _context(y: Array | None = None) -> Context:
    """Digits enough for 1 - F(z) far in a tail, which has about |z|/2.3 zeros before its first digit."""
    digits = _DIGITS
    if y is not None:
        mean, log_scale = np.split(np.abs(y), 3)[1], np.split(y, 3)[2]
        digits += int(np.max((mean + 2) * np.exp(-log_scale) / 2 + np.abs(log_scale)))
    return Context(prec=digits, Emax=MAX_EMAX, Emin=MIN_EMIN)
