"""Mistakes of images put into the oracle: masks, kernels, shifts, colours, positions, streams by pixel, inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as replaced
from typing import Any

import numpy as np
import planted_images as planes
import pytest
from msgspec.structs import replace
from planted import Mutant, Patch, backward_of, both, forward_of, wrap, wrap_in
from planted_images import gated, masked, stacks

from refar import Graph, ops
from refar.analysis import offsets
from refar.analysis.windows import Step, kernel_steps
from refar.oracle import convolution, node, pointwise, raster, windows
from refar.testing import run_laws


def kernel_becomes(change: Callable[[Any, ops.Conv2d], Any]) -> Patch:
    """Where the weights of a kernel look, with the mask where it was."""
    return wrap_in(convolution, "kernel_steps", lambda right, op: change(right(op), op))


def steps_of(mistake: str) -> Patch:
    """The weights look where those with a mistake of the catalogue do."""
    return kernel_becomes(lambda _, op: kernel_steps(planes.wrong_op(mistake, op)))


def shift_becomes(change: Callable[[ops.Shift2d], ops.Shift2d]) -> Patch:
    """In the whole pass."""

    def wrapper(right: Any, op: Any, *rest: Any) -> Any:
        return right(change(op) if isinstance(op, ops.Shift2d) else op, *rest)

    return both(wrap(node, "forward", wrapper), wrap(node, "backward", wrapper))


def shifts_of(mistake: str) -> Patch:
    """The shifts are those with a mistake of the catalogue."""
    return shift_becomes(lambda op: planes.wrong_op(mistake, op))


def wrapped_around(right: Any, x: Any, step: Step) -> Any:
    """Pixels in one long row: what leaves on the left comes from the end of the row above."""
    flat, by = x.reshape(*x.shape[:2], -1), step[0] * x.shape[3] + step[1]
    result = np.zeros_like(flat)
    if abs(by) < flat.shape[2]:
        result[:, :, max(by, 0) : flat.shape[2] + min(by, 0)] = flat[:, :, max(-by, 0) : flat.shape[2] - max(by, 0)]
    return result.reshape(x.shape)


def all_weights_move(right: Any, op: Any, *rest: Any) -> Any:
    dargs, dbefore, dparams = right(op, *rest)
    if isinstance(op, ops.Conv2d):
        dparams["weight"] = right(without_mask(op), *rest)[2]["weight"]
    return dargs, dbefore, dparams


def all_weights_pass_back(right: Any, op: Any, *rest: Any) -> Any:
    dargs, dbefore, dparams = right(op, *rest)
    if isinstance(op, ops.Conv2d):
        dargs = right(without_mask(op), *rest)[0]
    return dargs, dbefore, dparams


def without_mask(op: ops.Conv2d) -> ops.Conv2d:
    return replace(op, mask="none", colours=1)


def by_colours(y: Any, colours: int) -> Any:
    """Channel c·K + k for number k of colour c."""
    return y.reshape(len(y), -1, colours, *y.shape[2:]).swapaxes(1, 2).reshape(y.shape)


def lookup_by_colours(right: Any, table: Any, x: Any) -> Any:
    return by_colours(right(table, x), x.shape[1]) if x.ndim == 4 else right(table, x)


def state_becomes(change: Callable[[raster.ImageState], raster.ImageState]) -> Patch:
    def wrapper(right: Any, self: Any, state: Any, *rest: Any) -> Any:
        y, after = right(self, state, *rest)
        return y, change(after)

    return wrap(raster.Raster, "push", wrapper)


def zeroed(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: np.zeros_like(array) for name, array in arrays.items()}


def rows_become(change: Callable[[Any], Any]) -> Patch:
    return state_becomes(lambda state: replaced(state, rows={name: change(array) for name, array in state.rows.items()}))


def blind_to_colours(right: Any, op: Any, step: Any, given: int, wanted: int) -> bool:
    return bool(right(op, step, given % op.colours * 0, wanted)) if isinstance(op, ops.Conv2d) else True


MUTANTS = [
    *(
        Mutant(mistake, masked, wrap(convolution, "mask_oihw", lambda _, op, shape, w=wrong: w(op, shape)), tuple(laws))
        for mistake, (wrong, laws) in planes.wrong_masks().items()
    ),
    Mutant("kernel flipped", stacks, kernel_becomes(lambda s, op: [row[::-1] for row in s[::-1]]), ("exact",)),
    Mutant(
        "rows and columns of the kernel swapped",
        masked,
        kernel_becomes(lambda s, op: [[(left, up) for up, left in row] for row in s]),
        ("causality", "reach", "exact"),
    ),
    Mutant(
        "dilation of rows and columns swapped",
        masked,
        steps_of("dilation of rows and columns swapped"),
        ("reach", "exact"),
    ),
    Mutant(
        "dilation ignored",
        stacks,
        steps_of("dilation ignored"),
        ("reach", "exact"),
    ),
    Mutant(
        "even kernel padded on the wrong side",
        stacks,
        steps_of("even kernel padded on the wrong side"),
        ("causality", "reach", "exact"),
    ),
    Mutant("anchor ignored", stacks, kernel_becomes(lambda s, op: kernel_steps(replace(op, anchor=(0, 0)))), ("exact",)),
    Mutant("row wraps around", stacks, wrap(windows, "shifted", wrapped_around), ("reach", "exact")),
    Mutant(
        "zeros on the wrong side of a shift",
        stacks,
        wrap(windows, "shifted", lambda _, x, step: np.roll(x, step, axis=(2, 3))),
        ("step", "causality", "reach", "exact"),
    ),
    Mutant("masked weights receive gradient", masked, wrap(node, "backward", all_weights_move), ("exact",)),
    Mutant(
        "input gradient without the mask",
        masked,
        wrap(node, "backward", all_weights_pass_back),
        ("reach", "adjoint", "exact"),
    ),
    Mutant(
        "bias of a convolution dropped", stacks, wrap(convolution, "convolve", lambda f, x, w, b, g: f(x, w, None, g)), ("exact",)
    ),
    Mutant("shifted to the wrong side", stacks, shifts_of("shifted to the wrong side"), ("reach", "exact")),
    Mutant("down and right swapped", stacks, shifts_of("down and right swapped"), ("reach", "exact")),
    Mutant("shift by one too many", stacks, shift_becomes(lambda op: ops.Shift2d(2 * op.down, 2 * op.right)), ("reach", "exact")),
    Mutant("not shifted", stacks, shifts_of("not shifted"), ("causality", "reach", "exact")),
    Mutant(
        "rows taken for columns in positions",
        stacks,
        wrap(pointwise, "position", lambda f, op, shape: np.roll(f(op, shape), op.bits, axis=1)),
        ("exact",),
    ),
    Mutant(
        "bits of positions reversed",
        stacks,
        wrap(pointwise, "position", lambda f, op, shape: np.roll(f(op, shape)[:, ::-1], op.bits, axis=1)),
        ("exact",),
    ),
    Mutant(
        "positions counted from one",
        stacks,
        wrap(pointwise, "position", lambda f, op, shape: f(op, (*shape[:2], shape[2] + 1, shape[3] + 1))[:, :, 1:, 1:]),
        ("exact",),
    ),
    Mutant("channels of a lookup by colour", masked, wrap(pointwise, "lookup", lookup_by_colours), ("exact", "adjoint")),
    Mutant(
        "gate of every second channel",
        masked,
        forward_of(ops.Gate, lambda op, args, y: np.tanh(args[0][:, ::2]) * pointwise.sigmoid(args[0][:, 1::2])),
        ("causality", "reach", "adjoint", "rounding"),
    ),
    Mutant(
        "gate's gradient for every second channel",
        masked,
        backward_of(ops.Gate, lambda op, args, dy, dargs: [by_colours(dargs[0], dy.shape[1])]),
        ("reach", "adjoint", "rounding"),
    ),
    Mutant(
        "map one row late",
        masked,
        forward_of(ops.Add, lambda op, args, y: args[0] + np.roll(args[1], 1, axis=2) if y.ndim == 4 else y),
        ("step", "exact"),
    ),
    Mutant("rows above forgotten", gated, rows_become(lambda rows: 0 * rows), ("step",)),
    Mutant("rows above upside down", stacks, rows_become(lambda rows: rows[:, :, ::-1]), ("step", "exact")),
    Mutant(
        "a row-start row held", gated, state_becomes(lambda s: replaced(s, line={n: 0 * a for n, a in s.line.items()})), ("step",)
    ),
    Mutant("what rows above add forgotten", masked, state_becomes(lambda s: replaced(s, above=zeroed(s.above))), ("step",)),
    Mutant(
        "pixels of the row in reverse",
        masked,
        state_becomes(lambda s: replaced(s, done={n: a[..., ::-1] for n, a in s.done.items()})),
        ("step", "exact"),
    ),
    Mutant(
        "rows read in the wrong direction in a stream",
        gated,
        wrap_in(raster, "shifted", lambda f, row, step: f(row, (step[0], -step[1]))),
        ("step",),
    ),
    Mutant("inference forgets the order of colours", masked, wrap_in(offsets, "sees", blind_to_colours), ("reach",)),
    Mutant(
        "inference swaps rows and columns",
        stacks,
        wrap_in(offsets, "steps", lambda f, op: frozenset((left, up) for up, left in f(op))),
        ("reach",),
    ),
    Mutant("inference looks one row too far", stacks, wrap_in(offsets, "steps", lambda f, op: f(op) | {(3, 0)}), ("reach",)),
]


@pytest.mark.parametrize("graph", [masked, stacks, gated])
def test_without_a_mistake_every_law_holds(graph: Callable[[], Graph]) -> None:
    run_laws(graph(), backends=("numpy",)).require()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_every_mistake_breaks_the_contract(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.breaks(monkeypatch)
