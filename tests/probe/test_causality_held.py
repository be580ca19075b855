"""`check_causality(reach=…)` holds every position, every length; functions of another rate; and what it cannot use."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
import torch
from helpers import refuses
from torch import nn
from torch.nn import functional as F

from refar.errors import InputError
from refar.testing import ContractError, check_causality

W = torch.tensor(np.random.default_rng(0).normal(size=(4, 3, 5)), dtype=torch.float32)
SHAPE = (3, 2, 25)


def whole(x: np.ndarray) -> np.ndarray:
    return F.conv1d(F.pad(torch.as_tensor(x), (16, 0)), W, dilation=4).numpy()


def decoded(size: int, overlap: int) -> Callable[[np.ndarray], np.ndarray]:
    """Pieces of `size` positions, each with `overlap` of context before it; 16 are needed."""

    def f(x: np.ndarray) -> np.ndarray:
        begins = range(0, x.shape[2], size)
        pieces = [whole(x[..., max(0, s - overlap) : s + size])[..., s - max(0, s - overlap) :] for s in begins]
        return np.concatenate(pieces, axis=2)

    return f


@pytest.mark.parametrize("size", [20, 32, 64])
def test_a_chunked_decode_needs_its_overlap(size: int) -> None:
    reach = {0, 4, 8, 12, 16}
    assert check_causality(decoded(size, 16), shape=(2, 3, 100), reach=reach).offsets == reach
    for overlap in (0, 8, 15):
        with pytest.raises(ContractError, match="which others see") as caught:
            check_causality(decoded(size, overlap), shape=(2, 3, 100), reach=reach)
        assert f"the result depends on the position: the output at position {size} " in str(caught.value)


def test_without_a_reach_it_is_a_note() -> None:
    notes = check_causality(decoded(32, 8), shape=(2, 3, 100)).notes
    assert any("the output at position 32 does not see the offsets" in note for note in notes)


def test_relus_that_are_off_are_not_blind() -> None:
    """At one channel each output is off half of the time, and near the start more often."""
    weight = np.array([0.7, -1.2, 0.4, 1.0])

    def f(x: np.ndarray) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (0, 0), (3, 0)))
        return np.maximum(sum(w * padded[..., k : k + x.shape[-1]] for k, w in enumerate(weight)) - 1.0, 0)

    for seed in range(3):
        assert check_causality(f, shape=(2, 1, 40), reach=4, seed=seed).offsets == set(range(4))


@pytest.mark.parametrize("length", [18, 19, 20, 21, 24, 26, 27, 40, 70])
def test_padding_to_a_multiple_of_eight_on_the_left_is_seen(length: int) -> None:
    def f(x: np.ndarray) -> np.ndarray:
        fill = -x.shape[2] % 8
        y = np.cumsum(np.pad(x, ((0, 0), (0, 0), (fill, 0)), constant_values=0.5), axis=-1)
        return y[..., fill:]

    with pytest.raises(ContractError, match="it knows how long the sequence is"):
        check_causality(f, shape=(2, 1, length))


def up(crop: slice) -> Callable[[np.ndarray], torch.Tensor]:
    kernel = W[:, :, :4].permute(1, 0, 2)
    return lambda x: F.conv_transpose1d(torch.tensor(x), kernel, stride=2)[..., crop]


def down(left: int) -> Callable[[np.ndarray], torch.Tensor]:
    return lambda x: F.conv1d(F.pad(torch.tensor(x), (left, 4 - left)), W, stride=2)


def test_more_outputs_than_inputs() -> None:
    found = check_causality(up(slice(0, -2)), shape=(2, 3, 20), rate=2, reach={0, 1})
    assert found.offsets == {0, 1}
    with pytest.raises(ContractError, match="it sees the future: the offsets are -1, 0 "):
        check_causality(up(slice(2, None)), shape=(2, 3, 20), rate=2)
    with pytest.raises(ContractError, match=r"got \(2, 4, 40\), 2 for each position of x: check_causality takes rate=2"):
        check_causality(up(slice(0, -2)), shape=(2, 3, 20))
    with pytest.raises(ContractError, match=r"expected 60 positions at rate 3, got \(2, 4, 40\)"):
        check_causality(up(slice(0, -2)), shape=(2, 3, 20), rate=3)


@pytest.mark.parametrize("rate", [0.5, Fraction(1, 2)])
def test_fewer_outputs_than_inputs(rate: float | Fraction) -> None:
    """Frame t holds x of 2t and 2t+1; four zeros on the left make y_t see x up to 2t: the frames t-2, t-1 and t."""
    assert check_causality(down(4), shape=(2, 3, 20), rate=rate, reach={0, 1, 2}).offsets == {0, 1, 2}
    with pytest.raises(ContractError, match="it sees the future"):
        check_causality(down(2), shape=(2, 3, 20), rate=rate)
    with pytest.raises(ContractError, match=r"one for 2 positions of x: check_causality takes rate=1/2"):
        check_causality(down(4), shape=(2, 3, 20))


def test_rates_that_make_no_sense() -> None:
    for rate in (0, -1, 1.5, "x", float("nan")):
        with refuses(InputError, "rate: expected a whole number of outputs for each position, or 1/n for one in n, got"):
            check_causality(np.cumsum, shape=(2, 3, 20), rate=cast(Any, rate))
    with refuses(InputError, "rate: expected a number of positions that 2 divides, got 21"):
        check_causality(np.cumsum, shape=(2, 3, 21), rate=0.5)
    with refuses(InputError, "rate: expected 1 for an image, got 2"):
        check_causality(np.cumsum, shape=(2, 3, 4, 5), rate=2)


def now_and_then(n: int, odd: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """A running sum, but at the n-th call something else."""
    calls = 0

    def f(x: np.ndarray) -> Any:
        nonlocal calls
        calls += 1
        return odd(x) if calls == n else np.cumsum(x, axis=-1)

    return f


def fails(x: np.ndarray) -> np.ndarray:
    raise KeyError("no such key")


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_what_raises_is_one_sentence(n: int) -> None:
    said = r"^f raised KeyError.* for x of shape \(\d+, 2, 25\) and float32: 'no such key' \("
    with pytest.raises(ContractError, match=said) as caught:
        check_causality(now_and_then(n, fails), shape=SHAPE)
    assert caught.value.__cause__ is None
    assert (f"at call {n}, after {n - 1} that returned" in str(caught.value)) == (n > 1)


def test_another_dtype_now_and_then() -> None:
    for n in (2, 6):
        with pytest.raises(ContractError, match=f"f returned float64 at call {n}, float32 at earlier ones of float32"):
            check_causality(now_and_then(n, lambda x: np.cumsum(x, axis=-1).astype("f8")), shape=SHAPE)


def test_prints_are_kept_back(capsys: pytest.CaptureFixture[str]) -> None:
    def f(x: np.ndarray) -> np.ndarray:
        print("shape", x.shape)
        return x

    found = check_causality(f, shape=SHAPE, reach={0})
    assert found.notes[-1] == "it prints at its calls, which was kept back: 'shape (3, 2, 25)'"
    assert capsys.readouterr().out == ""


def test_lazy_modules_five_axes_and_long_sequences() -> None:
    with refuses(InputError, "got a lazy one, LazyConv1d, whose parameters have no shape yet: call it once on an example first"):
        check_causality(nn.LazyConv1d(3, 1), shape=SHAPE)
    with refuses(InputError, "shape: expected at most 8192 positions, got 16000: a sequence a few times as long as"):
        check_causality(np.cumsum, shape=(1, 3, 16000))
    with refuses(InputError, "shape: expected (B, C, T), or (B, T) for class indices, got (2, 3, 4, 5, 6)"):
        check_causality(np.cumsum, shape=(2, 3, 4, 5, 6))


def test_the_first_row_alone_gives_what_it_gives_beside_others() -> None:
    kernel = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))

    def conv(x: torch.Tensor) -> torch.Tensor:
        return F.conv1d(F.pad(x, (2, 0)), kernel)

    def pairs(x: torch.Tensor) -> torch.Tensor:
        if len(x) == 1:
            raise ValueError("at least two rows are needed")
        return conv(x)

    for rows, length in ((2, 30), (5, 41)):
        options: dict[str, Any] = {"shape": (rows, 2, length), "convert": torch.from_numpy}
        check_causality(conv, **options, reach=3)
        assert "a batch of one row is not taken: pairs raised ValueError" in str(check_causality(pairs, **options))
        for squeezed in (lambda x: conv(x).squeeze(0), lambda x: conv(x).squeeze()):
            with pytest.raises(ContractError, match=rf"on a batch of one row: .*\(1, 4, {length}\), got \(4, {length}\)"):
                check_causality(squeezed, **options)
        with pytest.raises(ContractError, match="a row gives another output when it comes alone"):
            check_causality(lambda x: conv(x) * (1 if len(x) > 1 else 1.01), **options)
