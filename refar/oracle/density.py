"""What a class-conditional network says of a sequence as a whole: its marginal density, and the class by Bayes' rule."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, check_array, check_observed, check_prior, class_condition, in_order
from refar.graph.graph import Graph, require_head
from refar.oracle import losses
from refar.oracle.run import forward


def log_marginal(
    graph: Graph, params: Mapping[str, ArrayLike], x: ArrayLike, prior: ArrayLike | None = None, *, dtype: DTypeLike = np.float64
) -> Array:
    """log p(x) = log Σ_y p(x | y)·p(y) in nats, shape (B,): logsumexp_y [log p(x | y) + log p(y)].

    `prior` holds one probability per class, equal ones if left out. Raises GraphError unless the graph is strict, has a head,
    and has a class as its only condition; InputError for data or a prior that do not fit.
    Source: the chain rule and the law of total probability.
    """
    return _logsumexp(_log_joint(graph, params, x, prior, dtype, "log_marginal")[:, -1])


def posterior(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    x: ArrayLike,
    prior: ArrayLike | None = None,
    *,
    observed: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
) -> Array:
    """p(y | x) = p(x | y)·p(y) / p(x), shape (B, classes); each row sums to 1.

    `observed` asks for p(y | x_0..x_{H-1}) instead, of an image its first H values, colours counted: for a number H the
    shape is the same, for several it is (B, len(observed), classes). H = 0 gives the prior and H = T the whole sequence.
    Raises as `log_marginal` does, and InputError for an H outside 0..T.
    """
    joint = _log_joint(graph, params, x, prior, dtype, "posterior")
    seen = joint[:, check_observed(observed, joint.shape[1] - 1)]
    return np.exp(seen - _logsumexp(seen)[..., None])


def _log_joint(
    graph: Graph, params: Mapping[str, ArrayLike], x: ArrayLike, prior: ArrayLike | None, dtype: DTypeLike, purpose: str
) -> Array:
    """log p(x_0..x_{h-1}, y) for h = 0..T: (B, T+1, classes)."""
    classes = class_condition(graph, purpose)
    require_strict(facts(graph), purpose)
    head = require_head(graph, purpose)
    with np.errstate(divide="ignore"):
        log_prior = np.log(check_prior(prior, classes))
    found = facts(graph)
    tokens = check_array(found.sequence, x, found.types[found.sequence])
    conditionals = []
    for y in range(classes):
        output = forward(graph, params, tokens, np.full(len(tokens), y), dtype=dtype)
        conditionals.append(-losses.nats(head, *in_order(found.types[found.sequence], output, tokens)))
    first = np.zeros((len(tokens), 1, classes))
    return log_prior + np.concatenate([first, np.cumsum(np.stack(conditionals, axis=2), axis=1)], axis=1)


def _logsumexp(v: Array) -> Array:
    top = v.max(axis=-1)
    return top + np.log(np.exp(v - top[..., None]).sum(axis=-1))
