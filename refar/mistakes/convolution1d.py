"""Wrong causal convolutions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.mistakes.mistake import Attributes, Mistake
from refar.mistakes.windows import correlate, gradient_of, result_of, window


def _right(a: Attributes, kernel: int) -> list[int]:
    return [a["strict"] + (kernel - 1 - k) * a["dilation"] for k in range(kernel)]


def _at(offsets: Callable[[Attributes, int], Sequence[int]], edge: str = "zero") -> Mistake:
    """With other offsets, or other values beyond the start."""

    def y(arrays: Arrays, a: Attributes) -> Array:
        w = arrays["w"]
        return correlate([window(arrays["x"], o, edge) for o in offsets(a, w.shape[2])], w, arrays.get("b"), a["groups"])

    return result_of(y)


def _with(change: Callable[[Arrays, Attributes], Arrays]) -> Mistake:
    """With other arrays."""
    right = _at(_right)
    return lambda arrays, a: right(arrays | change(arrays, a), a)


def _valid(x: Array, w: Array, b: Array | None, dilation: int, groups: int, stride: int = 1) -> Array:
    """No padding: as long as the kernel fits."""
    length = max(0, x.shape[-1] - (w.shape[2] - 1) * dilation)
    windows = [x[..., k * dilation : k * dilation + length : stride] for k in range(w.shape[2])]
    return correlate(windows, w, b, groups)


def _padded(left: Callable[[int, int], int], keep: Callable[[Array, int], Array] = lambda y, _: y) -> Mistake:
    """Zeros on the left, `left(K, D)` of them, then no more padding. `keep` cuts y to T."""

    def y(arrays: Arrays, a: Attributes) -> Array:
        x, w = arrays["x"], arrays["w"]
        padded = np.pad(x, ((0, 0), (0, 0), (left(w.shape[2], a["dilation"]) + a["strict"], 0)))
        found = _valid(padded[..., : padded.shape[2] - a["strict"]], w, arrays.get("b"), a["dilation"], a["groups"])
        return keep(found, x.shape[2])

    return result_of(y)


def _chomped(arrays: Arrays, a: Attributes) -> Array:
    """Padded on both sides, cut on the right by `[..., :-pad]`: empty where pad is 0."""
    pad = (arrays["w"].shape[2] - 1) * a["dilation"] + a["strict"]
    right = _at(_right)(arrays, a)["y"]
    return right if pad else right[..., :0]


def _undilated_same(arrays: Arrays, a: Attributes) -> Array:
    """(K-1)/2 zeros on both sides, as if the kernel were not dilated."""
    x, w = arrays["x"], arrays["w"]
    pad = w.shape[2] - 1
    padded = np.pad(x, ((0, 0), (0, 0), (pad // 2 + a["strict"], pad - pad // 2)))
    return _valid(padded[..., : padded.shape[2] - a["strict"]], w, arrays.get("b"), a["dilation"], a["groups"])


def _phases(arrays: Arrays, a: Attributes) -> Array:
    """Time to batch by a reshape alone: the D phases of the signal are taken for D stretches of it."""
    x, w, d = arrays["x"], arrays["w"], a["dilation"]
    batch, channels, length = x.shape
    x = np.pad(x, ((0, 0), (0, 0), (-length % d, 0))).reshape(batch, channels, d, -1)
    offsets = [w.shape[2] - 1 - k for k in range(w.shape[2])]
    y = correlate([window(x, o) for o in offsets], w, arrays.get("b"), a["groups"])
    return window(y.reshape(batch, len(w), -1)[..., -length % d :], a["strict"])


def _interleaved(arrays: Arrays, a: Attributes) -> Arrays:
    """Input channel c in group c mod G."""
    x, groups = arrays["x"], a["groups"]
    return {"x": x.reshape(len(x), -1, groups, x.shape[2]).swapaxes(1, 2).reshape(x.shape)}


def _strided(arrays: Arrays, a: Attributes) -> Array:
    w, pad = arrays["w"], arrays["w"].shape[2] - 1 + a["strict"]
    x = np.pad(arrays["x"], ((0, 0), (0, 0), (pad, 0)))
    return _valid(x[..., : x.shape[2] - a["strict"]], w, arrays.get("b"), 1, a["groups"], a["dilation"])


def _dx(offsets: Callable[[Attributes, int], Sequence[int]], sign: int = -1) -> Mistake:
    """dx[b,i,s] = Σ_{o,k} w[o,i,k] · dy[b,o,s + offset_k], with other offsets or to the other side."""

    def dx(arrays: Arrays, a: Attributes) -> Array:
        w, dy, groups = arrays["w"], arrays["dy"], a["groups"]
        out = len(w) // groups
        parts = []
        for g in range(groups):
            rows = slice(g * out, (g + 1) * out)
            windows = [window(dy[:, rows], sign * o) for o in offsets(a, w.shape[2])]
            parts.append(correlate(windows, w[rows].swapaxes(0, 1), None))
        return np.concatenate(parts, axis=1)

    return gradient_of("x", dx)


def _dw(arrays: Arrays, a: Attributes) -> Array:
    x, w, dy, groups = arrays["x"], arrays["w"], arrays["dy"], a["groups"]
    out, size = len(w) // groups, w.shape[1]
    found = np.zeros(w.shape)
    for g in range(groups):
        rows, columns = slice(g * out, (g + 1) * out), slice(g * size, (g + 1) * size)
        for k, offset in enumerate(_right(a, w.shape[2])):
            found[rows, :, k] = np.einsum("bot,bit->oi", dy[:, rows], window(x, offset)[:, columns])
    return found


def _remainder(arrays: Arrays, a: Attributes) -> Array:
    """The gradient of whole groups of D positions: what is left over at the end gets none."""
    length, d = arrays["x"].shape[2], a["dilation"]
    dx = _dx(_right)(arrays, a)["gradient.x"]
    return np.where(np.arange(length) < length - length % d, dx, 0)


def _undilated(a: Attributes, kernel: int) -> list[int]:
    return [a["strict"] + kernel - 1 - k for k in range(kernel)]


MISTAKES: Mapping[str, Mistake] = {
    "kernel flipped": _with(lambda arrays, _: {"w": arrays["w"][:, :, ::-1]}),
    "dilation ignored": _at(_undilated),
    "dilation passed as stride": result_of(_strided),
    "padded by K-1, dilation forgotten": _padded(lambda k, d: k - 1),
    "padded by D·K": _padded(lambda k, d: k * d),
    "padded by D·K and cut to T": _padded(lambda k, d: k * d, lambda y, length: y[..., :length]),
    "not padded": _padded(lambda k, d: 0),
    "padded on both sides (same)": _at(lambda a, k: [o - (k - 1) * a["dilation"] // 2 for o in _right(a, k)]),
    "padded on both sides (same), the odd one on the right": _at(
        lambda a, k: [o - ((k - 1) * a["dilation"] + 1) // 2 for o in _right(a, k)]
    ),
    "padded on both sides, dilation forgotten": result_of(_undilated_same),
    "padded on the right (anticausal)": _at(lambda a, k: [o - (k - 1) * a["dilation"] for o in _right(a, k)]),
    "time reversed (offsets of the wrong sign)": _at(lambda a, k: [-o for o in _right(a, k)]),
    "padded with the first value": _at(_right, "nearest"),
    "wraps around": _at(_right, "wrap"),
    "shifted by one into the past": _at(lambda a, k: [o + 1 for o in _right(a, k)]),
    "sees one sample too many: the next one, or if strict the present": _at(lambda a, k: [o - 1 for o in _right(a, k)]),
    "strict ignored: sees the present": _at(lambda a, k: [o - a["strict"] for o in _right(a, k)]),
    "strict by shifting the output: no bias at the first position": result_of(
        lambda arrays, a: window(_at(_right)(arrays, {**a, "strict": False})["y"], int(a["strict"]))
    ),
    "strict hides two samples": _at(lambda a, k: [o + a["strict"] for o in _right(a, k)]),
    "strict shifts by the dilation": _at(lambda a, k: [o + a["strict"] * (a["dilation"] - 1) for o in _right(a, k)]),
    "cut by [..., :-0]": result_of(_chomped),
    "time to batch without the transpose": result_of(_phases),
    "bias dropped": _with(lambda arrays, _: {"b": 0 * arrays["b"]} if "b" in arrays else {}),
    "bias added at every tap": _with(lambda arrays, _: {"b": arrays["b"] * arrays["w"].shape[2]} if "b" in arrays else {}),
    "channels of the groups interleaved": _with(_interleaved),
    "gradient of x: dilation ignored": _dx(_undilated),
    "gradient of x: kernel flipped": _dx(lambda a, k: _right(a, k)[::-1]),
    "gradient of x: to the wrong side": _dx(_right, 1),
    "gradient of x: remainder of T mod D left out": gradient_of("x", _remainder),
    "gradient of w: kernel flipped": gradient_of("w", lambda arrays, a: _dw(arrays, a)[:, :, ::-1]),
    "gradient of w: averaged over the batch": gradient_of("w", lambda arrays, a: _dw(arrays, a) / len(arrays["x"])),
    "gradient of b: averaged over the batch": gradient_of("b", lambda arrays, _: arrays["dy"].sum(2).mean(0)),
}
