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

_NUMBERS_OF_A_THREAD, _MOST_THREADS = 2**15, 8
"""Numbers of noise in a step for each thread that draws noise, and how many threads at most."""


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
        while not generation.finished:
            count = min(resident.steps, generation.left)
            positions = generation.next_positions - 1
            local = {name: np.moveaxis(window(a, positions, count), -1, 0) for name, a in generation.local.items()}
            resident.feed(generation.noises.look(count), local)
            generation.noises.skip(count)
            yield from _drawn(generation, resident, count, log_prob)


def _drawn(generation: Generation, resident: Resident, count: int, log_prob: bool) -> Iterator[Piece]:
    """Yield `count` tokens together, or one by one where the output of each is needed; fewer if every row has stopped."""
    if not log_prob:
        yield _counted(generation, resident.draw(count), None)
        return
    for _ in range(count):
        if not generation.finished:
            new = resident.draw(1)
            yield _counted(generation, new, resident.output)


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
    """Draw noise in so many threads that it is there in time, each for many steps, and round it there as the graph takes it."""
    numbers = draws.rows * opened.found.types[opened.graph.output].size
    threads = min(1 + numbers // _NUMBERS_OF_A_THREAD, _MOST_THREADS, os.cpu_count() or 1)
    return NoiseAhead(threads, 2**22, np.float32)
