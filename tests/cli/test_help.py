"""The command as such: help, what it imports, usage errors, --debug, interrupts."""

from __future__ import annotations

import inspect
import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

import refar as library
from refar.cli import app, console

COMMANDS = [command.__name__ for command in app.COMMANDS]


def test_all_commands_are_there():
    assert COMMANDS == [
        "demo",
        "inspect",
        "train",
        "plot",
        "check",
        "export",
        "generate",
        "score",
        "classify",
        "complete",
        "data",
        "bench",
        "golden",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(refar, command):
    said = refar(command, "--help")
    assert (said.code, said.err) == (0, "")
    assert f"Usage: refar {command}" in said.out


def test_help_lists_every_command(refar):
    said = refar("--help")
    assert said.code == 0
    assert all(command in said.out for command in COMMANDS)


def test_version(refar, monkeypatch):
    monkeypatch.setattr(library, "__version__", "98.76.54")
    assert refar("--version") == (0, "refar 98.76.54\n", "")


def test_python_m_refar_is_the_same_command():
    def call(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "refar", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
        return done.returncode, done.stdout, done.stderr

    assert call("--version") == (0, f"refar {library.__version__}\n", "")
    code, said, _ = call("inspect", "--help")
    assert code == 0
    assert "Usage: refar inspect" in said
    code, said, error = call("inspect", "nettoy")
    assert (code, said) == (2, "")
    assert error.startswith("error: 'nettoy' is neither")


def test_help_imports_nothing_heavy():
    heavy = "{'torch', 'onnx', 'onnxruntime', 'matplotlib', 'sklearn'}"
    code = f"import sys, refar.cli; found = {heavy} & sys.modules.keys(); sys.exit(str(found) if found else 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command"),
        (["inspect"], "Missing argument"),
        (["generate", "bundle", "-o", "x.npy"], "Missing option '-n'"),
        (["generate", "bundle", "-n", "many", "-o", "x.npy"], "Invalid value for '-n'"),
        (["inspect", "nettoy1d", "--colour"], "No such option"),
    ],
)
def test_usage_errors(refar, arguments, says):
    said = refar(*arguments)
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("arguments", [["--debug", "inspect", "nettoy"], ["inspect", "nettoy", "--debug"]])
def test_debug_shows_the_traceback(refar, arguments):
    said = refar(*arguments)
    assert said.code == 2
    assert "Traceback" in said.err
    assert "did you mean 'nettoy1d'?" in said.err


def test_ctrl_c_is_130(refar, monkeypatch):
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("refar.cli.inspect.page", press)
    assert refar("inspect", "nettoy1d") == (130, "", "interrupted\n")
    monkeypatch.setattr("refar.cli.demonstration.stages.run", press)
    assert refar("demo") == (130, "", "interrupted; the demo starts anew when it is run again\n")


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from refar.cli import main; main()", *arguments]
    return subprocess.run(command, check=False, capture_output=True, env={**os.environ, **environment})


def test_a_terminal_without_unicode():
    said = run(["inspect", "nettoy1d_dilated"], PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert (said.returncode, said.stderr) == (0, b"")
    text = said.stdout.decode("ascii")
    assert "\n" + "#." * 16 + "\n" in text
    assert "1, 3, 5, ..., 31" in text
    assert "?" not in text


def test_a_reader_that_leaves():
    command = f"{sys.executable} -c 'from refar.cli import main; main()' inspect nettoy1d_dilated | head -n 1"
    said = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("model nettoy1d_dilated\n", "")


def test_no_colour_means_no_animation(monkeypatch):
    for colourless in (False, True):
        terminal = Console(file=io.StringIO(), force_terminal=True, no_color=colourless)
        monkeypatch.setattr(console, "err", terminal)
        with console.status("opening") as update, console.progress("scoring", 3) as advance:
            update("law")
            advance(2)
        assert ("\x1b" in terminal.file.getvalue()) is not colourless


def test_no_memory_has_words(refar, monkeypatch):
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("refar.cli.inspect.page", full)
    assert refar("inspect", "nettoy1d").sentence == "not enough memory"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_its_brackets(refar, command):
    help_ = next(c for c in app.COMMANDS if c.__name__ == command)
    said = " ".join(refar(command, "--help").out.replace("│", " ").split())
    for option in inspect.signature(help_, eval_str=True).parameters.values():
        (info,) = option.annotation.__metadata__
        assert " ".join((info.help or "").replace("\\[", "[").split()[:4]) in said
    if command == "train":
        assert "The tables [model], [data] and [train]." in said


def test_missing_package_is_named(refar, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for module in [name for name in sys.modules if name.startswith("refar.plots")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(vars(sys.modules["refar"]), "plots", raising=False)
    said = refar("inspect", "nettoy1d", "--plot", tmp_path / "field.png")
    assert said.code == 2
    assert said.err.endswith("pip install 'refar[plot]'\n")
