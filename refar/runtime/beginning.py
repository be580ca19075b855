"""Begin a stream after prompts, which are computed in pieces of bounded length, or from a saved state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from refar.arguments.arrays import Array, Arrays, Data, check_array, check_real
from refar.errors import FileError, InputError, printable
from refar.runtime import saved, stored
from refar.runtime.opened import Opened
from refar.runtime.prompts import Begun, Prompts, bind_prompts, chosen, prefill, window
from refar.runtime.stream import Stream

_LEAST, _MOST, _AT_ONCE = 64, 256, 2**13
"""Positions of a row in one call, at least and at most; in between, as many as make so many positions of all rows together.

A longer prompt goes on in blocks, which are faster than one pass: their values stay in the cache. Blocks shorter than the least
would read the whole state too often.
"""


def begin(opened: Opened, prompt: object, condition: Data | None, batch: int | None) -> Stream:
    """Begin a stream after prompts; of a strict network its output is that of the next position."""
    opened.require_steps("a stream")
    given = opened.named("a stream", condition)
    return after(opened, bind_prompts(opened, prompt, given, batch, more=int(opened.found.strict)))


def after(opened: Opened, prompts: Prompts) -> Stream:
    """The stream after prompts, of which equal ones are computed once.

    What is longer than one prefill takes goes on in blocks, rows of equally many together.
    """
    if prompts.same is not None:
        _, once, numbers = np.unique(prompts.same, return_index=True, return_inverse=True)
        return after(opened, replace(chosen(prompts, once), same=None)).take(numbers)
    size = min(_MOST, max(_LEAST, _AT_ONCE // max(1, len(prompts.lengths))))
    blocks = np.maximum(prompts.lengths - 1, 0) // size
    if not blocks.any():
        return Stream(opened, prefill(opened, prompts, prompts.lengths))
    groups = [np.flatnonzero(blocks == count) for count in np.unique(blocks)]
    first, *others = [_after(opened, chosen(prompts, rows), int(blocks[rows[0]]), size) for rows in groups]
    for other in others:
        first = first.join(other)
    return first.take(np.argsort(np.concatenate(groups)))


def _after(opened: Opened, prompts: Prompts, blocks: int, size: int) -> Stream:
    """Begin with what is left over, at least one token, and go on for so many blocks."""
    left = prompts.lengths - blocks * size
    stream = Stream(opened, prefill(opened, prompts, left))
    for n in range(blocks):
        start = left + n * size
        local = {name: window(prompts.conditions[name], start + opened.found.strict, size) for name in opened.local}
        stream.push(window(prompts.tokens, start, size), local or None)
    return stream


def restored(opened: Opened, path: str | Path) -> Stream:
    """Go on with a stream that was saved. Raises FileError for one of another network, and for a damaged file."""
    opened.require_steps("load_stream")
    tensors = saved.read(path, opened.bundle.digest)
    try:
        stream = Stream(opened, _begun(opened, tensors))
        stream.state = {name.removeprefix("state."): array for name, array in tensors.items() if name.startswith("state.")}
    except (InputError, KeyError) as error:
        raise FileError(f"stream {str(path)!r} is damaged: {printable(str(error))}") from None
    stream._know(tensors.get("output"))
    return stream


def _begun(opened: Opened, tensors: Arrays) -> Begun:
    """All but the state, from the tensors of a file."""
    found, taken = opened.found, tensors["taken"]
    if taken.ndim != 1 or taken.dtype != np.int64 or (taken < 0).any():
        raise InputError(f"taken: expected numbers of tokens, got {taken.dtype} of shape {taken.shape}")
    names = [name for name in found.conditions if not found.types[name].timed]
    conditions = {name: check_array(name, tensors[f"condition.{name}"], found.types[name]) for name in names}
    if wrong := [name for name, array in conditions.items() if len(array) != len(taken)]:
        raise InputError(f"condition {wrong[0]!r}: expected {len(taken)} rows, got {len(conditions[wrong[0]])}")
    output: Array | None = tensors.get("output")
    if output is not None:
        check_real("output", np.nan_to_num(output), (len(taken), found.types[opened.graph.output].size))
    return Begun(stored.empty(opened.layout, len(taken)), opened.fixed(conditions), conditions, taken, output)
