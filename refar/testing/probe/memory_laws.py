"""The laws about memory: where x lies, two streams at once, how much the state holds, in which order its rows stand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import InputError
from refar.testing.layouts import LAYOUTS, READ_ONLY, Layout
from refar.testing.probe import states
from refar.testing.probe.observed import Observed, as_it_is
from refar.testing.probe.stream_under_test import StreamUnderTest, difference, repeated
from refar.testing.report import ContractError, Measure, Raised
from refar.testing.together import together

_SHORT, _LONG, _FOREVER, _ORDERS = 24, 512, 1100, 4


@dataclass
class MemoryLaws:
    """Each method is a law: it notes its figure, or raises ContractError."""

    stream: StreamUnderTest

    def _short(self) -> int:
        """Return how many positions do for a law that does not ask for memory."""
        size = self.stream.plan.size
        count = max(_SHORT, self.stream.plan.latency + 2, size) // size * size
        return min(count if count > self.stream.plan.latency else count + size, self.stream.plan.segments[0])

    def layout(self, measure: Measure) -> None:
        """Whatever way x lies in memory, whole and steps give the same, or refuse it."""
        length = self._short()
        x = self.stream.x[..., :length]
        right, most = self.stream.run(x), self.stream.allowed(self.stream.right).rounding
        for function, run, expected in (
            (self.stream.full, lambda: self.stream.full(self.stream.x), self.stream.expected),
            (self.stream.steps, lambda: self.stream.run(x), right),
        ):
            for name, layout in {**LAYOUTS, **({} if function.converts else READ_ONLY)}.items():
                if refused := self._laid(name, layout, function, run, expected, most):
                    measure.notes.append(f"refuses arrays {name}: {refused}")
        measure.notes.append("the same for x in other layouts")

    def _laid(self, name: str, layout: Layout, function: Observed, run: Callable[[], Array], expected: Array, most: Array) -> str:
        """Require what is expected of a function that gets x in another layout; return what it raises instead."""
        function.layout = layout
        try:
            with warnings.catch_warnings():  # PyTorch warns of arrays that it may not write into
                warnings.simplefilter("ignore")
                actual = run()
        except Raised as error:
            return str(error)
        except ContractError as error:
            raise ContractError(f"where x comes in arrays {name}: {error}") from None
        finally:
            function.layout = as_it_is
        if said := difference(actual, expected, most):
            raise ContractError(f"where x comes in arrays {name}, {function.name} gives other outputs: {said}")
        return ""

    def threads(self, measure: Measure) -> None:
        """Two sequences that are stepped at once in two threads do not see each other."""
        if self.stream.steps.stateful and self.stream.steps.another is None:
            measure.does_not_apply("one object is one stream; give its class")
            return
        length = self._short()
        runs = [partial(self.stream.run, x[..., :length], (), self.stream.make()) for x in (self.stream.x, self.stream.other)]
        try:
            alone = [together([run])[0] for run in runs]
        except ContractError:  # raised by the steps alone in a thread: what they need is set up for another
            measure.does_not_apply("it does not run in another thread")
            return
        most = self.stream.allowed(self.stream.right).rounding
        for n, (actual, right) in enumerate(zip(together(runs), alone, strict=True)):
            if said := difference(actual, right, most):
                raise ContractError(
                    f"two sequences at once in two threads: {('the first', 'the second')[n]} differs from what it gives alone at "
                    f"{said}: both use something that is kept outside the state"
                )
        measure.notes.append("two at once give what each gives alone")

    def memory(self, measure: Measure) -> None:
        """The state does not grow for ever where outputs look back on a few positions."""
        sizes = self._sizes(max(self.stream.plan.size, min(self.stream.length, _LONG)))
        if sizes[-1] <= sizes[len(sizes) // 3]:
            measure.notes.append(f"{sizes[-1]} numbers, no more than half-way")
            return
        if self.stream.looks_far:
            measure.notes.append("it grows, as may what the outputs look back on")
            return
        sizes = self._sizes(max(_FOREVER, self.stream.length, 8 * self.stream.plan.size))
        if sizes[-1] > sizes[-2] > sizes[-3]:
            raise ContractError(
                f"the state grows for ever: it holds {', '.join(map(str, sizes))} numbers at the first of {_FOREVER} positions, "
                f"half-way, later and at the last, where no output looks back on more than {self.stream.length} positions"
            )
        measure.notes.append(f"{max(sizes)} numbers at most")

    def _sizes(self, length: int) -> list[int]:
        """Return how many numbers the state holds over so many positions, x again and again: at first, half-way, later, last."""
        stream, size, sizes = self.stream, self.stream.plan.size, list[int]()
        x = np.concatenate([stream.x] * -(-length // stream.length), axis=-1)[..., : length // size * size]

        count = x.shape[-1] // size
        wanted = {n * size for n in (0, count // 2, 3 * count // 4, count - 1)}

        def note(state: Any, begin: int) -> Any:
            if begin in wanted:
                sizes.append(states.count(stream.steps.held(state)))
            return state

        stream.steps.watching = False
        try:
            stream.steps.drive(x, [size] * count, stream.expected, note)
        finally:
            stream.steps.watching = True
        return sizes

    def reorder(self, measure: Measure) -> None:
        """Rows of the state in another order between steps: every output follows from the history that its row has then."""
        if not self.stream.steps.reorders:
            raise InputError(
                f"reorder: expected a method reorder(rows) of {self.stream.steps.name}, which keeps its state to itself"
            )
        rng, size = np.random.default_rng(self.stream.seed), self.stream.plan.size
        borders = [t // size * size for t in np.linspace(0, self.stream.plan.segments[0], _ORDERS + 1).astype(int).tolist()]
        orders = {t: _order(rng, len(self.stream.x), n) for n, t in enumerate(borders[1:-1]) if t}
        first = self.stream.x[..., : self.stream.plan.segments[0]]

        def change(state: Any, begin: int) -> Any:
            return self.stream.steps.reordered(state, orders[begin]) if begin in orders else state

        like = self.stream.expected[..., : first.shape[-1]]
        actual = self.stream.steps.drive(first, repeated([size], first.shape[-1]), like, change)
        history, expected = self.stream.x.copy(), np.empty_like(actual)
        for begin, end in zip([0, *orders], [*orders, first.shape[-1]], strict=True):
            if begin in orders:
                history[..., :begin] = history[orders[begin], ..., :begin]
            late = self.stream.plan.latency
            shown = slice(max(begin - late, 0), end - late)
            expected[..., shown] = self.stream.full(history)[..., shown]
        used = self.stream.allowed(actual)
        if said := difference(actual, expected, used.rounding):
            words = ", ".join(f"{order.tolist()} before position {t}" for t, order in orders.items())
            raise ContractError(f"with rows of the state in the order {words}: {said}: the outputs do not follow their rows")
        measure.notes.append(f"outputs follow their rows through {len(orders)} orders")


def _order(rng: np.random.Generator, rows: int, n: int) -> Array:
    """Return an order in which no row stays, or, every second time, one in which a row comes twice."""
    turned = np.roll(np.arange(rows), int(rng.integers(1, rows)))
    if n % 2:
        turned[0] = turned[-1]
    return turned
