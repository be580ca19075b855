"""The commands put together, and how they end."""

from __future__ import annotations

import functools
import io
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer
from rich.text import Text

import refar
from refar.cli.bench import bench
from refar.cli.check import check
from refar.cli.complete import complete
from refar.cli.console import err, line
from refar.cli.data import data
from refar.cli.demo import demo
from refar.cli.export import export
from refar.cli.generate import generate
from refar.cli.golden import golden
from refar.cli.import_files import import_nam, import_onnx
from refar.cli.import_torch import import_torch
from refar.cli.inspect import inspect
from refar.cli.plot import plot
from refar.cli.score import classify, score
from refar.cli.train import train
from refar.errors import RefarError, printable

COMMANDS = (demo, inspect, train, plot, check, export, generate, score, classify, complete, data, bench, golden)
IMPORTS: dict[str, Callable[..., None]] = {"torch": import_torch, "onnx": import_onnx, "nam": import_nam}
EXTRAS = {
    "torch": "torch",
    "onnx": "export",
    "onnxruntime": "runtime",
    "flint": "certify",
    "sklearn": "data",
    "PIL": "data",
    "soundfile": "data",
    "matplotlib": "plot",
}

app = typer.Typer(
    name="refar",
    help="The reference for autoregressive convolutions: train, check, export, generate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Ctrl-C ends the command with a word and exit code 130."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt as interrupt:
            err.print("; ".join(["interrupted", *map(str, interrupt.args)]))
            raise typer.Exit(130) from None

    return run


imports = typer.Typer(name="import", help="Read a trained model of others into a bundle, held against it.", no_args_is_help=True)
for _command in COMMANDS:
    app.command(no_args_is_help=False)(_interruptible(_command))
for _name, _import in IMPORTS.items():
    imports.command(_name, no_args_is_help=False)(_interruptible(_import))
app.add_typer(imports)


def _version(asked: bool) -> None:
    if asked:
        line(f"refar {refar.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Say which release this is.", callback=_version, is_eager=True),
) -> None:
    pass  # `main` reads --debug wherever it stands


def main() -> None:
    """The console entry point. A user's mistake is one sentence and exit code 2; Ctrl-C is 130."""
    debug = "--debug" in sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="refar")
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "--debug"], prog_name="refar")
    except (RefarError, OSError, MemoryError, ModuleNotFoundError) as error:
        if debug or (message := _sentence(error)) is None:
            traceback.print_exc()
            sys.exit(2 if debug else 1)
        err.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _sentence(error: Exception) -> str | None:
    """What to tell the user, or None for an error that is not the user's."""
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").split(".")[0]
        return f"this needs {module}; install it with: pip install 'refar[{EXTRAS[module]}]'" if module in EXTRAS else None
    if isinstance(error, OSError):
        return f"{error.filename!r}: {error.strerror}" if error.filename is not None else str(error)
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    return printable(" ".join(str(error).split()))
