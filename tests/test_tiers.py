"""The fast tier is a meaningful part of the suite, and the lanes try what pyproject promises."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from lanes import lowest, newest
from tiers import is_slow, slow_lines

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

FAST = [  # what `make fast` shows at the least
    "tests/contract/test_contract.py::test_operators",  # every operator through every law on every backend
    "tests/contract/test_bundles.py::test_every_model",  # every law of bundles
    "tests/golden/test_catalogue.py::test_every_case_holds_in_numpy",
    "tests/cli/test_golden.py::test_check_prints_a_line_for_each_operator",
    "tests/known/test_function.py::test_the_oracle_itself_passes",
    "tests/known/test_module_kit.py::test_refars_own_module_passes",
    "tests/probe/test_causality_kit.py::test_masks",
    "tests/probe/test_streaming_mistakes.py::test_mistakes_in_steps",
    "tests/export/test_export.py::test_a_bundle_agrees_with_the_oracle",
    "tests/runtime/test_session.py::test_the_files_alone_are_right_from_the_start",
    "tests/training/test_train.py::test_learns_and_leaves_a_run",
    "tests/cli/test_help.py::test_help",
    "tests/cli/test_bundle_commands.py::test_check",
    "tests/compat/test_promises.py::test_golden_arrays_are_the_same_byte_for_byte",
]


@cache
def functions() -> list[str]:
    """Every test function of the suite, as pytest names it."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        names = re.findall(r"^ *def (test\w*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        found += [f"{path.relative_to(ROOT).as_posix()}::{name}" for name in names]
    return found


@pytest.mark.parametrize("line", slow_lines())
def test_every_line_of_the_slow_names_tests(line: str) -> None:
    """One whose test was renamed, or which says what another line says, has to go."""
    assert [name for name in functions() if is_slow(name, [line])]
    assert not is_slow(line, [other for other in slow_lines() if other != line])


@pytest.mark.parametrize("function", FAST)
def test_the_fast_tier_holds_something_of_everything(function: str) -> None:
    assert function in functions()
    assert not is_slow(function, slow_lines())


def test_every_folder_but_that_of_planted_mistakes_is_in_the_fast_tier() -> None:
    folders = {Path(name.partition("::")[0]).parent for name in functions()}
    fast = {Path(name.partition("::")[0]).parent for name in functions() if not is_slow(name, slow_lines())}
    assert folders - fast == {Path("tests/mutants")}


def requirements() -> list[str]:
    found = list(PROJECT["project"]["dependencies"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        found += extra
    return [requirement for requirement in found if not requirement.startswith("refar[")]


def test_the_lowest_lane_takes_every_lower_bound() -> None:
    """Without what no test runs, the frameworks of the worked examples, and with one onnxruntime, the older."""
    pins = dict(pin.split("==") for pin in lowest(PROJECT, None) if "==" in pin)
    bounds = {r.partition(";")[0].strip() for r in requirements() if ">=" in r}
    foreign = set(PROJECT["project"]["optional-dependencies"]["foreign"])
    gpu = {bound for bound in bounds if bound.startswith("onnxruntime-gpu")}
    assert len(gpu) == 1
    assert {f"{name}>={version}" for name, version in pins.items()} == bounds - foreign - gpu
    assert "torch==2.13.0" in lowest(PROJECT, "torch==2.13.0")


def test_the_newest_lane_bounds_nothing_but_what_it_is_told() -> None:
    names = [pin.partition("==")[0] for pin in lowest(PROJECT, None)]
    assert {name.partition(";")[0].strip() for name in newest(PROJECT, None)} == {*names, "onnxruntime-gpu"}
    assert "torch==2.13.0" in newest(PROJECT, "torch==2.13.0")
    assert all("=" not in name.partition(";")[0] for name in newest(PROJECT, None))


def test_no_folder_or_module_of_the_tests_has_the_name_of_a_library() -> None:
    """With tests/torch on the path, `import torch` finds the folder where PyTorch is not installed."""
    paths = [ROOT / path for path in PROJECT["tool"]["pytest"]["ini_options"]["pythonpath"]]
    own = {entry.stem for folder in [ROOT / "tests", *paths] for entry in folder.iterdir() if entry.suffix in ("", ".py")}
    names = {requirement.partition(">")[0].partition(";")[0].strip() for requirement in requirements()}
    libraries = {module for module, packages in importlib.metadata.packages_distributions().items() if names & {*packages}}
    libraries |= {name.replace("-", "_") for name in names}  # as they are called where they are not installed
    assert {"torch", "onnx", "onnxruntime", "sklearn", "numpy"} <= libraries | {"sklearn"}
    assert not own & (libraries | {"sklearn"} | set(sys.stdlib_module_names))
