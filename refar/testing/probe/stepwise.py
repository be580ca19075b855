"""`check_streaming`: any step function, of positions or chunks, against the function of the whole sequence, with no graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar.arguments.arrays import Array
from refar.errors import InputError, check_integer
from refar.testing.probe.inputs import example
from refar.testing.probe.measure import require_rows_apart, require_same
from refar.testing.probe.memory_laws import MemoryLaws
from refar.testing.probe.observed import Heard, Observed
from refar.testing.probe.step_under_test import StepUnderTest
from refar.testing.probe.stream_laws import Laws
from refar.testing.probe.stream_under_test import Cutting, StreamUnderTest
from refar.testing.report import Line, Report, hold
from refar.testing.threads import one_thread
from refar.testing.told import told
from refar.testing.under_test import Convert


@told
@one_thread()
def check_streaming(
    full: Callable[[Array], Any],
    step: Any,
    x: ArrayLike | None = None,
    *,
    shape: Sequence[int] | None = None,
    classes: int = 0,
    initial_state: Any = None,
    block: bool | int = False,
    latency: int = 0,
    segments: Sequence[int] | None = None,
    reorder: bool = False,
    exact: bool = False,
    tolerance: float | None = None,
    convert: Convert | None = None,
    dtype: DTypeLike = np.float32,
    seed: int = 0,
) -> Report:
    """Drive `step` over a sequence and compare with `full(x)`; raise ContractError, in words, where they differ.

    `step(state, x_t) → (y_t, state)`, or `step(x_t, state)`, starts from `initial_state`, a value or a function of the number of
    rows: arrays, tensors, numbers or None, in tuples, lists, dictionaries, dataclasses or objects. Or it is an object or class
    with `reset()` and `step(x_t) → y_t` or `__call__`. x_t has no axis of positions, and y_t none. Give an example `x`, or its
    `shape`: longer than what the network looks back, or its end is not seen. An image is the sequence of its pixels in raster
    order: let `full` reshape (B, C, H·W) to an image and back. `convert` makes of each x and x_t what both functions take, such
    as `torch.from_numpy`; the state is what `initial_state` gives.

    With `block=True` the step takes and gives chunks of any length, (B, C, n) → (B, Q, n), and is tried with many; with
    `block=N` all have N positions. With `latency=L` the output at position t is that of `full` at t - L: the first L are not
    compared, and the step may hold them back, as None or, with `block`, as fewer positions. With `segments=[n, m, …]` x is
    several sequences one after the other, which `full` knows to be apart; the steps begin afresh at each. With `reorder` the
    rows of the state are put in another order between steps, as a search over beams does, and outputs have to follow: the axis
    that counts the rows is the one that grows with them; a class has `reorder(rows)`.

    Integers, and all with `exact`, are compared by ==. Floats of channel c may differ by κ·u·max|y_c|, u being a rounding of
    the coarsest dtype that takes part and κ = 16·(2 + log2 T), but by no more than a hundredth of the channel's spread; what
    lies between the two is refused as something that this dtype cannot show. `tolerance` replaces both by that share of max|y_c|.
    """
    draw, domain = example("check_streaming", x, shape, "sequence", classes, 1, dtype)
    if domain.count < 2:
        raise InputError(f"x: expected at least 2 positions, got {domain.count}")
    if tolerance is not None and not tolerance >= 0:
        raise InputError(f"tolerance: expected a number ≥ 0, got {tolerance!r}")
    sample, other = draw(np.random.default_rng(seed), 0)
    given = "x" if shape is None else "shape"
    if sample.ndim > 3:
        raise InputError(
            f"{given}: expected (B, C, T), or (B, T) for class indices, got {sample.shape}; "
            "of an image the pixels in a row: reshape to (B, C, H·W)"
        )
    plan = _plan(given, domain.count, block, latency, segments)
    if reorder and len(sample) < 2:
        raise InputError(f"reorder: expected at least 2 rows, got {len(sample)}")
    heard = Heard()
    with redirect_stdout(heard):
        whole = Observed(full, "full" if not callable(full) else "", convert)
        expected = require_same(whole, sample, domain)
        require_rows_apart(whole, sample, other, expected)
        chunks = plan.block is not False

        def steps() -> StepUnderTest:
            return StepUnderTest(step, initial_state, len(sample), chunks, convert, plan.latency, plan.size)

        stream = StreamUnderTest(whole, steps(), sample, other, expected, 0.0 if exact else tolerance, draw, seed, plan, steps)
        stream.settle()
        report = hold(_chosen(stream, reorder), ("whole", "again"))  # nothing can follow, or nothing starts afresh
    return _with_prints(report, heard.getvalue())


def _plan(given: str, length: int, block: bool | int, latency: int, segments: Sequence[int] | None) -> Cutting:
    """Return how the sequence is cut. Raises InputError for what does not fit its length."""
    if not isinstance(block, bool):
        check_integer("block", block, 1)
    check_integer("latency", latency, 0)
    parts = (length,) if segments is None else tuple(check_integer("segments", n, 1) for n in segments)
    if sum(parts) != length:
        raise InputError(
            f"segments: expected lengths that make up the {length} positions, got {list(parts)}, {sum(parts)} in all"
        )
    if min(parts) <= latency:
        raise InputError(f"latency: expected less than the {min(parts)} positions of a sequence, got {latency}")
    if block is not False and block is not True and any(n % block for n in parts):
        raise InputError(f"{given}: expected a multiple of block={block} positions, got {' and '.join(map(str, parts))}")
    return Cutting(block, latency, parts)


def _chosen(stream: StreamUnderTest, reorder: bool) -> dict[str, Callable[..., None]]:
    """Return the laws that apply."""
    laws, memory = Laws(stream), MemoryLaws(stream)
    chosen = {"whole": laws.whole, "block" if stream.steps.chunks else "step": laws.steps_and_chunks, "again": laws.again}
    chosen |= {} if stream.steps.stateful else {"state": laws.state}
    chosen |= {"batch": laws.batch} if len(stream.x) > 1 else {}
    chosen |= {"layout": memory.layout, "threads": memory.threads, "memory": memory.memory}
    return chosen | ({"reorder": memory.reorder} if reorder else {})


def _with_prints(report: Report, printed: str) -> Report:
    """Return the report with a line on what was printed meanwhile, if anything was."""
    if not (lines := printed.splitlines()):
        return report
    said = f"{len(lines)} lines were printed, the first: {lines[0][:80]}"
    return replace(report, lines=(*report.lines, Line("output", "What functions print.", True, said, applies=False)))
