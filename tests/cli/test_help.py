"""The command as such: help, what it imports, usage errors, --debug, interrupts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from refar.cli import app

COMMANDS = [command.__name__ for command in app.COMMANDS]


def test_all_commands_are_there():
    assert COMMANDS == ["demo", "inspect", "train", "check", "export", "generate", "score", "classify"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(refar, command):
    said = refar(command, "--help")
    assert (said.code, said.err) == (0, "")
    assert f"Usage: refar {command}" in said.out


def test_help_lists_every_command(refar):
    said = refar("--help")
    assert said.code == 0
    assert all(command in said.out for command in COMMANDS)


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

    monkeypatch.setattr("refar.cli.inspect.show", press)
    said = refar("inspect", "nettoy1d")
    assert said.code == 130
    assert "Traceback" not in said.err


def test_missing_package_is_named(refar, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "refar.plots", raising=False)
    said = refar("inspect", "nettoy1d", "--plot", tmp_path / "field.png")
    assert said.code == 2
    assert said.err.endswith("pip install 'refar[plot]'\n")
