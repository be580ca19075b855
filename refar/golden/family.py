"""What makes golden cases and can compute them again: one family for each name that stands in a case's `operator`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.golden.case import Case, Kind
from refar.golden.operator import Operator, as_dtype
from refar.graph.graph import Graph


@dataclass(frozen=True)
class Family:
    """`compute`: what refar's NumPy makes of a case in a dtype, {name: array} as in `Case.expected`."""

    operator: str
    kind: Kind
    make: Callable[[], Iterator[Case]]
    compute: Callable[[Case, np.dtype], Arrays]


def of_operator(operator: Operator) -> Family:
    """The family of an operator with a signature."""

    def compute(case: Case, dtype: np.dtype) -> Arrays:
        return operator.compute(case.attributes, as_dtype(case.arrays, dtype), dtype)

    return Family(operator.name, operator.kind, operator.cases, compute)


def network_arrays(params: Arrays, inputs: Arrays, **more: Array) -> Arrays:
    """The arrays of a case with a graph: "param.<name>", "input.<node>", and others."""
    return {f"param.{n}": a for n, a in params.items()} | {f"input.{n}": a for n, a in inputs.items()} | more


def parameters(case: Case) -> Arrays:
    """{name: array} of the case's graph."""
    return _below("param", case)


def inputs(case: Case) -> Arrays:
    """{node: array}, the sequence first."""
    found = _below("input", case)
    order = (facts(graph_of(case)).sequence, *facts(graph_of(case)).conditions)
    return {name: found[name] for name in order if name in found}


def graph_of(case: Case) -> Graph:
    """The graph of a case that has one."""
    assert case.graph is not None
    return case.graph


def _below(prefix: str, case: Case) -> Arrays:
    return {name.removeprefix(f"{prefix}."): a for name, a in case.arrays.items() if name.startswith(f"{prefix}.")}
