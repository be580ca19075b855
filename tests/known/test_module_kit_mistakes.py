"""`check_module` on modules with a mistake: each is called by its name."""

import pytest
import torch
from by_hand import GRAPH, NAMES, MaskedConv2d, Net, PixelCNN, pixel_graph, with_part
from helpers import refuses
from torch import nn
from torch.nn import functional as F

from refar import Builder
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
    for part in (": expected ", ", got ", " differ); tolerance ", "; likely cause: strict ignored: sees the present in 'front'"):
        assert part in message


@pytest.mark.parametrize(
    ("words", "name", "part"),
    [
        ("strict ignored: sees the present in 'front'", "start", lambda self, x: self.front(F.pad(x, (1, 0)))),
        ("dilation ignored everywhere", "causal", lambda self, conv, x: F.conv1d(F.pad(x, (2, 0)), conv.weight, conv.bias)),
        (
            "kernel flipped in 'block0.conv', 'block1.conv'",
            "causal",
            lambda self, conv, x: F.conv1d(
                F.pad(x, (2 * conv.dilation[0], 0)), conv.weight.flip(2), conv.bias, dilation=conv.dilation
            ),
        ),
        (
            "bias dropped in 'block0.conv', 'block1.conv'",
            "causal",
            lambda self, conv, x: F.conv1d(F.pad(x, (2 * conv.dilation[0], 0)), conv.weight, dilation=conv.dilation),
        ),
        ("weight transposed", "mixed", lambda self, mix, z: F.conv1d(z, mix.weight.transpose(0, 1), mix.bias)),
        ("halves of the gate swapped", "gate", lambda self, z: torch.sigmoid(z[:, :6]) * torch.tanh(z[:, 6:])),
        ("a softmax at the end", "end", lambda self, y: y.softmax(1)),
        ("a log-softmax at the end", "end", lambda self, y: y.log_softmax(1)),
        ("the same outputs one position late", "end", lambda self, y: F.pad(y, (1, -1))),
        ("the same outputs one position early", "end", lambda self, y: F.pad(y, (-1, 1))),
    ],
)
def test_the_likely_cause_of_a_wrong_output(words, name, part):
    assert "likely cause" in says(words, with_part(name, part))


def alone(op):
    """One operator behind a convolution of two channels, which is called conv."""
    g = Builder()
    h = g.conv1d(g.input(channels=2), 3, name="conv")
    return g.build(op(g, h))


@pytest.mark.parametrize(
    ("words", "op", "wrong"),
    [
        ("not shifted", lambda g, h: g.add(h, g.delay(h, 1)), lambda h: h + h),
        ("shifted to the wrong side", lambda g, h: g.add(h, h, g.delay(h, 1)), lambda h: 2 * h + F.pad(h, (-1, 1))),
        ("shifted one step too far", lambda g, h: g.add(h, g.delay(h, 1)), lambda h: h + F.pad(h, (2, 0))[:, :, : h.shape[2]]),
        ("tanh for another activation", lambda g, h: g.relu(h), lambda h: torch.tanh(h)),
        ("activation left out", lambda g, h: g.relu(h), lambda h: h),
        (
            "maximum for average",
            lambda g, h: g.pool1d(h, "avg", 2, pad="zero"),
            lambda h: torch.maximum(h, F.pad(h, (1, 0))[:, :, :-1]),
        ),
        (
            "dilation ignored",
            lambda g, h: g.pool1d(h, "max", 2, dilation=3, pad="zero"),
            lambda h: torch.maximum(h, F.pad(h, (1, 0))[:, :, :-1]),
        ),
    ],
)
def test_other_operators(words, op, wrong):
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(2, 3, 1)

        def forward(self, x):
            return wrong(self.conv(x))

    says(f"likely cause: {words}", Alone(), alone(op), None)


def test_values_that_are_not_standardised():
    g = Builder()
    graph = g.build(g.conv1d(g.standardize(g.input(classes=5), 2.0, 1.5), 3, kernel=2, name="conv"))

    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 3, 2)

        def forward(self, x):
            return self.conv(F.pad(x[:, None].to(self.conv.weight.dtype), (1, 0)))

    says("likely cause: not standardised", Raw(), graph, None)


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

    for random in (Random(), Random().eval()):  # without dropout the mode is not the cause
        said = says("; in eval mode too" if random.training else ", then ", random)
        assert "Random gives different outputs for the same input, at [0, 0, 0] first " in said


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ("mask A shows the centre in 'first'", lambda kind, *rest: MaskedConv2d("B", *rest)),
        ("mask ignored everywhere", lambda kind, i, o, size, colours: nn.Conv2d(i, o, size, padding=size // 2)),
    ],
)
def test_masks(words, mistake):
    says(words, PixelCNN(layer=mistake), pixel_graph(), None)


def planes(**options):
    g = Builder()
    h = g.shift2d(g.image(channels=2), down=2, right=1)
    return g.build(g.conv2d(h, 3, kernel=(3, 3), name="conv", **options))


@pytest.mark.parametrize(
    ("words", "shift", "dilation", "turn"),
    [
        ("not shifted", (0, 0, 0, 0), 2, lambda w: w),
        ("shifted to the wrong side", (-1, 1, -2, 2), 2, lambda w: w),
        ("down and right swapped", (2, -2, 1, -1), 2, lambda w: w),
        ("dilation ignored", (1, -1, 2, -2), 1, lambda w: w),
        ("kernel transposed", (1, -1, 2, -2), 2, lambda w: w.transpose(2, 3)),
    ],
)
def test_operators_over_images(words, shift, dilation, turn):
    class Plane(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)

        def forward(self, x):
            zeros = F.pad(x, (3, 3, 3, 3))
            left, _, up, _ = shift
            moved = zeros[:, :, 3 - up :, 3 - left :][:, :, : x.shape[2], : x.shape[3]]
            return F.conv2d(moved, turn(self.conv.weight), self.conv.bias, padding=dilation, dilation=dilation)

    says(f"likely cause: {words}", Plane(), planes(dilation=(2, 2)), None)


def test_colours_that_the_mask_ignores():
    class Grey(MaskedConv2d):
        def __init__(self, kind, inputs, outputs, size, colours):
            super().__init__(kind, inputs, outputs, size, 1)

    says("likely cause: colours ignored everywhere", PixelCNN(3, Grey), pixel_graph(3), None)


def test_an_image_the_wrong_way_round():
    class Turned(PixelCNN):
        def forward(self, x):
            return super().forward(x.transpose(2, 3)).transpose(2, 3)

    says("law 'output'", Turned(), pixel_graph(), None)

    class Reversed(MaskedConv2d):
        def forward(self, x):
            return self._conv_forward(x, self.weight.flip(2, 3) * self.mask, self.bias)

    says("likely cause: kernel flipped everywhere", PixelCNN(layer=Reversed), pixel_graph(), None)


def test_what_a_module_changes():
    class Drifts(Net):
        def end(self, y):
            self.front.bias.data[0] = 3.0
            return y

    says("Drifts changes its parameter 'front.bias' when it is called", Drifts())

    class Doubles(Net):
        def end(self, y):
            self.logits.bias.data *= 2
            return y

    for doubles in (Doubles(), Doubles().eval()):
        assert "training mode" not in says("Doubles changes its parameter 'logits.bias' when it is called", doubles)

    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(2, 3, 1)

        def forward(self, x):
            y = self.conv(x)
            x.data *= 2
            return y

    says("InPlace changed its input 'x'", InPlace(), alone(lambda g, h: g.affine(h, 1.0, 0.0)), None)


def test_lengths_that_fail():
    class One(Net):
        def end(self, y):
            return y.squeeze()[:, :, :] if y.shape[2] > 1 else torch.stack([y] * 2).view(y.shape)

    says("Net on 1: RuntimeError instead of a value", type("Net", (One,), {})())
    says("returned the wrong shape: expected (3, 4, ", with_part("end", lambda self, y: y[:, :, 1:]))
    says("expected a tensor, got tuple", with_part("end", lambda self, y: (y, y)))
    says("returned NaN for finite input", with_part("end", lambda self, y: y * torch.nan))


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
