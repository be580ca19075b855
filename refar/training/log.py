"""log.jsonl: one JSON object a line, for each validation, and for each change of [train] on resuming."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from refar.errors import FileError
from refar.files import write_bytes, writing
from refar.training.runs import LOG

UNITS = {"nats": "nats per value", "mse": "mean square", "esr": "error to signal", "loss": "weighed sum of losses"}
"""The names of the figures of a line."""


class Logged(msgspec.Struct):
    """The field that every line of the log has."""

    step: int


def best_words(nats: float | None, step: int | None) -> str:
    """Say which validation was the best."""
    if nats is None:
        return "no validation yet"
    return f"best {nats:.4f}{'' if step is None else f' at step {step}'}, kept"


def validation_line(
    step: int, unit: str, train: float, valid: Mapping[str, float], rate: float, seconds: float
) -> dict[str, Any]:
    """Return what the log says of a validation: train_UNIT is the mean over the steps since the one before, valid_… of now.

    Beside a sum "loss" stand its parts. Nats are given in bits, too.
    """
    line: dict[str, Any] = {"step": step, f"train_{unit}": train}
    line |= {f"valid_{name}": value for name, value in sorted(valid.items(), key=lambda item: item[0] != unit)}
    if "nats" in valid:
        line["valid_bits"] = valid["nats"] / math.log(2)
    return line | {"lr": rate, "seconds": round(seconds, 3)}


def figures_of(line: Mapping[str, Any]) -> str:
    """Say what a validation found."""
    unit = unit_of(line)
    if unit == "nats":
        return f"train {line['train_nats']:.4f}  valid {line['valid_nats']:.4f} nats = {line['valid_bits']:.4f} bits per value"
    parts = [name for name in line if name.startswith("valid_") and name not in (f"valid_{unit}", "valid_bits")]
    each = ", ".join(f"{name.removeprefix('valid_')} {line[name]:.4f}" for name in parts)
    beside = f" ({each})" if parts else ""
    return f"{unit}: train {line[f'train_{unit}']:.4g}  valid {line[f'valid_{unit}']:.4g}{beside}"


def unit_of(line: Mapping[str, Any]) -> str:
    """Return in which unit a validation was logged, the UNIT of its fields train_UNIT and valid_UNIT."""
    return next(name.removeprefix("train_") for name in line if name.startswith("train_"))


def append_log(path: Path, line: dict[str, Any]) -> None:
    """Add one JSON object. Raises FileError where that cannot be."""
    with writing(path), path.open("ab") as file:
        file.write(msgspec.json.encode(line) + b"\n")


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the validations of a run, in the unit of the last one. Raises FileError for a line of no training."""
    lines = [msgspec.json.decode(line) for _, line in _lines(run / LOG)]
    validations = [line for line in lines if any(name.startswith("valid_") for name in line)]
    return [line for line in validations if unit_of(line) == unit_of(validations[-1])]


def cut_log(path: Path, step: int) -> None:
    """Drop what was logged after `step`: a resumed run does those steps again. Raises FileError for a line of no training."""
    write_bytes(path, b"".join(line + b"\n" for logged, line in _lines(path) if logged <= step))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines and their steps, but for a last one that was cut off in the middle of writing."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for n, line in enumerate(lines, start=1):
        try:
            yield msgspec.json.decode(line, type=Logged).step, line.rstrip()
        except msgspec.DecodeError:
            if n == len(lines) and not line.endswith(b"\n") and line[:8] == b'{"step":'[: len(line)]:
                return
            raise FileError(
                f"{str(path)!r}: line {n}: expected a JSON object with the field `step`, as training logs it, "
                f"got {line[:40].decode(errors='replace').rstrip()!r}"
            ) from None
