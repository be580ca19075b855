"""A graph of ONNX under construction: its nodes, its initialisers, and the names of its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from refar.analysis.facts import facts
from refar.graph.graph import Graph


class Emitter:
    """Nodes and initialisers under construction. Names of values derive from the refar node that they belong to."""

    def __init__(self, params: dict[str, NDArray[Any]], graph: Graph) -> None:
        self.params = params
        self.graph, self.facts = graph, facts(graph)
        self.types = self.facts.types
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, NDArray[Any]] = {}
        self.values: dict[str, str] = {}  # of each refar node, the ONNX value that holds it
        self.owner = ""
        self.count = 0

    def own(self, name: str) -> None:
        """The refar node that the next values belong to."""
        self.owner, self.count = name, 0

    def fresh(self) -> str:
        """A name that no other value has: a node's name cannot hold a slash."""
        self.count += 1
        return f"{self.owner}/{self.count}"

    def emit(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """One ONNX node; returns its first output."""
        if not outputs:
            self.count += 1
            outputs = (f"{self.owner}/{self.count}",)
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{kind}:{outputs[0]}", **attributes))
        return outputs[0]

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """An initialiser with this value."""
        self.count += 1
        name = f"{self.owner}/{self.count}"
        self.initializers[name] = np.asarray(value, dtype)
        return name

    def initializer(self, name: str, value: NDArray[Any]) -> str:
        """Store an initialiser under a name of its own."""
        self.initializers[name] = value
        return name

    def weight(self, name: str, shape: Sequence[int] | None = None) -> str:
        """A parameter under its own name, in another shape if that is asked for."""
        value = self.params[name]
        self.initializers[name] = value if shape is None else value.reshape(shape)
        return name

    def protos(self) -> list[onnx.TensorProto]:
        """The initialisers, as ONNX holds them."""
        return [numpy_helper.from_array(value, name) for name, value in self.initializers.items()]
