"""Anybody's model as a graph: read from the framework it was trained in, and held against it before it is returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from refar.errors import BackendError
from refar.graph.graph import Padding
from refar.importing.imported import Imported, ImportReport
from refar.importing.refusal import ImportRefused
from refar.ops import AnyHead

if TYPE_CHECKING:
    import torch

__all__ = ["ImportRefused", "ImportReport", "Imported", "from_torch"]


def from_torch(
    module: torch.nn.Module,
    example: Any,
    *,
    classes: int | Mapping[str, int] | None = None,
    axes: str | Mapping[str, str] | None = None,
    head: AnyHead | None = None,
    padding: Padding | None = None,
    shift: Literal["none", "input", "output"] = "none",
) -> Imported:
    """Read a trained module into a graph with its parameters, hold it against the module, and return both with a report.

    `example` is a tensor of the sequence, x_bt or x_bct; with conditions a tuple of all inputs, or a mapping by the names of
    forward's arguments, the sequence first. Its length is the shortest at which the module is traced; its values do not matter.
    Of inputs that are class indices `classes` says how many there are, as {"x": 256}; one number stands for the sequence. `axes`
    names the axes of an input that are not B, C, T in this order, as "BTC". `head` says what the output means. `padding` is
    found: "layer" if every layer sees zeros before the first position, "input" if the input alone is padded, or nothing is.
    `shift` makes a graph that sees the present strict, see `strictify`; one that is strict already is returned as it is.

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
    return import_module(module, example, classes=classes, axes=axes, head=head, padding=padding, shift=shift)
