"""Mistakes in one operator on the arrays of a golden case: rewritten nodes, windows elsewhere, wrong gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.golden import node_operators
from refar.golden.node_operators import Attributes, arguments, class_count, own_parameters
from refar.mistakes.rewrites import REWRITES, rewritten
from refar.oracle import node

Mistake = Callable[[Arrays, Attributes], Arrays]
"""Compute what code with this mistake gives, {name: array}, for the arrays of a case in one dtype; {} where it cannot be made."""

Result = Callable[[Arrays, Attributes], Array]


def result_of(f: Result, name: str = "y") -> Mistake:
    """Make a mistake in the result of this name."""
    return lambda arrays, attributes: {name: f(arrays, attributes)}


def gradient_of(name: str, f: Result) -> Mistake:
    """Make a mistake in the gradient of one argument, where there is an upstream gradient and the argument is given."""
    return lambda a, attributes: {f"gradient.{name}": f(a, attributes)} if "dy" in a and name in a else {}


def window(x: Array, offset: int) -> Array:
    """Return x[..., t - offset] for every t, 0 beyond the ends."""
    at = np.arange(x.shape[-1]) - offset
    return np.where((at >= 0) & (at < len(at)), x[..., np.clip(at, 0, len(at) - 1)], 0)


class ArrayNode:
    """The node of a graph that an operator is: its mistakes, and what it gives when it is right."""

    def __init__(self, operator: str, kind: type[ops.Op]) -> None:
        """`kind` is the type of the node, by which its rewrites are found."""
        self._to_op, self._kind = node_operators.TO_OP[operator], kind

    def op(self, arrays: Arrays, attributes: Attributes) -> Any:
        """Return the node itself."""
        return self._to_op(attributes, arrays)

    def right(self, arrays: Arrays, attributes: Attributes) -> Arrays:
        """Compute the right result, and gradients where an upstream gradient is given."""
        return node_operators.compute(self.op(arrays, attributes), attributes, arrays, _dtype(arrays))

    def rewrites(self, *unseen: str) -> dict[str, Mistake]:
        """Return the result of every rewrite of such a node, by name, but those that no golden case could show."""
        return {name: self._rewrite(name) for name, rows in REWRITES.items() if self._kind in rows and name not in unseen}

    def gradient(self, argument: str, name: str) -> Mistake:
        """Make a rewrite in the gradient of one argument alone."""

        def wrong(arrays: Arrays, attributes: Attributes) -> Arrays:
            key = f"gradient.{argument}"
            found = self._compute(name, arrays, attributes)
            return {key: found[key]} if key in found else {}

        return wrong

    def given(self, change: Callable[[Arrays, Attributes], Mapping[str, Any]]) -> Mistake:
        """Make the mistake of taking other arrays or attributes, by name."""

        def y(arrays: Arrays, attributes: Attributes) -> Array:
            changed = change(arrays, attributes)
            others = {name: changed.get(name, value) for name, value in attributes.items()}
            return self.right({name: changed.get(name, array) for name, array in arrays.items()}, others)["y"]

        return result_of(y)

    def longer(self, arrays: Arrays, a: Attributes, before: int, after: int, edge: Any = "constant") -> Array:
        """Compute y of x with so many more positions at the start and at the end, which hold zeros, or what `edge` says."""
        op, args = self.op(arrays, a), arguments(a, arrays)
        more = [(0, 0), (0, 0), *[(before, after)] * (args[0].ndim - 2)]
        args = [np.pad(x, more, mode=edge) for x in args]
        return node.forward(op, args, [None] * len(args), own_parameters(arrays), class_count(a, arrays), _dtype(arrays))

    def ahead(self, by: Callable[[Any], int]) -> Mistake:
        """Make the mistake of looking so many positions too far ahead, or if negative too far back; in an image both ways."""

        def y(arrays: Arrays, a: Attributes) -> Array:
            n = by(self.op(arrays, a))
            found = self.longer(arrays, a, max(-n, 0), max(n, 0))
            for axis in range(2, found.ndim):
                found = np.take(found, np.arange(max(n, 0), max(n, 0) + arrays["x"].shape[axis]), axis=axis)
            return found

        return result_of(y)

    def edges(self, edge: str) -> Mistake:
        """Make the mistake of other values than zero beyond the ends: "edge" repeats the last, "wrap" takes the other end's."""

        def y(arrays: Arrays, a: Attributes) -> Array:
            n = max(32, *arrays["x"].shape[2:])  # as far as any offset of a case
            sides = [slice(n, n + length) for length in arrays["x"].shape[2:]]
            return self.longer(arrays, a, n, n, edge)[:, :, *sides]

        return result_of(y)

    def mirrored_gradient(self) -> Mistake:
        """Make the mistake of looking to the wrong side in the gradient of x."""

        def dx(arrays: Arrays, a: Attributes) -> Array:
            axes = tuple(range(2, arrays["x"].ndim))
            turned = {name: np.flip(array, axes) if name in ("x", "dy") else array for name, array in arrays.items()}
            return np.flip(self.right(turned, a)["gradient.x"], axes)

        return gradient_of("x", dx)

    def averaged(self, argument: str) -> Mistake:
        """Make the mistake of averaging a gradient over the batch."""
        return gradient_of(argument, lambda arrays, a: self.right(arrays, a)[f"gradient.{argument}"] / len(arrays["x"]))

    def _rewrite(self, name: str) -> Mistake:
        def wrong(arrays: Arrays, attributes: Attributes) -> Arrays:
            found = self._compute(name, arrays, attributes)
            return {"y": found["y"]} if found else {}

        return wrong

    def _compute(self, name: str, arrays: Arrays, attributes: Attributes) -> Arrays:
        changed = rewritten(name, self.op(arrays, attributes), own_parameters(arrays))
        return {} if changed is None else node_operators.compute(changed[0], attributes, arrays, _dtype(arrays), changed[1])


def _dtype(arrays: Arrays) -> np.dtype:
    return next((a.dtype for a in arrays.values() if a.dtype.kind == "f"), np.dtype(np.float64))
