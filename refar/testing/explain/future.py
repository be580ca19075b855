"""What a function sees and must not, in words: what comes later, and the present where it has to be strict."""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.explain.dependence import Dependence
from refar.testing.explain.offsets import even, spacing
from refar.testing.explain.words import DILATION, Rule, first, numeral, spell

EVERY = "the offsets are {s.offsets} (-1 is x of the next position)"
LEFT = "all padding belongs on the left"
AHEAD = "; the (rows up, columns left) ahead are {s.offsets}"


class Future:
    """What an output sees of what comes after it. `later[q, p]`: output place q sees input place p, which comes later."""

    def __init__(self, found: Dependence, later: Array) -> None:
        count, places = found.domain.count, np.flatnonzero(later.any(axis=0)).tolist()
        self.everything = count > 2 and found.seen.all()
        self.one_for_all = count > 2 and found.seen[:, places].all()
        self.places = ", ".join(map(found.domain.name, places[:6])) + (f", … {len(places)} in all" if len(places) > 6 else "")
        self.places += ", the last one" if places == [count - 1] else ""


class FutureInTime(Future):
    """The same of a sequence. `taps` are the offsets that are seen nearly wherever they fit, a residual's present left out."""

    def __init__(self, found: Dependence, later: Array) -> None:
        super().__init__(found, later)
        length, (outputs, inputs) = found.domain.count, np.nonzero(later)
        regular = [o for o, share in shares(found).items() if share >= max(0.5, length / 4 / (length - abs(o)))]
        self.rare = not regular or regular[0] >= 0
        self.outputs, self.offsets = spell(set(outputs.tolist())), spell(regular)
        self.at_start = set(outputs.tolist()) == set(range(outputs.max() + 1)) and outputs.max() < length // 2
        self.from_end = inputs.min() >= length // 2
        others = [offset for offset in regular if offset]
        self.taps = taps = others if even(others) and not even(regular) else regular
        self.even, self.step, self.kernel = even(taps), spacing(taps), len(taps)
        self.nearest, self.furthest = min(taps, default=0), max(taps, default=0)
        self.lead, self.need = -self.nearest, (self.kernel - 1) * self.step


class FutureInImage(Future):
    """The same of an image; its colours have an order within the pixel too."""

    def __init__(self, found: Dependence, later: Array) -> None:
        super().__init__(found, later)
        self.colours, (outputs, inputs) = found.domain.colours, np.nonzero(later)
        inside = self.colours > 1 and (outputs // self.colours == inputs // self.colours).all()
        wrong = sorted(set(zip((outputs % self.colours).tolist(), (inputs % self.colours).tolist(), strict=True)))
        self.order = ", ".join(f"colour {q} sees colour {p}" for q, p in wrong) if inside else ""
        self.offsets = spell(offset for offset in found.offsets if offset < (0, 0))
        self.alike = found.offsets == {(-up, -left) for up, left in found.offsets}
        self.reversed = max(found.offsets) <= (0, 0)
        self.below = {offset for offset in found.offsets if offset[0] < 0}


class Present:
    """The nearest offset that is seen, and whether it had to be 1 (`strict`) or 0."""

    def __init__(self, found: Dependence, strict: bool) -> None:
        self.strict, self.image, self.now = strict, found.domain.image, np.diag(found.seen).any()
        self.nearest = 0 if self.image else min(found.offsets)
        self.shift = numeral(self.nearest)
        self.own = "its own colour of the pixel" if found.domain.colours > 1 else "the present"
        self.asked = "with strict the nearest is 1" if strict else "strict=False means that it sees the present"
        self.mask = " (mask A)" if self.image else ""
        self.evidence = found.evidence(np.eye(found.domain.count, k=-self.nearest, dtype=bool))


EVERYWHERE: list[Rule[Future]] = [
    ("all", lambda s: s.everything,
     "every output sees every position: something runs over all of them, like a normalisation over time, a softmax over the "
     "wrong axis, attention without a mask, a backward recurrence"),
    ("one for all", lambda s: s.one_for_all,
     "all outputs see {s.places}: one place, or a statistic of the whole like a maximum, goes into every output"),
]  # fmt: skip
TIME: list[Rule[FutureInTime]] = [
    *EVERYWHERE,
    ("circular", lambda s: s.rare and s.at_start and s.from_end,
     "only at the positions {s.outputs}, and only the end of the sequence: circular padding, or an index that runs below 0"),
    ("reflected", lambda s: s.rare and s.at_start,
     "only at the positions {s.outputs}: padding by reflection, or a start that is not zeros"),
    ("borders", lambda s: s.rare, "only at the positions {s.outputs}: are these the borders of chunks?"),
    ("shift", lambda s: s.kernel == 1, "looks like a shift by {s.lead} to the wrong side: " + EVERY),
    ("right", lambda s: s.furthest <= 0,
     "pads on the right: " + EVERY + "; the zeros belong on the left (or causal and anticausal are swapped)"),
    ("symmetric", lambda s: s.lead == s.furthest, "symmetric padding: " + EVERY + ", half of them in the future; " + LEFT),
    ("even kernel", lambda s: abs(s.lead - s.furthest) == s.step and s.kernel % 2 == 0,
     "symmetric padding of an even kernel: " + EVERY + ", about half of them in the future; " + LEFT),
    ("one sample", lambda s: s.lead == 1,
     "sees one future sample: " + EVERY + "; one is cropped on the wrong side, or a shift is missing or reversed"),
    ("dilation", lambda s: s.even and s.step > 1 and s.furthest == s.kernel - 1,
     DILATION + " in the padding: " + EVERY + "; {s.furthest} = K-1 zeros on the left where (K-1)·D = {s.need} are needed "
     "(K = {s.kernel}, D = {s.step})"),
    ("ahead", lambda s: True,
     "looks {s.lead} positions ahead: " + EVERY + "; the padding on the left is too short by {s.lead}"),
]  # fmt: skip
IMAGE: list[Rule[FutureInImage]] = [
    *EVERYWHERE,
    ("colours", lambda s: s.order,
     "the order of colours is broken within the pixel: {s.order} (channel j belongs to colour j mod {s.colours})"),
    ("no mask", lambda s: s.alike, "no mask, all sides are seen alike" + AHEAD),
    ("reversed", lambda s: s.reversed, "the mask is reversed, what comes after the pixel is seen and nothing before" + AHEAD),
    ("right", lambda s: not s.below,
     "pixels to the right in the same row are seen, a column too many in the mask or wrongly padded" + AHEAD),
    ("one below", lambda s: len(s.below) == 1 and {left for _, left in s.below} == {0},
     "one row below is seen, as if a shift down were missing, or a row cropped on the wrong side" + AHEAD),
    ("below", lambda s: True, "rows below are seen, not masked or padded on the wrong side" + AHEAD),
]  # fmt: skip
PRESENT: list[Rule[Present]] = [
    ("seen", lambda s: s.strict and s.now,
     "it sees {s.own} although strict was asked: shift the input by one, or make the first convolution strict{s.mask}; "
     "{s.evidence}"),
    ("mask A", lambda s: s.image and not s.strict and not s.now,
     "it does not see the present pixel although strict=False was asked: is mask A where mask B was meant?"),
    ("shift", lambda s: s.nearest != s.strict and not s.image,
     "looks like a shift by {s.shift}: the nearest offset is {s.nearest}, but {s.asked}; {s.evidence}"),
]  # fmt: skip


def ahead(found: Dependence) -> str:
    """Say nothing, or how far an output sees what comes after it, and where that comes from."""
    later = np.triu(found.seen, 1)
    if not later.any():
        return ""
    why = first(IMAGE, FutureInImage(found, later)) if found.domain.image else first(TIME, FutureInTime(found, later))
    return f"it sees the future: {why}; for one, {found.evidence(later)}"


def shares(found: Dependence) -> dict[int, float]:
    """Return for each offset of a sequence at which share of the positions where it fits it is seen."""
    length = found.domain.count
    return {offset: int(np.trace(found.seen, -offset)) / (length - abs(offset)) for offset in sorted(found.offsets)}
