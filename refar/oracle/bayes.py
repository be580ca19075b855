"""What a class-conditional network says of a sequence as a whole: its marginal density, and the class by Bayes' rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from refar.analysis.causality import require_strict
from refar.arguments.arrays import Array, check_array, check_prior, class_condition, in_order
from refar.graph.graph import require_head
from refar.oracle import losses
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.whole import forward_nodes


def log_joint(net: BoundGraph, x: ArrayLike, prior: ArrayLike | None, purpose: str) -> Array:
    """Return log p(x_0..x_{h-1}, y) for h = 0..T: (B, T+1, classes).

    Raises GraphError unless the only condition is a class, and the graph is strict and has a head.
    """
    found, classes = net.facts, class_condition(net.graph, purpose)
    require_strict(found, purpose)
    head = require_head(net.graph, purpose)
    with np.errstate(divide="ignore"):
        log_prior = np.log(check_prior(prior, classes))
    kind = found.types[found.sequence]
    tokens = check_array(found.sequence, x, kind)
    conditionals = []
    for y in range(classes):
        inputs = net.cast({found.sequence: tokens, found.conditions[0]: np.full(len(tokens), y)})
        output = forward_nodes(net, inputs, keep=False)[net.graph.output]
        conditionals.append(-losses.nats(head, *in_order(kind, output, tokens)))
    first = np.zeros((len(tokens), 1, classes))
    return log_prior + np.concatenate([first, np.cumsum(np.stack(conditionals, axis=2), axis=1)], axis=1)


def logsumexp(v: Array) -> Array:
    """Return log Σ exp(v) over the last axis."""
    top = v.max(axis=-1)
    return np.asarray(top + np.log(np.exp(v - top[..., None]).sum(axis=-1)))
