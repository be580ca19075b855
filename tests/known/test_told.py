"""A check that fails in a user's test: the user's line, the sentence, and the call with its seed, but no line of refar."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from refar import Builder, Graph, ops
from refar.testing import ContractError, check_loss

pytest_plugins = ["pytester"]

TEST = """
    from torch import nn
    from refar import Builder, ops
    from refar.testing import check_module

    def test_mine():
        g = Builder()
        graph = g.build(g.conv1d(g.input(channels=2), 3, kernel=2, name="0"))
        check_module(nn.Sequential(nn.Conv1d(2, 3, 2, padding=1)), graph)  # the last output is too many
"""


def graph() -> Graph:
    g = Builder()
    return g.build(g.conv1d(g.one_hot(g.input(classes=3)), 3, strict=True), ops.Categorical())


def test_pytest_shows_the_line_of_the_test_and_none_of_refar(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    shown = result.stdout.str()
    result.stdout.fnmatch_lines(["*check_module(nn.Sequential*", "*ContractError: law 'again'*wrong shape*"])
    assert "to repeat: check_module(Sequential, graph, seed=0)" in shown
    assert "refar/testing" not in shown
    assert len(shown.splitlines()) < 35


def test_the_note_says_what_was_given() -> None:
    mask = np.ones((2, 4), bool)
    with pytest.raises(ContractError) as caught:
        check_loss(lambda y, x, mask: y.sum(), graph(), mask=mask, convert=torch.from_numpy, seed=3)
    assert caught.value.__notes__ == ["to repeat: check_loss(f, graph, mask=<bool (2, 4)>, convert=from_numpy, seed=3)"]


def test_what_the_code_under_test_raised_is_the_cause() -> None:
    with pytest.raises(ContractError) as caught:
        check_loss(nn.CrossEntropyLoss(weight=torch.ones(7)), graph())
    assert isinstance(caught.value.__cause__, RuntimeError)
