"""Derivatives of a function of PyTorch: of a few outputs by all inputs at once, in float64 where it can be had."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.explain.dependence import Domain
from refar.testing.probe.watched import Watched, epsilon
from refar.testing.under_test import is_module

Slopes = tuple[Array, float]
"""|derivatives|, (rows, places), and the distance of 1 to the next number where they were computed."""


def in_float64(f: Watched) -> Watched | None:
    """Return the same function computed in float64: of a module a copy, of others what they make of float64."""
    function: Any = f.function
    if is_module(function):
        try:
            function = copy.deepcopy(function).double()
        except Exception:  # deepcopy runs the module's own code; without a copy the module is looked at as it is
            return None
    return Watched(function, f.convert, f.rate, f.name)


def slopes(f: Watched, x: Array, places: list[int], domain: Domain, rng: np.random.Generator) -> Slopes | None:
    """Return for each row the derivative of the output at its place, its channels weighted at random, by x at every place.

    None where there is none: without PyTorch, of indices, or where the function leaves autograd.
    """
    torch = sys.modules.get("torch")
    if torch is None or x.dtype.kind != "f":
        return None
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        return _slopes(torch, f, x, places, domain, rng)


def _slopes(torch: Any, f: Watched, x: Array, places: list[int], domain: Domain, rng: np.random.Generator) -> Slopes | None:
    convert: Callable[[Array], Any] = f.convert or torch.from_numpy
    try:
        leaf = convert(f.rate.unfold(x).copy()).detach().requires_grad_()
        y = f.function(leaf)
    except Exception:  # the user's code takes no tensor with a gradient, or not in this dtype: there is no derivative
        return None
    if not getattr(y, "requires_grad", False):
        return None
    shape = (*y.shape[:-1], *((f.rate.up,) if f.rate.up > 1 else ()), y.shape[-1] // f.rate.up)
    weights = np.zeros(shape)
    by_place = weights.reshape(len(x), -1, domain.colours, domain.count // domain.colours)
    for row, place in enumerate(places):
        pixel, colour = divmod(place, domain.colours)
        by_place[row, :, colour, pixel] = rng.choice((-1, 1), by_place.shape[1]) * rng.uniform(0.5, 2, by_place.shape[1])
    flat = weights if f.rate.up == 1 else np.swapaxes(weights, -1, -2).reshape(y.shape)
    try:
        (found,) = torch.autograd.grad((y * torch.from_numpy(flat).to(y.dtype)).sum(), leaf, allow_unused=True)
    except Exception:  # the backward pass is the user's too, where it holds an autograd.Function
        return None
    if found is None:
        return None
    sizes = np.abs(found.detach().cpu().to(torch.float64).numpy())
    return domain.places(f.rate.fold(sizes, f.rate.down)).max(axis=1), max(epsilon(y.dtype), epsilon(leaf.dtype))
