"""`check_module` on modules whose outputs are right and whose gradients are not."""

import pytest
import torch
from by_hand import GRAPH, NAMES, MaskedConv2d, Net, PixelCNN, pixel_graph, with_part
from torch import nn
from torch.nn import functional as F

from refar import Builder
from refar.testing import ContractError, check_module


def says(words, module, of=GRAPH, names=NAMES, **options):
    """The check fails with these words; returns all of them."""
    with pytest.raises(ContractError) as caught:
        check_module(module, of, names, **options)
    assert words in str(caught.value), str(caught.value)
    return str(caught.value)


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


class Turned(torch.autograd.Function):
    """A convolution whose gradient of the weight is turned by what `turn` does."""

    @staticmethod
    def forward(context, x, weight, bias, turn):
        context.save_for_backward(x, weight)
        context.turn = turn
        return F.conv1d(x, weight, bias)

    @staticmethod
    def backward(context, dy):
        x, weight = context.saved_tensors
        dweight = torch.nn.grad.conv1d_weight(x, weight.shape, dy)
        return torch.nn.grad.conv1d_input(x.shape, weight, dy), context.turn(dweight), dy.sum((0, 2)), None


@pytest.mark.parametrize(
    ("words", "turn"),
    [
        ("it is transposed", lambda d: d.transpose(0, 1).contiguous()),
        ("it is reversed along the kernel", lambda d: d.flip(2)),
        ("only the backward pass is wrong", lambda d: d * torch.linspace(1, 2, 3, dtype=d.dtype)),
    ],
)
def test_a_gradient_that_is_turned(words, turn):
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=4), 4, kernel=3, name="conv"))

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(4, 4, 3)

        def forward(self, x):
            return Turned.apply(F.pad(x, (2, 0)), self.conv.weight, self.conv.bias, turn)

    says(words, Alone(), graph, None)


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
