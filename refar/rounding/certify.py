"""Are these the tokens that exact arithmetic would give? A verdict for every step, by replay.

Every backend draws argmax(logit / T + noise) with noise that is data. So the tokens are scored in one teacher-forced pass in
float64 with the same noise: where the token's score beats that of every rival by more than what rounding can have done to
their difference, exact arithmetic draws it too, given the tokens before; by induction the whole sequence is its own. Two
backends of which the tokens are certified are equal. Elsewhere the step is *uncertain*, and named.

What rounding can do: √2·N for any two logits (`rounding.norms`, a bound of all orders); where that does not settle a step, E₁
of the very difference (`rounding.network.first_order`), far smaller, but to first order only. The bound of all orders must do
under input padding, and in a row in which rounding may have decided the sign of a relu's argument or the winner of a maximum,
where no derivative tells what exact arithmetic does.

With `dtype` float32 the question is another one: would every backend in float32 that draws its tokens in float32 too, as
sampler.onnx does, give these tokens? Then N and E₁ are those of float32 and of the replay together. And the score itself is off:
temperature T and noise n are rounded to float32, their product is, and its sum with the logit y. So T·(score) is off by at most
γ_1·(|y| + N) + γ_4·T·|n| + 4 tiny for each of the two classes, and T by tiny·|n| where it is below the smallest normal number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import noise, ops
from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import MOST, Array, Arrays, Data, bind_inputs, bind_prompt, check_array, first_rows, in_order, one_or
from refar.errors import GraphError, InputError, check_integer
from refar.graph.graph import Graph, require_head
from refar.oracle.bound_graph import bound_graph, cast, unchecked
from refar.oracle.program import Options, Program
from refar.oracle.whole import forward_nodes
from refar.rounding import bound
from refar.rounding import network as rounding
from refar.rounding.norms import near_a_kink, norms

_SLACK = 8
"""What computing a score may do, in unit roundoffs, relative to the magnitudes."""

_UNITS = {"float64": bound.FLOAT64, "float32": bound.FLOAT32 + bound.FLOAT64}
"""The unit roundoffs of what is asked about, and of the replay, together: γ of the sum is at least the sum of both."""


@dataclass(frozen=True)
class Doubt:
    """A step of a row at which exact arithmetic might draw `rival` (or does: `contradicted`): the scores' gap, and its bound."""

    row: int
    step: int
    token: int
    rival: int
    gap: float
    bound: float

    @property
    def contradicted(self) -> bool:
        """Whether the rival certainly wins: the tokens are not those of exact arithmetic."""
        return self.gap < -self.bound

    def __str__(self) -> str:
        what = "exact arithmetic draws" if self.contradicted else "it might as well be"
        figures = f"gap {self.gap:.3g}, bound {self.bound:.3g}"
        return f"row {self.row}, step {self.step}: token {self.token}, {what} {self.rival}: {figures}"


@dataclass(frozen=True)
class Certificate:
    """The verdict on every step: `gaps` (rows, steps) to the nearest rival, their `bounds`, and what is in doubt.

    `first_order` steps are certain by E₁ alone, which holds to first order; all others by a bound of all orders. `of_float32`:
    whether what is certain holds of every backend that draws in float32 too.
    """

    gaps: Array
    bounds: Array
    doubts: tuple[Doubt, ...]
    first_order: int
    of_float32: bool = False

    @property
    def certain(self) -> bool:
        """Whether every token is the one of exact arithmetic."""
        return not self.doubts

    def __bool__(self) -> bool:
        return self.certain

    def __str__(self) -> str:
        if self.certain:
            smallest = f"; the smallest gap is {self.gaps.min():.3g}" if self.gaps.size else ""
            order = f", {self.first_order} of them to first order" if self.first_order else ""
            whose = "exact arithmetic and of every draw in float32" if self.of_float32 else "exact arithmetic"
            return f"certified: all {self.gaps.size} tokens are those of {whose}{order}{smallest}"
        named = "\n".join(f"  {doubt}" for doubt in self.doubts[:10])
        more = f"\n  and {len(self.doubts) - 10} more" if len(self.doubts) > 10 else ""
        contradicted = sum(doubt.contradicted for doubt in self.doubts)
        if contradicted:
            what = f"{contradicted} of {self.gaps.size} tokens are not those of exact arithmetic"
            asked = "were seed, temperature, top_k, prompt and condition those of the draw?"
            return f"{what}; {asked}\n{named}{more}"
        return f"{len(self.doubts)} of {self.gaps.size} steps are uncertain:\n{named}{more}"


def certify(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    tokens: ArrayLike,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    prompt: ArrayLike | None = None,
    condition: Data | None = None,
    dtype: DTypeLike = np.float64,
    sweeps: int = 256,
    progress: Callable[[int], None] | None = None,
) -> Certificate:
    """Whether `generate` with the same options, in exact arithmetic, gives these tokens: x_bt after the prompt, or x_bchw.

    With `dtype` float32, whether every backend does that computes and draws in float32: where the gap exceeds the bound of that.
    `params` are taken as the exact numbers: for tokens of a backend in float32 give the parameters rounded to it. Of images
    the prompt is their first rows, which `tokens` hold too. What the bound of all orders leaves open is settled one difference of
    two logits at a time, each a backward sweep, at most `sweeps` of them in a row of the batch; steps beyond stay uncertain.
    `progress` is called with the number of rows that are done.
    Raises GraphError unless the graph is strict and its head categorical, InputError for tokens that do not fit.
    """
    require_strict(facts(graph), "certify")
    if not isinstance(require_head(graph, "certify"), ops.Categorical):
        raise GraphError(f"certify needs a categorical head, of which the draws are classes; this one is {graph.head!r}")
    noise.check_temperature(temperature)
    unit = _unit(dtype)
    sweeps = check_integer("sweeps", sweeps, 0, MOST)
    found = facts(graph)
    kind = found.types[found.sequence]
    noise.check_top_k(ops.Categorical(), top_k, kind.size)
    drawn = check_array("tokens", tokens, kind)
    rows = len(drawn)
    if kind.image:
        first = first_rows(kind, prompt, (drawn.shape[2], drawn.shape[3]))
        if len(first) not in (1, rows):
            raise InputError(f"prompt: expected {one_or(rows, 'image')}, got {len(first)}")
        if (drawn[:, :, : first.shape[2]] != first).any():
            raise InputError(
                f"tokens: expected whole images, of which the first {first.shape[2]} rows are the prompt; got others"
            )
        known = first.shape[2] * drawn.shape[3] * drawn.shape[1]
        inputs = bind_inputs(facts(graph), drawn, condition)
    else:
        first, conditions, _ = bind_prompt(graph, prompt, condition, rows, more=drawn.shape[-1])
        known = first.shape[-1]
        inputs = {found.sequence: np.concatenate([first, drawn], axis=1), **conditions}
    weights = bound_graph(graph, params, np.float64).params
    gaps, bounds, doubts, first_order = [], [], [], 0
    for row in range(rows):
        alone = {name: array[row : row + 1] for name, array in cast(inputs, np.float64).items()}
        replay = _Replay(graph, weights, sweeps, alone, unit)
        draws = noise.draw(ops.Categorical(), seed, [row], known, replay.steps - known, kind.size)[:, 0]
        gap, allowed, named = replay.judge(row, known, draws, temperature, top_k)
        gaps.append(gap)
        bounds.append(allowed)
        doubts += named
        first_order += replay.first_order
        if progress is not None:
            progress(row + 1)
    shape = (rows, -1) if rows else (0, 0)
    of_float32 = unit > bound.FLOAT64
    return Certificate(np.reshape(gaps, shape), np.reshape(bounds, shape), tuple(doubts), first_order, of_float32)


def _unit(dtype: DTypeLike) -> float:
    """The unit roundoff that is asked about. Raises InputError for another dtype than float64 and float32."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in _UNITS:
        raise InputError(f"dtype: expected float64 or float32, got {name}")
    return _UNITS[name]


class _Replay:
    """One row in float64: all values, and how far its logits may be off together in arithmetic with unit roundoff `unit`."""

    def __init__(self, graph: Graph, params: Arrays, sweeps: int, inputs: Arrays, unit: float) -> None:
        self.graph, self.params, self.sweeps, self.unit = graph, params, sweeps, unit
        found = facts(graph)
        self.kind = found.types[found.sequence]
        self.values = forward_nodes(unchecked(graph, params, np.float64), inputs)
        y_bqn, x_bn = in_order(self.kind, self.values[graph.output], inputs[found.sequence])
        self.logits, self.tokens = y_bqn[0], x_bn[0]
        self.steps = len(self.tokens)
        off = norms(graph, params, self.values, unit)
        self.off = np.repeat(off[graph.output].reshape(-1), self.kind.colours)
        self.smooth = graph.padding != "input" and not near_a_kink(graph, self.values, off).any()
        self.first_order = 0
        self._local: tuple[Arrays, Arrays] | None = None

    def judge(
        self, row: int, known: int, draws: Array, temperature: float, top_k: int | None
    ) -> tuple[Array, Array, list[Doubt]]:
        """For every step after the first `known`: the gap to the nearest rival, the bound of that difference, and doubts."""
        gaps, bounds, doubts = np.empty(self.steps - known), np.zeros(self.steps - known), []
        for step in range(known, self.steps):
            token, y = int(self.tokens[step]), self.logits[:, step]
            n = draws[step - known] if temperature > 0 else np.zeros_like(y)
            scale = temperature if temperature > 0 else 1.0
            gap = (y[token] - y) / scale + (n[token] - n)
            sizes, noises = np.abs(y[token]) + np.abs(y), np.abs(n[token]) + np.abs(n)
            slack = _SLACK * (self.unit * (sizes / scale + noises) + bound.tiny(self.unit) * (noises + 1) / scale)
            allowed = math.sqrt(2) * (1 + _SLACK * self.unit) * self.off[step] / scale + slack
            rivals = np.arange(len(y)) != token
            if top_k is not None:
                border = math.sqrt(2) * self.off[step]
                ahead, lower = y[:, None] - y, np.arange(len(y))[:, None] < np.arange(len(y))  # of equals the lower class stays
                surely_out = ((ahead > border) | ((ahead == border) & lower)).sum(axis=0) >= top_k
                if surely_out[token]:
                    drawn = int(np.argmax(np.where(surely_out, -np.inf, y / scale + n)))
                    gaps[step - known] = -np.inf
                    doubts.append(Doubt(row, step, token, drawn, -np.inf, 0.0))
                    continue
                may_precede = (ahead > -border) | ((ahead == -border) & lower)
                if may_precede[rivals, token].sum() >= top_k:  # the token itself may be out
                    gap, allowed = np.where(rivals, -np.inf, gap), np.where(rivals, np.inf, allowed)
                rivals &= ~surely_out
            open_ = np.flatnonzero(rivals & ~(gap > allowed))
            for rival in open_ if len(open_) <= self.sweeps and self.smooth else ():
                if np.isfinite(gap[rival]):
                    allowed[rival] = min(allowed[rival], self._difference(step, token, int(rival)) / scale + slack[rival])
            if not rivals.any():
                gaps[step - known] = np.inf
                continue
            nearest = int(np.argmin(np.where(rivals, gap - allowed, np.inf)))
            gaps[step - known], bounds[step - known] = gap[nearest], allowed[nearest]
            if not gap[nearest] > allowed[nearest]:
                doubts.append(Doubt(row, step, token, nearest, float(gap[nearest]), float(allowed[nearest])))
            elif open_.size:
                self.first_order += 1
        return gaps, bounds, doubts

    def _difference(self, step: int, token: int, rival: int) -> float:
        """E₁ of logit `token` minus logit `rival`."""
        self.sweeps -= 1
        if self._local is None:
            self._local = rounding.local_bounds(self.graph, self.params, self.values, self.unit)
        dy = np.zeros(self.values[self.graph.output].shape)
        place, colour = divmod(step, self.kind.colours)
        flat = dy.reshape(len(self.logits) * self.kind.colours, -1)
        for sign, number in ((1, token), (-1, rival)):
            flat[number * self.kind.colours + colour, place] = sign
        return float(rounding.first_order(self.graph, self.params, self.values, self._local, dy)[0][0])


@overload
def generate(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    n: int | tuple[int, int],
    *,
    dtype: DTypeLike = np.float64,
    certify: Literal[False] = False,
    **options: Unpack[Options],
) -> Array: ...
@overload
def generate(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    n: int | tuple[int, int],
    *,
    dtype: DTypeLike = np.float64,
    certify: Literal[True],
    **options: Unpack[Options],
) -> tuple[Array, Certificate]: ...
def generate(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    n: int | tuple[int, int],
    *,
    batch: int | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    prompt: ArrayLike | None = None,
    condition: Data | None = None,
    algorithm: Literal["fast", "slow"] = "fast",
    dtype: DTypeLike = np.float64,
    certify: bool = False,
) -> Array | tuple[Array, Certificate]:
    """Return `n` new tokens after the prompt: x_bt, or x_bct for a signal. The prompt itself is not repeated.

    `prompt` is x_bt (or x_t for every row), of any length ≥ 0. `batch` defaults to the rows of prompt or condition, else 1.
    `temperature` divides the logits (or scales the std); 0 takes the most probable; see `noise.sample`. With `top_k` only the
    k largest logits of a categorical head can be drawn, of equals the lower classes. Row b draws stream b of the seed.

    Of images `n` is the shape (H, W), the result whole images x_bchw, and `prompt` their first rows, x_bchw with any number
    of rows up to H.
    With `certify` the result is (tokens, `Certificate`): whether exact arithmetic would give the same tokens.
    Raises GraphError for a graph that is not strict or has no head, InputError for options out of range.
    """
    tokens = Program(bound_graph(graph, params, dtype)).generate(
        n, batch=batch, seed=seed, temperature=temperature, top_k=top_k, prompt=prompt, condition=condition, algorithm=algorithm
    )
    if not certify:
        return tokens
    return tokens, _certify(
        graph, params, tokens, seed=seed, temperature=temperature, top_k=top_k, prompt=prompt, condition=condition
    )


_certify = certify  # the option of `generate` has its name
