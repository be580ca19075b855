"""The loss of a network that is fed its own tokens, and its gradient through all of them: the definition, slow and plain.

From an origin o the network sees the true x_0 … x_{o-1}, then its own z_o, z_{o+1}, … (see `Unrolling`). The truth judges it:

    ℓ[b,m,k] = -log p(x_{o+k} | x_0 … x_{o-1}, z_o … z_{o+k-1}),   k = 0 … n-1,   o = origins[b,m].

The first of them, k = 0, is the loss that all training has. Every step is a whole pass over the sequence of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import ops
from refar.arguments.arrays import Array, Arrays, Data, bind_inputs, check_dtype, check_parameters, check_real
from refar.arguments.unrolling import Unrolling, check_noise, check_origins, check_unrolling
from refar.building.rewrite import relaxed, relaxed_parameters, unrelaxed_gradients
from refar.graph.graph import Graph, require_head
from refar.oracle.bound_graph import BoundGraph, unchecked
from refar.oracle.feedback import fed_back, fed_back_backward
from refar.oracle.losses import nats, nats_backward
from refar.oracle.whole import forward_nodes, gradients

Params = Mapping[str, ArrayLike]


class _Unrolled(NamedTuple):
    """Rows r = b·M + m, one for each origin: per step k the inputs with what was fed back, and the outputs y_rc1."""

    net: BoundGraph
    head: ops.AnyHead
    origins_r: Array
    truth: Array
    noise_rnk: Array
    inputs: list[Arrays]
    outputs: list[Array]


def unroll(
    graph: Graph,
    params: Params,
    x: Data,
    origins: ArrayLike,
    unrolling: Unrolling,
    *,
    noise: ArrayLike | None = None,
    condition: Data | None = None,
    dtype: DTypeLike = np.float64,
) -> Array:
    """Return ℓ of shape (B, M, n): the nats of the n tokens after each of the M origins o_bm of each sequence.

    `noise` (B, M, n, K), for each class or channel, is what `Unrolling` calls noise; the mean takes none. Raises GraphError
    unless the graph is strict, over time, and has a head; InputError for data, origins, noise or options that do not fit.
    """
    run = _run(graph, params, x, origins, unrolling, noise, condition, dtype)
    steps = [nats(run.head, y, _at(run.truth, run.origins_r + k))[:, 0] for k, y in enumerate(run.outputs)]
    return np.stack(steps, axis=1).reshape(*np.shape(origins), unrolling.horizon)


def unroll_backward(
    graph: Graph,
    params: Params,
    x: Data,
    origins: ArrayLike,
    unrolling: Unrolling,
    d: ArrayLike,
    *,
    noise: ArrayLike | None = None,
    condition: Data | None = None,
    dtype: DTypeLike = np.float64,
) -> dict[str, Arrays]:
    """Return the gradients of Σ d·ℓ for d of shape (B, M, n): {"params": {name: array}, "inputs": {name: array}}.

    They run through all tokens that were fed back; straight-through has the gradient of its soft sample there. The inputs are the
    conditions that are real numbers. The sequence x is taken as given. Raises as `unroll`.
    """
    run = _run(graph, params, x, origins, unrolling, noise, condition, dtype)
    rows, count = np.shape(origins)
    d_rn = check_real("d, the gradient of the loss", d, (rows, count, unrolling.horizon)).reshape(rows * count, -1)
    found = run.net.facts
    dparams: Arrays = {name: np.zeros(array.shape, run.net.dtype) for name, array in run.net.params.items()}
    dinputs: Arrays = {n: np.zeros_like(run.inputs[0][n]) for n in found.inputs if not found.types[n].indexed}
    for k in reversed(range(unrolling.horizon)):
        place, y = run.origins_r + k, run.outputs[k]
        dy = nats_backward(run.head, y, _at(run.truth, place), d_rn[:, k : k + 1].astype(run.net.dtype))
        # What the later steps, which were fed this token, say of it; nothing of the last one.
        dz = _at(dinputs[found.sequence], place)
        dy = dy + fed_back_backward(run.head, y, run.noise_rnk[:, k, :, None], unrolling, dz)
        upstream = np.zeros((len(y), y.shape[1], run.truth.shape[-1]), run.net.dtype)
        upstream[np.arange(len(y)), :, place] = dy[:, :, 0]
        more_params, more_inputs = gradients(run.net, run.inputs[k], upstream)
        for total, more in ((dparams, more_params), (dinputs, more_inputs)):
            for name in total:
                total[name] = total[name] + more[name]
    per_row = {name: dinputs[name] for name in found.conditions if name in dinputs}
    summed = {name: array.reshape(rows, count, *array.shape[1:]).sum(axis=1) for name, array in per_row.items()}
    return {"params": unrelaxed_gradients(graph, dparams), "inputs": summed}


def _run(
    graph: Graph,
    params: Params,
    x: Data,
    origins: ArrayLike,
    unrolling: Unrolling,
    noise: ArrayLike | None,
    condition: Data | None,
    dtype: DTypeLike,
) -> _Unrolled:
    """Feed n tokens back; whole passes over x, in which everything from the present token on is 0 and not seen."""
    found = check_unrolling(graph, unrolling)
    inputs = bind_inputs(found, x, condition)
    truth = inputs[found.sequence]
    origins_bm = check_origins(origins, len(truth), truth.shape[-1], unrolling.horizon)
    drawn = check_noise(graph, noise, (*origins_bm.shape, unrolling.horizon), unrolling.feedback)
    kind = check_dtype(dtype)
    own = {name: np.asarray(array, kind) for name, array in check_parameters(found, params).items()}
    made = {name: np.asarray(array, kind) for name, array in relaxed_parameters(graph, own).items()}
    net, head = unchecked(relaxed(graph), made, kind), require_head(graph, "unrolling")

    origins_r, count = origins_bm.reshape(-1), origins_bm.shape[1]
    inputs = {name: np.repeat(array, count, axis=0) for name, array in inputs.items()}
    truth = inputs[found.sequence]
    signal = _one_hot(truth, found.types[found.sequence].size) if found.types[found.sequence].indexed else truth
    seen = np.arange(truth.shape[-1]) < origins_r[:, None]
    given = net.cast({**inputs, found.sequence: np.where(seen[:, None], signal, 0).astype(kind)})
    noise_rnk = drawn.reshape(len(origins_r), unrolling.horizon, -1).astype(kind)
    run = _Unrolled(net, head, origins_r, truth if truth.dtype == np.int64 else truth.astype(kind), noise_rnk, [], [])
    for k in range(unrolling.horizon):
        place = origins_r + k
        y = _at(forward_nodes(net, given, keep=False)[net.graph.output], place)
        run.inputs.append(given)
        run.outputs.append(y)
        fed = given[found.sequence].copy()
        fed[np.arange(len(fed)), :, place] = fed_back(head, y, noise_rnk[:, k, :, None], unrolling)[:, :, 0]
        given = {**given, found.sequence: fed}
    return run


def _at(values: Array, place_r: Array) -> Array:
    """Of each row r the value at its place: (R, T) → (R, 1), (R, C, T) → (R, C, 1)."""
    return values[np.arange(len(values)), ..., place_r][..., None]


def _one_hot(x_bt: Array, classes: int) -> Array:
    return np.moveaxis(np.eye(classes)[x_bt], -1, 1)
