"""Generation with sampler.onnx: each token but the first is drawn in the graph, in float32."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from refar.arguments.arrays import Array, as_float32
from refar.errors import InputError
from refar.runtime.ahead import Piece, in_blocks, stopped_before
from refar.runtime.generation import Draws, Generation, NoiseAhead, generated
from refar.runtime.opened import Opened
from refar.runtime.prompts import Prompts, window
from refar.runtime.resident import Resident, borrowed, check_batch

_NUMBERS_OF_A_THREAD, _MOST_THREADS = 2**14, 8
"""Numbers of noise in a step for each thread that draws noise, and how many threads at most."""

_MOST_NUMBERS, _MOST_STEPS = 2**25, 128
"""Numbers of noise that are drawn at once at most, 128 MiB, and steps: threads wait less for each other where each draws much."""


def generated_in_graph(
    opened: Opened, prompts: Prompts, n: int | None, size: int, draws: Draws, ahead: int, *, log_prob: bool = False
) -> Iterator[Piece]:
    """Return what `generated` yields, drawn in sampler.onnx. With `log_prob` every output comes to the CPU.

    Raises InputError, before anything is computed, for a bundle without it, for another top_k than that of the bundle, and for
    guesses, and BackendError for more rows than there is memory for.
    """
    _check(opened, draws, ahead)
    temperatures = as_float32("temperature", draws.temperatures)
    check_batch(opened, draws.rows)
    if n == 0 or draws.rows == 0:
        return generated(opened, prompts, n, size, draws, log_prob=log_prob)
    return in_blocks(_pieces(opened, prompts, n, draws, temperatures, log_prob), size)


def _check(opened: Opened, draws: Draws, ahead: int) -> None:
    sampler = opened.bundle.manifest.sampler
    if sampler is None:
        raise InputError(
            "sampler: expected a bundle with sampler.onnx, got one without; export it with refar export --sampler, "
            "in Python export(…, sampler=True)"
        )
    if draws.top_k != sampler.top_k:
        raise InputError(f"top_k: expected {sampler.top_k}, which sampler.onnx of this bundle was made for, got {draws.top_k}")
    if ahead:
        raise InputError(f"ahead: expected 0 where tokens are drawn in the graph, got {ahead}")


def _pieces(
    opened: Opened, prompts: Prompts, n: int | None, draws: Draws, temperatures: Array, log_prob: bool
) -> Iterator[Piece]:
    """Yield tokens as they come. The first is drawn here, from the output that prefill gave."""
    generation = Generation(opened, prompts, n, draws, log_prob=log_prob, noise_ahead=_noise_ahead(opened, draws))
    kind = opened.found.types[opened.found.sequence]
    token = draws.sample(generation.y, generation.noises.take()).astype(np.int64 if kind.indexed else np.float32)
    yield _counted(generation, token[..., None], generation.y if log_prob else None)
    if generation.finished:
        return
    with borrowed(opened, draws.rows) as resident:
        resident.begin(generation.stream._visits, token, temperatures)
        count = _feed(generation, resident)
        while not generation.finished:
            if log_prob:  # the output of each step is needed
                yield _counted(generation, resident.draw(1), resident.output)
                count = count - 1 or _feed(generation, resident)
            else:
                new, count = _draw(generation, resident, count)
                yield _counted(generation, new, None)


def _draw(generation: Generation, resident: Resident, count: int) -> tuple[Array, int]:
    """Draw `count` more tokens, and feed the steps after them meanwhile; returns the tokens, and of how many steps that is."""
    following = list[int]()
    new = resident.draw(count, lambda: following.append(_feed(generation, resident, count)))
    return new, following[0]


def _feed(generation: Generation, resident: Resident, ahead: int = 0) -> int:
    """Feed what the steps after `ahead` more tokens take; returns of how many steps that is, 0 at the end."""
    left = generation.left - ahead
    if left == 0:
        return 0
    count, positions = min(resident.steps, left, generation.noises.ready()), generation.next_positions - 1 + ahead
    local = {name: np.moveaxis(window(a, positions, count), -1, 0) for name, a in generation.local.items()}
    resident.feed(generation.noises.look(count), local)
    generation.noises.skip(count)
    return count


def _counted(generation: Generation, new: Array, y: Array | None) -> Piece:
    """Count tokens as drawn: what they are after a row's stop class, and log p of one that was drawn from an output y_bc."""
    stops, over = generation.draws.stops, np.zeros((len(new), new.shape[-1]), bool)
    if stops is not None:
        over = stopped_before(new, stops, generation.stopped)
        needed = int((~over.all(axis=0)).sum())  # the first tokens: behind them every row has stopped
        over, new = over[:, :needed], np.where(over, stops[:, None], new)[:, :needed]
        generation.stopped = generation.stopped | (new == stops[:, None]).any(axis=1)
    log_p = np.zeros((len(new), 0)) if y is None else generation.log_p(y[..., None], new, over)
    generation._advanced(new.shape[-1])
    return new, log_p


def _noise_ahead(opened: Opened, draws: Draws) -> NoiseAhead:
    """Draw noise in so many threads that it is there in time, and round it there as the graph takes it."""
    numbers = draws.rows * opened.found.types[opened.graph.output].size
    threads = min(1 + numbers // _NUMBERS_OF_A_THREAD, _MOST_THREADS, os.cpu_count() or 1)
    return NoiseAhead(threads, _MOST_NUMBERS, np.float32, _MOST_STEPS)
