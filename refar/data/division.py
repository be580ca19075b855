"""The division of data into parts, as a run and a bundle hold it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Division(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The division of `units` files, rows or windows: at random, or each by time or by rows in the same proportions.

    Of a random division `valid` and `test` name the files held out. Units without names are held out by
    `refar.data.dataset.permutation(0, 0, 0, units)`, the last of it for the test, those before them for validation.
    `files` are the names of all files of a folder that were divided: others that came later belong to no part.
    """

    by: Literal["random", "time", "rows", "given"]
    units: int = 0
    valid: list[str] = []
    test: list[str] = []
    files: list[str] = []


def share(count: int, part: float) -> int:
    """Return the whole number of things in `part` of `count`: 0.29 of 100 are 29, though 100 · 0.29 rounds to less."""
    return int(count * part + 1e-9)
