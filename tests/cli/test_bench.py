"""refar bench: tables on the terminal, the same in a file, a picture, and sentences for what cannot be timed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from refar import Builder, init, models
from refar.bench import plan as plans
from refar.bench.results import from_json
from refar.errors import BackendError
from refar_export import export

QUICK = ("--seconds", "0.001")


def forget(monkeypatch: pytest.MonkeyPatch, package: str, *importers: str) -> None:
    """Let a package be missing, and have the modules that imported it imported anew."""
    monkeypatch.setitem(sys.modules, package, None)
    for name in importers:
        parent, _, last = name.rpartition(".")
        for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.delattr(sys.modules[parent], last, raising=False)


def columns(said, row: str) -> list[str]:
    """The header and one row of the first table."""
    lines = said.out.splitlines()
    return [lines[1], next(line for line in lines if line.startswith(row))]


def test_a_bundle_over_time(refar, here):
    said = refar("bench", "bundle", "--batch", "1,3", "--rate", 8000, "--buffer", "16", "--json", "t.json", "-o", "t.png", *QUICK)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("One position of a stream, µs a step (in brackets: times step)\n")
    header, row = columns(said, "B = 3")
    assert header.split("  ") != row.split("  ")
    assert [
        name for name in ("floor", "step", "generate", "recomputing", "step ÷ floor", "values/s", "±") if name not in header
    ] == []
    assert row.count("(") == 5
    assert "Blocks of one sequence at 8000 samples a second" in said.out
    assert said.out.endswith("wrote t.json\nwrote t.png\n")
    with Image.open("t.png") as picture:
        assert picture.size[0] > 600
    found = from_json(Path("t.json").read_bytes(), "t.json")
    assert (found.threads, found.provider, found.machine.cores > 0) == (1, "cpu", True)
    assert found.command.startswith("refar bench bundle --batch 1,3 ")
    assert {"refar", "python", "numpy"} <= found.machine.versions.keys()
    (table,) = found.tables
    assert [(row.what, row.at) for row in table.rows] == [("B = 1", 1), ("B = 3", 3)]
    assert all(cell.time and cell.ratio and cell.reason is None for row in table.rows for cell in row.cells)
    assert all(row.per_second for row in table.rows)
    assert found.blocks
    assert [(block.samples, block.deadline) for block in found.blocks.blocks] == [(16, 2000)]


def test_the_file_has_these_fields(refar, here):
    refar("bench", "bundle", "--batch", "1", "--buffer", "8", "--json", "t.json", *QUICK)
    document = json.loads(Path("t.json").read_text())
    assert list(document) == ["command", "threads", "provider", "machine", "tables", "blocks", "format", "version"]
    assert (document["format"], document["version"]) == ("refar-bench", 1)
    assert list(document["tables"][0]) == ["title", "unit", "base", "rows", "axis"]
    cell = document["tables"][0]["rows"][0]["cells"][0]
    assert list(cell) == ["way", "time", "ratio", "reason"]
    assert list(cell["time"]) == ["median", "low", "high", "p99", "calls"]


def test_a_bundle_of_images(refar, here):
    export(graph := models.pixelcnn(4, kernel=3, hidden=3, condition="class:3"), init(graph), "pixels")
    said = refar("bench", "pixels", "--batch", "2", "--shape", "3x4", *QUICK)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("One pixel of images of 3 x 4, µs a pixel (in brackets: times pushing)\n")
    header, row = columns(said, "B = 2")
    assert all(name in header for name in ("floor", "pushing", "painting", "recomputing"))
    assert row.count("(") == 5


def effect() -> None:
    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=1), 3, kernel=3))
    export(graph := g.build(g.conv1d(h, 1, kernel=3)), init(graph), "effect")


def test_of_a_network_that_is_not_strict_steps_are_timed_and_no_tokens(refar, here):
    effect()
    said = refar("bench", "effect", "--batch", "1", "--json", "t.json", *QUICK)
    assert said.code == 0
    cells = {cell.way: cell for cell in from_json(Path("t.json").read_bytes(), "t.json").tables[0].rows[0].cells}
    assert [way for way, cell in cells.items() if cell.time is None] == ["generate"]
    assert str(cells["generate"].reason).startswith("generate needs a strict graph")
    assert "– generate: generate needs a strict graph" in said.out


def test_numpy_and_onnxruntime_are_enough(refar, here, monkeypatch):
    for module in ("torch", "onnx", "matplotlib", "threadpoolctl"):
        forget(monkeypatch, module)
    said = refar("bench", "bundle", "--batch", "1", "--buffer", "8", *QUICK)
    assert (said.code, said.err) == (0, "")
    assert "– floor: onnx is not installed; pip install 'refar[export]'" in said.out
    assert "– torch, recomputing: torch is not installed; pip install 'refar[torch]'" in said.out
    assert columns(said, "B = 1")[1].count("(") == 3


def test_without_a_bundle_the_projects_own_networks(refar, here, monkeypatch):
    sizes = plans.WaveNetSizes(doublings=2, stacks=1, channels=3, skip=3, classes=4)
    one = {"one": models.pixelcnn(4, kernel=3, hidden=2)}
    plan = plans.Plan(sizes, (1,), (1,), (3,), 9, one, (1,), (2, 2), sizes, (1,), sizes, 2, (1,), (1,))
    monkeypatch.setattr(plans, "Plan", lambda: plan)
    forget(monkeypatch, "torch", "refar.bench.torch_wavenet")
    said = refar("bench", "--json", "t.json", "-o", "t.svg", *QUICK)
    assert (said.code, said.err) == (0, "")
    assert [line for line in said.out.splitlines() if ", µs a " in line] == [
        "A token of a WaveNet, 2 layers of 3 channels, µs a token (in brackets: times generate)",
        "A step of the WaveNet of wavenet_vocoder, µs a step (in brackets: times step)",
        "A step of a TCN of 1 blocks, µs a step (in brackets: times step)",
        "A sample that is known, µs a sample (in brackets: times prefill)",
        "A pixel of images of 2 x 2, µs a pixel (in brackets: times painting)",
        "A step of 2 layers, by their dilations, µs a step (in brackets: times all 1)",
        "A step of 2 layers, by R, µs a step (in brackets: times step)",
        "A step with dilations of 1, by depth, µs a step (in brackets: times step)",
    ]
    assert said.out.count("torch is not installed") == 4
    assert Path("t.svg").read_text().startswith("<?xml")
    assert len(from_json(Path("t.json").read_bytes(), "t.json").tables) == 8


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "'nowhere': there is no such bundle"),
        (["run"], "'run' is a run, not a bundle; write one with: refar export run -o BUNDLE"),
        (["bundle", "--batch", "1,0"], "--batch 1,0: expected an integer from 1 to 1048576, got 0"),
        (["bundle", "--batch", "1,b"], "--batch 1,b: expected whole numbers separated by commas, as in 8,16,32"),
        (["bundle", "--batch", ""], "--batch : expected whole numbers separated by commas, as in 8,16,32"),
        (["bundle", "--buffer", "-4"], "--buffer -4: expected an integer from 1 to 1048576, got -4"),
        (["bundle", "--rate", "0"], "rate: expected a number of samples per second above 0, got 0"),
        (["bundle", "--rate", "nan"], "rate: expected a number of samples per second above 0, got nan"),
        (["bundle", "--seconds", "0"], "--seconds 0: expected a number of seconds above 0"),
        (["bundle", "--threads", "0"], "--threads: expected an integer from 1 to 1024, got 0"),
        (["bundle", "--shape", "8x8"], "--shape: the network of this bundle is one over time, which has no such option"),
        (["bundle", "--shape", "8"], "--shape 8: expected HEIGHTxWIDTH, as in 8x8"),
        (["bundle", "--provider", "tpu"], "--provider: expected one of cpu, cuda, got 'tpu'"),
        (["bundle", "-o", "t.bmp"], "'t.bmp': expected a name that ends in .png, .svg, .pdf"),
        (["--rate", "8000"], "--rate is for a bundle, and none is given; as in: refar bench BUNDLE --rate …"),
        (["--provider", "cuda"], "--provider is for a bundle, and none is given; as in: refar bench BUNDLE --provider …"),
    ],
)
def test_bad_input_is_a_sentence(refar, here, arguments, says):
    assert refar("bench", *arguments).sentence.startswith(says)


def test_a_provider_that_is_not_there(refar, here, monkeypatch):
    def absent(*_, **__):
        raise BackendError("provider 'cuda' did not start")

    monkeypatch.setattr("refar.runtime.opened.providers.open_session", absent)
    assert refar("bench", "bundle", "--provider", "cuda").sentence == "provider 'cuda' did not start"


def test_of_images_there_are_no_blocks(refar, here):
    export(graph := models.pixelcnn(4, kernel=3, hidden=3), init(graph), "pixels")
    said = refar("bench", "pixels", "--buffer", "64")
    assert said.sentence == "--buffer: the network of this bundle is one over images, which has no such option"


def test_a_network_that_looks_ahead(refar, here):
    g = Builder()
    export(g.build(g.delay(g.input(channels=1), -1)), {}, "ahead")
    assert refar("bench", "ahead").sentence.startswith("bench needs a causal graph; node 'shift'")


def test_matplotlib_is_missed_before_anything_is_measured(refar, here, monkeypatch):
    forget(monkeypatch, "matplotlib", "refar.plots")
    assert refar("bench", "bundle", "-o", "t.png").sentence == "this needs matplotlib; install it with: pip install 'refar[plot]'"
