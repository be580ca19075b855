"""Graphs over images in which mistakes show: of masks, kernels, shifts, colours, positions; and those of the catalogue."""

from __future__ import annotations

from typing import Any

from refar import Builder, Graph, ops
from refar.analysis import masks
from refar.analysis.facts import facts
from refar.mistakes.masks import MASKS, Mask
from refar.mistakes.rewrites import rewritten

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


WRONG_MASKS: dict[str, set[str]] = {
    "mask B zeroes the centre": {"exact"},
    "masks A and B swapped": {"exact"},
    "mask turned round: hides what comes before": {"causality", "reach", "exact"},
    "mask shows the next pixel": {"causality", "reach", "exact"},
    "mask ignored": {"causality", "reach", "exact"},
    "colours in reverse order": {"causality", "reach", "exact"},
    "colours in blocks of channels instead of channel mod colours": {"exact"},
    "colours counted anew in every group": {"causality", "reach", "exact"},
    "colours ignored": {"exact"},
    "mask by columns, then rows": {"exact"},
}
"""Mistakes of masks in the catalogue, and the laws that see them in every backend, beside `exact`."""


def wrong_masks() -> dict[str, tuple[Mask, set[str]]]:
    """Each with the mask that it makes."""
    return {mistake: (MASKS[mistake], laws) for mistake, laws in WRONG_MASKS.items()}


def masks_of(graph: Graph, mask: Mask) -> dict[str, Any]:
    """Which weights see anything, {full name: mask_oihw}, of every masked convolution, by this mask."""
    found, shapes = {}, facts(graph).parameters
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv2d) and node.op.mask != "none":
            name = f"{node.name}.weight"
            found[name] = mask(node.op, shapes[name])
    return found


def wrong_op(mistake: str, op: Any) -> Any:
    """The operator with a mistake of the catalogue that leaves its parameters alone; as it is where it cannot have it."""
    found = rewritten(mistake, op, {})
    return op if found is None else found[0]
