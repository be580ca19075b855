"""Inputs with which a module, a graph and a bundle are compared."""

from __future__ import annotations

import numpy as np

from refar.analysis.facts import Facts
from refar.arguments.arrays import Arrays

Extent = tuple[int, ...]
"""(T,) of a sequence, (H, W) of an image."""


def called(extent: Extent) -> str:
    """Return an extent in words."""
    return f"length {extent[0]}" if len(extent) == 1 else f"{extent[0]} x {extent[1]} pixels"


def drawn(found: Facts, extent: Extent, batch: int) -> Arrays:
    """Draw inputs of a graph that float32 holds exactly: classes, or normal numbers."""
    rng, inputs = np.random.default_rng([batch, *extent]), Arrays()
    for name in found.inputs:
        kind = found.types[name]
        sizes = (batch, *((kind.channels,) if "c" in kind.axes else ()), *(extent if kind.timed else ()))
        normal = rng.standard_normal(sizes).astype(np.float32).astype(np.float64)
        inputs[name] = rng.integers(kind.size, size=sizes) if kind.indexed else normal
    return inputs
