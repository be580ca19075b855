"""Networks of images become graphs that compute the same, and what cannot be taken is refused by its name."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from causal_modules import randomised
from helpers import refuses
from plane_colours import COLOURED, OrderedConv2d
from plane_modules import PLANES, MaskedByProduct, TwoStacks
from plane_variants import VARIANTS
from refused_planes import REFUSED_PLANES
from torch import Tensor, nn

import refar
from refar.errors import ParameterError
from refar.importing import Imported, ImportRefused, from_torch
from refar.runtime import load
from refar_export import export

ALL = PLANES | COLOURED | VARIANTS


@cache
def imported(name: str, **more: Any) -> tuple[nn.Module, Imported]:
    """One for all that ask: nobody changes it."""
    module, example, options = ALL[name]()
    return module, from_torch(module, example, **options, **more)


@pytest.mark.parametrize("name", ALL)
def test_a_network_of_images_becomes_a_graph_that_agrees(name: str) -> None:
    _, got = imported(name)
    assert got.report.largest_difference < 1e-9
    assert not got.report.gradient_difference >= 1e-9  # nan of networks that read classes, whose channels were put in order
    assert len(got.report.checked) >= 4
    assert set(got.report.origins) == set(got.params)
    assert refar.from_json(refar.to_json(got.graph)) == got.graph
    assert refar.is_strict(got.graph)
    assert "x" in str(got.report).splitlines()[0].split(",")[0]


@pytest.mark.parametrize("name", REFUSED_PLANES)
def test_what_cannot_be_taken_of_images_is_named(name: str) -> None:
    module, example, options, words = REFUSED_PLANES[name]()
    with pytest.raises(refar.RefarError) as refused:
        from_torch(randomised(module), example, **options)
    assert [word for word in words if word not in str(refused.value)] == []
    assert len(str(refused.value).splitlines()) == 1


def convolutions(got: Imported) -> dict[str, refar.ops.Conv2d]:
    return {node.name: node.op for node in got.graph.nodes if isinstance(node.op, refar.ops.Conv2d)}


def test_masks_are_found_by_their_zeros_and_kept() -> None:
    for name in ("by_product", "by_data", "in_place"):
        module, got = imported(name)
        found = convolutions(got)
        assert [(op.mask, op.kernel, op.anchor) for op in found.values()] == [
            ("A", (5, 5), None),
            ("B", (3, 3), None),
            ("none", (1, 1), None),
        ]
        shown = module[3].mask.bool().numpy()
        np.testing.assert_array_equal(got.params["3.weight"] != 0, np.broadcast_to(shown, got.params["3.weight"].shape))
    stacks = convolutions(imported("masked_stacks")[1])
    assert (stacks["above"].kernel, stacks["above"].mask) == ((1, 3), "none")  # rows above the pixel alone
    assert (stacks["rows"].kernel, stacks["rows"].anchor, stacks["rows"].dilation) == ((2, 3), (1, 1), (2, 2))
    assert (stacks["row"].mask, stacks["left"].mask) == ("B", "A")


def test_every_size_is_tried() -> None:
    checked = imported("by_product")[1].report.checked
    sizes = {size[:2] for size in checked}
    assert {(1, 1), (2, 3), (3, 2)} <= sizes
    assert {size[2] for size in checked} == {1, 3}
    assert any(rows == 1 < columns for rows, columns in sizes)
    assert any(rows > 1 == columns for rows, columns in sizes)
    assert imported("by_product")[1].report.receptive_field == (4, 7)
    assert any(height > 7 < width for height, width in sizes)


@pytest.mark.parametrize("name", ["0.weight", "2.bias"])
def test_the_gradient_of_a_masked_weight_is_held_against_the_module_s(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*given: Any) -> Any:
        found = refar.backward(*given)
        found["params"][name] = found["params"][name] * (1 + 1e-8)
        return found

    module = randomised(nn.Sequential(MaskedByProduct("A", 1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 2, 1)))
    assert 0 < from_torch(module, torch.randn(2, 1, 4, 5)).report.gradient_difference < 1e-9
    monkeypatch.setattr("refar.importing.torch_check.backward", wrong)
    with pytest.raises(ImportRefused, match=f"gradient of {name} at 1 x [14] pixels"):
        from_torch(module, torch.randn(2, 1, 4, 5))


def test_the_first_wrong_pixel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*given: Any) -> Any:
        y = refar.forward(*given)
        y[-1, 1, -1, -1] += 1e-6
        return y

    module, example, options = PLANES["by_product"]()
    monkeypatch.setattr("refar.importing.agreement.forward", wrong)
    with pytest.raises(
        ImportRefused, match=r"output at 1 x 1 pixels, batch 1, sequence 0, channel 1, row 0, column 0: the module"
    ):
        from_torch(module, example, **options)


def test_what_a_module_without_padding_leaves_out_is_said() -> None:
    notes = imported("valid_planes")[1].report.notes
    assert any("no outputs for the first 3 columns" in note for note in notes)
    assert any("no outputs for the last 2 rows" in note for note in notes)
    assert any("fails at the sizes 1 x 1" in note for note in notes)


def test_channels_of_colours_are_put_in_turn_and_the_report_says_so() -> None:
    module, got = imported("thirds")
    assert all((op.colours, op.mask) == (3, "A" if name == "first" else "B") for name, op in convolutions(got).items())
    assert any(
        "belongs to colour j mod 3: the first of the graph's output are the module's channels 0, 4, 8, 1" in n
        for n in got.report.notes
    )
    weight = (module.mid.weight * module.mid.mask).detach().double().numpy()
    order = [0, 2, 4, 1, 3, 5]
    np.testing.assert_array_equal(got.params["mid.weight"], weight[order][:, order])
    assert imported("in_turn")[1].report.notes == ()
    for c, seen in enumerate(refar.colour_offsets(got.graph)):
        assert {colour for up, left, colour in seen if (up, left) == (0, 0)} == set(range(c))


class Uneven(nn.Module):
    """Eight channels for three colours, which no graph divides evenly: taken, with what that costs said."""

    def __init__(self) -> None:
        super().__init__()
        pixel, hidden = torch.arange(3), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
        self.a, self.out = OrderedConv2d("A", pixel, hidden, 3), OrderedConv2d("B", hidden, pixel, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.a(x)))


def test_a_graph_that_cannot_generate_is_said_to_be_so() -> None:
    for module, colours in ((nn.Sequential(MaskedByProduct("B", 1, 2, 3, padding=1)), 1), (Uneven(), 3)):
        got = from_torch(randomised(module), torch.randn(2, colours, 5, 6))
        assert not refar.is_strict(got.graph)
        assert [note for note in got.report.notes if "cannot generate" in note]
    assert not [note for note in imported("thirds")[1].report.notes if "cannot generate" in note]


def greedy(module: nn.Module, shape: tuple[int, ...]) -> np.ndarray:
    """Images of which each colour of each pixel is the likeliest, by the module alone, whose logits are (B, Q, C, H, W)."""
    x = torch.zeros(shape, dtype=torch.int64)
    with torch.no_grad():
        for row in range(shape[2]):
            for column in range(shape[3]):
                for colour in range(shape[1]):
                    x[:, colour, row, column] = module(x)[:, :, colour, row, column].argmax(1)
    return x.numpy()


@pytest.mark.parametrize(("name", "shape"), [("masked_stacks", (2, 1, 5, 6)), ("thirds", (2, 3, 4, 5))])
def test_a_bundle_paints_what_the_module_paints(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    module, got = imported(name, head=refar.ops.Categorical())
    path = export(got.graph, got.params, tmp_path / "bundle", verify=module)
    painted = load(path).generate((shape[2], shape[3]), batch=shape[0], top_k=1)
    np.testing.assert_array_equal(painted, greedy(module, shape))


@pytest.mark.parametrize("name", ["two_stacks", "shifts", "of_class", "looked_up", "gated_colours"])
def test_a_bundle_is_held_against_the_module(name: str, tmp_path: Path) -> None:
    module, got = imported(name)
    export(got.graph, got.params, tmp_path / "bundle", verify=module)
    module = copy.deepcopy(module)
    with torch.no_grad():
        next(module.parameters()).mul_(1.01)
    with pytest.raises(ParameterError, match="does not compute what the graph computes"):
        export(got.graph, got.params, tmp_path / "other", verify=module)
    assert not (tmp_path / "other").exists()


class ChannelsLast(nn.Module):
    """Channels last, and an image without channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = MaskedByProduct("A", 1, 3, 3, padding=1), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1) if x.dim() == 3 else x.permute(0, 3, 1, 2)
        return self.out(torch.tanh(self.conv(x)).permute(0, 2, 3, 1))


def test_axes_of_images_may_be_said() -> None:
    module = randomised(ChannelsLast())
    for example, axes in ((torch.randn(2, 5, 6, 1), "BHWC"), (torch.randn(2, 5, 6), "BHW")):
        got = from_torch(module, example, axes=axes)
        assert refar.is_strict(got.graph)
        assert got.report.receptive_field == (2, 3)
    with refuses(ImportRefused, "expected a letter for each of 3 axes"):
        from_torch(module, torch.randn(2, 5, 6), axes="BHWC")
    with refuses(ImportRefused, "padding 'input' is one of sequences"):
        from_torch(randomised(TwoStacks(1)), torch.randn(1, 1, 5, 5), padding="input")
