"""refar golden: the vectors, checked, written, compared."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from refar.cli import files
from refar.cli.console import count, line, number, out, status
from refar.errors import InputError
from refar.files import write_bytes

if TYPE_CHECKING:
    from refar.golden.check import Checked

HERE = Path("golden")


def golden(
    action: Annotated[Literal["check", "write", "diff"], typer.Argument(metavar="check|write|diff", help="What to do.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="The folder; ./golden or refar's own if left out."),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write operators and networks as ONNX backend test data instead.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Write also over other vectors of the same version.")] = False,
    save: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Of check: write the report there too.")] = None,
) -> None:
    """Check the golden vectors against refar's NumPy, write them, or say what writing would change."""
    if (onnx or overwrite) and action != "write":
        raise InputError(f"golden {action}: --{'onnx' if onnx else 'overwrite'} is for write")
    if save is not None and action != "check":
        raise InputError(f"golden {action}: --json is for check")
    match action:
        case "check":
            _check(_existing(folder), save)
        case "diff":
            _diff(_existing(folder))
        case "write":
            if folder is None:
                raise InputError("golden write: expected the folder to write, as in: refar golden write golden")
            _write(folder, onnx, overwrite)


def _existing(folder: Path | None) -> Path:
    """The folder that was named, or ./golden if there is one, or the vectors that come with refar."""
    from refar.golden.manifest import MANIFEST
    from refar.golden.vectors import own

    if folder is None and not (HERE / MANIFEST).is_file():
        return own().folder
    found = HERE if folder is None else folder
    if not (found / MANIFEST).is_file():
        raise InputError(f"{str(found)!r} holds no golden vectors, there is no {MANIFEST}")
    return found


def _workshop(action: str) -> Any:
    """The module that computes and writes the vectors; it lies in the repository alone."""
    from refar.golden.vectors import checkout

    folder = checkout()
    if folder is None:
        raise InputError(f"golden {action}: expected a checkout of refar, whose golden/workshop computes the vectors")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module("workshop.writing")


def _check(folder: Path, save: Path | None) -> None:
    from refar.golden.check import check
    from refar.golden.vectors import read

    if save is not None:
        files.check_output(save)
    with status("reading") as update:
        results = check(read(folder), update)
    width = max(len(result.operator) for result in results)
    for result in results:
        mark = Text("[x]", "bold red") if result.problems else Text("[✓]", "green")
        out.print(Text.assemble(mark, f" {result.operator:<{width}}  {_figure(result)}"), soft_wrap=True)
        for problem in result.problems[:3]:
            line(f"    {problem}")
        if len(result.problems) > 3:
            line(f"    and {len(result.problems) - 3} more")
    wrong = sum(bool(result.problems) for result in results)
    line(f"{wrong} of {len(results)} are wrong" if wrong else f"{count(sum(r.cases for r in results), 'case')} hold")
    if save is not None:
        document = {"folder": str(folder), "passed": not wrong, "operators": [asdict(result) for result in results]}
        write_bytes(save, json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")
        line(f"wrote {save}")
    if wrong:
        raise typer.Exit(1)


def _figure(result: Checked) -> str:
    parts = [count(result.cases, "case")]
    if result.equal:
        parts.append(f"{number(result.equal)} numbers equal")
    if result.bounded:
        worst = " and ".join(f"{dtype} at {ratio:.2f}" for dtype, ratio in reversed(result.worst.items()))
        parts.append(f"{number(result.bounded)} bounded, {worst} of the bound at most")
    return "; ".join(parts)


def _diff(folder: Path) -> None:
    workshop = _workshop("diff")
    with status("computing the cases"):
        lines = workshop.changes(folder)
    for text in lines or ["nothing would change"]:
        line(text)
    if lines:
        raise typer.Exit(1)


def _write(folder: Path, onnx: bool, overwrite: bool) -> None:
    if onnx:
        from refar_export import testdata

        with status("writing the cases"):
            names = testdata.write(folder)
        line(f"wrote {count(len(names), 'case')} of ONNX backend test data into {folder}")
        return
    workshop = _workshop("write")
    with status("computing the cases"):
        changed = workshop.write(folder, overwrite=overwrite)
    line(f"wrote {count(len(changed), 'file')} into {folder}" if changed else f"{folder} is as it would be written")
