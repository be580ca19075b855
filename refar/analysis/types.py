"""What a node's value is: its type and its parameters, from those of its inputs. Each operator's demands on what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from refar import ops
from refar.analysis.rules import refuse
from refar.graph.graph import Node


@dataclass(frozen=True)
class Type:
    """What a node's value is: `size` classes (indexed) or channels; one value per position (timed) or one per sequence.

    x_bt: indexed and timed. x_bct: timed. c_b: indexed. c_bc: neither. Over a `plane` both are x_bchw. `colours`: how many
    channels class indices over a plane have; or n, where masked convolutions keep channel j of real values for colour j mod n.
    """

    size: int
    indexed: bool
    timed: bool
    plane: bool = False
    colours: int = 1

    @property
    def axes(self) -> str:
        """The axes of an array of this type: 'bt', 'bct', 'b', 'bc' or 'bchw'."""
        space = "hw" if self.plane else "t"
        return "b" + ("" if self.indexed and not self.plane else "c") + (space if self.timed else "")

    @property
    def channels(self) -> int:
        """The length of axis c."""
        return self.colours if self.indexed else self.size

    def __str__(self) -> str:
        what = f"{self.size} {'classes' if self.indexed else 'channels'}"
        of = f" of {self.colours} colours" if self.indexed and self.colours > 1 else ""
        return f"{what}{of} {'constant' if not self.timed else 'over the plane' if self.plane else 'over time'}"


def type_of(node: Node, sources: Sequence[Type]) -> Type:
    """The type of a node's value. Raises GraphError naming the node, what it expects, and what came."""
    op = node.op
    match op:
        case ops.Input():
            return _input(node, op)
        case ops.Conv1d():
            source = _line(node, sources[0])
            if not source.timed and (op.kernel > 1 or op.strict):
                raise refuse(node, "kernel 1 and no strictness on a constant value, which has no past", op)
            _check_groups(node, source.size, op.channels, op.groups)
            return Type(op.channels, False, source.timed)
        case ops.Shift():
            source = _line(node, sources[0])
            if not source.timed:
                raise refuse(node, "a value over time to delay", source)
            return source
        case ops.Pool1d():
            source = _line(node, sources[0])
            if not all(s.timed for s in sources):
                raise refuse(node, "a value over time to pool", source)
            return source
        case ops.Conv2d():
            return _conv2d(node, op, _plane(node, _real(node, sources[0])))
        case ops.Shift2d():
            return _plane(node, _real(node, sources[0]))
        case ops.Position():
            return Type(2 * op.bits, False, True, _plane(node, sources[0]).plane)
        case ops.Ones():
            return _over(sources, 1)
        case ops.OneHot():
            source = _indexed(node, sources[0])
            return _over(sources, source.size * source.colours)
        case ops.Embedding():
            return _over(sources, op.channels * _indexed(node, sources[0]).colours)
        case ops.Standardize():
            return _over(sources, _indexed(node, sources[0]).colours)
        case ops.Activation() | ops.Affine() | ops.Softmax():
            return _real(node, sources[0])
        case ops.Gate():
            source = _real(node, sources[0])
            if source.size % 2:
                raise refuse(node, "an even number of channels, half for tanh and half for sigmoid", source.size)
            if source.size // 2 % source.colours:  # channel j of one half and j of the other must be one colour's
                came = f"halves of {source.size // 2} channels"
                raise refuse(node, f"halves that {source.colours} colours divide, so that no colour sees another's", came)
            return _over(sources, source.size // 2, source.colours)
        case ops.Add() | ops.Multiply():
            if len({_real(node, source).size for source in sources}) > 1:
                sizes = [f"{name!r} with {source.size}" for name, source in zip(node.inputs, sources, strict=True)]
                raise refuse(node, "equal channels", ", ".join(sizes))
            return _over(sources, sources[0].size, _common_colours(node, sources))
        case ops.Concat():
            colours, first = _common_colours(node, [_real(node, source) for source in sources]), 0
            for name, source in zip(node.inputs, sources, strict=True):
                if source.colours > 1 and first % colours:
                    came = f"{first} channels before {name!r}"
                    raise refuse(node, f"a multiple of {colours} channels before one whose channels are colours", came)
                first += source.size
            return _over(sources, first, colours)
        case ops.PadChannels():
            source = _real(node, sources[0])
            if op.before % source.colours:
                raise refuse(node, f"a multiple of {source.colours} channels before, one for each colour", op.before)
            return _over(sources, op.before + source.size + op.after, source.colours)
        case ops.Slice():
            source = _real(node, sources[0])
            if not op.start < op.stop <= source.size:
                raise refuse(node, f"start < stop ≤ {source.size} channels", f"start={op.start}, stop={op.stop}")
            if op.start % source.colours:
                raise refuse(node, f"a start that {source.colours} colours divide, so that channels keep theirs", op.start)
            return _over(sources, op.stop - op.start, source.colours)
        case _:
            assert_never(op)


def _input(node: Node, op: ops.Input) -> Type:
    plane = op.axes == "hw"
    came = f"classes={op.classes}, channels={op.channels}"
    if op.classes == 1:
        raise refuse(node, "classes ≥ 2", op.classes)
    if plane and op.role == "global":
        raise refuse(node, "a condition over the plane to be local", "a global one")
    if plane and not op.channels:
        raise refuse(node, "channels ≥ 1: how many a pixel has", came)
    if not plane and (op.classes > 0) == (op.channels > 0):
        raise refuse(node, "either classes ≥ 2 or channels ≥ 1, and the other left out", came)
    colours = op.channels if plane and op.classes else 1
    return Type(op.classes or op.channels, op.classes > 0, op.role != "global", plane, colours)


def _conv2d(node: Node, op: ops.Conv2d, source: Type) -> Type:
    _check_groups(node, source.size, op.channels, op.groups)
    for side, name in zip(op.kernel, ("rows", "columns"), strict=True):
        if op.anchor is None and side % 2 == 0:
            raise refuse(node, f"an anchor, since a kernel of {side} {name} has no centre", "none")
    if op.anchor is not None and not all(a < side for a, side in zip(op.anchor, op.kernel, strict=True)):
        raise refuse(node, f"an anchor inside the kernel {op.kernel}", op.anchor)
    if op.colours == 1:
        return Type(op.channels, False, True, True)
    if op.mask == "none":
        raise refuse(node, "mask 'A' or 'B' with colours, which is what they order", "'none'")
    if source.size % op.colours or op.channels % op.colours:
        came = f"{source.size} input and {op.channels} output channels"
        raise refuse(node, f"channels that {op.colours} colours divide", came)
    return Type(op.channels, False, True, True, op.colours)


def _check_groups(node: Node, fan_in: int, fan_out: int, groups: int) -> None:
    if fan_in % groups or fan_out % groups:
        raise refuse(node, f"channels that {groups} groups divide", f"{fan_in} input and {fan_out} output channels")


def _over(sources: Sequence[Type], size: int, colours: int = 1) -> Type:
    """Real values over time, over the plane, or constant, as the sources together are."""
    return Type(size, False, any(s.timed for s in sources), any(s.plane for s in sources), colours)


def _common_colours(node: Node, sources: Sequence[Type]) -> int:
    found = {source.colours for source in sources} - {1}
    if len(found) > 1:
        raise refuse(node, "values whose channels belong to equally many colours", " and ".join(map(str, sorted(found))))
    return found.pop() if found else 1


def _real(node: Node, source: Type) -> Type:
    if source.indexed:
        raise refuse(node, "real values (put one_hot, embedding or standardize before it)", source)
    return source


def _line(node: Node, source: Type) -> Type:
    if _real(node, source).plane:
        raise refuse(node, "values over time (over a plane there are conv2d and shift2d)", source)
    return source


def _plane(node: Node, source: Type) -> Type:
    if not source.plane:
        raise refuse(node, "values over a plane (an input with axes='hw')", source)
    return source


def _indexed(node: Node, source: Type) -> Type:
    if not source.indexed:
        raise refuse(node, "class indices", source)
    return source


def parameters_of(node: Node, sources: Sequence[Type]) -> dict[str, tuple[int, ...]]:
    """The shapes of a node's own parameters, by their last names."""
    match node.op:
        case ops.Conv1d() | ops.Conv2d() as op:
            kernel = (op.kernel,) if isinstance(op, ops.Conv1d) else op.kernel
            shapes: dict[str, tuple[int, ...]] = {"weight": (op.channels, sources[0].size // op.groups, *kernel)}
            return shapes | {"bias": (op.channels,)} if op.bias else shapes
        case ops.Embedding() as op:
            return {"weight": (sources[0].size, op.channels)}
        case _:
            return {}
