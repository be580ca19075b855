"""Ways are timed in turn, and only those whose outputs are refar's."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import refar
from refar import Builder, Graph, models, plots
from refar.analysis.facts import facts
from refar.bench import floor, over_images, over_time, peers, standard
from refar.bench.clock import NotTimedError, Way, in_turn, repeated
from refar.bench.comparison import check_close, check_equal, compared, foreign
from refar.bench.floor import Product, products
from refar.bench.over_images import Images
from refar.bench.over_time import Sequences
from refar.bench.plan import Plan, WaveNetSizes
from refar.bench.render import figure, header, markdown
from refar.bench.results import Benchmark, Cell, Machine, Table, TableRow, from_json, summary, to_json
from refar.errors import FileError
from refar.oracle.program import Program
from refar.runtime import load
from refar.runtime.session import Session
from refar.testing.contract.cases import generic_parameters
from refar_export import export

SIZES = WaveNetSizes(doublings=2, stacks=2, channels=4, skip=5, classes=6)
MACHINE = Machine("a processor", 2, "a system", 0.5, {"refar": "1"})


def opened(graph: Graph, folder: Path) -> Session:
    return load(export(graph, generic_parameters(graph, np.random.default_rng(0)), folder / "bundle"))


def timed(row: TableRow) -> dict[str, bool]:
    return {cell.way: cell.time is not None for cell in row.cells}


# the clock


def test_ways_take_turns_after_a_call_of_each_that_is_not_warm() -> None:
    calls: list[str] = []
    ways = {"a": Way(lambda: calls.append("a")), "b": Way(lambda: calls.append("b"), warm=True)}
    times = in_turn(ways, 1e-9)
    assert calls == ["a", *["a", "b"] * 5]
    assert {name: len(found) for name, found in times.items()} == {"a": 5, "b": 5}


def test_times_are_microseconds_of_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of this test advances by a second whenever it is read."""
    seconds = itertools.count()
    monkeypatch.setattr("refar.bench.clock.time.perf_counter", lambda: float(next(seconds)))
    assert set(in_turn({"a": Way(lambda: None, 4)}, 1)["a"]) == {250_000.0}


def test_a_repeated_call_is_a_unit() -> None:
    calls: list[int] = []
    way = repeated(lambda: calls.append(0), 7)
    way.call()
    assert (len(calls), way.units) == (7, 7)


def test_the_summary_is_median_and_quartiles_and_of_many_calls_the_99th_percentile() -> None:
    few, many = summary([1, 2, 3, 4, 5]), summary(range(1, 102))
    assert (few.low, few.median, few.high, few.p99, few.calls) == (2, 3, 4, None, 5)
    assert (many.low, many.median, many.high, many.p99, many.calls) == (26, 51, 76, 100, 101)


# rows


def test_a_row_has_ratios_over_its_base_and_values_per_second() -> None:
    row = compared("two", {"a": lambda: Way(lambda: None), "b": lambda: Way(lambda: None)}, "a", 0.001, at=2, values=3)
    a, b = row.cells
    assert a.time
    assert b.time
    assert (a.ratio, b.ratio) == (1, b.time.median / a.time.median)
    assert row.per_second == 3e6 / a.time.median


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotTimedError("its outputs are wrong"), "its outputs are wrong"),
        (refar.RefarError("it is not strict"), "it is not strict"),
        (ModuleNotFoundError(name="torch.nn"), "torch is not installed; pip install 'refar[torch]'"),
        (ModuleNotFoundError(name="pytorch_tcn"), "pytorch_tcn is not installed; pip install pytorch-tcn==1.2.3"),
        (ModuleNotFoundError(name="another"), "another is not installed"),
    ],
)
def test_what_cannot_be_timed_has_its_reason(error: Exception, reason: str) -> None:
    def fails() -> Way:
        raise error

    row = compared("one", {"a": fails, "b": lambda: Way(lambda: None)}, "a", 0.001)
    assert row.cells[0] == Cell("a", reason=reason)
    assert row.cells[1].time
    assert row.cells[1].ratio is None


def test_an_error_of_refar_itself_is_no_reason() -> None:
    def fails() -> Way:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compared("one", {"a": fails}, "a", 0.001)


def test_what_another_program_raises_is_a_reason() -> None:
    with pytest.raises(NotTimedError, match=r"^torch\.compile failed: RuntimeError: no compiler$"), foreign("torch.compile"):
        raise RuntimeError("no compiler\nand much more")
    with pytest.raises(ModuleNotFoundError), foreign("another"):
        raise ModuleNotFoundError(name="another")


def test_outputs_are_compared() -> None:
    graph, y = models.linear_ar(3), np.ones((2, 1, 4), np.float32)
    check_close(graph, y + np.float32(1e-7), y)
    for wrong in (y + np.float32(1e-2), y * np.float32("nan"), y[:1]):
        with pytest.raises(NotTimedError, match=r"^its outputs"):
            check_close(graph, wrong, y)
    check_equal(y, y)
    with pytest.raises(NotTimedError, match=r"^1 of 8 values are not refar's"):
        check_equal(one_off(y), y)


def one_off(y: np.ndarray) -> np.ndarray:
    other = y.copy()
    other[0, 0, 0] = 2
    return other


# ways of a bundle


def test_all_ways_over_time_give_the_outputs_of_the_stream(streamed: Graph, tmp_path: Path) -> None:
    """With every padding, condition and kind of input; for each way preparing it compares."""
    case = Sequences(opened(streamed, tmp_path), 2)
    strict = facts(streamed).strict and streamed.head is not None
    for name, maker in over_time.ways(case).items():
        if name == "generate" and not strict:
            with pytest.raises(refar.RefarError, match="generate needs"):
                maker()
        else:
            maker().call()
    over_time._pushing(Sequences(case.session, 1), 5).call()


def test_all_ways_of_images_give_the_outputs_of_the_canvas(image_model: Graph, tmp_path: Path) -> None:
    case = Images(opened(image_model, tmp_path), 2, (3, 4))
    for maker in over_images.ways(case).values():
        maker().call()


def altered(call: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda *given, **named: call(*given, **named) + np.float32(0.01)


def test_recomputing_that_disagrees_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(SIZES.graph(), tmp_path)
    monkeypatch.setattr(session, "forward", altered(session.forward))
    row = compared("B = 1", over_time.ways(Sequences(session, 1)), "step", 0.001)
    assert timed(row) == {"floor": True, "step": True, "generate": True, "recomputing": False, "torch, recomputing": True}
    assert "from refar's; rounding explains" in str(row.cells[3].reason)


def test_a_recomputation_that_would_take_too_long_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_time, "_MOST", 10)
    case = Sequences(opened(SIZES.graph(), tmp_path), 2)
    with pytest.raises(NotTimedError, match="left out: one pass would compute 18 positions, more than 10"):
        over_time.recomputing(case)


# the floor


def test_the_floor_has_a_product_for_each_convolution_over_time() -> None:
    """Two taps of 6 classes or 4 channels in; 8 = 2·4 channels of both halves of the gate; the last block has no residual."""
    block = [("conv", 8, 8), ("skip", 4, 5), ("residual", 4, 4)]
    blocks = [(f"block{i}.{name}", n, m) for i in range(4) for name, n, m in block if (i, name) != (3, "residual")]
    expected = [("front", 12, 4), *blocks, ("head.hidden", 5, 5), ("head.logits", 5, 6)]
    assert products(SIZES.graph()) == [Product(name, 1, n, m) for name, n, m in expected]


def test_the_floor_counts_what_masks_show_and_groups_and_leaves_out_what_is_constant() -> None:
    g = Builder()
    h = g.conv2d(g.image(channels=2), 4, kernel=3, mask="A")
    h = g.conv2d(h, 6, kernel=3, mask="B", groups=2)
    assert [(p.groups, p.inputs, p.outputs) for p in products(g.build(h))] == [(1, 8, 4), (2, 10, 3)]
    g = Builder()
    constant = g.conv1d(g.condition("c", channels=3), 4)
    graph = g.build(g.add(g.conv1d(g.input(channels=1), 4, kernel=2, name="seen"), constant))
    assert products(graph) == [Product("seen", 1, 2, 4)]


def test_a_network_without_products_has_no_floor(tmp_path: Path) -> None:
    g = Builder()
    session = opened(g.build(g.tanh(g.delay(g.input(channels=1)))), tmp_path)
    with pytest.raises(NotTimedError, match="no matrix product"):
        floor.floor(session, 1, 1)


def test_a_floor_with_groups_runs(tmp_path: Path) -> None:
    g = Builder()
    session = opened(g.build(g.conv1d(g.input(channels=4), 6, kernel=3, groups=2)), tmp_path)
    floor.floor(session, 3, 1).call()


# PyTorch by hand, and the programs of others


def test_the_step_in_pytorch_gives_refars_tokens_and_logits(tmp_path: Path) -> None:
    from refar.bench import torch_wavenet

    case = Sequences(opened(SIZES.graph(), tmp_path), 3)
    torch_wavenet.generating(case, SIZES.dilations, compiled=False).call()
    with pytest.raises(NotTimedError, match="refar's"):
        torch_wavenet.generating(case, [1, 1, 1, 2], compiled=False)
    with pytest.raises(NotTimedError, match="kernels of two"):
        torch_wavenet.generating(Sequences(opened(SIZES.graph(front=1), tmp_path / "other"), 1), SIZES.dilations, compiled=False)


def test_a_compiler_that_fails_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from refar.bench import torch_wavenet

    monkeypatch.setattr("torch.compile", broken)
    with pytest.raises(NotTimedError, match=r"^torch\.compile failed: RuntimeError: no compiler"):
        torch_wavenet.generating(Sequences(opened(SIZES.graph(), tmp_path), 1), SIZES.dilations, compiled=True)


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("no compiler")


@pytest.mark.foreign
@pytest.mark.parametrize("batch", [1, 3])
def test_wavenet_vocoder_is_the_same_network(batch: int, tmp_path: Path) -> None:
    session = opened(SIZES.graph(front=1), tmp_path)
    peers.vocoder(Sequences(session, batch), len(SIZES.dilations), SIZES.stacks).call()
    with pytest.raises(NotTimedError, match=r"^its outputs"):
        peers.vocoder(Sequences(session, batch), len(SIZES.dilations), 1)


@pytest.mark.foreign
def test_pytorch_tcn_is_the_same_network(tmp_path: Path) -> None:
    session = opened(models.tcn(6, (4, 4, 5)), tmp_path)
    peers.streaming_tcn(Sequences(session, 1)).call()
    with pytest.raises(NotTimedError, match="one sequence at a time"):
        peers.streaming_tcn(Sequences(session, 2))


# the project's own figures


TINY = Plan(
    wavenet=SIZES,
    batches=(1, 2),
    peer_batches=(1,),
    tcn=(4, 4),
    known=70,
    images={"tiny": models.pixelcnn(4, kernel=3, hidden=3)},
    image_batches=(2,),
    shape=(3, 4),
    wide=WaveNetSizes(doublings=4, stacks=1, channels=4, skip=4, classes=4),
    wide_batches=(2,),
    small=SIZES,
    layers=4,
    caps=(1, 8),
    depths=(1, 3),
)


def test_the_tables_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.compile", broken)
    for peer in ("wavenet_vocoder", "pytorch_tcn"):
        monkeypatch.setitem(sys.modules, peer, None)
    heard: list[str] = []
    found = list(standard.tables(TINY, 1, 0.001, heard.append))
    empty = {(table.title, cell.way) for table in found for row in table.rows for cell in row.cells if cell.time is None}
    assert {way for _, way in empty} == {"torch.compile", "wavenet_vocoder", "pytorch-tcn"}
    assert [[row.what for row in table.rows] for table in found] == [
        ["B = 1", "B = 2"], ["B = 1"], ["B = 1"], ["70 samples, B = 1"], ["tiny, B = 2"], ["B = 2"], ["R = 6", "R = 17"],
        ["1 layers", "3 layers"],
    ]  # fmt: skip
    assert [[cell.way for cell in table.rows[0].cells] for table in found] == [
        ["floor", "generate", "step", "torch", "torch.compile", "recomputing"], ["step", "wavenet_vocoder"],
        ["step", "pytorch-tcn"], ["prefill", "blocks of 64", "steps"], ["floor", "painting", "recomputing", "NumPy oracle"],
        ["all 1", "1 to 8"], ["step", "recomputing"], ["step", "recomputing"],
    ]  # fmt: skip
    assert all(cell.ratio == 1 for table in found for row in table.rows for cell in row.cells if cell.way == table.base)
    assert heard[:2] == ["a token, B = 1", "a token, B = 2"]
    assert header(found[0])[-3:] == ["generate ÷ floor", "values/s", "±"]
    page = markdown(Benchmark("refar bench", 1, "cpu", MACHINE, tuple(found)))
    assert "wavenet_vocoder: wavenet_vocoder is not installed; pip install wavenet-vocoder==0.1.1." in page
    assert page.count("\n|---|") == len(found)


def test_what_disagrees_in_the_tables_of_the_project_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "prefill", altered(Session.prefill))
    monkeypatch.setattr(Program, "generate", altered(Program.generate))
    (known,) = standard.known(TINY, 1, 0.001, lambda _: None).rows
    assert timed(known) == {"prefill": False, "blocks of 64": True, "steps": True}
    (images,) = standard.images(TINY, 1, 0.001, lambda _: None).rows
    assert images.cells[-1] == Cell("NumPy oracle", reason="24 of 24 values are not refar's from the same noise")


def test_the_plan_holds_the_networks_that_the_figures_name() -> None:
    plan = Plan()
    assert refar.receptive_field(plan.wavenet.graph()) == 2048
    assert max(plan.wide.dilations) == 2**13
    assert plan.known == 16_000


# the file


def example() -> Benchmark:
    row = TableRow("B = 1", (Cell("a", summary([1.0, 2.0]), 1.0), Cell("b", reason="not installed")), 1.0, 2.0)
    return Benchmark("refar bench", 1, "cpu", MACHINE, (Table("t", "step", "a", (row,), "B"),))


def test_the_file_is_read_as_it_was_written() -> None:
    assert from_json(to_json(example()), "x.json") == example()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda d: d.update(version=2), "version 2; this refar reads version 1; the file was written by a newer refar"),
        (lambda d: d.update(format="other"), "Invalid enum value 'other'"),
        (lambda d: d.update(more=1), "unknown field `more`"),
        (lambda d: d.pop("machine"), "missing required field `machine`"),
        (lambda d: d["tables"][0]["rows"][0]["cells"][0]["time"].update(median=0), "Expected `float` > 0.0"),
    ],
)
def test_a_file_that_is_none_is_refused(edit: Callable[[dict], object], says: str) -> None:
    document = json.loads(to_json(example()))
    edit(document)
    with pytest.raises(FileError, match=says):
        from_json(json.dumps(document).encode(), "x.json")
    with pytest.raises(FileError, match=r"'x\.json': expected the JSON that 'refar bench --json' writes"):
        from_json(b"[", "x.json")


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (9.5, "9.50"), (12.34, "12.3"), (123.4, "123"), (98765.4, "98 765")]
)
def test_numbers_have_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert figure(value) == text


def test_a_picture_has_a_panel_for_each_table() -> None:
    panel = plots.TimePanel("t", "B", "µs a step", {"a": [(1, 3, 2, 5), (8, 4, 4, 4)], "b": [(1, 9, 8, 9)]})
    figure = plots.times([panel] * 4)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["t"] * 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
