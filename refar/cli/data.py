"""refar data: the data sets that are known, and those that are fetched once."""

from __future__ import annotations

from typing import Annotated

import typer

from refar.cli.console import fixed, line, plain_table, show, status
from refar.errors import InputError


def data(
    action: Annotated[str | None, typer.Argument(metavar="[fetch]", help="Nothing, or fetch.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which data set to fetch.")] = None,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="FOLDER", help="A folder with its files, or the address of one.")
    ] = None,
) -> None:
    """List the data sets that are known, with their licences; or fetch one into the cache."""
    from refar.data import cache

    if action is None and origin is None:
        _list()
        return
    if action != "fetch" or name is None:
        came = " ".join(filter(None, (action, name)))
        raise InputError(f"data: expected nothing, or fetch NAME, as in refar data fetch mnist; got {came!r}")
    with status(f"fetching {name}"):
        brought = cache.fetch(name, origin)
    folder = cache.folder_of(name)
    line(f"{name}: brought {len(brought)} files into {folder}" if brought else f"{name}: all files are in {folder} already")


def _list() -> None:
    from refar.data import cache

    rows = [
        ("digits", "handwritten digits, 8 x 8 pixels, 17 levels, 10 classes", "CC BY 4.0", "comes with scikit-learn"),
        ("fourier", "random Fourier series, 500 samples in 127 classes, and their period", "none: drawn", "made when used"),
    ]
    for name, known in cache.FETCHABLE.items():
        where = str(cache.folder_of(name)) if cache.is_fetched(name) else f"refar data fetch {name}"
        rows.append((name, known.title, known.licence, where))
    table = plain_table()
    for title, column in zip(("name", "what", "licence", "where"), zip(*rows, strict=True), strict=True):
        fixed(table, title, list(column))
    for row in rows:
        table.add_row(*row)
    show(table)
