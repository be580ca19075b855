"""Which condition of a network the encoder of [encoder] makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refar.analysis.facts import facts
from refar.data import Dataset
from refar.errors import GraphError, InputError, near
from refar.graph.graph import Graph


def encoded_condition(table: Mapping[str, Any], graph: Graph, data: Dataset) -> str:
    """The condition that the encoder makes: the one that is named, or the only vector that the data do not give."""
    types = {name: facts(graph).types[name] for name in facts(graph).conditions}
    vectors = [name for name, kind in types.items() if not kind.indexed and not kind.timed]
    if "condition" in table:
        wanted = str(table["condition"])
        if wanted not in types:
            raise InputError(f"encoder.condition: the graph has no condition {wanted!r}{near(wanted, types)}")
        if wanted not in vectors:
            raise GraphError(f"encoder.condition: expected a vector for the whole sequence, but {wanted!r} is {types[wanted]}")
        return wanted
    if len(vectors) > 1:
        vectors = [name for name in vectors if name not in data.train.conditions]
    if len(vectors) != 1:
        found = ", ".join(f"{name!r} ({kind})" for name, kind in types.items()) or "none"
        raise GraphError(
            'encoder: expected a graph with one vector as its condition, as condition = "vector:16" of a built-in model; its '
            f"conditions are: {found}. Of several, say which with `condition` in [encoder]"
        )
    return vectors[0]
