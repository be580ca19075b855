"""One step function on one sequence: how the sequence is cut, how steps are driven over it, what they may differ by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import RefarError
from refar.testing.closeness import differences, wrong_at
from refar.testing.contract.cases import splits
from refar.testing.probe.inputs import Draw
from refar.testing.probe.observed import Observed
from refar.testing.probe.step_under_test import StepUnderTest
from refar.testing.probe.tolerance import Tolerance, computed_in, tolerance
from refar.testing.report import ContractError

NewState = Callable[[Any, int], Any]
"""Gives another state before the chunk that begins at a position."""


@dataclass(frozen=True)
class Cutting:
    """How a sequence is fed: by single positions, in chunks of any length (`block` True) or of one; outputs `latency` late.

    `segments` are the lengths of the sequences that it consists of.
    """

    block: bool | int
    latency: int
    segments: tuple[int, ...]

    @property
    def kept(self) -> Array:
        """The positions of which the outputs come before the end of their segment."""
        ends = np.cumsum(self.segments)
        begins = zip(ends - self.segments, ends - self.latency, strict=True)
        return np.concatenate([np.arange(begin, end) for begin, end in begins])

    @property
    def plain(self) -> bool:
        """Whether an output belongs to the position at which it comes, and all of the sequence to one."""
        return not self.latency and len(self.segments) == 1

    @property
    def size(self) -> int:
        """How many positions the smallest chunk has."""
        return int(self.block) or 1

    @property
    def pattern(self) -> list[int]:
        """The lengths of chunks that are repeated over a sequence, if there is no other wish."""
        return [sum(self.segments)] if self.block is True else [self.size]

    @property
    def alike(self) -> list[int]:
        """Lengths to try, of which all chunks of a sequence are, besides the whole at once."""
        length = sum(self.segments)
        wanted = {1, 2, 3, 5, 7, length // 3, length // 2} if self.block is True else set[int]()
        return sorted(wanted & set(range(1, length // 2 + 1)))

    def ways(self, seed: int) -> list[list[int]]:
        """Return all ways to cut, as lengths that are repeated: all at once, chunks that are alike, chunks that are not."""
        length = sum(self.segments)
        unlike = splits(np.random.default_rng(seed), length, range(1, min(length, 8))) if self.block is True else []
        return [self.pattern, *([size] for size in self.alike), *unlike]


@dataclass
class StreamUnderTest:
    """A whole function and its steps, a sequence x and another one, and what the whole function gives for x.

    `relative` is the tolerance that was asked for, `make` makes the steps anew. `right` are the outputs that are compared, at
    the positions `kept`; `once` is what the steps gave first, `asked` a hint on how they were called, and `looks_far` whether
    the last output may depend on the first position.
    """

    full: Observed
    steps: StepUnderTest
    x: Array
    other: Array
    expected: Array
    relative: float | None
    draw: Draw
    seed: int
    plan: Cutting
    make: Callable[[], StepUnderTest]

    def __post_init__(self) -> None:
        self.length, self.kept = self.x.shape[-1], self.plan.kept
        self.right = self.once = self.expected[..., self.kept]
        self.looks_far, self.asked, self._made = True, "", self.make

    def allowed(self, *outputs: Array) -> Tolerance:
        """Return what outputs may differ by, which were computed in the dtypes that they show."""
        named = [computed_in(self.expected, self.full.dtype), *(computed_in(y, self.steps.dtype) for y in outputs)]
        if self.expected.dtype.kind == "f" and self.x.dtype.kind == "f":
            named.append(self.x.dtype.name)
        return tolerance(self.expected, named, self.relative)

    def run(
        self, x: Array, pattern: Sequence[int] = (), steps: StepUnderTest | None = None, change: NewState | None = None
    ) -> Array:
        """Return the outputs of the steps over x, in chunks of the lengths of the pattern, again and again."""
        steps, outputs = steps or self.steps, []
        whole = x.shape[-1] == self.length
        for first, end in spans(self.plan.segments) if whole else [(0, x.shape[-1])]:
            like = np.broadcast_to(self.expected[..., :1], (*self.expected.shape[:-1], end - first))
            lengths = repeated(pattern or self.plan.pattern, end - first)
            outputs.append(steps.drive(x[..., first:end], lengths, like, change))
        return np.concatenate(outputs, axis=-1)

    def in_chunks(self, pattern: list[int], steps: StepUnderTest | None = None) -> Array:
        """Return the same for x. Raises ContractError that says which chunks were taken."""
        try:
            return self.run(self.x, pattern, steps)
        except ContractError as error:
            if not self.steps.chunks:
                raise
            raise ContractError(f"in chunks of {brief(repeated(pattern, self.length))}: {error}") from None

    def fits(self, actual: Array) -> bool:
        """Return whether the outputs of the steps are right."""
        return not wrong_at(actual, self.right, self.allowed(actual).most).any()

    def settle(self) -> None:
        """Run the steps once. A function takes the state or x first: by its parameters' names, else by which order is right.

        Raises ContractError where it runs in neither.
        """
        pattern, failure = self.plan.pattern, None
        try:
            self.once = self.in_chunks(pattern)
            if self.steps.stateful or self.fits(self.once):
                return
        except ContractError as error:
            failure = error
        if self.steps.stateful and failure:
            raise failure
        turned, once = self._turned(), None
        with suppress(ContractError, RefarError):  # then the order is the first one
            once = self.in_chunks(pattern, turned)
        if once is not None and (self.fits(once) or (failure and not self.steps.told)):
            self.steps, self.once, self.make = turned, once, self._turned
        elif failure:
            raise failure
        elif once is not None and not self.steps.told:
            self.asked = (
                f"it is called as {self.steps.call}; if it takes them the other way round, name its parameters state and x"
            )

    def _turned(self) -> StepUnderTest:
        """Return the steps with x and state in the other order than the names of the parameters say."""
        turned = self._made()
        turned.x_first = not turned.x_first
        return turned


def spans(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return begin and end of pieces of these lengths."""
    ends = np.cumsum(lengths).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def difference(actual: Array, expected: Array, most: Any, names: Array | None = None) -> str:
    """Say the first position where two outputs differ, both values there, and how many positions do; nothing if none does."""
    wrong = wrong_at(actual, expected, most)
    if not wrong.any():
        return ""
    t = int(wrong.argmax())
    limit = np.broadcast_to(most, expected.shape)[..., t]
    over = differences(actual[..., t], expected[..., t]) - limit
    row, *inner = (int(i) for i in np.unravel_index(int(over.argmax()), over.shape))
    inside = f", channel {', '.join(map(str, inner))}" if inner else ""
    values = f"expected {expected[(row, *inner, t)]:.6g}, got {actual[(row, *inner, t)]:.6g}"
    place = t if names is None else int(names[t])
    allowed = f"allowed {limit[(row, *inner)]:.2g}; {int(wrong.sum())} of {wrong.size} positions differ"
    return f"position {place} (row {row}{inside}): {values} ({allowed})"


def brief(lengths: list[int]) -> str:
    """Say lengths in few words."""
    return f"{lengths}" if len(lengths) <= 6 else f"[{', '.join(map(str, lengths[:4]))}, …] ({len(lengths)} chunks)"


def repeated(lengths: Sequence[int], total: int) -> list[int]:
    """Return the same lengths again and again, until they make up `total` positions."""
    times = -(-total // sum(lengths))
    ends = np.minimum(np.cumsum(np.tile(lengths, times)), total)
    found = np.diff(ends, prepend=0)
    return [int(n) for n in found if n]
