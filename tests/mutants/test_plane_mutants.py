"""Mistakes over a plane put into the oracle: masks, kernels, shifts, colours, positions, streams by pixel, inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as replaced
from types import SimpleNamespace
from typing import Any

import numpy as np
import planted_images as planes
import pytest
from msgspec.structs import replace
from planted import Mutant, Patch, backward_of, forward_of, wrap
from planted_images import gated, masked, stacks

from refar import Graph, ops
from refar.analysis import infer, plane
from refar.analysis.raster import RasterPlan
from refar.oracle import masked2d, pointwise, raster
from refar.testing import run_laws

LOOKUPS = ops.OneHot | ops.Embedding | ops.Standardize


def kernel_becomes(change: Callable[[Any, ops.Conv2d], Any]) -> Patch:
    """Where the weights of a kernel look, with the mask where it was."""
    right = plane.kernel_steps
    return wrap(masked2d, "kernel_steps", lambda _, op: change(right(op), op))


def steps_of(mistake: str) -> Patch:
    """The weights look where those of a mistake of the catalogue do."""
    return kernel_becomes(lambda _, op: plane.kernel_steps(planes.wrong_op(mistake, op)))


def shift_becomes(change: Callable[[ops.Shift2d], ops.Shift2d]) -> Patch:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("forward", "backward"):
            wrap(masked2d, name, lambda f, op, *a: f(change(op) if isinstance(op, ops.Shift2d) else op, *a))(monkeypatch)

    return patch


def wrapped_around(right: Any, x: Any, step: plane.Step) -> Any:
    """Pixels in one long row: what leaves on the left comes from the end of the row above."""
    flat, by = x.reshape(*x.shape[:2], -1), step[0] * x.shape[3] + step[1]
    result = np.zeros_like(flat)
    if abs(by) < flat.shape[2]:
        result[:, :, max(by, 0) : flat.shape[2] + min(by, 0)] = flat[:, :, max(-by, 0) : flat.shape[2] - max(by, 0)]
    return result.reshape(x.shape)


def all_weights_move(right: Any, op: Any, x: Any, dy: Any, own: Any) -> Any:
    dx, dparams = right(op, x, dy, own)
    if isinstance(op, ops.Conv2d):
        dparams["weight"] = right(replace(op, mask="none", colours=1), x, dy, own)[1]["weight"]
    return dx, dparams


def by_colours(y: Any, colours: int) -> Any:
    """Channel c·K + k for number k of colour c."""
    return y.reshape(len(y), -1, colours, *y.shape[2:]).swapaxes(1, 2).reshape(y.shape)


def lookup_by_colours(right: Any, op: Any, args: Any, *rest: Any) -> Any:
    y = right(op, args, *rest)
    return by_colours(y, args[0].shape[1]) if isinstance(op, LOOKUPS) and args[0].ndim == 4 else y


def state_becomes(change: Callable[[raster.RasterState], raster.RasterState]) -> Patch:
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


def every_clock_late(right: Any, graph: Graph) -> RasterPlan:
    found = right(graph)
    return replaced(found, lead=dict.fromkeys(found.lead, 0))


MUTANTS = [
    *(
        Mutant(mistake, masked, wrap(masked2d, "mask_oihw", lambda _, op, shape, w=wrong: w(op, shape)), tuple(laws))
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
    Mutant("anchor ignored", stacks, kernel_becomes(lambda s, op: plane.kernel_steps(replace(op, anchor=(0, 0)))), ("exact",)),
    Mutant("row wraps around", stacks, wrap(masked2d, "shifted", wrapped_around), ("reach", "exact")),
    Mutant(
        "zeros on the wrong side of a shift",
        stacks,
        wrap(masked2d, "shifted", lambda _, x, step: np.roll(x, step, axis=(2, 3))),
        ("step", "causality", "reach", "exact"),
    ),
    Mutant("masked weights receive gradient", masked, wrap(masked2d, "backward", all_weights_move), ("exact",)),
    Mutant(
        "input gradient without the mask",
        masked,
        wrap(
            masked2d,
            "backward",
            lambda f, op, x, dy, own: (
                (f(replace(op, mask="none", colours=1), x, dy, own)[0], f(op, x, dy, own)[1])
                if isinstance(op, ops.Conv2d)
                else f(op, x, dy, own)
            ),
        ),
        ("reach", "adjoint", "exact"),
    ),
    Mutant(
        "bias of a convolution dropped", stacks, wrap(masked2d, "weighted", lambda f, w, k, b, *r: f(w, k, None, *r)), ("exact",)
    ),
    Mutant("shift by the wrong sign", stacks, shift_becomes(lambda op: ops.Shift2d(-op.down, -op.right)), ("reach", "exact")),
    Mutant("shift down taken for right", stacks, shift_becomes(lambda op: ops.Shift2d(op.right, op.down)), ("reach", "exact")),
    Mutant("shift by one too many", stacks, shift_becomes(lambda op: ops.Shift2d(2 * op.down, 2 * op.right)), ("reach", "exact")),
    Mutant("no shift", stacks, shift_becomes(lambda op: ops.Shift2d()), ("causality", "reach", "exact")),
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
    Mutant("channels of a lookup by colour", masked, wrap(pointwise, "forward", lookup_by_colours), ("exact", "adjoint")),
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
        lambda patch: patch.setattr(
            raster,
            "masked2d",
            SimpleNamespace(**{**vars(masked2d), "shifted": lambda row, step: masked2d.shifted(row, (step[0], -step[1]))}),
        ),
        ("step",),
    ),
    Mutant("inference forgets the order of colours", masked, wrap(infer, "sees", blind_to_colours), ("reach",)),
    Mutant(
        "inference swaps rows and columns",
        stacks,
        wrap(infer, "steps", lambda f, op: frozenset((left, up) for up, left in f(op))),
        ("reach",),
    ),
    Mutant("inference looks one row too far", stacks, wrap(infer, "steps", lambda f, op: f(op) | {(3, 0)}), ("reach",)),
]


@pytest.mark.parametrize("graph", [masked, stacks, gated])
def test_without_a_mistake_every_law_holds(graph: Callable[[], Graph]) -> None:
    run_laws(graph(), backends=("numpy",)).require()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_every_mistake_breaks_the_contract(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.breaks(monkeypatch)
