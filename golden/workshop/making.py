"""Turn examples into golden cases: the expected values, their tolerances, and the mistakes that each case catches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.case import UNITS, Case, Kind, Signature
from refar.golden.compare import differs
from refar.golden.node_operators import Attributes
from refar.golden.ties import one_of
from refar.mistakes.of_operators import names_of, wrong
from refar.testing.known.allowed import allowed

FLOAT32 = UNITS["float32"]


@dataclass(frozen=True)
class Draft:
    """Hold the parts of a golden case. With `exact` values are compared by ==, also in float32, which must hold them."""

    id: str
    seed: int
    arrays: Arrays
    attributes: Attributes
    exact: bool


@dataclass(frozen=True)
class FamilyMaker:
    """Makes the cases under one name."""

    operator: str
    kind: Kind
    make: Callable[[], Iterator[Case]]


@dataclass(frozen=True)
class OperatorMaker:
    """One operator with a documented signature.

    `define`: result and gradients from the definition on exact numbers; gradients are those of the arguments that are given as
    numbers, where the upstream gradient is given. `refar.testing.known.allowed` says what each may be off by.
    """

    kind: Kind
    signature: Signature
    source: str
    define: Callable[[Attributes, Arrays], Arrays]
    examples: Callable[[], Iterator[Draft]]

    @property
    def name(self) -> str:
        """Return the name that `check_function` takes."""
        return self.signature.name

    def family(self) -> FamilyMaker:
        """Return the family of all cases."""
        return FamilyMaker(self.name, self.kind, self.cases)

    def cases(self) -> Iterator[Case]:
        """Make all cases."""
        for example in self.examples():
            yield self.case(example)

    def case(self, example: Draft) -> Case:
        """Make the example a case, with what is expected and the names of the mistakes that it catches."""
        arrays, attributes = example.arrays, self.signature.complete(example.attributes)
        expected = {name: _stored(array) for name, array in self.define(attributes, arrays).items()}
        bound = {} if example.exact else allowed(self.name, attributes, arrays)
        case = Case(
            id=f"{self.name}/{example.id}",
            kind=self.kind,
            operator=self.name,
            seed=example.seed,
            source=self.source,
            attributes=attributes,
            arrays=arrays,
            expected=expected,
            one_of=one_of(self.name, attributes, arrays),
            bound={name: rounded_up(bound[name], expected[name]) for name in expected if name in bound and bound[name].any()},
        )
        caught = tuple(name for name in names_of(self.name) if differs(case, wrong(name, case, self.signature)))
        return Case(**{**vars(case), "catches": caught})


def rounded_up(bound: Array, expected: Array) -> Array:
    """Round a bound in units of u up to five significant bits, with room for the rounding of what is stored; a 0 stays 0.

    What lies above such a number by less than 2^-30 of it counts as that number: no machine's last digits show.
    """
    mantissa, exponent = np.frexp(np.where(bound > 0, bound + np.abs(expected), 0))
    return np.ldexp(np.ceil(mantissa * 32 * (1 - 2.0**-30)) / 32, exponent).astype(np.float32)


def _stored(array: Array) -> Array:
    return array if array.dtype == np.int64 else np.ascontiguousarray(array.astype(np.float64))
