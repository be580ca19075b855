"""How training shows itself: a progress bar on a terminal, a line per validation elsewhere, and a log file."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from refar.errors import FileError
from refar.files import write_bytes, writing


class Reporter:
    """Shows the steps; silent unless `show`."""

    def __init__(self, show: bool, steps: int, done: int) -> None:
        self._steps, self._show = steps, show
        self._bar: Any = None
        if show and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("train"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=steps, completed=done)

    def __enter__(self) -> Reporter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self) -> None:
        """One step is done."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def validated(self, line: dict[str, Any], best: str) -> None:
        """A validation is done; `line` is its line in the log, `best` says which one was better, if any was."""
        figures = figures_of(line)
        if best:
            figures += f"  {best}"
        if self._bar is not None:
            self._bar.update(self._task, description=figures)
        else:
            self.say(f"step {line['step']}/{self._steps}  {figures}  {line['seconds']:.0f} s")

    def say(self, text: str) -> None:
        """A plain line."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif self._show:
            print(text, file=sys.stderr, flush=True)


def best_words(nats: float | None, step: int | None) -> str:
    """Say which validation was the best."""
    if nats is None:
        return "no validation yet"
    return f"best {nats:.4f}{'' if step is None else f' at step {step}'}, kept"


def validation_line(
    step: int, unit: str, train: float, valid: Mapping[str, float], rate: float, seconds: float
) -> dict[str, Any]:
    """Return what the log says of a validation: train_UNIT is the mean over the steps since the one before, valid_… of now.

    Beside a sum "loss" stand its parts. Nats are given in bits, too.
    """
    line: dict[str, Any] = {"step": step, f"train_{unit}": train}
    line |= {f"valid_{name}": value for name, value in sorted(valid.items(), key=lambda item: item[0] != unit)}
    if "nats" in valid:
        line["valid_bits"] = valid["nats"] / math.log(2)
    return line | {"lr": rate, "seconds": round(seconds, 3)}


def figures_of(line: Mapping[str, Any]) -> str:
    """Say what a validation found."""
    unit = next(name.removeprefix("train_") for name in line if name.startswith("train_"))
    if unit == "nats":
        return f"train {line['train_nats']:.4f}  valid {line['valid_nats']:.4f} nats = {line['valid_bits']:.4f} bits per value"
    parts = [name for name in line if name.startswith("valid_") and name not in (f"valid_{unit}", "valid_bits")]
    each = ", ".join(f"{name.removeprefix('valid_')} {line[name]:.4f}" for name in parts)
    beside = f" ({each})" if parts else ""
    return f"{unit}: train {line[f'train_{unit}']:.4g}  valid {line[f'valid_{unit}']:.4g}{beside}"


def append_log(path: Path, line: dict[str, Any]) -> None:
    """Add one JSON object. Raises FileError where that cannot be."""
    with writing(path), path.open("ab") as file:
        file.write(msgspec.json.encode(line) + b"\n")


class Logged(msgspec.Struct):
    """What every line of the log has."""

    step: int


def cut_log(path: Path, step: int) -> None:
    """Drop what was logged after `step`: a resumed run does those steps again. Raises FileError for a line of no training."""
    kept = []
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for n, line in enumerate(lines, start=1):
        try:
            if msgspec.json.decode(line, type=Logged).step <= step:
                kept.append(line.rstrip() + b"\n")
        except msgspec.DecodeError:
            if n == len(lines) and not line.endswith(b"\n") and line[:8] == b'{"step":'[: len(line)]:
                break  # cut off in the middle of writing
            raise FileError(
                f"{str(path)!r}: line {n}: expected a JSON object with the field `step`, as training logs it, "
                f"got {line[:40].decode(errors='replace').rstrip()!r}"
            ) from None
    write_bytes(path, b"".join(kept))


class Interrupt:
    """Whether training was asked to stop."""

    pressed = False


@contextmanager
def catch_interrupt() -> Iterator[Interrupt]:
    """Let the first Ctrl-C, or SIGTERM, be a wish to stop after the present step; the second of its kind stops at once."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt  # Python delivers signals to the main thread only
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handler(number: int, frame: FrameType | None) -> None:
        interrupt.pressed = True
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, handler)
    try:
        yield interrupt
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
