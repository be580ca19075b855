"""One row of tokens scored anew in ball arithmetic, with as many bits as every step needs."""

from __future__ import annotations

from itertools import pairwise
from typing import assert_never

import numpy as np
from flint import ctx

from refar import noise, ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph
from refar.rounding.balls import Row
from refar.rounding.draws import Verdict, categorical, mixture, nearest
from refar.rounding.enclosure import Enclosure
from refar.rounding.narrow import Float32

ClassHead = ops.Categorical | ops.MixtureLogistics
"""The heads of which the draws are classes."""

_BITS, _MOST_BITS = 106, 848
"""The first precision, enough for most networks of 20 layers, and the last: what is undecided then stays so."""

_FIRST, _STEPS = 64, 4096
"""How many steps tell how many bits the others begin with, and how many are computed at once, so that memory is bounded."""


class Replay:
    """One row of a graph, and how its classes were drawn."""

    def __init__(
        self, graph: Graph, head: ClassHead, params: Arrays, inputs: Arrays, temperature: float, top_k: int | None
    ) -> None:
        self._enclosure, self._temperature, self._top_k = Enclosure(graph, params, inputs), temperature, top_k
        found = facts(graph)
        self._head, self._colours = head, found.types[found.sequence].colours
        self._size = found.types[graph.output].size // self._colours
        x = inputs[found.sequence][0]
        self.tokens = np.moveaxis(x, 0, -1).reshape(-1)
        """In the order in which they are drawn: of an image by rows, columns, colours."""

    def judge(self, seed: int, row: int, known: int, narrow: Float32 | None) -> list[Verdict]:
        """Give a verdict on every step after the first `known`; with `narrow` on that of every draw in float32."""
        count = len(self.tokens) - known
        draws = noise.draw(self._head, seed, [row], known, count, self._size)[:, 0]
        verdicts: dict[int, Verdict] = {}
        most = _BITS
        for begin, end in pairwise([0, *range(min(_FIRST, count), count, _STEPS), count]):
            steps, bits = np.arange(begin, end), most
            while len(steps):
                left = []
                with ctx.workprec(bits):
                    for step, y in zip(steps.tolist(), self._outputs(known + steps, bits), strict=True):
                        drawn = y, draws[step], int(self.tokens[known + step]), self._temperature, self._top_k
                        verdicts[step] = self._verdict(*drawn)
                        if not verdicts[step].decided and bits < _MOST_BITS and not all(ball.is_exact() for ball in y):
                            left.append(step)
                        elif narrow is not None:
                            verdicts[step] = narrow.judge(known + step, *drawn)
                bits *= 2
                most = bits if 2 * len(left) > len(steps) else most
                steps = np.array(left, np.int64)
        return [verdicts[step] for step in range(count)]

    def _outputs(self, steps: Array, bits: int) -> list[Row]:
        """The output that each step is drawn from. Channel k·C + c is number k of colour c."""
        places, columns = np.unique(steps // self._colours, return_inverse=True)
        rows = self._enclosure.output(places, bits)
        found: list[Row] = []
        for column, colour in zip(columns.tolist(), (steps % self._colours).tolist(), strict=True):
            found.append([row[column] for row in rows[colour :: self._colours]])
        return found

    def _verdict(self, y: Row, draw: Array, token: int, temperature: float, top_k: int | None) -> Verdict:
        match self._head:
            case ops.Categorical():
                return nearest(categorical(y, draw, token, temperature, top_k))
            case ops.MixtureLogistics():
                return mixture(self._head, y, draw, token, temperature)
            case _:
                assert_never(self._head)
