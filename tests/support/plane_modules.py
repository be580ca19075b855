"""Networks of images as people write them, one function for each: the module with random weights, an example, and options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from causal_modules import Made, randomised
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

Kind = Literal["A", "B"]


def mask_of(kind: Kind, height: int, width: int) -> Tensor:
    """The mask of a kernel with odd sides: nothing after the pixel, and the pixel itself for B alone."""
    mask = torch.ones(height, width)
    mask[height // 2, width // 2 + (kind == "B") :] = 0
    mask[height // 2 + 1 :] = 0
    return mask


class MaskedByProduct(nn.Conv2d):
    """A convolution whose weights are multiplied by a mask in each call."""

    def __init__(self, kind: Kind, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.register_buffer("mask", mask_of(kind, *self.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class MaskedByData(MaskedByProduct):
    """One that puts its mask on its own weights in each call, past autograd."""

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data *= self.mask
        return nn.Conv2d.forward(self, x)


class MaskedInPlace(MaskedByProduct):
    """One that does it without gradients."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.mul_(self.mask)
        return nn.Conv2d.forward(self, x)


class Mask(nn.Module):
    """A parametrisation."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def pixelcnn(masked: type[MaskedByProduct]) -> nn.Module:
    """The PixelCNN of most tutorials: mask A, then B, batch norms, and 1x1 convolutions."""
    return randomised(
        nn.Sequential(
            masked("A", 1, 4, 5, padding=2, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            masked("B", 4, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 3, 1),
        )
    )


def by_product() -> Made:
    return pixelcnn(MaskedByProduct), torch.randn(2, 1, 7, 9), {}


def by_data() -> Made:
    return pixelcnn(MaskedByData), torch.randn(2, 1, 7, 9), {}


def in_place() -> Made:
    return pixelcnn(MaskedInPlace), torch.randn(2, 1, 7, 9), {}


def by_parametrisation() -> Made:
    convs = [nn.Conv2d(1, 3, (3, 5), padding=(1, 2)), nn.Conv2d(3, 2, 3, padding="same")]
    for kind, conv in zip(("A", "B"), convs, strict=True):
        parametrize.register_parametrization(conv, "weight", Mask(mask_of(kind, *conv.kernel_size)))
    return randomised(nn.Sequential(convs[0], nn.Tanh(), convs[1])), torch.randn(1, 1, 6, 6), {}


def masked_for_good() -> Made:
    net = randomised(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)))
    for kind, conv in zip(("A", "B"), (net[0], net[2]), strict=True):
        conv.weight.data *= mask_of(kind, 3, 3)
    return net, torch.randn(2, 2, 8, 7), {}


class Halves(nn.Module):
    """tanh of one half of the channels times σ of the other."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return torch.tanh(a) * torch.sigmoid(b)


class StackLayer(nn.Module):
    """A layer of two stacks: rows by padding and cropping, an own row by padding and cropping, and links of kernel 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, first: bool = False) -> None:
        super().__init__()
        half = kernel // 2
        self.first, self.gate = first, Halves()
        self.across = nn.Conv2d(inputs, outputs, (1, kernel), padding=(0, half))
        self.down = nn.Conv2d(outputs, 2 * outputs, (half + 1, 1), padding=(half + 1, 0))
        self.beside = nn.Conv2d(inputs, 2 * outputs, 1)
        self.link = nn.Conv2d(2 * outputs, 2 * outputs, 1)
        self.row = nn.Conv2d(inputs, 2 * outputs, (1, half + 1), padding=(0, half + first))
        self.residual, self.skip = nn.Conv2d(outputs, outputs, 1), nn.Conv2d(outputs, outputs, 1)

    def forward(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, _, height, width = v.shape
        above = self.down(self.across(v))[:, :, :height, :]
        link = self.link(above)
        u = self.gate(link + self.row(h)[:, :, :, :width])
        out = self.residual(u)
        return self.gate(above + self.beside(v)), out if self.first else out + h, self.skip(u)


class TwoStacks(nn.Module):
    """A Gated PixelCNN with skip connections to the head; the classes of an image with one channel, or a signal."""

    def __init__(self, layers: int = 1, hidden: int = 3, outputs: int = 4, kernel: int = 3, first_kernel: int = 5) -> None:
        super().__init__()
        self.first = StackLayer(1, hidden, first_kernel, first=True)
        self.layers = nn.ModuleList(StackLayer(hidden, hidden, kernel) for _ in range(layers))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(hidden, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        v, h, total = self.first(x, x)
        for layer in self.layers:
            v, h, skip = layer(v, h)
            total = total + skip
        return self.head(total)


def two_stacks() -> Made:
    return randomised(TwoStacks()), torch.randn(2, 1, 7, 8), {}


class MaskedStack(nn.Module):
    """Two gated stacks of masked kernels, the vertical one 3 x 3 and the horizontal one 1 x 3, dilated; logits by colour."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        rows, row = torch.ones(3, 3), torch.ones(1, 3)
        rows[2:], row[:, 2:] = 0, 0
        above, left = rows.clone(), row.clone()
        above[1], left[:, 1] = 0, 0
        self.classes, self.gate = classes, Halves()
        self.above, self.left = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, (1, 3), padding=(0, 1))
        self.rows = nn.Conv2d(4, 8, 3, padding=2, dilation=2)
        self.row = nn.Conv2d(4, 8, (1, 3), padding=(0, 2), dilation=2)
        self.link, self.mix, self.out = nn.Conv2d(8, 8, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, classes, 1, padding=0)
        for conv, mask in ((self.above, above), (self.left, left), (self.rows, rows), (self.row, row)):
            parametrize.register_parametrization(conv, "weight", Mask(mask))

    def forward(self, x: Tensor) -> Tensor:
        x = (x.float() / (self.classes - 1)) * 2 - 1
        v, h = self.above(x), self.left(x)
        v2 = self.rows(v)
        h = h + self.mix(self.gate(self.row(h) + self.link(v2)))
        y = self.out(F.elu(h + self.gate(v2)))
        return y.reshape(y.shape[0], self.classes, y.shape[1] // self.classes, y.shape[2], y.shape[3])


def masked_stacks() -> Made:
    return randomised(MaskedStack()), torch.randint(5, (2, 1, 8, 7)), {"classes": 5}


class Shifted(nn.Module):
    """Shifts of the whole image by padding and cropping, kernels that end above and on the left, and concat ELU."""

    def __init__(self) -> None:
        super().__init__()
        self.pad_rows, self.pad_both = nn.ZeroPad2d((1, 1, 1, 0)), nn.ZeroPad2d((1, 0, 1, 0))
        norm = parametrizations.weight_norm
        self.v, self.h = norm(nn.Conv2d(2, 4, (2, 3))), norm(nn.Conv2d(2, 4, (2, 2)))
        self.v2, self.h2 = norm(nn.Conv2d(8, 4, (2, 3))), norm(nn.Conv2d(8, 4, 2))
        self.link = nn.Conv2d(8, 4, 1)

    @staticmethod
    def down(x: Tensor) -> Tensor:
        return F.pad(x[:, :, :-1, :], (0, 0, 1, 0))

    @staticmethod
    def right(x: Tensor) -> Tensor:
        return torch.cat([torch.zeros(x.shape[0], x.shape[1], x.shape[2], 1), x[:, :, :, :-1]], 3)

    @staticmethod
    def elu(x: Tensor) -> Tensor:
        return F.elu(torch.cat([x, -x], dim=1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, torch.ones(x.shape[0], 1, *x.shape[2:])], 1) if x.shape[1] == 1 else x
        v = self.down(self.v(self.pad_rows(x)))
        h = v + self.right(self.h(self.pad_both(x)))
        v = v + self.v2(self.pad_rows(self.elu(v)))
        return h + self.h2(self.pad_both(self.elu(h))) + self.link(self.elu(v))


def shifts() -> Made:
    return randomised(Shifted()), torch.randn(2, 2, 6, 7), {}


class Padded(nn.Module):
    """Unmasked kernels, even and odd, behind padding of their own: above, on both sides, and on the left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.v2 = nn.Conv2d(1, 3, (2, 4)), nn.Conv2d(3, 3, (3, 3), dilation=(1, 2))
        self.h, self.h2 = nn.Conv2d(1, 3, (1, 2)), nn.Conv2d(3, 3, (1, 4), groups=3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        v = F.pad(self.v(F.pad(x, (2, 1, 1, 0))), (0, 0, 1, -1))
        h = self.h(F.pad(x, (2, -1)))
        v = v + self.v2(F.pad(v, (2, 2, 2, 0))).relu()
        return self.h2(F.pad(h, (6, 0))) + F.leaky_relu(v)


def padded() -> Made:
    return randomised(Padded()), torch.randn(2, 1, 9, 9), {}


class Cropped(nn.Module):
    """Symmetric padding, of which the rows below and the columns on the right are cut."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.h = nn.Conv2d(2, 4, (2, 3), padding=(2, 1)), nn.Conv2d(2, 4, (1, 3), padding=(0, 3))
        self.v2, self.h2 = nn.Conv2d(4, 4, 3, padding=(2, 1)), nn.Conv2d(4, 4, (1, 2), padding=(0, 1), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        v = self.v(x)[:, :, : x.shape[2]]
        h = self.h(x)[..., : x.shape[3]] + v
        v = self.v2(torch.tanh(v))[:, :, :-2]
        return self.h2(torch.tanh(h))[:, :, :, :-1] + v


def cropped() -> Made:
    return randomised(Cropped()), torch.randn(1, 2, 6, 9), {}


class Valid(nn.Module):
    """Masked kernels without any padding, beside what was cut to their size."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = MaskedByProduct("A", 1, 3, 3), MaskedByProduct("B", 3, 3, (3, 5))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        return h[:, :, 1:-1, 2:-2] + self.b(h)


def valid_planes() -> Made:
    return randomised(Valid()), torch.randn(1, 1, 9, 11), {}


class OfClass(nn.Module):
    """A class, added everywhere by unsqueeze, by view and by expand; and a map, beside the image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.project, self.last = nn.Embedding(4, 3), nn.Linear(3, 3), nn.Conv2d(3, 3, 1)
        self.conv, self.out, self.map = MaskedByProduct("A", 1, 3, 3, padding=1), nn.Linear(3, 2), nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x: Tensor, label: Tensor, where: Tensor) -> Tensor:
        c = self.embed(label)
        h = self.conv(x) + c[:, :, None, None] + self.map(where)
        h = torch.relu(h) + self.project(c).view(c.shape[0], -1, 1, 1).expand(-1, -1, x.shape[2], x.shape[3])
        h = torch.sigmoid(h + self.last(c.unsqueeze(-1).unsqueeze(-1)))
        return self.out(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def of_class() -> Made:
    example = {"x": torch.randn(2, 1, 6, 7), "label": torch.tensor([0, 3]), "where": torch.randn(2, 2, 6, 7)}
    return randomised(OfClass()), example, {"classes": {"label": 4}}


class Looked(nn.Module):
    """Values of pixels looked up, channels last, in rows one behind the other, and back."""

    def __init__(self, squeezed: bool) -> None:
        super().__init__()
        self.squeezed = squeezed
        self.embed, self.dense, self.out = nn.Embedding(6, 4), nn.Linear(4, 4), nn.Conv2d(4, 6, 1)
        self.conv = MaskedInPlace("A", 4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(1) if self.squeezed else x
        h = torch.tanh(self.conv(self.embed(x).permute(0, 3, 1, 2)))
        b, c, height, width = h.shape
        rows = self.dense(h.view(b, c, height * width).transpose(1, 2)).relu()
        return self.out(rows.transpose(1, 2).reshape(b, c, height, width))


def looked_up() -> Made:
    return randomised(Looked(False)), torch.randint(6, (2, 5, 7)), {"classes": 6}


def looked_up_in_a_channel() -> Made:
    return randomised(Looked(True)), torch.randint(6, (2, 1, 5, 7)), {"classes": 6}


class Coloured(nn.Module):
    """Images with three colours that are taken together: each output sees all colours of the pixels before."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = MaskedByData("A", 3, 6, 3, padding=1), nn.Conv2d(6, 12, 1)
        self.one, self.mid, self.two = nn.Conv2d(6, 3, 1), MaskedByData("B", 3, 3, 3, padding=1), nn.Conv2d(3, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        h = h + self.two(torch.relu(self.mid(torch.relu(self.one(torch.relu(h))))))
        return self.out(torch.relu(h)).view(x.shape[0], 4, 3, *x.shape[2:])


def together() -> Made:
    return randomised(Coloured()), torch.randint(4, (2, 3, 6, 5)).float(), {}


PLANES: dict[str, Callable[[], Made]] = {
    made.__name__: made
    for made in (
        by_product, by_data, in_place, by_parametrisation, masked_for_good, two_stacks, masked_stacks, shifts, padded, cropped,
        valid_planes, of_class, looked_up, looked_up_in_a_channel, together,
    )
}  # fmt: skip
