"""A whole graph in ball arithmetic, teacher-forced: enclosures of its output at the places that are asked for, and at no other.

One sweep backwards finds the places at which each node is needed, one forwards computes it there. Before the start of a sequence
every node has one value: zero, or under input padding what it makes of zeros. Nothing of `refar.oracle` is used.
"""

from __future__ import annotations

from math import prod

import numpy as np
from flint import arb, ctx

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Arrays
from refar.graph.graph import Graph, Node
from refar.rounding.balls import ZERO, Classes, Frame, Indices, Numbers, Products, Row, Rows, Value, enclose, reads


class Enclosure:
    """A graph with parameters and inputs, all exact numbers, {name: array}: of one sequence or image, a batch of one."""

    def __init__(self, graph: Graph, params: Arrays, inputs: Arrays) -> None:
        self._facts, self._inputs = facts(graph), inputs
        self._own = {name: {last: params[f"{name}.{last}"] for last in own} for name, own in self._facts.own.items()}
        sequence = self._facts.types[self._facts.sequence]
        axes = sequence.axes.partition("b")[2].replace("c", "")
        self._extent = inputs[self._facts.sequence].shape[-len(axes) :]

    def output(self, at: Indices, bits: int) -> Rows:
        """Enclose the output of every channel `at` these places, in order, at a precision of so many bits.

        The place of a pixel is row·W + column.
        """
        graph, types = self._facts.graph, self._facts.types
        needed = self._needed(at)
        known: dict[str, Value] = {}
        with ctx.workprec(bits):
            for node in graph.nodes:
                extent = self._extent if types[node.name].timed else ()
                args, columns = self._arguments(node, known, needed)
                if isinstance(args[0], Classes) and isinstance(node.op, ops.Input):
                    known[node.name] = args[0]
                else:
                    value = enclose(node.op, args, self._own[node.name], Frame(extent, needed[node.name], columns))
                    known[node.name] = Numbers(value, self._outside(node, args) if extent else None)
                for name in {node.name, *node.inputs}:
                    if self._facts.last_reader[name] == node.name:
                        del known[name]
            output = known[graph.output]
            assert isinstance(output, Numbers)
            columns_of = _columns(needed[graph.output], prod(self._extent))[at].tolist()
            return [[row[column] for column in columns_of] for row in output.rows]

    def _needed(self, at: Indices) -> dict[str, Indices]:
        """The places at which each node is read, by what leads to the output `at` these; of a constant its one place."""
        found, count = self._facts, prod(self._extent)
        marks = {name: np.zeros(count if kind.timed else 1, bool) for name, kind in found.types.items()}
        marks[found.graph.output][at] = True
        for node in reversed(found.graph.nodes):
            here, extent = np.flatnonzero(marks[node.name]), self._extent if found.types[node.name].timed else ()
            for name in node.inputs:
                if not found.types[name].timed:
                    marks[name][:] = True
                    continue
                for places in reads(node.op, extent, here):
                    marks[name][places[places >= 0]] = True
        return {name: np.flatnonzero(mark) for name, mark in marks.items()}

    def _arguments(self, node: Node, known: dict[str, Value], needed: dict[str, Indices]) -> tuple[list[Value], list[Indices]]:
        """The arguments of a node, and in which columns they stand; of an input what the caller gave, at every place."""
        if not node.inputs:
            given = self._given(node)
            return [given], [np.arange(prod(self._extent) + 1)]
        count = prod(self._extent)
        args = [known[name] for name in node.inputs]
        whole = [isinstance(arg, Classes) for arg in args]
        columns = [
            np.arange(count + 1) if all_ else _columns(needed[name], count) for name, all_ in zip(node.inputs, whole, strict=True)
        ]
        return args, columns

    def _given(self, node: Node) -> Value:
        kind, array = self._facts.types[node.name], self._inputs[node.name][0]
        rows = array.reshape(kind.channels, -1)
        if kind.indexed:
            return Classes(rows, kind.size)
        return Numbers([[arb(v) for v in row] for row in rows.tolist()], [ZERO] * kind.size if kind.timed else None)

    def _outside(self, node: Node, args: list[Value]) -> Row:
        """The value before the start: of a source 0, of any other node what it makes of its arguments there."""
        zero = [ZERO] * self._facts.types[node.name].size
        if self._facts.graph.padding != "input" or node.name in self._facts.sources:
            return zero
        before: list[Value] = []
        for arg in args:
            assert isinstance(arg, Numbers)
            before.append(arg if arg.outside is None else Numbers([[ball] for ball in arg.outside], arg.outside))
        value = enclose(node.op, before, self._own[node.name], Frame((1,), np.array([0]), [np.array([0, 1])] * len(args)))
        rows = value.rows if isinstance(value, Products) else value
        return [ball for (ball,) in rows]


def _columns(places: Indices, count: int) -> Indices:
    """In which column of the value that is known at these places each of `count` places stands; last what lies outside."""
    found = np.full(count + 1, len(places))
    found[places] = np.arange(len(places))
    return found
