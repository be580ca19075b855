"""What gets installed: the two packages, whole, with the golden vectors, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECK = """
import sys
sys.path[:0] = [{wheel!r}]
from pathlib import Path
import refar, refar.golden
assert Path(refar.__file__).is_relative_to({wheel!r})
from refar.testing import check_function, golden_cases
def wrong(x, w, b=None, *, dilation=1, groups=1, strict=False): return x
try:
    check_function(wrong, "causal_conv1d")
except AssertionError as error:
    print("law 'shape'" in str(error), len(golden_cases("network")), len(refar.golden.FAMILIES))
sys.argv = ["refar", "golden", *{arguments!r}]
import refar.cli
refar.cli.main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    program = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_holds_refar_and_refar_export_and_the_vectors(wheel: Path) -> None:
    names = {p.relative_to(wheel).as_posix() for p in wheel.rglob("*") if p.is_file()}
    vectors = {name for name in names if name.startswith("refar/golden/vectors/")}
    expected = {
        str(file.relative_to(base))
        for base, package in ((ROOT, "refar"), (ROOT / "export", "refar_export"))
        for file in (base / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in names - vectors if ".dist-info/" not in name} == expected
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"refar", "refar_export"}
    golden = {"manifest.json", "schema.json"} | {p.name for p in (ROOT / "golden").glob("*.safetensors")}
    golden |= {f"invalid/{p.name}" for p in (ROOT / "golden" / "invalid").iterdir()}
    assert {name.removeprefix("refar/golden/vectors/") for name in vectors} == golden


def run(wheel: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = CHECK.format(wheel=str(wheel), arguments=arguments)
    return subprocess.run([sys.executable, "-P", "-c", program], cwd=wheel, capture_output=True, text=True, check=False)


def test_functions_and_vectors_are_checked_from_a_wheel(wheel: Path) -> None:
    done = run(wheel, "check")
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, last = done.stdout.splitlines()
    assert first == "True 10 55"
    assert last == "324 cases hold"


def test_vectors_are_not_computed_in_a_wheel(wheel: Path) -> None:
    done = run(wheel, "write", "out")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "golden write: expected a checkout of refar, whose golden/workshop computes the vectors" in said
    assert not (wheel / "out").exists()
