"""Golden cases of the losses, which are negative log-likelihoods, and of relaxed samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from refar import ops
from refar.arguments.arrays import Array, Arrays
from refar.exact import literal, literal_heads
from refar.golden.case import Signature
from refar.golden.head_operators import HEADS
from refar.golden.node_operators import Attributes
from workshop.draw import Draw, float32
from workshop.making import Draft, OperatorMaker


def loss_maker(
    signature: str,
    source: str,
    define: Callable[[Any, Arrays], Arrays],
    examples: Callable[[], Iterator[Draft]],
) -> OperatorMaker:
    """Define nats_bt of parameters y and values x, and the gradient for y of Σ dnats·nats."""
    known = Signature.of(signature)

    return OperatorMaker("loss", known, source, lambda a, arrays: define(HEADS[known.name](a), arrays), examples)


def _cross_entropy(_: ops.Categorical, arrays: Arrays) -> Arrays:
    y, x, d = arrays["y"], arrays["x"], arrays["dnats"]
    return {"nats": literal_heads.cross_entropy(y, x), "gradient.y": literal_heads.cross_entropy_gradient(y, x, d)}


def _gaussian(head: ops.Gaussian, arrays: Arrays) -> Arrays:
    y, x, d = arrays["y"], arrays["x"], arrays["dnats"]
    return {"nats": literal_heads.gaussian(head, y, x), "gradient.y": literal_heads.gaussian_gradient(head, y, x, d)}


def _mixture(head: ops.MixtureLogistics, arrays: Arrays) -> Arrays:
    y, x, d = arrays["y"], arrays["x"], arrays["dnats"]
    return {"nats": literal_heads.mixture(head, y, x), "gradient.y": literal_heads.mixture_gradient(head, y, x, d)}


def _cross_entropies() -> Iterator[Draft]:
    rows = [("2-classes", 3, 2, 5, 4.0), ("5-classes", 2, 5, 7, 4.0), ("17-classes", 2, 17, 3, 2.0), ("sure", 2, 4, 5, 60.0)]
    for id, b, q, t, scale in rows:
        draw = Draw(f"cross_entropy/{id}")
        arrays = {"y": draw.reals(b, q, t, scale=scale), "x": draw.classes(b, t, classes=q), "dnats": draw.reals(b, t)}
        yield Draft(id, draw.seed, arrays, {}, False)
    draw = Draw("cross_entropy/large-logits")
    y = draw.reals(2, 2, 1, scale=3) + float32([[[720]], [[-720]]])
    yield Draft("large-logits", draw.seed, {"y": y, "x": draw.classes(2, 1, classes=2), "dnats": draw.reals(2, 1)}, {}, False)
    draw = Draw("cross_entropy/far-apart")
    arrays = {"y": float32([[[-400], [400]], [[380], [-390]]]), "x": np.array([[0], [1]]), "dnats": draw.reals(2, 1)}
    yield Draft("far-apart", draw.seed, arrays, {}, False)


def _gaussians() -> Iterator[Draft]:
    for id, b, c, t, std in (("std-1", 2, 3, 5, 1.0), ("std-quarter", 3, 2, 4, 0.25), ("std-5", 2, 4, 3, 5.0)):
        draw = Draw(f"gaussian/{id}")
        arrays = {"y": draw.reals(b, c, t, scale=3), "x": draw.reals(b, c, t, scale=3), "dnats": draw.reals(b, t)}
        yield Draft(id, draw.seed, arrays, {"std": std}, False)


def _mixtures() -> Iterator[Draft]:
    for id, b, k, t, classes, low in (("4-classes", 2, 2, 5, 4, -1.0), ("256-classes", 3, 3, 4, 256, -1.0)):
        draw = Draw(f"mixture_logistics/{id}")
        y = _parameters(draw, b, k, t, low)
        arrays = {"y": y, "x": draw.classes(b, t, classes=classes), "dnats": draw.reals(b, t)}
        yield Draft(id, draw.seed, arrays, {"components": k, "classes": classes}, False)
    for id, classes in (("edges", 16), ("edges-256", 256)):
        draw = Draw(f"mixture_logistics/{id}")
        x = np.array([[0, 1, classes - 2, classes - 1], [classes - 1, 0, classes - 2, 1]])
        arrays = {"y": _parameters(draw, 2, 3, 4, -2.0), "x": x, "dnats": draw.reals(2, 4)}
        yield Draft(id, draw.seed, arrays, {"components": 3, "classes": classes}, False)
    draw = Draw("mixture_logistics/near-the-edges-65536")
    x = np.array([[0, 1, 9, 65534], [65535, 65529, 5, 65534]])
    y = _parameters(draw, 2, 3, 4, -2.0)
    arrays = {"y": y, "x": x, "dnats": draw.reals(2, 4)}
    yield Draft("near-the-edges-65536", draw.seed, arrays, {"components": 3, "classes": 65536}, False)
    draw = Draw("mixture_logistics/tails")
    y = _parameters(draw, 2, 2, 3, -4.5)
    y[:, 2:4] = np.float32(0.875) * np.sign(y[:, 2:4])
    x = np.where(y[:, 2] > 0, np.array([[3, 0, 7], [1, 8, 0]]), np.array([[252, 255, 250], [254, 249, 255]]))
    y[:, 3] = y[:, 2] + np.float32(0.03125)
    arrays = {"y": y, "x": x, "dnats": draw.reals(2, 3)}
    yield Draft("tails", draw.seed, arrays, {"components": 2, "classes": 256}, False)


def _parameters(draw: Draw, b: int, k: int, t: int, low: float) -> Array:
    """Logits, means within (-1, 1), log-scales from `low` to `low` + 1."""
    parts = [draw.reals(b, k, t, scale=2), draw.reals(b, k, t, scale=0.9), draw.reals(b, k, t, scale=0.5) + np.float32(low + 0.5)]
    return np.concatenate(parts, axis=1)


LOSSES = (
    loss_maker(
        "cross_entropy(y_bqt, x_bt) -> nats_bt",
        "nats[b,t] = log Σ_j exp(y[b,j,t]) - y[b,x[b,t],t]",
        _cross_entropy,
        _cross_entropies,
    ),
    loss_maker(
        "gaussian(y_bct, x_bct, *, std=1.0) -> nats_bt",
        "nats[b,t] = Σ_c (x - y)²/(2·std²) + C·log(std·√(2π))",
        _gaussian,
        _gaussians,
    ),
    loss_maker(
        "mixture_logistics(y_bct, x_bt, *, components, classes) -> nats_bt",
        "-log Σ_k softmax(l)_k · [F((v+h-μ_k)/s_k) - F((v-h-μ_k)/s_k)] with the channels of y logits l, means μ, log s, in this "
        "order; v = 2x/(Q-1) - 1, h = 1/(Q-1); the outer classes reach to infinity; refar.ops.MixtureLogistics; "
        "Salimans et al. 2017 (PixelCNN++)",
        _mixture,
        _mixtures,
    ),
)


def _define_log_softmax(_: Attributes, arrays: Arrays) -> Arrays:
    x, dy = arrays["x"], literal.exact(arrays["dy"])
    y = np.stack([-literal_heads.cross_entropy(x, np.full((len(x), x.shape[2]), q)) for q in range(x.shape[1])], axis=1)
    p = literal.evaluate(ops.Softmax(), [x], rounded=False)
    return {"y": y, "gradient.x": dy - p * dy.sum(axis=1, keepdims=True)}


def _log_softmaxes() -> Iterator[Draft]:
    for id, b, c, t, scale in (("2-classes", 3, 2, 4, 3.0), ("5-classes", 2, 5, 6, 3.0), ("11-classes", 2, 11, 3, 30.0)):
        draw = Draw(f"log_softmax/{id}")
        yield Draft(id, draw.seed, {"x": draw.reals(b, c, t, scale=scale), "dy": draw.reals(b, c, t)}, {}, False)
    draw = Draw("log_softmax/far-apart")
    arrays = {"x": float32([[[-400], [400]], [[380], [-390]]]), "dy": draw.reals(2, 2, 1)}
    yield Draft("far-apart", draw.seed, arrays, {}, False)


LOG_SOFTMAX = OperatorMaker(
    "op",
    Signature.of("log_softmax(x_bqt) -> y_bqt"),
    "y[b,q,t] = x[b,q,t] - log Σ_j exp(x[b,j,t])",
    _define_log_softmax,
    _log_softmaxes,
)


def _define_gumbel(a: Attributes, arrays: Arrays) -> Arrays:
    logits, noise, dy = arrays["logits"], arrays["noise"], arrays["dy"]
    y = literal_heads.gumbel_softmax(logits, noise, a["temperature"])
    if a["hard"]:
        scores = literal.exact(logits) + literal.exact(noise)
        y = (np.argmax(scores, axis=1)[:, None] == np.arange(scores.shape[1])[:, None]).astype(np.float64)
    return {"y": y, "gradient.logits": literal_heads.gumbel_softmax_gradient(logits, noise, a["temperature"], dy)}


def _gumbels() -> Iterator[Draft]:
    rows = [("soft-1", 2, 5, 4, 1.0, False), ("soft-quarter", 3, 4, 2, 0.25, False), ("soft-3", 2, 3, 5, 3.0, False)]
    for id, b, q, t, temperature, hard in [*rows, ("hard", 2, 4, 5, 0.5, True)]:
        draw = Draw(f"gumbel_softmax/{id}")
        arrays = {name: draw.reals(b, q, t, scale=scale) for name, scale in (("logits", 2.0), ("noise", 3.0), ("dy", 1.0))}
        yield Draft(id, draw.seed, arrays, {"temperature": temperature, "hard": hard}, False)


GUMBEL_SOFTMAX = OperatorMaker(
    "sample",
    Signature.of("gumbel_softmax(logits_bqt, noise_bqt, *, temperature, hard=False) -> y_bqt"),
    "y = softmax((logits + noise) / temperature) over the classes; hard: the one-hot of the largest logits + noise, with the "
    "gradient of the soft sample (straight through); Jang et al. 2017, equation 2",
    _define_gumbel,
    _gumbels,
)
