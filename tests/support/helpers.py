"""What several tests share."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import refar
from refar import Builder, Graph, RefarError, ops
from refar.analysis.facts import facts, validated
from refar.exact import literal
from refar.testing.contract.backends import open_backends


@contextmanager
def refuses(error: type[RefarError], *fragments: str) -> Iterator[None]:
    """The block raises exactly this error, and its message holds every fragment: the thing, what was expected, what came."""
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    missing = [fragment for fragment in fragments if not re.search(re.escape(fragment), str(caught.value))]
    assert not missing, f"{missing} missing in: {caught.value}"


def with_surplus(g: Builder, output: str, head: ops.AnyHead | None = None) -> Graph:
    """The graph of all nodes, also those that its output does not need: a file may hold them, while `Builder.build` refuses."""
    return validated(Graph(format="refar-graph", version=1, nodes=g.nodes, output=output, head=head))


def single(op: ops.AnyOp, *, channels: int = 0, classes: int = 0) -> Graph:
    """One operator on the sequence."""
    g = Builder()
    return g.build(g.add_op(op, g.input(channels=channels, classes=classes), name="op"))


def single_2d(op: ops.AnyOp, *, channels: int = 1, classes: int = 0) -> Graph:
    """One operator on an image."""
    g = Builder()
    return g.build(g.add_op(op, g.image(channels=channels, classes=classes), name="op"))


def compare_exactly(graph: Graph, rng: np.random.Generator, x: np.ndarray, backends: Sequence[str] = ("numpy",)) -> None:
    """Value and gradients of a graph of one operator, "op", against the definition on integers, by ==."""
    node, found = graph["op"], facts(graph)
    params = {name: rng.integers(-8, 9, shape).astype(float) for name, shape in found.parameters.items()}
    own = {name.removeprefix("op."): array for name, array in params.items()}
    expected = literal.evaluate(node.op, [x], own, classes=found.types["x"].size if found.types["x"].indexed else 0)
    dy = rng.integers(-8, 9, expected.shape).astype(float)
    wanted = literal.gradient(node.op, [x], dy, own)
    names = {f"op.{name}": name for name in own} | ({} if found.types["x"].indexed else {"x": "0"})
    for backend in open_backends(graph, params, backends):
        y = backend.forward({"x": x})
        np.testing.assert_array_equal(y, expected.astype(float), backend.name)
        assert all(literal.exact(y).reshape(-1) == expected.reshape(-1))
        if (gradient := backend.gradient({"x": x}, dy)) is not None:
            assert gradient.keys() == names.keys()
            for name, of in names.items():
                np.testing.assert_array_equal(gradient[name], wanted[of].astype(float), f"{backend.name}: {name}")


def tiny(classes: int = 3, condition: str | None = None) -> Graph:
    """A strict network with few classes and R = 4, small enough to enumerate."""
    g = Builder()
    h = g.conv1d(g.one_hot(g.input(classes=classes)), 4, kernel=2, strict=True)
    if condition == "class":
        h = g.add(h, g.embedding(g.condition(classes=3), 4))
    elif condition == "vector":
        h = g.add(h, g.conv1d(g.condition(channels=2), 4, bias=False))
    h = g.gate(g.conv1d(h, 6, kernel=2, dilation=2))
    return g.build(g.conv1d(h, classes), ops.Categorical())


def other_tests(path: str) -> ModuleType:
    """A file of tests, "oracle/test_density.py", as a module that another file may call: no folder here is a package."""
    name = f"tests_of_{path.removesuffix('.py').replace('/', '_')}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def generate_with_outputs(graph: Graph, params: Any, n: Any, *, dtype: Any = np.float64, **options: Any) -> tuple[Any, Any]:
    """New tokens, and the outputs that they were drawn from."""
    return refar.bind(graph, params, dtype=dtype).generate_with_outputs(n, **options)
