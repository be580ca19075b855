"""How often a cause that a check names is the true one, by function: `python tests/bench/causes.py [PAGE]`.

The tests of `TESTS` and tests/bench/causes_planted.py give wrong code to the checks. What each refusal says of a cause is applied
anew (tests/bench/causes_of_*.py) to inputs that the check did not see: other seeds, other weights, other lengths. A verdict is
true if everything that it names gives there what the wrong code gives. The false ones are printed; with docs/mistakes.md the
table is written between its markers.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import pytest
from pages import ROOT, publish

sys.path.insert(0, str(ROOT / "tests" / "support"))

TESTS = ("accepted", "bench", "known", "probe", "examples", "mistakes")
"""Folders of tests in which the checks are given wrong code."""

Claims = dict[str, bool]
"""What a verdict names, each with whether it is true."""
Judge = Callable[[Mapping[str, Any], str], Claims]
"""Of the arguments that a check had and of its message: what it names."""
JUDGES = {
    "check_function": "causes_of_functions",
    "check_module": "causes_of_modules",
    "check_causality": "causes_of_causality",
    "check_streaming": "causes_of_streams",
    "check_loss": "causes_of_losses",
}
"""The files whose `judge` judges the verdicts of a check. They import refar, which pytest has to see first."""


@dataclass
class Verdicts:
    """A pytest plugin: judges each refusal that the tests provoke. `named` has the claims of those that name a cause."""

    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(JUDGES, 0))
    named: dict[str, list[Claims]] = field(default_factory=lambda: {name: [] for name in JUDGES})
    false: list[str] = field(default_factory=list)

    def pytest_configure(self) -> None:
        """Put a watched function in the place of each check."""
        testing = importlib.import_module("refar.testing")
        for name, judge in JUDGES.items():
            watched = self._watched(name, getattr(testing, name), importlib.import_module(judge).judge)
            setattr(testing, name, watched)

    def _watched(self, name: str, check: Callable[..., Any], judge: Judge) -> Callable[..., Any]:
        signature = inspect.signature(check)

        @wraps(check)
        def watched(*given: Any, **options: Any) -> Any:
            try:
                return check(*given, **options)
            except AssertionError as error:
                bound = signature.bind(*given, **options)
                bound.apply_defaults()
                self._keep(name, str(error), judge(bound.arguments, str(error)))
                raise

        return watched

    def _keep(self, name: str, message: str, claims: Claims) -> None:
        self.refused[name] += 1
        if claims:
            self.named[name].append(claims)
        if not all(claims.values()):
            wrong = [words for words, true in claims.items() if not true]
            self.false.append(f"{name}: false is {wrong} of: {message}")


def table(verdicts: Verdicts) -> str:
    """A line for each check, and their sum."""
    rows = [
        (name, verdicts.refused[name], len(claims), sum(all(each.values()) for each in claims))
        for name, claims in verdicts.named.items()
    ]
    rows.append(("all", *(sum(row[n] for row in rows) for n in (1, 2, 3))))
    lines = ["| verdicts of | refused | a cause is named | it is true | share |", "|---|---|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {name} | {refused} | {named} | {true} | {share(true, named)} |" for name, refused, named, true in rows)]
    )


def share(true: int, named: int) -> str:
    """Write a share in per cent."""
    return f"{100 * true / named:.1f} %" if named else "-"


def main() -> None:
    """Run the tests and publish the table."""
    verdicts = Verdicts()
    folders = [str(ROOT / "tests" / name) for name in TESTS if (ROOT / "tests" / name).is_dir()]
    pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *folders], plugins=[verdicts])
    importlib.import_module("causes_planted").give_all()
    publish("causes", table(verdicts), sys.argv[1:2])
    print("\n".join(verdicts.false))


if __name__ == "__main__":
    main()
