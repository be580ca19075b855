"""Conceptual networks as files: the way there and back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import refuses

from refar import conceptual_json
from refar.conceptual.strided import Conv, Dense, Flatten, Network, Pool
from refar.errors import FileError, GraphError

NET = Network(
    2,
    (
        Conv(3, 2, stride=2, activation="relu", skip="concat"),
        Pool("max", 2, stride=2, pad="exclude"),
        Conv(4, 3, dilation=2, skip="project"),
        Flatten(2),
        Dense(5, "softmax"),
    ),
)


def document(layers: str) -> str:
    return f'{{"format": "refar-conceptual", "version": 1, "channels": 2, "layers": [{layers}]}}'


def test_there_and_back(tmp_path: Path) -> None:
    conceptual_json.save(NET, tmp_path / "net.json")
    assert conceptual_json.load(tmp_path / "net.json") == conceptual_json.find(tmp_path / "net.json") == NET
    text = conceptual_json.to_json(NET)
    assert text == (tmp_path / "net.json").read_bytes()
    assert conceptual_json.to_json(conceptual_json.from_json(text)) == text
    assert text.startswith(b'{\n  "format": "refar-conceptual",\n  "version": 1,\n  "channels": 2,\n  "layers": [\n')


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("", ["not JSON"]),
        ("[]", ["Expected `object`, got `array`"]),
        ("{}", ["missing required field `format`"]),
        (document("").replace("refar-conceptual", "refar-graph"), ["format", "expected 'refar-conceptual'"]),
        (document("").replace("1,", "2,"), ["version", "this refar reads version 1"]),
        (document("").replace("layers", "layer"), ["unknown field `layer`", "format, version, channels, layers"]),
        (document(""), ["at least one layer", "got 2 and 0"]),
        (document("3"), ["layers[0]", "Expected `object`, got `int`"]),
        (document('{"units": 1}'), ["layers[0]", "missing required field `type`"]),
        (document('{"type": "lstm"}'), ["layers[0].type", "'lstm'", "conv, pool, flatten, dense"]),
        (document('{"type": "dense", "units": 0}'), ["layers[0].units", "`int` >= 1, got 0"]),
        (document('{"type": "dense", "units": "1"}'), ["layers[0].units", "Expected `int`, got `str`"]),
        (document('{"type": "dense", "units": 1, "bias": true}'), ["unknown field `bias`", "units, activation"]),
        (document('{"type": "dense", "units": 1, "activation": "elu"}'), ["activation", "'elu'", "'relu' or 'tanh' or"]),
        (document('{"type": "pool", "kind": "min", "kernel": 2}'), ["layers[0].kind", "'min'", "'avg' or 'max'"]),
        (document('{"type": "dense", "units": 1}, {"type": "conv", "channels": 1, "padding": "same"}'), ["'conv1'", "same"]),
        (document('{"type": "conv", "channels": 3, "skip": "add"}'), ["'conv0'", "equal channels to add, got 2 below and 3"]),
        (document('{"type": "flatten", "steps": 2}'), ["'flatten0'", "expected a dense layer after a flatten"]),
    ],
)
def test_what_is_refused(text: str, fragments: list[str], tmp_path: Path) -> None:
    with refuses(GraphError, *fragments):
        conceptual_json.from_json(text)
    (tmp_path / "net.json").write_text(text)
    with refuses(GraphError, "net.json", *fragments):
        conceptual_json.load(tmp_path / "net.json")


def test_no_text() -> None:
    with refuses(GraphError, "expected text or bytes, got NoneType"):
        conceptual_json.from_json(None)


def test_no_file(tmp_path: Path) -> None:
    with refuses(FileError, "conceptual network", "absent.json", "No such file"):
        conceptual_json.load(tmp_path / "absent.json")


@pytest.mark.parametrize("text", ["{", "[1]", '{"format": "refar-graph", "layers": 1, "nodes": []}', '{"nodes": []}', "3"])
def test_what_is_not_meant_to_be_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "graph.json").write_text(text)
    assert conceptual_json.find(tmp_path / "graph.json") is None
    assert conceptual_json.find(tmp_path) is None
