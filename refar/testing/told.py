"""A failed check as its user sees it: the line that called it, the sentence, and the call that repeats it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from refar.graph.graph import Graph
from refar.testing.report import ContractError

P = ParamSpec("P")
R = TypeVar("R")
_LONG = 60


def told(check: Callable[P, R]) -> Callable[P, R]:
    """Let a check fail at the line that called it: without the frames of refar, and with the call that repeats it as a note.

    What the code under test raised stays with it as the cause.
    """

    @wraps(check)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        __tracebackhide__ = True
        try:
            return check(*arguments, **named)
        except ContractError as error:
            said, cause = error, error.__cause__
        said.add_note(f"to repeat: {_call(check, arguments, named)}")
        raise said.with_traceback(None) from cause

    return checked


def _call(check: Callable[..., Any], arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    """Return the call in one line, with the seed that it had."""
    signature = inspect.signature(check)
    given = signature.bind_partial(*arguments, **named).arguments
    by_position = [name for name, p in signature.parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    parts = [_brief(given[name]) for name in by_position[: len(arguments)]]
    parts += [f"{name}={_brief(value)}" for name, value in given.items() if name not in by_position[: len(arguments)]]
    if "seed" in signature.parameters and "seed" not in given:
        parts.append(f"seed={signature.parameters['seed'].default}")
    return f"{check.__name__}({', '.join(parts)})"


def _brief(value: Any) -> str:
    """Return what stands for an argument: a function by its name, an array by its dtype and shape, a value if it is short."""
    if isinstance(value, Graph):
        return "graph"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{value.dtype} {tuple(value.shape)}>"
    if callable(value):
        name = str(getattr(value, "__name__", type(value).__name__))
        return "f" if name == "<lambda>" else name
    text = repr(value)
    return text if len(text) <= _LONG else f"<{type(value).__name__}>"
