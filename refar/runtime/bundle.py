"""Say what a bundle is: its files, ports and manifest, and the tables that follow from a graph. Imports msgspec alone."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from msgspec import Meta, Struct

from refar.analysis.facts import Facts, facts
from refar.analysis.image_slots import CONDITION, ImageSlots, image_slots
from refar.analysis.int8_products import InputScale
from refar.analysis.slots import StateLayout, state_layout
from refar.arguments.encoder import Encoder
from refar.errors import GraphError
from refar.graph.graph import Graph

PAST, PRESENT, CLOCK, FIXED, LENGTH, OUTPUT = "past", "present", "clock", "fixed", "length", "output"
"""The ports beside the graph's own inputs: past.<tensor> → present.<tensor>, past.clock → present.clock, fixed.<node>, and
the lengths of the prompts that a prefill takes; the result."""

OPSET, IR = 18, 10
"""The widest choice in which every operator used here has CPU and CUDA kernels in onnxruntime."""

VERSION = 2
FORMAT = f"refar-bundle {VERSION}"
"""What a bundle says of itself: `refar` in bundle.json, `producer_version` and `refar.format` in each model. No release."""

FULL, PREFILL, STEP, BLOCK, WINDOW = "full.onnx", "prefill.onnx", "step.onnx", "block.onnx", "window.onnx"
SAMPLER, ENCODER = "sampler.onnx", "encoder.onnx"
WEIGHTS, VECTORS, MANIFEST = "weights.safetensors", "check.safetensors", "bundle.json"

MOST_STATE = 2**28
"""Numbers that a stream may keep for each sequence: 1 GiB."""

MOST_CHANNELS = 2**21
"""Channels of all nodes of a network over images together, each of which is analysed by itself."""

MOST_SPARE = 2**16
"""Steps that a stream may take back, at most."""

MOST_NODES = 2**14
"""Nodes of a graph, which takes some seconds to be analysed, and as long to be made into models."""


Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

Dtype = Literal["float32", "float16"]
"""What the parameters of a bundle are rounded to, and stored in."""


class StatePort(Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the slots of one node: `slots` entries of axis 0 of past.<tensor> (slots, batch_size, channels), from `base` on.

    `kept`: how many of the last visits' values a later visit reads. `lead` is 1 if the node is computed one position ahead of the
    newest token. `classes`: Q of a one-hot, of which a slot holds the class, and Q for none; 0 where it holds the values.
    """

    node: str
    tensor: str
    base: int
    slots: int
    kept: int
    lead: int
    channels: int
    classes: int


class ImageTable(Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the numbers that a program needs to run the row and pixel graphs.

    `past`: P; `first_visit`: -1 or 0; `output_lead`: 0 or 1, visit s gives the output at column s + `output_lead`. `looks`: how
    often each pixel of a strict network is looked at before it is complete, once for each colour where these are ordered.
    `stored_channels` are those of past.pixels, `line_channels` those of line; `rings` {node: entries of past.rows.<node>}.
    """

    past: int
    first_visit: int
    output_lead: int
    looks: int
    stored_channels: int
    line_channels: int
    rings: dict[str, int]


class Sampler(Struct, frozen=True, forbid_unknown_fields=True):
    """Say that the bundle holds sampler.onnx, and of how many of the largest logits it draws; None if of all."""

    top_k: int | None = None


class BundleManifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """bundle.json. `files` holds the SHA-256 of every other file; `metadata` is the exporter's to fill.

    `refar` is FORMAT, so that a release changes no byte. `dtype`: what the parameters are stored in; ports, state and arithmetic
    are float32 in any case. `int8`: how the inputs of the convolutions that are computed in int8 become integers. `sampler`: what
    sampler.onnx draws, `encoder`: what encoder.onnx makes, if they are there. `spare`: how many of the last visits may be made
    once more. Outputs before position `first_output` mean nothing.
    """

    format: Literal["refar-bundle"]
    version: Literal[2]  # VERSION
    refar: str
    strict: bool
    dtype: Dtype
    opset: int
    ir: int
    spare: Annotated[int, Meta(ge=0, le=MOST_SPARE)]
    first_output: int
    state: tuple[StatePort, ...]
    fixed: tuple[str, ...]
    image: ImageTable | None
    files: dict[str, Digest]
    metadata: dict[str, str]
    graph: Graph
    int8: dict[str, InputScale] = {}
    sampler: Sampler | None = None
    encoder: Encoder | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The names of its ONNX files, but for that of an encoder, which no stream runs."""
        return (*models_of(self.graph), *([] if self.sampler is None else [SAMPLER]))

    @property
    def layout(self) -> StateLayout | None:
        """The state of its step graphs; None if it has none."""
        return layout_of(self.graph, self.spare)


class OldManifest(Struct, frozen=True, kw_only=True):
    """bundle.json of version 1, as far as it is needed to make the bundle anew."""

    files: dict[str, Digest]
    metadata: dict[str, str]
    graph: Graph


def has_steps(found: Facts) -> bool:
    """Whether a network can be run one token at a time: over time, looking ahead nowhere."""
    return found.grid is None and found.looks_ahead is None


def layout_of(graph: Graph, spare: int = 0) -> StateLayout | None:
    """Lay out the state of a graph; None if it has no step graphs. Raises GraphError for one without a meaning."""
    found = facts(graph)
    return state_layout(found, spare) if has_steps(found) else None


def slots_of(graph: Graph) -> ImageSlots | None:
    """Lay out images computed pixel by pixel; None of a graph over time, and of one that looks ahead."""
    found = facts(graph)
    return image_slots(graph) if found.grid is not None and found.looks_ahead is None else None


def image_table(graph: Graph) -> ImageTable | None:
    """The image table of the manifest."""
    slots, found = slots_of(graph), facts(graph)
    if slots is None:
        return None
    looks = found.types[found.sequence].channels if found.strict and found.ordered else 1
    return ImageTable(
        slots.past,
        slots.first_visit,
        slots.output_lead,
        looks,
        slots.stored_channels,
        slots.line_channels,
        dict(slots.rings),
    )


def check_size(layout: StateLayout | None) -> None:
    """Raise GraphError for a state that no memory would hold, before any is asked for."""
    numbers = sum(slots * channels for slots, channels in layout.sizes.values()) if layout else 0
    if numbers > MOST_STATE:
        raise GraphError(f"a stream would keep {numbers} numbers for each sequence; expected at most {MOST_STATE}")


def check_nodes(graph: Graph) -> None:
    """Raise GraphError for a graph of more nodes than can be analysed in some seconds, before it is done."""
    if len(graph.nodes) > MOST_NODES:
        raise GraphError(f"it has {len(graph.nodes)} nodes; expected at most {MOST_NODES}")


def check_channels(found: Facts) -> None:
    """Raise GraphError for images with more channels than can be analysed in a second or two, before it is done."""
    channels = sum(kind.channels for kind in found.types.values())
    if found.grid is not None and channels > MOST_CHANNELS:
        raise GraphError(f"its nodes have {channels} channels together; expected at most {MOST_CHANNELS}")


def models_of(graph: Graph) -> tuple[str, ...]:
    """The names of the ONNX files that the bundle of a graph holds, but for sampler.onnx, which is there by choice."""
    layout, slots = layout_of(graph), slots_of(graph)
    if slots is not None:
        return (FULL, *slots.ports)
    if layout is None:
        return (FULL,)
    return (FULL, PREFILL, *([CONDITION] if layout.fixed else []), STEP, BLOCK, WINDOW)


def fixed_of(graph: Graph) -> tuple[str, ...]:
    """The nodes that the graph of conditions gives."""
    layout, slots = layout_of(graph), slots_of(graph)
    return layout.fixed if layout is not None else slots.fixed if slots is not None else ()


def state_ports(layout: StateLayout | None) -> tuple[StatePort, ...]:
    """The state table of the manifest."""
    each = layout.slots.values() if layout else ()
    return tuple(StatePort(s.node, s.tensor, s.base, s.count, s.kept, s.lead, s.channels, s.classes) for s in each)


def digest(data: bytes) -> str:
    """SHA-256, as the manifest holds it."""
    return hashlib.sha256(data).hexdigest()
