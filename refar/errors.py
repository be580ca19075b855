"""Errors for a user's mistakes: each message names the thing, what was expected and what came."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable

__all__ = ["BackendError", "FileError", "GraphError", "InputError", "ParameterError", "RefarError", "check_integer", "near"]


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
    """', did you mean …?' if some known name is close, else nothing; capitals do not matter, and a beginning is close."""
    names, sought = {str(one).casefold(): one for one in known}, str(name).casefold()
    begun = [one for one in names if min(len(one), len(sought)) > 2 and (one.startswith(sought) or sought.startswith(one))]
    found = difflib.get_close_matches(sought, names, 1) or (begun if len(begun) == 1 else [])
    return f", did you mean {names[found[0]]!r}?" if found else ""


def printable(text: str) -> str:
    """Return a text of a file for a message: control characters, which would move a terminal's cursor, are written as escapes."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def is_newer(raw: object, format: str, version: int = 1) -> bool:
    """Whether what a file holds is of this format, and of a later version than the one that this refar reads."""
    if not isinstance(raw, dict) or raw.get("format") != format:
        return False
    came = raw.get("version")
    return isinstance(came, int) and came > version


def newer(came: str, reads: str) -> str:
    """What to say of a file of a later refar: `came` is the version or field that it has, `reads` what this refar reads."""
    return f"{came}; this refar reads {reads}; the file was written by a newer refar: upgrade refar to read it"


def maybe_newer(problem: str) -> str:
    """What to say of something unknown that may be misspelt, or may come from a later refar."""
    join = " Or" if problem.endswith("?") else "; or"
    return f"{problem}{join} was the file written by a newer refar? Then upgrade refar to read it"


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
