"""Writing a bundle: all files beside each other, or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike

from refar.analysis.causality import is_strict
from refar.analysis.facts import facts
from refar.arguments.arrays import check_parameters
from refar.errors import BackendError, FileError, GraphError
from refar.graph.graph import Graph
from refar.runtime.bundle import BLOCK, FORMAT, MANIFEST, VECTORS, BundleManifest, check_replaceable, digest, ports

try:
    from refar_export.build import IR, OPSET, Kind, build
except ModuleNotFoundError as error:
    if error.name != "onnx":
        raise
    raise BackendError("refar_export needs onnx; install it with: pip install 'refar[export]'") from None


def export(
    graph: Graph,
    params: Mapping[str, ArrayLike],
    path: str | Path,
    *,
    metadata: Mapping[str, str] | None = None,
    block: bool = False,
    verify: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write full.onnx, prefill.onnx, step.onnx, check.safetensors and bundle.json into the folder `path`.

    With `block` also block.onnx, which takes any number of tokens in one call. Parameters are rounded to float32. `metadata`
    is kept in bundle.json. With `verify` the new bundle is run in onnxruntime
    against the oracle first (see `refar_export.verify`), and is not left behind if it disagrees. The folder appears only
    when it is complete. With `overwrite` it may replace a bundle, as it was exported, in a folder that holds nothing else.
    Raises FileError for anything else that is there, ParameterError and GraphError for what cannot be exported.
    """
    from refar_export.verify import require, vectors

    target = Path(path)
    _check_free(target, overwrite)
    if block and not ports(graph).steps:
        raise GraphError(
            "block.onnx needs a graph that is run position by position: over time, looking ahead nowhere, padding not 'valid'"
        )
    weights = {name: array.astype(np.float32) for name, array in check_parameters(facts(graph), params).items()}
    check_parameters(facts(graph), weights)  # what float32 cannot hold is infinite now
    kinds: dict[str, Kind] = {"full.onnx": "full", "prefill.onnx": "prefill", "step.onnx": "step", BLOCK: "block"}
    names = ports(graph).files(block=block)
    files = {name: build(graph, weights, kinds[name]).SerializeToString(deterministic=True) for name in names}
    files[VECTORS] = safetensors.numpy.save(vectors(graph, weights))
    manifest = BundleManifest(
        format="refar-bundle",
        version=1,
        refar=FORMAT,
        strict=is_strict(graph),
        dtype="float32",
        opset=OPSET,
        ir=IR,
        state=ports(graph).state,
        files={name: digest(data) for name, data in files.items()},
        metadata=dict(metadata or {}),
        graph=graph,
    )
    files[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        fresh = Path(folder) / "bundle"
        fresh.mkdir()
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        if verify:
            require(fresh)
        _check_free(target, overwrite)  # once more: the check takes its time
        replaced = Path(folder) / "replaced"
        try:
            if target.exists():
                target.rename(replaced)
            fresh.rename(target)
        except BaseException:  # Ctrl-C too: what is left in the temporary folder is removed with it
            if os.path.lexists(replaced):
                replaced.rename(target)
            raise
    return target


def _check_free(target: Path, overwrite: bool) -> None:
    """Raise FileError unless nothing is there, or, with `overwrite`, a bundle and nothing else."""
    if target.exists() and not overwrite:
        raise FileError(
            f"bundle {str(target)!r} exists already; choose another place, or give overwrite=True to replace a bundle"
        )
    if target.is_symlink():
        raise FileError(f"bundle {str(target)!r} is a link; expected the folder itself, {str(target.resolve())!r}")
    if target.exists():
        check_replaceable(target)
