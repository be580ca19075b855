"""`from_torch`: anybody's module as a graph, held against the module before it is returned."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from refar.errors import InputError, check_integer
from refar.graph.graph import Padding
from refar.importing.draft import GraphDraft
from refar.importing.ends import concluded, input_value, output_value, require_shift, runs_of
from refar.importing.imported import Imported
from refar.importing.ports import started
from refar.importing.probes import Extent, called
from refar.importing.refusal import ImportRefused
from refar.importing.torch_check import compare, copied, single
from refar.importing.torch_graph import traced
from refar.importing.torch_inputs import TensorPort, extent_of, ports
from refar.importing.torch_trunk import cut, left_out, together, trunk
from refar.importing.torch_walk import Lost, Walk
from refar.importing.values import Runs
from refar.ops import AnyHead


def import_module(
    module: torch.nn.Module,
    example: Any,
    *,
    classes: int | Mapping[str, int] | None,
    axes: str | Mapping[str, str] | None,
    head: AnyHead | None,
    padding: Padding | None,
    shift: Literal["none", "input", "output"],
    start_token: int | None,
    partial: bool,
) -> Imported:
    """See `refar.from_torch`."""
    require_shift(shift, start_token)
    notes = _require_module(module)
    plain = copied(module).float()
    found = ports(plain, example, *_by_name(plain, example, axes, classes))
    found = [started(found[0], start_token), *found[1:]]
    runs = runs_of(extent_of(found[0], _tensors(example)[0]))
    _require_runs(plain, found, example, runs, partial)
    arguments = [_arguments(found, extent, batch) for extent, batch in runs.each]
    program = traced(plain, arguments)
    walk, part = Walk(program, GraphDraft(), runs), None
    for name, port in zip(program.inputs, found, strict=True):
        walk.known[name] = input_value(walk.draft, port)
    given = walk.output()
    try:
        if isinstance(given, Lost) and given.error is not None:
            raise given.error
        output = output_value(walk.draft, given, "module")
    except ImportRefused as error:
        if not partial:
            raise _with_trunk(error, walk) from None
        ends, part = trunk(plain, walk, arguments[0])
        output, notes = together(walk, ends), [*notes, *left_out(ends)]
    if walk.held:
        notes.append("gradients are not compared: the module holds some back, by detach() or torch.no_grad()")
    got = concluded(
        walk.draft,
        output,
        found,
        head=head,
        padding=padding,
        shift=shift,
        noun="module",
        own=[name for name, _ in program.tensors.values()],
        notes=notes,
        compare=lambda graph, field: compare(module if part is None else part.of(module), found, graph, field, not walk.held),
        with_gradients=not walk.held,
    )
    return got if part is None else replace(got, trunk=part.of(module))


def _with_trunk(error: ImportRefused, walk: Walk) -> ImportRefused:
    """Say up to where the module can be taken, if a part of it can."""
    try:
        ends = cut(walk).ends
    except ImportRefused:
        return error
    return ImportRefused(f"{error}; partial=True, or --partial, takes the part up to {' and '.join(node.name for node in ends)}")


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


def _tensors(example: Any) -> list[Any]:
    """The tensors of an example, the sequence first."""
    if isinstance(example, Mapping):
        return list(example.values())
    return list(example) if isinstance(example, tuple | list) else [example]


def _arguments(found: list[TensorPort], extent: Extent, batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rng = np.random.default_rng(0)
    drawn = [port.tensor(rng, extent, batch) for port in found]
    drawn = [tensor if port.classes else tensor.float() for port, tensor in zip(found, drawn, strict=True)]
    args = tuple(tensor for port, tensor in zip(found, drawn, strict=True) if not port.keyword)
    return args, {port.name: tensor for port, tensor in zip(found, drawn, strict=True) if port.keyword}


def _require_runs(module: torch.nn.Module, found: list[TensorPort], example: Any, runs: Runs, partial: bool) -> None:
    """Run the module at all lengths, and refuse it if it fails, or goes on changing its own numbers after the first run."""
    held: dict[str, torch.Tensor] = {}
    for extent, batch in runs.each:
        y = _require_run(module, found, example, extent, batch)
        if not partial:
            single(y)
        now = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        changed = [name for name in held if held[name].shape != now[name].shape or not torch.equal(held[name], now[name])]
        if changed:
            raise ImportRefused(
                f"the module changes {', '.join(map(repr, changed))} when it runs: a second call would give another result; "
                "take the module without its own state, refar keeps the state of a stream"
            )
        held = now


def _require_run(module: torch.nn.Module, found: list[TensorPort], example: Any, extent: Extent, batch: int) -> Any:
    """Run the module once, and return what it gives; refuse it where it fails, naming the part that was running."""
    args, kwargs = _arguments(found, extent, batch)
    entered: list[str] = []
    hooks = [
        part.register_forward_pre_hook(lambda part, _, name=name: entered.append(f"{name or 'forward'} ({type(part).__name__})"))
        for name, part in module.named_modules()
    ]
    try:
        with torch.no_grad():
            return module(*args, **kwargs)
    except Exception as error:  # the module is the user's code; what it raises is said in the refusal
        what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
        where = f" in {entered[-1]}" if entered else ""
        why = _what_works(module, found, example, extent, batch)
        read = f"; the axes of {found[0].name} were read as {''.join(found[0].axes)}, which axes= changes"
        raise ImportRefused(f"the module fails{where} at {called(extent)} and batch {batch}: {what}{why}{read}") from error
    finally:
        for hook in hooks:
            hook.remove()


def _what_works(module: torch.nn.Module, found: list[TensorPort], example: Any, extent: Extent, batch: int) -> str:
    """Say what the module takes that fails at this length and batch: another length or batch, or the example alone."""
    given = [
        tensor.cpu() if port.classes else tensor.cpu().float() for port, tensor in zip(found, _tensors(example), strict=True)
    ]
    start = found[0].start
    if start is not None and _runs(module, *_arguments([replace(found[0], start=None), *found[1:]], extent, batch)):
        return f"; it runs without start_token={start}, which is none of its classes"
    own, rows = extent_of(found[0], given[0]), int(given[0].shape[found[0].axes.index("B")])
    if extent != own and _runs(module, *_arguments(found, own, batch)):
        any_other = "length" if len(own) == 1 else "size"
        return f"; it takes {called(own)}, but must take any {any_other}, as causal layers do"
    if batch != rows and _runs(module, *_arguments(found, extent, rows)):
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
