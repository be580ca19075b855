"""Ten small mistakes, and who sees them: the tolerances that others compare with by default, and `check_function`.

    python tests/bench/tolerances.py [docs/mistakes.md]

A tolerance sees a mistake if the wrong function and the right one differ by more on one of five draws of normal numbers in
float32, as tests have them. With the page the table is written between its markers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pages import publish

from refar.testing import ContractError, check_function

Array = Any
Function = Callable[..., Array]
TOLERANCES = {
    "array-api-tests: rel 0.25, abs 1": (0.25, 1.0),
    "onnx's backend tests: 10⁻³, 10⁻⁷": (1e-3, 1e-7),
    "sequence-layers: 10⁻⁵, 10⁻⁵": (1e-5, 1e-5),
    "torch.testing: 1.3·10⁻⁶, 10⁻⁵": (1.3e-6, 1e-5),
}
"""What `allclose` is called with by default: relative and absolute, for float32."""
KERNEL = 3


def bits(a: Array, count: int) -> Array:
    """Round to so many significant bits."""
    mantissa, exponent = np.frexp(a)
    return np.ldexp(np.rint(np.ldexp(mantissa, count)), exponent - count).astype(a.dtype)


def conv(x: Array, w: Array, b: Array | None = None, *, dilation: int = 1) -> Array:
    """Causal, with zeros before the sequence."""
    p = np.pad(x, ((0, 0), (0, 0), ((w.shape[2] - 1) * dilation, 0)))
    taps = [np.matmul(w[:, :, k], p[:, :, k * dilation : k * dilation + x.shape[2]]) for k in range(w.shape[2])]
    y = np.sum(taps, axis=0, dtype=x.dtype) if x.shape[2] else np.zeros((len(x), len(w), 0), x.dtype)
    return y if b is None else y + b[:, None]


def conv_of(change: Callable[[Array, Array], tuple[Array, Array]], added: float = 0.0) -> Function:
    """The convolution of what is made of x and w."""

    def wrong(x: Array, w: Array, b: Array | None = None, *, dilation: int = 1) -> Array:
        return (conv(*change(x, w), b, dilation=dilation) + x.dtype.type(added)).astype(x.dtype)

    return wrong


def softmax(x: Array, added: float = 0.0) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return (e / (e.sum(axis=1, keepdims=True) + x.dtype.type(added))).astype(x.dtype)


def log_softmax(y: Array) -> Array:
    shifted = y - y.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def unshifted(y: Array) -> Array:
    with np.errstate(all="ignore"):
        return (y - np.log(np.exp(y).sum(axis=1, keepdims=True))).astype(y.dtype)


def cross_entropy(y: Array, x: Array) -> Array:
    return -np.take_along_axis(log_softmax(y), x[:, None], axis=1)[:, 0]


def with_epsilon(y: Array, x: Array) -> Array:
    with np.errstate(all="ignore"):
        return -np.log(np.take_along_axis(softmax(y), x[:, None], axis=1)[:, 0] + y.dtype.type(1e-7))


def average(x: Array, *, kind: str, kernel: int, dilation: int = 1, pad: str = "zero", more: float = 0.0) -> Array:
    p = np.pad(x, ((0, 0), (0, 0), ((kernel - 1) * dilation, 0)))
    total = np.sum([p[..., k * dilation : k * dilation + x.shape[-1]] for k in range(kernel)], axis=0, dtype=x.dtype)
    return (total / x.dtype.type(kernel + more)).astype(x.dtype)


def rational_tanh(x: Array) -> Array:
    """The quotient of two polynomials that is near tanh, cut off at ±1."""
    s = x * x
    y = x * (135135 + s * (17325 + s * (378 + s))) / (135135 + s * (62370 + s * (3150 + 28 * s)))
    return np.clip(y, -1, 1).astype(x.dtype)


def half_sigmoid(x: Array) -> Array:
    with np.errstate(all="ignore"):
        return (1 / (1 + np.exp(-x.astype(np.float16)))).astype(x.dtype)


def activation(f: Function) -> Function:
    """The function as the operator "activation" is called."""
    return lambda x, *, kind, slope=0.01: f(x)


def sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-x))).astype(x.dtype)


def _conv(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.normal(size=(2, 8, 50)), rng.normal(size=(8, 8, KERNEL)) / 5, rng.normal(size=8)


def _one(rng: np.random.Generator) -> tuple[Array, ...]:
    return (rng.normal(size=(2, 8, 50)),)


def _loss(rng: np.random.Generator) -> tuple[Array, ...]:
    return rng.normal(size=(2, 8, 50)), rng.integers(0, 8, (2, 50))


PLAIN = {"strict": False, "groups": 1}
POOL = {"kind": "avg", "pad": "zero"}
MISTAKES: dict[str, tuple[Function, Function, Callable[..., Any], str, dict[str, Any], dict[str, Any]]] = {
    # wrong, right, draw, operator, the cases that are meant, arguments of a draw
    "convolution: weights rounded to bfloat16":
        (conv_of(lambda x, w: (x, bits(w, 8))), conv, _conv, "causal_conv1d", PLAIN, {}),
    "convolution: both rounded to 11 bits, as TF32 does":
        (conv_of(lambda x, w: (bits(x, 11), bits(w, 11))), conv, _conv, "causal_conv1d", PLAIN, {}),
    "convolution: 10⁻⁵ added to the output":
        (conv_of(lambda x, w: (x, w), 1e-5), conv, _conv, "causal_conv1d", PLAIN, {}),
    "tanh: a rational approximation":
        (activation(rational_tanh), activation(np.tanh), _one, "activation", {"kind": "tanh"}, {"kind": "tanh"}),
    "sigmoid: computed in float16":
        (activation(half_sigmoid), activation(sigmoid), _one, "activation", {"kind": "sigmoid"}, {"kind": "sigmoid"}),
    "softmax: 10⁻⁶ added to the denominator": (lambda x: softmax(x, 1e-6), softmax, _one, "softmax", {}, {}),
    "log-softmax: the largest logit is not subtracted": (unshifted, log_softmax, _one, "log_softmax", {}, {}),
    "cross-entropy: 10⁻⁷ added inside the logarithm": (with_epsilon, cross_entropy, _loss, "cross_entropy", {}, {}),
    "average: divided by K + 10⁻⁶":
        (lambda x, **o: average(x, **o, more=1e-6), average, _one, "causal_pool1d", POOL, {"kind": "avg", "kernel": KERNEL}),
    "average: divided by K + 10⁻⁴":
        (lambda x, **o: average(x, **o, more=1e-4), average, _one, "causal_pool1d", POOL, {"kind": "avg", "kernel": KERNEL}),
}  # fmt: skip


def seen_by_tolerance(name: str, relative: float, absolute: float) -> bool:
    """Whether the wrong function is told from the right one on five draws."""
    wrong, right, draw, _, _, options = MISTAKES[name]
    for seed in range(5):
        given = [a if a.dtype.kind == "i" else a.astype(np.float32) for a in draw(np.random.default_rng(seed))]
        if not np.allclose(wrong(*given, **options), right(*given, **options), rtol=relative, atol=absolute):
            return True
    return False


def seen_by_refar(name: str) -> bool:
    """Whether check_function refuses the wrong function. The right one has to pass."""
    wrong, right, _, operator, only, _ = MISTAKES[name]
    check_function(right, operator, only=only or None)
    try:
        check_function(wrong, operator, only=only or None)
    except ContractError:
        return True
    return False


def table() -> str:
    """A line for each mistake, and how many each sees."""
    lines = [f"| mistake | {' | '.join(TOLERANCES)} | check_function |", "|---" * (len(TOLERANCES) + 2) + "|"]
    total = [0] * (len(TOLERANCES) + 1)
    for name in MISTAKES:
        seen = [*(seen_by_tolerance(name, *tolerance) for tolerance in TOLERANCES.values()), seen_by_refar(name)]
        total = [a + b for a, b in zip(total, seen, strict=True)]
        lines.append(f"| {name} | {' | '.join('seen' if each else '-' for each in seen)} |")
    lines.append(f"| all | {' | '.join(f'{each} of {len(MISTAKES)}' for each in total)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    publish("tolerances", table())
