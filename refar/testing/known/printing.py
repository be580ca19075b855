"""What a function under test prints is passed on, and counted: the report says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TextIO, cast

from refar.testing.report import Line, Report


class Printed:
    """Standard output, which counts the lines that pass. All else is that of the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines, self._text = 0, False

    def write(self, text: str) -> int:
        """Pass the text on."""
        self._lines += text.count("\n")
        self._text = self._text or bool(text)
        return self._stream.write(text)

    @property
    def said(self) -> tuple[str, ...]:
        """How much was printed, in words; nothing where nothing was."""
        return (f"prints {max(self._lines, 1)} lines",) if self._text else ()

    def noted(self, report: Report) -> Report:
        """Return the report with a line on what was printed, if anything was."""
        lines = (Line("prints", "What the code prints is passed on.", True, said, applies=False) for said in self.said)
        return replace(report, lines=(*report.lines, *lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def counted_lines() -> Iterator[Printed]:
    """Count what is printed in the block."""
    before = sys.stdout
    printed = Printed(before)
    sys.stdout = cast(TextIO, printed)
    try:
        yield printed
    finally:
        sys.stdout = before
