"""The golden cases that come with refar, by the name of their operator; made from the vectors when this is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from refar.arguments.arrays import Arrays
from refar.errors import InputError, near
from refar.golden.case import Case, Kind, Signature
from refar.golden.check import compute
from refar.golden.operator import Operator
from refar.golden.vectors import own


@dataclass(frozen=True)
class Family:
    """All cases under one name."""

    operator: str
    kind: Kind

    def compute(self, case: Case, dtype: np.dtype) -> Arrays:
        """Compute what refar's NumPy makes of a case in a dtype, {name: array} as in `Case.expected`."""
        return compute(case, dtype)


FAMILIES: dict[str, Family] = {name: Family(name, kind) for name, kind in own().kinds.items()}
"""All that have cases."""

OPERATORS: dict[str, Operator] = {
    name: Operator(FAMILIES[name].kind, Signature.of(each.signature), each.definition)
    for name, each in own().manifest.operators.items()
}
"""Those with a signature: arrays in, arrays out."""


def catalogue() -> Iterator[Case]:
    """Give every case, in a fixed order."""
    for name in FAMILIES:
        yield from golden_cases(name)


def golden_cases(operator: str) -> tuple[Case, ...]:
    """Return the cases of one operator. Raises InputError for an unknown one, listing all."""
    return _cases(known(operator, FAMILIES))


def known(operator: str, names: Mapping[str, object]) -> str:
    """Return the name itself. Raises InputError unless it is one of those."""
    if not isinstance(operator, str) or operator not in names:
        raise InputError(
            f"operator {operator!r} has no golden cases{near(operator, names)}; those that have are {', '.join(names)}"
        )
    return operator


@cache
def _cases(operator: str) -> tuple[Case, ...]:
    return own().cases(operator)
