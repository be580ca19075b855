"""Training: minimise the mean nats per value of a strict graph. All randomness is a function of (seed, step)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from refar import data as datasets
from refar.arguments.arrays import Arrays
from refar.data import Dataset
from refar.data.dataset import for_graph
from refar.data.record import record_of, to_text
from refar.errors import RefarError
from refar.files import write_bytes
from refar.graph.graph import Graph, to_json
from refar.torch.board import board
from refar.torch.checkpoint import State, write_checkpoint
from refar.torch.coupled import Coupled, Network
from refar.torch.divergence import READ_EVERY, DivergenceError
from refar.torch.feeding import feeding
from refar.torch.objective import Objective
from refar.torch.ranks import Ranks, joined
from refar.torch.resuming import bring_back, take_up, write_weights
from refar.torch.starting import check, new_network, new_state
from refar.torch.step import Stepper
from refar.torch.validate import validate
from refar.training.config import Config, TrainConfig, load_config, to_toml
from refar.training.folder import writing_run
from refar.training.log import append_log, best_words, validation_line
from refar.training.progress import Interrupt, Reporter, catch_interrupt
from refar.training.runs import CHECKPOINT, CONFIG, DATA, GRAPH, LOG, read_record
from refar.training.schedule import learning_rate


class Result(NamedTuple):
    """The end of a training: `finished` unless it was interrupted; the best validation is None before the first.

    It is in nats per value, or of another [loss] in its unit.
    """

    run: Path
    step: int
    best_nats: float | None
    finished: bool
    best_step: int | None = None


_FEW = 8
"""The number of examples of the validation whose conditions samples have, where an encoder makes them."""

Samples = Callable[[int, Graph, Arrays, Dataset], None]
"""A function that draws a sample, from the step, the network, the weights that are validated, and the data."""


def train(
    config: Config | str | Path, run_dir: str | Path, *, resume: bool = False, progress: bool = True, until: int | None = None,
    samples: Samples | None = None,
) -> Result:  # fmt: skip
    """Train into a run folder (see `refar.training.runs`), or go on with one from its last checkpoint.

    A resumed run must have the same graph, data, seed and batch; what else of [train] has changed is said and logged. Ctrl-C,
    and `until` steps, stop it after a whole step with a checkpoint. `samples` is called every `samples_every` steps, and at
    the end, if that option is not 0. Raises FileError for a folder that another process trains into, or that holds anything,
    or, with `resume`, no run, a damaged one, or one in which a file that goes on was not written by training; InputError and
    GraphError if data, graph and config do not fit; DivergenceError for what is not finite, in which case the last checkpoint
    stays.
    """
    run = Path(run_dir)
    config = config if isinstance(config, Config) else load_config(config)
    loaded = datasets.load(config.data, read_record(run) if resume else None)
    config = config.completed(loaded)
    graph, options = config.graph, config.train
    data = for_graph(loaded, graph)
    with ExitStack() as held:
        ranks = joined(options.device)
        check(config, graph, data, ranks)
        network = new_network(config, graph, data)
        training = _Training(run, new_state(graph, options, network), config, data, ranks)
        _hold(held, run, resume, graph, ranks)
        held.enter_context(_settings(options))
        note = training.take_up() if resume else training.begin()
        if ranks.writes:
            _write_config(run / CONFIG, config)
            if not (run / DATA).exists():
                write_bytes(run / DATA, to_text(record_of(config.data, loaded)).encode())
        if ranks.writes:
            training.samples = samples
            training.show = held.enter_context(board(run, options.tensorboard, training.state.counters.step))
        return training.loop(progress and ranks.writes, until, note)


def _hold(held: ExitStack, run: Path, resume: bool, graph: Graph, ranks: Ranks) -> None:
    """Let the first process hold the folder of the run. Where it cannot, it says why, and the others end without a word."""
    refused: RefarError | None = None
    if ranks.writes:
        try:
            held.enter_context(writing_run(run, resume, to_json(graph)))
        except RefarError as error:
            refused = error
    if not ranks.all_agree(refused is None):
        raise refused or SystemExit(1)


@contextmanager
def _settings(options: TrainConfig) -> Iterator[None]:
    """Set what PyTorch has one of in a process, and set it back."""
    threads, tf32 = torch.get_num_threads(), (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    torch.set_num_threads(options.threads or threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


def _write_config(path: Path, config: Config) -> None:
    """Write the config with every value spelled out, unless the file says the same already, perhaps with comments in it."""
    text = to_toml(msgspec.structs.replace(config, model={"graph": GRAPH}) if "graph" in config.model else config)
    if not path.exists() or to_toml(load_config(path)) != text:
        write_bytes(path, text.encode())


@dataclass
class _Saved:
    """After which step the last checkpoint was written."""

    step: int


@dataclass
class _Training:
    """A training on its way. Every process of several does the same steps; the first of them writes."""

    run: Path
    state: State
    config: Config
    data: Dataset
    ranks: Ranks
    samples: Samples | None = None
    show: Callable[[Mapping[str, Any]], None] = lambda line: None

    @property
    def options(self) -> TrainConfig:
        """[train]."""
        return self.config.train

    def begin(self) -> str:
        """Leave a checkpoint of step 0, so that whatever is killed from now on can be resumed."""
        self.save()
        if self.ranks.writes:
            write_bytes(self.run / GRAPH, to_json(self.state.module.graph))
        return ""

    def take_up(self) -> str:
        """Go on from the last checkpoint; return a line that says what has changed."""
        changed, stored = take_up(self.run, self.state, self.config, self.data)
        self.ranks.wait()  # all have read what the first may write anew
        return bring_back(self.run, self.state, self.config, self.data, changed, stored) if self.ranks.writes else ""

    def loop(self, progress: bool, until: int | None, note: str) -> Result:
        """Do the steps that are left."""
        count, options = self.state.counters, self.options
        end = min(options.steps, until if until is not None else options.steps)
        with Reporter(progress, options.steps, count.step) as reporter, catch_interrupt() as interrupt:
            for said in filter(None, (*self.data.notes, note)):
                reporter.say(said)
            saved = self._steps(end, reporter, interrupt)
            if count.step == options.steps and count.best_nats is None:  # resumed at its end, before any validation
                self._validate(reporter)
                saved = -1
            if saved < count.step:
                self.save()
            finished = count.step >= options.steps or self.exhausted
            reporter.say(self._last_words(finished))
        return Result(self.run, count.step, count.best_nats, finished, count.best_step)

    @property
    def exhausted(self) -> bool:
        """Whether `patience` is at its end."""
        return 0 < self.options.patience <= self.state.counters.waited

    def save(self) -> None:
        """Write a checkpoint."""
        if self.ranks.writes:
            write_checkpoint(self.run / CHECKPOINT, self.state, self.config, self.data.digest())

    def _steps(self, end: int, reporter: Reporter, interrupt: Interrupt) -> int:
        """Do the steps before number `end`; return after which one the last checkpoint was written."""
        count, options = self.state.counters, self.options
        stepper, loss = Stepper(self.state, self.config.loss, options, self.ranks), self.config.loss
        before, begin = count.seconds, time.perf_counter()
        graph, steps = self.state.module.graph, range(count.step, end)
        with self._keeping_checkpoint(count.step) as kept, feeding(graph, loss, self.data, options, self.ranks, steps) as feed:
            while count.step < end and not self.exhausted and not self._stopped(interrupt):
                stepper.step(feed.take())
                count.seconds = before + time.perf_counter() - begin
                reporter.step()
                last = count.step == options.steps
                validate, checkpoint = (last or count.step % n == 0 for n in (options.validate_every, options.checkpoint_every))
                sample = self.samples is not None and options.samples_every and (last or not count.step % options.samples_every)
                if validate or checkpoint or sample:
                    stepper.read()
                if validate:
                    self._validate(reporter)
                    stepper.validated()
                if checkpoint or self.exhausted:
                    self.save()
                    kept.step = count.step
                if sample and self.samples is not None:
                    self.samples(count.step, graph, *_shown(self.state.best, self.data))
            stepper.read()
        return kept.step

    def _stopped(self, interrupt: Interrupt) -> bool:
        """Whether Ctrl-C was pressed; several processes ask each other every few steps, so that all stop after the same one."""
        if self.ranks.count == 1:
            return interrupt.pressed
        if self.state.counters.step % READ_EVERY:
            return False
        return not self.ranks.all_agree(not interrupt.pressed)

    def _validate(self, reporter: Reporter) -> None:
        """Validate, keep the weights if they are the best, and log. Raises DivergenceError for a loss that is not finite."""
        count, options, loss = self.state.counters, self.options, self.config.loss
        objective = Objective(self.state.best, loss)
        means = validate(objective, self.data.valid, options.seed, values=options.validation_values, ranks=self.ranks)
        valid = means[loss.unit]
        if not math.isfinite(valid):
            raise DivergenceError(f"step {count.step}: expected a finite validation loss, got {valid}")
        better = count.best_nats is None or valid < count.best_nats
        if better:
            count.best_nats, count.best_step, count.waited = valid, count.step, 0
            self.state.kept = self.state.best.arrays()
        else:
            count.waited += 1
        rate = learning_rate(options, count.step - 1)
        line = validation_line(count.step, loss.unit, count.loss_sum / count.loss_steps, means, rate, count.seconds)
        if self.ranks.writes:
            if better:
                write_weights(self.run, self.state)
            append_log(self.run / LOG, line)
            self.show(line)
        reporter.validated(line, "" if better else best_words(count.best_nats, count.best_step))

    @contextmanager
    def _keeping_checkpoint(self, step: int) -> Iterator[_Saved]:
        """Let a divergence say which checkpoint stays."""
        saved = _Saved(step)
        try:
            yield saved
        except DivergenceError as error:
            raise DivergenceError(
                f"{error}; {str(self.run)!r} keeps its checkpoint of step {saved.step}: resume it with a smaller learning_rate, "
                "more warmup or gradient_clip, or remove it to begin anew"
            ) from None

    def _last_words(self, finished: bool) -> str:
        count = self.state.counters
        if not finished:
            return f"stopped after step {count.step} of {self.options.steps}; the checkpoint is written"
        early = f", since {count.waited} validations were no better" if count.step < self.options.steps else ""
        return f"trained {count.step} steps{early}; {best_words(count.best_nats, count.best_step)}"


def _shown(network: Network, data: Dataset) -> tuple[Arrays, Dataset]:
    """Return what samples are drawn from: the parameters, and the data with the condition that an encoder makes, if any."""
    if not isinstance(network, Coupled):
        return network.arrays(), data
    few = data.valid[:_FEW]
    made = {**few.conditions, network.condition: network.encode(few)}
    return network.decoder.arrays(), replace(data, valid=replace(few, conditions=made))
