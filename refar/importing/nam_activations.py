"""The activations of .nam files: which operator each name is. One that no line is of is refused by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from refar import ops
from refar.importing.refusal import ImportRefused
from refar.ops import AnyOp

Spec = str | dict[str, Any]
"""An activation as a file has it: a name, or an object with the name as its `type` and options beside it."""

KNOWN: dict[str, Callable[..., AnyOp]] = {
    "Tanh": lambda: ops.Activation("tanh"),
    "Sigmoid": lambda: ops.Activation("sigmoid"),
    "ReLU": lambda: ops.Activation("relu"),
    "LeakyReLU": lambda negative_slope=0.01: ops.Activation("leaky_relu", negative_slope),
}
"""What makes the operator of each activation, from the options that a file may give it, with NAM's defaults."""


@dataclass(frozen=True)
class NamActivation:
    """A function of each number: its name in NAM, and the operator."""

    name: str
    op: AnyOp


def activation(spec: Any, place: str) -> NamActivation:
    """Return the activation of a spec. Raises ImportRefused for one that refar has not, and for options that it has not."""
    options = {"type": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, dict) else {}
    name = options.pop("type", None)
    if not isinstance(name, str):
        raise ImportRefused(f"{place}: expected the name of an activation, or an object with its type, got {spec!r}")
    if name not in KNOWN:
        raise ImportRefused(
            f"{place}: refar has no operator for the activation {name!r}; those that it reads are {', '.join(KNOWN)}"
        )
    known = inspect.signature(KNOWN[name]).parameters
    for option, value in options.items():
        if option not in known:
            raise ImportRefused(f"{place}: {name} has no option {option!r}; it has {', '.join(known) or 'none'}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ImportRefused(f"{place}: {option}: expected a number, got {value!r}")
    return NamActivation(name, KNOWN[name](**options))
