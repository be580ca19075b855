"""The figures of the log for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from refar.errors import BackendError

FOLDER = "tensorboard"


def require_board() -> None:
    """Raise BackendError without the package tensorboard."""
    if find_spec("tensorboard") is None:
        raise BackendError("train.tensorboard needs tensorboard, which is not installed: pip install refar[tensorboard]")


@contextmanager
def board(run: Path, wanted: bool, step: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give what writes a line of the log, if that is `wanted`; what was written after `step` is hidden."""
    if not wanted:
        yield lambda line: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run / FOLDER), purge_step=step + 1) as writer:

        def write(line: Mapping[str, Any]) -> None:
            for name, value in line.items():
                if name != "step":
                    writer.add_scalar(name.replace("_", "/", 1), value, line["step"])
            writer.flush()

        yield write
