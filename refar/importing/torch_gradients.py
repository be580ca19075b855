"""The gradients of an imported graph beside those of the module, by its inputs and by the parameters that it has as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from refar.analysis.masks import masks
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph


@dataclass(frozen=True)
class Copies:
    """A parameter of a module, the names of those of the graph that are copies of it, and which of its numbers `shown` holds."""

    parameter: torch.nn.Parameter
    names: list[str]
    shown: Array


Carried = dict[str, Copies]
"""Parameters of a module that the graph has, by their names in the module."""


def carried(module: torch.nn.Module, graph: Graph, params: Arrays, origins: Mapping[str, str]) -> Carried:
    """List the parameters of a module with gradients that all nodes made from them hold as they are, but for axes of length 1.

    One number may stand for many equal ones, as the slope of all channels. The others were folded, split or normalised: the graph
    has no parameter of theirs. Of a weight that the graph masks, what is hidden may differ: a module may keep other numbers
    there, and multiply by a mask.
    """
    hides = masks(graph)
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    nodes: dict[str, dict[str, None]] = {}
    for name, origin in origins.items():
        for own in origin.split(", "):
            nodes.setdefault(own, {})[name.rpartition(".")[0]] = None
    found: Carried = {}
    for own, parameter in module.named_parameters():
        readers = [node for name in names[id(parameter)] for node in nodes.get(name, {})]
        if _is_material(own, names):
            continue  # the weight that is made of it may be equal to it by chance, as after initialisation
        shown = _shown(parameter, [hides[name] for node in readers if (name := f"{node}.weight") in hides])
        copies = [[name for name in params if _is_of(name, node) and _same(params[name], parameter, shown)] for node in readers]
        if parameter.requires_grad and copies and all(len(each) == 1 for each in copies):
            found[own] = Copies(parameter, [each[0] for each in copies], shown)
    return found


def _shown(parameter: torch.nn.Parameter, hides: Sequence[Array]) -> Array:
    """Return which numbers of a parameter all its copies show."""
    shown = np.ones(parameter.shape, bool)
    for mask in hides:
        shown &= mask if mask.shape == shown.shape else True
    return shown


def _is_material(own: str, names: Mapping[int, list[str]]) -> bool:
    """Whether a weight is made of this parameter: one of a parametrisation, or of the older weight norm."""
    known = {name for each in names.values() for name in each}
    partner = {"_g": "_v", "_v": "_g"}.get(own[-2:])
    return ".parametrizations." in f".{own}" or (partner is not None and own[:-2] + partner in known)


def _is_of(name: str, node: str) -> bool:
    return name.rpartition(".")[0] == node


def _same(array: Array, parameter: torch.nn.Parameter, shown: Array) -> bool:
    own = parameter.detach().numpy()
    if own.size == 1:
        return bool((array == own).all())
    if array.squeeze().shape != own.squeeze().shape:
        return False
    return np.array_equal(array.reshape(own.shape)[shown], own[shown])


def of_parameters(found: Sequence[torch.Tensor | None], known: Carried, ours: Arrays) -> list[tuple[str, Array, Array]]:
    """Return for each of the module's parameters its name, the gradient that the module has, and the sum over the graph's copies.

    Both are arrays of one column of numbers, (1, 1, N): a parameter is compared as a whole.
    """
    pairs = []
    for gradient, (own, copies) in zip(found, known.items(), strict=True):
        shape = copies.parameter.shape
        theirs = np.zeros(shape) if gradient is None else gradient.detach().numpy()
        copied = [ours[name].sum() if copies.parameter.numel() == 1 else ours[name] for name in copies.names]
        mine = sum((each.reshape(shape) for each in copied), start=np.zeros(shape))
        pairs.append((own, theirs[copies.shown].reshape(1, 1, -1), np.asarray(mine)[copies.shown].reshape(1, 1, -1)))
    return pairs
