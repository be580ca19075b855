"""What options and files mean for a graph: conditions, prompts, sizes of pictures. Core functions check ranges and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from refar.analysis.facts import facts
from refar.analysis.types import Type
from refar.arguments.arrays import Array, check_array
from refar.cli import files, png
from refar.cli.console import count
from refar.errors import InputError
from refar.graph.graph import Graph

Shape = tuple[int, int]


def conditions(
    graph: Graph, texts: Sequence[str], known: Mapping[str, Array] | None = None, names: Sequence[str] = ()
) -> dict[str, Array] | None:
    """'3', '0,1,2', 'rows.npy', each with 'name=' before it if the graph has several conditions; the rest are `known`.

    Where classes have `names`, these may stand for their numbers.
    """
    found = facts(graph)
    values: dict[str, Array] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            if not found.conditions:
                raise InputError(f"--condition {text}: the graph has no condition")
            if len(found.conditions) > 1:
                raise InputError(f"--condition {text}: say which, as in NAME={text}; the names are {', '.join(found.conditions)}")
            name, value = found.conditions[0], text
        if name in values:
            raise InputError(f"--condition: {name!r} is given twice")
        if name not in found.conditions:
            raise InputError(f"--condition {text}: the graph has no such condition, only {', '.join(found.conditions) or 'none'}")
        values[name] = fit(name, _condition(value, found.types[name], names), found.types[name])
    values = {**(known or {}), **values}
    for name in found.conditions:
        if name not in values:
            raise InputError(f"condition {name!r} is missing; give {_wanted(found.types[name], names)}, or a .npy file")
    return values or None


def _wanted(kind: Type, names: Sequence[str]) -> str:
    """Say what may be given for a condition, with an example."""
    if not kind.indexed:
        return f"{count(kind.size, 'number')}, as in --condition {','.join(['0.5'] * min(kind.size, 3))}"
    if names:
        return f"one of {', '.join(names)}, as in --condition {names[0]}"
    return f"a class from 0 to {kind.size - 1}, as in --condition {min(3, kind.size - 1)}"


def _condition(text: str, kind: Type, names: Sequence[str]) -> Array:
    if text.endswith((".npy", ".csv")):
        return files.read_array(Path(text), "condition")
    try:
        pieces = text.split(",")
        if kind.indexed:
            pieces = [str(names.index(piece)) if piece in names else piece for piece in pieces]
        return np.array([int(piece) for piece in pieces], np.int64) if kind.indexed else np.array([float(p) for p in pieces])
    except (ValueError, OverflowError):
        known = f", or {', '.join(names)}" if names else ""
        expected = f"classes such as 3 or 0,1,2{known}" if kind.indexed else f"{kind.size} numbers separated by commas"
        raise InputError(f"--condition {text}: expected {expected}, or a .npy or .csv file") from None


def fit(name: str, array: Array, kind: Type) -> Array:
    """Numbers from a file or an option as a batch of this input, checked.

    Classes may come as 3.0, a single row without its batch axis, a table as the rows of one channel, classes as a column,
    images of one channel without its axis.
    """
    if kind.indexed and array.dtype.kind == "f" and np.all((np.abs(array) < 2**53) & (array == np.floor(array))):
        array = array.astype(np.int64)
    if kind.axes == "b" and array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if kind.axes == "bct" and kind.size == 1 and array.ndim in (1, 2):
        array = np.atleast_2d(array)[:, None]
    if kind.axes == "bchw" and kind.channels == 1 and array.ndim in (2, 3):
        array = array[..., None, :, :]
    if array.ndim == len(kind.axes) - 1:
        array = array[None]
    return check_array(name, array, kind)


def integers(option: str, text: str) -> list[int]:
    """'85,281,589' → [85, 281, 589]."""
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text}: expected whole numbers separated by commas, as in 8,16,32") from None


def shape(text: str | None) -> Shape | None:
    """'8x8' → (8, 8)."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise InputError(f"--shape {text}: expected HEIGHTxWIDTH, as in 8x8")
    return int(match[1]), int(match[2])


def check_picture(graph: Graph, size: Shape | None, n: int, before: int, colours: int = 1) -> Shape:
    """The size of pictures made of `n` tokens, or of these and the `before` of the prompt. Raises InputError if there is none.

    A pixel has a token for each of its `colours`.
    """
    if not facts(graph).types[facts(graph).sequence].indexed:
        raise InputError("a picture needs a graph over classes; this one models a signal")
    if size is None:
        raise InputError("the size of a picture is not known; give it, as in --shape 8x8")
    if (needed := size[0] * size[1] * colours) not in (n, n + before):
        came = f"{n} after {before} of the prompt" if before else str(n)
        raise InputError(f"pictures of {size[0]}x{size[1]} need {needed} tokens each, got {came}")
    return size


def picture(graph: Graph, tokens_bt: Array, size: Shape) -> bytes:
    """A PNG with a tile for every row, dark on light."""
    classes = facts(graph).types[facts(graph).sequence].size
    return png.encode(png.tiles(png.ink(tokens_bt.reshape(-1, *size), classes)))


def device(provider: str) -> Literal["cpu", "cuda"]:
    """What --provider says. Raises InputError for another word."""
    match provider:
        case "cpu" | "cuda":
            return provider
        case _:
            raise InputError(f"--provider: expected one of cpu, cuda, got {provider!r}")


def dtype(text: str) -> Literal["float32", "float16"]:
    """What --dtype says. Raises InputError for another word."""
    match text:
        case "fp32":
            return "float32"
        case "fp16":
            return "float16"
        case _:
            raise InputError(f"--dtype: expected one of fp32, fp16, got {text!r}")


def quantization(text: str | None, data: str | None) -> Literal["int8"] | None:
    """What --quantize says beside --calibrate `data`. Raises InputError for another word, and for one without the other."""
    if text not in (None, "int8"):
        raise InputError(f"--quantize: expected int8, got {text!r}")
    if (text is None) != (data is None):
        missing = "--calibrate DATA, from which int8 takes its scales" if data is None else "--quantize int8"
        raise InputError(f"--quantize and --calibrate go together; expected {missing}, too")
    return None if text is None else "int8"
