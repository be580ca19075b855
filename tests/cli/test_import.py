"""refar import: what is written and said, and one sentence for everything that cannot be imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from refar import runtime

NETS = """
import torch
from torch import nn
from torch.nn import functional as F

class Causal(nn.Conv1d):
    def forward(self, x):
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))

class TCN(nn.Module):
    def __init__(self, hidden=4):
        super().__init__()
        torch.manual_seed(0)
        layers = [Causal(1, hidden, 3), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.1), nn.Conv1d(hidden, 1, 1)]
        self.net = nn.Sequential(*layers)

    def forward(self, x):
        return self.net(x)

class Spoken(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.speaker = nn.Embedding(16, 8), nn.Embedding(4, 8)
        self.conv, self.out = nn.Conv1d(8, 16, 2), nn.Linear(8, 16)

    def forward(self, x, speaker):
        h = self.embed(x).transpose(1, 2) + self.speaker(speaker).unsqueeze(-1)
        a, b = self.conv(F.pad(h, (1, 0))).chunk(2, dim=1)
        return self.out((torch.tanh(a) * torch.sigmoid(b)).transpose(1, 2))

class Deep(TCN):
    def forward(self, x):
        return self.net(torch.relu(self.net(x)))

def wider(): return TCN(6)
def symmetric(): return nn.Conv1d(1, 2, 3, padding=1)
def broken(): return nn.Conv1d(1, 2)
def needs(hidden): return TCN(hidden)
number = 3
made = TCN().eval()

class Pixels(nn.Conv2d):
    def __init__(self, center=0, logits=3):
        super().__init__(1, logits, 3, padding=1)
        mask = torch.ones(3, 3)
        mask[1, 1 + center:], mask[2] = 0, 0
        self.register_buffer("mask", mask)

    def forward(self, x):
        return self._conv_forward(x.float(), self.weight * self.mask, self.bias)

class Classifier(TCN):
    def forward(self, x):
        return self.net(x)[:, :, -1]

def seeing(): return Pixels(center=1)
"""
TCN = ("--example", "x=2x1x40")
SPOKEN = ("--example", "x=2x30,speaker=2", "--classes", "x=16,speaker=4")


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A working folder with modules of the user's own, under a name that no test had before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"nets_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(NETS)
    return name


def module(nets: str, name: str) -> Any:
    return getattr(__import__(nets), name)().eval()


def test_a_module_becomes_a_bundle_that_computes_the_same(refar, nets):
    said = refar("import", "torch", f"{nets}:TCN", *TCN, "-o", "bundle", "--json", "report.json")
    assert (said.code, said.err) == (0, "")
    title, field, differs, wrote, shift, _ = said.out.splitlines()
    assert (title, field) == (f"torch {nets}:TCN", "receptive field 3, padding 'layer', 4 parameters")
    assert differs.startswith("differs from the model by ")
    assert wrote.startswith("wrote bundle: full, prefill, step and block agree with the module (")
    assert "--shift output" in shift
    x = torch.randn(2, 1, 20)
    with torch.no_grad():
        np.testing.assert_allclose(runtime.load("bundle").forward(x.numpy()), module(nets, "TCN")(x), rtol=1e-5, atol=1e-6)
    report = json.loads(Path("report.json").read_text())
    assert (report["source"], report["receptive_field"], report["strict"]) == (f"torch {nets}:TCN", 3, False)
    assert set(report["origins"]) == {"net.0.weight", "net.0.bias", "net.4.weight", "net.4.bias"}
    assert report["largest_difference"] < 1e-9


def test_generate_names_the_shift(refar, nets):
    assert refar("import", "torch", f"{nets}:Spoken", *SPOKEN, "-o", "bundle").code == 0
    generate = ("-n", 5, "--condition", 2, "-o", "x.csv")
    assert "import it with --shift output" in refar("generate", "bundle", *generate).sentence
    for shift in ("output", "input"):
        assert refar("import", "torch", f"{nets}:Spoken", *SPOKEN, "-o", shift, "--shift", shift, "--block").code == 0
        assert "1 sequence of 5 tokens" in refar("generate", shift, *generate).out


def test_a_network_of_images_becomes_a_bundle_that_paints(refar, nets):
    example = ("--example", "x=2x1x6x7", "--classes", 3)
    said = refar("import", "torch", f"{nets}:Pixels", *example, "-o", "bundle", "--json", "report.json")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[1] == "receptive field 2 x 3, padding 'layer', 2 parameters"
    assert "full, row, pixel and pixels agree with the module" in said.out
    report = json.loads(Path("report.json").read_text())
    assert (report["receptive_field"], report["strict"]) == ([2, 3], True)
    assert [1, 1, 3] in report["checked"]
    assert "2 images of 4x5 pixels" in refar("generate", "bundle", "--shape", "4x5", "-n", 2, "-o", "x.png").out
    said = refar("import", "torch", f"{nets}:seeing", *example, "-o", "seeing")
    assert "it cannot generate" in said.out
    assert "sees it" in refar("generate", "seeing", "--shape", "4x5", "-n", 1, "-o", "y.png").sentence


def test_what_is_there_is_replaced_if_asked_for(refar, nets):
    assert refar("import", "torch", f"{nets}:made", "--example", "2x1x40", "-o", "bundle").code == 0
    assert "--force" in refar("import", "torch", f"{nets}:made", *TCN, "-o", "bundle").sentence
    assert refar("import", "torch", f"{nets}:made", *TCN, "-o", "bundle", "--force", "--padding", "layer").code == 0


def test_checkpoints_as_trainers_write_them(refar, nets):
    trained = module(nets, "TCN")
    torch.nn.init.normal_(trained.net[0].weight)
    state = trained.state_dict()
    save_file(state, "w.safetensors")
    torch.save(state, "w.pt")
    torch.save({"epoch": 3, "state_dict": {f"model.{name}": value for name, value in state.items()}}, "w.ckpt")
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}, "optimizer": {}}, "w.pth")
    x = torch.randn(2, 1, 20)
    with torch.no_grad():
        y = trained(x).numpy()
    for name, said_of in {"w.safetensors": "", "w.pt": "", "w.ckpt": "'model.' was taken", "w.pth": "under 'model'"}.items():
        said = refar("import", "torch", f"{nets}:TCN", *TCN, "--checkpoint", name, "-o", "bundle", "--force")
        assert said.code == 0, said
        assert said_of in said.out
        assert ("no protection" in said.err) is (name != "w.safetensors")
        np.testing.assert_allclose(runtime.load("bundle").forward(x.numpy()), y, rtol=1e-5, atol=1e-6)


def test_checkpoints_that_do_not_fit(refar, nets):
    other = module(nets, "wider").state_dict()
    renamed = {name.replace("net.4", "head"): value for name, value in module(nets, "TCN").state_dict().items()}
    save_file(other, "wider.safetensors")
    save_file(renamed, "renamed.safetensors")
    torch.save(module(nets, "TCN"), "whole.pt")
    torch.save({"epoch": 3}, "no.pt")
    torch.save([1, 2], "list.pt")
    Path("damaged.pt").write_bytes(b"nothing of the kind")
    Path("damaged.safetensors").write_bytes(b"nothing of the kind")
    for name, words in {
        "wider.safetensors": "another architecture than TCN: of another shape: 'net.0.weight' (6, 1, 3) for (4, 1, 3), ",
        "renamed.safetensors": "missing: 'net.4.weight', 'net.4.bias'; surplus: 'head.bias', 'head.weight'",
        "whole.pt": ".TCN, which is no tensor, and is not unpickled; save module.state_dict()",
        "no.pt": "expected tensors by their names, a state dict, got int under 'epoch'",
        "list.pt": "a state dict, got list",
        "damaged.pt": "damaged",
        "damaged.safetensors": "damaged",
        "absent.pt": "there is no such file",
        "w.npz": "expected a name that ends in .safetensors, .pt",
    }.items():
        said = refar("import", "torch", f"{nets}:TCN", *TCN, "--checkpoint", name, "-o", "bundle")
        assert said.code == 2
        (error,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
        assert words in error
        assert not Path("bundle").exists()


def test_the_part_of_a_module_that_a_stream_can_compute(refar, nets):
    said = refar("import", "torch", f"{nets}:Classifier", *TCN, "-o", "bundle")
    assert "one index of axis T is taken" in said.sentence
    assert "partial=True, or --partial, takes the part up to" in said.sentence
    said = refar("import", "torch", f"{nets}:Classifier", *TCN, "-o", "bundle", "--partial")
    assert (said.code, said.err) == (0, "")
    assert "a part of the module alone: the rest cannot be taken" in said.out
    assert "left out, with all behind it: select" in said.out
    assert runtime.load("bundle").manifest.metadata["imported"] == f"a part of torch {nets}:Classifier"
    x = np.random.default_rng(0).normal(size=(2, 1, 50)).astype(np.float32)
    with torch.no_grad():
        expected = module(nets, "TCN")(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(runtime.load("bundle").forward(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("{}", TCN, "expected PKG.MODULE:FACTORY"),
        ("absent_package.nets:TCN", TCN, "there is no module 'absent_package', here or installed"),
        ("{}:Tcn", TCN, "has no 'Tcn', did you mean 'TCN'?"),
        ("{}:number.tcn", TCN, "has no 'tcn'"),
        ("{}:broken", TCN, "fails when it is called without arguments: TypeError ({}.py:38)"),
        ("{}:needs", TCN, "TypeError: needs() missing 1 required positional argument"),
        ("{}:number", TCN, "expected a torch.nn.Module, or what makes one, got int"),
        ("bad_syntax:TCN", TCN, "bad_syntax cannot be imported: SyntaxError (bad_syntax.py:2)"),
        ("raises:TCN", TCN, "raises cannot be imported: ZeroDivisionError (raises.py:2): division by zero"),
        ("wants:TCN", TCN, "wants cannot be imported: ModuleNotFoundError (wants.py:1): No module named 'absent_package'"),
        ("leaves:TCN", TCN, "leaves cannot be imported: SystemExit (leaves.py:2): 3"),
        ("{}:symmetric", ("--example", "input=2x1x40"), "looks ahead"),
        ("{}:TCN", ("--example", "y=2x1x40"), "forward of TCN takes x, no 'y'"),
        ("{}:TCN", ("--example", "x=2xx40"), "x: expected a shape, as in x=2x1x64, got '2xx40'"),
        ("{}:TCN", ("--example", "2x1x40,2x3"), "forward of TCN takes x, no '2x3'"),
        ("{}:TCN", ("--example", "x=2x3x40"), "fails in net.0 (Causal) at length 40"),
        ("{}:TCN", (*TCN, "--axes", "BTC"), "fails in net.0 (Causal)"),
        ("{}:Deep", (*TCN, "--padding", "input"), "padding 'input' is not that of the module"),
        ("{}:Spoken", ("--example", "x=2x30,speaker=2", "--classes", "16"), "speaker"),
        ("{}:Spoken", ("--example", "x=2x30,speaker=2", "--classes", "x=16,x=4"), "'x' is given twice"),
        ("{}:Spoken", ("--example", "x=2x30,speaker=2", "--classes", "x=many"), "expected a number of classes"),
        ("{}:Spoken", (*SPOKEN, "--start-token", "20"), "it runs without start_token=20, which is none of its classes"),
        ("{}:TCN", (*TCN, "--start-token", "3"), "start_token stands in front of class indices, and 'x' holds a signal"),
    ],
)
def test_what_cannot_be_imported_is_said_in_one_sentence(refar, nets, source, options, words):
    Path("bad_syntax.py").write_text("x = 1\ndef f(:\n")
    Path("raises.py").write_text("x = 0\ny = 1 / x\n")
    Path("wants.py").write_text("import absent_package\n")
    Path("leaves.py").write_text("import sys\nsys.exit(3)\n")
    said = refar("import", "torch", source.format(nets), *options, "-o", "bundle")
    assert words.format(nets) in said.sentence
    assert not Path("bundle").exists()


def test_help(refar):
    assert "torch" in refar("import", "--help").out
    said = refar("import", "torch", "--help")
    assert (said.code, said.err) == (0, "")
    assert "Usage: refar import torch" in said.out


@pytest.mark.filterwarnings("ignore")  # of what the exporter leaves undone
def test_an_onnx_file_becomes_a_bundle(refar, nets):
    free = {"x": {0: "batch", 2: "time"}}
    given = (torch.randn(2, 1, 40),)
    torch.onnx.export(
        module(nets, "TCN"), given, "tcn.onnx", dynamo=False, input_names=["x"], dynamic_axes=free, opset_version=20
    )
    said = refar("import", "onnx", "tcn.onnx", "-o", "bundle", "--json", "report.json")
    assert (said.code, said.err) == (0, "")
    assert "onnxruntime in float32 differs by" in said.out
    assert runtime.load("bundle").manifest.metadata["imported"] == "onnx tcn.onnx"
    assert json.loads(Path("report.json").read_text())["receptive_field"] == 3
    assert "there is no such file" in refar("import", "onnx", "other.onnx", "-o", "other").sentence


def test_a_nam_file_becomes_a_bundle(refar, nets):
    weights = np.random.default_rng(0).normal(size=5).tolist()
    config = {"receptive_field": 4, "bias": True}
    amp = {"version": "0.5.4", "architecture": "Linear", "config": config, "weights": weights, "sample_rate": 48000}
    Path("amp.nam").write_text(json.dumps(amp))
    said = refar("import", "nam", "amp.nam", "-o", "bundle")
    assert (said.code, said.err) == (0, "")
    assert runtime.load("bundle").manifest.metadata["sample_rate"] == "48000"
    assert "expected JSON" in refar("import", "nam", f"{nets}.py", "-o", "other").sentence
