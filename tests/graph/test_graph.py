"""Graphs as text: canonical both ways, and refused with the place and the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from helpers import refuses
from hypothesis import given

import refar
from refar import Builder, Graph, from_json, load, ops, save, to_json
from refar.errors import FileError, GraphError
from refar.graph.decode import tagged
from refar.graph.graph import pruned, unread
from refar.testing import check_contract, strategies


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
    save(model, str(tmp_path / "new" / "graph.json"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["graph.json"]


def test_what_can_neither_be_written_nor_read(tmp_path: Path, model: Graph) -> None:
    with refuses(GraphError, "expected a refar.Graph, got str"):
        save("graph.json", model)
    for path in (None, model, 3):
        with refuses(FileError, f"expected the path of a file or folder, got {type(path).__name__}"):
            save(model, path)
        with refuses(FileError, f"expected the path of a file or folder, got {type(path).__name__}"):
            load(path)
    with refuses(FileError, f"{str(tmp_path)!r} is a folder"):
        save(model, tmp_path)
    with refuses(FileError, f"{str(tmp_path)!r} cannot be read"):
        load(tmp_path)
    for text in (None, {}, model):
        with refuses(GraphError, f"graph JSON: expected text or bytes, got {type(text).__name__}"):
            from_json(text)
    for text in (b"\xff", "\ud800", "[" * 100_000):
        with refuses(GraphError, "graph JSON: not JSON"):
            from_json(text)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("{", ["not JSON", "truncated"]),
        ("", ["not JSON"]),
        ("[]", ["graph JSON", "Expected `object`, got `array`"]),
        (document(X, {"name": "y", "op": {"type": "conv3d"}}), ["node 'y' at $.nodes[1].op.type", "conv3d", *tagged(ops.AnyOp)]),
        (
            document(X, {"name": "y", "op": {**RELU, "slop": 1}, "inputs": ["x"]}),
            ["node 'y'", "unknown field `slop`", "kind, slope"],
        ),
        (document(X, {"name": "y", "op": {"type": "conv1d"}, "inputs": ["x"]}), ["missing required field `channels`", "op"]),
        (
            document(X, {"name": "y", "op": {"type": "conv1d", "channels": 0}, "inputs": ["x"]}),
            ["node 'y'", ">= 1, got 0", "op.channels"],
        ),
        (document(X, {"name": "y", "op": {"type": "conv1d", "channels": 1.5}, "inputs": ["x"]}), ["`int`", "`float` 1.5"]),
        (
            document(X, {"name": "y", "op": {"type": "activation", "kind": "swish"}, "inputs": ["x"]}),
            ["node 'y'", "'swish'", "op.kind", "'relu' or 'leaky_relu'", "'silu'"],
        ),
        (document(X, output="x", colour="red"), ["unknown field `colour`", "the fields are format, version, nodes, output"]),
        (document({**X, "input": []}, output="x"), ["unknown field `input`", "$.nodes[0]", "the fields are name, op, inputs"]),
        (document(X, output="x", padding="zero"), ["$.padding", "'zero'", "expected 'layer' or 'input' or 'valid'"]),
        (document({"name": "x", "op": []}, output="x"), ["node 'x'", "$.nodes[0].op", "Expected `object`, got `array`"]),
        (document({"op": 3}, output="x"), ["$.nodes[0]", "Expected `object`, got `int` 3"]),
        (document(7, output="x"), ["$.nodes[0]", "Expected `object`, got `int` 7"]),
        (
            json.dumps({"format": "refar-graph", "version": 1, "nodes": 3, "output": "x"}),
            ["$.nodes", "Expected `array`, got `int` 3"],
        ),
        (document(X, output="x", head={"type": "poisson"}), ["poisson", "$.head", "the heads are categorical, gaussian"]),
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
    with refuses(GraphError, "$.version", "2", "this refar reads version 1"):
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
        (
            [X, node({"type": "conv1d", "channels": 4, "groups": 3}, "x")],
            ["'y' (conv1d)", "channels that 3 groups divide", "2 input and 4 output channels"],
        ),
        (
            [X, node({"type": "conv1d", "channels": 3, "groups": 2}, "x")],
            ["'y' (conv1d)", "channels that 2 groups divide", "2 input and 3 output channels"],
        ),
        ([X, node({"type": "pad_channels"}, "x", "x")], ["'y' (pad_channels)", "one input", "got 2"]),
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
        from_json(document(*nodes))


@pytest.mark.parametrize(
    ("head", "indexed", "channels", "fragments"),
    [
        (ops.Categorical(), True, 4, ["logits", "5 classes over time", "got 4 channels"]),
        (ops.Categorical(), False, 5, ["logits for the classes of an index sequence"]),
        (ops.Gaussian(), True, 5, ["means for the channels of a signal"]),
        (ops.Gaussian(), False, 4, ["means", "5 channels over time", "got 4 channels"]),
        (ops.LearntGaussian(), True, 10, ["means and log-scales for the channels of a signal"]),
        (ops.LearntGaussian(), False, 5, ["means and log-scales", "5 channels over time", "got 5 channels"]),
        (ops.MixtureGaussians(2), True, 30, ["logits, means and log-scales of 2 components for each channel of a signal"]),
        (ops.MixtureGaussians(2), False, 6, ["log-scales of 2 components", "5 channels over time", "got 6 channels"]),
        (ops.MixtureLogistics(2, 5), True, 5, ["6 channels (logits, means and log-scales of 2 components)", "got 5 channels"]),
        (ops.MixtureLogistics(2, 6), True, 6, ["for 6 classes, but the sequence that it models is 5 classes over time"]),
        (ops.MixtureLogistics(2, 5), False, 6, ["for 5 classes, but the sequence that it models is 5 channels over time"]),
    ],
)
def test_a_head_that_does_not_fit_is_refused(head: ops.AnyHead, indexed: bool, channels: int, fragments: list[str]) -> None:
    g = Builder()
    h = g.one_hot(g.input(classes=5)) if indexed else g.input(channels=5)
    with refuses(GraphError, *fragments):
        g.build(g.conv1d(h, channels, strict=True), head)


def test_probabilities_are_no_logits() -> None:
    g = Builder()
    with refuses(GraphError, "expects logits", "softmax"):
        g.build(g.softmax(g.delay(g.one_hot(g.input(classes=5)))), ops.Categorical())


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


@pytest.mark.parametrize(
    ("build", "fragments"),
    [
        (lambda g, x: g.conv1d(x, 0), ["node 'conv1d' (conv1d), channels", "`int` >= 1, got 0"]),
        (lambda g, x: g.conv1d(x, 1.5, name="own"), ["node 'own' (conv1d), channels", "`int`, got `float` 1.5"]),
        (lambda g, x: g.conv1d(x, None), ["channels", "`int`, got `null`"]),
        (lambda g, x: g.conv1d(x, ops.Gate), ["channels", "`int`, got `str` ", "Gate"]),
        (lambda g, x: g.pool1d(x, "median", 2, pad="zero"), ["node 'pool1d' (pool1d), kind", "'median'", "'avg' or 'max'"]),
        (lambda g, x: g.affine(x, float("nan")), ["node 'affine' (affine): scale: expected a finite number, got nan"]),
        (lambda g, x: g.add_op(ops.Gate, x), ["node 'node': expected one of input, conv1d", "got <class 'refar.ops.Gate'>"]),
        (lambda g, x: g.clip(x, 2, 1), ["node 'activation' (activation)", "expected low < high", "low=2.0, high=1.0"]),
        (lambda g, x: g.elu(x, -1), ["node 'activation' (activation), alpha", "> 0.0, got -1"]),
        (lambda g, x: g.snake(x, 0), ["alpha", "> 0.0, got 0"]),
        (lambda g, x: g.relu(3), ["node 'activation' at $.nodes[1].inputs[0]", "`str`, got `int` 3"]),
        (lambda g, x: g.add([x, x]), ["node 'add' at $.nodes[1].inputs[0]", "`str`, got `array`"]),
        (lambda g, x: g.relu(x, name="3x"), ["node name '3x'", "identifiers joined by dots, or whole numbers"]),
        (lambda g, x: [g.relu(x, name="first"), g.tanh(x)][1], ["node 'first'", "read by nothing", "output 'activation'"]),
        (lambda g, x: [g.add(g.relu(x), g.tanh(x)), x][1], ["nodes 'activation', 'activation_2', 'add'", "connect or leave out"]),
        (lambda g, x: [g.condition("speaker", classes=3), x][1], ["node 'speaker'", "read by nothing"]),
        (lambda g, x: g.gate(g.conv1d(x, 3)), ["node 'gate' (gate)", "even number of channels", "got 3"]),
        (lambda g, x: g.add(x, g.conv1d(x, 3)), ["node 'add' (add)", "equal channels", "'x' with 2, 'conv1d' with 3"]),
        (lambda g, x: g.conv1d(g.input("z", classes=3), 1), ["node 'conv1d' (conv1d)", "real values", "3 classes"]),
        (lambda g, x: 3, ["graph at $.output", "`str`, got `int` 3"]),
        (lambda g, x: [x], ["graph at $.output", "`str`, got `array`"]),
    ],
)
def test_a_builder_refuses_what_has_no_meaning(build: Callable[[Builder, str], str], fragments: list[str]) -> None:
    g = Builder()
    with refuses(GraphError, *fragments):
        g.build(build(g, g.input(channels=2)))


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        ({"head": ops.Categorical}, ["head: expected one of categorical, gaussian", "got <class 'refar.ops.heads.Categorical'>"]),
        ({"head": "categorical"}, ["head: expected one of categorical", "got 'categorical'"]),
        ({"head": ops.Gaussian(0)}, ["head (gaussian), std", "> 0.0, got 0"]),
        ({"head": ops.LearntGaussian(-31)}, ["head (learnt_gaussian), floor", ">= -30.0, got -31"]),
        ({"head": ops.LearntGaussian(float("nan"))}, ["head (learnt_gaussian)", "floor", "nan"]),
        ({"head": ops.MixtureGaussians(0)}, ["head (mixture_gaussians), components", ">= 1, got 0"]),
        ({"head": ops.Gaussian(float("inf"))}, ["head (gaussian): std: expected a finite number, got inf"]),
        ({"padding": "zero"}, ["graph at $.padding", "'zero'", "'layer' or 'input'"]),
        ({"padding": object}, ["graph at $.padding", "'layer' or 'input'"]),
    ],
)
def test_a_builder_refuses_what_a_graph_cannot_have(options: dict[str, Any], fragments: list[str]) -> None:
    g = Builder()
    with refuses(GraphError, *fragments):
        g.build(g.input(channels=2), **options)


def test_a_builder_takes_the_numbers_of_numpy() -> None:
    def build(i: Callable[[int], Any], f: Callable[[float], Any], true: Any) -> Graph:
        g = Builder()
        h = g.conv1d(g.input(channels=i(2)), i(4), kernel=i(3), dilation=i(2), strict=true, groups=i(2))
        return g.build(g.affine(g.slice(h, i(0), i(2)), f(0.5), f(2)), ops.Gaussian(f(0.25)))

    assert build(np.int64, np.float32, np.True_) == build(np.array, np.float64, np.array(True)) == build(int, float, True)
    assert to_json(build(np.uint8, np.float64, np.True_)) == to_json(build(int, float, True))


def test_a_graph_is_shown_in_a_line() -> None:
    g = Builder()
    graph = g.build(g.conv1d(g.input(channels=2), 3, kernel=2))
    assert repr(graph) == "Graph(2 nodes, output 'conv1d')"


def test_a_node_is_found_by_name(model: Graph) -> None:
    assert model[model.output].name == model.output
    with refuses(GraphError, "'nowhere' is not a node", model.output):
        model["nowhere"]


def test_names_may_be_those_of_a_module_list() -> None:
    g = Builder()
    h = g.one_hot(g.input(classes=3))
    for n in range(2):
        with g.scope("convs"):
            h = g.conv1d(h, 3, kernel=2, strict=n == 0, name=str(n))
    graph = g.build(g.conv1d(h, 3, name="3"), ops.Categorical())
    assert refar.from_json(refar.to_json(graph)) == graph
    assert set(refar.init(graph)) >= {"convs.0.weight", "convs.1.weight", "3.weight", "3.bias"}
    check_contract(graph, refar.init(graph))


def test_a_file_may_hold_nodes_that_nothing_reads() -> None:
    g = Builder()
    x = g.input(channels=2)
    kept, _ = g.conv1d(x, 2, name="kept"), g.conv1d(x, 3, kernel=400, name="surplus")
    text = {"format": "refar-graph", "version": 1, "nodes": g.nodes, "output": kept}
    graph = refar.from_json(msgspec.json.encode(text))
    assert unread(graph) == ("surplus",)
    assert [node.name for node in pruned(graph).nodes] == ["x", "kept"]
    assert pruned(pruned(graph)) == pruned(graph)
    check_contract(graph, refar.init(graph))
