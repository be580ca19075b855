"""A forgotten operator is an error: every table over operators ends in `assert_never`, and the type checker finds each gap."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("refar", "export") for path in sorted((ROOT / folder).rglob("*.py"))]

POINTWISE = {
    "analysis/types.py: rule",
    "exact/literal.py: definition",
    "oracle/forward.py: forward",
    "oracle/backward.py: backward",
    "rounding/bound.py: forward",
    "rounding/bound.py: backward",
    "rounding/spread.py: spread",
    "torch/lower.py: apply",
    "refar_export/lower.py: pointwise",
}
"""The tables that a new operator that looks at one position must stand in."""

WINDOWED = (POINTWISE - {"refar_export/lower.py: pointwise"}) | {
    "analysis/windows.py: taps",
    "oracle/windows.py: window_offsets",
    "oracle/convolution.py: by_tap",
    "refar_export/whole_graphs.py: whole_node",
    "refar_export/image_pixels.py: _node",
    "refar_export/image_rows.py: _computed",
    "refar_export/lower.py: windowed_step",
    "refar_export/lower.py: windowed_block",
    "cli/describe.py: operator",
    "cli/describe.py: _products",
    "testing/contract/operators.py: _reduce",
}
"""The same of one that reads other positions."""


def over_operators(match: ast.Match) -> bool:
    """Whether a case names a class of `refar.ops`."""
    names = [pattern.cls for case in match.cases for pattern in ast.walk(case.pattern) if isinstance(pattern, ast.MatchClass)]
    return any(isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name) and name.value.id == "ops" for name in names)


def open_tables(source: str) -> list[int]:
    """The lines of matches over operators or heads that do not end in `case _: assert_never(…)`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Match) and over_operators(node):
            last = node.cases[-1]
            wildcard = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and last.guard is None
            if not wildcard or not ast.unparse(last.body[-1]).startswith("assert_never("):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_table_over_operators_ends_in_assert_never(path: Path) -> None:
    assert not open_tables(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "last", ["case _:\n        return 0", "case ops.Add():\n        return 0", "case _ if x:\n        assert_never(op)"]
)
def test_a_default_is_seen(last: str) -> None:
    assert open_tables(f"match op:\n    case ops.Slice():\n        return 1\n    {last}\n") == [1]


def test_a_dummy_operator_is_an_error_in_every_table_of_its_family(tmp_path: Path) -> None:
    """One that looks at a single position, and one that reads others, added to a copy: mypy names each table that lacks them."""
    for folder in ("refar", "export"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    text = (tmp_path / "refar/ops.py").read_text(encoding="utf-8")
    dummies = "".join(f'class {name}(Op, frozen=True, tag="{name}"):\n    """A dummy."""\n\n\n' for name in ("DummyA", "DummyB"))
    text = text.replace("WindowedOp = Conv1d", f"{dummies}WindowedOp = DummyB | Conv1d").replace(
        "PointwiseOp = (\n", "PointwiseOp = (\n    DummyA |"
    )
    (tmp_path / "refar/ops.py").write_text(text, encoding="utf-8")
    files = sorted({name.split(":")[0] for name in POINTWISE | WINDOWED})
    paths = [str(next(tmp_path.rglob(name if "/" in name else f"**/{name}"))) for name in files]
    run = subprocess.run([sys.executable, "-m", "mypy", *paths], cwd=tmp_path, capture_output=True, text=True)
    found: dict[str, set[str]] = defaultdict(set)
    for file, line, kinds in re.findall(r'^(\S+?):(\d+): error: Argument 1 to "assert_never" has .*?"(.*?)"', run.stdout, re.M):
        function = function_at((tmp_path / file).read_text(encoding="utf-8"), int(line))
        for dummy in kinds.split(" | "):
            found[dummy].add(f"{file.split('/', 1)[1]}: {function}")
    assert not POINTWISE - found["DummyA"], run.stdout
    assert not WINDOWED - found["DummyB"], run.stdout


def function_at(source: str, line: int) -> str:
    """The name of the function that a line is in."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return next(node.name for node in functions if node.lineno <= line <= (node.end_lineno or 0))
