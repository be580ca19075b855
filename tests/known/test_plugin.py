"""The pytest plugin as its users see it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import refar.testing
from refar.testing import golden_cases

pytest_plugins = ["pytester"]

CONV = """
    import numpy as np
    import pytest

    def my_conv(x, w, b=None, *, dilation, groups, strict):
        y = np.zeros((x.shape[0], w.shape[0], x.shape[2]), x.dtype)
        fan_in, fan_out = w.shape[1], w.shape[0] // groups
        for o in range(w.shape[0]):
            first = o // fan_out * fan_in
            for k in range(w.shape[2]):
                back = (w.shape[2] - 1 - k) * dilation + strict {mistake}
                for t in range(max(0, back), x.shape[2]):
                    y[:, o, t] += x[:, first : first + fan_in, t - back] @ w[o, :, k]
        return y if b is None else y + b[:, None]
"""
WHOLE = """
    def test_whole(refar_case):
        refar_case("causal_conv1d", my_conv)
"""
EACH = """
    @pytest.mark.refar("causal_conv1d")
    def test_each(refar_case):
        refar_case(my_conv)
"""


def run(pytester: pytest.Pytester, text: str, *options: str) -> pytest.RunResult:
    """With the plugin, whether or not it is installed."""
    pytester.makepyfile(text)
    return pytester.runpytest("-p", "no:refar", "-p", "refar.testing.plugin", "--strict-markers", *options)


def test_the_fixture_runs_over_all_cases_of_an_operator(pytester: pytest.Pytester) -> None:
    run(pytester, CONV.format(mistake="") + WHOLE).assert_outcomes(passed=1)


def test_the_marker_makes_a_test_of_each_case(pytester: pytest.Pytester) -> None:
    cases = golden_cases("causal_conv1d")
    result = run(pytester, CONV.format(mistake="") + EACH, "-v")
    result.assert_outcomes(passed=len(cases))
    result.stdout.fnmatch_lines([f"*::test_each[[]{cases[0].id.partition('/')[2]}[]] PASSED*"])


def test_a_mistake_fails_with_what_the_kit_says_and_the_line_of_the_test(pytester: pytest.Pytester) -> None:
    result = run(pytester, CONV.format(mistake="+ (dilation > 2)") + WHOLE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['>       refar_case("causal_conv1d", my_conv)', "E  *ContractError: *causal_conv1d*"])
    result.stdout.no_fnmatch_line("*check_function(function*")


def test_single_cases_fail_where_the_mistake_shows(pytester: pytest.Pytester) -> None:
    result = run(pytester, CONV.format(mistake="+ (dilation > 2)") + EACH)
    cases = golden_cases("causal_conv1d")
    wrong = [case for case in cases if case.attributes["dilation"] > 2 and case.arrays["x"].shape[2] > 1]
    result.assert_outcomes(failed=len(wrong), passed=len(cases) - len(wrong))


def test_the_marker_takes_what_restricts_cases_and_the_fixture_the_rest(pytester: pytest.Pytester) -> None:
    text = (
        CONV.format(mistake="")
        + """
    import torch

    def tensors(x, w, b=None, *, dilation, groups):
        assert isinstance(x, torch.Tensor)
        return my_conv(*(a if a is None else a.numpy() for a in (x, w, b)), dilation=dilation, groups=groups, strict=False)

    @pytest.mark.refar("causal_conv1d", only={"strict": False})
    def test_each(refar_case):
        refar_case(tensors, convert=torch.from_numpy)
"""
    )
    cases = golden_cases("causal_conv1d", {"strict": False})
    assert 0 < len(cases) < len(golden_cases("causal_conv1d"))
    assert not any(case.attributes["strict"] for case in cases)
    run(pytester, text).assert_outcomes(passed=len(cases))


@pytest.mark.parametrize("arguments", ["my_conv, 'causal_conv1d'", "'causal_conv1d', my_conv"])
@pytest.mark.parametrize("mark", ["", "@pytest.mark.refar('causal_conv1d', only={'strict': False, 'b': None})"])
def test_function_and_operator_come_in_either_order(pytester: pytest.Pytester, mark: str, arguments: str) -> None:
    text = f"{CONV.format(mistake='')}\n    {mark}\n    def test_it(refar_case):\n        refar_case({arguments})"
    result = run(pytester, text)
    result.assert_outcomes(passed=len(golden_cases("causal_conv1d", {"strict": False, "b": None})) if mark else 1)


@pytest.mark.parametrize(
    ("mark", "call", "said"),
    [
        ("", "abs", "refar_case: expected a function and the name of its operator, refar_case(f, operator), got (builtin*"),
        ("", "'gate', 'relu'", "*refar_case(f, operator), got (gate, relu)*"),
        ("@pytest.mark.refar('gate')", "", "*refar_case(f) under the marker of 'gate', got ()*"),
        ("@pytest.mark.refar('gate')", "abs, 'relu'", "*refar_case(f) under the marker of 'gate', got (builtin*, relu)*"),
        (
            "@pytest.mark.refar('gate')",
            "abs, only={'b': None}",
            "*`only` in the marker, @pytest.mark.refar('gate', only={'b': N*",
        ),
    ],
)
def test_what_the_fixture_does_not_take(pytester: pytest.Pytester, mark: str, call: str, said: str) -> None:
    result = run(pytester, f"import pytest\n{mark}\ndef test_it(refar_case):\n    refar_case({call})")
    assert not result.parseoutcomes().get("passed")
    result.stdout.fnmatch_lines([f"*InputError: *{said}"])


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ('@pytest.mark.refar("gate", only={"strict": True})', "*refar: only: gate has no 'strict', but *"),
        (
            '@pytest.mark.refar("gate", convert=abs)',
            "*refar: expected the name of an operator, and at most `only` and `skip`*to refar_case*",
        ),
        (
            '@pytest.mark.refar("causal_conv")',
            "*refar: operator 'causal_conv' has no golden cases, did you mean 'causal_conv1d'?*",
        ),
        ("@pytest.mark.refar", "*refar: expected the name of an operator*"),
    ],
)
def test_a_marker_that_means_nothing(pytester: pytest.Pytester, mark: str, said: str) -> None:
    result = run(pytester, f"import pytest\n{mark}\ndef test_each(refar_case): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])


def test_an_operator_that_is_unknown(pytester: pytest.Pytester) -> None:
    result = run(pytester, 'def test_whole(refar_case):\n    refar_case("conv", abs)')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*InputError: operator 'conv' has no golden cases*"])


def test_tests_without_the_fixture_are_left_alone(pytester: pytest.Pytester) -> None:
    run(pytester, "def test_other(): pass").assert_outcomes(passed=1)


def test_it_is_registered_and_light() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"refar": "refar.testing.plugin"}
    code = "import refar.testing.plugin, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "onnx", "onnxruntime", "hypothesis", "matplotlib"} & set(loaded)
    assert {name for name in loaded if name.startswith("refar.testing")} == {"refar.testing", "refar.testing.plugin"}


def test_every_name_of_the_kit_is_there() -> None:
    for name in refar.testing.__all__:
        assert getattr(refar.testing, name) is not None
    with pytest.raises(AttributeError, match=r"module 'refar\.testing' has no attribute 'check_modul'"):
        refar.testing.check_modul  # noqa: B018
