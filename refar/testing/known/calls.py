"""One function under test, called with a case: with its arrays, with others, again, laid out otherwise, and from two threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.case import Case
from refar.golden.compare import as_dtype
from refar.testing.closeness import allowed
from refar.testing.known.caller import Caller
from refar.testing.known.memory import at_once
from refar.testing.layouts import LAYOUTS, READ_ONLY, Layout
from refar.testing.report import ContractError, Raised
from refar.testing.under_test import as_array, require_unchanged

Call = Callable[[Arrays], Mapping[str, Any]]
"""Call the function with these arrays; {name: whatever it gave}."""


class Calls:
    """Calls a function so often and in such ways that what it gives is known to depend on its arguments alone.

    `refused` has the layouts at which it raised something, {layout: what it raised}: it may refuse them, but not misread them.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._turn = 0
        self.refused: dict[str, str] = {}

    def __call__(self, arrays: Arrays, call: Call) -> Arrays:
        """Return the results as arrays of their own.

        Raises ContractError if an argument changes, or what was given back does, or if the same arguments give something else.
        """
        name = self._caller.name
        given = _copied(arrays)
        raw = call(given)
        for each, array in arrays.items():
            require_unchanged(f"changed its argument {each}", "it must leave its arguments alone", given[each], array)
        kept = {each: np.array(_array(f"{name}: {each}", value), copy=True) for each, value in raw.items()}
        self._same_dtypes(call(_flipped(arrays)), kept)
        for each, value in raw.items():
            what = f"a later call with other data changed {each}, which an earlier call had given"
            advice = "it gives away a view of its own buffer; return a copy"
            require_unchanged(what, advice, _array(name, value), kept[each])
        for each, value in self._same_dtypes(call(_copied(arrays)), kept).items():
            if not (each in kept and _same(value, kept[each])):
                place = np.argwhere(kept[each] != value)[:1].tolist() if each in kept and kept[each].shape == value.shape else []
                where = f": at {place[0]} first {kept[each][tuple(place[0])]!s}, then {value[tuple(place[0])]!s}" if place else ""
                raise ContractError(f"the same arguments give another {each} the second time{where}")
        for layout, laid_out in self._layouts(arrays):
            self._in_layout(layout, {each: laid_out(array) for each, array in arrays.items()}, call, kept)
        return kept

    def at_once(self, case: Case, dtype: str) -> None:
        """Call the function from two threads at once, with other data. Raises ContractError if either gets something else."""
        arrays = as_dtype(case.arrays, dtype)
        if not arrays:
            return
        result = self._caller.signature.result
        both = [arrays, _flipped(arrays)]
        first, second = (partial(self._array_of, case, each) for each in both)
        expected = first(), second()
        try:
            rounds = at_once(first, second)
        except ContractError as error:
            raise ContractError(f"called from two threads at once, it {error}") from error
        for came in rounds:
            if not all(_same(a, b) for a, b in zip(came, expected, strict=True)):
                raise ContractError(
                    f"called from two threads at once with other data, it gives another {result} than when called twice in turn: "
                    "what is kept from one call must not be written by another"
                )

    def _array_of(self, case: Case, arrays: Arrays) -> Array:
        return np.array(_array(self._caller.name, self._caller.result(case, _copied(arrays))), copy=True)

    def _same_dtypes(self, raw: Mapping[str, Any], kept: Arrays) -> Arrays:
        """Return the results of another call as arrays. Raises ContractError where one has another dtype than before."""
        found = {each: _array(self._caller.name, value) for each, value in raw.items()}
        for each, value in found.items():
            if each in kept and value.dtype != kept[each].dtype:
                raise ContractError(
                    f"gives {each} now in {kept[each].dtype} and now in {value.dtype}, for arguments of one dtype"
                )
        return found

    def _layouts(self, arrays: Arrays) -> Iterator[tuple[str, Layout]]:
        """All at the first call, then one after the other."""
        if not arrays:
            return
        each = [*LAYOUTS.items(), *(READ_ONLY.items() if self._caller.takes_numpy else ())]
        yield from each if self._turn == 0 else [each[self._turn % len(each)]]
        self._turn += 1

    def _in_layout(self, layout: str, arrays: Arrays, call: Call, kept: Arrays) -> None:
        """Raise ContractError where arrays that lie in memory so give other results than fresh ones of the same numbers."""
        try:
            came = self._same_dtypes(call(arrays), kept)
        except Raised as error:
            self.refused.setdefault(layout, str(error))
            return
        for name, value in kept.items():
            if name not in came or came[name].shape != value.shape:
                raise ContractError(f"arrays {layout} give another shape of {name} than fresh ones of the same numbers")
            if not _same(came[name], value):
                place = np.argwhere(~np.isclose(came[name], value, rtol=0, atol=allowed(value, value), equal_nan=True))[0]
                raise ContractError(
                    f"arrays {layout} give another {name} than fresh ones of the same numbers: at {place.tolist()} "
                    f"{came[name][tuple(place)]!s} in place of {value[tuple(place)]!s}"
                )


def _same(came: Array, expected: Array) -> bool:
    if came.shape != expected.shape:
        return False
    return bool(np.allclose(came, expected, rtol=0, atol=allowed(expected, expected), equal_nan=True))


def _copied(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


def _flipped(arrays: Arrays) -> Arrays:
    return {name: np.flip(array).copy() for name, array in arrays.items()}


def _array(name: str, value: Any) -> Array:
    """Return what a function gave as an array. Raises ContractError for whatever cannot be one."""
    try:
        return as_array(name, value)
    except ContractError:
        raise
    except Exception as error:  # the object's own __array__ may raise anything; the sentence below says what
        said = str(error).strip().partition("\n")[0]
        kind = type(value).__name__
        raise ContractError(f"{name} returned a {kind} that is no array: {type(error).__name__}: {said}") from error
