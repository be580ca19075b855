"""A bundle at work: the whole sequence at once, or token by token with the state kept on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike

from refar.analysis.causality import require_strict
from refar.arguments.arrays import (
    Array,
    Arrays,
    Data,
    bind_inputs,
    check_array,
    check_observed,
    check_prior,
    class_condition,
    extent,
    in_order,
)
from refar.errors import GraphError, InputError, check_integer
from refar.graph.graph import require_head
from refar.runtime import completion, density
from refar.runtime import provider as providers
from refar.runtime.ahead import generated_ahead
from refar.runtime.beginning import begin, restored
from refar.runtime.bundle_files import read_weights
from refar.runtime.canvas import Canvas
from refar.runtime.collected import collected
from refar.runtime.generation import BlockOptions, Draws, GenerateOptions, bind_draws, is_each
from refar.runtime.in_graph import generated_in_graph
from refar.runtime.opened import Opened
from refar.runtime.opening import check_vectors, open_bundle
from refar.runtime.painter import Painter
from refar.runtime.prompts import Prompts, bind_prompts
from refar.runtime.stream import Stream

_VALUES_PER_CALL = 2**24  # logits held at once by `score`: 64 MiB
_BLOCK = 256


class Session:
    """An exported network. `graph`, `manifest` and `provider` ('cpu' or 'cuda': what really runs) describe it.

    One session serves many streams, see `stream`, in many threads. `prefill`, `step`, `block` and `state` are of one stream that
    the session keeps. With `rebuild` the models are made anew from graph and parameters.
    Raises FileError for a bundle that is damaged, altered or has other ports than its graph, BackendError for a provider
    that does not start.
    """

    def __init__(
        self,
        path: str | Path,
        provider: providers.Provider,
        *,
        fallback: bool,
        threads: int,
        rebuild: bool = False,
        tf32: bool = False,
    ) -> None:
        bundle = open_bundle(path, rebuild=rebuild)
        self.path, self.manifest, self.graph = bundle.path, bundle.manifest, bundle.manifest.graph
        self._opened, self._threads = Opened(bundle, provider, fallback=fallback, threads=threads, tf32=tf32), threads
        self._found, self.provider = self._opened.found, self._opened.provider
        self._stream: Stream | None = None

    def __repr__(self) -> str:
        return f"Session({str(self.path)!r}, provider={self.provider!r})"

    @property
    def not_captured(self) -> str:
        """Why the steps of sampler.onnx are not replayed as a CUDA graph; "" where they are."""
        return self._opened.not_captured

    def require_steps(self, purpose: str) -> None:
        """Raise GraphError, saying what to use instead, for a network that is not run one token at a time."""
        self._opened.require_steps(purpose)

    @property
    def weights(self) -> Arrays:
        """The parameters that the models were made from, {name: float32 array}."""
        return read_weights(self._opened.bundle)

    @property
    def rebuilt(self) -> bool:
        """Whether the models were made anew from graph and parameters."""
        return self._opened.bundle.made is not None

    def shipped(self) -> dict[str, str]:
        """The SHA-256 of each ONNX file in the folder, which are those that run unless `rebuild` was given; {} of version 1."""
        return self._opened.bundle.shipped()

    def check_vectors(self) -> Arrays:
        """The oracle's check vectors that lie in the bundle: "x", "condition.<name>", "y"."""
        return check_vectors(self._opened.bundle)

    def forward(self, x: Data, condition: Data | None = None) -> Array:
        """The output for a whole sequence, y_bct, or image, y_bchw, as `refar.forward` gives it, in float32."""
        inputs = bind_inputs(self._found, x, condition)
        sequence = inputs[self._found.sequence]
        if sequence.size == 0:
            over = extent(self._found.types[self._found.sequence], sequence)
            y = np.zeros((len(sequence), self._found.types[self.graph.output].size, *over), np.float32)
            return y[:, :, self._found.first_position :]
        return self._opened.forward(inputs)

    def encode(self, a: ArrayLike) -> Array:
        """Run encoder.onnx: the condition vectors c_bc of the examples a, with the axes that bundle.json says it reads.

        Raises GraphError for a bundle without an encoder, InputError for another array.
        """
        return self._opened.encode(a)

    def canvas(self, shape: tuple[int, int], batch: int | None = None, condition: Data | None = None) -> Canvas:
        """Begin images of `shape` (H, W), computed pixel by pixel; all conditions are given here, local ones whole.

        Raises GraphError for a network over time, and for one whose output sees what comes after its pixel.
        """
        return self._painter("canvas").start(shape, batch, condition)

    def _painter(self, purpose: str) -> Painter:
        if self._found.grid is None:
            raise GraphError(f"{purpose} needs a network over images; this one is over time, see stream")
        self._found.require_causal(purpose)
        return Painter(self.graph, self._opened.sessions, self._opened.paces)

    def stream(
        self, batch: int | None = None, condition: Data | None = None, *, prompt: ArrayLike | Sequence[ArrayLike] | None = None
    ) -> Stream:
        """Begin a stream of `batch` sequences, after a prompt if there is one: x_bt or x_bct, or a list of different lengths.

        Without a prompt the first token that is pushed is that of position 0. `condition` holds the global conditions and, of a
        strict network, the local ones up to the first output. `batch` defaults to the rows of prompt or condition, else 1.
        """
        return begin(self._opened, prompt, condition, batch)

    def load_stream(self, path: str | Path) -> Stream:
        """Go on with a stream that `Stream.save` wrote. Raises FileError for one of another network, and for a damaged file."""
        return restored(self._opened, path)

    @property
    def state(self) -> Arrays:
        """The carried values after the last prefill, step or block: {node: array (B, C, kept)}, copied to the CPU.

        They may be set, to go on from where the session was before. `stream` has several sequences under way, and takes rows.
        """
        return self._running("state").state

    @state.setter
    def state(self, state: Mapping[str, ArrayLike]) -> None:
        self._running("state").state = state

    def prefill(
        self, prompt: ArrayLike | Sequence[ArrayLike] | None = None, condition: Data | None = None, batch: int | None = None
    ) -> Array:
        """Take a prompt of P ≥ 0 tokens: the output for position P, y_bc. `step` and `block` go on from there.

        Of a graph that is not strict the output is the one at the prompt's last token; nan if there is no token.
        """
        self._opened.require_steps("prefill")
        self._stream = self.stream(batch, condition, prompt=prompt)
        assert self._stream.output is not None
        return self._stream.output

    def step(self, x_t: ArrayLike, condition: Data | None = None) -> Array:
        """Take one token per row: the output for the next position, y_bc (of this position, if the graph is not strict).

        `condition` holds the local conditions, if any, of the position of the output; see `Stream.push`.
        """
        return self._running("step", x_t, at_once=True).step(x_t, condition)

    def block(self, x: ArrayLike, condition: Data | None = None) -> Array:
        """`step` for the next T ≥ 0 tokens in one call, x_bt or x_bct: the outputs that T steps give, y_bqt."""
        return self._running("block", x).push(x, condition)

    def _running(self, purpose: str, x: ArrayLike | None = None, *, at_once: bool = False) -> Stream:
        """The stream of this session, begun before the first token if there is none yet."""
        self._opened.require_steps(purpose)
        if self._stream is None:
            if self._found.conditions:
                raise InputError(f"{purpose}: expected a stream to go on from; call prefill first, with the conditions")
            axes = len(self._found.types[self._found.sequence].axes) - at_once
            batch = np.shape(x)[0] if x is not None and np.ndim(x) == axes else 1
            self._stream = self.stream(batch)
        return self._stream

    @overload
    def generate(
        self, n: int | tuple[int, int], *, log_prob: Literal[False] = False, **options: Unpack[GenerateOptions]
    ) -> Array: ...
    @overload
    def generate(self, n: int, *, log_prob: Literal[True], **options: Unpack[GenerateOptions]) -> tuple[Array, Array]: ...
    def generate(
        self,
        n: int | tuple[int, int],
        *,
        batch: int | None = None,
        seed: int | Sequence[int] = 0,
        temperature: float | Sequence[float] = 1.0,
        top_k: int | None = None,
        prompt: ArrayLike | Sequence[ArrayLike] | None = None,
        condition: Data | None = None,
        stop: int | Sequence[int | None] | None = None,
        ahead: int = 0,
        sampler: bool = False,
        log_prob: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Array | tuple[Array, Array]:
        """`n` new tokens after the prompt, x_bt or x_bct, drawn from the same noise as `refar.generate` with the same seed.

        `seed`, `temperature` and `stop` may be one for each row; a row with a seed of its own gives what a batch of one gives
        with it. After its class `stop` a row holds that class alone, of which log p is 0. With `log_prob` also log p of each
        token under the network, in nats, (B, n). `ahead` tokens are guessed at once, and the right ones kept: the tokens are the
        same, wherever rounding does not decide. With `sampler` they are drawn in the graph in float32, by sampler.onnx: the same
        wherever that does not decide. `progress` is called with the number of tokens that are done. See `refar.generate` for the
        others.
        Of images `n` is the shape (H, W), and the result x_bchw; `prompt` holds the first rows, x_bchw, or the first pixels in
        raster order, x_bcn; seed and temperature are one each, there is neither stop nor log_prob, and `progress` counts rows.
        """
        if self._found.grid is not None:
            self._check_plain(seed, temperature, stop, log_prob, sampler)
            plain: Any = {"shape": n, "batch": batch, "seed": seed, "temperature": temperature, "top_k": top_k, "prompt": prompt}
            return self._painter("generate").paint(**plain, condition=condition, ahead=ahead, progress=progress)
        prompts, count, draws = self._prepared(n, batch, seed, temperature, top_k, prompt, condition, stop)
        tokens, log_p = collected(
            self._opened,
            prompts,
            count,
            draws,
            ahead,
            sampler=sampler,
            log_prob=log_prob,
            progress=progress,
            threads=self._threads,
        )
        return (tokens, log_p) if log_prob else tokens

    def _check_plain(self, seed: Any, temperature: Any, stop: Any, log_prob: bool, sampler: bool) -> None:
        """Raise InputError or GraphError for what generation of images does not take."""
        if sampler:
            raise GraphError("sampler: expected a network over time, got one over images")
        given = {
            "seed": is_each(seed),
            "temperature": is_each(temperature),
            "stop": stop is not None,
            "log_prob": log_prob,
        }
        if wrong := [name for name, is_given in given.items() if is_given]:
            came = {"seed": seed, "temperature": temperature, "stop": stop, "log_prob": log_prob}[wrong[0]]
            raise InputError(
                f"{wrong[0]}: of images there is one seed, one temperature, and neither stop nor log_prob; got {came!r}"
            )

    def complete(
        self,
        x: ArrayLike,
        observed: int,
        n: int | None = None,
        *,
        samples: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        condition: Data | None = None,
        noise: float = 0.0,
        progress: Callable[[int], None] | None = None,
    ) -> completion.Completion:
        """Draw `samples` trajectories of each example x from p(what follows | its first `observed` = N positions, condition).

        Of sequences the next `n` positions are drawn, by default as many as x has; x_bt or x_bct may end at N if `n` is given. Of
        images, x_bchw, N counts pixels in raster order, 14 · 28 being the first half of 28 x 28, and all others are drawn.
        Trajectory s of example b is row b·samples + s of `generate` with this seed, `samples` times the prompt of each example
        and the same options. Each prompt is computed once, and as many trajectories at a time as fit into memory.
        `noise` is the standard deviation of Gaussian noise that is added to what is observed: in the unit of a signal, or in
        steps of one class. `condition` has a row, or one for each example. `progress` is called with the number of positions (of
        images, rows of pixels) that all trajectories together have.
        """
        asked = completion.Asked(samples, seed, temperature, top_k, noise, progress or completion.unheard)
        if self._found.grid is None:
            return completion.sequences(self._opened, x, observed, n, condition, asked, self._threads)
        if n is not None:
            raise InputError(f"n: expected none, since an image is completed whole; got {n!r}")
        return completion.images(self._painter("complete"), x, observed, condition, asked)

    @overload
    def generate_blocks(
        self, n: int | None = None, *, block: int = _BLOCK, log_prob: Literal[False] = False, **options: Unpack[BlockOptions]
    ) -> Iterator[Array]: ...
    @overload
    def generate_blocks(
        self, n: int | None = None, *, block: int = _BLOCK, log_prob: Literal[True], **options: Unpack[BlockOptions]
    ) -> Iterator[tuple[Array, Array]]: ...
    def generate_blocks(
        self,
        n: int | None = None,
        *,
        block: int = _BLOCK,
        batch: int | None = None,
        seed: int | Sequence[int] = 0,
        temperature: float | Sequence[float] = 1.0,
        top_k: int | None = None,
        prompt: ArrayLike | Sequence[ArrayLike] | None = None,
        condition: Data | None = None,
        stop: int | Sequence[int | None] | None = None,
        ahead: int = 0,
        sampler: bool = False,
        log_prob: bool = False,
    ) -> Iterator[Array] | Iterator[tuple[Array, Array]]:
        """Yield the tokens of `generate` in blocks of `block`, as soon as they are there, with `log_prob` also log p of each.

        It ends when every row has come to its class `stop`; without that and without `n` it never does.
        """
        size = check_integer("block", block, 1, 2**20)
        if n is None and self._opened.local:
            raise InputError(f"n: expected a number, since there is a local condition, {self._opened.local[0]!r}; got None")
        more = 1 if n is None else n
        prompts, count, draws = self._prepared(more, batch, seed, temperature, top_k, prompt, condition, stop)
        generated = generated_in_graph if sampler else generated_ahead
        found = generated(self._opened, prompts, None if n is None else count, size, draws, ahead, log_prob=log_prob)
        return found if log_prob else (tokens for tokens, _ in found)

    def _prepared(
        self, n: Any, batch: int | None, seed: Any, temperature: Any, top_k: int | None, prompt: Any, condition: Any, stop: Any
    ) -> tuple[Prompts, int, Draws]:
        """Check all that generation is asked for."""
        require_strict(self._found, "generate")
        self._opened.require_steps("generate")
        head = require_head(self.graph, "generate")
        n = check_integer("n", n, 0, 2**31 - 1)
        prompts = bind_prompts(self._opened, prompt, condition, batch, n)
        return prompts, *bind_draws(self._opened, head, len(prompts.lengths), n, seed, temperature, top_k, stop)

    def score(self, x: Data, condition: Data | None = None, *, lengths: ArrayLike | None = None) -> Array:
        """log p(x) in nats, one per sequence or image: shape (B,).

        `lengths` (B,) says how many positions of each sequence are real, 0..T; those behind do not count. Raises InputError for
        other lengths, and for lengths of images.
        """
        each = self._log_probs("score", x, condition)
        if lengths is None:
            return each.sum(axis=1)
        if self._found.types[self._found.sequence].image:
            raise InputError("lengths: expected sequences, but the graph models images")
        real, (batch, positions) = np.asarray(lengths), each.shape
        if real.dtype.kind not in "iu" or real.shape != (batch,) or (batch and not 0 <= real.min() <= real.max() <= positions):
            raise InputError(f"lengths: expected {batch} integers from 0 to {positions}, got {real.dtype} {real.shape} {real}")
        return np.where(np.arange(positions) < real[:, None], each, 0).sum(axis=1)

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
        require_strict(self._found, purpose)
        head = require_head(self.graph, purpose)
        inputs = bind_inputs(self._found, x, condition)
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
