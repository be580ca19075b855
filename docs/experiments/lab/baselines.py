"""Forecasts that a network has to beat: a linear autoregression by least squares, and what was a season ago."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LinearAR:
    """x_t = intercept + Σ_i lags[i]·x_{t-1-i} + ε_t, where ε_t is Gaussian with `variance`."""

    intercept: float
    lags: Array
    variance: float

    def forecast(self, past: Array, n: int) -> tuple[Array, Array]:
        """Return mean and standard deviation of each of the next n values, whatever comes between."""
        known = list(past[-len(self.lags) :])
        for _ in range(n):
            known.append(self.intercept + float(self.lags @ np.array(known[: -len(self.lags) - 1 : -1])))
        weights = [1.0]  # of the noise of each step in the value that many steps later
        for step in range(1, n):
            weights.append(float(self.lags[:step] @ np.array(weights[::-1])[: len(self.lags)]))
        return np.array(known[-n:]), np.sqrt(self.variance * np.cumsum(np.square(weights)))


def fit(x: Array, order: int) -> LinearAR:
    """Fit the lags of a series x_t by least squares; the variance is that of what is left, by its degrees of freedom."""
    rows = np.stack([x[order - 1 - i : len(x) - 1 - i] for i in range(order)], axis=1)
    design = np.column_stack([np.ones(len(rows)), rows])
    found, *_ = np.linalg.lstsq(design, x[order:], rcond=None)
    left = x[order:] - design @ found
    return LinearAR(float(found[0]), found[1:], float(left @ left / (len(left) - order - 1)))


def best_order(x: Array, start: int, most: int) -> int:
    """Choose the order whose fit to x_t before `start` predicts the values from there on best, one step ahead."""

    def error(order: int) -> float:
        model = fit(x[:start], order)
        return float(np.mean([(model.forecast(x[:t], 1)[0][0] - x[t]) ** 2 for t in range(start, len(x))]))

    return min(range(1, most + 1), key=error)


def seasonal(x: Array, period: int, n: int) -> Array:
    """Return the values a period ago for each of the next n, the last period again and again."""
    return np.array([x[len(x) - period + i % period] for i in range(n)])
