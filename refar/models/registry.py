"""Built-in models by name, with options as text (command line) or as values (files)."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import msgspec

from refar.errors import GraphError
from refar.graph import Graph
from refar.models.linear_ar import linear_ar
from refar.models.nettoy import nettoy1d, nettoy1d_dilated
from refar.models.wavenet import wavenet

_MODELS: dict[str, Callable[..., Graph]] = {f.__name__: f for f in (linear_ar, nettoy1d, nettoy1d_dilated, wavenet)}
NAMES = tuple(_MODELS)


def by_name(name: str, options: Mapping[str, Any]) -> Graph:
    """The graph of a built-in model. Options that come as text are read: "1,2,4" as a list, "none" as None.

    Raises GraphError for an unknown model or option, a value of a wrong type, or a missing required option.
    """
    if name not in _MODELS:
        raise GraphError(f"model {name!r} is not known{_near(name, NAMES)}; the models are {', '.join(NAMES)}")
    function = _MODELS[name]
    hints = get_type_hints(function)
    known = inspect.signature(function).parameters
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            raise GraphError(f"model {name!r} has no option {key!r}{_near(key, known)}; it has {', '.join(known)}")
        values[key] = _convert(name, key, value, hints[key])
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in values:
            raise GraphError(f"model {name!r} needs the option {key!r}, as in '{name}:{key}=…'")
    return function(**values)


def _convert(model: str, key: str, value: Any, hint: Any) -> Any:
    if isinstance(value, str):
        if value == "none":
            value = None
        elif "Sequence" in str(hint):
            value = value.split(",")
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        raise GraphError(f"model {model!r}, option {key!r}: {error}, got {value!r}") from None


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f", did you mean {near[0]!r}?" if near else ""
