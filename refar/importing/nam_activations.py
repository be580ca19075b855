"""The activations of .nam files: which operators each name is. One that no line is of is refused by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refar import ops
from refar.importing.nam_model import is_number
from refar.importing.nam_net import NamNet
from refar.importing.refusal import ImportRefused
from refar.ops import AnyOp

Spec = str | dict[str, Any]
"""An activation as a file has it: a name, or an object with the name as its `type` and options beside it."""


def _leaky_hard_tanh(
    net: NamNet,
    x: str,
    name: str,
    channels: int,
    *,
    min_val: float = -1.0,
    max_val: float = 1.0,
    min_slope: float = 0.01,
    max_slope: float = 0.01,
) -> str:
    """x from `min_val` to `max_val`, and lines with the slopes outside: x + (1 - s)·relu(min - x) - (1 - s')·relu(x - max)."""
    build = net.builder
    below = build.relu(build.affine(x, -1.0, min_val, name=f"{name}.to_min"), name=f"{name}.below")
    above = build.relu(build.affine(x, 1.0, -max_val, name=f"{name}.to_max"), name=f"{name}.above")
    raised = build.affine(below, 1.0 - min_slope, 0.0, name=f"{name}.raised")
    lowered = build.affine(above, max_slope - 1.0, 0.0, name=f"{name}.lowered")
    return build.add(x, raised, lowered, name=name)


def _hard_tanh(net: NamNet, x: str, name: str, channels: int, *, min_val: float = -1.0, max_val: float = 1.0) -> str:
    """min(max(x, min_val), max_val)."""
    if (min_val, max_val) != (-1, 1):
        net.notes.append(f"{name}: Hardtanh from {min_val:g} to {max_val:g}, as in NAM's trainer; NAM Core takes -1 to 1")
    return _leaky_hard_tanh(net, x, name, channels, min_val=min_val, max_val=max_val, min_slope=0.0, max_slope=0.0)


def _prelu(
    net: NamNet, x: str, name: str, channels: int, *, negative_slope: float = 0.01, negative_slopes: Sequence[float] = ()
) -> str:
    """x if x > 0 else slope·x, with a slope for all channels or one for each."""
    slopes = np.resize(np.asarray(negative_slopes or [negative_slope], np.float32), channels).astype(np.float64)
    node = net.builder.prelu(x, name=name)
    net.params[f"{node}.weight"], net.origins[f"{node}.weight"] = slopes, f"{name}: slopes of the config"
    return node


def _soft_sigmoid(net: NamNet, x: str, name: str, channels: int) -> str:
    """½·(1 + softsign(x)), which only NAM's trainer has."""
    net.notes.append(f"{name}: Softsigmoid, as in NAM's trainer; NAM Core has no function of this name")
    return net.builder.affine(net.builder.softsign(x, name=f"{name}.softsign"), 0.5, 0.5, name=name)


OPERATORS: dict[str, Callable[..., AnyOp]] = {
    "Tanh": lambda: ops.Activation("tanh"),
    "Sigmoid": lambda: ops.Activation("sigmoid"),
    "ReLU": lambda: ops.Activation("relu"),
    "LeakyReLU": lambda *, negative_slope=0.01: ops.Activation("leaky_relu", negative_slope),
    "SiLU": lambda: ops.Activation("silu"),
    "Softsign": lambda: ops.Activation("softsign"),
    "Hardswish": lambda: ops.Activation("hard_swish"),
}
"""What makes the operator of an activation that is one, from the options that a file may give it, with NAM's defaults."""

COMPOSED: dict[str, Callable[..., str]] = {
    "Hardtanh": _hard_tanh,
    "LeakyHardtanh": _leaky_hard_tanh,
    "LeakyHardTanh": _leaky_hard_tanh,
    "PReLU": _prelu,
    "Softsigmoid": _soft_sigmoid,
}
"""What adds the operators of an activation that is made of several; its options are those that have to be named."""


REFUSED_ACTIVATIONS: dict[str, str] = {
    "Fasttanh": "a quotient near tanh, by which NAM Core saves time, and refar has no operator for quotients; a network that was "
    "trained with tanh is meant to have 'Tanh' there",
}
"""The activations of NAM that refar refuses: for each the reason, and the remedy."""


@dataclass(frozen=True)
class NamActivation:
    """A function of each number: its name in NAM, its options, and where in the file it stands."""

    name: str
    options: dict[str, Any]
    place: str

    def add(self, net: NamNet, x: str, name: str, channels: int) -> str:
        """Add its nodes, of which the last has this name; `channels` are those of x.

        Raises ImportRefused for an option that is a list of neither one number nor one for each channel.
        """
        for option, value in self.options.items():
            if isinstance(value, list) and len(value) not in (1, channels):
                expected = f"one number, or one for each of {channels} channels"
                raise ImportRefused(f"{self.place}: {option}: expected {expected}, got {len(value)}")
        if self.name in COMPOSED:
            return COMPOSED[self.name](net, x, name, channels, **self.options)
        return net.builder.add_op(OPERATORS[self.name](**self.options), x, name=name)


def activation(spec: Any, place: str) -> NamActivation:
    """Return the activation of a spec. Raises ImportRefused for one that refar has not, and for options that it has not."""
    options = {"type": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, dict) else {}
    name = options.pop("type", None)
    if not isinstance(name, str):
        raise ImportRefused(f"{place}: expected the name of an activation, or an object with its type, got {spec!r}")
    if name in REFUSED_ACTIVATIONS:
        raise ImportRefused(f"{place}: {name} is {REFUSED_ACTIVATIONS[name]}")
    function = OPERATORS.get(name) or COMPOSED.get(name)
    if function is None:
        known = ", ".join([*OPERATORS, *COMPOSED])
        raise ImportRefused(f"{place}: refar has no operator for the activation {name!r}; it reads {known}")
    takes = [option for option, each in inspect.signature(function).parameters.items() if each.kind is each.KEYWORD_ONLY]
    for option, value in options.items():
        if option not in takes:
            raise ImportRefused(f"{place}: {name} has no option {option!r}; it has {', '.join(takes) or 'none'}")
        numbers = value if option.endswith("slopes") and isinstance(value, list) and value else [value]
        if not all(is_number(number) for number in numbers):
            raise ImportRefused(f"{place}: {option}: expected finite numbers, got {value!r}")
    return NamActivation(name, options, place)
