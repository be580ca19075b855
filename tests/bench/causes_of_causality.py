"""What `check_causality` says of a function, measured anew: every position of other inputs is changed, one after the other."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from refar.errors import RefarError
from refar.testing.probe.inputs import example
from refar.testing.probe.rate import Rate
from refar.testing.probe.watched import Watched

Array = np.ndarray
Offset = Any
SEEDS = range(401, 407)
MOST = 200
"""At so many places dependence is still measured one by one."""
CLEAR = 1e-4


class Measured:
    """The offsets at which outputs depend on inputs: `clear` ones surely, and no others than the `possible` ones.

    A change of the output that is no small part of it is clear; every change of a bit, and every derivative but 0, is possible.
    `all_clear` and `all_possible` say whether every output so depends on every input.
    """

    def __init__(self, f: Watched, draws: list[tuple[Array, Array]], axes: int) -> None:
        sides = draws[0][0].shape[-axes:]
        clear, possible = (np.zeros((*sides, *sides), bool) for _ in range(2))
        for x, other in draws:
            y = f(x).astype(float)
            for place in np.ndindex(*sides):
                changed = x.copy()
                changed[(..., *place)] = other[(..., *place)]
                moved = np.abs(f(changed) - y)
                moved = moved.max(axis=tuple(range(moved.ndim - axes)))
                clear[(..., *place)] |= moved > CLEAR * np.abs(y).max()
                possible[(..., *place)] |= moved > 0
            possible |= derivatives(f, x, sides)
        self.clear, self.possible = offsets(clear, axes), offsets(possible, axes)
        self.all_clear, self.all_possible = clear.all(), possible.all()


def offsets(seen: Array, axes: int) -> set[Offset]:
    """How far back inputs lie that an output sees; `seen` has the axes of the outputs, then those of the inputs."""
    pairs = np.argwhere(seen)
    found = set(map(tuple, (pairs[:, :axes] - pairs[:, axes:]).tolist()))
    return {o[0] for o in found} if axes == 1 else found


def derivatives(f: Watched, x: Array, sides: tuple[int, ...]) -> Array:
    """Where the derivative of an output by an input is not 0, in float64; nowhere if the function has none."""
    import torch

    found = np.zeros((*sides, *sides), bool)
    try:
        function = copy.deepcopy(f.function).double() if isinstance(f.function, torch.nn.Module) else f.function
        leaf = (f.convert or torch.from_numpy)(x.astype(np.float64)).requires_grad_()
        with torch.enable_grad():
            y = function(leaf)
            for place in np.ndindex(*sides):
                weights = torch.rand(y.shape[: -len(sides)], dtype=y.dtype)
                (slope,) = torch.autograd.grad((y[(..., *place)] * weights).sum(), leaf, retain_graph=True)
                found[place] = (slope != 0).numpy().reshape(-1, *sides).any(axis=0)
    except Exception:  # the function of a user, which need not be one of PyTorch
        return np.zeros((*sides, *sides), bool)
    return found


Relation = Callable[[set[Offset], set[Offset], re.Match[str]], bool]
RELATIONS: list[tuple[str, Relation]] = [
    (r"each offset is (one|\d+) positions? (further back|nearer) than expected",
     lambda seen, meant, m: seen == {o + int(m[1].replace("one", "1")) * (1 if m[2] == "further back" else -1) for o in meant}),
    (r"they lie (\d+) apart where (\d+) was meant",
     lambda seen, meant, m: steps(seen) == {int(m[1])} and steps(meant) == {int(m[2])} and len(seen) == len(meant)),
    (r"they are the expected ones mirrored at the pixel", lambda seen, meant, m: seen == {(-a, -b) for a, b in meant}),
    (r"they are the expected ones mirrored", lambda seen, meant, m: seen == {min(meant) + max(meant) - o for o in meant}),
    (r"R = (\d+), not (\d+)", lambda seen, meant, m: (field(seen), field(meant)) == (int(m[1]), int(m[2]))),
    (r"R = (\d+) as expected", lambda seen, meant, m: field(seen) == field(meant) == int(m[1])),
    (r"the pixel itself is seen", lambda seen, meant, m: seen - meant == {(0, 0)}),
    (r"the pixel itself is not seen", lambda seen, meant, m: meant - seen == {(0, 0)}),
    (r"with rows and columns swapped", lambda seen, meant, m: seen == {o[::-1] for o in meant}),
    (r"with left and right swapped", lambda seen, meant, m: seen == {(a, -b) for a, b in meant}),
    (r"everything lies", lambda seen, meant, m: len(apart(seen, meant)) == 1),
    (r"a blind spot", lambda seen, meant, m: all(up > 0 > left for up, left in meant - seen) and bool(meant - seen)),
    (r"it does not reach far enough up", lambda seen, meant, m: max(seen)[0] < max(meant)[0]),
    (r"pixels are seen that should not be", lambda seen, meant, m: seen > meant),
    (r"pixels are not seen that should be", lambda seen, meant, m: bool(meant - seen)),
]  # fmt: skip


def steps(offsets: set[int]) -> set[int]:
    return {b - a for a, b in pairwise(sorted(offsets))}


def field(offsets: set[int]) -> int:
    return max(offsets) - min(offsets) + 1


def apart(seen: set[Offset], meant: set[Offset]) -> set[Offset]:
    return {(a - c, b - d) for (a, b), (c, d) in zip(sorted(seen), sorted(meant), strict=True)}


def judge(given: Mapping[str, Any], message: str) -> dict[str, bool]:
    """Say of each cause, and of each set of offsets in the message, whether another measurement gives the same."""
    frames = Rate(given["rate"])
    about = (given[name] for name in ("x", "shape", "kind", "classes", "colours", "dtype"))
    draw, domain = example("check_causality", *about)
    if frames != Rate(1) or domain.count > MOST or given["colours"] > 1:
        return {}
    f = Watched(given["f"], given["convert"], frames)
    draws = [draw(np.random.default_rng(seed), seed) for seed in SEEDS]
    claims: dict[str, bool] = {}
    try:
        for line in message.splitlines():
            claims |= _padding(f, line, draws) | _length(f, line, draws)
            if re.search(r"sees the (future|offsets)|mirrored|apart where", line):
                claims |= _sets(given, line, Measured(f, draws, len(domain.sides)))
    except (AssertionError, RefarError) as error:
        claims[f"{type(error).__name__}: {error}"] = False
    return claims


def _padding(f: Watched, line: str, draws: list[tuple[Array, Array]]) -> dict[str, bool]:
    """What is said to stand in front of x is put there."""
    turned = {"end of the sequence; put in front": 1, "x reflected; put in front": -1}
    for words, way in turned.items():
        if words in line:
            cut = [x for x, _ in draws] + [x[..., 3:] for x, _ in draws]
            fronts = [x if way == 1 else x[..., :0:-1] for x in cut]
            pairs = [(f(np.concatenate([front, x], -1))[..., -x.shape[-1] :], f(x)) for front, x in zip(fronts, cut, strict=True)]
            return {words: all(np.allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max()) for a, b in pairs)}
    return {}


def _length(f: Watched, line: str, draws: list[tuple[Array, Array]]) -> dict[str, bool]:
    """The first positions alone are said to give another output."""
    if not (found := re.search(r"the first (\d+) of \d+ positions alone give another output", line)):
        return {}
    count = int(found[1])
    images = draws[0][0].ndim == 4 and "row" not in line and f(draws[0][0]).ndim == 4
    begin = (..., slice(count), slice(None)) if images else (..., slice(count))
    pairs = [(f(np.ascontiguousarray(x[begin])), f(x)[begin]) for x, _ in draws]
    return {found[0]: any(np.abs(a - b).max() > 1e-4 * np.abs(b).max() for a, b in pairs)}


def _sets(given: Mapping[str, Any], line: str, found: Measured) -> dict[str, bool]:
    """The offsets that are named are all possible, and all clear ones are among them; what is said of both sets holds."""
    claims: dict[str, bool] = {}
    if "every output sees every position" in line:
        claims["every output sees every position"] = bool(found.all_clear or found.all_possible)
    said = re.search(r"it sees the offsets (.*?), expected ", line)
    if not said or "…" in said[1] or given["reach"] is None:
        return claims
    seen, reach = parsed(said[1]), given["reach"]
    claims[said[0]] = found.clear <= seen <= found.possible
    first = min(seen) if given["strict"] is None else int(given["strict"])
    meant = set(range(first, first + reach)) if isinstance(reach, int) else set(reach)
    for pattern, holds in RELATIONS:
        if how := re.search(pattern, line):
            claims[how[0]] = holds(seen, meant, how)
            break
    return claims


def parsed(text: str) -> set[Offset]:
    """Read a set of offsets: 0..3, 7 or (1, -2..2), (2, 0)."""
    parts = re.findall(r"\((-?\d+), (-?\d+)(?:\.\.(-?\d+))?\)", text)
    if parts:
        return {(int(up), left) for up, a, b in parts for left in range(int(a), int(b or a) + 1)}
    return {o for a, b in re.findall(r"(-?\d+)(?:\.\.(-?\d+))?", text) for o in range(int(a), int(b or a) + 1)}
