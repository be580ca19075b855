"""Which test shows which promise: `python tests/bench/rows.py [docs/promises.md]` runs the marked tests and writes the table.

A promise is a row of the capabilities that the documents describe, `@pytest.mark.row("000-5")` on every test that shows it.
"""

from __future__ import annotations

from collections import defaultdict

import pytest
from pages import publish_tests

DOCUMENTS = {
    "000": "Convolutions in autoregressive neural networks (Theblog 2019)",
    "001": "Causal convolutions (Fleuret, Deep learning 10.2)",
    "002": "Autoregressive models, the WaveNet architecture (Heindl 2021)",
    "003": "An intuitive introduction to deep autoregressive networks (Thiel)",
    "004": "WaveNet's dilated convolutions (Stack Exchange)",
}


class Rows:
    """A pytest plugin: keeps the tests that carry a row, and what became of each of their cases."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, list[str]]] = defaultdict(dict)  # row → test function → its cases
        self.passed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("row"):
                function = item.nodeid.partition("[")[0]
                self.tests[mark.args[0]].setdefault(function, []).append(item.nodeid)
        items[:] = [item for item in items if item.get_closest_marker("row")]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.add(report.nodeid)


def table(rows: Rows) -> str:
    """One line for every row: its tests, by their names, and how many of their cases passed."""
    if unknown := [row for row in rows.tests if row[:3] not in DOCUMENTS or not row[4:].isdecimal()]:
        raise SystemExit(f"row {unknown[0]!r}: expected a document {', '.join(DOCUMENTS)}, a dash and a number")
    lines: list[str] = []
    for document, title in DOCUMENTS.items():
        own = sorted((row for row in rows.tests if row.startswith(document)), key=lambda row: int(row.partition("-")[2]))
        if own:
            lines += ["", f"| {document} | {title} | passed |", "|---|---|---|"]
        for row in own:
            cases = [case for each in rows.tests[row].values() for case in each]
            shown = "; ".join(_link(function) for function in rows.tests[row])
            lines.append(f"| {row} | {shown} | {sum(case in rows.passed for case in cases)} of {len(cases)} |")
    return "\n".join(lines).strip()


def _link(function: str) -> str:
    path, _, name = function.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../{path})"  # as seen from docs/


if __name__ == "__main__":
    raise SystemExit(publish_tests("rows", Rows(), table))
