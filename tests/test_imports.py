"""Who may import whom: what is checked shares no code with what checks it, and `import refar` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from structure import arrows, circles, floors

import refar

ROOT = Path(__file__).parent.parent
BASE = {"refar.ops", "refar.errors"}
NETWORKS = {*BASE, "refar.graph", "refar.analysis", "refar.noise"}
CHECKED = {*NETWORKS, "refar.arguments"}
LIGHT = {"numpy", "msgspec", "safetensors"}
BACKENDS = {"refar.torch", "refar.runtime", "refar_export", "onnxruntime", "torch", "hypothesis"}
HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "sklearn",
    "PIL",
    "soundfile",
    "hypothesis",
    "typer",
    "rich",
    "flint",
)

ALLOWED: dict[str, set[str]] = {
    # module, or package with all modules in it that have no row of their own: what it may import besides the standard library
    "refar": {*CHECKED, "refar.building", "refar.importing", "refar.models", "refar.quantize", "refar.oracle", "refar.rounding"},
    "refar.__main__": {"refar.cli"},
    "refar.errors": set(),
    "refar.files": {"refar.errors"},
    "refar.locks": {"refar.errors", "refar.files", "filelock"},  # filelock on use only
    "refar.ops": {"refar.ops", "msgspec"},
    "refar.noise": {*BASE, "numpy"},
    "refar.quantize": {*BASE, "numpy"},
    "refar.images": {*CHECKED, "numpy"},
    "refar.config": {"refar.data.described", "refar.training.config"},
    "refar.conceptual_json": {"refar.conceptual.text"},
    "refar.graph": {*BASE, "refar.graph", "msgspec"},
    "refar.analysis": {*BASE, "refar.graph", "refar.analysis", "numpy"},
    "refar.building": {*BASE, "refar.graph", "refar.analysis", "refar.building", "refar.files", "msgspec", "numpy"},
    "refar.arguments": {*CHECKED, "numpy"},
    "refar.arguments.encoder": {"msgspec", "numpy"},
    "refar.exact": {"refar.exact", "refar.ops", "numpy"},
    "refar.oracle": {*CHECKED, "refar.oracle", "numpy"},
    "refar.oracle.unroll": {*CHECKED, "refar.building.rewrite", "refar.oracle", "numpy"},
    "refar.rounding": {*CHECKED, "refar.oracle", "refar.rounding", "numpy"},
    # Certificates enclose what the oracle computes, and share nothing with it.
    "refar.rounding.balls": {*CHECKED, "flint", "numpy"},
    "refar.rounding.draws": {*BASE, "refar.arguments", "refar.rounding.balls", "flint", "numpy"},
    "refar.rounding.enclosure": {*CHECKED, "refar.rounding.balls", "flint", "numpy"},
    "refar.rounding.narrow": {*CHECKED, "refar.oracle", "refar.rounding", "flint", "numpy"},
    "refar.rounding.replay": {*CHECKED, "refar.noise", "refar.rounding", "flint", "numpy"},
    "refar.conceptual": {*CHECKED, "refar.building", "refar.conceptual", "refar.files", "msgspec", "numpy"},
    "refar.models": {*CHECKED, "refar.building", "refar.models", "numpy", "msgspec"},
    "refar.data": {*CHECKED, "refar.data", "refar.files", "refar.quantize", "msgspec", "numpy", "sklearn", "PIL", "soundfile"},
    "refar.data.cache": {*BASE, "refar.data.idx", "refar.files", "refar.locks"},
    "refar.plots": {*CHECKED, "refar.conceptual", "refar.plots", "matplotlib", "numpy"},
    "refar.torch": {*CHECKED, "refar.torch", "torch", "numpy"},
    "refar.torch.lower": {*BASE, "torch", "numpy"},
    "refar.torch.unroll": {*CHECKED, "refar.building.rewrite", "refar.torch", "torch"},
    "refar.torch.loop": {*CHECKED, "refar.data", "refar.files", "refar.torch", "refar.training", "torch", "msgspec"},
    "refar.torch.checkpoint": {*CHECKED, "refar.torch.coupled", "refar.training", "torch", "msgspec"},
    "refar.torch.coupled": {*CHECKED, "refar.data", "refar.torch.module", "refar.training.runs", "torch", "numpy"},
    "refar.torch.encoder": {*CHECKED, "refar.data", "refar.torch", "refar.training.encoded", "torch"},
    "refar.torch.encoder_file": {*CHECKED, "refar.torch.encoder", "refar.training", "torch", "numpy"},
    "refar.torch.feeding": {
        *CHECKED, "refar.data", "refar.torch.dropping", "refar.torch.ranks", "refar.torch.work", "refar.training"
    },
    "refar.torch.fitting": {*CHECKED, "refar.data", "refar.torch.work", "refar.training"},
    "refar.torch.objective": {*CHECKED, "refar.torch", "refar.training", "torch"},
    "refar.torch.by_hand": {"refar.importing.torch_parameters"},
    "refar.torch.work": {*CHECKED, "refar.data", "refar.training", "numpy"},
    "refar.torch.resuming": {*CHECKED, "refar.data", "refar.files", "refar.torch", "refar.training", "msgspec"},
    "refar.torch.starting": {
        *CHECKED, "refar.data", "refar.torch", "refar.training.checks", "refar.training.config", "refar.training.encoded", "torch"
    },
    "refar.torch.step": {*CHECKED, "refar.data", "refar.torch", "refar.training", "torch"},
    "refar.torch.validate": {
        *CHECKED, "refar.data", "refar.torch", "refar.training", "torch", "numpy"
    },
    "refar.training": set(),
    "refar.training.checks": {*CHECKED, "refar.data", "refar.training.config"},
    "refar.training.config": {
        *CHECKED, "refar.building", "refar.data.dataset", "refar.data.described", "refar.models", "refar.training.loss_config",
        "msgspec"
    },
    "refar.training.encoded": {*NETWORKS, "refar.data"},
    "refar.training.loss_config": {"msgspec"},
    "refar.training.folder": {"refar.errors", "refar.files", "refar.locks", "refar.training.runs"},
    "refar.training.runs": {
        *CHECKED, "refar.building", "refar.data.record", "refar.training.config", "refar.files", "refar.locks", *LIGHT
    },
    "refar.training.log": {"refar.errors", "refar.files", "refar.training.runs", "msgspec"},
    "refar.training.progress": {"refar.training.log", "rich"},
    "refar.training.schedule": {"refar.training.config"},
    "refar.runtime": {*CHECKED, "refar.files", "refar.runtime", "onnxruntime", *LIGHT},
    "refar.runtime.opening": {  # bundles that are made anew: the one part of the runtime that needs onnx, on use only
        *CHECKED, "refar.files", "refar.runtime.bundle", "refar.runtime.bundle_files", "refar_export.contents",
        "refar_export.vectors", "refar_export.version_1", "msgspec"
    },
    "refar.importing": {  # PyTorch and onnx on use only
        *CHECKED, "refar.building", "refar.importing", "refar.oracle", "onnx", "torch", *LIGHT
    },
    "refar.importing.onnx_check": {
        *CHECKED, "refar.importing", "refar.oracle", "refar.rounding.network", "onnx", "onnxruntime", "numpy"
    },
    "refar.golden": {
        *CHECKED, "refar.building", "refar.files", "refar.golden", "refar.oracle", "refar.quantize", "refar.rounding.certify",
        *LIGHT
    },
    "refar.mistakes": {*CHECKED, "refar.golden", "refar.mistakes", "refar.oracle", "msgspec", "numpy"},
    "refar.testing.plugin": {"refar.errors", "refar.testing", "pytest"},
    "refar.testing": {
        *CHECKED, "refar.building", "refar.exact", "refar.golden", "refar.mistakes", "refar.oracle", "refar.rounding",
        "refar.testing", *BACKENDS, "numpy", "msgspec"
    },
    "refar.testing.contract.of_bundle": {  # whether models are those that graph and parameters give, where onnx is installed
        *CHECKED, "refar.oracle", "refar.rounding", "refar.testing", "refar_export.contents", "onnx", "numpy"
    },
    "refar.bench": {  # PyTorch, onnx and the programs of others are imported on use only
        *CHECKED, "refar.bench", "refar.models", "refar.oracle.program", "refar.rounding.tolerance",
        "refar.runtime", "refar.torch.module", "refar_export.export", "onnx", "torch", "threadpoolctl", "wavenet_vocoder",
        "pytorch_tcn", "numpy", "msgspec"
    },
    "refar.cli": {"refar", "refar_export", "onnxruntime", "typer", "rich", *LIGHT},
    "refar_export": {"refar_export.export"},
    "refar_export.emitter": {*CHECKED, "onnx", "numpy"},
    "refar_export.lower": {*CHECKED, "refar_export.emitter", "refar.runtime.bundle", "onnx", "numpy"},
    "refar_export.whole_graphs": {*CHECKED, "refar_export.emitter", "refar_export.lower", "refar.runtime.bundle", "numpy"},
    "refar_export.fixed_rows": {"refar_export.emitter", "refar.runtime.bundle", "numpy"},
    "refar_export.rows": {*CHECKED, "refar_export.fixed_rows", "refar_export.emitter", "refar_export.lower", "numpy"},
    "refar_export.visit_graphs": {
        *CHECKED, "refar_export.fixed_rows", "refar_export.emitter", "refar_export.in_place", "refar_export.rows",
        "refar.runtime.bundle", "numpy"
    },
    "refar_export.one_tanh": {*CHECKED, "refar_export.rewrites", "numpy"},
    "refar_export.device_rows": {
        *CHECKED, "refar_export.emitter", "refar_export.fixed_rows", "refar_export.rows", "refar_export.visit_graphs", "numpy"
    },
    "refar_export.device_step": {
        *CHECKED, "refar_export.emitter", "refar_export.lower", "refar_export.fixed_rows", "refar_export.in_place",
        "refar_export.rows",
        "refar_export.visit_graphs", "refar_export.one_tanh", "refar_export.device_rows", "refar.runtime.bundle"
    },
    "refar_export.block_reads": {
        *CHECKED, "refar_export.emitter", "refar_export.lower", "refar_export.rows", "refar_export.visit_graphs",
        "refar.runtime.bundle", "numpy"
    },
    "refar_export.block_graph": {
        *CHECKED, "refar_export.block_reads", "refar_export.fixed_rows", "refar_export.emitter", "refar_export.rows",
        "refar_export.visit_graphs", "refar.runtime.bundle"
    },
    "refar_export.sampler_graph": {
        *CHECKED, "refar_export.build", "refar_export.in_place", "refar_export.emitter", "refar_export.rewrites",
        "refar_export.device_step", "refar.runtime.bundle", "refar.runtime.sampler_ports", "onnx", "numpy"
    },
    "refar_export.window_graph": {
        *CHECKED, "refar_export.block_graph", "refar_export.block_reads", "refar_export.emitter", "refar_export.lower",
        "refar_export.in_place",
        "refar_export.rows", "refar_export.visit_graphs", "refar.runtime.bundle", "onnx"
    },
    "refar_export.rewrites": {*CHECKED, "msgspec", "numpy"},
    "refar_export.in_place": {"refar.errors", "refar.runtime.bundle", "onnx"},
    "refar_export.build": {
        *CHECKED, "refar_export.block_graph", "refar_export.in_place", "refar_export.emitter", "refar_export.rewrites",
        "refar_export.visit_graphs", "refar_export.whole_graphs", "refar_export.window_graph", "refar.runtime.bundle", "onnx",
        "numpy", "msgspec"
    },
    "refar_export.image_columns": {*CHECKED, "refar_export.emitter", "refar_export.lower", "refar.runtime.bundle", "numpy"},
    "refar_export.image_pixels": {
        *CHECKED, "refar_export.image_columns", "refar_export.image_sums", "refar_export.emitter",
        "refar_export.lower", "refar.runtime.bundle", "onnx",
        "numpy"
    },
    "refar_export.image_sums": {*CHECKED, "refar_export.emitter", "numpy"},
    "refar_export.image_rewrites": {*CHECKED, "msgspec", "numpy"},
    "refar_export.image_rows": {
        *CHECKED, "refar_export.image_columns", "refar_export.emitter", "refar_export.lower", "onnx", "numpy"
    },
    "refar_export.image_graphs": {
        *CHECKED, "refar_export.build", "refar_export.image_columns", "refar_export.image_pixels",
        "refar_export.image_rewrites", "refar_export.image_rows", "refar_export.emitter", "refar_export.whole_graphs",
        "refar.runtime.bundle", "onnx", "numpy", "msgspec"
    },
    "refar_export.vectors": {*CHECKED, "refar.oracle", "numpy"},
    "refar_export.contents": {
        *CHECKED, "refar_export.build", "refar_export.float16", "refar_export.image_graphs", "refar_export.int8",
        "refar_export.sampler_graph", "refar_export.vectors", "refar.runtime.bundle", "onnx", *LIGHT
    },
    "refar_export.float16": {*CHECKED, "onnx", "numpy"},
    "refar_export.int8": {*CHECKED, "onnx", "numpy"},
    "refar_export.calibration": {*CHECKED, "refar.oracle", "numpy"},
    "refar_export.export": {
        *CHECKED, "refar.files", "refar.importing.torch_parameters", "refar.importing.torch_reference",
        "refar_export.against_module", "refar_export.calibration", "refar_export.contents", "refar_export.encoder_file",
        "refar_export.verify", "torch", "refar.runtime.bundle", "refar.runtime.bundle_files", "numpy"
    },
    "refar_export.against_module": {
        *CHECKED, "refar.importing.probes", "refar.oracle", "refar.rounding", "refar.runtime", "refar_export.verify", "numpy"
    },
    "refar_export.parameters": {*CHECKED, "refar.runtime.bundle_files", "refar.runtime.opening"},
    "refar_export.encoder_file": {*CHECKED, "refar.runtime", "numpy"},
    "refar_export.version_1": {*CHECKED, "onnx"},
    "refar_export.testdata": {*CHECKED, "refar.files", "refar.golden", "refar_export.build", "onnx", "numpy"},
    "refar_export.verify": {*CHECKED, "refar.runtime", "refar.rounding.tolerance", "refar_export.in_place", "onnx", "numpy"},
}  # fmt: skip


@cache
def modules() -> dict[str, Path]:
    found = {}
    for root in (ROOT, ROOT / "export"):
        for package in ("refar", "refar_export"):
            for path in (root / package).rglob("*.py"):
                parts = path.relative_to(root).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: str, known: dict[str, Path]) -> set[str]:
    """Every module that the text names, inside functions too. `import a.b` names a as well, whose attributes it opens."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            names |= {alias.name.partition(".")[0] for alias in node.names if alias.asname is None}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {origin(str(node.module), alias.name, known) for alias in node.names}
    return {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}


@cache
def passed_on(package: Path) -> dict[str, str]:
    """The names that a package imports at its top, and the module that each is from, the first if there are several."""
    found: dict[str, str] = {}
    for node in ast.parse(package.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found = {alias.asname or alias.name: str(node.module) for alias in node.names} | found
    return found


def origin(module: str, name: str, known: dict[str, Path]) -> str:
    """Where `from module import name` gets it: a module, or what a package passes on; else the module, or refar's own name."""
    if f"{module}.{name}" in known:
        return f"{module}.{name}"
    if module in known and known[module].name == "__init__.py" and name in (handed := passed_on(known[module])):
        return origin(handed[name], name, known)
    return f"{module}.{name}" if module == "refar" else module


def row(module: str) -> str | None:
    """The row that governs a module: its own, or that of a package around it. Those of the two roots are for themselves."""
    if module in ALLOWED:
        return module
    package = module.rpartition(".")[0]
    return row(package) if "." in package else None


def surplus(module: str, source: str) -> list[str]:
    allowed = ALLOWED[row(module) or ""]
    return sorted(i for i in imports(source, modules()) if not any(i == a or i.startswith(f"{a}.") for a in allowed))


def test_every_module_is_governed() -> None:
    governed = {module: row(module) for module in modules()}
    assert not [module for module, by in governed.items() if by is None]
    assert set(governed.values()) == set(ALLOWED), "a row without a module"


@pytest.mark.parametrize("module", ALLOWED)
def test_a_module_imports_only_what_it_may(module: str) -> None:
    for name, path in modules().items():
        if row(name) == module:
            found = surplus(name, path.read_text(encoding="utf-8"))
            assert not found, f"{name} imports {found}; it may import {sorted(ALLOWED[module])}"


@pytest.mark.parametrize(
    ("module", "statement", "found"),
    [
        ("refar_export.build", "from refar import forward", ["refar.oracle.functions"]),
        ("refar_export.build", "from refar import __version__, ops", ["refar.__version__"]),
        ("refar_export.build", "import refar", ["refar"]),
        ("refar_export.build", "import refar.ops", ["refar"]),
        ("refar_export.build", "import refar.ops as o", []),
        ("refar_export.lower", "from refar_export.verify import verify", ["refar_export.verify"]),
        ("refar.torch.module", "def f():\n    from refar.oracle.functions import forward", ["refar.oracle.functions"]),
        ("refar.runtime.session", "from refar import step", ["refar.oracle.functions"]),
        ("refar.oracle.whole", "from refar.torch import Module", ["refar.torch.module"]),
    ],
)
def test_a_forbidden_import_is_seen(module: str, statement: str, found: list[str]) -> None:
    assert surplus(module, statement) == found


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import refar", HEAVY),
        ("import refar; refar.runtime, refar.testing, refar.data, refar.conceptual, refar.noise", HEAVY),
        ("import refar; refar.torch.Module", ("onnx", "onnxruntime")),
        ("import refar.testing", HEAVY),
        ("import refar.runtime", ("torch", "onnx", "matplotlib", "sklearn")),
        ("import refar.runtime.session", ("torch", "onnx", "refar.exact.literal")),
        ("import refar.runtime.painter", ("torch", "onnx", "refar.exact.literal")),
        ("import refar_export", ("torch", "onnxruntime")),
        ("import refar.torch", ("onnx", "onnxruntime")),
        ("import refar.cli", ("torch", "onnx", "onnxruntime", "matplotlib", "sklearn")),
    ],
)
def test_what_a_fresh_process_loads(statement: str, absent: tuple[str, ...]) -> None:
    code = f"{statement}; import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(absent) & set(loaded)


def test_what_refar_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'refar' has no attribute 'forwrad'"):
        refar.forwrad  # noqa: B018


def test_imports_have_no_circle_and_rooms_few_floors() -> None:
    files, rooms = arrows()
    assert circles(files) == []
    assert circles(rooms) == [
        ["refar.runtime", "refar_export"],  # what a bundle is stands in the runtime, which may have its models made anew
    ]
    heights = floors(rooms)
    assert max(heights.values()) <= 11, {name: heights[name] for name in sorted(heights, key=lambda name: heights[name])}


def test_no_two_classes_share_a_name_and_no_file_name_occurs_more_than_twice() -> None:
    sources = [*modules().values(), *(ROOT / "golden").rglob("*.py")]
    names = Counter(n.name for p in sources for n in ast.parse(p.read_text("utf-8")).body if isinstance(n, ast.ClassDef))
    assert not [name for name, count in names.items() if count > 1]
    files = Counter(path.name for folder in ("refar", "export", "golden", "tests") for path in (ROOT / folder).rglob("*.py"))
    assert {name for name, count in files.items() if count > 2} <= {"__init__.py", "conftest.py"}
