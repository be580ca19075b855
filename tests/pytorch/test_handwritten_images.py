"""Networks over images written by hand, as one finds them in repositories, agree with the graphs: values and all gradients."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import refar
from refar import models
from refar.analysis.facts import facts
from refar.torch import Module

U = 2.0**-53


class PixelCNN(nn.Module):
    """Fleuret, Deep learning 10.2, with `return` where it belongs. Like there, the output is y_bhwq."""

    def __init__(self, nb_classes, in_channels=1, ks=5):
        super().__init__()
        self.hpad = (ks // 2, ks // 2, ks // 2, 0)
        self.vpad = (ks // 2, 0, 0, 0)
        self.conv1h = nn.Conv2d(in_channels, 32, kernel_size=(ks // 2 + 1, ks))
        self.conv2h = nn.Conv2d(32, 64, kernel_size=(ks // 2 + 1, ks))
        self.conv1v = nn.Conv2d(in_channels, 32, kernel_size=(1, ks // 2 + 1))
        self.conv2v = nn.Conv2d(32, 64, kernel_size=(1, ks // 2 + 1))
        self.final1 = nn.Conv2d(128, 128, kernel_size=1)
        self.final2 = nn.Conv2d(128, nb_classes, kernel_size=1)

    def forward(self, x):
        xh = F.pad(x, (0, 0, 1, -1))
        xv = F.pad(x, (1, -1, 0, 0))
        xh = F.relu(self.conv1h(F.pad(xh, self.hpad)))
        xv = F.relu(self.conv1v(F.pad(xv, self.vpad)))
        xh = F.relu(self.conv2h(F.pad(xh, self.hpad)))
        xv = F.relu(self.conv2v(F.pad(xv, self.vpad)))
        x = F.relu(self.final1(torch.cat((xh, xv), 1)))
        x = self.final2(x)
        return x.permute(0, 2, 3, 1).contiguous()


def positional_encoding(height, width, bits):
    """Boolean channels: the bits of the row number, lowest first, then those of the column number."""
    rows = [[[row >> i & 1] * width for row in range(height)] for i in range(bits)]
    columns = [[[column >> i & 1 for column in range(width)]] * height for i in range(bits)]
    return torch.tensor(rows + columns, dtype=torch.float64)


class MaskedConv2d(nn.Conv2d):
    """Odd kernels, "same" padding. The colours take turns: features c, c + n, c + 2n, … belong to colour c of n."""

    def __init__(self, mask_type, n_colours, in_channels, out_channels, kernel_size, **options):
        kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        super().__init__(in_channels, out_channels, (kh, kw), padding=(kh // 2, kw // 2), **options)
        mask = torch.zeros_like(self.weight)
        mask[:, :, : kh // 2] = 1
        mask[:, :, kh // 2, : kw // 2] = 1
        for source in range(n_colours):
            for target in range(n_colours):
                if source < target or (source == target and mask_type == "B"):
                    mask[target::n_colours, source::n_colours, kh // 2, kw // 2] = 1
        self.register_buffer("mask", mask)

    def forward(self, x):
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class PlainPixelCNN(nn.Module):
    """A stack of masked convolutions, the latent vector added to each as a bias."""

    def __init__(self, levels, colours, width, layers, kernel, latent):
        super().__init__()
        self.levels, self.colours = levels, colours

        def layer(mask_type, inputs, size):
            conv = MaskedConv2d(mask_type, colours, inputs, width, size)
            return nn.ModuleDict({"conv": conv, "condition": nn.Linear(latent, width, bias=False)})

        self.front = layer("A", colours, kernel)
        for i in range(layers):
            self.add_module(f"block{i}", layer("B", width, kernel))
        self.blocks = [f"block{i}" for i in range(layers)]
        self.head = nn.ModuleDict({
            "hidden": MaskedConv2d("B", colours, width, width, 1),
            "logits": MaskedConv2d("B", colours, width, levels * colours, 1),
        })  # fmt: skip

    def forward(self, x, latent):
        h = x
        for name in ["front", *self.blocks]:
            layer = getattr(self, name)
            h = F.relu(layer["conv"](h) + layer["condition"](latent)[:, :, None, None])
        h = self.head["logits"](F.relu(self.head["hidden"](h)))
        return h.unflatten(1, (self.levels, self.colours))


class ResidualBlock(nn.Module):
    """van den Oord et al. 2016a, figure 5, left."""

    def __init__(self, colours, h, kernel):
        super().__init__()
        self.reduce = MaskedConv2d("B", colours, 2 * h, h, 1)
        self.conv = MaskedConv2d("B", colours, h, h, kernel)
        self.expand = MaskedConv2d("B", colours, h, 2 * h, 1)

    def forward(self, x):
        return x + self.expand(F.relu(self.conv(F.relu(self.reduce(F.relu(x))))))


class ResidualPixelCNN(nn.Module):
    """van den Oord et al. 2016a, table 1."""

    def __init__(self, levels, colours, h, layers, kernel, first):
        super().__init__()
        self.levels, self.colours = levels, colours
        self.front = nn.ModuleDict({"conv": MaskedConv2d("A", colours, colours, 2 * h, first)})
        for i in range(layers):
            self.add_module(f"block{i}", ResidualBlock(colours, h, kernel))
        self.head = nn.ModuleDict({
            "hidden": MaskedConv2d("B", colours, 2 * h, h, 1),
            "logits": MaskedConv2d("B", colours, h, levels * colours, 1),
        })  # fmt: skip

    def forward(self, x):
        x = self.front["conv"](x)
        for name, block in self.named_children():
            x = block(x) if name.startswith("block") else x
        x = self.head["logits"](F.relu(self.head["hidden"](F.relu(x))))
        return x.unflatten(1, (self.levels, self.colours))


class Stack(nn.Module):
    """A convolution and the condition's share in its gate."""

    def __init__(self, conv, features, classes, channels_of_map):
        super().__init__()
        self.conv = conv
        if classes:
            self.condition = nn.Linear(classes, features, bias=False)
        if channels_of_map:
            self.local = nn.Conv2d(channels_of_map, features, 1, bias=False)

    def gated(self, z, y, s):
        if hasattr(self, "condition"):
            z = z + self.condition(y)[:, :, None, None]
        if hasattr(self, "local"):
            z = z + self.local(s)
        a, b = z.chunk(2, dim=1)
        return torch.tanh(a) * torch.sigmoid(b)


class GatedLayer(nn.Module):
    """van den Oord et al. 2016b, figure 2. The vertical stack is padded on all sides and cropped, then shifted down."""

    def __init__(self, mask_type, colours, inputs, p, n, last, classes, channels_of_map):
        super().__init__()
        self.first = mask_type == "A"
        tall = nn.Conv2d(inputs, 2 * p, (n // 2 + 1, n), padding=(n // 2, n // 2))
        self.vertical = Stack(tall, 2 * p, 0 if last else classes, 0 if last else channels_of_map)
        wide = nn.Conv2d(inputs, 2 * p, (1, n // 2 + 1), padding=(0, n // 2))
        self.horizontal = Stack(wide, 2 * p, classes, channels_of_map)
        self.horizontal.above = nn.Conv2d(2 * p, 2 * p, 1)
        self.horizontal.out = MaskedConv2d("B", colours, p, p, 1)
        mask = torch.ones_like(wide.weight)
        for o in range(2 * p):
            for i in range(inputs):
                source, target = i % colours, o % colours
                mask[o, i, 0, -1] = source < target if self.first else source <= target
        self.register_buffer("mask", mask)

    def forward(self, v, h, y, s):
        height, width = h.shape[2:]
        tall = self.vertical.conv(v)[:, :, :height]
        shifted = F.pad(tall, (0, 0, 1, 0))[:, :, :-1]
        conv = self.horizontal.conv
        wide = F.conv2d(h, conv.weight * self.mask, conv.bias, padding=conv.padding)[:, :, :, :width]
        out = self.horizontal.out(self.horizontal.gated(wide + self.horizontal.above(shifted), y, s))
        return self.vertical.gated(tall, y, s), out if self.first else h + out


class GatedPixelCNN(nn.Module):
    def __init__(self, levels, colours, p, layers, n, first, classes=0, channels_of_map=0):
        super().__init__()
        self.levels, self.colours = levels, colours
        for i in range(layers):
            mask_type, inputs, size = ("B", p, n) if i else ("A", colours, first)
            layer = GatedLayer(mask_type, colours, inputs, p, size, i == layers - 1, classes, channels_of_map)
            self.add_module(f"layer{i}", layer)
        self.head = nn.ModuleDict({
            "hidden": MaskedConv2d("B", colours, p, p, 1),
            "logits": MaskedConv2d("B", colours, p, levels * colours, 1),
        })  # fmt: skip

    def forward(self, x, y=None, s=None):
        v = h = x
        for name, layer in self.named_children():
            if name.startswith("layer"):
                v, h = layer(v, h, y, s)
        h = self.head["logits"](F.relu(self.head["hidden"](F.relu(h))))
        return h.unflatten(1, (self.levels, self.colours))


def agree(name, ours, theirs, layers):
    # One layer of at most 75 products errs by about 75·u of its largest value, and contributes that to what follows; the
    # gradient of a parameter sums over pixels besides. Figures seen are below a hundredth of this.
    worst, allowed = np.abs(ours - theirs).max(), 128 * U * 2 * layers * np.abs(theirs).max()
    assert worst <= allowed, f"{name}: differs by {worst}, allowed {allowed}"


def compare(graph, net, x, run, layers, condition=None):
    """The oracle and `refar.torch.Module` against `run(net, condition)`, y_bkchw, with the parameters of the net."""
    net.double()
    theirs, shapes = dict(net.named_parameters()), facts(graph).parameters
    assert theirs.keys() == shapes.keys()
    params = {name: theirs[name].detach().numpy().reshape(shape) for name, shape in shapes.items()}
    tensors = {name: torch.from_numpy(value) for name, value in (condition or {}).items()}
    signals = {name: tensor.requires_grad_() for name, tensor in tensors.items() if tensor.is_floating_point()}
    y = run(net, tensors).flatten(1, 2)
    dy = np.random.default_rng(1).normal(size=y.shape)
    y.backward(torch.from_numpy(dy))
    gradients = {name: p.grad.numpy().reshape(shapes[name]) for name, p in theirs.items()}
    gradients |= {name: tensor.grad.numpy().copy() for name, tensor in signals.items()}

    oracle = refar.backward(graph, params, x, dy, condition)
    backends = {"numpy": (refar.forward(graph, params, x, condition), oracle["params"] | oracle["inputs"])}
    for tensor in signals.values():
        tensor.grad = None
    module = Module(graph, params)
    out = module(torch.from_numpy(x), tensors)
    out.backward(torch.from_numpy(dy))
    found = {name: p.grad.numpy() for name, p in module.named_parameters()}
    backends["torch"] = (out.detach().numpy(), found | {name: tensor.grad.numpy() for name, tensor in signals.items()})
    for backend, (value, grads) in backends.items():
        agree(f"{backend}: output", value, y.detach().numpy(), layers)
        assert grads.keys() == gradients.keys()
        for name, gradient in gradients.items():
            agree(f"{backend}: gradient of {name}", grads[name], gradient, layers)
    for name, child in net.named_modules():
        if hasattr(child, "mask"):
            name = f"{name}.weight" if f"{name}.weight" in gradients else f"{name}.horizontal.conv.weight"
            assert (gradients[name][child.mask.numpy() == 0] == 0).all()


SIZES = [(1, 1), (1, 6), (5, 1), (6, 9)]


def pixels(classes, colours, size):
    """Class indices, and the reals that a network sees."""
    torch.manual_seed(0)
    x = np.random.default_rng(0).integers(0, classes, (3, colours, *size))
    middle = (classes - 1) / 2
    return x, torch.from_numpy((x - middle) / middle)


@pytest.mark.row("001-10")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("colours", "kernel"), [(1, 5), (3, 5), (1, 3), (1, 7)])
def test_two_stack_pixelcnn(colours, kernel, size):
    x, _ = pixels(7, colours, size)
    mean, std = 2.7, 1.9
    signal = torch.from_numpy((x - mean) / std)
    graph = models.pixelcnn(7, channels=colours, kernel=kernel, mean=mean, std=std)
    net = PixelCNN(7 * colours, colours, kernel)
    compare(graph, net, x, lambda net, _: net(signal).permute(0, 3, 1, 2).unflatten(1, (7, colours)), 6)


@pytest.mark.row("001-12")
@pytest.mark.parametrize(("size", "bits"), [((28, 28), 5), ((3, 6), 2), ((1, 1), 1)])
def test_two_stack_pixelcnn_with_positions(size, bits):
    x, signal = pixels(5, 1, size)
    located = torch.cat([signal, positional_encoding(*size, bits).expand(3, -1, -1, -1)], dim=1)
    net = PixelCNN(5, 1 + 2 * bits)
    compare(models.pixelcnn(5, position=bits), net, x, lambda net, _: net(located).permute(0, 3, 1, 2).unflatten(1, (5, 1)), 6)


@pytest.mark.row("001-10")
def test_the_parameters_are_those_of_the_source():
    for classes in (2, 10, 256):
        own = sum(p.numel() for p in PixelCNN(classes).parameters())
        assert own == sum(np.prod(shape) for shape in facts(models.pixelcnn(classes)).parameters.values())


@pytest.mark.row("001-11")
@pytest.mark.row("003-7")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("colours", "kernel"), [(1, 3), (3, 3), (3, 5)])
def test_plain_masked_pixelcnn(colours, kernel, size):
    x, signal = pixels(4, colours, size)
    latent = {"condition": np.random.default_rng(2).normal(size=(3, 5))}
    options = {"channels": colours, "layers": 3, "hidden": 6, "kernel": kernel, "first_kernel": kernel, "residual": False}
    graph = models.masked_pixelcnn(4, condition="vector:5", **options)
    net = PlainPixelCNN(4, colours, 6, 3, kernel, latent=5)
    compare(graph, net, x, lambda net, given: net(signal, given["condition"]), 10, latent)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colours", [1, 2, 3])
def test_residual_masked_pixelcnn(colours, size):
    x, signal = pixels(4, colours, size)
    graph = models.masked_pixelcnn(4, channels=colours, layers=2, hidden=6, kernel=3, first_kernel=7)
    net = ResidualPixelCNN(4, colours, 6, 2, kernel=3, first=7)
    compare(graph, net, x, lambda net, _: net(signal), 12)


@pytest.mark.row("003-7")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["none", "class", "vector", "map"])
@pytest.mark.parametrize("colours", [1, 3])
def test_gated_pixelcnn(colours, kind, size):
    x, signal = pixels(4, colours, size)
    rng = np.random.default_rng(2)
    options = {"channels": colours, "layers": 3, "hidden": 6, "kernel": 3, "first_kernel": 5}
    given = {
        "none": None,
        "class": {"condition": rng.integers(0, 4, 3)},
        "vector": {"condition": rng.normal(size=(3, 4))},
        "map": {"local": rng.normal(size=(3, 2, *size))},
    }[kind]
    own = {"none": {}, "class": {"condition": "class:4"}, "vector": {"condition": "vector:4"}, "map": {"local": "vector:2"}}[kind]
    net = GatedPixelCNN(4, colours, 6, 3, 3, 5, 4 if "condition" in own else 0, 2 if "local" in own else 0)

    def run(net, tensors):
        y = tensors.get("condition")
        return net(signal, F.one_hot(y, 4).double() if kind == "class" else y, tensors.get("local"))

    compare(models.gated_pixelcnn(4, **options, **own), net, x, run, 16, given)
