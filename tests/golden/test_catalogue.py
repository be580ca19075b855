"""The golden cases: right by every backend, sharp enough to see mistakes, and what they say of themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from refar import models
from refar.analysis.facts import facts
from refar.golden import FAMILIES, OPERATORS, Case, Signature, golden_cases, graph_families, head_operators, node_operators
from refar.golden.case import KINDS, REQUIRED, UNITS
from refar.golden.check import check
from refar.golden.vectors import read
from refar.mistakes import of_graphs, stream_mistakes
from refar.mistakes.of_operators import MISTAKES, ONES
from refar.mistakes.precision_mistakes import NAMES as TOO_COARSE
from refar.models.registry import NAMES
from refar.oracle.bound_graph import bound_graph, cast
from refar.oracle.whole import forward_nodes
from workshop import every_case, philox
from workshop.draw import Draw

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return read(GOLDEN)


def test_every_case_holds_in_numpy(cases: list[Case]) -> None:
    results = check(cases)
    assert [problem for result in results for problem in result.problems] == []
    assert [result.operator for result in results] == list(FAMILIES)
    assert {result.kind for result in results} == set(KINDS)
    assert sum(result.equal for result in results) > 40_000
    for result in results:
        assert max(result.worst.values()) <= 1
        assert result.cases > 0


def test_a_wrong_case_is_a_problem_with_its_place(cases: list[Case]) -> None:
    case = next(case for case in cases if case.id == "causal_conv1d/k1")
    y = case.expected["y"].copy()
    y[1, 2, 3] += 1
    wrong = [Case(**{**vars(case), "expected": {"y": y}}), Case(**{**vars(case), "operator": "unknown"})]
    shape = Case(**{**vars(case), "expected": {"y": y[:1], "gradient.z": y}})
    text = Case(**{**vars(next(c for c in cases if c.kind == "invalid")), "error": "something else"})
    accepted = Case(**{**vars(text), "text": '{"format": "refar-graph", "version": 1, "nodes": [], "output": "y"}'})
    problems = [problem for result in check([*wrong, shape, text, accepted]) for problem in result.problems]
    assert problems[0].startswith("causal_conv1d/k1, float32: y at [1, 2, 3]: expected ")
    assert problems[0].endswith("(1 of 48 differ; must be equal)")
    assert problems[1].startswith("causal_conv1d/k1, float64: y at [1, 2, 3]")
    assert problems[2] == "causal_conv1d/k1, float32: y: expected shape (1, 4, 6), got (2, 4, 6)"
    assert problems[3] == "causal_conv1d/k1, float32: gradient.z: expected shape (2, 4, 6), got None"
    assert "causal_conv1d/k1: operator 'unknown' is not known to this refar" in problems
    assert any(p.startswith("invalid/not-json: expected a refusal with 'something else', got 'graph JSON") for p in problems)


def test_what_goes_in_and_comes_out(cases: list[Case]) -> None:
    assert len({case.id for case in cases}) == len(cases)
    for case in cases:
        assert case.id.partition("/")[0] == case.operator
        assert FAMILIES[case.operator].kind == case.kind
        assert {array.dtype.name for array in case.arrays.values()} <= {"float32", "int64"}, case.id
        assert {array.dtype.name for array in case.expected.values()} <= {"float64", "int64"}
        assert {array.dtype.name for array in case.bound.values()} <= {"float32"}
        assert case.bound.keys() <= case.expected.keys()
        for name, bound in case.bound.items():
            assert bound.shape == case.expected[name].shape
            assert np.isfinite(bound).all()
            assert (bound >= 0).all()
        for array in (*case.arrays.values(), *case.expected.values()):
            assert np.isfinite(array).all()
        if case.exact and case.kind in ("op", "step"):
            for array in case.expected.values():
                np.testing.assert_array_equal(array, array.astype(np.float32))


def test_arrays_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        golden_cases("gate")[0].arrays["x"][0] = 0


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_mistake_of_the_table_is_caught_by_some_case(operator: str, cases: list[Case]) -> None:
    """And a case says only what it catches."""
    known = OPERATORS[operator]
    own = [case for case in cases if case.operator == operator]
    caught = Counter(name for case in own for name in case.catches)
    has_gradient = any(known.signature.upstream in case.arrays for case in own)
    assert set(caught) - {*TOO_COARSE} == {*MISTAKES[operator]} | ({ONES} if has_gradient else set())
    assert all({*case.catches} - {*TOO_COARSE} for case in own), "a case that catches nothing"


@pytest.mark.parametrize("operator", ["causal_conv1d", "masked_conv2d", "gate", "cross_entropy", "gumbel_softmax"])
def test_a_format_that_is_too_coarse_is_caught(operator: str) -> None:
    caught = {name for case in golden_cases(operator) for name in case.catches}
    assert {*TOO_COARSE} <= caught


def test_mistakes_of_networks_and_streams_are_caught(cases: list[Case]) -> None:
    caught = {kind: {name for case in cases if case.kind == kind for name in case.catches} for kind in KINDS}
    assert caught["step"] == set(stream_mistakes.MISTAKES)
    unseen = {  # the golden networks have no padding "input", no embedding, no such functions and norms, and no kernels so odd
        "zeros in front of every layer", "classes counted from 1", "class 0 is padding, all zero",
        "anchor ignored, taken for the centre", "anchor of rows and columns swapped", "dilation of rows and columns swapped",
        "colours counted anew in every group", "colours of the inputs counted anew in every group",
        "gelu by a tanh where erf is meant", "gelu by erf where a tanh is meant", "alpha ignored (1)",
        "ends of the clip ignored (-1 and 1)", "scale of the channels left out", "mean not subtracted from the channels",
        "mean subtracted from the channels", "eps ignored (1e-5)", "one slope for all channels", "slopes ignored (0.25)",
    }  # fmt: skip
    causes = {of_graphs.POWERS, *of_graphs.ROUNDED}  # tried on modules alone, and not counted for golden networks
    assert caught["model"] == set(of_graphs.NAMES) - unseen - causes
    assert {"x_0 left out", "horizon off by one", "log p · p(y) for log p + log p(y)"} <= caught["density"]


def test_convolutions_have_sizes_that_cannot_be_taken_for_each_other(cases: list[Case]) -> None:
    kernels, fields = set(), set()
    for case in (case for case in cases if case.operator == "causal_conv1d"):
        (batch, channels, length), (outputs, _, kernel) = case.arrays["x"].shape, case.arrays["w"].shape
        dilation = case.attributes["dilation"]
        kernels.add(kernel)
        field = (kernel - 1) * dilation + 1
        fields |= {"shorter" if length < field else "equal" if length == field else "longer"}
        fields |= {"remainder"} if length % dilation else set()
        if case.attributes["groups"] == 1:
            assert len({batch, channels, outputs}) == 3, case.id
        if "b" in case.arrays:
            assert (case.arrays["b"] != 0).all()
        if kernel > 1:
            assert (case.arrays["w"] != case.arrays["w"][:, :, ::-1]).any()
    assert kernels == {1, 2, 3, 4}
    assert fields == {"shorter", "equal", "longer", "remainder"}


def test_relus_of_networks_stand_clear_of_their_kinks(cases: list[Case]) -> None:
    """The bounds of gradients are of first order: no value may cross 0 by rounding."""
    for case in (case for case in cases if case.kind == "model"):
        assert case.graph is not None
        params = {n.removeprefix("param."): a for n, a in case.arrays.items() if n.startswith("param.")}
        inputs = {n.removeprefix("input."): a for n, a in case.arrays.items() if n.startswith("input.")}
        values = forward_nodes(bound_graph(case.graph, params, "float64"), cast(inputs, "float64"))
        for node in case.graph.nodes:
            if node.op.__struct_config__.tag == "activation":
                x = values[node.inputs[0]]
                assert np.abs(x[x != 0]).min() > 1e-5, (case.id, node.name)


def test_the_networks_are_those_of_the_library(cases: list[Case]) -> None:
    graphs = {case.id.partition("/")[2]: case.graph for case in cases if case.operator == "network"}
    assert graphs["nettoy1d"] == models.nettoy1d(5, hidden=4, mean=2.0, std=1.5)
    assert {*NAMES} <= graphs.keys()
    tags = {node.op.__struct_config__.tag for graph in graphs.values() if graph is not None for node in graph.nodes}
    assert {"conv1d", "conv2d", "pool1d", "gate", "multiply", "softmax", "position", "shift", "shift2d", "concat"} <= tags


def test_states_have_the_length_that_inference_says(cases: list[Case]) -> None:
    for case in (case for case in cases if case.kind == "step"):
        assert case.graph is not None
        found = facts(case.graph)
        (batch, *_, length) = case.arrays[f"input.{found.sequence}"].shape
        states = {name: array for name, array in case.expected.items() if name.startswith("state.")}
        assert states
        for name, array in states.items():
            assert array.shape[:3] == (length + 1, batch, found.types[name.removeprefix("state.")].size)
        assert case.expected["y"].shape[2] == length + (case.operator == "next")


def test_each_table_has_a_row_for_each_operator() -> None:
    assert {*node_operators.TO_OP, *head_operators.COMPUTE} == {*OPERATORS} == {*MISTAKES}
    assert {*graph_families.COMPUTE} == {*FAMILIES} - {*OPERATORS, "invalid"}
    assert [(each.name, each.kind, each.signature, each.source) for each in every_case.OPERATORS] == [
        (name, each.kind, each.signature, each.source) for name, each in OPERATORS.items()
    ]
    assert [(each.operator, each.kind) for each in every_case.FAMILIES] == [(n, each.kind) for n, each in FAMILIES.items()]


def test_philox_is_that_of_random123() -> None:
    """The known answers for Philox4x64-10 that come with the source's library."""
    zeros = philox.block((0, 0), 0)
    assert zeros == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    ones = 2**64 - 1
    assert philox.block((ones, ones), 2**256 - 1) == [
        0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0,
    ]  # fmt: skip


def test_drawn_numbers_never_change() -> None:
    """Files made on other machines and with other versions of NumPy are the same."""
    draw = Draw("causal_conv1d/k1")
    assert draw.seed == 1765231855
    assert draw.integers(6).tolist() == [7, 3, -2, 5, 8, 5]
    assert draw.reals(3).tolist() == [-0.38748347759246826, -0.6399003267288208, 0.7687996029853821]
    assert draw.classes(6, classes=5).tolist() == [2, 3, 1, 3, 4, 4]


def test_signatures_are_read_from_text() -> None:
    signature = OPERATORS["causal_conv1d"].signature
    assert str(signature) == "causal_conv1d(x_bit, w_oik, b_o=None, *, dilation=1, groups=1, strict=False) → y_bot"
    assert signature.arguments == {"x": "bit", "w": "oik", "b": "o"}
    assert signature.optional == {"b"}
    assert signature.attributes == {"dilation": 1, "groups": 1, "strict": False}
    assert (signature.result, signature.axes, signature.upstream) == ("y", "bot", "dy")
    assert signature.axes_of("gradient.w") == "oik"
    assert Signature.of("f(x_n, *, wide) -> u_n").attributes == {"wide": REQUIRED}


def test_units_are_half_the_spacing_at_1() -> None:
    assert {dtype: np.finfo(dtype).eps / 2 for dtype in UNITS} == UNITS
