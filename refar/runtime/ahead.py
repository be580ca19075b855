"""Exact sampling ahead: guess the next tokens, evaluate them in one call, and keep those that the noise confirms.

The token of position t is a function of the output and of the noise there. So a guess of it can be checked, and a wrong one is
never kept: the tokens are those of one step each, wherever rounding does not decide. The first token of each round is drawn from
an output that is known, so a round gives at least one token. What it drew beyond a wrong guess are the guesses of the next round:
a fixed point is sought.
Source: Song et al. 2021, "Accelerating feedforward computation via parallel nonlinear equation solving"; Wiggers and Hoogeboom
2020, "Predictive sampling with forecasting autoregressive models".
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import BackendError, GraphError, InputError, check_integer
from refar.runtime.bundle import BLOCK
from refar.runtime.generation import Draws, Generation, generated
from refar.runtime.opened import Opened
from refar.runtime.pace import Pace
from refar.runtime.prompts import Prompts, window

Piece = tuple[Array, Array]
"""New tokens x_bt or x_bct, and log p of each, (B, T), or (B, 0) where it is not wanted."""


def check_ahead(opened: Opened, ahead: object) -> int:
    """Return how many tokens are guessed. Raises GraphError for a signal, InputError for more than can be taken back."""
    count, spare = check_integer("ahead", ahead, 0), opened.layout.spare
    if count and not opened.found.types[opened.found.sequence].indexed:
        raise GraphError("ahead: expected a network of classes, of which a guess can be exactly right; this one is of signals")
    if count > spare:
        raise InputError(
            f"ahead: expected at most {spare}, as many steps as this bundle can take back, got {count}; "
            f"export it with refar export --spare {count}, in Python export(…, spare={count})"
        )
    return count


def generated_ahead(
    opened: Opened, prompts: Prompts, n: int | None, size: int, draws: Draws, ahead: object, *, log_prob: bool = False
) -> Iterator[Piece]:
    """Return what `generated` yields, by rounds that guess up to `ahead` tokens, and by steps while these are faster.

    Raises GraphError for a signal, and InputError for more guesses than steps can be taken back, before anything is computed.
    """
    most = check_ahead(opened, ahead)
    if most == 0 or n == 0 or len(prompts.lengths) == 0:
        return generated(opened, prompts, n, size, draws, log_prob=log_prob)
    return in_blocks(_pieces(opened, prompts, n, draws, most, log_prob), size)


def in_blocks(pieces: Iterator[Piece], size: int) -> Iterator[Piece]:
    """Yield blocks of `size` tokens, and what is left at the end."""
    waiting: list[Piece] = []
    there = 0
    for piece in pieces:
        waiting.append(piece)
        there += piece[0].shape[-1]
        if there >= size:
            *whole, rest = _cut(_joined(waiting), size)
            yield from whole
            waiting, there = [rest], rest[0].shape[-1]
    if there:
        yield _joined(waiting)


def _joined(pieces: list[Piece]) -> Piece:
    return np.concatenate([new for new, _ in pieces], axis=-1), np.concatenate([log_p for _, log_p in pieces], axis=1)


def _cut(piece: Piece, size: int) -> list[Piece]:
    """Cut a piece into ones of `size` tokens and a shorter rest, which may be empty."""
    new, log_p = piece
    return [(new[..., i : i + size], log_p[:, i : i + size]) for i in range(0, new.shape[-1] + 1, size)]


def _pieces(opened: Opened, prompts: Prompts, n: int | None, draws: Draws, ahead: int, log_prob: bool) -> Iterator[Piece]:
    """Yield tokens as they come, until all are drawn."""
    generation = Generation(opened, prompts, n, draws, log_prob=log_prob)
    rows, count = generation.draws.rows, min(ahead, generation.left - 1)
    pace, known = generation.opened.paces.setdefault((rows, count), Pace()), np.zeros((rows, 0), np.int64)
    while not generation.finished:
        begin = time.perf_counter()
        if generation.left == 1:  # no call is made after it, so it tells no pace
            yield generation.steps(1)
        elif pace.guesses:
            piece, known = round_of(generation, known, count)
            pace.guessed(time.perf_counter() - begin, count, piece[0].shape[1])
            yield piece
        else:
            piece, known = generation.steps(min(pace.steps, generation.left - 1)), known[:, :0]
            pace.stepped(time.perf_counter() - begin, piece[0].shape[1])
            yield piece


def round_of(generation: Generation, known: Array, count: int) -> tuple[Piece, Array]:
    """Guess `count` tokens after the next one, and keep the guesses that are confirmed in every row, none after the last token.

    `known` (B, any) holds the next token and first guesses, or nothing, and what is returned besides the tokens is that of the
    next round. Every round has one length, though fewer tokens may be `left`: what is bound for a call stays for the next.
    """
    draws, stream, noises = generation.draws, generation.stream, generation.noises.look(min(count + 2, generation.left))
    if known.shape[1] == 0:
        known = draws.sample(generation.y, noises[0])[:, None]
    x = filled(known, count + 1)
    local = {name: window(array, generation.next_positions, count + 1) for name, array in generation.local.items()}
    y, wrong = stream._visited({generation.opened.found.sequence: x, **local})
    with np.errstate(over="ignore", invalid="ignore"):  # an output behind a wrong guess means nothing
        drawn = draws.sample_several(y[..., : len(noises) - 1], noises[1:])
    x = x[:, : generation.left]
    new, over = x, np.zeros(x.shape, bool)
    if draws.stops is not None:
        over = stopped_before(np.concatenate([x[:, :1], drawn[:, : x.shape[1] - 1]], axis=1), draws.stops, generation.stopped)
        new = np.where(over, draws.stops[:, None], x)
    kept = confirmed(x[:, 1:], drawn[:, : x.shape[1] - 1], over[:, 1:])
    if (ended := over[:, : kept + 1].all(axis=0)).any():  # every row has stopped before
        kept = int(ended.argmax()) - 1
    if wrong is not None and (used := wrong[..., : kept + 1]).any():
        raise BackendError(f"{BLOCK}: expected finite outputs, got {y[..., : kept + 1][used][0]}")
    if kept < count:
        stream._take_back(count - kept)
    piece = generation.keep(new[:, : kept + 1], y[..., :kept], y[..., kept].copy(), over[:, : kept + 1])
    return piece, drawn[:, kept:]


def filled(known: Array, count: int) -> Array:
    """Return `count` tokens that begin with the `known` ones, (B, ≥ 1): the last value again and again after these."""
    x = np.empty((len(known), count), np.int64)
    there = min(known.shape[1], count)
    x[:, :there] = known[:, :there]
    x[:, there:] = known[:, there - 1 : there]
    return x


def confirmed(guesses: Array, drawn: Array, over: Array) -> int:
    """Count the first guesses (B, T) that are what was `drawn`, in every row; of a row that is `over` any guess will do.

    What was drawn behind a wrong guess means nothing, as its output saw that guess.
    """
    wrong = ((guesses != drawn) & ~over).any(axis=0)
    first = int(wrong.argmax())
    return first if wrong[first] else len(wrong)


def stopped_before(tokens: Array, stops: Array, stopped: Array) -> Array:
    """Whether each row had come to its stop class before each of the tokens x_bt: (B, T)."""
    at = np.concatenate([stopped[:, None], tokens == stops[:, None]], axis=1)
    return np.logical_or.accumulate(at, axis=1)[:, :-1]
