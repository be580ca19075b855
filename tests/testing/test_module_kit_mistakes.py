"""`check_module` on modules with a mistake: each is called by its name."""

import pytest
import torch
from by_hand import GRAPH, NAMES, MaskedConv2d, Net, PixelCNN, pixel_graph, with_part
from helpers import refuses
from torch import nn
from torch.nn import functional as F

from refar.errors import InputError
from refar.testing import ContractError, check_module


def says(words, module, of=GRAPH, names=NAMES, **options):
    """The check fails with these words; returns all of them."""
    with pytest.raises(ContractError) as caught:
        check_module(module, of, names, **options)
    assert words in str(caught.value), str(caught.value)
    return str(caught.value)


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
