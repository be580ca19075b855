"""The mistakes that docs/mistakes.md shows are caught, in words that name them."""

import sys

import mistakes
import pytest


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "the offsets are -6, -2, 0, 2 (-1 is x of the next position), up to 6 positions ahead"),
        (1, "a queue is one position too short, or read after the push, 3 back where 4 was meant"),
        (2, "masked weights receive gradient"),
    ],
)
def test_each_is_called_by_its_name(number, words):
    assert words in mistakes.message(mistakes.MISTAKES[number][2])


def test_what_a_script_publishes_stands_between_its_marks(tmp_path, monkeypatch, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- mistakes -->\nold\n<!-- /mistakes -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["mistakes.py", str(readme)])
    for _ in range(2):
        mistakes.publish("mistakes", mistakes.text())
        written = readme.read_text(encoding="utf-8")
        assert written.startswith("before\n<!-- mistakes -->\n\n**The dilation forgotten")
        assert written.endswith("<!-- /mistakes -->\nafter\n")
        assert "old" not in written
    with pytest.raises(SystemExit, match="expected the marks <!-- other --> and <!-- /other -->"):
        mistakes.publish("other", "text")
    mistakes.publish("mistakes", "named by the caller", [str(readme)])
    assert readme.read_text(encoding="utf-8") == "before\n<!-- mistakes -->\n\nnamed by the caller\n\n<!-- /mistakes -->\nafter\n"
    monkeypatch.setattr(sys, "argv", ["mistakes.py"])
    mistakes.publish("mistakes", "a text")
    assert capsys.readouterr().out == "a text\n"
