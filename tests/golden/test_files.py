"""The files: what stands in the repository is what is written, and nothing else is read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
import safetensors.numpy
from helpers import refuses

from refar.errors import FileError
from refar.golden import SPEC_VERSION, Case, golden_cases
from refar.golden.manifest import VERSION, digest, entry_of, read_manifest
from refar.golden.vectors import Vectors, own, read
from workshop import writing
from workshop.every_case import every_case
from workshop.writing import changes, encode, render, schema, write

GOLDEN = Path(__file__).parents[2] / "golden"
BY_HAND = {"README.md", "check_case.py", "check_case.mjs"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


@pytest.fixture(scope="module")
def computed() -> list[Case]:
    """All cases, computed anew."""
    return list(every_case())


def test_the_repository_holds_what_is_written(computed: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte by byte. If this fails after a change that is meant: refar golden write golden --overwrite."""
    written = render(computed)
    there = {str(p.relative_to(GOLDEN).as_posix()): p for p in GOLDEN.rglob("*") if p.is_file() and "workshop" not in p.parts}
    monkeypatch.setattr(writing, "every_case", lambda: iter(computed))
    assert {name for name, path in there.items() if path.name not in BY_HAND} == set(written)
    different = [name for name, data in written.items() if there[name].read_bytes() != data]
    assert not different, changes(GOLDEN)
    assert render(computed) == written
    assert changes(GOLDEN) == []
    assert write(GOLDEN) == []
    assert sum(path.stat().st_size for path in there.values()) < 2_000_000


def test_what_is_read_is_what_was_computed(computed: list[Case]) -> None:
    cases = {case.id: case for case in read(GOLDEN)}
    for case in computed:
        same = cases.pop(case.id)
        assert same.graph == case.graph
        assert (same.text, same.error, same.catches, same.one_of) == (case.text, case.error, case.catches, case.one_of)
        for group in ("arrays", "expected", "bound"):
            assert getattr(same, group).keys() == getattr(case, group).keys()
            for name, array in getattr(case, group).items():
                np.testing.assert_array_equal(getattr(same, group)[name], array, strict=True)
    assert not cases


def test_one_operator_reads_its_own_file_alone(folder: Path) -> None:
    (folder / "network.safetensors").unlink()
    (folder / "softmax.safetensors").write_bytes(b"nothing")
    vectors = Vectors(folder)
    assert [case.id for case in vectors.cases("gate")] == [case.id for case in golden_cases("gate")]
    with refuses(FileError, "softmax.safetensors", "was altered"):
        vectors.cases("softmax")
    assert own().folder == GOLDEN


def test_the_schema_fits_and_is_closed() -> None:
    manifest, found = json.loads((GOLDEN / "manifest.json").read_bytes()), json.loads(schema())
    jsonschema.Draft202012Validator.check_schema(found)
    validator = jsonschema.Draft202012Validator(found)
    validator.validate(manifest)
    for change in (
        lambda m: m | {"author": "me"},
        lambda m: m | {"cases": [m["cases"][0] | {"comment": "x"}]},
        lambda m: m | {"cases": [{k: v for k, v in m["cases"][0].items() if k != "exact"}]},
        lambda m: m | {"version": 0},
    ):
        assert not validator.is_valid(change(manifest))
    closed = [each for each in found["$defs"].values() if each["additionalProperties"] is False]
    assert len(closed) == len(found["$defs"])


@pytest.mark.parametrize("name", ["causal_conv1d.safetensors", "schema.json", "invalid/cycle.json", "network.safetensors"])
def test_one_altered_byte_names_its_file(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with refuses(FileError, str(folder / name), "was altered: expected SHA-256", "…, got"):
        read(folder)


def test_one_altered_byte_of_the_manifest(folder: Path) -> None:
    text = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(text.replace(b"kernel flipped", b"kernel flopped", 1))
    with refuses(FileError, "manifest.json", "sha256: expected", "for what it holds, got"):
        read(folder)


@pytest.mark.parametrize("name", ["gate.safetensors", "invalid/groups.json", "schema.json"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with refuses(FileError, f"golden vectors {str(folder)!r}: the file {name!r} is missing"):
        read(folder)


def test_no_manifest(tmp_path: Path) -> None:
    with refuses(FileError, f"golden vectors {str(tmp_path)!r}: manifest.json cannot be read: No such file"):
        read(tmp_path)


def test_reading_computes_nothing() -> None:
    """A fresh process has the cases of an operator, and of the networks, without the definitions that they come from."""
    code = "from refar.golden import golden_cases; golden_cases('gate'); golden_cases('network'); import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "refar.golden.vectors" in loaded
    assert not [name for name in loaded if name.startswith(("workshop", "refar.exact", "refar.mistakes"))]


Change = Callable[[dict[str, Any]], None]


def rewrite(folder: Path, change: Change) -> None:
    """Change the manifest, with the digest that belongs to it."""
    raw = json.loads((folder / "manifest.json").read_bytes())
    change(raw)
    raw["sha256"] = "0" * 64
    text = json.dumps(raw).encode()
    (folder / "manifest.json").write_bytes(text.replace(b"0" * 64, digest(text).encode(), 1))


def case(raw: dict[str, Any], id: str) -> dict[str, Any]:
    return next(each for each in raw["cases"] if each["id"] == id)


def gate(raw: dict[str, Any]) -> dict[str, Any]:
    return case(raw, "gate/2-channels")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(author="me"), "Object contains unknown field `author`"),
        (
            lambda m: m.update(version=VERSION + 1),
            f"version {VERSION + 1}; this refar reads versions 1 to {VERSION}; the file was written",
        ),
        (lambda m: m.update(format="other"), "Invalid enum value 'other' - at `$.format`"),
        (lambda m: m.pop("units"), "Object missing required field `units`"),
        (lambda m: gate(m).update(note=1), "case 'gate/2-channels': Object contains unknown field `note`"),
        (lambda m: gate(m).pop("exact"), "case 'gate/2-channels': Object missing required field `exact`"),
        (lambda m: case(m, "step/pools")["graph"].update(output="z"), "case 'step/pools': output 'z' is not a node"),
        (lambda m: gate(m).update(file="gat.safetensors"), "case 'gate/2-channels': its file 'gat.safetensors' is not among"),
        (lambda m: m["files"].update({"../x": "0" * 64}), "files: '../x' lies outside of the folder"),
        (lambda m: gate(m).update(exact=True), "case 'gate/2-channels': exact and bound do not fit each other"),
        (lambda m: gate(m)["arrays"].update(z={"dtype": "F32", "shape": [1]}), "tensor 'gate/2-channels/z' is missing"),
        (lambda m: gate(m)["arrays"].pop("x"), "tensor 'gate/2-channels/x' belongs to no case"),
        (
            lambda m: gate(m)["arrays"]["x"].update(dtype="F64"),
            "tensor 'gate/2-channels/x': expected F64 (3, 2, 5), got float32 (3, 2, 5)",
        ),
        (
            lambda m: gate(m)["arrays"]["x"].update(shape=[3, 10]),
            "tensor 'gate/2-channels/x': expected F32 (3, 10), got float32 (3, 2, 5)",
        ),
    ],
)
def test_a_manifest_that_is_not_right(folder: Path, change: Change, said: str) -> None:
    rewrite(folder, change)
    with refuses(FileError, str(folder), said):
        read(folder)


def test_a_manifest_that_is_no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    with refuses(FileError, "manifest.json", "not JSON"):
        read(folder)


def test_other_units_are_refused(folder: Path) -> None:
    """Other languages take their tolerances from them."""
    rewrite(folder, lambda m: m["units"].update(float32=0.06))
    with refuses(FileError, "manifest.json", "units: expected {'float32': 5.96", "got {'float32': 0.06"):
        read(folder)


def test_a_file_that_is_no_safetensors(folder: Path) -> None:
    (folder / "gate.safetensors").write_bytes(b"nothing")
    rewrite(folder, lambda m: m["files"].update({"gate.safetensors": digest(b"nothing")}))
    with refuses(FileError, "gate.safetensors", "is damaged"):
        read(folder)


def few(monkeypatch: pytest.MonkeyPatch, change: Callable[[Case], Case | None] = lambda case: case) -> None:
    """Compute gates alone."""
    cases = [changed for case in read(GOLDEN) if case.operator in ("gate", "invalid") and (changed := change(case)) is not None]
    monkeypatch.setattr(writing, "every_case", lambda: iter(cases))


def test_writing_twice_changes_nothing_and_other_bytes_need_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    names = write(tmp_path / "new")
    assert {"manifest.json", "schema.json", "gate.safetensors", "invalid/cycle.json"} <= set(names)
    assert write(tmp_path / "new") == []

    def change(case: Case) -> Case | None:
        if case.id == "gate/saturated":
            return None
        y = case.expected.get("y")
        return Case(**{**vars(case), "expected": case.expected | {"y": y + 0.5}}) if y is not None and "2-" in case.id else case

    few(monkeypatch, change)
    said = changes(tmp_path / "new")
    assert said == ["removed gate/saturated", "changed gate/2-channels: 15 of 15 numbers of y, by up to 0.5"]
    with refuses(
        FileError, f"of version {SPEC_VERSION} differ in 'gate.safetensors': raise SPEC_VERSION", "or allow overwriting them"
    ):
        write(tmp_path / "new")
    assert write(tmp_path / "new", overwrite=True) == ["gate.safetensors", "manifest.json"]
    few(monkeypatch, lambda case: Case(**{**vars(changed), "source": "another"}) if (changed := change(case)) else None)
    with refuses(FileError, f"of version {VERSION} differ in 'manifest.json': raise VERSION", "or allow overwriting them"):
        write(tmp_path / "new")
    few(monkeypatch, change)
    assert changes(tmp_path / "new") == []
    assert read(tmp_path / "new")[0].id == "gate/2-channels"
    few(monkeypatch, lambda case: None if case.id == "invalid/cycle" else case)
    write(tmp_path / "new", overwrite=True)
    assert not (tmp_path / "new" / "invalid" / "cycle.json").exists()


CONTENT = b"years of work"


@pytest.mark.parametrize("name", ["schema.json", "invalid/cycle.json", "gate.safetensors", "manifest.json"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_another_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, overwrite: bool
) -> None:
    few(monkeypatch)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(CONTENT)
    with refuses(FileError, name, "not JSON" if name == "manifest.json" else f"holds {name!r}, which no manifest.json there"):
        write(tmp_path, overwrite=overwrite)
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == {Path(name).name: CONTENT}


@pytest.mark.parametrize("name", ["invalid", "schema.json/mine"])
def test_where_a_name_is_taken_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    few(monkeypatch)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(CONTENT)
    before = sorted(tmp_path.rglob("*"))
    with refuses(FileError, str(tmp_path), Path(name).parts[0]):
        write(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["gate.safetensors", "invalid/cycle.json"])
def test_a_file_that_somebody_changed_is_neither_written_over_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    few(monkeypatch)
    write(tmp_path)
    (tmp_path / name).write_bytes(CONTENT)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    few(monkeypatch, lambda case: None if case.id in ("invalid/cycle", "gate/saturated") else case)
    with refuses(FileError, f"holds {name!r}, not as it was written: expected SHA-256 ", "…, got "):
        write(tmp_path, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: {"seed": 1}, "changed gate/2-channels: seed"),
        (lambda c: {"bound": {"y": c.bound["y"]}}, "changed gate/2-channels: bound of gradient.x is gone"),
        (lambda c: {"arrays": c.arrays | {"z": c.arrays["x"]}}, "changed gate/2-channels: z is new"),
        (
            lambda c: {"expected": c.expected | {"y": c.expected["y"][:2]}, "bound": {}},
            "y was float64 (3, 1, 5), is float64 (2, 1, 5)",
        ),
    ],
)
def test_what_would_change_is_said(monkeypatch: pytest.MonkeyPatch, change: Callable[[Case], dict[str, Any]], said: str) -> None:
    few(monkeypatch, lambda case: Case(**{**vars(case), **change(case)}) if case.id == "gate/2-channels" else case)
    assert any(said in line for line in changes(GOLDEN))


def test_a_case_to_a_line() -> None:
    lines = (GOLDEN / "manifest.json").read_text().splitlines()
    assert sum(line.startswith('    {"id":"') for line in lines) == len(read(GOLDEN))
    manifest, raw = read_manifest(GOLDEN)
    entries = tuple(entry_of(each, "") for each in raw)
    assert encode(msgspec.structs.replace(manifest, cases=entries)) == (GOLDEN / "manifest.json").read_bytes()


def test_tensors_are_named_by_case() -> None:
    tensors = safetensors.numpy.load_file(GOLDEN / "gate.safetensors")
    assert {"gate/saturated/x", "gate/saturated/dy", "gate/saturated/y", "gate/saturated/bound.y"} <= tensors.keys()
