"""Training: minimise the mean nats per value of a strict graph. All randomness is a function of (seed, step)."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor
from torch.optim import AdamW

from refar import data as datasets
from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.data import Dataset, Split
from refar.data.batches import batch, shift
from refar.data.dataset import check_fit, for_graph
from refar.errors import BackendError, FileError, GraphError, InputError, RefarError
from refar.files import check_writable, write_bytes
from refar.graph.graph import Graph, digest, require_head, to_json
from refar.torch.checkpoint import State, read_checkpoint, write_checkpoint
from refar.torch.losses import nats
from refar.torch.module import Module
from refar.training import runs
from refar.training.config import Config, TrainConfig, load_config, to_toml
from refar.training.progress import Reporter, append_log, catch_interrupt, cut_log
from refar.training.runs import CHECKPOINT, CONFIG, FILES, GRAPH, LOG, WEIGHTS, check_graph, read_tensors


class DivergenceError(RefarError):
    """Training met a loss or gradient that is not finite."""


class Result(NamedTuple):
    """How far training came: `finished` unless it was interrupted; `best_nats` is None before the first validation."""

    run: Path
    step: int
    best_nats: float | None
    finished: bool


def train(
    config: Config | str | Path, run_dir: str | Path, *, resume: bool = False, progress: bool = True, until: int | None = None
) -> Result:
    """Train into a run folder (see `refar.training.runs`), or go on with one from its last checkpoint.

    A resumed run must have the same graph, data, seed and batch; what else of [train] has changed is said and logged. Ctrl-C,
    and `until` steps, stop it after a whole step with a checkpoint. Raises FileError for a folder that holds anything, or,
    with `resume`, no run, a damaged one, or one in which a file that goes on was not written by training; InputError and
    GraphError if data, graph and config do not fit; DivergenceError for a loss that is not finite, in which case the last
    checkpoint stays.
    """
    run = Path(run_dir)
    config = config if isinstance(config, Config) else load_config(config)
    _check_folder(run, resume)
    graph = config.graph
    data = for_graph(datasets.load(config.data.source), graph)
    _check(config.train, graph, data)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.train.threads or threads)
    try:
        state = _new_state(graph, config.train)
        note = ""
        if resume:
            note = _reopen(run, state, config.train, data)
        else:
            write_bytes(run / GRAPH, to_json(graph))
            write_checkpoint(run / CHECKPOINT, state, config.train, data.digest())
        _write_config(run / CONFIG, config)
        return _loop(run, state, config.train, data, progress, until, note)
    finally:
        torch.set_num_threads(threads)


def _write_config(path: Path, config: Config) -> None:
    """Write the config with every value spelled out, unless the file says the same already, perhaps with comments in it."""
    text = to_toml(msgspec.structs.replace(config, model={"graph": GRAPH}) if "graph" in config.model else config)
    if not path.exists() or to_toml(load_config(path)) != text:
        write_bytes(path, text.encode())


def mean_nats(module: Module, split: Split, batch_size: int = 256) -> float:
    """The mean nats per value over a split, summed in float64. Raises GraphError for a graph without a head."""
    device, total, count = _device_of(module), 0.0, 0
    with torch.no_grad():
        for i in range(0, len(split), batch_size):
            each = _nats(module, split[i : i + batch_size], device)
            total, count = total + float(each.double().sum()), count + each.numel()
    return total / count


def learning_rate(options: TrainConfig, step: int) -> float:
    """The rate of step 0, 1, …: linear warmup, and a cosine over all steps where asked for."""
    rate = options.learning_rate * min(1.0, (step + 1) / options.warmup if options.warmup else 1.0)
    return rate * 0.5 * (1 + math.cos(math.pi * step / options.steps)) if options.schedule == "cosine" else rate


def _loop(run: Path, state: State, options: TrainConfig, data: Dataset, progress: bool, until: int | None, note: str) -> Result:
    count, known = state.counters, data.digest()
    end = min(options.steps, until if until is not None else options.steps)
    saved = count.step
    before, begin = count.seconds, time.perf_counter()
    with Reporter(progress, options.steps, count.step) as reporter, catch_interrupt() as interrupt:
        if note:
            reporter.say(note)
        try:
            while count.step < end and not interrupt.pressed:
                count.loss_sum += _step(state, options, data)
                count.loss_steps += 1
                count.step += 1
                count.seconds = before + time.perf_counter() - begin
                reporter.step()
                last = count.step == options.steps
                if last or count.step % options.validate_every == 0:
                    reporter.validated(_validate(run, state, options, data))
                if last or count.step % options.checkpoint_every == 0:
                    write_checkpoint(run / CHECKPOINT, state, options, known)
                    saved = count.step
        except DivergenceError as error:
            raise DivergenceError(
                f"{error}; {str(run)!r} keeps its checkpoint of step {saved}: resume it with a smaller learning_rate, "
                "more warmup or gradient_clip, or remove it to begin anew"
            ) from None
        if count.step == options.steps and not (run / WEIGHTS).exists():  # resumed at its end, before any validation
            reporter.validated(_validate(run, state, options, data))
            saved = -1
        if saved < count.step:
            write_checkpoint(run / CHECKPOINT, state, options, known)
        finished = count.step >= options.steps
        if not finished:
            reporter.say(f"stopped after step {count.step} of {options.steps}; the checkpoint is written")
        elif count.best_nats is not None:
            reporter.say(f"trained {count.step} steps; best validation {count.best_nats:.4f} nats per value")
    return Result(run, count.step, count.best_nats, finished)


def _step(state: State, options: TrainConfig, data: Dataset) -> float:
    step, parameters = state.counters.step, list(state.module.parameters())
    examples = batch(data.train, options.seed, step, options.batch)
    if options.augment == "shift" and data.shape is not None:
        moved = shift(examples.x, data.shape, options.seed, step, options.augment_probability)
        examples = replace(examples, x=moved)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(options, step)
    state.optimizer.zero_grad()
    loss = _nats(state.module, examples, _device_of(state.module)).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(parameters, options.gradient_clip or math.inf)
    if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
        came = f"loss {loss.item()}, gradient norm {norm.item()}"
        raise DivergenceError(f"step {step + 1}: expected a finite loss and gradient, got {came}")
    state.optimizer.step()
    if state.average is not None:
        decay = min(options.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, parameter in zip(state.average.parameters(), parameters, strict=True):
                mean.lerp_(parameter, 1 - decay)
    return loss.item()


def _validate(run: Path, state: State, options: TrainConfig, data: Dataset) -> dict[str, Any]:
    count, valid = state.counters, mean_nats(state.best, data.valid)
    if not math.isfinite(valid):
        raise DivergenceError(f"step {count.step}: expected a finite validation loss, got {valid}")
    if count.best_nats is None or valid < count.best_nats:
        count.best_nats = valid
        info = {"graph": digest(state.module.graph), "step": count.step, "valid_nats": valid}
        runs.write_tensors(run / WEIGHTS, "weights", state.best.arrays(), info)
    line = {
        "step": count.step,
        "train_nats": count.loss_sum / count.loss_steps,
        "valid_nats": valid,
        "lr": learning_rate(options, count.step - 1),
        "seconds": round(count.seconds, 3),
    }
    append_log(run / LOG, line)
    count.loss_sum, count.loss_steps = 0.0, 0
    return line


def _nats(module: Module, examples: Split, device: torch.device) -> Tensor:
    head = require_head(module.graph, "training")
    x = torch.from_numpy(examples.x).to(device)
    conditions = {name: torch.from_numpy(examples.conditions[name]).to(device) for name in facts(module.graph).conditions}
    y = module(x, conditions)
    return nats(head, y, x if x.dtype == torch.int64 else x.to(y.dtype))


def _new_state(graph: Graph, options: TrainConfig) -> State:
    module = Module(graph, seed=options.seed).to(options.device)
    average = copy.deepcopy(module) if options.ema else None
    groups = [
        {"params": [p for p in module.parameters() if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in module.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return State(module, average, AdamW([g for g in groups if g["params"]], lr=options.learning_rate, betas=options.betas))


def _reopen(run: Path, state: State, options: TrainConfig, data: Dataset) -> str:
    """Take up the last checkpoint; returns a line that says what of [train] has changed, which is logged too."""
    before = read_checkpoint(run / CHECKPOINT, state, data.digest())
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(options)
    changed = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
    for name in ("seed", "batch"):
        if name in changed:
            raise InputError(
                f"train.{name}: expected {old[name]}, as the run began, since it says which examples come next; got {new[name]}"
            )
    step = state.counters.step
    if options.steps < step:
        raise InputError(f"train.steps: expected at least the {step} steps that are done, got {options.steps}")
    if (run / WEIGHTS).exists():  # a better validation writes over them
        check_graph(run / WEIGHTS, read_tensors(run / WEIGHTS, "weights")[1], state.module.graph)
    else:
        state.counters.best_nats = None  # so that the next validation writes them
    if (run / CONFIG).exists():
        load_config(run / CONFIG)
    cut_log(run / LOG, step)
    if not changed:
        return ""
    append_log(run / LOG, {"step": step, "changed": changed})
    write_checkpoint(run / CHECKPOINT, state, options, data.digest())  # so that the change is told once
    return "resuming with changed [train]: " + ", ".join(f"{name} {was} → {now}" for name, (was, now) in changed.items())


def _check_folder(run: Path, resume: bool) -> None:
    if run.exists() and not run.is_dir():
        raise FileError(f"run {str(run)!r}: expected a folder, got a file")
    held = sorted(path.name for path in run.iterdir()) if run.exists() else []
    if resume and CHECKPOINT not in held:
        raise FileError(f"run {str(run)!r}: expected a run to resume, but {CHECKPOINT} is missing")
    found = [name for name in FILES if name in held]
    if not resume and found and "bundle.json" not in held:  # a bundle holds a file of such a name too
        raise FileError(f"run {str(run)!r} holds a run already ({', '.join(found)}); resume it, or choose another folder")
    if not resume and held:
        raise FileError(f"run {str(run)!r} holds {held[0]!r}, which no training wrote; choose another folder")
    check_writable(run / CONFIG)


def _check(options: TrainConfig, graph: Graph, data: Dataset) -> None:
    require_strict(facts(graph), "training")
    require_head(graph, "training")
    check_fit(data, graph)
    if options.batch > len(data.train):
        raise InputError(
            f"train.batch: expected at most the {len(data.train)} training sequences of {data.name!r}, got {options.batch}"
        )
    if options.augment == "shift" and data.shape is None:
        raise InputError(f"train.augment: 'shift' needs pictures, but data {data.name!r} has no picture shape")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise BackendError("train.device: 'cuda' was asked for, but PyTorch finds no CUDA device")
    if not facts(graph).parameters:
        raise GraphError("training needs a graph with parameters; this one has none")


def _device_of(module: Module) -> torch.device:
    return next(module.parameters()).device
