"""Unrolling in PyTorch, position by position, against the oracle's whole passes; and gradients that stop where they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from unrolled_cases import NETWORKS, case

import refar
from refar import Graph, Unrolling, models
from refar.analysis.facts import facts
from refar.arguments.unrolling import draw_noise, feedback_of
from refar.rounding.tolerance import tolerance
from refar.testing import strategies
from refar.testing.contract.cases import generic_inputs, generic_parameters
from refar.torch import Module
from refar.torch.unroll import Unrolled


def compare(graph, unrolling, options, dtype, d):
    """Values and all gradients. A step is a pass of its own, so the tolerance of a pass counts once for each."""
    module = Module(graph, options["params"]).to(dtype)
    real = {n: torch.tensor(a) if a.dtype.kind == "i" else torch.tensor(a, dtype=dtype) for n, a in options["condition"].items()}
    for tensor in real.values():
        tensor.requires_grad_(tensor.is_floating_point())
    x = torch.tensor(options["x"])
    noise = None if options["noise"] is None else torch.tensor(options["noise"], dtype=dtype)
    values, before = module.forward_everywhere(x if x.dtype == torch.int64 else x.to(dtype), real)
    found = Unrolled(graph, unrolling)(module, values, before, torch.tensor(options["origins"]), noise)
    (found * torch.tensor(d, dtype=dtype)).sum().backward()
    kind = str(dtype).removeprefix("torch.")
    # The oracle takes the numbers as PyTorch holds them.
    held = dict(options, params=module.arrays(), condition={n: t.detach().numpy() for n, t in real.items()})
    if noise is not None:
        held["noise"] = noise.double().numpy()
    wanted, gradients = refar.unroll(graph, **held), refar.unroll_backward(graph, d=d, **held)
    allowed = unrolling.horizon * tolerance(graph, wanted, kind)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=0, atol=allowed)
    positions = unrolling.horizon * d.size * x.shape[-1]
    own = {name: p.grad for name, p in module.named_parameters()} | {n: t.grad for n, t in real.items() if t.is_floating_point()}
    largest = max(np.abs(array).max(initial=1) for part in gradients.values() for array in part.values())
    for name, array in (gradients["params"] | gradients["inputs"]).items():
        got = np.zeros(array.shape) if own[name] is None else own[name].numpy()
        atol = unrolling.horizon * tolerance(graph, np.array([largest]), kind, positions)
        np.testing.assert_allclose(got, array, rtol=0, atol=atol, err_msg=name)


@pytest.mark.row("002-10")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "padding"), [*((name, "layer") for name in NETWORKS), *((name, "input") for name in NETWORKS if name != "pools")]
)
def test_values_and_gradients_equal_the_oracle(name, padding, dtype):
    graph, unrolling, options = case(name)
    if padding == "input":
        graph = refar.from_json(refar.to_json(graph).replace(b"\n}\n", b',\n  "padding": "input"\n}\n'))
    compare(graph, unrolling, options, dtype, np.random.default_rng(0).normal(size=(2, 2, 3)))


@pytest.mark.row("002-7")
@pytest.mark.parametrize(
    "graph",
    [
        models.wavenet(6, [1, 2, 4], residual=4, gate=3, skip=5, kernel=3, condition="class:3"),
        models.tcn(5, channels=[4, 3]),
        models.nettoy1d_dilated(4, hidden=3),
        models.linear_ar(3),
    ],
    ids=["wavenet", "tcn", "nettoy", "linear"],
)
def test_the_models(graph: Graph):
    check(graph, np.random.default_rng(3), length=24, horizon=5)


def check(graph: Graph, rng: np.random.Generator, length: int, horizon: int) -> None:
    found = facts(graph)
    inputs = generic_inputs(graph, rng, 2, length)
    unrolling = Unrolling(horizon, feedback_of(graph.head)[-1], 0.8)
    origins = rng.integers(0, length - horizon + 1, (2, 3))
    options = {"params": generic_parameters(graph, rng), "x": inputs.pop(found.sequence), "condition": inputs, "origins": origins}
    options |= {"unrolling": unrolling, "noise": draw_noise(graph, 1, 0, range(2), 3, unrolling)}
    compare(graph, unrolling, options, torch.float64, rng.normal(size=(2, 3, horizon)))


@settings(max_examples=60, deadline=None)
@given(graph=strategies.graphs(strict=True, paddings=("layer", "input")), seed=st.integers(0, 99))
def test_random_networks(graph: Graph, seed: int):
    if graph.head is not None:
        reach = max(refar.offsets(graph), default=1)
        try:
            check(graph, np.random.default_rng(seed), length=min(reach, 20) + 6, horizon=3)
        except RuntimeWarning as warning:  # a network may drive its own values to infinity, which compares with nothing
            assume("overflow" not in str(warning))
            raise
