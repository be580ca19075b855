"""The backends of a graph behind one protocol, so that a law is written once: NumPy, PyTorch, onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import Array, Arrays, positions
from refar.errors import InputError
from refar.graph.graph import Graph
from refar.oracle import functions
from refar.oracle.bound_graph import cast
from refar.oracle.sequence_stream import NOT_READY

if TYPE_CHECKING:
    from refar.runtime.canvas import Canvas
    from refar.runtime.session import Session

BACKENDS = ("numpy", "torch", "onnx")


@dataclass(frozen=True)
class Streamed:
    """What a stream gave: the outputs from position `first` on, and the state after the last token.

    Over an image t runs through the pixels in raster order, and the state is left out: the outputs show it.

    `ahead`: the outputs are those for the next position, and the state is that of `refar.next`; else of `refar.step`.
    """

    way: str
    ahead: bool
    first: int
    y_bct: Array
    state: Arrays


class Backend(Protocol):
    """One backend's execution of one graph with its parameters, in one dtype. Inputs are {node: array}, sequence first.

    Outputs are of all positions: under padding "valid" with zeros where there is none, and gradients there are not used.
    """

    @property
    def name(self) -> str:
        """Backend and dtype."""

    @property
    def dtype(self) -> str:
        """The dtype of the computation."""

    def forward(self, inputs: Arrays) -> Array:
        """y_bct."""

    def gradient(self, inputs: Arrays, dy: Array) -> Arrays | None:
        """The gradient of Σ dy·y for each parameter and each real input; None if the backend has no backward."""

    def stream(self, inputs: Arrays, lengths: Sequence[int]) -> list[Streamed]:
        """Each way to run the first Σ lengths tokens in pieces of these lengths; [] if the backend has none."""


def open_backends(graph: Graph, params: Arrays, names: Sequence[str], provider: Literal["cpu", "cuda"] = "cpu") -> list[Backend]:
    """Open each backend by its name, in each dtype that it has.

    Raises InputError for an unknown name, BackendError for one that is not installed.
    """
    backends: list[Backend] = []
    for name in names:
        match name:
            case "numpy":
                backends += [NumpyBackend(graph, params, "float64"), NumpyBackend(graph, params, "float32")]
            case "torch":
                backends += [TorchBackend(graph, params, "float64"), TorchBackend(graph, params, "float32")]
            case "onnx":
                backends.append(OnnxBackend(graph, export_and_load(graph, params, provider)))
            case _:
                raise InputError(f"backends: expected some of {', '.join(BACKENDS)}, got {name!r}")
    return backends


@dataclass(frozen=True)
class NumpyBackend:
    """The oracle itself."""

    graph: Graph
    params: Arrays
    dtype: str

    @property
    def name(self) -> str:
        """Backend and dtype."""
        return f"numpy {self.dtype}"

    def forward(self, inputs: Arrays) -> Array:
        """`refar.forward`."""
        return _from_the_start(self.graph, inputs, functions.forward(self.graph, self.params, inputs, dtype=self.dtype))

    def gradient(self, inputs: Arrays, dy: Array) -> Arrays | None:
        """`refar.backward`."""
        gradients = functions.backward(
            self.graph, self.params, inputs, dy[:, :, facts(self.graph).first_position :], dtype=self.dtype
        )
        return {**gradients["params"], **gradients["inputs"]}

    def stream(self, inputs: Arrays, lengths: Sequence[int]) -> list[Streamed]:
        """`step` where a piece has one token, else `block`; for a strict graph also `next` and `next_block`."""
        if facts(self.graph).looks_ahead:
            return []
        if facts(self.graph).grid is not None:
            return list(self._pixel_by_pixel(inputs, sum(lengths)))
        sequence = facts(self.graph).sequence
        conditions = {name: array for name, array in inputs.items() if name != sequence}
        rows = inputs[sequence].shape[0]
        results = []
        none = np.zeros((rows, facts(self.graph).types[self.graph.output].size, 0), self.dtype)
        y: Any
        state: Any  # of a sequence, whose functions also take images
        for ahead in (False, True) if is_strict(self.graph) and self.graph.padding != "valid" else (False,):
            outputs: list[Array] = []
            done = int(ahead)
            if ahead:
                first = one_position(self.graph, conditions, 0)
                y, state = functions.start(self.graph, self.params, rows, first or None, dtype=self.dtype)
                outputs.append(y[:, :, None])
            else:
                state = functions.initial_state(self.graph, self.params, rows, conditions or None, dtype=self.dtype)
            one, many = (functions.next, functions.next_block) if ahead else (functions.step, functions.block)
            for piece in pieces(inputs[sequence], lengths):
                length = piece.shape[-1]
                if length == 1:
                    x = {sequence: piece[..., 0], **one_position(self.graph, conditions, done)}
                    y, state = one(self.graph, self.params, state, x, dtype=self.dtype)
                    y = none if y is NOT_READY else y[:, :, None]
                else:
                    x = {sequence: piece, **positions(self.graph, conditions, done, done + length)}
                    y, state = many(self.graph, self.params, state, x, dtype=self.dtype)
                outputs.append(y)
                done += length
            if outputs:
                way = "start and next" if ahead else "step"
                first_ready = min(facts(self.graph).first_position, done)
                results.append(Streamed(way, ahead, first_ready, np.concatenate(outputs, axis=2), state))
        return results

    def _pixel_by_pixel(self, inputs: Arrays, count: int) -> Iterator[Streamed]:
        """`step` over the first pixels; for a strict graph also `start` and `next`, until there is no next pixel."""
        sequence = facts(self.graph).sequence
        conditions = {name: array for name, array in inputs.items() if name != sequence}
        x = inputs[sequence]
        y: Any
        state: Any
        pixels, given = x.reshape(*x.shape[:2], -1), (self.graph, self.params, len(x), conditions or None)
        state = functions.initial_state(*given, shape=x.shape[2:], dtype=self.dtype)
        outputs: list[Array] = []
        for n in range(count):
            y, state = functions.step(self.graph, self.params, state, pixels[:, :, n], dtype=self.dtype)
            outputs.append(y)
        yield Streamed("step", False, 0, np.stack(outputs, axis=2), {})
        if is_strict(self.graph):
            y, state = functions.start(*given, shape=x.shape[2:], dtype=self.dtype)
            outputs = [self._by_colours(y, state, pixels[:, :, 0])]
            for n in range(count):
                y, state = functions.next(self.graph, self.params, state, pixels[:, :, n], dtype=self.dtype)
                if y is not None:
                    outputs.append(self._by_colours(y, state, pixels[:, :, n + 1]))
            yield Streamed("start and next", True, 0, np.stack(outputs, axis=2), {})

    def _by_colours(self, y: Array, state: Any, x_bc: Array) -> Array:
        """The outputs of the next pixel: those of the first colour are there, the others come by `step` with the earlier ones."""
        colours = x_bc.shape[1] if facts(self.graph).ordered else 1
        y = y.copy()
        for c in range(1, colours):
            known = np.where(np.arange(colours) < c, x_bc, 0)
            seen: Any = functions.step(self.graph, self.params, state, known, dtype=self.dtype)[0]
            y[:, c::colours] = seen[:, c::colours]
        return y


class TorchBackend:
    """`refar.torch.Module`, forward and by autograd backward."""

    def __init__(self, graph: Graph, params: Arrays, dtype: str) -> None:
        from refar.torch import Module  # isort: skip; says what to install if there is no PyTorch
        import torch

        self.graph, self.dtype, self.name = graph, dtype, f"torch {dtype}"
        self._torch = torch
        self._module = Module(graph, params).to(getattr(torch, dtype))

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        """The laws run many small tensors, on which threads only fight with those of NumPy."""
        threads = self._torch.get_num_threads()
        self._torch.set_num_threads(1)
        try:
            yield
        finally:
            self._torch.set_num_threads(threads)

    def _tensors(self, inputs: Arrays) -> dict[str, Any]:
        tensors = cast(inputs, self.dtype)
        return {name: self._torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}

    def forward(self, inputs: Arrays) -> Array:
        """The module, without autograd."""
        with self._one_thread(), self._torch.no_grad():
            y: Array = self._module(self._tensors(inputs)).numpy()
        return _from_the_start(self.graph, inputs, y)

    def gradient(self, inputs: Arrays, dy: Array) -> Arrays | None:
        """By autograd; zeros where it finds no path."""
        tensors = self._tensors(inputs)
        wanted = dict(self._module.named_parameters())
        wanted |= {name: tensor.requires_grad_() for name, tensor in tensors.items() if tensor.is_floating_point()}
        upstream = self._torch.from_numpy(dy[:, :, facts(self.graph).first_position :].astype(self.dtype))
        with self._one_thread():
            y = self._module(tensors)
            if not wanted or not y.requires_grad:
                return {name: np.zeros(tuple(tensor.shape), self.dtype) for name, tensor in wanted.items()}
            found = self._torch.autograd.grad(y, list(wanted.values()), upstream, allow_unused=True, materialize_grads=True)
        return {name: gradient.numpy() for name, gradient in zip(wanted, found, strict=True)}

    def stream(self, inputs: Arrays, lengths: Sequence[int]) -> list[Streamed]:
        """PyTorch trains on whole sequences."""
        return []


@dataclass(frozen=True)
class OnnxBackend:
    """An exported bundle in onnxruntime: the full graph, and prefill, step and block. Always float32."""

    graph: Graph
    session: Session
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """Backend and dtype."""
        return f"onnxruntime {self.dtype}"

    def forward(self, inputs: Arrays) -> Array:
        """full.onnx."""
        return _from_the_start(self.graph, inputs, self.session.forward(cast(inputs, self.dtype)))

    def gradient(self, inputs: Arrays, dy: Array) -> Arrays | None:
        """None: inference only."""
        return None

    def stream(self, inputs: Arrays, lengths: Sequence[int]) -> list[Streamed]:
        """The first piece as a prompt, then one token after the other, and piece by piece; of an image pixel by pixel."""
        if facts(self.graph).looks_ahead is not None:
            return []
        if facts(self.graph).grid is not None:
            return list(self._pixel_by_pixel(cast(inputs, self.dtype), sum(lengths)))
        strict = is_strict(self.graph)
        if sum(lengths) == 0 and not strict:
            return []
        inputs = cast(inputs, self.dtype)
        prompt = lengths[0] if strict else max(1, lengths[0])
        later = [end - begin for begin, end in pairwise(max(prompt, end) for end in accumulate(lengths))]
        streams = [self._streamed(inputs, prompt, [1] * sum(later), strict)]
        if any(length > 1 for length in later):
            streams.append(self._streamed(inputs, prompt, later, strict))
        if self.session.manifest.fixed and sum(later):
            streams.append(self._loaded(inputs, prompt, sum(later), strict))
        return streams

    def _loaded(self, inputs: Arrays, prompt: int, length: int, strict: bool) -> Streamed:
        """A prompt, saved and loaded, which takes what follows from global conditions from condition.onnx, and one block."""
        sequence = facts(self.graph).sequence
        x, conditions = inputs[sequence], {name: array for name, array in inputs.items() if name != sequence}
        stream = self.session.stream(len(x), conditions or None, prompt=x[..., :prompt])
        with tempfile.TemporaryDirectory() as folder:
            stream.save(Path(folder) / "stream")
            stream = self.session.load_stream(Path(folder) / "stream")
        y = stream.push(x[..., prompt : prompt + length], self._local(conditions, prompt + strict, length))
        begin, first = prompt + strict, facts(self.graph).first_position
        ready = min(max(0, first - begin), length)
        state = self._there(stream.state, prompt + length)
        return Streamed(f"prefill of {prompt}, saved and loaded", strict, begin + ready, y[:, :, ready:], state)

    def _pixel_by_pixel(self, inputs: Arrays, count: int) -> Iterator[Streamed]:
        """The first pixels pushed; of a strict graph also looked at before they are, colour by colour where these are ordered."""
        found = facts(self.graph)
        x, conditions = inputs[found.sequence], {name: a for name, a in inputs.items() if name != found.sequence}
        if x.size == 0:
            return
        pixels, shape = x.reshape(*x.shape[:2], -1), (x.shape[2], x.shape[3])
        canvas = self.session.canvas(shape, len(x), conditions or None)
        outputs = [canvas.push(pixels[:, :, n]) for n in range(count)]
        none = np.zeros((len(x), found.types[self.graph.output].channels), np.float32)
        yield Streamed("pixels", False, 0, np.stack(outputs, axis=2) if outputs else none[:, :, None][:, :, :0], {})
        canvas = self.session.canvas(shape, len(x), conditions or None)
        ends = {count, min(count, shape[1] // 2), min(count, shape[1] + 1)}  # from inside a row on too
        parts = [canvas.block(pixels[:, :, begin:end]) for begin, end in pairwise(sorted({0, *ends}))]
        if parts:
            yield Streamed("blocks of pixels", False, 0, np.concatenate(parts, axis=2), {})
        if not found.strict:
            return
        canvas, outputs = self.session.canvas(shape, len(x), conditions or None), []
        for n in range(min(count + 1, pixels.shape[2])):
            outputs.append(self._looked(canvas, pixels[:, :, n]))
            canvas.push(pixels[:, :, n])
        yield Streamed("looks and pixels", True, 0, np.stack(outputs, axis=2), {})

    def _looked(self, canvas: Canvas, x_bc: Array) -> Array:
        """The outputs at the next pixel, each seen when the colours before it are known and the others are not."""
        y, colours = canvas.look(), x_bc.shape[1] if facts(self.graph).ordered else 1
        for c in range(1, colours):
            y[:, c::colours] = canvas.look(np.where(np.arange(colours) < c, x_bc, 0).astype(x_bc.dtype))[:, c::colours]
        return y

    def _streamed(self, inputs: Arrays, prompt: int, lengths: Sequence[int], strict: bool) -> Streamed:
        """A prompt, then pieces: `step` for one of a single token, else `block`."""
        sequence = facts(self.graph).sequence
        x, conditions = inputs[sequence], {name: array for name, array in inputs.items() if name != sequence}
        outputs = [self.session.prefill(x[..., :prompt], conditions or None, x.shape[0])[:, :, None]]
        done = prompt
        for length in lengths:
            local = self._local(conditions, done + strict, length)
            if length == 1:
                outputs.append(self.session.step(x[..., done], {n: a[..., 0] for n, a in local.items()})[:, :, None])
            else:
                outputs.append(self.session.block(x[..., done : done + length], local))
            done += length
        way = f"prefill of {prompt} and {'step' if set(lengths) <= {1} else 'block'}"
        y, begin, first = np.concatenate(outputs, axis=2), prompt - (not strict), facts(self.graph).first_position
        ready = min(max(0, first - begin), y.shape[2])  # under padding "valid" what is before means nothing
        return Streamed(way, strict, begin + ready, y[:, :, ready:], self._there(self.session.state, done))

    def _there(self, state: Arrays, consumed: int) -> Arrays:
        """The state; under padding "valid" as much of it as such a network has."""
        found = facts(self.graph)
        if self.graph.padding != "valid":
            return state
        lead = found.schedule(leading=found.strict).lead
        there = {name: max(0, consumed + lead[name] - found.lookback[name]) for name in state}
        return {name: array[:, :, max(0, array.shape[2] - there[name]) :] for name, array in state.items()}

    def _local(self, conditions: Arrays, begin: int, length: int) -> Arrays:
        kinds = facts(self.graph).types
        return {name: array[..., begin : begin + length] for name, array in conditions.items() if kinds[name].timed}


def _from_the_start(graph: Graph, inputs: Arrays, y: Array) -> Array:
    """The output with zeros at the positions that have none."""
    if (missing := facts(graph).first_position) == 0:
        return y
    missing = min(missing, inputs[facts(graph).sequence].shape[-1])
    return np.concatenate([np.zeros((*y.shape[:2], missing), y.dtype), y], axis=2)


def one_position(graph: Graph, conditions: Arrays, position: int) -> Arrays:
    """The conditions of one position, without a time axis."""
    kinds = facts(graph).types
    return {name: array[..., position] if kinds[name].timed else array for name, array in conditions.items()}


def export_and_load(graph: Graph, params: Arrays, provider: Literal["cpu", "cuda"] = "cpu") -> Session:
    """A bundle of the graph, opened; the files are not kept."""
    with tempfile.TemporaryDirectory() as folder:
        return load_bundle(export_bundle(graph, params, Path(folder) / "bundle"), provider)


def export_bundle(graph: Graph, params: Arrays, path: Path) -> Path:
    """`refar_export.export`. Raises BackendError if onnx is not installed."""
    from refar_export import export

    return export(graph, params, path)


def load_bundle(
    path: str | Path, provider: Literal["cpu", "cuda"] = "cpu", trust: Literal["models", "rebuild"] = "models"
) -> Session:
    """`refar.runtime.load`. Raises BackendError if onnxruntime is not installed."""
    from refar.runtime import load

    return load(path, provider, trust=trust)


def pieces(x: Array, lengths: Sequence[int]) -> list[Array]:
    """The first Σ lengths positions, cut into pieces of these lengths."""
    ends = accumulate(lengths, initial=0)
    return [x[..., begin:end] for begin, end in pairwise(ends)]
