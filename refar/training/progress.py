"""The progress of training: a bar on a terminal, a line per validation elsewhere; and the signals that ask it to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from refar.training.log import figures_of


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
