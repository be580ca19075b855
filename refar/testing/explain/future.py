"""What a function sees and must not, in words: what comes later, and the present where it has to be strict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.explain.dependence import Dependence
from refar.testing.explain.words import Rule, counted, first, spell

EVERY = "the offsets are {s.offsets} (-1 is x of the next position)"
AHEAD = "; the (rows up, columns left) ahead are {s.offsets}"
Tried = Callable[[Callable[[Array], Array]], bool]
"""Whether a function gives the same outputs where what is made of x is put in front of x."""


class Future:
    """What an output sees of what comes after it. `later[q, p]`: output place q sees input place p, which comes later."""

    def __init__(self, found: Dependence, later: Array) -> None:
        count, places = found.domain.count, np.flatnonzero(later.any(axis=0)).tolist()
        self.everything = count > 2 and found.seen[:, found.looked].all()
        self.one_for_all = count > 2 and found.seen[:, places].all()
        self.places = ", ".join(map(found.domain.name, places[:6])) + (f", … {len(places)} in all" if len(places) > 6 else "")
        self.places += ", the last one" if places == [count - 1] else ""


class FutureInTime(Future):
    """The same of a sequence. `regular` offsets are seen nearly wherever they fit; `tried` tells what reproduces outputs."""

    def __init__(self, found: Dependence, later: Array, tried: Tried) -> None:
        super().__init__(found, later)
        length, (outputs, inputs) = found.domain.count, np.nonzero(later)
        regular = [o for o, share in shares(found).items() if share >= max(0.5, length / 4 / (length - abs(o)))]
        self.rare = not regular or regular[0] >= 0
        places, only = set(outputs.tolist()), "only " if found.looked.all() else ""
        self.where = f"{only}at {'position' if len(places) == 1 else 'the positions'} {spell(places)}"
        self.offsets = spell(regular)
        self.at_start = set(outputs.tolist()) == set(range(outputs.max() + 1)) and outputs.max() < length // 2
        self.from_end = inputs.min() >= length // 2
        self.furthest, self.ahead = max(regular, default=0), counted(-min(regular, default=0))
        self.alike = set(regular) == {-offset for offset in regular}
        self.circular = self.rare and self.at_start and tried(lambda x: x)
        self.reflected = self.rare and self.at_start and tried(lambda x: x[..., :0:-1])


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
        self.own = "its own colour of the pixel" if found.domain.colours > 1 else "the present"
        self.asked = "with strict the nearest is 1" if strict else "strict=False means that it sees the present"
        self.evidence = found.evidence(np.eye(found.domain.count, k=-self.nearest, dtype=bool))


EVERYWHERE: list[Rule[Future]] = [
    ("all", lambda s: s.everything, "every output sees every position"),
    ("one for all", lambda s: s.one_for_all, "all outputs see {s.places}"),
]  # fmt: skip
TIME: list[Rule[FutureInTime]] = [
    *EVERYWHERE,
    ("circular", lambda s: s.circular,
     "{s.where}: it pads with the end of the sequence; put in front of x it gives the same outputs"),
    ("reflected", lambda s: s.reflected,
     "{s.where}: it pads with x reflected; put in front of x that gives the same outputs"),
    ("from the end", lambda s: s.rare and s.at_start and s.from_end,
     "{s.where}, and only the end of the sequence"),
    ("rare", lambda s: s.rare, "{s.where}"),
    ("nothing else", lambda s: s.furthest < 0, EVERY + ", and nothing else is seen"),
    ("no past", lambda s: s.furthest == 0, EVERY + ", and nothing of the past"),
    ("symmetric", lambda s: s.alike, EVERY + ", as many ahead as behind"),
    ("ahead", lambda s: True, EVERY + ", up to {s.ahead} ahead"),
]  # fmt: skip
IMAGE: list[Rule[FutureInImage]] = [
    *EVERYWHERE,
    ("colours", lambda s: s.order,
     "the order of colours is broken within the pixel: {s.order} (channel j belongs to colour j mod {s.colours})"),
    ("alike", lambda s: s.alike, "all sides are seen alike" + AHEAD),
    ("reversed", lambda s: s.reversed, "what comes after the pixel is seen and nothing before it" + AHEAD),
    ("right", lambda s: not s.below, "pixels to the right in the same row are seen" + AHEAD),
    ("one below", lambda s: len(s.below) == 1 and {left for _, left in s.below} == {0},
     "the pixel one row below is seen" + AHEAD),
    ("below", lambda s: True, "rows below are seen" + AHEAD),
]  # fmt: skip
PRESENT: list[Rule[Present]] = [
    ("seen", lambda s: s.strict and s.now, "it sees {s.own} although strict was asked; {s.evidence}"),
    ("not seen", lambda s: s.image and not s.strict and not s.now,
     "it does not see the present pixel although strict=False was asked"),
    ("nearest", lambda s: s.nearest != s.strict and not s.image,
     "the nearest offset is {s.nearest}, but {s.asked}; {s.evidence}"),
]  # fmt: skip


def ahead(found: Dependence, tried: Tried) -> str:
    """Say nothing, or how far an output sees what comes after it, and at which outputs."""
    later = np.triu(found.seen, 1)
    if not later.any():
        return ""
    image = found.domain.image
    how = first(IMAGE, FutureInImage(found, later)) if image else first(TIME, FutureInTime(found, later, tried))
    return f"it sees the future: {how}; for one, {found.evidence(later)}"


def shares(found: Dependence) -> dict[int, float]:
    """Return for each offset of a sequence at which share of the positions where it was looked for it is seen."""
    where, looked = found.domain.pairs, found.looked
    tried = np.bincount(where[:, looked].ravel(), minlength=found.domain.kinds)
    seen = np.bincount(where[:, looked][found.seen[:, looked]], minlength=found.domain.kinds)
    keys = np.flatnonzero(seen).tolist()
    return {found.domain.offset(key): float(seen[key] / tried[key]) for key in keys}
