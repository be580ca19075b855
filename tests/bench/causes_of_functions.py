"""What `check_function` says of a cause, applied to arrays that no check has seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from refar.golden import OPERATORS
from refar.golden.case import Case
from refar.golden.compare import as_dtype
from refar.golden.operator import Operator, result_and_gradients
from refar.mistakes.of_operators import names_of, wrong
from refar.testing import ContractError, golden_cases
from refar.testing.known.caller import Caller
from refar.testing.known.drawn import large_cases

Array = np.ndarray
Arrays = Mapping[str, Array]
NEAR = {"float32": 1e-4, "float64": 1e-8}
SEED = 7001
"""Of the drawn cases."""


def judge(given: Mapping[str, Any], message: str) -> dict[str, bool]:
    """Say of each cause in the message whether it gives what the function gives, for the arrays that it is said of.

    A mistake that is said to explain some failures of many has to give at least half of what is wrong.
    """
    operator, claims = OPERATORS[given["operator"]], dict[str, bool]()
    caller = Caller(operator.signature, given["f"], given["gradient"], given["convert"])
    for line in message.splitlines():
        name, dtype = re.search(r": (\S+?) at \[", line), re.search(r", (float\d\d): ", line)
        many = re.search(r"; one of (\d+) such", line)
        for words, change, count in _claims(operator, line):
            said = (dtype[1] if dtype else "float64", name[1] if name else "", change)
            found = [each for case in _cases(operator, given) if (each := _holds(caller, case, *said))]
            wrong = [same for same, right in found if not right]
            in_part = many and count and int(count) < int(many[1])
            claims[words] = 2 * sum(wrong) >= len(wrong) if in_part else all(same for same, _ in found)
        claims |= _contradictions(line)
    return claims


Change = Callable[[Case, Arrays, str], Arrays]
"""Of a case, its right results and a dtype: the results that the cause would give."""


def _claims(operator: Operator, line: str) -> Iterator[tuple[str, Change, str]]:
    """Yield what is named, what it does, and of how many failures it is said."""
    known = sorted(names_of(operator.name, large=True), key=len, reverse=True)
    _, found, rest = line.partition("looks like: ")
    while found and rest:
        name = next(name for name in known if rest.startswith(name))
        count, rest = re.fullmatch(r"(?: \((\d+) of them\))?(?:, )?(.*)", rest[len(name) :]).groups()
        yield name, _mistake(operator, name), count or ""


def _contradictions(line: str) -> dict[str, bool]:
    """A factor that the two numbers beside it do not have."""
    factor = re.search(r"all numbers are (\S+) times the right ones", line)
    both = re.search(r"expected (\S+), got (\S+) \(", line)
    if not factor or not both or abs(float(factor[1]) * float(both[1]) - float(both[2])) <= 1e-3 * abs(float(both[2])):
        return {}
    return {factor[0]: False}


def _mistake(operator: Operator, name: str) -> Change:
    return lambda case, right, dtype: {**right, **wrong(name, case, operator.signature, dtype)}


def _cases(operator: Operator, given: Mapping[str, Any]) -> list[Case]:
    only = tuple(sorted((given["only"] or {}).items(), key=str))
    return [*_golden(operator.name, str(only), lambda: golden_cases(operator.name, given["only"])),
            *_drawn(operator.name, str(only), lambda: large_cases(operator, None, SEED, given["only"] or {}))]  # fmt: skip


_KEPT: dict[tuple[str, str, str], list[Case]] = {}


def _golden(operator: str, only: str, cases: Callable[[], Any]) -> list[Case]:
    key = ("golden", operator, only)
    if key not in _KEPT:
        _KEPT[key] = [replace(case, arrays=_other(case, n)) for n, case in enumerate(cases())]
    return _KEPT[key]


def _drawn(operator: str, only: str, cases: Callable[[], Any]) -> list[Case]:
    key = ("drawn", operator, only)
    if key not in _KEPT:
        _KEPT[key] = list(cases())
    return _KEPT[key]


def _other(case: Case, seed: int) -> dict[str, Array]:
    """Other numbers of the same kind: turned round along every axis, and made smaller; probabilities and classes only turned."""
    rng = np.random.default_rng([SEED, seed])
    kept = {name for name, a in case.arrays.items() if a.dtype.kind != "f" or (case.operator == "inverse_cdf" and name == "p")}
    turned = {name: np.flip(a).copy() for name, a in case.arrays.items()}
    return {name: a if name in kept else (a * rng.uniform(0.6, 1, a.shape)).astype(a.dtype) for name, a in turned.items()}


def _holds(caller: Caller, case: Case, dtype: str, name: str, change: Change) -> tuple[bool, bool] | None:
    """Whether the change gives what the function gives, and whether that is right; None where the function refuses the case."""
    arrays = as_dtype(case.arrays, dtype)
    result = caller.signature.result
    with np.errstate(all="ignore"):
        right = result_and_gradients(case.operator, case.attributes, arrays, np.dtype(dtype))
        try:
            forward = name in ("", result)
            gave = {result: caller.result(case, arrays)} if forward else caller.gradients(case, as_dtype(case.arrays, dtype))
        except ContractError:
            return None
        expected = change(case, right, dtype)
    came = {key: as_numpy(array) for key, array in gave.items() if name in ("", key)}
    same, as_it_should_be = (all(_near(array, each[key], dtype) for key, array in came.items()) for each in (expected, right))
    return same, as_it_should_be


def as_numpy(value: Any) -> Array:
    """Make an array of a tensor."""
    return np.asarray(value.detach() if hasattr(value, "detach") else value).astype(np.float64)


def _near(came: Array, expected: Array, dtype: str) -> bool:
    """Equal up to rounding; where the expected number is NaN, any will do."""
    if came.shape != expected.shape:
        return False
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0.0)
    return bool(np.allclose(came[finite], expected[finite], rtol=NEAR[dtype], atol=NEAR[dtype] * scale)
                and (np.isnan(expected) | finite | (came == expected)).all())  # fmt: skip
