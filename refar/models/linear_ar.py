"""The lagged linear autoregressive model AR(R), as one layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from refar import ops
from refar.arguments.arrays import Arrays, as_array, check_real
from refar.building.builder import Builder
from refar.errors import InputError, check_integer
from refar.graph.graph import Graph
from refar.ops import FURTHEST, Positive


def linear_ar(order: Positive, *, std: float = 1.0) -> Graph:
    """X_t = θ_0 + Σ_{i=1..R} θ_i·X_{t-i} + ε_t, ε ~ N(0, std²): one strict convolution with K = R.

    Parameters: ar.weight[0, 0, R-i] = θ_i, ar.bias[0] = θ_0. Source: Heindl 2021, "Lagged autoregressive models".
    """
    g = Builder()
    return g.build(g.conv1d(g.input(channels=1), 1, kernel=order, strict=True, name="ar"), ops.Gaussian(std))


def fit_linear_ar(x: ArrayLike, order: int) -> tuple[Arrays, float]:
    """Least squares on the positions t ≥ R of x_bct (or x_t): the parameters of `linear_ar`, and the std of the residuals.

    Raises InputError if there are fewer such positions than the R + 1 unknowns.
    """
    order = check_integer("order", order, 1, FURTHEST)
    array = as_array("x", x, "a series x_t or x_bct")
    x_bct = check_real("x", array, array.shape).astype(np.float64)
    x_bct = x_bct.reshape(1, 1, -1) if x_bct.ndim == 1 else x_bct
    if x_bct.ndim != 3 or x_bct.shape[1] != 1:
        raise InputError(f"x: expected a series x_t or x_bct with one channel, got shape {x_bct.shape}")
    batch, _, length = x_bct.shape
    if batch * (length - order) < order + 1:
        raise InputError(f"x: expected at least {order + 1} positions t ≥ {order} to fit, got {max(0, batch * (length - order))}")
    lags = [x_bct[:, 0, order - i : length - i].ravel() for i in range(order, 0, -1)]
    design = np.stack([*lags, np.ones_like(lags[0])], axis=1)
    target = x_bct[:, 0, order:].ravel()
    theta, *_ = np.linalg.lstsq(design, target, rcond=None)
    std = float(np.sqrt(np.mean((design @ theta - target) ** 2)))
    return {"ar.weight": theta[:-1].reshape(1, 1, order), "ar.bias": theta[-1:]}, std
