"""Mistakes of images in PyTorch's lowering and in the exporter; of an export also as the bundle alone shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import planted_images as planes
import pytest
import torch
import torch.nn.functional as F
from msgspec.structs import replace
from planted import broken
from planted_images import masked, stacks, wrong_op

import refar
from refar import Graph, ops
from refar.analysis.facts import facts
from refar.mistakes.masks import Mask, anchor
from refar.testing import ContractError, check_bundle, run_bundle_laws, run_laws
from refar.testing.contract.cases import generic_parameters
from refar.torch import lower
from refar.torch import module as torch_module
from refar_export import export
from refar_export import lower as onnx_lower
from refar_export.emitter import Emitter

MASKS = planes.wrong_masks()


def torch_mask(wrong: Mask) -> Callable[..., Any]:
    return lambda op, anchor, weight: torch.from_numpy(wrong(op, tuple(weight.shape)))


@pytest.mark.parametrize("mistake", MASKS)
def test_masks_in_pytorch(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, laws = MASKS[mistake]
    monkeypatch.setattr(lower, "_mask", torch_mask(wrong))
    monkeypatch.setattr(torch_module, "masks", lambda graph: planes.masks_of(graph, wrong))
    report = run_laws(masked(), backends=("torch",))
    assert {*laws, "rounding"} <= broken(report), str(report)


def test_a_mask_that_hides_the_first_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module begins with zeros there, so that its values are right; only training moves them."""
    monkeypatch.setattr(lower, "_mask", lambda op, anchor, weight: torch.ones_like(weight, dtype=torch.bool))
    report = run_laws(masked(), backends=("torch",))
    assert broken(report) == {"exact", "rounding"}
    assert "gradient of 'op.weight'" in next(line.message for line in report.lines if line.law == "exact")


def conv2d(*, like: Callable[[ops.Conv2d], ops.Conv2d] = lambda op: op, flip: bool = False) -> Callable[..., Any]:
    """The right mask, and the dilation and the place in the image of another operator."""

    def wrong(op: ops.Conv2d, x: Any, weight: Any, bias: Any) -> Any:
        weight, other = torch.where(torch.from_numpy(planes.right_mask(op, tuple(weight.shape))), weight, 0), like(op)
        sides = [(a * d, (k - 1 - a) * d) for a, k, d in zip(anchor(other), op.kernel, other.dilation, strict=True)]
        padded = F.pad(x, (*sides[1], *sides[0]))
        return F.conv2d(padded, weight.flip(2, 3) if flip else weight, bias, dilation=other.dilation, groups=op.groups)

    return wrong


def of_catalogue(mistake: str) -> Callable[..., Any]:
    return conv2d(like=lambda op: wrong_op(mistake, op))


def to_the_left(op: ops.Conv2d) -> ops.Conv2d:
    return replace(op, anchor=(op.kernel[0] // 2, 0))


CATALOGUE: dict[str, tuple[Callable[[], Graph], set[str]]] = {
    "even kernel padded on the wrong side": (stacks, {"causality", "reach", "exact"}),
    "dilation of rows and columns swapped": (masked, {"reach", "exact"}),
    "dilation ignored": (stacks, {"exact"}),
}


def no_colours(found: Any) -> Any:
    moved = found.movedim(-1, 1)
    return moved.transpose(1, 2).flatten(1, 2) if moved.ndim == 5 else moved


def reversed_bits(y: Any, bits: int) -> Any:
    return torch.cat([y[:, :bits].flip(1), y[:, bits:].flip(1)], dim=1)


right_shifted, right_position = lower._shifted, lower.position

TORCH: dict[str, tuple[Callable[[], Graph], str, Callable[..., Any], set[str]]] = {
    **{mistake: (graph, "conv2d", of_catalogue(mistake), laws) for mistake, (graph, laws) in CATALOGUE.items()},
    "padded in the middle": (stacks, "conv2d", conv2d(like=to_the_left), {"reach", "exact"}),
    "kernel flipped": (stacks, "conv2d", conv2d(flip=True), {"exact"}),
    "shifted to the wrong side": (stacks, "_shifted", lambda x, down, right: right_shifted(x, -down, -right), {"reach", "exact"}),
    "down and right swapped": (stacks, "_shifted", lambda x, down, right: right_shifted(x, right, down), {"reach", "exact"}),
    "shift that wraps around": (stacks, "_shifted", lambda x, *by: torch.roll(x, by, (2, 3)), {"causality", "exact"}),
    "rows taken for columns": (stacks, "position", lambda op, *a: right_position(op, *a).roll(op.bits, 1), {"exact"}),
    "bits reversed": (stacks, "position", lambda op, *a: reversed_bits(right_position(op, *a), op.bits), {"exact"}),
    "channels of a lookup by colour": (masked, "_channels_first", no_colours, {"exact"}),
}  # fmt: skip


@pytest.mark.parametrize("mistake", TORCH)
def test_mistakes_in_pytorch(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, name, wrong, laws = TORCH[mistake]
    monkeypatch.setattr(lower, name, wrong)
    report = run_laws(graph(), backends=("torch",))
    assert {*laws, "rounding"} <= broken(report), str(report)


def test_a_gate_of_every_second_channel_in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "chunk", lambda x, n, dim: (x[:, ::2], x[:, 1::2]))
    report = run_laws(masked(), backends=("torch",))
    assert broken(report) == {"causality", "reach", "rounding"}


def emitting(kind: str, change: Callable[..., tuple[str, tuple[str, ...], dict[str, Any]]]) -> Callable[[], tuple[Any, str, Any]]:
    right = Emitter.emit

    def wrong(self: Emitter, name: str, *inputs: str, **attributes: Any) -> str:
        if name == kind:
            name, inputs, attributes = change(self, inputs, attributes)
        return right(self, name, *inputs, **attributes)

    return lambda: (Emitter, "emit", wrong)


def every_second(e: Emitter, inputs: Any, attributes: Any) -> Any:
    """The odd channels for σ, the even ones for tanh."""
    if attributes.get("num_outputs") != 2:  # not that of a gate
        return "Split", inputs, attributes
    first, second = attributes["outputs"]
    bounds = [[e.constant([n]) for n in numbers] for numbers in ((0, onnx_lower.LAST, 1, 2), (1, onnx_lower.LAST, 1, 2))]
    e.emit("Slice", *inputs, *bounds[0], outputs=[first])
    return "Slice", (*inputs, *bounds[1]), {"outputs": [second]}


def permuted(indices: Callable[[int], list[int]]) -> Callable[..., str]:
    """The channels of a position in another order."""
    right = onnx_lower._position
    return lambda e, op, x: e.emit("Gather", right(e, op, x), e.constant(indices(op.bits)), axis=1)


def by_colour(e: Emitter, found: str, kind: Any) -> str:
    return right_by_colour(e, e.emit("Transpose", found, perm=[0, 2, 1, 3, 4]) if kind.image else found, kind)


def zero_padded(on: Callable[[list[int]], list[int]]) -> Callable[..., Any]:
    return lambda e, inputs, attributes: ("Conv", inputs, {**attributes, "pads": on(attributes["pads"])})


def swapped_dilation(e: Emitter, inputs: Any, attributes: Any) -> Any:
    """And with it what is padded, so that the output has its size."""
    (dh, dw), (top, left, bottom, right) = attributes["dilations"], attributes["pads"]
    pads = [top // dh * dw, left // dw * dh, bottom // dh * dw, right // dw * dh]
    return "Conv", inputs, {**attributes, "dilations": [dw, dh], "pads": pads}


right_by_colour, right_shift, right_conv = onnx_lower._by_colour, onnx_lower.shift2d, onnx_lower.conv2d


def shift_of(mistake: str) -> Callable[..., Any]:
    return lambda e, op, x: right_shift(e, wrong_op(mistake, op), x)


def lowered(name: str, wrong: Callable[..., Any]) -> Callable[[], tuple[Any, str, Any]]:
    return lambda: (onnx_lower, name, wrong)


ONNX: dict[str, tuple[Callable[[], Graph], Callable[[], tuple[Any, str, Any]], set[str]]] = {
    **{mistake: (masked, lowered("mask_oihw", wrong), {*laws, "rounding"}) for mistake, (wrong, laws) in MASKS.items()},
    "even kernel padded on the wrong side": (
        stacks, emitting("Conv", zero_padded(lambda p: [*p[2:], *p[:2]])), {"causality", "reach", "exact", "rounding"},
    ),
    "one future pixel visible to the right": (
        masked, emitting("Conv", zero_padded(lambda p: [p[0], p[1] - 1, p[2], p[3] + 1] if p[1] else p)),
        {"causality", "reach", "exact", "rounding"},
    ),
    "dilation of rows and columns swapped": (masked, emitting("Conv", swapped_dilation), {"reach", "exact", "rounding"}),
    "shifted to the wrong side": (
        stacks, lowered("shift2d", shift_of("shifted to the wrong side")), {"reach", "exact"},
    ),
    "down and right swapped": (
        stacks, lowered("shift2d", shift_of("down and right swapped")), {"reach", "exact"},
    ),
    "rows taken for columns": (stacks, lowered("_position", permuted(lambda n: [*range(n, 2 * n), *range(n)])), {"exact"}),
    "bits reversed": (
        stacks, lowered("_position", permuted(lambda n: [*range(n - 1, -1, -1), *range(2 * n - 1, n - 1, -1)])), {"exact"},
    ),
    "channels of a lookup by colour": (masked, lowered("_by_colour", by_colour), {"exact", "rounding"}),
    "gate of every second channel": (masked, emitting("Split", every_second), {"causality", "reach", "rounding"}),
    "groups in reverse": (
        masked, lowered("conv2d", lambda e, op, x: right_conv(with_groups_reversed(e, op), op, x)), {"exact", "rounding"},
    ),
}  # fmt: skip


def with_groups_reversed(e: Emitter, op: ops.Conv2d) -> Emitter:
    name = f"{e.owner}.weight"
    weight = e.params[name]
    e.params = {**e.params, name: weight.reshape(op.groups, -1)[::-1].reshape(weight.shape)}
    return e


@pytest.mark.parametrize("mistake", ONNX)
def test_mistakes_in_the_exporter(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract of the graph sees them, and so does the bundle that was written with the mistake."""
    graph, where, laws = ONNX[mistake]
    params = generic_parameters(graph(), np.random.default_rng(0))
    monkeypatch.setattr(*where())
    report = run_laws(graph(), backends=("onnx",))
    bundle = export(graph(), params, tmp_path / "bundle")
    monkeypatch.undo()
    assert laws <= broken(report), str(report)
    seen = run_bundle_laws(bundle)
    assert {"vectors", *(laws & {"causality", "reach"})} <= broken(seen), str(seen)


def test_the_mask_of_the_first_weights_is_not_in_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained module holds zeros where its mask hides, and its export is right without one; the contract sees it still."""
    graph = masked()
    monkeypatch.setattr(onnx_lower, "mask_oihw", lambda op, shape: np.ones(shape, bool))
    check_bundle(export(graph, refar.init(graph), tmp_path / "bundle"))
    report = run_laws(graph, refar.init(graph), backends=("onnx",))
    assert broken(report) == {"exact"}
    with pytest.raises(ContractError, match="law 'exact': onnxruntime float32: node 'first' alone"):
        report.require()


@pytest.mark.parametrize("graph", [masked, stacks])
def test_without_a_mistake_every_law_holds(graph: Callable[[], Graph], tmp_path: Path) -> None:
    run_laws(graph(), backends=("torch", "onnx")).require()
    check_bundle(export(graph(), generic_parameters(graph(), np.random.default_rng(0)), tmp_path / "bundle"))


def test_wrong_masks_differ_from_the_right_ones() -> None:
    """In some convolution of the graph; without a mask there is nothing to get wrong."""
    shapes = facts(masked()).parameters
    for wrong, _ in MASKS.values():
        masks = [(node.op, shapes[f"{node.name}.weight"]) for node in masked().nodes if isinstance(node.op, ops.Conv2d)]
        assert any((wrong(op, shape) != planes.right_mask(op, shape)).any() for op, shape in masks)
        assert all((wrong(replace(op, mask="none", colours=1), shape)).all() for op, shape in masks)
