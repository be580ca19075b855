"""Offsets: how far into the past each channel of a value looks, with respect to the sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from refar import ops
from refar.analysis.types import Rule
from refar.analysis.windows import Grid, sees, steps, taps

Offsets = frozenset[int]
"""How far into the past a value looks: t - offset. 0 is the present sample. Of images, numbers of a `Grid`."""

_NONE: Offsets = frozenset()


def offsets_of(op: ops.AnyOp, rule: Rule, sources: Sequence[tuple[Offsets, ...]], grid: Grid | None) -> tuple[Offsets, ...]:
    """Give the offsets of each channel of a node's value, from those of its inputs; the empty set where nothing is seen.

    `rule` is that of the node (`analysis.types`); `grid` says what the numbers mean if the sequence is an image.
    """
    size = rule.type.channels if rule.type.image or not rule.type.indexed else 1
    if isinstance(op, ops.Input):
        return tuple(frozenset({c if grid else 0}) if op.role == "sequence" else _NONE for c in range(size))
    if isinstance(op, ops.WindowedOp):
        return _of_windows(op, size, sources[0])
    if isinstance(op, ops.ImageOp):
        assert grid is not None
        return _of_image(op, sources[0], grid)
    return _of_reads(rule, size, sources)


def _of_windows(op: ops.WindowedOp, size: int, source: tuple[Offsets, ...]) -> tuple[Offsets, ...]:
    match op:
        case ops.Shift() | ops.Pool1d():
            return _each_by_itself(source, taps(op))
        case ops.Conv1d():
            fan_in, fan_out = len(source) // op.groups, size // op.groups
            seen = [_behind(union(source[g * fan_in : (g + 1) * fan_in]), taps(op)) for g in range(op.groups)]
            return tuple(seen[o // fan_out] for o in range(size))
        case _:
            assert_never(op)


def _of_image(op: ops.ImageOp, source: tuple[Offsets, ...], grid: Grid) -> tuple[Offsets, ...]:
    match op:
        case ops.Shift2d():
            return _each_by_itself(source, grid.numbers(steps(op)))
        case ops.Conv2d():
            return _masked(op, source, grid)
        case _:
            assert_never(op)


def _each_by_itself(source: tuple[Offsets, ...], moves: Sequence[int]) -> tuple[Offsets, ...]:
    """Move each channel by itself: channel c of the value sees channel c of the input alone."""
    behind = {channel: _behind(channel, moves) for channel in set(source)}
    return tuple(behind[channel] for channel in source)


def _masked(op: ops.Conv2d, source: tuple[Offsets, ...], grid: Grid) -> tuple[Offsets, ...]:
    """What a mask hides depends on the colours at the pixel itself alone, so that few sums are really different."""
    fan_in, fan_out = len(source) // op.groups, op.channels // op.groups
    present = steps(op) & {(0, 0)}
    moves = grid.numbers(steps(op) - present)
    found: dict[tuple[int, int], Offsets] = {}
    for o in range(op.channels):
        key = (o // fan_out, o % op.colours)
        if key in found:
            continue
        inputs = range(key[0] * fan_in, (key[0] + 1) * fan_in)
        others = _behind(union(source[i] for i in inputs), moves)
        here = [source[i] for i in inputs if present and sees(op, (0, 0), i, o)]
        found[key] = others | union(here)
    return tuple(found[o // fan_out, o % op.colours] for o in range(op.channels))


def _of_reads(rule: Rule, size: int, sources: Sequence[tuple[Offsets, ...]]) -> tuple[Offsets, ...]:
    """A pointwise operator: the union over what each channel reads."""
    seen: list[Offsets] = []
    last, result = None, _NONE
    for channel in range(size):
        reads = rule.reads(channel)
        if reads is not last:  # all channels of a softmax read the same list
            last, result = reads, union(sources[i][c] for i, c in reads)
        seen.append(result)
    return tuple(seen)


def _behind(seen: Offsets, moves: Iterable[int]) -> Offsets:
    """All sums of an offset and a move: sets as the bits of a number, since both may be long."""
    few, many = sorted((seen, frozenset(moves)), key=len)
    if not few:
        return _NONE
    first, nearest = min(few), min(many)
    digits = bytearray(b"0") * (max(many) - nearest + 1)
    for number in many:
        digits[nearest - 1 - number] = ord("1")
    bits, sums = int(digits, 2), 0
    for number in few:
        sums |= bits << number - first
    return frozenset(nearest + first + i for i, bit in enumerate(reversed(f"{sums:b}")) if bit == "1")


def union(sets: Iterable[Offsets]) -> Offsets:
    """Join sets, of which most are often the same."""
    distinct = set(sets)
    return next(iter(distinct)) if len(distinct) == 1 else _NONE.union(*distinct)
