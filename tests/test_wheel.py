"""What gets installed: the two packages, whole, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_refar_and_refar_export_and_no_other(tmp_path: Path) -> None:
    program = f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        str(file.relative_to(base))
        for base, package in ((ROOT, "refar"), (ROOT / "export", "refar_export"))
        for file in (base / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert names == expected
    assert {name.split("/")[0] for name in names} == {"refar", "refar_export"}
