"""A table with an example of every operator, kinds included: what the contract, the bounds, the strategies and the fuzzer run.

An operator, or a kind of one, that has no example here fails a test; with one it goes through every law and bound. Those in
`POINTWISE` are drawn in random networks as they stand here; `testing.strategies` draws the others with attributes of its own, and
golden/workshop has cases of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from refar import ops
from refar.building.builder import Builder
from refar.graph.graph import Graph


@dataclass(frozen=True)
class Value:
    """A real value under construction: its name, its channels, and whether it is an image.

    Its channels are a multiple of `colours`; if `ordered`, channel j belongs to colour j mod `colours`.
    """

    name: str
    channels: int
    colours: int = 1
    image: bool = False
    ordered: bool = False

    def then(self, name: str, channels: int | None = None) -> Value:
        """The value that an operator makes of this one."""
        return replace(self, name=name, channels=self.channels if channels is None else channels)


Apply = Callable[[Builder, Value], Value]
"""Adds an operator, and what it needs around it, to a value."""


@dataclass(frozen=True)
class Example:
    """One use of an operator on a real value.

    `space` says where it fits: sequences "t", images "hw", or both "any". `apply` adds it; `integral` does so with attributes
    that keep integers integers, and is None where the operator has an exponential. One that `joins` lets the channels of all
    colours see each other.
    """

    name: str
    apply: Apply
    integral: Apply | None
    space: Literal["t", "hw", "any"] = "any"
    joins: bool = False


def mixed(g: Builder, x: Value, channels: int) -> str:
    """A convolution of kernel 1, which keeps the order of colours."""
    if not x.image:
        return g.conv1d(x.name, channels)
    return g.conv2d(x.name, channels, mask="B", colours=x.colours) if x.ordered else g.conv2d(x.name, channels)


def _plain(add: Callable[[Builder, str], str]) -> Apply:
    """An operator that keeps the channels."""
    return lambda g, x: x.then(add(g, x.name))


def _of(size: int, kept: int, add: Callable[[Builder, str], str]) -> Apply:
    """An operator on `size` channels of each colour, of which `kept` remain."""
    return lambda g, x: x.then(add(g, mixed(g, x, size * x.colours)), kept * x.colours)


def _joining(size: int, add: Callable[[Builder, str], str]) -> Apply:
    """An operator on `size` channels of each colour that see all colours, since it joins them anyway."""

    def apply(g: Builder, x: Value) -> Value:
        free = replace(x, ordered=False)
        return free.then(add(g, mixed(g, free, size * x.colours)), size * x.colours)

    return apply


def _with_ones(g: Builder, x: Value) -> Value:
    return x.then(g.concat(x.name, g.add_op(ops.Ones(), x.name)), x.channels + 1)


def _with_position(g: Builder, x: Value) -> Value:
    bits = 3 if x.colours == 3 else 2  # the channels stay a multiple of the colours
    return x.then(g.concat(x.name, g.position(x.name, bits)), x.channels + 2 * bits)


POINTWISE = (
    Example("relu", _of(3, 3, lambda g, x: g.relu(x)), _of(3, 3, lambda g, x: g.relu(x))),
    Example("leaky_relu", _plain(lambda g, x: g.leaky_relu(x, 0.2)), _plain(lambda g, x: g.leaky_relu(x, 2))),
    Example("tanh", _plain(lambda g, x: g.tanh(x)), None),
    Example("sigmoid", _plain(lambda g, x: g.sigmoid(x)), None),
    Example("elu", _plain(lambda g, x: g.elu(x, 0.7)), None),
    Example("selu", _plain(lambda g, x: g.selu(x)), None),
    Example("gelu", _plain(lambda g, x: g.gelu(x)), None),
    Example("gelu_tanh", _plain(lambda g, x: g.gelu_tanh(x)), None),
    Example("silu", _plain(lambda g, x: g.silu(x)), None),
    Example("softplus", _plain(lambda g, x: g.softplus(x)), None),
    Example("softsign", _plain(lambda g, x: g.softsign(x)), None),
    Example("clip", _plain(lambda g, x: g.clip(x, -0.7, 0.9)), _plain(lambda g, x: g.clip(x, -2, 3))),
    Example("hard_sigmoid", _plain(lambda g, x: g.hard_sigmoid(x)), None),
    Example("hard_swish", _plain(lambda g, x: g.hard_swish(x)), None),
    Example("mish", _plain(lambda g, x: g.mish(x)), None),
    Example("sin", _plain(lambda g, x: g.sin(x)), None),
    Example("snake", _plain(lambda g, x: g.snake(x, 0.8)), None),
    Example("gate", _of(4, 2, lambda g, x: g.gate(x)), None),
    Example("softmax", _joining(2, lambda g, x: g.softmax(x)), None, joins=True),
    Example("dropout", _plain(lambda g, x: g.dropout(x, 0.3)), _plain(lambda g, x: g.dropout(x, 0.3))),
    Example("affine", _plain(lambda g, x: g.affine(x, 0.7, -0.3)), _plain(lambda g, x: g.affine(x, 2, 1))),
    Example("scale_shift", _plain(lambda g, x: g.scale_shift(x)), _plain(lambda g, x: g.scale_shift(x))),
    Example("prelu", _plain(lambda g, x: g.prelu(x)), _plain(lambda g, x: g.prelu(x))),
    Example("layer_norm", _joining(3, lambda g, x: g.layer_norm(x, 0.1)), None, joins=True),
    Example("rms_norm", _joining(3, lambda g, x: g.rms_norm(x, 0.1)), None, joins=True),
    Example("ones", _with_ones, _with_ones, "t"),
    Example("position", _with_position, _with_position, "hw"),
)
"""Operators that look at one position only, drawn as they stand here. A new one needs a line, and no other change here."""


def _twice(add: Callable[[Builder, str, str], str]) -> Apply:
    """An operator on two values."""
    return lambda g, x: x.then(add(g, mixed(g, x, x.channels), mixed(g, x, x.channels)))


def _joined(g: Builder, x: Value) -> Value:
    return x.then(g.concat(x.name, x.name), 2 * x.channels)


def _part(g: Builder, x: Value) -> Value:
    return x.then(g.slice(x.name, 0, x.colours), x.colours)


def _padded(g: Builder, x: Value) -> Value:
    return x.then(g.pad_channels(x.name, x.colours, 2 * x.colours), x.channels + 3 * x.colours)


def _conv1d(*, strict: bool = False, bias: bool = True) -> Apply:
    return lambda g, x: x.then(g.conv1d(x.name, 3, kernel=3, dilation=2, strict=strict, bias=bias), 3)


Mask = Literal["none", "A", "B"]
Kind = Literal["avg", "max"]
Pad = Literal["zero", "exclude"]


def _conv2d(mask: Mask) -> Apply:
    def apply(g: Builder, x: Value) -> Value:
        size = 2 * x.colours
        if mask == "none":
            return replace(x.then(g.conv2d(x.name, size, kernel=(2, 3), anchor=(1, 2)), size), ordered=False)
        return x.then(g.conv2d(x.name, size, kernel=3, dilation=(1, 2), mask=mask, colours=x.colours), size)

    return apply


def _pool(kind: Kind, pad: Pad) -> Apply:
    return lambda g, x: x.then(g.pool1d(x.name, kind, 2, pad=pad, dilation=3))


def _same(name: str, apply: Apply, space: Literal["t", "hw", "any"] = "any") -> Example:
    """An operator that keeps integers integers as it is."""
    return Example(name, apply, apply, space)


OTHERS = (
    _same("conv1d", _conv1d(), "t"),
    _same("conv1d strict", _conv1d(strict=True), "t"),
    _same("conv1d without bias", _conv1d(bias=False), "t"),
    *(_same(f"conv2d mask {mask}", _conv2d(mask), "hw") for mask in get_args(Mask)),
    *(_same(f"pool1d {kind} {pad}", _pool(kind, pad), "t") for kind in get_args(Kind) for pad in get_args(Pad)),
    _same("shift", _plain(lambda g, x: g.delay(x, 2)), "t"),
    _same("shift2d", _plain(lambda g, x: g.shift2d(x, down=1, right=-1)), "hw"),
    _same("slice", _part),
    _same("pad_channels", _padded),
    _same("concat", _joined),
    _same("add", _twice(lambda g, a, b: g.add(a, b))),
    _same("multiply", _twice(lambda g, a, b: g.multiply(a, b))),
)
"""Operators of which the strategies draw attributes or partners of their own."""

LOOKUPS: dict[str, Callable[[Builder, str], tuple[str, int]]] = {
    "one_hot": lambda g, x: (g.one_hot(x), 4),
    "embedding": lambda g, x: (g.embedding(x, 3), 3),
    "standardize": lambda g, x: (g.standardize(x, 1, 0.5), 1),
}
"""Operators on class indices, of which there are 4: the name of the value, and its channels for each colour."""


def example_graphs() -> dict[str, Graph]:
    """Return a small network around each example, in every space that it fits, by name; if in any, on a constant too."""
    found: dict[str, Graph] = {}
    for example in (*OTHERS, *POINTWISE):
        for space in ("t", "hw"):
            if example.space in (space, "any"):
                found[f"{example.name} ({space})"] = _network(example, space == "hw")
        if example.space == "any":
            found[f"{example.name} (constant)"] = _on_a_constant(example)
    for name, lookup in LOOKUPS.items():
        for image in (False, True):
            found[f"{name} ({'hw' if image else 't'})"] = _looked_up(lookup, image)
    return found


def _network(example: Example, image: bool) -> Graph:
    """The example between two convolutions, beside a global and a local condition."""
    g = Builder()
    if image:
        x = g.conv2d(g.image(channels=2), 4, mask="A", kernel=3, colours=2, name="front")
        local = g.conv2d(g.condition("local", channels=2, local=True, axes="hw"), 4, name="of_local")
    else:
        x = g.conv1d(g.input(channels=2), 4, kernel=2, strict=True, name="front")
        local = g.conv1d(g.condition("local", channels=2, local=True), 4, name="of_local")
    h = g.add(x, g.conv1d(g.condition("global", channels=3), 4, name="of_global"), local, name="conditioned")
    y = example.apply(g, Value(h, 4, 2 if image else 1, image, ordered=image))
    return g.build(mixed(g, y, 2 * y.colours))


def _on_a_constant(example: Example) -> Graph:
    """The example on a global condition, which has no positions."""
    g = Builder()
    x = g.conv1d(g.input(channels=2), 4, kernel=2, strict=True, name="front")
    y = example.apply(g, Value(g.conv1d(g.condition("global", channels=3), 4, name="constant"), 4))
    return g.build(g.add(x, g.conv1d(y.name, 4, name="of_constant")))


def _looked_up(lookup: Callable[[Builder, str], tuple[str, int]], image: bool) -> Graph:
    g = Builder()
    if image:
        h, _ = lookup(g, g.image(classes=4, channels=2))
        return g.build(g.conv2d(h, 8, kernel=3, mask="A", colours=2), ops.Categorical())
    h, _ = lookup(g, g.input(classes=4))
    return g.build(g.conv1d(h, 4, kernel=2, strict=True), ops.Categorical())
