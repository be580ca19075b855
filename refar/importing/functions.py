"""Calls that apply a function to each element, as PyTorch names them: each becomes an `ops.Activation`, or few of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refar import ops
from refar.importing import pointwise
from refar.importing.context import Arguments, Context
from refar.importing.values import Labelled, Part, shape
from refar.oracle.elementwise import activation

Call = Callable[[Context, Arguments], "Labelled | ErrorFunction"]


def applied(c: Context, op: ops.Activation, x: Labelled) -> Labelled:
    """Apply a function to each element."""
    keeps = not activation(op, np.zeros(1)).any()
    return pointwise.pointwise(c.draft, op, x, c.place, keeps_zero=keeps)


def _plain(kind: ops.FunctionName) -> Call:
    return lambda c, a: applied(c, ops.Activation(kind), c.value(a["self"] if "self" in a else a["input"]))


def _scaled(c: Context, x: Labelled, scale: float) -> Labelled:
    return pointwise.affine(c.draft, x, scale, 0.0, c.place)


def _positive(c: Context, number: float, what: str) -> float:
    if number <= 0:
        raise c.refuse(f"{what} of {number}", "refar takes numbers above 0")
    return number


def _leaky(c: Context, x: Labelled, slope: float) -> Labelled:
    if slope < 0:
        raise c.refuse(f"a slope of {slope}", "refar takes slopes from 0 up")
    return applied(c, ops.Activation("leaky_relu", slope), x)


def _prelu(c: Context, a: Arguments) -> Labelled:
    """x if x > 0 else slope[c]·x, the channels on axis `dim`, 1 unless it is said; one slope stands for all channels."""
    x, slope, at = c.value(a["self"]), c.array(a["weight"], "its slope"), a.get("dim", 1)
    if slope.size > 1 and x.axes[at : at + 1] != ("C",):
        raise c.refuse("slopes along another axis than channels", "transpose before")
    wish, origin = c.named(a["weight"])
    if slope.size < x.size:
        said = f"{origin} is one slope for {x.size} channels, of which the graph has one for each: trained, they differ"
        c.draft.notes[said] = None
    params = {"weight": c.of_channels(slope, x, "its slope")}
    return pointwise.learnt(c.draft, ops.PRelu(), x, params, wish=wish, origin=origin, place=c.place)


def _elu(c: Context, a: Arguments) -> Labelled:
    """scale·x for x > 0, else scale·α·(exp(input_scale·x) - 1)."""
    scale, inner = float(a.get("scale", 1)), float(a.get("input_scale", 1))
    if (scale, inner) != (1, 1):
        raise c.refuse(f"elu with scale={scale} and input_scale={inner}", "use elu or selu")
    return applied(c, ops.Activation("elu", alpha=_positive(c, float(a.get("alpha", 1)), "an alpha")), c.value(a["self"]))


def _celu(c: Context, a: Arguments) -> Labelled:
    """α·elu(x/α), of which PyTorch takes the gradient with 1/α in float32: so α = 1 alone, which is elu."""
    if a.get("alpha", 1) != 1:
        raise c.refuse(f"celu with an alpha of {a['alpha']}", "use elu")
    return applied(c, ops.Activation("elu"), c.value(a["self"]))


def _gelu(c: Context, a: Arguments) -> Labelled:
    forms: dict[str, ops.FunctionName] = {"none": "gelu", "tanh": "gelu_tanh"}
    return applied(c, ops.Activation(forms[a.get("approximate", "none")]), c.value(a["self"]))


def _softplus(c: Context, a: Arguments) -> Labelled:
    """softplus(β·x)/β; beyond the threshold PyTorch takes x, of which this is off by less than 1e-9 where β·x > 20."""
    beta = _positive(c, float(a.get("beta", 1)), "a beta")
    if float(a.get("threshold", 20)) < 20:
        raise c.refuse(f"softplus with a threshold of {a['threshold']}", "leave it at 20, where x is the value to nine digits")
    return _scaled(c, applied(c, ops.Activation("softplus"), _scaled(c, c.value(a["self"]), beta)), 1 / beta)


def _log_sigmoid(c: Context, a: Arguments) -> Labelled:
    """-softplus(-x)."""
    return _scaled(c, applied(c, ops.Activation("softplus"), _scaled(c, c.value(a["self"]), -1.0)), -1.0)


def _clip(low: str, high: str) -> Call:
    """Between two numbers that the call has under these names; with one of them alone it is a relu beside it."""

    def apply(c: Context, a: Arguments) -> Labelled:
        x, least, most = c.value(a["self"]), a.get(low), a.get(high)
        if not all(end is None or isinstance(end, int | float) for end in (least, most)):
            raise c.refuse("ends that are not fixed numbers", "clip between two numbers")
        if least is None or most is None:
            return _beyond(c, x, -1.0, float(most)) if most is not None else _beyond(c, x, 1.0, float(a[low]))
        if not least < most:
            raise c.refuse(f"a clip from {least} to {most}", "the lower end must be below the upper one")
        return applied(c, ops.Activation("clip", low=float(least), high=float(most)), x)

    return apply


def _beyond(c: Context, x: Labelled, sign: float, end: float) -> Labelled:
    """end + sign·max(sign·(x - end), 0)."""
    above = pointwise.affine(c.draft, x, sign, -sign * end, c.place)
    return pointwise.affine(c.draft, applied(c, ops.Activation("relu"), above), sign, end, c.place)


def _absolute(c: Context, a: Arguments) -> Labelled:
    """max(x, 0) + max(-x, 0)."""
    x = c.value(a["self"])
    halves = [applied(c, ops.Activation("relu"), each) for each in (x, _scaled(c, x, -1.0))]
    return pointwise.joined(c.draft, ops.Add(), halves, c.place)


@dataclass(frozen=True)
class ErrorFunction(Part):
    """times·(erf(scale·x) + shift), a part of gelu: of use for x alone, which it multiplies."""

    x: Labelled
    scale: float
    shift: float = 0.0
    times: float = 1.0

    def plus(self, number: float) -> ErrorFunction:
        """Return it and a number."""
        return replace(self, shift=self.shift + number / self.times)

    def scaled(self, by: float) -> ErrorFunction:
        """Return it times a number."""
        return replace(self, times=self.times * by)


def _erf(c: Context, a: Arguments) -> ErrorFunction:
    """Take erf(x/√2), which must become ½·x·(1 + erf(x/√2)); refar has no other error function."""
    given = c.value(a["self"])
    plan = c.draft.planned[given.node]
    scaled = isinstance(plan.op, ops.Affine) and plan.op.shift == 0 and plan.op.scale > 0 and given.inputs
    x, scale = (given.inputs[0], plan.op.scale) if isinstance(plan.op, ops.Affine) and scaled else (given, 1.0)
    error = c.refuse("an error function that is no part of gelu, ½·x·(1 + erf(x/√2))", "use gelu")
    return ErrorFunction(shape(given, c.runs), error, x, scale)


def gelu_of(c: Context, x: Labelled, error: ErrorFunction) -> Labelled:
    """Return x·(1 + erf(s·x)) = 2·gelu(k·x)/k with k = √2·s, scaled; in files s is 1/√2 in float32, and k not quite 1."""
    plan, times = c.draft.planned[x.node], error.times
    if x.node != error.x.node and isinstance(plan.op, ops.Affine) and plan.op.shift == 0 and x.inputs:
        x, times = x.inputs[0], times * plan.op.scale
    if x.node != error.x.node or x.spans != error.x.spans or error.shift != 1:
        raise error.error
    k = math.sqrt(2) * error.scale
    k = 1.0 if abs(k - 1) < 1e-15 else k
    return _scaled(c, applied(c, ops.Activation("gelu"), _scaled(c, x, k)), 2 * times / k)


def softsign(c: Context, x: Any, below: Any) -> Labelled | None:
    """Return softsign(x) if `below` is 1 + |x|, as PyTorch writes it; else None."""
    if not isinstance(x, Labelled) or not isinstance(below, Labelled):
        return None
    plus = c.draft.planned[below.node]
    if plus.op != ops.Affine(1.0, 1.0) or c.draft.planned[plus.inputs[0]].op != ops.Add():
        return None
    halves = [c.draft.planned[half] for half in c.draft.planned[plus.inputs[0]].inputs]
    if len(halves) != 2 or any(half.op != ops.Activation("relu") for half in halves) or halves[0].inputs != (x.node,):
        return None
    negated = c.draft.planned[halves[1].inputs[0]]
    if negated.op != ops.Affine(-1.0) or negated.inputs != (x.node,):
        return None
    return applied(c, ops.Activation("softsign"), x)


FUNCTIONS: dict[str, Callable[[Context, Arguments], Labelled | ErrorFunction]] = {
    "relu": _plain("relu"),
    "tanh": _plain("tanh"),
    "sigmoid": _plain("sigmoid"),
    "leaky_relu": lambda c, a: _leaky(c, c.value(a["self"]), float(a["negative_slope"])),
    "prelu": _prelu,
    "elu": _elu,
    "celu": _celu,
    "selu": _plain("selu"),
    "gelu": _gelu,
    "silu": _plain("silu"),
    "softplus": _softplus,
    "log_sigmoid": _log_sigmoid,
    "hardtanh": _clip("min_val", "max_val"),
    "relu6": lambda c, a: _clip("low", "high")(c, {**a, "low": 0.0, "high": 6.0}),
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max"), _clip("min", "max")),
    "hardsigmoid": _plain("hard_sigmoid"),
    "hardswish": _plain("hard_swish"),
    "mish": _plain("mish"),
    "softsign": _plain("softsign"),
    "erf": _erf,
    "sin": _plain("sin"),
    **dict.fromkeys(("abs", "absolute"), _absolute),
}
"""The meaning of each call, by its name in ATen."""
