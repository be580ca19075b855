"""What `strict` and `reach` ask for: which outputs may see which inputs, and which have to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from refar import ops
from refar.arguments.arrays import Array
from refar.errors import InputError, check_integer
from refar.testing.explain.dependence import Domain
from refar.testing.explain.offsets import Offsets


class Meant:
    """The offsets that were asked for, if any: `offsets`, or of images with an order of colours `by_colour`.

    Raises InputError for a `reach` that makes no sense, or that x is too small to show.
    """

    def __init__(self, reach: Any, strict: bool | None, domain: Domain) -> None:
        self.domain, self.strict = domain, strict
        self.by_colour = _by_colour(reach, domain.colours)
        self._nearest = None if reach is None or isinstance(reach, Iterable) else reach
        self.offsets = None if reach is None or self.by_colour else self._exact(reach, int(bool(strict)))

    def settle(self, present: bool) -> None:
        """Decide what a number R stands for where `strict` does not: whether the present is one of the R nearest."""
        if self._nearest is not None and self.strict is None:
            self.offsets = self._exact(self._nearest, int(not present))

    def _exact(self, reach: Any, nearest: int) -> Offsets:
        sides, image = self.domain.sides, self.domain.image
        if not isinstance(reach, Iterable):
            if image:
                raise InputError(f"reach: expected a set of (rows up, columns left) for an image, got {reach!r}")
            reach = range(nearest, nearest + check_integer("reach", reach, 0))
        each = [tuple(o) if isinstance(o, Iterable) else (o,) for o in reach]
        if any(len(o) != len(sides) for o in each):
            raise InputError(f"reach: expected {'pairs (rows up, columns left)' if image else 'integers'}, got {reach!r}")
        wanted = {tuple(check_integer("reach", n, -ops.FURTHEST) for n in o) for o in each}
        for n, (side, name) in enumerate(zip(sides, ("rows", "columns") if image else ("positions",), strict=True)):
            most = max((abs(o[n]) for o in wanted), default=0)
            if most >= side:
                expected = f"expected more than {most} {name} there"
                raise InputError(f"reach: {most} {name} away do not fit into x, {expected}, got {side}")
        return frozenset(o if image else o[0] for o in wanted)

    def allowed(self) -> Array | None:
        """Return which keys may be seen; None where only what comes later may not."""
        if self.by_colour:
            return self._keys_by_colour()
        return None if self.offsets is None else self.domain.holds(self.offsets)

    def required(self) -> Array | None:
        """Return which keys have to be seen: of colours without sets of their own, how the last sees the first."""
        allowed, n = self.allowed(), self.domain.colours
        if allowed is None or self.by_colour:
            return allowed
        return np.asarray(allowed & (np.arange(self.domain.kinds) % n**2 == (n - 1) * n))

    def forbidden(self) -> Array:
        """Return which pairs [q, p] may not be seen."""
        places, allowed = np.arange(self.domain.count), self.allowed()
        later = places > places[:, None] - bool(self.strict)
        return later if allowed is None else later | ~allowed[self.domain.pairs]

    def _keys_by_colour(self) -> Array:
        n = self.domain.colours
        return np.array([(*self.domain.offset(key), key % n) in self.by_colour[key // n % n] for key in range(self.domain.kinds)])


def _by_colour(reach: Any, colours: int) -> tuple[Offsets, ...]:
    """Return the sets of `refar.colour_offsets`, if `reach` is those."""
    if colours == 1 or not isinstance(reach, tuple | list) or not all(isinstance(own, set | frozenset) for own in reach):
        return ()
    each = tuple(frozenset(tuple(o) for o in own) for own in reach)
    return each if len(each) == colours and all(len(o) == 3 for own in each for o in own) else ()
