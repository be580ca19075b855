"""Where the commands print: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import codecs
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_ASCII = {
    "■": "#",
    "□": "o",
    "▪": "+",
    "·": ".",
    "–": "-",
    "−": "-",
    "…": "...",
    "→": "->",
    "←": "<-",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
}
_ASCII |= {"✓": "ok", "’": "'", "\u202f": " ", "µ": "u", "±": "+-", "÷": "/"}


def plain(error: UnicodeError) -> tuple[str, int]:
    """The error handler of a terminal that lacks a character: what is nearest to it in ASCII."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_ASCII.get(character, "?") for character in error.object[error.start : error.end]), error.end


codecs.register_error("refar", plain)


def pairs(rows: list[tuple[str, str]]) -> Table:
    """Names on the left, values on the right, no lines between."""
    wide = max(len(name) for name, _ in rows)
    room = max(24, out.width - wide - 2)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True, min_width=wide)
    table.add_column(no_wrap=True, min_width=min(room, max(len(value) for _, value in rows)))
    for name, value in rows:
        tied = re.sub(r"(?<=\d) (?=\d{3})", "\u00a0", value)  # lines do not break inside a number
        table.add_row(Text(name), Text("\n".join(textwrap.wrap(tied, room)).replace("\u00a0", " ")))
    return table


def plain_table() -> Table:
    """Columns below their names, no lines between."""
    return Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))


def fixed(table: Table, name: str, cells: list[str], right: bool = False) -> None:
    """A column that is never broken or cut."""
    table.add_column(name, justify="right" if right else "left", no_wrap=True, min_width=max(map(len, [name, *cells])))


def show(table: Table) -> None:
    """A table to stdout, in the width of the terminal; wider where columns would be cut below their least widths."""
    least = sum((column.min_width or 0) + table.padding[1] for column in table.columns)
    Console(highlight=False, width=max(out.width, least)).print(table)


def line(text: str, style: str = "") -> None:
    """One line to stdout, never broken or marked up: it may hold a path that the user copies."""
    out.print(Text(text, style=style), soft_wrap=True)


def number(value: int) -> str:
    """An integer with thin groups of three digits: 12 345."""
    return f"{value:,}".replace(",", " ")


def count(value: int, one: str, many: str | None = None) -> str:
    """'1 weight', '12 345 weights'."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def _animated() -> bool:
    """Whether a person is looking who has not asked for plain text."""
    return err.is_terminal and not err.is_dumb_terminal and not err.no_color


@contextmanager
def status(what: str) -> Iterator[Callable[[str], None]]:
    """A turning wheel on stderr, if a person is looking; yields the function to call with what is being done."""
    if not _animated():
        yield lambda what: None
        return
    with err.status(what) as wheel:
        yield wheel.update


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if a person is looking; yields the function to call with how much is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not _animated(), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
