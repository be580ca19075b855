"""Random inputs of a network: the sequence and its conditions."""

from __future__ import annotations

import numpy as np

from refar.analysis.facts import Facts
from refar.analysis.types import Type
from refar.arguments.arrays import Array, Arrays


def random_inputs(found: Facts, batch: int, over: tuple[int, ...], seed: int = 0) -> Arrays:
    """Draw all inputs of `batch` rows over the positions (T,) or pixels (H, W): class indices, or normal numbers in float32."""
    rng = np.random.default_rng(seed)
    return {name: _drawn(rng, found.types[name], batch, over) for name in found.inputs}


def _drawn(rng: np.random.Generator, kind: Type, batch: int, over: tuple[int, ...]) -> Array:
    lengths = {"b": batch, "c": kind.channels, "t": over[0], "h": over[0], "w": over[-1]}
    shape = [lengths[axis] for axis in kind.axes]
    return rng.integers(0, kind.size, shape) if kind.indexed else rng.normal(size=shape).astype(np.float32)
