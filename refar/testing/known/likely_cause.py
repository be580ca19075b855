"""The likely cause of a module that differs from its graph: mistakes tried out, or where it first differs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays
from refar.graph.graph import Graph
from refar.mistakes.of_graphs import Mistaken, one_by_one, output
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import backward_nodes
from refar.testing.contract.cases import Extent, masks
from refar.testing.contract.subject import Subject
from refar.testing.known.module_under_test import ModuleUnderTest, takes_hooks

if TYPE_CHECKING:
    from torch import nn


def cause_of_output(subject: Subject, module: ModuleUnderTest, extent: Extent, actual: Array, expected: Array) -> str:
    """Find the likely cause of a wrong output: tried out, or the first node that differs."""
    assert subject.params is not None
    inputs = subject.inputs(extent)
    relative = subject.tolerance(module.dtype)
    if module.module.training and _agrees(in_eval(module, inputs), expected, relative):
        return "likely cause: training mode, it agrees in eval mode (call .eval() first)"
    for words, value, came in _at_the_end(actual, expected):
        if _agrees(came, value, relative):
            return f"likely cause: {words}"
    for wrong in (*_stale(subject.graph, subject.params, module.before), *one_by_one(subject.graph, subject.params)):
        guess = _output_of(wrong, inputs)
        if guess is not None and _agrees(actual, guess, relative) and not _agrees(guess, expected, relative):
            return f"likely cause: {wrong.words}"
    return _first_difference(subject, module, inputs, relative)


def _stale(graph: Graph, params: Arrays, before: Arrays) -> Iterator[Mistaken]:
    """Give the graph with weights that the module came with in place of those that it was given, as of a cache."""
    kernels = {name: array for name, array in before.items() if name.endswith(".weight")}
    for old, where in ((before, "everywhere"), (kernels, "in every weight"), *(({n: a}, f"in {n!r}") for n, a in before.items())):
        yield Mistaken(f"weights from before, which the module came with, {where}", graph, params | old)


def _at_the_end(y: Array, expected: Array) -> Iterator[tuple[str, Array, Array]]:
    """Give what may have been done to the right output at the end: (words, what it would be, what came)."""
    shifted = np.exp(expected - expected.max(axis=1, keepdims=True))
    softmax = shifted / shifted.sum(axis=1, keepdims=True)
    yield "a softmax at the end, where the graph gives logits", softmax, y
    yield "a log-softmax at the end, where the graph gives logits", np.log(np.maximum(softmax, 1e-300)), y
    for size in (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
        words = f"the logarithm of a softmax and {size:g} at the end, where the graph gives logits"
        yield words, np.log(softmax + size), y
    for by in (1, 2, 3):
        if expected.ndim == 3 and expected.shape[2] > by + 1:
            late = "one position" if by == 1 else f"{by} positions"
            yield f"the same outputs {late} late", expected[..., :-by], y[..., by:]
            yield f"the same outputs {late} early", expected[..., by:], y[..., :-by]


def _output_of(wrong: Mistaken, inputs: Arrays) -> Array | None:
    try:
        y = output(wrong, inputs)
    except (ValueError, IndexError):
        return None
    first = facts(wrong.graph).first_position
    return np.where(np.arange(y.shape[2]) < first, 0, y) if first else y


def _agrees(actual: Array, expected: Array, relative: float) -> bool:
    if actual.shape != expected.shape or not expected.size:
        return False
    return bool(np.abs(actual - expected).max() <= relative * np.abs(expected).max())


def in_eval(module: ModuleUnderTest, inputs: Arrays) -> Array:
    """Compute the outputs in eval mode; afterwards the module is in the mode in which it was."""
    modes = {name: child.training for name, child in module.module.named_modules()}
    module.module.eval()
    try:
        return module.forward(inputs)
    finally:
        for name, child in module.module.named_modules():
            child.training = modes[name]


def _first_difference(subject: Subject, module: ModuleUnderTest, inputs: Arrays, relative: float) -> str:
    """Compare what the submodules give that own a node's parameters with the values of these nodes, in order."""
    owners: dict[str, str] = {}
    for name, counterpart in module.names.items():
        owners.setdefault(name.rpartition(".")[0], counterpart.rpartition(".")[0])
    with _listening(module.module, set(owners.values())) as heard:
        module.forward(inputs)
    values = subject.values(inputs)
    agreed = early = ""
    for node in subject.graph.nodes:
        outputs = heard.get(owners.get(node.name, ""), [])
        if not outputs:
            continue
        if not any(_contains(output, values[node.name], relative, early=True) for output in outputs):
            before = f", up to {agreed!r} they agree{early}" if agreed else ""
            return f"the first node that differs is {node.name!r} (submodule {owners[node.name]!r}){before}"
        if not early and not any(_contains(output, values[node.name], relative, early=False) for output in outputs):
            early = f", from {node.name!r} on one position early"
        agreed = node.name
    if agreed:
        return f"all submodules with parameters agree up to {agreed!r}{early}; what the module does with their outputs differs"
    return "no submodule's output could be compared"


@contextmanager
def _listening(module: nn.Module, names: set[str]) -> Iterator[dict[str, list[Array]]]:
    heard: dict[str, list[Array]] = {}
    children = dict(module.named_modules())

    def listener(name: str) -> Any:
        def listen(_: Any, __: Any, output: Any) -> None:
            if hasattr(output, "detach"):
                heard.setdefault(name, []).append(output.detach().double().numpy())

        return listen

    heard_of = [name for name in names if name in children and name and takes_hooks(children[name])]
    handles = [children[name].register_forward_hook(listener(name)) for name in heard_of]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _contains(output: Array, value: Array, relative: float, early: bool) -> bool:
    """Return whether the value, at any shift along its last axes, is in the output, channels first or last; crops come later.

    With `early` it may be one position early too, as where a module delays what a strict convolution gives.
    """
    candidates = [output, *([np.moveaxis(output, -1, 1)] if output.ndim == value.ndim > 2 else [])]
    if output.ndim != value.ndim:
        candidates = [output.reshape(value.shape)] if output.size == value.size else []
    for candidate in candidates:
        if candidate.shape[:2] != value.shape[:2]:
            continue
        shifts = [max(a - b, 0) + 1 for a, b in zip(candidate.shape[2:], value.shape[2:], strict=True)]
        # the last axis may have been cropped before: a strict convolution drops its last output
        for begin in np.ndindex(*shifts):
            places: tuple[Any, ...] = tuple(slice(b, b + n) for b, n in zip(begin, value.shape[2:], strict=True))
            window = candidate[(..., *places)]
            sides: tuple[Any, ...] = tuple(slice(n) for n in window.shape[2:])
            ends: tuple[Any, ...] = tuple(
                slice(whole - n, None) for n, whole in zip(window.shape[2:], value.shape[2:], strict=True)
            )
            inner, last = value[(..., *sides)], value[(..., *ends)]
            if _agrees(window, inner, relative) or _agrees(window, last, relative):  # without padding the first ones lack
                return True
            if early and inner.ndim == 3 and inner.shape[2] > 2 and _agrees(window[..., :-1], inner[..., 1:], relative):
                return True
    return False


def cause_of_gradient(
    subject: Subject, module: ModuleUnderTest, name: str, came: Array, expected: Array, values: Arrays, dy: Array
) -> str:
    """Find the likely cause of a wrong gradient, tried out."""
    assert subject.params is not None
    relative = subject.tolerance(module.dtype)
    if name in module.detached:
        return (
            "no gradient arrives: the parameter is detached on its way (.data, .detach(), torch.no_grad(), a copy), or not used"
        )
    own = [n for n, other in module.names.items() if f"module {other}" == name]
    hidden = [mask for n in own if (mask := masks(subject.graph).get(n)) is not None]
    if hidden and _agrees(np.where(hidden[0], came, 0), expected, relative):
        return (
            "masked weights receive gradient: multiply by the mask in the forward pass (weight * mask, not weight.data), so "
            "that no optimizer moves them"
        )
    scale = float((came * expected).sum() / (expected * expected).sum()) if expected.any() else 0.0
    if _agrees(came, scale * expected, relative * max(1, abs(1 / scale)) if scale else 0.0) and scale:
        return f"it is {scale:.6g} times what it has to be"
    ones = backward_nodes(unchecked(subject.graph, subject.params, dy.dtype), values, np.ones_like(dy))
    if _agrees(came, _of(name, module, *ones).reshape(came.shape), relative):
        return "likely cause: the upstream gradient is taken for ones"
    if came.ndim > 1 and came.shape[0] == came.shape[1] and _agrees(came.swapaxes(0, 1), expected, relative):
        return "likely cause: it is transposed"
    if came.ndim > 2 and _agrees(np.flip(came, tuple(range(2, came.ndim))), expected, relative):
        return "likely cause: it is reversed along the kernel"
    for wrong in one_by_one(subject.graph, subject.params):
        if [node.name for node in wrong.graph.nodes] != [node.name for node in subject.graph.nodes]:
            continue
        try:
            found = backward_nodes(unchecked(wrong.graph, wrong.params, dy.dtype), values, dy)
        except (ValueError, IndexError):
            continue
        if _agrees(came, _of(name, module, *found).reshape(came.shape), relative):
            return f"likely cause: {wrong.words}, in the gradient"
    return "outputs agree, so that only the backward pass is wrong"


def _of(name: str, module: ModuleUnderTest, dvalues: Arrays, dparams: Arrays) -> Array:
    if not name.startswith("module "):
        return dvalues[name]
    each = [dparams[n] for n, other in module.names.items() if f"module {other}" == name]
    return np.sum([array.reshape(each[0].shape) for array in each], axis=0)
