"""Initial parameters for training."""

from __future__ import annotations

import math

import numpy as np

from refar import noise
from refar.analysis.facts import facts
from refar.analysis.masks import masks
from refar.arguments.arrays import Arrays
from refar.graph.graph import Graph


def init(graph: Graph, seed: int = 0) -> Arrays:
    """Draw parameters to start training from: {name: float32 array}, the same for the same seed everywhere.

    Weights and biases of a convolution are uniform in ±1/√(C_in·K), K the size of the kernel, of images of what its mask
    shows; masked weights are 0. An embedding is uniform in ±√3 (unit variance). Scales of channels are 1, their shifts 0, and
    learnt slopes ¼; see the rules in `analysis.types`.
    Parameter number p reads stream p of the noise, so adding a layer at the end leaves the others as they were.
    """
    found, hidden = facts(graph), masks(graph)
    params: Arrays = {}
    for stream, (name, shape) in enumerate(found.parameters.items()):
        u = noise.uniform(seed, [stream], 0, 1, math.prod(shape)).reshape(shape)
        around, width = found.starts[name]
        values = around + (2 * u - 1) * width
        params[name] = (values * hidden[name] if name in hidden else values).astype(np.float32)
    return params
