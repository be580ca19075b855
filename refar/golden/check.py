"""Hold cases against refar's own NumPy, in float64 and float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from refar.arguments.arrays import Arrays
from refar.building.text import from_json
from refar.errors import GraphError
from refar.golden import graph_families
from refar.golden.case import UNITS, Case, Kind
from refar.golden.compare import as_dtype, difference, ratio
from refar.golden.operator import computes, result_and_gradients


@dataclass
class Checked:
    """The cases of one operator: how many, how many numbers must be equal, the largest observed/bound by dtype, what failed."""

    operator: str
    kind: Kind
    cases: int = 0
    equal: int = 0
    bounded: int = 0
    worst: dict[str, float] = field(default_factory=lambda: dict.fromkeys(UNITS, 0.0))
    problems: list[str] = field(default_factory=list)


def check(cases: Iterable[Case], progress: Callable[[str], None] = lambda operator: None) -> list[Checked]:
    """Check each case; a result for each operator, in their order. An unknown operator is a problem like any other."""
    found: dict[str, Checked] = {}
    for case in cases:
        if case.operator not in found:
            progress(case.operator)
            found[case.operator] = Checked(case.operator, case.kind)
        result = found[case.operator]
        result.cases += 1
        if case.kind == "invalid":
            said = refusal(case.text)
            if not said or case.error not in said:
                result.problems.append(f"{case.id}: expected a refusal with {case.error!r}, got {said or 'none'!r}")
        elif not (case.operator in graph_families.COMPUTE or computes(case.operator)):
            result.problems.append(f"{case.id}: operator {case.operator!r} is not known to this refar")
        else:
            _check(case, result)
    return list(found.values())


def compute(case: Case, dtype: np.dtype) -> Arrays:
    """Compute what refar's NumPy makes of a case in a dtype, {name: array} as in `Case.expected`; of an invalid graph nothing."""
    if case.kind == "invalid":
        return {}
    if case.operator in graph_families.COMPUTE:
        return graph_families.COMPUTE[case.operator](case, dtype)
    return result_and_gradients(case.operator, case.attributes, as_dtype(case.arrays, dtype), dtype)


def refusal(text: str) -> str:
    """Return what refar says of a graph that it must refuse; nothing if it is accepted."""
    try:
        from_json(text)
    except GraphError as error:
        return str(error)
    return ""


def _check(case: Case, result: Checked) -> None:
    for dtype, unit in UNITS.items():
        computed = compute(case, np.dtype(dtype))
        for name, expected in case.expected.items():
            came = computed.get(name)
            if came is None or came.shape != expected.shape:
                shape = None if came is None else came.shape
                result.problems.append(f"{case.id}, {dtype}: {name}: expected shape {expected.shape}, got {shape}")
                continue
            if (wrong := difference(case, name, came, unit)) is not None:
                result.problems.append(f"{case.id}, {dtype}: {wrong}")
            if name in case.bound:
                result.bounded += expected.size
                result.worst[dtype] = max(result.worst[dtype], ratio(case, name, came, unit))
            else:
                result.equal += expected.size
