"""refar import onnx and refar import nam: files of others as bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from refar.cli.import_options import Axes, Block, Classes, Force, Out, Padding, Save, Shift, StartToken, by_name, counts
from refar.cli.imports import run


def import_onnx(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file of PyTorch, Keras or tf2onnx.")],
    out: Out,
    classes: Classes = None,
    axes: Axes = None,
    padding: Padding = None,
    shift: Shift = "none",
    start_token: StartToken = None,
    block: Block = False,
    force: Force = False,
    save: Save = None,
) -> None:
    """Read an ONNX file into a bundle. The graph is held against the file, and the bundle against the graph's oracle."""
    import refar
    from refar.importing.onnx_file import inputs_of, opened

    def read() -> refar.importing.Imported:
        first = next(iter(inputs_of(opened(model))), "x")
        sizes, orders = counts(classes, first), by_name("--axes", axes, first)
        options: dict[str, Any] = {"padding": padding, "shift": shift, "start_token": start_token}
        return refar.from_onnx(model, classes=sizes, axes=orders, **options)

    run(f"onnx {model}", read, out, force=force, save=save)


def import_nam(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .nam file of Neural Amp Modeler.")],
    out: Out,
    size: Annotated[
        float | None, typer.Option(metavar="0…1", help="Which size of a slimmable file; the largest if left out.")
    ] = None,
    padding: Annotated[
        Literal["layer", "input"],
        typer.Option(metavar="layer|input", help="input: as NAM after prewarming; layer: without it."),
    ] = "input",
    block: Block = False,
    force: Force = False,
    save: Save = None,
) -> None:
    """Read a .nam file into a bundle, which is held against the graph's oracle. The file's metadata go along."""
    import refar

    run(f"nam {file}", lambda: refar.from_nam(file, size=size, padding=padding), out, force=force, save=save)
