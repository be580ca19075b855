"""Where a function is looked at, and how closely: changes, derivatives, float64, and again where chance could be the cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.closeness import differences
from refar.testing.explain.dependence import Domain
from refar.testing.probe.apart import Windows
from refar.testing.probe.derivatives import in_float64, slopes
from refar.testing.probe.inputs import Draw
from refar.testing.probe.meant import Meant
from refar.testing.probe.measure import replaced, require_rows_apart, require_same, require_stateless
from refar.testing.probe.sightings import Sightings, Tally, rounding_of
from refar.testing.probe.watched import Watched, epsilon
from refar.testing.report import ContractError
from refar.testing.under_test import is_module

_DRAWS, _QUIET, _WINDOW_DRAWS = 10, 2, 2
_POSITIONS = 1 << 15
_FINER, _DERIVED, _DERIVED_ROWS = 2, 12, 4
_ROUNDS = 64
_NEWS = 1.01
_OFTEN, _SELDOM, _UNLIKELY = 0.8, 0.25, 0.7
CHANCE = 1e-9
"""What is less likely than this is no chance."""


@dataclass
class Probe:
    """A function, inputs for it, what it is meant to see, and what was seen of it so far.

    `rounding` is the part of the largest output up to which a change may be rounding; without it the dtypes decide. `leak`
    says how outputs changed when all that comes after them did, `beyond` which output saw more than the given offsets.
    """

    f: Watched
    draw: Draw
    domain: Domain
    meant: Meant
    seed: int = 0
    rounding: float | None = None
    leak: str = field(default="", init=False)
    beyond: str = field(default="", init=False)
    _constants: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.sightings, self._rng = Sightings(self.domain), np.random.default_rng(self.seed)
        self.forbidden, self.required = self.meant.forbidden(), self.meant.required()
        ends = [place for place in range(self.domain.count) if min(place, self.domain.count - 1 - place) < 8]
        self._next: list[int] = ends if self._cheap < self.domain.count else []

    @cached_property
    def _finer(self) -> Watched | None:
        return in_float64(self.f)

    @property
    def _cheap(self) -> int:
        """How many places a draw may look at: the more, the shorter the sequence."""
        return min(self.domain.count, max(_POSITIONS // self.domain.count, 1))

    def look(self) -> None:
        """Look until nothing new is seen, then closer at what is not clear.

        Each row of the batch has another place changed; several draws, since a relu may hide a change. Of long inputs a draw
        looks at some of the places. Raises ContractError if the same input gives different outputs, at once or after other
        calls, or if rows mix.
        """
        idle, known = 0, np.zeros(self.domain.kinds, bool)
        for n in range(_DRAWS):
            x, other = self.draw(self._rng, n)
            if n == 0:
                y = require_same(self.f, x, self.domain)
                require_rows_apart(self.f, x, other, y)
                first = x, y
            y = y if n == 0 else self.f(x, shape=y.shape)
            self._change(self.f, x, other, y, self._some(), self.sightings.changes)
            self._change_all_that_comes(self.f, x, other, y)
            if n == 0:
                self._derive()
            before = known
            known = before | (self.sightings.changes.seen > 0) | (self.sightings.slopes.seen > 0)
            idle = 0 if known.sum() > _NEWS * before.sum() else idle + 1  # of offsets that rounding hides some come late
            if idle == _QUIET:
                break
        self._settle()
        self._look_at_windows()
        self._look_closer()
        for n in range(_ROUNDS):
            self._settle()
            places, tally = self._doubtful(len(x), n == 0)
            if self.refuted or not places:
                break
            for _ in range(max(self._cheap // len(places), 1)):
                x, other = self.draw(self._rng, int(self._rng.integers(_DRAWS)))
                self._change(self.f, x, other, self.f(x, shape=y.shape), places, tally)
        require_stateless(self.f, *first)

    @property
    def refuted(self) -> bool:
        """Whether an output saw what it must not see, so that no further look is needed."""
        return bool(self.leak or self.beyond or (self.sightings.found(self.forbidden).seen & self.forbidden).any())

    def _settle(self) -> None:
        """Decide what is asked for, by what was seen up to now."""
        before = self.meant.offsets
        self.meant.settle(bool((self.sightings.clear.diagonal() | self.sightings.derived.diagonal()).any()))
        if self.meant.offsets != before:
            self.forbidden, self.required = self.meant.forbidden(), self.meant.required()

    def _look_at_windows(self) -> None:
        """Look at all outputs of a long sequence that has to see given offsets only; `beyond` says what else one saw.

        The *window* of an output are the places at these offsets. Outputs whose windows lie far apart are looked at in one row:
        first x changes outside of all their windows, and they have to stay; then at one place in the window of each output.
        """
        if self.meant.offsets is None or self.domain.image or self._cheap == self.domain.count:
            return
        windows = Windows(self.domain.count, self.meant.offsets)
        for change in (self._change_outside, self._change_inside):
            for n in range(_WINDOW_DRAWS):
                x, other = self.draw(self._rng, n)
                change(windows, x, other, self.f(x))
                if self.beyond:
                    return

    def _change_outside(self, windows: Windows, x: Array, other: Array, y: Array) -> None:
        """Change x outside of the windows of some outputs in each row, and note what those outputs saw of it."""
        before = self.domain.places(y.astype(np.float64))
        for phases in windows.phases(2, self._cheap, len(x), self._rng):
            outside = [windows.outside(phase) for phase in phases]
            after = self._after(x, other, outside, y.shape)
            for row, phase in enumerate(phases):
                chosen = windows.outputs(phase)
                by = differences(after[row][:, chosen], before[row][:, chosen])
                if by.max(initial=0.0) > self._most(self.f, x, before[row], after[row]):
                    channel, n = (int(i) for i in np.unravel_index(int(by.argmax()), by.shape))
                    self._trace(x, other, y, row, channel, int(chosen[n]), outside[row])
                    return

    def _after(self, x: Array, other: Array, changes: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """Return the outputs at places, (rows, channels, places), where row b of x is changed at the b-th places."""
        changed = self.f(replaced(x, other, [each.tolist() for each in changes], self.domain), shape=shape)
        return self.domain.places(changed.astype(np.float64))

    def _trace(self, x: Array, other: Array, y: Array, row: int, channel: int, q: int, outside: Array) -> None:
        """Find by halving at which one of the places `outside` x moves the output q, and say what moved it."""
        value = self.domain.places(y.astype(np.float64))[row, channel, q]
        place, nothing = f"{self.domain.name(q)} of the output (row {row}, channel {channel})", outside[:0]
        while len(outside) > 1:
            for half in np.array_split(outside, 2):
                after = self._after(x, other, [nothing] * row + [half] + [nothing] * (len(x) - row - 1), y.shape)
                if differences(after[row, channel, q], value) > self._most(self.f, x, value, after[row]):
                    outside = half
                    break
            else:
                self.beyond = f"{place} changes when x changes at all positions but those that it may see"
                return
        self.beyond = f"{place} sees x at {self.domain.name(int(outside[0]))}"
        self._change(self.f, x, other, y, [int(outside[0])] * (row + 1), self.sightings.changes)

    def _change_inside(self, windows: Windows, x: Array, other: Array, y: Array) -> None:
        """Change x at one place of the window of each output, and note which outputs answered."""
        before = self.domain.places(y.astype(np.float64))
        for phases in windows.phases(1, self._cheap, len(x), self._rng):
            after = self._after(x, other, [windows.apart(phase) for phase in phases], y.shape)
            for row, phase in enumerate(phases):
                most = self._most(self.f, x, before[row], after[row])
                self.sightings.note(windows.owners(phase), row, before[row], after[row], most, self.sightings.changes)

    def _some(self) -> list[int]:
        """Return the next places to look at, until all have had their turn."""
        if len(self._next) < self._cheap:
            self._next += self._rng.permutation(self.domain.count).tolist()
        taken, self._next = self._next[: self._cheap], self._next[self._cheap :]
        return list(dict.fromkeys(taken))

    def _change(self, f: Watched, x: Array, other: Array, y: Array, places: list[int], tally: Tally) -> None:
        """Change x at these places, one in each row, and note what changes."""
        before = self.domain.places(y.astype(np.float64))
        for begin in range(0, len(places), len(x)):
            chosen = places[begin : begin + len(x)]
            changed = f(replaced(x, other, [[place] for place in chosen], self.domain), shape=y.shape)
            after = self.domain.places(changed.astype(np.float64))
            for row, place in enumerate(chosen):
                owner, most = np.full(self.domain.count, place), self._most(f, x, before[row], after[row])
                self.sightings.note(owner, row, before[row], after[row], most, tally)

    def _most(self, f: Watched, x: Array, before: Array, after: Array) -> float:
        """Return up to which size a change of these outputs may be rounding."""
        part = max(rounding_of(_coarser(f, x)), self._constants) if self.rounding is None else self.rounding
        return part * max(float(np.abs(y[np.isfinite(y)]).max(initial=0.0)) for y in (before, after))

    def _change_all_that_comes(self, f: Watched, x: Array, other: Array, y: Array) -> None:
        """Change in each row all that comes after some place: what each does a little adds up."""
        if self.leak or self.domain.count < 2:
            return
        last = self._rng.integers(0, self.domain.count - 1, len(x)).tolist()
        changed = f(replaced(x, other, [list(range(t + 1, self.domain.count)) for t in last], self.domain), shape=y.shape)
        before, after = (self.domain.places(v.astype(np.float64)) for v in (y, changed))
        for row, t in enumerate(last):
            by = differences(after[row, :, : t + 1], before[row, :, : t + 1])
            if by.max(initial=0.0) > self._most(f, x, before[row], after[row]):
                channel, q = np.unravel_index(int(by.argmax()), by.shape)
                place = f"{self.domain.name(int(q))} of the output (row {row}, channel {int(channel)})"
                values = f"{before[row, channel, q]} to {after[row, channel, q]}"
                self.leak = f"{place} goes from {values} when x changes at all places after {self.domain.name(t)}"

    def _derive(self) -> None:
        """Note the derivatives of some outputs: every other time of the last, which sees the most, else of one in the middle.

        What comes after those in the middle tells whether derivatives are rounded: where all of that is exactly 0, they are
        not, and else what is small is nothing.
        """
        count, rows = self.domain.count, list[tuple[int, Array, float]]()
        while self.f.tensors and len(rows) < _DERIVED:
            x = self.draw(self._rng, len(rows))[0][:_DERIVED_ROWS]
            ends = np.arange(len(rows), len(rows) + len(x)) % 2 == 0
            places = np.where(ends, count - 1, self._rng.integers(0, count // 2 + 1, len(x))).tolist()
            found = slopes(self._finer, x.astype(np.float64), places, self.domain, self._rng) if self._finer else None
            found = found or slopes(self.f, x, places, self.domain, self._rng)
            if found is None:
                return
            rows += [(place, sizes, rounding_of(found[1])) for place, sizes in zip(places, found[0], strict=True)]
        rounded = any(sizes[place + 1 :].any() for place, sizes, _ in rows)
        for place, sizes, part in rows:
            self.sightings.slope(place, sizes > (part * sizes.max() if rounded else 0))

    def _look_closer(self) -> None:
        """Look in float64 where rounding may be all that was seen, or may hide what was not.

        Weights of a module become float64 too. Those of other functions keep their dtype: one rounding of that, relative to the
        largest output, stays rounding.
        """
        found = self.sightings.found(self.forbidden)
        small = (self.sightings.change > 0) & ~self.sightings.clear & self.forbidden
        missing = self.required is not None and self.sightings.unseen(self.required, found.seen)
        ahead = np.flatnonzero((self.sightings.derived & self.forbidden).any(axis=0)).tolist()
        if not (small.any() or missing or ahead) or self._finer is None:
            return
        for n in range(_FINER):
            x, other = self.draw(self._rng, n)
            least = _coarser(self.f, x)
            self._constants = 0.0 if is_module(self.f.function) else least
            x, other = (a if a.dtype.kind in "iu" else a.astype(np.float64) for a in (x, other))
            try:
                y = self._finer(x)
                if _coarser(self._finer, x) >= least:
                    return
                self._change(self._finer, x, other, y, [*ahead[: len(x)], *self._some()], self.sightings.finer)
                self._change_all_that_comes(self._finer, x, other, y)
            except ContractError:  # it does not take float64, or not always: what was seen has to do
                return

    def _doubtful(self, rows: int, every: bool) -> tuple[list[int], Tally]:
        """Return where another look may tell chance from fault: at `every` such place, or in all rows at the likeliest fault.

        Looks at a place that may be blind do not count for how often others see.
        """
        found = self.sightings.found(self.forbidden)
        unseen = {} if self.required is None else self.sightings.unseen(self.required, found.seen)
        if hidden := [key for key, chance in unseen.items() if CHANCE <= chance < 1 / 2]:
            inputs = np.nonzero(self.domain.pairs == hidden[0])[1]
            return [int(place) for place in self._rng.choice(inputs, rows)], self.sightings.changes
        where, chance = self.sightings.blind(found.seen)
        doubt = where & (chance >= CHANCE) & (chance < (1 if every else _UNLIKELY))
        often = _OFTEN if self._cheap < self.domain.count else _SELDOM
        least = np.where(doubt & (self.sightings.changes.share()[self.domain.pairs] > often), chance, 1.0).min(axis=0)
        places = [place for place in np.argsort(least, kind="stable").tolist() if least[place] < 1]
        return places[: self._cheap] if every else places[:1] * rows, Tally(self.domain.kinds)


def _coarser(f: Watched, x: Array) -> float:
    """Return the distance of 1 to the next number, in the coarser dtype of x and of what f gave last; 0 for integers."""
    return max(f.eps, epsilon(x.dtype)) if f.eps else 0.0
