"""A token, or a learnt vector, in front of the sequence: given as an option, or written by the module itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from causal_modules import CausalConv1d, randomised
from onnx_files import exported
from torch import Tensor, nn
from torch.nn import functional as F

import refar
from refar.errors import InputError, ParameterError
from refar.importing import ImportRefused, from_onnx, from_torch
from refar.importing.torch_reference import Reference
from refar.testing import check_contract
from refar_export import export

LOOKUPS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "embedding": lambda net, x: net.embed(x).transpose(1, 2),
    "one_hot": lambda net, x: F.one_hot(x, net.rows).to(net.embed.weight.dtype).transpose(1, 2),
    "levels": lambda net, x: x.to(net.embed.weight.dtype).unsqueeze(1) / 7,
}
SIZES = {"beside": (9, 8, 8, 8), "among": (8, 8, 8, 3), "last": (9, 9, 9, 8), "zero": (8, 8, 8, 0)}
"""Rows of the table, outputs, classes of the sequence, and the start token."""


class Net(nn.Module):
    """Logits for the class that follows."""

    def __init__(self, rows: int = 9, outputs: int = 8, lookup: str = "embedding") -> None:
        super().__init__()
        self.rows, self.lookup = rows, LOOKUPS[lookup]
        self.embed = nn.Embedding(rows, 4)
        self.conv = CausalConv1d({"embedding": 4, "one_hot": rows, "levels": 1}[lookup], 6, 3, dilation=2)
        self.out = CausalConv1d(6, outputs, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.lookup(self, x))

    def after(self, h: Tensor) -> Tensor:
        return self.out(torch.tanh(self.conv(h)))


def behind(net: nn.Module, start: int, x: np.ndarray) -> np.ndarray:
    """What the module gives for the start and all of x but its last."""
    given = np.concatenate([np.full((len(x), 1), start), x[:, :-1]], axis=1)
    with torch.no_grad():
        return net(torch.from_numpy(given)).numpy()


EXAMPLE = torch.zeros(2, 30, dtype=torch.int64)
HEAD = refar.ops.Categorical()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_a_start_token_stands_in_front(lookup: str, size: str) -> None:
    rows, outputs, classes, start = SIZES[size]
    net = randomised(Net(rows, outputs, lookup))
    got = from_torch(net, EXAMPLE, classes=classes, head=HEAD, start_token=start)
    assert refar.is_strict(got.graph)
    assert got.report.largest_difference < 1e-9
    assert any(f"class {start} stands in front" in note for note in got.report.notes)
    x = np.random.default_rng(0).integers(classes, size=(3, 15))
    np.testing.assert_allclose(refar.forward(got.graph, got.params, x), behind(net, start, x), rtol=1e-5, atol=1e-5)
    file = exported(net, EXAMPLE, {"classes": rows})
    same = from_onnx(file, classes=classes, head=HEAD, start_token=start, shift="input")
    np.testing.assert_allclose(refar.forward(same.graph, same.params, x), behind(net, start, x), rtol=1e-5, atol=1e-5)


def test_a_bundle_generates_what_the_module_does_step_by_step(tmp_path: Path) -> None:
    net = randomised(Net())
    got = from_torch(net, EXAMPLE, classes=8, head=HEAD, start_token=8)
    export(got.graph, got.params, tmp_path / "bundle", verify=net)
    tokens = refar.generate(got.graph, got.params, 12, batch=2, temperature=1e-6)
    assert (refar.runtime.load(tmp_path / "bundle").generate(12, batch=2, temperature=1e-6) == tokens).all()
    written = np.full((2, 1), 8)
    for _ in range(12):
        with torch.no_grad():
            written = np.concatenate([written, net(torch.from_numpy(written)).numpy()[:, :, -1:].argmax(axis=1)], axis=1)
    assert (written[:, 1:] == tokens).all()


@pytest.mark.parametrize(("size", "off"), [("beside", 1e-4), ("among", 1e-4)])
def test_another_start_does_not_agree_with_the_module(size: str, off: float) -> None:
    rows, outputs, classes, start = SIZES[size]
    net = randomised(Net(rows, outputs))
    got = from_torch(net, EXAMPLE, classes=classes, start_token=start)
    Reference(net, got.graph, got.params)
    with pytest.raises(ParameterError, match="does not compute what the graph computes"):
        Reference(net, got.graph, {**got.params, "embed_start.weight": got.params["embed_start.weight"] + off})


def full(net: Any, x: Tensor) -> Tensor:
    return net(torch.cat([torch.full((x.shape[0], 1), 8), x[:, :-1]], 1))


def new_full(net: Any, x: Tensor) -> Tensor:
    return net(torch.cat([x.new_full((x.shape[0], 1), 8), x], 1)[:, :-1])


def padded(net: Any, x: Tensor) -> Tensor:
    return net(F.pad(x, (1, -1), value=8))


def padded_with_zero(net: Any, x: Tensor) -> Tensor:
    return net(F.pad(x, (2, 0))[:, :-2])


def cut_at_the_end(net: Any, x: Tensor) -> Tensor:
    return net(torch.cat([net.token.repeat(x.shape[0], 1), x], 1))[:, :, :-1]


def two_tokens(net: Any, x: Tensor) -> Tensor:
    return net(torch.cat([net.token.expand(x.shape[0], -1), torch.ones_like(x[:, :1]), x], 1))[:, :, :-2]


def embedded_token(net: Any, x: Tensor) -> Tensor:
    start = net.embed(torch.full((x.shape[0], 1), 8))
    return net.after(torch.cat([start, net.embed(x)[:, :-1]], 1).transpose(1, 2))


def learnt_vector(net: Any, x: Tensor) -> Tensor:
    return net.after(torch.cat([net.vector.expand(x.shape[0], -1, -1), net.lookup(net, x)[..., :-1]], 2))


def three_of_a_learnt_vector(net: Any, x: Tensor) -> Tensor:
    return net.after(torch.cat([net.vector.expand(x.shape[0], -1, 3), net.lookup(net, x)], 2)[..., :-3])


WRITTEN = (full, new_full, padded, padded_with_zero, cut_at_the_end, two_tokens, embedded_token, learnt_vector,
           three_of_a_learnt_vector)  # fmt: skip


class Started(Net):
    """A network that puts its start in front itself."""

    def __init__(self, written: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.randn(1, 4, 1))
        self.register_buffer("token", torch.tensor([[8]]))
        self.written = written

    def forward(self, x: Tensor) -> Tensor:
        return self.written(_Inner(self), x)


class _Inner:
    def __init__(self, net: Started) -> None:
        self.net = net

    def __call__(self, x: Tensor) -> Tensor:
        return Net.forward(self.net, x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, name)


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.__name__)
def test_a_module_may_put_its_start_in_front_itself(written: Callable[[Any, Tensor], Tensor]) -> None:
    classes = 9 if "vector" in written.__name__ or "embedded" in written.__name__ else 8
    got = from_torch(randomised(Started(written)), EXAMPLE, classes=classes)
    assert refar.is_strict(got.graph)
    assert got.report.largest_difference < 1e-9
    if written is three_of_a_learnt_vector:
        check_contract(got.graph)


@pytest.mark.parametrize(
    ("net", "options", "kind", "words"),
    [
        (Net(), {"classes": 8, "start_token": 12}, ImportRefused, "it runs without start_token=12, which is none of its classes"),
        (Net(), {"classes": 9, "start_token": 8}, ImportRefused, "gives 8 channels, .* say classes=8"),
        (Net(), {"classes": 8, "start_token": 8, "shift": "output"}, InputError, "start_token stands in front of the input"),
        (Net(), {"classes": 8, "start_token": -1}, InputError, "start_token: expected an integer ≥ 0, got -1"),
        (Net(8, 8, "one_hot"), {"classes": 8, "start_token": 8}, ImportRefused, "none of its classes"),
    ],
)
def test_what_no_start_token_can_be(net: nn.Module, options: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        from_torch(randomised(net), EXAMPLE, **options)


def test_a_signal_and_a_strict_module_have_no_start_token() -> None:
    with pytest.raises(ImportRefused, match="start_token stands in front of class indices, and 'input' holds a signal"):
        from_torch(randomised(nn.Sequential(CausalConv1d(1, 2, 2))), torch.randn(1, 1, 20), start_token=0)
    with pytest.raises(ImportRefused, match="does not see the present, so that nothing need stand in front"):
        from_torch(randomised(Started(padded)), EXAMPLE, classes=8, start_token=3)
