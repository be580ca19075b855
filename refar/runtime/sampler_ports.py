"""The ports of sampler.onnx, which makes a step and draws the next token: the state as in step.onnx, and these.

Step i of several takes token i of `past.drawn` (entries, B) or (entries, B, C), noise i of `noise` (steps, B, K) and entry i of
each `steps.<condition>`, and writes token i + 1. `past.turn` is i. `temperature` is (B, 1). `past.faults` (B, C) is 0 where all
outputs have been finite, and nan elsewhere.
"""

from __future__ import annotations

from refar.analysis.facts import Facts
from refar.analysis.sampler import NOISE, STEPS, TEMPERATURE, noise_numbers
from refar.analysis.slots import StateLayout
from refar.analysis.types import Type
from refar.graph.graph import require_head
from refar.runtime.bundle import CLOCK, FIXED, OUTPUT, PAST, PRESENT

Port = tuple[bool, tuple[str | int, ...]]
"""Whether a tensor holds int64 and not float32, and its sizes, a name for a free one."""

TURN, DRAWN, FAULTS = "turn", "drawn", "faults"


def inputs(found: Facts, layout: StateLayout) -> dict[str, Port]:
    """The type of each input of a network that `require_sampler` lets pass."""
    head, size = require_head(found.graph, "sampler"), found.types[found.graph.output].size
    local = {f"{STEPS}.{name}": _of_steps(found.types[name], "steps") for name in local_conditions(found)}
    fixed: dict[str, Port] = {f"{FIXED}.{name}": (False, ("batch_size", found.types[name].size)) for name in layout.fixed}
    return {
        NOISE: (False, ("steps", "batch_size", noise_numbers(head, size))),
        TEMPERATURE: (False, ("batch_size", 1)),
        **local,
        **fixed,
        **{f"{PAST}.{name}": port for name, port in _state(found, layout).items()},
    }


def outputs(found: Facts, layout: StateLayout) -> dict[str, Port]:
    """The type of each output of a network that `require_sampler` lets pass."""
    size = found.types[found.graph.output].size
    present = {f"{PRESENT}.{name}": port for name, port in _state(found, layout).items()}
    return {OUTPUT: (False, ("batch_size", size)), **present}


def _state(found: Facts, layout: StateLayout) -> dict[str, Port]:
    """The types of what a step goes on from, and what may lie in one memory before and after it."""
    tensors: dict[str, Port] = {
        name: (bool(layout.tensors[name][0].classes), (slots, "batch_size", channels))
        for name, (slots, channels) in layout.sizes.items()
    }
    drawn = _of_steps(found.types[found.sequence], "entries")
    size = found.types[found.graph.output].size
    return {**tensors, CLOCK: (True, ()), TURN: (True, ()), DRAWN: drawn, FAULTS: (False, ("batch_size", size))}


def local_conditions(found: Facts) -> list[str]:
    """The conditions that have a value for each position."""
    return [name for name in found.conditions if found.types[name].timed]


def _of_steps(kind: Type, steps: str) -> Port:
    """The type of the values of several steps."""
    return kind.indexed, (steps, "batch_size", *([] if kind.indexed else [kind.size]))
