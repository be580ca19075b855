"""Convolutions of images: where they stand, and which mask hides those of their weights that are zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from refar import ops
from refar.analysis.windows import steps
from refar.arguments.arrays import Array
from refar.importing.draft import GraphDraft, Objections
from refar.importing.moves import require_room, settled
from refar.importing.refusal import Place, refuse
from refar.importing.values import Labelled, Span, Steps

Pair = tuple[int, int]
AXES = ("H", "W")


@dataclass(frozen=True)
class Placed:
    """A convolution and its weight_oihw, and at which row and column its index (0, 0) stands."""

    op: ops.Conv2d
    weight: Array
    first: Pair

    @property
    def shown(self) -> int:
        """Return the number of taps that the mask leaves visible."""
        return len(steps(self.op))


def conv2d(
    draft: GraphDraft,
    x: Labelled,
    weight: Array,
    bias: Array | None,
    *,
    dilation: Pair,
    groups: int,
    padding: tuple[Pair, Pair],
    wish: str,
    origin: str,
    place: Place,
    folds: bool = False,
    wanted: Mapping[str, int] | None = None,
) -> Labelled:
    """Convolve over an image; `weight` is weight_oihw, `padding` how many zeros stand above, below, left and right.

    Where index (0, 0) stands follows from the padding, unless a place is `wanted`. With `folds` the layer becomes a part of the
    convolution before it, if nothing else reads that.
    """
    if x.indexed:
        raise refuse(place, "a convolution of class indices", "look them up first: one-hot or an embedding")
    for axis, (before, after) in zip(AXES, padding, strict=True):
        require_room(draft, x, axis, before, after, place)
    plain = ops.Conv2d(weight.shape[0], dilation=dilation, bias=bias is not None, groups=groups)
    found = placed(plain, weight, _begin(x, padding), wanted, x.given)
    if wanted and (rest := {axis: wanted[axis] - first for axis, first in zip(AXES, found.first, strict=True)}):
        x = draft.moved(x, rest)
        found = placed(plain, weight, _begin(x, padding), wanted, x.given)
    params = {"weight": found.weight} if bias is None else {"weight": found.weight, "bias": bias}
    against = _read_outside(x, found, place)
    node = draft.add(found.op, x.node, wish=wish, params=params, origin=origin, folds=folds, against=against, place=place)

    def later(steps: Steps) -> Labelled:
        return conv2d(
            draft,
            x,
            weight,
            bias,
            dilation=dilation,
            groups=groups,
            padding=padding,
            wish=wish,
            origin=origin,
            place=place,
            folds=folds,
            wanted={axis: first + steps.get(axis, 0) for axis, first in zip(AXES, found.first, strict=True)},
        )

    convolved = replace(
        x.spanning(**{axis: _span(i, x.spans[axis], weight, dilation, padding, found) for i, axis in enumerate(AXES)}),
        node=node,
        size=weight.shape[0],
        zero=x.zero_before and bias is None,
        bare=False,
        inputs=(x,),
        later=later,
        place=place,
    )
    return convolved if wanted else settled(draft, convolved)


def _begin(x: Labelled, padding: tuple[Pair, Pair]) -> Pair:
    """Return where the first weight of the kernel looks from index (0, 0)."""
    (above, _), (left, _) = padding
    return x.spans["H"].first - above, x.spans["W"].first - left


def _span(i: int, before: Span, weight: Array, dilation: Pair, padding: tuple[Pair, Pair], found: Placed) -> Span:
    reach = (weight.shape[2 + i] - 1) * dilation[i]
    return Span(found.first[i], found.first[i] + before.end - before.first + sum(padding[i]) - reach)


def _read_outside(x: Labelled, found: Placed, place: Place) -> Objections:
    """Object to zeros around the image where the convolution reads other values that the module holds there."""
    if x.zero_before or steps(found.op) <= {(0, 0)}:
        return ()
    return (("layer", str(refuse(place, "it reads values outside of the image that are not zero"))),)


def placed(op: ops.Conv2d, weight: Array, begin: Pair, wanted: Mapping[str, int] | None, given: bool) -> Placed:
    """Choose anchor and mask of a convolution whose first weight looks from index (0, 0) to `begin`.

    Of the whole kernel, and the one without its outer rows and columns of zeros, the one whose mask shows fewer weights is taken.
    No row below the anchor is shown, and nothing is hidden but zeros. What is computed from conditions alone, `given`, sees all.
    """
    target = (wanted["H"], wanted["W"]) if wanted else None
    if given:
        sides, gaps = weight.shape[2:], op.dilation
        a, e = (_nearest(range(sides[i]), begin[i], gaps[i], target[i] if target else 0) for i in (0, 1))
        return Placed(
            _replaced(op, (sides[0], sides[1]), (a, e), "none"), weight, (begin[0] + a * gaps[0], begin[1] + e * gaps[1])
        )
    whole = _anchored(op, weight, begin, target)
    rows, columns = (np.flatnonzero(weight.any(axis=axes)) for axes in ((0, 1, 3), (0, 1, 2)))
    if not rows.size:
        return whole
    inner = weight[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    moved = (begin[0] + int(rows[0]) * op.dilation[0], begin[1] + int(columns[0]) * op.dilation[1])
    least = _anchored(op, inner, moved, target)
    return least if least.shown < whole.shown else whole


def _anchored(op: ops.Conv2d, weight: Array, begin: Pair, target: Pair | None) -> Placed:
    """Choose the anchor that stands nearest to the target, by default where the input stands; then the mask."""
    taps = (weight != 0).any(axis=(0, 1))
    height, width = taps.shape
    seen = np.flatnonzero(taps.any(axis=1))
    a = _nearest(range(int(seen[-1]) if seen.size else 0, height), begin[0], op.dilation[0], target[0] if target else 0)
    own = np.flatnonzero(taps[a])
    if target is None and begin[1] >= 0:  # nothing is padded on the left
        e = max(width // 2, int(own[-1]) if own.size else 0)
    else:
        e = _nearest(range(width), begin[1], op.dilation[1], target[1] if target else 0)
    first = (begin[0] + a * op.dilation[0], begin[1] + e * op.dilation[1])
    if taps[a, e + 1 :].any():  # as in a stack of rows, of which a later node hides what comes after the pixel
        weight, height = weight[:, :, : a + 1], a + 1
    hidden = height > a + 1 or (width > e + 1 and not taps[a, e + 1 :].any())
    mask: Literal["none", "A", "B"] = "none" if not hidden else "B" if taps[a, e] else "A"
    return Placed(_replaced(op, (height, width), (a, e), mask), weight, first)


def _nearest(places: range, begin: int, dilation: int, target: int) -> int:
    """Return the row or column of a kernel at which an anchor stands nearest to the target."""
    return min(places, key=lambda n: abs(begin + n * dilation - target))


def _replaced(op: ops.Conv2d, kernel: Pair, anchor: Pair, mask: Literal["none", "A", "B"]) -> ops.Conv2d:
    centre = all(side == 2 * at + 1 for side, at in zip(kernel, anchor, strict=True))
    return ops.Conv2d(op.channels, kernel, mask, None if centre else anchor, op.dilation, bias=op.bias, groups=op.groups)
