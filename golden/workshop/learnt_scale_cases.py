"""Golden cases of the heads whose scale is learnt: their losses, and their samplers."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, localcontext

import numpy as np

from refar.arguments.arrays import Array, Arrays
from refar.exact import literal_heads
from refar.golden.case import Signature
from refar.golden.node_operators import Attributes
from workshop.draw import Draw
from workshop.loss_cases import loss_maker
from workshop.making import Draft, OperatorMaker


def _define(head: literal_heads.Gaussians, arrays: Arrays) -> Arrays:
    y, x, d = arrays["y"], arrays["x"], arrays["dnats"]
    return {"nats": literal_heads.gaussians(head, y, x), "gradient.y": literal_heads.gaussians_gradient(head, y, x, d)}


def _parameters(draw: Draw, b: int, k: int, c: int, t: int, low: float, logits: bool) -> Array:
    """Logits, means within (-2, 2), log-scales from `low` to `low` + 2; number k of the parameters of channel c is k·C + c."""
    of_logits = [draw.reals(b, k * c, t, scale=2)] if logits else []
    log_scales = draw.reals(b, k * c, t) + np.float32(low + 1)
    return np.concatenate([*of_logits, draw.reals(b, k * c, t, scale=2), log_scales], axis=1)


def _gaussians() -> Iterator[Draft]:
    for id, b, c, t, low, floor in (
        ("2-channels", 3, 2, 4, -1.0, -7.0),
        ("narrow", 2, 3, 3, -6.0, -7.0),
        ("floor", 2, 2, 6, -2.0, -1.0),
        ("floor-above-0", 2, 3, 4, 0.0, 1.0),
    ):
        draw = Draw(f"learnt_gaussian/{id}")
        arrays = {"y": _parameters(draw, b, 1, c, t, low, False), "x": draw.reals(b, c, t, scale=3), "dnats": draw.reals(b, t)}
        yield Draft(id, draw.seed, arrays, {"floor": floor}, False)
    draw = Draw("learnt_gaussian/tails")
    arrays = {"y": _parameters(draw, 2, 1, 2, 3, -6.0, False), "x": draw.reals(2, 2, 3, scale=1000), "dnats": draw.reals(2, 3)}
    yield Draft("tails", draw.seed, arrays, {"floor": -5.0}, False)


def _mixtures() -> Iterator[Draft]:
    for id, b, k, c, t, low, floor in (
        ("2-components", 3, 2, 1, 4, -1.0, -7.0),
        ("3-components-of-2-channels", 2, 3, 2, 4, -1.0, -7.0),
        ("2-components-of-3-channels", 2, 2, 3, 3, -2.0, -7.0),
        ("floor", 2, 3, 2, 4, -2.0, -1.0),
        ("1-component", 2, 1, 3, 3, -1.0, -0.5),
    ):
        draw = Draw(f"mixture_gaussians/{id}")
        y = _parameters(draw, b, k, c, t, low, True)
        arrays = {"y": y, "x": draw.reals(b, c, t, scale=2), "dnats": draw.reals(b, t)}
        yield Draft(id, draw.seed, arrays, {"components": k, "floor": floor}, False)
    draw = Draw("mixture_gaussians/tails")
    y = _parameters(draw, 2, 3, 2, 3, -5.0, True)
    arrays = {"y": y, "x": draw.reals(2, 2, 3, scale=30), "dnats": draw.reals(2, 3)}
    yield Draft("tails", draw.seed, arrays, {"components": 3, "floor": -4.0}, False)


def _draw(a: Attributes, arrays: Arrays) -> tuple[Array, Array]:
    """Draw a mean and, temperature times scale times noise, what is added to it, both x_bc, in 60 digits."""
    k, t = a.get("components", 1), Decimal(a["temperature"])
    channels = arrays["noise"].shape[1] // (k + 1 if "components" in a else 1)
    means, moved = np.empty((2, len(arrays["y"]), channels))
    with localcontext(prec=60):
        for b, c in np.ndindex(means.shape):
            y, n = ([Decimal(v) for v in arrays[name][b, c::channels].tolist()] for name in ("y", "noise"))
            scores = [Decimal(0)] if "components" not in a else y[:k] if t == 0 else [y[j] / t + n[j] for j in range(k)]
            best = scores.index(max(scores))
            scale = max(y[len(y) - k + best], Decimal(a["floor"])).exp()
            means[b, c], moved[b, c] = y[len(y) - 2 * k + best], t * scale * n[-1]
    return means, moved


def _sample(a: Attributes, arrays: Arrays) -> Arrays:
    mean, moved = _draw(a, arrays)
    return {"x": mean + moved}


def _samples(operator: str, components: int | None) -> Iterator[Draft]:
    for id, b, c, floor, temperature in (
        ("temperature-1", 6, 2, -7.0, 1.0),
        ("temperature-half", 5, 3, -1.0, 0.5),
        ("temperature-2", 5, 1, -0.5, 2.0),
        ("temperature-0", 4, 2, -1.0, 0.0),
    ):
        draw = Draw(f"{operator}/{id}")
        y = _parameters(draw, b, components or 1, c, 1, -2.0, components is not None)[:, :, 0]
        normals = draw.reals(b, c, scale=3)
        noise = normals if components is None else np.concatenate([draw.reals(b, components * c, scale=3), normals], axis=1)
        of_mixture = {} if components is None else {"components": components}
        yield Draft(id, draw.seed, {"y": y, "noise": noise}, {**of_mixture, "floor": floor, "temperature": temperature}, False)


LEARNT_SCALES = (
    loss_maker(
        "learnt_gaussian(y_bpt, x_bct, *, floor=-7.0) -> nats_bt",
        "nats[b,t] = Σ_c [(x_c - μ_c)²/(2·σ_c²) + log σ_c + log(2π)/2], σ_c = exp(max(λ_c, floor)), with μ_c = y[b,c,t] and "
        "λ_c = y[b,C+c,t]; refar.ops.LearntGaussian; Ping et al. 2019 (ClariNet)",
        _define,
        _gaussians,
    ),
    loss_maker(
        "mixture_gaussians(y_bpt, x_bct, *, components, floor=-7.0) -> nats_bt",
        "nats[b,t] = -Σ_c log Σ_k softmax(l_c)_k · exp(-(x_c - μ_ck)²/(2·σ_ck²)) / (σ_ck·√(2π)), σ_ck = exp(max(λ_ck, floor)), "
        "with l_ck = y[b,k·C+c,t], μ_ck = y[b,(K+k)·C+c,t], λ_ck = y[b,(2K+k)·C+c,t]; refar.ops.MixtureGaussians; Bishop 1994",
        _define,
        _mixtures,
    ),
    OperatorMaker(
        "sample",
        Signature.of("sample_learnt_gaussian(y_bp, noise_bc, *, floor=-7.0, temperature=1.0) -> x_bc"),
        "x_c = μ_c + temperature · exp(max(λ_c, floor)) · noise_c; the channels of y are μ, λ; refar.ops.LearntGaussian",
        _sample,
        lambda: _samples("sample_learnt_gaussian", None),
    ),
    OperatorMaker(
        "sample",
        Signature.of("sample_mixture_gaussians(y_bp, noise_bn, *, components, floor=-7.0, temperature=1.0) -> x_bc"),
        "for each channel c: k = argmax_k (l_ck / temperature + noise[k·C+c]), at temperature 0 argmax_k l_ck; "
        "x_c = μ_ck + temperature · exp(max(λ_ck, floor)) · noise[K·C+c]; refar.ops.MixtureGaussians",
        _sample,
        lambda: _samples("sample_mixture_gaussians", 3),
    ),
)
