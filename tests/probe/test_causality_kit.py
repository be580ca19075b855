"""`check_causality` on functions of every kind: what is right passes with the exact set, each mistake is called by its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import refar
from refar import models
from refar.testing import ContractError, check_causality

RNG = np.random.default_rng(0)
KERNEL = torch.tensor(RNG.normal(size=(4, 2, 3)), dtype=torch.float32)
EVEN = torch.tensor(RNG.normal(size=(4, 2, 4)), dtype=torch.float32)
SHAPE = (3, 2, 25)

Function = Callable[[np.ndarray], Any]


def conv(left: int, right: int = 0, dilation: int = 3, kernel: torch.Tensor = KERNEL, mode: str = "constant") -> Function:
    return lambda x: F.conv1d(F.pad(torch.tensor(x), (left, right), mode=mode), kernel, dilation=dilation)[:, :, : x.shape[2]]


def nearly_circular(x: np.ndarray) -> torch.Tensor:
    """What is put in front is the end of the sequence, times two: no function of x put in front gives that."""
    front = F.conv1d(F.pad(torch.tensor(x), (6, 0)), KERNEL, dilation=3)
    return front + 2 * (conv(6, mode="circular")(x) - front)


def masked(mask: np.ndarray, pad: tuple[int, int, int, int] = (2, 2, 2, 2)) -> Function:
    kernel = torch.tensor(np.random.default_rng(1).normal(size=(3, 2, 5, 5)) * mask, dtype=torch.float32)
    return lambda x: F.conv2d(F.pad(torch.tensor(x), pad), kernel)[:, :, : x.shape[2], : x.shape[3]]


def coloured(sees: Callable[[int, int], bool]) -> Function:
    """A masked convolution of three colours; `sees(i, o)` is asked at the pixel itself."""
    mask = np.zeros((6, 3, 3, 3))
    mask[:, :, 0] = mask[:, :, 1, 0] = 1
    mask[:, :, 1, 1] = [[sees(i, o % 3) for i in range(3)] for o in range(6)]
    kernel = torch.tensor(np.random.default_rng(1).normal(size=mask.shape) * mask, dtype=torch.float32)
    return lambda x: F.conv2d(torch.tensor(x), kernel, padding=1)


A = np.zeros((5, 5))
A[:2] = 1
A[2, :2] = 1
B = A.copy()
B[2, 2] = 1
OFFSETS_A = {(2 - u, 2 - v) for u in range(5) for v in range(5) if A[u, v]}


def says(words: str, f: Function, **options: Any) -> str:
    """The check fails with these words; returns all of them."""
    with pytest.raises(ContractError) as caught:
        check_causality(f, **{"shape": SHAPE, **options})
    assert words in str(caught.value), str(caught.value)
    return str(caught.value)


# what is right


def test_a_causal_convolution_passes_with_its_exact_set() -> None:
    found = check_causality(conv(6), shape=SHAPE, strict=False, reach={0, 3, 6})
    assert found.offsets == {0, 3, 6}
    assert found.receptive_field == 7
    assert str(found) == "offsets 0, 3, 6; R = 7"
    assert check_causality(conv(7), shape=SHAPE, strict=True).offsets == {1, 4, 7}
    assert check_causality(conv(2, dilation=1), shape=SHAPE, reach=3).offsets == {0, 1, 2}
    assert check_causality(conv(3, dilation=1), shape=SHAPE, reach=3).offsets == {1, 2, 3}


@pytest.mark.parametrize("name", ["nettoy1d_dilated", "linear_ar", "wavenet", "tcn"])
def test_whole_networks_pass_with_the_offsets_that_are_inferred(name: str) -> None:
    graph = {
        "nettoy1d_dilated": models.nettoy1d_dilated(7, hidden=8, mean=3.0, std=2.0),
        "linear_ar": models.linear_ar(5),
        "wavenet": models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7),
        "tcn": models.tcn(5, [4, 4], kernel=2),
    }[name]
    params = refar.init(graph, seed=3)
    of_signals = name == "linear_ar"
    shape = (4, 1, 40) if of_signals else (4, 40)
    found = check_causality(
        lambda x: refar.forward(graph, params, x),
        shape=shape,
        classes=0 if of_signals else 5,
        strict=True,
        reach=refar.offsets(graph),
    )
    assert found.receptive_field == refar.receptive_field(graph)


def test_images_pass_with_their_exact_set() -> None:
    found = check_causality(masked(A), shape=(3, 2, 8, 9), strict=True, reach=OFFSETS_A)
    assert found.receptive_field == (3, 5)
    assert str(found) == "offsets (0, 1), (0, 2), (1, -2..2), (2, -2..2); R = 3 x 5"
    check_causality(masked(B), shape=(3, 2, 8, 9), strict=False, reach=OFFSETS_A | {(0, 0)})


def test_colours_are_seen_in_their_order() -> None:
    graph = models.masked_pixelcnn(3, channels=3, layers=1, hidden=6, kernel=3, first_kernel=3)
    params = refar.init(graph, seed=0)
    found = check_causality(
        lambda x: refar.forward(graph, params, x),
        shape=(3, 3, 6, 7),
        classes=3,
        colours=3,
        strict=True,
        reach=refar.colour_offsets(graph),
    )
    assert found.colour_offsets == refar.colour_offsets(graph)
    assert found.offsets == refar.offsets(graph)


def test_an_example_stays_in_its_kind() -> None:
    """One-hot vectors stay one-hot, and positive numbers positive."""
    x = np.eye(4)[RNG.integers(0, 4, (3, 20))].transpose(0, 2, 1)
    seen = []

    def f(x: np.ndarray) -> np.ndarray:
        seen.append(x.copy())
        return np.cumsum(x, axis=-1)

    assert check_causality(f, x).offsets == set(range(20))
    assert all((each.sum(axis=1) == 1).all() and ((each == 0) | (each == 1)).all() for each in seen)
    positive = np.exp(RNG.normal(size=(2, 1, 12)))
    check_causality(lambda x: np.log(x), positive, reach={0})


def test_a_relu_hides_nothing_for_long() -> None:
    weight, bias = RNG.normal(size=5), -2.0
    found = check_causality(lambda x: np.maximum(conv_of(x, weight) + bias, 0), shape=(2, 1, 30))
    assert found.offsets == set(range(5))


def conv_of(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    padded = np.concatenate([np.zeros((*x.shape[:-1], len(weight) - 1), x.dtype), x], axis=-1)
    return np.stack([padded[..., t : t + len(weight)] @ weight for t in range(x.shape[-1])], axis=-1)


def test_rounding_that_reaches_everywhere_is_no_dependence() -> None:
    weight = RNG.normal(size=3)

    def fft(x: np.ndarray) -> np.ndarray:
        n = 2 * x.shape[-1]
        product = np.fft.rfft(x.astype(np.float64), n) * np.fft.rfft(weight, n)
        return np.fft.irfft(product, n)[..., : x.shape[-1]]

    assert check_causality(fft, shape=SHAPE, reach=3).offsets == {0, 1, 2}
    says("every output sees every position", fft, rounding=0.0)
    assert check_causality(fft, shape=SHAPE, rounding=1e-6, reach=3).offsets == {0, 1, 2}


def test_notes_say_what_is_no_mistake() -> None:
    assert check_causality(lambda x: x, shape=(1, 2, 9)).notes == ("a batch of one row: whether rows mix is not seen",)
    place = np.arange(25)
    (note,) = check_causality(lambda x: x + place[: x.shape[-1]], shape=SHAPE).notes
    assert "the result depends on the position" in note
    (note,) = check_causality(lambda x: x * (place % 3 == 0)[: x.shape[-1]], shape=SHAPE).notes[:1]
    assert "the output at position 1 does not see the offsets 0, which others see" in note

    def one_length(x: np.ndarray) -> np.ndarray:
        return x * np.ones(25)

    def picky(x: np.ndarray) -> np.ndarray:
        if x.shape[-1] != 25:
            raise RuntimeError("traced")
        return x

    (note,) = check_causality(picky, shape=SHAPE).notes
    assert note == "other lengths than 25 are not taken"
    says("on the first 1 of 25 positions: expected shape (3, 2, 1), got (3, 2, 25)", one_length)


# what is wrong, by its name


def test_the_message_names_both_positions_and_both_values() -> None:
    message = says("one", conv(5, 1))
    said = (
        r"the function: it sees the future: the offsets are -1, 2, 5 \(-1 is x of the next position\), up to one position ahead"
    )
    place = r"; for one, position (\d+) of the output \(row \d+, channel \d\)"
    match = re.fullmatch(rf"{said}{place} goes from \S+ to \S+ when x changes at position (\d+) only", message)
    assert match
    assert int(match[1]) + 1 == int(match[2])


@pytest.mark.parametrize(
    ("words", "f"),
    [
        ("the offsets are -6, -3, 0 (-1 is x of the next position), and nothing of the past", conv(0, 6)),
        ("the offsets are -3, 0, 3 (-1 is x of the next position), as many ahead as behind", conv(3, 3)),
        ("the offsets are -2..1 (-1 is x of the next position), up to 2 positions ahead", conv(1, 2, 1, EVEN)),
        ("the offsets are -4, -1, 2 (-1 is x of the next position), up to 4 positions ahead", conv(2, 4)),
        ("the offsets are -4, -1, 0, 2", lambda x: conv(2, 4)(x) + torch.tensor(x[:, :1])),
        ("only at the positions 0..5: it pads with the end of the sequence; put in front of x it gives the same outputs",
         conv(6, 0, mode="circular")),
        ("only at the positions 0..2: it pads with x reflected; put in front of x", conv(6, 0, mode="reflect")),
        ("only at the positions 0..5, and only the end of the sequence; for one", nearly_circular),
        ("only at the positions 0..2; for one", lambda x: conv(6, 0, mode="reflect")(x) + torch.arange(x.shape[2])),
        ("the offsets are -2 (-1 is x of the next position), and nothing else is seen",
         lambda x: np.concatenate([x[..., 2:], 0 * x[..., :2]], axis=-1)),
        ("every output sees every position; for one", lambda x: x - x.mean(-1, keepdims=True)),
        ("all outputs see position 24, the last one; for one", lambda x: x * np.sign(x[..., -1:])),
        ("all outputs see position 12; for one", lambda x: x + np.exp(x[..., 12:13])),
        ("all outputs see position 3, position 20; for one", lambda x: x + x[..., 3:4] * x[..., 20:21]),
        ("every output sees every position", lambda x: x[..., ::-1].cumsum(-1)[..., ::-1] + 2 * x.cumsum(-1)),
    ],
)  # fmt: skip
def test_the_future_is_seen(words: str, f: Function) -> None:
    assert "it sees the future" in says(words, f)


def test_blocks_show_at_their_borders() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        y = np.cumsum(x, axis=-1)
        y[..., 7:-1:8] += x[..., 8::8]
        return y

    says("only at the positions 7, 15, 23; for one", f)


def test_the_present_and_the_shift() -> None:
    says("it sees the present although strict was asked; position", conv(6), strict=True)
    says("the nearest offset is 2, but with strict the nearest is 1; position", conv(8), strict=True)
    says("the nearest offset is 1, but strict=False means that it sees the present; position", conv(7), strict=False)


@pytest.mark.parametrize(
    ("words", "f", "reach"),
    [
        ("each offset is one position further back than expected", conv(8), {1, 4, 7}),
        ("each offset is 2 positions further back than expected", conv(8), {0, 3, 6}),
        ("they lie 1 apart where 3 was meant", conv(2, dilation=1), {0, 3, 6}),
        ("they lie 2 apart where 3 was meant", conv(4, dilation=2), {0, 3, 6}),
        ("missing 3, 6, surplus 2, 4", conv(4, dilation=2), {0, 3, 6}),
        ("missing 3; R = 3, not 4", conv(2, dilation=1), 4),
        ("there are holes", conv(6), 7),
        ("missing 3..8; R = 3, not 9", conv(2, dilation=1), range(9)),
        ("it should depend on nothing", conv(6), set()),
        ("surplus 6, 9; R = 10, not 4; position", lambda x: conv(9, 0, 3, EVEN)(x), {0, 3}),
        ("holes are filled", lambda x: conv(6)(x) + conv(2, 0, 1)(x), {0, 2, 6}),
        (
            "they are the expected ones mirrored",
            lambda x: x + np.pad(x, ((0, 0), (0, 0), (4, 0)))[..., :-4] + late(x, 6),
            {0, 2, 6},
        ),
        ("the holes are at other places", lambda x: x + late(x, 1) + late(x, 6), {0, 4, 6}),
        ("missing 4, 8, 12, surplus 1; R = 3, not 13", conv(2, dilation=1), {0, 2, 4, 8, 12}),
    ],
)
def test_another_set_than_expected(words: str, f: Function, reach: Any) -> None:
    assert "expected" in says(words, f, reach=reach)


def late(x: np.ndarray, by: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (by, 0)))[..., :-by]


@pytest.mark.parametrize(
    ("words", "mask", "options"),
    [
        ("pixels to the right in the same row are seen", np.where(np.arange(25).reshape(5, 5) == 13, 1, B), {}),
        ("the pixel one row below is seen", np.where(np.arange(25).reshape(5, 5) == 17, 1, A), {}),
        ("rows below are seen", np.maximum(A, np.arange(25).reshape(5, 5) == 18), {}),
        ("what comes after the pixel is seen and nothing before it", 1 - B, {}),
        ("all sides are seen alike", np.ones((5, 5)), {}),
        ("it sees the present although strict was asked", B, {"strict": True}),
        ("it does not see the present pixel although strict=False was asked", A, {"strict": False}),
        ("surplus (0, 0); the pixel itself is seen", B, {"reach": OFFSETS_A}),
        ("missing (0, 0); the pixel itself is not seen", A, {"reach": OFFSETS_A | {(0, 0)}}),
        ("they are the expected ones with rows and columns swapped", A.T, {"reach": OFFSETS_A}),
        ("they are the expected ones with left and right swapped", A[:, ::-1], {"reach": OFFSETS_A}),
        ("they are the expected ones mirrored at the pixel", A[::-1, ::-1], {"reach": OFFSETS_A}),
        ("a blind spot", np.where(np.arange(25).reshape(5, 5) % 5 > 2, 0, A), {"reach": OFFSETS_A}),
        ("pixels are seen that should not be", A, {"reach": OFFSETS_A - {(1, 2)}}),
        ("pixels are not seen that should be", A, {"reach": OFFSETS_A | {(2, 3)}}),
        ("it does not reach far enough up", np.where(np.arange(25).reshape(5, 5) < 5, 0, A), {"reach": OFFSETS_A}),
    ],
)
def test_masks(words: str, mask: np.ndarray, options: dict[str, Any]) -> None:
    says(words, masked(mask.copy()), shape=(3, 2, 8, 9), **options)


def test_an_image_that_is_shifted_or_normalised() -> None:
    says("everything lies one row too far up", masked(A, (2, 2, 3, 2)), shape=(3, 2, 8, 9), reach=OFFSETS_A)
    says("every output sees every position", lambda x: x / x.std((2, 3), keepdims=True), shape=(3, 2, 6, 7))


def test_the_order_of_colours() -> None:
    shape = (3, 3, 5, 6)
    order = says("the order of colours is broken within the pixel", coloured(lambda i, o: i > o), shape=shape, colours=3)
    assert "colour 0 sees colour 1, colour 0 sees colour 2, colour 1 sees colour 2" in order
    says("it sees its own colour of the pixel", coloured(lambda i, o: i <= o), shape=shape, colours=3, strict=True)
    right = check_causality(coloured(lambda i, o: i < o), shape=shape, colours=3, strict=True)
    wrong = says(
        "the outputs of colour 2 see", coloured(lambda i, o: i < o and o != 2), shape=shape, colours=3, reach=right.colour_offsets
    )
    assert "missing (0, 0, 0), (0, 0, 1)" in wrong


def test_a_length_that_is_known_ahead() -> None:
    says("it knows how long the sequence is", lambda x: np.cumsum(x, -1) / x.shape[-1])
    says("it knows how long the sequence is", lambda x: x + np.arange(x.shape[-1])[::-1])
    says("on the first 1 of 25 positions: expected shape (3, 2, 1), got (3, 2, 0)", lambda x: conv_cropped(x), shape=SHAPE)


def conv_cropped(x: np.ndarray) -> np.ndarray:
    """As with [..., :-pad] where the pad is 0: at one length it gives nothing."""
    return x[..., : -(x.shape[-1] == 1)] if x.shape[-1] == 1 else x
