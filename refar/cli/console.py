"""Where the commands print: results to stdout, progress and errors to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def facts(rows: list[tuple[str, str]]) -> Table:
    """Names on the left, values on the right, no lines between."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def line(text: str, style: str = "") -> None:
    """One line to stdout, never broken or marked up: it may hold a path that the user copies."""
    out.print(Text(text, style=style), soft_wrap=True)


def number(value: int) -> str:
    """An integer with thin groups of three digits: 12 345."""
    return f"{value:,}".replace(",", " ")


def count(value: int, one: str, many: str | None = None) -> str:
    """'1 weight', '12 345 weights'."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if a person is looking; yields the function to call with how much is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
