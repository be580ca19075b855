"""What is known of an operator that has golden cases, and how an example becomes a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.golden.case import REQUIRED, Case, Kind, Signature

FLOAT32 = 2.0**-24
UNITS = {"float32": FLOAT32, "float64": 2.0**-53}
"""Unit roundoff by dtype."""

ONES = "gradient: upstream taken as ones"
"""A mistake that every operator with a gradient can have."""

Attributes = Mapping[str, Any]
Mistake = Callable[[Arrays, Attributes], Arrays]
"""What somebody who makes it gets, {name: array}, for arrays in float64; {} where it does not apply."""


@dataclass(frozen=True)
class Example:
    """What a case is made from. With `exact` it is compared by ==, in float32 too: whoever writes one sees to that."""

    id: str
    seed: int
    arrays: Arrays
    attributes: Attributes
    exact: bool


@dataclass(frozen=True)
class Operator:
    """One operator with a documented signature.

    `define`: result and gradients from the definition on exact numbers. `compute`: the same by refar's NumPy in a dtype.
    `allow`: what each may be off by, in units of u. `mistakes` by name: what wrong code comes to.
    `to_op`: the same as the node of a graph, where there is such a node.
    Gradients are those of the arguments that are given as numbers, where the upstream gradient is given.
    """

    kind: Kind
    signature: Signature
    source: str
    define: Callable[[Attributes, Arrays], Arrays]
    compute: Callable[[Attributes, Arrays, np.dtype], Arrays]
    allow: Callable[[Attributes, Arrays], Arrays]
    mistakes: Mapping[str, Mistake]
    examples: Callable[[], Iterator[Example]]
    to_op: Callable[[Attributes, Arrays], ops.AnyOp] | None = None

    @property
    def name(self) -> str:
        """As in `check_function`."""
        return self.signature.name

    def cases(self) -> Iterator[Case]:
        """All cases."""
        for example in self.examples():
            yield self.case(example)

    def case(self, example: Example) -> Case:
        """The example with what is expected, and the names of the mistakes that it catches."""
        arrays, attributes = example.arrays, self.complete(example.attributes)
        expected = {name: _stored(array) for name, array in self.define(attributes, arrays).items()}
        bound = {} if example.exact else self.allow(attributes, arrays)
        case = Case(
            id=f"{self.name}/{example.id}",
            kind=self.kind,
            operator=self.name,
            seed=example.seed,
            source=self.source,
            attributes=attributes,
            arrays=arrays,
            expected=expected,
            bound={name: rounded_up(bound[name], expected[name]) for name in expected if name in bound and bound[name].any()},
        )
        caught = tuple(name for name in (*self.mistakes, ONES) if differs(case, self.wrong(name, case)))
        return Case(**{**vars(case), "catches": caught})

    def complete(self, attributes: Attributes) -> dict[str, Any]:
        """The attributes with their defaults, in the order of the signature."""
        known = self.signature.attributes
        assert attributes.keys() <= known.keys()
        full = {name: attributes.get(name, default) for name, default in known.items()}
        assert REQUIRED not in full.values()
        return full

    def wrong(self, name: str, case: Case, dtype: str = "float64") -> Arrays:
        """What the mistake makes of a case in a dtype; {} where it does not apply."""
        arrays, upstream = as_dtype(case.arrays, dtype), self.signature.upstream
        with np.errstate(all="ignore"):
            if name != ONES:
                return self.mistakes[name](arrays, case.attributes)
            if upstream not in arrays:
                return {}
            arrays[upstream] = np.ones_like(arrays[upstream])
            found = self.compute(case.attributes, arrays, np.dtype(dtype))
        return {key: array for key, array in found.items() if key != self.signature.result}


def as_dtype(arrays: Arrays, dtype: DTypeLike) -> Arrays:
    """Copies, numbers in `dtype`; class indices stay."""
    return {name: a.copy() if a.dtype == np.int64 else a.astype(dtype) for name, a in arrays.items()}


def allowed(case: Case, name: str, unit: float) -> Array:
    """How far each number of a tensor may be off in arithmetic with this unit roundoff."""
    return case.bound[name].astype(np.float64) * unit if name in case.bound else np.zeros(case.expected[name].shape)


def differs(case: Case, found: Arrays) -> bool:
    """Whether any of these arrays, in float64, is not what the case expects."""
    return any(
        array.shape != case.expected[name].shape
        or not np.all(np.abs(array - case.expected[name]) <= allowed(case, name, UNITS["float64"]))
        for name, array in found.items()
        if name in case.expected
    )


def rounded_up(bound: Array, expected: Array) -> Array:
    """A bound in units of u with room for the rounding of what is stored, up to five significant bits; a 0 stays 0.

    What lies above such a number by less than 2^-30 of it counts as that number: no machine's last digits show.
    """
    mantissa, exponent = np.frexp(np.where(bound > 0, bound + np.abs(expected), 0))
    return np.ldexp(np.ceil(mantissa * 32 * (1 - 2.0**-30)) / 32, exponent).astype(np.float32)


def _stored(array: Array) -> Array:
    return array if array.dtype == np.int64 else np.ascontiguousarray(array.astype(np.float64))
