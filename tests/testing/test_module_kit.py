"""`check_module` on modules written by hand: right ones pass, whatever their names and axes; mistakes are called by name."""

import numpy as np
import pytest
import torch
from helpers import refuses
from torch import nn
from torch.nn import functional as F

from refar import Builder, models, ops
from refar.errors import InputError, ParameterError
from refar.testing import ContractError, check_module

NAMES = {"block0.conv": "dilated.0", "block1.conv": "dilated.1", "block0.out": "mix.0", "block1.out": "mix.1"}


def graph(padding="layer"):
    """A strict front, two gated blocks with residuals, logits."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 6, kernel=2, strict=True, name="front")
    for i, dilation in enumerate([2, 3]):
        with g.scope(f"block{i}"):
            z = g.gate(g.conv1d(h, 12, kernel=3, dilation=dilation, name="conv"))
            h = g.add(h, g.conv1d(z, 6, name="out"))
    return g.build(g.conv1d(g.relu(h), 4, name="logits"), ops.Categorical(), padding=padding)


GRAPH = graph()


class Net(nn.Module):
    """The same by hand, in parts that mistakes replace."""

    def __init__(self):
        super().__init__()
        self.front = nn.Conv1d(4, 6, 2)
        self.dilated = nn.ModuleList([nn.Conv1d(6, 12, 3, dilation=2), nn.Conv1d(6, 12, 3, dilation=3)])
        self.mix = nn.ModuleList([nn.Conv1d(6, 6, 1), nn.Conv1d(6, 6, 1)])
        self.logits = nn.Conv1d(6, 4, 1)

    def forward(self, x):
        h = self.start(F.one_hot(x, 4).to(self.front.weight.dtype).permute(0, 2, 1))
        for conv, mix in zip(self.dilated, self.mix, strict=True):
            h = h + self.mixed(mix, self.gate(self.causal(conv, h)))
        return self.end(self.logits(F.relu(h)))

    def start(self, x):
        return self.front(F.pad(x, (2, -1)))

    def causal(self, conv, x):
        return conv(F.pad(x, ((conv.kernel_size[0] - 1) * conv.dilation[0], 0)))

    def gate(self, z):
        a, b = z.chunk(2, dim=1)
        return torch.tanh(a) * torch.sigmoid(b)

    def mixed(self, mix, z):
        return mix(z)

    def end(self, y):
        return y


def with_part(name, part):
    """A subclass of Net with one part replaced; its instances."""
    return type("Net", (Net,), {name: part})()


def says(words, module, of=GRAPH, names=NAMES, **options):
    """The check fails with these words; returns all of them."""
    with pytest.raises(ContractError) as caught:
        check_module(module, of, names, **options)
    assert words in str(caught.value), str(caught.value)
    return str(caught.value)


# what is right


def test_a_module_that_is_right_and_is_left_alone():
    module = Net()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    report = check_module(module, GRAPH, NAMES)
    assert [line.law for line in report.lines] == ["again", "output", "gradients", "causality", "reach", "batch"]
    assert report.lines[0].figure == "output (B, Q, T)"
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in module.named_parameters())
    check_module(module, GRAPH, NAMES, dtype="float32")
    params = {name: np.ones(shape) for name, shape in GRAPH._analyse().parameters.items()}
    check_module(module, GRAPH, NAMES, params=params)


@pytest.mark.parametrize(
    ("axes", "end"),
    [
        ("(B, T, Q)", lambda self, y: y.permute(0, 2, 1)),
        ("(T, B, Q)", lambda self, y: y.permute(2, 0, 1)),
    ],
)
def test_outputs_in_another_order_are_found(axes, end):
    assert check_module(with_part("end", end), GRAPH, NAMES).lines[0].figure == f"output {axes}"


def test_a_single_channel_may_have_no_axis():
    g = Builder()
    one = g.build(g.conv1d(g.input(channels=2), 1, kernel=3, name="conv"))

    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(2, 1, 3)

        def forward(self, x):
            return self.conv(F.pad(x, (2, 0)))[:, 0]

    assert check_module(Squeezed(), one).lines[0].figure == "output (B, T)"


def test_inputs_as_the_module_wants_them():
    class Plain(Net):
        def forward(self, signal):
            h = self.front(F.pad(signal, (2, -1)))
            for conv, mix in zip(self.dilated, self.mix, strict=True):
                h = h + mix(self.gate(self.causal(conv, h)))
            return self.logits(F.relu(h))

    check_module(Plain(), GRAPH, NAMES, inputs=lambda x: F.one_hot(x, 4).double().permute(0, 2, 1))


def test_conditions_and_their_gradients():
    g = Builder()
    c, s = g.condition("speaker", channels=3), g.condition("pitch", channels=2, local=True)
    h = g.conv1d(g.input(channels=2), 5, kernel=2, strict=True, name="front")
    z = g.add(h, g.conv1d(c, 5, bias=False, name="speaker_to"), g.conv1d(s, 5, bias=False, name="pitch_to"))
    both = g.build(g.conv1d(g.tanh(z), 3, name="out"))

    class Conditioned(nn.Module):
        def __init__(self):
            super().__init__()
            self.front, self.out = nn.Conv1d(2, 5, 2), nn.Conv1d(5, 3, 1)
            self.speaker_to, self.pitch_to = nn.Linear(3, 5, bias=False), nn.Conv1d(2, 5, 1, bias=False)

        def forward(self, x, c, s):
            h = self.front(F.pad(x, (2, -1))) + self.speaker_to(c)[:, :, None] + self.pitch_to(s)
            return self.out(torch.tanh(h))

    check_module(Conditioned(), both)

    class Detached(Conditioned):
        def forward(self, x, c, s):
            return super().forward(x, c, s.detach())

    says("gradient of 'pitch' at", Detached(), both, None)
    says("no gradient arrives: the parameter is detached", Detached(), both, None)


def test_parameters_that_are_shared():
    class Tied(Net):
        def __init__(self):
            super().__init__()
            self.mix[1] = self.mix[0]

    names = {**NAMES, "block1.out": "mix.0"}
    check_module(Tied(), GRAPH, names)
    check_module(Tied(), GRAPH, NAMES)


@pytest.mark.parametrize("padding", ["input", "valid"])
def test_other_paddings(padding):
    class Valid(Net):
        def start(self, x):
            zeros = torch.zeros(*x.shape[:2], 12 if padding == "input" else 1, dtype=x.dtype)
            return self.front(torch.cat([zeros, x], dim=2))[:, :, :-1]

        def causal(self, conv, x):
            return conv(x)

        def forward(self, x):
            h = self.start(F.one_hot(x, 4).to(self.front.weight.dtype).permute(0, 2, 1))
            for conv, mix in zip(self.dilated, self.mix, strict=True):
                z = mix(self.gate(conv(h)))
                h = h[:, :, -z.shape[2] :] + z
            y = self.logits(F.relu(h))
            return y[:, :, 1:] if padding == "valid" else y

    if padding == "input":
        check_module(Valid(), graph("input"), NAMES)
    says("likely cause: zeros in front of", Net(), graph("input"))


class MaskedConv2d(nn.Conv2d):
    def __init__(self, kind, inputs, outputs, size, colours=1, **options):
        super().__init__(inputs, outputs, size, padding=size // 2, **options)
        mask = torch.ones_like(self.weight)
        mask[:, :, size // 2 + 1 :] = 0
        mask[:, :, size // 2, size // 2 + 1 :] = 0
        i, o = torch.arange(inputs) % colours, torch.arange(outputs)[:, None] % colours
        mask[:, :, size // 2, size // 2] = (i < o if kind == "A" else i <= o).float()
        self.register_buffer("mask", mask)

    def forward(self, x):
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class PixelCNN(nn.Module):
    def __init__(self, colours=1, layer=MaskedConv2d):
        super().__init__()
        self.first = layer("A", colours, 6, 5, colours)
        self.second = layer("B", 6, 6, 3, colours)
        self.logits = layer("B", 6, 4 * colours, 1, colours)

    def forward(self, x):
        return self.logits(F.relu(self.second(F.relu(self.first(x.double())))))


def pixel_graph(colours=1):
    g = Builder()
    h = g.standardize(g.image(classes=4, channels=colours), 0.0, 1.0)
    h = g.relu(g.conv2d(h, 6, kernel=(5, 5), mask="A", colours=colours, name="first"))
    h = g.relu(g.conv2d(h, 6, kernel=(3, 3), mask="B", colours=colours, name="second"))
    return g.build(g.conv2d(h, 4 * colours, mask="B", colours=colours, name="logits"), ops.Categorical())


@pytest.mark.parametrize("colours", [1, 3])
def test_images(colours):
    assert check_module(PixelCNN(colours), pixel_graph(colours)).lines[0].figure == "output (B, Q, H, W)"


@pytest.mark.parametrize(
    ("axes", "order"),
    [
        ("(B, K, C, H, W)", lambda y: y.unflatten(1, (4, 3))),
        ("(B, C, K, H, W)", lambda y: y.unflatten(1, (4, 3)).transpose(1, 2)),
        ("(B, C, H, W, K)", lambda y: y.unflatten(1, (4, 3)).permute(0, 2, 3, 4, 1)),
        ("(B, H, W, C, K)", lambda y: y.unflatten(1, (4, 3)).permute(0, 3, 4, 2, 1)),
        ("(B, H, W, K, C)", lambda y: y.unflatten(1, (4, 3)).permute(0, 3, 4, 1, 2)),
        ("(B, C·K, H, W)", lambda y: y.unflatten(1, (4, 3)).transpose(1, 2).flatten(1, 2)),
        ("(B, H, W, Q)", lambda y: y.permute(0, 2, 3, 1)),
    ],
)
def test_images_with_colours_in_another_order(axes, order):
    class Ordered(PixelCNN):
        def forward(self, x):
            return order(super().forward(x))

    assert check_module(Ordered(3), pixel_graph(3)).lines[0].figure == f"output {axes}"


def test_refars_own_module_passes():
    from refar.torch import Module

    for own in (GRAPH, pixel_graph(3), models.pixelcnn(3, kernel=3), models.tcn(5, [4, 6], kernel=2)):
        check_module(Module(own), own)


# names


def test_names_that_do_not_match_are_listed_with_shapes():
    names = {**NAMES, "block1.out": "mix.2"}
    with refuses(
        ParameterError,
        "parameters do not match; give names={graph's name: module's name}",
        "only in the graph: 'block1.out.weight' (6, 6, 1) (looked for 'mix.2.weight'); of this shape: 'mix.1.weight'",
        "only in the graph: 'block1.out.bias' (6,)",
        "only in the module: 'mix.1.weight' (6, 6, 1)",
    ):
        check_module(Net(), GRAPH, names)
    with refuses(ParameterError, "names: 'block2.conv' is no parameter or node of the graph, did you mean 'block1.conv'?"):
        check_module(Net(), GRAPH, {**NAMES, "block2.conv": "dilated.2"})
    with refuses(ParameterError, "'front.weight': expected shape (6, 4, 2), got (6, 6, 1) for 'mix.0.weight'"):
        check_module(Net(), GRAPH, {**NAMES, "front.weight": "mix.0.weight"}, ignore=["front"])


def test_axes_in_another_order_are_named():
    class Turned(Net):
        def __init__(self):
            super().__init__()
            self.front = nn.ConvTranspose1d(6, 4, 2)
            self.front.bias = nn.Parameter(torch.zeros(6))
            self.front.weight = nn.Parameter(torch.zeros(4, 6, 2))

    with refuses(ParameterError, "expected shape (6, 4, 2), got (4, 6, 2) for 'front.weight': it has the axes in another order"):
        check_module(Turned(), GRAPH, NAMES)

    class Renamed(Turned):
        def __init__(self):
            super().__init__()
            self.begin = self.front
            del self.front

    with refuses(ParameterError, "'front.weight' (6, 4, 2); of this shape with its axes in another order: 'begin.weight'"):
        check_module(Renamed(), GRAPH, NAMES)


def test_what_the_module_never_uses_can_be_named():
    class Surplus(Net):
        def __init__(self):
            super().__init__()
            self.last = nn.Conv1d(6, 6, 1)

    with refuses(ParameterError, "only in the module: 'last.weight' (6, 6, 1)"):
        check_module(Surplus(), GRAPH, NAMES)
    check_module(Surplus(), GRAPH, NAMES, ignore=["last"])


# outputs that are wrong


def test_the_message_names_position_both_values_tolerance_and_cause():
    message = says(
        "law 'output': Net: output, [b, c, t] at [0, ", with_part("start", lambda self, x: self.front(F.pad(x, (1, 0))))
    )
    for part in (": expected ", ", got ", " differ); tolerance ", "; likely cause: the present not hidden (strict ignored)"):
        assert part in message


@pytest.mark.parametrize(
    ("words", "name", "part"),
    [
        ("the present not hidden (strict ignored) in 'front'", "start", lambda self, x: self.front(F.pad(x, (1, 0)))),
        ("dilation ignored everywhere", "causal", lambda self, conv, x: F.conv1d(F.pad(x, (2, 0)), conv.weight, conv.bias)),
        (
            "the kernel reversed in 'block0.conv', 'block1.conv'",
            "causal",
            lambda self, conv, x: F.conv1d(
                F.pad(x, (2 * conv.dilation[0], 0)), conv.weight.flip(2), conv.bias, dilation=conv.dilation
            ),
        ),
        (
            "no bias in 'block0.conv', 'block1.conv'",
            "causal",
            lambda self, conv, x: F.conv1d(F.pad(x, (2 * conv.dilation[0], 0)), conv.weight, dilation=conv.dilation),
        ),
        ("a transposed weight", "mixed", lambda self, mix, z: F.conv1d(z, mix.weight.transpose(0, 1), mix.bias)),
        ("the halves of the gate swapped", "gate", lambda self, z: torch.sigmoid(z[:, :6]) * torch.tanh(z[:, 6:])),
        ("a softmax at the end", "end", lambda self, y: y.softmax(1)),
        ("a log-softmax at the end", "end", lambda self, y: y.log_softmax(1)),
        ("the same outputs one position late", "end", lambda self, y: F.pad(y, (1, -1))),
        ("the same outputs one position early", "end", lambda self, y: F.pad(y, (-1, 1))),
    ],
)
def test_the_likely_cause_of_a_wrong_output(words, name, part):
    assert "likely cause" in says(words, with_part(name, part))


def test_one_layer_alone():
    def causal(self, conv, x):
        dilation = conv.dilation[0] if conv is self.dilated[0] else 1
        return F.conv1d(F.pad(x, (2 * dilation, 0)), conv.weight, conv.bias, dilation=dilation)

    says("likely cause: dilation ignored in 'block1.conv'", with_part("causal", causal))


def test_the_first_node_that_differs():
    def causal(self, conv, x):
        return super(type(self), self).causal(conv, x if conv is self.dilated[0] else 1.1 * x)

    words = "the first node that differs is 'block1.conv' (submodule 'dilated.1'), up to 'block0.out' they agree"
    says(words, with_part("causal", causal))
    says("agree up to 'logits'; what the module does with their outputs differs", with_part("end", lambda self, y: 2 * y))


def test_training_mode():
    class Dropped(Net):
        def gate(self, z):
            return F.dropout(super().gate(z), 0.5, self.training)

    says("it is in training mode, call .eval() first", Dropped())
    check_module(Dropped().eval(), GRAPH, NAMES)

    class Scaled(Net):
        def gate(self, z):
            return super().gate(z) * (2 if self.training else 1)

    says("likely cause: training mode, it agrees in eval mode", Scaled())

    class Random(Net):
        def end(self, y):
            return y + torch.rand(1, dtype=y.dtype)

    says("does it draw random numbers?", Random().eval())


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ("mask B for A in 'first'", lambda kind, *rest: MaskedConv2d("B", *rest)),
        ("the mask not applied everywhere", lambda kind, i, o, size, colours: nn.Conv2d(i, o, size, padding=size // 2)),
    ],
)
def test_masks(words, mistake):
    says(words, PixelCNN(layer=mistake), pixel_graph(), None)


def test_an_image_the_wrong_way_round():
    class Turned(PixelCNN):
        def forward(self, x):
            return super().forward(x.transpose(2, 3)).transpose(2, 3)

    says("law 'output'", Turned(), pixel_graph(), None)

    class Reversed(MaskedConv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight.flip(2, 3) * self.mask, self.bias)

    says("likely cause: the kernel reversed everywhere", PixelCNN(layer=Reversed), pixel_graph(), None)


def test_lengths_that_fail():
    class One(Net):
        def end(self, y):
            return y.squeeze()[:, :, :] if y.shape[2] > 1 else torch.stack([y] * 2).view(y.shape)

    says("Net on 1: RuntimeError instead of a value", type("Net", (One,), {})())
    says("returned the wrong shape: expected (3, 4, ", with_part("end", lambda self, y: y[:, :, 1:]))
    says("expected a tensor, got tuple", with_part("end", lambda self, y: (y, y)))
    says("returned NaN for finite input", with_part("end", lambda self, y: y * torch.nan))


# gradients that are wrong


class Ones(torch.autograd.Function):
    """A convolution whose backward takes the upstream gradient for ones."""

    @staticmethod
    def forward(context, x, weight, bias):
        context.save_for_backward(x, weight)
        return F.conv1d(x, weight, bias)

    @staticmethod
    def backward(context, dy):
        x, weight = context.saved_tensors
        ones = torch.ones_like(dy)
        dx = torch.nn.grad.conv1d_input(x.shape, weight, dy)
        return dx, torch.nn.grad.conv1d_weight(x, weight.shape, ones), dy.sum((0, 2))


class Undilated(torch.autograd.Function):
    """A dilated convolution whose backward forgets the dilation in the gradient of the weight."""

    @staticmethod
    def forward(context, x, weight, bias, dilation):
        context.save_for_backward(x, weight)
        context.dilation = dilation
        return F.conv1d(x, weight, bias, dilation=dilation)

    @staticmethod
    def backward(context, dy):
        x, weight = context.saved_tensors
        dx = torch.nn.grad.conv1d_input(x.shape, weight, dy, dilation=context.dilation)
        cut = x[:, :, (weight.shape[2] - 1) * (context.dilation - 1) :]
        return dx, torch.nn.grad.conv1d_weight(cut, weight.shape, dy), dy.sum((0, 2)), None


@pytest.mark.parametrize(
    ("words", "name", "part"),
    [
        ("no gradient arrives: the parameter is detached", "mixed", lambda self, mix, z: F.conv1d(z, mix.weight.data, mix.bias)),
        ("it is 0.5 times what it has to be", "mixed", lambda self, mix, z: F.conv1d(z, halved(mix.weight), mix.bias)),
        ("the upstream gradient is taken for ones", "end", lambda self, y: Ones.apply(*self.last(y))),
        (
            "dilation ignored in 'block0.conv', in the gradient",
            "causal",
            lambda self, conv, x: Undilated.apply(F.pad(x, (2 * conv.dilation[0], 0)), conv.weight, conv.bias, conv.dilation[0]),
        ),
    ],
)
def test_the_likely_cause_of_a_wrong_gradient(words, name, part):
    module = with_part(name, part)
    if name == "end":
        module = WithOnes()
    assert "law 'gradients': " in says(words, module)


def halved(weight):
    return weight / 2 + weight.detach() / 2


class WithOnes(Net):
    def forward(self, x):
        h = self.start(F.one_hot(x, 4).to(self.front.weight.dtype).permute(0, 2, 1))
        for conv, mix in zip(self.dilated, self.mix, strict=True):
            h = h + mix(self.gate(self.causal(conv, h)))
        return Ones.apply(F.relu(h), self.logits.weight, self.logits.bias)


def test_gradients_name_the_parameter_on_both_sides():
    message = says(
        "gradient of 'mix.0.weight' (block0.out.weight) at [0, 0, 0]",
        with_part("mixed", lambda self, mix, z: F.conv1d(z, mix.weight.data, mix.bias)),
    )
    assert "expected " in message
    frozen = Net()
    frozen.front.weight.requires_grad_(False)
    says("'front.weight' has no gradient: its requires_grad is False", frozen)
    with torch.no_grad():
        plain = with_part("end", lambda self, y: y.detach())
    says("no gradient arrives", plain)


def test_masked_weights_that_receive_gradient():
    class InPlace(MaskedConv2d):
        def forward(self, x):
            self.weight.data *= self.mask
            return self._conv_forward(x, self.weight, self.bias)

    says("masked weights receive gradient", PixelCNN(layer=InPlace), pixel_graph(), None)


# dependence


def test_rows_and_offsets():
    class Mixed(Net):
        def end(self, y):
            return y + 1e-14 * y.mean(0)

    says("law 'batch': ", Mixed())

    class Peeks(Net):
        def end(self, y):
            return y + 1e-14 * F.pad(y, (-1, 1))

    says("law 'causality': ", Peeks())

    class Further(Net):
        def end(self, y):
            return y + 1e-14 * F.pad(y, (3, 0))[:, :, : y.shape[2]]

    says("law 'reach': ", Further())


def test_what_a_caller_may_not_ask():
    with refuses(InputError, "module: expected an nn.Module, got function"):
        check_module(lambda x: x, GRAPH)
    with refuses(InputError, "dtype: expected 'float64' or 'float32', got 'float16'"):
        check_module(Net(), GRAPH, NAMES, dtype="float16")
    stuck = Net()
    stuck.kept = torch.ones(1, requires_grad=True) * 2
    with refuses(InputError, "module: expected one that copy.deepcopy can copy"):
        check_module(stuck, GRAPH, NAMES)
