"""The part of a module that a stream can compute, where the whole cannot be taken: in which values it ends; it as a module."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx
from torch.overrides import TorchFunctionMode

from refar import ops
from refar.importing.ends import refused_output
from refar.importing.pointwise import joined
from refar.importing.refusal import ImportRefused, Place, refuse
from refar.importing.torch_graph import place_of
from refar.importing.torch_walk import Lost, Walk
from refar.importing.values import Labelled, Part, Span


@dataclass(frozen=True)
class Cut:
    """The calls in which a trunk ends, in the order of the trace, their values, and why what lies behind is not taken."""

    ends: tuple[fx.Node, ...]
    values: tuple[Labelled, ...]
    refused: tuple[ImportRefused, ...]


def cut(walk: Walk, hidden: Collection[str] = ()) -> Cut:
    """Go back from the output to the last values that a stream can compute, but those that are `hidden`.

    Raises ImportRefused where there are none.
    """
    nodes = list(walk.program.graphs[0].nodes)
    ends, refused, seen = dict[str, Labelled](), list[ImportRefused](), set[fx.Node]()
    open_ends = list(nodes[-1].all_input_nodes)
    while open_ends:
        node = open_ends.pop()
        if node in seen or node.op != "call_function":
            continue
        seen.add(node)
        value = walk.known[node.name]
        if isinstance(value, Labelled) and value.timed and not value.indexed:
            error = refused_output(walk.draft, value, "module")
            if error is None and node.name not in hidden:
                ends[node.name] = value
                continue
            refused += [error] if error is not None else []
        elif isinstance(value, Lost | Part) and value.error is not None:
            refused.append(value.error)
        open_ends.extend(node.all_input_nodes)
    refused = list({str(error): error for error in reversed(refused)}.values())
    distinct: dict[tuple[str | Span, ...], fx.Node] = {}
    for node in nodes:
        if (value := ends.get(node.name)) is not None:
            distinct.setdefault((value.node, *value.spans.values()), node)  # one with its axes moved is the same
    found = tuple(distinct.values())
    if not found:
        raise refused[0] if refused else ImportRefused("the module's output is no value of its input")
    return Cut(found, tuple(ends[node.name] for node in found), tuple(refused))


def left_out(found: Cut) -> list[str]:
    """Say what a trunk ends in, and what is left out, with the reasons."""
    notes = ["a part of the module alone: the rest cannot be taken"] if found.refused else ["all that the module returns"]
    at = 0
    for node, value in zip(found.ends, found.values, strict=True):
        which = "the output is" if len(found.ends) == 1 else f"channels from {at} on are"
        notes.append(f"{which} the value of {place_of(node)}")
        at += value.size
    return [*notes, *(f"left out, with all behind it: {error}" for error in found.refused)]


def together(walk: Walk, found: Cut) -> Labelled:
    """Return the values in which a trunk ends as one, their channels one after the other."""
    if len(found.values) == 1:
        return found.values[0]
    place = Place("trunk")
    ends = {tuple(value.spans.values()) if value.image else value.end for value in found.values}
    if len(ends) > 1:
        named = ", ".join(node.name for node in found.ends)
        raise refuse(place, f"what can be taken ends in values of unequal size: {named}", "import them one by one")
    values = [replace(value, axes=("B", "C", *value.spans)) for value in found.values]
    return joined(walk.draft, ops.Concat(), values, place)


class _Caught(BaseException):
    """All values that were waited for are there; the rest of the module need not run."""


class _Calls(TorchFunctionMode):
    """Counts the calls that a module makes, and hands each tensor that comes of one to `see`, with its place among all."""

    def __init__(self, see: Callable[[tuple[int, int], torch.Tensor], None]) -> None:
        super().__init__()
        self.see, self.count = see, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not isinstance(func, torch._ops.OpOverload):
            self.count += 1
            for i, tensor in enumerate(found if isinstance(found, list | tuple) else (found,)):
                if isinstance(tensor, torch.Tensor):
                    self.see((self.count, i), tensor)
        return found


@dataclass(frozen=True)
class _End:
    """One value in which a trunk ends: its place among the calls, and its labels."""

    place: tuple[int, int]
    value: Labelled


class Trunk(torch.nn.Module):
    """Runs a module up to the last values of `ends`, and returns these as the trunk's graph does.

    The tensors given in order are the arguments `names`, or the first ones where there are none.
    """

    def __init__(self, module: torch.nn.Module, ends: Sequence[_End], names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.ends, self.names = module, tuple(ends), tuple(names)
        self.train(module.training)

    def of(self, module: torch.nn.Module) -> Trunk:
        """Return the same part of the same module in another precision, or elsewhere."""
        return Trunk(module, self.ends, self.names)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """List the parameters by their names in the whole module."""
        return self.module.named_parameters(*args, **kwargs)

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        """Return the one value, or all with channels first, one after the other; of sequences their last positions."""
        waited, caught = {end.place for end in self.ends}, dict[tuple[int, int], torch.Tensor]()

        def see(place: tuple[int, int], tensor: torch.Tensor) -> None:
            if place in waited:
                caught[place] = tensor.clone()
                if len(caught) == len(waited):
                    raise _Caught

        if self.names:
            args, kwargs = (), {**dict(zip(self.names, args, strict=False)), **kwargs}
        try:
            with _Calls(see):
                self.module(*args, **kwargs)
        except _Caught:
            pass
        if len(self.ends) == 1:
            return caught[self.ends[0].place]
        pieces = [_channels_first(caught[end.place], end.value) for end in self.ends]
        length = min(piece.shape[-1] for piece in pieces)
        return torch.cat([piece[..., piece.shape[-1] - length :] for piece in pieces], dim=1)


def _channels_first(tensor: torch.Tensor, value: Labelled) -> torch.Tensor:
    names = [axis for axis in value.axes if axis != "1"]
    tensor = tensor.reshape([n for n, axis in zip(tensor.shape, value.axes, strict=True) if axis != "1"])
    if "C" not in names:
        tensor, names = tensor.unsqueeze(-1), [*names, "C"]
    return tensor.permute([names.index(axis) for axis in "BCTHW" if axis in names])


Run = tuple[Sequence[torch.Tensor], dict[str, torch.Tensor]]
"""The arguments of a module, in order and by name."""


def trunk(module: torch.nn.Module, walk: Walk, run: Run) -> tuple[Cut, Trunk]:
    """Return where the trunk of a module ends, and the trunk as a module; `run` are the arguments of the first trace.

    A value within a call of PyTorch's own, as of multi_head_attention_forward, is not seen when the module runs; the last before
    the call are taken in its place. Raises ImportRefused where there are none.
    """
    hidden = set[str]()
    while True:
        found = cut(walk, hidden)
        places = _places(module, _interpreted(walk, [node.name for node in found.ends], [*run[0], *run[1].values()]), run)
        lacking = {node.name for node in found.ends} - places.keys()
        if not lacking:
            ends = [_End(places[node.name], value) for node, value in zip(found.ends, found.values, strict=True)]
            return found, Trunk(module, ends, list(run[1]))
        hidden |= lacking


def _places(module: torch.nn.Module, wanted: dict[str, torch.Tensor], run: Run) -> dict[str, tuple[int, int]]:
    """Run a module, and say which of its calls gives each of the tensors that it gave when it was traced."""
    places = dict[str, tuple[int, int]]()

    def see(place: tuple[int, int], tensor: torch.Tensor) -> None:
        for name, expected in wanted.items():
            if name not in places and tensor.shape == expected.shape and torch.equal(tensor, expected):
                places[name] = place

    with torch.no_grad(), _Calls(see):
        module(*run[0], **run[1])
    return places


def _interpreted(walk: Walk, names: Sequence[str], given: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Run the traced calls one by one, and return the values of some."""
    program, found = walk.program, dict[str, torch.Tensor]()
    fed = {**{name: tensor for name, (_, tensor) in program.tensors.items()}, **dict(zip(program.inputs, given, strict=True))}

    class Kept(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n.name in names:
                found[n.name] = result.clone()
            return result

    with torch.no_grad():
        order = [node.name for node in program.graphs[0].nodes if node.op == "placeholder"]
        Kept(program.owner).run(*(fed[name] for name in order), enable_io_processing=False)
    return found
