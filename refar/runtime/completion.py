"""Go on from what was observed of sequences or images, in many ways each: trajectories, their quantiles, and what these hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from refar import noise, ops
from refar.analysis.causality import require_strict
from refar.analysis.types import Type
from refar.arguments.arrays import MOST, Array, Arrays, Data, as_array, bind_plane, check_rows, check_sampling
from refar.arguments.sampling import Sampling
from refar.errors import InputError, check_integer
from refar.graph.graph import require_head
from refar.runtime.collected import collected
from refar.runtime.generation import bind_draws, empty
from refar.runtime.opened import Opened
from refar.runtime.painter import Painter
from refar.runtime.prompts import bind_prompts, chosen

Decode = Callable[[Array], Array]
"""Takes tokens or images of any number of rows, and returns the numbers that they stand for, as many rows."""

_NUMBERS = 2**24
"""Numbers of states, outputs and tokens that are held at once for the trajectories under way."""

_STREAMS = 2**33
"""The noise of observations is drawn from this stream on, which no row of a batch reads."""


@dataclass(frozen=True, eq=False)
class Completion:
    """S ways in which each of B sequences or images may go on after its first N positions or pixels.

    `observed`: what the network was given, x_bt or x_bct of N positions; of images the first N pixels in raster order, x_bcn.
    `trajectories`: as `generate` gives them, with an axis s of S behind b: new tokens x_bst or x_bsct, or whole images x_bschw.
    `truth`: what the data hold where the trajectories are, x_bt or x_bct of as many positions as they have, or the images x_bchw.
    """

    observed: Array
    trajectories: Array
    truth: Array

    @property
    def known(self) -> int:
        """N, how many positions or pixels were observed."""
        return int(self.observed.shape[-1])

    @property
    def is_image(self) -> bool:
        """Whether it is of images."""
        return self.trajectories.ndim == 5

    def decoded(self, decode: Decode) -> Completion:
        """Return the same in the numbers that classes stand for, as `refar.quantize.mu_law(256).decode` makes them."""
        rows, samples = self.trajectories.shape[:2]
        values = decode(self.trajectories.reshape(rows * samples, *self.trajectories.shape[2:]))
        return Completion(decode(self.observed), values.reshape(rows, samples, *values.shape[1:]), decode(self.truth))

    def quantiles(self, levels: ArrayLike) -> Array:
        """Compute quantiles over the trajectories: levels p_q → an axis q in front of b, and no axis s; float64.

        Quantile p is number p·(S+1) of the S numbers in order, counted from 1, and lies between two of them in proportion. So of
        a network that is right, a share p of what is to come lies below it, whatever S is, as long as 1/(S+1) ≤ p ≤ S/(S+1);
        beyond these it is the least or the largest. A class counts as its index. Raises InputError for levels outside 0..1.
        """
        return np.quantile(self.trajectories, check_levels(levels), axis=1, method="weibull")

    def coverage(self, low: float, high: float) -> tuple[int, int]:
        """Count the true values that lie in the band between two quantiles, edges included, and all that there are: (in, all).

        Of images only hidden pixels count. Raises InputError for levels outside 0..1, and where the first is not the lower one.
        """
        lower, upper = check_levels([low, high])
        if lower > upper:
            raise InputError(f"levels: expected the lower one first, got {low} and {high}")
        values = self._hidden(self.truth)
        bottom, top = (self._hidden(edge)[..., : values.shape[-1]] for edge in self.quantiles([low, high]))
        return int(((bottom <= values) & (values <= top)).sum()), values.size

    def _hidden(self, values: Array) -> Array:
        """Of images, x_bchw, the pixels that were not observed, x_bcn; of sequences all."""
        return values.reshape(*values.shape[:2], -1)[:, :, self.known :] if self.is_image else values


def check_levels(levels: ArrayLike) -> Array:
    """Quantiles as float64. Raises InputError unless they are numbers from 0 to 1."""
    p = as_array("levels", levels, "numbers from 0 to 1")
    if p.dtype.kind not in "iuf" or not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"levels: expected numbers from 0 to 1, got {p.tolist()!r}")
    return p.astype(np.float64)


@dataclass(frozen=True)
class Asked:
    """A request for `samples` trajectories of each example, with the options of drawing. `noise`: see `Session.complete`."""

    samples: int
    seed: int
    temperature: float
    top_k: int | None
    noise: float
    progress: Callable[[int], None]


def sequences(
    opened: Opened, x: ArrayLike, observed: object, n: object, condition: Data | None, asked: Asked, threads: int
) -> Completion:
    """Complete sequences: see `Session.complete`."""
    require_strict(opened.found, "complete")
    opened.require_steps("complete")
    head, kind = require_head(opened.graph, "complete"), opened.found.types[opened.found.sequence]
    given = check_rows(opened.found.sequence, x, kind)
    known = _check_observed(observed, given.shape[-1], "positions")
    count = _check_count(n, given.shape[-1] - known)
    rows = len(given) * check_integer("samples", asked.samples, 1, MOST // max(1, len(given)))
    check_sampling(count, asked.temperature, asked.seed, rows)
    part = noisy(given[..., :known], kind, asked.noise, asked.seed)
    prompts = bind_prompts(opened, part, condition, len(given), more=count)
    _, draws = bind_draws(opened, head, rows, count, asked.seed, asked.temperature, asked.top_k, None)
    found, which = empty(opened, rows, count), np.repeat(np.arange(len(given)), asked.samples)
    width = opened.found.types[opened.graph.output].size
    state = sum(slots * channels for slots, channels in opened.layout.sizes.values())
    for piece in _pieces(rows, asked.samples, state + 4 * width + (known + count) * kind.channels):
        same = which[piece]
        found[piece], _ = collected(
            opened, replace(chosen(prompts, same), same=same), count, draws.of_rows(np.arange(rows)[piece]), 0,
            sampler=False, log_prob=False, progress=_part(asked.progress, piece, count), threads=threads,
        )  # fmt: skip
    return Completion(part, _by_example(found, asked.samples), given[..., known : known + count])


def images(painter: Painter, x: ArrayLike, observed: object, condition: Data | None, asked: Asked) -> Completion:
    """Complete images: see `Session.complete`."""
    found = painter.facts
    require_strict(found, "complete")
    head, kind = require_head(painter.graph, "complete"), found.types[found.sequence]
    given = check_rows(found.sequence, x, kind)
    _, colours, height, width = given.shape
    known = _check_observed(observed, height * width, "pixels")
    _check_count(None, height * width - known)
    rows = len(given) * check_integer("samples", asked.samples, 1, MOST // max(1, len(given)))
    check_sampling(height * width * colours, asked.temperature, asked.seed, rows)
    noise.check_top_k(head, asked.top_k, kind.size)
    conditions, _, shape = bind_plane(painter.graph, condition, len(given), (height, width))
    part = noisy(given.reshape(len(given), colours, -1)[:, :, :known], kind, asked.noise, asked.seed)
    result = np.zeros((rows, colours, height, width), np.int64 if kind.indexed else np.float32)
    which = np.repeat(np.arange(len(given)), asked.samples)
    sampling = Sampling(head, None, asked.seed, asked.temperature, asked.top_k)
    for piece in _pieces(rows, asked.samples, painter.numbers(shape)):
        examples, numbers = np.unique(which[piece], return_inverse=True)
        own: Arrays = {name: array[examples] for name, array in conditions.items()}
        streams = range(rows)[piece]
        result[piece] = painter.go_on(
            part[examples], own, numbers, shape, sampling, streams, _part(asked.progress, piece, height)
        )  # fmt: skip
    return Completion(part, _by_example(result, asked.samples), given)


def noisy(x: Array, kind: Type, deviation: float, seed: int) -> Array:
    """Observations of the first positions x_bt, x_bct or pixels x_bcn, to which Gaussian noise was added: x + `deviation`·ε.

    Classes become the nearest class, 0 or Q-1 beyond the ends. Raises as `observation_noise` does.
    """
    values = x + observation_noise(x.shape, deviation, seed)
    if not kind.indexed:
        return values
    return np.clip(np.rint(values), 0, kind.size - 1).astype(np.int64)


def observation_noise(shape: tuple[int, ...], deviation: float, seed: int) -> Array:
    """Gaussian noise (B, T) or (B, C, T) with this standard deviation: row b is drawn from stream 2³³ + b of the seed.

    Raises InputError for a deviation that is no finite number ≥ 0.
    """
    if isinstance(deviation, bool) or not isinstance(deviation, int | float | np.integer | np.floating):
        raise InputError(f"noise: expected a number ≥ 0, the standard deviation, got {deviation!r}")
    if not 0 <= deviation < math.inf:
        raise InputError(f"noise: expected a finite number ≥ 0, the standard deviation, got {deviation!r}")
    if deviation == 0 or math.prod(shape) == 0:
        return np.zeros(shape)
    rows, channels, length = shape[0], math.prod(shape[1:-1]), shape[-1]
    e_tbc = noise.draw(ops.Gaussian(), seed, range(_STREAMS, _STREAMS + rows), 0, length, channels)
    return deviation * e_tbc.transpose(1, 2, 0).reshape(shape)


def _check_observed(observed: object, length: int, what: str) -> int:
    known = check_integer("observed", observed, 0)
    if known > length:
        raise InputError(f"observed: expected at most {length} {what}, as many as there are, got {known}")
    return known


def _check_count(n: object, left: int) -> int:
    """Return the number of positions to come: those that are `left` in the data if `n` is None."""
    if n is not None:
        return check_integer("n", n, 1)
    if left == 0:
        raise InputError("observed: everything is observed, so nothing is left to complete; observe less, or of sequences give n")
    return left


def _pieces(rows: int, samples: int, numbers: int) -> list[slice]:
    """Cut all trajectories into pieces that fit into memory, `numbers` for each; whole examples together if one fits."""
    size = max(1, _NUMBERS // numbers)
    size -= size % samples if size > samples else 0
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def _part(progress: Callable[[int], None], piece: slice, each: int) -> Callable[[int], None]:
    """Count what the trajectories of a piece have, all together, as part of the whole; each has `each` in the end."""
    return lambda done: progress(piece.start * each + (piece.stop - piece.start) * done)


def unheard(_: int) -> None:
    """Nobody asks how far it has come."""


def _by_example(rows: Array, samples: int) -> Array:
    return rows.reshape(len(rows) // samples, samples, *rows.shape[1:])
