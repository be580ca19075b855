"""The gradients of an imported graph beside those of the module, by its inputs and by the parameters that it has as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from refar.arguments.arrays import Array, Arrays

Carried = dict[str, tuple[torch.nn.Parameter, list[str]]]
"""Parameters of a module, each with those of the graph that are copies of it."""


def carried(module: torch.nn.Module, params: Arrays, origins: Mapping[str, str]) -> Carried:
    """List the parameters of a module with gradients that all nodes made from them hold as they are, but for axes of length 1.

    One number may stand for many equal ones, as the slope of all channels. The others were folded, split or normalised: the graph
    has no parameter of theirs.
    """
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
        copies = [[name for name in params if _is_of(name, node) and _same(params[name], parameter)] for node in readers]
        if parameter.requires_grad and copies and all(len(each) == 1 for each in copies):
            found[own] = (parameter, [each[0] for each in copies])
    return found


def _is_of(name: str, node: str) -> bool:
    return name.rpartition(".")[0] == node


def _same(array: Array, parameter: torch.nn.Parameter) -> bool:
    own = parameter.detach().numpy()
    return bool((array == own).all()) if own.size == 1 else np.array_equal(array.squeeze(), own.squeeze())


def of_parameters(found: Sequence[torch.Tensor | None], known: Carried, ours: Arrays) -> list[tuple[str, Array, Array]]:
    """Return for each of the module's parameters its name, the gradient that the module has, and the sum over the graph's copies.

    Both are arrays of one column of numbers, (1, 1, N): a parameter is compared as a whole.
    """
    pairs = []
    for gradient, (own, (parameter, copies)) in zip(found, known.items(), strict=True):
        theirs = np.zeros(parameter.shape) if gradient is None else gradient.detach().numpy()
        copied = [ours[name].sum() if parameter.numel() == 1 else ours[name] for name in copies]
        mine = sum((gradient.reshape(parameter.shape) for gradient in copied), start=np.zeros(parameter.shape))
        pairs.append((own, theirs.reshape(1, 1, -1), np.asarray(mine).reshape(1, 1, -1)))
    return pairs
