"""Anybody's model as a graph: read from the framework it was trained in, and held against it before it is returned."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from refar.errors import BackendError
from refar.graph.graph import Padding
from refar.importing.imported import Imported, ImportReport
from refar.importing.nam_front import import_nam
from refar.importing.refusal import ImportRefused
from refar.ops import AnyHead

if TYPE_CHECKING:
    import onnx
    import torch

__all__ = ["ImportRefused", "ImportReport", "Imported", "from_nam", "from_onnx", "from_torch"]


def from_onnx(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    *,
    classes: int | Mapping[str, int] | None = None,
    axes: str | Mapping[str, str] | None = None,
    head: AnyHead | None = None,
    padding: Padding | None = None,
    shift: Literal["none", "input", "output"] = "none",
    start_token: int | None = None,
) -> Imported:
    """Read an ONNX file into a graph with its parameters, hold it against the file, and return both with a report.

    `model` is the path of a file as PyTorch, Keras or tf2onnx write them, its bytes, or a model in memory. Its first input is the
    sequence, x_bt, x_bct or x_btc: a free axis is time, a fixed one holds channels. `classes`, `axes`, `head`, `padding`,
    `shift` and `start_token` are those of `from_torch`. Nodes that depend on shapes alone are evaluated at several lengths and
    batches. Where the file fixes its length or batch, that axis is freed, and the report says so.

    Parameters have the names of the file's initialisers where these are legal, else of the output of their node, and the report
    says from which initialisers each is made. The graph is returned only if it computes what the file computes: in float64, by
    onnx's reference implementation, to 1e-9 of the largest value of each channel, at lengths below and above the receptive field,
    with one and three sequences; and in float32, by onnxruntime, within twice the first-order bound of the graph's
    own rounding, or 1e-4 of the largest value of each channel if that is more.
    Raises ImportRefused for a file that cannot be taken, naming the node, and BackendError without onnx and onnxruntime.
    """
    try:
        from refar.importing.onnx_front import import_file
    except ImportError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        what = f"refar.from_onnx needs {error.name}, which is not installed: pip install refar[export,runtime]"
        raise BackendError(what) from None
    return import_file(model, classes=classes, axes=axes, head=head, padding=padding, shift=shift, start_token=start_token)


def from_torch(
    module: torch.nn.Module,
    example: Any,
    *,
    classes: int | Mapping[str, int] | None = None,
    axes: str | Mapping[str, str] | None = None,
    head: AnyHead | None = None,
    padding: Padding | None = None,
    shift: Literal["none", "input", "output"] = "none",
    start_token: int | None = None,
    partial: bool = False,
) -> Imported:
    """Read a trained module into a graph with its parameters, hold it against the module, and return both with a report.

    `example` is a tensor of the sequence, x_bt or x_bct, or of an image, x_bchw or of class indices x_bhw; with conditions a
    tuple of all inputs, or a mapping by the names of forward's arguments, the sequence first. Its length, or its height and
    width, are the smallest at which the module is traced; its values do not matter.
    Of inputs that are class indices `classes` says how many there are, as {"x": 256}; one number stands for the sequence. `axes`
    names the axes of an input that are not B, C, T in this order, as "BTC". `head` says what the output means. `padding` is
    found: "layer" if every layer sees zeros before the first position, "input" if the input alone is padded, or nothing is.
    `shift` makes a graph that sees the present strict, see `strictify`; one that is strict already is returned as it is.
    `start_token` is the class that was put in front of the sequence in training: y_t is the module's output at t for that class
    and x_0 ... x_{t-1}. It may lie beyond the `classes` of the sequence, in a table that has more rows.

    With `partial` a module that cannot be taken whole is taken up to the last values that a stream can compute, whose channels
    stand one after the other; the report names what is left out, and `trunk` is that part as a module, for `verify=`.

    Parameters keep the module's qualified names, in float64; weight norm and parametrisations are computed, batch norm becomes a
    part of the convolution before it. The graph is returned only if it computes what the module computes with its own weights,
    in float64, to 1e-9 of the largest value of each channel: at lengths below and above the receptive field, with one and three
    sequences; and the same of the gradients of signals, and of the parameters that are copied as they are.
    Raises ImportRefused for a module that cannot be taken, naming the call, the module that makes it, and the line.
    """
    try:
        from refar.importing.torch_front import import_module
    except ImportError as error:
        if error.name != "torch":
            raise
        raise BackendError("refar.from_torch needs PyTorch, which is not installed: pip install refar[torch]") from None
    options: dict[str, Any] = {"head": head, "padding": padding, "shift": shift, "start_token": start_token, "partial": partial}
    return import_module(module, example, classes=classes, axes=axes, **options)


def from_nam(path: str | Path, *, size: float | None = None, padding: Padding = "input") -> Imported:
    """Read a .nam file of Neural Amp Modeler into a graph with its parameters, and return both with a report and its metadata.

    The graph takes a signal x_bct, which most files have of one channel, and gives what NAM makes of it. With `padding` "input"
    its first outputs are NAM's after its prewarming, as if zeros without end had come before; "layer" is NAM without prewarming.
    `size`, from 0 to 1, chooses among the sizes of a slimmable file as NAM does; the largest if left out.

    WaveNet, ConvNet, Linear, Sequential and SlimmableContainer are read, in the versions 0.5 to 0.7 of the format. Parameters are
    the file's numbers, rounded to float32 as NAM does, in float64; `report.origins` says which of them each is.
    Raises FileError for a file that cannot be read or is no JSON; ImportRefused for an architecture, a version or an activation
    that refar has not, fields that do not fit each other, and weights that are too few or too many.
    """
    return import_nam(path, size=size, padding=padding)
