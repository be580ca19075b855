"""block.onnx: blocks shorter and longer than any age at which values are read, what is gathered for them; mistakes are seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from plain_caller import Caller
from stream_graphs import GRAPHS, conditioned, delays, pools

import refar
from refar import Builder, Graph, ops
from refar.analysis.facts import facts
from refar.analysis.slots import StateLayout, state_layout
from refar.errors import BackendError
from refar.testing.contract.cases import generic_parameters
from refar.testing.contract.integers import integer_case, integral_graph
from refar.testing.contract.operators import OperatorCase
from refar_export import block_reads, export
from refar_export.block_reads import SHORT, History, NodeReads
from refar_export.build import build

Arrays = dict[str, np.ndarray]


def filters(kernel: int, dilation: int) -> Graph:
    """Two convolutions of this kernel, the second with a longer dilation, and a sum of products with it."""
    g = Builder()
    h = g.relu(g.conv1d(g.input(channels=2), 3, kernel=kernel, dilation=dilation))
    return g.build(g.add(h, g.conv1d(h, 3, kernel=kernel, dilation=dilation + 3), g.conv1d(h, 3)))


def readers() -> Graph:
    """One node that is read at many ages, some close to each other and some not, by products, delays and a grouped product."""
    g = Builder()
    h = g.conv1d(g.input(channels=2), 4, name="h")
    wide, near = g.conv1d(h, 4, kernel=3, dilation=SHORT + 6), g.conv1d(h, 4, kernel=2, groups=2)
    return g.build(g.concat(wide, near, g.delay(h, 1), g.delay(h, 2 * SHORT + 12), g.delay(h, 200)))


def far_pools() -> Graph:
    """Windows over time of values far apart."""
    g = Builder()
    x = g.input(channels=2)
    h = g.conv1d(g.concat(g.pool1d(x, "max", 3, dilation=SHORT + 1, pad="exclude"), x), 4, kernel=2, strict=True)
    return g.build(g.conv1d(g.pool1d(h, "max", 2, dilation=SHORT + 9, pad="zero"), 2, kernel=5, dilation=2))


def far_conditions() -> Graph:
    """Classes that are looked up, read as numbers and gated with a local and a global condition, all far in the past."""
    g = Builder()
    x, local = g.one_hot(g.input(classes=4)), g.condition("local", channels=2, local=True)
    h = g.conv1d(x, 4, kernel=3, dilation=SHORT + 2, strict=True)
    h = g.add(h, g.conv1d(local, 4, kernel=2, dilation=SHORT + 5), g.conv1d(g.condition("speaker", channels=3), 4))
    h = g.relu(g.concat(h, g.conv1d(g.delay(x, SHORT + 40), 2)))
    return g.build(g.conv1d(h, 4, kernel=4, dilation=SHORT + 1), ops.Categorical())


NETS: dict[str, Callable[[], Graph]] = {
    "2 taps": lambda: filters(2, SHORT),
    "3 taps": lambda: filters(3, SHORT + 1),
    "9 taps, close": lambda: filters(9, 5),
    "9 taps, far": lambda: filters(9, SHORT + 1),
    "many readers": readers,
    "pools": far_pools,
    "conditions": far_conditions,
}


def gaps(graph: Graph) -> set[int]:
    """Return the distance between the ages at which values are read, and these ages."""
    found, ages = layout_of(graph), dict[str, set[int]]()
    for node in graph.nodes:
        for source in node.inputs:
            if source in found.slots and node.name in found.schedule.lead:
                ages.setdefault(source, {0}).update(found.ages(node, source))
    between = {late - early for each in ages.values() for early, late in zip(sorted(each), sorted(each)[1:], strict=False)}
    return {age for each in ages.values() for age in each} | between


def layout_of(graph: Graph, spare: int = 0) -> StateLayout:
    return state_layout(facts(graph), spare)


class InPlace(Caller):
    """A program that lets blocks write the state where they read it."""

    def block(self, inputs: Arrays) -> np.ndarray:
        model = self.models["block"]
        binding = model.io_binding()
        self.state = {name: value.copy() for name, value in self.state.items()}  # memory that may be written
        shared = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in self.state.items()}
        for port in model.get_inputs():
            if port.name in inputs:
                binding.bind_cpu_input(port.name, inputs[port.name])
            else:
                binding.bind_ortvalue_input(port.name, shared[port.name])
        binding.bind_output("output", "cpu")
        for port in model.get_outputs()[1:]:
            binding.bind_ortvalue_output(port.name, shared[port.name.replace("present", "past")])
        model.run_with_iobinding(binding)
        output: np.ndarray = binding.get_outputs()[0].numpy()
        return output


def blocks_of(caller: Caller, case: OperatorCase, lengths: list[int]) -> np.ndarray:
    """The outputs of a prompt of one token, or of none if the network is strict, and of blocks of these lengths after it."""
    found, ahead = facts(case.graph), int(facts(case.graph).strict)
    feeds = {name: a if a.dtype == np.int64 else a.astype(np.float32) for name, a in case.inputs.items()}

    def part(begin: int, end: int, later: int) -> Arrays:
        by = {name: 0 if name == found.sequence else later for name in feeds}
        cut = {name: a[..., begin + by[name] : end + by[name]] if found.types[name].timed else a for name, a in feeds.items()}
        return {name: np.ascontiguousarray(a) for name, a in cut.items()}

    rows, at = len(feeds[found.sequence]), 1 - ahead
    outputs = [caller.start(part(0, 1, 0), np.full(rows, at))[..., None]]
    for length in lengths:
        outputs.append(caller.block(part(at, at + length, ahead)))
        at += length
    return np.concatenate(outputs, axis=2)


@pytest.mark.parametrize(
    ("batch", "kind", "level"),
    [(1, Caller, "ORT_ENABLE_ALL"), (3, InPlace, "ORT_ENABLE_ALL"), (2, InPlace, "ORT_DISABLE_ALL")],
    ids=["one sequence", "in place", "in place, as it is written"],
)
@pytest.mark.parametrize("name", NETS)
def test_blocks_around_every_age_are_exact(name: str, batch: int, kind: type[Caller], level: str, tmp_path: Path) -> None:
    """On integers, from states in which the slots have turned and in which they have not."""
    twin = integral_graph(NETS[name]())
    assert twin is not None
    around = sorted({max(1, gap + by) for gap in gaps(twin) for by in (-1, 0, 1)})
    rng = np.random.default_rng(batch)
    lengths = [*around, *rng.permutation(around), 2, 3]
    case = integer_case(twin, rng, batch, (sum(lengths) + 1,))
    assert case is not None
    caller = kind(export(case.graph, case.params, tmp_path / "b", spare=batch - 1), level)
    y = refar.forward(case.graph, case.params, case.inputs)
    np.testing.assert_array_equal(blocks_of(caller, case, lengths), y[..., : sum(lengths) + 1])


def read_visits(graph: Graph, length: int) -> dict[str, set[tuple[str, int]]]:
    """Of each tensor the nodes and the visits, counted from the first of the block, whose values a block of this length reads."""
    layout = layout_of(graph)
    found: dict[str, set[tuple[str, int]]] = {tensor: set() for tensor in layout.tensors}
    for node in graph.nodes:
        for source in node.inputs if node.name in layout.schedule.lead else ():
            if source in layout.slots:
                visits = {t - age for age in layout.ages(node, source) for t in range(length)}
                found[layout.slots[source].tensor] |= {(source, visit) for visit in visits if visit < 0}
    return found


def gathered(model: onnx.ModelProto, layout: StateLayout, length: int) -> dict[str, int]:
    """Count the slots of each tensor that a block of this length gathers, for three sequences."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = {node.input[0].removeprefix("past."): node.output[0] for node in shown.graph.node if node.op_type == "Gather"}
    names = {tensor: names[tensor] for tensor in layout.tensors}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names.values())
    session = ort.InferenceSession(shown.SerializeToString())
    free = {"batch_size": 3, "sequence_length": length}
    feeds = {}
    for port in session.get_inputs():
        sizes = [free.get(size, size) for size in port.shape]
        feeds[port.name] = np.zeros(sizes, np.float32 if "float" in port.type else np.int64)
    return {tensor: len(value) for tensor, value in zip(names, session.run([*names.values()], feeds), strict=True)}


@pytest.mark.parametrize("name", ["2 taps", "3 taps", "9 taps, far", "many readers", "pools", "conditions"])
def test_nothing_is_gathered_that_is_not_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_reads, "SHORT", 0)
    graph = NETS[name]()
    model = build(graph, refar.init(graph), "block")
    for length in (1, 2, SHORT, SHORT + 1, 3 * SHORT, 9 * SHORT):
        expected = {tensor: len(visits) for tensor, visits in read_visits(graph, length).items()}
        assert gathered(model, layout_of(graph), length) == expected


def test_values_close_to_each_other_are_all_gathered(tmp_path: Path) -> None:
    """Few rows, whose places need no T; and all rows of a convolution that is computed over time."""
    for graph in (filters(3, SHORT - 3), filters(9, 5)):
        model, layout = build(graph, refar.init(graph), "block"), layout_of(graph)
        for length in (1, 7, 4 * SHORT):
            assert gathered(model, layout, length) == {tensor: slots for tensor, (slots, _) in layout.sizes.items()}


Mistake = Callable[[pytest.MonkeyPatch], None]


def of(owner: Any, name: str, change: Callable[..., Any]) -> Mistake:
    """A function or method becomes change(right, …); a property change(right, self)."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        right = getattr(owner, name)
        if isinstance(right, property):
            patch.setattr(owner, name, property(lambda self: change(right.fget, self)))
        else:
            patch.setattr(owner, name, lambda *given, **more: change(right, *given, **more))

    return put_in


def one_later(right: Any, self: NodeReads) -> Any:
    """The window of the youngest age begins where it ends, less one."""
    *others, (_, end) = right(self)
    return [*others, (end, end) if self.ages[-1] == 1 else (others[-1][0] if others else end, end)]


def all_of_the_age(right: Any, self: NodeReads) -> list[int]:
    """Rows of an age are gathered up to the new ones, although the next age has gathered them too."""
    return list(self.ages)


def new_rows_first(right: Any, self: History, e: Any) -> str:
    self._gathered, self.new = self.new, self._gathered
    found: str = right(self, e)
    self._gathered, self.new = self.new, self._gathered
    return found


def of_one_row(right: Any, e: Any, wanted: Any, visits: Any) -> Any:
    return right(e, wanted, block_reads.BlockVisits(visits.clock, visits.length, e.constant([1]), visits.each))


def turned_late(right: Any, e: Any, visits: str, counts: Any, bases: Any) -> Any:
    return right(e, visits, np.add(counts, 1), bases)


def one_slot_on(right: Any, e: Any, visits: str, counts: Any, bases: Any) -> Any:
    return right(e, visits, counts, np.add(bases, 1))


def another_clock(right: Any, e: Any, wanted: Any, visits: Any) -> Any:
    late = e.emit("Add", visits.clock, e.constant([1]))
    return right(e, wanted, block_reads.BlockVisits(late, visits.length, visits.batch, visits.each))


MISTAKES: dict[str, Mistake] = {
    "a window begins elsewhere": of(NodeReads, "windows", one_later),
    "what two ages read is gathered twice": of(NodeReads, "gaps", all_of_the_age),
    "the new rows come before the old ones": of(History, "_all", new_rows_first),
    "rows are counted for one sequence": of(block_reads, "_numbers_of_rows", of_one_row),
    "slots turn one visit late": of(block_reads, "slots_at", turned_late),
    "every node is read one slot further": of(block_reads, "slots_at", one_slot_on),
    "the places are those of the next clock": of(block_reads, "_places", another_clock),
}


@pytest.mark.parametrize("graph", [conditioned(strict=True), delays(), pools(strict=True), pools(strict=False)])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_seen(mistake: str, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the check of the exporter, whose blocks of up to six tokens are longer than some of these ages."""
    monkeypatch.setattr(block_reads, "SHORT", 0)
    params = generic_parameters(graph, np.random.default_rng(5))
    export(graph, params, tmp_path / "right", verify=True)
    MISTAKES[mistake](monkeypatch)
    with pytest.raises(BackendError, match=r"\[x\] block|block\.onnx: onnxruntime .* could not run it"):
        export(graph, params, tmp_path / "b", verify=True)


@pytest.mark.parametrize("short", [0, 2])
@pytest.mark.parametrize("graph", GRAPHS)
def test_rows_near_and_far_agree_with_the_oracle(graph: str, short: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_reads, "SHORT", short)
    network = GRAPHS[graph]
    export(network, generic_parameters(network, np.random.default_rng(6)), tmp_path / "b", verify=True, spare=2)
