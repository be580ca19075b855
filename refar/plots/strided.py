"""A conceptual network on one window beside the practical graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refar import conceptual as concepts
from refar.errors import GraphError
from refar.plots.dots import ACROSS, BOW, DOTS, UP, arrows, points, ruler, unit
from refar.plots.style import BLUE, FAINT, INK, ORANGE, place, sheet


@dataclass
class Level:
    """The input or a layer of a conceptual network: the offsets at which one window has a value, and those y_t needs."""

    label: str
    dilation: int = 1
    taps: tuple[int, ...] = ()
    skip: bool = False
    there: tuple[int, ...] = ()
    used: frozenset[int] = frozenset()


def levels(net: concepts.Network) -> list[Level]:
    """The input, then every layer; a flatten is part of the dense layer above it."""
    found = [Level("input", there=tuple(range(concepts.receptive_field(net))))]
    flattened, spacing = 1, 1
    above = zip(net.layers, concepts.names(net), concepts.dilations(net), concepts.widths(net)[1:], strict=True)
    for layer, name, dilation, width in above:
        kernel, stride, own = concepts.geometry(layer)
        spacing *= stride
        if isinstance(layer, concepts.Flatten):
            flattened = kernel
            continue
        if isinstance(layer, concepts.Dense):
            kernel, flattened = flattened, 1
        words: list[str] = [layer.kind] if isinstance(layer, concepts.Pool) else []
        words += [f"kernel {kernel}"] if kernel > 1 and not isinstance(layer, concepts.Dense) else []
        words += [f"stride {stride}"] if stride > 1 and width > 1 else []
        words += [f"dilation {own}"] if own > 1 else []
        found.append(
            Level(
                name + "\n" * bool(words) + ", ".join(words),
                dilation,
                tuple(k * dilation for k in range(kernel)),
                isinstance(layer, concepts.Conv) and layer.skip is not None,
                tuple(spacing * j for j in range(width)),
            )
        )
    found[-1].used = frozenset({0})
    for level, below in zip(found[:0:-1], found[-2::-1], strict=True):
        below.used = frozenset(here + tap for here in level.used for tap in level.taps)
    return found


def fits(net: concepts.Network) -> bool:
    """Whether a window is short enough for a dot at every position, twice."""
    return concepts.receptive_field(net) <= DOTS[0] // 2 and len(levels(net)) <= DOTS[1]


def conceptual(net: concepts.Network) -> Figure:
    """The network on one window, with its strides, beside the practical graph, with the dilations that take their place.

    What one window computes for y_t is filled; on the right, the arrows of all other outputs stand behind it.
    Raises GraphError where the window is too long for a dot at every position.
    """
    shown = levels(net)
    span = concepts.receptive_field(net)
    if not fits(net):
        raise GraphError(f"a window of {span} positions and {len(shown) - 1} layers is too large to draw; draw its `field`")
    width, height = min(max(2.1, ACROSS * span), 4.2), UP * len(shown)
    longest = max(len(line) for level in shown for line in level.label.splitlines())
    left, between, right, bottom, top = 0.3 + 0.068 * longest, 1.1, 0.25, 0.45, 0.4
    figure = sheet(left + between + right + 2 * width, bottom + height + top)
    for practical in (False, True):
        axes = place(figure, left + practical * (width + between), bottom, width, height)
        axes.set_xlim(-span + 0.5, 0.5)
        axes.set_ylim(-0.5, len(shown) - 0.5)
        _levels(axes, shown, span, practical)
        labels = [f"dilation {level.dilation}" if practical and len(level.taps) > 1 else "" for level in shown]
        axes.set_yticks(range(len(shown)), labels if practical else [level.label for level in shown])
        title = "in practice, at every position" if practical else f"one window of {span}"
        axes.set_title(title, color=INK, loc="left", size=10)
    return figure


def _levels(axes: Axes, shown: Sequence[Level], span: int, practical: bool) -> None:
    ruler(axes, range(span), room=int(unit(axes) * span / 0.45))
    for y, level in enumerate(shown):
        there = range(span) if practical else level.there
        axes.scatter(*points(there, y), s=26, color="white", edgecolors=FAINT, linewidths=0.8, zorder=2)
        axes.scatter(*points(level.used, y), s=26, color=ORANGE if y == len(shown) - 1 else BLUE if y else INK, zorder=3)
        if practical:
            others = [(here + tap, here) for here in range(span) for tap in level.taps if here + tap < span]
            arrows(axes, [(-there, y - 1, -here, y) for there, here in others if here not in level.used], 1, FAINT)
        arrows(axes, [(-here - tap, y - 1, -here, y) for here in level.used for tap in level.taps], 0.75)
        for here in level.used if level.skip else ():
            axes.annotate("", (-here, y), (-here, y - 1), arrowprops=BOW | {"color": ORANGE, "lw": 0.9}, zorder=1)
