"""Sums of products in a pixel graph, in few nodes: Gemm takes what is added to a product as its C.

A gate on a sum takes two sums, one for each half of the channels: onnxruntime fuses tanh and σ with products.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refar import ops
from refar.analysis.image_slots import ImageSlots
from refar.graph.graph import Node
from refar_export.emitter import Emitter

Vector = NDArray[np.float32]
LineKey = tuple[str, bool, int]
"""Node, whether the line is what rows above add, and the lead that it is shifted by."""


@dataclass(frozen=True)
class Terms:
    """Hold the terms of a sum: `products` (x, W) stand for x·W, of the name of rows x (R, C_in) and W (C_in, C).

    `bias` (C,) is added, and so are the values `others`, (R, C) each.
    """

    products: tuple[tuple[str, Vector], ...]
    bias: Vector | None
    others: tuple[str, ...]


def set_aside(e: Emitter, slots: ImageSlots) -> frozenset[str]:
    """Find the convolutions, and the sums of them, that one sum or gate alone reads, in the same visit: they get no node."""
    readers, lead = _readers(e, slots), e.facts.raster.lead
    needed = {*slots.pixels, *slots.masked_left, *slots.masked_right, e.facts.graph.output}
    found = set[str]()
    for name in slots.pixel_nodes:
        op, sources = e.facts.nodes[name].op, e.facts.nodes[name].inputs
        is_sum = isinstance(op, ops.Conv2d) or (isinstance(op, ops.Add) and not found.isdisjoint(sources))
        if is_sum and len(readers[name]) == 1 and name not in needed:
            (reader,) = readers[name]
            if isinstance(reader.op, ops.Add | ops.Gate) and lead.get(reader.name) == lead[name]:
                found.add(name)
    return frozenset(found)


def halved_lines(e: Emitter, slots: ImageSlots, aside: frozenset[str]) -> set[LineKey]:
    """Find the lines of which gates alone take the halves: each is all that one gate adds to products."""
    readers, lead = _readers(e, slots), e.facts.raster.lead
    lines = {(line.node, line.above, line.lead) for line in slots.lines}

    def beside(name: str) -> list[LineKey]:
        """List what a node that is set aside adds to products and biases; what is no line appears too."""
        if isinstance(e.facts.nodes[name].op, ops.Conv2d):
            return [key for key in [(name, True, lead[name])] if key in lines]
        terms = e.facts.nodes[name].inputs
        return [key for term in terms for key in (beside(term) if term in aside else [(term, False, lead[name])])]

    gates = [name for name in slots.pixel_nodes if isinstance(e.facts.nodes[name].op, ops.Gate)]
    found = [beside(source) for name in gates for source in e.facts.nodes[name].inputs if source in aside]
    alone = [keys[0] for keys in found if len(keys) == 1 and keys[0] in lines]
    return {(name, above, at) for name, above, at in alone if above or (len(readers[name]) == 1 and name != e.facts.graph.output)}


def _readers(e: Emitter, slots: ImageSlots) -> dict[str, list[Node]]:
    """List the nodes that read each node, once for each time that they do."""
    readers: dict[str, list[Node]] = defaultdict(list)
    for node in (e.facts.nodes[name] for name in slots.pixel_nodes + slots.row_nodes):
        for source in node.inputs:
            readers[source].append(node)
    return readers


def added(sums: Sequence[Terms], others: Sequence[str]) -> Terms:
    """Return the sum of sums and of values."""
    biases = [each.bias for each in sums if each.bias is not None]
    bias = np.sum(np.stack(biases), axis=0) if biases else None
    products = tuple(product for each in sums for product in each.products)
    return Terms(products, bias, (*others, *(other for each in sums for other in each.others)))


def emitted(e: Emitter, total: Terms) -> str:
    """Emit a sum: the first product takes all other terms as its C, each further one the sum so far."""
    terms = list(total.others)
    if total.bias is not None:
        terms.append(e.constant(total.bias, np.float32))
    value = terms[0] if len(terms) == 1 else e.emit("Add" if len(terms) == 2 else "Sum", *terms) if terms else ""
    for x, weight in total.products:
        value = e.emit("Gemm", x, e.constant(weight, np.float32), *([value] if value else []))
    return value


def gated(e: Emitter, total: Terms, halves: dict[str, tuple[str, str]]) -> str:
    """Emit tanh of the first half of the channels of a sum times σ of the second. `halves` are those of values already cut."""
    size = total.products[0][1].shape[1] // 2
    others = total.others if len(total.others) < 2 else (e.emit("Sum", *total.others),)
    cut = [halves[other] if other in halves else _cut(e, other) for other in others]
    values = []
    for half, (kind, channels) in enumerate((("Tanh", slice(None, size)), ("Sigmoid", slice(size, None)))):
        products = tuple((x, np.ascontiguousarray(weight[:, channels])) for x, weight in total.products)
        bias = None if total.bias is None else total.bias[channels]
        values.append(e.emit(kind, emitted(e, Terms(products, bias, tuple(pair[half] for pair in cut)))))
    return e.emit("Mul", *values)


def _cut(e: Emitter, value: str) -> tuple[str, str]:
    """Emit the two halves of the channels of a value."""
    first, second = e.fresh(), e.fresh()
    e.emit("Split", value, outputs=[first, second], axis=1, num_outputs=2)
    return first, second
