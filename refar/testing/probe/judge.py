"""The verdict on what was seen of a function: mistakes and notes, in words."""

from __future__ import annotations

import numpy as np

from refar.arguments.arrays import Array
from refar.testing.explain.dependence import Dependence
from refar.testing.explain.future import PRESENT, Present, Tried, ahead
from refar.testing.explain.offsets import Offsets, Sets, against
from refar.testing.explain.words import counted, first, spell
from refar.testing.probe.looking import CHANCE, Probe


def judge(probe: Probe, tried: Tried) -> tuple[Dependence, list[str], list[str]]:
    """Return the dependence, every mistake in a sentence, and notes."""
    found, meant, domain = probe.sightings.found(probe.forbidden), probe.meant, probe.domain
    if not found.seen.any():
        return found, ["the output depends on no input: it is the same whatever x is"], []
    unseen = {} if probe.required is None else probe.sightings.unseen(probe.required, found.seen)
    little = probe.sightings.changes.seen > 0 if probe.refuted else np.zeros(domain.kinds, bool)
    faint = [key for key, chance in unseen.items() if chance >= CHANCE or little[key]]
    wrong = [ahead(found, tried) or (probe.leak and f"it sees the future: {probe.leak}")]
    if meant.strict is not None and not wrong[0]:
        wrong.append(first(PRESENT, Present(found, meant.strict)))
    if meant.offsets is not None:
        hidden = frozenset(map(domain.offset, [*faint, *np.flatnonzero(little).tolist()])) - found.offsets
        sets = Sets(found.offsets, meant.offsets, hidden)
        wrong += [against(found, meant.offsets, found.offsets, hidden)] if sets.missing or sets.surplus else []
        wrong += [probe.beyond] if not any(wrong) else []
    for c, own in enumerate(meant.by_colour):
        n = domain.colours
        hidden = frozenset((*domain.offset(key), key % n) for key in faint if key // n % n == c)
        sets = Sets(found.colour_offsets[c], own, hidden)
        wrong += [f"the outputs of colour {c} see {sets}"] if sets.missing or sets.surplus else []
    held = meant.offsets is not None or bool(meant.by_colour)
    blind = _blind(probe, found)
    inside = blind & found.whole_windows[:, None]
    wrong += [_uneven(probe, found, inside)] if inside.any() and held and not any(wrong) else []
    notes = [_uneven(probe, found, blind)] if blind.any() and not any(wrong) else []
    return (
        found,
        [sentence for sentence in wrong if sentence],
        [*notes, *_hidden(probe, faint), *_rounding(probe), *_looked(found)],
    )


def _blind(probe: Probe, found: Dependence) -> Array:
    """Return the pairs [q, p] where an output does not see what others see at the same offset, more often than by chance."""
    where, chance = probe.sightings.blind(found.seen)
    return np.asarray(where & (chance < CHANCE))


def _uneven(probe: Probe, found: Dependence, blind: Array) -> str:
    """Say which outputs these are, and what they do not see."""
    outputs, inputs = np.nonzero(blind)
    q = int(outputs[0])
    offsets = spell({found.domain.offset(int(key)) for key in found.domain.pairs[q][blind[q]]})
    places, p = np.unique(outputs), int(inputs[0])
    noun = "pixel" if found.domain.image else "position"
    others = f"; so at {counted(len(places), noun)} in all" if len(places) > 1 else ""
    others = (
        others if found.domain.image or len(places) < 2 else f"; outputs see less than others at the positions {spell(places)}"
    )
    others += "" if found.whole_windows[q] else f"; part of what {found.domain.name(q)} would see lies outside of x"
    tries = counted(int(probe.sightings.looks[p]), "change")
    return (
        f"the result depends on the position: the output at {found.domain.name(q)} does not see the offsets {offsets}, which "
        f"others see ({tries} of x at {found.domain.name(p)} left it as it was){others}"
    )


def _hidden(probe: Probe, faint: list[int]) -> list[str]:
    """Say of which offsets of the reach nothing was seen, and how small what is next to them is."""
    if not faint:
        return []
    offsets: Offsets = frozenset(map(probe.domain.offset, faint))
    return [
        f"the offsets {spell(offsets)} were not seen: there a change of x moves the output by less than rounding, or hardly ever"
    ]


def _rounding(probe: Probe) -> list[str]:
    """Say that changes were taken for rounding."""
    small = (probe.sightings.change > 0) & ~probe.sightings.clear & probe.forbidden
    if not small.any():
        return []
    most = float(np.where(small, probe.sightings.change, 0).max())
    return [f"changes of the output by up to {most:.1g} where it may see nothing count as rounding"]


def _looked(found: Dependence) -> list[str]:
    """Say at how many places x was changed, if not at all of them."""
    if found.looked.all():
        return []
    return [f"x was changed at {int(found.looked.sum())} of {found.domain.count} positions, one at a time"]
