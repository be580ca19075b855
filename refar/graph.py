"""A network as data: nodes in the order of evaluation, built by `Builder`, written as canonical JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from refar import ops
from refar.errors import FileError, GraphError
from refar.ops import AnyHead, AnyOp

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One operator applied to the values of earlier nodes."""

    name: str
    op: AnyOp
    inputs: tuple[str, ...] = ()


class Graph(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, cache_hash=True):
    """A whole network: `nodes` in the order of evaluation, the node whose value is the `output`, and what it means (`head`).

    Raises GraphError when names repeat or are malformed, or a node uses one that does not come before it.
    """

    format: Literal["refar-graph"]
    version: Literal[1]
    nodes: tuple[Node, ...]
    output: str
    head: AnyHead | None = None

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        for name in names:
            if not _NAME.fullmatch(name):
                raise GraphError(f"node name {name!r}: expected identifiers joined by dots, such as 'block0.conv'")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise GraphError(f"node name {twice!r} is used twice; every node needs a name of its own")
        known: set[str] = set()
        for node in self.nodes:
            for source in node.inputs:
                if source not in known:
                    raise GraphError(self._unknown_source(node, source, names))
            known.add(node.name)
        if self.output not in known:
            raise GraphError(f"output {self.output!r} is not a node; the nodes are {', '.join(names) or 'none'}")

    def _unknown_source(self, node: Node, source: str, names: list[str]) -> str:
        if source not in names:
            return f"node {node.name!r}: its input {source!r} is not a node; the nodes are {', '.join(names)}"
        sources = {n.name: n.inputs for n in self.nodes}
        paths: list[tuple[str, ...]] = [(node.name, source)]
        seen: set[str] = set()
        while paths:
            path = paths.pop()
            if path[-1] == node.name:
                return f"node {node.name!r}: the graph has a cycle: {' ← '.join(path)}"
            if path[-1] not in seen:
                seen.add(path[-1])
                paths.extend((*path, s) for s in sources.get(path[-1], ()))
        return f"node {node.name!r}: its input {source!r} comes later; list nodes in the order of evaluation"

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise GraphError(f"{name!r} is not a node; the nodes are {', '.join(n.name for n in self.nodes)}")


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Graph)


def to_json(graph: Graph) -> bytes:
    """Canonical JSON: fields in declared order, defaults left out, two spaces of indent, one final newline."""
    return msgspec.json.format(_ENCODER.encode(graph), indent=2) + b"\n"


def from_json(text: bytes | str) -> Graph:
    """Decode strictly.

    Raises GraphError for text that is no JSON, an unknown operator or field, a value out of range (each with its path),
    and whatever `Graph` refuses.
    """
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, GraphError):
            raise error.__cause__ from None
        raise GraphError(f"graph JSON: {error}{_known_operators(str(error))}") from None
    except msgspec.DecodeError as error:
        raise GraphError(f"graph JSON: not JSON: {error}") from None


def _known_operators(message: str) -> str:
    if not message.endswith(".op.type`"):
        return ""
    return f"; the operators are {', '.join(operator_names())}"


def operator_names() -> list[str]:
    """The names of all operators, as they stand in JSON."""
    return [str(op.__struct_config__.tag) for op in AnyOp.__args__]


def save(graph: Graph, path: str | Path) -> None:
    """Write canonical JSON to a file."""
    Path(path).write_bytes(to_json(graph))


def load(path: str | Path) -> Graph:
    """Read a graph from a file of JSON. Raises FileError if it cannot be read, GraphError if it is no graph."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"graph {str(path)!r} cannot be read: {error.strerror}") from None
    return from_json(text)


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

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Put the nodes made inside below `name`."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def add_op(self, op: AnyOp, *inputs: str, name: str | None = None) -> str:
        """Add any operator."""
        stem = ".".join([*self._scopes, name or str(op.__struct_config__.tag)])
        taken = {node.name for node in self._nodes}
        full, count = stem, 1
        while name is None and full in taken:
            count += 1
            full = f"{stem}_{count}"
        self._nodes.append(Node(full, op, inputs))
        return full

    def build(self, output: str, head: AnyHead | None = None) -> Graph:
        """The finished graph, checked as if it had been read from JSON."""
        graph = Graph(format="refar-graph", version=1, nodes=tuple(self._nodes), output=output, head=head)
        return from_json(to_json(graph))

    def input(self, name: str = "x", *, classes: int = 0, channels: int = 0) -> str:
        """The modelled sequence: class indices, or a signal."""
        return self.add_op(ops.Input("sequence", classes, channels), name=name)

    def condition(self, name: str = "condition", *, classes: int = 0, channels: int = 0) -> str:
        """A global condition: a class, or a vector."""
        return self.add_op(ops.Input("global", classes, channels), name=name)

    def conv1d(
        self,
        x: str,
        channels: int,
        *,
        kernel: int = 1,
        dilation: int = 1,
        strict: bool = False,
        bias: bool = True,
        name: str | None = None,
    ) -> str:
        """Causal dilated convolution, see `ops.Conv1d`."""
        return self.add_op(ops.Conv1d(channels, kernel, dilation, strict, bias), x, name=name)

    def delay(self, x: str, steps: int = 1, *, name: str | None = None) -> str:
        """Shift into the future by `steps`, see `ops.Shift`."""
        return self.add_op(ops.Shift(steps), x, name=name)

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

    def concat(self, *xs: str, name: str | None = None) -> str:
        """Channels one after the other."""
        return self.add_op(ops.Concat(), *xs, name=name)

    def slice(self, x: str, start: int, stop: int, *, name: str | None = None) -> str:
        """Channels start..stop-1."""
        return self.add_op(ops.Slice(start, stop), x, name=name)

    def softmax(self, x: str, *, name: str | None = None) -> str:
        """Distribution over channels."""
        return self.add_op(ops.Softmax(), x, name=name)
