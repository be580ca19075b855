"""Initial parameters for training."""

from __future__ import annotations

import math

import numpy as np

from refar import noise, ops
from refar.analysis.infer import analyse
from refar.arguments.arrays import Arrays, mask_oihw
from refar.graph.graph import Graph


def init(graph: Graph, seed: int = 0) -> Arrays:
    """Parameters to start training from: {name: float32 array}, the same for the same seed everywhere.

    Weights and biases of a convolution are uniform in ±1/√(C_in·K), K the size of the kernel, over a plane of what its mask
    shows; masked weights are 0. An embedding is uniform in ±√3 (unit variance).
    Parameter number p reads stream p of the noise, so adding a layer at the end leaves the others as they were.
    """
    shapes = analyse(graph).parameters
    params: Arrays = {}
    for stream, (name, shape) in enumerate(shapes.items()):
        weight = shapes.get(name.removesuffix("bias") + "weight", shape) if name.endswith(".bias") else shape
        op = graph[name.rpartition(".")[0]].op
        mask = mask_oihw(op, weight) if isinstance(op, ops.Conv2d) else np.ones(weight, bool)
        fan_in = max(1, int(mask.reshape(len(mask), -1).sum(axis=1).max()))
        bound = math.sqrt(3) if isinstance(op, ops.Embedding) else 1 / math.sqrt(fan_in)
        u = noise.uniform(seed, [stream], 0, 1, math.prod(shape)).reshape(shape)
        values = (2 * u - 1) * bound
        params[name] = (values * mask if shape == weight else values).astype(np.float32)
    return params
