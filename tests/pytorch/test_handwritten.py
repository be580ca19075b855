"""Networks written by hand, as one would from the sources, agree with the oracle: values and all gradients, in float64."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import refar
from refar import models
from refar.analysis.facts import facts

U = 2.0**-53


class NetToy1d(nn.Module):
    """Fleuret, Deep learning 10.2. Like there, the output is y_btq."""

    def __init__(self, nb_classes, ks=2, nc=32):
        super().__init__()
        self.pad = (ks - 1, 0)
        self.conv0 = nn.Conv1d(1, nc, kernel_size=1)
        self.conv1 = nn.Conv1d(nc, nc, kernel_size=ks)
        self.conv2 = nn.Conv1d(nc, nc, kernel_size=ks)
        self.conv3 = nn.Conv1d(nc, nc, kernel_size=ks)
        self.conv4 = nn.Conv1d(nc, nc, kernel_size=ks)
        self.conv5 = nn.Conv1d(nc, nb_classes, kernel_size=1)

    def forward(self, x):
        x = F.relu(self.conv0(F.pad(x, (1, -1))))
        x = F.relu(self.conv1(F.pad(x, self.pad)))
        x = F.relu(self.conv2(F.pad(x, self.pad)))
        x = F.relu(self.conv3(F.pad(x, self.pad)))
        x = F.relu(self.conv4(F.pad(x, self.pad)))
        x = self.conv5(x)
        return x.permute(0, 2, 1).contiguous()


class NetToy1dWithDilation(nn.Module):
    """Fleuret, Deep learning 10.2, with the surplus parentheses of its listing taken out."""

    def __init__(self, nb_classes, ks=2, nc=32):
        super().__init__()
        self.conv0 = nn.Conv1d(1, nc, kernel_size=1)
        self.pad1 = ((ks - 1) * 2, 0)
        self.conv1 = nn.Conv1d(nc, nc, kernel_size=ks, dilation=2)
        self.pad2 = ((ks - 1) * 4, 0)
        self.conv2 = nn.Conv1d(nc, nc, kernel_size=ks, dilation=4)
        self.pad3 = ((ks - 1) * 8, 0)
        self.conv3 = nn.Conv1d(nc, nc, kernel_size=ks, dilation=8)
        self.pad4 = ((ks - 1) * 16, 0)
        self.conv4 = nn.Conv1d(nc, nc, kernel_size=ks, dilation=16)
        self.conv5 = nn.Conv1d(nc, nb_classes, kernel_size=1)

    def forward(self, x):
        x = F.relu(self.conv0(F.pad(x, (1, -1))))
        x = F.relu(self.conv1(F.pad(x, self.pad1)))
        x = F.relu(self.conv2(F.pad(x, self.pad2)))
        x = F.relu(self.conv3(F.pad(x, self.pad3)))
        x = F.relu(self.conv4(F.pad(x, self.pad4)))
        x = self.conv5(x)
        return x.permute(0, 2, 1).contiguous()


class WaveNetBlock(nn.Module):
    def __init__(self, residual, gate, skip, kernel, dilation, classes, signal, last):
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv = nn.Conv1d(residual, 2 * gate, kernel, dilation=dilation)
        self.condition = nn.Conv1d(classes, 2 * gate, 1, bias=False)
        self.local = nn.Conv1d(signal, 2 * gate, 1, bias=False) if signal else None
        self.skip = nn.Conv1d(gate, skip, 1)
        if not last:
            self.residual = nn.Conv1d(gate, residual, 1)

    def forward(self, h, c, local):
        z = self.conv(F.pad(h, (self.past, 0))) + self.condition(c)
        filtered, gate = torch.chunk(z if local is None else z + self.local(local), 2, dim=1)
        u = torch.tanh(filtered) * torch.sigmoid(gate)
        return (h + self.residual(u) if hasattr(self, "residual") else None), self.skip(u)


class WaveNet(nn.Module):
    """van den Oord et al. 2016, with a class as global condition and perhaps a signal as local one."""

    def __init__(self, classes, dilations, residual, gate, skip, kernel, front, speakers, signal=0):
        super().__init__()
        self.classes, self.speakers = classes, speakers
        self.front = nn.Conv1d(classes, residual, front)
        for i, dilation in enumerate(dilations):
            last = i == len(dilations) - 1
            self.add_module(f"block{i}", WaveNetBlock(residual, gate, skip, kernel, dilation, speakers, signal, last))
        self.head = nn.ModuleDict({"hidden": nn.Conv1d(skip, skip, 1), "logits": nn.Conv1d(skip, classes, 1)})
        self.blocks = len(dilations)

    def forward(self, x_bt, c_b, local_bct=None):
        dtype = self.front.weight.dtype
        x = F.one_hot(x_bt, self.classes).to(dtype).permute(0, 2, 1)
        c = F.one_hot(c_b, self.speakers).to(dtype).unsqueeze(-1)
        h = self.front(F.pad(x, (self.front.kernel_size[0], -1)))
        total = 0
        for i in range(self.blocks):
            h, skip = getattr(self, f"block{i}")(h, c, local_bct)
            total = total + skip
        return self.head["logits"](F.relu(self.head["hidden"](F.relu(total))))


class TemporalBlock(nn.Module):
    """Bai, Kolter and Koltun 2018, figure 1b, without weight normalisation and dropout."""

    def __init__(self, inputs, outputs, kernel, dilation):
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv1 = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=self.past)
        self.conv2 = nn.Conv1d(outputs, outputs, kernel, dilation=dilation, padding=self.past)
        self.residual = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x):
        # Padded on both sides, then what has seen the future is chopped off.
        f = torch.relu(self.conv1(x)[:, :, : x.shape[2]])
        f = torch.relu(self.conv2(f)[:, :, : x.shape[2]])
        return torch.relu(f + (x if self.residual is None else self.residual(x)))


class TCN(nn.Module):
    """The blocks over one-hot classes; like there, the output at t models the class at t + 1."""

    def __init__(self, classes, channels, kernel):
        super().__init__()
        sizes = [classes, *channels]
        for i, width in enumerate(channels):
            self.add_module(f"block{i}", TemporalBlock(sizes[i], width, kernel, 2**i))
        self.logits = nn.Conv1d(channels[-1], classes, 1)

    def forward(self, x_bqt):
        for name, block in self.named_children():
            x_bqt = block(x_bqt) if name.startswith("block") else x_bqt
        return self.logits(x_bqt)


def agree(name, ours, theirs, layers):
    # One layer of at most 64 products errs by about 64·u of its largest value, and contributes that to what follows; the
    # gradient of a parameter is a product more. Figures seen are below a tenth of this.
    scale = np.abs(ours).max()
    worst = np.abs(ours - theirs).max()
    assert worst <= 64 * U * 2 * layers * scale, f"{name}: differs by {worst}, allowed {64 * U * 2 * layers * scale}"


def compare(graph, net, x, condition, run, layers):
    net.double()
    params = {name: p.detach().numpy() for name, p in net.named_parameters()}
    assert {k: v.shape for k, v in params.items()} == dict(facts(graph).parameters)
    y = run(net)
    agree("output", refar.forward(graph, params, x, condition), y.detach().numpy(), layers)
    dy = np.random.default_rng(1).normal(size=y.shape)
    y.backward(torch.from_numpy(dy))
    for name, gradient in refar.backward(graph, params, x, dy, condition)["params"].items():
        agree(name, gradient, net.get_parameter(name).grad.numpy(), layers)
    return dy


@pytest.mark.parametrize("length", [1, 4, 70])
@pytest.mark.parametrize(
    ("build", "net"), [(models.nettoy1d, NetToy1d), (models.nettoy1d_dilated, NetToy1dWithDilation)], ids=["plain", "dilated"]
)
@pytest.mark.parametrize("kernel", [2, 3])
def test_nettoy(build, net, kernel, length):
    torch.manual_seed(0)
    x = np.random.default_rng(0).integers(0, 7, (3, length))
    mean, std = 2.7, 1.9
    signal = torch.from_numpy((x[:, None] - mean) / std)
    graph = build(7, kernel=kernel, hidden=5, mean=mean, std=std)
    compare(graph, net(7, kernel, 5), x, None, lambda net: net(signal).permute(0, 2, 1), 6)


@pytest.mark.row("002-6")
@pytest.mark.parametrize("length", [1, 5, 23])
def test_wavenet(length):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x, c = rng.integers(0, 6, (3, length)), np.array([2, 0, 3])
    graph = models.wavenet(6, [1, 3, 2], residual=4, gate=3, skip=5, kernel=3, front=2, condition="class:4")
    net = WaveNet(6, [1, 3, 2], residual=4, gate=3, skip=5, kernel=3, front=2, speakers=4)
    compare(graph, net, x, c, lambda net: net(torch.from_numpy(x), torch.from_numpy(c)), 10)


@pytest.mark.row("002-9")
@pytest.mark.row("003-5")
@pytest.mark.parametrize("length", [1, 5, 23])
def test_wavenet_with_a_local_condition(length):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x, c = rng.integers(0, 6, (3, length)), np.array([2, 0, 3])
    local = rng.normal(size=(3, 2, length))
    options = {"residual": 4, "gate": 3, "skip": 5, "kernel": 3, "front": 2}
    graph = models.wavenet(6, [1, 3, 2], condition="class:4", local="vector:2", **options)
    net = WaveNet(6, [1, 3, 2], speakers=4, signal=2, **options)
    signal = torch.from_numpy(local).requires_grad_()
    condition = {"condition": c, "local": local}
    dy = compare(graph, net, x, condition, lambda net: net(torch.from_numpy(x), torch.from_numpy(c), signal), 10)
    params = {name: p.detach().numpy() for name, p in net.named_parameters()}
    agree("local", refar.backward(graph, params, x, dy, condition)["inputs"]["local"], signal.grad.numpy(), 10)


@pytest.mark.row("000-11")
@pytest.mark.parametrize("length", [1, 6, 40])
@pytest.mark.parametrize(("channels", "kernel"), [([4, 4, 6], 2), ([5], 3), ([6, 6, 6], 4)])
def test_tcn(channels, kernel, length):
    torch.manual_seed(0)
    x = np.random.default_rng(0).integers(0, 6, (3, length))
    delayed = torch.zeros(3, 6, length, dtype=torch.float64)
    delayed[:, :, 1:] = F.one_hot(torch.from_numpy(x), 6).movedim(2, 1)[:, :, :-1]
    graph = models.tcn(6, channels, kernel=kernel)
    compare(graph, TCN(6, channels, kernel), x, None, lambda net: net(delayed), 10)


@pytest.mark.parametrize("classes", [2, 20, 256])
@pytest.mark.parametrize("build", [models.nettoy1d, models.nettoy1d_dilated])
def test_nettoy_has_the_number_of_parameters_of_the_source(build, classes):
    count = sum(np.prod(shape) for shape in facts(build(classes)).parameters.values())
    assert count == 8384 + 33 * classes == sum(p.numel() for p in NetToy1d(classes).parameters())
