"""All training state as one file: what goes on from it does what the uninterrupted run would have done, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.optim import AdamW

from refar.analysis.facts import facts
from refar.arguments.arrays import Arrays
from refar.errors import FileError, InputError, newer
from refar.graph.graph import Graph, digest
from refar.torch.coupled import Network
from refar.training.config import Config, TrainConfig
from refar.training.loss_config import LossConfig
from refar.training.runs import check_graph, read_tensors, write_tensors


class Counters(msgspec.Struct, forbid_unknown_fields=True):
    """The numbers that training carries: `step` steps are done; loss_sum runs over the loss_steps since the last validation.

    The best validation was that of `best_step`; `waited` validations after it were no better.
    """

    step: int = 0
    best_nats: float | None = None
    best_step: int | None = None
    waited: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    seconds: float = 0.0


@dataclass
class State:
    """The network, the average of its weights (if any), the optimizer, the counters.

    `kept` are the weights of the best validation, those of weights.safetensors: None before the first.
    """

    module: Network
    average: Network | None
    optimizer: AdamW
    counters: Counters = field(default_factory=Counters)
    kept: Arrays | None = None

    @property
    def best(self) -> Network:
        """What is validated and exported: the average, where there is one."""
        return self.average or self.module


UNIT = {"nats": "per value"}
"""The unit of nats in a file; files of refar 0.1.0 name none, and count a position of a signal as one value."""


def values_of_unit(info: Mapping[str, Any], graph: Graph, loss: LossConfig) -> int:
    """By how many values the nats of a file must be divided to be nats per value: 1, or the channels of a signal."""
    kind = facts(graph).types[facts(graph).sequence]
    return 1 if "nats" in info or loss.kind != "nats" or kind.indexed or kind.image else kind.channels


def write_checkpoint(path: Path, state: State, config: Config, data: str) -> None:
    """Write the state at once, with the options that led to it; `data` is the digest of the data set."""
    arrays = {f"weights.{name}": array for name, array in state.module.arrays().items()}
    if state.average is not None:
        arrays |= {f"average.{name}": array for name, array in state.average.arrays().items()}
    for name, parameter in state.module.named_parameters():
        # A parameter that the loss does not reach has no moments.
        for key, value in state.optimizer.state.get(parameter, {}).items():
            arrays[f"adamw.{key}.{name}"] = value.cpu().numpy()
    if state.kept is not None and state.counters.best_step != state.counters.step:  # else they are those that are validated
        arrays |= {f"best.{name}": array for name, array in state.kept.items()}
    info = {"graph": digest(state.module.graph), "data": data, "train": config.train, "counters": state.counters}
    info |= {"loss": config.loss, "encoder": config.encoder, **UNIT}
    write_tensors(path, "checkpoint", arrays, info)


def read_checkpoint(path: Path, state: State, config: Config, data: str) -> TrainConfig:
    """Put a checkpoint into a fresh state; returns the options that led to it.

    Raises FileError if it is damaged or of another graph or data set, or lacks ema; InputError for another [loss] or [encoder].
    """
    arrays, info = read_tensors(path, "checkpoint")
    check_graph(path, info, state.module.graph)
    if info["data"] != data:
        raise FileError(f"{str(path)!r} was trained on other data than [data] now names")
    _check_same(path, info, config)
    averages = _below("average.", arrays)
    if bool(averages) != (state.average is not None):
        raise FileError(f"{str(path)!r} was trained {'with' if averages else 'without'} ema; [train] must agree")
    state.module.load_state_dict(_below("weights.", arrays))
    if state.average is not None:
        state.average.load_state_dict(averages)
    for name, parameter in state.module.named_parameters():
        moments = {key: arrays.get(f"adamw.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
        if moments["step"] is not None:
            state.optimizer.state[parameter] = {
                key: torch.tensor(array, device=parameter.device) for key, array in moments.items()
            }
    try:
        state.counters = count = msgspec.convert(info["counters"], Counters)
        values = values_of_unit(info, state.module.graph, config.loss)
        count.best_nats, count.loss_sum = None if count.best_nats is None else count.best_nats / values, count.loss_sum / values
        if count.best_step is not None:
            state.kept = state.best.arrays() if count.best_step == count.step else _below("best.", arrays)
        return msgspec.convert(info["train"], TrainConfig)
    except msgspec.ValidationError as error:  # the digest is right, so this is what was written
        raise FileError(f"{str(path)!r}: {newer(str(error), 'version 1 without it')}") from None


def _check_same(path: Path, info: Mapping[str, Any], config: Config) -> None:
    """Raise InputError unless [loss] and [encoder] are as the run began; before there was [loss], all training was on nats."""
    try:
        loss = msgspec.convert(info.get("loss", {}), LossConfig)
    except msgspec.ValidationError as error:
        raise FileError(f"{str(path)!r}: {newer(str(error), 'version 1 without it')}") from None
    pairs = {f"loss.{name}": (getattr(loss, name), getattr(config.loss, name)) for name in loss.__struct_fields__}
    pairs["encoder"] = (info.get("encoder"), config.encoder)
    for name, (before, now) in pairs.items():
        if before != now:
            raise InputError(f"{name}: expected {before!r}, as the run began, since its validations are compared; got {now!r}")


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
