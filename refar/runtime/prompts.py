"""Prompts of any lengths, and what a stream begins with after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from refar.arguments.arrays import Array, Arrays, Data, bind_prompt, check_rows
from refar.errors import InputError
from refar.runtime import stored
from refar.runtime.bundle import FIXED, LENGTH, OUTPUT, PREFILL, PRESENT
from refar.runtime.provider import finite, shaped

if TYPE_CHECKING:
    from refar.runtime.opened import Opened


@dataclass(frozen=True)
class Prompts:
    """Prompts padded on the right, x_bt or x_bct, their `lengths` (B,), and the conditions of their rows.

    `same` (B,): rows with one number have the same prompt and the same conditions, so that it is computed once; None where each
    row has its own.
    """

    tokens: Array
    lengths: Array
    conditions: Arrays
    same: Array | None = None


def bind_prompts(opened: Opened, prompt: object, condition: Data | None, batch: int | None, more: int) -> Prompts:
    """Check prompts, an array or a list of arrays of different lengths, and conditions; local ones for `more` positions after.

    Local conditions need as many positions as the longest prompt and `more`; where that is none they may be left out. Raises
    InputError for what does not fit.
    """
    condition = _local_ones(opened, condition, none=more == 0 and prompt is None)
    if not isinstance(prompt, list | tuple) or len(lengths := _lengths(prompt)) < 2 or len(set(lengths)) == 1:
        tokens, conditions, rows = bind_prompt(opened.graph, prompt, condition, batch, more=more)
        return Prompts(tokens.copy(), np.full(rows, tokens.shape[-1], np.int64), _copied(conditions))
    kind = opened.found.types[opened.found.sequence]
    each = [check_rows(f"prompt {n}", row, kind) for n, row in enumerate(prompt)]
    if several := [n for n, row in enumerate(each) if len(row) != 1]:
        raise InputError(f"prompt {several[0]}: expected one sequence, got {len(each[several[0]])}")
    longest = max(lengths)
    padded = [np.pad(row, [*[(0, 0)] * (row.ndim - 1), (0, longest - row.shape[-1])]) for row in each]
    tokens, conditions, _ = bind_prompt(opened.graph, np.concatenate(padded), condition, batch, more=more)
    return Prompts(tokens, np.array(lengths, np.int64), _copied(conditions))


def _copied(arrays: Arrays) -> Arrays:
    """Arrays of a stream's own, which the caller cannot change."""
    return {name: array.copy() for name, array in arrays.items()}


def _local_ones(opened: Opened, condition: Data | None, *, none: bool) -> Data | None:
    """The conditions, with local ones of no position where `none` is needed. Each has a row, or one for all, with its axis."""
    if not opened.local:
        return condition
    given = opened.named("a stream", condition)
    for name in opened.local:
        kind = opened.found.types[name]
        if none and name not in given:
            given[name] = np.zeros((1, 0) if kind.indexed else (1, kind.size, 0), np.int64 if kind.indexed else np.float32)
        elif name in given and np.ndim(given[name]) != len(kind.axes):
            raise InputError(f"condition {name!r}: expected axes {kind.axes}, got an array of shape {np.shape(given[name])}")
    return given


def _lengths(prompt: list[ArrayLike] | tuple[ArrayLike, ...]) -> list[int]:
    """The lengths of rows that are arrays or lists; [] if a row is a number."""
    try:
        shapes = [np.shape(row) for row in prompt]
    except ValueError:  # a row that is itself of rows of different lengths: its own check says so
        return []
    return [shape[-1] for shape in shapes] if all(shapes) else []


@dataclass(frozen=True)
class Begun:
    """What a stream begins with: `past` {tensor: (slots, B, C)} at clock 0, `fixed` {node: (B, C)}, the global `conditions`, how
    many tokens of each row were `taken`, and the `output` of the newest position, (B, C), nan where there is none.
    """

    past: Arrays
    fixed: Arrays
    conditions: Arrays
    taken: Array
    output: Array | None


def prefill(opened: Opened, prompts: Prompts, lengths: Array) -> Begun:
    """Take the first `lengths` tokens of each row in one call of prefill.onnx."""
    found, layout, rows = opened.found, opened.layout, len(lengths)
    width = found.types[opened.graph.output].size
    conditions = {name: array for name, array in prompts.conditions.items() if not found.types[name].timed}
    if rows == 0:  # onnxruntime 1.20 divides by the number of rows, which ends the process
        past = stored.empty(layout, 0)
        fixed = {name: np.zeros((0, found.types[name].size), np.float32) for name in layout.fixed}
        return Begun(past, fixed, conditions, lengths, np.zeros((0, width), np.float32))
    positions = max(1, int(lengths.max()) + found.strict)  # a convolution cannot run over nothing
    inputs, start = {found.sequence: prompts.tokens, **prompts.conditions}, np.zeros(rows, np.int64)
    cut = {name: window(array, start, positions) if found.types[name].timed else array for name, array in inputs.items()}
    outputs = [OUTPUT, *(f"{PRESENT}.{name}" for name in layout.sizes), *(f"{FIXED}.{name}" for name in layout.fixed)]
    y, *state = opened.run(PREFILL, outputs, {**opened.feeds(cut), LENGTH: lengths.astype(np.int64)})
    shaped(y, (rows, width), PREFILL)
    for array, (slots, channels) in zip(state, layout.sizes.values(), strict=False):
        shaped(array, (slots, rows, channels), PREFILL)
    none_yet = lengths + found.strict - 1 < opened.first_output  # the position of the output
    finite(y[~none_yet], PREFILL)
    named = dict(zip(outputs[1:], state, strict=True))
    past = {name: named[f"{PRESENT}.{name}"] for name in layout.sizes}
    fixed = {name: named[f"{FIXED}.{name}"] for name in layout.fixed}
    return Begun(past, fixed, conditions, lengths, np.where(none_yet[:, None], np.float32("nan"), y))


def chosen(prompts: Prompts, rows: Array) -> Prompts:
    """Return the prompts of some rows."""
    conditions = {name: array[rows] for name, array in prompts.conditions.items()}
    same = None if prompts.same is None else prompts.same[rows]
    return Prompts(prompts.tokens[rows], prompts.lengths[rows], conditions, same)


def window(array: Array, start: Array, length: int) -> Array:
    """`length` positions of each row from its own `start` on; zeros behind the last."""
    found = np.zeros((*array.shape[:-1], length), array.dtype)
    for row, first in enumerate(start):
        part = array[row, ..., first : first + length]
        found[row, ..., : part.shape[-1]] = part
    return found
