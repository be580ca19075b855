"""A golden case: what goes in, what must come out, and how exactly. And the documented signature of an operator."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from refar.arguments.arrays import Arrays
from refar.graph.graph import Graph

SPEC_VERSION = 5
"""The version of the numbers: no byte of an array changes, and no case comes or goes, without it."""

UNITS = {"float32": 2.0**-24, "float64": 2.0**-53}
"""Unit roundoff by dtype."""

Kind = Literal["op", "loss", "quantizer", "sample", "model", "step", "density", "invalid"]
KINDS: tuple[Kind, ...] = get_args(Kind)

REQUIRED = ...
"""The default of an attribute that has none."""


@dataclass(frozen=True, eq=False)
class Case:
    """One case. `arrays` go in, `expected` comes out; both are {name: array}.

    Numbers that go in are float32, so that every format holds them exactly; class indices are int64. What is expected is
    float64, computed from the definition on exact numbers and rounded once, or int64.

    A tensor that stands in `bound` may be off by bound · u, with u = 2^-24 in float32 arithmetic and 2^-53 in float64; any
    other must be equal, in either. "gradient.x" is the gradient of Σ dy·y with respect to x, where the upstream gradient "dy"
    (of a result called nats: "dnats") is among `arrays`. `one_of` names gradients of which this is one of several right ones,
    because of ties: see `refar.golden.ties`.

    `catches` names mistakes that come to another result on this case. Of an invalid graph there is the `text`, and the
    `error` that must refuse it.
    """

    id: str
    kind: Kind
    operator: str
    seed: int
    source: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)
    expected: Arrays = field(default_factory=dict)
    bound: Arrays = field(default_factory=dict)
    catches: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    graph: Graph | None = None
    text: str = ""
    error: str = ""

    def __post_init__(self) -> None:
        for arrays in (self.arrays, self.expected, self.bound):
            for array in arrays.values():
                array.setflags(write=False)  # one case serves many

    @property
    def exact(self) -> bool:
        """Whether everything is compared by ==."""
        return not self.bound


@dataclass(frozen=True)
class Signature:
    """How an operator is called: `Signature.of("f(x_bct, b_o=None, *, steps, wide=False) → y_bct")`.

    `arguments` and `result` are names with their axes, {"x": "bct", "b": "o"}; those in `optional` may be None. `attributes`
    are keyword arguments with their defaults.
    """

    name: str
    arguments: Mapping[str, str]
    optional: frozenset[str]
    attributes: Mapping[str, Any]
    result: str
    axes: str
    text: str

    @staticmethod
    def of(text: str) -> Signature:
        """Read from text, with → or ->."""
        text = text.replace("->", "→")
        call, _, returned = text.partition(" → ")
        function = ast.parse(f"def {call}: ...").body[0]
        assert isinstance(function, ast.FunctionDef)
        given = function.args
        names = [argument.arg for argument in given.args]
        defaults = [REQUIRED if d is None else ast.literal_eval(d) for d in given.kw_defaults]
        result, _, axes = returned.partition("_")
        return Signature(
            name=function.name,
            arguments=dict(map(_split, names)),
            optional=frozenset(_split(name)[0] for name in names[len(names) - len(given.defaults) :]),
            attributes={argument.arg: default for argument, default in zip(given.kwonlyargs, defaults, strict=True)},
            result=result,
            axes=axes,
            text=text,
        )

    @property
    def upstream(self) -> str:
        """The name of the upstream gradient."""
        return f"d{self.result}"

    def axes_of(self, name: str) -> str:
        """Return the axes of a result or of a gradient, "gradient.x"."""
        return self.axes if name == self.result else self.arguments[name.removeprefix("gradient.")]

    def complete(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes with their defaults, in the order of the signature."""
        assert attributes.keys() <= self.attributes.keys()
        full = {name: attributes.get(name, default) for name, default in self.attributes.items()}
        assert REQUIRED not in full.values()
        return full

    def __str__(self) -> str:
        return self.text


def _split(name: str) -> tuple[str, str]:
    stem, _, axes = name.partition("_")
    return stem, axes
