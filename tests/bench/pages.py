"""What scripts write into the pages of docs/ stands between marks: <!-- name --> and <!-- /name -->."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
Plugin = TypeVar("Plugin")


def publish(name: str, text: str, files: Sequence[str] | None = None) -> None:
    """Put the text between the marks of this name in the file that the command line names first; print it if it names none."""
    named = sys.argv[1:] if files is None else files
    if not named:
        print(text)
        return
    page, begin, end = Path(named[0]), f"<!-- {name} -->", f"<!-- /{name} -->"
    before, opened, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise SystemExit(f"{page}: expected the marks {begin} and {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def publish_tests(name: str, plugin: Plugin, table: Callable[[Plugin], str]) -> int:
    """Run the tests with a plugin that watches them, and publish the table that it makes. Returns pytest's exit status."""
    status = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", str(ROOT / "tests")], plugins=[plugin])
    publish(name, table(plugin))
    return int(status)
