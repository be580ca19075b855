"""What random networks there are, that they shrink to small ones, and what `make fuzz` does with them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, get_args

import fuzz
import numpy as np
import pytest
from hypothesis import Phase, find, settings
from hypothesis.strategies import SearchStrategy

from refar import Graph, from_json, ops
from refar.graph.graph import digest
from refar.testing import strategies

HEADS = [type(None), *get_args(ops.AnyHead)]


def smallest(graphs: SearchStrategy[Graph], wanted: Callable[[Graph], bool]) -> Graph:
    quiet = settings(database=None, deadline=None, max_examples=2000, phases=(Phase.generate, Phase.shrink))
    return find(graphs, wanted, settings=quiet, random=Random(0))


@pytest.mark.parametrize("padding", ["layer", "input", "valid"])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_under_every_padding(head: type, padding: str) -> None:
    found = smallest(strategies.graphs(), lambda graph: graph.padding == padding and isinstance(graph.head, head))
    assert len(found.nodes) <= 5, "the input, a lookup if any, the last, and little more"


@pytest.mark.parametrize("head", HEADS)
def test_every_head_over_a_plane(head: type) -> None:
    assert len(smallest(strategies.plane_graphs(), lambda graph: isinstance(graph.head, head)).nodes) <= 5


def fuzzed(monkeypatch: pytest.MonkeyPatch, check: Callable[..., None]) -> tuple[int, int]:
    monkeypatch.setattr(fuzz, "check_contract", check)
    return fuzz.run("strict", 60, 5, lambda: None)


def test_graphs_are_counted_once_and_have_data_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[tuple[str, int]] = []
    drawn, distinct = fuzzed(monkeypatch, lambda graph, seed: met.append((digest(graph), seed)))
    assert drawn >= distinct == len(met) == 60
    for column in zip(*met, strict=True):
        assert len(np.unique(column)) == 60


def test_what_breaks_is_printed_small(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def check(graph: Graph, seed: int) -> Any:
        if any(isinstance(node.op, ops.Pool1d) for node in graph.nodes):
            raise ZeroDivisionError(seed)

    with pytest.raises(ZeroDivisionError) as failure:
        fuzzed(monkeypatch, check)
    text, _, seed = capsys.readouterr().err.rpartition("seed ")
    assert int(seed) == failure.value.args[0]
    printed = from_json('{\n  "format"' + text.rpartition('{\n  "format"')[2])
    assert len(printed.nodes) <= 5, "the input, a delay, the pool, perhaps its ones, and the last"
