"""`check_streaming` on a network of two layers and its steps: what is right passes, each mistake is called by its name."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from helpers import refuses
from kit_streams import B1, B2, D1, D2, SHAPE, W1, W2, State, Steps, block, conv, full, one, step, zeros

import refar
from refar import models
from refar.errors import InputError
from refar.testing import ContractError, check_streaming

OPTIONS: dict[str, Any] = {"shape": SHAPE, "initial_state": zeros, "dtype": "float64"}


def says(words: str, wrong: Any, whole: Any = full, **options: Any) -> str:
    """The check fails with these words; returns all of them."""
    with pytest.raises(ContractError) as caught:
        check_streaming(whole, wrong, **{**OPTIONS, **options})
    assert words in str(caught.value), str(caught.value)
    return str(caught.value)


# what is right


def test_steps_and_blocks_that_are_right() -> None:
    report = check_streaming(full, step, **OPTIONS)
    assert [line.law for line in report.lines] == ["whole", "step", "again", "state", "batch"]
    assert report.lines[1].figure.startswith("30 steps, largest difference ")
    assert report.lines[0].figure == "causal"
    short = check_streaming(full, step, **{**OPTIONS, "shape": (3, 2, 9)})
    assert short.lines[0].figure.endswith("the last output still depends on the first position: a longer sequence may show more")
    report = check_streaming(full, block, block=True, **OPTIONS)
    assert [line.law for line in report.lines] == ["whole", "block", "again", "state", "batch"]
    for form in (Steps, Steps()):
        report = check_streaming(full, form, **{**OPTIONS, "initial_state": None})
        assert [line.law for line in report.lines] == ["whole", "step", "again", "batch"]
    check_streaming(full, Steps, block=True, **{**OPTIONS, "initial_state": None})


def test_a_state_may_be_anything_that_holds_arrays() -> None:
    @dataclass
    class Queues:
        x: deque[np.ndarray]
        h: list[torch.Tensor]

    def fresh(rows: int) -> Queues:
        return Queues(deque([np.zeros((rows, 2))] * 2 * D1), [torch.zeros(rows, 4, dtype=torch.float64)] * D2)

    def with_queues(state: Queues, x: np.ndarray) -> tuple[np.ndarray, Queues]:
        dense = {"x": np.stack(state.x, axis=2), "h": torch.stack(state.h, dim=2).numpy()}
        y, new = step(dense, x)
        return y, Queues(deque(new["x"].transpose(2, 0, 1)), [torch.tensor(h) for h in new["h"].transpose(2, 0, 1)])

    check_streaming(full, with_queues, **{**OPTIONS, "initial_state": fresh})
    check_streaming(full, with_queues, **{**OPTIONS, "initial_state": fresh(3)})

    def in_place(state: Queues, x: np.ndarray) -> tuple[np.ndarray, Queues]:
        y, new = with_queues(state, x)
        state.x.append(new.x[-1])
        return y, new

    says("in_place changes the number of arrays in the state that it was given", in_place, initial_state=fresh)


def test_whole_networks_step_by_step() -> None:
    graph = models.wavenet(5, [1, 2, 4], residual=6, gate=4, skip=7, condition=None)
    params = refar.init(graph, seed=1)
    check_streaming(
        lambda x: refar.forward(graph, params, x),
        lambda state, x: refar.step(graph, params, state, x),
        shape=(2, 24),
        classes=5,
        initial_state=lambda rows: refar.initial_state(graph, params, rows),
    )


def test_images_pixel_by_pixel() -> None:
    """A row-wise sampler: right, and with a row that begins with the last pixel of the row above."""
    height, width = 4, 5
    graph = models.masked_pixelcnn(4, hidden=2, layers=1)
    params = refar.init(graph)

    def whole(x: np.ndarray) -> np.ndarray:
        return refar.forward(graph, params, x.reshape(len(x), 1, height, width)).reshape(len(x), 4, height * width)

    def pixel(state: Any, x: np.ndarray) -> Any:
        return refar.step(graph, params, state, x)

    def begin(rows: int) -> Any:
        return refar.initial_state(graph, params, rows, shape=(height, width))

    check_streaming(whole, pixel, shape=(2, 1, height * width), classes=4, initial_state=begin)

    def left(x: np.ndarray) -> np.ndarray:
        image = x.reshape(-1, 1, height, width)
        return np.pad(image, ((0, 0), (0, 0), (0, 0), (1, 0)))[..., :width].reshape(x.shape)

    with pytest.raises(ContractError, match=r"right at the first 5 positions, wrong from position 5 on") as caught:
        check_streaming(left, lambda past, x: (past, x), shape=(2, 1, height * width), initial_state=lambda n: np.zeros((n, 1)))
    assert "3 of 20 positions differ" in str(caught.value)  # where a row begins


def test_integers_are_compared_by_equality() -> None:
    def total(state: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return state + x, state + x

    options = {"shape": (2, 20), "classes": 9, "initial_state": np.zeros(2, np.int64)}
    assert "(allowed 0)" in str(check_streaming(lambda x: np.cumsum(x, axis=-1), total, **options))
    says("allowed 0", step, lambda x: full(x) * (1 + 1e-15), exact=True)
    check_streaming(lambda x: full(x) * (1 + 1e-6), step, tolerance=1e-5, **OPTIONS)
    says("position 0", step, lambda x: full(x) * (1 + 1e-6))


def test_the_message_names_position_row_channel_and_both_values() -> None:
    message = says("law 'step': position 2 (row 2, channel 2): expected 0.319531, got -1.47956", lambda s, x: (step(s, x)[0], s))
    assert "(allowed 3e-12; 28 of 30 positions differ)" in message


def test_late_and_early() -> None:
    def late(state: dict[str, Any], x: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        y, new = step(state["state"], x)
        return state["y"], {"state": new, "y": y}

    fresh = lambda rows: {"state": zeros(rows), "y": np.zeros((rows, 3))}  # noqa: E731
    says("the same outputs, but one position late", late, initial_state=fresh)
    shifted = lambda x: np.concatenate([np.zeros((3, 3, 2)), full(x)[:, :, :-2]], axis=2)[:, :, : x.shape[2]]  # noqa: E731
    says("the same outputs, but 2 positions early", step, shifted)


def test_a_whole_function_that_looks_ahead() -> None:
    says("it looks ahead, see check_causality; no step can", step, lambda x: np.roll(full(x), -2, axis=2))


def test_a_state_that_is_never_fed_back() -> None:
    says("the state is never fed back: every step answers as if it were the first", lambda s, x: (step(s, x)[0], s))


def padded_once(x: np.ndarray) -> np.ndarray:
    """Zeros in front of the input alone."""
    reach = 2 * D1 + D2
    return full(np.concatenate([np.zeros((*x.shape[:2], reach)), x], axis=2))[:, :, reach:]


def primed(rows: int) -> State:
    state = zeros(rows)
    for _ in range(2 * D1 + D2):
        _, state = step(state, np.zeros((rows, 2)))
    return state


def test_warm_up() -> None:
    junk = {name: array + 1 for name, array in zeros(3).items()}
    says("wrong only at the first 8 positions", step, initial_state=junk)
    says("a queue that is not initialised, or primed with the wrong slice", step, initial_state=junk)
    check_streaming(padded_once, step, **{**OPTIONS, "initial_state": primed})
    says("wrong only at the first 4 positions", step, padded_once)
    says("it has to be the response to zeros", step, padded_once)
    says("it is the response to zeros, where every layer has to see zeros of its own", step, initial_state=primed)


def reading(index: int) -> Any:
    """The second layer reads its queue at `index`, whatever its length."""

    def read(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        first = np.concatenate([state["x"], x[:, :, None]], axis=2)
        h = np.maximum(one(first, W1, B1, D1), 0)
        second = np.concatenate([state["h"], h[:, :, None]], axis=2)
        y = B2 + h @ W2[:, :, 1].T + second[:, :, index] @ W2[:, :, 0].T
        return y, {"x": first[:, :, 1:], "h": second[:, :, 1:]}

    return read


def test_queues_of_the_wrong_length() -> None:
    check_streaming(full, reading(0), **OPTIONS)
    long = says("a queue is one position too long", reading(0), initial_state=lambda rows: zeros(rows, second=D2 + 1))
    assert "right at the first 4 positions, wrong from position 4 on" in long
    assert "5 back where 4 was meant: the whole sees the offsets 0, 2, 4, 6, 8, the steps see 0, 2, 4, 5, 7, 9" in long
    short = says("a queue is one position too short", reading(0), initial_state=lambda rows: zeros(rows, second=D2 - 1))
    assert "3 back where 4 was meant" in short
    says("a queue is one position too short, or read after the push", reading(1))


def test_queues_that_forget_or_are_turned_round() -> None:
    forgets = lambda s, x: step({**s, "h": 0 * s["h"]}, x)  # noqa: E731
    says("the state forgets what is 6 or more positions old, a queue of the wrong length", forgets)

    def turned(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        _, new = step(state, x)
        window = np.concatenate([state["x"], x[:, :, None]], axis=2)
        return one(window[:, :, ::-1], W1, B1, D1), new

    says("the steps see the same offsets 0, 2, 4 with other values", turned, lambda x: conv(x, W1, B1, D1))

    def wrong_end(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        _, new = step(state, x)
        window = np.concatenate([state["x"], x[:, :, None]], axis=2)
        return window[:, :, 0] + window[:, :, 1] + window[:, :, 4], new

    def holes(x: np.ndarray) -> np.ndarray:
        padded = np.concatenate([np.zeros((3, 2, 4)), x], axis=2)
        return padded[:, :, 4:] + padded[:, :, 3:-1] + padded[:, :, :-4]

    says("the queue is read from the wrong end", wrong_end, holes, shape=(3, 2, 24))
    scrambled = lambda s, x: (step(s, x)[0], {"x": step(s, x)[1]["x"], "h": step(s, x)[1]["h"][:, :, ::-1]})  # noqa: E731
    says("a queue of the wrong length or in the wrong order", scrambled)


def test_what_is_stored_is_not_what_is_read() -> None:
    def after(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        first = np.concatenate([state["x"], x[:, :, None]], axis=2)
        h = one(first, W1, B1, D1)
        second = np.concatenate([state["h"], h[:, :, None]], axis=2)
        y = B2 + h @ W2[:, :, 1].T + np.maximum(second[:, :, 0], 0) @ W2[:, :, 0].T
        return y, {"x": first[:, :, 1:], "h": second[:, :, 1:]}

    plain = lambda x: conv(conv(x, W1, B1, D1), W2, B2, D2)  # noqa: E731
    assert "is something else stored than what is read" in says("right at the first 4 positions", after, plain)


def test_pieces() -> None:
    def cut(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        y, _ = block(state, x)
        first = np.concatenate([state["x"], x], axis=2)
        h = np.maximum(conv(first, W1, B1, D1)[:, :, state["x"].shape[2] :], 0)
        return y, {"x": x[:, :, -2 * D1 :], "h": h[:, :, -D2:]}

    says("wrong for pieces of at most 3, right for 5 and more: the new state is cut from the piece alone", cut, block=True)

    def restarts(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        y, _ = block({**state, "h": 0 * state["h"]}, x)
        return y, block(state, x)[1]

    says("wrong only at the first 4 positions of a piece: what is carried over", restarts, block=True)

    def ahead(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        y, new = block(state, x)
        y[:, :, -1] += x.shape[2] < 30
        return y, new

    says("wrong only at the last position of a piece", ahead, block=True)

    def constant(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        if x.shape[2] != 30:
            raise ValueError("cannot reshape")
        return block(state, x)

    says("ValueError instead of a value: cannot reshape; is a length traced in as a constant?", constant, block=True)
    whole = says("in pieces of [30]: position 0", lambda s, x: (block(s, x)[0] + 1, block(s, x)[1]), block=True)
    assert "the same offsets 0, 2, 4, 6, 8 with other values" in whole


def test_resets_and_what_is_kept_outside_the_state() -> None:
    class Forgotten(Steps):
        def reset(self) -> None:
            if not hasattr(self, "state"):
                self.state = zeros(3)

    message = says("law 'again': the second run differs from the first at position 0", Forgotten(), initial_state=None)
    assert message.endswith("reset() does not reset everything")

    count = 0

    def counts(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        nonlocal count
        count += 1
        y, new = step(state, x)
        return y + (count > 30), new

    says("something is kept outside the state", counts)

    last: list[np.ndarray] = [np.zeros((3, 3))]

    def remembers(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        y, new = step(state, x)
        y = y + 0 * last[0] if (state["x"] == 0).all() else y + last[0]
        last[0] = step(state, x)[0]
        return y, new

    def whole(x: np.ndarray) -> np.ndarray:
        y = full(x)
        y[:, :, 1:] += full(x)[:, :, :-1]
        return y

    says("something is kept outside the state, like a counter of steps or a buffer of its own", remembers, whole)


def test_a_state_that_is_changed_in_place() -> None:
    def in_place(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        y, new = step(state, x)
        for name, array in state.items():
            array[...] = new[name]
        return y, state

    message = says("law 'state': in_place changes array 0 of the state that it was given, of shape (3, 2, 4)", in_place)
    assert "a second step from the same state gives other results; copy before writing" in message

    buffer = np.zeros((3, 2, 2 * D1))

    def view(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        y, new = step(state, x)
        buffer[...] = new["x"]
        return y, {"x": buffer, "h": new["h"]}

    says("view changes array 0 of the state that it was given", view)


def test_rows_that_mix() -> None:
    def mixes(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        y, new = step(state, x)
        return y + 0.1 * y.mean(axis=0), new

    says("law 'batch': rows of the batch mix in the steps: with row 0 changed, position 0", mixes)
    says("rows of the batch mix", step, lambda x: full(x) - full(x).mean(axis=0))


def test_what_a_step_returns_is_reported_for_what_it_is() -> None:
    says("got (3, 3, 1): drop the time axis, or give block=True", lambda s, x: (step(s, x)[0][..., None], step(s, x)[1]))
    says(
        "returned the wrong shape: expected (3, 3), as the whole function has it, got (3, 2)",
        lambda s, x: (step(s, x)[0][:, :2], s),
    )
    says("expected (y, state), got a ndarray", lambda s, x: step(s, x)[0])
    says("expected (y, state), got 3 values", lambda s, x: (*step(s, x), 1))
    says("returned NaN for finite input at [0, 0]", lambda s, x: (np.nan * step(s, x)[0], s))
    says("returned the wrong dtype", lambda s, x: (step(s, x)[0] + 0j, s))
    says("got (3, 4, 29): 1 positions too few", step, lambda x: conv(x, W1, B1, 1)[:, :, 1:])
    buffer = np.zeros((3, 3))

    def view(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        buffer[...], new = step(state, x)
        return buffer, new

    says("a later call of view changed the y that an earlier one had returned", view)

    def changes(state: State, x: np.ndarray) -> tuple[np.ndarray, State]:
        x *= 2
        return step(state, x)

    says("changes changed its argument x", changes)


def test_what_a_caller_may_not_ask() -> None:
    for wrong, options, fragments in [
        (step, {"shape": (3, 2, 1)}, ["x: expected at least 2 positions, got 1"]),
        (step, {"shape": None}, ["check_streaming: expected either an example x or the shape of one"]),
        (step, {"tolerance": -1.0}, ["tolerance: expected a number ≥ 0, got -1.0"]),
        (3, {}, ["step: expected a function (state, x) → (y, state), or reset() and step(x), got int"]),
        (Steps, {}, ["initial_state: expected none for a class"]),
    ]:
        with refuses(InputError, *fragments):
            check_streaming(full, wrong, **{**OPTIONS, **options})
    history = torch.ones(3, requires_grad=True) * 2
    with refuses(InputError, "state: expected arrays", "that can be copied"):
        check_streaming(full, lambda s, x: (step(s["n"], x)[0], s), **{**OPTIONS, "initial_state": {"n": zeros(3), "h": history}})
