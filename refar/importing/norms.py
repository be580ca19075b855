"""Normalisations over the channels of each position: calls that name one, and those written out with a square root."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.importing import axes, pointwise
from refar.importing.context import Arguments, Context
from refar.importing.draft import FIXED, GraphDraft
from refar.importing.refusal import refuse_call
from refar.importing.values import Constant, Labelled, Part, shape

Kind = Literal["layer", "rms"]


@dataclass(frozen=True)
class Root(Part):
    """√(mean of d² over channels + eps), or 1 over it: of use for d alone, which it divides, scaled by `times` then."""

    d: Labelled
    eps: float
    inverse: bool
    times: float = 1.0

    def scaled(self, by: float) -> Root:
        """Return it times a number."""
        if by == 0:
            raise self.error
        return replace(self, times=self.times * by if self.inverse else self.times / by)


def layer_norm(c: Context, a: Arguments) -> Labelled:
    """(x - mean)/√(var + eps)·weight + bias over the last axes, which must be the channels."""
    return _named(c, a, "layer", a["eps"])


def rms_norm(c: Context, a: Arguments) -> Labelled:
    """x/√(mean of x² + eps)·weight over the last axes, which must be the channels."""
    if a.get("eps") is None:
        raise c.refuse(
            "an eps of None, which is another number in float64 than in float32", "say eps=1.1920929e-07, as in float32"
        )
    return _named(c, a, "rms", a["eps"])


def _named(c: Context, a: Arguments, kind: Kind, eps: float) -> Labelled:
    x = c.value(a["input"])
    over = x.axes[len(x.axes) - len(a["normalized_shape"]) :]
    if over != ("C",):
        what = f"a normalisation over the axes {', '.join(over)}: a position then depends on later ones"
        raise c.refuse(what, "normalise over channels, or with running statistics (BatchNorm1d)")
    given = a.get("weight"), a.get("bias")
    weight, bias = c.optional(given[0], "its weight"), c.optional(given[1], "its bias")
    params = {"weight": np.ones(x.size) if weight is None else c.of_channels(weight, x, "its scale")}
    params |= {} if bias is None else {"bias": c.of_channels(bias, x, "its bias")}
    return _normed(c, kind, eps, x, params, *c.named(*given))


def _normed(c: Context, kind: Kind, eps: float, x: Labelled, params: dict[str, Array], wish: str, origin: str) -> Labelled:
    if not eps >= ops.LEAST_EPS:
        raise c.refuse(f"an eps of {eps:g}", f"refar takes numbers from {ops.LEAST_EPS:g} up, so that no root is 0")
    op = ops.Norm(kind, float(eps), "bias" in params)
    return pointwise.learnt(c.draft, op, x, params, wish=wish, origin=origin, place=c.place)


def root(c: Context, a: Arguments, *, inverse: bool = False) -> Root:
    """Take √(mean of d² over channels + eps), which must divide d itself; refar has no other root."""
    x = c.value(a["self"])
    d, eps = _squared(c.draft, x)
    if d is None:
        raise refuse_call(c.place, "rsqrt" if inverse else "sqrt")
    what = "a root that does not divide the value of which it is the mean square"
    error = c.refuse(what, "write d / sqrt((d * d).mean(1, keepdim=True) + eps), scaled before or after, or call LayerNorm")
    return Root(shape(x, c.runs), error, d, eps, inverse)


def _squared(draft: GraphDraft, x: Labelled) -> tuple[Labelled | None, float]:
    """Return the value of which x is the mean square over channels, None if there is none, and what is added to that."""
    square, scale, shift = _mean_of(draft, x)
    if square is None or not math.isclose(scale, 1) or draft.planned[square.node].op != ops.Multiply():
        return None, shift
    if len(square.inputs) != 2:
        return None, shift
    d, other = square.inputs
    return d if _same(draft, d.node, other.node) else None, shift


def _mean_of(draft: GraphDraft, x: Labelled) -> tuple[Labelled | None, float, float]:
    """Return v, a and b where x is a · (mean of v over channels) + b, perhaps a sum divided later; v is None if it is no mean."""
    scale, shift = 1.0, 0.0
    while isinstance(op := draft.planned[x.node].op, ops.Affine) and x.inputs:
        scale, shift, x = scale * op.scale, scale * op.shift + shift, x.inputs[0]
    if op not in (ops.Conv1d(1, bias=False), ops.Conv2d(1, bias=False)) or not x.inputs:
        return None, scale, shift
    weight = draft.planned[x.node].params["weight"]
    return x.inputs[0] if (weight == weight.flat[0]).all() else None, scale * float(weight.sum()), shift


def divided(c: Context, given: Any, by: Root, *, inverse: bool = False) -> Labelled:
    """Return d divided by its own root, or times its inverse, a norm: of kind "layer" where d is a value less its mean.

    What is given may be d with a scale, which then comes behind the norm.
    """
    if by.inverse != inverse or isinstance(given, Constant):
        raise by.error
    x = c.value(given)
    if x.spans == by.d.spans and _same(c.draft, x.node, by.d.node):
        less = _less_its_mean(c.draft, x)
        ones, named = {"weight": np.ones(x.size)}, (c.place.module or c.place.call, FIXED)
        y = _normed(c, "rms", by.eps, x, ones, *named) if less is None else _normed(c, "layer", by.eps, less, ones, *named)
        return replace(pointwise.affine(c.draft, y, by.times, 0.0, c.place), axes=x.axes)
    plan = c.draft.planned[x.node]
    if isinstance(plan.op, ops.Affine) and plan.op.shift == 0 and x.inputs:
        y = pointwise.affine(c.draft, divided(c, x.inputs[0], by, inverse=inverse), plan.op.scale, 0.0, c.place)
    elif plan.op == ops.ScaleShift(bias=False):
        y = divided(c, x.inputs[0], by, inverse=inverse)
        weight = plan.params["weight"]
        y = pointwise.of_channels(c.draft, y, weight, None, wish=plan.wish, origin=plan.origin, place=c.place)
    else:
        raise by.error
    return replace(y, axes=x.axes)


def inverse(c: Context, a: Arguments) -> Root:
    """Return 1 over a root."""
    given = a["self"]
    if not isinstance(given, Root) or given.inverse:
        raise refuse_call(c.place, "reciprocal")
    return replace(given, inverse=True)


def variance(c: Context, a: Arguments) -> Labelled:
    """Return the mean of the squares of what is left of x less its mean over channels, step by step."""
    return variance_and_mean(c, a)[0]


def variance_and_mean(c: Context, a: Arguments) -> tuple[Labelled, Labelled]:
    """Return the variance of x over channels and the mean."""
    x, dims, count = c.value(a["self"]), a.get("dim"), a.get("correction", int(a.get("unbiased", True)))
    dims = dims if isinstance(dims, list | tuple) else [dims]
    if len(dims) != 1 or not isinstance(dims[0], int) or x.axes[axes.position(x, dims[0])] != "C":
        raise c.refuse("a variance over other axes than channels: every position would read all others", "take it over channels")
    if count != 0:
        raise c.refuse("a variance that divides by one channel less", "say unbiased=False")
    middle = mean(c, x)
    d = pointwise.joined(c.draft, ops.Add(), [x, pointwise.affine(c.draft, middle, -1.0, 0.0, c.place)], c.place)
    found = mean(c, pointwise.joined(c.draft, ops.Multiply(), [d, d], c.place))
    at = axes.position(x, dims[0])
    kept = x.axes if a.get("keepdim") else (*x.axes[:at], *x.axes[at + 1 :])
    return replace(found, axes=kept), replace(middle, axes=kept)


def mean(c: Context, x: Labelled) -> Labelled:
    """Return the mean over channels, one channel."""
    ones = np.full((1, x.size), 1 / x.size)
    return pointwise.dense(c.draft, x, ones, None, wish=c.place.call, origin=FIXED, place=c.place)


def _less_its_mean(draft: GraphDraft, x: Labelled) -> Labelled | None:
    """Return what x is without its mean over channels, if x is a sum of that and of minus the mean, repeated, in either order."""
    if draft.planned[x.node].op != ops.Add() or len(x.inputs) != 2:
        return None
    for of, minus in (x.inputs, x.inputs[::-1]):
        whole, scale, shift = _mean_of(draft, minus.inputs[0] if _is_repeated(draft, minus.node) else minus)
        if whole is not None and math.isclose(scale, -1) and shift == 0 and _same(draft, whole.node, of.node):
            return of
    return None


def _is_repeated(draft: GraphDraft, name: str) -> bool:
    plan = draft.planned[name]
    return (
        isinstance(plan.op, ops.Conv1d | ops.Conv2d)
        and plan.op.kernel in (1, (1, 1))
        and plan.params["weight"].shape[1] == 1
        and bool((plan.params["weight"] == 1).all() and "bias" not in plan.params)
    )


def _same(draft: GraphDraft, one: str, other: str, asked: set[tuple[str, str]] | None = None) -> bool:
    """Whether two nodes compute the same, as where a value is computed twice. No pair is `asked` about again."""
    asked = set() if asked is None else asked
    if one == other or (one, other) in asked:
        return True
    asked.add((one, other))
    a, b = draft.planned[one], draft.planned[other]
    alike = a.op == b.op and len(a.inputs) == len(b.inputs) > 0 and a.params.keys() == b.params.keys()
    if not alike or not all(np.array_equal(a.params[name], b.params[name]) for name in a.params):
        return False
    return all(_same(draft, *pair, asked) for pair in zip(a.inputs, b.inputs, strict=True))
