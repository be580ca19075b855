"""Errors for a user's mistakes: each message names the thing, what was expected and what came."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable


class RefarError(ValueError):
    """The base of every error that a user can cause and mend."""


class GraphError(RefarError):
    """A network description that has no meaning, or not the one that was asked for."""


class ParameterError(RefarError):
    """Parameters that do not fit their graph: missing, surplus, misshapen, of a wrong dtype, not finite."""


class InputError(RefarError):
    """Data, conditions, states or options that a graph cannot take."""


class FileError(RefarError):
    """A file or folder that is missing, damaged, or not what it claims to be."""


class BackendError(RefarError):
    """A backend or device that was asked for and is not there."""


def near(name: object, known: Iterable[str]) -> str:
    """', did you mean …?' if some known name is close, else nothing."""
    found = difflib.get_close_matches(str(name), list(known), 1)
    return f", did you mean {found[0]!r}?" if found else ""


def check_integer(name: str, value: object, least: int, most: int | None = None) -> int:
    """`value` as an int, NumPy's too. Raises InputError unless it is a whole number from `least` to `most`; True is none."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        expected = f"≥ {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name}: expected an integer {expected}, got {value!r}")
    return number
