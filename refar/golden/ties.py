"""Gradients at ties: where several values are the largest, or an activation has its kink, more than one gradient is right.

A maximum over a window whose largest value stands in n places has as its gradient any convex combination of the n unit vectors:
most frameworks give all of dy to one place, some share it. The zeros before the start are places like any other, whose part is
seen by nobody. A function of an element has at a kink any derivative between those on its two sides. Elsewhere the gradient is
one number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refar.analysis.kinks import Kink, kinks
from refar.arguments.arrays import Array, Arrays
from refar.golden.node_operators import ACTIVATIONS

_PAD = -1
"""The place of all zeros before the start."""

_ROUNDINGS = 4
"""A share of dy is off by this many roundings at most, and so is each sum."""

_Residual = dict[Any, dict[Any, float]]


def one_of(operator: str, attributes: Mapping[str, Any], arrays: Arrays) -> tuple[str, ...]:
    """Name the gradients of which a case can only give one of several right ones."""
    if "dy" not in arrays:
        return ()
    kinked = any((arrays["x"] == kink.at).any() for kink in _kinks_of(operator, attributes, arrays))
    equal = operator == "causal_pool1d" and attributes["kind"] == "max" and (_largest(arrays["x"], attributes).sum(0) > 1).any()
    return ("gradient.x",) if kinked or equal else ()


def chosen(operator: str, attributes: Mapping[str, Any], arrays: Arrays, came: Array, off: Array, unit: float) -> Array:
    """Say where `came`, a gradient of x, is right for some choice at the ties that it depends on.

    `off` is how far a gradient without a choice may be off. Parts of dy may be rounded in arithmetic with this unit roundoff.
    """
    if operator != "causal_pool1d":
        return _between(_kinks_of(operator, attributes, arrays), arrays, came, off, unit)
    found = np.zeros(came.shape, bool)
    largest = _largest(arrays["x"], attributes)
    for row in np.ndindex(came.shape[:2]):
        windows = [_places(column, t, attributes["dilation"]) for t, column in enumerate(largest[:, *row].T)]
        found[row] = _routed(windows, arrays["dy"][row].astype(np.float64), came[row].astype(np.float64), off[row], unit)
    return found


def _kinks_of(operator: str, attributes: Mapping[str, Any], arrays: Arrays) -> tuple[Kink, ...]:
    """Return the kinks of a function of an element, or of learnt slopes; none of any other operator."""
    if operator == "prelu":
        return (Kink(0.0, arrays["w"].astype(np.float64)[:, None], 1.0),)
    return kinks(ACTIVATIONS[operator](attributes, arrays)) if operator in ACTIVATIONS else ()


def _between(kinks: Sequence[Kink], arrays: Arrays, came: Array, off: Array, unit: float) -> Array:
    """Say where x is a kink and `came` is dy times a derivative between those of its two sides."""
    dy, found = arrays["dy"].astype(np.float64), np.zeros(came.shape, bool)
    for kink in kinks:
        sides = dy * kink.left, dy * kink.right
        room = off + _ROUNDINGS * unit * np.maximum(*np.abs(sides))
        found |= (arrays["x"] == kink.at) & (np.minimum(*sides) - room <= came) & (came <= np.maximum(*sides) + room)
    return found


def _largest(x: Array, a: Mapping[str, Any]) -> Array:
    """Say which of x[t - k·dilation] are the largest of their window, (K, B, C, T); before the start stand zeros, or nothing."""
    length, outside = x.shape[-1], 0.0 if a["pad"] == "zero" else -np.inf
    values = np.full((a["kernel"], *x.shape), outside)
    for k in range(a["kernel"]):
        back = min(k * a["dilation"], length)
        values[k, ..., back:] = x[..., : length - back]
    return np.asarray(values == values.max(axis=0))


def _places(largest: Array, t: int, dilation: int) -> set[int]:
    return {max(t - int(k) * dilation, _PAD) for k in np.flatnonzero(largest)}


def _routed(windows: list[set[int]], dy: Array, came: Array, off: Array, unit: float) -> Array:
    """Say at which positions of one row some choice in every window gives what came.

    `windows[t]` are the places among which dy[t] may be shared. Windows and places that no choice connects are judged apart.
    """
    found = np.zeros(len(came), bool)
    for positions, outputs in _connected(windows, len(came)):
        if any(len(windows[t]) > 1 for t in outputs) and np.isfinite(came[positions]).all():
            spread = [sum(abs(dy[t]) for t in outputs if s in windows[t]) for s in positions]
            most = off[positions] + _ROUNDINGS * (1 + max(len(outputs), 1)) * unit * np.array(spread)
            shares, received = [(dy[t], windows[t]) for t in outputs], dict(zip(positions, came[positions], strict=True))
            found[positions] = _feasible(shares, received, float(most.sum()))
    return found


def _connected(windows: list[set[int]], length: int) -> Iterator[tuple[list[int], list[int]]]:
    """Give the positions and windows that choices connect, one group after the other. The zeros connect nothing."""
    readers: list[list[int]] = [[] for _ in range(length)]
    for t, places in enumerate(windows):
        for s in places - {_PAD}:
            readers[s].append(t)
    left = set(range(length))
    while left:
        group, outputs, waiting = [], set[int](), [min(left)]
        left.discard(waiting[0])
        while waiting:
            group.append(waiting.pop())
            for t in set(readers[group[-1]]) - outputs:
                outputs.add(t)
                near = (windows[t] - {_PAD}) & left
                left -= near
                waiting += sorted(near)
        yield sorted(group), sorted(outputs)


def _feasible(windows: list[tuple[float, set[int]]], came: Mapping[int, float], most: float) -> bool:
    """Say whether each window can share its number among its places so that every place receives what came, `most` off in sum.

    A flow: windows of positive numbers send them, those of negative ones take them back; the zeros receive what is left over.
    """
    needed = dict(came)
    if any(_PAD in places for _, places in windows):
        needed[_PAD] = sum(number for number, _ in windows) - sum(came.values())
    given: dict[Any, float] = {("window", n): number for n, (number, _) in enumerate(windows)}
    given |= {s: -number for s, number in needed.items()}
    total = sum(abs(number) for number in given.values())
    residual: _Residual = {node: {} for node in (*given, "from", "to")}
    for node, number in given.items():
        begin, end = ("from", node) if number > 0 else (node, "to")
        _pipe(residual, begin, end, abs(number))
    for n, (number, places) in enumerate(windows):
        for s in places:
            begin, end = (("window", n), s) if number > 0 else (s, ("window", n))
            _pipe(residual, begin, end, total)
    sent = sum(number for number in given.values() if number > 0)
    taken = -sum(number for number in given.values() if number < 0)
    least = 2.0**-44 * total
    return _flow(residual, least) >= max(sent, taken) - 2 * most - (len(given) + 1) * least


def _pipe(residual: _Residual, begin: Any, end: Any, capacity: float) -> None:
    residual[begin][end] = residual[begin].get(end, 0.0) + capacity
    residual[end].setdefault(begin, 0.0)


def _flow(residual: _Residual, least: float) -> float:
    """Compute the largest flow from "from" to "to" along shortest paths (Edmonds and Karp 1972); below `least` nothing flows."""
    flow = 0.0
    while (path := _path(residual, least)) is not None:
        width = min(residual[a][b] for a, b in path)
        for a, b in path:
            residual[a][b] -= width
            residual[b][a] += width
        flow += width
    return flow


def _path(residual: _Residual, least: float) -> list[tuple[Any, Any]] | None:
    before: dict[Any, Any] = {"from": None}
    waiting = deque(["from"])
    while waiting and "to" not in before:
        node = waiting.popleft()
        for other, capacity in residual[node].items():
            if capacity > least and other not in before:
                before[other] = node
                waiting.append(other)
    if "to" not in before:
        return None
    path, node = [], "to"
    while before[node] is not None:
        path.append((before[node], node))
        node = before[node]
    return path
