"""What a lane installs: `python tests/bench/lanes.py lowest|newest [torch==X]` prints it, read from pyproject.toml.

The lowest lane takes each lower bound itself, the newest no bound at all; what they need in turn pip chooses, as new as may be.
PyTorch can be named beside: for Linux on x86-64 PyPI holds builds for CUDA alone, gigabytes of them.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {"ruff", "mypy"}  # they check the code, they do not run it
EXTRAS = ("torch", "export", "runtime", "certify", "data", "plot", "tensorboard", "test", "dev")


def lowest(project: dict[str, Any], torch: str | None) -> list[str]:
    """Pins of every lower bound. Of the two onnxruntimes the plain one, which may be older and runs everywhere."""
    found = {name: f"{name}=={bound}" if bound else name for name, bound, _ in _requirements(project)}
    return _with(torch, {name: pin for name, pin in found.items() if name != "onnxruntime-gpu"})


def newest(project: dict[str, Any], torch: str | None) -> list[str]:
    """The names, each with the platforms that it is for."""
    return _with(torch, {name: f"{name}; {where}" if where else name for name, _, where in _requirements(project)})


def _with(torch: str | None, found: dict[str, str]) -> list[str]:
    return sorted((found | ({"torch": torch} if torch else {})).values())


def _requirements(project: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, lower bound, and where it is needed, of all that the tests use; the last two may be empty."""
    lines = list(project["project"]["dependencies"])
    for extra in EXTRAS:
        lines += project["project"]["optional-dependencies"][extra]
    found = []
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)(?:>=([\w.]+))?\s*(?:;\s*(.+))?", line)
        if match is None:
            if line.startswith("refar["):
                continue
            raise SystemExit(f"pyproject.toml: expected name>=version in {line!r}")
        if match[1] not in LEFT_OUT:
            found.append((match[1], match[2] or "", match[3] or ""))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lane", choices=["lowest", "newest"])
    parser.add_argument("torch", nargs="?", help="which PyTorch, as pip is told; otherwise as pyproject.toml says")
    options = parser.parse_args()
    read = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    print(*(lowest if options.lane == "lowest" else newest)(read, options.torch), sep="\n")
