"""Large cases of an operator, drawn when they are asked for; what is expected of them comes from refar's fast NumPy.

The golden cases hold that NumPy to the definitions, on every operator and in both dtypes; here it stands in for them, where exact
numbers would take too long.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from refar.arguments.arrays import Arrays
from refar.errors import InputError, near
from refar.golden.case import REQUIRED, Case
from refar.golden.compare import as_dtype
from refar.golden.operator import Operator
from refar.golden.ties import one_of
from refar.testing.known.allowed import allowed
from refar.testing.known.large import PLANS, Floats, Large, Sizes


def large_cases(operator: Operator, sizes: Sequence[Sizes | int] | None, seed: int, only: Mapping[str, Any]) -> list[Case]:
    """Draw a case for each of the sizes, by default for those of `refar.testing.known.large`; what `only` names, all have.

    A size is {axis, count or attribute: value}, or a number for the length alone. Raises InputError for a name that the operator
    has not, and for sizes that do not fit each other.
    """
    plan = PLANS[operator.name]
    if sizes is None:
        sizes = plan.rows
    elif isinstance(sizes, str | Mapping) or not isinstance(sizes, Iterable):
        raise InputError(f"sizes: expected a list of sizes, such as [{{{plan.length!r}: 1000}}], or (), got {sizes!r}")
    restricted = {
        ("bias" if name == "b" else name): (value is not None if name == "b" else value) for name, value in only.items()
    }
    return [_case(operator, plan, _complete(operator, plan, size), restricted, seed) for size in sizes]


def _complete(operator: Operator, plan: Large, size: Sizes | int) -> Sizes:
    """Return the size as a mapping. Raises InputError for what is none, and for a name that there is not."""
    if isinstance(size, int) and not isinstance(size, bool):
        size = {plan.length: size}
    if not isinstance(size, Mapping):
        raise InputError(f"sizes: expected a mapping like {{{plan.length!r}: 1000}} or a length, got {size!r}")
    names = dict.fromkeys((*plan.plain, *operator.signature.attributes))
    for name, value in size.items():
        if name not in names:
            raise InputError(f"sizes: {operator.name} has no {name!r}{near(name, names)}; it has {', '.join(names)}")
        counts = name in plan.plain and name not in operator.signature.attributes and name not in ("bias", "kernel")
        if counts and not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
            raise InputError(f"sizes: {name}: expected a number from 1 on, got {value!r}")
    return size


def _case(operator: Operator, plan: Large, size: Sizes, only: Mapping[str, Any], seed: int) -> Case:
    defaults = {name: value for name, value in operator.signature.attributes.items() if value is not REQUIRED}
    given: Sizes = {**size, **only}
    if operator.name in ("causal_conv1d", "masked_conv2d") and "groups" in only:
        given = _divisible(plan, given)
    whole = {name: list(v) if isinstance(v, tuple) else v for name, v in {**defaults, **plan.plain, **given}.items()}
    said = ", ".join(f"{name}={value}" for name, value in size.items())
    rng = np.random.default_rng([seed, zlib.crc32(f"{operator.name}({said})".encode())])
    attributes = {name: whole[name] for name in operator.signature.attributes}
    try:
        arrays = plan.arrays(Floats(rng), whole)
        if (op := operator.to_op(attributes, arrays)) is not None:
            msgspec.convert(msgspec.to_builtins(op), type(op))  # its own limits: a dilation of 0 is none
        exact = as_dtype(arrays, "float64")
        expected = operator.compute(attributes, exact, np.dtype(np.float64))
        bound = allowed(operator.name, attributes, arrays)
    except (ValueError, TypeError, ArithmeticError, IndexError, MemoryError) as error:  # refar's own code, on sizes of any kind
        raise InputError(
            f"sizes: {operator.name} cannot be computed with {said}: {str(error) or type(error).__name__}"
        ) from error
    return Case(
        id=f"{operator.name}/drawn({said}{', ' if said else ''}seed={seed})",
        kind=operator.kind,
        operator=operator.name,
        seed=seed,
        source=operator.source,
        attributes=attributes,
        arrays=arrays,
        expected=expected,
        bound={} if _adds_up(operator, arrays, expected) else _doubled(bound, expected),
        one_of=one_of(operator.name, attributes, arrays),
    )


def _divisible(plan: Large, size: Sizes) -> Sizes:
    """Return the size with numbers of channels that the groups divide."""
    return {**size, **{name: -(-size.get(name, plan.plain[name]) // size["groups"]) * size["groups"] for name in ("i", "o")}}


def _adds_up(operator: Operator, arrays: Arrays, expected: Arrays) -> bool:
    """Say whether every sum is one of integers that float32 holds: then there is nothing that rounding could change."""
    integers = (
        np.array_equal(a, np.rint(a)) and np.abs(a).max(initial=0) < 2**20 for a in (*arrays.values(), *expected.values())
    )
    return operator.name in ("causal_conv1d", "masked_conv2d", "causal_pool1d", "embedding") and all(integers)


def _doubled(bound: Arrays, expected: Arrays) -> Arrays:
    """Twice the bound: what is expected was computed in float64 itself."""
    return {name: (2 * bound[name]).astype(np.float32) for name in expected if name in bound and np.any(bound[name])}
