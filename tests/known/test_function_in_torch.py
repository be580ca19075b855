"""check_function on PyTorch as people write it: right functions pass, wrong ones are told what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kit_functions import Function, conv, failure

from refar.testing import ContractError, check_case, check_function, golden_cases


def masked(x: Any, w: Any, b: Any = None, *, mask: str, anchor: Any, dilation: Any, colours: int, groups: int) -> Any:
    (h, v), (a, e) = w.shape[2:], anchor or (w.shape[2] // 2, w.shape[3] // 2)
    if mask != "none":
        size, out = w.shape[1], len(w) // groups
        o = torch.arange(len(w))[:, None]
        given, wanted = (o // out * size + torch.arange(size)) % colours, o % colours
        seen = torch.zeros_like(w)
        seen[:, :, :a] = 1
        seen[:, :, a, :e] = 1
        seen[:, :, a, e] = (given <= wanted if mask == "B" else given < wanted).to(w.dtype)
        w = w * seen
    pad = (e * dilation[1], (v - 1 - e) * dilation[1], a * dilation[0], (h - 1 - a) * dilation[0])
    return F.conv2d(F.pad(x, pad), w, b, dilation=dilation, groups=groups)


def pool(x: Any, *, kind: str, kernel: int, dilation: int, pad: str) -> Any:
    value = -torch.inf if kind == "max" and pad == "exclude" else 0
    windows = F.pad(x, ((kernel - 1) * dilation, 0), value=value).unfold(2, (kernel - 1) * dilation + 1, 1)[..., ::dilation]
    if kind == "max":
        return windows.amax(-1)
    there = F.pad(torch.ones_like(x), ((kernel - 1) * dilation, 0)).unfold(2, (kernel - 1) * dilation + 1, 1)[..., ::dilation]
    return windows.sum(-1) / (there.sum(-1) if pad == "exclude" else kernel)


def gate(x: Any) -> Any:
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


def gaussian(y: Any, x: Any, *, std: float) -> Any:
    return F.gaussian_nll_loss(y, x, torch.full_like(y, std**2), full=True, reduction="none").sum(1)


def learnt_gaussian(y: Any, x: Any, *, floor: float) -> Any:
    mean, log_scale = y.chunk(2, 1)
    variance = torch.exp(2 * log_scale.clamp(min=floor))
    return F.gaussian_nll_loss(mean, x, variance, full=True, reduction="none", eps=0).sum(1)


def mixture_gaussians(y: Any, x: Any, *, components: int, floor: float) -> Any:
    logits, means, log_scales = (v.movedim(1, -1) for v in y.unflatten(1, (3, components, x.shape[1])).unbind(1))
    normals = torch.distributions.Normal(means, log_scales.clamp(min=floor).exp(), validate_args=False)
    mixed = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=logits), normals, validate_args=False)
    return -mixed.log_prob(x).sum(1)


def activation(x: Any, *, kind: str, slope: float) -> Any:
    return F.leaky_relu(x, slope) if kind == "leaky_relu" else getattr(torch, kind)(x)


TORCH: dict[str, Function] = {
    "causal_conv1d": conv,
    "masked_conv2d": masked,
    "gate": gate,
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "activation": activation,
    "cross_entropy": lambda y, x: F.cross_entropy(y, x, reduction="none"),
    "embedding": lambda x, w: F.embedding(x, w).movedim(-1, 1),
    "learnt_gaussian": learnt_gaussian,
    "mixture_gaussians": mixture_gaussians,
    "gumbel_softmax": lambda logits, noise, *, temperature, hard: F.softmax((logits + noise) / temperature, 1),
    "layer_norm": lambda x, w, b=None, *, eps: F.layer_norm(x.transpose(1, 2), w.shape, w, b, eps).transpose(1, 2),
    "rms_norm": lambda x, w, *, eps: F.rms_norm(x.transpose(1, 2), w.shape, w, eps).transpose(1, 2),
    "prelu": F.prelu,
    "elu": lambda x, *, alpha: F.elu(x, alpha),
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "clip": lambda x, *, low, high: F.hardtanh(x, low, high),
    "hard_sigmoid": lambda x: F.relu6(x + 3) / 6,
    "hard_swish": F.hardswish,
    "mish": F.mish,
    "sin": torch.sin,
    "snake": lambda x, *, alpha: x + torch.sin(alpha * x) ** 2 / alpha,
}


@pytest.mark.parametrize("operator", TORCH)
def test_pytorch_passes_gradients_included(operator: str) -> None:
    only = {"hard": False} if operator == "gumbel_softmax" else None
    report = check_function(TORCH[operator], operator, convert=torch.from_numpy, only=only, gradient="torch")
    assert report.lines[-1].applies


def test_pytorch_pools_pass_with_any_gradient_of_equal_values() -> None:
    """amax shares the gradient among equal values, max_pool1d gives it to the oldest; the golden value to the most recent."""

    def by_max_pool(x: Any, *, kind: str, kernel: int, dilation: int, pad: str) -> Any:
        padded = F.pad(x, ((kernel - 1) * dilation, 0), value=0.0 if pad == "zero" else -torch.inf)
        return F.max_pool1d(padded, kernel, 1, dilation=dilation)

    check_function(pool, "causal_pool1d", convert=torch.from_numpy, gradient="torch")
    check_function(by_max_pool, "causal_pool1d", convert=torch.from_numpy, gradient="torch", only={"kind": "max"})


def test_a_gradient_that_leaks_at_ties_does_not_pass() -> None:
    """What the zeros before the start receive is not to go to x_0, and dy is not to arrive twice."""

    def repeats_the_first(x: Any, *, kind: str, kernel: int, dilation: int, pad: str) -> Any:
        left = (kernel - 1) * dilation
        padded = torch.cat([x[..., :1].expand(*x.shape[:2], left) - x[..., :1].detach(), x], 2)
        return padded.unfold(2, left + 1, 1)[..., ::dilation].amax(-1)

    check = {"only": {"kind": "max", "pad": "zero"}, "gradient": "torch"}
    message = failure(repeats_the_first, "causal_pool1d", **check)
    assert message.startswith("law 'gradient': causal_pool1d, case ")
    assert "or what another choice at ties gives" in message

    def twice(dy: Any, x: Any, **a: Any) -> Any:
        x = x.requires_grad_()
        (dx,) = torch.autograd.grad(pool(x, **a), x, dy)
        return dx * (1 + (dx != 0) * (x == 0))

    assert failure(pool, "causal_pool1d", only=check["only"], gradient=twice).startswith("law 'gradient'")


def test_gradients_of_targets_and_noise_may_be_given_or_not() -> None:
    assert check_function(gaussian, "gaussian", gradient="torch").lines[-1].applies

    def gradients(count: int) -> Function:
        def gradient(dy: Any, y: Any, x: Any, *, std: float) -> Any:
            d = dy[:, None] * (y - x) / std**2
            return (d, -d, d)[:count]

        return gradient

    for count in (1, 2):
        check_function(gaussian, "gaussian", convert=torch.from_numpy, gradient=gradients(count))
    assert "expected 1 arrays, for y, or 2 arrays, for y, x, got 3" in failure(gaussian, "gaussian", gradient=gradients(3))


def conv_but(change: Callable[..., Any]) -> Function:
    """The convolution with other arguments."""

    def f(x: Any, w: Any, b: Any = None, *, dilation: int, groups: int, strict: bool) -> Any:
        return change(x, w, b, dilation=dilation, groups=groups, strict=strict)

    return f


def padded(left: Callable[[int, int], int], right: Callable[[int, int], int] = lambda k, d: 0, cut: bool = False) -> Function:
    def f(x: Any, w: Any, b: Any = None, *, dilation: int, groups: int) -> Any:
        k = w.shape[2]
        y = F.conv1d(F.pad(x, (left(k, dilation), right(k, dilation))), w, b, dilation=dilation, groups=groups)
        return y[..., : x.shape[-1]] if cut else y

    return f


def time_to_batch(x: Any, w: Any, b: Any = None, *, dilation: int, groups: int) -> Any:
    batch, channels, length = x.shape
    x = F.pad(x, (-length % dilation, 0)).reshape(batch, channels, dilation, -1).movedim(2, 1)
    y = conv(x.reshape(batch * dilation, channels, -1), w, b, groups=groups).reshape(batch, dilation, len(w), -1)
    return y.movedim(1, 2).reshape(batch, len(w), -1)[..., -length % dilation :]


def chomped(x: Any, w: Any, b: Any = None, *, dilation: int, groups: int) -> Any:
    pad = (w.shape[2] - 1) * dilation
    return F.conv1d(x, w, b, padding=pad, dilation=dilation, groups=groups)[..., :-pad]


UNSTRICT = {"strict": False}
CONVOLUTIONS: list[tuple[Function, dict[str, Any] | None, str]] = [
    (conv_but(lambda x, w, b, **a: conv(x, w.flip(2), b, **a)), None, "kernel flipped"),
    (conv_but(lambda x, w, b, **a: conv(x, w, b, **{**a, "dilation": 1})), None, "dilation ignored"),
    (
        conv_but(lambda x, w, b, **a: conv(x, w, b, **{**a, "strict": False})),
        None,
        "strict ignored: sees the present",
    ),
    (conv_but(lambda x, w, b, **a: conv(x, w, b, **{**a, "strict": 2 * a["strict"]})), None, "strict hides two samples"),
    (conv_but(lambda x, w, b, **a: conv(x, w, None, **a)), None, "bias dropped"),
    (conv_but(lambda x, w, b, **a: conv(x.flip(2), w, b, **a).flip(2)), UNSTRICT, "time reversed (offsets of the wrong sign)"),
    (padded(lambda k, d: k - 1), UNSTRICT, "padded by K-1, dilation forgotten"),
    (padded(lambda k, d: k * d), UNSTRICT, "padded by D·K"),
    (padded(lambda k, d: k * d, cut=True), UNSTRICT, "padded by D·K and cut to T"),
    (padded(lambda k, d: 0, lambda k, d: (k - 1) * d), UNSTRICT, "padded on the right (anticausal)"),
    (padded(lambda k, d: 0, lambda k, d: (k - 1) * d), UNSTRICT, "padded on the right (anticausal)"),
    (
        padded(lambda k, d: (k - 1) * d - 1, lambda k, d: 1),
        UNSTRICT,
        "sees one sample too many: the next one, or if strict the present",
    ),
    (padded(lambda k, d: ((k - 1) * d + 1) // 2, lambda k, d: (k - 1) * d // 2), UNSTRICT, "padded on both sides (same)"),
    (time_to_batch, UNSTRICT, "time to batch without the transpose"),
    (chomped, UNSTRICT, "cut by [..., :-0]"),
]


@pytest.mark.parametrize(("f", "only", "cause"), CONVOLUTIONS)
def test_wrong_convolutions_are_told_what_is_wrong(f: Function, only: dict[str, Any] | None, cause: str) -> None:
    assert f"looks like: {cause}" in failure(f, "causal_conv1d", only=only)


MASKS: list[tuple[dict[str, Any], str]] = [
    ({"mask": lambda m: "A" if m == "B" else m}, "mask B zeroes the centre"),
    ({"mask": lambda m: {"A": "B", "B": "A"}.get(m, m)}, "masks A and B swapped"),
    ({"mask": lambda m: "none"}, "mask ignored"),
    ({"colours": lambda n: 1}, "colours ignored"),
    ({"dilation": lambda d: (1, 1)}, "dilation ignored"),
    ({"dilation": lambda d: d[::-1]}, "dilation of rows and columns swapped"),
    ({"anchor": lambda a: None}, "anchor ignored, taken for the centre"),
]


@pytest.mark.parametrize(("changed", "cause"), MASKS, ids=[cause for _, cause in MASKS])
def test_wrong_masks_are_told_what_is_wrong(changed: dict[str, Any], cause: str) -> None:
    def f(x: Any, w: Any, b: Any = None, *, mask: str, anchor: Any, dilation: Any, colours: int, groups: int) -> Any:
        a = {"mask": mask, "anchor": anchor, "dilation": dilation, "colours": colours, "groups": groups}
        return masked(x, w, b, **{name: changed.get(name, lambda v: v)(value) for name, value in a.items()})

    assert f"looks like: {cause}" in failure(f, "masked_conv2d")


def test_a_mask_put_on_the_product_lets_gradients_into_hidden_weights() -> None:
    def straight_through(x: Any, w: Any, b: Any = None, **a: Any) -> Any:
        with torch.no_grad():
            hidden = masked(x, w, b, **a) - masked(x, w, b, **{**a, "mask": "none"})
        return masked(x, w, b, **{**a, "mask": "none"}) + hidden

    message = failure(straight_through, "masked_conv2d", gradient="torch")
    assert "gradient of w: masked weights receive one" in message
    assert "gradient of x: mask ignored" in message


def test_a_ring_buffer_of_k_places() -> None:
    def f(x: Any, *, kind: str, kernel: int, dilation: int, pad: str) -> Any:
        ring, outputs = torch.zeros(*x.shape[:2], kernel, dtype=x.dtype), []
        for t in range(x.shape[2]):
            ring[:, :, t % kernel] = x[:, :, t]
            outputs.append(torch.stack([ring[:, :, (t - k * dilation) % kernel] for k in range(kernel)]).amax(0))
        return torch.stack(outputs, -1)

    assert "looks like: ring of K places instead of D·(K-1)+1" in failure(f, "causal_pool1d", only={"kind": "max", "pad": "zero"})


OTHERS: list[tuple[str, Function, str]] = [
    ("cross_entropy", lambda y, x: F.cross_entropy(y, x), "one number for the whole batch"),
    ("cross_entropy", lambda y, x: F.nll_loss(y, x, reduction="none"), "logits taken for log-probabilities"),
    ("cross_entropy", lambda y, x: F.cross_entropy(F.softmax(y, 1), x, reduction="none"), "softmax taken twice"),
    ("softmax", lambda x: F.softmax(x, -1), "over the last axis instead of the channels"),
    ("softmax", lambda x: x.exp() / x.exp().sum(1, keepdim=True), "overflows: the largest is not subtracted"),
    ("gate", lambda x: torch.sigmoid(x.chunk(2, 1)[0]) * torch.tanh(x.chunk(2, 1)[1]), "halves of the gate swapped"),
    ("gate", lambda x: F.glu(x, 1), "no tanh (gated linear unit)"),
    ("shift1d", lambda x, *, steps: torch.roll(x, steps, 2), "wraps around"),
    ("shift2d", lambda x, *, down, right: torch.roll(x, (down, right), (2, 3)), "wraps around"),
    ("one_hot", lambda x, *, classes: F.one_hot(x, classes).double(), "channels last"),
    ("embedding", lambda x, w: F.embedding(x, w, padding_idx=0), "channels last"),
    ("standardize", lambda x, *, mean, std: ((x - mean) / std**2)[:, None].double(), "divided by the variance"),
    (
        "mu_law_encode",
        lambda x, *, classes: ((x.sign() * (1 + classes * x.abs()).log() / np.log(1 + classes) + 1) / 2 * classes + 0.5).long(),
        "μ = Q, and Q steps: +1 is class Q",
    ),
    ("linear_encode", lambda x, *, classes: ((x + 1) * classes / 2).long(), "+1 is class Q"),
    ("inverse_cdf", lambda p, u: (p.cumsum(1) <= u[:, None]).sum(1), "falls off the end"),
    (
        "inverse_cdf",
        lambda p, u: (p.cumsum(1) >= u[:, None]).int().argmax(1),
        "≥ for >: picks a class of probability 0 at an edge",
    ),
    ("sample_categorical", lambda y, n, *, temperature: (y * temperature + n).argmax(1), "temperature multiplies the logits"),
    ("gumbel_noise", lambda u: -(-(u + 1e-20).log() + 1e-20).log(), "1e-20 added inside the logarithms"),
]


@pytest.mark.parametrize(("operator", "f", "cause"), OTHERS, ids=[f"{name}: {cause}" for name, _, cause in OTHERS])
def test_other_wrong_functions_are_told_what_is_wrong(operator: str, f: Function, cause: str) -> None:
    only = {"top_k": None} if operator == "sample_categorical" else None
    assert cause in failure(f, operator, only=only).partition("looks like: ")[2]


def test_a_plain_difference_of_cdfs_is_right_but_in_the_tails() -> None:
    """The usual way to compute a discretised mixture is allowed where it can be right."""

    def f(y: Any, x: Any, *, components: int, classes: int) -> Any:
        logits, means, log_scales = y.chunk(3, 1)
        q, inverse = x[:, None], torch.exp(-log_scales)
        centre, half = 2 * q.to(y.dtype) / (classes - 1) - 1, 1 / (classes - 1)
        upper, lower = (torch.sigmoid((centre + side * half - means) * inverse) for side in (1, -1))
        mass = torch.where(q == classes - 1, 1.0, upper) - torch.where(q == 0, 0.0, lower)
        return -torch.log((F.softmax(logits, 1) * mass).sum(1))

    *ordinary, narrow, tails = golden_cases("mixture_logistics")
    for case in ordinary:
        check_case(f, case, convert=torch.from_numpy)
    for case in (narrow, tails):
        with pytest.raises(ContractError, match="nats at"):
            check_case(f, case, convert=torch.from_numpy)
