"""Every node of a backend, not the output alone: what rounding is judged on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.oracle.bound_graph import cast, unchecked
from refar.oracle.whole import backward_nodes, forward_nodes
from refar.rounding import bound
from refar.runtime.bundle import CLOCK, FIXED, LENGTH, OUTPUT, PAST, PRESENT, has_steps

LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL")
"""How much onnxruntime may rewrite a graph; the last is what sessions use."""

_VALUE = "value/"


@dataclass(frozen=True)
class Exposed:
    """What one backend computed for whole sequences: every node's value, and the gradients if it has any.

    `y` is the output of the same graph when it does not expose its nodes, or None where that is the same run.
    """

    name: str
    unit: float
    values: Arrays
    dvalues: Arrays = field(default_factory=dict)
    dparams: Arrays = field(default_factory=dict)
    y: Array | None = None


def expose(
    graph: Graph, params: Arrays, backend: str, inputs: Arrays, dy: Array, levels: tuple[str, ...] = LEVELS[-1:]
) -> Iterator[Exposed]:
    """NumPy and PyTorch in both dtypes, with gradients of Σ dy·y; onnxruntime's full, step and block graph at each level.

    Raises InputError for an unknown backend.
    """
    match backend:
        case "numpy":
            for dtype, unit in (("float32", bound.FLOAT32), ("float64", bound.FLOAT64)):
                weights = {name: array.astype(dtype) for name, array in params.items()}
                values = forward_nodes(unchecked(graph, weights, np.dtype(dtype)), cast(inputs, dtype))
                dvalues, dparams = backward_nodes(unchecked(graph, weights, (dy.astype(dtype)).dtype), values, dy.astype(dtype))
                yield Exposed(f"numpy {dtype}", unit, values, dvalues, dparams)
        case "torch":
            yield _torch(graph, params, inputs, dy, "float32", bound.FLOAT32)
            yield _torch(graph, params, inputs, dy, "float64", bound.FLOAT64)
        case "onnx":
            for level in levels:
                yield _full(graph, params, inputs, level)
                for kind in ("step", "block") if has_steps(facts(graph)) and graph.padding != "valid" else ():
                    yield from _streamed(graph, params, inputs, kind, level)
        case _:
            raise InputError(f"backend: expected numpy, torch or onnx, got {backend!r}")


def _torch(graph: Graph, params: Arrays, inputs: Arrays, dy: Array, dtype: str, unit: float) -> Exposed:
    from refar.torch import Module  # isort: skip; says what to install if there is no PyTorch
    import torch

    module = Module(graph, params).to(getattr(torch, dtype))
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in cast(inputs, dtype).items()}
    for tensor in tensors.values():
        tensor.requires_grad_(tensor.is_floating_point())
    values = module.forward_nodes(tensors)
    for value in values.values():
        if value.requires_grad:
            value.retain_grad()
    if values[graph.output].requires_grad:
        torch.autograd.backward(values[graph.output], torch.from_numpy(dy.astype(dtype)))
    dvalues = {name: v.grad.numpy() for name, v in values.items() if v.requires_grad and v.grad is not None}
    dparams = {name: p.grad.numpy() for name, p in module.named_parameters() if p.grad is not None}
    return Exposed(f"torch {dtype}", unit, {name: v.detach().numpy() for name, v in values.items()}, dvalues, dparams)


def _session(graph: Graph, params: Arrays, kind: Any, level: str, *, exposed: bool = True) -> Any:
    import onnxruntime

    from refar_export.build import build

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    weights = {name: array.astype(np.float32) for name, array in params.items()}
    model = build(graph, weights, kind, expose=exposed).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: Any, feeds: Arrays) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {i.name: feeds[i.name] for i in session.get_inputs()}), strict=True))


def _full(graph: Graph, params: Arrays, inputs: Arrays, level: str) -> Exposed:
    feeds = cast(inputs, np.float32)
    found = _run(_session(graph, params, "full", level), feeds)
    plain = _run(_session(graph, params, "full", level, exposed=False), feeds)
    return Exposed(f"onnxruntime full, {level.lower()}", bound.FLOAT32, _values(feeds, found), y=plain[OUTPUT])


def _values(feeds: Arrays, found: Arrays) -> Arrays:
    return feeds | {name.removeprefix(_VALUE): value for name, value in found.items() if name.startswith(_VALUE)}


def _streamed(graph: Graph, params: Arrays, inputs: Arrays, kind: str, level: str) -> Iterator[Exposed]:
    """Prefill of half of the sequence, then the rest; the values of each call put one after the other."""
    types, ahead = facts(graph).types, int(is_strict(graph))
    lead = facts(graph).schedule(leading=bool(ahead)).lead
    feeds = cast(inputs, np.float32)
    sequence = feeds[facts(graph).sequence]
    total = sequence.shape[-1]
    first = total // 2
    if first == 0:
        return

    def cut(begin: int, end: int, *, local: int) -> Arrays:
        """The inputs of these positions; local conditions, `local` positions further, repeat the last where there is none."""
        found = {}
        for name, array in feeds.items():
            offset = 0 if name == facts(graph).sequence else local
            places = np.minimum(np.arange(begin + offset, end + offset), total - 1)
            found[name] = array[..., places] if types[name].timed else array
        return found

    begun = cut(0, first + ahead, local=0)  # a strict prompt ends in a token that nothing may depend on
    found = _run(_session(graph, params, "prefill", level), begun | {LENGTH: np.full(len(sequence), first)})
    parts: dict[str, list[Array]] = {}
    for name, value in _values({}, found).items():
        end = first + lead.get(name, 0) if types[name].timed else None
        parts[name] = [value[..., :end]]
    session = _session(graph, params, kind, level)
    state = _carried(found) | {f"{PAST}.{CLOCK}": np.array(0)}
    for begin in range(first, total, 1 if kind == "step" else 5):
        end = begin + 1 if kind == "step" else min(begin + 5, total)
        now = cut(begin, end, local=ahead)
        if kind == "step":
            now = {name: array[..., 0] if types[name].timed else array for name, array in now.items()}
        found = _run(session, now | state)
        state |= _carried(found)
        for name, value in _values({}, found).items():
            if types[name].timed:
                parts[name].append(value[..., None] if kind == "step" else value)
    values = {name: np.concatenate(each, axis=-1)[..., :total] if types[name].timed else each[0] for name, each in parts.items()}
    yield Exposed(f"onnxruntime prefill and {kind}, {level.lower()}", bound.FLOAT32, feeds | values)


def _carried(found: Arrays) -> Arrays:
    """What the next call is given of what a call gave: the state, and what follows from global conditions."""
    fixed = {name: array for name, array in found.items() if name.startswith(f"{FIXED}.")}
    past = {name.replace(PRESENT, PAST, 1): array for name, array in found.items() if name.startswith(f"{PRESENT}.")}
    return fixed | past
