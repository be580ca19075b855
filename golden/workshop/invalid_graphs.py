"""Graphs that must be refused, each with what the refusal must say: the thing, what was expected, what came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from refar.golden.case import Case
from workshop.making import FamilyMaker

_Node = tuple[Any, ...]
"""Name, operator, names of inputs."""

_X, _CLASSES = {"type": "input", "channels": 2}, {"type": "input", "classes": 4}
_IMAGE = {"type": "input", "channels": 3, "axes": "hw"}
_CONDITION = {"type": "input", "role": "global", "channels": 2}
_POOL = {"type": "pool1d", "kind": "max", "kernel": 2, "pad": "exclude"}
_LOGITS = {"type": "categorical"}


def _text(*nodes: _Node, **more: Any) -> str:
    each = [{"name": name, "op": op} | ({"inputs": names} if names else {}) for name, op, *names in nodes]
    document = {"format": "refar-graph", "version": 1, "nodes": each, "output": nodes[-1][0]} | more
    return json.dumps(document, indent=2) + "\n"


def _conv(channels: int, **more: Any) -> dict[str, Any]:
    return {"type": "conv1d", "channels": channels} | more


def _conv2d(channels: int, **more: Any) -> dict[str, Any]:
    return {"type": "conv2d", "channels": channels} | more


def _texts() -> dict[str, tuple[str, str]]:
    """By name, the text and what the refusal must contain."""
    x, pair = ("x", _X), (("x", _X), ("y", _conv(2), "x"))
    return {
        "not-json": ('{"format": "refar-graph",\n', "graph JSON: not JSON"),
        "not-a-number": (_text(x, ("y", {"type": "affine", "scale": float("nan")}, "x")), "graph JSON: not JSON"),
        "no-object": ("[]\n", "graph JSON: Expected `object`, got `array`"),
        "newer-version": (_text(*pair, version=2), "at $.version: Invalid enum value 2; this refar reads version 1"),
        "other-format": (_text(*pair, format="other"), "at $.format: Invalid enum value 'other'; expected 'refar-graph'"),
        "unknown-field": (_text(*pair, weights=3), "unknown field `weights`; the fields are format, version, nodes"),
        "unknown-attribute": (
            _text(x, ("y", _conv(2, stride=2), "x")),
            "node 'y' at $.nodes[1].op: Object contains unknown field `stride`",
        ),
        "unknown-operator": (
            _text(x, ("y", {"type": "lstm"}, "x")),
            "node 'y' at $.nodes[1].op.type: Invalid value 'lstm'; the operators are",
        ),
        "kernel-0": (_text(x, ("y", _conv(2, kernel=0), "x")), "node 'y' at $.nodes[1].op.kernel: Expected `int` >= 1, got 0"),
        "kernel-as-text": (
            _text(x, ("y", _conv(2, kernel="3"), "x")),
            "node 'y' at $.nodes[1].op.kernel: Expected `int`, got `str` '3'",
        ),
        "name-twice": (_text(x, ("x", _conv(2), "x")), "node name 'x' is used twice; every node needs a name of its own"),
        "bad-name": (_text(x, ("conv 1", _conv(2), "x")), "node name 'conv 1': expected identifiers joined by dots"),
        "unknown-input": (_text(x, ("y", _conv(2), "z")), "node 'y': its input 'z' is not a node; the nodes are x, y"),
        "cycle": (_text(x, ("a", {"type": "add"}, "x", "b"), ("b", _conv(2), "a")), "node 'a': the graph has a cycle: a ← b ← a"),
        "wrong-order": (_text(x, ("a", _conv(2), "b"), ("b", _conv(2), "x")), "node 'a': its input 'b' comes later"),
        "unknown-output": (_text(*pair, output="z"), "output 'z' is not a node; the nodes are x, y"),
        "no-sequence": (_text(("c", _CONDITION), ("y", _conv(2), "c")), "expected one sequence input, got 0"),
        "two-sequences": (_text(x, ("z", _X), ("y", {"type": "add"}, "x", "z")), "expected one sequence input, got 2: x, z"),
        "classes-and-channels": (
            _text(("x", _X | _CLASSES), ("y", {"type": "one_hot"}, "x")),
            "node 'x' (input): expected either classes ≥ 2 or channels ≥ 1, and the other left out, got classes=4, channels=2",
        ),
        "one-input-to-add": (_text(x, ("y", {"type": "add"}, "x")), "node 'y' (add): expected at least two inputs, got 1"),
        "unequal-channels": (
            _text(x, ("a", _conv(3), "x"), ("y", {"type": "add"}, "x", "a")),
            "node 'y' (add): expected equal channels, got 'x' with 2, 'a' with 3",
        ),
        "classes-into-a-convolution": (
            _text(("x", _CLASSES), ("y", _conv(2), "x")),
            "node 'y' (conv1d): expected real values (put one_hot, embedding or standardize before it), got 4 classes over time",
        ),
        "signal-into-one-hot": (
            _text(x, ("y", {"type": "one_hot"}, "x")),
            "node 'y' (one_hot): expected class indices, got 2 channels",
        ),
        "odd-gate": (
            _text(x, ("a", _conv(3), "x"), ("y", {"type": "gate"}, "a")),
            "node 'y' (gate): expected an even number of channels",
        ),
        "groups": (
            _text(x, ("y", _conv(3, groups=2), "x")),
            "node 'y' (conv1d): expected channels that 2 groups divide, got 2 input and 3",
        ),
        "slice-beyond": (
            _text(x, ("y", {"type": "slice", "start": 1, "stop": 3}, "x")),
            "node 'y' (slice): expected start < stop ≤ 2 channels, got start=1, stop=3",
        ),
        "kernel-on-a-constant": (
            _text(x, ("c", _CONDITION), ("d", _conv(2, kernel=2), "c"), ("y", {"type": "add"}, "x", "d")),
            "node 'd' (conv1d): expected kernel 1 and no strictness on a constant value, which has no past",
        ),
        "pool-without-ones": (_text(x, ("y", _POOL, "x")), "node 'y' (pool1d): expected two inputs, a value and its `ones`"),
        "pool-with-the-ones-of-another": (
            _text(x, ("a", _conv(2), "x"), ("o", {"type": "ones"}, "x"), ("y", _POOL, "a", "o")),
            "node 'y' (pool1d): expected as its second input the `ones` of 'a', got 'o'",
        ),
        "pool-exclude-under-input-padding": (
            _text(x, ("o", {"type": "ones"}, "x"), ("y", _POOL, "x", "o"), padding="input"),
            "node 'y' (pool1d): expected pad='zero', since under input padding nothing is left out before the start",
        ),
        "look-ahead-under-input-padding": (
            _text(x, ("y", {"type": "shift", "steps": -1}, "x"), padding="input"),
            "node 'y' (shift): expected no look ahead under input padding, got one of 1 positions",
        ),
        "head-of-probabilities": (
            _text(("x", _CLASSES), ("h", {"type": "one_hot"}, "x"), ("y", {"type": "softmax"}, "h"), head=_LOGITS),
            "output 'y': a categorical head expects logits, got the output of a softmax",
        ),
        "head-of-other-channels": (
            _text(("x", _CLASSES), ("h", {"type": "one_hot"}, "x"), ("y", _conv(5), "h"), head=_LOGITS),
            "output 'y': the head expects logits for the classes of an index sequence (4 classes over time), got 5 channels",
        ),
        "gaussian-head-of-classes": (
            _text(("x", _CLASSES), ("h", {"type": "one_hot"}, "x"), head={"type": "gaussian"}),
            "output 'h': the head expects means for the channels of a signal",
        ),
        "time-on-a-plane": (_text(("x", _IMAGE), ("y", _conv(2), "x")), "node 'y' (conv1d): expected values over time"),
        "plane-on-time": (_text(x, ("y", _conv2d(2), "x")), "node 'y' (conv2d): expected values over an image"),
        "even-kernel-without-anchor": (
            _text(("x", _IMAGE), ("y", _conv2d(2, kernel=[2, 3]), "x")),
            "node 'y' (conv2d): expected an anchor, since a kernel of 2 rows has no centre, got none",
        ),
        "anchor-outside": (
            _text(("x", _IMAGE), ("y", _conv2d(2, kernel=[3, 3], anchor=[3, 1]), "x")),
            "node 'y' (conv2d): expected an anchor inside the kernel (3, 3), got (3, 1)",
        ),
        "channels-that-colours-do-not-divide": (
            _text(("x", _IMAGE), ("y", _conv2d(4, mask="B", colours=3), "x")),
            "node 'y' (conv2d): expected channels that 3 colours divide, got 3 input and 4 output channels",
        ),
        "gate-across-colours": (
            _text(("x", _IMAGE | {"channels": 2}), ("a", _conv2d(6, mask="B", colours=2), "x"), ("y", {"type": "gate"}, "a")),
            "node 'y' (gate): expected halves that 2 colours divide, so that no colour sees another's, got halves of 3 channels",
        ),
        "too-far-back": (
            _text(x, ("y", _conv(2, kernel=2, dilation=2**20), "x")),
            "node 'y' (conv1d): expected at most 65536 positions to look back",
        ),
        "too-many-parameters": (
            _text(x, ("a", _conv(2**20), "x"), ("y", _conv(2**20), "a")),
            "node 'y' (conv1d): expected at most 268435456 parameters up to here",
        ),
    }


def _cases() -> Iterator[Case]:
    for id, (text, error) in _texts().items():
        yield Case(
            id=f"invalid/{id}", kind="invalid", operator="invalid", seed=0, source="refar.from_json", text=text, error=error
        )


INVALID = FamilyMaker("invalid", "invalid", _cases)
