"""What is wrong with a dependency set, in words: the future, the present, and what was expected, over a sequence."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from refar.testing.probe.diagnosis2d import ahead_in_image, likely_in_image
from refar.testing.probe.probe import Dependence, Offset, spell

Offsets = frozenset[Offset]


def findings(
    found: Dependence, strict: bool | None, expected: Offsets | None, by_colour: tuple[Offsets, ...] | None = None
) -> list[str]:
    """Every mistake in a sentence; none if there is none. `by_colour` are the expected offsets of the outputs of each colour."""
    if not found.seen.any():
        return ["the output depends on no input: it is the same whatever x is (weights of zero, a constant, a state never fed?)"]
    said = [ahead(found), present(found, strict)]
    if expected is not None and found.offsets != expected:
        said.append(against(found, expected))
    if by_colour is not None:
        pairs = zip(found.colour_offsets, by_colour, strict=True)
        said += [f"the outputs of colour {c} see {_difference(s, e)}" for c, (s, e) in enumerate(pairs) if s != e]
    return [sentence for sentence in said if sentence]


def ahead(found: Dependence) -> str:
    """Nothing, or how far an output sees what comes after it, and where that comes from."""
    future = np.triu(found.seen, 1)
    if not future.any():
        return ""
    if found.seen.all() and found.extent.count > 2:
        why = (
            "every output sees every position: something runs over all of them, like a normalisation over time, a softmax over "
            "the wrong axis, attention without a mask, a backward recurrence"
        )
    else:
        why = _one_for_all(found) or (ahead_in_image(found) if found.extent.plane else _ahead_in_time(found))
    return f"it sees the future: {why}; for one, {found.evidence(future)}"


def _one_for_all(found: Dependence) -> str:
    """Nothing, or the places of the input that every output sees, if nothing else of the future is seen."""
    count, places = found.extent.count, np.flatnonzero(np.triu(found.seen, 1).any(axis=0)).tolist()
    if count < 3 or not found.seen[:, places].all():
        return ""
    where = ", ".join(map(found.extent.name, places[:6])) + (f", … {len(places)} in all" if len(places) > 6 else "")
    last = ", the last one" if places == [count - 1] else ""
    return f"all outputs see {where}{last}: one place, or a statistic of the whole like a maximum, goes into every output"


def _ahead_in_time(found: Dependence) -> str:
    length = found.extent.count
    often = {offset: share * (length - abs(offset)) for offset, share in shares(found).items() if share >= 0.5}
    regular = sorted(offset for offset, count in often.items() if count >= length / 4)
    if not regular or regular[0] >= 0:
        return _ahead_here_and_there(found)
    every = f"the offsets are {spell(regular)} (-1 is x of the next position)"
    others = [offset for offset in regular if offset]
    if not _even(regular) and _even(others):  # a residual sees the present besides
        regular = others
    nearest, furthest, step = regular[0], regular[-1], spacing(regular)
    if len(regular) == 1:
        return f"looks like a shift by {-nearest} to the wrong side: {every}"
    if furthest <= 0:
        return f"pads on the right: {every}; the zeros belong on the left (or causal and anticausal are swapped)"
    if nearest == -furthest:
        return f"symmetric padding: {every}, half of them in the future; all padding belongs on the left"
    if abs(nearest + furthest) == step and len(regular) % 2 == 0:
        return f"symmetric padding of an even kernel: {every}, about half of them in the future; all padding belongs on the left"
    if nearest == -1:
        return f"sees one future sample: {every}; one is cropped on the wrong side, or a shift is missing or reversed"
    if step > 1 and furthest == len(regular) - 1 and set(regular) == set(range(nearest, furthest + 1, step)):
        need = (len(regular) - 1) * step
        return (
            f"dilation ignored in the padding: {every}; {furthest} = K-1 zeros on the left where (K-1)·D = {need} are needed "
            f"(K = {len(regular)}, D = {step})"
        )
    return f"looks {-nearest} positions ahead: {every}; the padding on the left is too short by {-nearest}"


def _ahead_here_and_there(found: Dependence) -> str:
    """The future is seen at few positions only: what happens at a border, of the sequence or of blocks."""
    future = np.argwhere(np.triu(found.seen, 1))
    outputs, inputs, length = sorted({int(q) for q, _ in future}), future[:, 1], found.extent.count
    where = f"only at the positions {spell(outputs)}"
    if outputs == list(range(len(outputs))) and len(outputs) <= length // 2:
        if inputs.min() >= length // 2:
            return f"{where}, and only the end of the sequence: circular padding, or an index that runs below 0"
        return f"{where}: padding by reflection, or a start that is not zeros"
    return f"{where}: are these the borders of blocks?"


def shares(found: Dependence) -> dict[int, float]:
    """For each offset, at which share of the positions where it fits it is seen."""
    length = found.extent.count
    return {offset: int(np.trace(found.seen, -offset)) / (length - abs(offset)) for offset in sorted(found.offsets)}


def spacing(numbers: list[int]) -> int:
    """The greatest common divisor of the differences; 0 for a single number."""
    return math.gcd(*(b - a for a, b in pairwise(sorted(numbers))))


def present(found: Dependence, strict: bool | None) -> str:
    """Nothing, or that the present is seen against what was asked, or not seen."""
    if strict is None or np.triu(found.seen, 1).any():
        return ""
    now = np.diag(found.seen).any()
    if strict and now:
        own = "its own colour of the pixel" if found.extent.colours > 1 else "the present"
        return (
            f"it sees {own} although strict was asked: shift the input by one, or make the first convolution strict"
            f"{' (mask A)' if found.extent.plane else ''}; {found.evidence(np.eye(found.extent.count, dtype=bool))}"
        )
    if found.extent.plane:
        if strict or now:
            return ""
        return "it does not see the present pixel although strict=False was asked: is mask A where mask B was meant?"
    nearest, meant = min(found.offsets), int(strict)
    if nearest == meant:
        return ""
    late = found.evidence(np.eye(found.extent.count, k=-nearest, dtype=bool))
    asked = "with strict the nearest is 1" if strict else "strict=False means that it sees the present"
    return f"looks like a shift by {_number(nearest)}: the nearest offset is {nearest}, but {asked}; {late}"


def against(found: Dependence, expected: Offsets) -> str:
    """What is missing, what is surplus, and what that looks like."""
    seen: Offsets = found.offsets
    why = likely_in_image(seen, expected) if found.extent.plane else _likely(_ints(seen), _ints(expected))
    shown = ""
    if surplus := seen - expected:
        shown = "" if np.triu(found.seen, 1).any() else f"; {found.evidence(found.at(surplus))}"
    return f"it sees {_difference(seen, expected)}; {why}{shown}"


def _difference(seen: Offsets, expected: Offsets) -> str:
    missing, surplus = expected - seen, seen - expected
    lists = [f"missing {spell(missing)}"] if missing else []
    lists += [f"surplus {spell(surplus)}"] if surplus else []
    return f"the offsets {spell(seen)}, expected {spell(expected)}: {', '.join(lists)}"


def _ints(offsets: Offsets) -> list[int]:
    return sorted(offset for offset in offsets if isinstance(offset, int))


def _likely(seen: list[int], expected: list[int]) -> str:
    if not expected:
        return "it should depend on nothing"
    by, late = seen[0] - expected[0], "late" if seen[0] > expected[0] else "early"
    if [offset + by for offset in expected] == seen:
        if expected[0] > 0 and seen[0] > 0:
            return f"looks like a shift by {_number(seen[0])} where {_number(expected[0])} was meant"
        return f"everything is {abs(by)} position{'s' * (abs(by) > 1)} too {late}"
    reach, meant = seen[-1] - seen[0], expected[-1] - expected[0]
    if len(seen) == len(expected) and spacing(seen) and _even(seen) and _even(expected):
        if spacing(seen) == 1:
            return f"dilation ignored: {len(seen)} taps next to each other, not {spacing(expected)} apart"
        return f"dilation {spacing(seen)} where {spacing(expected)} was meant"
    if sorted(expected[0] + expected[-1] - offset for offset in expected) == seen:
        return "the holes are mirrored: is the kernel flipped, or are the dilations in reverse order?"
    if set(expected) < set(seen) and reach == meant:
        return "holes are filled: a dilation is ignored where another layer makes up for the reach, or a kernel is dense"
    if reach < meant and spacing(seen) == 1 and spacing(expected) != 1:
        return "dilation ignored: the offsets lie next to each other and do not reach as far"
    if abs(reach - meant) == 1:
        return f"the reach is off by one: R = {reach + 1}, not {meant + 1}"
    if set(seen) < set(expected):
        if reach < meant:
            return (
                "it does not reach far enough: a layer is missing or its dilation too small (or so far away a change vanishes in "
                "rounding: try float64)"
            )
        return "there are holes: a dilation without layers that fill them, weights of zero, or a mask"
    if set(expected) < set(seen):
        return "it reaches further than expected"
    return "the holes are at other places: is a dilation or the order of layers another?"


def _even(numbers: list[int]) -> bool:
    return len({b - a for a, b in pairwise(numbers)}) <= 1


def _number(n: int) -> str:
    return {1: "one", 2: "two", 3: "three", 0: "none"}.get(n, str(n))
