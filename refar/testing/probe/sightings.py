"""What was seen of a function, and what was not although it was looked for: sizes, counts, and what rounding can hide."""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.closeness import differences
from refar.testing.explain.dependence import Dependence, Domain

_ROUNDINGS = 100
_COARSE, _FEW = 1e-2, 4
_NEIGHBOURS = 8


def rounding_of(eps: float) -> float:
    """Return the part of the largest output up to which a change may be nothing but rounding: 100 roundings.

    Of a coarse dtype no more than a hundredth, but at least four roundings.
    """
    return min(_ROUNDINGS * eps, max(_COARSE, _FEW * eps))


class Tally:
    """For each key: how many pairs were looked at, at how many something was seen, and more than rounding."""

    def __init__(self, kinds: int) -> None:
        self.tries, self.seen, self.clear = (np.zeros(kinds) for _ in range(3))

    def add(self, keys: Array, seen: Array, clear: Array) -> None:
        """Count pairs of these keys."""
        self.tries += np.bincount(keys, minlength=len(self.tries))
        self.seen += np.bincount(keys[seen], minlength=len(self.tries))
        self.clear += np.bincount(keys[clear], minlength=len(self.tries))

    def share(self) -> Array:
        """Return how often each key was clear; a little less, since what was clear each time need not be so always.

        It is the share of eight keys next to each other that counts, so that an eighth of a failure is added to each.
        """
        return np.asarray(self.clear / (self.tries + 1 / _NEIGHBOURS))

    def missed(self, key: int, near: Array) -> float:
        """Return how likely all tries at this key missed it, if it is as often clear as the rarest of the keys next to it."""
        nearest = near[np.argsort(np.abs(near - key), kind="stable")[:_NEIGHBOURS]]
        often = self.share()[nearest].min(initial=1.0) if len(nearest) else 0.0
        return float((1 - often) ** self.tries[key])


class Sightings:
    """What was seen so far. `change[q, p]`, `clear[q, p]`: the largest change, and whether one was more than rounding.

    `derived[q, p]`: the derivative is not 0. `looks[p]` counts the changes at p.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain, shape = domain, (domain.count, domain.count)
        self._change, self._clear, self._example = np.zeros(shape), np.zeros(shape, bool), np.zeros((*shape, 4))  # by input
        self.derived, self.looks = np.zeros(shape, bool), np.zeros(domain.count, int)
        self.changes, self.finer, self.slopes = (Tally(domain.kinds) for _ in range(3))

    @property
    def change(self) -> Array:
        """The largest change, by output place and input place."""
        return self._change.T

    @property
    def clear(self) -> Array:
        """Boolean, likewise: whether a change was more than rounding."""
        return self._clear.T

    def note(self, owner: Array, row: int, before: Array, after: Array, most: float, tally: Tally) -> None:
        """Keep what changed when x changed; `before` and `after` are (channels, places).

        `owner[q]` is the one place of those where x changed that the output at q may have answered; -1 where it tells nothing.
        """
        by = differences(after, before)
        here = np.flatnonzero(owner >= 0)
        channel, place = by.argmax(axis=0)[here], owner[here]
        size = by[channel, here]
        seen, clear = size > 0, size > most
        tally.add(self.domain.keys(here, place), seen, clear)
        was = self._clear[place, here]
        larger = (clear & ~was) | ((clear == was) & (size > self._change[place, here]))
        at = place[larger], here[larger]
        values = [v[channel, here] for v in (before, after)]
        self._example[at] = np.stack([np.full(channel.shape, row), channel, *values], axis=-1)[larger]
        self._change[at] = size[larger]
        self._clear[place[clear], here[clear]] = True
        self.looks[np.unique(place)] += 1

    def slope(self, place: int, seen: Array) -> None:
        """Keep at which places x has a derivative of the output at one place."""
        self.slopes.add(self.domain.keys(place, np.arange(self.domain.count)), seen, seen)
        self.derived[place] |= seen

    def unseen(self, expected: Array, seen: Array) -> dict[int, float]:
        """Return the expected keys of which no pair was `seen`, each with the chance that this is chance or rounding."""
        count = np.bincount(self.domain.pairs.ravel(), minlength=self.domain.kinds)
        shown = np.bincount(self.domain.pairs[seen], minlength=self.domain.kinds) > 0
        tallies, near = (self.changes, self.finer, self.slopes), np.flatnonzero(shown)
        keys = np.flatnonzero(expected & (count > 0) & ~shown).tolist()
        return {key: min(tally.missed(key, near) for tally in tallies) for key in keys}

    def blind(self, seen: Array) -> tuple[Array, Array]:
        """Return the pairs where nothing was `seen` that shows elsewhere, and the chance of each that this is chance.

        A pair is taken to show half as often as others of its key, since places differ.
        """
        missed = np.log1p(-self.changes.share() / 2)
        where = ~seen & (self.looks > 0) & (missed < 0)[self.domain.pairs]
        outputs, inputs = np.nonzero(where)
        chance = np.ones(where.shape)
        chance[outputs, inputs] = np.exp(missed[self.domain.keys(outputs, inputs)] * self.looks[inputs])
        return where, chance

    def found(self, forbidden: Array) -> Dependence:
        """Return the dependence.

        Small changes at places that must not be seen are rounding; and where there are such, so are all small ones.
        """
        small = (self.change > 0) & ~self.clear
        kept = self.clear if (small & forbidden).any() else self.change > 0
        derived = self.derived & ~forbidden
        change = np.where(kept, self.change, 0)
        return Dependence(self.domain, change, self._example.swapaxes(0, 1), (), derived, self.looks > 0)
