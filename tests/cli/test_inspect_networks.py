"""refar inspect on conceptual networks: the strides, the practical graph, the two side by side."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from refar import conceptual_json, plots
from refar.conceptual.strided import Conv, Dense, Flatten, Network, Pool


@pytest.fixture
def net() -> Network:
    last = (Conv(4, 2, stride=2, dilation=3, skip="project"), Flatten(2), Dense(3, "softmax"))
    return Network(1, (Conv(3, 2, stride=2, activation="relu", skip="concat"), Pool("max", 2, stride=2), *last))


def test_strides_and_dilations(refar, tmp_path, net):
    conceptual_json.save(net, tmp_path / "net.json")
    said = refar("inspect", tmp_path / "net.json", "--plot", tmp_path / "net.png")
    assert said.code == 0
    text = re.sub(r"\s+", " ", said.out)
    assert "layer operator stride practical D in a window channels parameters input" in text
    # R = 1 + 1·1 + 1·2 + 1·3·4 + 1·8; the window has 24 inputs, 12, 6 and 2 positions above, and one.
    rows = [
        "input 24 1 ",
        "conv0 conv K=2 relu skip concat 2 1 12 4 6 + 3 ",
        "pool1 max pool K=2 zero 2 2 6 4 ",
        "conv2 conv K=2 D=3 skip project 2 12 2 4 32 + 4 + 16 ",
        "flatten3 flatten 2 1 8 1 8 ",
        "dense4 dense softmax 1 8 1 3 24 + 3 ",
    ]
    assert "".join(rows) in text
    assert "88 parameters: 78 weights, 10 biases receptive field R = 24: one window gives one value" in text
    assert f"{6 * 12 + 48 * 2 + 24} for one window; in practice 78 per position" in text
    assert "the same parameters and values, from t = 23 on" in text
    assert text.index("in practice, at every position") < text.index("conv2 conv1d K=2 D=12 pool1 4 32 + 4")
    assert "conv0.concat past.float32x4[0:2] (B, 4, 2) 32" in text
    assert said.out.endswith("net.png\n")
    with Image.open(tmp_path / "net.png") as picture:
        assert picture.width > 1000


def test_a_window_too_long_to_stand_beside(refar, tmp_path):
    long = Network(1, (Conv(1, 2, stride=2),) * 8)
    assert not plots.fits(long)
    conceptual_json.save(long, tmp_path / "net.json")
    said = refar("inspect", tmp_path / "net.json", "--plot", tmp_path / "net.svg")
    assert said.code == 0
    assert said.out.endswith("net.svg, the practical graph alone, since one window is too long to stand beside it\n")
    assert (tmp_path / "net.svg").is_file()


def test_other_commands_take_the_practical_graph(refar, tmp_path):
    conceptual_json.save(Network(1, (Conv(1, 2, stride=2), Conv(1, 2))), tmp_path / "net.json")
    said = refar("check", tmp_path / "net.json", "--backends", "torch")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"conceptual network {tmp_path / 'net.json'}\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"layers": []}', "conceptual network: Object missing required field `format`"),
        ('{"format": "refar-conceptual", "version": 1, "channels": 1, "layers": [{"type": "dense"}]}', "field `units` - at"),
        ("{", "graph JSON: not JSON"),
    ],
)
def test_bad_files(refar, tmp_path, text, says):
    (tmp_path / "net.json").write_text(text)
    sentence = refar("inspect", tmp_path / "net.json").sentence
    assert says.partition(" - at")[0] in sentence
    assert "net.json" in sentence
