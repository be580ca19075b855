"""Every file of a bundle, made in memory."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import onnx
import safetensors.numpy

from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.analysis.image_slots import CONDITION
from refar.analysis.int8_products import InputScale
from refar.arguments.arrays import Arrays
from refar.arguments.encoder import EncoderModel
from refar.errors import check_integer
from refar.graph.graph import Graph
from refar.runtime.bundle import (
    BLOCK,
    ENCODER,
    FORMAT,
    FULL,
    IR,
    MANIFEST,
    MOST_SPARE,
    OPSET,
    PREFILL,
    SAMPLER,
    STEP,
    VECTORS,
    WEIGHTS,
    WINDOW,
    BundleManifest,
    Dtype,
    Sampler,
    check_nodes,
    check_size,
    digest,
    fixed_of,
    image_table,
    layout_of,
    models_of,
    slots_of,
    state_ports,
)
from refar_export import float16
from refar_export import int8 as in_int8
from refar_export.build import Kind, build
from refar_export.image_graphs import image_models
from refar_export.sampler_graph import sampler as sampler_model
from refar_export.vectors import vectors

_KINDS: dict[str, Kind] = {
    FULL: "full",
    PREFILL: "prefill",
    CONDITION: "condition",
    STEP: "step",
    BLOCK: "block",
    WINDOW: "window",
}


def files_of(
    graph: Graph,
    weights: Arrays,
    *,
    spare: int = 0,
    metadata: Mapping[str, str] | None = None,
    dtype: Dtype = "float32",
    int8: Mapping[str, InputScale] | None = None,
    calibration: Arrays | None = None,
    sampler: Sampler | None = None,
    encoder: EncoderModel | None = None,
    check: bool = True,
) -> dict[str, bytes]:
    """Make every file of a bundle from a graph and checked float32 parameters: {name: bytes}. The same bytes each time.

    With `dtype` float16 the parameters are rounded to it first, and stored in it; the check vectors then hold the outputs
    before rounding too, "y.unrounded". With `int8`, {node: scale and zero point of its input}, the convolutions over time are
    computed in int8; the check vectors are those of float32, and `calibration`, {"calibration.<input>": array}, lies beside
    them. With `sampler` there is a model that draws tokens; `encoder` is one that makes a condition. Without `check` there are
    no check vectors, for which the oracle has to run.
    Raises ParameterError for a parameter that float16 does not hold.
    """
    check_nodes(graph)
    given, weights = weights, float16.rounded(weights) if dtype == "float16" else weights
    spare = check_integer("spare", spare, 0, MOST_SPARE)
    check_size(layout_of(graph, spare))
    models = _models(graph, weights, spare, int8 or {}) | _sampler(graph, weights, spare, int8 or {}, sampler)
    if dtype == "float16":
        models = {name: float16.stored(model) for name, model in models.items()}
    files = {name: model.SerializeToString(deterministic=True) for name, model in models.items()}
    if encoder is not None:
        files[ENCODER] = encoder.model
    files[WEIGHTS] = safetensors.numpy.save({name: np.ascontiguousarray(array, dtype) for name, array in weights.items()})
    if check:
        unrounded = {"y.unrounded": vectors(graph, given)["y"]} if dtype == "float16" else {}
        files[VECTORS] = safetensors.numpy.save(vectors(graph, weights) | unrounded | (calibration or {}))
    layout = layout_of(graph, spare)
    manifest = BundleManifest(
        format="refar-bundle",
        version=2,
        refar=FORMAT,
        strict=is_strict(graph),
        dtype=dtype,
        opset=OPSET,
        ir=IR,
        spare=spare,
        first_output=facts(graph).first_position,
        state=state_ports(layout),
        fixed=fixed_of(graph),
        image=image_table(graph),
        files={name: digest(data) for name, data in files.items()},
        metadata=dict(metadata or {}),
        graph=graph,
        int8=dict(int8 or {}),
        sampler=sampler,
        encoder=None if encoder is None else encoder.encoder,
    )
    files[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    return files


def _models(graph: Graph, weights: Arrays, spare: int, scales: Mapping[str, InputScale]) -> dict[str, onnx.ModelProto]:
    """Every model by the name of its file, with the convolutions that `scales` names in int8."""
    if scales:  # each belongs to a convolution as it stands in the graph, so nothing is rewritten
        plain = {name: build(graph, weights, _KINDS[name], spare=spare, rewrites=()) for name in models_of(graph)}
        return {name: in_int8.stored(model, scales) for name, model in plain.items()}
    images = image_models(graph, weights) if slots_of(graph) is not None else {}
    return {
        name: images[name] if name in images else build(graph, weights, _KINDS[name], spare=spare) for name in models_of(graph)
    }


def _sampler(
    graph: Graph, weights: Arrays, spare: int, scales: Mapping[str, InputScale], wanted: Sampler | None
) -> dict[str, onnx.ModelProto]:
    """The model that draws tokens, if it is wanted, by the name of its file."""
    if wanted is None:
        return {}
    model = sampler_model(graph, weights, spare=spare, top_k=wanted.top_k, rewrite=not scales)
    return {SAMPLER: in_int8.stored(model, scales) if scales else model}
