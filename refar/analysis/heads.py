"""Count the channels of the output that a head takes."""

from __future__ import annotations

from typing import assert_never

from refar import ops


def output_numbers(head: ops.AnyHead, classes: int) -> int:
    """Return how many numbers of the output each value of the sequence takes: the output has so many channels for each colour.

    `classes`: how many there are, of class indices; a head over signals does not ask.
    """
    match head:
        case ops.Categorical():
            return classes
        case ops.Gaussian():
            return 1
        case ops.LearntGaussian():
            return 2
        case ops.MixtureLogistics(components) | ops.MixtureGaussians(components):
            return 3 * components
        case _:
            assert_never(head)
