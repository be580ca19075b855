"""refar check: the laws, a line each with its figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from refar.cli import files
from refar.cli.console import err, line, out
from refar.cli.sources import Source, open_source
from refar.errors import InputError

if TYPE_CHECKING:
    from refar.testing import Report


def check(
    source: Annotated[str, typer.Argument(metavar="GRAPH|RUN|BUNDLE", help="A graph.json, a model, a run or a bundle.")],
    provider: Annotated[str | None, typer.Option(metavar="cpu|cuda", help="Where to run a bundle; cpu if left out.")] = None,
    backends: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Of a graph or run: some of numpy,torch,onnx; all if left out.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report there too.")] = None,
) -> None:
    """Every law of the contract; exit code 1 if one is broken."""
    opened = open_source(source)
    with err.status("opening") as status:
        report = _run(opened, provider, backends, lambda law: status.update(f"law {law}"))
    out.print(Text(opened.title, style="bold"))
    width = max(len(result.law) for result in report.lines)
    for result in report.lines:
        mark = Text("[✓]", "green") if result.passed else Text("[x]", "bold red")
        said = result.figure or result.statement if result.passed else result.message
        out.print(Text.assemble(mark, f" {result.law:<{width}}  {said}"), soft_wrap=True)
    broken = sum(not result.passed for result in report.lines)
    line(f"{len(report.lines)} laws hold" if report.passed else f"{broken} of {len(report.lines)} laws are broken")
    if save is not None:
        lines = [{name: getattr(r, name) for name in ("law", "statement", "passed", "figure", "message")} for r in report.lines]
        document = {"source": source, "kind": opened.kind, "passed": report.passed, "laws": lines}
        files.write_bytes(save, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")
        line(f"wrote {save}")
    if not report.passed:
        raise typer.Exit(1)


def _run(opened: Source, provider: str | None, backends: str | None, progress: Callable[[str], None]) -> Report:
    from refar.testing import laws
    from refar.testing.readings import BACKENDS

    if opened.kind == "bundle":
        if backends is not None:
            raise InputError("--backends is for graphs and runs; a bundle runs in onnxruntime")
        assert opened.path is not None
        return laws.run_bundle_laws(opened.path, provider or "cpu", progress=progress)  # type: ignore[arg-type]
    if provider is not None:
        raise InputError(f"--provider is for bundles; this is a {opened.kind}")
    names = tuple(backends.split(",")) if backends is not None else BACKENDS
    return laws.run_laws(opened.graph, opened.params, backends=names, progress=progress)
