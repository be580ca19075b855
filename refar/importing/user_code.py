"""Code of the user: a module that a text names, made; and where in it an error was raised."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from refar.errors import InputError, near

_OTHERS = (str(Path(__file__).parents[1]), *(str(Path(module.__file__ or "").parent) for module in (torch, importlib)))


def line_of(error: BaseException) -> str:
    """Return the line at which the user's code was when an error was raised, as tcn.py:12; "" if it was not in it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(("<", *_OTHERS))]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def made(source: str) -> torch.nn.Module:
    """Return the module that PKG.MODULE:FACTORY names: a class or function that needs no arguments, or a module itself.

    What lies in the current folder can be imported. Raises InputError for what is not there, and for an error of the user's code,
    with its type and line.
    """
    package, colon, name = source.partition(":")
    if not colon or not package or not name:
        raise InputError(f"{source!r}: expected PKG.MODULE:FACTORY, as in my_package.nets:TCN")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    found = _called(f"{source!r}: {package} cannot be imported", lambda: _imported(source, package))
    for part in name.split("."):
        if not hasattr(found, part):
            known = [name for name in dir(found) if not name.startswith("_")]
            raise InputError(f"{source!r}: {package} has no {part!r}{near(part, known)}")
        found = getattr(found, part)
    if not isinstance(found, torch.nn.Module) and callable(found):
        found = _called(f"{source!r} fails when it is called without arguments", found)
    if not isinstance(found, torch.nn.Module):
        raise InputError(f"{source!r}: expected a torch.nn.Module, or what makes one, got {type(found).__name__}")
    return found


def _imported(source: str, package: str) -> Any:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{package}.".startswith(f"{error.name}."):
            raise InputError(f"{source!r}: there is no module {error.name!r}, here or installed") from None
        raise


def _called(failed: str, call: Callable[[], Any]) -> Any:
    """Run code of the user; what it raises is told in one sentence."""
    try:
        return call()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        where = f" ({at})" if (at := line_of(error)) else ""
        raise InputError(f"{failed}: {type(error).__name__}{where}: {(str(error).splitlines() or [''])[0]}") from error
