"""Folders that data and bundles are looked for in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def at(folder: Path) -> Iterator[None]:
    """Work in a folder, where configs and bundles look for their data."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
