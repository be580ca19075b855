"""Generation: the next token is drawn from the output and taken by the stream, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from refar import noise, ops
from refar.arguments.arrays import Array, Arrays, Data, check_sampling
from refar.errors import InputError, check_integer
from refar.runtime import density
from refar.runtime.beginning import after
from refar.runtime.opened import Opened
from refar.runtime.prompts import Prompts

_NOISE_STEPS, _NOISE_NUMBERS = 64, 2**20
"""Steps, and numbers, of noise that are drawn at once at most: 8 MiB."""


class GenerateOptions(TypedDict, total=False):
    """What `Session.generate` takes besides the number of tokens."""

    batch: int | None
    seed: int | Sequence[int]
    temperature: float | Sequence[float]
    top_k: int | None
    prompt: ArrayLike | Sequence[ArrayLike] | None
    condition: Data | None
    stop: int | Sequence[int | None] | None
    progress: Callable[[int], None] | None


@dataclass(frozen=True)
class Draws:
    """How tokens are drawn. Row b draws stream b of `seed`; where `seeds` are given, what a batch of one draws with seeds[b]."""

    head: ops.AnyHead
    seed: int
    seeds: Array | None
    temperatures: Array
    top_k: int | None
    stops: Array | None

    @property
    def rows(self) -> int:
        """How many sequences there are."""
        return len(self.temperatures)

    @cached_property
    def _temperature(self) -> float | None:
        """The temperature of all rows, if it is one."""
        first = float(self.temperatures[0])
        return first if (self.temperatures == first).all() else None

    def noise(self, starts: Array, done: int, steps: int, size: int) -> Array:
        """The noise of `steps` steps after `done`, (steps, B, …); row b began at position starts[b]."""
        if self.seeds is None and len(set(starts.tolist())) == 1:
            return noise.draw(self.head, self.seed, range(len(starts)), int(starts[0]) + done, steps, size)
        keys = [(self.seed, row) for row in range(len(starts))] if self.seeds is None else [(int(s), 0) for s in self.seeds]
        each = [
            noise.draw(self.head, seed, [stream], int(start) + done, steps, size)
            for (seed, stream), start in zip(keys, starts, strict=True)
        ]
        return np.concatenate(each, axis=1)

    def sample(self, y: Array, noise_bc: Array) -> Array:
        """A token for each row."""
        if self._temperature is not None:
            return noise.sample(self.head, y, noise_bc, self._temperature, self.top_k)
        rows = [
            noise.sample(self.head, y[b : b + 1], noise_bc[b : b + 1], float(t), self.top_k)
            for b, t in enumerate(self.temperatures)
        ]
        return np.concatenate(rows)


def bind_draws(
    opened: Opened, head: ops.AnyHead, rows: int, n: object, seed: Any, temperature: Any, top_k: int | None, stop: Any
) -> tuple[int, Draws]:
    """Check the number of tokens and the options, of which seed, temperature and stop may be one for each row."""
    kind = opened.found.types[opened.found.sequence]
    seeds = [noise.check_seed(each) for each in _each("seed", seed, rows)] if is_each(seed) else None
    temperatures = _each("temperature", temperature, rows) if is_each(temperature) else [temperature] * rows
    for each in temperatures if is_each(temperature) else [temperature]:
        noise.check_temperature(each)
    count = check_sampling(n, 1.0, seed if seeds is None else 0, rows)
    noise.check_top_k(head, top_k, kind.size)
    stops = None
    if stop is not None:
        if not kind.indexed:
            raise InputError("stop: expected a network of classes, of which one ends a sequence; this one is of signals")
        each = _each("stop", stop, rows) if is_each(stop) else [stop] * rows
        stops = np.array([-1 if s is None else check_integer("stop", s, 0, kind.size - 1) for s in each], np.int64)
    chosen = np.array([float(t) for t in temperatures], float)
    return count, Draws(
        head, seed if seeds is None else 0, None if seeds is None else np.array(seeds, np.uint64), chosen, top_k, stops
    )


def is_each(value: object) -> bool:
    """Whether a value is one for each row."""
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _each(name: str, values: Sequence[Any], rows: int) -> list[Any]:
    found = list(values)
    if len(found) != rows:
        raise InputError(f"{name}: expected one, or one for each of {rows} rows, got {len(found)}")
    return found


def generated(
    opened: Opened, prompts: Prompts, n: int | None, size: int, draws: Draws, *, log_prob: bool = False
) -> Iterator[tuple[Array, Array]]:
    """Yield blocks of up to `size` new tokens, x_bt or x_bct, and, with `log_prob`, log p of each under the network, (B, ≤ size).

    Ends after `n` tokens, or when every row has stopped. What a row gives after its stop class is that class again, of which
    log p is 0.
    """
    found, rows = opened.found, len(prompts.lengths)
    width = found.types[opened.graph.output].size
    if rows == 0 or n == 0:  # not every operator of onnxruntime takes none
        yield empty(opened, rows, n or 0), np.zeros((rows, n or 0))
        return
    local = opened.feeds({name: prompts.conditions[name] for name in opened.local})
    stream = after(opened, prompts)
    y, stopped, done = stream.output, np.zeros(rows, bool), 0
    noises = _drawn_ahead(draws, prompts.lengths, n, width)
    assert y is not None
    while n is None or done < n:
        count = size if n is None else min(size, n - done)
        new, log_p = empty(opened, rows, count), np.zeros((rows, count if log_prob else 0))
        for i in range(count):
            token = draws.sample(y, next(noises))
            over = stopped.copy()
            if draws.stops is not None:
                token = np.where(stopped, draws.stops, token)
                stopped |= token == draws.stops
            new[..., i] = token
            if log_prob:
                log_p[:, i] = np.where(over, 0, density.log_prob(draws.head, y[..., None], new[..., i : i + 1])[:, 0])
            if stopped.all():
                new[..., i + 1 :] = 0 if draws.stops is None else draws.stops[:, None]
                break
            if n is None or done + i + 1 < n:
                y = stream._advance({found.sequence: new[..., i], **_at(local, prompts.lengths + done + i + 1)})
        done += count
        yield new, log_p
        if stopped.all():
            return


def _drawn_ahead(draws: Draws, starts: Array, n: int | None, width: int) -> Iterator[Array]:
    """Yield the noise of `n` steps, or of any number. The next batch is drawn in another thread while one is used."""
    size = max(1, min(_NOISE_STEPS, _NOISE_NUMBERS // max(1, len(starts) * width)))
    if n is not None and n <= size:
        yield from draws.noise(starts, 0, n, width)
        return
    with ThreadPoolExecutor(1) as other:
        done, batch = 0, draws.noise(starts, 0, size, width)
        while n is None or done < n:
            done += len(batch)
            left = size if n is None else min(size, n - done)
            following = other.submit(draws.noise, starts, done, left, width) if left else None
            yield from batch
            if following is not None:
                batch = following.result()


def _at(local: Arrays, positions: Array) -> Arrays:
    """Local conditions of one position of each row."""
    return {name: array[np.arange(len(positions)), ..., positions] for name, array in local.items()}


def empty(opened: Opened, rows: int, n: int) -> Array:
    """No tokens, with the axes of `n` of them."""
    kind = opened.found.types[opened.found.sequence]
    return np.zeros((rows, n) if kind.indexed else (rows, kind.size, n), np.int64 if kind.indexed else np.float32)
