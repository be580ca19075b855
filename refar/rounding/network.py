"""How far a whole graph may be off in floating point: node by node on a backend's own numbers, and end to end.

Node by node is hard: each value that a backend computed is compared with the exact operator on the values that the *same*
backend computed before, so depth does not matter and a failure names its node (`node_errors`, `gradient_errors`).

End to end, E₁ = Σ_n Σ_i |∂y/∂n_i|·ε_n,i with the local bounds ε of `rounding.bound`: what local errors of that size can do to y,
to first order (`first_order`). √Σ(∂y/∂n·ε)² beside it is what they do if they are independent. The naive composition
(`composed`) is a bound of all orders, but takes the sum of magnitudes in every layer: it grows 5 to 15 times per layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.windows import offsets_of_node
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph, Node
from refar.oracle import node
from refar.oracle.bound_graph import own_parameters, unchecked
from refar.oracle.padding import values_before
from refar.oracle.whole import backward_everywhere, forward_nodes
from refar.rounding import bound
from refar.rounding.spread import Situation, spread


@dataclass(frozen=True)
class Errors:
    """What a backend computed for one node or parameter, against what may be off: `observed` and `allowed`, of one shape."""

    name: str
    operator: str
    observed: Array
    allowed: Array

    @property
    def ratios(self) -> Array:
        """observed / allowed; infinite where something is off that must be exact."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.observed == 0, 0, self.observed / self.allowed)

    @property
    def worst(self) -> float:
        """The largest ratio, which is to be ≤ 1; nan if the backend gave a nan."""
        return float(self.ratios.max(initial=0))

    def __str__(self) -> str:
        flat = int(np.argmax(np.nan_to_num(self.ratios, nan=np.inf)))
        at = tuple(int(i) for i in np.unravel_index(flat, self.ratios.shape))
        return f"{self.name!r} ({self.operator}) at {list(at)}: off by {self.observed[at]:.3g}, bound {self.allowed[at]:.3g}"


def node_errors(graph: Graph, params: Arrays, values: Mapping[str, Array], unit: float, *, reduced: float = 0.0) -> list[Errors]:
    """For every node that a backend gave a value of, how far it is from the exact operator on the backend's own arguments.

    `params` as the backend holds them, rounded to its dtype; `values` {node: array} of whole sequences or images. The oracle,
    computed in float64, adds its own bound. Under input padding the first values of a node that looks back see what the backend
    computed at t < 0, which nobody sees; they are left out.
    """
    wide = _wide(values)
    found: list[Errors] = []
    for each in graph.nodes:
        if isinstance(each.op, ops.Input) or not all(name in wide for name in (each.name, *each.inputs)):
            continue
        op, args, own = each.op, [wide[name] for name in each.inputs], own_parameters(each, params)
        classes = facts(graph).types[each.inputs[0]].size
        exact = node.forward(op, args, [None] * len(args), own, classes, np.dtype(np.float64))
        allowed = bound.forward(op, args, own, classes, unit, reduced=reduced)
        allowed += bound.forward(op, args, own, classes, bound.FLOAT64)
        observed = np.abs(wide[each.name] - exact)
        observed[..., : _hidden(graph, each)] = 0
        found.append(Errors(each.name, str(op.__struct_config__.tag), observed, allowed))
    return found


def gradient_errors(
    graph: Graph,
    params: Arrays,
    values: Mapping[str, Array],
    dvalues: Mapping[str, Array],
    dparams: Mapping[str, Array],
    unit: float,
    *,
    reduced: float = 0.0,
) -> list[Errors]:
    """The same for the gradients with respect to every node's value and every parameter.

    The gradient of a value is the sum over the nodes that read it: what each passes back, judged on the backend's own values
    and upstream gradients, and γ of their number for the sum. Layer padding only.
    """
    wide, upstream = _wide(values), _wide(dvalues)
    parts: dict[str, list[tuple[Array, Array]]] = {}
    for each in graph.nodes:
        if isinstance(each.op, ops.Input) or each.name not in upstream:
            continue
        args, own, none = [wide[name] for name in each.inputs], own_parameters(each, params), [None] * len(each.inputs)
        dargs, _, downs = node.backward(each.op, args, none, own, wide[each.name], upstream[each.name])
        errors, own_errors = bound.backward(each.op, args, upstream[each.name], own, unit, reduced=reduced)
        slack, own_slack = bound.backward(each.op, args, upstream[each.name], own, bound.FLOAT64)
        for name, gradient, error, more in zip(each.inputs, dargs, errors, slack, strict=True):
            if gradient is not None:
                assert error is not None
                assert more is not None
                parts.setdefault(name, []).append((gradient, error + more))
        for suffix, gradient in downs.items():
            parts[f"{each.name}.{suffix}"] = [(gradient, own_errors[suffix] + own_slack[suffix])]
    parts.pop(graph.output, None)
    found = []
    for name, passed in parts.items():
        if name not in upstream and name not in dparams:  # no backend computes what no parameter and no input asks for
            continue
        got = np.asarray(upstream[name] if name in upstream else dparams[name], np.float64)
        sizes = np.asarray(sum(np.abs(gradient) for gradient, _ in passed))
        allowed = (
            np.asarray(sum(error for _, error in passed))
            + (bound.gamma(len(passed) - 1, unit) + bound.gamma(len(passed) - 1, bound.FLOAT64)) * sizes
        )
        tag = str(graph[name if name in wide else name.rpartition(".")[0]].op.__struct_config__.tag)
        observed = np.abs(got - np.asarray(sum(gradient for gradient, _ in passed)))
        found.append(Errors(f"gradient of {name}", tag, observed, allowed))
    return found


def local_bounds(graph: Graph, params: Arrays, values: Arrays, unit: float, *, reduced: float = 0.0) -> tuple[Arrays, Arrays]:
    """ε of every node for arguments that are the given values, {node: array}; and of its value at t < 0, {node:
    (B, C, 1)}, where that is computed. Inputs are exact.
    """
    before = values_before(unchecked(graph, params, np.float64), values, len(values[facts(graph).sequence]))
    types = facts(graph).types
    result: Arrays = {}
    steady: Arrays = {}
    for each in graph.nodes:
        args, own = [values[name] for name in each.inputs] or [values[each.name]], own_parameters(each, params)
        classes, earlier = types[each.inputs[0]].size if each.inputs else 0, [before.get(name) for name in each.inputs]
        result[each.name] = bound.forward(each.op, args, own, classes, unit, before=earlier, reduced=reduced)
        if graph.padding == "input" and types[each.name].timed and each.name not in facts(graph).sources:
            args = [before[name] for name in each.inputs]
            steady[each.name] = bound.forward(each.op, args, own, classes, unit, before=earlier, reduced=reduced)
    return result, steady


def first_order(graph: Graph, params: Arrays, values: Arrays, local: tuple[Arrays, Arrays], dy: Array) -> tuple[Array, Array]:
    """(E₁, its statistical companion) of the functional Σ dy·y of each row: two arrays (B,).

    `values` of all nodes in float64, `local` from `local_bounds`. One backward sweep: rows do not see each other, so each row
    may ask for another logit or margin at another position. The values at t < 0 are one number for each channel.
    """
    *slopes, _ = backward_everywhere(unchecked(graph, params, dy.dtype), values, dy)
    total, squares = np.zeros(len(dy)), np.zeros(len(dy))
    for errors, gradients in zip(local, slopes, strict=True):
        for name, error in errors.items():
            terms = (np.abs(gradients.get(name, 0.0)) * error).reshape(len(dy), -1)
            total += terms.sum(axis=1)
            squares += (terms**2).sum(axis=1)
    return total, np.sqrt(squares)


def composed(graph: Graph, params: Arrays, inputs: Arrays, unit: float) -> Arrays:
    """Bound every node in all orders, layer by layer: E' = |op|(E) + ε where arguments may be off by E; see `rounding.spread`.

    Vacuous for deep networks; for operators and shallow ones it is sharp enough.
    """
    net = unchecked(graph, params)
    found, values = net.facts, forward_nodes(net, net.cast(inputs))
    before = values_before(net, values, len(values[found.sequence]))
    result: Arrays = {}
    steady: Arrays = {}  # E at t < 0, (B, C, 1)

    def off_by(each: Node, args: list[Array], off: list[Array], earlier: list[Array | None], y: Array) -> Array:
        own, classes = net.own[each.name], found.classes[each.name]
        wide = [None if e is None else np.abs(before[name]) + e for name, e in zip(each.inputs, earlier, strict=True)]
        local = bound.forward(each.op, args, own, classes, unit, before=wide, off=off)
        return spread(each.op).each(Situation(each.op, args, off, earlier, own, classes, y)) + local

    for each in graph.nodes:
        if isinstance(each.op, ops.Input):
            result[each.name] = np.zeros(values[each.name].shape)
        else:
            args, off = [values[name] for name in each.inputs], [result[name] for name in each.inputs]
            result[each.name] = off_by(each, args, off, [steady.get(name) for name in each.inputs], values[each.name])
        if graph.padding != "input" or not found.types[each.name].timed:
            continue
        if each.name in found.sources:
            steady[each.name] = np.zeros(before[each.name].shape)
        else:  # one position, at which every tap sees the same
            off = [steady.get(name, result[name]) for name in each.inputs]
            steady[each.name] = off_by(each, [before[name] for name in each.inputs], off, list(off), before[each.name])
    return result


def near_a_kink(graph: Graph, values: Arrays, off: Arrays) -> Array:
    """Say whether in a row some relu's argument may have the other sign, or some maximum another winner, where it is `off`: (B,).

    There a derivative of the computed values may be that of another piece of the network, and first order says nothing.
    """
    found = np.zeros(len(values[facts(graph).sequence]), bool)
    for each in graph.nodes:
        kinks = spread(each.op).near
        if kinks is not None:
            near = kinks([values[name] for name in each.inputs], off[each.inputs[0]])
            found |= near.reshape(len(near), -1).any(axis=1)
    return found


def _wide(values: Mapping[str, Array]) -> Arrays:
    return {name: array if array.dtype.kind in "iu" else array.astype(np.float64) for name, array in values.items()}


def _hidden(graph: Graph, each: Node) -> int:
    """How many of a node's first values look at values at t < 0 that are not zero."""
    reads = graph.padding == "input" and each.name not in facts(graph).sources and facts(graph).types[each.name].timed
    return max(offsets_of_node(each.op)) if reads else 0
