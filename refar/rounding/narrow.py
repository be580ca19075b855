"""Would every draw in float32 give a token? How far the outputs of a row may be off together there, and what drawing adds.

What arithmetic in float32 can do to an output: a bound of all orders that says something of shallow networks
(`network.composed`); where that does not settle a step, E₁ of the very difference of two outputs (`network.first_order`), to
first order only. No derivative tells what happens where rounding may decide the sign of a relu's argument or the winner of a
maximum: in such a row, and under input padding, E₁ is not asked.

The score itself is off too: temperature T and noise n are rounded to float32, their product is, and its sum with the output y. So
T·(score) is off by at most γ_1·(|y| + E) + γ_4·T·|n| + 4 tiny for each of the two classes, and T by tiny·|n| where it is below
the smallest normal number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from flint import arb

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays, in_order
from refar.graph.graph import Graph
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.rounding.balls import Row
from refar.rounding.draws import Verdict, categorical, nearest

_SLACK = 8
"""What computing a score may do, in unit roundoffs, relative to the magnitudes."""

_UNIT = bound.FLOAT32 + bound.FLOAT64
"""Of what is asked about and of the values that its bounds are computed from: γ of the sum is at least the sum of both."""


class Float32:
    """One row of a graph with a categorical head; at most `sweeps` differences of two outputs are judged to first order."""

    def __init__(self, graph: Graph, params: Arrays, inputs: Arrays, sweeps: int) -> None:
        self.graph, self.params, self.sweeps = graph, params, sweeps
        found = facts(graph)
        kind, x = found.types[found.sequence], inputs[found.sequence]
        self.values = forward_nodes(unchecked(graph, params, np.float64), inputs)
        off = rounding.composed(graph, params, inputs, _UNIT)
        self.off_qn = in_order(kind, off[graph.output], x)[0][0]
        self.smooth = graph.padding != "input" and not rounding.near_a_kink(graph, self.values, off).any()
        self.colours = kind.colours
        self._local: tuple[Arrays, Arrays] | None = None

    def judge(self, step: int, y: Row, noise: Array, token: int, temperature: float, top_k: int | None) -> Verdict:
        """The verdict on the token of a step with outputs y."""
        scale = temperature if temperature > 0 else 1.0
        sizes, noises = np.abs([float(ball) for ball in y]), np.abs(noise) if temperature > 0 else np.zeros(len(y))
        sizes, noises = sizes + sizes[token], noises + noises[token]
        slack = _SLACK * (_UNIT * (sizes / scale + noises) + bound.tiny(_UNIT) * (noises + 1) / scale)
        off = self.off_qn[:, step] * (1 + _SLACK * _UNIT)
        wide = [ball + arb(0, e) for ball, e in zip(y, off.tolist(), strict=True)]
        found = categorical(wide, noise, token, temperature, top_k)
        found = [replace(v, bound=v.bound + float(slack[v.rival])) if np.isfinite(v.gap) else v for v in found]
        open_ = [n for n, v in enumerate(found) if np.isfinite(v.gap) and not v.gap > v.bound]
        if self.smooth and len(open_) <= self.sweeps:
            for n in open_:
                first_order = self._difference(step, token, found[n].rival) / scale + float(slack[found[n].rival])
                if first_order < found[n].bound:
                    found[n] = replace(found[n], bound=first_order, first_order=True)
        verdict = nearest(found)
        settled = verdict.gap > verdict.bound and any(v.first_order for v in found)
        return replace(verdict, first_order=settled)

    def _difference(self, step: int, token: int, rival: int) -> float:
        """E₁ of output `token` minus output `rival`."""
        self.sweeps -= 1
        if self._local is None:
            self._local = rounding.local_bounds(self.graph, self.params, self.values, _UNIT)
        dy = np.zeros(self.values[self.graph.output].shape)
        place, colour = divmod(step, self.colours)
        flat = dy.reshape(len(self.off_qn) * self.colours, -1)
        for sign, number in ((1, token), (-1, rival)):
            flat[number * self.colours + colour, place] = sign
        return float(rounding.first_order(self.graph, self.params, self.values, self._local, dy)[0][0])
