"""Golden cases of generation: tokens, and the noise and the logits that they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.golden.case import Case
from refar.golden.compare import differs
from refar.golden.graph_families import network_arrays
from refar.graph.graph import Graph
from refar.mistakes.sampler_mistakes import CATEGORICALS
from refar.rounding.loss_bounds import LOG
from workshop import exact_graph, network_bounds, philox
from workshop.density_cases import classed
from workshop.draw import Draw
from workshop.making import FLOAT32, FamilyMaker, rounded_up
from workshop.network_cases import draw_parameters

_SAFE = 64
"""By how many times the largest score must be clear of float32's rounding: every format draws the same tokens."""


def _gumbels(seed: int, rows: int, steps: int, classes: int) -> Array:
    """-log(-log u), (T, B, Q), row b from stream b, step t from step t."""
    with localcontext(prec=60):
        u = [[philox.uniform(seed, b, t, classes) for b in range(rows)] for t in range(steps)]
        each = [[[float(-(-(Decimal(v.numerator) / v.denominator).ln()).ln()) for v in row] for row in step] for step in u]
    return np.array(each)


def _cases() -> Iterator[Case]:
    for id, rows, length, temperature, top_k, prompt in (
        ("plain", 3, 12, 1.0, None, 0),
        ("temperature-quarter", 2, 9, 0.25, None, 0),
        ("top-2-after-a-prompt", 3, 7, 2.0, 2, 5),
    ):
        draw, graph = Draw(f"generate/{id}"), classed()
        params, seed = draw_parameters(graph, draw), draw.seed
        condition, given = draw.classes(rows, classes=3), draw.classes(rows, prompt, classes=4)
        gumbels = _gumbels(seed, rows, prompt + length, 4)
        x = given
        for t in range(prompt, prompt + length):
            logits = _logits(graph, params, x, condition)[:, :, -1]
            x = np.concatenate([x, _pick(logits, gumbels[t], temperature, top_k)[:, None]], axis=1)
        everything = {"x": x, "condition": condition}
        y = exact_graph.values(graph, params, everything)[graph.output]
        slack = network_bounds.outputs(graph, params, everything)
        _require_clear(y.astype(np.float64), slack, gumbels, temperature, top_k, prompt)
        drawn = gumbels[prompt:]
        expected = {"x": x[:, prompt:], "y": exact_graph.rounded(y)[:, :, prompt:], "noise": drawn}
        bound = {"y": slack[:, :, prompt:], "noise": LOG + LOG * np.abs(drawn) + 1}
        case = Case(
            id=f"generate/{id}",
            kind="sample",
            operator="generate",
            seed=draw.seed,
            source="the Gumbel-max identity on the exact logits; refar.noise says where the noise comes from",
            attributes={"seed": seed, "n": length, "temperature": temperature, "top_k": top_k},
            arrays=network_arrays(params, {"condition": condition}, prompt=given),
            expected=expected,
            bound={name: rounded_up(array, expected[name]) for name, array in bound.items()},
            graph=graph,
        )
        yield _with_catches(case)


def _with_catches(case: Case) -> Case:
    """What wrong samplers draw from the right logits."""
    a, steps = case.attributes, case.expected["noise"]
    attributes = {"temperature": a["temperature"], "top_k": a["top_k"]}
    caught = []
    for name, mistake in CATEGORICALS.items():
        with np.errstate(all="ignore"):
            drawn = [mistake({"y": case.expected["y"][:, :, t], "noise": steps[t]}, attributes) for t in range(a["n"])]
        if all(drawn) and differs(case, {"x": np.stack([each["x"] for each in drawn], axis=1)}):
            caught.append(name)
    return replace(case, catches=tuple(caught))


def _logits(graph: Graph, params: Arrays, x: Array, condition: Array) -> Array:
    """Behind a last token that no output sees."""
    behind = np.pad(x, ((0, 0), (0, 1)))
    return exact_graph.values(graph, params, {"x": behind, "condition": condition})[graph.output]


def _scores(logits: Any, gumbels: Array, temperature: float, top_k: int | None) -> list[list[Fraction | None]]:
    """Of each row logit / temperature + noise, None for who does not take part."""
    rows = []
    for row, draws in zip(logits, gumbels, strict=True):
        kept = sorted(range(len(row)), key=lambda q: (-row[q], q))[:top_k]
        rows.append([row[q] / Fraction(temperature) + Fraction(draws[q]) if q in kept else None for q in range(len(row))])
    return rows


def _pick(logits: Any, gumbels: Array, temperature: float, top_k: int | None) -> Array:
    scores = _scores(logits, gumbels, temperature, top_k)
    return np.array([max((s, -q) for q, s in enumerate(row) if s is not None)[1] * -1 for row in scores])


def _require_clear(y: Array, slack: Array, gumbels: Array, temperature: float, top_k: int | None, prompt: int) -> None:
    """No token may depend on rounding, nor any class on being just among the k largest."""
    for t in range(prompt, y.shape[2]):
        for row, off, draws in zip(y[:, :, t], slack[:, :, t], gumbels[t], strict=True):
            ranked = np.sort(row)[::-1]
            scores = np.sort(row / temperature + draws)[::-1]
            gaps = [scores[0] - scores[1]] + ([ranked[top_k - 1] - ranked[top_k]] if top_k else [])
            assert min(gaps) > _SAFE * FLOAT32 * (off.max() / temperature + 8), "another id gives another seed"


GENERATE = FamilyMaker("generate", "sample", _cases)
