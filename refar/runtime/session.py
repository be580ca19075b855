"""A bundle at work: the whole sequence at once, or token by token with the state kept on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from refar import noise
from refar.analysis.causality import require_strict
from refar.analysis.facts import facts
from refar.analysis.types import Type
from refar.arguments.arrays import (
    Array,
    Arrays,
    Data,
    bind_inputs,
    bind_prompt,
    check_array,
    check_observed,
    check_prior,
    check_rows,
    check_sampling,
    class_condition,
    extent,
    in_order,
    repeat_rows,
)
from refar.errors import BackendError, FileError, GraphError, InputError, check_integer
from refar.files import as_path
from refar.graph import graph as graphs
from refar.graph.graph import require_head
from refar.runtime import density
from refar.runtime import provider as providers
from refar.runtime.bundle import BLOCK, OUTPUT, PAST, PRESENT, START, ports, read_file, read_manifest, read_vectors
from refar.runtime.stepper import Stepper

_VALUES_PER_CALL = 2**24  # logits held at once by `score`: 64 MiB
_NOISE_STEPS = 256
_MOST_THREADS = 1024  # onnxruntime starts as many as it is told to


class Session:
    """An exported network. `graph`, `manifest` and `provider` ('cpu' or 'cuda': what really runs) describe it.

    Raises FileError for a bundle that is damaged, altered or has other ports than its graph, BackendError for a provider
    that does not start.
    """

    def __init__(self, path: str | Path, provider: providers.Provider, *, fallback: bool, threads: int) -> None:
        self.path = as_path(path)
        threads = check_integer("threads", threads, 1, _MOST_THREADS)
        self.manifest = read_manifest(path)
        self.graph = self.manifest.graph
        self._found = facts(self.graph)
        self._sessions: dict[str, Any] = {}
        for name in ports(self.graph).files(block=BLOCK in self.manifest.files):
            data = read_file(path, name, self.manifest)
            count = 1 if name == "step.onnx" else threads
            self._sessions[name] = providers.open_session(data, name, provider, fallback=fallback, threads=count)
            self._check_model(name)
        self.provider = providers.running(self._sessions["full.onnx"])
        self._local = [name for name in self._found.conditions if self._found.types[name].timed]
        self._stepper: Stepper | None = None

    def __repr__(self) -> str:
        return f"Session({str(self.path)!r}, provider={self.provider!r})"

    def _check_model(self, name: str) -> None:
        """The model belongs to the graph, and has the ports that the graph says."""
        session, states = self._sessions[name], [port.node for port in self.manifest.state]
        if session.get_modelmeta().custom_metadata_map.get("refar.graph_sha256") != graphs.digest(self.graph):
            raise FileError(f"bundle {str(self.path)!r}: {name} was exported from another graph than the one in bundle.json")
        inputs = {self._found.sequence, *self._found.conditions}
        outputs = {OUTPUT}
        if name in ("step.onnx", BLOCK):
            inputs |= {f"{PAST}.{node}" for node in states}
        if name == "step.onnx" and ports(self.graph).start:
            inputs.add(START)
        if name != "full.onnx":
            outputs |= {f"{PRESENT}.{node}" for node in states}
        for role, expected, values in (("inputs", inputs, session.get_inputs()), ("outputs", outputs, session.get_outputs())):
            got = {value.name for value in values}
            if got != expected:
                raise FileError(f"{name}: expected {role} {sorted(expected)}, got {sorted(got)}")

    def check_vectors(self) -> Arrays:
        """The oracle's check vectors that lie in the bundle: "x", "condition.<name>", "y"."""
        return read_vectors(self.path, self.manifest)

    @property
    def state(self) -> Arrays:
        """The carried values after the last prefill or step: {node: array (B, C, length)}, copied to the CPU."""
        return self._running().state()

    def forward(self, x: Data, condition: Data | None = None) -> Array:
        """The output for a whole sequence, y_bct, or image, y_bchw, as `refar.forward` gives it, in float32."""
        inputs = bind_inputs(facts(self.graph), x, condition)
        sequence = inputs[self._found.sequence]
        if sequence.size == 0:
            over = extent(self._found.types[self._found.sequence], sequence)
            y = np.zeros((len(sequence), self._found.types[self.graph.output].size, *over), np.float32)
            return y[:, :, facts(self.graph).first_position :]
        return _finite(self._sessions["full.onnx"].run([OUTPUT], self._feeds(inputs))[0], "full.onnx")

    def prefill(self, prompt: ArrayLike | None = None, condition: Data | None = None, batch: int | None = None) -> Array:
        """Take a prompt of P ≥ 0 tokens in one pass: the output for position P, y_bc. `step` goes on from there.

        For a graph that is not strict P ≥ 1, and the output is the one at the prompt's last token.
        """
        facts(self.graph).require_causal("prefill")
        self.require_steps("prefill")
        tokens, conditions, _ = bind_prompt(self.graph, prompt, condition, batch, more=int(self.manifest.strict))
        y, self._stepper = self._begin(tokens, conditions)
        return y

    def _begin(self, tokens: Array, conditions: Arrays) -> tuple[Array, Stepper]:
        """The output after a prompt, and a stream of its own that goes on from there."""
        if self.manifest.strict:  # the graph sees all but the last token it is fed, and cannot be fed none
            unseen = np.zeros((*tokens.shape[:-1], 1), tokens.dtype)
            tokens = np.concatenate([tokens, unseen], axis=-1)
        elif tokens.shape[-1] == 0:
            raise InputError("prompt: expected at least one token, since this graph's output sees the present one; got none")
        names = [OUTPUT, *(f"{PRESENT}.{port.node}" for port in self.manifest.state)]
        feeds = self._feeds({self._found.sequence: tokens, **conditions})
        if len(tokens) == 0:  # onnxruntime 1.20 divides by the number of rows, which ends the process
            y = np.zeros((0, self._found.types[self.graph.output].size), np.float32)
            state = [np.zeros((0, port.channels, port.length), np.float32) for port in self.manifest.state]
        else:
            y, *state = self._sessions["prefill.onnx"].run(names, feeds)
        one = {name: a[..., 0] if self._found.types[name].timed else a for name, a in feeds.items()}
        if ports(self.graph).start:
            one[START] = np.array(False)
        past = {port.node: value for port, value in zip(self.manifest.state, state, strict=True)}
        return _finite(y, "prefill.onnx"), Stepper(self._sessions["step.onnx"], self.provider, one, past, y)

    def step(self, x_t: ArrayLike, condition: Data | None = None) -> Array:
        """Take one token per row: the output for the next position, y_bc (of this position, if the graph is not strict).

        Global conditions are those of `prefill`; `condition` holds the local ones, if any, of the position of the output.
        """
        fresh = self._fresh("step", x_t, condition, lambda kind: kind.at_once)
        if len(fresh[self._found.sequence]) == 0:  # not every operator of onnxruntime takes none
            return np.zeros((0, self._found.types[self.graph.output].size), np.float32)
        return _finite(self._running().step(fresh), "step.onnx")

    def block(self, x: ArrayLike, condition: Data | None = None) -> Array:
        """`step` for the next T ≥ 0 tokens in one call, x_bt or x_bct: the outputs that T steps give, y_bqt.

        It goes on from the same state, so the two can be mixed. Local conditions are those of the positions of the outputs.
        Raises FileError if the bundle was exported without block.onnx.
        """
        facts(self.graph).require_causal("block")
        self.require_steps("block")
        if BLOCK not in self._sessions:
            raise FileError(
                f"bundle {str(self.path)!r}: block needs {BLOCK}, which it does not hold; export it with: "
                "refar export RUN -o BUNDLE --block, in Python refar_export.export(..., block=True)"
            )
        fresh = self._fresh("block", x, condition, lambda kind: kind)
        rows, length = len(fresh[self._found.sequence]), fresh[self._found.sequence].shape[-1]
        if rows * length == 0:
            return np.zeros((rows, self._found.types[self.graph.output].size, length), np.float32)
        return _finite(self._running().block(self._sessions[BLOCK], fresh), BLOCK)

    def _fresh(self, purpose: str, x: ArrayLike, condition: Data | None, as_given: Callable[[Type], Type]) -> Arrays:
        """The next tokens and the local conditions of their outputs, checked; `as_given` says of which type for one over time."""
        sequence, rows = self._found.sequence, len(self._running(purpose).inputs[self._found.sequence])
        given = dict(condition) if isinstance(condition, Mapping) else {}
        if condition is not None and not isinstance(condition, Mapping):
            if len(self._local) != 1:
                expected = (
                    f"a mapping with {', '.join(map(repr, self._local))}" if self._local else "none, as it is that of prefill"
                )
                raise InputError(f"{purpose}: condition: expected {expected}, got a value")
            given = {self._local[0]: condition}
        given[sequence] = x
        if given.keys() != {sequence, *self._local}:
            came = sorted(map(str, given))
            raise InputError(f"{purpose}: expected the token and {self._local or 'no condition'}, got {came}")
        kinds = {name: as_given(self._found.types[name]) for name in given}
        checked = {name: check_rows(name, value, kinds[name]) for name, value in given.items()}
        checked |= repeat_rows({name: checked[name] for name in self._local}, rows)
        if len(checked[sequence]) != rows:
            raise InputError(f"{sequence!r}: expected {rows} rows, as in the prefill, got {len(checked[sequence])}")
        lengths = {name: extent(kinds[name], array) for name, array in checked.items()}
        if len(set(lengths.values())) > 1:
            each = ", ".join(f"{name!r} has {length}" for name, (length,) in lengths.items())
            raise InputError(f"{purpose}: expected as many conditions as tokens; {each}")
        return self._feeds(checked)

    def generate(
        self,
        n: int,
        *,
        batch: int | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        prompt: ArrayLike | None = None,
        condition: Data | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Array:
        """`n` new tokens after the prompt, x_bt or x_bct, drawn from the same noise as `refar.generate` with the same seed.

        `progress` is called with the number of tokens that are done. See `refar.generate` for the options.
        """
        require_strict(facts(self.graph), "generate")
        self.require_steps("generate")
        head = require_head(self.graph, "generate")
        n = check_sampling(n, temperature, seed, batch)
        noise.check_top_k(head, top_k, self._found.types[self._found.sequence].size)
        tokens, conditions, rows = bind_prompt(self.graph, prompt, condition, batch, more=n)
        kind, size = self._found.types[self._found.sequence], self._found.types[self.graph.output].size
        start = tokens.shape[-1]
        new = np.zeros((rows, n) if kind.indexed else (rows, size, n), np.int64 if kind.indexed else np.float32)
        if rows * n == 0:
            return new
        local = self._feeds({name: conditions[name] for name in self._local})
        first = {name: array[..., : start + 1] if name in local else array for name, array in conditions.items()}
        y, stepper = self._begin(tokens, first)  # a stream of its own: the one of prefill and step is left as it is
        for i in range(n):
            if i % _NOISE_STEPS == 0:
                draws = noise.draw(head, seed, range(rows), start + i, min(_NOISE_STEPS, n - i), size)
            token = noise.sample(head, y, draws[i % _NOISE_STEPS], temperature, top_k)
            new[..., i] = token
            if progress is not None:
                progress(i + 1)
            if i + 1 < n:
                now = {name: array[..., start + i + 1] for name, array in local.items()}
                y = _finite(stepper.step({self._found.sequence: new[..., i], **now}), "step.onnx")
        return new

    def score(self, x: Data, condition: Data | None = None) -> Array:
        """log p(x) in nats, one per sequence or image: shape (B,)."""
        return self._log_probs("score", x, condition).sum(axis=1)

    def log_marginal(self, x: ArrayLike, prior: ArrayLike | None = None) -> Array:
        """log p(x) = log Σ_c p(x | c)·p(c) in nats over the graph's class condition: shape (B,). See `classify`."""
        return density.logsumexp(self._log_joint("log_marginal", x, prior)[:, -1], axis=-1)

    def classify(self, x: ArrayLike, prior: ArrayLike | None = None, *, observed: ArrayLike | None = None) -> Array:
        """p(class | x) by Bayes' rule over the graph's class condition: shape (B, classes), rows sum to 1.

        `prior` holds one probability per class, uniform if left out. `observed` = H asks for p(class | the first H positions)
        instead; several H give (B, len(observed), classes). Raises GraphError without exactly one condition that is a class,
        InputError for a prior that is none or an H outside 0..T.
        """
        joint = self._log_joint("classify", x, prior)
        seen = joint[:, check_observed(observed, joint.shape[1] - 1)]
        return np.exp(seen - density.logsumexp(seen, axis=-1)[..., None])

    def _log_joint(self, purpose: str, x: ArrayLike, prior: ArrayLike | None) -> Array:
        """log p(first h positions, class) for h = 0..T: (B, T+1, classes)."""
        p = check_prior(prior, class_condition(self.graph, purpose))
        tokens = check_array(self._found.sequence, x, self._found.types[self._found.sequence])
        each = [self._log_probs(purpose, tokens, np.full(len(tokens), c)).cumsum(axis=1) for c in range(len(p))]
        joint = np.pad(np.stack(each, axis=2), ((0, 0), (1, 0), (0, 0)))
        with np.errstate(divide="ignore"):
            return joint + np.log(p)

    def _log_probs(self, purpose: str, x: Data, condition: Data | None) -> Array:
        """log p(x_t | x_<t) at every position, or for every value of an image: (B, T)."""
        require_strict(facts(self.graph), purpose)
        head = require_head(self.graph, purpose)
        inputs = bind_inputs(facts(self.graph), x, condition)
        target = inputs[self._found.sequence]
        kind = self._found.types[self._found.sequence]
        over = math.prod(extent(kind, target))
        per_call = max(1, _VALUES_PER_CALL // max(1, over * self._found.types[self.graph.output].size))
        result = np.zeros((len(target), over * (kind.channels if kind.image else 1)))
        for first in range(0, len(target), per_call):
            chunk = {name: array[first : first + per_call] for name, array in inputs.items()}
            y, x = in_order(kind, self.forward(chunk), chunk[self._found.sequence])
            result[first : first + per_call] = density.log_prob(head, y, x)
        return result

    def require_steps(self, purpose: str) -> None:
        """Raise GraphError, saying what to use instead, for a bundle that holds the full graph alone."""
        if ports(self.graph).steps:
            return
        images = (
            "one of images holds the full graph alone, for forward, score and classify. refar.generate paints images in NumPy"
        )
        valid = (
            "under padding 'valid' it holds the full graph alone, for forward. refar.step goes on position by position in NumPy; "
            "with padding='layer' the same parameters give a step graph"
        )
        which = images if self._found.grid is not None else valid
        raise GraphError(f"{purpose} needs a bundle with a step graph; {which}")

    def _running(self, purpose: str = "step") -> Stepper:
        if self._stepper is None:
            facts(self.graph).require_causal(purpose)
            self.require_steps(purpose)
            raise InputError(
                f"{purpose}: expected a state to go on from; call prefill first, with an empty prompt if there is none"
            )
        return self._stepper

    def _feeds(self, inputs: Arrays) -> Arrays:
        return {name: np.ascontiguousarray(a, np.int64 if a.dtype == np.int64 else np.float32) for name, a in inputs.items()}


def _finite(y: Array, name: str) -> Array:
    if not np.isfinite(y).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(y))[0])
        raise BackendError(f"{name}: expected finite outputs, got {y[place]} at index {place}")
    return y
