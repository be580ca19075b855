"""Conditions as an option of a model: text to nodes."""

from __future__ import annotations

from typing import Literal

from refar.building.builder import Builder
from refar.errors import GraphError


def add_condition(g: Builder, model: str, name: str, kind: str | None, *, local: bool = False, image: bool = False) -> str | None:
    """The input `name` as real values: the one-hot of a class ("class:N"), a vector ("vector:N"), or None for None.

    A `local` one has a class or a vector at every position, over a `image` at every pixel. Raises GraphError for other text.
    """
    if kind is None:
        return None
    shape, _, size = kind.partition(":")
    if shape not in ("class", "vector") or not size.isdecimal() or int(size) < (2 if shape == "class" else 1):
        raise GraphError(f"{model}: {name}: expected 'class:N' with N ≥ 2, 'vector:N' with N ≥ 1, or none, got {kind!r}")
    axes: Literal["t", "hw"] = "hw" if image and local else "t"
    if shape == "class":
        given = g.condition(name, classes=int(size), channels=int(axes == "hw"), local=local, axes=axes)
        return g.one_hot(given, name=f"{name}_one_hot")
    return g.condition(name, channels=int(size), local=local, axes=axes)
