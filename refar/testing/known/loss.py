"""`check_loss`: a training loss of one's own, held against the nats of a graph's head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

import numpy as np
from numpy.typing import ArrayLike

from refar import ops
from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, in_order
from refar.errors import InputError, check_integer
from refar.graph.graph import Graph, require_head
from refar.testing.explain.averaged import Averaged
from refar.testing.known.loss_laws import FAR, Drawn, LossLaws
from refar.testing.known.loss_under_test import LossUnderTest
from refar.testing.known.printing import counted_lines
from refar.testing.report import Report, hold
from refar.testing.told import told
from refar.testing.under_test import Convert

_ROWS, _LENGTH, _SIDE = 3, 13, 5
_DRAWS = 3
_EXACT = 16
"""Usual draws are multiples of 1/16 below 8, so that a loss in half precision sees the same numbers."""


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

    A mean over the values that count is right, and so are their sum, its mean over rows or positions, the sum or mean of each
    row, and one number for each position or channel; the report says which was found. Outputs of the size of 1 are drawn, in
    float64, and logits and means up to 100, in float64 and float32. `convert` makes of arrays what the loss takes; without it
    the loss gets arrays, or tensors if it is a module of PyTorch or fails on arrays.

    Raises InputError for a prefix or mask that does not fit, GraphError for a graph without a head, and ContractError for a loss
    that is wrong, with the change of a right one that gives its values.
    """
    if not isinstance(graph, Graph):
        raise InputError(f"graph: expected a graph with a head, got {type(graph).__name__}")
    head, found = require_head(graph, "check_loss"), facts(graph)
    image = found.types[found.sequence].image
    prefix, seed = check_integer("prefix", prefix, 0), check_integer("seed", seed, 0)
    if image and (prefix or mask is not None):
        raise InputError("prefix, mask: expected none for a graph of images, of which all values count")
    counted = np.ones((_ROWS, _LENGTH), bool) if mask is None else _mask(mask)
    if prefix >= counted.shape[1]:
        raise InputError(f"prefix: expected less than the {counted.shape[1]} positions of a sequence, got {prefix}")
    late = 0 if image or is_strict(graph) else 1

    def drawn(n: int, far: bool) -> Drawn:
        y, x = _draw(graph, head, np.random.default_rng([seed, n]), counted.shape, far)
        given = (y, x) if mask is None else (y, x, counted)
        pair, picture = in_order(found.types[found.sequence], y, x), x.shape[1:] if image else ()
        return Drawn(given, Averaged.of(head, *pair, counted, prefix, late, picture))

    usual, far = ([drawn(n, far) for n in range(_DRAWS)] for far in (False, True))
    if not usual[0].averaged.counted.any():
        raise InputError("mask: expected at least one position that counts")
    laws = LossLaws(LossUnderTest(loss, convert, usual[0].arrays), usual, far)
    each = {"value": laws.value, "far": laws.far_values, "gradient": laws.gradient, "unseen": laws.unseen}
    with counted_lines() as printed:
        return printed.noted(hold(each, ("value", "far")))


def _mask(mask: ArrayLike) -> Array:
    array = np.asarray(mask)
    if array.ndim != 2 or array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise InputError(f"mask: expected Booleans (B, T), got {array.dtype} {array.shape}")
    return array.astype(bool)


def _draw(graph: Graph, head: ops.AnyHead, rng: np.random.Generator, sizes: tuple[int, int], far: bool) -> tuple[Array, Array]:
    """Draw an output and a sequence of the graph's types, with `sizes` rows and positions; `far` with large logits and means."""
    kind, output = facts(graph).types[facts(graph).sequence], facts(graph).types[graph.output]
    rows, place = sizes[0], (_SIDE, _SIDE + 1) if kind.image else sizes[1:]
    y = rng.normal(size=(rows, output.size, *place))
    if far:
        large = _large(head, output.size)
        y[:, large] = rng.uniform(-FAR, FAR, y[:, large].shape)
    channels = (rows, kind.channels, *place)
    x: Array = rng.normal(size=channels)
    if kind.indexed:
        x = rng.integers(0, kind.size, channels if kind.image else (rows, *place))
    return (_single(y), _single(x)) if far else (_short(y), _short(x))


def _large(head: ops.AnyHead, size: int) -> slice:
    """Which of `size` channels of an output may be large: logits, and means of a Gaussian; never the logarithm of a scale."""
    match head:
        case ops.Categorical() | ops.Gaussian():
            return slice(size)
        case ops.LearntGaussian():
            return slice(size // 2)
        case ops.MixtureLogistics() | ops.MixtureGaussians():
            return slice(size // 3)
        case _:
            assert_never(head)


def _single(numbers: Array) -> Array:
    return numbers if numbers.dtype.kind == "i" else numbers.astype(np.float32).astype(np.float64)


def _short(numbers: Array) -> Array:
    return numbers if numbers.dtype.kind == "i" else np.clip(np.rint(numbers * _EXACT) / _EXACT, -7, 7)
