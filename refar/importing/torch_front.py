"""`from_torch`: anybody's module as a graph, held against the module before it is returned."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from refar.analysis.causality import is_strict, receptive_field
from refar.building.rewrite import strictify
from refar.errors import InputError, check_integer
from refar.graph.graph import Padding
from refar.importing.draft import GraphDraft
from refar.importing.imported import Imported, ImportReport
from refar.importing.in_time import looks_ahead
from refar.importing.refusal import ImportRefused, Place
from refar.importing.torch_check import compare, copied, single
from refar.importing.torch_graph import traced
from refar.importing.torch_inputs import Port, ports
from refar.importing.torch_walk import Walk
from refar.importing.values import Labelled, Part, Runs
from refar.ops import AnyHead

MORE = (0, 1, 17)
"""By how much the lengths exceed the example's at which a module is traced."""


def import_module(
    module: torch.nn.Module,
    example: Any,
    *,
    classes: int | Mapping[str, int] | None,
    axes: str | Mapping[str, str] | None,
    head: AnyHead | None,
    padding: Padding | None,
    shift: Literal["none", "input", "output"],
) -> Imported:
    """See `refar.from_torch`."""
    if shift not in ("none", "input", "output"):
        raise InputError(f"shift: expected 'none', 'input' or 'output', got {shift!r}")
    notes = _require_module(module)
    plain = copied(module).float()
    found = ports(plain, example, *_by_name(plain, example, axes, classes))
    length = _length(found, example)
    runs = Runs((*(length + n for n in MORE), length), (2, 2, 2, 3))
    _require_runs(plain, found, example, runs)
    program = traced(plain, [_arguments(found, n, b) for n, b in zip(runs.lengths, runs.batches, strict=True)])
    draft = GraphDraft()
    walk = Walk(program, draft, runs)
    for name, port in zip(program.inputs, found, strict=True):
        walk.known[name] = _input(draft, port)
    output = _output(draft, walk.output())
    chosen = _padding(draft, output, padding)
    graph, params, origins = draft.finish(output.node, head, chosen)
    field = receptive_field(graph)
    assert isinstance(field, int)  # of a graph over time
    agreement = compare(module, found, graph, params, output, field)
    notes += [*_notes(output, chosen, origins), *agreement.failed]
    if shift != "none" and not is_strict(graph):
        graph = strictify(graph, at=shift)
        notes.append(f"one position later, at the {shift}: the module's own output at t is the graph's at t + 1")
    report = ImportReport(field, chosen, origins, agreement.value, agreement.gradient, agreement.checked, tuple(notes))
    return Imported(graph, params, report)


def _require_module(module: Any) -> list[str]:
    """Refuse what is no module, or one in training mode; return what is to be said of the others."""
    if not isinstance(module, torch.nn.Module):
        raise ImportRefused(f"expected a torch.nn.Module, got {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise ImportRefused("expected a torch.nn.Module, got one of TorchScript; give the module that it was made from")
    training = [name or type(module).__name__ for name, part in module.named_modules() if part.training]
    if training:
        raise ImportRefused(f"{training[0]} is in training mode, in which dropout and norms change it; call module.eval() before")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if type(tensor).__name__.startswith("Uninitialized"):
            raise ImportRefused(f"{name!r} has no shape yet, as in a lazy module; call the module on an example first")
        if tensor.is_meta:
            raise ImportRefused(f"{name!r} has no numbers: it is on the device meta; load or draw them first")
    notes = []
    tensors = [*module.parameters(), *module.buffers()]
    if kinds := sorted({str(t.dtype).removeprefix("torch.") for t in tensors if t.dtype in (torch.float16, torch.bfloat16)}):
        notes.append(
            f"the module is in {' and '.join(kinds)}: its weights were imported as they are, and computed with in more digits"
        )
    if any(not bool(torch.isfinite(t).all()) for t in tensors if t.is_floating_point()):
        raise ImportRefused("the module has parameters or buffers that are not finite")
    return notes


def _by_name(module: torch.nn.Module, example: Any, axes: Any, classes: Any) -> tuple[Mapping[str, str], Mapping[str, int]]:
    """One value stands for the first input. Raises InputError for values that are no axes or no counts of classes."""
    if isinstance(example, Mapping):
        first = next(iter(example), "x")
    else:
        first = next(iter(inspect.signature(module.forward).parameters), "x")
    named = [given if isinstance(given, Mapping) else {} if given is None else {first: given} for given in (axes, classes)]
    if not all(isinstance(each, str) for each in named[0].values()):
        raise InputError(f"axes: expected letters like 'BTC', or {{input: letters}}, got {axes!r}")
    return named[0], {name: check_integer("classes", count, 1) for name, count in named[1].items()}


def _length(found: list[Port], example: Any) -> int:
    return int(_tensors(example)[0].shape[found[0].axes.index("T")])


def _tensors(example: Any) -> list[Any]:
    """The tensors of an example, the sequence first."""
    if isinstance(example, Mapping):
        return list(example.values())
    return list(example) if isinstance(example, tuple | list) else [example]


def _arguments(found: list[Port], length: int, batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rng = np.random.default_rng(0)
    drawn = [port.draw(rng, length, batch) for port in found]
    drawn = [tensor if port.classes else tensor.float() for port, tensor in zip(found, drawn, strict=True)]
    args = tuple(tensor for port, tensor in zip(found, drawn, strict=True) if not port.keyword)
    return args, {port.name: tensor for port, tensor in zip(found, drawn, strict=True) if port.keyword}


def _require_runs(module: torch.nn.Module, found: list[Port], example: Any, runs: Runs) -> None:
    """Run the module at all lengths, and refuse it if it fails, or goes on changing its own numbers after the first run."""
    held: dict[str, torch.Tensor] = {}
    for length, batch in zip(runs.lengths, runs.batches, strict=True):
        _require_run(module, found, example, length, batch)
        now = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        changed = [name for name in held if held[name].shape != now[name].shape or not torch.equal(held[name], now[name])]
        if changed:
            raise ImportRefused(
                f"the module changes {', '.join(map(repr, changed))} when it runs: a second call would give another result; "
                "take the module without its own state, refar keeps the state of a stream"
            )
        held = now


def _require_run(module: torch.nn.Module, found: list[Port], example: Any, length: int, batch: int) -> None:
    """Run the module once, and refuse it where it fails, naming the part that was running."""
    args, kwargs = _arguments(found, length, batch)
    entered: list[str] = []
    hooks = [
        part.register_forward_pre_hook(lambda part, _, name=name: entered.append(f"{name or 'forward'} ({type(part).__name__})"))
        for name, part in module.named_modules()
    ]
    try:
        with torch.no_grad():
            y = module(*args, **kwargs)
    except Exception as error:  # the module is the user's code; what it raises is said in the refusal
        what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
        where = f" in {entered[-1]}" if entered else ""
        why = _what_works(module, found, example, length, batch)
        raise ImportRefused(f"the module fails{where} at length {length} and batch {batch}: {what}{why}") from error
    finally:
        for hook in hooks:
            hook.remove()
    single(y)


def _what_works(module: torch.nn.Module, found: list[Port], example: Any, length: int, batch: int) -> str:
    """Say what the module takes that fails at this length and batch: another length or batch, or the example alone."""
    given = [
        tensor.cpu() if port.classes else tensor.cpu().float() for port, tensor in zip(found, _tensors(example), strict=True)
    ]
    own, rows = _length(found, example), int(given[0].shape[found[0].axes.index("B")])
    if length != own and _runs(module, *_arguments(found, own, batch)):
        return f"; it takes length {own}, but must take any length, as causal layers do"
    if batch != rows and _runs(module, *_arguments(found, length, rows)):
        return f"; it takes a batch of {rows}, but must take any number of sequences"
    named = {port.name: tensor for port, tensor in zip(found, given, strict=True)} if found[0].keyword else {}
    if not _runs(module, () if named else tuple(given), named):
        return "; it fails on the example too"
    drawn = "".join(
        f"; {port.name} was drawn from the whole numbers below classes={port.classes}" for port in found if port.classes
    )
    return f"; it takes the example itself{drawn}"


def _runs(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Say whether the module takes such arguments."""
    try:
        with torch.no_grad():
            module(*args, **kwargs)
    except Exception:  # the module is the user's code; that it fails is the answer
        return False
    return True


def _input(draft: GraphDraft, port: Port) -> Labelled:
    node = draft.add(port.op, wish=port.name)
    return Labelled(
        node,
        port.axes,
        port.classes or port.channels,
        indexed=port.classes > 0,
        timed=port.role != "global",
        place=Place(port.name),
    )


def _output(draft: GraphDraft, given: Any) -> Labelled:
    """Return the one value that the module gives. Raises ImportRefused unless it is a causal output over time."""
    while isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if isinstance(given, Part):
        raise given.error
    if not isinstance(given, Labelled):
        raise ImportRefused("the module's output is no value of its input; return one tensor that is computed from it")
    kept = tuple(axis for axis in given.axes if axis != "1")
    if sorted(kept) not in (["B", "C", "T"], ["B", "T"]) or not given.timed or given.indexed:
        raise ImportRefused(
            f"the module's output has the axes {', '.join(given.axes)}; expected B, C, T: a value at every position"
        )
    if given.first > 0 and given.end > 0:
        raise looks_ahead(draft, given)
    if given.end > 0:
        raise ImportRefused(
            f"the module's output is {given.end - given.first} positions longer than its input: its last {given.end} stand after "
            f"the end of the sequence (the last call is {given.place}); cut them off: x[..., :-{given.end}]"
        )
    return given


def _padding(draft: GraphDraft, output: Labelled, wanted: Padding | None) -> Padding:
    """Choose the padding under which the graph is the module. Raises ImportRefused if there is none, or not the one wanted."""
    against = draft.against(output.node)
    if wanted is not None:
        if wanted in against:
            raise ImportRefused(f"padding {wanted!r} is not that of the module: {against[wanted]}")
        return wanted
    order: tuple[Padding, ...] = ("input", "layer") if output.first > 0 else ("layer", "input")
    for padding in order:
        if padding not in against:
            return padding
    raise ImportRefused(
        "the values before the first position are neither zero at every layer nor zero at the input alone: "
        f"not the first, since {against['layer']}; not the second, since {against['input']}"
    )


def _notes(output: Labelled, padding: Padding, origins: dict[str, str]) -> list[str]:
    notes = []
    if output.first > 0:
        notes.append(
            f"the module has no outputs for the first {output.first} positions; the graph's there are new, of padding {padding!r}"
        )
    if output.first < 0:
        notes.append(f"the first {-output.first} outputs of the module, which stand before the first input, are left out")
    if output.end < 0:
        notes.append(f"the module has no outputs for the last {-output.end} positions; the graph's there are new")
    by_origin: dict[str, list[str]] = {}
    for name, origin in origins.items():
        by_origin.setdefault(f"{name.rpartition('.')[2]} of {origin}", []).append(name)
    for shared in by_origin.values():
        if len(shared) > 1:
            notes.append(f"used more than once, and copied under each name: {', '.join(shared)}")
    return notes
