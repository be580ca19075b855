"""`check_streaming` on a network of two layers and its steps: what is right passes, each mistake is called by its name."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from helpers import refuses
from kit_streams import B1, D1, D2, SHAPE, W1, Steps, block, conv, full, step, zeros

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
    assert [line.law for line in report.lines] == ["whole", "step", "again", "state", "batch", "layout", "threads", "memory"]
    assert report.lines[1].figure.startswith("30 steps, largest difference ")
    assert report.lines[0].figure == "causal"
    short = check_streaming(full, step, **{**OPTIONS, "shape": (3, 2, 9)})
    assert short.lines[0].figure.endswith("the last output still depends on the first position: a longer sequence may show more")
    report = check_streaming(full, block, block=True, **OPTIONS)
    assert [line.law for line in report.lines] == ["whole", "block", "again", "state", "batch", "layout", "threads", "memory"]
    for form in (Steps, Steps()):
        report = check_streaming(full, form, **{**OPTIONS, "initial_state": None})
        assert [line.law for line in report.lines] == ["whole", "step", "again", "batch", "layout", "threads", "memory"]
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


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_steps_of_pytorch_may_keep_their_history(kind: str) -> None:
    """Tensors with a gradient's history, which PyTorch refuses to copy, in a tuple or alone."""
    network = getattr(torch.nn, kind)(2, 3, batch_first=True, dtype=torch.float64)
    cell = getattr(torch.nn, f"{kind}Cell")(2, 3, dtype=torch.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in network.state_dict().items()})

    def cells(state: Any, x: np.ndarray) -> tuple[torch.Tensor, Any]:
        new = cell(torch.tensor(x), state)
        return (new if kind == "GRU" else new[0]), new

    def whole(x: np.ndarray) -> torch.Tensor:
        y: torch.Tensor = network(torch.tensor(x).movedim(1, 2))[0]
        return y.movedim(1, 2)

    empty = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True) * 1
    check_streaming(whole, cells, **{**OPTIONS, "initial_state": empty if kind == "GRU" else (empty, empty)})
    says("the state is never fed back", lambda state, x: cells(None, x), whole, initial_state=empty)


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

    with pytest.raises(ContractError, match="right before position 5 and after position 15, wrong at 3 positions") as caught:
        check_streaming(left, lambda past, x: (past, x), shape=(2, 1, height * width), initial_state=lambda n: np.zeros((n, 1)))
    assert "the last 5 positions alone" in str(caught.value)
    assert "3 of 20 positions differ" in str(caught.value)  # where a row begins


def test_integers_are_compared_by_equality() -> None:
    def total(state: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return state + x, state + x

    options = {"shape": (2, 20), "classes": 9, "initial_state": np.zeros(2, np.int64)}
    assert "; allowed 0, compared by ==" in str(check_streaming(lambda x: np.cumsum(x, axis=-1), total, **options))
    says("allowed 0", step, lambda x: full(x) * (1 + 1e-15), exact=True)
    check_streaming(lambda x: full(x) * (1 + 1e-6), step, tolerance=1e-5, **OPTIONS)
    says("position 0", step, lambda x: full(x) * (1 + 1e-6))


def test_the_message_names_position_row_channel_and_both_values() -> None:
    message = says("law 'step': position 2 (row 2, channel 2): expected 0.319531, got -1.47956", lambda s, x: (step(s, x)[0], s))
    assert "(allowed 1.7e-13; 28 of 30 positions differ)" in message


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
    whole = says("in chunks of [30]: position 0", lambda s, x: (block(s, x)[0] + 1, block(s, x)[1]), block=True)
    assert whole.endswith("in every channel all outputs are off by one constant, as by a bias")


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

    class Closed:
        """A value of a foreign library: nothing in it can be copied."""

        def __reduce__(self) -> str:
            raise TypeError("cannot pickle")

    with refuses(InputError, "the state: expected arrays, tensors or numbers", "can be copied; got Closed: cannot pickle"):
        check_streaming(full, step, **{**OPTIONS, "initial_state": Closed()})
