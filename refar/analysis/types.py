"""The rule of each operator: how many inputs it takes, what they must be, what its value is, and its parameters.

One match over all operators. Offsets of pointwise operators follow from here too: `reads` says which channels of its inputs
each channel of the value is computed from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import assert_never

from refar import ops
from refar.analysis.windows import sees, steps
from refar.errors import GraphError
from refar.graph.graph import Node


@dataclass(frozen=True)
class Type:
    """What a node's value is: `size` classes (indexed) or channels; one value per position (timed) or one per sequence.

    x_bt: indexed and timed. x_bct: timed. c_b: indexed. c_bc: neither. In an `image` both are x_bchw. `colours`: how many
    colour channels class indices of an image have; or n, where masked convolutions keep channel j for colour j mod n.
    """

    size: int
    indexed: bool
    timed: bool
    image: bool = False
    colours: int = 1

    axes: str = field(init=False, repr=False, compare=False)
    """The axes of an array of this type: 'bt', 'bct', 'b', 'bc' or 'bchw'."""

    def __post_init__(self) -> None:
        space = "hw" if self.image else "t"
        channels = "" if self.indexed and not self.image else "c"
        object.__setattr__(self, "axes", "b" + channels + (space if self.timed else ""))

    @property
    def channels(self) -> int:
        """The length of axis c."""
        return self.colours if self.indexed else self.size

    @cached_property
    def at_once(self) -> Type:
        """The type of a value at one position."""
        return replace(self, timed=False)

    def __str__(self) -> str:
        what = f"{self.size} {'classes' if self.indexed else 'channels'}"
        of = f" of {self.colours} colours" if self.indexed and self.colours > 1 else ""
        return f"{what}{of} {'constant' if not self.timed else 'over an image' if self.image else 'over time'}"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a node: its shape, and the uniform distribution that training starts from, `around` ± `width`."""

    shape: tuple[int, ...]
    width: float
    around: float = 0.0


Reads = Callable[[int], Sequence[tuple[int, int]]]
"""Gives, for a channel of a value, the (input, channel) pairs that it is computed from at its own position."""


@dataclass(frozen=True)
class Rule:
    """What follows for one node: the type of its value, its parameters by their last names, and what each channel reads.

    `reads` is left out by operators that read other positions (their offsets are in `analysis.offsets`), and by those of which
    no channel depends on an input.
    """

    type: Type
    parameters: dict[str, Parameter] = field(default_factory=dict)
    reads: Reads = lambda channel: ()


def refuse(node: Node, expected: str, came: object) -> GraphError:
    """Make the error of a node: what was expected of it, and what came."""
    return GraphError(f"node {node.name!r} ({node.op.__struct_config__.tag}): expected {expected}, got {came}")


def rule(node: Node, sources: Sequence[Type]) -> Rule:
    """Apply the rule of the node's operator to the types of its inputs.

    Raises GraphError naming the node, what it expects, and what came.
    """
    op = node.op
    match op:
        case ops.Input():
            _check_count(node, 0)
            return Rule(_input(node, op))
        case ops.Conv1d():
            _check_count(node, 1)
            source = _sequence(node, sources[0])
            if not source.timed and (op.kernel > 1 or op.strict):
                raise refuse(node, "kernel 1 and no strictness on a constant value, which has no past", op)
            _check_groups(node, source.size, op.channels, op.groups)
            fan_in = source.size // op.groups
            weight = (op.channels, fan_in, op.kernel)
            return Rule(Type(op.channels, False, source.timed), _weights(weight, op.bias, fan_in * op.kernel))
        case ops.Shift():
            _check_count(node, 1)
            source = _sequence(node, sources[0])
            if not source.timed:
                raise refuse(node, "a value over time to delay", source)
            return Rule(source)
        case ops.Pool1d():
            if op.pad == "exclude" and len(sources) != 2:
                raise refuse(node, "two inputs, a value and its `ones`, since padding is left out", len(sources))
            if op.pad == "zero":
                _check_count(node, 1)
            source = _sequence(node, sources[0])
            if not all(s.timed for s in sources):
                raise refuse(node, "a value over time to pool", source)
            return Rule(source)
        case ops.Conv2d():
            _check_count(node, 1)
            source = _image(node, _real(node, sources[0]))
            value = _conv2d(node, op, source)
            weight2d = (op.channels, source.size // op.groups, *op.kernel)
            return Rule(value, _weights(weight2d, op.bias, _visible(op, weight2d[1])))
        case ops.Shift2d():
            _check_count(node, 1)
            return Rule(_image(node, _real(node, sources[0])))
        case ops.Position():
            _check_count(node, 1)
            return Rule(Type(2 * op.bits, False, True, _image(node, sources[0]).image))
        case ops.Ones():
            _check_count(node, 1)
            return Rule(_joined(sources, 1))
        case ops.OneHot():
            _check_count(node, 1)
            source = _indexed(node, sources[0])
            return _lookup(sources, source.size)
        case ops.Embedding():
            _check_count(node, 1)
            table = Parameter((_indexed(node, sources[0]).size, op.channels), math.sqrt(3))
            return _lookup(sources, op.channels, {"weight": table})
        case ops.Standardize():
            _check_count(node, 1)
            _indexed(node, sources[0])
            return _lookup(sources, 1)
        case ops.Activation():
            _check_count(node, 1)
            if not op.low < op.high:
                raise refuse(node, "low < high", f"low={op.low}, high={op.high}")
            return Rule(_real(node, sources[0]), reads=_same)
        case ops.Affine() | ops.Dropout():
            _check_count(node, 1)
            return Rule(_real(node, sources[0]), reads=_same)
        case ops.ScaleShift():
            _check_count(node, 1)
            source = _real(node, sources[0])
            return Rule(source, _of_each_channel(source, op.bias), _same)
        case ops.PRelu():
            _check_count(node, 1)
            source = _real(node, sources[0])
            return Rule(source, {"weight": Parameter((source.size,), 0.0, 0.25)}, _same)
        case ops.Norm():
            _check_count(node, 1)
            source = _real(node, sources[0])
            known = op.kind == "layer" and source.size == 1  # a single channel less its mean is 0
            return Rule(source, _of_each_channel(source, op.bias), _none if known else _every(source))
        case ops.Softmax():
            _check_count(node, 1)
            source = _real(node, sources[0])
            return Rule(source, reads=_every(source) if source.size > 1 else _none)  # over a single channel it is 1
        case ops.Gate():
            _check_count(node, 1)
            source = _real(node, sources[0])
            half = source.size // 2
            if source.size % 2:
                raise refuse(node, "an even number of channels, half for tanh and half for sigmoid", source.size)
            if half % source.colours:  # channel j of one half and j of the other must be one colour's
                came = f"halves of {half} channels"
                raise refuse(node, f"halves that {source.colours} colours divide, so that no colour sees another's", came)
            return Rule(_joined(sources, half, source.colours), reads=lambda c: ((0, c), (0, half + c)))
        case ops.Add() | ops.Multiply():
            _check_several(node)
            if len({_real(node, source).size for source in sources}) > 1:
                sizes = [f"{name!r} with {source.size}" for name, source in zip(node.inputs, sources, strict=True)]
                raise refuse(node, "equal channels", ", ".join(sizes))
            value = _joined(sources, sources[0].size, _common_colours(node, sources))
            return Rule(value, reads=lambda c: [(i, c) for i in range(len(sources))])
        case ops.Concat():
            _check_several(node)
            return _concat(node, sources)
        case ops.PadChannels():
            _check_count(node, 1)
            source = _real(node, sources[0])
            if op.before % source.colours:
                raise refuse(node, f"a multiple of {source.colours} channels before, one for each colour", op.before)
            value = _joined(sources, op.before + source.size + op.after, source.colours)
            return Rule(value, reads=lambda c: _same(c - op.before) if 0 <= c - op.before < source.size else ())
        case ops.Slice():
            _check_count(node, 1)
            source = _real(node, sources[0])
            if not op.start < op.stop <= source.size:
                raise refuse(node, f"start < stop ≤ {source.size} channels", f"start={op.start}, stop={op.stop}")
            if op.start % source.colours:
                raise refuse(node, f"a start that {source.colours} colours divide, so that channels keep theirs", op.start)
            value = _joined(sources, op.stop - op.start, source.colours)
            return Rule(value, reads=lambda c: _same(op.start + c))
        case _:
            assert_never(op)


def _check_count(node: Node, count: int) -> None:
    if len(node.inputs) != count:
        raise refuse(node, {0: "no input", 1: "one input"}[count], len(node.inputs))


def _check_several(node: Node) -> None:
    if len(node.inputs) < 2:
        raise refuse(node, "at least two inputs", len(node.inputs))


def _input(node: Node, op: ops.Input) -> Type:
    image = op.axes == "hw"
    came = f"classes={op.classes}, channels={op.channels}"
    if op.classes == 1:
        raise refuse(node, "classes ≥ 2", op.classes)
    if image and op.role == "global":
        raise refuse(node, "a condition over an image to be local", "a global one")
    if image and not op.channels:
        raise refuse(node, "channels ≥ 1: how many a pixel has", came)
    if not image and (op.classes > 0) == (op.channels > 0):
        raise refuse(node, "either classes ≥ 2 or channels ≥ 1, and the other left out", came)
    colours = op.channels if image and op.classes else 1
    return Type(op.classes or op.channels, op.classes > 0, op.role != "global", image, colours)


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


def _concat(node: Node, sources: Sequence[Type]) -> Rule:
    colours, first = _common_colours(node, [_real(node, source) for source in sources]), 0
    reads: list[tuple[int, int]] = []
    for i, (name, source) in enumerate(zip(node.inputs, sources, strict=True)):
        if source.colours > 1 and first % colours:
            came = f"{first} channels before {name!r}"
            raise refuse(node, f"a multiple of {colours} channels before one whose channels are colours", came)
        first += source.size
        reads += [(i, c) for c in range(source.size)]
    return Rule(_joined(sources, first, colours), reads=lambda c: (reads[c],))


def _lookup(sources: Sequence[Type], size: int, parameters: dict[str, Parameter] | None = None) -> Rule:
    """Channel k of colour c of an image becomes channel k·C + c of its C colours."""
    colours = sources[0].colours
    return Rule(_joined(sources, size * colours), parameters or {}, lambda c: _same(c % colours))


def _weights(shape: tuple[int, ...], bias: bool, fan_in: int) -> dict[str, Parameter]:
    """Weight and bias of a convolution, uniform in ±1/√fan_in."""
    width = 1 / math.sqrt(max(1, fan_in))
    weight = {"weight": Parameter(shape, width)}
    return weight | {"bias": Parameter(shape[:1], width)} if bias else weight


def _of_each_channel(source: Type, bias: bool) -> dict[str, Parameter]:
    """Scale and shift of each channel, which change nothing when training starts."""
    weight = {"weight": Parameter((source.size,), 0.0, 1.0)}
    return weight | {"bias": Parameter((source.size,), 0.0)} if bias else weight


def _visible(op: ops.Conv2d, fan_in: int) -> int:
    """Count the weights that the mask shows to the output channel that sees most."""
    elsewhere, fan_out = len(steps(op) - {(0, 0)}) * fan_in, op.channels // op.groups
    if (0, 0) not in steps(op):
        return elsewhere
    wanted = {(o // fan_out, o % op.colours) for o in range(op.channels)}
    here = [sum(sees(op, (0, 0), i, c) for i in range(g * fan_in, (g + 1) * fan_in)) for g, c in wanted]
    return elsewhere + max(here)


def _every(source: Type) -> Reads:
    every = [(0, c) for c in range(source.size)]
    return lambda channel: every


def _none(channel: int) -> tuple[()]:
    return ()


def _same(channel: int) -> tuple[tuple[int, int]]:
    return ((0, channel),)


def _check_groups(node: Node, fan_in: int, fan_out: int, groups: int) -> None:
    if fan_in % groups or fan_out % groups:
        raise refuse(node, f"channels that {groups} groups divide", f"{fan_in} input and {fan_out} output channels")


def _joined(sources: Sequence[Type], size: int, colours: int = 1) -> Type:
    """Real values over time, in an image, or constant, as the sources together are."""
    return Type(size, False, any(s.timed for s in sources), any(s.image for s in sources), colours)


def _common_colours(node: Node, sources: Sequence[Type]) -> int:
    found = {source.colours for source in sources} - {1}
    if len(found) > 1:
        raise refuse(node, "values whose channels belong to equally many colours", " and ".join(map(str, sorted(found))))
    return found.pop() if found else 1


def _real(node: Node, source: Type) -> Type:
    if source.indexed:
        raise refuse(node, "real values (put one_hot, embedding or standardize before it)", source)
    return source


def _sequence(node: Node, source: Type) -> Type:
    if _real(node, source).image:
        raise refuse(node, "values over time (of images there are conv2d and shift2d)", source)
    return source


def _image(node: Node, source: Type) -> Type:
    if not source.image:
        raise refuse(node, "values over an image (an input with axes='hw')", source)
    return source


def _indexed(node: Node, source: Type) -> Type:
    if not source.indexed:
        raise refuse(node, "class indices", source)
    return source
