"""The laws that a step function has to keep, one method for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.closeness import differences, wrong_at
from refar.testing.probe import states
from refar.testing.probe.refusal import Refusal
from refar.testing.probe.stream_under_test import StreamUnderTest, difference, spans
from refar.testing.report import ContractError, Measure

_LONG, _LONGER = 512, 4096


@dataclass
class Laws:
    """Each method is a law: it notes its figure, or raises ContractError."""

    stream: StreamUnderTest

    # the whole function

    def whole(self, measure: Measure) -> None:
        """The whole function looks at no later position: a change from position t on changes no output before t."""
        most, late = self.stream.allowed().rounding, self.stream.plan.latency
        for t in sorted({1, self.stream.length // 2, self.stream.length - 1} - set(range(late + 1))):
            after = self.stream.full(np.where(np.arange(self.stream.length) < t, self.stream.x, self.stream.other))[
                ..., : t - late
            ]
            if said := difference(after, self.stream.expected[..., : t - late], most):
                further = f"beyond latency={late}" if late else "ahead"
                raise ContractError(
                    f"{said} when x changes from position {t} on: it looks {further}, see check_causality; a step can give this "
                    "only later, which latency= says"
                )
        if len(self.stream.plan.segments) > 1:
            self._apart(most)
            measure.notes.append("causal; segments are apart")
            return
        if self._sees_first(min(_LONGER, max(2 * self.stream.length, _LONG)), self.stream.length):
            further = f"causal; it looks back further than these {self.stream.length} positions"
            measure.notes.append(f"{further}: only a longer sequence shows what comes from there")
        elif self._sees_first(self.stream.length, self.stream.length - 1):
            measure.notes.append("causal; the last output still depends on the first position: a longer sequence may show more")
        else:
            self.stream.looks_far = False
            measure.notes.append("causal")

    def _apart(self, most: Array) -> None:
        """Require that no output depends on another segment."""
        for begin, end in spans(self.stream.plan.segments)[:-1]:
            inside = (np.arange(self.stream.length) >= begin) & (np.arange(self.stream.length) < end)
            after = self.stream.full(np.where(inside, self.stream.other, self.stream.x))
            after[..., inside] = self.stream.expected[..., inside]
            if said := difference(after, self.stream.expected, most):
                raise ContractError(
                    f"{said} when x changes in the segment of positions {begin} to {end - 1} only: the whole function looks "
                    "across the border; if it knows nothing of segments, apply it to each part of x and join the outputs"
                )

    def _sees_first(self, length: int, begin: int) -> bool:
        """Return whether an output from `begin` on sees the first of `length` positions."""
        x = np.concatenate([self.stream.x, *[self.stream.other] * (length // self.stream.length)], axis=-1)[..., :length]
        changed = x.copy()
        changed[..., 0] = self.stream.other[..., 0]
        try:
            return bool(wrong_at(self.stream.full(changed), self.stream.full(x), self.stream.allowed().rounding)[begin:].any())
        except Exception:  # a function at a length that nobody asked of it, which it need not take: nothing is said
            return False

    # the steps beside it

    def steps_and_chunks(self, measure: Measure) -> None:
        """Position by position, or in chunks, the steps give what the whole function gives."""
        stream, plan = self.stream, self.stream.plan
        ways, sizes = plan.ways(stream.seed), plan.alike
        wrong, worst, used = dict[int, Array](), 0.0, stream.allowed()
        for n, pattern in enumerate(ways):
            actual = stream.once if n == 0 else self._another(pattern)
            used = stream.allowed(actual)
            worst = max(worst, float(differences(actual, stream.right).max()))
            if wrong_at(actual, stream.right, used.most).any():
                wrong[n] = actual
        if wrong:
            shown = 0 if 0 in wrong else max((n for n in wrong if n <= len(sizes)), default=min(wrong))
            right = {size: n not in wrong for n, size in enumerate(sizes, start=1)} if shown else {}
            raise ContractError(str(Refusal(stream, ways[shown], wrong[shown], right)))
        what = f"{stream.length // plan.size} {f'chunks of {plan.block}' if plan.block else 'steps'}"
        what = f"{len(ways)} ways to cut {stream.length} positions" if plan.block is True else what
        measure.notes += [f"{what}, largest difference {worst:.2g}; {used}", *filter(None, [stream.steps.dtypes_seen])]

    def _another(self, pattern: list[int]) -> Array:
        """Return the outputs in other chunks than all positions at once."""
        try:
            return self.stream.in_chunks(pattern)
        except ContractError as error:
            raise ContractError(f"{error}; all {self.stream.length} positions at once it takes") from None

    # what a step may not do

    def again(self, measure: Measure) -> None:
        """A second run from a fresh state gives the same."""
        second = self.stream.run(self.stream.x)
        if said := difference(second, self.stream.once, 0.0, self.stream.kept):
            why = "something is kept outside the state, what initial_state gives has changed, or random numbers are drawn"
            why = "reset() does not reset everything, or random numbers are drawn" if self.stream.steps.stateful else why
            raise ContractError(f"the second run differs from the first at {said}: {why}")
        measure.notes.append("the second run gives the same")

    def state(self, measure: Measure) -> None:
        """The state is a value: the same state and x give the same, and nothing changes the state that was given."""
        state, kept, begin = self.stream.steps.start(), [], 0
        size = self.stream.plan.size
        while begin < self.stream.length:
            x = self.stream.x[..., begin : begin + size] if self.stream.steps.chunks else self.stream.x[..., begin]
            before = states.copied(state)
            y, state = self.stream.steps.feed(state, x)
            kept.append((before, x, y))
            begin += size
        for t in dict.fromkeys((min(len(kept) - 1, 3), len(kept) // 2, len(kept) - 1)):
            before, x, y = kept[t]
            again, _ = self.stream.steps.feed(states.copied(before), x)
            if again is not None and y is not None and (again != y).any():
                place = tuple(np.argwhere(again != y)[0].tolist())
                raise ContractError(
                    f"the same state and x give {again[place]:.6g} after other calls, {y[place]:.6g} at step {t} itself: "
                    "the result depends on more than both"
                )
        if self.stream.steps.mutated:
            raise ContractError(
                f"{self.stream.steps.name} changes {self.stream.steps.mutated}: a second step from the same state gives other "
                "results; copy before writing (or make it a class with reset() and step(x))"
            )
        measure.notes.append("a value")

    def batch(self, measure: Measure) -> None:
        """Rows do not see each other."""
        before = self.stream.run(self.stream.x)
        for row in {0, len(self.stream.x) - 1}:
            changed = self.stream.x.copy()
            changed[row] = self.stream.other[row]
            after = self.stream.run(changed)
            after[row] = before[row]
            if said := difference(after, before, 0.0, self.stream.kept):
                raise ContractError(f"rows of the batch mix in the steps: with row {row} changed, {said}")
        measure.notes.append("rows are apart")
