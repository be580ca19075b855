"""Unit roundoffs, what sums of rounded numbers may be off by, and what libraries keep to.

tanh, σ, erf and sin are taken to be within TANH·u, SIGMOID·u, ERF·u and SIN·u, *absolute*, sin(x) within SIN·u·|x| too; exp and
log within EXP·u and LOG·u, relative. These are no theorems but what libraries keep to: onnxruntime was measured at 4.5 u and
2.8 u for tanh and σ, and its σ returns 0 at -20, so no relative bound holds.
"""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array

TANH, SIGMOID, EXP, LOG, ERF, SIN = 8, 8, 4, 4, 8, 4

FLOAT64, FLOAT32, TF32, FLOAT16, BFLOAT16 = 2.0**-53, 2.0**-24, 2.0**-11, 2.0**-11, 2.0**-8
"""Unit roundoffs: half the distance from 1 to the next number. The last three are for `bound.forward(reduced=…)` alone."""

SUBNORMAL = 2.0**-25
"""What rounding to float16 may do to a number too small for its unit roundoff; of the other formats it is far less."""


def gamma(m: Array | int, unit: float) -> Array:
    """γ_m = m·u / (1 - m·u); infinite from m·u = 1 on, where nothing can be said."""
    product = np.asarray(m, np.float64) * unit
    return np.where(product < 1, product / np.where(product < 1, 1 - product, 1), np.inf)


def tiny(unit: float) -> float:
    """The smallest normal number of the format, below which a result may be flushed to 0."""
    return 2.0**-1022 if unit <= FLOAT64 else 2.0**-126


def largest(unit: float) -> float:
    """The largest number of the format, beyond which a result is infinite."""
    return float(np.finfo(np.float64 if unit <= FLOAT64 else np.float32).max)
