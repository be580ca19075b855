"""A bundle of images: a pixel pushed or painted, and recomputing everything for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from refar.analysis.facts import Facts, facts
from refar.arguments.arrays import Array, Arrays
from refar.bench.clock import Way
from refar.bench.comparison import Maker, check_close, compared
from refar.bench.floor import floor
from refar.bench.inputs import random_inputs
from refar.bench.over_time import Progress
from refar.bench.results import Table
from refar.runtime.session import Session


@dataclass(frozen=True)
class Images:
    """Hold `batch` random images of `shape` (H, W) for a bundle of images."""

    session: Session
    batch: int
    shape: tuple[int, int]
    threads: int = 1

    @cached_property
    def found(self) -> Facts:
        """Return the facts of the graph."""
        return facts(self.session.graph)

    @cached_property
    def inputs(self) -> Arrays:
        """The images and their conditions."""
        return random_inputs(self.found, self.batch, self.shape)

    @property
    def x(self) -> Array:
        """The images, x_bchw."""
        return self.inputs[self.found.sequence]

    @property
    def conditions(self) -> Arrays | None:
        """The conditions, None if there are none."""
        return {name: self.inputs[name] for name in self.found.conditions} or None

    @property
    def pixels(self) -> int:
        """Return the number of pixels of an image."""
        return self.shape[0] * self.shape[1]

    def pushed(self) -> Array:
        """Push the images pixel by pixel: the outputs, y_bchw."""
        canvas = self.session.canvas(self.shape, self.batch, self.conditions)
        flat = self.x.reshape(*self.x.shape[:2], -1)
        y_bcn = np.stack([canvas.push(flat[:, :, n]) for n in range(self.pixels)], axis=2)
        return y_bcn.reshape(*y_bcn.shape[:2], *self.shape)

    @cached_property
    def outputs(self) -> Array:
        """The outputs of the pixel graphs, y_bchw."""
        return self.pushed()


def pushing(case: Images) -> Way:
    """Return the way of a canvas that takes whole images, one call of `Canvas.push` for each pixel."""
    return Way(case.pushed, case.pixels)


def painting(case: Images) -> Way:
    """Return the way of `Session.generate`, sampling included. Raises GraphError for a network without a density."""
    call = partial(case.session.generate, case.shape, batch=case.batch, condition=case.conditions)
    call()
    return Way(call, case.pixels, warm=True)


def recomputing(case: Images) -> Way:
    """Return the way without a state: a whole pass for each pixel, or for each colour where colours are ordered."""
    call = partial(case.session.forward, case.x, case.conditions)
    check_close(case.session.graph, call(), case.outputs)
    return Way(call, 1 / _passes(case.found), warm=True)


def recomputing_in_torch(case: Images) -> Way:
    """Return the same way in PyTorch, by `refar.torch.Module`."""
    import torch

    from refar.torch.module import Module

    tensors = {name: torch.from_numpy(array) for name, array in case.inputs.items()}
    module = Module(case.session.graph, case.session.weights)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return module(tensors)

    check_close(case.session.graph, call().numpy(), case.outputs)
    return Way(call, 1 / _passes(case.found), warm=True)


def _passes(found: Facts) -> int:
    """Count the whole passes that one pixel needs."""
    return found.types[found.sequence].channels if found.ordered else 1


def ways(case: Images) -> dict[str, Maker]:
    """Return what a bundle of images is compared with, by the names of the columns."""
    return {
        "floor": lambda: floor(case.session, case.batch, case.threads),
        "pushing": lambda: pushing(case),
        "painting": lambda: painting(case),
        "recomputing": lambda: recomputing(case),
        "torch, recomputing": lambda: recomputing_in_torch(case),
    }


def pixel_table(
    session: Session, batches: Sequence[int], shape: tuple[int, int], threads: int, seconds: float, progress: Progress
) -> Table:
    """Time a pixel of `batches` images at once, beside the floor and recomputing. `progress` hears what is measured.

    Raises GraphError for a network whose output sees what comes after its pixel.
    """
    facts(session.graph).require_causal("bench")
    rows = []
    for batch in batches:
        progress(f"images of {shape[0]} x {shape[1]}, B = {batch}")
        case = Images(session, batch, shape, threads)
        rows.append(compared(f"B = {batch}", ways(case), "pushing", seconds, at=batch, values=batch))
    return Table(f"One pixel of images of {shape[0]} x {shape[1]}", "pixel", "pushing", tuple(rows), "B, images at once")
