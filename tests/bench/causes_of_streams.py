"""What `check_streaming` says of a cause, applied to the whole function on sequences that no check has seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from refar.errors import RefarError
from refar.testing import ContractError
from refar.testing.probe.inputs import example
from refar.testing.probe.observed import Observed
from refar.testing.probe.states import mapped
from refar.testing.probe.step_under_test import StepUnderTest
from refar.testing.probe.stream_under_test import Cutting, StreamUnderTest, repeated, spans

Array = np.ndarray
Whole = Callable[[Array], Array]
SEEDS = {101: 1.0, 102: 1.0, 103: 0.7}
"""Seeds, and which share of the positions that the check had."""
NEAR = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}


class Tried:
    """One sequence: what the whole gives, in which chunks the steps take it, and what `run` them gives."""

    def __init__(self, full: Whole, x: Array, right: Array, lengths: list[int], run: Callable[..., Array], near: float) -> None:
        self.full, self.x, self.right, self.lengths, self.run, self.near = full, x, right, lengths, run, near
        self.count = right.shape[-1]
        ends = np.cumsum(lengths)
        self.begins = np.repeat(ends - lengths, lengths)[: self.count]
        self.lasts = np.minimum(np.repeat(ends - 1, lengths)[: self.count], self.count - 1)


Change = Callable[[Tried], Array]
"""The outputs that a cause gives; NaN where it says nothing."""
Pair = Callable[[Tried], tuple[Array, Array]]
"""What came, and what a cause gives."""
Places = Callable[[Tried], Array]
"""For each position the one whose output, or input, stands there."""


def joined(*parts: Array) -> Array:
    return np.concatenate(parts, axis=-1)


def alone(full: Whole, x: Array, length: int) -> Array:
    """The outputs for x, with zeros behind it up to this length: a whole function need not take every other."""
    return full(joined(x, np.zeros((*x.shape[:-1], max(0, length - x.shape[-1])), x.dtype)))[..., : x.shape[-1]]


def of_pasts(past: Callable[[Array, int], Array]) -> Change:
    """The output at t is the last one of `past(x, t)`."""
    return lambda s: np.stack([alone(s.full, past(s.x, t), s.x.shape[-1])[..., -1] for t in range(s.count)], axis=-1)


def before(past: Callable[[Array, int], Array]) -> Change:
    """The output at t is that of x_t behind `past(x, t)`."""
    return of_pasts(lambda x, t: joined(past(x, t), x[..., t : t + 1]))


def aged(age: Callable[[int], int]) -> Change:
    """What is o positions old is taken from the age `age(o)`, zeros where there is none."""

    def past(x: Array, t: int) -> Array:
        oldest = max([t, *(o for o in range(t + 40) if 0 <= age(o) <= t)])
        columns = [x[..., t - age(o)] if 0 <= age(o) <= t else np.zeros_like(x[..., 0]) for o in range(oldest, -1, -1)]
        return np.stack(columns, axis=-1)

    return of_pasts(past)


def outputs_of(places: Places) -> Change:
    """The right outputs of other positions."""

    def change(s: Tried) -> Array:
        p = places(s)
        return np.where((p >= 0) & (p < s.count), s.right[..., np.clip(p, 0, s.count - 1)].astype(float), np.nan)

    return change


def inputs_of(places: Places) -> Change:
    """The outputs for x of other positions, with zeros where there are none."""

    def change(s: Tried) -> Array:
        p = places(s)
        return s.full(np.where((p >= 0) & (p < s.count), s.x[..., np.clip(p, 0, s.count - 1)], 0).astype(s.x.dtype))

    return change


def zeros_before(run: Whole, x: Array) -> Array:
    return run(joined(np.zeros_like(x), x))[..., x.shape[-1] :]


def phased(s: Tried, n: int) -> Array:
    """Each output as if its chunk began at a multiple of n."""
    ahead = [int(-begin % n) for begin in s.begins]
    return np.stack(
        [s.full(joined(np.zeros_like(s.x[..., :by]), s.x))[..., t + by] for t, by in enumerate(ahead)], axis=-1
    )  # fmt: skip


def softmax(y: Array) -> Array:
    e = np.exp(y - y.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda y: np.maximum(y, 0), "tanh": np.tanh, "sigmoid": lambda y: 1 / (1 + np.exp(-y)), "softmax": softmax,
    "log-softmax": lambda y: np.log(softmax(y)), "exp": np.exp, "square": np.square, "magnitude": np.abs,
}  # fmt: skip
COUNT = r"(one|\d+)"
PLACES: list[tuple[str, Callable[..., Places]]] = [
    (rf"{COUNT} positions? late", lambda n: lambda s: np.arange(s.count) - number(n)),
    (rf"{COUNT} positions? early", lambda n: lambda s: np.arange(s.count) + number(n)),
    (r"those of position 0 everywhere", lambda: lambda s: np.zeros(s.count, int)),
    (r"each held for (\d+) positions", lambda n: lambda s: np.arange(s.count) // int(n) * int(n)),
    (r"in each chunk those of its first position", lambda: lambda s: s.begins),
    (r"in each chunk those of its last position", lambda: lambda s: s.lasts),
    (r"in each chunk in the opposite order", lambda: lambda s: s.begins + s.lasts - np.arange(s.count)),
    (r"late by a chunk", lambda: lambda s: np.arange(s.count) - s.lengths[0]),
]
SAID: list[tuple[str, Callable[..., Change]]] = [
    (r"the state is never fed back", lambda: of_pasts(lambda x, t: x[..., t : t + 1])),
    (r"nothing is carried over: every chunk",
     lambda: lambda s: joined(*(alone(s.full, s.x[..., a:b], s.count) for a, b in spans(s.lengths)))),
    (r"the state is lost before position (\d+)",
     lambda n: of_pasts(lambda x, t: x[..., (int(n) if t >= int(n) else 0) : t + 1])),
    (r"the state is lost every (\d+) positions", lambda n: of_pasts(lambda x, t: x[..., t // int(n) * int(n) : t + 1])),
    (r"the whole gives for the last (?:(\d+) )?positions? alone",
     lambda n: of_pasts(lambda x, t: x[..., max(0, t + 1 - int(n or 1)) : t + 1])),
    (r"with zeros for all but the last (?:(\d+) )?position", lambda n: aged(lambda o: o if o < int(n or 1) else -1)),
    (rf"the state is {COUNT} positions? behind", lambda n: before(lambda x, t: x[..., : max(0, t - number(n))])),
    (r"the input is stale", lambda: of_pasts(lambda x, t: joined(x[..., :t], x[..., max(0, t - 1)][..., None]))),
    (r"every position goes into the state twice", lambda: before(lambda x, t: np.repeat(x[..., :t], 2, -1))),
    (r"each step takes x into the state before it answers", lambda: before(lambda x, t: x[..., : t + 1])),
    (r"the state is not fed back from position (\d+) on", lambda n: before(lambda x, t: x[..., : min(int(n), t)])),
    (r"(\d+) back where (\d+) was meant",
     lambda came, meant: aged(lambda o: o + int(came) - int(meant) if o >= int(meant) else o)),
    (r"the last (\d+) positions are read in the opposite order", lambda n: aged(lambda o: int(n) - 1 - o if o < int(n) else o)),
    (r"what is 1 to (\d+) positions old is read in the opposite",
     lambda n: aged(lambda o: int(n) + 1 - o if 1 <= o <= int(n) else o)),
    (r"what is (\d+) and what is (\d+) positions old are read in each",
     lambda a, b: aged(lambda o: {int(a): int(b), int(b): int(a)}.get(o, o))),
    (rf"what is {COUNT} positions? old is taken for zero", lambda n: aged(lambda o: -1 if o == number(n) else o)),
    (r"all outputs are 0$", lambda: lambda s: 0 * s.right),
    (r"all outputs are (\S+) times the right ones", lambda factor: lambda s: float(factor) * s.right),
    (r"the outputs are the (\S+) of the right ones", lambda name: lambda s: ACTIVATIONS[name](s.right.astype(float))),
    (r"rows ([\d, ]+) stand where", lambda order: lambda s: s.right[[int(n) for n in order.split(", ")]]),
    (r"channels ([\d, ]+) stand where", lambda order: lambda s: s.right[:, [int(n) for n in order.split(", ")]]),
    (r"x rounded to (float\d+)", lambda name: lambda s: s.full(s.x.astype(name).astype(s.x.dtype))),
    (r"every chunk is answered as if it began at a multiple of (\d+)", lambda n: lambda s: phased(s, int(n))),
    (r"where every layer has to see zeros of its own", lambda: lambda s: zeros_before(s.full, s.x)),
]  # fmt: skip
"""Sentences, and what they say the steps give."""


def number(n: str) -> int:
    return 1 if n == "one" else int(n)


def judge(given: Mapping[str, Any], message: str) -> dict[str, bool]:
    """Say of each cause in the message whether it gives what the steps give."""
    claims: dict[str, bool] = {}
    for line in message.splitlines():
        for words, pair in _claims(line) if re.match(r"law '(step|block)'", line) else ():
            try:
                with np.errstate(all="ignore"):
                    claims[words] = all(_near(*pair(tried), tried.near) for tried in _tries(given, line))
            except (ContractError, RefarError) as error:
                claims[f"{words} ({error})"] = False
    return claims


def _claims(line: str) -> Iterator[tuple[str, Pair]]:
    for pattern, places in PLACES:
        for prefix, of in (("the right numbers, ", outputs_of), ("for other inputs: the right ones, ", inputs_of)):
            if found := re.search(prefix + pattern, line):
                yield found[0], _gives(of(places(*found.groups())))
                return
    for pattern, change in SAID:
        if found := re.search(pattern, line):
            yield found[0], _gives(change(*found.groups()))
            return
    if "off by one constant, as by a bias" in line:
        yield "one constant in every channel", lambda s: (s.run(s.x), _with_constants(s.run(s.x), s.right))
    if found := re.search(r"a (\S+) is left out: that of the outputs is right", line):
        f = ACTIVATIONS[found[1]]
        yield found[0], lambda s: (f(s.run(s.x).astype(float)), s.right)
    if "from zeros in its place the steps are right" in line:
        yield "zeros as first state", lambda s: (s.run(s.x, lambda leaf, n: leaf * 0), s.right)
    if "they are right if as many zeros are fed before" in line:
        yield "zeros fed before", lambda s: (zeros_before(s.run, s.x), s.right)
    if found := re.search(r"array (\d+) of the first state, of shape \([\d, ]+\), one (longer|shorter) along axis (\d+)", line):
        resized = _resized(int(found[1]), int(found[3]), found[2] == "longer")
        yield found[0], lambda s: (s.run(s.x, resized), s.right)


def _gives(change: Change) -> Pair:
    return lambda s: (s.run(s.x), change(s))


def _with_constants(came: Array, right: Array) -> Array:
    by = (came - right).astype(float)
    return right + np.median(by, axis=(0, by.ndim - 1), keepdims=True)


def _resized(n: int, axis: int, longer: bool) -> Callable[[Any, int], Any]:
    def change(leaf: Any, m: int) -> Any:
        index = np.arange(leaf.shape[axis]) if m == n else ()
        return leaf[(*(slice(None),) * axis, np.r_[0, index] if longer else index[1:])] if m == n else leaf

    return change


def _near(came: Array, expected: Array, near: float) -> bool:
    """Equal up to a share of the largest number where the expected one is no NaN."""
    if came.shape != expected.shape:
        return False
    claimed = ~np.isnan(expected.astype(float))
    most = near * np.abs(expected[claimed].astype(float)).max(initial=0.0)
    with np.errstate(invalid="ignore"):
        off = np.where(came == expected, 0, np.abs(came.astype(float) - expected))
    return bool(claimed.any() and (off[claimed] <= most).all())


def _tries(given: Mapping[str, Any], line: str) -> Iterator[Tried]:
    """Other sequences, as long as that of the check and shorter, in the chunks that the verdict speaks of."""
    draw, _ = example("check_streaming", given["x"], given["shape"], "sequence", given["classes"], 1, given["dtype"])
    said = re.search(r"in chunks of \[([\d, ]+)", line)
    pattern = [int(n) for n in said[1].split(",") if n.strip()] if said else []
    for seed, part in SEEDS.items():
        x, other = draw(np.random.default_rng(seed), seed)
        parts = given["segments"] or [x.shape[-1]]
        if given["segments"] is None:
            size = given["block"] if type(given["block"]) is int else 1
            parts = [max(given["latency"] + size, int(part * x.shape[-1])) // size * size]
        try:
            yield _tried(given, x[..., : sum(parts)], other[..., : sum(parts)], tuple(parts), pattern)
        except ContractError:
            if part == 1:
                raise  # but a whole function need not take every length


def _tried(given: Mapping[str, Any], x: Array, other: Array, parts: tuple[int, ...], pattern: list[int]) -> Tried:
    plan = Cutting(given["block"], given["latency"], parts)
    full = Observed(given["full"], "full", given["convert"])
    expected = full(x)

    def steps() -> StepUnderTest:
        chunks = given["block"] is not False
        return StepUnderTest(given["step"], given["initial_state"], len(x), chunks, given["convert"], plan.latency, plan.size)

    stream = StreamUnderTest(full, steps(), x, other, expected, None, lambda rng, n: (x, other), 0, plan, steps)
    stream.settle()

    def run(x: Array, change: Any = None) -> Array:
        with np.errstate(all="ignore"):
            return stream.run(x, pattern, stream.make(), change and (lambda state, t: state if t else mapped(state, change)))

    near = max(NEAR.get(name, 0.0) for name in (stream.steps.dtype, full.dtype, x.dtype.name)) or NEAR["float64"]
    return Tried(full, x, expected[..., plan.kept], repeated(pattern or plan.pattern, x.shape[-1]), run, near)
