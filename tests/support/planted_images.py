"""Graphs over a plane in which mistakes of masks, kernels, shifts, colours and positions show, and the mistakes of masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec.structs import replace

from refar import Builder, Graph, ops
from refar.analysis import masks
from refar.analysis.facts import facts

right_mask = masks.mask_oihw


def masked() -> Graph:
    """Two colours, groups that begin with either, an even kernel, dilation along one axis, a gate, a map."""
    g = Builder()
    x = g.embedding(g.image(classes=3, channels=2), 3)
    h = g.conv2d(x, 6, kernel=3, mask="A", dilation=(1, 2), colours=2, groups=2, name="first")
    h = g.gate(g.conv2d(h, 8, kernel=(2, 3), anchor=(1, 1), mask="B", colours=2, name="second"))
    h = g.add(h, g.conv2d(g.condition("map", channels=1, local=True, axes="hw"), 4, name="mapped"))
    return g.build(g.conv2d(g.relu(h), 6, mask="B", colours=2, name="last"), ops.Categorical())


def stacks() -> Graph:
    """Two shifted stacks of kernels that end in the pixel, dilated along one axis each, and positions."""
    g = Builder()
    x = g.standardize(g.image(classes=4, channels=2), 1, 2)
    x = g.concat(x, g.position(x, 3))
    above, left = g.shift2d(x, down=1, name="down"), g.shift2d(x, right=1, name="right")
    above = g.relu(g.conv2d(above, 3, kernel=(2, 3), anchor=(1, 1), dilation=(2, 1), name="above"))
    left = g.relu(g.conv2d(left, 2, kernel=(1, 2), anchor=(0, 1), dilation=(1, 3), name="left"))
    return g.build(g.conv2d(g.concat(above, left), 4, name="last"))


def gated() -> Graph:
    """A stack that sees its whole row, and shows it to the row below."""
    g = Builder()
    x = g.image(channels=1)
    tall = g.conv2d(x, 4, kernel=(2, 3), anchor=(1, 1), name="vertical")
    wide = g.conv2d(x, 4, kernel=(1, 3), mask="A", name="horizontal")
    h = g.gate(g.add(wide, g.conv2d(g.shift2d(tall, down=1), 4, name="link")))
    return g.build(g.conv2d(g.concat(h, g.conv2d(h, 2, kernel=3, mask="B", name="next")), 2, mask="B", name="last"))


Mask = Callable[[ops.Conv2d, tuple[int, ...]], Any]


def masks_of(graph: Graph, mask: Mask) -> dict[str, Any]:
    """Which weights see anything, {full name: mask_oihw}, of every masked convolution, by this mask."""
    found, shapes = {}, facts(graph).parameters
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv2d) and node.op.mask != "none":
            name = f"{node.name}.weight"
            found[name] = mask(node.op, shapes[name])
    return found


def centre_hidden(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    a, e = anchor(op)
    mask = right_mask(op, shape)
    if op.mask == "B":
        mask[:, :, a, e] = False
    return mask


def swapped(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    return right_mask(replace(op, mask={"A": "B", "B": "A", "none": "none"}[op.mask]), shape)


def future_visible(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    """One pixel to the right."""
    a, e = anchor(op)
    mask = right_mask(op, shape)
    mask[:, :, a, e : e + 2] = True
    return mask


def order_reversed(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    return by_colour(op, shape, lambda channel, count: -(channel % op.colours))


def in_blocks(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    """The first third of the channels for the first of three colours."""
    return by_colour(op, shape, lambda channel, count: channel * op.colours // count)


def within_groups(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    """Colours counted anew in every group."""
    return by_colour(op, shape, lambda channel, count: channel % (count // op.groups) % op.colours)


def by_colour(op: ops.Conv2d, shape: tuple[int, ...], colour: Callable[[int, int], int]) -> Any:
    """The mask if channel j of so many belonged to another colour."""
    if op.mask == "none" or op.colours == 1:
        return right_mask(op, shape)
    fan_out, fan_in, (a, e) = shape[0], shape[1] * op.groups, anchor(op)
    mask = right_mask(op, shape)
    for o in range(fan_out):
        for i in range(shape[1]):
            given = colour(o // (fan_out // op.groups) * shape[1] + i, fan_in)
            wanted = colour(o, fan_out)
            mask[o, i, a, e] = given < wanted or (op.mask == "B" and given == wanted)
    return mask


def anchor(op: ops.Conv2d) -> tuple[int, int]:
    return op.anchor or (op.kernel[0] // 2, op.kernel[1] // 2)


def wrong_masks() -> dict[str, tuple[Mask, set[str]]]:
    """The mistakes of masks, and the laws that see them in every reading, beside `exact`."""
    return {
        "B hides the centre": (centre_hidden, {"exact"}),
        "A and B swapped": (swapped, {"exact"}),
        "mask reversed": (lambda op, shape: right_mask(op, shape)[:, :, ::-1, ::-1].copy(), {"causality", "reach", "exact"}),
        "one future pixel visible": (future_visible, {"causality", "reach", "exact"}),
        "no mask": (lambda op, shape: np.ones(shape, bool), {"causality", "reach", "exact"}),
        "order of colours reversed": (order_reversed, {"causality", "reach", "exact"}),
        "colours in blocks": (in_blocks, {"exact"}),
        "colours counted within groups": (within_groups, {"causality", "reach", "exact"}),
        "colours forgotten": (lambda op, shape: right_mask(replace(op, colours=1), shape), {"exact"}),
        "mask transposed": (lambda op, shape: transposed(op, shape), {"exact"}),
    }


def transposed(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    """What comes before by columns, then rows."""
    if op.mask == "none":
        return right_mask(op, shape)
    a, e = anchor(op)
    mask = right_mask(op, shape)
    for u in range(shape[2]):
        for v in range(shape[3]):
            if (u, v) != (a, e):
                mask[:, :, u, v] = (v, u) < (e, a)
    return mask


def mirrored(op: ops.Conv2d) -> ops.Conv2d:
    """The anchor of an even kernel on the other side of its centre."""
    a, e = anchor(op)
    return replace(op, anchor=(op.kernel[0] - 1 - a, op.kernel[1] - 1 - e))
