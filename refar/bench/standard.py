"""The project's own figures: what `refar bench` measures without a bundle. Needs onnx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

import numpy as np

from refar import models
from refar.analysis.causality import sequence_field
from refar.arguments.arrays import Array
from refar.bench import over_images, over_time, peers
from refar.bench.clock import NotTimedError, Way, repeated
from refar.bench.comparison import Maker, check_close, check_equal, compared
from refar.bench.floor import floor
from refar.bench.over_images import Images
from refar.bench.over_time import STEPS, Progress, Sequences
from refar.bench.plan import Plan, exported
from refar.bench.results import Table, TableRow
from refar.oracle.program import bind
from refar.runtime.session import Session

_BLOCK = 64


def tables(plan: Plan, threads: int, seconds: float, progress: Progress) -> Iterator[Table]:
    """Yield each table as soon as it is measured. `seconds` is about what a row takes, `progress` hears what is measured."""
    for each in (tokens, vocoder, streaming_tcn, known, images, wide, reach, depth):
        yield each(plan, threads, seconds, progress)


def tokens(plan: Plan, threads: int, seconds: float, progress: Progress) -> Table:
    """Time generation with the WaveNet of `plan`, beside the floor, PyTorch, and recomputing."""
    sizes, rows = plan.wavenet, []
    with exported(sizes.graph(), threads) as session:
        for batch in plan.batches:
            progress(f"a token, B = {batch}")
            rows.append(_token_row(Sequences(session, batch, threads), sizes.dilations, seconds))
    title = f"A token of a WaveNet, {len(sizes.dilations)} layers of {sizes.channels} channels"
    return Table(title, "token", "generate", tuple(rows), "B, sequences at once")


def _token_row(case: Sequences, dilations: list[int], seconds: float) -> TableRow:
    def in_torch(compiled: bool) -> Way:
        from refar.bench import torch_wavenet

        return torch_wavenet.generating(case, dilations, compiled=compiled)

    makers: dict[str, Maker] = {
        "floor": lambda: floor(case.session, case.batch, case.threads),
        "generate": lambda: over_time.generating(case),
        "step": lambda: over_time.stepping(case),
        "torch": lambda: in_torch(False),
        "torch.compile": lambda: in_torch(True),
        "recomputing": lambda: over_time.recomputing(case),
    }
    return compared(f"B = {case.batch}", makers, "generate", seconds, at=case.batch, values=case.batch)


def vocoder(plan: Plan, threads: int, seconds: float, progress: Progress) -> Table:
    """Time steps beside those of wavenet_vocoder on the same network, a WaveNet with a front of one."""
    sizes, rows = plan.wavenet, []
    with exported(sizes.graph(front=1), threads) as session:
        for batch in plan.peer_batches:
            progress(f"wavenet_vocoder, B = {batch}")
            case = Sequences(session, batch, threads)
            makers: dict[str, Maker] = {
                "step": partial(over_time.stepping, case),
                "wavenet_vocoder": partial(peers.vocoder, case, len(sizes.dilations), sizes.stacks),
            }
            rows.append(compared(f"B = {batch}", makers, "step", seconds))
    return Table("A step of the WaveNet of wavenet_vocoder", "step", "step", tuple(rows))


def streaming_tcn(plan: Plan, threads: int, seconds: float, progress: Progress) -> Table:
    """Time steps beside those of pytorch-tcn on the same network."""
    progress("pytorch-tcn")
    with exported(models.tcn(256, plan.tcn), threads) as session:
        case = Sequences(session, 1, threads)
        makers: dict[str, Maker] = {
            "step": partial(over_time.stepping, case),
            "pytorch-tcn": partial(peers.streaming_tcn, case),
        }
        row = compared("B = 1", makers, "step", seconds)
    return Table(f"A step of a TCN of {len(plan.tcn)} blocks", "step", "step", (row,))


def known(plan: Plan, threads: int, seconds: float, progress: Progress) -> Table:
    """Time taking samples that are known: as a prompt, in blocks, one by one. The last outputs are compared first."""
    progress(f"{plan.known} known samples")
    with exported(plan.wavenet.graph(), threads) as session:
        x = np.random.default_rng(0).integers(0, plan.wavenet.classes, (1, plan.known))
        stream = session.stream(1)
        for token in x[0]:
            stream.step([token])
        assert stream.output is not None
        makers: dict[str, Maker] = {
            "prefill": partial(_prefilling, session, x, stream.output),
            f"blocks of {_BLOCK}": partial(_in_blocks, session, x, stream.output),
            "steps": lambda: repeated(lambda: stream.step(x[:, 0]), STEPS),
        }
        row = compared(f"{plan.known} samples, B = 1", makers, "prefill", seconds)
    return Table("A sample that is known", "sample", "prefill", (row,))


def _prefilling(session: Session, x_bt: Array, expected_bq: Array) -> Way:
    call = partial(session.prefill, x_bt)
    check_close(session.graph, call(), expected_bq)
    return Way(call, x_bt.shape[1], warm=True)


def _in_blocks(session: Session, x_bt: Array, expected_bq: Array) -> Way:
    stream = session.stream(1)
    for begin in range(0, x_bt.shape[1], _BLOCK):
        y_bqt = stream.push(x_bt[:, begin : begin + _BLOCK])
    check_close(session.graph, y_bqt[..., -1], expected_bq)
    return Way(lambda: stream.push(x_bt[:, :_BLOCK]), min(_BLOCK, x_bt.shape[1]))


def images(plan: Plan, threads: int, seconds: float, progress: Progress) -> Table:
    """Time painting, beside the floor, recomputing, and the oracle in NumPy."""
    rows = []
    for name, graph in plan.images.items():
        with exported(graph, threads) as session:
            for batch in plan.image_batches:
                progress(f"images, {name}, B = {batch}")
                case = Images(session, batch, plan.shape, threads)
                makers: dict[str, Maker] = {
                    "floor": partial(floor, session, batch, threads),
                    "painting": partial(over_images.painting, case),
                    "recomputing": partial(over_images.recomputing, case),
                    "NumPy oracle": partial(_oracle, case),
                }
                rows.append(compared(f"{name}, B = {batch}", makers, "painting", seconds))
    return Table(f"A pixel of images of {plan.shape[0]} x {plan.shape[1]}", "pixel", "painting", tuple(rows))


def _oracle(case: Images) -> Way:
    """Return the way of the oracle, whose pixels are compared first. NumPy is kept in its threads by threadpoolctl."""
    if find_spec("threadpoolctl") is None:
        raise NotTimedError("threadpoolctl is not installed, without which NumPy takes as many threads as it likes")
    call = partial(bind(case.session.graph, case.session.weights).generate, case.shape, batch=case.batch)
    check_equal(case.session.generate(case.shape, batch=case.batch), call())
    return Way(call, case.pixels, warm=True)


def wide(plan: Plan, threads: int, seconds: float, progress: Progress) -> Table:
    """Time a step with dilations 1, 2, 4, … beside one with dilations of one."""
    sizes, rows = plan.wide, []
    networks = {"all 1": [1] * len(sizes.dilations), f"1 to {max(sizes.dilations)}": sizes.dilations}
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(exported(sizes.dilated(each), threads)) for name, each in networks.items()}
        for batch in plan.wide_batches:
            progress(f"dilations to {max(sizes.dilations)}, B = {batch}")
            makers = {name: partial(_step, session, batch, threads) for name, session in sessions.items()}
            rows.append(compared(f"B = {batch}", makers, "all 1", seconds))
    return Table(f"A step of {len(sizes.dilations)} layers, by their dilations", "step", "all 1", tuple(rows))


def _step(session: Session, batch: int, threads: int) -> Way:
    return over_time.stepping(Sequences(session, batch, threads))


def reach(plan: Plan, threads: int, seconds: float, progress: Progress) -> Table:
    """Time networks of equal depth that differ in R, the length of their receptive field."""
    rows = []
    for cap in plan.caps:
        graph = plan.small.dilated([min(2**i, cap) for i in range(plan.layers)])
        field = sequence_field(graph)
        progress(f"{plan.layers} layers, R = {field}")
        with exported(graph, threads) as session:
            rows.append(_growth_row(f"R = {field}", field, Sequences(session, 1, threads), seconds))
    return Table(f"A step of {plan.layers} layers, by R", "step", "step", tuple(rows), "R, positions that an output sees")


def depth(plan: Plan, threads: int, seconds: float, progress: Progress) -> Table:
    """Time networks that differ in depth, with dilations of one."""
    rows = []
    for layers in plan.depths:
        progress(f"{layers} layers")
        with exported(plan.small.dilated([1] * layers), threads) as session:
            rows.append(_growth_row(f"{layers} layers", layers, Sequences(session, 1, threads), seconds))
    return Table("A step with dilations of 1, by depth", "step", "step", tuple(rows), "layers")


def _growth_row(what: str, at: int, case: Sequences, seconds: float) -> TableRow:
    makers: dict[str, Maker] = {"step": partial(over_time.stepping, case), "recomputing": partial(over_time.recomputing, case)}
    return compared(what, makers, "step", seconds, at=at)
