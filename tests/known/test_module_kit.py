"""`check_module` on modules written by hand: right ones pass, whatever their names and axes; names that fail are listed."""

import numpy as np
import pytest
import torch
from by_hand import GRAPH, NAMES, Net, PixelCNN, graph, pixel_graph, with_part
from helpers import refuses
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations

from refar import Builder, models
from refar.analysis.facts import facts
from refar.errors import ParameterError
from refar.testing import ContractError, check_module


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
    params = {name: np.ones(shape) for name, shape in facts(GRAPH).parameters.items()}
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


def test_a_layer_by_itself():
    g = Builder()
    one = g.build(g.conv1d(g.input(channels=2), 3, kernel=1, name="conv"))
    check_module(nn.Conv1d(2, 3, 1), one, {"conv": ""})


def test_a_dtype_that_is_fixed():
    class Single(Net):
        def start(self, x):
            return super().start(x.float())

    says("fixes a dtype somewhere, as .float() does", Single())
    check_module(Single(), GRAPH, NAMES, dtype="float32")


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


class Unpadded(Net):
    """As many positions fewer as the layers have zeros in front of them: with `zeros` there, none."""

    zeros = 0

    def forward(self, x):
        x = F.one_hot(x, 4).to(self.front.weight.dtype).permute(0, 2, 1)
        h = self.front(F.pad(x, (self.zeros, -1)))
        for conv, mix in zip(self.dilated, self.mix, strict=True):
            z = mix(self.gate(conv(h)))
            h = h[:, :, -z.shape[2] :] + z
        return self.end(self.logits(F.relu(h)))


def test_other_paddings():
    class Once(Unpadded):
        zeros = 12

    check_module(Once(), graph("input"), NAMES)
    says("likely cause: zeros in front of every layer", Net(), graph("input"))
    says("likely cause: zeros in front of the input alone", Once())

    class Zeros(Unpadded):
        def end(self, y):
            return F.pad(y, (12, 0), value=7.0)

    for module in (Unpadded(), Zeros()):  # what stands before the first output does not matter
        assert check_module(module, graph("valid"), NAMES).lines[0].figure == "output (B, Q, T)"


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


def test_names_the_other_way_round_are_told_so():
    for names in ({"mix.0": "block0.out"}, {"mix.0.bias": "block0.out.bias"}):
        told = f"names: {min(names)!r} is no parameter or node of the graph, but the module's: names maps the other way"
        with refuses(ParameterError, told, "{graph's name: module's name}"):
            check_module(Net(), GRAPH, names)
    with refuses(ParameterError, "names: 'mix.0' is no parameter or node of the graph"):
        check_module(Net(), GRAPH, {"mix.0": "mix.0"})


def test_weights_that_are_made_of_others():
    module = Net()
    weight_norm(module.mix[0])
    leaves = (
        "; 'weight' is made of it: torch.nn.utils.parametrize.remove_parametrizations(module.get_submodule('mix.0'), 'weight')"
    )
    with refuses(ParameterError, f"'mix.0.parametrizations.weight.original1' (6, 6, 1){leaves} leaves the weight"):
        check_module(module, GRAPH, NAMES)
    remove_parametrizations(module.get_submodule("mix.0"), "weight")
    check_module(module, GRAPH, NAMES)

    alone, older = weight_norm(nn.Conv1d(2, 3, 1)), nn.Module()
    for name, shape in {"weight_g": (3, 1, 1), "weight_v": (3, 2, 1), "bias": (3,)}.items():  # as before parametrizations
        older.register_parameter(name, nn.Parameter(torch.ones(shape)))
    g = Builder()
    single = g.build(g.conv1d(g.input(channels=2), 3, name="conv"))
    with refuses(ParameterError, "'parametrizations.weight.original0' (3, 1, 1)", "remove_parametrizations(module, 'weight')"):
        check_module(alone, single, {"conv": ""})
    with refuses(ParameterError, "'weight_g' (3, 1, 1); if weight_norm made it: torch.nn.utils.remove_weight_norm leaves"):
        check_module(older, single, {"conv": ""})


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
