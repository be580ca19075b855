"""How a table of causes is read, and words that all tables share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Facts = TypeVar("Facts")
Rule = tuple[str, Callable[[Facts], object], str]
"""A cause: its name, whether the facts fit it, and its sentence, in which {s.…} stands for one of the facts."""

Offset = int | tuple[int, ...]
"""How far into the past: positions, or over an image (rows up, columns left), the colour of the input behind them or not."""

MOVED = "the right numbers, {s.late}"


def first(rules: Iterable[Rule[Facts]], facts: Facts) -> str:
    """Return the sentence of the first rule that the facts fit, or nothing."""
    return next((says.format(s=facts) for _, fits, says in rules if fits(facts)), "")


def counted(n: int, noun: str = "position", one: str = "one ") -> str:
    """Say n of something; `one` stands before a single one."""
    return f"{one}{noun}" if n == 1 else f"{n} {noun}s"


def late(by: int) -> str:
    """Say by how many positions something is late, or early where `by` is negative."""
    return f"{counted(abs(by))} {'late' if by > 0 else 'early'}"


def spell(offsets: Iterable[Offset]) -> str:
    """Say a set in few words: runs of numbers as 0..5, so that (1, -2..2) are five pixels; long lists are cut in the middle."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for offset in sorted(offsets):
        *outer, last = offset if isinstance(offset, tuple) else (offset,)
        groups.setdefault(tuple(outer), []).append(last)
    parts = [", ".join([*map(str, outer), run]) for outer, numbers in groups.items() for run in _runs(numbers)]
    parts = [f"({part})" if "," in part else part for part in parts]
    if not parts:
        return "none"
    if len(parts) <= 12:
        return ", ".join(parts)
    return f"{', '.join([*parts[:6], '…', *parts[-3:]])} ({sum(map(len, groups.values()))} in all)"


def _runs(numbers: list[int]) -> list[str]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [part for run in runs for part in ([f"{run[0]}..{run[-1]}"] if len(run) > 2 else map(str, run))]
