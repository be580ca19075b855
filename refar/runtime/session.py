"""A bundle at work: the whole sequence at once, or token by token with the state kept on the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from numpy.typing import ArrayLike

from refar import noise, ops
from refar.arrays import Array, Arrays, Data, bind_inputs, bind_prompt, check_sampling
from refar.errors import BackendError, FileError, GraphError, InputError
from refar.graph import to_json
from refar.infer import analyse, require_strict
from refar.runtime import provider as providers
from refar.runtime.bundle import MODELS, OUTPUT, PAST, PRESENT, START, digest, read_file, read_manifest, read_vectors
from refar.runtime.stepper import Stepper

_VALUES_PER_CALL = 2**24  # logits held at once by `score`: 64 MiB
_NOISE_STEPS = 256


class Session:
    """An exported network. `graph`, `manifest` and `provider` ('cpu' or 'cuda': what really runs) describe it.

    Raises FileError for a bundle that is damaged, altered or has other ports than its graph, BackendError for a provider
    that does not start.
    """

    def __init__(self, path: str | Path, provider: providers.Provider, *, fallback: bool, threads: int) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(path)
        self.graph = self.manifest.graph
        self._found = analyse(self.graph)
        self._sessions: dict[str, Any] = {}
        for name in MODELS:
            data = read_file(path, name, self.manifest)
            count = 1 if name == "step.onnx" else threads
            self._sessions[name] = providers.open_session(data, name, provider, fallback=fallback, threads=count)
            self._check_model(name)
        self.provider = providers.running(self._sessions["step.onnx"])
        self._stepper: Stepper | None = None

    def __repr__(self) -> str:
        return f"Session({str(self.path)!r}, provider={self.provider!r})"

    def _check_model(self, name: str) -> None:
        """The model belongs to the graph, and has the ports that the graph says."""
        session, states = self._sessions[name], [port.node for port in self.manifest.state]
        if session.get_modelmeta().custom_metadata_map.get("refar.graph_sha256") != digest(to_json(self.graph)):
            raise FileError(f"bundle {str(self.path)!r}: {name} was exported from another graph than the one in bundle.json")
        inputs = {self._found.sequence, *self._found.conditions}
        outputs = {OUTPUT}
        if name == "step.onnx":
            inputs |= {f"{PAST}.{node}" for node in states} | ({START} if self.manifest.strict else set())
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
        """The output at every position of a whole sequence: y_bct in float32."""
        inputs = bind_inputs(self.graph, x, condition)
        rows, length = _size(inputs[self._found.sequence])
        if rows * length == 0:
            return np.zeros((rows, self._found.types[self.graph.output].size, length), np.float32)
        return _finite(self._sessions["full.onnx"].run([OUTPUT], self._feeds(inputs))[0], "full.onnx")

    def prefill(self, prompt: ArrayLike | None = None, condition: Data | None = None, batch: int | None = None) -> Array:
        """Take a prompt of P ≥ 0 tokens in one pass: the output for position P, y_bc. `step` goes on from there.

        For a graph that is not strict P ≥ 1, and the output is the one at the prompt's last token.
        """
        tokens, conditions, _ = bind_prompt(self.graph, prompt, condition, batch)
        if self.manifest.strict:  # the graph sees all but the last token it is fed, and cannot be fed none
            unseen = np.zeros((*tokens.shape[:-1], 1), tokens.dtype)
            tokens = np.concatenate([tokens, unseen], axis=-1)
        elif tokens.shape[-1] == 0:
            raise InputError("prompt: expected at least one token, since this graph's output sees the present one; got none")
        names = [OUTPUT, *(f"{PRESENT}.{port.node}" for port in self.manifest.state)]
        feeds = self._feeds({self._found.sequence: tokens, **conditions})
        y, *state = self._sessions["prefill.onnx"].run(names, feeds)
        constants = {name: feeds[name] for name in self._found.conditions}
        if self.manifest.strict:
            constants[START] = np.array(False)
        one = feeds[self._found.sequence][..., 0]
        past = {port.node: value for port, value in zip(self.manifest.state, state, strict=True)}
        self._stepper = Stepper(self._sessions["step.onnx"], self.provider, (self._found.sequence, one), constants, past, y)
        return _finite(y, "prefill.onnx")

    def step(self, x_t: ArrayLike) -> Array:
        """Take one token per row: the output for the next position, y_bc (of this position, if the graph is not strict)."""
        stepper = self._running()
        x = bind_inputs(self.graph, {self._found.sequence: x_t, **stepper.conditions(self._found.conditions)}, stepwise=True)
        return _finite(stepper.step(self._feeds(x)[self._found.sequence]), "step.onnx")

    def generate(
        self,
        n: int,
        *,
        batch: int | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        prompt: ArrayLike | None = None,
        condition: Data | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Array:
        """`n` new tokens after the prompt, x_bt or x_bct, drawn from the same noise as `refar.generate` with the same seed.

        `progress` is called with the number of tokens that are done. See `refar.generate` for the options.
        """
        require_strict(self.graph, "generate")
        head = self._head("generate")
        check_sampling(n, temperature)
        tokens, _, rows = bind_prompt(self.graph, prompt, condition, batch)
        kind, size = self._found.types[self._found.sequence], self._found.types[self.graph.output].size
        start = tokens.shape[-1]
        new = np.zeros((rows, n) if kind.indexed else (rows, size, n), np.int64 if kind.indexed else np.float32)
        if rows * n == 0:
            return new
        y = self.prefill(prompt, condition, rows)
        for i in range(n):
            if i % _NOISE_STEPS == 0:
                draws = noise.draw(head, seed, range(rows), start + i, min(_NOISE_STEPS, n - i), size)
            token = noise.sample(head, y, draws[i % _NOISE_STEPS], temperature)
            new[..., i] = token
            if progress is not None:
                progress(i + 1)
            if i + 1 < n:
                y = _finite(self._running().step(new[..., i]), "step.onnx")
        return new

    def score(self, x: Data, condition: Data | None = None) -> Array:
        """log p(x) in nats, one per sequence: shape (B,)."""
        require_strict(self.graph, "score")
        head = self._head("score")
        inputs = bind_inputs(self.graph, x, condition)
        target = inputs[self._found.sequence]
        rows, length = _size(target)
        per_call = max(1, _VALUES_PER_CALL // max(1, length * self._found.types[self.graph.output].size))
        parts = [np.zeros(0)]
        for first in range(0, rows, per_call):
            chunk = {name: array[first : first + per_call] for name, array in inputs.items()}
            parts.append(_log_prob(head, self.forward(chunk), chunk[self._found.sequence]))
        return np.concatenate(parts)

    def classify(self, x: ArrayLike, prior: ArrayLike | None = None) -> Array:
        """p(class | x) by Bayes' rule over the graph's class condition: shape (B, classes), rows sum to 1.

        `prior` holds one probability per class, uniform if left out. Raises GraphError without exactly one condition
        that is a class.
        """
        names = self._found.conditions
        if len(names) != 1 or not self._found.types[names[0]].indexed:
            raise GraphError(f"classify needs a graph whose only condition is a class; this one has {', '.join(names) or 'none'}")
        classes = self._found.types[names[0]].size
        log_prior = _log_prior(prior, classes)
        rows = np.asarray(x).shape[0] if np.ndim(x) else 0
        joint = [self.score(x, np.full(rows, c)) + log_prior[c] for c in range(classes)]
        stacked = np.stack(joint, axis=1)
        weights = np.exp(stacked - stacked.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def _running(self) -> Stepper:
        if self._stepper is None:
            raise InputError("step: expected a state to go on from; call prefill first, with an empty prompt if there is none")
        return self._stepper

    def _head(self, purpose: str) -> ops.AnyHead:
        if self.graph.head is None:
            raise GraphError(f"{purpose} needs a graph with a head, which says what the output means; this one has none")
        return self.graph.head

    def _feeds(self, inputs: Arrays) -> Arrays:
        return {name: np.ascontiguousarray(a, np.int64 if a.dtype == np.int64 else np.float32) for name, a in inputs.items()}


def _size(x: Array) -> tuple[int, int]:
    return x.shape[0], x.shape[-1]


def _finite(y: Array, name: str) -> Array:
    if not np.isfinite(y).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(y))[0])
        raise BackendError(f"{name}: expected finite outputs, got {y[place]} at index {place}")
    return y


def _log_prob(head: ops.AnyHead, y: Array, x: Array) -> Array:
    """Σ_t log p(x_t | x_<t), in float64."""
    y = y.astype(np.float64)
    match head:
        case ops.Categorical():
            top = y.max(axis=1, keepdims=True)
            normalizer = top[:, 0] + np.log(np.exp(y - top).sum(axis=1))
            return (np.take_along_axis(y, x[:, None], axis=1)[:, 0] - normalizer).sum(axis=1)
        case ops.Gaussian():
            deviations = (x - y) / head.std
            return (-0.5 * deviations**2 - math.log(head.std * math.sqrt(2 * math.pi))).sum(axis=(1, 2))
        case _:
            assert_never(head)


def _log_prior(prior: ArrayLike | None, classes: int) -> Array:
    p = np.full(classes, 1 / classes) if prior is None else np.asarray(prior, np.float64)
    if p.shape != (classes,) or not (p >= 0).all() or not math.isclose(p.sum(), 1, abs_tol=1e-6):
        raise InputError(f"prior: expected {classes} probabilities that sum to 1, got {p.tolist()}")
    with np.errstate(divide="ignore"):
        return np.log(p)
