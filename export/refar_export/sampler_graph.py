"""sampler.onnx: one visit as in step.onnx, and behind it the draw of the next token, so that nothing leaves the device.

Tokens lie in past.drawn, one after the other: a step reads one by a Gather, which copies it, and writes the next. So no token is
overwritten before the state has it. Every node has a kernel on CUDA that reads its numbers there, which a CUDA graph needs.
`refar.exact.sampler` is the definition of the draw.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from refar import ops
from refar.analysis.facts import facts
from refar.analysis.sampler import NOISE, STEPS, TEMPERATURE, require_sampler
from refar.analysis.slots import state_layout
from refar.graph.graph import Graph, require_head
from refar.runtime.bundle import OUTPUT, PAST, PRESENT
from refar.runtime.sampler_ports import DRAWN, FAULTS, TURN, Port, inputs, local_conditions, outputs
from refar_export import device_step, in_place
from refar_export.build import assembled
from refar_export.emitter import Emitter
from refar_export.rewrites import rewritten

_REWRITES = ("lookups", "sums")
"""A gate is not taken apart: on a device one product costs less than two."""

_LARGEST = np.finfo(np.float32).max


def sampler(
    graph: Graph, params: dict[str, NDArray[np.float32]], *, spare: int = 0, top_k: int | None = None, rewrite: bool = True
) -> onnx.ModelProto:
    """Make the model, checked. `params` are checked float32 arrays; with `top_k` only so many classes can be drawn.

    Raises GraphError for a network that is not strict, not over time, or without a head, and for names of ports.
    """
    require_sampler(facts(graph))
    run, params = rewritten(graph, params, _REWRITES) if rewrite else (graph, params)
    e = Emitter(params, run)
    layout = state_layout(e.facts, spare)
    read = _read_inputs(e)
    device_step.step(e, layout, rewrite=rewrite)
    _write_drawn(e, read, _draw(e, top_k))
    _check(e)
    entries, exits = inputs(e.facts, layout), outputs(e.facts, layout)
    model = assembled(e, graph, "sampler", _declared(entries), _declared(exits))
    in_place.require_order(model, "sampler.onnx")
    return model


def _read_inputs(e: Emitter) -> str:
    """Take the token, noise and local conditions of this turn, under the names of the inputs; returns the next turn."""
    e.own(f"{PAST}.{TURN}")
    turns = e.emit("Add", f"{PAST}.{TURN}", e.constant([0, 1]))
    now = e.emit("Gather", turns, e.constant(0))
    following = e.emit("Gather", turns, e.constant(1), outputs=[f"{PRESENT}.{TURN}"])
    e.emit("Gather", f"{PAST}.{DRAWN}", now, outputs=[e.facts.sequence], axis=0)
    for name in local_conditions(e.facts):
        e.emit("Gather", f"{STEPS}.{name}", now, outputs=[name], axis=0)
    e.emit("Gather", NOISE, now, outputs=[f"{NOISE}/now"], axis=0)
    return following


def _draw(e: Emitter, top_k: int | None) -> str:
    """Emit the next token, (B) or (B, C)."""
    e.own(f"{NOISE}/{DRAWN}")
    head, scaled = require_head(e.graph, "sampler"), e.emit("Mul", f"{NOISE}/now", TEMPERATURE)
    match head:
        case ops.Categorical() if top_k is None:
            return e.emit("ArgMax", e.emit("Add", OUTPUT, scaled), axis=1, keepdims=0)
        case ops.Categorical():
            return _draw_of_best(e, scaled, top_k)
        case ops.Gaussian():
            return e.emit("Add", OUTPUT, e.emit("Mul", scaled, e.constant(head.std, np.float32)))
        case ops.MixtureLogistics():
            return _draw_of_mixture(e, head, scaled)
        case ops.LearntGaussian():
            means, log_scales = e.fresh(), e.fresh()
            e.emit("Split", OUTPUT, outputs=[means, log_scales], axis=1, num_outputs=2)
            return _draw_number(e, means, log_scales, scaled, head.floor)
        case ops.MixtureGaussians():
            return _draw_of_gaussians(e, head, scaled)
        case _:
            assert_never(head)


def _draw_of_best(e: Emitter, scaled: str, top_k: int | None) -> str:
    """Emit the largest sum among the `top_k` largest outputs."""
    values, classes = e.fresh(), e.fresh()
    e.emit("TopK", OUTPUT, e.constant([top_k]), outputs=[values, classes], axis=1)
    sums = e.emit("Add", values, e.emit("GatherElements", scaled, classes, axis=1))
    best = e.emit("ArgMax", sums, axis=1, keepdims=1)
    return e.emit("Reshape", e.emit("GatherElements", classes, best, axis=1), e.constant([-1]))


def _draw_of_mixture(e: Emitter, head: ops.MixtureLogistics, scaled: str) -> str:
    """Emit the class nearest to a number drawn from one component."""
    logits, means, log_scales = e.fresh(), e.fresh(), e.fresh()
    e.emit("Split", OUTPUT, outputs=[logits, means, log_scales], axis=1, num_outputs=3)
    gumbel, logistic = e.fresh(), e.fresh()
    e.emit("Split", scaled, e.constant([head.components, 1]), outputs=[gumbel, logistic], axis=1)
    best = e.emit("ArgMax", e.emit("Add", logits, gumbel), axis=1, keepdims=1)
    scale = e.emit("Exp", e.emit("GatherElements", log_scales, best, axis=1))
    scale = e.emit("Min", scale, e.constant(_LARGEST, np.float32))  # infinity times a temperature of 0 would be no number
    x = e.emit("Add", e.emit("GatherElements", means, best, axis=1), e.emit("Mul", logistic, scale))
    grown = e.emit("Mul", e.emit("Add", x, e.constant(1, np.float32)), e.constant((head.classes - 1) / 2, np.float32))
    place = e.emit("Floor", e.emit("Add", grown, e.constant(0.5, np.float32)))
    cut = e.emit("Clip", place, e.constant(0, np.float32), e.constant(head.classes - 1, np.float32))
    return e.emit("Reshape", e.emit("Cast", cut, to=TensorProto.INT64), e.constant([-1]))


def _draw_of_gaussians(e: Emitter, head: ops.MixtureGaussians, scaled: str) -> str:
    """Emit a number drawn from one component of each channel."""
    channels = e.types[e.facts.sequence].size
    parts, of_mixture = [e.fresh() for _ in range(3)], e.constant([-1, head.components, channels])
    e.emit("Split", OUTPUT, outputs=parts, axis=1, num_outputs=3)
    logits, means, log_scales = (e.emit("Reshape", part, of_mixture) for part in parts)
    gumbels, normals = e.fresh(), e.fresh()
    e.emit("Split", scaled, e.constant([head.components * channels, channels]), outputs=[gumbels, normals], axis=1)
    best = e.emit("ArgMax", e.emit("Add", logits, e.emit("Reshape", gumbels, of_mixture)), axis=1, keepdims=1)
    chosen = [e.emit("GatherElements", each, best, axis=1) for each in (means, log_scales)]
    mean, log_scale = (e.emit("Reshape", each, e.constant([-1, channels])) for each in chosen)
    return _draw_number(e, mean, log_scale, normals, head.floor)


def _draw_number(e: Emitter, mean: str, log_scale: str, scaled: str, floor: float) -> str:
    """Emit the number of a Gaussian for noise that was multiplied by the temperature."""
    scale = e.emit("Exp", e.emit("Max", log_scale, e.constant(floor, np.float32)))
    scale = e.emit("Min", scale, e.constant(_LARGEST, np.float32))  # infinity times a temperature of 0 would be no number
    x = e.emit("Add", mean, e.emit("Mul", scaled, scale))
    return e.emit("Clip", x, e.constant(-_LARGEST, np.float32), e.constant(_LARGEST, np.float32))


def _write_drawn(e: Emitter, turn: str, token: str) -> None:
    """Write the token behind the one that was read."""
    e.own(f"{PRESENT}.{DRAWN}")
    device_step.write(e, DRAWN, turn, [e.facts.sequence], e.emit("Unsqueeze", token, e.constant([0])))


def _check(e: Emitter) -> None:
    """Multiply zeros with every output: each stays 0, and is nan from the first output on that was not finite."""
    e.own(f"{PRESENT}.{FAULTS}")
    e.emit("Mul", f"{PAST}.{FAULTS}", OUTPUT, outputs=[f"{PRESENT}.{FAULTS}"])


def _declared(ports: dict[str, Port]) -> list[onnx.ValueInfoProto]:
    """Declare inputs or outputs."""
    return [
        helper.make_tensor_value_info(name, TensorProto.INT64 if whole else TensorProto.FLOAT, list(sizes))
        for name, (whole, sizes) in ports.items()
    ]
