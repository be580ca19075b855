"""Generation: the next token is drawn from the output and taken by the stream, again and again."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from refar import noise, ops
from refar.analysis.sampler import noise_numbers
from refar.arguments.arrays import Array, Arrays, Data, check_sampling
from refar.errors import InputError, check_integer
from refar.runtime import density
from refar.runtime.beginning import after
from refar.runtime.noise_ahead import Noises, in_batches
from refar.runtime.opened import Opened
from refar.runtime.prompts import Prompts

_FIRST_NUMBERS = 2**16
"""Numbers of noise that are drawn before the first token."""


class BlockOptions(TypedDict, total=False):
    """What `Session.generate_blocks` takes besides the number of tokens, their blocks and `log_prob`."""

    batch: int | None
    seed: int | Sequence[int]
    temperature: float | Sequence[float]
    top_k: int | None
    prompt: ArrayLike | Sequence[ArrayLike] | None
    condition: Data | None
    stop: int | Sequence[int | None] | None
    ahead: int
    sampler: bool


class GenerateOptions(BlockOptions, total=False):
    """What `Session.generate` takes besides the number of tokens and `log_prob`."""

    progress: Callable[[int], None] | None


@dataclass(frozen=True)
class Draws:
    """How tokens are drawn. Row b draws stream `first` + b of `seed`, or, where `seeds` are given, stream 0 of seeds[b]."""

    head: ops.AnyHead
    seed: int
    seeds: Array | None
    temperatures: Array
    top_k: int | None
    stops: Array | None
    first: int = 0

    def of_rows(self, rows: Array) -> Draws:
        """Return how some rows, which lie one after the other, are drawn."""
        seeds, stops = (None if each is None else each[rows] for each in (self.seeds, self.stops))
        return replace(self, seeds=seeds, stops=stops, temperatures=self.temperatures[rows], first=self.first + int(rows[0]))

    @property
    def rows(self) -> int:
        """How many sequences there are."""
        return len(self.temperatures)

    @property
    def _streams(self) -> range:
        return range(self.first, self.first + self.rows)

    @cached_property
    def _temperature(self) -> float | None:
        """The temperature of all rows, if it is one."""
        first = float(self.temperatures[0])
        return first if (self.temperatures == first).all() else None

    def noise(self, starts: Array, done: int, steps: int, size: int, out: Array) -> None:
        """Write the noise of `steps` steps after `done` into `out`, (steps, B, …); row b began at position starts[b]."""
        if self.seeds is None and len(set(starts.tolist())) == 1:
            noise.draw(self.head, self.seed, self._streams, int(starts[0]) + done, steps, size, out=out)
            return
        keys = [(self.seed, stream) for stream in self._streams] if self.seeds is None else [(int(s), 0) for s in self.seeds]
        for row, ((seed, stream), start) in enumerate(zip(keys, starts, strict=True)):
            noise.draw(self.head, seed, [stream], int(start) + done, steps, size, out=out[:, row : row + 1])

    def sample(self, y: Array, noise_bc: Array) -> Array:
        """A token for each row."""
        if self._temperature is not None:
            return noise.sample(self.head, y, noise_bc, self._temperature, self.top_k)
        rows = [
            noise.sample(self.head, y[b : b + 1], noise_bc[b : b + 1], float(t), self.top_k)
            for b, t in enumerate(self.temperatures)
        ]
        return np.concatenate(rows)

    def sample_several(self, y_bct: Array, noise_tbc: Array) -> Array:
        """A token for each row and position of a network of classes: x_bt."""
        rows, channels, count = y_bct.shape
        if self._temperature is not None:
            y, noises = y_bct.transpose(2, 0, 1).reshape(-1, channels), noise_tbc.reshape(count * rows, -1)
            return noise.sample(self.head, y, noises, self._temperature, self.top_k).reshape(count, rows).T
        each = zip(y_bct, noise_tbc.transpose(1, 0, 2), self.temperatures, strict=True)
        return np.stack([noise.sample(self.head, y.T, noises, float(t), self.top_k) for y, noises, t in each])


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


@dataclass(frozen=True)
class NoiseAhead:
    """Options of drawing noise ahead: the number of `threads`, each for some rows, and the `dtype`.

    At most so many `numbers` are drawn at once (8 MiB), and of so many `steps`.
    """

    threads: int = 1
    numbers: int = 2**20
    dtype: type[np.float64] | type[np.float32] = np.float64
    steps: int = 64


class Generation:
    """Sequences under way: `done` tokens of each are drawn, `left` are to come, and `y` is the output at the next position, y_bc.

    `stopped` says which rows have come to their stop class. `noise_ahead` says how noise is drawn.
    """

    def __init__(
        self,
        opened: Opened,
        prompts: Prompts,
        n: int | None,
        draws: Draws,
        *,
        log_prob: bool,
        noise_ahead: NoiseAhead | None = None,
    ) -> None:
        self.opened, self.draws, self.stream = opened, draws, after(opened, prompts)
        assert self.stream.output is not None
        self.y, self.done, self.stopped = self.stream.output, 0, np.zeros(len(prompts.lengths), bool)
        width = opened.found.types[opened.graph.output].size
        self.noises = Noises(drawn_ahead(draws, prompts.lengths, n, width, noise_ahead or NoiseAhead()))
        self.left = sys.maxsize if n is None else n
        self.local = opened.feeds({name: prompts.conditions[name] for name in opened.local})
        self._starts, self._log_prob = prompts.lengths, log_prob

    @property
    def finished(self) -> bool:
        """Whether no token is to come: all are drawn, or every row has stopped."""
        return self.left == 0 or bool(self.stopped.all())

    @property
    def next_positions(self) -> Array:
        """The position after the next token of each row: (B,)."""
        return self._starts + self.done + 1

    def steps(self, count: int) -> tuple[Array, Array]:
        """Draw `count` ≤ `left` more tokens, or as many as until every row has stopped, and log p of each if it is wanted."""
        sequence, stops = self.opened.found.sequence, self.draws.stops
        new, log_p = empty(self.opened, self.draws.rows, count), np.zeros((self.draws.rows, count if self._log_prob else 0))
        for i in range(count):
            token, over = self.draws.sample(self.y, self.noises.take()), self.stopped
            if stops is not None:
                token = np.where(over, stops, token)
                self.stopped = over | (token == stops)
            new[..., i] = token
            if self._log_prob:
                log_p[:, i] = self.log_p(self.y[..., None], new[..., i : i + 1], over[:, None])[:, 0]
            if stops is not None and self.stopped.all():
                count = i + 1
                break
            if self.left > i + 1:
                conditions = _at(self.local, self.next_positions + i) if self.local else {}
                self.y = self.stream._advance({sequence: new[..., i], **conditions})
        self._advanced(count)
        return new[..., :count], log_p[:, :count]

    def keep(self, new: Array, y_bct: Array, y: Array, over_bt: Array) -> tuple[Array, Array]:
        """Count tokens x_bt as drawn, from outputs of which `y_bct` holds those but the first; `y` is the next output.

        `over_bt` says of which a row had stopped before.
        """
        count = new.shape[1]
        log_p = np.zeros((len(new), 0))
        if self._log_prob:
            log_p = self.log_p(np.concatenate([self.y[..., None], y_bct], axis=2), new, over_bt)
        if self.draws.stops is not None:
            self.stopped = self.stopped | (new == self.draws.stops[:, None]).any(axis=1)
        self.y = y
        self.noises.skip(count)
        self._advanced(count)
        return new, log_p

    def log_p(self, y_bct: Array, new: Array, over_bt: Array) -> Array:
        """log p of tokens under the network, (B, T); 0 where a row had stopped before."""
        return np.where(over_bt, 0, density.log_prob(self.draws.head, y_bct, new))

    def _advanced(self, count: int) -> None:
        self.done, self.left = self.done + count, self.left - count


def generated(
    opened: Opened, prompts: Prompts, n: int | None, size: int, draws: Draws, *, log_prob: bool = False
) -> Iterator[tuple[Array, Array]]:
    """Yield blocks of up to `size` new tokens, x_bt or x_bct, and, with `log_prob`, log p of each under the network, (B, ≤ size).

    Ends after `n` tokens, or when every row has stopped. What a row gives after its stop class is that class again, of which
    log p is 0.
    """
    rows = len(prompts.lengths)
    if rows == 0 or n == 0:  # not every operator of onnxruntime takes none
        yield empty(opened, rows, n or 0), np.zeros((rows, n or 0))
        return
    generation = Generation(opened, prompts, n, draws, log_prob=log_prob)
    while not generation.finished:
        yield generation.steps(min(size, generation.left))


def drawn_ahead(draws: Draws, starts: Array, n: int | None, width: int, how: NoiseAhead) -> Iterator[Array]:
    """Yield batches of the noise of `n` steps, or of any number. The first is a small one, since generation waits for it."""
    total, each = sys.maxsize if n is None else n, max(1, len(starts) * width)
    first, most = (max(1, min(how.steps, numbers // each)) for numbers in (_FIRST_NUMBERS, how.numbers))
    with ThreadPoolExecutor(how.threads) as others:
        yield from in_batches(_Batches(draws, starts, width, how, most, others), total, first, most)


class _Batches:
    """Draw batches of noise, rows shared out among threads, in two pieces of memory in turn: new pages take longer than numbers.

    So a batch is there until the next but one is drawn.
    """

    def __init__(self, draws: Draws, starts: Array, width: int, how: NoiseAhead, most: int, others: ThreadPoolExecutor) -> None:
        self._draws, self._starts, self._width, self._others = draws, starts, width, others
        self._parts = [part for part in np.array_split(np.arange(len(starts)), how.threads) if len(part)]
        self._shape, self._dtype = (most, len(starts), noise_numbers(draws.head, width)), how.dtype
        self._memory = deque[Array]()

    def __call__(self, done: int, steps: int) -> Array:
        """The noise of `steps` steps after `done`, (steps, B, …)."""
        if done == 0:  # the first is small
            return self._filled(np.empty((steps, *self._shape[1:]), self._dtype), done)
        if len(self._memory) < 2:
            self._memory.append(np.empty(self._shape, self._dtype))
        self._memory.rotate()
        return self._filled(self._memory[0][:steps], done)

    def _filled(self, batch: Array, done: int) -> Array:
        """Draw a batch, after `done` steps."""

        def fill(rows: Array) -> None:
            into = batch[:, rows[0] : rows[-1] + 1]
            self._draws.of_rows(rows).noise(self._starts[rows], done, len(batch), self._width, into)

        list(self._others.map(fill, self._parts) if len(self._parts) > 1 else map(fill, self._parts))
        return batch


def _at(local: Arrays, positions: Array) -> Arrays:
    """Local conditions of one position of each row."""
    return {name: array[np.arange(len(positions)), ..., positions] for name, array in local.items()}


def empty(opened: Opened, rows: int, n: int) -> Array:
    """No tokens, with the axes of `n` of them."""
    kind = opened.found.types[opened.found.sequence]
    return np.zeros((rows, n) if kind.indexed else (rows, kind.size, n), np.int64 if kind.indexed else np.float32)
