"""`check_causality`: any function of a sequence or an image, with no graph at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import ops
from refar.arguments.arrays import Array
from refar.errors import InputError, check_integer
from refar.testing.callee import Callee, Convert
from refar.testing.closeness import allowed, furthest
from refar.testing.probe.diagnosis import findings, shares
from refar.testing.probe.drawing import example
from refar.testing.probe.probe import Dependence, Offset, measure, require_stateless
from refar.testing.report import ContractError
from refar.testing.threads import one_thread


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
    rounding: float = 0.0,
    convert: Convert | None = None,
    dtype: DTypeLike = np.float32,
    seed: int = 0,
) -> Dependence:
    """Measure what f depends on; raise ContractError, in words, unless it is causal.

    f takes x_bct, class indices x_bt or an image x_bchw, and returns an array with the same batch and the same positions
    last. Give an example `x`, or a `shape`: then x is drawn in `dtype`, or as indices below `classes`. Four axes are an image,
    fewer a sequence, unless `kind` says otherwise. `convert` makes of each array what f takes, such as `torch.from_numpy`.

    Always: y_t does not see what comes after t (in an image, in raster order), rows do not mix, the first positions alone
    give the first outputs, and f returns numbers and changes nothing. With `strict=True` the nearest that y_t sees is
    x_{t-1}, with False x_t. `reach` is the exact set of offsets, over an image of (rows up, columns left); R stands for
    the R nearest ones. With `colours` an image is ordered within a pixel too; channel j belongs to colour j mod `colours`, and
    `reach` may be what `refar.colour_offsets` gives.
    Changes of the output up to `rounding` times its largest value are not counted (an FFT changes everything a little).
    T positions in B rows take 4 to 10 times T / B calls: many rows of T a little above R are the cheapest.
    """
    draw, extent = example("check_causality", x, shape, kind, classes, colours, dtype)
    callee = Callee(f, convert=convert)
    sample, _ = draw(np.random.default_rng(seed), 0)
    y = callee(sample)
    found = measure(callee, draw, extent, seed=seed, rounding=rounding)
    by_colour = _expected_colours(reach, colours)
    expected = None if reach is None or by_colour is not None else _expected(reach, found, strict)
    wrong = findings(found, strict, expected, by_colour)
    notes = _notes(found)
    if not np.triu(found.seen, 1).any():
        short, refused = _first_positions(callee, sample, len(extent.sides))
        wrong += short
        notes += refused
        notes += _elsewhere(callee, sample, found)
    require_stateless(callee, sample, y)
    if len(sample) == 1:
        notes.append("a batch of one row: whether rows mix is not seen")
    if wrong:
        raise ContractError("\n".join(f"{callee.name}: {sentence}" for sentence in wrong))
    return replace(found, notes=tuple(notes))


def _expected(reach: int | Iterable[Any], found: Dependence, strict: bool | None) -> frozenset[Offset]:
    """The set that `reach` stands for. Raises InputError for one that x is too small to show."""
    extent, axes = found.extent, len(found.extent.sides)
    if not isinstance(reach, Iterable):
        if extent.plane:
            raise InputError(f"reach: expected a set of (rows up, columns left) for an image, got {reach!r}")
        first = int(0 not in found.offsets if strict is None else strict)
        reach = range(first, first + check_integer("reach", reach, 0))
    each = [tuple(o) if isinstance(o, Iterable) else (o,) for o in reach]
    if any(len(o) != axes for o in each):
        raise InputError(f"reach: expected {'pairs (rows up, columns left)' if extent.plane else 'integers'}, got {reach!r}")
    wanted = {tuple(check_integer("reach", n, -ops.FURTHEST) for n in o) for o in each}
    for n, (side, name) in enumerate(zip(extent.sides, ("rows", "columns") if extent.plane else ("positions",), strict=True)):
        most = max((abs(o[n]) for o in wanted), default=0)
        if most >= side:
            raise InputError(f"reach: {most} {name} away do not fit into x, expected more than {most} {name} there, got {side}")
    return frozenset(o if extent.plane else o[0] for o in wanted)


def _expected_colours(reach: object, colours: int) -> tuple[frozenset[Offset], ...] | None:
    """The sets of `refar.colour_offsets`, if it is those."""
    if colours == 1 or not isinstance(reach, tuple | list) or len(reach) != colours:
        return None
    each = tuple(frozenset(tuple(o) for o in own) for own in reach if isinstance(own, set | frozenset))
    return each if len(each) == colours and all(len(o) == 3 for own in each for o in own) else None


def _first_positions(f: Callee, x: Array, axes: int) -> tuple[list[str], list[str]]:
    """The first positions alone give the first outputs: mistakes, and notes where f takes one length only."""
    y, length = f(x), x.shape[-axes]
    later = (slice(None),) * (axes - 1)
    for count in sorted({1, length // 2, length - 1} - {0, length}):
        first: tuple[Any, ...] = (..., slice(count), *later)
        try:
            short = f(x[first])
        except ContractError as error:
            return [f"on the first {count} of {length} positions: {error}"], []
        except Exception as error:
            return [], [f"other lengths than {length} are not taken: {type(error).__name__}"]
        expected = y[first]
        if short.shape != expected.shape:
            what = f"on the first {count} of {length} positions: expected shape {expected.shape}, got {short.shape}"
            return [f"{what}; is a length traced in as a constant, or an index of -0?"], []
        if (place := furthest(short, expected, allowed(y, x))) is not None:
            return [
                f"the first {count} of {length} positions alone give another output: at {list(place)} {short[place]:.6g}, in the "
                f"whole {expected[place]:.6g}; it knows how long the sequence is (a mean over T, the last position, "
                "positions counted from the end?)"
            ], []
    return [], []


def _notes(found: Dependence) -> list[str]:
    if found.extent.plane:
        return []
    rare = [offset for offset, share in shares(found).items() if share < 0.75]
    if not rare:
        return []
    return [f"the offsets {', '.join(map(str, rare[:6]))} are seen at some positions only: the result depends on the position"]


def _elsewhere(f: Callee, x: Array, found: Dependence) -> list[str]:
    """Whether the same window gives the same output one position further on; positional encodings do not."""
    far = found.offsets
    if found.extent.plane or not far or max(far) + 2 >= found.extent.count:
        return []
    moved = np.concatenate([x[..., :1], x[..., :-1]], axis=-1)
    first = max(far) + 1
    expected, actual = f(x)[..., first - 1 : -1], f(moved)[..., first:]
    place = furthest(actual, expected, allowed(expected, x))
    if place is None:
        return []
    return [
        f"the same window gives another output one position further on: {actual[place]:.6g}, not {expected[place]:.6g}; "
        "the result depends on the position"
    ]
