"""Arrays that no verdict rests on: a mistake is named as the cause only if it gives what the function gives there too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.case import UNITS, Case
from refar.golden.compare import as_dtype, difference
from refar.golden.operator import Operator, result_and_gradients
from refar.mistakes.of_operators import wrong
from refar.testing.known.caller import Caller
from refar.testing.known.drawn import large_cases
from refar.testing.report import ContractError
from refar.testing.under_test import as_array

_CASES = 5
_ROUNDINGS, _SHARE = 64, 64


class Elsewhere:
    """The function on the smallest of the large cases, drawn from another seed than those that it is judged on."""

    def __init__(self, operator: Operator, caller: Caller, only: Mapping[str, Any], seed: int) -> None:
        self._operator, self._caller, self._only, self._seed = operator, caller, only, seed
        self._gave: dict[tuple[str, str, bool], Arrays] = {}

    def confirms(self, mistake: str, name: str, dtype: str) -> bool:
        """Return whether the function gives the array `name` wherever it can be called as code with this mistake does.

        It may be off by 64 roundings of the largest number, or by a 64th of what the mistake changes. Where both are within the
        bound of the right numbers, nothing speaks against the mistake.
        """
        return all(self._same(case, mistake, name, dtype) for case in self._cases)

    @cached_property
    def _cases(self) -> list[Case]:
        drawn = large_cases(self._operator, None, self._seed + 1, self._only)
        return sorted(drawn, key=lambda case: sum(array.size for array in case.arrays.values()))[:_CASES]

    def _same(self, case: Case, mistake: str, name: str, dtype: str) -> bool:
        came = self._given(case, dtype, name).get(name)
        if came is None:
            return True
        arrays = as_dtype(case.arrays, dtype)
        right = result_and_gradients(case.operator, case.attributes, arrays, np.dtype(dtype))[name]
        changed = wrong(mistake, case, self._operator.signature, dtype).get(name, right)
        if changed.shape != came.shape:
            return False
        shaped = changed.shape == right.shape
        if shaped and all(difference(case, name, each, UNITS[dtype]) is None for each in (came, changed)):
            return True
        effect = _off(changed, right) if shaped else 0.0
        return _off(changed, came) <= max(_ROUNDINGS * UNITS[dtype] * _largest(changed), effect / _SHARE)

    def _given(self, case: Case, dtype: str, name: str) -> Arrays:
        """Return what the function gives; nothing where it refuses the case."""
        result = self._operator.signature.result
        key = (case.id, dtype, name == result)
        if key not in self._gave:
            arrays = as_dtype(case.arrays, dtype)
            try:
                forward = name == result
                found = {name: self._caller.result(case, arrays)} if forward else self._caller.gradients(case, arrays)
                self._gave[key] = {each: as_array(each, value) for each, value in found.items()}
            except ContractError:
                self._gave[key] = {}
        return self._gave[key]


def _largest(array: Array) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


@np.errstate(invalid="ignore", over="ignore")
def _off(a: Array, b: Array) -> float:
    """Return the largest difference of finite numbers; infinite where one alone is finite."""
    both = np.isfinite(a) & np.isfinite(b)
    if (np.isfinite(a) != np.isfinite(b)).any():
        return np.inf
    return float(np.abs(a[both].astype(np.float64) - b[both]).max(initial=0.0))
