"""Is a token the one that is drawn from outputs that balls enclose? Its gap to what comes nearest, for each head over classes.

Over the real numbers, with noise that is data; see `refar.noise.sample`. A gap is a ball too: `Verdict` holds its middle and its
radius in floats, rounded so that they enclose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from flint import arb

from refar import ops
from refar.arguments.arrays import Array
from refar.rounding.balls import Row

_UP = 1 + 2.0**-50
"""More than the middle and the radius of a ball lose when they are rounded to floats."""


_LARGEST = arb(2.0**1000)


@dataclass(frozen=True)
class Verdict:
    """The gap of a token to a rival, and how far that gap may be off; a gap of -inf where top_k leaves the token out.

    `first_order`: whether the bound holds to first order only.
    """

    gap: float
    bound: float
    rival: int
    first_order: bool = False

    @property
    def decided(self) -> bool:
        """Whether the token certainly wins or certainly loses."""
        return self.gap > self.bound or self.gap < -self.bound


def floats(ball: arb) -> tuple[float, float]:
    """A middle and a radius of floats that enclose a ball."""
    if not np.isfinite(float(ball)) or not np.isfinite(float(ball.rad())):  # cut to the numbers of floats, which keeps its sign
        ball = ball.min(_LARGEST).max(-_LARGEST)
    middle = float(ball)
    return middle, float(ball.rad()) * _UP + abs(middle) * (_UP - 1)


def nearest(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the one with the least to spare."""
    return min(verdicts, key=lambda found: found.gap - found.bound)


def categorical(y: Row, noise: Array, token: int, temperature: float, top_k: int | None) -> list[Verdict]:
    """Judge a token of argmax_q (y_q / T + noise_q), q among the `top_k` largest y: against every class that may be drawn."""
    left = list(range(len(y))) if top_k is None else _left_by_top_k(y, top_k)
    scores = _scores(y, noise, temperature)
    if token not in left:
        return [Verdict(-np.inf, 0.0, max(left, key=lambda q: float(scores[q])))]
    rivals = [q for q in left if q != token]
    if not rivals:
        return [Verdict(np.inf, 0.0, token)]
    found = [Verdict(*floats(scores[token] - scores[q]), q) for q in rivals]
    if top_k is None:
        return found
    if not _stays(y, token, top_k):
        return [Verdict(-np.inf, np.inf, q) for q in rivals]
    return [v if v.gap > -v.bound or _stays(y, v.rival, top_k) else replace(v, bound=np.inf) for v in found]


def mixture(head: ops.MixtureLogistics, y: Row, noise: Array, token: int, temperature: float) -> Verdict:
    """Judge a class of a mixture of logistics: which component wins, and on which side of the borders its number falls.

    So two kinds of gaps count: between the scores of components, and between the number and a border of the class, in classes.
    """
    k, last = head.components, head.classes - 1
    scores = _scores(y[:k], noise[:-1], temperature)
    best = max(range(k), key=lambda i: float(scores[i]))
    places = [_place(y[k + i], y[2 * k + i], temperature * arb(float(noise[-1])), last) for i in range(k)]
    inside, classes = zip(*(_inside(place, token, last) for place in places), strict=True)
    others = [i for i in range(k) if i != best]
    if float(inside[best]) > 0:  # lost if the number leaves its class, or if a component wins that gives another one
        lost = [Verdict(*floats(scores[best] - scores[i]), classes[i]) for i in others if not inside[i] > 0]
        return nearest([Verdict(*floats(inside[best]), classes[best]), *lost])
    won = [floats(scores[i] - scores[best]) for i in others if not inside[i] < 0]
    return Verdict(*max([floats(inside[best]), *won], key=sum), classes[best])


def _scores(y: Row, noise: Array, temperature: float) -> Row:
    return [ball / temperature + n for ball, n in zip(y, noise.tolist(), strict=True)] if temperature > 0 else y


def _left_by_top_k(y: Row, top_k: int) -> list[int]:
    """The classes that are not certainly behind so many others."""
    ahead = sorted(range(len(y)), key=lambda q: (-float(y[q].lower()), q))[:top_k]
    return [q for q in range(len(y)) if q in ahead or not all(_precedes(y, p, q) for p in ahead)]


def _stays(y: Row, q: int, top_k: int) -> bool:
    """Whether a class is certainly among so many: few may stand before it."""
    return sum(not _precedes(y, q, p) for p in range(len(y)) if p != q) < top_k


def _place(mean: arb, log_scale: arb, drawn: arb, last: int) -> arb:
    """Where the number of a component falls, in classes: class q is what is between q and q + 1."""
    x = mean + drawn * log_scale.exp() if drawn != 0 else mean
    return (x + 1) / 2 * last + 0.5


def _inside(place: arb, token: int, last: int) -> tuple[arb, int]:
    """How far inside a class a number is, and the class that it else belongs to. The first and the last class have one border."""
    borders = [(place - token, token - 1)] if token > 0 else []
    borders += [(token + 1 - place, token + 1)] if token < last else []
    far, beyond = min(borders, key=lambda border: float(border[0]))
    own = int(min(max(np.floor(np.nan_to_num(float(place))), 0), last))
    return far, beyond if own == token else own


def _precedes(y: Row, p: int, q: int) -> bool:
    """Whether class p certainly stands before class q: its output is larger, or of equals its number is lower."""
    return bool(y[p] > y[q]) or (bool(y[p] == y[q]) and p < q)
