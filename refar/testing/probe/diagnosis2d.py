"""What is wrong with a dependency set over an image, in words."""

from __future__ import annotations

import numpy as np

from refar.testing.probe.probe import Dependence, Offset, spell

Pairs = frozenset[tuple[int, int]]


def ahead_in_image(found: Dependence) -> str:
    """Where the pixels lie that an output sees although they come after it."""
    if found.extent.colours > 1:
        pairs = np.argwhere(np.triu(found.seen, 1))
        n = found.extent.colours
        if ((pairs[:, 0] // n) == (pairs[:, 1] // n)).all():
            wrong = sorted({(int(q % n), int(p % n)) for q, p in pairs})
            each = ", ".join(f"colour {q} sees colour {p}" for q, p in wrong)
            return f"the order of colours is broken within the pixel: {each} (channel j belongs to colour j mod {n})"
    seen = _pairs(found.offsets)
    later, below = frozenset(s for s in seen if s < (0, 0)), frozenset(s for s in seen if s[0] < 0)
    every = f"the (rows up, columns left) ahead are {spell(later)}"
    if seen == {(-up, -left) for up, left in seen}:
        return f"no mask, all sides are seen alike; {every}"
    if not any(step > (0, 0) for step in seen):
        return f"the mask is reversed, what comes after the pixel is seen and nothing before; {every}"
    if not below:
        return f"pixels to the right in the same row are seen, a column too many in the mask or wrongly padded; {every}"
    if all(left == 0 for _, left in below) and len(below) == 1:
        return f"one row below is seen, as if a shift down were missing, or a row cropped on the wrong side; {every}"
    return f"rows below are seen, not masked or padded on the wrong side; {every}"


def likely_in_image(seen: frozenset[Offset], expected: frozenset[Offset]) -> str:
    """What a set looks like that is not the expected one."""
    found, meant = _pairs(seen), _pairs(expected)
    missing, surplus = meant - found, found - meant
    here = (0, 0)
    if surplus == {here} and not missing:
        return "the pixel itself is seen: mask B where A was meant"
    if missing == {here} and not surplus:
        return "the pixel itself is not seen: mask A where B was meant, or type B zeroes the centre"
    if found == {(left, up) for up, left in meant}:
        return "rows and columns are swapped"
    if found == {(up, -left) for up, left in meant}:
        return "left and right are swapped"
    if found == {(-up, -left) for up, left in meant}:
        return "the mask is reversed: it sees what comes after"
    if found and meant:
        down, right = min(found)[0] - min(meant)[0], min(found)[1] - min(meant)[1]
        if found == {(up + down, left + right) for up, left in meant}:
            return f"everything lies {down} too far up and {right} too far to the left (negative: down, to the right)"
    if missing and not surplus and all(up > 0 and left < 0 for up, left in missing):
        return "a blind spot: pixels above to the right are never reached (one stack of masked convolutions has it)"
    if not surplus and max(up for up, _ in found) < max(up for up, _ in meant):
        return "it does not reach far enough up"
    return "pixels are seen that should not be" if not missing else "pixels are not seen that should be"


def _pairs(offsets: frozenset[Offset]) -> Pairs:
    return frozenset((pair[0], pair[1]) for pair in offsets if isinstance(pair, tuple))
