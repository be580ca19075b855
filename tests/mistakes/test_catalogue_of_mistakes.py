"""The catalogue of mistakes: complete over the operators, one definition for each name, on graphs and on arrays alike."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

import refar
from refar import Builder, Graph, models, ops
from refar.golden import OPERATORS, golden_cases
from refar.golden.compare import as_dtype
from refar.golden.node_operators import FUNCTIONS, as_graph
from refar.mistakes.masks import MASKS
from refar.mistakes.of_graphs import HALVES, NAMES, PADDINGS, everywhere, one_by_one, output
from refar.mistakes.of_operators import MISTAKES, names_of
from refar.mistakes.rewrites import REWRITES, rewritten
from refar.oracle.convolution import mask_oihw

WITHOUT: set[type[ops.Op]] = {
    # no mistake that rewrites them is known
    ops.Input, ops.PadChannels, ops.Ones, ops.Position, ops.OneHot, ops.Add, ops.Multiply, ops.Affine, ops.Concat, ops.Slice,
    ops.Softmax, ops.Gate, ops.Dropout,
}  # fmt: skip


def network() -> Graph:
    """Two dilated layers, one after the other, and a gate."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=4)), 6, kernel=2, strict=True, name="front")
    for i in range(2):
        h = g.add(h, g.conv1d(g.gate(g.conv1d(h, 12, kernel=3, dilation=2 + i, name=f"block{i}.conv")), 6, name=f"block{i}.out"))
    return g.build(g.conv1d(h, 4, name="logits"), ops.Categorical())


def test_every_operator_has_a_row_or_is_known_to_have_none() -> None:
    rewritten_ones = {kind for rows in REWRITES.values() for kind in rows}
    missing = {*get_args(ops.AnyOp)} - WITHOUT - rewritten_ones
    assert not missing, f"{missing}: add a row to REWRITES in refar/mistakes/rewrites.py, or the operator to WITHOUT above"
    assert not rewritten_ones & WITHOUT


def test_no_mistake_goes_by_two_definitions() -> None:
    """A rewrite of such an operator is what its name means on arrays too."""
    assert len(NAMES) == len({*NAMES}) == len(PADDINGS) + len(REWRITES) + 1
    for operator, table in MISTAKES.items():
        case = golden_cases(operator)[0]
        kind = type(OPERATORS[operator].to_op(case.attributes, case.arrays))
        for name in table.keys() & {name for name, rows in REWRITES.items() if kind in rows}:
            assert table[name].__qualname__ == "ArrayNode._rewrite.<locals>.wrong", (operator, name)


@pytest.mark.parametrize(
    "operator",
    [
        "causal_conv1d",
        "masked_conv2d",
        "causal_pool1d",
        "shift1d",
        "shift2d",
        "activation",
        "layer_norm",
        "rms_norm",
        "prelu",
        *FUNCTIONS,
    ],
)
def test_a_rewrite_gives_the_same_on_the_arrays_of_a_case_and_on_a_graph(operator: str) -> None:
    seen = set()
    for case in golden_cases(operator):
        op = OPERATORS[operator].to_op(case.attributes, case.arrays)
        assert op is not None
        try:
            graph, own = as_graph(case, op)
        except refar.RefarError:
            continue
        for name in MISTAKES[operator].keys() & REWRITES.keys():
            wrong = everywhere(name, graph, as_dtype(own, "float64"))
            if wrong is not None:
                found = MISTAKES[operator][name](as_dtype(case.arrays, "float64"), case.attributes)["y"]
                np.testing.assert_allclose(output(wrong, {"x": case.arrays["x"]}), found, rtol=1e-12, atol=1e-12)
                seen.add(name)
    assert seen == MISTAKES[operator].keys() & REWRITES.keys()


def test_where_a_mistake_is_stands_in_its_words() -> None:
    graph = network()
    words = [wrong.words for wrong in one_by_one(graph, refar.init(graph)) if wrong.words.startswith("dilation ignored")]
    assert words == [
        "dilation ignored everywhere",
        "dilation ignored in 'block0.conv'",
        "dilation ignored in 'block1.conv'",
    ]
    words = [wrong.words for wrong in one_by_one(graph, refar.init(graph)) if wrong.words.startswith("kernel flipped")]
    assert words[:2] == ["kernel flipped everywhere", "kernel flipped in 'front'"]
    assert "kernel flipped in 'block0.conv', 'block1.conv'" in words


def test_what_cannot_be_made_is_none() -> None:
    graph, convolution = models.tcn(2, [3], kernel=2), ops.Conv1d(2, 1)
    assert everywhere(HALVES, graph, refar.init(graph)) is None
    assert everywhere("zeros in front of every layer", graph, refar.init(graph)) is None
    own = {"weight": np.ones((2, 3, 1)), "bias": np.ones(2)}
    for name in ("dilation ignored", "kernel flipped", "strict ignored: sees the present", "mask ignored", "weight transposed"):
        assert rewritten(name, convolution, own) is None
    assert rewritten("bias dropped", convolution, own) is not None


@pytest.mark.parametrize("name", MASKS)
def test_a_wrong_mask_is_wrong_and_leaves_an_operator_without_mask_alone(name: str) -> None:
    shapes = {"A": (12, 6, 3, 3), "B": (12, 6, 3, 3)}
    masks = [(ops.Conv2d(12, (3, 3), kind, colours=3, groups=2), shape) for kind, shape in shapes.items()]  # type: ignore[arg-type]
    odd = ops.Conv2d(6, (3, 3), "B", colours=3, groups=2)  # groups that begin with another colour
    masks.append((odd, (6, 4, 3, 3)))
    assert any((MASKS[name](op, shape) != mask_oihw(op, shape)).any() for op, shape in masks)
    assert MASKS[name](ops.Conv2d(4, (3, 3)), (4, 2, 3, 3)).all()


def test_every_operator_with_golden_cases_has_mistakes() -> None:
    assert MISTAKES.keys() == OPERATORS.keys()
    assert all(len({*names_of(operator)}) == len(names_of(operator)) > 4 for operator in MISTAKES)
