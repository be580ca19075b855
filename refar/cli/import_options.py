"""The options of refar import, and what their texts mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from refar.errors import InputError

Out = Annotated[Path, typer.Option("-o", "--out", metavar="BUNDLE", help="The folder to write.")]
Padding = Annotated[
    Literal["layer", "input", "valid"] | None,
    typer.Option(
        metavar="layer|input", help="The padding of the graph: zeros before every layer, or before the input; found if left out."
    ),
]
Shift = Annotated[
    Literal["none", "input", "output"],
    typer.Option(metavar="none|input|output", help="Where one position is delayed, so that it can generate."),
]
StartToken = Annotated[
    int | None,
    typer.Option(metavar="Q", help="The class that stood in front of the sequence in training; the input is then one later."),
]
Block = Annotated[bool, typer.Option("--block", help="No effect: block.onnx is always written.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a bundle that is there, with nothing beside it.")]
Save = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report there too.")]
Classes = Annotated[
    str | None, typer.Option(metavar="256|x=256,…", help="How many classes there are, of inputs that are class indices.")
]
Axes = Annotated[str | None, typer.Option(metavar="BTC|x=BTC,…", help="The axes of inputs that are not B, C, T in this order.")]


def by_name(option: str, text: str | None, first: str) -> dict[str, str]:
    """'x=256,speaker=4' → {"x": "256", "speaker": "4"}; one value without a name is that of the sequence."""
    found: dict[str, str] = {}
    for piece in text.split(",") if text else []:
        name, equals, value = piece.strip().rpartition("=")
        name = name if equals else first
        if name in found:
            raise InputError(f"{option} {text}: {name!r} is given twice")
        found[name] = value
    return found


def counts(text: str | None, first: str) -> dict[str, int]:
    """'x=256,speaker=4' → {"x": 256, "speaker": 4}; one number without a name is that of the sequence."""
    return {name: _count(value) for name, value in by_name("--classes", text, first).items()}


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise InputError(f"--classes: expected a number of classes, as in 256 or x=256,speaker=4, got {text!r}")
    return int(text)
