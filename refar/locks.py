"""One writer for each folder: a lock of the operating system, which ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from refar.errors import BackendError, FileError
from refar.files import writing

LOCK = ".lock"
"""The name of the lock in its folder. The file stays behind: to remove it would let two processes hold two files of one name."""


@contextlib.contextmanager
def one_writer(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is missing; `what` is what a message calls the folder.

    Raises FileError if another process, or another caller in this one, holds the lock; the message names the process if its
    name can be read. Raises BackendError without the package filelock.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        raise BackendError("writing into a folder needs filelock, which is not installed: pip install filelock") from None
    path = folder / LOCK
    lock = FileLock(path)
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            other = _holder(path)
            raise FileError(f"{what} is being written by {other}; wait until that ends, or choose another folder") from None
    try:
        with contextlib.suppress(OSError):  # a full disk costs the name in the message, not the lock
            path.write_text(f"process {os.getpid()} on {platform.node()}\n", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            path.write_bytes(b"")  # nothing of this process or machine stays behind
        lock.release()


def _holder(path: Path) -> str:
    """Say which process wrote its name into the lock; 'another process' where that cannot be read."""
    try:
        name = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        name = ""
    return name if name.isprintable() and name.startswith("process ") else "another process"
