"""An imported graph held against its file: in float64 by onnx's own reference implementation, in float32 by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from refar.arguments.arrays import Array, Arrays
from refar.importing.agreement import Agreement, Found, Pair, compare, side_by_side
from refar.importing.onnx_file import REAL, retyped
from refar.importing.onnx_operators import OWN_OPERATORS
from refar.importing.ports import Port
from refar.importing.probes import Extent
from refar.importing.refusal import ImportRefused
from refar.oracle.bound_graph import unchecked
from refar.oracle.whole import forward_nodes
from refar.rounding.network import first_order, local_bounds

UNIT = float(np.finfo(np.float32).eps) / 2
"""u of float32."""

MARGIN = 2.0
"""Times the bound of the graph's own rounding in float32: the file rounds more often, as where a norm is not folded."""

LEAST = 1e-4
"""What float32 may be off in any case, of a channel's largest value: two large numbers of the file may cancel in the graph."""


WIDE = 1e-3
"""A bound above this part of a channel's largest value proves nothing."""


@dataclass
class Single:
    """A file in onnxruntime, in float32: how far it was `off`, as a part of each channel's largest value.

    `explained` is the largest bound of its rounding, as the same part, asked for wherever it is needed, or always if `bounded`.
    `reason` is why the file could not be run, and `wrong` the first place where it was off by more than rounding explains.
    """

    session: Any = None
    bounded: bool = False
    off: float = 0.0
    explained: float = 0.0
    compared: int = 0
    reason: str = ""
    wrong: str = ""

    def run(self, given: Mapping[str, Array]) -> Array | None:
        """Return what the file gives, or None where onnxruntime cannot run it."""
        if self.session is None:
            return None
        try:
            found = self.session.run(None, dict(given))[0]
        except Exception as error:  # onnxruntime's errors have no base class of their own
            self.reason = (str(error).splitlines() or [""])[0][:300]
            return None
        return np.asarray(found, np.float64)

    def compare(self, found: Found, pair: Pair, y: Array, values: Arrays) -> None:
        """Hold one output against the graph, of which all `values` are given."""
        full = values[found.graph.output]
        theirs, mine, (start,) = side_by_side(found, pair, y, full)
        (length,) = pair.extent
        if not theirs.size:
            return
        off = np.nan_to_num(np.abs(theirs - mine), nan=np.inf)
        scale = np.maximum(np.abs(mine).max(axis=(0, 2), keepdims=True), np.finfo(np.float32).tiny)
        part = (off / scale).reshape(len(off), -1)
        at = part.argmax(axis=1)
        explained = np.zeros(len(at))
        if self.bounded or part.max() > LEAST:
            first = start - (length - full.shape[-1])
            whole = np.broadcast_to(scale, off.shape).reshape(part.shape)[np.arange(len(at)), at]
            explained = MARGIN * _bound(found, values, at, theirs.shape[-1], first) / whole
        self.compared += 1
        self.off, self.explained = max(self.off, float(part.max())), max(self.explained, float(explained.max()))
        worst = part.max(axis=1)
        beyond = worst - np.maximum(explained, LEAST)
        if (beyond > 0).any() and not self.wrong:
            row = int(beyond.argmax())
            channel, position = divmod(int(at[row]), theirs.shape[-1])
            self.wrong = (
                f"at {pair}, sequence {row}, channel {channel}, t = {position + start} it "
                f"gives {theirs[row, channel, position]:.6g}, the graph {mine[row, channel, position]:.6g}"
            )


@dataclass
class FileCheck:
    """Runs a file whose inputs have free axes: by onnx's reference implementation, and by onnxruntime as it is and optimised."""

    exact: ReferenceEvaluator
    plain: Single
    optimised: Single
    names: Sequence[str]
    kinds: Sequence[int]
    ports: Sequence[Port]

    def run(self, given: Sequence[Array]) -> FileAnswer:
        """Run the file in float64, and keep what it was given in float32."""
        taken = [port.as_model(array) for port, array in zip(self.ports, given, strict=True)]
        fed = {name: _cast(array, kind) for name, array, kind in zip(self.names, taken, self.kinds, strict=True)}
        (y,) = self.exact.run(None, fed)
        return FileAnswer(np.asarray(y, np.float64), {name: _single(array) for name, array in fed.items()}, self)

    def notes(self) -> list[str]:
        """Say against what the graph was held."""
        own = "float64 is that of onnx's reference implementation; "
        if not self.plain.compared:
            return [f"{own}onnxruntime, which cannot run the file, was not asked: {self.plain.reason}"]
        notes = [
            f"{own}onnxruntime in float32 differs by {self.plain.off:.1e} of a channel's largest value at most, where rounding "
            f"explains {self.plain.explained:.1e}{', a bound too wide to prove anything' if self.plain.explained > WIDE else ''}"
        ]
        if self.optimised.wrong:
            notes.append(f"onnxruntime computes something else when it optimises the file: {self.optimised.wrong}")
        return notes


@dataclass(frozen=True)
class FileAnswer:
    """What a file gave: `y` in float64; `fed` are its inputs rounded to float32."""

    y: Array
    fed: Mapping[str, Array]
    check: FileCheck

    def beside(self, found: Found, pair: Pair) -> float:
        """Hold onnxruntime's numbers against the graph, by the bound of its rounding."""
        inputs = found.fed([_single(a).astype(np.float64) if a.dtype.kind == "f" else a for a in pair.given])
        values = forward_nodes(unchecked(found.graph, found.params, np.float64), inputs)
        for single in (self.check.plain, self.check.optimised):
            if (y := single.run(self.fed)) is not None:
                single.compare(found, pair, y, values)
        if self.check.plain.wrong:
            raise ImportRefused(
                f"onnxruntime {onnxruntime.__version__}, without its optimisations, computes the file otherwise than onnx's "
                f"reference implementation and the graph, which agree: {self.check.plain.wrong}. Nothing is returned; "
                "try a newer onnxruntime"
            )
        return self.check.plain.off


def _cast(array: Array, kind: int) -> Array:
    """Return class indices in the type that the file has them in."""
    return array if kind in REAL else array.astype(helper.tensor_dtype_to_np_dtype(kind))


def _single(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _bound(found: Found, values: Arrays, at: Array, positions: int, first: int) -> Array:
    """Return how far float32 may be off, to first order, of one output of each row: (B,).

    `at` is its place among channels and `positions`, of which the first stands at index `first` of the graph's output.
    """
    local = local_bounds(found.graph, found.params, values, UNIT)
    dy = np.zeros_like(values[found.graph.output])
    for row, place in enumerate(at):
        channel, position = divmod(int(place), positions)
        dy[row, channel, first + position] = 1.0
    return first_order(found.graph, found.params, values, local, dy)[0]


def held(
    model: ModelProto, names: Sequence[str], kinds: Sequence[int], found: Found, field: Extent, own: tuple[int | None, int | None]
) -> Agreement:
    """Hold the graph against the file. Raises ImportRefused where they differ; what onnxruntime cannot run is said in a note.

    `own` are the length and the batch that the file has fixed, of which the model is free.
    """
    exact = ReferenceEvaluator(retyped(model, TensorProto.DOUBLE), new_ops=OWN_OPERATORS)
    content = retyped(model, TensorProto.FLOAT).SerializeToString()
    plain = _opened(content, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, bounded=True)
    optimised = _opened(content, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL, bounded=False)
    check = FileCheck(exact, plain, optimised, names, kinds, found.inputs)
    _require_free(check, found, own)
    agreement = compare(found, field, check.run, [(length,) for length in own[:1] if length is not None])
    return replace(agreement, notes=(*check.notes(), *agreement.notes))


def _opened(content: bytes, level: Any, *, bounded: bool) -> Single:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it cannot do is said in a note
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    try:
        return Single(onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]), bounded)
    except Exception as error:  # onnxruntime's errors have no base class of their own
        return Single(reason=(str(error).splitlines() or [""])[0][:300])


def _require_free(check: FileCheck, found: Found, own: tuple[int | None, int | None]) -> None:
    """Refuse a file that runs at the length and batch which it fixes, and at no other."""
    length, batch = (size or 8 for size in own)
    runs = []
    for more in (0, 1) if own != (None, None) else ():
        given = [port.draw(np.random.default_rng(0), (length + more,), batch + more) for port in found.inputs]
        try:
            check.run(given)
        except Exception as error:  # of the file, in onnx's implementation
            runs.append(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}")
        else:
            runs.append("")
    if runs and not runs[0] and runs[1]:
        raise ImportRefused(f"the file fails at another length and batch: {runs[1]}; {fixed(*own)}")


def fixed(length: int | None, batch: int | None) -> str:
    """Say which sizes a file fixes, and what to do."""
    sizes = " and ".join(f"its {what} to {size}" for what, size in (("length", length), ("batch", batch)) if size is not None)
    return (
        f"the file fixes {sizes}, and numbers in it follow from that: export it with both free (dynamic_axes or dynamic_shapes "
        "of torch.onnx.export, None in Keras' Input)"
    )
