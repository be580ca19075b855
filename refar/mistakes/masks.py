"""Wrong masks of convolutions over images: which weights they leave in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from msgspec.structs import replace

from refar import ops
from refar.arguments.arrays import Array
from refar.oracle.convolution import mask_oihw

Mask = Callable[[ops.Conv2d, tuple[int, ...]], Array]
"""Make the Boolean mask of a weight of this shape, as `mask_oihw` does."""


def anchor(op: ops.Conv2d) -> tuple[int, int]:
    """Return the tap that lies on the pixel itself."""
    return op.anchor or (op.kernel[0] // 2, op.kernel[1] // 2)


def _other(**kinds: str) -> Mask:
    return lambda op, shape: mask_oihw(replace(op, mask=kinds.get(op.mask, op.mask)), shape)


def _shown(after: Callable[[Array, Array, int, int], Array]) -> Mask:
    """Also the taps at row u and column v for which `after` is true; (a, e) is the anchor."""

    def mask(op: ops.Conv2d, shape: tuple[int, ...]) -> Array:
        (u, v), (a, e) = np.indices(op.kernel), anchor(op)
        return mask_oihw(op, shape) | after(u, v, a, e)

    return mask


def _of_colours(
    colour: Callable[[ops.Conv2d, Array, int], Array], of_outputs: Callable[[ops.Conv2d, Array, int], Array] | None = None
) -> Mask:
    """The mask if channel j of n belonged to another colour; of the outputs perhaps by another rule."""

    def mask(op: ops.Conv2d, shape: tuple[int, ...]) -> Array:
        found, (a, e) = mask_oihw(op, shape), anchor(op)
        if op.colours > 1:
            o = np.arange(shape[0])[:, None]
            i = o // (shape[0] // op.groups) * shape[1] + np.arange(shape[1])
            given, wanted = colour(op, i, shape[1] * op.groups), (of_outputs or colour)(op, o, shape[0])
            found[:, :, a, e] = (given < wanted) | ((op.mask == "B") & (given == wanted))
        return found

    return mask


def _transposed(op: ops.Conv2d, shape: tuple[int, ...]) -> Array:
    found, (a, e), (u, v) = mask_oihw(op, shape), anchor(op), np.indices(op.kernel)
    before = (v < e) | ((v == e) & (u < a))
    return np.where((u == a) & (v == e), found, before)


def _only_a_mask(wrong: Mask) -> Mask:
    """An operator without a mask has nothing to get wrong."""
    return lambda op, shape: mask_oihw(op, shape) if op.mask == "none" else wrong(op, shape)


_WRONG: dict[str, Mask] = {
    "mask ignored": lambda op, shape: np.ones(shape, bool),
    "mask B zeroes the centre": _other(B="A"),
    "mask A shows the centre": _other(A="B"),
    "masks A and B swapped": _other(A="B", B="A"),
    "mask reversed: shows what comes after": lambda op, shape: ~mask_oihw(op, shape),
    "mask turned round: hides what comes before": lambda op, shape: mask_oihw(op, shape)[:, :, ::-1, ::-1].copy(),
    "mask of the rows below alone": _shown(lambda u, v, a, e: (u == a) & (v > e)),
    "mask of the columns to the right alone": _shown(lambda u, v, a, e: u > a),
    "mask shows the next pixel": _shown(lambda u, v, a, e: (u == a) & (v == e + 1)),
    "mask by columns, then rows": _transposed,
    "colours ignored": lambda op, shape: mask_oihw(replace(op, colours=1), shape),
    "colours in blocks of channels instead of channel mod colours": _of_colours(lambda op, j, n: j * op.colours // n),
    "colours in reverse order": _of_colours(lambda op, j, n: -(j % op.colours)),
    "colours counted anew in every group": _of_colours(lambda op, j, n: j % (n // op.groups) % op.colours),
    "colours of the inputs counted anew in every group": _of_colours(
        lambda op, j, n: j % (n // op.groups) % op.colours, lambda op, j, n: j % op.colours
    ),
}

MASKS: Mapping[str, Mask] = {name: _only_a_mask(wrong) for name, wrong in _WRONG.items()}
"""By the names of the mistakes."""
