"""The analysis, the oracle, PyTorch and the exporter each derive the mask: a mistake in one shows against the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import planted as mistakes
import planted_images as planes
import pytest
import torch
from helpers import other_tests, single_2d
from hypothesis import given, settings
from msgspec.structs import replace
from planted import broken
from planted_images import masked

import refar
from refar import ops
from refar.analysis import masks, windows
from refar.analysis.facts import facts
from refar.exact import literal
from refar.mistakes.masks import Mask, anchor
from refar.oracle import convolution
from refar.testing import check_bundle, run_bundle_laws, run_laws
from refar.testing.contract.backends import open_backends
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.torch import lower
from refar_export import export
from refar_export import lower as onnx_lower

MASKS = planes.wrong_masks()
_convolutions = other_tests("oracle/test_masked2d.py").convolutions
torch_mask = other_tests("mutants/test_plane_backend_mutants.py").torch_mask


def of_torch(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    """It is asked of masked convolutions only."""
    return np.ones(shape, bool) if op.mask == "none" else lower._mask(op, anchor(op), torch.zeros(shape)).numpy()


PARTS: dict[str, tuple[Any, str, Callable[[Mask], Callable[..., Any]], Mask]] = {
    # the module that derives a mask, the name there, a mistake in the form of that function, and the mask
    "analysis": (masks, "mask_oihw", lambda wrong: wrong, lambda *a: masks.mask_oihw(*a)),
    "oracle": (convolution, "mask_oihw", lambda wrong: wrong, lambda *a: convolution.mask_oihw(*a)),
    "PyTorch": (lower, "_mask", torch_mask, of_torch),
    "exporter": (onnx_lower, "mask_oihw", lambda wrong: wrong, lambda *a: onnx_lower.mask_oihw(*a)),
}


def plant(part: str, wrong: Mask, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, form, _ = PARTS[part]
    mistakes.wrap(module, name, lambda _, *args: form(wrong)(*args))(monkeypatch)
    mistakes.forget()


def shape_of(op: ops.Conv2d, channels: int) -> tuple[int, ...]:
    return facts(single_2d(op, channels=channels)).parameters["op.weight"]


def in_loops(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    """Weight by weight, what the analysis says of steps and channels."""
    found = np.zeros(shape, bool)
    steps = windows.kernel_steps(op)
    for o, i, u, v in np.ndindex(*shape):
        group = o // (op.channels // op.groups)
        found[o, i, u, v] = windows.sees(op, steps[u][v], group * shape[1] + i, o)
    return found


def by_definition(op: ops.Conv2d, shape: tuple[int, ...]) -> Any:
    """The weights that `exact.literal` has in some product: in an image of ones their gradient counts the pixels."""
    near = replace(op, dilation=(1, 1), bias=False)
    x, dy = np.ones((1, shape[1] * op.groups, *op.kernel), int), np.ones((1, op.channels, *op.kernel), int)
    return literal.gradient(near, [x], dy, {"weight": np.ones(shape, int)})["weight"] > 0


def require_one_mask(convolutions: Iterable[tuple[ops.Conv2d, tuple[int, ...]]]) -> None:
    """Raise AssertionError unless all parts have the same masks of these convolutions and shapes of weights."""
    for op, shape in convolutions:
        expected = PARTS["oracle"][3](op, shape)
        for part, (*_, mask) in PARTS.items():
            np.testing.assert_array_equal(mask(op, shape), expected, part)


@given(_convolutions())
def test_all_derive_one_mask(drawn: tuple[ops.Conv2d, int]) -> None:
    op, channels = drawn
    require_one_mask([(op, shape_of(op, channels))])


@settings(max_examples=25)
@given(_convolutions())
def test_the_mask_is_its_definition(drawn: tuple[ops.Conv2d, int]) -> None:
    """And what the analysis says of offsets is the same mask."""
    op, channels = drawn
    shape = shape_of(op, channels)
    expected = by_definition(op, shape)
    np.testing.assert_array_equal(convolution.mask_oihw(op, shape), expected)
    np.testing.assert_array_equal(in_loops(op, shape), expected)
    steps, shown = windows.kernel_steps(op), expected.any(axis=(0, 1))
    seen = {steps[u][v] for u, v in np.ndindex(*op.kernel) if shown[u, v]}
    assert seen <= windows.steps(op)
    assert seen >= windows.steps(op) - {(0, 0)}, "with groups of few channels there may be none at the pixel itself"


@pytest.mark.parametrize("part", PARTS)
def test_no_part_asks_another(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any) -> Any:
        raise AssertionError("the mask of another part")

    for other in PARTS.keys() - {part}:
        plant(other, asked, monkeypatch)
    if part != "analysis":
        monkeypatch.setattr(windows, "sees", asked)
        monkeypatch.setattr(masks, "sees", asked)
    op = ops.Conv2d(6, (3, 2), "B", (1, 1), colours=3, groups=2)
    assert PARTS[part][3](op, (6, 3, 3, 2)).any()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("mistake", MASKS)
def test_a_wrong_mask_of_one_part_differs_from_the_others(part: str, mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = facts(masked()).parameters
    nodes = [(node.op, shapes[f"{node.name}.weight"]) for node in masked().nodes if isinstance(node.op, ops.Conv2d)]
    require_one_mask(nodes)
    plant(part, MASKS[mistake][0], monkeypatch)
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        require_one_mask(nodes)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
@pytest.mark.parametrize("mistake", MASKS)
def test_a_wrong_mask_of_the_oracle_is_seen_by_each_backend(mistake: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their values are compared with it in the law of rounding; in the law of exactness it breaks against the definition."""
    graph, rng = masked(), np.random.default_rng(0)
    params = generic_parameters(graph, rng)
    inputs = generic_inputs(graph, rng, 2, 4, 5)
    wide, *_ = open_backends(graph, params, [backend])
    y = refar.forward(graph, params, inputs)
    np.testing.assert_allclose(wide.forward(inputs), y, rtol=0, atol=1e-4 * np.abs(y).max())
    plant("oracle", MASKS[mistake][0], monkeypatch)
    wrong = refar.forward(graph, params, inputs)
    assert np.abs(wide.forward(inputs) - wrong).max() > 1e-2 * np.abs(y).max()
    report = run_laws(graph, params, backends=(backend,))
    assert {"exact", "rounding"} <= broken(report), str(report)
    said = next(line.message for line in report.lines if line.law == "exact")
    assert "numpy" in said, said


@pytest.mark.parametrize("mistake", MASKS)
def test_vectors_of_a_wrong_oracle_are_seen_in_the_bundle(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check vectors are the oracle's, the graph the exporter's."""
    graph = masked()
    params = generic_parameters(graph, np.random.default_rng(0))
    check_bundle(export(graph, params, tmp_path / "right"))
    plant("oracle", MASKS[mistake][0], monkeypatch)
    bundle = export(graph, params, tmp_path / "bundle")
    monkeypatch.undo()
    mistakes.forget()
    assert "vectors" in broken(run_bundle_laws(bundle))


HIDING = (
    "mask B zeroes the centre",
    "masks A and B swapped",
    "mask turned round: hides what comes before",
    "mask by columns, then rows",
)


@pytest.mark.parametrize("mistake", HIDING)
def test_masks_of_the_analysis_that_hide_too_much_break_the_contract(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says is hidden must have no effect. What it shows too much of is seen in the comparison of masks alone."""
    plant("analysis", MASKS[mistake][0], monkeypatch)
    report = run_laws(masked(), backends=("numpy",))
    assert "exact" in broken(report), str(report)
