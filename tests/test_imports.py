"""Who may import whom: what is checked shares no code with what checks it, and `import refar` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = {"refar.ops", "refar.errors"}
READING = {*CORE, "refar.graph", "refar.infer", "refar.arrays", "refar.noise"}
LIGHT = {"numpy", "msgspec", "safetensors"}
HEAVY = ("torch", "onnx", "onnxruntime", "matplotlib", "sklearn", "hypothesis", "typer", "rich")

ALLOWED: dict[str, set[str]] = {
    # module or package: what else it may import, besides the standard library
    "refar.errors": set(),
    "refar.ops": {"msgspec"},
    "refar.graph": {*CORE, "msgspec"},
    "refar.infer": {*CORE, "refar.graph"},
    "refar.noise": {*CORE, "numpy"},
    "refar.arrays": {*READING, "numpy"},
    "refar.init": {*READING, "numpy"},
    "refar.spec": {*READING, "refar.spec", "numpy"},
    "refar.spec.literal": {"refar.ops", "numpy"},
    "refar.models": {*READING, "refar.models", "numpy", "msgspec"},
    "refar.torch.lower": {*READING, "torch", "numpy"},
    "refar.torch.module": {*READING, "refar.init", "refar.torch", "torch", "numpy"},
    "refar.runtime": {*READING, "refar.runtime", "onnxruntime", *LIGHT},
    "refar_export.lower": {*READING, "refar_export", "refar.runtime.bundle", "onnx", "numpy"},
    "refar_export.build": {*READING, "refar", "refar_export", "refar.runtime.bundle", "onnx", "numpy", "msgspec"},
    "refar_export.export": {*READING, "refar", "refar_export", "refar.runtime.bundle", "onnx", *LIGHT},
}


def modules() -> dict[str, Path]:
    found = {}
    for root in (ROOT, ROOT / "export"):
        for package in ("refar", "refar_export"):
            for path in (root / package).rglob("*.py"):
                parts = path.relative_to(root).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Every module that the file names, inside functions too; `from a import b` is a.b where that is a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names |= {f if f in known else str(node.module) for f in full.values()}
    return {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}


def covers(allowed: str, name: str) -> bool:
    return name == allowed or (name.startswith(f"{allowed}.") and allowed != "refar")


@pytest.mark.parametrize("module", ALLOWED)
def test_a_module_imports_only_what_it_may(module: str) -> None:
    known = modules()
    files = [name for name in known if name == module or (name.startswith(f"{module}.") and name not in ALLOWED)]
    assert files, f"{module} does not exist"
    for name in files:
        surplus = {i for i in imports(known[name], known) if not any(covers(allowed, i) for allowed in ALLOWED[module])}
        assert not surplus, f"{name} imports {sorted(surplus)}; it may import {sorted(ALLOWED[module])}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import refar", HEAVY),
        ("import refar.testing", HEAVY),
        ("import refar.runtime", ("torch", "onnx", "matplotlib", "sklearn")),
        ("import refar.runtime.session", ("torch", "onnx", "refar.spec.literal")),
        ("import refar_export", ("torch", "onnxruntime")),
        ("import refar.torch", ("onnx", "onnxruntime")),
        ("import refar.cli", ("torch", "onnx", "onnxruntime", "matplotlib", "sklearn")),
    ],
)
def test_what_a_fresh_process_loads(statement: str, absent: tuple[str, ...]) -> None:
    code = f"{statement}; import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(absent) & set(loaded)
