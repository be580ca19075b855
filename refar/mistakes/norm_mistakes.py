"""Mistakes of norms over channels and of learnt slopes that no rewrite of the node can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import Attributes
from refar.mistakes.on_arrays import ArrayNode, Mistake, gradient_of, result_of
from refar.oracle.pointwise import by_channel, over_positions

Root = Callable[[Array, float], Array]
"""What d is divided by, of d and eps."""


def _d(x: Array, layer: bool, axes: int | tuple[int, ...] = 1) -> Array:
    return x - x.mean(axes, keepdims=True) if layer else x


def _root(d: Array, eps: float, axes: int | tuple[int, ...] = 1) -> Array:
    return np.asarray(np.sqrt((d * d).mean(axes, keepdims=True) + eps))


def _shifted(z: Array, arrays: Arrays) -> Array:
    y = by_channel(arrays["w"], z) * z
    return y + by_channel(arrays["b"], z) if "b" in arrays else y


def _by(layer: bool, root: Root, axes: int | tuple[int, ...] = 1) -> Mistake:
    """Divided by something else, or with a mean over other axes."""

    def y(arrays: Arrays, a: Attributes) -> Array:
        d = _d(arrays["x"], layer, axes)
        return _shifted(d / root(d, a["eps"]), arrays)

    return result_of(y)


def _norms(layer: bool) -> dict[str, Mistake]:
    def constants(arrays: Arrays, a: Attributes) -> Array:
        return by_channel(arrays["w"], arrays["x"]) * arrays["dy"] / _root(_d(arrays["x"], layer), a["eps"])

    def without_scale(arrays: Arrays, a: Attributes) -> Array:
        d = _d(arrays["x"], layer)
        s = _root(d, a["eps"])
        dx = arrays["dy"] - d / s * (arrays["dy"] * d / s).mean(1, keepdims=True)
        return np.asarray((dx - arrays["dy"].mean(1, keepdims=True) if layer else dx) / s)

    return {
        "over the last axis instead of the channels": _by(layer, lambda d, eps: _root(d, eps, 2), 2),
        "over channels and positions together": _by(layer, lambda d, eps: _root(d, eps, (1, 2)), (1, 2)),
        "eps outside the root": _by(layer, lambda d, eps: _root(d, 0.0) + eps),
        "divided by the mean square": _by(layer, lambda d, eps: _root(d, eps) ** 2),
        "root of the sum instead of the mean": _by(layer, lambda d, eps: np.sqrt((d * d).sum(1, keepdims=True) + eps)),
        "gradient of x: mean and root taken for constants": gradient_of("x", constants),
        "gradient of x: scale of the channels left out": gradient_of("x", without_scale),
        "gradient of w: of x itself": gradient_of("w", lambda arrays, _: over_positions(arrays["dy"] * arrays["x"])),
    }


LAYER_NORMS: Mapping[str, Mistake] = {
    **ArrayNode("layer_norm", ops.Norm).rewrites("mean subtracted from the channels"),
    **_norms(True),
    "variance divided by C - 1": _by(True, lambda d, eps: np.sqrt((d * d).sum(1, keepdims=True) / (d.shape[1] - 1) + eps)),
}

RMS_NORMS: Mapping[str, Mistake] = {
    **ArrayNode("rms_norm", ops.Norm).rewrites("mean not subtracted from the channels", "bias dropped"),
    **_norms(False),
}


def _slope(of: Callable[[Arrays], Array]) -> Mistake:
    return gradient_of("w", lambda arrays, _: over_positions(arrays["dy"] * of(arrays)))


def _along_positions(arrays: Arrays, _: Attributes) -> Array:
    x, w = arrays["x"], arrays["w"]
    return np.where(x > 0, x, x * np.resize(w, x.shape[2]))


PRELUS: Mapping[str, Mistake] = {
    **ArrayNode("prelu", ops.PRelu).rewrites(),
    "slope on the positive side": result_of(
        lambda arrays, _: np.where(arrays["x"] < 0, arrays["x"], by_channel(arrays["w"], arrays["x"]) * arrays["x"])
    ),
    "slopes along the last axis": result_of(_along_positions),
    "slope alone where x ≤ 0": result_of(
        lambda arrays, _: np.where(arrays["x"] > 0, arrays["x"], by_channel(arrays["w"], arrays["x"]))
    ),
    "gradient of x: as that of relu": gradient_of("x", lambda arrays, _: np.where(arrays["x"] > 0, arrays["dy"], 0)),
    "gradient of w: of all x": _slope(lambda arrays: arrays["x"]),
    "gradient of w: of |x|": _slope(lambda arrays: np.maximum(-arrays["x"], 0)),
}
