"""Whether [loss] fits a network and its data."""

from __future__ import annotations

from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.arguments.unrolling import check_unrolling
from refar.data import Dataset
from refar.data.dataset import Supply
from refar.errors import GraphError, InputError
from refar.graph.graph import Graph, require_head
from refar.torch.work import first_counted, unrolling_of
from refar.training.loss_config import LossConfig


def check_loss(loss: LossConfig, graph: Graph, data: Dataset) -> None:
    """Raise GraphError or InputError where this loss cannot be computed of these data, or of nothing in them."""
    if loss.kind == "nats":
        require_strict(facts(graph), "training")
        require_head(graph, "training")
        if data.train.target is not None:
            raise InputError(
                f"data {data.name!r} has a target, which the loss 'nats' does not read; write kind = 'mse' or 'esr' in [loss], "
                "or leave the target out"
            )
    else:
        _check_pairs(loss, graph, data)
    if not loss.context and facts(graph).grid is not None:
        raise InputError("loss.context: expected true for images; only of sequences the first positions can be left out")
    for name, split in (("training", data.train), ("validation", data.valid)):
        if _longest(split) <= first_counted(graph, loss):
            raise InputError(
                f"data {data.name!r}: no position of its {name} sequences counts: they have {_longest(split)} positions, and the "
                f"first {first_counted(graph, loss)} are left out, as their context is not whole (loss.context)"
            )
    if loss.horizon:
        _check_unrolling(loss, graph, data)


def _longest(split: Supply) -> int:
    return int(split.x.shape[-1] if split.lengths is None else split.lengths.max())


def _check_pairs(loss: LossConfig, graph: Graph, data: Dataset) -> None:
    kind = facts(graph).types[graph.output]
    if not kind.timed or kind.image:
        raise GraphError(f"loss.kind: {loss.kind!r} needs a network whose output is a signal over time, got {kind}")
    target = data.train.target
    if target is None:
        raise InputError(f"loss.kind: {loss.kind!r} needs data with a target, which {data.name!r} has not")
    if target.shape[1] != kind.size:
        expected = f"expected the {kind.size} channels of the network's output {graph.output!r}"
        raise InputError(f"data {data.name!r}: target: {expected}, got {target.shape[1]}")


def _check_unrolling(loss: LossConfig, graph: Graph, data: Dataset) -> None:
    unrolling = unrolling_of(graph, loss)
    assert unrolling is not None
    try:
        check_unrolling(graph, unrolling)
    except InputError as error:
        raise InputError(f"loss.{error}") from None
    first = first_counted(graph, loss)
    for name, split in (("training", data.train), ("validation", data.valid)):
        longest = _longest(split)
        possible = longest - first - loss.horizon + 1
        if possible < 1:
            context = f", of which the first {first} are left out (loss.context)" if first else ""
            most = f"expected at most the {longest} positions of the longest {name} sequence{context}"
            raise InputError(f"loss.horizon: {most}, got {loss.horizon}")
        if loss.origins > possible:
            raise InputError(
                f"loss.origins: expected at most {possible}, as many positions of a sequence have {loss.horizon} behind them, "
                f"got {loss.origins}"
            )
