"""Where an operator looks: offsets over time, steps in an image, and what a mask shows.

Steps in an image are also numbers that add up like the pairs they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from refar import ops


@lru_cache(maxsize=1024)
def taps(op: ops.WindowedOp) -> tuple[int, ...]:
    """List the offsets that the operator reads, oldest first: weight k of a convolution sees strict + (K-1-k)·D."""
    match op:
        case ops.Conv1d():
            return tuple(int(op.strict) + k * op.dilation for k in reversed(range(op.kernel)))
        case ops.Shift():
            return (op.steps,)
        case ops.Pool1d():
            return tuple(k * op.dilation for k in reversed(range(op.kernel)))
        case _:
            assert_never(op)


def offsets_of_node(op: ops.AnyOp) -> tuple[int, ...]:
    """List the offsets between a node's value and its inputs over time, oldest first: 0 alone unless the operator is windowed."""
    return taps(op) if isinstance(op, ops.WindowedOp) else (0,)


Step = tuple[int, int]
"""(rows up, columns left): how far before the pixel in each direction. (0, 0) is the pixel, (0, -1) its right neighbour."""


def kernel_steps(op: ops.ImageOp) -> list[list[Step]]:
    """Where each weight of the kernel looks, by its row and column; a shift is a kernel of one."""
    match op:
        case ops.Conv2d():
            up, left = _anchor(op)
            return [
                [((up - u) * op.dilation[0], (left - v) * op.dilation[1]) for v in range(op.kernel[1])]
                for u in range(op.kernel[0])
            ]
        case ops.Shift2d():
            return [[(op.down, op.right)]]
        case _:
            assert_never(op)


def sees(op: ops.ImageOp, step: Step, input_channel: int, output_channel: int) -> bool:
    """Whether the mask lets a weight see, for channels counted through all groups."""
    match op:
        case ops.Shift2d():
            return True
        case ops.Conv2d():
            if op.mask == "none" or step > (0, 0):
                return True
            if step < (0, 0):
                return False
            given, wanted = input_channel % op.colours, output_channel % op.colours
            return given < wanted or (op.mask == "B" and given == wanted)
        case _:
            assert_never(op)


def steps(op: ops.ImageOp) -> frozenset[Step]:
    """The steps at which the mask lets weights see; with groups of few channels it may leave none at the pixel itself."""
    found = frozenset(step for row in kernel_steps(op) for step in row)
    match op:
        case ops.Shift2d():
            return found
        case ops.Conv2d():
            here = op.mask == "B" or op.colours > 1
            return found if op.mask == "none" else frozenset(s for s in found if s > (0, 0) or (s == (0, 0) and here))
        case _:
            assert_never(op)


def steps_of_node(op: ops.AnyOp) -> frozenset[Step]:
    """List the steps between a node's value and its inputs in an image: (0, 0) alone unless it is a convolution or shift."""
    return steps(op) if isinstance(op, ops.ImageOp) else frozenset({(0, 0)})


def adds_taps(op: ops.AnyOp) -> bool:
    """Whether `op` reads other pixels and adds up what its taps give, so that those in rows above can be added up before."""
    if not isinstance(op, ops.ImageOp):
        return False
    match op:
        case ops.Conv2d():
            return True
        case ops.Shift2d():
            return False
        case _:
            assert_never(op)


def furthest(op: ops.ImageOp) -> int:
    """How far the operator looks up or down, left or right: known without listing its steps, which may be many."""
    match op:
        case ops.Shift2d():
            return max(abs(op.down), abs(op.right))
        case ops.Conv2d():
            (up, left), masked = _anchor(op), op.mask != "none"
            down, right = 0 if masked else op.kernel[0] - 1 - up, 0 if masked and not up else op.kernel[1] - 1 - left
            return max(max(up, down) * op.dilation[0], max(left, right) * op.dilation[1])
        case _:
            assert_never(op)


def _anchor(op: ops.Conv2d) -> tuple[int, int]:
    return op.anchor or (op.kernel[0] // 2, op.kernel[1] // 2)


@dataclass(frozen=True)
class Grid:
    """Steps as numbers: (up·columns + left)·colours + colour, where `colour` is the channel of the input that is seen.

    With |left| < columns/2 for all sums that occur, sums of numbers are the numbers of sums, and numbers are ordered as the
    sequence is: by rows, then columns, then colours. The pixel's own colours are 0..colours-1, what lies ahead is negative.
    """

    columns: int
    colours: int

    def number(self, step: Step, colour: int = 0) -> int:
        """Of one step."""
        return (step[0] * self.columns + step[1]) * self.colours + colour

    def numbers(self, many: Iterable[Step]) -> list[int]:
        """Of several, to be added: without a colour."""
        return [self.number(step) for step in many]

    def step(self, number: int) -> Step:
        """The step that a number stands for."""
        pixels = number // self.colours
        up = (pixels + self.columns // 2) // self.columns
        return up, pixels - up * self.columns

    def colour(self, number: int) -> int:
        """The colour that a number stands for."""
        return number % self.colours


def grid_for(widest: int, colours: int) -> Grid:
    """A grid with room for every sum of steps that goes no more than `widest` columns to the side."""
    return Grid(2 * widest + 1, colours)
