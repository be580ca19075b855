"""Right code that nobody here bent to fit: modules as people write them, held against a graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from refar import Builder, Graph, models, ops
from refar.testing import check_module


def tcn(layers: int = 2, classes: int = 4) -> Graph:
    g = Builder()
    h = g.one_hot(g.input(classes=classes))
    for n in range(layers):
        h = g.relu(g.conv1d(h, 6, kernel=3, dilation=2**n, strict=n == 0, name=f"layers.{n}"))
    return g.build(g.conv1d(h, classes, name="out"), ops.Categorical())


class Padded(nn.Module):
    """Pads on the left; the first layer is shifted by one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(6 if n else 4, 6, 3, dilation=2**n) for n in range(2))
        self.out = nn.Conv1d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.one_hot(x, 4).transpose(1, 2).to(self.out.weight.dtype)
        for n, conv in enumerate(self.layers):
            h = torch.relu(conv(F.pad(h, (2 * 2**n + (n == 0), -(n == 0)))))
        return self.out(h)


class Chomped(Padded):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(6 if n else 4, 6, 3, padding=2 * 2**n, dilation=2**n) for n in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = F.one_hot(x, 4).movedim(-1, 1).to(self.out.weight.dtype)
        h = F.pad(h, (1, 0))[:, :, :-1]
        for conv in self.layers:
            h = F.relu(conv(h)[..., : x.shape[1]])
        return self.out(h)


class ChannelsLast(Padded):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.one_hot(x, 4).to(self.out.weight.dtype)
        h = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], dim=1).transpose(1, 2)
        for conv in self.layers:
            h = conv(F.pad(h, ((conv.kernel_size[0] - 1) * conv.dilation[0], 0))).clamp(min=0)
        return self.out(h.transpose(1, 2))


class AsImages(Padded):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(6 if n else 4, 6, (1, 3), dilation=(1, 2**n)) for n in range(2))
        self.out = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.one_hot(x, 4).permute(0, 2, 1)[:, :, None].to(self.out.weight.dtype)
        h = F.pad(h, (1, -1))
        for n, conv in enumerate(self.layers):
            h = F.relu(conv(F.pad(h, (2 * 2**n, 0, 0, 0))))
        return self.out(h).squeeze(2)


class ByHand(Padded):
    """Taps as matrix products, without a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        h = F.pad(torch.eye(4, dtype=self.out.weight.dtype)[x].mT, (1, -1))
        for n, conv in enumerate(self.layers):
            taps = [conv.weight[:, :, k] @ F.pad(h, ((2 - k) * 2**n, 0))[..., : h.shape[2]] for k in range(3)]
            h = F.relu(torch.stack(taps).sum(0) + conv.bias[:, None])
        return self.out.weight[:, :, 0] @ h + self.out.bias[:, None]


class Buffered(Padded):
    """Keeps its padding in a buffer, and drops out in training."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.3)
        self.register_buffer("zeros", torch.zeros(1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        zeros: Any = self.zeros
        h = F.one_hot(x, 4).transpose(1, 2).to(zeros.dtype)
        h = torch.cat([zeros[..., :1].expand(len(x), 4, 1), h], 2)[..., :-1]
        for n, conv in enumerate(self.layers):
            h = self.drop(F.relu(conv(torch.cat([zeros[..., : 2 * 2**n].expand(len(x), h.shape[1], -1), h], 2))))
        return self.out(h)


class PixelCNN(nn.Module):
    """A masked convolution as most write it, with the mask in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = Masked("A", 4, 6, 5), Masked("B", 6, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.one_hot(x[:, 0], 4).movedim(-1, 1).to(self.first.weight.dtype)
        return self.last(F.relu(self.first(h)))


class Masked(nn.Conv2d):
    def __init__(self, kind: str, given: int, made: int, side: int) -> None:
        super().__init__(given, made, side, padding=side // 2)
        self.register_buffer("mask", torch.ones(side, side))
        mask: Any = self.mask
        mask[side // 2, side // 2 + (kind == "B") :] = 0
        mask[side // 2 + 1 :] = 0

    def forward(self, x: Tensor) -> Tensor:
        mask: Any = self.mask
        return F.conv2d(x, self.weight * mask, self.bias, padding=self.padding)


def pixels() -> Graph:
    g = Builder()
    h = g.one_hot(g.image(classes=4))
    h = g.relu(g.conv2d(h, 6, kernel=5, mask="A", name="first"))
    return g.build(g.conv2d(h, 4, kernel=3, mask="B", name="last"), ops.Categorical())


class WaveNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(4, 5, 2)
        self.filter_gate = nn.ModuleList(nn.Conv1d(5, 12, 2, dilation=d) for d in (1, 2))
        self.residual = nn.ModuleList([nn.Conv1d(6, 5, 1)])
        self.skip = nn.ModuleList(nn.Conv1d(6, 7, 1) for _ in range(2))
        self.end = nn.Sequential(nn.ReLU(), nn.Conv1d(7, 7, 1), nn.ReLU(), nn.Conv1d(7, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.front(F.pad(F.one_hot(x, 4).mT.to(self.front.weight.dtype), (2, 0)))[..., :-1]
        total: Any = 0
        for n, conv in enumerate(self.filter_gate):
            a, b = conv(F.pad(h, (2**n, 0))).chunk(2, 1)
            u = a.tanh() * b.sigmoid()
            total = total + self.skip[n](u)
            h = h + self.residual[n](u) if n < 1 else h
        y: Tensor = self.end(total)
        return y


WAVENET = models.wavenet(4, [1, 2], residual=5, gate=6, skip=7)
WAVENET_NAMES = {
    "block0.conv": "filter_gate.0", "block1.conv": "filter_gate.1", "block0.skip": "skip.0", "block1.skip": "skip.1",
    "block0.residual": "residual.0", "head.hidden": "end.1", "head.logits": "end.3",
}  # fmt: skip

SAME: dict[str, type[nn.Module]] = {
    "pads on the left": Padded, "chomps": Chomped, "channels last": ChannelsLast, "conv2d of one row": AsImages,
    "matrix products": ByHand, "padding in a buffer": Buffered,
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_a_tcn(name: str) -> None:
    check_module(SAME[name]().eval(), tcn())


def test_a_compiled_module() -> None:
    check_module(
        torch.compile(Padded(), backend="eager"), tcn(), names={n: f"_orig_mod.{n}" for n in ("layers.0", "layers.1", "out")}
    )


@pytest.mark.parametrize("how", ["trace", "script"])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript(how: str) -> None:
    inner = nn.Sequential(
        nn.ConstantPad1d((2, 0), 0.0),
        nn.Conv1d(3, 4, 3),
        nn.Tanh(),
        nn.ConstantPad1d((2, 0), 0.0),
        nn.Conv1d(4, 2, 2, dilation=2),
    )
    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=3), 4, kernel=3, name="1"))
    graph = g.build(g.conv1d(h, 2, kernel=2, dilation=2, name="4"))
    check_module(torch.jit.script(inner) if how == "script" else torch.jit.trace(inner, torch.randn(1, 3, 9)), graph)


def test_a_masked_pixelcnn() -> None:
    check_module(PixelCNN(), pixels())


def test_a_wavenet() -> None:
    check_module(WaveNet(), WAVENET, names=WAVENET_NAMES)


def test_weight_norm_that_was_removed() -> None:
    module = nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), weight_norm(nn.Conv1d(3, 4, 3)))
    nn.utils.parametrize.remove_parametrizations(module[1], "weight")
    g = Builder()
    check_module(module, g.build(g.conv1d(g.input(channels=3), 4, kernel=3, name="1")))


def test_weights_that_two_layers_share() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(3, 3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(F.pad(torch.tanh(self.conv(F.pad(x, (1, 0)))), (1, 0)))

    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=3), 3, kernel=2, name="a"))
    check_module(Shared(), g.build(g.conv1d(h, 3, kernel=2, name="b")), names={"a": "conv", "b": "conv"})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype: torch.dtype) -> None:
    class Lower(Padded):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=dtype):
                return super().forward(x)

    check_module(Lower(), tcn(), dtype="float32")
