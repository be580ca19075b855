"""An imported graph held against the module itself, in float64 and with the module's own weights."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from refar.arguments.arrays import Array
from refar.importing.agreement import Agreement, Found, Pair, apart, as_graph, window
from refar.importing.agreement import compare as compare_any
from refar.importing.probes import Extent
from refar.importing.refusal import ImportRefused
from refar.importing.torch_gradients import Carried, carried, of_parameters
from refar.importing.torch_inputs import TensorPort
from refar.oracle.functions import backward, forward

NEAR_ZERO = 1e-4
"""A gradient below this part of the largest is compared with that: it may be a sum of which nothing but rounding is left."""


def _in_float64(mode: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Run one call with float64 wherever it would make other real numbers; the gradient of hardsigmoid takes 1/6 in float32."""
    if func is torch.ops.aten.hardsigmoid_backward.default:
        dy, x = args
        return dy * ((x > -3) & (x < 3)) / 6
    named = {k: torch.float64 if isinstance(v, torch.dtype) and v.is_floating_point else v for k, v in (kwargs or {}).items()}
    filled = func is torch.ops.aten.full.default and isinstance(args[1], float)  # with a whole number it gives whole numbers
    if filled or func in (torch.ops.aten.zeros.default, torch.ops.aten.ones.default):
        named.setdefault("dtype", torch.float64)
    return func(*args, **named)


Doubled: Any = type("Doubled", (TorchDispatchMode,), {"__torch_dispatch__": _in_float64})
"""Makes every tensor of real numbers one in float64, also where the module asks for float32."""


@contextmanager
def in_float64() -> Iterator[None]:
    """Have all real numbers in float64, those that are made of whole numbers too, as by x / 255."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Doubled():
            yield
    finally:
        torch.set_default_dtype(before)


def doubled(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of the module on the CPU, in float64."""
    return copied(module).double()


def copied(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of the module on the CPU; tensors that it keeps beside its parameters and buffers are copied by value."""
    plain = [t for part in module.modules() for t in vars(part).values() if isinstance(t, torch.Tensor)]
    kept = [t for t in plain if not isinstance(t, torch.nn.Parameter)]
    try:
        found = copy.deepcopy(module, {id(t): t.detach().cpu().clone() for t in kept}).cpu()
    except Exception as error:  # whatever an attribute of the user's class makes of it
        raise ImportRefused(
            f"the module cannot be copied, and refar looks at a copy: {type(error).__name__}: {error}; take out what "
            "copy.deepcopy cannot copy"
        ) from None
    for part in found.modules():  # without an eps it takes that of its dtype, which another dtype would change
        if isinstance(part, torch.nn.RMSNorm) and part.eps is None:
            part.eps = torch.finfo(torch.float32 if part.weight is None else part.weight.dtype).eps
    return found


def compare(module: torch.nn.Module, inputs: Sequence[TensorPort], found: Found, field: Extent, gradients: bool) -> Agreement:
    """Hold the graph, and its gradients if asked, against the module.

    Raises ImportRefused where they differ, naming the first place.
    """
    exact = doubled(module)
    if not gradients:
        return compare_any(found, field, lambda given: _run(exact, inputs, given, None))
    known = carried(exact, found.graph, found.params, found.origins)
    return compare_any(found, field, lambda given: _run(exact, inputs, given, known))


@dataclass(frozen=True)
class _Ran:
    """The output of one run of the module, and its inputs, `leaves`; gradients are compared if there are `known` parameters."""

    tensor: torch.Tensor
    leaves: Sequence[torch.Tensor]
    known: Carried | None

    @property
    def y(self) -> Array:
        return self.tensor.detach().numpy()

    def beside(self, found: Found, pair: Pair) -> float:
        return math.nan if self.known is None else _gradient(found, pair, self.tensor, self.leaves, self.known)


def _run(module: torch.nn.Module, inputs: Sequence[TensorPort], given: Sequence[Array], known: Carried | None) -> _Ran:
    tensors = [torch.from_numpy(port.as_model(array).copy()) for port, array in zip(inputs, given, strict=True)]
    leaves = [
        tensor.to(port.dtype) if port.classes else tensor.requires_grad_() for port, tensor in zip(inputs, tensors, strict=True)
    ]
    fed = [leaf.clone() for leaf in leaves]  # which the module may change
    args = [tensor for port, tensor in zip(inputs, fed, strict=True) if not port.keyword]
    kwargs = {port.name: tensor for port, tensor in zip(inputs, fed, strict=True) if port.keyword}
    with in_float64(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = module(*args, **kwargs)
    return _Ran(single(y), leaves, known)


def single(y: Any) -> torch.Tensor:
    """Return the one tensor of an output."""
    if isinstance(y, list | tuple | dict) and len(y) == 1:
        (y,) = y.values() if isinstance(y, dict) else y
    if not isinstance(y, torch.Tensor):
        raise ImportRefused(f"the module returns {type(y).__name__}, where one tensor was expected; wrap it to return that alone")
    return y


def _gradient(found: Found, pair: Pair, y: torch.Tensor, leaves: Sequence[torch.Tensor], known: Carried) -> float:
    """Return the largest distance between two gradients, by signals and by parameters, of a random sum of the outputs."""
    graph, inputs = found.graph, found.inputs
    signals = [i for i, port in enumerate(inputs) if not port.classes]
    wanted = [leaves[i] for i in signals] + [copies.parameter for copies in known.values()]
    if not wanted or not y.requires_grad or graph.padding == "valid":
        return math.nan
    mine = forward(graph, found.params, found.fed(pair.given))
    dy = np.zeros_like(mine)
    own, graphs = window(found.output, pair.extent)
    dy[graphs] = pair.rng.standard_normal(dy[graphs].shape)
    places = as_graph(np.arange(y.numel()).reshape(y.shape), found.output)[own]
    flat = np.zeros(y.numel())
    flat[places] = dy[graphs]
    whole = torch.from_numpy(flat.reshape(y.shape))
    with in_float64():
        gradients = torch.autograd.grad((whole * y).sum(), wanted, allow_unused=True)
    ours = backward(graph, found.params, found.fed(pair.given), dy)
    of_each = of_parameters(gradients[len(signals) :], known, ours["params"])
    least = NEAR_ZERO * max((float(np.abs(theirs).max(initial=0)) for _, theirs, _ in of_each), default=0.0)
    worst = max(
        (apart(found.noun, f"gradient of {name}", theirs, own_one, pair, (0,), least) for name, theirs, own_one in of_each),
        default=0.0,
    )
    names = [node.name for node in graph.nodes if not node.inputs]
    for i, gradient in zip(signals, gradients[: len(signals)], strict=True):
        of_graph = ours["inputs"][names[i]]
        of_module = np.zeros_like(of_graph) if gradient is None else inputs[i].as_refar(gradient.numpy())
        a, b = (g if g.ndim > 2 else g[..., None] for g in (of_module, of_graph))
        worst = max(worst, apart(found.noun, f"gradient of {names[i]}", a, b, pair, (0,) * (a.ndim - 2)))
    return worst
