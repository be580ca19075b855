"""Colours of an image that see each other in order: which channel belongs to which, found by the zeros of the weights.

A graph's channel j belongs to colour j mod n. Networks often keep the channels of a colour side by side, so they are put in
another order: n channels, one of each colour in turn, and so on. Weights are permuted, and compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

import msgspec
import numpy as np
from numpy.typing import NDArray

from refar import ops
from refar.analysis.masks import mask_oihw
from refar.analysis.windows import kernel_steps
from refar.arguments.arrays import Array
from refar.importing.draft import Planned

Whole = NDArray[np.int64]
Nodes = Mapping[str, Planned]


@dataclass
class Channels:
    """The channels of all nodes, by numbers. Those that must have the same place in two nodes are one: they have the same `root`.

    `pixels` are the sequence and its lookups. `classes` are those of inputs, by the number of their first channel.
    """

    nodes: Nodes
    own: dict[str, Whole] = field(default_factory=dict)
    parent: list[int] = field(default_factory=list)
    pixels: set[str] = field(default_factory=set)
    classes: dict[int, int] = field(default_factory=dict)

    def new(self, count: int) -> Whole:
        """Return numbers of channels that were not there before."""
        first = len(self.parent)
        self.parent += range(first, first + count)
        return np.arange(first, first + count)

    def root(self, number: int) -> int:
        """Return the number that stands for all channels that are one with this."""
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def roots(self, name: str) -> Whole:
        """Return the roots of a node's channels."""
        return np.array([self.root(int(number)) for number in self.own[name]], int)

    def tie(self, one: Whole, other: Whole) -> None:
        """Make channels one, in pairs."""
        for a, b in zip(one, other, strict=True):
            self.parent[self.root(int(b))] = self.root(int(a))


@dataclass(frozen=True)
class Ordered:
    """Nodes with channels in the order of colours; the old places of each node's channels, by its name."""

    nodes: dict[str, Planned]
    order: dict[str, Whole]

    @property
    def moved(self) -> bool:
        """Whether some channel has another place than before."""
        return not _kept(*self.order.values())


def in_order(nodes: Nodes, output: str, colours: int, wanted: Whole | None) -> Ordered | None:
    """Return the nodes with channels in the order of colours, or None where no such order was found.

    `wanted` are the colours of the output's channels, if they are known.
    """
    channels = _tied(nodes, colours)
    levels = _levels(nodes, channels, colours)
    found = _assigned(channels, levels, output, colours, wanted)
    if found is None:
        return None
    order = {name: _places(array, colours) for name, array in found.items()}
    made = {name: _rewritten(node, name, found, order, colours) for name, node in nodes.items()}
    if any(node is None for node in made.values()):
        return None
    return Ordered({name: node for name, node in made.items() if node is not None}, order)


def _places(array: Whole, colours: int) -> Whole:
    """Return the channels in a graph's order: one of each colour in turn, those of a colour in the order in which they were."""
    if not array.size or array[0] < 0:
        return np.arange(array.size)
    return np.stack([np.flatnonzero(array == colour) for colour in range(colours)], axis=1).reshape(-1)


def _tied(nodes: Nodes, colours: int) -> Channels:
    """Number the channels of all nodes: those that an operator keeps in their places keep their numbers."""
    channels = Channels(nodes)
    for name, node in nodes.items():
        given = [channels.own[source] for source in node.inputs]
        channels.own[name] = _numbered(channels, node.op, given)
        of_sequence = isinstance(node.op, ops.Input) and node.op.role == "sequence"
        if of_sequence or _looks_up(node, nodes, channels):
            channels.pixels.add(name)
    return channels


def _looks_up(node: Planned, nodes: Nodes, channels: Channels) -> bool:
    """Whether a node looks up the classes of pixels."""
    source = nodes[node.inputs[0]].op if node.inputs else None
    return isinstance(source, ops.Input) and source.classes > 0 and node.inputs[0] in channels.pixels


def _numbered(channels: Channels, op: ops.AnyOp, given: list[Whole]) -> Whole:
    """Return the numbers of the channels of a node's value."""
    match op:
        case ops.Input():
            made = channels.new(op.channels if op.channels else 1)
            channels.classes[int(made[0])] = op.classes
            return made
        case ops.Conv2d() | ops.Conv1d():
            depthwise = op.groups == op.channels == given[0].size > 1
            return given[0] if depthwise else channels.new(op.channels)
        case ops.Slice():
            return given[0][op.start : op.stop]
        case ops.Concat():
            return np.concatenate(given)
        case ops.PadChannels():
            return np.concatenate([channels.new(op.before), given[0], channels.new(op.after)])
        case ops.Embedding():
            return channels.new(op.channels * given[0].size)
        case ops.OneHot():
            return channels.new(channels.classes[int(given[0][0])] * given[0].size)
        case ops.Standardize():
            return channels.new(given[0].size)
        case ops.Ones():
            return channels.new(1)
        case ops.Position():
            return channels.new(2 * op.bits)
        case ops.Gate():
            return channels.new(given[0].size // 2)
        case ops.Shift() | ops.Pool1d() | ops.Shift2d() | ops.Activation() | ops.Affine() | ops.Softmax() | ops.Dropout():
            return given[0]
        case ops.ScaleShift() | ops.PRelu() | ops.Norm():
            return given[0]
        case ops.Add() | ops.Multiply():
            for other in given[1:]:
                channels.tie(given[0], other)
            return given[0]
        case _:
            assert_never(op)


def _levels(nodes: Nodes, channels: Channels, colours: int) -> dict[str, Whole]:
    """Return for each channel of each node the last colour of its own pixel that it sees, or -1."""
    found = dict[str, Whole]()
    for name, node in nodes.items():
        size = channels.own[name].size
        pixels = name in channels.pixels
        found[name] = np.arange(size) % colours if pixels else _seen(node, [found[source] for source in node.inputs], size)
    return found


def _seen(node: Planned, given: list[Whole], size: int) -> Whole:
    """Return the last colour of its own pixel that each channel of a value sees, from those of its inputs."""
    op, nothing = node.op, np.full(size, -1)
    match op:
        case ops.Conv2d():
            seen: Whole = np.where(own_tap(op, node.params["weight"]), given[0], -1).max(axis=1)
            return seen
        case ops.Shift2d():
            return given[0] if (op.down, op.right) == (0, 0) else nothing
        case ops.Softmax() | ops.Norm():
            return np.full(size, given[0].max())
        case ops.Slice():
            return given[0][op.start : op.stop]
        case ops.Concat():
            return np.concatenate(given)
        case ops.PadChannels():
            return np.pad(given[0], (op.before, op.after), constant_values=-1)
        case ops.Gate():
            return np.maximum(given[0][:size], given[0][size:])
        case ops.Activation() | ops.PRelu() | ops.Affine() | ops.ScaleShift() | ops.Add() | ops.Multiply() | ops.Dropout():
            return np.asarray(np.max(given, axis=0))
        case ops.Input() | ops.OneHot() | ops.Embedding() | ops.Standardize() | ops.Ones() | ops.Position():
            return nothing  # of a condition, or of what has no colour
        case ops.Conv1d() | ops.Shift() | ops.Pool1d():
            return nothing  # of a constant
        case _:
            assert_never(op)


def own_tap(op: ops.Conv2d, weight: Array) -> NDArray[np.bool_]:
    """Return which input channels each output channel sees at the pixel itself: (outputs, inputs)."""
    outputs, fan_in = weight.shape[:2]
    seen = np.zeros((outputs, fan_in * op.groups), bool)
    here = [(u, v) for u, row in enumerate(kernel_steps(op)) for v, step in enumerate(row) if step == (0, 0)]
    shown = (weight != 0) & mask_oihw(op, weight.shape)
    for u, v in here:
        for o in range(outputs):
            first = o // (outputs // op.groups) * fan_in
            seen[o, first : first + fan_in] |= shown[o, :, u, v]
    return seen


def _assigned(
    channels: Channels, levels: Mapping[str, Whole], output: str, colours: int, wanted: Whole | None
) -> dict[str, Whole] | None:
    """Return the colour of each channel of each node, -1 throughout a node whose channels have none; or None."""
    least, taken = _least(channels, levels, colours)
    if wanted is not None and not _take(taken, channels.roots(output), wanted):
        return None
    for name, node in channels.nodes.items():
        roots = channels.roots(name)
        bound = np.array([least.get(root, 0) for root in roots])
        if isinstance(node.op, ops.Input) or not (bound.any() or any(root in taken for root in roots)):
            continue
        for pattern in _patterns(bound, colours):
            fits = (pattern >= bound).all() and len(set(np.bincount(pattern, minlength=colours))) == 1
            if fits and _take(taken, roots, pattern):
                break
        else:
            return None
    found = {name: np.array([taken.get(root, -1) for root in channels.roots(name)], int) for name in channels.nodes}
    return None if any((array < 0).any() and (array >= 0).any() for array in found.values()) else found


def _least(channels: Channels, levels: Mapping[str, Whole], colours: int) -> tuple[dict[int, int], dict[int, int]]:
    """Return by roots the first colour that each channel may have, and the colours of those that have one: the pixels'.

    Channels that see all colours of their pixel have none; a later node hides what they see.
    """
    least, taken = dict[int, int](), dict[int, int]()
    for name in channels.nodes:
        for number, (root, level) in enumerate(zip(channels.roots(name), levels[name], strict=True)):
            if name in channels.pixels:
                taken[int(root)] = number % colours
            elif level < colours - 1:
                least[int(root)] = max(least.get(int(root), 0), int(level) + 1)
    return {root: n for root, n in least.items() if root not in taken}, taken


def _take(taken: dict[int, int], roots: Whole, pattern: Whole) -> bool:
    """Give channels these colours, unless one of them has another."""
    pairs = [(int(root), int(colour)) for root, colour in zip(roots, pattern, strict=True)]
    if any(taken.get(root, colour) != colour for root, colour in pairs) or len(dict(pairs)) != len(set(pairs)):
        return False
    taken.update(pairs)
    return True


def _patterns(bound: Whole, colours: int) -> Iterator[Whole]:
    """List the ways in which a node may keep its colours: as its weights show, side by side, that in each half, in turn."""
    count = np.arange(bound.size)
    yield bound
    yield count * colours // bound.size
    if bound.size % 2 == 0:
        half = bound.size // 2
        yield count % half * colours // half
    yield count % colours


def _rewritten(
    node: Planned,
    name: str,
    found: Mapping[str, Whole],
    order: Mapping[str, Whole],
    colours: int,
) -> Planned | None:
    """Return a node with its channels in order, or None for one that cannot have them so."""
    own, given = order[name], [order[source] for source in node.inputs]
    op, params, same = node.op, node.params, all(np.array_equal(own, each) for each in given)
    match op:
        case ops.Conv2d():
            permuted = _permuted(op, params, own, given[0])
            if permuted is None:
                return None
            masked = _masked(op, own_tap(op, params["weight"]), found[node.inputs[0]], found[name], colours)
            return replace(node, op=masked, params=permuted)
        case ops.Conv1d():
            permuted = _permuted(op, params, own, given[0])
            return None if permuted is None else replace(node, params=permuted)
        case ops.Embedding():
            if given[0].size > 1:
                return node if _kept(own) else None
            return replace(node, params={"weight": params["weight"][:, own]})
        case ops.ScaleShift() | ops.PRelu() | ops.Norm():
            return replace(node, params={last: array[own] for last, array in params.items()}) if same else None
        case ops.Slice():
            fits = np.array_equal(given[0][op.start : op.stop], op.start + own)
        case ops.Concat():
            firsts = np.cumsum([0, *(each.size for each in given[:-1])])
            fits = np.array_equal(own, np.concatenate([first + each for first, each in zip(firsts, given, strict=True)]))
        case ops.PadChannels():
            fits = np.array_equal(own[op.before : op.before + given[0].size], op.before + given[0])
        case ops.Activation() | ops.Affine() | ops.Shift2d() | ops.Add() | ops.Multiply() | ops.Softmax() | ops.Dropout():
            fits = same
        case ops.Input() | ops.OneHot() | ops.Standardize() | ops.Ones() | ops.Position():
            fits = _kept(own)
        case ops.Gate() | ops.Shift() | ops.Pool1d():
            fits = _kept(own, *given)
        case _:
            assert_never(op)
    return node if fits else None


def _permuted(op: ops.Conv2d | ops.Conv1d, params: dict[str, Array], own: Whole, given: Whole) -> dict[str, Array] | None:
    """Return the parameters of a convolution for channels in other places, or None where its groups part them."""
    depthwise = op.groups == op.channels == given.size
    if op.groups > 1 and not depthwise and not _kept(own, given):
        return None
    found = {last: array[own] for last, array in params.items()}
    return found if op.groups > 1 else found | {"weight": found["weight"][:, given]}


def _kept(*orders: Whole) -> bool:
    """Whether channels keep their places."""
    return all(np.array_equal(order, np.arange(order.size)) for order in orders)


def _masked(op: ops.Conv2d, seen: NDArray[np.bool_], before: Whole, after: Whole, colours: int) -> ops.Conv2d:
    """Return a convolution whose mask hides the colours that none of its weights shows; as it is where there is none."""
    shown = {step for row in kernel_steps(op) for step in row if step < (0, 0)}
    below = op.mask == "none" and shown
    divided = after.size % colours == 0 and before.size % colours == 0
    if below or not divided or (before < 0).any() or (after < 0).any() or not seen.any():
        return op
    pairs = [(before[i], after[o]) for o, i in zip(*np.nonzero(seen), strict=True)]
    if all(i < o for i, o in pairs):
        return msgspec.structs.replace(op, mask="A", colours=colours)
    if all(i <= o for i, o in pairs):
        return msgspec.structs.replace(op, mask="B", colours=colours)
    return op
