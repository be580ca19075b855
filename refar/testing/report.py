"""What was compared, how well it agreed, and the message when it did not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class ContractError(AssertionError):
    """A law of the contract does not hold. The message names law, backend, node, position, both values and the tolerance."""


class Raised(ContractError):
    """The code under test raised an exception; the message says it in one line."""


@dataclass(frozen=True)
class Line:
    """One law: what it says, whether it holds, its figure, and what broke it.

    A law that has nothing to say of such a graph is not broken, but `applies` is False, and its figure says why.
    """

    law: str
    statement: str
    passed: bool
    figure: str
    message: str = ""
    applies: bool = True

    def __str__(self) -> str:
        verdict = "BROKEN" if not self.passed else "holds" if self.applies else "-"
        return f"{verdict:<6}  {self.law:<10} {self.figure if self.passed else self.message}"


@dataclass(frozen=True)
class Report:
    """A line for each law, in the order of the laws."""

    lines: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        """Whether every law holds."""
        return all(line.passed for line in self.lines)

    def require(self) -> Report:
        """The report itself. Raises ContractError naming every broken law."""
        if not self.passed:
            raise ContractError("\n".join(f"law {line.law!r}: {line.message}" for line in self.lines if not line.passed))
        return self

    def __str__(self) -> str:
        return "\n".join(str(line) for line in self.lines)


@dataclass
class Measure:
    """Collects the comparisons of one law. Raises ContractError at the first that fails."""

    statements: int = 0
    equal_numbers: int = 0
    close_numbers: int = 0
    worst: float = 0.0
    notes: list[str] = field(default_factory=list)
    absence: str = ""

    def does_not_apply(self, why: str) -> None:
        """By its structure such a graph gives this law nothing to compare."""
        self.absence = f"does not apply: {why}"

    @property
    def compared(self) -> bool:
        """Whether anything has been compared: a law that has looked at nothing does not hold."""
        return self.statements + self.equal_numbers + self.close_numbers > 0

    def require(self, holds: bool, what: str, expected: object, came: object) -> None:
        """A plain statement."""
        self.statements += 1
        if not holds:
            raise ContractError(f"{what}: expected {expected}, got {came}")

    def equal(self, what: str, actual: Array, expected: Array, where: Array | None = None) -> None:
        """The same shape and, by ==, the same numbers; with `where`, at those places."""
        self._same_shape(what, actual, expected)
        compared = np.ones(expected.shape, bool) if where is None else where
        self.equal_numbers += int(compared.sum())
        wrong = compared & ~(actual == expected)
        if wrong.any():
            raise ContractError(f"{what} at {_place(wrong, actual, expected)}")

    def close(self, what: str, actual: Array, expected: Array, relative: float, scale: float = 0.0) -> None:
        """The same shape, and numbers that differ by at most `relative` times the largest magnitude in `expected`, or `scale`."""
        self._same_shape(what, actual, expected)
        self.close_numbers += expected.size
        if not expected.size:
            return
        tolerance = relative * max(scale, float(np.abs(expected).max()))
        error = np.abs(actual.astype(np.float64) - expected)
        wrong = ~(error <= tolerance)
        if wrong.any():
            place = _place(wrong, actual, expected)
            raise ContractError(f"{what} at {place}; tolerance {tolerance:.3g}, largest error {np.nanmax(error):.3g}")
        self.worst = max(self.worst, float(error.max() / tolerance) if tolerance else 0.0)

    def within(self, what: str, actual: Array, expected: Array, allowed: Array) -> None:
        """The same shape, and each number at most as far off as `allowed`, an array of that shape, says of it."""
        self._same_shape(what, actual, expected)
        self.close_numbers += expected.size
        error = np.abs(actual.astype(np.float64) - expected)
        wrong = ~(error <= allowed)
        if wrong.any():
            first = tuple(np.argwhere(wrong)[0])
            place = _place(wrong, actual, expected)
            raise ContractError(f"{what} at {place}; tolerance {allowed[first]:.3g}, largest error {np.nanmax(error):.3g}")
        self.worst = max(self.worst, float((error / np.where(allowed > 0, allowed, 1)).max(initial=0.0)))

    def gradients(
        self,
        what: str,
        actual: Mapping[str, Array],
        expected: Mapping[str, Array],
        relative: float | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        """`equal`, or `close` if a tolerance is given, for every array of `expected`, and no other in `actual`."""
        self.require(actual.keys() == expected.keys(), f"{what}: gradients", sorted(expected), sorted(actual))
        for name, gradient in expected.items():
            if relative is None:
                self.equal(f"{what}: gradient of {name!r}", actual[name], gradient)
            else:
                self.close(f"{what}: gradient of {name!r}", actual[name], gradient, relative, (scales or {}).get(name, 0.0))

    @property
    def figure(self) -> str:
        """What was seen, in one line."""
        parts = [f"{self.equal_numbers} numbers equal"] if self.equal_numbers else []
        if self.close_numbers:
            parts.append(f"{self.close_numbers} numbers within the tolerance, the worst at {self.worst:.2g} of it")
        return self.absence or "; ".join([*parts, *self.notes])

    def _same_shape(self, what: str, actual: Array, expected: Array) -> None:
        if actual.shape != expected.shape:
            raise ContractError(f"{what}: shape: expected {expected.shape}, got {actual.shape}")


def _place(wrong: Array, actual: Array, expected: Array) -> str:
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{list(index)}: expected {expected[index]!s}, got {actual[index]!s} ({int(wrong.sum())} of {wrong.size} differ)"


def hold(laws: Mapping[str, Callable[..., None]], ends: Collection[str], *arguments: object) -> Report:
    """Run each law with a measure of its own; none follows a broken one that `ends` names. Raises ContractError for what broke.

    What a law says is the first line of its docstring. What two laws say alike is said once.
    """
    lines: list[Line] = []
    causes: list[BaseException] = []
    for name, law in laws.items():
        measure, broken = Measure(), ""
        try:
            law(*arguments, measure)
        except ContractError as error:
            broken = str(error)
            causes += [error.__cause__] if error.__cause__ is not None else []
        except Exception:  # after a broken law it may be a consequence
            if all(line.passed for line in lines):
                raise
            break
        if not broken or broken not in [line.message for line in lines]:
            lines.append(Line(name, (law.__doc__ or "").partition("\n")[0], not broken, measure.figure, broken))
        if broken and name in ends:
            break
    try:
        return Report(tuple(lines)).require()
    except ContractError as error:
        raise error from next(iter(causes), None)
