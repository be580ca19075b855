"""Golden cases of samplers, which take their noise as data, and of the noise itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.exact import literal
from refar.golden.case import Signature
from refar.golden.node_operators import Attributes
from workshop import philox
from workshop.draw import Draw, float32
from workshop.making import Draft, OperatorMaker


def _first_largest(scores: Any) -> int:
    return int(next(q for q, score in enumerate(scores) if score == max(scores)))


def _categorical(a: Attributes, arrays: Arrays) -> Arrays:
    y, n = literal.exact(arrays["y"]), literal.exact(arrays["noise"])
    found = []
    for logits, draws in zip(y, n, strict=True):
        kept = sorted(range(len(logits)), key=lambda q: (-logits[q], q))[: a["top_k"]]
        temperature = Fraction(a["temperature"])
        scores = logits if temperature == 0 else logits / temperature + draws
        found.append(min(kept, key=lambda q: (-scores[q], q)))
    return {"x": np.array(found)}


def _categoricals() -> Iterator[Draft]:
    rows: list[tuple[str, int, int, float, int | None]] = [
        ("temperature-1", 7, 5, 1.0, None),
        ("temperature-quarter", 6, 4, 0.25, None),
        ("temperature-3", 5, 7, 3.0, None),
        ("temperature-0", 6, 5, 0.0, None),
        ("temperature-tiny", 5, 6, 2.0**-125, None),
        ("top-1", 6, 5, 1.0, 1),
        ("top-2", 8, 5, 2.0, 2),
        ("top-all", 5, 4, 0.5, 4),
        ("256-classes", 3, 256, 1.0, None),
    ]
    for id, b, q, temperature, top_k in rows:
        draw = Draw(f"sample_categorical/{id}")
        tiny = id == "temperature-tiny"  # y / temperature is beyond float32
        arrays = {"y": draw.reals(b, q, scale=60 if tiny else 4), "noise": draw.reals(b, q, scale=3)}
        yield Draft(id, draw.seed, arrays, {"temperature": temperature, "top_k": top_k}, True)
    for id, temperature, top_k in (("equals", 0.5, None), ("equals-temperature-0", 0.0, None), ("equals-top-2", 1.0, 2)):
        draw = Draw(f"sample_categorical/{id}")
        y = draw.integers(9, 5, most=1)
        noise_bq = draw.integers(9, 5, most=1) if top_k is None else draw.integers(9, 5, most=4)
        yield Draft(id, draw.seed, {"y": y, "noise": noise_bq}, {"temperature": temperature, "top_k": top_k}, True)


def _inverse_cdf(_: Attributes, arrays: Arrays) -> Arrays:
    found = []
    for p, u in zip(literal.exact(arrays["p"]), literal.exact(arrays["u"]), strict=True):
        beyond = [q for q in range(len(p)) if sum(p[: q + 1]) > u]
        found.append(beyond[0] if beyond else max(q for q in range(len(p)) if p[q] > 0))
    return {"x": np.array(found)}


def _inverse_cdfs() -> Iterator[Draft]:
    last = 1 - 2.0**-24
    thirds = float32([0.25, 0.125, 0.5, 0.125])
    rows = {
        "ordinary": ([thirds] * 6, [0.125, 0.3125, 0.4375, 0.75, 0.90625, 0.0625]),
        "edges": ([thirds] * 4, [0.0, 0.25, 0.375, last]),
        "probability-0": ([[0, 0.5, 0, 0.5, 0]] * 5, [0.0, 0.25, 0.5, 0.75, last]),
        "sums-to-less-than-1": ([[0.25, 0.25, 0.5 - 2**-10, 0]] * 3, [0.125, 0.9375, last]),
        "sure": ([[0, 0, 1], [1, 0, 0], [0, 1, 0]] * 2, [0.0, 0.0, 0.0, last, last, last]),
    }
    for id, (p, u) in rows.items():
        yield Draft(id, 0, {"p": np.array(p, np.float32), "u": np.array(u, np.float32)}, {}, True)


def _mixture(a: Attributes, arrays: Arrays) -> Arrays:
    k, last, t = a["components"], a["classes"] - 1, Decimal(a["temperature"])
    found = []
    with localcontext(prec=60):
        for row, draws in zip(arrays["y"].tolist(), arrays["noise"].tolist(), strict=True):
            y, n = [Decimal(v) for v in row], [Decimal(v) for v in draws]
            best = _first_largest(y[:k] if t == 0 else [y[j] / t + n[j] for j in range(k)])
            x = y[k + best] + t * y[2 * k + best].exp() * n[k]
            found.append(min(max(math.floor(Fraction((x + 1) / 2 * last) + Fraction(1, 2)), 0), last))
    return {"x": np.array(found)}


def _mixtures() -> Iterator[Draft]:
    for id, b, k, classes, temperature in (
        ("16-classes", 9, 3, 16, 1.0),
        ("256-classes", 8, 4, 256, 0.5),
        ("temperature-0", 7, 2, 32, 0.0),
        ("beyond-the-ends", 6, 2, 8, 4.0),
    ):
        draw = Draw(f"sample_mixture_logistics/{id}")
        parts = [draw.reals(b, k, scale=2), draw.reals(b, k, scale=0.9), draw.reals(b, k, scale=1) - np.float32(2)]
        arrays = {"y": np.concatenate(parts, axis=1), "noise": draw.reals(b, k + 1, scale=4)}
        yield Draft(id, draw.seed, arrays, {"components": k, "classes": classes, "temperature": temperature}, True)


def _gaussian(a: Attributes, arrays: Arrays) -> Arrays:
    factor = Fraction(a["temperature"]) * Fraction(a["std"])
    return {"x": literal.exact(arrays["y"]) + factor * literal.exact(arrays["noise"])}


def _gaussians() -> Iterator[Draft]:
    for id, b, c, std, temperature in (("std-1", 4, 3, 1.0, 1.0), ("std-3", 3, 4, 3.0, 0.5), ("temperature-0", 3, 2, 0.5, 0.0)):
        draw = Draw(f"sample_gaussian/{id}")
        arrays = {"y": draw.reals(b, c, scale=2), "noise": draw.reals(b, c, scale=3)}
        yield Draft(id, draw.seed, arrays, {"std": std, "temperature": temperature}, False)


def _uniform(a: Attributes, _: Arrays) -> Arrays:
    steps = range(a["start"], a["start"] + a["steps"])
    return {
        "u": np.array([[[float(u) for u in philox.uniform(a["seed"], s, t, a["size"])] for s in a["streams"]] for t in steps])
    }


def _uniforms() -> Iterator[Draft]:
    for id, seed, streams, start, steps, size in (
        ("from-the-start", 0, [0, 1, 2], 0, 4, 5),
        ("later", 2**53 - 1, [7, 3], 1000, 3, 4),
        ("one-number", 123456789, [0, 2**40], 5, 2, 1),
    ):
        yield Draft(id, seed, {}, {"seed": seed, "streams": streams, "start": start, "steps": steps, "size": size}, True)


def _gumbel(_: Attributes, arrays: Arrays) -> Arrays:
    with localcontext(prec=60):
        each = [[float(-(-Decimal(u).ln()).ln()) for u in row] for row in arrays["u"].tolist()]
    return {"n": np.array(each)}


def _gumbels() -> Iterator[Draft]:
    draw = Draw("gumbel_noise/generic")
    u: Array = np.abs(draw.reals(3, 5))
    yield Draft("generic", draw.seed, {"u": u}, {}, False)
    ends = float32([[2**-30, 2**-24, 2**-10], [1 - 2**-24, 1 - 2**-20, 0.5]])
    yield Draft("ends", 0, {"u": ends}, {}, False)


SAMPLERS = (
    OperatorMaker(
        "sample",
        Signature.of("sample_categorical(y_bq, noise_bq, *, temperature=1.0, top_k=None) -> x_b"),
        "argmax_q (y_q / temperature + noise_q), the first of equals; temperature 0: argmax_q y_q; top_k: of the k largest y_q "
        "alone, of equals those of the lower classes; Gumbel 1954; Maddison et al. 2014",
        _categorical,
        _categoricals,
    ),
    OperatorMaker(
        "sample",
        Signature.of("sample_mixture_logistics(y_bc, noise_bn, *, components, classes, temperature=1.0) -> x_b"),
        "k = argmax_k (l_k / temperature + noise_k), v = μ_k + temperature · s_k · noise_K; the class with the nearest "
        "centre; the channels of y are l, μ, log s; refar.ops.MixtureLogistics",
        _mixture,
        _mixtures,
    ),
    OperatorMaker(
        "sample",
        Signature.of("sample_gaussian(y_bc, noise_bc, *, std=1.0, temperature=1.0) -> x_bc"),
        "x = y + temperature · std · noise",
        _gaussian,
        _gaussians,
    ),
    OperatorMaker(
        "sample",
        Signature.of("inverse_cdf(p_bq, u_b) -> x_b"),
        "the smallest q with p_0 + … + p_q > u; if rounding leaves none, the last class with p_q > 0",
        _inverse_cdf,
        _inverse_cdfs,
    ),
    OperatorMaker(
        "sample",
        Signature.of("uniform(*, seed, streams, start, steps, size) -> u_tbn"),
        "Philox4x64-10 with key (seed, stream); step t takes ⌈size/4⌉ blocks from counter t·⌈size/4⌉ + 1 on; "
        "u = (⌊word/2¹²⌋ + ½)·2⁻⁵²; Salmon et al. 2011",
        _uniform,
        _uniforms,
    ),
    OperatorMaker(
        "sample",
        Signature.of("gumbel_noise(u_bn) -> n_bn"),
        "n = -log(-log u)",
        _gumbel,
        _gumbels,
    ),
)
