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
    p = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
    return float(np.mean([-np.log(p[b, x[b, t], t]) for b in range(len(x)) for t in range(x.shape[1])]))


RIGHT: dict[str, Callable[..., Any]] = {
    "loops": by_hand,
    "module": nn.CrossEntropyLoss(),
    "sum": lambda y, x: F.cross_entropy(y, x, reduction="sum"),
    "each": lambda y, x: F.cross_entropy(y, x, reduction="none"),
    "rows": lambda y, x: F.cross_entropy(y, x, reduction="none").sum(1),
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
    "rows": (lambda y, x: F.cross_entropy(y, x, reduction="sum") / len(x), "divided by the number of rows"),
    "smoothed": (lambda y, x: F.cross_entropy(y, x, label_smoothing=0.1), r"expected .* \(the mean\), got [\d.]+\nto repeat"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_losses_are_taken(name: str) -> None:
    assert check_loss(RIGHT[name], STRICT).passed


@pytest.mark.parametrize("name", WRONG)
def test_wrong_losses_are_refused_with_what_gives_their_values(name: str) -> None:
    loss, said = WRONG[name]
    with pytest.raises(ContractError, match=said):
        check_loss(loss, STRICT)


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
    """A loss that is right to nine digits, but looks at padding."""

    def loss(y: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        return masked(y, x, mask) + 1e-12 * (y * ~mask[:, None]).sum()

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
