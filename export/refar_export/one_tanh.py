"""A gate as one tanh of all that it reads: tanh(a)·σ(b) = ½·(t + t·s), with t = tanh(a) and s = tanh(b/2).

On a device σ is the costliest kernel of a gate. Both factors ½ go into weights, which rounds nothing: that of b into the
convolution that the gate reads, that of the gate into the products that read it. Where tanh is off by τ at most, t + t·s is off
by τ·(1 + s) + |t|·τ and two roundings, so half of it by τ·σ(b) + |t|·τ/2 and as many: no more than `bound` allows a gate.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from refar import ops
from refar.analysis.slots import StateLayout
from refar.graph.graph import Graph, Node
from refar_export.rewrites import Params


def one_tanh(graph: Graph, layout: StateLayout, params: Params) -> tuple[frozenset[str], Params]:
    """Return the gates of which the value may be doubled, t + t·s, and parameters for that; `params` themselves stay.

    These are the gates on a convolution that nothing else reads, if products alone read them, or read them side by side with
    others like them.
    """
    found = _Readers(graph, layout)
    gates = {node.name for node in graph.nodes if isinstance(node.op, ops.Gate) and found.is_product(node.inputs[0])}
    gates = {name for name in gates if len(found.readers[found.nodes[name].inputs[0]]) == 1}
    while unfit := {name for name in gates if not found.goes_into_products(name, gates)}:
        gates -= unfit
    params = dict(params)
    for name in gates:
        source = found.nodes[name].inputs[0]
        for each in (f"{source}.weight", f"{source}.bias"):
            if each in params:
                rows = len(params[each]) // 2
                params[each] = np.concatenate([params[each][:rows], params[each][rows:] / 2])
    for name in {each for gate in gates for each in found.products(gate)}:
        params[f"{name}.weight"] = params[f"{name}.weight"] / 2
    return frozenset(gates), params


class _Readers:
    """A graph, and who reads each of its nodes at the visit that computes it; nothing is said of nodes that are kept."""

    def __init__(self, graph: Graph, layout: StateLayout) -> None:
        self.nodes = {node.name: node for node in graph.nodes}
        self._kept, self._lead = {graph.output, *layout.slots}, layout.schedule.lead
        self.readers: dict[str, list[Node]] = {name: [] for name in self.nodes}
        for node in graph.nodes:
            for name in node.inputs:
                self.readers[name].append(node)

    def is_product(self, name: str) -> bool:
        """Whether a node is a convolution in one group that is computed at each visit and not kept."""
        op = self.nodes[name].op
        return isinstance(op, ops.Conv1d) and op.groups == 1 and name in self._lead and name not in self._kept

    def goes_into_products(self, name: str, gates: Collection[str]) -> bool:
        """Whether only products read a node, by itself or side by side with `gates`."""
        return name not in self._kept and all(
            self._multiplies(node)
            or (isinstance(node.op, ops.Concat) and set(node.inputs) <= set(gates) and self.goes_into_products(node.name, ()))
            for node in self.readers[name]
        )

    def products(self, name: str) -> set[str]:
        """The convolutions that read a node, by itself or side by side with others."""
        found = set[str]()
        for node in self.readers[name]:
            found |= {node.name} if self._multiplies(node) else self.products(node.name)
        return found

    def _multiplies(self, node: Node) -> bool:
        return isinstance(node.op, ops.Conv1d) and node.op.groups == 1 and node.name in self._lead
