"""`check_streaming`: any step function, of positions or chunks, against the function of the whole sequence, with no graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar.arguments.arrays import Array
from refar.errors import InputError, RefarError
from refar.testing.closeness import EPSILONS, allowed, differences, wrong_at
from refar.testing.contract.cases import splits
from refar.testing.explain.offsets import OverTime
from refar.testing.explain.outputs import CHUNKS, LIKELY, Chunks, StepRun
from refar.testing.explain.words import first
from refar.testing.probe.inputs import Draw, example
from refar.testing.probe.measure import echoes, require_rows_apart, require_same
from refar.testing.probe.step_under_test import StepUnderTest, copied
from refar.testing.report import ContractError, Measure, Report, hold
from refar.testing.threads import one_thread
from refar.testing.under_test import Convert, FunctionUnderTest

_LONG, _LONGER = 512, 4096
_MORE = 64


@one_thread()
def check_streaming(
    full: Callable[[Array], Any],
    step: Any,
    x: ArrayLike | None = None,
    *,
    shape: Sequence[int] | None = None,
    classes: int = 0,
    initial_state: Any = None,
    block: bool = False,
    exact: bool = False,
    tolerance: float | None = None,
    convert: Convert | None = None,
    dtype: DTypeLike = np.float32,
    seed: int = 0,
) -> Report:
    """Drive `step` over a sequence and compare with `full(x)`; raise ContractError, in words, where they differ.

    `step(state, x_t) → (y_t, state)` starts from `initial_state`, a value or a function of the number of rows; or it is an
    object or class with `reset()` and `step(x_t) → y_t`. x_t has no axis of positions, and y_t none. With `block` it takes
    and gives chunks of any length instead, (B, C, n) → (B, Q, n), and is tried with many. Give an example `x`, or its
    `shape`: longer than what the network looks back, or its end is not seen. An image is the sequence of its pixels in raster
    order: let `full` reshape (B, C, H·W) to an image and back. `convert` makes of each x and x_t what both functions take, such
    as `torch.from_numpy`; the state is what `initial_state` gives.

    Outputs are compared by == if they are integers or with `exact`; else they may differ by `tolerance` times the largest
    value, by default a thousand roundings of their dtype.
    """
    draw, domain = example("check_streaming", x, shape, "sequence", classes, 1, dtype)
    if domain.count < 2:
        raise InputError(f"x: expected at least 2 positions, got {domain.count}")
    if tolerance is not None and not tolerance >= 0:
        raise InputError(f"tolerance: expected a number ≥ 0, got {tolerance!r}")
    sample, other = draw(np.random.default_rng(seed), 0)
    if sample.ndim > 3:
        raise InputError(
            f"{'x' if shape is None else 'shape'}: expected (B, C, T), or (B, T) for class indices, got {sample.shape}; "
            "of an image the pixels in a row: reshape to (B, C, H·W)"
        )
    whole = FunctionUnderTest(full, "full" if not callable(full) else "", convert)
    expected = require_same(whole, sample, domain)
    require_rows_apart(whole, sample, other, expected)
    most = 0.0 if exact else allowed(expected, sample, tolerance)
    steps = StepUnderTest(step, initial_state, len(sample), block, convert)
    laws = Laws(whole, steps, sample, other, expected, most, draw, seed)
    chosen = {"whole": laws.whole, "block" if block else "step": laws.steps_and_chunks, "again": laws.again}
    chosen |= {} if steps.stateful else {"state": laws.state}
    chosen |= {"batch": laws.batch} if len(sample) > 1 else {}
    return hold(chosen, ("whole", "again"))  # nothing can follow, or nothing starts afresh any more


@dataclass
class Laws:
    """One step function on one sequence. Each method is a law: it notes its figure, or raises ContractError."""

    full: FunctionUnderTest
    steps: StepUnderTest
    x: Array
    other: Array
    expected: Array
    most: float
    draw: Draw
    seed: int

    def __post_init__(self) -> None:
        self._length, self._once = self.x.shape[-1], self.expected

    def whole(self, measure: Measure) -> None:
        """The whole function looks at no later position: a change from position t on changes no output before t."""
        for t in sorted({1, self._length // 2, self._length - 1}):
            after = self.full(np.where(np.arange(self._length) < t, self.x, self.other))[..., :t]
            if said := _difference(after, self.expected[..., :t], self.most):
                raise ContractError(
                    f"{said} when x changes from position {t} on: it looks ahead, see check_causality; no step can"
                )
        if self._sees_first(min(_LONGER, max(2 * self._length, _LONG)), self._length):
            further = f"causal; it looks back further than these {self._length} positions"
            measure.notes.append(f"{further}: only a longer sequence shows what comes from there")
        elif self._sees_first(self._length, self._length - 1):
            measure.notes.append("causal; the last output still depends on the first position: a longer sequence may show more")
        else:
            measure.notes.append("causal")

    def _sees_first(self, length: int, begin: int) -> bool:
        """Return whether an output from `begin` on sees the first of `length` positions."""
        x = np.concatenate([self.x, *[self.other] * (length // self._length)], axis=-1)[..., :length]
        changed = x.copy()
        changed[..., 0] = self.other[..., 0]
        try:
            return bool(wrong_at(self.full(changed), self.full(x), self.most)[begin:].any())
        except Exception:  # a function at a length that nobody asked of it, which it need not take: nothing is said
            return False

    def _run(self, x: Array, lengths: Sequence[int] | None = None) -> Array:
        """Return the outputs of the steps over x, position by position or in chunks."""
        like = np.broadcast_to(self.expected[..., :1], (*self.expected.shape[:-1], x.shape[-1]))
        return self.steps.drive(x, [1] * x.shape[-1] if lengths is None else lengths, like)

    def _step_run(self, actual: Array, steps: Callable[[Array], Array]) -> StepRun:
        def measured(begin: int) -> OverTime:
            """Steps are dear: the first positions have to do."""
            in_whole = echoes(self.full, self.draw, self._length)
            enough = min(self._length, 2 * (begin + max(in_whole, default=0)) + _MORE)

            def cut(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
                x, other = self.draw(rng, n)
                return x[..., :enough], other[..., :enough]

            return heard(echoes(FunctionUnderTest(steps), cut, enough), in_whole, self.expected)

        return StepRun(self.x, self.expected, actual, self.most, self.full, steps, self._run, measured)

    def steps_and_chunks(self, measure: Measure) -> None:
        """Position by position, or in chunks of any length, the steps give what the whole function gives."""
        sizes = sorted({1, 2, 3, 5, 7, self._length // 3, self._length // 2} & set(range(1, self._length // 2 + 1)))
        ways, what = [[1] * self._length], f"{self._length} steps"
        if self.steps.chunks:
            ways = [[self._length], *(_repeated([size], self._length) for size in sizes)]
            ways += splits(np.random.default_rng(self.seed), self._length, range(1, min(self._length, 8)))
            what = f"{len(ways)} ways to cut {self._length} positions"
        wrong, worst = dict[int, tuple[list[int], Array]](), 0.0
        for n, lengths in enumerate(ways):
            actual = self._run(self.x, lengths) if not self.steps.chunks else self._in_chunks(lengths, n > 0)
            self._once, worst = self._once if n else actual, max(worst, float(differences(actual, self.expected).max()))
            if wrong_at(actual, self.expected, self.most).any():
                wrong[n] = lengths, actual
        if wrong:
            right = {size: n not in wrong for n, size in enumerate(sizes, start=1)}
            shown = 0 if 0 in wrong else max((n for n in wrong if n <= len(sizes)), default=min(wrong))
            raise ContractError(self._wrong(*wrong[shown], right if shown else {}))
        measure.notes.append(f"{what}, largest difference {worst:.2g} (allowed {self.most:.2g})")

    def _in_chunks(self, lengths: list[int], several: bool) -> Array:
        try:
            return self._run(self.x, lengths)
        except RefarError:
            raise
        except Exception as error:
            why = "is a length traced in as a constant?" if several else "; ".join(getattr(error, "__notes__", []))
            said = f"in chunks of {_brief(lengths)}: {type(error).__name__} instead of a value: {error}; {why}"
            raise ContractError(said) from error

    def _wrong(self, lengths: list[int], actual: Array, right: dict[int, bool]) -> str:
        """Say where and why outputs are wrong; `right` says for which lengths of all chunks they are not."""
        one = right or not self.steps.chunks
        run = self._step_run(actual, lambda x: self._run(x, _repeated(lengths if one else [x.shape[-1]], x.shape[-1])))
        likely = first(CHUNKS, Chunks(wrong_at(actual, self.expected, self.most), lengths, right)) if right else ""
        cut = f"in chunks of {_brief(lengths)}: " if self.steps.chunks else ""
        return f"{cut}{_difference(actual, self.expected, self.most)}: {likely or first(LIKELY, run)}"

    def again(self, measure: Measure) -> None:
        """A second run from a fresh state gives the same."""
        second = self._run(self.x, [self._length] if self.steps.chunks else None)
        if said := _difference(second, self._once, 0.0):
            why = "something is kept outside the state, or what initial_state gives has changed"
            why = "reset() does not reset everything" if self.steps.stateful else why
            raise ContractError(f"the second run differs from the first at {said}: {why}")
        measure.notes.append("the second run gives the same")

    def state(self, measure: Measure) -> None:
        """The state is a value: the same state and x give the same, and nothing changes the state that was given."""
        state, kept = self.steps.start(), []
        for t in range(self._length):
            x, before = self.x[..., t : t + 1] if self.steps.chunks else self.x[..., t], copied(state)
            y, state = self.steps.feed(state, x)
            kept.append((before, x, y))
        for t in dict.fromkeys((min(self._length - 1, 3), self._length // 2, self._length - 1)):
            before, x, y = kept[t]
            again, _ = self.steps.feed(copied(before), x)
            if (again != y).any():
                place = tuple(np.argwhere(again != y)[0].tolist())
                raise ContractError(
                    f"the same state and x give {again[place]:.6g} after other calls, {y[place]:.6g} at step {t} itself: "
                    "something is kept outside the state, like a counter of steps or a buffer of its own"
                )
        if self.steps.mutated:
            raise ContractError(
                f"{self.steps.name} changes {self.steps.mutated}: a second step from the same state gives other results; "
                "copy before writing (or make it a class with reset() and step(x))"
            )
        measure.notes.append("a value")

    def batch(self, measure: Measure) -> None:
        """Rows do not see each other."""
        before = self._run(self.x)
        for row in {0, len(self.x) - 1}:
            changed = self.x.copy()
            changed[row] = self.other[row]
            after = self._run(changed)
            after[row] = before[row]
            if said := _difference(after, before, 0.0):
                raise ContractError(f"rows of the batch mix in the steps: with row {row} changed, {said}")
        measure.notes.append("rows are apart")


def heard(steps: dict[int, float], whole: dict[int, float], y: Array) -> OverTime:
    """Compare the offsets that both answer; of what dies away rounding decides at last whether it is seen."""
    eps = float(np.finfo(y.dtype).eps) if y.dtype.kind == "f" else 0.0
    least = [EPSILONS * eps * max(echo.values(), default=0.0) for echo in (steps, whole)]
    clear = [frozenset(o for o in echo if echo[o] > most) for echo, most in zip((steps, whole), least, strict=True)]
    return OverTime(clear[0], clear[1], frozenset(steps.keys() - clear[0] | whole.keys() - clear[1]))


def _difference(actual: Array, expected: Array, most: float) -> str:
    """Say the first position where two outputs differ, both values there, and how many positions do; nothing if none does."""
    wrong = wrong_at(actual, expected, most)
    if not wrong.any():
        return ""
    t = int(wrong.argmax())
    error = differences(actual[..., t], expected[..., t])
    row, *inner = (int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    inside = f", channel {', '.join(map(str, inner))}" if inner else ""
    values = f"expected {expected[(row, *inner, t)]:.6g}, got {actual[(row, *inner, t)]:.6g}"
    return f"position {t} (row {row}{inside}): {values} (allowed {most:.2g}; {int(wrong.sum())} of {wrong.size} positions differ)"


def _repeated(lengths: list[int], total: int) -> list[int]:
    """Return the same lengths again and again, until they make up `total` positions."""
    found: list[int] = []
    while sum(found) < total:
        found.append(min(lengths[len(found) % len(lengths)], total - sum(found)))
    return found


def _brief(lengths: list[int]) -> str:
    return f"{lengths}" if len(lengths) <= 6 else f"[{', '.join(map(str, lengths[:4]))}, …] ({len(lengths)} chunks)"
