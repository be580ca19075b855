"""The functions of `refar`: each binds a graph to parameters, checked in every call, and runs one method of the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar.arguments.arrays import Array, Arrays, Data, check_dtype
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.oracle.bound_graph import bound_graph
from refar.oracle.program import Program, State
from refar.oracle.sequence_stream import NotReady

Params = Mapping[str, ArrayLike]


def _or_program(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of graph and parameters also take, in place of both, a program that `bind` made."""

    @wraps(function)
    def either(graph: Any, *arguments: Any, **named: Any) -> Any:
        if not isinstance(graph, Program):
            return function(graph, *arguments, **named)
        dtype = named.pop("dtype", graph.dtype)
        if check_dtype(dtype) != graph.dtype:
            raise InputError(f"dtype: expected {graph.dtype}, that of the program, got {dtype!r}")
        return getattr(graph, function.__name__)(*arguments, **named)

    return either


def forward(graph: Graph, params: Params, x: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64) -> Array:
    """Return the output for a whole sequence: y_bct, every position at once; under padding "valid" those with a whole window.

    `x` is x_bt or x_bct, or a mapping of all inputs; `condition` is c_b or c_bc. All arithmetic is done in `dtype`.
    Raises InputError and ParameterError for what does not fit the graph.
    """
    return Program(bound_graph(graph, params, dtype)).forward(x, condition)


def backward(
    graph: Graph, params: Params, x: Data, dy: ArrayLike, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> dict[str, Arrays]:
    """Return the gradients of Σ dy·y: {"params": {name: array}, "inputs": {name: array}}.

    `dy` has the shape of the output. Inputs that are class indices have no gradient and are absent. The gradient of a
    condition has a row for each sequence, also where the condition was a single row for all of them.
    """
    return Program(bound_graph(graph, params, dtype)).backward(x, dy, condition)


def log_prob(graph: Graph, params: Params, x: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64) -> Array:
    """Return log p(x) = Σ_t log p(x_t | x_<t) in nats, t = 0 included: one number per sequence or image, shape (B,).

    Raises GraphError unless the graph is strict and has a head.
    """
    return Program(bound_graph(graph, params, dtype)).log_prob(x, condition)


def nll(graph: Graph, params: Params, x: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64) -> float:
    """Return the training loss: -log p in nats, averaged over all values: sequences, positions and channels; pixels and colours.

    Raises GraphError as `log_prob` does, and InputError where there is nothing to average.
    """
    return Program(bound_graph(graph, params, dtype)).nll(x, condition)


def nll_per_position(
    graph: Graph, params: Params, x: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> Array:
    """Return -log p(x_t | x_<t) in nats of each position of a sequence, shape (B, T); the channels of a signal are summed.

    Of images x_bchw each value has its own, given those before it in the order in which they are modelled: (B, C, H, W).
    Their sum over all but the first axis is -`log_prob`. Raises GraphError as `log_prob` does.
    """
    return Program(bound_graph(graph, params, dtype)).nll_per_position(x, condition)


def log_marginal(
    graph: Graph, params: Params, x: ArrayLike, prior: ArrayLike | None = None, *, dtype: DTypeLike = np.float64
) -> Array:
    """Return log p(x) = log Σ_y p(x | y)·p(y) in nats, shape (B,): logsumexp_y [log p(x | y) + log p(y)].

    `prior` holds one probability per class, equal ones if left out. Raises GraphError unless the graph is strict, has a head,
    and has a class as its only condition; InputError for data or a prior that do not fit.
    Source: the chain rule and the law of total probability.
    """
    return Program(bound_graph(graph, params, dtype)).log_marginal(x, prior)


def posterior(
    graph: Graph,
    params: Params,
    x: ArrayLike,
    prior: ArrayLike | None = None,
    *,
    observed: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
) -> Array:
    """Return p(y | x) = p(x | y)·p(y) / p(x), shape (B, classes); each row sums to 1.

    `observed` asks for p(y | x_0..x_{H-1}) instead, of an image its first H values, colours counted: for a number H the
    shape is the same, for several it is (B, len(observed), classes). H = 0 gives the prior and H = T the whole sequence.
    Raises as `log_marginal` does, and InputError for an H outside 0..T.
    """
    return Program(bound_graph(graph, params, dtype)).posterior(x, prior, observed=observed)


def initial_state(
    graph: Graph,
    params: Params,
    batch: int = 1,
    condition: Data | None = None,
    *,
    shape: tuple[int, int] | None = None,
    dtype: DTypeLike = np.float64,
) -> State:
    """Return the state before position 0, for `step` and `block`. Only under input padding does it depend on conditions.

    Of images, before the first pixel of images of `shape`, and always with the conditions, local ones whole.
    """
    return Program(bound_graph(graph, params, dtype)).initial_state(batch, condition, shape=shape)


def start(
    graph: Graph,
    params: Params,
    batch: int | None = None,
    condition: Data | None = None,
    *,
    shape: tuple[int, int] | None = None,
    dtype: DTypeLike = np.float64,
) -> tuple[Array, State]:
    """Return y_0, which depends on no token, and the state for `next`. Raises GraphError unless the graph is strict.

    `condition` holds the local conditions of position 0. Of an image with ordered colours, y_0 of the first colour; the
    others are nan, and `step` gives them one by one: see `oracle.image_stream`.
    """
    return Program(bound_graph(graph, params, dtype)).start(batch, condition, shape=shape)


@overload
def step(
    graph: Graph, params: Params, state: State, x_t: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> tuple[Array | Literal[NotReady.NOT_READY], State]: ...
@overload
def step(
    graph: Program, state: State, x_t: Data, condition: Data | None = None
) -> tuple[Array | Literal[NotReady.NOT_READY], State]: ...
@_or_program
def step(
    graph: Graph, params: Params, state: State, x_t: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> Any:
    """Return y_t as in `forward`, and the state after position t. x_b or x_bc in, y_bc out; of an image the pixel x_bc.

    Called as step(graph, params, state, x_t, condition), or as step(program, state, x_t, condition) with one that `bind` made.
    Under padding "valid" the output is `refar.NOT_READY` until the window is whole.
    """
    return Program(bound_graph(graph, params, dtype)).step(state, x_t, condition)


@overload
def block(
    graph: Graph, params: Params, state: State, x: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> tuple[Array, State]: ...
@overload
def block(graph: Program, state: State, x: Data, condition: Data | None = None) -> tuple[Array, State]: ...
@_or_program
def block(
    graph: Graph, params: Params, state: State, x: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> Any:
    """`step` for any number of positions in one call: x_bt in, y_bct out, of the positions that have one. Not of images."""
    return Program(bound_graph(graph, params, dtype)).block(state, x, condition)


@overload
def next(
    graph: Graph, params: Params, state: State, x_t: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> tuple[Array | None, State]: ...
@overload
def next(graph: Program, state: State, x_t: Data, condition: Data | None = None) -> tuple[Array | None, State]: ...
@_or_program
def next(
    graph: Graph, params: Params, state: State, x_t: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> Any:
    """Return y_{t+1} after the token x_t, and the state after it. x_b or x_bc in, y_bc out.

    Called as next(graph, params, state, x_t, condition), or as next(program, state, x_t, condition) with one that `bind` made.
    `condition` holds the local conditions of position t + 1, and the global ones, the same in every call: the state is
    made under them. Of an image the state has them, and after its last pixel the output is None. Ordered colours: see `start`.
    """
    return Program(bound_graph(graph, params, dtype)).next(state, x_t, condition)


@overload
def next_block(
    graph: Graph, params: Params, state: State, x: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> tuple[Array, State]: ...
@overload
def next_block(graph: Program, state: State, x: Data, condition: Data | None = None) -> tuple[Array, State]: ...
@_or_program
def next_block(
    graph: Graph, params: Params, state: State, x: Data, condition: Data | None = None, *, dtype: DTypeLike = np.float64
) -> Any:
    """`next` for any number of tokens in one call: x_bt in, the outputs one position later y_bct out. Not of images."""
    return Program(bound_graph(graph, params, dtype)).next_block(state, x, condition)
