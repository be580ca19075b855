"""The mistakes that docs/mistakes.md shows are caught, in words that name them."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("mistakes", Path(__file__).parents[1] / "bench" / "mistakes.py")
    module = sys.modules["mistakes"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mistakes"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "(K-1)·D = 8 are needed (K = 3, D = 4)"),
        (1, "a queue is one position too short, or read after the push, 3 back where 4 was meant"),
        (2, "masked weights receive gradient"),
    ],
)
def test_each_is_called_by_its_name(script, number, words):
    assert words in script.message(script.MISTAKES[number][2])


def test_what_a_script_publishes_stands_between_its_marks(script, tmp_path, monkeypatch, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- mistakes -->\nold\n<!-- /mistakes -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["mistakes.py", str(readme)])
    for _ in range(2):
        script.publish("mistakes", script.text())
        written = readme.read_text(encoding="utf-8")
        assert written.startswith("before\n<!-- mistakes -->\n\n**The dilation forgotten")
        assert written.endswith("<!-- /mistakes -->\nafter\n")
        assert "old" not in written
    with pytest.raises(SystemExit, match="expected the marks <!-- other --> and <!-- /other -->"):
        script.publish("other", "text")
    script.publish("mistakes", "named by the caller", [str(readme)])
    assert readme.read_text(encoding="utf-8") == "before\n<!-- mistakes -->\n\nnamed by the caller\n\n<!-- /mistakes -->\nafter\n"
    monkeypatch.setattr(sys, "argv", ["mistakes.py"])
    script.publish("mistakes", "a text")
    assert capsys.readouterr().out == "a text\n"
