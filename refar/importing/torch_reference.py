"""A PyTorch module as what a graph must compute: called with the graph's inputs, in float64, with its own weights."""

from __future__ import annotations

import copy
import warnings
from itertools import combinations

import numpy as np
import torch

from refar.analysis.facts import Facts, facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError, ParameterError
from refar.graph.graph import Graph
from refar.importing.agreement import LIMIT
from refar.importing.probes import Extent, called, drawn
from refar.importing.torch_calls import Call, Lie, calls, lies, shown
from refar.importing.torch_check import doubled, in_float64, single
from refar.oracle.functions import forward

ROUNDED = 1e-4
"""The largest error of a channel that is allowed where parameters were rounded to float32 after they were computed."""
_EXCHANGES = 100
"""How many pairs of nodes are tried with each other's parameters."""


class Reference:
    """A copy of a module in float64 beside a graph with parameters, held against each other.

    How the module is called, and how its output lies, is found: the first way in which both agree to `limit` of the largest value
    of each channel, by default 1e-9. Raises ParameterError where there is none, naming the first place where they differ; for a
    module that does not give the same again, or another output in eval mode; and for one whose output never changes.
    """

    def __init__(self, module: torch.nn.Module, graph: Graph, params: Arrays, limit: float = LIMIT) -> None:
        if not isinstance(module, torch.nn.Module):
            raise InputError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
        self.name = type(module).__name__
        self._graph, self._params, self._facts, self._limit = graph, params, facts(graph), limit
        self._module = doubled(module)
        self._scale = np.asarray(np.finfo(float).tiny)  # the largest value of each channel, as soon as one is known
        longest, *others = _extents(self._facts)
        inputs = drawn(self._facts, longest, _rows(self._facts))
        self._call, self._lie = self._found(inputs)
        self._require_fixed(inputs)
        self.largest_difference = max(self._apart(extent, batch) for extent in (longest, *others) for batch in (1, 3))

    def outputs(self, inputs: Arrays) -> tuple[int, Array]:
        """Return the module's output, y_bqt or y_bqhw, where the graph has one too, and the position of its first."""
        return self._where(self._lie, self._run(self._module, self._call, inputs), inputs)

    def _where(self, lie: Lie, y: Array, inputs: Arrays) -> tuple[int, Array]:
        y = lie.of_graph(y, self._facts.types[self._facts.sequence].channels)
        if self._facts.grid is not None:
            return 0, y
        begin, end = lie.window(self._facts, inputs[self._facts.sequence].shape[-1], y.shape[2])
        return begin, y[:, :, begin - lie.first : end - lie.first]

    def _run(self, module: torch.nn.Module, call: Call, inputs: Arrays) -> Array:
        args, kwargs = call.arguments(inputs)
        with torch.no_grad(), in_float64(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.array(single(module(*args, **kwargs)).double().numpy())

    def _found(self, inputs: Arrays) -> tuple[Call, Lie]:
        """Try the ways to call the module, and of each the ways in which its output may lie."""
        mine = forward(self._graph, self._params, inputs)
        failed, shapes, differ = list[str](), list[str](), list[str]()
        still = copy.deepcopy(self._module).eval()
        ran: tuple[Call, Array] | None = None
        for call in calls(self._module, self._facts):
            try:
                theirs = self._run(self._module, call, inputs)
            except Exception as error:  # the module is the user's code; what it raises is said if no other way agrees
                failed.append(f"it fails: {shown(error)}")
                continue
            shapes.append(f"its output has the shape {theirs.shape}, where {mine.shape} was expected")
            lie, off = self._agreed(call, theirs, mine, inputs)
            if lie is not None:
                _, y = self._where(lie, theirs, inputs)
                self._require_varying(y)
                largest = np.abs(y).max(axis=tuple(axis for axis in range(y.ndim) if axis != 1), keepdims=True)
                self._scale = np.maximum(largest, self._scale)  # a channel may be 0 throughout
                return call, lie
            differ, ran = differ + off, ran or (call, theirs)
        said = [*differ, *shapes, *failed][0] + (self._exchanged(*ran, inputs) if ran else "")
        if any(part.training for part in self._module.modules()):
            self._module = still
            self._found(inputs)
            raise ParameterError(f"{self.name} is in training mode, in which it computes something else; call .eval() before")
        raise ParameterError(f"{self.name} does not compute what the graph computes with these parameters: {said}")

    def _agreed(self, call: Call, theirs: Array, mine: Array, inputs: Arrays) -> tuple[Lie | None, list[str]]:
        """Return how an output lies to be the graph's; or where it differs in each way that there is."""
        differ = []
        for lie in lies(call, theirs.shape, self._facts, inputs, mine.shape[1]):
            begin, y = self._where(lie, theirs, inputs)
            if y.size:
                if not (off := self._differs(y, mine, begin)):
                    return lie, []
                differ.append(off)
        return None, differ

    def _exchanged(self, call: Call, theirs: Array, inputs: Arrays) -> str:
        """Name two nodes whose parameters, exchanged, make the graph agree with an output."""
        shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        for name, array in self._params.items():
            node, _, last = name.rpartition(".")
            shapes.setdefault(node, {})[last] = array.shape
        alike = [(a, b) for a, b in combinations(shapes, 2) if shapes[a] == shapes[b]]
        for a, b in alike[:_EXCHANGES]:
            swapped = {f"{a}.{n}": self._params[f"{b}.{n}"] for n in shapes[a]}
            swapped |= {f"{b}.{n}": self._params[f"{a}.{n}"] for n in shapes[a]}
            if self._agreed(call, theirs, forward(self._graph, self._params | swapped, inputs), inputs)[0] is not None:
                return f"; with the parameters of {a!r} and {b!r} exchanged they agree"
        return ""

    def _differs(self, theirs: Array, mine: Array, begin: int) -> str:
        """Say where two outputs differ the most, if they do."""
        ratio, mine = self._ratio(theirs, mine, begin)
        if ratio.max() <= self._limit:
            return ""
        row, channel, *at = np.unravel_index(int(ratio.argmax()), ratio.shape)
        place = f"t = {at[0] + begin}" if len(at) == 1 else f"row {at[0]}, column {at[1]}"
        a, b = (f"{float(y[(row, channel, *at)]):.6g}" for y in (theirs, mine))
        return f"at sequence {row}, channel {channel}, {place} the module gives {a}, the graph {b}"

    def _ratio(self, theirs: Array, mine: Array, begin: int) -> tuple[Array, Array]:
        """How far each number is off, as a part of the largest of its channel; and the graph's numbers at these positions."""
        if theirs.ndim == 3:
            mine = mine[:, :, begin - self._facts.first_position :][:, :, : theirs.shape[2]]
        axes = tuple(axis for axis in range(theirs.ndim) if axis != 1)
        scale = np.maximum(np.abs(theirs).max(axis=axes, keepdims=True), self._scale)
        return np.nan_to_num(np.abs(theirs - mine) / scale, nan=np.inf), mine

    def _apart(self, extent: Extent, batch: int) -> float:
        """The largest difference at another length and batch, as a part of the largest value; 0 where there is no output."""
        inputs = drawn(self._facts, extent, batch)
        try:
            begin, theirs = self.outputs(inputs)
        except Exception as error:  # the module is the user's code
            if self._facts.grid is None and extent[0] <= self._facts.left_context:  # some modules need whole windows
                return 0.0
            raise ParameterError(f"{self.name} fails at {called(extent)}, batch {batch}: {shown(error)}") from None
        if not theirs.size:
            return 0.0
        mine = forward(self._graph, self._params, inputs)
        if off := self._differs(theirs, mine, begin):
            raise ParameterError(f"{self.name} does not compute what the graph computes: {called(extent)}, batch {batch}, {off}")
        return float(self._ratio(theirs, mine, begin)[0].max())

    def _require_varying(self, y: Array) -> None:
        if (y == y[:1]).all():
            raise ParameterError(
                f"with these weights the output of {self.name} is the same for every input that was tried, so that no comparison "
                "would find a fault; give the module with its trained weights"
            )

    def _require_fixed(self, inputs: Arrays) -> None:
        """Raise ParameterError if the module gives something else the second time, or in eval mode."""
        first, second = (self._run(self._module, self._call, inputs) for _ in range(2))
        if not np.array_equal(first, second):
            raise ParameterError(
                f"{self.name} gives different outputs for the same input; call .eval(), and take it without state"
            )
        if not np.array_equal(first, self._run(copy.deepcopy(self._module).eval(), self._call, inputs)):
            raise ParameterError(f"{self.name} is in training mode, in which it computes something else; call .eval() before")


def reference(module: torch.nn.Module, graph: Graph, params: Arrays) -> Reference:
    """Hold a module against a graph: to 1e-9 of each channel's largest value, to 1e-4 with parameters that were rounded."""
    rounded = any(array.dtype.kind == "f" and array.dtype.itemsize < 8 for array in params.values())
    return Reference(module, graph, params, ROUNDED if rounded else LIMIT)


def _rows(found: Facts) -> int:
    """A batch size that is no number of channels."""
    return next(n for n in (3, 5, 7, 11, 13, 17, 19) if n not in {kind.size for kind in found.types.values()})


def _extents(found: Facts) -> list[Extent]:
    """Lengths above, at and below what an output sees, the longest, which no axis of channels has, first."""
    taken = {kind.size for kind in found.types.values()} | {_rows(found)}
    if found.grid is not None:
        side = min(found.left_context + 3, 12)
        height = next(n for n in range(side, side + 60) if n not in taken)
        width = next(n for n in range(side, side + 60) if n not in taken and n != height)
        return [(height, width), (1, 1), (2, 5), (5, 2)]
    field = found.left_context + 1
    longest = next(n for n in range(field + 9, field + 99) if n not in taken)
    return [(longest,), *((n,) for n in sorted({1, 2, 3, max(1, field // 2), field, field + 1}))]
