"""Mistakes of the functions of an element that have golden cases of their own, by the name of the function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import FUNCTIONS, Attributes
from refar.mistakes.on_arrays import ArrayNode, Mistake, gradient_of, result_of
from refar.oracle.elementwise import activation, sigmoid

Formula = Callable[[Array, Attributes], Array]

_OTHERS = {
    "activation left out", "relu for another activation", "leaky_relu for another activation", "tanh for another activation",
    "sigmoid for another activation",
}  # fmt: skip
"""The rewrites that every function can have."""


def _value(f: Formula) -> Mistake:
    return result_of(lambda arrays, a: np.asarray(f(arrays["x"], a)))


def _slope(f: Formula) -> Mistake:
    return gradient_of("x", lambda arrays, a: np.asarray(arrays["dy"] * f(arrays["x"], a)))


def _of(name: ops.FunctionName, mistakes: Mapping[str, Mistake], *rewrites: str) -> dict[str, Mistake]:
    known = {*_OTHERS, *rewrites}
    found = ArrayNode(name, ops.Activation).rewrites().items()
    return {**{each: mistake for each, mistake in found if each in known}, **mistakes}


def _slope_of_the_value(name: ops.FunctionName) -> dict[str, Mistake]:
    node = ArrayNode(name, ops.Activation)

    def of_the_value(arrays: Arrays, a: Attributes) -> Array:
        return node.right({**arrays, "x": node.right(arrays, a)["y"]}, a)["gradient.x"]

    return {"gradient of x: of the value instead of the argument": gradient_of("x", of_the_value)}


def _erf(x: Array) -> Array:
    return np.array([math.erf(v) for v in x.flat]).reshape(x.shape)


def _softplus(x: Array) -> Array:
    return activation(ops.Activation("softplus"), x)


def _tanh_form(x: Array, inner: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(inner)))


_HALF_ROOT, _ALPHA, _SCALE = math.sqrt(2 / math.pi), ops.SELU_ALPHA, ops.SELU_SCALE

FUNCTION_MISTAKES: dict[str, Mapping[str, Mistake]] = {
    "elu": _of(
        "elu",
        {
            **_slope_of_the_value("elu"),
            "1 not subtracted": _value(lambda x, a: np.where(x > 0, x, a["alpha"] * np.exp(x))),
            "straight below 0 (leaky relu)": _value(lambda x, a: np.where(x > 0, x, a["alpha"] * x)),
            "alpha in the exponent (celu)": _value(lambda x, a: np.where(x > 0, x, a["alpha"] * np.expm1(x / a["alpha"]))),
            "gradient of x: alpha left out": _slope(lambda x, a: np.where(x > 0, 1, np.exp(x))),
            "gradient of x: 1 subtracted": _slope(lambda x, a: np.where(x > 0, 1, a["alpha"] * np.expm1(x))),
        },
        "alpha ignored (1)",
    ),
    "selu": _of(
        "selu",
        {
            **_slope_of_the_value("selu"),
            "elu": _value(lambda x, _: np.where(x > 0, x, np.expm1(x))),
            "scale left out": _value(lambda x, _: np.where(x > 0, x, _ALPHA * np.expm1(x))),
            "scale above 0 alone": _value(lambda x, _: np.where(x > 0, _SCALE * x, _ALPHA * np.expm1(x))),
            "alpha and scale swapped": _value(lambda x, _: _ALPHA * np.where(x > 0, x, _SCALE * np.expm1(x))),
            "gradient of x: scale left out": _slope(lambda x, _: np.where(x > 0, 1, _ALPHA * np.exp(x))),
        },
    ),
    "gelu": _of(
        "gelu",
        {
            **_slope_of_the_value("gelu"),
            "sigmoid for the distribution of a normal": _value(lambda x, _: x * sigmoid(1.702 * x)),
            "not divided by √2": _value(lambda x, _: 0.5 * x * (1 + _erf(x))),
            "distribution alone": _value(lambda x, _: 0.5 * (1 + _erf(x / math.sqrt(2)))),
            "gradient of x: density left out": _slope(lambda x, _: 0.5 * (1 + _erf(x / math.sqrt(2)))),
        },
        "gelu by a tanh where erf is meant",
    ),
    "gelu_tanh": _of(
        "gelu_tanh",
        {
            **_slope_of_the_value("gelu_tanh"),
            "sigmoid for the distribution of a normal": _value(lambda x, _: x * sigmoid(1.702 * x)),
            "cube left out": _value(lambda x, _: _tanh_form(x, _HALF_ROOT * x)),
            "√(2/π) left out": _value(lambda x, _: _tanh_form(x, x + 0.044715 * x**3)),
            "square for the cube": _value(lambda x, _: _tanh_form(x, _HALF_ROOT * (x + 0.044715 * x**2))),
            "not halved": _value(lambda x, _: 2 * _tanh_form(x, _HALF_ROOT * (x + 0.044715 * x**3))),
            "gradient of x: derivative of tanh left out": _slope(
                lambda x, _: 0.5 * (1 + np.tanh(_HALF_ROOT * (x + 0.044715 * x**3)))
            ),
        },
        "gelu by erf where a tanh is meant",
    ),
    "silu": _of(
        "silu",
        {
            **_slope_of_the_value("silu"),
            "1.702 in the sigmoid": _value(lambda x, _: x * sigmoid(1.702 * x)),
            "hard sigmoid for the sigmoid": _value(lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1)),
            "tanh for the sigmoid": _value(lambda x, _: x * np.tanh(x)),
            "gradient of x: sigmoid alone": _slope(lambda x, _: sigmoid(x)),
            "gradient of x: 1 - y for 1 - σ(x)": _slope(lambda x, _: sigmoid(x) * (1 + x * (1 - x * sigmoid(x)))),
        },
    ),
    "softplus": _of(
        "softplus",
        {
            **_slope_of_the_value("softplus"),
            "x itself above 5": _value(lambda x, _: np.where(x > 5, x, _softplus(x))),
            "exponential overflows": _value(lambda x, _: np.log(1 + np.exp(x))),
            "1 left out": _value(lambda x, _: np.log(np.exp(x) + 1e-12)),
            "logarithm to base 2": _value(lambda x, _: _softplus(x) / math.log(2)),
            "sign of x turned round": _value(lambda x, _: _softplus(-x)),
            "gradient of x: tanh for the sigmoid": _slope(lambda x, _: np.tanh(x)),
        },
    ),
    "softsign": _of(
        "softsign",
        {
            **_slope_of_the_value("softsign"),
            "x for |x| below": _value(lambda x, _: x / (1 + x)),
            "root of 1 + x² below": _value(lambda x, _: x / np.sqrt(1 + x * x)),
            "1 + x² below": _value(lambda x, _: x / (1 + x * x)),
            "gradient of x: not squared": _slope(lambda x, _: 1 / (1 + np.abs(x))),
        },
    ),
    "clip": _of(
        "clip",
        {
            "lower end left out": _value(lambda x, a: np.minimum(x, a["high"])),
            "upper end left out": _value(lambda x, a: np.maximum(x, a["low"])),
            "upper end on both sides": _value(lambda x, a: np.clip(x, -a["high"], a["high"])),
            "0 beyond the ends": _value(lambda x, a: np.where((x > a["low"]) & (x < a["high"]), x, 0)),
            "gradient of x: 1 beyond the ends": gradient_of("x", lambda arrays, _: arrays["dy"]),
            "gradient of x: 0 beyond the upper end alone": _slope(lambda x, a: (x < a["high"]).astype(float)),
        },
        "ends of the clip ignored (-1 and 1)",
    ),
    "hard_sigmoid": _of(
        "hard_sigmoid",
        {
            "slope of 0.2 (as in ONNX and Keras 2)": _value(lambda x, _: np.clip(0.2 * x + 0.5, 0, 1)),
            "not divided by 6": _value(lambda x, _: np.clip(x + 3, 0, 6)),
            "½ left out": _value(lambda x, _: np.clip(x / 6, 0, 1)),
            "not cut off": _value(lambda x, _: x / 6 + 0.5),
            "gradient of x: not divided by 6": _slope(lambda x, _: (np.abs(x) < 3).astype(float)),
            "gradient of x: not cut off": _slope(lambda x, _: np.full(x.shape, 1 / 6)),
        },
    ),
    "hard_swish": _of(
        "hard_swish",
        {
            **_slope_of_the_value("hard_swish"),
            "slope of 0.2 (as in ONNX and Keras 2)": _value(lambda x, _: x * np.clip(0.2 * x + 0.5, 0, 1)),
            "not divided by 6": _value(lambda x, _: x * np.clip(x + 3, 0, 6)),
            "hard sigmoid alone": _value(lambda x, _: np.clip(x / 6 + 0.5, 0, 1)),
            "cut off below alone": _value(lambda x, _: x * np.maximum(x / 6 + 0.5, 0)),
            "silu": _value(lambda x, _: x * sigmoid(x)),
            "gradient of x: hard sigmoid alone": _slope(lambda x, _: np.clip(x / 6 + 0.5, 0, 1)),
        },
    ),
    "mish": _of(
        "mish",
        {
            **_slope_of_the_value("mish"),
            "sigmoid for tanh of softplus (silu)": _value(lambda x, _: x * sigmoid(x)),
            "softplus without tanh": _value(lambda x, _: x * _softplus(x)),
            "tanh without softplus": _value(lambda x, _: x * np.tanh(x)),
            "not multiplied by x": _value(lambda x, _: np.tanh(_softplus(x))),
            "exponential overflows": _value(lambda x, _: x * np.tanh(np.exp(x) / np.exp(x) * np.log(1 + np.exp(x)))),
            "gradient of x: tanh of softplus alone": _slope(lambda x, _: np.tanh(_softplus(x))),
        },
    ),
    "sin": _of(
        "sin",
        {
            **_slope_of_the_value("sin"),
            "cosine": _value(lambda x, _: np.cos(x)),
            "degrees": _value(lambda x, _: np.sin(np.radians(x))),
            "sin(π·x)": _value(lambda x, _: np.sin(math.pi * x)),
            "gradient of x: sign turned round": _slope(lambda x, _: -np.cos(x)),
        },
    ),
    "snake": _of(
        "snake",
        {
            **_slope_of_the_value("snake"),
            "sine not squared": _value(lambda x, a: x + np.sin(a["alpha"] * x) / a["alpha"]),
            "not divided by alpha": _value(lambda x, a: x + np.sin(a["alpha"] * x) ** 2),
            "multiplied by alpha": _value(lambda x, a: x + a["alpha"] * np.sin(a["alpha"] * x) ** 2),
            "x left out": _value(lambda x, a: np.sin(a["alpha"] * x) ** 2 / a["alpha"]),
            "alpha not in the sine": _value(lambda x, a: x + np.sin(x) ** 2 / a["alpha"]),
            "gradient of x: not twice the angle": _slope(lambda x, a: 1 + np.sin(a["alpha"] * x)),
        },
        "alpha ignored (1)",
    ),
}
"""Each function has them all; those of the others are rewrites of its node."""

assert {*FUNCTION_MISTAKES} == {*FUNCTIONS}
