"""The builder: one method for each operator, and a graph at the end, checked as if it had been read from JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from types import UnionType
from typing import Literal, TypeVar

import msgspec

from refar import ops
from refar.analysis.facts import validated
from refar.errors import GraphError
from refar.graph.decode import convert, plain, tagged
from refar.graph.graph import Graph, Node, Padding, unread
from refar.ops import AnyHead, AnyOp

T = TypeVar("T", bound=msgspec.Struct)


def _checked(place: str, value: T, kinds: UnionType) -> T:
    """An operator or head as if it had been read from JSON, so that numbers of NumPy become Python's."""
    if not isinstance(value, kinds):
        raise GraphError(f"{place}: expected one of {', '.join(tagged(kinds))}, got {value!r}")
    place = f"{place} ({value.__struct_config__.tag})"
    raw = msgspec.to_builtins(value, enc_hook=plain)
    for name, number in raw.items():
        if isinstance(number, float) and not math.isfinite(number):
            raise GraphError(f"{place}: {name}: expected a finite number, got {number}")
    return convert(raw, type(value), place)


class Builder:
    """Collects nodes; every method adds one operator and returns the name of its node.

    Names are given by `name=` or made from the operator's, and stand below the scopes that are open:

        g = Builder()
        x = g.input(classes=4)
        with g.scope("block0"):
            h = g.conv1d(g.one_hot(x), 8, kernel=2, strict=True, name="front")     # "block0.front"
        graph = g.build(h, head=ops.Categorical())
    """

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._scopes: list[str] = []

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that were added, in their order."""
        return tuple(self._nodes)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Put the nodes made inside below `name`."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def add_op(self, op: AnyOp, *inputs: str, name: str | None = None) -> str:
        """Add any operator. Raises GraphError for attributes that it cannot have."""
        tag = str(op.__struct_config__.tag) if isinstance(op, AnyOp) else "node"
        stem = ".".join([*map(str, self._scopes), tag if name is None else str(name)])
        taken = {node.name for node in self._nodes}
        full, count = stem, 1
        while name is None and full in taken:
            count += 1
            full = f"{stem}_{count}"
        self._nodes.append(Node(full, _checked(f"node {full!r}", op, AnyOp), inputs))
        return full

    def build(self, output: str, head: AnyHead | None = None, *, padding: Padding = "layer") -> Graph:
        """Return the finished graph, checked as if it had been read from JSON.

        Raises GraphError for nodes that have no meaning, and for those that nothing reads: a file may hold such nodes, but who
        builds a graph has forgotten to connect them.
        """
        head = None if head is None else _checked("head", head, AnyHead)
        fields = {"format": "refar-graph", "version": 1, "nodes": self._nodes, "output": output, "head": head, "padding": padding}
        graph = validated(convert(msgspec.to_builtins(fields, enc_hook=plain), Graph, "graph"))
        if left := unread(graph):
            which = f"{'node' if len(left) == 1 else 'nodes'} {', '.join(map(repr, left))}"
            raise GraphError(f"{which}: read by nothing that goes into the output {output!r}; connect or leave out")
        return graph

    def input(self, name: str = "x", *, classes: int = 0, channels: int = 0) -> str:
        """The modelled sequence: class indices, or a signal."""
        return self.add_op(ops.Input("sequence", classes, channels), name=name)

    def image(self, name: str = "x", *, classes: int = 0, channels: int = 1) -> str:
        """The modelled image x_bchw: class indices in each channel if there are `classes`, else a signal."""
        return self.add_op(ops.Input("sequence", classes, channels, "hw"), name=name)

    def condition(
        self,
        name: str = "condition",
        *,
        classes: int = 0,
        channels: int = 0,
        local: bool = False,
        axes: Literal["t", "hw"] = "t",
    ) -> str:
        """A condition for the whole sequence, a class or a vector; a `local` one has a value at every position.

        For images a local one has axes="hw": a map with `channels` values at each pixel.
        """
        return self.add_op(ops.Input("local" if local else "global", classes, channels, axes), name=name)

    def conv1d(
        self,
        x: str,
        channels: int,
        *,
        kernel: int = 1,
        dilation: int = 1,
        strict: bool = False,
        bias: bool = True,
        groups: int = 1,
        name: str | None = None,
    ) -> str:
        """Causal dilated convolution, see `ops.Conv1d`."""
        return self.add_op(ops.Conv1d(channels, kernel, dilation, strict, bias, groups), x, name=name)

    def conv2d(
        self,
        x: str,
        channels: int,
        *,
        kernel: int | tuple[int, int] = 1,
        mask: Literal["none", "A", "B"] = "none",
        anchor: tuple[int, int] | None = None,
        dilation: int | tuple[int, int] = 1,
        colours: int = 1,
        bias: bool = True,
        groups: int = 1,
        name: str | None = None,
    ) -> str:
        """Masked dilated convolution of images, see `ops.Conv2d`; one number stands for rows and columns alike."""
        sides, gaps = (n if isinstance(n, Sized) else (n, n) for n in (kernel, dilation))
        return self.add_op(ops.Conv2d(channels, sides, mask, anchor, gaps, colours, bias, groups), x, name=name)

    def shift2d(self, x: str, *, down: int = 0, right: int = 0, name: str | None = None) -> str:
        """Shift an image, see `ops.Shift2d`."""
        return self.add_op(ops.Shift2d(down, right), x, name=name)

    def position(self, x: str, bits: int, *, name: str | None = None) -> str:
        """Row and column of each pixel of x in bits, see `ops.Position`."""
        return self.add_op(ops.Position(bits), x, name=name)

    def pool1d(
        self,
        x: str,
        kind: Literal["avg", "max"],
        kernel: int,
        *,
        pad: Literal["zero", "exclude"],
        dilation: int = 1,
        name: str | None = None,
    ) -> str:
        """Causal dilated pooling; `pad` chooses the values at t < 0, see `ops.Pool1d`."""
        op = ops.Pool1d(kind, kernel, pad, dilation)
        return self.add_op(op, x, *([self.add_op(ops.Ones(), x)] if pad == "exclude" else []), name=name)

    def delay(self, x: str, steps: int = 1, *, name: str | None = None) -> str:
        """Shift into the future by `steps`, see `ops.Shift`."""
        return self.add_op(ops.Shift(steps), x, name=name)

    def pad_channels(self, x: str, before: int = 0, after: int = 0, *, name: str | None = None) -> str:
        """Zero channels before and after, see `ops.PadChannels`."""
        return self.add_op(ops.PadChannels(before, after), x, name=name)

    def one_hot(self, x: str, *, name: str | None = None) -> str:
        """Class to unit vector."""
        return self.add_op(ops.OneHot(), x, name=name)

    def embedding(self, x: str, channels: int, *, name: str | None = None) -> str:
        """Class to learnt vector."""
        return self.add_op(ops.Embedding(channels), x, name=name)

    def standardize(self, x: str, mean: float, std: float, *, name: str | None = None) -> str:
        """Class c to (c - mean) / std."""
        return self.add_op(ops.Standardize(mean, std), x, name=name)

    def relu(self, x: str, *, name: str | None = None) -> str:
        """max(x, 0)."""
        return self.add_op(ops.Activation("relu"), x, name=name)

    def leaky_relu(self, x: str, slope: float = 0.01, *, name: str | None = None) -> str:
        """x if x > 0 else slope·x."""
        return self.add_op(ops.Activation("leaky_relu", slope), x, name=name)

    def tanh(self, x: str, *, name: str | None = None) -> str:
        """tanh(x)."""
        return self.add_op(ops.Activation("tanh"), x, name=name)

    def sigmoid(self, x: str, *, name: str | None = None) -> str:
        """1 / (1 + exp(-x))."""
        return self.add_op(ops.Activation("sigmoid"), x, name=name)

    def elu(self, x: str, alpha: float = 1.0, *, name: str | None = None) -> str:
        """x if x > 0 else α·(exp(x) - 1)."""
        return self.add_op(ops.Activation("elu", alpha=alpha), x, name=name)

    def selu(self, x: str, *, name: str | None = None) -> str:
        """1.0507…·elu(x) with α = 1.6732…."""
        return self.add_op(ops.Activation("selu"), x, name=name)

    def gelu(self, x: str, *, name: str | None = None) -> str:
        """x·Φ(x), Φ the distribution function of a standard normal."""
        return self.add_op(ops.Activation("gelu"), x, name=name)

    def gelu_tanh(self, x: str, *, name: str | None = None) -> str:
        """½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))), which is near gelu."""
        return self.add_op(ops.Activation("gelu_tanh"), x, name=name)

    def silu(self, x: str, *, name: str | None = None) -> str:
        """x·σ(x), also called swish."""
        return self.add_op(ops.Activation("silu"), x, name=name)

    def softplus(self, x: str, *, name: str | None = None) -> str:
        """log(1 + exp(x))."""
        return self.add_op(ops.Activation("softplus"), x, name=name)

    def softsign(self, x: str, *, name: str | None = None) -> str:
        """x / (1 + |x|)."""
        return self.add_op(ops.Activation("softsign"), x, name=name)

    def clip(self, x: str, low: float = -1.0, high: float = 1.0, *, name: str | None = None) -> str:
        """min(max(x, low), high): hardtanh as it stands, relu6 from 0 to 6."""
        return self.add_op(ops.Activation("clip", low=low, high=high), x, name=name)

    def hard_sigmoid(self, x: str, *, name: str | None = None) -> str:
        """min(max(x/6 + ½, 0), 1)."""
        return self.add_op(ops.Activation("hard_sigmoid"), x, name=name)

    def hard_swish(self, x: str, *, name: str | None = None) -> str:
        """x·min(max(x/6 + ½, 0), 1)."""
        return self.add_op(ops.Activation("hard_swish"), x, name=name)

    def mish(self, x: str, *, name: str | None = None) -> str:
        """x·tanh(log(1 + exp(x)))."""
        return self.add_op(ops.Activation("mish"), x, name=name)

    def sin(self, x: str, *, name: str | None = None) -> str:
        """sin(x)."""
        return self.add_op(ops.Activation("sin"), x, name=name)

    def snake(self, x: str, alpha: float = 1.0, *, name: str | None = None) -> str:
        """x + sin²(α·x)/α with a fixed α."""
        return self.add_op(ops.Activation("snake", alpha=alpha), x, name=name)

    def gate(self, x: str, *, name: str | None = None) -> str:
        """tanh of the first half of the channels times σ of the second."""
        return self.add_op(ops.Gate(), x, name=name)

    def add(self, *xs: str, name: str | None = None) -> str:
        """Sum; constants are added at every t."""
        return self.add_op(ops.Add(), *xs, name=name)

    def multiply(self, *xs: str, name: str | None = None) -> str:
        """Product; constants multiply at every t."""
        return self.add_op(ops.Multiply(), *xs, name=name)

    def affine(self, x: str, scale: float = 1.0, shift: float = 0.0, *, name: str | None = None) -> str:
        """scale·x + shift with fixed numbers."""
        return self.add_op(ops.Affine(scale, shift), x, name=name)

    def scale_shift(self, x: str, *, bias: bool = True, name: str | None = None) -> str:
        """weight[c]·x + bias[c] with learnt numbers."""
        return self.add_op(ops.ScaleShift(bias), x, name=name)

    def prelu(self, x: str, *, name: str | None = None) -> str:
        """x if x > 0 else weight[c]·x with learnt slopes."""
        return self.add_op(ops.PRelu(), x, name=name)

    def layer_norm(self, x: str, eps: float = 1e-5, *, bias: bool = True, name: str | None = None) -> str:
        """Normalise the channels of each position to mean 0 and variance 1, then weight[c]·x + bias[c]; see `ops.Norm`."""
        return self.add_op(ops.Norm("layer", eps, bias), x, name=name)

    def rms_norm(self, x: str, eps: float = 1e-5, *, bias: bool = False, name: str | None = None) -> str:
        """Divide the channels of each position by their root mean square, then weight[c]·x; see `ops.Norm`."""
        return self.add_op(ops.Norm("rms", eps, bias), x, name=name)

    def dropout(self, x: str, rate: float, *, name: str | None = None) -> str:
        """x itself; while training in PyTorch, each number is 0 with probability `rate`, see `ops.Dropout`."""
        return self.add_op(ops.Dropout(rate), x, name=name)

    def concat(self, *xs: str, name: str | None = None) -> str:
        """Channels one after the other."""
        return self.add_op(ops.Concat(), *xs, name=name)

    def slice(self, x: str, start: int, stop: int, *, name: str | None = None) -> str:
        """Channels start..stop-1."""
        return self.add_op(ops.Slice(start, stop), x, name=name)

    def softmax(self, x: str, *, name: str | None = None) -> str:
        """Distribution over channels."""
        return self.add_op(ops.Softmax(), x, name=name)
