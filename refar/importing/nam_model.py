"""A .nam file of Neural Amp Modeler: its fields, checked, and the models that may stand inside of it."""

from __future__ import annotations

import json
import math
import reprlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from refar.errors import FileError
from refar.importing.refusal import ImportRefused

T = TypeVar("T")

OLDEST, NEWEST = (0, 5, 0), (0, 7)
"""The first version of the format that is read, and the last one, of which every patch is."""


@dataclass(frozen=True)
class Spot:
    """A place in a file, for messages: `field` is the way to it, as config.condition_dsp.weights."""

    path: str
    field: str = ""

    def at(self, field: str) -> Spot:
        """Return the place of a field of this one."""
        return Spot(self.path, f"{self.field}.{field}" if self.field else field)

    def __str__(self) -> str:
        return f"{self.path}: {self.field}" if self.field else self.path


@dataclass(frozen=True)
class NamModel:
    """One model of a file: `config` says what it is built of, `weights` are its numbers in one row.

    `spot` is where it stands. `rate` is its sample rate in Hz, None where the file has none.
    """

    spot: Spot
    version: str
    architecture: str
    config: dict[str, Any]
    weights: list[float]
    rate: float | None
    metadata: dict[str, Any]

    def inner(self, raw: Any, field: str) -> NamModel:
        """Return the model that stands in a field of the config.

        Raises ImportRefused for what is none, and for one of another sample rate than the model around it.
        """
        model = _model(raw, self.spot.at("config").at(field), self.version)
        if model.rate is not None and self.rate is not None and model.rate != self.rate:
            raise ImportRefused(
                f"{model.spot.at('sample_rate')}: expected {self.rate:g}, that of the model around it, got {model.rate:g}"
            )
        return replace(model, rate=self.rate if model.rate is None else model.rate)


def read_model(path: str | Path) -> NamModel:
    """Read the model of a file. Raises FileError for a file that cannot be read or is no JSON, ImportRefused for no model."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: expected JSON, as a .nam file is, got bytes that are no text: {error.reason}") from None
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileError(
            f"{path}: expected JSON, as a .nam file is: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise FileError(f"{path}: expected JSON, as a .nam file is, got values within values too deep to read") from None
    return _model(raw, Spot(str(path)), None)


def _model(raw: Any, spot: Spot, outer: str | None) -> NamModel:
    """Check the fields of a model. `outer` is the version of the file that it stands in, which one without its own has."""
    if not isinstance(raw, dict):
        raise ImportRefused(
            f"{spot}: expected a model, an object with version, architecture, config and weights, got {_kind(raw)}"
        )
    wanted = ("architecture", "config") if outer is not None else ("version", "architecture", "config")
    if missing := [name for name in wanted if name not in raw]:
        raise ImportRefused(f"{spot}: expected a model with version, architecture, config and weights; {missing[0]} is missing")
    if not isinstance(raw["config"], dict):
        raise ImportRefused(f"{spot.at('config')}: expected an object, got {_kind(raw['config'])}")
    if not isinstance(raw["architecture"], str):
        raise ImportRefused(f"{spot.at('architecture')}: expected a name, got {_kind(raw['architecture'])}")
    metadata = raw.get("metadata")
    return NamModel(
        spot,
        _version(raw.get("version", outer), spot),
        raw["architecture"],
        raw["config"],
        _weights(raw.get("weights", []), spot),
        _rate(raw.get("sample_rate"), spot),
        metadata if isinstance(metadata, dict) else {},
    )


def _version(raw: Any, spot: Spot) -> str:
    parts = raw.split(".") if isinstance(raw, str) else []
    numbers = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    if len(parts) != 3 or len(numbers) != 3 or numbers < OLDEST or numbers[:2] > NEWEST:
        raise ImportRefused(
            f"{spot.at('version')}: expected one from '0.5.0' to '0.7', the versions that refar reads, got {raw!r}"
        )
    return str(raw)


def _rate(raw: Any, spot: Spot) -> float | None:
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw) or raw <= 0:
        raise ImportRefused(f"{spot.at('sample_rate')}: expected a number above 0, got {raw!r}")
    return float(raw)


def _weights(raw: Any, spot: Spot) -> list[float]:
    if not isinstance(raw, list):
        raise ImportRefused(f"{spot.at('weights')}: expected a list of numbers, got {_kind(raw)}")
    for i, number in enumerate(raw):
        if not is_number(number):
            raise ImportRefused(f"{spot.at(f'weights[{i}]')}: expected a finite number of float32, got {reprlib.repr(number)}")
    return raw


def is_number(raw: Any) -> bool:
    """Whether a value of a file is a finite number of float32."""
    return isinstance(raw, int | float) and not isinstance(raw, bool) and abs(raw) <= _LARGEST


_LARGEST = float(np.finfo(np.float32).max)


def _kind(raw: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(raw), repr(raw))


def decoded(raw: Any, kind: type[T], place: str) -> T:
    """Return a part of the config as a struct. Raises ImportRefused naming the field, what was expected, and what came."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        value: Any = raw
        for key in path.removesuffix("`").replace("[", ".").replace("]", "").split(".")[1:]:
            value = value[int(key)] if isinstance(value, list) else value[key] if isinstance(value, dict) else None
        came = "" if ", got" in problem or isinstance(value, dict | list) else f", got {reprlib.repr(value)}"
        raise ImportRefused(f"{place}{path.removesuffix('`')}: {problem[0].lower()}{problem[1:]}{came}") from None
