"""Built-in models by name, with options as text (command line) or as values (files)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import msgspec

from refar.errors import GraphError, near
from refar.graph.decode import plain
from refar.graph.graph import Graph
from refar.models.gated_pixelcnn import gated_pixelcnn
from refar.models.linear_ar import linear_ar
from refar.models.masked_pixelcnn import masked_pixelcnn
from refar.models.nettoy import nettoy1d, nettoy1d_dilated
from refar.models.pixelcnn import pixelcnn
from refar.models.tcn import tcn
from refar.models.wavenet import wavenet

_MODELS: dict[str, Callable[..., Graph]] = {
    f.__name__: f for f in (linear_ar, nettoy1d, nettoy1d_dilated, tcn, wavenet, pixelcnn, masked_pixelcnn, gated_pixelcnn)
}
NAMES = tuple(_MODELS)


def options_of(name: str) -> tuple[str, ...]:
    """The names of a built-in model's options; none of a model that is not known."""
    return tuple(inspect.signature(_MODELS[name]).parameters) if name in _MODELS else ()


def by_name(name: str, options: Mapping[str, Any], *, strict: bool = False) -> Graph:
    """The graph of a built-in model. Options that come as text are read: "1,2,4" as a list, "none" as None.

    With `strict`, for files that have types of their own, no text is read as a number or a list.
    Raises GraphError for an unknown model or option, a value of a wrong type, or a missing required option.
    """
    if not isinstance(name, str) or name not in _MODELS:
        raise GraphError(f"model {name!r} is not known{near(name, NAMES)}; the models are {', '.join(NAMES)}")
    if not isinstance(options, Mapping):
        raise GraphError(f"model {name!r}: expected a mapping of options, got {type(options).__name__}")
    function = _MODELS[name]
    hints = get_type_hints(function, include_extras=True)
    known = inspect.signature(function).parameters
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            raise GraphError(f"model {name!r} has no option {key!r}{near(key, known)}; it has {', '.join(known)}")
        values[key] = _convert(name, key, value, hints[key], strict)
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in values:
            raise GraphError(f"model {name!r} needs the option {key!r}, as in '{name}:{key}=…'")
    return function(**values)


def _convert(model: str, key: str, value: Any, hint: Any, strict: bool) -> Any:
    if isinstance(value, str):
        if value == "none":
            value = None
        elif "Sequence" in str(hint) and not strict:
            value = value.split(",")
    try:
        return msgspec.convert(msgspec.to_builtins(value, enc_hook=plain), hint, strict=strict)
    except msgspec.ValidationError as error:
        expected = str(error).partition(", got")[0].replace(" | null", "")
        raise GraphError(f"model {model!r}, option {key!r}: {expected}, got {value!r}") from None
