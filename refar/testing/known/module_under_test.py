"""A module under test as one more backend of a graph."""

from __future__ import annotations

import copy
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.oracle.bound_graph import cast
from refar.rounding import half
from refar.testing.contract.backends import Streamed
from refar.testing.report import ContractError, Raised
from refar.testing.threads import one_thread
from refar.testing.under_test import as_array, one_dtype, require_numbers

if TYPE_CHECKING:
    from torch import Tensor, nn


Pick = int | str | Callable[[Any], Any] | None
"""Which of several outputs of a module is meant."""


@dataclass(frozen=True)
class Layout:
    """An order of axes in which outputs may come: a letter for each, of which K and C make Q; `lacking` first positions lack.

    Q are all channels of the output, C are colours, K the channels of one; in C·K they share an axis, colours outermost.
    """

    letters: str
    colours: int = 1
    lacking: int = 0

    @property
    def axes(self) -> str:
        """The order as a report names it."""
        return f"({', '.join(self.letters)})".replace("C, ·, K", "C·K")

    def shape(self, batch: int, channels: int, sides: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of an output of so many rows and channels."""
        sizes = dict(zip("HW", sides, strict=True)) if "H" in self.letters else {"T": sides[0] - self.lacking}
        sizes |= {"B": batch, "Q": channels, "C": self.colours, "K": channels // self.colours}
        merged = self.letters.replace("C·K", "Q")
        return tuple(sizes[letter] for letter in merged)

    def to_graph(self, y: Tensor) -> Tensor:
        """Return the output as y_bct or y_bchw."""
        from torch.nn.functional import pad

        if "·" in self.letters:
            y = y.reshape(len(y), self.colours, -1, *y.shape[2:])
        came = self.letters.replace("·", "")
        y = y.permute([came.index(letter) for letter in "BKCQTHW" if letter in came])
        y = y if "Q" in came else y.flatten(1, 2) if "K" in came else y.unsqueeze(1)
        return pad(y, (self.lacking, 0)) if self.lacking else y


class ModuleUnderTest:
    """A copy of the module with the graph's parameters in it; the module itself is left alone.

    `inputs` makes the module's arguments of the graph's inputs, sequence first. They and the parameters are of the dtype `given`;
    `dtype` is that of the computation: the same, or after `settle` half precision where the module computes in that, or float32
    where it returns that.
    """

    def __init__(
        self,
        module: nn.Module,
        graph: Graph,
        params: Arrays,
        names: Mapping[str, str],
        inputs: Callable[..., Any],
        given: str,
        output: Pick,
    ) -> None:
        import torch

        self.graph, self.given, self.dtype, self.name, self.names = graph, given, given, type(module).__name__, names
        self._torch, self._inputs, self._output = torch, inputs, output
        self._layout: Layout | None = None
        self._answers = ""
        self.before = {  # the weights that the module came with, by the names of the graph
            name: as_array(name, dict(module.named_parameters(remove_duplicate=False))[names[name]]).reshape(array.shape)
            for name, array in params.items()
        }
        self.module = _copied(module).cpu().to(getattr(torch, given))
        self.own = dict(self.module.named_parameters(remove_duplicate=False))
        self.detached: set[str] = set()
        with torch.no_grad():
            for name, array in params.items():
                parameter = self.own[names[name]]
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)).reshape(parameter.shape))

    @property
    def layout(self) -> str:
        """The order of axes in which the module's outputs come."""
        return self._layout.axes if self._layout else ""

    def call(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """What the module itself returns."""
        try:
            arguments = self._inputs(*tensors.values())
        except Exception as error:  # a user's function may raise anything; it becomes one sentence
            raise InputError(f"inputs: expected what makes the module's arguments, and it raises {_said(error)}") from error
        try:
            given = self.module(*arguments) if isinstance(arguments, tuple) else self.module(arguments)
        except Exception as error:  # a module of the user
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors.values())
            raise Raised(f"{self.name} raises {_said(error)}, on inputs of {shapes}") from error
        result = picked(given, self._output)
        if not isinstance(result, self._torch.Tensor):
            hint = "; say with output=0 which of them" if isinstance(result, tuple | list | dict) and self._output is None else ""
            raise ContractError(f"{self.name} returned the wrong kind: expected a tensor, got {type(result).__name__}{hint}")
        self._answers = one_dtype(self.name, result.dtype, self._answers)
        return result

    def settle(self, inputs: Arrays, expected: Array, tolerance: Callable[[str], float]) -> None:
        """Find the precision, and the order of axes: the first in which outputs agree with `expected`, else the first that fits.

        `tolerance` of a dtype is how far outputs may be off, relative to the largest of them.
        """
        with self._torch.no_grad(), one_thread():
            with precisions(self.module) as seen:
                y = self._first_call(inputs)
            came = str(y.dtype).removeprefix("torch.")
            coarser = [name for name in half.BITS if name in {*seen, came}] + ["float32"] * (came == "float32")
            self.dtype = coarser[0] if coarser else self.given
            allowed = tolerance(self.dtype) * float(np.abs(expected).max())
            fitting = list(layouts(self.graph, tuple(y.shape), expected.shape))
            if not fitting:
                what = f"expected {expected.shape}, or its axes in another order, got {tuple(y.shape)}"
                raise ContractError(f"{self.name} returned the wrong shape: {what}")
            each = [self._full(as_array(self.name, layout.to_graph(y))) for layout in fitting]
            right = (layout for layout, values in zip(fitting, each, strict=True) if np.abs(values - expected).max() <= allowed)
            self._layout = next(right, fitting[0])

    def _first_call(self, inputs: Arrays) -> Tensor:
        try:
            return self.call(self.tensors(inputs))
        except Raised as error:
            said = str(error.__cause__)
            if self.given == "float64" and {"float", "double"} <= set(re.findall("float|double", said.lower())):
                hint = "use the dtype of its weights there, or give dtype='float32'"
                raise ContractError(f"{self.name} fixes a dtype somewhere, as .float() does: {said}; {hint}") from error
            raise

    def tensors(self, inputs: Arrays) -> dict[str, Tensor]:
        """The graph's inputs in the dtype of the module."""
        tensors = cast(inputs, self.given)
        return {name: self._torch.from_numpy(np.array(array)) for name, array in tensors.items()}

    def output(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The module's output as the graph's."""
        y = self.call(tensors)
        if self._layout is None:
            raise ContractError("the order of the output's axes is not known yet")
        kind, x = facts(self.graph).types[facts(self.graph).sequence], tensors[facts(self.graph).sequence]
        sides = tuple(x.shape[-2 if kind.image else -1 :])
        expected = self._layout.shape(len(x), facts(self.graph).types[self.graph.output].size, sides)
        if tuple(y.shape) != expected:
            rows = "a batch of one row" if len(x) == 1 else f"{len(x)} rows"
            what = f"expected {expected} for {rows} and {' x '.join(map(str, sides))} positions, got {tuple(y.shape)}"
            raise ContractError(f"{self.name} returned the wrong shape: {what}")
        return self._layout.to_graph(y)

    def forward(self, inputs: Arrays) -> Array:
        """y_bct, without autograd. A sequence too short for any output, under padding "valid", is not given to the module."""
        found = facts(self.graph)
        x = inputs[found.sequence]
        if facts(self.graph).first_position >= x.shape[-1]:
            return np.zeros((len(x), found.types[self.graph.output].size, x.shape[-1]), self.given)
        with self._torch.no_grad(), one_thread():
            given = self.tensors(inputs)
            kept = {name: tensor.clone() for name, tensor in given.items()}
            y = as_array(self.name, self.output(given))
            for name, tensor in given.items():
                if not self._torch.equal(tensor, kept[name]):
                    raise ContractError(f"{self.name} changed its input {name!r}")
        require_numbers(self.name, y)
        return self._full(y.copy())

    def _full(self, y: Array) -> Array:
        """Zeros at the first positions under padding "valid", where a module may give none, or anything."""
        if first := facts(self.graph).first_position:
            y = np.where(np.arange(y.shape[2]) < first, 0, y)
        return y

    def gradient(self, inputs: Arrays, dy: Array) -> Arrays:
        """By autograd, of what each parameter of the module is and of real inputs; `detached` are those without a path."""
        tensors = self.tensors(inputs)
        real = {name: tensor.requires_grad_() for name, tensor in tensors.items() if tensor.is_floating_point()}
        own = [(f"module {name}", self.own[name]) for name in dict.fromkeys(self.names.values())]
        wanted: dict[str, Tensor] = {name: tensor for name, tensor in own if tensor.requires_grad} | real
        with one_thread():
            y = self.output(tensors)
            upstream = self._torch.from_numpy(dy).to(y.dtype)
            if not y.requires_grad:
                self.detached = set(wanted)
                return {name: np.zeros(tuple(tensor.shape)) for name, tensor in wanted.items()}
            try:
                found = self._torch.autograd.grad(y, list(wanted.values()), upstream, allow_unused=True)
            except Exception as error:  # a hook or a Function of the user
                raise Raised(f"the gradient of {self.name} raises {_said(error)}") from error
        each = dict(zip(wanted, found, strict=True))
        self.detached = {name for name, gradient in each.items() if gradient is None}
        dense = {n: None if g is None else g.to_dense() if g.is_sparse else g for n, g in each.items()}
        return {n: np.zeros(tuple(wanted[n].shape)) if g is None else as_array(n, g).astype(np.float64) for n, g in dense.items()}

    def stream(self, inputs: Arrays, lengths: Sequence[int]) -> list[Streamed]:
        """A module is run as a whole; `check_streaming` drives step functions."""
        return []


def require_weights(module: nn.Module) -> None:
    """Raise InputError unless parameters and buffers have numbers: those of a lazy module and on the device "meta" have none."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if type(tensor).__name__.startswith("Uninitialized"):
            kind = type(module).__name__
            raise InputError(f"module: {name!r} has no shape, got a lazy one, {kind}: call it once on an example first")
        if tensor.is_meta:
            raise InputError(f"module: {name!r} has no numbers: it is on the device meta; load or draw them first")


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _copied(module: nn.Module) -> nn.Module:
    """Copy a module. One of TorchScript goes through its file format: deepcopy leaves its parameters in a graph of float32."""
    import torch

    try:
        if not isinstance(module, torch.jit.ScriptModule):
            return copy.deepcopy(module)
        held = io.BytesIO()
        load: Callable[..., nn.Module] = torch.jit.load
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is deprecated; whoever has it knows
            torch.jit.save(module, held)
            held.seek(0)
            return load(held)
    except Exception as error:
        raise InputError(f"module: expected one that copy.deepcopy can copy: {error}") from None


def picked(result: Any, which: Pick) -> Any:
    """Return one of several outputs: by its index, its key, or a function; the result itself where nothing is to be picked."""
    if which is None:
        return result
    try:
        return which(result) if callable(which) else result[which]
    except Exception as error:  # a function of the user, or what a class of the user does with an index
        came = type(result).__name__
        raise InputError(f"output: expected what picks one output of a {came}, got {which!r}: {error}") from None


def takes_hooks(module: nn.Module) -> bool:
    """Return whether a module can be listened to: those of TorchScript cannot."""
    import torch

    return not isinstance(module, torch.jit.ScriptModule)


@contextmanager
def precisions(module: nn.Module) -> Iterator[set[str]]:
    """Collect the names of the dtypes in which the parts of a module answer while it is open."""
    seen: set[str] = set()

    def listen(_: Any, __: Any, output: Any) -> None:
        if hasattr(output, "dtype"):
            seen.add(str(output.dtype).removeprefix("torch."))

    handles = [child.register_forward_hook(listen) for child in module.modules() if takes_hooks(child)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def layouts(graph: Graph, came: tuple[int, ...], expected: tuple[int, ...]) -> Iterator[Layout]:
    """Yield the orders of axes that give the expected shape, the graph's own first. What padding "valid" lacks may lack."""
    kind = facts(graph).types[facts(graph).sequence]
    orders = ["BQHW", "BHWQ"] if kind.image else ["BQT", "BTQ", "TBQ"]
    orders += [orders[0].replace("Q", "")] if expected[1] == 1 else []
    if kind.image and kind.channels > 1 and expected[1] % kind.channels == 0:
        orders += ["BKCHW", "BCKHW", "BCHWK", "BHWKC", "BHWCK", "BC·KHW"]
    for lacking in dict.fromkeys((0, facts(graph).first_position)):
        each = (Layout(letters, kind.channels, lacking) for letters in orders)
        yield from (layout for layout in each if layout.shape(expected[0], expected[1], expected[2:]) == came)
