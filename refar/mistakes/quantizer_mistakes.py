"""Wrong quantisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar.arguments.arrays import Array
from refar.mistakes.on_arrays import Mistake


def _encoded(number: Callable[[Array, int], Array]) -> Mistake:
    """Of a number for each class, floored."""
    return lambda arrays, a: {"q": np.floor(number(arrays["x"], a["classes"])).astype(np.int64)}


def _decoded(centre: Callable[[Array, int], Array]) -> Mistake:
    return lambda arrays, a: {"x": centre(arrays["q"], a["classes"])}


def _f(x: Array, mu: float, base: float | None = None) -> Array:
    return np.sign(x) * np.log1p(mu * np.abs(x)) / np.log(1 + mu if base is None else base)


def _inverse(f: Array, mu: float) -> Array:
    return np.sign(f) * np.expm1(np.abs(f) * np.log1p(mu)) / mu


MU_LAW_ENCODERS: Mapping[str, Mistake] = {
    "μ = Q (256 for 255)": _encoded(lambda x, n: (_f(x, n) + 1) / 2 * (n - 1) + 0.5),
    "μ = Q, and Q steps: +1 is class Q": _encoded(lambda x, n: (_f(x, n) + 1) / 2 * n + 0.5),
    "Q steps: +1 is class Q": _encoded(lambda x, n: (_f(x, n - 1) + 1) / 2 * n),
    "rounded down instead of to the nearest": _encoded(lambda x, n: (_f(x, n - 1) + 1) / 2 * (n - 1)),
    "halves rounded to the nearest even class": lambda arrays, a: {
        "q": np.rint((_f(arrays["x"], a["classes"] - 1) + 1) / 2 * (a["classes"] - 1)).astype(np.int64)
    },
    "Q classes of equal width in f": _encoded(lambda x, n: np.minimum((_f(x, n - 1) + 1) / 2 * n, n - 1)),
    "divided by log μ": _encoded(lambda x, n: (_f(x, n - 1, n - 1) + 1) / 2 * (n - 1) + 0.5),
    "not companded": _encoded(lambda x, n: (x + 1) / 2 * (n - 1) + 0.5),
    "sign lost": _encoded(lambda x, n: (np.abs(_f(x, n - 1)) + 1) / 2 * (n - 1) + 0.5),
    "256 classes whatever Q": _encoded(lambda x, n: (_f(x, 255) + 1) / 2 * 255 + 0.5),
    "between 0 and 1 alone": _encoded(lambda x, n: _f(x, n - 1) * (n - 1) + 0.5),
}

MU_LAW_DECODERS: Mapping[str, Mistake] = {
    "μ = Q (256 for 255)": _decoded(lambda q, n: _inverse(2 * q / (n - 1) - 1, n)),
    "Q steps": _decoded(lambda q, n: _inverse(2 * q / n - 1, n - 1)),
    "256 classes whatever Q": _decoded(lambda q, n: _inverse(2 * q / 255 - 1, 255)),
    "μ = Q, and Q steps": _decoded(lambda q, n: _inverse(2 * q / n - 1, n)),
    "centres of Q classes of equal width in f": _decoded(lambda q, n: _inverse((2 * q + 1) / n - 1, n - 1)),
    "lower edges instead of centres": _decoded(lambda q, n: _inverse(np.maximum((2 * q - 1) / (n - 1) - 1, -1), n - 1)),
    "not expanded": _decoded(lambda q, n: 2 * q / (n - 1) - 1),
    "-1 forgotten after the power": _decoded(lambda q, n: np.sign(2 * q - n + 1) * n ** np.abs(2 * q / (n - 1) - 1) / (n - 1)),
}

LINEAR_ENCODERS: Mapping[str, Mistake] = {
    "+1 is class Q": _encoded(lambda x, n: (x + 1) * n / 2),
    "nearest of Q levels from -1 to +1": _encoded(lambda x, n: (x + 1) / 2 * (n - 1) + 0.5),
    "rounded down to Q levels from -1 to +1": _encoded(lambda x, n: (x + 1) / 2 * (n - 1)),
    "halves rounded to the nearest even class": lambda arrays, a: {
        "q": np.rint((arrays["x"] + 1) * a["classes"] / 2 - 0.5).clip(0, a["classes"] - 1).astype(np.int64)
    },
    "rounded to the nearest edge": _encoded(lambda x, n: np.minimum((x + 1) * n / 2 + 0.5, n - 1)),
    "cut towards 0": _encoded(lambda x, n: np.minimum(np.trunc(x * n / 2) + n // 2, n - 1)),
    "an edge belongs to the class below": _encoded(lambda x, n: np.maximum(np.ceil((x + 1) * n / 2) - 1, 0)),
    "0 to 1 instead of -1 to 1": _encoded(lambda x, n: np.clip(x * n, 0, n - 1)),
}

LINEAR_DECODERS: Mapping[str, Mistake] = {
    "lower edges instead of centres": _decoded(lambda q, n: 2 * q / n - 1),
    "upper edges instead of centres": _decoded(lambda q, n: 2 * (q + 1) / n - 1),
    "Q levels from -1 to +1": _decoded(lambda q, n: 2 * q / (n - 1) - 1),
    "0 to 1 instead of -1 to 1": _decoded(lambda q, n: (2 * q + 1) / (2 * n)),
}
