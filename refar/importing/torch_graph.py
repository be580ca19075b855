"""A module as torch.export traces it at several lengths and batches: one list of calls, of which numbers may differ."""

from __future__ import annotations

import io
import logging
import operator
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from refar.importing.refusal import ImportRefused, Place, refuse, refuse_call
from refar.importing.user_code import line_of
from refar.importing.values import Varying

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)')


HELD = "held"
"""The mark of a call of which the module holds the gradients back."""
_HELD = "wrap_with_set_grad_enabled"
_WRAPPERS = {_HELD, "wrap_with_autocast"}
"""Calls of torch.export that hold others: those under torch.no_grad() and torch.autocast()."""


@dataclass(frozen=True)
class Traced:
    """The graphs of the runs, node by node; the tensors of the module by the names of their placeholders; the inputs in order.

    `owner` is the module of the first graph, which holds what it gets by name.
    """

    graphs: tuple[fx.Graph, ...]
    owner: Any
    tensors: Mapping[str, tuple[str, torch.Tensor]]
    inputs: tuple[str, ...]


def traced(module: torch.nn.Module, runs: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> Traced:
    """Trace a module once for each run's arguments. Raises ImportRefused if that fails, or if the runs take different ways."""
    first, strict = _export(module, *runs[0])
    programs = [first, *(_export(module, *run, ways=(strict,))[0] for run in runs[1:])]
    graphs = tuple(program.graph for program in programs)
    _require_alike(graphs)
    signature = first.graph_signature
    named = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    held = {**first.state_dict, **first.constants}
    tensors = {placeholder: (name, held[name]) for placeholder, name in named.items()}
    inputs = tuple(str(name) for name in signature.user_inputs)
    return Traced(graphs, first.graph_module, tensors, inputs)


def _require_alike(graphs: Sequence[fx.Graph]) -> None:
    """Refuse graphs of which the nodes differ."""
    for other in graphs[1:]:
        nodes = [list(graph.nodes) for graph in (graphs[0], other)]
        for one, two in zip(*nodes, strict=False):
            if (one.op, str(one.target)) != (two.op, str(two.target)):
                what = f"the module does something else at another length or batch: {one.target} here, {two.target} there"
                raise refuse(place_of(one), what, "make the same calls at every length")
        if len(nodes[0]) != len(nodes[1]):
            raise ImportRefused("the module makes more calls at another length or batch; make the same calls at every length")


@contextmanager
def _silent() -> Iterator[None]:
    """Keep back what torch prints and logs while it fails: the error says it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _export(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], ways: Sequence[bool] = (False, True)
) -> tuple[Any, bool]:
    """Trace a module once, not strictly or strictly as the first of these `ways` that works, and return which it was."""
    failed = []
    for strict in ways:
        try:
            with _silent(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.export(module, args, kwargs, strict=strict)
                _inline(program.graph_module)
                return program, strict
        except Exception as error:  # torch.export has no base class for its errors; the refusal below says which it was
            failed.append(error)
    lines = [line.strip() for line in str(failed[0]).splitlines() if line.strip()]
    where = f" ({at})" if (at := line_of(failed[0])) else ""
    raise ImportRefused(
        f"torch.export cannot trace the module{where}: {type(failed[0]).__name__}: {' '.join(lines[:2])[:400]}; "
        "branches and loops that depend on the data have to be decided before, and shapes must follow from those of the input"
    ) from failed[0]


def _inline(owner: Any) -> None:
    """Put the calls under torch.no_grad() and torch.autocast() among the others, marking those of which gradients are held back.

    What they compute is the same in float64.
    """
    for node in list(owner.graph.nodes):
        if not isinstance(node.target, torch._ops.HigherOrderOperator) or str(node.target) not in _WRAPPERS:
            continue
        body = next(i for i, given in enumerate(node.args) if isinstance(given, fx.Node))
        inner: Any = owner.get_submodule(str(node.args[body].target))
        _inline(inner)
        known = dict(zip((n for n in inner.graph.nodes if n.op == "placeholder"), node.args[body + 1 :], strict=True))
        with owner.graph.inserting_before(node):
            for call in inner.graph.nodes:
                if call.op == "get_attr":
                    name = f"{node.name}_{call.name}"
                    setattr(owner, name, getattr(inner, str(call.target)))
                    known[call] = owner.graph.get_attr(name)
                elif call.op == "call_function":
                    known[call] = owner.graph.node_copy(call, known.__getitem__)
                    known[call].meta[HELD] = call.meta.get(HELD, False) or str(node.target) == _HELD
        results = next(n for n in inner.graph.nodes if n.op == "output").args[0]
        for reader in list(node.users):  # each takes one of the results
            reader.replace_all_uses_with(known[results[reader.args[1]]])
            owner.graph.erase_node(reader)
        owner.graph.erase_node(node)
    owner.recompile()


def place_of(node: fx.Node) -> Place:
    """Return where a call stands: its name, the module that makes it, the line."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = ""
    if stack:
        path, kind = stack[-1]
        module = path.replace("L['self'].", "") if isinstance(path, str) else str(path)
        kind = kind if isinstance(kind, str) else kind.__name__
        module = f"{module} ({kind.rpartition('.')[2]})" if module else kind.rpartition(".")[2]
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [f for f in frames if "/torch/" not in f[0]] or frames
    line = f"{own[-1][0].rpartition('/')[2]}:{own[-1][1]}: {own[-1][2].strip()}" if own else ""
    return Place(node.name, module, line)


def packet(node: fx.Node, place: Place) -> str:
    """Return the name of a call without its overload and the mark of a call in place."""
    if node.target is operator.getitem:
        return "getitem"
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target.overloadpacket).rpartition(".")[2].removesuffix("_")
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return str(node.target)
    raise refuse_call(place, str(getattr(node.target, "__name__", node.target)))


def in_place(node: fx.Node) -> bool:
    """Whether a call changes its first argument."""
    return isinstance(node.target, torch._ops.OpOverload) and str(node.target.overloadpacket).endswith("_")


def arguments(nodes: Sequence[fx.Node]) -> dict[str, Any]:
    """Return the arguments of a call by their names in its schema, numbers that differ between the runs as `Varying`."""
    target = nodes[0].target
    assert isinstance(target, torch._ops.OpOverload)
    schema = target._schema.arguments
    runs = []
    for node in nodes:
        given = {argument.name: value for argument, value in zip(schema, node.args, strict=False)} | dict(node.kwargs)
        runs.append({argument.name: given.get(argument.name, argument.default_value) for argument in schema})
    return {argument.name: merged([run[argument.name] for run in runs]) for argument in schema}


def merged(values: Sequence[Any]) -> Any:
    """Return one argument for all runs: itself if it is the same, `Varying` numbers, or a list of such."""
    first = values[0]
    if isinstance(first, list | tuple):
        if len({len(value) for value in values}) > 1:
            raise ImportRefused("a call has more arguments at another length or batch; make the same calls at every length")
        return [merged(parts) for parts in zip(*values, strict=True)]
    if isinstance(first, fx.Node):
        return first
    if isinstance(first, int) and not isinstance(first, bool) and any(value != first for value in values):
        return Varying(tuple(values))
    if any(value != first for value in values):
        raise ImportRefused(
            f"a call has the argument {first} at one length and another at others; it must not depend on the length"
        )
    return first


def rows(program: Traced) -> Iterator[tuple[fx.Node, ...]]:
    """Walk the runs together."""
    return zip(*(graph.nodes for graph in program.graphs), strict=True)
