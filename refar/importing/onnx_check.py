"""An imported graph held against its file: in float64 by onnx's own reference implementation, in float32 by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from refar.arguments.arrays import Array
from refar.importing.agreement import Agreement, Found, Pair, compare, side_by_side
from refar.importing.onnx_file import REAL, opset_of, retyped
from refar.importing.refusal import ImportRefused
from refar.oracle.bound_graph import unchecked
from refar.oracle.functions import forward
from refar.oracle.whole import forward_nodes
from refar.rounding.network import first_order, local_bounds

UNIT = float(np.finfo(np.float32).eps) / 2
"""u of float32."""

MARGIN = 2.0
"""Times the bound of the graph's own rounding in float32: the file rounds more often, as where a norm is not folded."""


class Pad(OpRun):
    """ONNX's Pad with constants, of opset 11 and newer; with negative numbers that cut away, which onnx's own does not have."""

    op_domain = ""

    def _run(self, data: Array, pads: Array, value: Any = None, axes: Any = None, mode: str = "constant") -> tuple[Array]:
        if mode != "constant":
            raise ValueError(f"padding of the mode {mode!r}")
        filling = 0.0 if value is None else float(np.asarray(value).reshape(-1)[0])
        chosen = range(data.ndim) if axes is None else [int(axis) % data.ndim for axis in axes]
        for i, axis in enumerate(chosen):
            before, after = int(pads[i]), int(pads[i + len(chosen)])
            data = data.take(range(max(0, -before), data.shape[axis] - max(0, -after)), axis)
            width = [(0, 0)] * data.ndim
            width[axis] = (max(0, before), max(0, after))
            data = np.pad(data, width, constant_values=filling)
        return (data,)


@dataclass
class FileCheck:
    """Runs a file whose inputs have free axes; remembers how far float32 was off, as a part of each channel's largest value."""

    exact: ReferenceEvaluator
    session: Any
    names: Sequence[str]
    kinds: Sequence[int]
    widest: float = 0.0
    worst: float = 0.0
    compared: int = 0
    failed: str = ""

    def run(self, given: Sequence[Array]) -> FileAnswer:
        """Run the file in both precisions."""
        fed = [self._cast(array, kind) for array, kind in zip(given, self.kinds, strict=True)]
        (y,) = self.exact.run(None, dict(zip(self.names, fed, strict=True)))
        small = [a.astype(np.float32) if k in REAL else a for a, k in zip(fed, self.kinds, strict=True)]
        return FileAnswer(np.asarray(y, np.float64), self._single(small), small, self)

    def _cast(self, array: Array, kind: int) -> Array:
        """Return class indices in the type that the file has them in."""
        return array if kind in REAL else array.astype(helper.tensor_dtype_to_np_dtype(kind))

    def _single(self, given: Sequence[Array]) -> Array | None:
        """Return what onnxruntime gives, or None where it cannot run the file, and keep the reason."""
        if self.session is None:
            return None
        try:
            found = self.session.run(None, dict(zip(self.names, given, strict=True)))[0]
        except Exception as error:  # onnxruntime's errors have no base class of their own
            self.failed = (str(error).splitlines() or [""])[0][:300]
            return None
        return np.asarray(found, np.float64)

    def note(self) -> str:
        """Say against what the graph was held."""
        own = "float64 is that of onnx's reference implementation; "
        if not self.compared:
            return f"{own}onnxruntime, which cannot run the file, was not asked: {self.failed}"
        return (
            f"{own}onnxruntime in float32 differs by {self.worst:.1e} of a channel's largest value at most, where its rounding "
            f"explains {self.widest:.1e}"
        )


@dataclass(frozen=True)
class FileAnswer:
    """What a file gave: `y` in float64, `single` in float32 for the inputs `fed`, which were rounded to it."""

    y: Array
    single: Array | None
    fed: Sequence[Array]
    check: FileCheck

    def beside(self, found: Found, pair: Pair) -> float:
        """Hold onnxruntime's numbers against the graph, by the bound of its rounding."""
        if self.single is None:
            return 0.0
        rounded = [np.asarray(a, np.float64) if a.dtype.kind == "f" else a for a in self.fed]
        inputs = found.fed(rounded)
        theirs, mine, start = side_by_side(found, pair, self.single, forward(found.graph, found.params, inputs))
        if not theirs.size:
            return 0.0
        self.check.compared += 1
        off = np.nan_to_num(np.abs(theirs - mine), nan=np.inf)
        allowed = MARGIN * _bound(found, inputs, off, start, pair.length)
        scale = np.maximum(np.abs(mine).max(axis=(0, 2), keepdims=True), np.finfo(np.float32).tiny)
        self.check.worst = max(self.check.worst, float((off / scale).max()))
        self.check.widest = max(self.check.widest, float((allowed / scale.max()).max()))
        worst = off.reshape(len(off), -1).max(axis=1)
        if (worst > allowed).any():
            row = int((worst - allowed).argmax())
            raise ImportRefused(
                f"onnxruntime computes the file otherwise than onnx's reference implementation and the graph, which agree: at "
                f"length {pair.length}, batch {pair.batch}, sequence {row} it is off by {worst[row]:.3g}, where float32 explains "
                f"{allowed[row]:.3g}. Nothing is returned"
            )
        return float((off / scale).max())


def _bound(found: Found, inputs: dict[str, Array], off: Array, start: int, length: int) -> Array:
    """Return how far float32 may be off, to first order, at the output of each row that is off most: (B,)."""
    values = forward_nodes(unchecked(found.graph, found.params, np.float64), inputs)
    local = local_bounds(found.graph, found.params, values, UNIT)
    dy = np.zeros_like(values[found.graph.output])
    dropped = length - dy.shape[-1]  # of padding "valid"
    for row, of_row in enumerate(off):
        channel, at = np.unravel_index(of_row.argmax(), of_row.shape)
        dy[row, channel, at + start - dropped] = 1.0
    return first_order(found.graph, found.params, values, local, dy)[0]


def held(
    model: ModelProto, names: Sequence[str], kinds: Sequence[int], found: Found, field: int, more: Sequence[int]
) -> Agreement:
    """Hold the graph against the file. Raises ImportRefused where they differ; what onnxruntime cannot run is said in a note."""
    new: list[type[OpRun]] = [Pad] if opset_of(model) >= 11 else []
    exact = ReferenceEvaluator(retyped(model, TensorProto.DOUBLE), new_ops=new)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it cannot do is said in the refusal
    options.intra_op_num_threads = 1
    content = retyped(model, TensorProto.FLOAT).SerializeToString()
    check = FileCheck(exact, None, names, kinds)
    try:
        check.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base class of their own
        check.failed = (str(error).splitlines() or [""])[0][:300]
    agreement = compare(found, field, check.run, more)
    return replace(agreement, notes=(check.note(), *agreement.notes))
