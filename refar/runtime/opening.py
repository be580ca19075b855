"""A bundle from a folder: as it stands, or made anew from its graph and parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from refar.arguments.arrays import Arrays
from refar.errors import BackendError, FileError
from refar.files import as_path
from refar.graph.graph import Graph
from refar.runtime.bundle import FULL, MANIFEST, BundleManifest
from refar.runtime.bundle_files import (
    Bundle,
    decode_version_1,
    is_version_1,
    raw_manifest,
    read_checked,
    read_manifest,
    read_vectors,
    read_weights,
)

_LARGEST = 2**31
"""Bytes of a model of version 1: the limit of its format."""


def open_bundle(path: str | Path, *, rebuild: bool = False) -> Bundle:
    """Open a bundle, or with `rebuild` its graph and parameters alone, of which the models are made anew.

    One of version 1 is made anew from the parameters in its full.onnx, and is refused under `rebuild`. Raises FileError for what
    is damaged, and where onnx is needed and not installed.
    """
    folder = as_path(path)
    data, raw = raw_manifest(folder)
    if is_version_1(raw):
        if rebuild:
            raise FileError(
                f"bundle {str(folder)!r} is one of version 1, whose parameters stand in its models alone, which are not to be "
                "opened; export the run again: refar export RUN -o BUNDLE"
            )
        return _of_version_1(folder, data, raw)
    bundle = Bundle(folder, read_manifest(folder))
    if not rebuild:
        return bundle
    manifest = bundle.manifest
    options: dict[str, Any] = {
        "spare": manifest.spare,
        "dtype": manifest.dtype,
        "int8": manifest.int8,
        "sampler": manifest.sampler,
    }
    return _remade(folder, manifest.graph, lambda: read_weights(bundle), manifest.metadata, **options)


def _of_version_1(folder: Path, data: bytes, raw: object) -> Bundle:
    """Make a bundle of version 1 anew, whose parameters stand in full.onnx."""
    manifest = decode_version_1(folder, data, raw)
    model = read_checked(folder, FULL, manifest.files.get(FULL, ""), _LARGEST)

    def weights() -> Arrays:
        from refar_export.version_1 import of_model

        return of_model(model, manifest.graph, folder)

    return replace(_remade(folder, manifest.graph, weights, manifest.metadata, " is one of version 1"), of_version_1=True)


def _remade(
    folder: Path, graph: Graph, weights: Callable[[], Arrays], metadata: dict[str, str], why: str = "", **options: Any
) -> Bundle:
    """Make every file anew in memory: the one thing here that needs onnx. `options` are those of `files_of`."""
    try:
        from refar_export.contents import files_of
    except (BackendError, ModuleNotFoundError):
        raise FileError(
            f"bundle {str(folder)!r}{why}: its models are made anew, which needs onnx: pip install 'refar[export]'; "
            "or export the run again where onnx is installed: refar export RUN -o BUNDLE"
        ) from None
    try:
        files = files_of(graph, weights(), metadata=metadata, check=False, **options)
    except MemoryError:
        raise FileError(f"bundle {str(folder)!r}: its models are too large to be made anew in this memory") from None
    return Bundle(folder, msgspec.json.decode(files.pop(MANIFEST), type=BundleManifest), files)


def check_vectors(bundle: Bundle) -> Arrays:
    """The oracle's check vectors; of a bundle that was made anew they are computed when they are asked for."""
    if bundle.made is None:
        return read_vectors(bundle)
    from refar_export.vectors import vectors

    return vectors(bundle.manifest.graph, read_weights(bundle))
