"""What a function did wrong on which cases, and the report that says so, with the likely cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.case import UNITS, Case
from refar.golden.compare import differs
from refar.golden.operator import Operator
from refar.mistakes.of_operators import names_of, wrong
from refar.testing.explain.numbers import describe
from refar.testing.report import Line, Report

_CAUSES = 3
_LARGE = 4
"""So many failures on large cases are looked at for their cause."""


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
    def place(self) -> str:
        """The case, as a message names it."""
        attributes = ", ".join(f"{name}={value!r}" for name, value in self.case.attributes.items())
        id = self.case.id.partition("/")[2]
        return f"case {id!r}{f' ({attributes})' if attributes else ''}, {self.dtype}"


class Failures:
    """Collects what is wrong, by law, and counts what is right."""

    def __init__(self, operator: Operator, laws: Mapping[str, str], scope: str) -> None:
        self.operator = operator
        self._laws, self._scope = laws, scope
        self._wrong: dict[str, list[Failure]] = {law: [] for law in laws}
        self._equal, self._bounded, self._transformed = Counter[str](), Counter[str](), Counter[str]()
        self._remarks: dict[str, list[str]] = {law: [] for law in laws}
        self._absent: dict[str, str] = {}
        self._held: list[tuple[Case, str]] = []

    def add(self, law: str, failure: Failure) -> None:
        """Keep what is wrong."""
        self._wrong[law].append(failure)

    @property
    def none(self) -> bool:
        """Whether nothing is wrong so far."""
        return not any(self._wrong.values())

    def right(self, law: str, case: Case, name: str, by_transform: bool = False) -> None:
        """Count an array that is right, perhaps within the bound of an FFT alone."""
        counter = self._transformed if by_transform else self._bounded if name in case.bound else self._equal
        counter[law] += case.expected[name].size
        self._held.append((case, name))

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
        """Say the first failure that the likeliest mistake explains, or the first of all, and what explains the others."""
        looked = wrong[:_LARGE] if any(failure.large for failure in wrong) else wrong
        explained = [self._mistakes(failure) for failure in looked]
        causes = self._causes(explained)
        first = next(iter(causes), None)
        shown = next((failure for failure, names in zip(looked, explained, strict=True) if first in names), wrong[0])
        said = f"{self.operator.name}, {shown.place}: {shown.said}"
        many = len(looked) == len(wrong) > 1
        if len(wrong) > 1:
            said += f"; one of {len(wrong)} such"
        if causes:
            return f"{said}; looks like: " + ", ".join(f"{name} ({n} of them)" if many else name for name, n in causes.items())
        guess = ""
        if shown.where.any():
            guess = describe(shown.case.expected[shown.name], shown.came, shown.where, shown.axes)
        return said + (f"; {guess}" if guess else "")

    def _causes(self, explained: list[list[str]]) -> dict[str, int]:
        """Find few mistakes that explain most failures, the likeliest first, with how many each explains beyond those before it.

        What is right although a mistake would have changed it speaks against that mistake.
        """
        order, left, causes = names_of(self.operator.name, large=True), explained, dict[str, int]()
        against = {name: self._against(name) for name in {name for names in explained for name in names}}
        while len(causes) < _CAUSES and (counts := Counter(name for names in left for name in names)):
            best = min(counts, key=lambda name: (against[name] - counts[name], order.index(name)))
            causes[best] = counts[best]
            left = [names for names in left if best not in names]
        return causes

    def _against(self, mistake: str) -> int:
        """Count how many arrays are right that this mistake would have changed."""
        by_case = {case.id: self._wrong_by(mistake, case) for case, _ in self._held if mistake in case.catches}
        return sum(
            name in by_case.get(case.id, {}) and differs(case, {name: by_case[case.id][name]}) for case, name in self._held
        )

    def _wrong_by(self, mistake: str, case: Case, dtype: str = "float64") -> Arrays:
        return wrong(mistake, case, self.operator.signature, dtype)

    def _mistakes(self, failure: Failure) -> list[str]:
        """Find the known mistakes that come to this, and clearly nearer to it than what is expected."""
        if not failure.name:
            return []
        scale, expected = 64 * UNITS[failure.dtype], failure.case.expected[failure.name]
        names = []
        for name in names_of(self.operator.name, failure.large):
            found = self._wrong_by(name, failure.case, failure.dtype).get(failure.name)
            if found is None or found.shape != failure.came.shape or not _alike(found, failure.came, scale):
                continue
            if found.shape != expected.shape or 4 * _off(found, failure.came) < _off(expected, failure.came):
                names.append(name)
        return names


def _alike(a: Array, b: Array, relative: float) -> bool:
    sizes = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return bool(np.allclose(a, b.astype(np.float64), rtol=relative, atol=relative * float(sizes), equal_nan=True))


def _off(a: Array, b: Array) -> float:
    """Return the largest difference; infinite where one alone is finite."""
    with np.errstate(invalid="ignore"):
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b.astype(np.float64)))
    return float(np.nan_to_num(off, nan=np.inf).max(initial=0.0))
