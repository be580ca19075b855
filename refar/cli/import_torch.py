"""refar import torch: a trained PyTorch module as a bundle."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from refar.cli.console import err
from refar.cli.import_options import Axes, Block, Classes, Force, Out, Padding, Save, Shift, StartToken, by_name, counts
from refar.cli.imports import run
from refar.errors import InputError, near


def import_torch(
    factory: Annotated[
        str, typer.Argument(metavar="PKG.MODULE:FACTORY", help="A class or function without arguments, or a module.")
    ],
    out: Out,
    example: Annotated[
        str, typer.Option(metavar="x=2x1x64,…", help="The shapes of the inputs, the sequence first, by the names of forward.")
    ],
    classes: Classes = None,
    axes: Axes = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its parameters: .safetensors, or a state dict as .pt, .pth, .ckpt, .bin.")
    ] = None,
    padding: Padding = None,
    shift: Shift = "none",
    start_token: StartToken = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Where the whole cannot be taken, the part up to what a stream cannot compute.")
    ] = False,
    block: Block = False,
    force: Force = False,
    save: Save = None,
) -> None:
    """Read a trained module, as it is, into a bundle, and hold both against it. Its code is run: import only what you trust."""
    import refar
    from refar.importing.torch_checkpoint import load_checkpoint
    from refar.importing.torch_inputs import zeros
    from refar.importing.user_code import made

    module = made(factory)
    notes = load_checkpoint(module, checkpoint, _warn) if checkpoint is not None else []
    module.eval()
    shapes = _shapes(module, example)
    first = next(iter(shapes))
    sizes = counts(classes, first)
    orders = by_name("--axes", axes, first)
    inputs = zeros(shapes, sizes)

    def read() -> refar.importing.Imported:
        options: dict[str, Any] = {"padding": padding, "shift": shift, "start_token": start_token, "partial": partial}
        got = refar.from_torch(module, inputs, classes=sizes, axes=orders, **options)
        return got.noted(notes)

    run(f"torch {factory}", read, out, force=force, save=save, module=module)


def _warn(text: str) -> None:
    err.print(f"warning: {text}", markup=False, soft_wrap=True)


def _shapes(module: Any, text: str) -> dict[str, tuple[int, ...]]:
    """'x=2x1x64,speaker=2' → {"x": (2, 1, 64), "speaker": (2,)}. Inputs without a name are forward's in order."""
    takes = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in takes if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    found: dict[str, tuple[int, ...]] = {}
    for piece in text.split(","):
        name, equals, shape = piece.strip().rpartition("=")
        if not equals and len(found) < len(names):
            name = names[len(found)]
        if name not in names:
            listed = f"takes {', '.join(names)}" if names else "takes nothing"
            raise InputError(
                f"--example {text}: forward of {type(module).__name__} {listed}, no {name or piece!r}{near(name, names)}"
            )
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
            raise InputError(f"--example {text}: {name}: expected a shape, as in x=2x1x64, got {shape!r}")
        found[name] = tuple(int(size) for size in shape.split("x"))
    return found
