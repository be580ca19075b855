"""Which networks sampler.onnx can draw from, and how much noise a token takes."""

from __future__ import annotations

from typing import assert_never

from refar import ops
from refar.analysis.causality import require_strict
from refar.analysis.facts import Facts
from refar.errors import GraphError
from refar.graph.graph import require_head

NOISE, TEMPERATURE, STEPS = "noise", "temperature", "steps"
"""Inputs of sampler.onnx; the last is the beginning of several names."""


def require_sampler(found: Facts) -> None:
    """Raise GraphError unless tokens of the network can be drawn one after the other: strict, over time, and with a head.

    Names of nodes that are those of ports are refused too.
    """
    if found.grid is not None:
        raise GraphError("sampler: expected a network over time, got one over images")
    require_strict(found, "sampler")
    require_head(found.graph, "sampler")
    kept = (NOISE, TEMPERATURE, STEPS)
    if taken := [node.name for node in found.graph.nodes if node.name.split(".")[0] in kept]:
        raise GraphError(f"sampler: node {taken[0]!r}: names that begin with {', '.join(kept)} are kept for its ports")


def noise_numbers(head: ops.AnyHead, size: int) -> int:
    """K: how many numbers of noise a token takes, where `size` is the number of channels of the output."""
    match head:
        case ops.Categorical() | ops.Gaussian():
            return size
        case ops.MixtureLogistics():
            return head.components + 1
        case ops.LearntGaussian():
            return size // 2
        case ops.MixtureGaussians():
            return size // (3 * head.components) * (head.components + 1)
        case _:
            assert_never(head)
