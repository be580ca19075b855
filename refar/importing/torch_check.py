"""An imported graph held against the module itself, in float64 and with the module's own weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from refar.arguments.arrays import Array
from refar.graph.graph import Graph
from refar.importing.refusal import ImportRefused
from refar.importing.torch_gradients import Carried, carried, of_parameters
from refar.importing.torch_inputs import Port
from refar.importing.values import Labelled
from refar.oracle.functions import backward, forward

LIMIT = 1e-9
"""How far a channel may be off, as a part of its largest value."""

NEAR_ZERO = 1e-4
"""A gradient below this part of the largest is compared with that: it may be a sum of which nothing but rounding is left."""


def _in_float64(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Run one call with float64 wherever it would make other real numbers."""
    named = {k: torch.float64 if isinstance(v, torch.dtype) and v.is_floating_point else v for k, v in (kwargs or {}).items()}
    if func in (torch.ops.aten.zeros.default, torch.ops.aten.ones.default, torch.ops.aten.full.default):
        named.setdefault("dtype", torch.float64)
    return func(*args, **named)


Doubled: Any = type("Doubled", (TorchDispatchMode,), {"__torch_dispatch__": _in_float64})
"""Makes every tensor of real numbers one in float64, also where the module asks for float32."""


def doubled(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of the module on the CPU, in float64."""
    return copied(module).double()


def copied(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of the module on the CPU; tensors that it keeps beside its parameters and buffers are copied by value."""
    plain = [t for part in module.modules() for t in vars(part).values() if isinstance(t, torch.Tensor)]
    kept = [t for t in plain if not isinstance(t, torch.nn.Parameter)]
    try:
        return copy.deepcopy(module, {id(t): t.detach().cpu().clone() for t in kept}).cpu()
    except Exception as error:  # whatever an attribute of the user's class makes of it
        raise ImportRefused(
            f"the module cannot be copied, and refar looks at a copy: {type(error).__name__}: {error}; take out what "
            "copy.deepcopy cannot copy"
        ) from None


@dataclass(frozen=True)
class Agreement:
    """How far module and graph are apart, of each channel's largest value, and at which (length, batch) that was found."""

    value: float
    gradient: float
    checked: tuple[tuple[int, int], ...]
    failed: tuple[str, ...]


def compare(
    module: torch.nn.Module,
    inputs: Sequence[Port],
    graph: Graph,
    params: dict[str, Array],
    origins: Mapping[str, str],
    output: Labelled,
    field: int,
) -> Agreement:
    """Hold the graph against the module. Raises ImportRefused where they differ, naming the first place.

    At lengths 1, 2, 3, odd and even ones below and above the receptive field, with 1 and 3 sequences.
    """
    exact = doubled(module)
    known = carried(exact, params, origins)
    lengths = sorted({1, 2, 3, max(1, field // 2), field - 1 or 1, field, field + 1, field + 6, 2 * field + 7})
    checked, short = list[tuple[int, int]](), list[int]()
    same: list[Array] = []
    said = ""
    worst = gradient = 0.0
    for length in lengths:
        for batch in (1, 3):
            rng = np.random.default_rng([length, batch])
            given = [port.draw(rng, length, batch) for port in inputs]
            try:
                y, leaves = _run(exact, inputs, given)
            except Exception as error:  # the module is the user's code; what it raises is said in the refusal
                said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
                if checked:
                    raise ImportRefused(f"the module itself fails at length {length}, batch {batch}: {said}") from error
                short.append(length)
                break
            if y.numel():
                same.append(_same_in_each_sequence(_as_bct(y.detach().numpy(), output)))
                worst = max(worst, _value(graph, params, inputs, given, y, output, length, batch))
                gradient = max(gradient, _gradient(graph, params, inputs, leaves, known, y, output, length, batch, rng))
                checked.append((length, batch))
    if len(checked) < 4:
        raise ImportRefused(f"the module could not be compared at enough lengths: {said or 'it gave no values'}")
    constant = np.all(same, axis=0)
    if constant.all():
        raise ImportRefused(
            "with these weights the module's output is the same for every input that was tried, so that no comparison would find "
            "a fault; give the module with its trained weights"
        )
    said_of_output = (f"channels of the output that no input changed: {', '.join(map(str, np.flatnonzero(constant)))}",)
    failed = (f"the module itself fails at the lengths {', '.join(map(str, short))}: {said}",) if short else ()
    return Agreement(worst, gradient, tuple(checked), (*failed, *(said_of_output if constant.any() else ())))


def _run(
    module: torch.nn.Module, inputs: Sequence[Port], given: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    leaves = [tensor.clone().requires_grad_() if not port.classes else tensor for port, tensor in zip(inputs, given, strict=True)]
    fed = [leaf.clone() for leaf in leaves]  # which the module may change
    args = [tensor for port, tensor in zip(inputs, fed, strict=True) if not port.keyword]
    kwargs = {port.name: tensor for port, tensor in zip(inputs, fed, strict=True) if port.keyword}
    with Doubled(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = module(*args, **kwargs)
    return single(y), leaves


def _same_in_each_sequence(y_bct: Array) -> Array:
    """Whether a channel is the same in all sequences, so that no input changed it; true of a single one, which shows nothing."""
    return np.asarray((y_bct == y_bct[:1]).all(axis=(0, 2)))


def single(y: Any) -> torch.Tensor:
    """Return the one tensor of an output."""
    if isinstance(y, list | tuple) and len(y) == 1:
        y = y[0]
    if not isinstance(y, torch.Tensor):
        raise ImportRefused(f"the module returns {type(y).__name__}, where one tensor was expected; wrap it to return that alone")
    return y


def _as_bct(y: Array, output: Labelled) -> Array:
    """The output of the module with axes B, C, T."""
    names = list(output.axes)
    y = y.reshape([n for n, axis in zip(y.shape, names, strict=True) if axis != "1"])
    names = [axis for axis in names if axis != "1"]
    if "C" not in names:
        y, names = y[..., None], [*names, "C"]
    return y.transpose([names.index(axis) for axis in "BCT"])


def _window(y: Array, output: Labelled, length: int) -> tuple[slice, slice]:
    """Which positions of the module's output, and of the graph's, stand at the same times."""
    first, last = max(0, output.first), length + min(0, output.end)
    return slice(first - output.first, last - output.first), slice(first, last)


def _fed(inputs: Sequence[Port], given: Sequence[torch.Tensor], graph: Graph) -> dict[str, Any]:
    names = [node.name for node in graph.nodes if not node.inputs]
    return {name: port.as_refar(tensor) for name, port, tensor in zip(names, inputs, given, strict=True)}


def _value(
    graph: Graph, params: Any, inputs: Any, given: Any, y: torch.Tensor, output: Labelled, length: int, batch: int
) -> float:
    mine = forward(graph, params, _fed(inputs, given, graph))
    theirs = _as_bct(y.detach().numpy(), output)
    expected = length + output.end - output.first
    if theirs.shape != (batch, mine.shape[1], expected):
        raise ImportRefused(
            f"the module's output has the shape {tuple(y.shape)} at length {length}, where {expected} positions follow"
        )
    own, graphs = _window(theirs, output, length)
    offset = length - mine.shape[-1]  # of padding "valid", which drops the first
    graphs = slice(max(0, graphs.start - offset), graphs.stop - offset)
    a, b = theirs[..., own], mine[..., graphs]
    a = a[..., a.shape[-1] - b.shape[-1] :]
    return _apart("output", a, b, length, batch, graphs.start)


def _gradient(
    graph: Graph,
    params: Any,
    inputs: Any,
    leaves: Any,
    known: Carried,
    y: torch.Tensor,
    output: Labelled,
    length: int,
    batch: int,
    rng: Any,
) -> float:
    """The largest distance between two gradients, by signals and by parameters, of a random sum of the outputs."""
    signals = [i for i, port in enumerate(inputs) if not port.classes]
    wanted = [leaves[i] for i in signals] + [parameter for parameter, _ in known.values()]
    if not wanted or not y.requires_grad or graph.padding == "valid":
        return 0.0
    mine = forward(graph, params, _fed(inputs, leaves, graph))
    dy = np.zeros_like(mine)
    own, graphs = _window(mine, output, length)
    dy[..., graphs] = rng.standard_normal(dy[..., graphs].shape)
    whole = torch.zeros_like(y)
    view = whole.detach().numpy()
    _as_bct(view, output)[..., own] = dy[..., graphs]
    found = torch.autograd.grad((whole * y).sum(), wanted, allow_unused=True)
    both = backward(graph, params, _fed(inputs, leaves, graph), dy)
    ours = both["inputs"]
    names = [node.name for node in graph.nodes if not node.inputs]
    worst = 0.0
    of_each = of_parameters(found[len(signals) :], known, both["params"])
    least = NEAR_ZERO * max((float(np.abs(theirs).max(initial=0)) for _, theirs, _ in of_each), default=0.0)
    for name, theirs, mine_g in of_each:
        worst = max(worst, _apart(f"gradient of {name}", theirs, mine_g, length, batch, 0, least))
    for i, gradient in zip(signals, found[: len(signals)], strict=True):
        theirs = np.zeros_like(ours[names[i]]) if gradient is None else inputs[i].as_refar(gradient)
        theirs = theirs if theirs.ndim == 3 else theirs[..., None]
        mine_g = ours[names[i]] if ours[names[i]].ndim == 3 else ours[names[i]][..., None]
        worst = max(worst, _apart(f"gradient of {names[i]}", theirs, mine_g, length, batch, 0))
    return worst


def _apart(what: str, a: Array, b: Array, length: int, batch: int, start: int, least: float = 0.0) -> float:
    """The largest distance of a channel, as a part of its largest value, or of `least` if that is larger.

    Raises ImportRefused where it is above the limit.
    """
    if a.shape != b.shape:
        raise ImportRefused(f"{what}: the module gives the shape {a.shape} and the graph {b.shape} at length {length}")
    if not a.size:
        return 0.0
    scale = np.maximum(np.abs(a).max(axis=(0, 2), keepdims=True), max(least, np.finfo(float).tiny))
    ratio = np.abs(a - b) / scale
    worst = float(np.nan_to_num(ratio, nan=np.inf).max())
    if worst > LIMIT:
        row, channel, at = np.unravel_index(np.nan_to_num(ratio, nan=np.inf).argmax(), ratio.shape)
        raise ImportRefused(
            f"the graph that was found does not compute what the module computes: {what} at length {length}, batch {batch}, "
            f"sequence {row}, channel {channel}, t = {at + start}: the module gives {a[row, channel, at]:.6g}, "
            f"the graph {b[row, channel, at]:.6g}. Nothing is returned; this is a fault of the import, please report it"
        )
    return worst
