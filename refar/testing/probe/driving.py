"""`check_streaming`: any step or block function against the function of the whole sequence, with no graph at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar.arguments.arrays import Array
from refar.errors import InputError, RefarError
from refar.testing.callee import Callee, Convert
from refar.testing.closeness import allowed, differences
from refar.testing.contract.cases import splits
from refar.testing.probe.drawing import Draw, example
from refar.testing.probe.probe import require_rows_apart, require_same
from refar.testing.probe.stepping import Stepper, copied
from refar.testing.probe.symptoms import Case, at_borders, symptom, where, wrong_at
from refar.testing.report import ContractError, Line, Report
from refar.testing.threads import one_thread

_LONG, _LONGER = 512, 4096
STATEMENTS = {
    "whole": "the whole function looks at no later position",
    "step": "position by position gives what the whole function gives",
    "block": "pieces of any length give what the whole function gives",
    "again": "a second run from a fresh state gives the same",
    "state": "the state is a value: the same state and x give the same, and nothing changes the state that was given",
    "batch": "rows do not see each other",
}


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
    and gives stretches of any length instead, (B, C, n) → (B, Q, n), and is tried with many. Give an example `x`, or its
    `shape`: longer than what the network looks back, or its end is not seen. An image is the sequence of its pixels in raster
    order: let `full` reshape (B, C, H·W) to an image and back. `convert` makes of each x and x_t what both functions take, such
    as `torch.from_numpy`; the state is what `initial_state` gives.

    Outputs are compared by == if they are integers or with `exact`; else they may differ by `tolerance` times the largest
    value, by default a thousand roundings of their dtype.
    """
    draw, extent = example("check_streaming", x, shape, "sequence", classes, 1, dtype)
    if extent.count < 2:
        raise InputError(f"x: expected at least 2 positions, got {extent.count}")
    if tolerance is not None and not tolerance >= 0:
        raise InputError(f"tolerance: expected a number ≥ 0, got {tolerance!r}")
    sample, other = draw(np.random.default_rng(seed), 0)
    if sample.ndim > 3:
        raise InputError(
            f"{'x' if shape is None else 'shape'}: expected (B, C, T), or (B, T) for class indices, got {sample.shape}; "
            "of an image the pixels in a row: reshape to (B, C, H·W)"
        )
    whole = Callee(full, "full" if not callable(full) else "", convert)
    expected = require_same(whole, sample, extent)
    require_rows_apart(whole, sample, other, expected, extent)
    most = 0.0 if exact else allowed(expected, sample, tolerance)
    drive = Drive(whole, Stepper(step, initial_state, len(sample), block, convert), sample, expected, most, draw)
    laws: dict[str, Callable[[], str]] = {
        "whole": lambda: drive.causal(other),
        **({"block": lambda: drive.block(seed)} if block else {"step": drive.step}),
        "again": drive.again,
        **({} if drive.stepper.stateful else {"state": drive.state}),
        **({"batch": lambda: drive.batch(other)} if len(sample) > 1 else {}),
    }
    lines = []
    for name, law in laws.items():
        try:
            lines.append(Line(name, STATEMENTS[name], True, law()))
        except ContractError as error:
            if str(error) not in [line.message for line in lines]:
                lines.append(Line(name, STATEMENTS[name], False, "", str(error)))
            if name in ("whole", "again"):  # nothing can follow it, or nothing starts afresh any more
                break
        except Exception:
            if all(line.passed for line in lines):
                raise
            break
    return Report(tuple(lines)).require()


class Drive:
    """One stepper on one sequence. Each method is a law: it returns its figure, or raises ContractError."""

    def __init__(self, whole: Callee, stepper: Stepper, x: Array, expected: Array, most: float, draw: Draw) -> None:
        self._first = expected
        self.whole, self.stepper, self.x, self.expected, self.most, self.draw = whole, stepper, x, expected, most, draw

    def run(self, x: Array, lengths: Sequence[int] | None = None) -> Array:
        """The stepper over x, position by position or in pieces."""
        like = np.broadcast_to(self.expected[..., :1], (*self.expected.shape[:-1], x.shape[-1]))
        return self.stepper.drive(x, [1] * x.shape[-1] if lengths is None else lengths, like)

    def causal(self, other: Array) -> str:
        """A change from position t on changes no output before t."""
        length = self.x.shape[-1]
        for t in sorted({1, length // 2, length - 1}):
            after = self.whole(np.where(np.arange(length) < t, self.x, other))[..., :t]
            if wrong_at(after, self.expected[..., :t], self.most).any():
                said = where(after, self.expected[..., :t], self.most)
                raise ContractError(
                    f"{said} when x changes from position {t} on: it looks ahead, see check_causality; no step can"
                )
        if self._looks_further(other):
            return (
                f"causal; it looks back further than these {length} positions: only a longer sequence shows what comes from there"
            )
        changed = self.x.copy()
        changed[..., 0] = other[..., 0]
        if wrong_at(self.whole(changed)[..., -1:], self.expected[..., -1:], self.most).any():
            return "causal; the last output still depends on the first position: a longer sequence may show more"
        return "causal"

    def _looks_further(self, other: Array) -> bool:
        """Whether an output sees x from as far back as x is long; False where the whole takes no other length."""
        length = self.x.shape[-1]
        longer = min(_LONGER, max(2 * length, _LONG))
        if longer <= length:
            return False
        x = np.concatenate([self.x, other] * (longer // length), axis=-1)[..., :longer]
        changed = x.copy()
        changed[..., 0] = other[..., 0]
        try:
            return bool(wrong_at(self.whole(changed), self.whole(x), self.most)[..., length:].any())
        except Exception:  # somebody's function at a length that nobody asked of it, which it need not take: nothing is said
            return False

    def step(self) -> str:
        """Position by position."""
        actual = self._first = self.run(self.x)
        if wrong_at(actual, self.expected, self.most).any():
            raise ContractError(f"{where(actual, self.expected, self.most)}: {symptom(self._case(actual, self.run))}")
        worst = float(differences(actual, self.expected).max())
        return f"{self.x.shape[-1]} steps, largest difference {worst:.2g} (allowed {self.most:.2g})"

    def _case(self, actual: Array, steps: Callable[[Array], Array]) -> Case:
        return Case(self.x, self.expected, actual, self.most, self.whole, steps, self.run, self.draw)

    def block(self, seed: int) -> str:
        """In one piece, in pieces of one length, and cut at random."""
        length = self.x.shape[-1]
        sizes = sorted({1, 2, 3, 5, 7, length // 3, length // 2} & set(range(1, length // 2 + 1)))
        regular = [[size] * (length // size) + ([length % size] if length % size else []) for size in sizes]
        ways = [[length], *regular, *splits(np.random.default_rng(seed), length, range(1, min(length, 8)))]
        wrong: dict[int, tuple[list[int], Array]] = {}
        for n, lengths in enumerate(ways):
            try:
                actual = self.run(self.x, lengths)
                self._first = actual if n == 0 else self._first
            except RefarError:
                raise
            except Exception as error:
                why = "is a length traced in as a constant?" if n else "; ".join(getattr(error, "__notes__", []))
                raise ContractError(
                    f"in pieces of {_brief(lengths)}: {type(error).__name__} instead of a value: {error}; {why}"
                ) from error
            if wrong_at(actual, self.expected, self.most).any():
                wrong[n] = (lengths, actual)
        if wrong:
            raise ContractError(self._wrong_pieces(wrong, sizes))
        return f"{len(ways)} ways to cut {length} positions (allowed {self.most:.2g})"

    def _wrong_pieces(self, wrong: dict[int, tuple[list[int], Array]], sizes: list[int]) -> str:
        lengths, actual = wrong[0 if 0 in wrong else max((n for n in wrong if n <= len(sizes)), default=min(wrong))]
        said = f"in pieces of {_brief(lengths)}: {where(actual, self.expected, self.most)}"
        if 0 in wrong:
            return f"{said}: {symptom(self._case(actual, lambda x: self.run(x, [x.shape[-1]])))}"
        failing = [size for n, size in enumerate(sizes, start=1) if n in wrong]
        right = [size for size in sizes if size not in failing]
        if failing and right and max(failing) < min(right):
            return (
                f"{said}: wrong for pieces of at most {max(failing)}, right for {min(right)} and more: the new state is "
                "cut from the piece alone, and forgets what it held where the piece is shorter than the queue"
            )
        border = at_borders(wrong_at(actual, self.expected, self.most), lengths)
        return f"{said}: {border or symptom(self._case(actual, lambda x: self.run(x, _like(lengths, x.shape[-1]))))}"

    def again(self) -> str:
        """Twice from a fresh state."""
        second = self.run(self.x, [self.x.shape[-1]] if self.stepper.block else None)
        if wrong_at(second, self._first, 0.0).any():
            said = f"the second run differs from the first at {where(second, self._first, 0.0)}"
            if self.stepper.stateful:
                raise ContractError(f"{said}: reset() does not reset everything")
            raise ContractError(f"{said}: something is kept outside the state, or what initial_state gives has changed")
        return "the second run gives the same"

    def state(self) -> str:
        """The same state and the same x, at once and after other calls."""
        begin = min(self.x.shape[-1] - 1, 3)
        state = self.stepper.start()
        kept: list[tuple[Any, Array, Array]] = []
        for t in range(self.x.shape[-1]):
            piece = self.x[..., t : t + 1] if self.stepper.block else self.x[..., t]
            before = copied(state)
            y, state = self.stepper.feed(state, piece)
            kept.append((before, piece, y))
        for t in dict.fromkeys((begin, self.x.shape[-1] // 2, self.x.shape[-1] - 1)):
            before, piece, y = kept[t]
            again, _ = self.stepper.feed(copied(before), piece)
            if (again != y).any():
                place = tuple(np.argwhere(again != y)[0].tolist())
                raise ContractError(
                    f"the same state and x give {again[place]:.6g} after other calls, {y[place]:.6g} at step {t} itself: "
                    "something is kept outside the state, like a counter of steps or a buffer of its own"
                )
        if self.stepper.mutated:
            raise ContractError(
                f"{self.stepper.name} changes {self.stepper.mutated}: a second step from the same state gives other results; "
                "copy before writing (or make it a class with reset() and step(x))"
            )
        return "a value"

    def batch(self, other: Array) -> str:
        """One row changed."""
        before = self.run(self.x)
        for row in {0, len(self.x) - 1}:
            changed = self.x.copy()
            changed[row] = other[row]
            after = self.run(changed)
            after[row] = before[row]
            if wrong_at(after, before, 0.0).any():
                raise ContractError(f"rows of the batch mix in the steps: with row {row} changed, {where(after, before, 0.0)}")
        return "rows are apart"


def _like(lengths: list[int], total: int) -> list[int]:
    """The same pieces again and again, until there are `total` positions."""
    found: list[int] = []
    while sum(found) < total:
        found.append(min(lengths[len(found) % len(lengths)], total - sum(found)))
    return found


def _brief(lengths: list[int]) -> str:
    return f"{lengths}" if len(lengths) <= 6 else f"[{', '.join(map(str, lengths[:4]))}, …] ({len(lengths)} pieces)"
