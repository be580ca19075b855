"""The floor: the bare matrix products of a network in one ONNX graph, with inputs and outputs bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refar import ops
from refar.analysis.facts import Facts, facts
from refar.analysis.windows import steps
from refar.bench.clock import NotTimedError, Way, repeated
from refar.graph.graph import Graph, Node
from refar.runtime.buffers import Buffer
from refar.runtime.provider import Provider, open_session
from refar.runtime.session import Session

_CALLS = 100


@dataclass(frozen=True)
class Product:
    """The products of one convolution at one position: for each group a row of `inputs` numbers times a matrix."""

    name: str
    groups: int
    inputs: int
    outputs: int

    def shape(self, rows: int, columns: int) -> list[int]:
        """Return the shape of a matrix, one for each group if there are several."""
        return [rows, columns] if self.groups == 1 else [self.groups, rows, columns]


def products(graph: Graph) -> list[Product]:
    """List the matrix products of one position or pixel. What follows from the global conditions alone is left out."""
    found = facts(graph)
    return [_product(found, node) for node in graph.nodes if isinstance(node.op, ops.Conv1d | ops.Conv2d) and _timed(found, node)]


def _timed(found: Facts, node: Node) -> bool:
    """Whether a node is computed for every position; in an image also whether it depends on the pixels at all."""
    return found.types[node.name].timed and (found.grid is None or node.name in found.varying)


def _product(found: Facts, node: Node) -> Product:
    op = node.op
    assert isinstance(op, ops.Conv1d | ops.Conv2d)
    out, inputs, *_ = found.parameters[f"{node.name}.weight"]
    taps = op.kernel if isinstance(op, ops.Conv1d) else len(steps(op))
    return Product(node.name, op.groups, inputs * taps, out // op.groups)


def floor(session: Session, batch: int, threads: int) -> Way:
    """Return the way that computes the products of a bundle's network for `batch` rows, a call of the ONNX graph for each unit.

    The floor does not look anything up, adds nothing, keeps no state. Needs onnx.
    """
    found = [product for product in products(session.graph) if product.inputs]
    if not found:
        raise NotTimedError("this network has no matrix product")
    provider: Provider = "cuda" if session.provider == "cuda" else "cpu"
    model = open_session(_model(found, batch), "the floor", provider, fallback=False, threads=threads)
    binding, kept = model.io_binding(), list[Buffer]()  # a binding does not keep the memory that it points to
    for product in found:
        x = Buffer(np.ones(product.shape(batch, product.inputs), np.float32), provider)
        y = Buffer(np.zeros(product.shape(batch, product.outputs), np.float32), provider)
        binding.bind_ortvalue_input(f"x.{product.name}", x.value)
        binding.bind_ortvalue_output(f"y.{product.name}", y.value)
        kept += [x, y]

    def call() -> None:
        assert kept
        model.run_with_iobinding(binding)

    return repeated(call, _CALLS)


def _model(found: list[Product], batch: int) -> bytes:
    """Build the ONNX graph, an independent MatMul for each product."""
    from onnx import TensorProto, helper, numpy_helper

    rng, real = np.random.default_rng(0), TensorProto.FLOAT
    nodes, weights, xs, ys = [], [], [], []
    for p in found:
        matrix = rng.normal(size=p.shape(p.inputs, p.outputs)) / p.inputs
        weights.append(numpy_helper.from_array(matrix.astype(np.float32), f"w.{p.name}"))
        xs.append(helper.make_tensor_value_info(f"x.{p.name}", real, p.shape(batch, p.inputs)))
        ys.append(helper.make_tensor_value_info(f"y.{p.name}", real, p.shape(batch, p.outputs)))
        nodes.append(helper.make_node("MatMul", [f"x.{p.name}", f"w.{p.name}"], [f"y.{p.name}"]))
    graph = helper.make_graph(nodes, "floor", xs, ys, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data
