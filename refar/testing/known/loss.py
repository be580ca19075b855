"""`check_loss`: a training loss of one's own, held against the nats of a graph's head."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from refar import ops
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, in_order
from refar.errors import InputError, check_integer
from refar.graph.graph import Graph, require_head
from refar.testing.explain.loss import Averaged, cause, reductions
from refar.testing.known.printing import counted_lines
from refar.testing.report import ContractError, Measure, Report, hold
from refar.testing.told import told
from refar.testing.under_test import Convert, as_array, name_of, one_dtype, require_numbers, require_unchanged

_ROWS, _LENGTH, _SIDE = 3, 13, 5
_DRAWS = 3
_NEAR = {"float64": 1e-9, "float32": 1e-4}
"""What a loss may be off by, relative to it, in the precision in which it comes."""


@told
def check_loss(
    loss: Callable[..., Any],
    graph: Graph,
    *,
    prefix: int = 0,
    mask: ArrayLike | None = None,
    convert: Convert | None = None,
    seed: int = 0,
) -> Report:
    """Hold a training loss against -log p(x_t | x_<t) in nats under the graph's head, averaged; and its gradient, in PyTorch.

    `loss(y, x)` gets outputs y_bqt of the graph and the sequence x_bt (x_bct of a signal), both drawn; images are y_bqhw and
    x_bchw. In a strict graph y_t is for x_t, and all positions count. In one that sees the present y_t is for x_{t+1}: x_0 and
    the last output do not count. Positions of x before `prefix` do not count either. `mask`, Booleans (B, T), says which
    positions of x count: then the loss is called as loss(y, x, mask), and sizes are those of the mask.

    A mean over the values that count is right, and so are their sum, the sum of each row, and one number for each position;
    the report says which was found. `convert` makes of arrays what the loss takes; without it the loss gets arrays, or tensors
    if it is a module of PyTorch or fails on arrays. Raises InputError for a prefix or mask that does not fit, GraphError for a
    graph without a head, and ContractError for a loss that is wrong, with the change of the right one that gives its values.
    """
    head, found = require_head(graph, "check_loss"), facts(graph)
    image = found.types[found.sequence].image
    prefix = check_integer("prefix", prefix, 0)
    if image and (prefix or mask is not None):
        raise InputError("prefix, mask: expected none for a graph of images, of which all values count")
    counted = np.ones((_ROWS, _LENGTH), bool) if mask is None else _mask(mask)
    if prefix >= counted.shape[1]:
        raise InputError(f"prefix: expected less than the {counted.shape[1]} positions of a sequence, got {prefix}")
    given = [_draw(graph, head, np.random.default_rng([seed, n]), counted.shape) for n in range(_DRAWS)]
    late = 0 if image or is_strict(graph) else 1
    averaged = [Averaged.of(head, *in_order(found.types[found.sequence], y, x), counted, prefix, late) for y, x in given]
    if not all(each.counted.any() for each in averaged):
        raise InputError("mask: expected at least one position that counts")
    tested = _Loss(loss, _converted(loss, convert, given[0], counted if mask is not None else None), mask is not None)
    laws = _Laws(tested, given, averaged, counted)
    with counted_lines() as printed:
        return printed.noted(hold({"value": laws.value, "gradient": laws.gradient, "unseen": laws.unseen}, ("value",)))


def _mask(mask: ArrayLike) -> Array:
    array = np.asarray(mask)
    if array.ndim != 2 or array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise InputError(f"mask: expected Booleans (B, T), got {array.dtype} {array.shape}")
    return array.astype(bool)


def _draw(graph: Graph, head: ops.AnyHead, rng: np.random.Generator, sizes: tuple[int, int]) -> tuple[Array, Array]:
    """Draw an output and a sequence of the graph's types, `sizes` rows and positions."""
    kind, output = facts(graph).types[facts(graph).sequence], facts(graph).types[graph.output]
    rows, place = sizes[0], (_SIDE, _SIDE + 1) if kind.image else sizes[1:]
    y = rng.normal(size=(rows, output.size, *place))
    if kind.indexed:
        return y, rng.integers(0, kind.size, (rows, kind.channels, *place) if kind.image else (rows, *place))
    return y, rng.normal(size=(rows, kind.channels, *place))


class _Loss:
    """The loss under test. It is called with copies; what it raises is a ContractError."""

    def __init__(self, function: Callable[..., Any], convert: Convert | None, masked: bool) -> None:
        self.name, self._function, self._convert, self._masked = name_of(function, "the loss"), function, convert, masked
        self._answers = ""

    def __call__(self, y: Array, x: Array, counted: Array) -> Array:
        """Return the loss as an array: of no axis, one for each row, or one for each position."""
        return as_array(self.name, self._raw(y, x, counted)[0])

    def gradient(self, y: Array, x: Array, counted: Array) -> Array | None:
        """Return the gradient of the sum of what the loss gives, with respect to y; None where there is none."""
        result, given = self._raw(y, x, counted, differentiable=True)
        if getattr(result, "grad_fn", None) is None:
            return None
        try:
            result.sum().backward()
        except Exception as error:  # the backward pass of an autograd.Function of the loss's own
            raise ContractError(f"{self.name} raises {type(error).__name__} in its backward pass: {error}") from error
        return np.zeros_like(y) if given.grad is None else as_array(f"the gradient of {self.name}", given.grad)

    def _raw(self, y: Array, x: Array, counted: Array, differentiable: bool = False) -> tuple[Any, Any]:
        arrays = {"y": y.copy(), "x": x.copy(), **({"mask": counted.copy()} if self._masked else {})}
        given = [array if self._convert is None else self._convert(array) for array in arrays.values()]
        if differentiable and hasattr(given[0], "requires_grad_"):
            given[0].requires_grad_()
        try:
            result = self._function(*given)
        except Exception as error:
            shapes = ", ".join(str(array.shape) for array in arrays.values())
            raise ContractError(f"{self.name} raises {type(error).__name__} on arrays of {shapes}: {error}") from error
        for name, before in {"y": y, "x": x, "mask": counted}.items():
            if name in arrays:
                advice = "it must leave its arguments alone"
                require_unchanged(f"{self.name} changed its argument {name}", advice, arrays[name], before)
        self._answers = one_dtype(self.name, getattr(result, "dtype", type(result).__name__), self._answers)
        return result, given[0]


def _converted(
    loss: Callable[..., Any], convert: Convert | None, given: tuple[Array, Array], counted: Array | None
) -> Convert | None:
    """Return what makes of arrays what the loss takes: tensors, if it is a module of PyTorch or takes only them."""
    torch = sys.modules.get("torch")
    if convert is not None or torch is None:
        return convert
    if isinstance(loss, torch.nn.Module):
        return torch.from_numpy
    arrays = [*given, *([] if counted is None else [counted])]
    for kind in (None, torch.from_numpy):
        try:
            loss(*(array.copy() if kind is None else kind(array.copy()) for array in arrays))
        except Exception:  # the loss is called once more by the first law, which tells what it raises
            continue
        return kind
    return torch.from_numpy


@dataclass
class _Laws:
    """One loss on a few draws. Each method is a law."""

    loss: _Loss
    given: list[tuple[Array, Array]]
    averaged: list[Averaged]
    counted: Array
    found: str = ""
    near: float = _NEAR["float32"]

    def value(self, measure: Measure) -> None:
        """The loss is the mean of the nats, or their sum, or one number for each."""
        came = [self.loss(y, x, self.counted) for y, x in self.given]
        for n, each in enumerate(came):
            require_numbers(self.loss.name, each)
            fits = {name: right for name, right in reductions(self.averaged[n]).items() if right.shape == each.shape}
            if not fits:
                shapes = ", ".join(str(right.shape) for right in reductions(self.averaged[n]).values())
                raise ContractError(f"{self.loss.name} returned the wrong shape: expected one of {shapes}, got {each.shape}")
            self.near = near = _NEAR.get(each.dtype.name, _NEAR["float32"])
            right = [name for name, value in fits.items() if _agree(each, value, near)]
            if not right:
                name, value = next(iter(fits.items()))
                place = np.unravel_index(int(np.abs(each - value).argmax()), value.shape)
                where = f" at {[int(i) for i in place]}" if value.shape else ""
                said = f"{self.loss.name}{where}: expected {value[place]:.8g} ({name}), got {each[place]:.8g}"
                why = cause(self.averaged, came, near)
                raise ContractError(said + (f"; {why}" if why else ""))
            self.found = right[0]
        measure.notes.append(self.found)

    def gradient(self, measure: Measure) -> None:
        """The gradient with respect to y is that of the nats."""
        y, x = self.given[0]
        came = self.loss.gradient(y, x, self.counted)
        if came is None:
            measure.does_not_apply("it is no tensor with a gradient")
            return
        right = self.averaged[0].gradient(self.found, y.shape)
        measure.close(f"{self.loss.name}: gradient of y", came.astype(np.float64), right, self.near)

    def unseen(self, measure: Measure) -> None:
        """What does not count changes nothing."""
        y, x = self.given[0]
        outputs, values = self.averaged[0].ignored
        if not outputs.any() and not values.any():
            measure.does_not_apply("all positions count")
            return
        other_y, other_x = self.given[1]
        changed_y, changed_x = (
            np.where(_spread(where, a), b, a) for where, a, b in ((outputs, y, other_y), (values, x, other_x))
        )
        before, after = self.loss(y, x, self.counted), self.loss(changed_y, changed_x, self.counted)
        measure.require(bool((before == after).all()), f"{self.loss.name} where what does not count is changed", before, after)


def _spread(where: Array, array: Array) -> Array:
    """Return (B, T) as a Boolean for each number of (B, T) or (B, C, T)."""
    return np.broadcast_to(where if array.ndim == 2 else where[:, None], array.shape)


def _agree(a: Array, b: Array, near: float) -> bool:
    return bool(np.allclose(a, b, rtol=near, atol=near * float(np.abs(b).max(initial=0.0))))
