"""A module's trained parameters under the names of a graph that was built by hand, and the graph held against the module."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import torch
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from refar import ops
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.arguments.naming import match
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.importing.torch_check import doubled
from refar.importing.torch_reference import Reference


def parameters(
    module: torch.nn.Module, graph: Graph, names: Mapping[str, str] | None = None, *, ignore: Collection[str] = ()
) -> Arrays:
    """Return the parameters of a module, in float64, under the names of a graph that was written by hand for it.

    `names` maps the graph's parameters, or nodes with all their parameters, to the module's; those with equal names need none.
    Weight norm, spectral norm, pruning and parametrisations are computed: the weight has the name that it had before. Parameters
    and submodules in `ignore` may stay unused. Axes of length 1 may differ, as of a dense layer and a convolution of kernel 1;
    the one slope of a PReLU is that of each channel.

    They are returned only if the graph computes with them what the module computes, in float64, to 1e-9 of the largest value of
    each channel, at lengths below and above the receptive field, with one sequence and with three. The module is called with
    the graph's inputs by their names, if its forward has these, else in order; the order of axes is found.
    Raises ParameterError listing unmatched names with their shapes, or naming the first place where the two differ.
    """
    return referred(module, graph, names, ignore=ignore)[0]


def referred(
    module: torch.nn.Module, graph: Graph, names: Mapping[str, str] | None = None, *, ignore: Collection[str] = ()
) -> tuple[Arrays, Reference]:
    """Return the `parameters`, and the module beside the graph as it was held against it."""
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    own, aliases = _own(doubled(module), set((names or {}).values()))
    slopes = [f"{node.name}.weight" for node in graph.nodes if isinstance(node.op, ops.PRelu)]
    counterparts = match(graph, {name: array.shape for name, array in own.items()}, names or {}, ignore, aliases, slopes)
    params = {name: _shaped(own[counterparts[name]], shape) for name, shape in facts(graph).parameters.items()}
    return params, Reference(module, graph, params)


def _shaped(array: Array, shape: tuple[int, ...]) -> Array:
    """Return an array in another shape, one number as many equal ones."""
    return np.full(shape, array.reshape(())) if array.size == 1 else array.reshape(shape)


def _own(module: torch.nn.Module, buffers: Collection[str]) -> tuple[Arrays, dict[str, str]]:
    """Return the weights of a module by their qualified names, with these `buffers`; and the first name for each other name."""
    own, aliases, first = Arrays(), dict[str, str](), dict[object, str]()
    for place, part in module.named_modules(remove_duplicate=False):
        if "parametrizations" in place.split("."):
            continue
        for last, key, tensor in _weights(part):
            name = f"{place}.{last}".lstrip(".")
            if isinstance(tensor, torch.nn.Parameter) or key != id(tensor) or name in buffers:
                aliases[name] = first.setdefault(key, name)
                own.setdefault(aliases[name], _array(tensor))
    return own, aliases


def _weights(part: torch.nn.Module) -> Iterator[tuple[str, object, torch.Tensor]]:
    """List the weights of one part: last name, what tells it from others, and value. What others are made of is left out."""
    made = dict(_computed(part))
    for name, tensor in made.items():
        yield name, (id(part), name), tensor
    hidden = {f"{name}_{rest}" for name in made for rest in ("g", "v", "u", "orig", "mask")}
    for name, plain in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
        if name not in hidden:
            yield name, id(plain), plain


def _computed(part: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """List the weights that one part makes of other parameters when it runs."""
    with torch.no_grad():
        if parametrize.is_parametrized(part):
            yield from ((name, getattr(part, name)) for name, _ in part.get_submodule("parametrizations").named_children())
        for hook in part._forward_pre_hooks.values():
            match hook:
                case WeightNorm():
                    yield hook.name, hook.compute_weight(part)
                case SpectralNorm():
                    yield hook.name, hook.compute_weight(part, do_power_iteration=False)
                case BasePruningMethod():
                    name = hook._tensor_name
                    yield name, getattr(part, f"{name}_orig") * getattr(part, f"{name}_mask")


def _array(tensor: torch.Tensor) -> Array:
    return np.array(tensor.detach().double().numpy())
