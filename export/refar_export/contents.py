"""Every file of a bundle, made in memory."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import safetensors.numpy

from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.analysis.image_slots import CONDITION
from refar.arguments.arrays import Arrays
from refar.errors import check_integer
from refar.graph.graph import Graph
from refar.runtime.bundle import (
    BLOCK,
    FORMAT,
    FULL,
    IR,
    MANIFEST,
    MOST_SPARE,
    OPSET,
    PREFILL,
    STEP,
    VECTORS,
    WEIGHTS,
    BundleManifest,
    Dtype,
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
from refar_export.build import Kind, build
from refar_export.image_graphs import image_models
from refar_export.vectors import vectors

_KINDS: dict[str, Kind] = {FULL: "full", PREFILL: "prefill", CONDITION: "condition", STEP: "step", BLOCK: "block"}


def files_of(
    graph: Graph,
    weights: Arrays,
    *,
    spare: int = 0,
    metadata: Mapping[str, str] | None = None,
    dtype: Dtype = "float32",
    check: bool = True,
) -> dict[str, bytes]:
    """Make every file of a bundle from a graph and checked float32 parameters: {name: bytes}. The same bytes each time.

    With `dtype` float16 the parameters are rounded to it first, and stored in it; the check vectors then hold the outputs
    before rounding too, "y.unrounded". Without `check` there are no check vectors, for which the oracle has to run.
    Raises ParameterError for a parameter that float16 does not hold.
    """
    check_nodes(graph)
    given, weights = weights, float16.rounded(weights) if dtype == "float16" else weights
    spare = check_integer("spare", spare, 0, MOST_SPARE)
    check_size(layout_of(graph, spare))
    images = image_models(graph, weights) if slots_of(graph) is not None else {}
    models = {
        name: images[name] if name in images else build(graph, weights, _KINDS[name], spare=spare) for name in models_of(graph)
    }
    if dtype == "float16":
        models = {name: float16.stored(model) for name, model in models.items()}
    files = {name: model.SerializeToString(deterministic=True) for name, model in models.items()}
    files[WEIGHTS] = safetensors.numpy.save({name: np.ascontiguousarray(array, dtype) for name, array in weights.items()})
    if check:
        unrounded = {"y.unrounded": vectors(graph, given)["y"]} if dtype == "float16" else {}
        files[VECTORS] = safetensors.numpy.save(vectors(graph, weights) | unrounded)
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
    )
    files[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    return files
