"""check_loss: right losses of many forms are taken, wrong ones refused with the change that gives their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import refuses
from torch import Tensor, nn
from torch.nn import functional as F

from refar import Builder, Graph, models, ops
from refar.errors import GraphError, InputError
from refar.testing import ContractError, check_loss
from refar.torch.losses import nats

Q = 5
STRICT = models.wavenet(classes=Q, dilations=[1, 2], residual=4, gate=4, skip=4)
MASK = np.arange(12) < np.array([12, 7, 4])[:, None]


def present() -> Graph:
    """A network whose output at t is for x_{t+1}."""
    g = Builder()
    return g.build(g.conv1d(g.one_hot(g.input(classes=Q)), Q, kernel=3), ops.Categorical())


def signal(head: ops.AnyHead, channels: int) -> Graph:
    g = Builder()
    return g.build(g.conv1d(g.input(channels=2), channels, kernel=2, strict=True), head)


def by_hand(y: np.ndarray, x: np.ndarray) -> float:
    lowered = y - y.max(axis=1, keepdims=True)
    with np.errstate(under="ignore"):
        log_p = lowered - np.log(np.exp(lowered).sum(axis=1, keepdims=True))
    return float(np.mean([-log_p[b, x[b, t], t] for b in range(len(x)) for t in range(x.shape[1])]))


def overflowing(y: np.ndarray, x: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        p = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
        return float(np.mean([-np.log(p[b, x[b, t], t]) for b in range(len(x)) for t in range(x.shape[1])]))


def each(y: Tensor, x: Tensor) -> Tensor:
    return F.cross_entropy(y, x, reduction="none")


RIGHT: dict[str, Callable[..., Any]] = {
    "loops": by_hand,
    "module": nn.CrossEntropyLoss(),
    "sum": lambda y, x: F.cross_entropy(y, x, reduction="sum"),
    "each": lambda y, x: F.cross_entropy(y, x, reduction="none"),
    "rows": lambda y, x: each(y, x).sum(1),
    "mean of each row": lambda y, x: each(y, x).mean(1),
    "nats per sequence": lambda y, x: each(y, x).sum(1).mean(),
    "sum over rows": lambda y, x: F.cross_entropy(y, x, reduction="sum") / len(x),
    "each, flat": lambda y, x: F.cross_entropy(y.transpose(1, 2).reshape(-1, Q), x.reshape(-1), reduction="none"),
    "each, with an axis": lambda y, x: -F.log_softmax(y, 1).gather(1, x[:, None]),
    "a number of Python": lambda y, x: F.cross_entropy(y.float(), x).item(),
    "weights in float32": nn.CrossEntropyLoss(weight=torch.ones(Q)),
    "log of softmax in float64": lambda y, x: F.nll_loss(y.double().softmax(1).log(), x),
    "two sums": lambda y, x: torch.logsumexp(y, 1).mean() - y.gather(1, x[:, None]).mean(),
    "half precision": lambda y, x: F.cross_entropy(y.bfloat16(), x),
    "flat": lambda y, x: F.cross_entropy(y.transpose(1, 2).reshape(-1, Q), x.reshape(-1)),
    "float32": lambda y, x: F.cross_entropy(y.float(), x),
    "nll": lambda y, x: F.nll_loss(F.log_softmax(y, dim=1), x),
    "gather": lambda y, x: (torch.logsumexp(y, 1) - y.gather(1, x[:, None])[:, 0]).mean(),
}
WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "next": (lambda y, x: F.cross_entropy(y[..., :-1], x[:, 1:]), r"it is the mean where y_t is for x_\{t\+1\}"),
    "past": (lambda y, x: F.cross_entropy(y[..., 1:], x[:, :-1]), r"it is the mean where y_t is for x_\{t-1\}"),
    "first": (lambda y, x: F.cross_entropy(y[..., 1:], x[:, 1:]), "the first value that counts is left out of the mean"),
    "last": (lambda y, x: F.cross_entropy(y[..., :-1], x[:, :-1]), "the last position is left out of the mean"),
    "bits": (lambda y, x: F.cross_entropy(y, x) / np.log(2), "in bits, not nats"),
    "sign": (lambda y, x: -F.cross_entropy(y, x), "the wrong sign"),
    "twice": (lambda y, x: F.cross_entropy(F.log_softmax(y, 1).exp(), x), "the softmax is taken twice"),
    "epsilon": (lambda y, x: F.nll_loss((y.softmax(1) + 1e-5).log(), x), "a small number added inside the logarithm"),
    "reshaped": (lambda y, x: F.cross_entropy(y.reshape(-1, Q), x.reshape(-1)), "without moving the axis of classes"),
    "rows, bits": (lambda y, x: each(y, x).sum(1).mean() / np.log(2), "the mean over rows of their sums in bits"),
    "each, late": (lambda y, x: F.pad(each(y[..., :-1], x[:, 1:]), (0, 1)), "got [\\d.]+, off by"),
    "the wrong order": (lambda y, x: each(y, x).T.reshape(-1), r"at \[\d+\]: expected .* \(one number for each position, in one"),
    "a factor": (lambda y, x: F.cross_entropy(y, x) * (1 + 1e-6), "off by [12].*e-06, at most"),
    "overflow": (overflowing, "where outputs go up to 100, in float32: expected .*, got (nan|inf)"),
    "overflow in PyTorch": (
        lambda y, x: F.nll_loss((y.exp() / y.exp().sum(1, keepdim=True)).log(), x),
        "100, in float32: .*, got nan",
    ),
    "clamped": (lambda y, x: F.cross_entropy(y.clamp(-8, 8), x), "where outputs go up to 100, in float64"),
    "a small epsilon": (
        lambda y, x: F.nll_loss((y.float().softmax(1) + 1e-6).log(), x),
        "outputs go up to 100, .* a small number added inside",
    ),
    "a small temperature": (lambda y, x: F.cross_entropy(y.float() / 1.00002, x), "where outputs go up to 100"),
    "a coarse dtype": (lambda y, x: F.cross_entropy(y.bfloat16().double(), x), "where outputs go up to 100"),
    "smoothed": (
        lambda y, x: F.cross_entropy(y, x, label_smoothing=0.1),
        r"expected .* \(the mean\), got [\d.]+, off by [\d.]+, at most \S+\n",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_losses_are_taken(name: str) -> None:
    for seed in range(3):
        assert check_loss(RIGHT[name], STRICT, seed=seed).passed


@pytest.mark.parametrize("name", WRONG)
def test_wrong_losses_are_refused_with_what_gives_their_values(name: str) -> None:
    loss, said = WRONG[name]
    for seed in range(2):
        with pytest.raises(ContractError, match=said):
            check_loss(loss, STRICT, seed=seed)


def test_a_network_that_sees_the_present_is_for_the_next_value() -> None:
    check_loss(lambda y, x: F.cross_entropy(y[..., :-1], x[:, 1:]), present())
    with pytest.raises(ContractError, match=r"y_t is for x_t\nto repeat"):
        check_loss(nn.CrossEntropyLoss(), present())


def test_a_prefix_does_not_count() -> None:
    check_loss(lambda y, x: F.cross_entropy(y[..., 4:], x[:, 4:]), STRICT, prefix=4)
    for loss, said in (
        (nn.CrossEntropyLoss(), "with the prefix"),
        (lambda y, x: F.cross_entropy(y[..., 3:], x[:, 3:]), "with the last position of the prefix"),
        (lambda y, x: F.cross_entropy(y[..., 5:], x[:, 5:]), "the first value that counts is left out"),
    ):
        with pytest.raises(ContractError, match=said):
            check_loss(loss, STRICT, prefix=4)


def masked(y: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    each = F.cross_entropy(y, x, reduction="none")
    return (each * mask).sum() / mask.sum()


def of_rows(y: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    each = F.cross_entropy(y, x, reduction="none")
    return ((each * mask).sum(1) / mask.sum(1)).mean()


def ignored(y: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    return F.cross_entropy(y, torch.where(mask, x, -100))


def test_a_mask_says_what_counts() -> None:
    for loss in (masked, ignored):
        check_loss(loss, STRICT, mask=MASK)
    for loss, said in (
        (lambda y, x, mask: F.cross_entropy(y, x), "without regard to the mask"),
        (lambda y, x, mask: masked(y, x, ~mask), "where the mask is reversed"),
        (lambda y, x, mask: (F.cross_entropy(y, x, reduction="none") * mask).mean(), "divided by more than the number of values"),
        (of_rows, "the mean of the means of the rows"),
    ):
        with pytest.raises(ContractError, match=said):
            check_loss(loss, STRICT, mask=MASK)


def test_a_value_that_does_not_count_and_changes_the_loss_is_seen() -> None:
    """A loss that is right within its bound, but looks at padding."""

    def loss(y: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        return masked(y, x, mask) + 1e-15 * (y * ~mask[:, None]).sum()

    with pytest.raises(ContractError, match="where what does not count is changed"):
        check_loss(loss, STRICT, mask=MASK)


def test_a_detached_path_is_seen_in_the_gradient() -> None:
    def loss(y: Tensor, x: Tensor) -> Tensor:
        return (torch.logsumexp(y, 1).detach() - y.gather(1, x[:, None])[:, 0]).mean()

    with pytest.raises(ContractError, match="gradient of y"):
        check_loss(loss, STRICT)


def test_signals_and_images() -> None:
    gaussian = signal(ops.Gaussian(0.5), 2)
    check_loss(lambda y, x: F.gaussian_nll_loss(y, x, torch.full_like(y, 0.25), full=True), gaussian)
    with pytest.raises(ContractError, match="without the constant or the scale of the density"):
        check_loss(lambda y, x: F.mse_loss(y, x), gaussian)
    image = models.masked_pixelcnn(4, channels=3, layers=1, hidden=6)
    check_loss(lambda y, x: F.cross_entropy(y.unflatten(1, (4, 3)), x), image)
    with pytest.raises(ContractError, match="expected"):
        check_loss(lambda y, x: F.cross_entropy(y.unflatten(1, (3, 4)).transpose(1, 2), x), image)


def constant(y: Tensor, x: Tensor) -> Tensor:
    return (y - x) ** 2 / 2 + np.log(2 * np.pi) / 2


OF_A_SIGNAL: dict[str, tuple[Callable[..., Any], str]] = {
    "mean": (lambda y, x: constant(y, x).mean(), "the mean"),
    "positions": (lambda y, x: constant(y, x).sum(1).mean(), "the mean over positions of their sums"),
    "sequences": (lambda y, x: constant(y, x).sum((1, 2)).mean(), "the mean over rows of their sums"),
    "rows": (lambda y, x: constant(y, x).sum(1).mean(1), "the mean over the positions of each row"),
    "mean of each row": (lambda y, x: constant(y, x).mean((1, 2)), "the mean of each row"),
    "each": (lambda y, x: constant(y, x).sum(1), "one number for each position"),
    "channels": (constant, "one number for each channel and position"),
    "a constant apart": (lambda y, x: ((y - x) ** 2).sum() / 2 + y.numel() * np.log(2 * np.pi) / 2, "the sum"),
}


@pytest.mark.parametrize("name", OF_A_SIGNAL)
def test_losses_of_a_signal_have_the_gradient_of_what_was_found(name: str) -> None:
    loss, found = OF_A_SIGNAL[name]
    for seed in range(3):
        report = check_loss(loss, signal(ops.Gaussian(1.0), 2), convert=torch.from_numpy, seed=seed)
        assert report.lines[0].figure == found
        assert "the worst at" in report.lines[2].figure
    with pytest.raises(ContractError, match="gradient of y"):
        check_loss(lambda y, x: loss(y, x) * 2 - loss(y, x).detach(), signal(ops.Gaussian(1.0), 2), convert=torch.from_numpy)


@pytest.mark.parametrize("head", [ops.LearntGaussian(), ops.MixtureGaussians(components=2), ops.LearntGaussian(-2.0)])
def test_learnt_scales_may_come_for_each_channel(head: ops.LearntGaussian | ops.MixtureGaussians) -> None:
    components = getattr(head, "components", 1)

    def of_channels(y: Any, x: Tensor) -> Tensor:
        *logits, mean, scale = y.unflatten(1, (-1, components, 2)).unbind(1)
        normal: Any = torch.distributions.Normal(mean, scale.clamp(min=head.floor).exp())
        return -torch.logsumexp(normal.log_prob(x[:, None]) + (logits[0].log_softmax(1) if logits else 0), 1)

    graph = signal(head, 4 if isinstance(head, ops.LearntGaussian) else 12)
    for seed in range(2):
        check_loss(of_channels, graph, seed=seed)
        check_loss(lambda y, x: of_channels(y, x).sum(1).mean(), graph, seed=seed)
        with pytest.raises(ContractError, match="expected"):
            check_loss(lambda y, x: of_channels(y + 1e-7, x), graph, seed=seed)


def of_classes(head: ops.AnyHead, channels: int, classes: int) -> Graph:
    g = Builder()
    return g.build(g.conv1d(g.one_hot(g.input(classes=classes)), channels, kernel=2, strict=True), head)


@pytest.mark.parametrize("graph", [
    of_classes(ops.Categorical(), 256, 256), of_classes(ops.MixtureLogistics(3, 256), 9, 256),
    of_classes(ops.MixtureLogistics(2, 5), 6, 5), signal(ops.Gaussian(0.1), 2), signal(ops.LearntGaussian(), 4),
    signal(ops.MixtureGaussians(3), 18),
], ids=lambda graph: type(graph.head).__name__)  # fmt: skip
def test_the_losses_of_refar_in_pytorch(graph: Graph) -> None:
    """Also in float32, where shares of e^-200 are 0."""
    head = graph.head
    assert head is not None
    for seed in range(2):
        report = check_loss(lambda y, x: nats(head, y, x).sum(1).mean(), graph, convert=torch.from_numpy, seed=seed)
        assert all(line.applies for line in report.lines[:3])
        with pytest.raises(ContractError, match="gradient of y"):
            check_loss(lambda y, x: 2 * nats(head, y, x) - nats(head, y, x).detach(), graph, convert=torch.from_numpy, seed=seed)


def of_values(y: Any, x: Tensor) -> Tensor:
    return F.cross_entropy(y.unflatten(1, (4, 3)), x, reduction="none")


MODELLED = "one number for each value, in the order in which they are modelled"
OF_AN_IMAGE: dict[str, tuple[Callable[..., Any], str]] = {
    "values": (of_values, "one number for each value, (B, C, H, W)"),
    "pixels": (lambda y, x: of_values(y, x).sum(1), "one number for each pixel, (B, H, W)"),
    "images": (lambda y, x: of_values(y, x).sum((1, 2, 3)), "the sum of each row"),
    "mean over images": (lambda y, x: of_values(y, x).sum((1, 2, 3)).mean(), "the mean over rows of their sums"),
    "mean over pixels": (lambda y, x: of_values(y, x).sum(1).mean(), "the mean over pixels of their sums"),
    "flat": (lambda y, x: of_values(y, x).flatten(), "one number for each value, (B, C, H, W), in one axis"),
    "as modelled": (lambda y, x: of_values(y, x).movedim(1, -1).flatten(1), MODELLED),
}


@pytest.mark.parametrize("name", OF_AN_IMAGE)
def test_losses_of_images_may_come_in_many_shapes(name: str) -> None:
    loss, found = OF_AN_IMAGE[name]
    graph = models.masked_pixelcnn(4, channels=3, layers=1, hidden=6)
    assert check_loss(loss, graph).lines[0].figure == found
    with pytest.raises(ContractError, match="expected"):
        check_loss(lambda y, x: loss(y, x.flip(1)), graph)


def test_numbers_after_a_prefix_or_where_a_mask_counts_may_come_alone() -> None:
    for seed in range(2):
        check_loss(lambda y, x: each(y, x)[:, 4:], STRICT, prefix=4, seed=seed)
        check_loss(lambda y, x: F.pad(each(y, x)[:, 4:], (4, 0)), STRICT, prefix=4, seed=seed)
        check_loss(lambda y, x: each(y[..., :-1], x[:, 1:])[:, 3:], present(), prefix=4, seed=seed)
        check_loss(lambda y, x: each(y[..., :-1], x[:, 1:]).sum(1).mean(), present(), seed=seed)
        check_loss(lambda y, x, mask: each(y, x)[mask], STRICT, mask=MASK, seed=seed)
        check_loss(lambda y, x, mask: (each(y, x) * mask).sum(1) / mask.sum(1), STRICT, mask=MASK, seed=seed)
    for other in (lambda y, x: each(y, x)[:, 3:-1], lambda y, x: F.pad(each(y, x)[:, 5:], (5, 0))):
        with pytest.raises(ContractError, match="expected"):
            check_loss(other, STRICT, prefix=4)


def test_a_shape_that_nothing_right_has_is_told_with_what_each_shape_would_be() -> None:
    with pytest.raises(ContractError, match=r"got \(3, 8\); expected one of: \(\), the mean or .*; \(3,\), the sum of"):
        check_loss(lambda y, x: each(y, x)[:, 5:], STRICT, prefix=4)


def test_what_is_no_loss_is_said() -> None:
    unusable: Any = "wavenet"
    with refuses(InputError, "graph: expected a graph with a head, got str"):
        check_loss(nn.CrossEntropyLoss(), unusable)
    with refuses(InputError, "loss: expected a function loss(y, x), got str"):
        check_loss(unusable, STRICT)
    with refuses(InputError, "seed: expected an integer"):
        check_loss(nn.CrossEntropyLoss(), STRICT, seed=unusable)
    with refuses(InputError, "convert: expected a function of an array"):
        check_loss(nn.CrossEntropyLoss(), STRICT, convert=unusable)
    with pytest.raises(ContractError, match="convert raises ValueError on an array of float64"):
        check_loss(nn.CrossEntropyLoss(), STRICT, convert=lambda array: int("x"))


def test_what_a_caller_gets_wrong() -> None:
    g = Builder()
    with refuses(GraphError, "check_loss needs a graph with a head"):
        check_loss(nn.CrossEntropyLoss(), g.build(g.conv1d(g.input(channels=1), 2)))
    with refuses(InputError, "prefix: expected less than the 13 positions"):
        check_loss(nn.CrossEntropyLoss(), STRICT, prefix=13)
    with refuses(InputError, "mask: expected Booleans (B, T)"):
        check_loss(nn.CrossEntropyLoss(), STRICT, mask=np.ones(4))
    with refuses(InputError, "mask: expected at least one position that counts"):
        check_loss(masked, STRICT, mask=np.zeros((2, 5), bool))
    with pytest.raises(ContractError, match=r"raises RuntimeError on arrays of \(3, 5, 13\), \(3, 13\)"):
        check_loss(lambda y, x: F.cross_entropy(y.flatten(1), x), STRICT)
    with pytest.raises(ContractError, match="expected one array, got a tuple of 2"):
        check_loss(lambda y, x: (F.cross_entropy(y, x), 0), STRICT)
