"""Import a file that lies beside an experiment."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def beside(file: str, name: str) -> ModuleType:
    """Import NAME.py in the folder of `file`, under a name that no other folder's file has."""
    path = Path(file).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
