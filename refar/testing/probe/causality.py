"""`check_causality`: any function of a sequence or an image, with no graph at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar.arguments.arrays import Array
from refar.errors import InputError
from refar.testing.closeness import furthest
from refar.testing.explain.dependence import Dependence, Domain
from refar.testing.probe.inputs import LARGEST, Draw, example, folded, resized
from refar.testing.probe.judge import judge
from refar.testing.probe.lengths import elsewhere, first_positions, in_front
from refar.testing.probe.looking import Probe
from refar.testing.probe.meant import Meant
from refar.testing.probe.measure import require_rows_apart, require_same, require_stateless
from refar.testing.probe.one_row import one_row
from refar.testing.probe.rate import Rate
from refar.testing.probe.watched import Watched
from refar.testing.report import ContractError
from refar.testing.threads import one_thread
from refar.testing.told import told
from refar.testing.under_test import Convert


@told
@one_thread()
def check_causality(
    f: Callable[[Array], Any],
    x: ArrayLike | None = None,
    *,
    shape: Sequence[int] | None = None,
    kind: Literal["sequence", "image"] | None = None,
    classes: int = 0,
    colours: int = 1,
    strict: bool | None = None,
    reach: int | Iterable[Any] | None = None,
    rate: float | Fraction = 1,
    rounding: float | None = None,
    convert: Convert | None = None,
    dtype: DTypeLike = np.float32,
    seed: int = 0,
) -> Dependence:
    """Measure what f depends on; raise ContractError, in words, unless it is causal.

    f takes x_bct, class indices x_bt or an image x_bchw, and returns an array with the same batch and the same positions
    last. Give an example `x`, or a `shape`: then x is drawn in `dtype`, or as indices below `classes`. Four axes are an image,
    fewer a sequence, unless `kind` says otherwise. `convert` makes of each array what f takes, such as `torch.from_numpy`; a
    module of PyTorch needs none.

    Always: y_t does not see what comes after t (in an image, in raster order), rows do not mix, the first positions alone
    give the first outputs, and f returns numbers and changes nothing. With `strict=True` the nearest that y_t sees is
    x_{t-1}, with False x_t. `reach` is the exact set of offsets, over an image of (rows up, columns left), to which every
    position is held; R stands for the R nearest ones. Only what was seen contradicts it, or what should have shown by far. With
    `colours` an image is ordered within a pixel too; channel j belongs to colour j mod `colours`, and `reach` may be what
    `refar.colour_offsets` gives.

    With `rate` = n f returns n outputs for each position of x, with 1/n one for n of them; then positions, offsets and `reach`
    count frames: y_t are the n outputs of frame t, or x_t the n inputs.
    Changes of the output up to `rounding` times its largest value may be rounding and are not counted; by default 100
    roundings of its dtype where changes that small come before their cause, as in an FFT.
    """
    frames = Rate(rate)
    draw, full = example("check_causality", x, shape, kind, classes, colours, dtype)
    if full.image and frames != Rate(1):
        raise InputError(f"rate: expected 1 for an image, got {rate!r}")
    domain = Domain((frames.positions(full.count),)) if frames != Rate(1) else full
    if domain.count > LARGEST:
        enough = "a sequence a few times as long as the reach shows as much"
        raise InputError(f"{'shape' if x is None else 'x'}: expected at most {LARGEST} positions, got {domain.count}: {enough}")
    meant, function = Meant(reach, strict, domain), Watched(f, convert, frames)
    draw = folded(draw, frames)
    sample, other = draw(np.random.default_rng(seed), 0)
    y = require_same(function, sample, domain)
    batches = _in_good_batches(function, draw, sample, other, y, domain, seed)
    probe = Probe(function, batches, domain, meant, seed, rounding)
    probe.look()
    few_rows = min(sample, batches(np.random.default_rng(seed), 0)[0], key=len)
    found, wrong, notes = judge(probe, in_front(function, few_rows))
    if not np.triu(found.seen, 1).any():
        short, refused = first_positions(function, few_rows, len(domain.sides))
        wrong += short
        notes += refused + elsewhere(function, few_rows, found)
    require_stateless(function, sample, y)
    mistaken, untried = one_row(function, sample, y)
    wrong, notes = [*wrong, *mistaken], [*notes, *untried]
    if function.printed:
        notes.append(f"it prints at its calls, which was kept back: {function.printed.splitlines()[0][:80]!r}")
    if wrong:
        raise ContractError("\n".join(f"{function.name}: {sentence}" for sentence in wrong))
    return replace(found, notes=tuple(notes))


_WORK, _MOST_ROWS = 1 << 12, 64


def _in_good_batches(f: Watched, draw: Draw, x: Array, other: Array, y: Array, domain: Domain, seed: int) -> Draw:
    """Return the draw with as many rows as make a call worth its while and no more, where f takes another number of rows."""
    rows = min(max(2, _WORK // domain.count), _MOST_ROWS)
    if len(x) in (1, rows):
        return draw
    if len(x) < rows:
        require_rows_apart(f, x, other, y)
    better = resized(draw, rows)
    batch, shape = better(np.random.default_rng(seed), 0)[0], (rows, *y.shape[1:])
    try:
        again = f(batch, shape=shape)
    except ContractError:
        if _refused(f, batch, shape):
            return draw
        raise
    both = min(len(y), rows)
    if (place := furthest(again[:both], y[:both], f.tolerance(y, len(domain.sides)).rounding)) is not None:
        require_stateless(f, x, y)
        alone = f"{again[place]:.6g} in a batch of {rows} rows, {y[place]:.6g} in one of {len(y)}"
        raise ContractError(f"rows of the batch mix: the same row gives at {list(place)} {alone}")
    return better


def _refused(f: Watched, batch: Array, shape: Sequence[int]) -> bool:
    """Return whether f does not take a batch at all, rather than now and then."""
    try:
        f(batch, shape=shape)
    except ContractError:
        return True
    return False
