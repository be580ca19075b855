"""The two ends that WaveNet and the TCN share: the input, of classes or a signal, and the output with its head."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from refar import ops
from refar.analysis.heads import output_numbers
from refar.building.builder import Builder
from refar.errors import GraphError
from refar.graph.decode import tagged
from refar.graph.graph import Graph

CLASSES = 256
"""The number of classes if a caller gives neither classes nor a signal."""


@dataclass(frozen=True)
class Sequence:
    """A sequence as real values: its node and channels; the head, and how many channels of an output it takes."""

    node: str
    channels: int
    head: ops.AnyHead
    outputs: int

    def build(self, g: Builder, hidden: str) -> Graph:
        """Build the graph that ends in a 1×1 convolution of `hidden` to what the head takes."""
        name = "logits" if isinstance(self.head, ops.Categorical) else "parameters"
        return g.build(g.conv1d(hidden, self.outputs, name=name), self.head)


def add_sequence(g: Builder, model: str, classes: int | None, signal: int | None, head: str | None) -> Sequence:
    """Add the input: the one-hot of `classes` classes, 256 if neither is given, or a signal of `signal` channels.

    Classes have a categorical head. That of a signal is `head`, its name and its numbers, "learnt_gaussian" by default:
    "learnt_gaussian:-9" is `ops.LearntGaussian(-9.0)`, "mixture_gaussians:10" is `ops.MixtureGaussians(10)`.
    Raises GraphError for any other text, for classes and a signal, and for a head without a signal.
    """
    if signal is None:
        if head is not None:
            raise GraphError(f"{model}: head: expected none without `signal`, the channels of a signal, got {head!r}")
        q = CLASSES if classes is None else classes
        return Sequence(g.one_hot(g.input(classes=q)), q, ops.Categorical(), q)
    if classes is not None:
        raise GraphError(f"{model}: expected either `classes` or `signal`, got {classes} classes and {signal} channels")
    found = _head(model, "learnt_gaussian" if head is None else head)
    return Sequence(g.input(channels=signal), signal, found, signal * output_numbers(found, 0))


def _head(model: str, text: str) -> ops.SignalHead:
    name, *numbers = text.split(":")
    kinds = tagged(ops.SignalHead)
    fields = kinds[name].__struct_fields__ if name in kinds else ()
    if name in kinds and len(numbers) <= len(fields):
        try:
            return msgspec.convert({"type": name, **dict(zip(fields, numbers, strict=False))}, ops.SignalHead, strict=False)
        except msgspec.ValidationError as error:
            raise GraphError(f"{model}: head: {str(error).replace(' - at `$.', ', ').rstrip('`')}, got {text!r}") from None
    known = ", ".join(":".join((each, *kind.__struct_fields__)) for each, kind in kinds.items())
    raise GraphError(f"{model}: head: expected one of {known}, the last numbers left out or not, got {text!r}")
