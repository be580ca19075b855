"""Are these the tokens that exact arithmetic would give? A verdict for every step, by replay in ball arithmetic.

Every backend draws argmax(logit / T + noise) with noise that is data. So the tokens are scored anew with the same noise, in one
teacher-forced pass that encloses every number (`rounding.enclosure`). Where the score of the token beats that of every rival by
more than the radius of their difference, exact arithmetic draws it too, given the tokens before; by induction the whole sequence
is its own. Steps that are undecided are computed again with twice as many bits, they alone and what they see. Two backends of
which the tokens are certified are equal. What stays undecided, such as a tie, is *uncertain*, and named.

With `dtype` float32 the question is another one: would every backend in float32 that draws its tokens in float32 too, as
sampler.onnx does, give these tokens? See `rounding.narrow`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refar import noise, ops
from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import MOST, Array, Data, bind_inputs, bind_prompt, check_array, first_rows, one_or
from refar.errors import BackendError, GraphError, InputError, check_integer
from refar.graph.graph import Graph, require_head
from refar.oracle.bound_graph import bound_graph, cast
from refar.oracle.program import Options, Program

_DTYPES = ("float64", "float32")


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

    A gap lies within its bound of the one of exact arithmetic. `of_float32`: whether what is certain holds of every backend that
    draws in float32 too, of which `first_order` steps are certain by E₁ alone, which holds to first order.
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
            whose = f"exact arithmetic and of every draw in float32{order}" if self.of_float32 else "exact arithmetic"
            return f"certified: all {self.gaps.size} tokens are those of {whose}{smallest}"
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
    the prompt is their first rows, which `tokens` hold too. Of a mixture of logistics a gap is between the scores of components,
    or between the number drawn and a border of its class, counted in classes. What the bound of float32 of all orders leaves
    open is settled one difference of two logits at a time, each a backward sweep, at most `sweeps` of them in a row of the
    batch; steps beyond stay uncertain. `progress` is called with the number of rows that are done.
    Raises GraphError unless the graph is strict and its head draws classes, InputError for tokens that do not fit, or for
    float32 of a mixture, and BackendError without python-flint.
    """
    try:
        from refar.rounding.narrow import Float32  # python-flint is imported on use only
        from refar.rounding.replay import Replay
    except ModuleNotFoundError:
        raise BackendError("certify needs python-flint, which is not installed: pip install 'refar[certify]'") from None
    require_strict(facts(graph), "certify")
    head = require_head(graph, "certify")
    if not isinstance(head, ops.Categorical | ops.MixtureLogistics):
        raise GraphError(
            f"certify needs draws that are classes, of a categorical head or a mixture of logistics; this one is {head!r}"
        )
    noise.check_temperature(temperature)
    of_float32 = _is_float32(dtype)
    if of_float32 and not isinstance(head, ops.Categorical):
        raise InputError("dtype: expected float64 for a mixture of logistics, whose draws in float32 nothing bounds, got float32")
    sweeps = check_integer("sweeps", sweeps, 0, MOST)
    found = facts(graph)
    kind = found.types[found.sequence]
    noise.check_top_k(head, top_k, kind.size)
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
        replay = Replay(graph, head, weights, alone, temperature, top_k)
        narrow = Float32(graph, weights, alone, sweeps) if of_float32 else None
        verdicts = replay.judge(seed, row, known, narrow)
        gaps.append([v.gap for v in verdicts])
        bounds.append([v.bound for v in verdicts])
        for step, v in enumerate(verdicts, known):
            if not v.gap > v.bound:
                doubts.append(Doubt(row, step, int(replay.tokens[step]), v.rival, v.gap, v.bound))
        first_order += sum(v.first_order for v in verdicts)
        if progress is not None:
            progress(row + 1)
    shape = (rows, -1) if rows else (0, 0)
    return Certificate(np.reshape(gaps, shape), np.reshape(bounds, shape), tuple(doubts), first_order, of_float32)


def _is_float32(dtype: DTypeLike) -> bool:
    """Whether float32 is asked about. Raises InputError for another dtype than float64 and float32."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in _DTYPES:
        raise InputError(f"dtype: expected float64 or float32, got {name}")
    return name == "float32"


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
