"""Graphs as text: canonical both ways, and refused with the place and the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import refuses
from hypothesis import given

from refar import Builder, Graph, from_json, load, ops, save, to_json
from refar.errors import FileError, GraphError
from refar.graph import operator_names
from refar.infer import analyse
from refar.testing import strategies


def document(*nodes: dict[str, object], output: str = "y", **fields: object) -> str:
    return json.dumps({"format": "refar-graph", "version": 1, "nodes": list(nodes), "output": output, **fields})


X = {"name": "x", "op": {"type": "input", "channels": 2}}
RELU = {"type": "activation", "kind": "relu"}


@given(strategies.graphs())
def test_text_and_back_is_the_identity(graph: Graph) -> None:
    text = to_json(graph)
    assert from_json(text) == graph
    assert to_json(from_json(text)) == text
    assert to_json(from_json(json.dumps(json.loads(text)))) == text, "layout does not matter"


def test_every_model_survives_text(model: Graph) -> None:
    assert to_json(from_json(to_json(model))) == to_json(model)
    assert from_json(to_json(model)) == model


def test_canonical_text_leaves_defaults_out() -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input(classes=0, channels=1), 1, kernel=2))
    assert json.loads(to_json(graph)) == {
        "format": "refar-graph",
        "version": 1,
        "nodes": [
            {"name": "x", "op": {"type": "input", "channels": 1}},
            {"name": "conv1d", "op": {"type": "conv1d", "channels": 1, "kernel": 2}, "inputs": ["x"]},
        ],
        "output": "conv1d",
    }


def test_a_file_and_back(tmp_path: Path, model: Graph) -> None:
    save(model, tmp_path / "graph.json")
    assert load(tmp_path / "graph.json") == model
    with refuses(FileError, "missing.json", "No such file"):
        load(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("{", ["not JSON", "truncated"]),
        ("", ["not JSON"]),
        ("[]", ["graph JSON", "Expected `object`, got `array`"]),
        (document(X, {"name": "y", "op": {"type": "conv3d"}}), ["conv3d", "$.nodes[1].op.type", *operator_names()]),
        (document(X, {"name": "y", "op": {**RELU, "slop": 1}, "inputs": ["x"]}), ["unknown field `slop`", "$.nodes[1].op"]),
        (document(X, {"name": "y", "op": {"type": "conv1d"}, "inputs": ["x"]}), ["missing required field `channels`", "op"]),
        (document(X, {"name": "y", "op": {"type": "conv1d", "channels": 0}, "inputs": ["x"]}), [">= 1", "op.channels"]),
        (document(X, {"name": "y", "op": {"type": "conv1d", "channels": 1.5}, "inputs": ["x"]}), ["`int`", "`float`"]),
        (document(X, {"name": "y", "op": {"type": "activation", "kind": "gelu"}, "inputs": ["x"]}), ["'gelu'", "op.kind"]),
        (document(X, output="x", colour="red"), ["unknown field `colour`"]),
        (document(X, output="x", head={"type": "poisson"}), ["poisson", "$.head"]),
        (document(X), ["output 'y' is not a node", "the nodes are x"]),
        (document(X, X, output="x"), ["'x' is used twice"]),
        (document({**X, "name": "1x"}, output="1x"), ["'1x'", "identifiers joined by dots"]),
        (document(X, {"name": "y", "op": RELU, "inputs": ["z"]}), ["node 'y'", "input 'z' is not a node", "x, y"]),
        (document({"name": "y", "op": RELU, "inputs": ["x"]}, X), ["node 'y'", "'x' comes later", "order of evaluation"]),
        (document(X, {"name": "y", "op": RELU, "inputs": ["y"]}), ["cycle", "y ← y"]),
        (
            document(
                X,
                {"name": "a", "op": {"type": "add"}, "inputs": ["x", "b"]},
                {"name": "b", "op": RELU, "inputs": ["a"]},
                output="b",
            ),
            ["node 'a'", "cycle", "a ← b ← a"],
        ),
    ],
)
def test_what_is_no_graph_is_refused(text: str, fragments: list[str]) -> None:
    with refuses(GraphError, *fragments):
        from_json(text)


def test_another_version_is_refused() -> None:
    with refuses(GraphError, "version", "2"):
        from_json(document(X, output="x").replace('"version": 1', '"version": 2'))


def node(op: dict[str, object], *inputs: str) -> dict[str, object]:
    return {"name": "y", "op": op, "inputs": list(inputs)}


CLASSES = {"name": "q", "op": {"type": "input", "role": "global", "classes": 4}}
VECTOR = {"name": "v", "op": {"type": "input", "role": "global", "channels": 3}}


@pytest.mark.parametrize(
    ("nodes", "fragments"),
    [
        ([X, VECTOR, node({"type": "add"}, "x", "v")], ["node 'y' (add)", "equal channels", "'x' with 2, 'v' with 3"]),
        ([X, node({"type": "add"}, "x")], ["node 'y' (add)", "at least two inputs", "got 1"]),
        ([X, node(RELU, "x", "x")], ["node 'y' (activation)", "one input", "got 2"]),
        ([X, node({"type": "slice", "start": 1, "stop": 3}, "x")], ["'y' (slice)", "stop ≤ 2 channels", "start=1, stop=3"]),
        ([X, node({"type": "slice", "start": 1, "stop": 1}, "x")], ["'y' (slice)", "start < stop", "start=1, stop=1"]),
        ([X, node({"type": "one_hot"}, "x")], ["'y' (one_hot)", "class indices", "2 channels over time"]),
        ([X, CLASSES, node({"type": "concat"}, "x", "q")], ["'y' (concat)", "real values", "4 classes constant"]),
        ([X, VECTOR, node({"type": "shift"}, "v")], ["'y' (shift)", "a value over time", "3 channels constant"]),
        ([X, VECTOR, node({"type": "conv1d", "channels": 1, "kernel": 2}, "v")], ["kernel 1", "constant value"]),
        ([X, VECTOR, node({"type": "conv1d", "channels": 1, "strict": True}, "v")], ["no strictness", "constant value"]),
        ([X, VECTOR, node({"type": "gate"}, "v")], ["'y' (gate)", "even number of channels", "got 3"]),
        ([X, VECTOR, node(RELU, "v")], ["output 'y' does not depend on the sequence 'x'"]),
        ([VECTOR, node(RELU, "v")], ["expected one sequence input, got 0: none"]),
        ([X, {**X, "name": "z"}, node({"type": "add"}, "x", "z")], ["expected one sequence input, got 2: x, z"]),
        ([{"name": "x", "op": {"type": "input"}}, node(RELU, "x")], ["'x' (input)", "either classes ≥ 2 or channels ≥ 1"]),
        ([{"name": "x", "op": {"type": "input", "classes": 1}}, node({"type": "one_hot"}, "x")], ["classes ≥ 2", "got 1"]),
    ],
)
def test_a_node_without_a_meaning_is_named(nodes: list[dict[str, object]], fragments: list[str]) -> None:
    with refuses(GraphError, *fragments):
        analyse(from_json(document(*nodes)))


@pytest.mark.parametrize(
    ("head", "indexed", "channels", "fragments"),
    [
        (ops.Categorical(), True, 4, ["logits", "5 classes over time", "got 4 channels"]),
        (ops.Categorical(), False, 5, ["logits for the classes of an index sequence"]),
        (ops.Gaussian(), True, 5, ["means for the channels of a signal"]),
        (ops.Gaussian(), False, 4, ["means", "5 channels over time", "got 4 channels"]),
    ],
)
def test_a_head_that_does_not_fit_is_refused(head: ops.AnyHead, indexed: bool, channels: int, fragments: list[str]) -> None:
    g = Builder()
    h = g.one_hot(g.input(classes=5)) if indexed else g.input(channels=5)
    with refuses(GraphError, *fragments):
        analyse(g.build(g.conv1d(h, channels, strict=True), head))


def test_probabilities_are_no_logits() -> None:
    g = Builder()
    with refuses(GraphError, "expects logits", "softmax"):
        analyse(g.build(g.softmax(g.delay(g.one_hot(g.input(classes=5)))), ops.Categorical()))


def test_builder_names_nodes_by_scope_and_kind() -> None:
    g = Builder()
    x = g.input(channels=2)
    with g.scope("block0"), g.scope("inner"):
        names = [g.relu(x), g.relu(x), g.relu(x, name="own")]
    assert names == ["block0.inner.activation", "block0.inner.activation_2", "block0.inner.own"]
    g.relu(x, name="own")
    g.relu(x, name="own")
    with refuses(GraphError, "'own' is used twice"):
        g.build(x)


def test_a_node_is_found_by_name(model: Graph) -> None:
    assert model[model.output].name == model.output
    with refuses(GraphError, "'nowhere' is not a node", model.output):
        model["nowhere"]
