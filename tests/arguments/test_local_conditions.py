"""Local conditions: y_t may use c_t, in whole passes, streams, generation, training and bundles, alone and with global ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import generate_with_outputs, refuses
from plain_caller import Caller

import refar
from refar import Builder, Graph, models, ops
from refar.analysis.facts import facts
from refar.errors import InputError
from refar.runtime import load
from refar.testing import check_contract
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.torch import Module
from refar_export import export


def pushing_and_emitting() -> Graph:
    """One local condition feeds a node before the strict one, the other one behind it; both are pooled over the past."""
    g = Builder()
    x = g.embedding(g.input(classes=4), 3)
    below, above = g.condition("below", channels=2, local=True), g.embedding(g.condition("above", classes=5, local=True), 3)
    h = g.conv1d(g.concat(x, below), 3, kernel=2, dilation=2, name="pushes")
    h = g.conv1d(h, 3, kernel=2, strict=True, name="emits")
    h = g.tanh(g.add(h, g.conv1d(above, 3, kernel=3, dilation=2), g.pool1d(above, "max", 2, pad="exclude")))
    return g.build(g.conv1d(h, 4, kernel=2), ops.Categorical())


def wavenet(**options: Any) -> Graph:
    return models.wavenet(4, [1, 2], residual=4, gate=3, skip=5, **options)


GRAPHS: dict[str, Callable[[], Graph]] = {
    "pushing and emitting": pushing_and_emitting,
    "vector": lambda: wavenet(local="vector:2"),
    "class": lambda: wavenet(local="class:3"),
    "class and global vector": lambda: wavenet(local="class:3", condition="vector:2"),
    "vector and global class": lambda: wavenet(local="vector:2", condition="class:3"),
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Of PyTorch: on small tensors several are slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=GRAPHS, scope="module")
def graph(request: pytest.FixtureRequest) -> Graph:
    return GRAPHS[request.param]()


def data(graph: Graph, batch: int, length: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Parameters, conditions and a sequence, that float32 holds."""
    rng = np.random.default_rng([batch, length])
    inputs = generic_inputs(graph, rng, batch, length)
    x = inputs.pop("x")
    params = {name: array.astype(np.float32).astype(float) for name, array in generic_parameters(graph, rng).items()}
    return params, inputs, x


@pytest.mark.row("002-9")
@pytest.mark.row("003-5")
def test_every_law_holds(graph: Graph) -> None:
    check_contract(graph)


def test_a_condition_is_known_one_position_ahead() -> None:
    run = facts(pushing_and_emitting()).leading
    assert (run.lead["below"], run.lead["above"], run.lead["pushes"], run.lead["emits"]) == (1, 1, 0, 1)
    assert (run.cache["below"], run.cache["embedding_2"]) == (1, 4)  # read one position later, and the past of a kernel


@pytest.mark.row("002-9")
def test_it_matters_from_its_position_on_and_not_before(graph: Graph) -> None:
    params, conditions, x = data(graph, 2, 12)
    y = refar.forward(graph, params, x, conditions)
    for name in [n for n in conditions if facts(graph).types[n].timed]:
        other = {n: a.copy() for n, a in conditions.items()}
        other[name][..., 7] = (other[name][..., 7] + 1) % facts(graph).types[name].size
        changed = (refar.forward(graph, params, x, other) != y).any(axis=(0, 1))
        first = 8 if name == "below" else 7  # seen by a node before the strict one, which reads the position before
        assert changed.nonzero()[0][0] == first, name


@pytest.mark.row("002-8")
@pytest.mark.row("002-9")
@pytest.mark.row("003-5")
@pytest.mark.parametrize("prompt", [0, 1, 9])
def test_slow_fast_and_exported_generation_agree(graph: Graph, prompt: int, tmp_path: Path) -> None:
    params, conditions, x = data(graph, 3, prompt + 8)
    given = {"prompt": x[:, :prompt], "condition": conditions, "seed": 4, "batch": 3}
    fast, y = generate_with_outputs(graph, params, 8, **given)
    slow, _ = generate_with_outputs(graph, params, 8, algorithm="slow", **given)
    np.testing.assert_array_equal(fast, slow)
    whole = refar.forward(graph, params, np.concatenate([x[:, :prompt], fast], axis=1), conditions)
    np.testing.assert_allclose(y, whole[..., prompt:], rtol=0, atol=1e-13)
    session = load(export(graph, params, tmp_path / "b", verify=True))
    np.testing.assert_array_equal(session.generate(8, **given), fast)
    np.testing.assert_allclose(session.score(x, conditions), refar.log_prob(graph, params, x, conditions), rtol=1e-5)


def test_more_of_a_condition_than_needed_is_not_used() -> None:
    graph = wavenet(local="vector:2")
    params, conditions, _ = data(graph, 1, 9)
    longer = np.concatenate([conditions["local"], np.full((1, 2, 4), 99.0)], axis=2)
    tokens = refar.generate(graph, params, 9, condition=longer)
    np.testing.assert_array_equal(tokens, refar.generate(graph, params, 9, condition=conditions))


def test_one_row_of_a_condition_serves_the_whole_batch() -> None:
    graph = wavenet(local="class:3")
    params, conditions, _ = data(graph, 1, 9)
    one, many = ({"n": 9, "condition": c, "batch": 2} for c in (conditions["local"][0], np.repeat(conditions["local"], 2, 0)))
    np.testing.assert_array_equal(refar.generate(graph, params, **one), refar.generate(graph, params, **many))


@pytest.mark.row("002-9")
@pytest.mark.usefixtures("one_thread")
def test_it_is_trained_with(graph: Graph) -> None:
    """The gradient reaches the weights of every condition, and the loss falls."""
    params, conditions, x = data(graph, 4, 16)
    module = Module(graph, params).float()
    inputs = {n: torch.from_numpy(a if a.dtype == np.int64 else a.astype(np.float32)) for n, a in conditions.items()}
    names = [n for n, p in module.named_parameters() if "condition" in n or "local" in n or "embedding_2" in n]
    assert names
    optimizer, losses = torch.optim.Adam(module.parameters(), 0.02), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(torch.from_numpy(x), inputs), torch.from_numpy(x))
        loss.backward()
        assert all(module.get_parameter(n).grad.abs().sum() > 0 for n in names)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_step_graph_alone(tmp_path: Path) -> None:
    """What another program does: begin with c_0 and no token, then the token at t with the condition at t + 1."""
    graph = pushing_and_emitting()
    params, conditions, x = data(graph, 2, 9)
    caller = Caller(export(graph, params, tmp_path / "b"))
    given = {name: c if c.dtype == np.int64 else c.astype(np.float32) for name, c in conditions.items()}

    def part(begin: int, end: int) -> dict[str, np.ndarray]:
        return {name: np.ascontiguousarray(c[..., begin:end]) for name, c in given.items()}

    y = [caller.start({"x": x[:, :1], **part(0, 1)}, np.array([0, 0]))]
    for t in range(8):
        now = {name: np.ascontiguousarray(c[..., 0]) for name, c in part(t + 1, t + 2).items()}
        y.append(caller.step({"x": np.ascontiguousarray(x[:, t]), **now}))
    np.testing.assert_allclose(np.stack(y, axis=2), refar.forward(graph, params, x, conditions), rtol=0, atol=1e-5)


LOCAL = wavenet(local="vector:2")
X, C = np.zeros((2, 6), int), np.ones((2, 2, 6))


@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (lambda p: refar.generate(LOCAL, p, 7, condition=C), ["condition 'local'", "at least 7 positions", "got 6"]),
        (
            lambda p: refar.generate(LOCAL, p, 5, prompt=X[:, :2], condition=C),
            ["condition 'local'", "at least 7 positions", "got 6"],
        ),
        (lambda p: refar.generate(LOCAL, p, 3, algorithm="slow"), ["condition 'local' (2 channels over time) is missing"]),
        (lambda p: refar.forward(LOCAL, p, X, C[..., :5]), ["differ in length", "'x' has 6 positions", "'local' has 5"]),
        (lambda p: refar.log_prob(LOCAL, p, X[:, :5], C), ["differ in length", "'x' has 5 positions", "'local' has 6"]),
        (lambda p: refar.forward(LOCAL, p, X), ["condition 'local' (2 channels over time) is missing"]),
        (lambda p: refar.forward(LOCAL, p, X, C[:, :1]), ["'local'", "bct with 2 channels", "(2, 1, 6)"]),
        (lambda p: refar.forward(LOCAL, p, X, np.ones((3, 2, 6))), ["'local'", "2", "3"]),
        (lambda p: refar.start(LOCAL, p, 2, C), ["'local'", "bc with 2 channels", "(2, 2, 6)"]),
        (lambda p: refar.start(LOCAL, p, 2), ["condition 'local' (2 channels over time) is missing"]),
        (
            lambda p: refar.next(LOCAL, p, refar.start(LOCAL, p, 2, C[..., 0])[1], X[:, 0]),
            ["condition 'local' (2 channels over time) is missing"],
        ),
        (
            lambda p: refar.next_block(LOCAL, p, refar.start(LOCAL, p, 2, C[..., 0])[1], X[:, :3], C[..., :2]),
            ["differ in length", "'x' has 3 positions", "'local' has 2"],
        ),
        (lambda p: Module(LOCAL, p)(torch.from_numpy(X), torch.ones(2, 2, 5)), ["positions", "5 for 'local'", "6 for 'x'"]),
    ],
)
def test_conditions_that_do_not_fit(call: Callable[[Any], Any], fragments: list[str]) -> None:
    with refuses(InputError, *fragments):
        call(generic_parameters(LOCAL, np.random.default_rng(0)))


def test_a_session_asks_for_the_condition_of_every_step(tmp_path: Path) -> None:
    params = generic_parameters(LOCAL, np.random.default_rng(0))
    session = load(export(LOCAL, params, tmp_path / "b"))
    with refuses(InputError, "condition 'local'", "at least 3 positions", "got 2"):
        session.prefill(X[:, :2], C[..., :2])
    with refuses(InputError, "condition 'local'", "at least 9 positions", "got 6"):
        session.generate(9, condition=C)
    y = session.prefill(X[:, :2], C[..., :3])
    np.testing.assert_allclose(y, refar.forward(LOCAL, params, X, C)[..., 2], rtol=0, atol=1e-5)
    for wrong, fragments in {
        "none": (None, ["step: condition 'local' is missing"]),
        "a whole signal": (C, ["'local'", "bc with 2 channels", "(2, 2, 6)"]),
        "another size": (C[:, :1, 0], ["'local'", "bc with 2 channels", "(2, 1)"]),
        "another number of rows": (np.ones((3, 2)), ["'local'", "2 rows", "got 3"]),
        "another name": ({"speaker": C[..., 0]}, ["step: there is no condition 'speaker'", "'local' (local)"]),
    }.values():
        with refuses(InputError, *fragments):
            session.step(X[:, 2], wrong)
    y = session.step(X[:, 2], C[..., 3])
    np.testing.assert_allclose(y, refar.forward(LOCAL, params, X, C)[..., 3], rtol=0, atol=1e-5)
