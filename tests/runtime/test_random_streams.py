"""Random networks at every optimisation level, under whatever may be done to a stream."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stream_actions import Trial
from stream_graphs import GRAPHS

from refar import Graph
from refar.analysis.facts import facts
from refar.testing import strategies


@settings(max_examples=40)
@given(graph=strategies.graphs(paddings=("layer", "input")), seed=st.integers(0, 999))
def test_random_graphs(graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    assume(facts(graph).looks_ahead is None)
    Trial(graph, tmp_path_factory.mktemp("trial"), seed).run(8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", GRAPHS)
def test_networks_at_every_level(name: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    Trial(GRAPHS[name], tmp_path_factory.mktemp("trial"), seed).run(20)
