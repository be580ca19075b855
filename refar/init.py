"""Initial parameters for training."""

from __future__ import annotations

import math

import numpy as np

from refar import noise
from refar.arrays import Arrays
from refar.graph import Graph
from refar.infer import analyse


def init(graph: Graph, seed: int = 0) -> Arrays:
    """Parameters to start training from: {name: float32 array}, the same for the same seed everywhere.

    Weights and biases of a convolution are uniform in ±1/√(C_in·K), an embedding is uniform in ±√3 (unit variance).
    Parameter number p reads stream p of the noise, so adding a layer at the end leaves the others as they were.
    """
    shapes = analyse(graph).parameters
    params: Arrays = {}
    for stream, (name, shape) in enumerate(shapes.items()):
        weight = shapes.get(name.removesuffix("bias") + "weight", shape) if name.endswith(".bias") else shape
        bound = 1 / math.sqrt(weight[1] * weight[2]) if len(weight) == 3 else math.sqrt(3)
        u = noise.uniform(seed, [stream], 0, 1, math.prod(shape)).reshape(shape)
        params[name] = ((2 * u - 1) * bound).astype(np.float32)
    return params
