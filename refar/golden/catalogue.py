"""The catalogue: every golden case, by the name of its operator. It feeds the files, `check_function`, and refar's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from refar.errors import InputError, near
from refar.golden.case import Case
from refar.golden.convolution1d import CAUSAL_CONV1D
from refar.golden.convolution2d import MASKED_CONV2D
from refar.golden.densities import DENSITIES
from refar.golden.family import Family, of_operator
from refar.golden.generation import GENERATE
from refar.golden.invalid import INVALID
from refar.golden.losses import GUMBEL_SOFTMAX, LOG_SOFTMAX, LOSSES
from refar.golden.networks import NETWORK
from refar.golden.operator import Operator
from refar.golden.pointwise import POINTWISE
from refar.golden.pooling import CAUSAL_POOL1D, SHIFT1D, SHIFT2D
from refar.golden.quantizers import QUANTIZERS
from refar.golden.sampling import SAMPLERS
from refar.golden.streams import STEPS

_OPERATORS = (CAUSAL_CONV1D, MASKED_CONV2D, CAUSAL_POOL1D, SHIFT1D, SHIFT2D, *POINTWISE, LOG_SOFTMAX, *LOSSES, *QUANTIZERS)

OPERATORS: dict[str, Operator] = {each.name: each for each in (*_OPERATORS, *SAMPLERS, GUMBEL_SOFTMAX)}
"""Those with a signature: arrays in, arrays out."""

FAMILIES: dict[str, Family] = {
    family.operator: family for family in (*map(of_operator, OPERATORS.values()), NETWORK, *STEPS, *DENSITIES, GENERATE, INVALID)
}
"""All that have cases."""


def catalogue() -> Iterator[Case]:
    """Every case, in a fixed order."""
    for name in FAMILIES:
        yield from golden_cases(name)


def golden_cases(operator: str) -> tuple[Case, ...]:
    """The cases of one operator. Raises InputError for an unknown one, listing all."""
    return _cases(known(operator, FAMILIES))


def known(operator: str, names: dict[str, Operator] | dict[str, Family]) -> str:
    """The name itself. Raises InputError unless it is one of those."""
    if not isinstance(operator, str) or operator not in names:
        raise InputError(
            f"operator {operator!r} has no golden cases{near(operator, names)}; those that have are {', '.join(names)}"
        )
    return operator


@cache
def _cases(operator: str) -> tuple[Case, ...]:
    return tuple(FAMILIES[operator].make())
