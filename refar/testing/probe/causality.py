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
from refar.testing.closeness import allowed, furthest
from refar.testing.explain.dependence import Dependence
from refar.testing.explain.future import PRESENT, Present, ahead, shares
from refar.testing.explain.offsets import Offsets, Sets, against
from refar.testing.explain.words import first
from refar.testing.probe.inputs import example
from refar.testing.probe.measure import measure, require_stateless
from refar.testing.report import ContractError
from refar.testing.threads import one_thread
from refar.testing.under_test import Convert, FunctionUnderTest


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
    draw, domain = example("check_causality", x, shape, kind, classes, colours, dtype)
    function = FunctionUnderTest(f, convert=convert)
    sample, _ = draw(np.random.default_rng(seed), 0)
    y = function(sample)
    found = measure(function, draw, domain, seed=seed, rounding=rounding)
    by_colour = _expected_colours(reach, colours)
    expected = None if reach is None or by_colour else _expected(reach, found, strict)
    wrong, notes = _mistakes(found, strict, expected, by_colour), _notes(found)
    if not np.triu(found.seen, 1).any():
        short, refused = _first_positions(function, sample, len(domain.sides))
        wrong += short
        notes += refused + _elsewhere(function, sample, found)
    require_stateless(function, sample, y)
    if len(sample) == 1:
        notes.append("a batch of one row: whether rows mix is not seen")
    if wrong:
        raise ContractError("\n".join(f"{function.name}: {sentence}" for sentence in wrong))
    return replace(found, notes=tuple(notes))


def _mistakes(found: Dependence, strict: bool | None, expected: Offsets | None, by_colour: Sequence[Offsets]) -> list[str]:
    """Say every mistake in a sentence; `by_colour` are the offsets expected of the outputs of each colour."""
    if not found.seen.any():
        return ["the output depends on no input: it is the same whatever x is (weights of zero, a constant, a state never fed?)"]
    said = [ahead(found)]
    if strict is not None and not said[0]:
        said.append(first(PRESENT, Present(found, strict)))
    if expected is not None and found.offsets != expected:
        said.append(against(found, expected))
    for c, meant in enumerate(by_colour):
        sets = Sets(found.colour_offsets[c], meant)
        said += [f"the outputs of colour {c} see {sets}"] if sets.missing or sets.surplus else []
    return [sentence for sentence in said if sentence]


def _expected(reach: int | Iterable[Any], found: Dependence, strict: bool | None) -> Offsets:
    """Return the set that `reach` stands for. Raises InputError for one that x is too small to show."""
    sides, image = found.domain.sides, found.domain.image
    if not isinstance(reach, Iterable):
        if image:
            raise InputError(f"reach: expected a set of (rows up, columns left) for an image, got {reach!r}")
        nearest = int(0 not in found.offsets if strict is None else strict)
        reach = range(nearest, nearest + check_integer("reach", reach, 0))
    each = [tuple(o) if isinstance(o, Iterable) else (o,) for o in reach]
    if any(len(o) != len(sides) for o in each):
        raise InputError(f"reach: expected {'pairs (rows up, columns left)' if image else 'integers'}, got {reach!r}")
    wanted = {tuple(check_integer("reach", n, -ops.FURTHEST) for n in o) for o in each}
    for n, (side, name) in enumerate(zip(sides, ("rows", "columns") if image else ("positions",), strict=True)):
        most = max((abs(o[n]) for o in wanted), default=0)
        if most >= side:
            raise InputError(f"reach: {most} {name} away do not fit into x, expected more than {most} {name} there, got {side}")
    return frozenset(o if image else o[0] for o in wanted)


def _expected_colours(reach: Any, colours: int) -> tuple[Offsets, ...]:
    """Return the sets of `refar.colour_offsets`, if `reach` is those."""
    if colours == 1 or not isinstance(reach, tuple | list) or not all(isinstance(own, set | frozenset) for own in reach):
        return ()
    each = tuple(frozenset(tuple(o) for o in own) for own in reach)
    return each if len(each) == colours and all(len(o) == 3 for own in each for o in own) else ()


def _first_positions(f: FunctionUnderTest, x: Array, axes: int) -> tuple[list[str], list[str]]:
    """Compare the first positions alone with the first outputs: mistakes, and notes where f takes one length only."""
    y, length = f(x), x.shape[-axes]
    for count in sorted({1, length // 2, length - 1} - {0, length}):
        begin: tuple[Any, ...] = (..., slice(count), *[slice(None)] * (axes - 1))
        said = f"on the first {count} of {length} positions: "
        try:
            short, expected = f(x[begin]), y[begin]
        except ContractError as error:
            return [f"{said}{error}"], []
        except Exception as error:
            return [], [f"other lengths than {length} are not taken: {type(error).__name__}"]
        if short.shape != expected.shape:
            why = "is a length traced in as a constant, or an index of -0?"
            return [f"{said}expected shape {expected.shape}, got {short.shape}; {why}"], []
        if (place := furthest(short, expected, allowed(y, x))) is not None:
            return [
                f"the first {count} of {length} positions alone give another output: at {list(place)} {short[place]:.6g}, in the "
                f"whole {expected[place]:.6g}; it knows how long the sequence is (a mean over T, the last position, "
                "positions counted from the end?)"
            ], []
    return [], []


def _notes(found: Dependence) -> list[str]:
    rare = [] if found.domain.image else [str(offset) for offset, share in shares(found).items() if share < 0.75]
    seen = f"the offsets {', '.join(rare[:6])} are seen at some positions only: the result depends on the position"
    return [seen] if rare else []


def _elsewhere(f: FunctionUnderTest, x: Array, found: Dependence) -> list[str]:
    """Say whether the same window gives another output one position further on, as positional encodings do."""
    begin = max(found.offsets, default=0) + 1 if not found.domain.image else found.domain.count
    if begin + 1 >= found.domain.count:
        return []
    moved = np.concatenate([x[..., :1], x[..., :-1]], axis=-1)
    expected, actual = f(x)[..., begin - 1 : -1], f(moved)[..., begin:]
    place = furthest(actual, expected, allowed(expected, x))
    what = "the same window gives another output one position further on"
    return [] if place is None else [
        f"{what}: {actual[place]:.6g}, not {expected[place]:.6g}; the result depends on the position"
    ]  # fmt: skip
