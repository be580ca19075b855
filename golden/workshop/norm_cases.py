"""Golden cases of the operators with learnt numbers for each channel: norms over channels, and slopes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from workshop.draw import Draw, float32
from workshop.making import Draft
from workshop.node_definitions import node_operator

SMALL = 2.0**-17
"""An eps near 1e-5 that every format holds."""


def _norms(name: str, shifted: bool) -> Callable[[], Iterator[Draft]]:
    """Of numbers around 0 and away from it, of equal channels, where eps alone is left, and of a single one."""

    def examples() -> Iterator[Draft]:
        rows = [("3-channels", 2, 3, 7, SMALL, 0.0), ("large-eps", 3, 4, 5, 0.5, 0.0), ("8-channels", 2, 8, 5, SMALL, 12.0)]
        rows += [("one-channel", 3, 1, 4, 0.5, 0.0), ("equal-channels", 2, 4, 3, SMALL, 0.0)]
        for id, b, c, t, eps, mean in rows:
            draw = Draw(f"{name}/{id}")
            x = draw.reals(b, 1 if id == "equal-channels" else c, t, scale=2) + float32(mean)
            arrays = {"x": np.repeat(x, c // x.shape[1], axis=1), "w": draw.reals(c)}
            if shifted and id != "large-eps":
                arrays["b"] = draw.reals(c)
            yield Draft(id, draw.seed, arrays | {"dy": draw.reals(b, c, t)}, {"eps": eps}, False)

    return examples


def _prelus() -> Iterator[Draft]:
    for id, b, c, t in (("3-channels", 2, 3, 7), ("2-channels", 3, 2, 5), ("as-many-as-positions", 2, 4, 4)):
        draw = Draw(f"prelu/{id}")
        arrays = {"x": draw.integers(b, c, t, most=3), "w": draw.integers(c, most=3, zero=False) / float32(4)}
        yield Draft(id, draw.seed, arrays | {"dy": draw.integers(b, c, t)}, {}, True)


NORM_CASES = (
    node_operator(
        "layer_norm(x_bct, w_c, b_c=None, *, eps) -> y_bct",
        "y = w·(x - m)/√(v + eps) + b with m, v the mean of x and of (x - m)² over the channels of a position; Ba et al. 2016",
        _norms("layer_norm", True),
    ),
    node_operator(
        "rms_norm(x_bct, w_c, *, eps) -> y_bct",
        "y = w·x/√(v + eps) with v the mean of x² over the channels of a position; Zhang and Sennrich 2019",
        _norms("rms_norm", False),
    ),
    node_operator(
        "prelu(x_bct, w_c) -> y_bct", "y[b,c,t] = x[b,c,t] if x[b,c,t] > 0 else w[c]·x[b,c,t]; He et al. 2015", _prelus
    ),
)
