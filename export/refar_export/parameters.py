"""The parameters of a bundle."""

from __future__ import annotations

from pathlib import Path

from refar.arguments.arrays import Arrays
from refar.runtime.bundle_files import read_weights
from refar.runtime.opening import open_bundle


def parameters(path: str | Path) -> Arrays:
    """{name: float32 array} of an exported network, in the order of its graph. Raises FileError for a damaged bundle.

    In bundles of version 1 masked weights are 0.
    """
    return read_weights(open_bundle(path))
