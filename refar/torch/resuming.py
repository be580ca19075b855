"""Going on from the last checkpoint: the folder is brought to the moment at which it was written."""

from __future__ import annotations

from pathlib import Path

import msgspec

from refar.data import Dataset
from refar.errors import InputError
from refar.files import write_bytes
from refar.graph.graph import digest, to_json
from refar.torch.checkpoint import UNIT, State, read_checkpoint, values_of_unit, write_checkpoint
from refar.torch.coupled import Coupled
from refar.training.config import Config, load_config
from refar.training.log import append_log, cut_log
from refar.training.runs import (
    CHECKPOINT,
    CONFIG,
    GRAPH,
    LOG,
    SAMPLES,
    WEIGHTS,
    check_graph,
    read_tensors,
    sample_stem,
    write_tensors,
)

Stored = tuple[int, float] | None
"""Step and loss of the weights in the folder; None if there are none."""


def take_up(run: Path, state: State, config: Config, data: Dataset) -> tuple[dict[str, list[object]], Stored]:
    """Put the last checkpoint into a fresh state. Nothing is written, so every process of several does the same.

    Returns what of [train] has changed, as {name: [before, now]}, and what weights the folder holds. Raises InputError for a
    change of what must stay as the run began, and what `read_checkpoint` raises.
    """
    options = config.train
    before = read_checkpoint(run / CHECKPOINT, state, config, data.digest())
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(options)
    changed = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
    for name in ("seed", "batch"):
        if name in changed:
            raise InputError(
                f"train.{name}: expected {old[name]}, as the run began, since it says which examples come next; got {new[name]}"
            )
    if options.steps < state.counters.step:
        raise InputError(f"train.steps: expected at least the {state.counters.step} steps that are done, got {options.steps}")
    stored = _stored(run, state, config)
    if state.kept is None:
        state.counters.best_nats = None  # so that the next validation writes them
    return changed, stored


def bring_back(run: Path, state: State, config: Config, data: Dataset, changed: dict[str, list[object]], stored: Stored) -> str:
    """Make the folder that of the checkpoint; return a line that says what of [train] has changed, which is logged too.

    What was logged after the checkpoint goes, and weights of a later validation give way to those of the best before it.
    Raises FileError before anything is written, if a file that goes on was not written by training.
    """
    if (run / CONFIG).exists():
        load_config(run / CONFIG)
    cut_log(run / LOG, state.counters.step)
    for path in (run / SAMPLES).glob("step-*"):
        if path.name >= Path(sample_stem(state.counters.step + 1)).name:
            path.unlink()
    if not (run / GRAPH).exists():
        write_bytes(run / GRAPH, to_json(state.module.graph))
    if state.kept is None:
        (run / WEIGHTS).unlink(missing_ok=True)
    elif stored != (state.counters.best_step, state.counters.best_nats):
        write_weights(run, state)
    if not changed:
        return ""
    append_log(run / LOG, {"step": state.counters.step, "changed": changed})
    write_checkpoint(run / CHECKPOINT, state, config, data.digest())  # so that the change is told once
    return "resuming with changed [train]: " + ", ".join(f"{name} {was} → {now}" for name, (was, now) in changed.items())


def write_weights(run: Path, state: State) -> None:
    """Write the weights of the best validation."""
    count = state.counters
    assert state.kept is not None
    info: dict[str, object] = {
        "graph": digest(state.module.graph),
        "step": count.best_step,
        "valid_nats": count.best_nats,
        **UNIT,
    }
    if isinstance(state.module, Coupled):
        info["encoder"] = state.module.described
    write_tensors(run / WEIGHTS, "weights", state.kept, info)


def _stored(run: Path, state: State, config: Config) -> Stored:
    """Say what weights the folder holds. Raises FileError if they are damaged, or of another graph."""
    if not (run / WEIGHTS).exists():
        return None
    arrays, info = read_tensors(run / WEIGHTS, "weights")
    check_graph(run / WEIGHTS, info, state.module.graph)
    count, nats = state.counters, info["valid_nats"] / values_of_unit(info, state.module.graph, config.loss)
    if count.best_nats is not None and count.best_step is None:  # a checkpoint of refar 0.1.0 does not say which step was best
        if info["step"] <= count.step and nats == count.best_nats:
            count.best_step, state.kept = info["step"], arrays
        else:
            count.best_nats = None
    return info["step"], nats
