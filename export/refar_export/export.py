"""Writing a bundle: all files beside each other, or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from refar.analysis.facts import facts
from refar.analysis.int8_products import InputScale, int8_products
from refar.analysis.sampler import require_sampler
from refar.arguments.arrays import Arrays, Data, bind_inputs, check_parameters
from refar.arguments.encoder import EncoderModel
from refar.errors import BackendError, FileError, InputError
from refar.files import writing
from refar.graph.graph import Graph, pruned, require_head
from refar.noise import check_top_k
from refar.runtime.bundle import Dtype, Sampler
from refar.runtime.bundle_files import check_replaceable

if TYPE_CHECKING:
    from torch.nn import Module

    from refar_export.against_module import Original

try:
    from refar_export.contents import files_of
except ModuleNotFoundError as error:
    if error.name != "onnx":
        raise
    raise BackendError("refar_export needs onnx; install it with: pip install 'refar[export]'") from None


def export(
    graph: Graph,
    params: Mapping[str, ArrayLike] | Module,
    path: str | Path,
    *,
    metadata: Mapping[str, str] | None = None,
    spare: int = 0,
    block: bool = True,
    dtype: Dtype = "float32",
    quantize: Literal["int8"] | None = None,
    calibration: Data | None = None,
    sampler: bool = False,
    top_k: int | None = None,
    encoder: EncoderModel | None = None,
    verify: bool | Module = False,
    overwrite: bool = False,
) -> Path:
    """Write a bundle into the folder `path`: the ONNX models, the parameters, check vectors and bundle.json.

    `params` may be the module that has them under the graph's names: see `refar.torch.parameters`. The bundle is then verified
    against that module.
    Parameters are rounded to `dtype`, "float32" or "float16", and stored in it; ports, state and arithmetic are float32, so a
    bundle in float16 is about half as large and runs as any other. `metadata` is kept in bundle.json. The last `spare` steps of
    a stream can be taken back.
    With quantize="int8" every convolution over time multiplies integers of 8 bits. `calibration` is then needed: sequences such
    as the network will meet, or a mapping with all inputs. From their ranges follow the scales, and some of them are kept in
    check.safetensors. Parameters lie in the bundle in float32, and all else is computed so.
    With `sampler` the bundle holds sampler.onnx too, which draws tokens in the graph: see `Session.generate`. With `top_k` it
    draws of so many of the largest logits.
    `encoder` is a model that makes one of the conditions, as `refar.torch.encoder_model` gives it for a run; it becomes
    encoder.onnx.
    With `verify` the new bundle is run in onnxruntime against the oracle first, or, in int8, its models against each other (see
    `refar_export.verify`), and is not left behind if it disagrees. With verify=module, the PyTorch module that the network was
    taken from, the graph is held against the module before, in float64 and to 1e-9 of each channel's largest value, or to 1e-4
    with parameters that were rounded; then full, prefill, step and block are, within what float32 may be off, which may be 1e-3
    at most. A strict graph may be the module one position later. Of a bundle in int8 the graph alone is held against it.
    The folder appears only when it is complete. With `overwrite` it may replace a bundle, as it was exported, in a folder that
    holds nothing else. `block` has no meaning any more: block.onnx is always written.
    Nodes that the output does not need are left out, with their parameters and state.
    Raises FileError for anything else that is there, ParameterError, GraphError and InputError for what cannot be exported,
    ParameterError and BackendError for a module that disagrees.
    """
    from refar_export.against_module import require_module
    from refar_export.encoder_file import require_encoder
    from refar_export.verify import require

    if dtype not in get_args(Dtype):
        raise InputError(f"dtype: expected one of {', '.join(get_args(Dtype))}, got {dtype!r}")
    _check_quantize(quantize, calibration, dtype)
    target = Path(path)
    _check_free(target, overwrite)
    drawing = _sampler(graph, sampler, top_k)
    given, original = _taken(graph, params, verify)
    weights = {name: array.astype(np.float32) for name, array in given.items()}
    check_parameters(facts(graph), weights)  # what float32 cannot hold is infinite now
    graph = pruned(graph)
    weights = {name: weights[name] for name in facts(graph).parameters}
    scales, examples = ({}, {}) if calibration is None else _calibrated(graph, weights, calibration)
    options: dict[str, Any] = {"spare": spare, "metadata": metadata, "dtype": dtype, "sampler": drawing}
    files = files_of(graph, weights, **options, int8=scales, calibration=examples, encoder=encoder)
    with writing(target), _beside(target) as folder:
        fresh = Path(folder) / "bundle"
        fresh.mkdir()
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        if original is not None and quantize is None:
            require_module(fresh, original, given)
        if verify or original is not None:
            require(fresh)
        if (verify or original is not None) and encoder is not None:
            require_encoder(encoder)
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


def _taken(graph: Graph, params: Mapping[str, ArrayLike] | Module, verify: bool | Module) -> tuple[Arrays, Original | None]:
    """The parameters, checked, and the module that they are held against, if there is one; PyTorch is needed for that alone."""
    taken: Any = params
    original: Original | None = None
    if isinstance(params, Mapping) or not hasattr(params, "named_parameters"):
        given = check_parameters(facts(graph), taken)
    else:
        from refar.importing.torch_parameters import referred

        given, original = referred(params, graph)
    if not isinstance(verify, bool):
        if not hasattr(verify, "named_parameters"):
            raise InputError(f"verify: expected True, False or a torch.nn.Module, got {verify!r}")
        from refar.importing.torch_reference import reference

        original = reference(verify, graph, given)
    return given, original


def _check_quantize(quantize: str | None, calibration: Data | None, dtype: str) -> None:
    """Raise InputError unless int8 comes with calibration data and float32, and nothing else comes with either."""
    if quantize not in (None, "int8"):
        raise InputError(f"quantize: expected 'int8' or None, got {quantize!r}")
    if quantize is None and calibration is not None:
        raise InputError("calibration: expected quantize='int8' with it, got None")
    if quantize is not None and calibration is None:
        raise InputError(
            "calibration: expected sequences such as the network will meet, from which int8 takes its scales; got None"
        )
    if quantize is not None and dtype != "float32":
        raise InputError(f"quantize: int8 goes with dtype 'float32', in which all else is computed; got {dtype!r}")


def _sampler(graph: Graph, sampler: bool, top_k: int | None) -> Sampler | None:
    """Say what sampler.onnx is to be. Raises GraphError and InputError where tokens cannot be drawn so."""
    if not sampler:
        if top_k is not None:
            raise InputError(f"top_k: expected sampler=True with it, whose model draws of so many classes; got {top_k!r}")
        return None
    require_sampler(facts(graph))
    check_top_k(require_head(graph, "sampler"), top_k, facts(graph).types[graph.output].size)
    return Sampler(top_k)


def _calibrated(graph: Graph, weights: Arrays, calibration: Data) -> tuple[dict[str, InputScale], Arrays]:
    """The scales of int8, and the calibration data that are kept. Raises InputError for data that do not fit the graph."""
    from refar_export.calibration import input_scales, kept

    int8_products(facts(graph))
    try:
        inputs = bind_inputs(facts(graph), calibration)
    except InputError as error:
        raise InputError(f"calibration: {error}") from None
    inputs = {name: array if array.dtype == np.int64 else array.astype(np.float32) for name, array in inputs.items()}
    return input_scales(graph, weights, inputs), kept(graph, inputs)


@contextmanager
def _beside(target: Path) -> Iterator[str]:
    """A temporary folder where `target` will be, so that it can be moved there at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        yield folder


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
