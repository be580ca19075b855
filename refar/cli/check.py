"""refar check: the laws, a line each with its figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from xml.etree.ElementTree import Element, SubElement, tostring

import typer
from rich.text import Text

from refar.analysis.causality import is_strict
from refar.cli import files, values
from refar.cli.console import line, out, status
from refar.cli.sources import Source, open_source
from refar.errors import InputError
from refar.files import write_bytes

if TYPE_CHECKING:
    from refar.testing import Report


def check(
    source: Annotated[str, typer.Argument(metavar="GRAPH|RUN|BUNDLE", help="A graph.json, a model, a run or a bundle.")],
    provider: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where onnxruntime runs; cuda never falls back.")] = "cpu",
    backends: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Of a graph or run, beside numpy: torch, onnx or both; all if left out.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Of a stranger's bundle: make the models anew, and open none of the shipped ones.")
    ] = False,
    save: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report there too.")] = None,
    xml: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write it as JUnit XML, a case for each law.")
    ] = None,
) -> None:
    """Every law of the contract; exit code 1 if one is broken."""
    for path in filter(None, (save, xml)):
        files.check_output(path)
    opened = open_source(source)
    with status("opening") as update:
        report = _run(opened, provider, backends, rebuild, lambda law: update(f"law {law}"))
    out.print(Text(opened.title, style="bold"))
    width = max(len(result.law) for result in report.lines)
    for result in report.lines:
        mark = Text("[✓]", "green") if result.passed and result.applies else Text("[-]", "dim")
        mark = mark if result.passed else Text("[x]", "bold red")
        said = result.figure or result.statement if result.passed else result.message
        out.print(Text.assemble(mark, f" {result.law:<{width}}  {said}"), soft_wrap=True)
    broken = sum(not result.passed for result in report.lines)
    idle = sum(not result.applies for result in report.lines)
    held = f"{len(report.lines) - idle} laws hold" + (f", {idle} do{'es' * (idle == 1)} not apply" if idle else "")
    line(held if report.passed else f"{broken} of {len(report.lines)} laws are broken")
    if opened.graph.head is not None and not is_strict(opened.graph):
        line("but it is not strict: its outputs see what they are to model, so it has no density; refar inspect says where")
    if save is not None:
        lines = [asdict(result) for result in report.lines]
        document = {"source": source, "kind": opened.kind, "passed": report.passed, "laws": lines}
        write_bytes(save, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")
        line(f"wrote {save}")
    if xml is not None:
        write_bytes(xml, junit(source, report))
        line(f"wrote {xml}")
    if not report.passed:
        raise typer.Exit(1)


def junit(source: str, report: Report) -> bytes:
    """Return the report as a suite of JUnit, with a case for each law, as continuous integration shows it."""
    counts = {
        "tests": len(report.lines),
        "failures": sum(not result.passed for result in report.lines),
        "skipped": sum(result.passed and not result.applies for result in report.lines),
    }
    suite = Element("testsuite", {"name": f"refar check {source}"} | {name: str(count) for name, count in counts.items()})
    for result in report.lines:
        case = SubElement(suite, "testcase", {"classname": "refar.check", "name": result.law})
        if not result.passed:
            SubElement(case, "failure", {"message": result.message}).text = f"{result.statement}\n{result.message}"
        elif not result.applies:
            SubElement(case, "skipped", {"message": result.figure})
        else:
            SubElement(case, "system-out").text = result.figure
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + tostring(suite, encoding="unicode").encode() + b"\n"


def _run(opened: Source, provider: str, backends: str | None, rebuild: bool, progress: Callable[[str], None]) -> Report:
    from refar.testing.contract import laws
    from refar.testing.contract.backends import BACKENDS

    if opened.kind == "bundle":
        if backends is not None:
            raise InputError("--backends is for graphs and runs; a bundle runs in onnxruntime")
        assert opened.path is not None
        trust: Literal["models", "rebuild"] = "rebuild" if rebuild else "models"
        return laws.run_bundle_laws(opened.path, values.device(provider), progress=progress, trust=trust)
    if rebuild:
        raise InputError("--rebuild is for bundles; a graph or a run has no models that were shipped")
    names = tuple(backends.split(",")) if backends is not None else BACKENDS
    if provider != "cpu" and "onnx" not in names:
        raise InputError(f"--provider {provider}: this is where onnxruntime runs, but onnx is not among --backends {backends}")
    device = values.device(provider)
    return laws.run_laws(opened.graph, opened.params, backends=names, provider=device, progress=progress)
