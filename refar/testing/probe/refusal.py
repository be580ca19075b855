"""What is said of steps that give other outputs than the whole: where, why if it can be reproduced, what they see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from refar.arguments.arrays import Array
from refar.errors import RefarError
from refar.testing.closeness import wrong_at
from refar.testing.explain.changes import cause
from refar.testing.explain.outputs import Sample, StepRun, where
from refar.testing.explain.words import spell
from refar.testing.probe import states
from refar.testing.probe.measure import echoes
from refar.testing.probe.stream_under_test import StreamUnderTest, brief, difference, repeated
from refar.testing.report import ContractError
from refar.testing.under_test import FunctionUnderTest

_MORE = 64
_CLEAR = 2.0**-8
"""Answers to a change that are smaller, beside the largest one, are not spoken of: rounding may decide whether they are seen."""


@dataclass(frozen=True)
class Refusal:
    """Steps that gave `actual` in chunks of the pattern's lengths; `right` says which lengths of all chunks are right."""

    stream: StreamUnderTest
    pattern: list[int]
    actual: Array
    right: dict[int, bool]

    def __str__(self) -> str:
        stream, used, lengths = self.stream, self.stream.allowed(self.actual), repeated(self.pattern, self.stream.length)
        shapes = [] if stream.steps.stateful else [leaf.shape for leaf in states.leaves(stream.steps.start())]
        sample = Sample(stream.x, stream.right, self.actual, lengths)
        run = StepRun(
            sample, self._second, used.most, stream.full, self._steps, self._mended, shapes, stream.plan.plain, self.right
        )
        why = cause(run)
        cut = f"in chunks of {brief(lengths)}: " if stream.steps.chunks else ""
        said = f"{cut}{difference(self.actual, stream.right, used.most, stream.kept)}: {where(run, stream.kept)}"
        if why:
            return f"{said}: {why}"
        if not wrong_at(self.actual, stream.right, used.rounding).any():
            return (
                f"{said}: {used.dtype} cannot show whether the steps are right: they differ by more than a hundredth of a "
                "channel's spread, but by no more than its roundings may add up to; compare in a finer dtype, or give tolerance="
            )
        seen = self._offsets(run.wrong[0]) if stream.plan.plain else ""
        return "; ".join(filter(None, (said, seen, stream.steps.dtypes_seen, stream.asked)))

    def _steps(self, x: Array) -> Array:
        return self.stream.run(x, self.pattern)

    def _second(self) -> Sample:
        """Return another sequence with what whole and steps give for it."""
        stream = self.stream
        expected = stream.full(stream.other)[..., stream.kept]
        return Sample(stream.other, expected, self._steps(stream.other), repeated(self.pattern, stream.length))

    def _mended(self, x: Array, change: Callable[[Any, int], Any]) -> Array:
        """Return the outputs of the steps from change(array, n) in the place of the n-th array of the first state."""
        return self.stream.run(x, self.pattern, self.stream.make(), lambda state, t: state if t else states.mapped(state, change))

    def _offsets(self, begin: int) -> str:
        """Say at which offsets steps and whole answer a change of x at one position, if at others; the first ones have to do."""
        full, draw, length = self.stream.full, self.stream.draw, self.stream.length
        try:
            in_whole = echoes(full, draw, length)
            enough = min(length, 2 * (begin + max(in_whole, default=0)) + _MORE)

            def cut(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
                x, other = draw(rng, n)
                return x[..., :enough], other[..., :enough]

            in_steps = echoes(FunctionUnderTest(self._steps, self.stream.steps.name), cut, enough)
        except (ContractError, RefarError):  # the steps give no such answers: then there is nothing to say of them
            return ""
        in_whole = {offset: by for offset, by in in_whole.items() if offset < enough}
        clear = [_clear(echo) for echo in (in_whole, in_steps)]
        fewer, more = clear[0] - in_steps.keys(), clear[1] - in_whole.keys()
        parts = [f"the whole answers at the offsets {spell(fewer)}, the steps do not"] if fewer else []
        parts += [f"the steps answer at the offsets {spell(more)}, the whole does not"] if more else []
        return f"where x changes at one position, {' and '.join(parts)}" if parts else ""


def _clear(echo: dict[int, float]) -> set[int]:
    """Return the offsets at which the answer is no small part of the largest."""
    return {offset for offset, by in echo.items() if by > _CLEAR * max(echo.values())}
