"""Exact sampling ahead, as a specification: `refar.runtime.ahead` must give these tokens, and those of one step each.

A token is a function of the output and of the noise of its position, so a guess of it can be checked. In each round the next
token is drawn, some more are guessed, and one call gives the output after each. Guess i is confirmed if it is what is drawn from
the output after guess i - 1, with the noise of its own position. The guesses before the first that is wrong in any row are kept,
and the clock is turned back over the others. What was drawn behind the wrong one are the first guesses of the next round.
Source: Song et al. 2021, "Accelerating feedforward computation via parallel nonlinear equation solving"; Wiggers and Hoogeboom
2020, "Predictive sampling with forecasting autoregressive models".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from refar import noise
from refar.analysis.slots import state_layout
from refar.arguments.arrays import Array, Arrays, Data, bind_prompt, check_sampling, positions
from refar.arguments.sampling import Sampling
from refar.oracle.bound_graph import BoundGraph
from refar.oracle.slot_stream import prefill, visit


def generate_ahead(
    net: BoundGraph, n: int, prompt: ArrayLike | None, condition: Data | None, sampling: Sampling, ahead: int
) -> tuple[Array, list[int]]:
    """Return `n` new tokens after the prompt, x_bt, of a strict network of classes, and how many tokens each round gave.

    Raises InputError for arguments that do not fit the graph.
    """
    found, sequence = net.facts, net.facts.sequence
    count = check_sampling(n, sampling.temperature, sampling.seed, sampling.batch)
    tokens, conditions, rows = bind_prompt(net.graph, prompt, condition, sampling.batch, more=count)
    begin, layout = tokens.shape[1], state_layout(found, ahead)
    draws = noise.draw(sampling.head, sampling.seed, range(rows), begin, count, found.types[net.graph.output].size)
    known = {name: _one_more(array) if found.types[name].timed else array for name, array in conditions.items()}
    first = net.cast({sequence: _one_more(tokens), **positions(net.graph, known, 0, begin + 1)})
    y, state = prefill(net, layout, first, np.full(rows, begin))
    new, guesses, rounds = np.zeros((rows, 0), np.int64), np.zeros((rows, 0), np.int64), list[int]()
    while (done := new.shape[1]) < count:
        width = min(ahead, count - done - 1)
        x = _guessed(_drawn(sampling, y, draws[done]), guesses, width)
        after = begin + done + 1
        outputs, state = visit(net, layout, state, net.cast({sequence: x, **_timed(net, known, after, after + width + 1)}))
        right = [_drawn(sampling, outputs[:, :, i], draws[done + 1 + i]) for i in range(width)]
        kept = _kept(x, right)
        state = replace(state, clock=state.clock - (width - kept))
        y, new, rounds = outputs[:, :, kept], np.concatenate([new, x[:, : kept + 1]], axis=1), [*rounds, kept + 1]
        guesses = np.stack([x[:, 0], *right[kept + 1 :]], axis=1)[:, 1:]
    return new, rounds


def _drawn(sampling: Sampling, y: Array, noise_bc: Array) -> Array:
    return noise.sample(sampling.head, y, noise_bc, sampling.temperature, sampling.top_k)


def _guessed(token: Array, guesses: Array, width: int) -> Array:
    """The token and `width` guesses after it, (B, width + 1): those there are, then the last value again and again."""
    x = np.concatenate([token[:, None], guesses[:, :width]], axis=1)
    return np.pad(x, ((0, 0), (0, width + 1 - x.shape[1])), mode="edge")


def _kept(x: Array, drawn: list[Array]) -> int:
    """Count the guesses x_b1, x_b2, … that are what was drawn, in every row, up to the first that is not."""
    return next((i for i, right in enumerate(drawn) if (right != x[:, i + 1]).any()), len(drawn))


def _timed(net: BoundGraph, conditions: Arrays, begin: int, end: int) -> Arrays:
    """The local conditions of some positions."""
    local = {name: array for name, array in conditions.items() if net.facts.types[name].timed}
    return positions(net.graph, local, begin, end)


def _one_more(array: Array) -> Array:
    """Add a position, on which no token that is kept depends."""
    return np.concatenate([array, np.zeros((*array.shape[:-1], 1), array.dtype)], axis=-1)
