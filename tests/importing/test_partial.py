"""What a stream can compute of a module that cannot be taken whole, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from causal_modules import CausalConv1d, TemporalBlock, randomised
from torch import Tensor, nn
from torch.nn import functional as F

import refar
from refar.importing import Imported, ImportRefused, from_torch
from refar_export import export

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


class Encoder(nn.Module):
    """A causal network, and behind it what is not."""

    def __init__(self, behind: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.net = nn.Sequential(TemporalBlock(2, 5, 3, 1), CausalConv1d(5, 5, 2, dilation=3))
        self.dense, self.score = nn.Linear(5, 3), nn.Linear(5, 1)
        self.rnn, self.attention = nn.LSTM(5, 4, batch_first=True), nn.MultiheadAttention(5, 1, batch_first=True)
        self.down, self.symmetric = nn.Conv1d(5, 4, 4, stride=2), nn.Conv1d(5, 5, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.behind = behind

    def forward(self, x: Tensor) -> Any:
        return self.behind(self, self.net(x))


def last(net: Any, h: Tensor) -> Tensor:
    return net.dense(h[:, :, -1])


def last_of_a_slice(net: Any, h: Tensor) -> Tensor:
    return net.dense(h[:, :, -1:].squeeze(-1))


def mean(net: Any, h: Tensor) -> Tensor:
    return net.dense(F.elu(h).mean(-1))


def pooled(net: Any, h: Tensor) -> Tensor:
    return net.dense(net.pool(h).flatten(1))


def attended(net: Any, h: Tensor) -> Tensor:
    h = h.transpose(1, 2)
    return net.dense((torch.softmax(net.score(torch.tanh(h)), 1) * h).sum(1))


def recurrent(net: Any, h: Tensor) -> Tensor:
    return net.rnn(F.relu(h).permute(0, 2, 1))[0]


def transformed(net: Any, h: Tensor) -> Tensor:
    h = h.transpose(1, 2)
    return net.dense(h + net.attention(h, h, h)[0])


def strided(net: Any, h: Tensor) -> Tensor:
    return net.down(F.pad(h, (2, 0)))


def looks_ahead(net: Any, h: Tensor) -> Tensor:
    return net.symmetric(net.symmetric(h))


def changed_in_place(net: Any, h: Tensor) -> Tensor:
    g = h * 2
    g.sub_(h.mean(2, keepdim=True))
    return g + h


def two_outputs(net: Any, h: Tensor) -> Any:
    return net.dense(h.transpose(1, 2)), h


def channels(*parts: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Values with axes B, C, T, side by side."""
    return lambda net, h: torch.cat([part(net, h) for part in parts], 1)


def same(net: Any, h: Tensor) -> Tensor:
    return h


PARTS: dict[Callable[[Any, Tensor], Any], tuple[Callable[[Any, Tensor], Tensor], str]] = {
    last: (same, "select in Encoder .*one index of axis T"),
    last_of_a_slice: (same, "slice.* in Encoder .*a slice of time whose ends"),
    mean: (lambda net, h: F.elu(h), "mean in Encoder .*a mean over axis T"),
    pooled: (same, r"adaptive_avg_pool1d in pool \(AdaptiveAvgPool1d\)"),
    attended: (
        channels(same, lambda net, h: net.score(torch.tanh(h.transpose(1, 2))).transpose(1, 2)),
        "softmax in Encoder .*softmax over axis T",
    ),
    recurrent: (lambda net, h: F.relu(h), r"lstm in rnn \(LSTM\)"),
    transformed: (same, "attention"),
    strided: (same, r"conv1d_4 in down \(Conv1d\).*stride 2"),
    looks_ahead: (same, r"conv1d_4 in symmetric \(Conv1d\).*looks ahead"),
    changed_in_place: (same, "mean in Encoder"),
    two_outputs: (channels(same, lambda net, h: net.dense(h.transpose(1, 2)).transpose(1, 2)), ""),
}
"""For each network what of it is taken, and what the report says of the rest."""


def imported(behind: Callable[[Any, Tensor], Any], **more: Any) -> tuple[nn.Module, Imported]:
    net = randomised(Encoder(behind))
    return net, from_torch(net, torch.randn(2, 2, 30), partial=True, **more)


@pytest.mark.parametrize("behind", PARTS, ids=lambda behind: behind.__name__)
def test_the_part_up_to_what_is_refused(behind: Callable[[Any, Tensor], Any]) -> None:
    taken, said = PARTS[behind]
    net, got = imported(behind)
    x = torch.randn(3, 2, 25, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = taken(net, net.net(x)).numpy()
    y = refar.forward(got.graph, got.params, x.numpy().astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert got.report.largest_difference < 1e-9
    assert got.report.gradient_difference < 1e-9
    assert bool(said) == any("left out, with all behind it" in note for note in got.report.notes)
    assert any(note.startswith(("the output is the value of", "channels from 0 on are")) for note in got.report.notes)
    if said:
        with pytest.raises(ImportRefused, match=f"{said}.*partial=True, or --partial, takes the part up to"):
            from_torch(net, torch.randn(2, 2, 30))


@pytest.mark.parametrize("behind", [attended, recurrent])
def test_a_bundle_is_held_against_the_part(behind: Callable[[Any, Tensor], Any], tmp_path: Path) -> None:
    _, got = imported(behind)
    export(got.graph, got.params, tmp_path / "bundle", verify=got.trunk)
    net = got.trunk
    assert net is not None
    name = next(name for name, _ in net.named_parameters() if name.startswith("net.1"))
    dict(net.named_parameters())[name].data += 0.01
    with pytest.raises(refar.RefarError, match="does not compute what the graph computes"):
        export(got.graph, got.params, tmp_path / "other", verify=net)
    assert not (tmp_path / "other").exists()


def test_a_whole_module_is_taken_whole() -> None:
    _, got = imported(same)
    assert got.trunk is None
    assert got.report.notes == ()


def test_a_module_of_which_nothing_can_be_taken() -> None:
    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.instance_norm(x).relu()

    with pytest.raises(ImportRefused, match=r"instance_norm in First .*over time(?!.*partial=True)"):
        from_torch(First().eval(), torch.randn(2, 2, 30), partial=True)


def test_conditions_by_name_in_another_order_than_forward_s() -> None:
    class Conditioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = CausalConv1d(1, 4, 2)

        def forward(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
            return (self.conv(x) * a.unsqueeze(-1) + b.unsqueeze(-1)).mean(-1)

    example = {"x": torch.randn(2, 1, 30), "b": torch.randn(2, 4), "a": torch.randn(2, 4)}
    got = from_torch(randomised(Conditioned()), example, partial=True)
    assert got.report.largest_difference < 1e-9
    assert refar.receptive_field(got.graph) == 2
