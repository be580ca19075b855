"""What is slow: `pytest --junitxml=FILE`, then `python tests/bench/durations.py FILE` prints where its seconds went.

By file and by function, the slowest first, with the mark of those that tests/slow.txt keeps out of the fast tier. At the end
what the list may gain or lose: fast functions of more than two seconds in all, slow lines of less than half of one.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from tiers import is_slow, slow_lines

LONG, SHORT = 2.0, 0.5


def seconds(report: str) -> tuple[Counter[str], Counter[str]]:
    """Seconds, and number of cases, of every test function in a junit file."""
    spent: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        function = case.attrib["classname"].replace(".", "/") + ".py::" + case.attrib["name"].partition("[")[0]
        spent[function] += float(case.attrib["time"])
        cases[function] += 1
    return spent, cases


def main(report: str, most: int = 40) -> None:
    """Print the tables."""
    spent, cases = seconds(report)
    lines = slow_lines()
    fast = Counter({name: value for name, value in spent.items() if not is_slow(name, lines)})
    print(f"{sum(spent.values()):.0f} s in {sum(cases.values())} tests; the fast tier {sum(fast.values()):.0f} s", end=" ")
    print(f"in {sum(cases[name] for name in fast)}\n")
    files: Counter[str] = Counter()
    for name, value in spent.items():
        files[name.partition("::")[0]] += value
    for title, table in (("files", files), ("functions", spent)):
        print(title)
        for name, value in table.most_common(most):
            print(f"{value:8.1f} s  {'slow' if is_slow(name, lines) else '    '}  {name}")
        print()
    for name, value in fast.most_common():
        if value > LONG:
            print(f"fast, though it takes {value:.1f} s: {name}")
    for line in lines:
        whole = sum(value for name, value in spent.items() if is_slow(name, [line]))
        if whole < SHORT:
            print(f"slow, though it takes {whole:.1f} s: {line}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
