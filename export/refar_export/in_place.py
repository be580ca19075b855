"""Whether a model may write its state where it reads it: every write must come after every read of the old value.

onnxruntime runs nodes in any order that the flow of data allows, and knows nothing of two names for one memory. So a node that
writes present.X must depend, over any number of nodes, on every node that reads past.X.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from refar.errors import BackendError
from refar.runtime.bundle import PAST, PRESENT

_VIEWS = {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}
"""Operators whose result may lie in the memory of their argument."""


def depends(nodes: Iterable[onnx.NodeProto], value: str, on: str) -> bool:
    """Return whether a value is computed from another one."""
    return on in _ancestors(_makers(nodes), value)


def unordered(model: onnx.ModelProto) -> list[str]:
    """List what forbids that each present.X lies in the memory of past.X, in words; empty if nothing does."""
    makers = _makers(model.graph.node)
    inputs = {value.name for value in model.graph.input}
    problems = []
    for value in model.graph.output:
        side, _, name = value.name.partition(".")
        old = f"{PAST}.{name}"
        if side != PRESENT or old not in inputs:
            continue
        writer = makers[value.name]
        if writer.op_type in _VIEWS:
            problems.append(f"{value.name} is made by {writer.op_type}, which may be no write of its own")
        before = {id(makers[name]) for name in _ancestors(makers, value.name) if name in makers}
        for reader in _readers(model.graph.node, old):
            if id(reader) not in before:
                problems.append(f"{value.name} may be written before {reader.name} has read {old}")
    return problems


def early_readers(nodes: Iterable[onnx.NodeProto], ends: Mapping[str, str]) -> list[tuple[onnx.NodeProto, str]]:
    """List the nodes that may read a window before the rows that it ends with are written, each with that window.

    `ends` {window: rows}. `nodes` stand in an order in which each comes after what it reads.
    """
    bits = {rows: 1 << n for n, rows in enumerate(dict.fromkeys(ends.values()))}
    known, early = dict[str, int](), list[tuple[onnx.NodeProto, str]]()  # of each value the rows that it depends on
    for node in nodes:
        depends_on = 0
        for name in node.input:
            depends_on |= known.get(name, 0)
        early += [(node, name) for name in dict.fromkeys(node.input) if name in ends and not depends_on & bits[ends[name]]]
        known |= {name: depends_on | bits.get(name, 0) for name in node.output}
    return early


def require_windows(model: onnx.ModelProto, name: str, ends: Mapping[str, str]) -> None:
    """Raise BackendError, naming the model, unless every window may end with rows of the same call, {window: rows}."""
    for node, window in early_readers(model.graph.node, ends):
        raise BackendError(f"{name}: {node.name} may read {window} before {ends[window]} is written")


def require_order(model: onnx.ModelProto, name: str) -> None:
    """Raise BackendError, naming the model, where its state may not lie in the memory of the old one."""
    if problems := unordered(model):
        raise BackendError(f"{name}: its state cannot be written in place: {problems[0]}")


def _makers(nodes: Iterable[onnx.NodeProto]) -> dict[str, onnx.NodeProto]:
    return {output: node for node in nodes for output in node.output}


def _ancestors(makers: dict[str, onnx.NodeProto], value: str) -> set[str]:
    """All values that a value is computed from, itself included."""
    found, waiting = set[str](), [value]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += makers[name].input if name in makers else []
    return found


def _readers(nodes: Iterable[onnx.NodeProto], value: str) -> list[onnx.NodeProto]:
    """The nodes that read a value, or what may lie in its memory."""
    names, found = {value}, []
    for node in nodes:  # in an order in which each comes after what it reads
        if names & set(node.input):
            found.append(node)
            if node.op_type in _VIEWS:
                names |= set(node.output)
    return found
