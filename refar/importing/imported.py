"""What an import found: where every parameter comes from, what was checked, and how far the two were apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from refar.arguments.arrays import Array
from refar.graph.graph import Graph

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ImportReport:
    """What is known of an imported model.

    `receptive_field` is R, the positions from the present to the earliest one that an output may depend on; of an image the box
    (rows, columns). `origins` gives for each parameter the names in the model that it is made from. `largest_difference` is the
    largest distance between a channel of the model and of the graph, in float64 and relative to the largest value of that
    channel, over the `checked` pairs (length, batch), of images (rows, columns, batch); `gradient_difference` the same of the
    gradients of signals and of the parameters that the graph has as they are in the model, or nan where none were compared, as of
    a file.
    `notes` say in words what else was done.
    Of a file that holds no module, as a .nam file does, nothing is compared: the differences are nan, and `checked` is empty.
    """

    receptive_field: int | tuple[int, int]
    padding: str
    origins: dict[str, str]
    largest_difference: float
    gradient_difference: float
    checked: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        field = self.receptive_field
        box = f"{field}" if isinstance(field, int) else f"{field[0]} x {field[1]}"
        lines = [f"receptive field {box}, padding {self.padding!r}, {len(self.origins)} parameters"]
        if self.checked:
            known = not math.isnan(self.gradient_difference)
            gradients = f", gradients by {self.gradient_difference:.1e}" if known else ", no gradients compared"
            lines.append(
                f"differs from the model by {self.largest_difference:.1e} of a channel's largest value at most "
                f"({len(self.checked)} pairs of {'length' if isinstance(field, int) else 'size'} and batch){gradients}"
            )
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class Imported:
    """A graph that computes what a module computes, its parameters in float64, and a report; unpacks into these three.

    `metadata` is what a file says of itself, as `refar_export.export` takes it. `trunk` is the part of the module that
    was taken, as a module, if it is not the whole.
    """

    graph: Graph
    params: dict[str, Array]
    report: ImportReport
    metadata: dict[str, str] = field(default_factory=dict)
    trunk: torch.nn.Module | None = None

    def noted(self, notes: Iterable[str]) -> Imported:
        """Return the same with more to say."""
        return replace(self, report=replace(self.report, notes=(*notes, *self.report.notes)))

    def __iter__(self) -> Iterator[Graph | dict[str, Array] | ImportReport]:
        return iter((self.graph, self.params, self.report))
