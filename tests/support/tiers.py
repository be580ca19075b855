"""Which tests are slow: those under a line of tests/slow.txt. All others are the fast tier, `make fast`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

LIST = Path(__file__).parents[1] / "slow.txt"


def slow_lines() -> list[str]:
    """Folders, files and functions, as pytest names them."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_slow(nodeid: str, lines: Iterable[str]) -> bool:
    """Whether a test or a function is that of a line, or stands in its folder or file."""
    function = nodeid.partition("[")[0]
    return any(function == line or function.startswith((f"{line}/", f"{line}::")) for line in lines)
