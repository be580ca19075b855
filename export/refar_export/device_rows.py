"""Values of one visit as rows, (B, C), for a device on which every kernel costs more than what it computes.

There a kernel takes one to five microseconds for the little that a step gives it, and runs after the one before. So all that the
convolutions of one shape take from past visits is one batched product, before the first layer: what is left of each is one
product, with that as its C. A gate has one product for both of its halves, and mostly one tanh: see `one_tanh`. Weights are
stored as (N, C_out): cuBLAS has better kernels for few rows then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from refar import ops
from refar.analysis.slots import StateLayout
from refar.graph.graph import Node
from refar_export.emitter import Emitter
from refar_export.fixed_rows import FixedRows
from refar_export.rows import MatrixProduct, Rows, Vector
from refar_export.visit_graphs import Read, equal_parts


@dataclass(frozen=True)
class TapBatch:
    """Convolutions `nodes` of one shape, and the past values of `tensor` that they read, node by node, the oldest first."""

    tensor: str
    nodes: tuple[str, ...]
    reads: tuple[Read, ...]


@dataclass(frozen=True)
class Ahead:
    """Name the sum over past visits that a convolution takes: the ONNX value `name` (B, C_out), with `bias` (C_out), set later.

    `present` (C_out, C_in) is the weight of what is left, None if nothing is.
    """

    name: str
    bias: Vector
    present: Vector | None


def batches(e: Emitter, layout: StateLayout) -> list[TapBatch]:
    """List the convolutions that read past numbers, in one group each, by tensor, channels and number of past values."""
    found = []
    for node in e.graph.nodes:
        if not isinstance(node.op, ops.Conv1d) or node.op.groups > 1 or node.name not in layout.schedule.lead:
            continue
        slots = layout.slots.get(node.inputs[0])
        past = [age for age in layout.ages(node, node.inputs[0]) if age > 0] if slots and not slots.classes else []
        if slots and past:
            found.append(((slots.tensor, node.op.channels, len(past)), node.name, [(node.inputs[0], age) for age in past]))
    by_shape = groupby(sorted(found, key=lambda each: each[0]), key=lambda each: each[0])  # sorted keeps the order of nodes
    result = []
    for (tensor, _, _), group in by_shape:
        names, reads = zip(*((name, past) for _, name, past in group), strict=True)
        result.append(TapBatch(tensor, names, tuple(read for each in reads for read in each)))
    return result


def ahead(e: Emitter, layout: StateLayout, batch: TapBatch, gathered: str) -> dict[str, Ahead]:
    """Emit the products of a batch with what was gathered for it, (reads, B, C_in), and their biases, which are 0 so far."""
    count, taps = len(batch.nodes), len(batch.reads) // len(batch.nodes)
    weights, presents = [], []
    for name in batch.nodes:
        node, weight_oik = e.facts.nodes[name], e.params[f"{name}.weight"]
        is_past = np.array(layout.ages(node, node.inputs[0])) > 0
        weights.append(weight_oik[:, :, is_past].transpose(2, 1, 0).reshape(-1, len(weight_oik)))
        presents.append(None if is_past.all() else weight_oik[:, :, ~is_past][:, :, 0])
    fan_in, channels = weights[0].shape
    if taps > 1:
        by_tap = e.emit("Reshape", gathered, e.constant([count, taps, -1, fan_in // taps]))
        gathered = e.emit("Reshape", e.emit("Transpose", by_tap, perm=[0, 2, 1, 3]), e.constant([count, -1, fan_in]))
    biases = np.zeros((count, 1, channels), np.float32)
    products = e.emit("MatMul", gathered, e.constant(np.stack(weights), np.float32))
    rows = e.emit("Reshape", e.emit("Add", products, e.constant(biases, np.float32)), e.constant([-1, channels]))
    parts = equal_parts(e, rows, count)
    each = zip(batch.nodes, parts, biases[:, 0], presents, strict=True)
    return {name: Ahead(part, bias, present) for name, part, bias, present in each}


class DeviceRows(Rows):
    """Emit the nodes of a step as the module says.

    `old` holds past values that others than `ahead` {convolution: what it takes from past visits} read, `doubled` the gates that
    `one_tanh` names.
    """

    def __init__(
        self,
        e: Emitter,
        layout: StateLayout,
        old: Mapping[Read, str],
        *,
        fixed: FixedRows,
        ahead: dict[str, Ahead],
        doubled: Collection[str],
    ) -> None:
        super().__init__(e, layout, lambda source, age: old[source, age], fixed=fixed, joined=True, lookups=True)
        self._ahead, self._doubled = ahead, doubled

    def compute(self, node: Node) -> None:
        """Emit one node."""
        if isinstance(node.op, ops.Gate):
            self._gate_at_once(node)
        else:
            super().compute(node)

    def _is_gated_sum(self, node: Node) -> bool:
        return False  # a gate takes both halves of a sum from one product

    def _convolve(self, node: Node, op: ops.Conv1d) -> None:
        if (part := self._ahead.get(node.name)) is None:
            super()._convolve(node, op)
            return
        source = node.inputs[0]
        bias = self._bias(node, op, [("", age) for age in self._layout.ages(node, source)])
        part.bias[:] = 0 if bias is None else bias
        products: tuple[MatrixProduct, ...] = ()
        if part.present is not None:
            products = (MatrixProduct(self._read(source, 0, False), np.ascontiguousarray(part.present), f"{node.name}.weight"),)
        if node.name in self._joined:
            self._products[node.name], self._terms[node.name] = products, part.name
        else:
            self._e.values[node.name] = self._multiply(products, part.name)

    def _multiply(self, products: tuple[MatrixProduct, ...], total: str) -> str:
        """Emit products and their sum, `total` included if it is not empty."""
        for each in products:
            weight = self._e.initializer(each.name, np.ascontiguousarray(each.weight.T))
            total = self._e.emit("Gemm", each.factor, weight, *([total] if total else []))
        return total

    def _gate_at_once(self, node: Node) -> None:
        """Emit tanh of the first half times σ of the second, or twice that. Cut along an axis of 2, a faster kernel cuts."""
        e, channels, doubled = self._e, self._e.types[node.name].channels, node.name in self._doubled
        both = self._window(node, node.inputs[0])[0]
        both = e.emit("Reshape", e.emit("Tanh", both) if doubled else both, e.constant([-1, 2, channels]))
        a, b = e.fresh(), e.fresh()
        e.emit("Split", both, outputs=[a, b], axis=1, num_outputs=2)
        gate = e.emit("Add", a, e.emit("Mul", a, b)) if doubled else e.emit("Mul", e.emit("Tanh", a), e.emit("Sigmoid", b))
        e.values[node.name] = e.emit("Reshape", gate, e.constant([-1, channels]))
