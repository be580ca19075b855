"""Cases against refar's own NumPy, in float64 and float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from refar.golden.case import Case, Kind
from refar.golden.catalogue import FAMILIES
from refar.golden.compare import difference, ratio
from refar.golden.invalid import refusal
from refar.golden.operator import UNITS


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
    """A result for each operator, in the order of the cases. An unknown operator is a problem like any other."""
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
        elif case.operator not in FAMILIES:
            result.problems.append(f"{case.id}: operator {case.operator!r} is not known to this refar")
        else:
            _check(case, result)
    return list(found.values())


def _check(case: Case, result: Checked) -> None:
    for dtype, unit in UNITS.items():
        computed = FAMILIES[case.operator].compute(case, np.dtype(dtype))
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
