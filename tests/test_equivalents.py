"""The list of mutants without effect speaks of lines that are there: a stale entry would excuse nothing, or the wrong line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
GROUPS: list[dict[str, Any]] = tomllib.loads((ROOT / "tests/bench/equivalents.toml").read_text(encoding="utf-8"))["mutant"]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group['file']}: {group['was'][:30]}")
def test_every_line_is_in_its_file(group: dict[str, Any]) -> None:
    source = (ROOT / "refar" / group["file"]).read_text(encoding="utf-8")
    assert group["was"] in " ".join(source.split())
    assert group["why"]
    assert group["was"] not in group["becomes"]
