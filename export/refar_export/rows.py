"""The values of visits as rows, (R, C): B of them in a step, T·B in a block; and sums that cost no node of their own.

A value is `name + offset`: the name of what onnxruntime computes, and a vector (C,) that is known when the model is made. In a
sum h + (W·g + b), as a residual network has one in each layer, Gemm takes h as the C of its product W·g + C, and b goes into the
offset of the sum. A product that reads the sum takes W·offset into its own bias. Where anything else reads a value, its offset is
added. A gate on a sum of products and of what follows from conditions becomes two such sums, one for tanh and one for σ:
onnxruntime fuses each with its last product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from refar import ops
from refar.analysis.slots import StateLayout
from refar.graph.graph import Node
from refar_export import lower
from refar_export.emitter import Emitter
from refar_export.fixed_rows import FixedRows

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class MatrixProduct:
    """A product of rows `factor` (R, N) with a matrix `weight` (C_out, N), which becomes the initialiser `name`."""

    factor: str
    weight: Vector
    name: str

    def half(self, second: bool) -> MatrixProduct:
        """Return the product of the first or the second half of the outputs."""
        rows = len(self.weight) // 2
        part = self.weight[rows:] if second else self.weight[:rows]
        return MatrixProduct(self.factor, np.ascontiguousarray(part), f"{self.name}/{1 + second}")


_Products = tuple[MatrixProduct, ...]
"""The products of a convolution, one for all taps or one for each."""


Taps = Literal["beside", "chained", "chained if read once"]
"""Two ways to multiply the taps of a convolution: beside each other in one product, or each in a product of its own that takes
the sum so far as its C, that of this visit first. Taps that several products read are brought beside each other but once."""


class Rows:
    """Emit the nodes of a step or a block in their order, of which the inputs are there.

    `old(source, age)` gives what slots hold of the visits `age` before: (R, C), or classes (R). `fixed` gives what follows from
    global conditions. The values of the nodes `elsewhere` are not emitted here, but are there when they are read.

    With `joined` sums of products are made as the module says, otherwise each value has a node of its own. With `lookups` no
    product reads a one-hot. For `taps` see `Taps`; where they may be chained, a sum that is stored is whole.
    """

    def __init__(
        self,
        e: Emitter,
        layout: StateLayout,
        old: Callable[[str, int], str],
        *,
        fixed: FixedRows,
        joined: bool,
        lookups: bool,
        taps: Taps = "beside",
        elsewhere: Collection[str] = (),
    ) -> None:
        self._e, self._layout, self._old = e, layout, old
        self._offsets: dict[str, Vector] = {}
        self._products: dict[str, _Products] = {}
        self._terms: dict[str, str] = {}  # what a sum adds to the products of a convolution
        self._beside: dict[tuple[str, ...], str] = {}
        self._lookups, self._taps = lookups, taps
        self._fixed = fixed
        joins = {node.name for node in e.graph.nodes if self._is_joined(node)} if joined else set[str]()
        self._joined = joins.difference(elsewhere)
        self._gated = {node.name for node in e.graph.nodes if self._is_gated_sum(node)}
        self._readers = self._count_readers()

    def compute(self, node: Node) -> None:
        """Emit one node; a one-hot only when its numbers are read, and a sum that a gate takes only with the gate."""
        e, op = self._e, node.op
        if (isinstance(op, ops.OneHot) and self._lookups) or node.name in self._gated:
            return
        if isinstance(op, ops.Conv1d) and self._is_lookup(node, op):
            e.values[node.name] = lower.looked_up(e, op, [name for name, _ in self._reads(node, node.inputs[0], as_class=True)])
        elif isinstance(op, ops.Conv1d) and op.groups == 1:
            self._convolve(node, op)
        elif isinstance(op, ops.Gate) and node.inputs[0] in self._gated:
            self._gate(node, e.facts.nodes[node.inputs[0]])
        elif isinstance(op, ops.Add) and any(name in self._products for name in node.inputs):
            self._join(node)
        elif isinstance(op, ops.PointwiseOp):
            args = [self._window(node, name)[0] for name in node.inputs]
            e.values[node.name] = lower.pointwise(e, op, args, e.facts.kinds[node.name], sequence=False)
        else:
            assert not isinstance(op, ops.ImageOp | ops.Input)  # of an image: refar_export.image_graphs
            e.values[node.name] = lower.windowed_step(e, op, [self._window(node, name) for name in node.inputs])

    def whole(self, name: str) -> str:
        """Return the value of a node with its offset added."""
        if name in self._layout.fixed:
            return self._fixed.whole(name)
        if name not in self._e.values:
            source = self._e.facts.nodes[name].inputs[0]
            self._e.values[name] = lower.one_hot(self._e, self._e.values[source], self._e.types[name].size)
        if (offset := self._offsets.pop(name, None)) is not None:
            self._e.values[name] = self._e.emit("Add", self._e.values[name], self._e.constant(offset, np.float32))
        return self._e.values[name]

    def stored(self, name: str) -> str:
        """Return what slots hold of a node: its whole value, or its class."""
        return self._class(name) if self._layout.slots[name].classes else self.whole(name)

    def all_stored(self, names: Sequence[str], channels: int) -> str:
        """Return what slots hold of some nodes of equal width, (nodes, R, C); offsets are added to all of them at once."""
        e, slots = self._e, self._layout.slots
        values = [self._class(name) if slots[name].classes else e.values[name] for name in names]
        rows = e.emit("Reshape", together(e, values), e.constant([len(names), -1, channels]))
        if not any(name in self._offsets for name in names):
            return rows
        none = np.zeros(channels, np.float32)
        return e.emit("Add", rows, e.constant([[self._offsets.get(name, none)] for name in names], np.float32))

    def _is_joined(self, node: Node) -> bool:
        """Whether a node is a product that a sum alone reads, in the same visit."""
        graph, slots = self._e.graph, self._layout.slots
        readers = [other for other in graph.nodes for name in other.inputs if name == node.name]
        is_product = isinstance(node.op, ops.Conv1d) and node.op.groups == 1 and not self._is_lookup(node, node.op)
        only = len(readers) == 1 and isinstance(readers[0].op, ops.Add) and node.name not in (graph.output, *slots)
        return is_product and only and self._leads(node.name, readers[0].name)

    def _is_gated_sum(self, node: Node) -> bool:
        """Whether a node is a sum of products and of one value that follows from conditions, which a gate alone reads."""
        graph = self._e.graph
        readers = [other for other in graph.nodes for name in other.inputs if name == node.name]
        if not (isinstance(node.op, ops.Add) and len(readers) == 1 and isinstance(readers[0].op, ops.Gate)):
            return False
        others = [name for name in node.inputs if name not in self._joined]
        inner = node.name not in (graph.output, *self._layout.slots)
        return inner and len(others) == 1 < len(node.inputs) and others[0] in self._layout.fixed

    def _is_lookup(self, node: Node, op: ops.Conv1d) -> bool:
        """Whether a node multiplies one-hots, which are kept as classes."""
        return self._lookups and op.groups == 1 and isinstance(self._e.facts.nodes[node.inputs[0]].op, ops.OneHot)

    def _leads(self, *names: str) -> bool:
        """Whether nodes are computed at one position."""
        lead = self._layout.schedule.lead
        return all(name in lead for name in names) and len({lead[name] for name in names}) == 1

    def _convolve(self, node: Node, op: ops.Conv1d) -> None:
        """Emit a product, or keep it aside where a sum takes it. Offsets of what it reads go into its bias."""
        e, taps = self._e, self._reads(node, node.inputs[0])
        weight, bias = e.params[f"{node.name}.weight"], self._bias(node, op, taps)
        products = self._by_tap(node, weight, taps) if self._are_chained(node) else self._side_by_side(node, weight, taps)
        if node.name not in self._joined:
            e.values[node.name] = self._multiply(products, "" if bias is None else e.initializer(f"{node.name}.bias", bias))
            return
        self._products[node.name] = products
        if bias is not None:
            self._offsets[node.name] = bias

    def _are_chained(self, node: Node) -> bool:
        if self._taps == "chained if read once":
            return self._readers[self._taps_of(node)] == 1
        return self._taps == "chained"

    def _taps_of(self, node: Node) -> tuple[str, tuple[int, ...]]:
        """Return the node that a convolution reads, and at which ages."""
        (source,) = node.inputs
        return source, tuple(self._layout.ages(node, source)) if source in self._layout.schedule.lead else (0,)

    def _count_readers(self) -> Counter[tuple[str, tuple[int, ...]]]:
        """Count the products that read the same taps; of a sum that a gate takes there are two."""
        found = Counter[tuple[str, tuple[int, ...]]]()
        gated = {name for node in self._e.graph.nodes if node.name in self._gated for name in node.inputs}
        for node in self._e.graph.nodes:
            if isinstance(node.op, ops.Conv1d) and node.name in self._layout.schedule.lead:
                found[self._taps_of(node)] += 1 + (node.name in gated)
        return found

    def _side_by_side(self, node: Node, weight: Vector, taps: list[tuple[str, int]]) -> _Products:
        """Put all taps side by side, (R, N), and their weights (C_out, N)."""
        names = tuple(name for name, _ in taps)
        if names not in self._beside:
            self._beside[names] = names[0] if len(names) == 1 else self._e.emit("Concat", *names, axis=1)
        return (MatrixProduct(self._beside[names], weight.swapaxes(1, 2).reshape(len(weight), -1), f"{node.name}.weight"),)

    def _by_tap(self, node: Node, weight: Vector, taps: list[tuple[str, int]]) -> _Products:
        """Return each tap with its weight, (R, C_in) and (C_out, C_in), the newest first."""
        names = [f"{node.name}.weight" if len(taps) == 1 else f"{node.name}.weight/{n}" for n in range(len(taps))]
        each = [MatrixProduct(tap, np.ascontiguousarray(weight[:, :, n]), names[n]) for n, (tap, _) in enumerate(taps)]
        return tuple(reversed(each))

    def _multiply(self, products: _Products, total: str) -> str:
        """Emit products and their sum, `total` included if it is not empty."""
        for each in products:
            weight = self._e.initializer(each.name, each.weight)
            total = self._e.emit("Gemm", each.factor, weight, *([total] if total else []), transB=1)
        return total

    def _bias(self, node: Node, op: ops.Conv1d, taps: list[tuple[str, int]]) -> Vector | None:
        """Return b + W·offset, of the weights that read the value of this visit; None where there is neither."""
        bias = self._e.params[f"{node.name}.bias"] if op.bias else None
        if (offset := self._offsets.get(node.inputs[0])) is None:
            return bias
        present = [n for n, (_, age) in enumerate(taps) if age == 0]
        moved = self._e.params[f"{node.name}.weight"][:, :, present].sum(axis=2) @ offset
        return (moved if bias is None else bias + moved).astype(np.float32)

    def _join(self, node: Node) -> None:
        """Emit a sum, of which each product takes what is summed so far as its C."""
        e = self._e
        products = [self._products.pop(name) for name in node.inputs if name in self._products]
        offsets = [self._offsets[name] for name in node.inputs if name in self._joined and name in self._offsets]
        others = [self._terms.pop(name) for name in node.inputs if name in self._terms]
        for source in [name for name in node.inputs if name not in self._joined]:
            ((name, age),) = self._reads(node, source)
            others.append(name)
            if age == 0 and source in self._offsets:
                offsets.append(self._offsets[source])
        offset = np.sum(np.stack(offsets), axis=0) if offsets else None
        apart = self._taps != "beside" and offset is not None and node.name in self._layout.slots
        total = "" if apart or not others else others[0] if len(others) == 1 else e.emit("Sum", *others)
        if offset is not None and total:
            self._offsets[node.name] = offset
        elif offset is not None:
            total = e.constant(offset, np.float32)
        for product in products:
            total = self._multiply(product, total)
        e.values[node.name] = e.emit("Sum" if len(others) > 1 else "Add", total, *others) if apart and others else total

    def _gate(self, node: Node, total: Node) -> None:
        """Emit tanh of the first half of a sum times σ of the second."""
        e, channels = self._e, self._e.types[node.name].channels
        (constant,) = [name for name in total.inputs if name not in self._joined]
        products = [each for name in total.inputs if name in self._products for each in self._products.pop(name)]
        offset = np.zeros(2 * channels, np.float32)
        for name in total.inputs:
            offset = offset + self._offsets.get(name, 0)
        halves = []
        for second, activation in enumerate(("Tanh", "Sigmoid")):
            start, stop = second * channels, (second + 1) * channels
            added = self._fixed.piece(constant, start, stop, offset[start:stop].astype(np.float32))
            halves.append(e.emit(activation, self._multiply(tuple(each.half(bool(second)) for each in products), added)))
        e.values[node.name] = e.emit("Mul", *halves)

    def _reads(self, node: Node, source: str, *, as_class: bool = False) -> list[tuple[str, int]]:
        """Return the value of `source` that each tap of a node reads, without its offset, and its age; oldest first."""
        ages = self._layout.ages(node, source) if source in self._layout.schedule.lead else [0]
        return [(self._read(source, age, as_class), age) for age in ages]

    def _class(self, one_hot: str) -> str:
        """The class of a one-hot."""
        return self._e.values[self._e.facts.nodes[one_hot].inputs[0]]

    def _read(self, source: str, age: int, as_class: bool) -> str:
        e = self._e
        if age == 0 and as_class:
            return self._class(source)
        if age == 0:
            return e.values[source] if source in e.values else self.whole(source)
        stored = self._old(source, age)
        classes = self._layout.slots[source].classes
        return lower.one_hot(e, stored, classes) if classes and not as_class else stored

    def _window(self, node: Node, source: str) -> list[str]:
        """Return the name of the whole value of `source` that each tap of `node` reads, oldest first."""
        if source in self._layout.schedule.lead and 0 in self._layout.ages(node, source):
            self.whole(source)
        return [name for name, _ in self._reads(node, source)]


def together(e: Emitter, values: Sequence[str]) -> str:
    """Join values along axis 0."""
    return values[0] if len(values) == 1 else e.emit("Concat", *values, axis=0)
