"""Fixed numbers in front of a sequence: a start token before class indices, a learnt vector before a signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.importing.draft import GraphDraft
from refar.importing.refusal import Place, refuse
from refar.importing.values import Labelled

Lookup = ops.OneHot | ops.Embedding | ops.Standardize


def classes_before(x: Labelled, classes: Sequence[int], place: Place) -> Labelled:
    """Put classes in front of class indices, which then come so much later; they are looked up where the indices are."""
    if x.first != 0 or not x.timed:
        raise refuse(place, "classes are put in front of class indices that are no whole sequence", "put them before the first")
    return replace(_longer(x, len(classes)), before=(*classes, *x.before), place=place)


def rows_of(op: Lookup, classes: Sequence[int], table: Array | None, size: int) -> Array:
    """Return what a lookup gives for each class that it has, which may be more than the sequence has: rows_qc."""
    match op:
        case ops.OneHot():
            return np.eye(size)
        case ops.Standardize():
            return ((np.arange(max(classes) + 1) - op.mean) / op.std)[:, None]
        case ops.Embedding():
            assert table is not None
            return table
        case _:
            assert_never(op)


def rows_before(draft: GraphDraft, x: Labelled, rows_nc: Array, *, wish: str, origin: str, place: Place) -> Labelled:
    """Put fixed vectors, rows_nc, in front of a signal, which comes later by as many positions: y[t] = rows[t] for t < n.

    y = x delayed by n + Σ_i rows[i] · (1 where t = i), where the one at t = 0 is 1 - (1 delayed by 1).
    """
    if x.first != 0 or x.indexed or not x.timed:
        raise refuse(place, "fixed numbers are put in front of a value that does not begin with the sequence", "cut later")
    against = (
        [] if x.quiet else [("input", str(refuse(place, "it begins in place of what the layers before it answer to zeros")))]
    )
    late = draft.add(ops.Shift(len(rows_nc)), x.node, wish=f"{wish}_later", against=against)
    ones = draft.add(ops.Ones(), late, wish=f"{wish}_ones")
    after = draft.add(ops.Affine(-1.0), draft.add(ops.Shift(1), ones, wish=f"{wish}_begun"), wish=f"{wish}_minus")
    first = draft.add(ops.Add(), ones, after, wish=f"{wish}_first")
    marks = [first, *(draft.add(ops.Shift(i), first, wish=f"{wish}_mark") for i in range(1, len(rows_nc)))]
    mark = draft.add(ops.Concat(), *marks, wish=f"{wish}_marks") if len(marks) > 1 else first
    conv = ops.Conv1d(x.size, bias=False)
    row = draft.add(conv, mark, wish=f"{wish}_start", params={"weight": rows_nc.T[:, :, None].copy()}, origin=origin)
    node = draft.add(ops.Add(), late, row, wish=place.call)
    return replace(_longer(x, len(rows_nc)), node=node, inputs=(x,), later=None, place=place)


def _longer(x: Labelled, by: int) -> Labelled:
    return x.spanning(T=x.spans["T"].padded(0, by))
