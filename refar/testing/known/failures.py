"""What a function did wrong on which cases, and the report that says so, with the likely cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.case import UNITS, Case
from refar.golden.compare import wrong_at
from refar.golden.operator import Operator
from refar.mistakes.of_operators import names_of, wrong
from refar.testing.explain.numbers import Wrong, describe
from refar.testing.known.elsewhere import Elsewhere
from refar.testing.report import Line, Report

_LARGE, _FEW = 4, 12
"""So many failures on large cases are looked at for their cause, and so many of others before all are."""


@dataclass(frozen=True)
class Failure:
    """One thing that is wrong: on which case, in which dtype, in words; and the array that came, where there is one."""

    case: Case
    dtype: str
    said: str
    name: str = ""
    came: Array = field(default_factory=lambda: np.zeros(0))
    where: Array = field(default_factory=lambda: np.zeros(0, bool))
    axes: str = ""

    @property
    def large(self) -> bool:
        """Whether the case is drawn, and none of the golden ones."""
        return self.case.id.partition("/")[2].startswith("drawn(")

    @property
    def numbers(self) -> Wrong:
        """The wrong numbers beside the right ones."""
        return Wrong(self.case.expected[self.name], self.came, self.where, self.axes)

    @property
    def place(self) -> str:
        """The case, as a message names it."""
        attributes = ", ".join(f"{name}={value!r}" for name, value in self.case.attributes.items())
        id = self.case.id.partition("/")[2]
        return f"case {id!r}{f' ({attributes})' if attributes else ''}, {self.dtype}"


class Failures:
    """Collects what is wrong, by law, and counts what is right."""

    def __init__(self, operator: Operator, laws: Mapping[str, str], scope: str, elsewhere: Elsewhere) -> None:
        self.operator, self._elsewhere = operator, elsewhere
        self._laws, self._scope = laws, scope
        self._wrong: dict[str, list[Failure]] = {law: [] for law in laws}
        self._equal, self._bounded, self._transformed = Counter[str](), Counter[str](), Counter[str]()
        self._remarks: dict[str, list[str]] = {law: [] for law in laws}
        self._absent: dict[str, str] = {}
        self._held: list[tuple[Case, str, str]] = []

    def add(self, law: str, failure: Failure) -> None:
        """Keep what is wrong."""
        self._wrong[law].append(failure)

    @property
    def none(self) -> bool:
        """Whether nothing is wrong so far."""
        return not any(self._wrong.values())

    def right(self, law: str, case: Case, name: str, dtype: str, by_transform: bool = False) -> None:
        """Count an array that is right in a dtype, perhaps within the bound of an FFT alone."""
        counter = self._transformed if by_transform else self._bounded if name in case.bound else self._equal
        counter[law] += case.expected[name].size
        self._held.append((case, name, dtype))

    def remark(self, law: str, *remarks: str) -> None:
        """Add to what the line of a law says where it holds."""
        self._remarks[law] += remarks

    def leave_out(self, law: str, why: str) -> None:
        """Leave out a law that has nothing to say."""
        self._absent[law] = f"does not apply: {why}"

    def report(self) -> Report:
        """Return a line for each law."""
        return Report(tuple(self._line(law, statement) for law, statement in self._laws.items()))

    def _line(self, law: str, statement: str) -> Line:
        wrong = self._wrong[law]
        figure = self._absent.get(law, self._figure(law))
        message = self._message(wrong) if wrong else ""
        return Line(law, statement, not wrong, figure, message, applies=law not in self._absent)

    def _figure(self, law: str) -> str:
        counts = [f"{self._equal[law]} numbers equal"] if self._equal[law] else []
        counts += [f"{self._bounded[law]} within their bound"] if self._bounded[law] else []
        counts += [f"{self._transformed[law]} within that of an FFT"] if self._transformed[law] else []
        figure = ", ".join(counts) + f" in {self._scope}" if counts else self._scope
        return "; ".join([figure, *self._remarks[law]])

    def _message(self, wrong: list[Failure]) -> str:
        """Say the first failure that a mistake explains, or the first of all, and the mistakes that explain them."""
        causes = self._causes(wrong)
        shown = next((failure for explained in causes.values() for failure in explained), wrong[0])
        said = f"{self.operator.name}, {shown.place}: {shown.said}"
        if len(wrong) > 1:
            said += f"; one of {len(wrong)} such"
        if causes:
            counted = len(wrong) > 1 and not any(failure.large for failure in wrong)
            each = (f"{cause} ({len(of)} of them)" if counted else cause for cause, of in causes.items())
            return f"{said}; looks like: {', '.join(each)}"
        guess = ""
        if shown.where.any():
            others = [failure for failure in _looked_at(wrong) if failure.where.any() and failure is not shown]
            guess = describe(shown.numbers, (failure.numbers for failure in others))
        return said + (f"; {guess}" if guess else "")

    def _causes(self, wrong: list[Failure]) -> dict[str, list[Failure]]:
        """Find for each array that is wrong the known mistake that comes to the same, with the failures that it explains.

        It has to explain at least half of what is wrong of this array, under any law, to leave alone what is right, and to give
        what the function gives elsewhere.
        """
        own, causes = set(map(id, wrong)), dict[str, list[Failure]]()
        for name in dict.fromkeys(failure.name for failure in wrong if failure.name):
            looked = _looked_at([failure for each in self._wrong.values() for failure in each if failure.name == name])
            if best := self._likeliest(looked):
                causes.setdefault(best, []).extend(each for each in looked if id(each) in own and self._explains(best, each))
        return {cause: explained for cause, explained in causes.items() if explained}

    def _likeliest(self, looked: list[Failure]) -> str:
        """Return the mistake that explains the most of these failures, the first of several; nothing where it is below half.

        One that explains none of a few failures, taken evenly from all, is not tried on the others.
        """
        few = looked[:: max(len(looked) // _FEW, 1)]
        names = [name for name in names_of(self.operator.name, large=True) if any(self._explains(name, each) for each in few)]
        counts = {name: sum(self._explains(name, failure) for failure in looked) for name in names}
        order = sorted((name for name in names if 2 * counts[name] >= len(looked)), key=lambda name: -counts[name])
        fitting = (name for name in order if not self._against(name) and self._confirmed(name, looked[0]))
        return next(fitting, "")

    def _confirmed(self, mistake: str, failure: Failure) -> bool:
        return self._elsewhere.confirms(mistake, failure.name, failure.dtype)

    def _against(self, mistake: str) -> bool:
        """Return whether an array is right, in one dtype, that this mistake would have changed."""
        for case, name, dtype in self._held:
            found = self._wrong_by(mistake, case, dtype) if mistake in case.catches else {}
            expected = case.expected[name]
            if name in found and (found[name].shape != expected.shape or wrong_at(case, name, found[name], UNITS[dtype]).any()):
                return True
        return False

    def _wrong_by(self, mistake: str, case: Case, dtype: str = "float64") -> Arrays:
        return wrong(mistake, case, self.operator.signature, dtype)

    def _explains(self, mistake: str, failure: Failure) -> bool:
        """Return whether a known mistake comes to what came, and clearly nearer to it than what is expected."""
        scale, expected = 64 * UNITS[failure.dtype], failure.case.expected[failure.name]
        found = self._wrong_by(mistake, failure.case, failure.dtype).get(failure.name)
        if found is None or found.shape != failure.came.shape or not _alike(found, failure.came, scale):
            return False
        return found.shape != expected.shape or 4 * _off(found, failure.came) < _off(expected, failure.came)


def _looked_at(failures: list[Failure]) -> list[Failure]:
    return failures[:_LARGE] if any(failure.large for failure in failures) else failures


def _alike(a: Array, b: Array, relative: float) -> bool:
    sizes = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return bool(np.allclose(a, b.astype(np.float64), rtol=relative, atol=relative * float(sizes), equal_nan=True))


def _off(a: Array, b: Array) -> float:
    """Return the largest difference; infinite where one alone is finite."""
    with np.errstate(invalid="ignore"):
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b.astype(np.float64)))
    return float(np.nan_to_num(off, nan=np.inf).max(initial=0.0))
