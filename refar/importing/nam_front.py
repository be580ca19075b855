"""`from_nam`: a file of Neural Amp Modeler as a graph, with its parameters and what the file says of itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args

from msgspec import Meta, Struct

from refar.analysis.causality import receptive_field
from refar.analysis.facts import facts
from refar.arguments.arrays import check_parameters
from refar.errors import GraphError, InputError
from refar.graph.graph import Padding
from refar.importing.imported import Imported, ImportReport
from refar.importing.nam_model import NamModel, decoded, read_model
from refar.importing.nam_net import NamNet, NamNetwork
from refar.importing.nam_simple import read_convnet, read_linear
from refar.importing.nam_wavenet import read_wavenet
from refar.importing.refusal import ImportRefused

REFUSED = {
    "LSTM": "a recurrent network: its state is not a window of past values",
    "CatLSTM": "a recurrent network with knobs as further inputs",
    "CatWaveNet": "a network with knobs as further inputs",
    "PackedWaveNet": "several networks in one set of weights; NAM exports them as a SlimmableContainer",
}
"""Of architectures that are known and not taken: what each is."""


class Submodel(Struct, frozen=True, forbid_unknown_fields=True):
    """One model of a container: it is the one for sizes below `max_value`."""

    max_value: float
    model: Any


class ContainerConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The config of a SlimmableContainer: models from the smallest to the largest."""

    submodels: Annotated[list[Submodel], Meta(min_length=1)]


class SequentialConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The config of a Sequential: models that follow each other, each whole in itself, or below `model`."""

    models: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    weights_version: Any = None


@dataclass(frozen=True)
class Chain(NamNetwork):
    """Models of which each takes what the one before it gives."""

    models: list[NamNetwork]

    def add(self, net: NamNet, x: str, name: str) -> str:
        """Add the nodes of all models, below `name` and the number of each."""
        for i, model in enumerate(self.models):
            x = model.add(net, x, f"{name}models.{i}.")
        return x


def import_nam(path: str | Path, *, size: float | None, padding: Padding) -> Imported:
    """See `refar.from_nam`."""
    if size is not None and (isinstance(size, bool) or not isinstance(size, int | float) or not 0 <= size <= 1):
        raise InputError(f"size: expected a number from 0 to 1, got {size!r}")
    if padding not in get_args(Padding):
        raise InputError(f"padding: expected one of {', '.join(get_args(Padding))}, got {padding!r}")
    file = read_model(path)
    model, left = _chosen(file, size)
    network, net = _opened(model, left), NamNet()
    try:
        output = network.add(net, net.builder.input(channels=network.inputs), "")
        graph = net.builder.build(output, padding=padding)
    except GraphError as error:  # of what refar has, but not with these numbers
        raise ImportRefused(f"{path}: {error}") from None
    params = check_parameters(facts(graph), net.params)
    field = receptive_field(graph)
    assert isinstance(field, int)  # of a graph over time
    notes = [] if model is file else [f"of the models in the file the one at {model.spot.field}"]
    notes += net.notes if network.rate else [*net.notes, "the file has no sample rate; NAM takes such a file to be of 48000 Hz"]
    report = ImportReport(field, padding, net.origins, math.nan, math.nan, (), tuple(notes))
    return Imported(graph, params, report, _metadata(file, model, network.rate))


def _chosen(model: NamModel, size: float | None) -> tuple[NamModel, float | None]:
    """Return the model of a container that is the one for a size, the last for none; any other model as it is, with the size."""
    if model.architecture != "SlimmableContainer":
        return model, size
    _require_no_weights(model, "each of its submodels has its own")
    submodels = decoded(model.config, ContainerConfig, str(model.spot.at("config"))).submodels
    limits = [submodel.max_value for submodel in submodels]
    if sorted(set(limits)) != limits or limits[-1] < 1:
        raise ImportRefused(f"{model.spot.at('config.submodels')}: expected rising values of max_value, the last 1, got {limits}")
    last = len(limits) - 1
    i = last if size is None else next((i for i, limit in enumerate(limits) if size < limit), last)
    return _chosen(model.inner(submodels[i].model, f"submodels[{i}].model"), None)


def _opened(model: NamModel, size: float | None = None) -> NamNetwork:
    """Read a model and those inside of it. Raises ImportRefused for what refar cannot take."""
    model, size = _chosen(model, size)
    name = model.architecture
    if name == "WaveNet":
        return read_wavenet(model, size, _opened)
    if name in REFUSED:
        raise ImportRefused(f"{model.spot}: architecture {name!r} is not taken: {REFUSED[name]}")
    if name not in _READERS:
        known = ", ".join(["WaveNet", *_READERS, "SlimmableContainer"])
        raise ImportRefused(f"{model.spot.at('architecture')}: expected one of {known}, got {name!r}")
    if size is not None:
        raise ImportRefused(f"{model.spot}: size: expected a file of several sizes, got one of architecture {name!r}")
    return _READERS[name](model)


def _read_sequential(model: NamModel) -> Chain:
    config = decoded(model.config, SequentialConfig, str(model.spot.at("config")))
    field = "models" if config.models else "layers"
    given = config.models or config.layers
    if not given:
        raise ImportRefused(f"{model.spot.at('config.models')}: expected a list of models, got none")
    _require_no_weights(model, "each of its models has its own")
    models = [_opened(model.inner(raw.get("model", raw), f"{field}[{i}]")) for i, raw in enumerate(given)]
    rates = {part.rate for part in models if part.rate is not None}
    if len(rates) > 1:
        came = " and ".join(f"{rate:g}" for rate in sorted(rates))
        raise ImportRefused(f"{model.spot.at('config')}.{field}: expected models of one sample rate, got {came}")
    for i, (before, after) in enumerate(pairwise(models)):
        if before.outputs != after.inputs:
            expected = f"a model that takes the {before.outputs} channels of the one before it"
            raise ImportRefused(f"{model.spot.at('config')}.{field}[{i + 1}]: expected {expected}, got one of {after.inputs}")
    return Chain(models[0].inputs, models[-1].outputs, next(iter(rates), model.rate), models)


def _require_no_weights(model: NamModel, why: str) -> None:
    if model.weights:
        raise ImportRefused(
            f"{model.spot.at('weights')}: expected none of a {model.architecture}, got {len(model.weights)}; {why}"
        )


_READERS: dict[str, Callable[[NamModel], NamNetwork]] = {
    "ConvNet": read_convnet,
    "Linear": read_linear,
    "Sequential": _read_sequential,
    "sequential": _read_sequential,
}
"""What reads each architecture but WaveNet, which may be read in several sizes."""


def _metadata(file: NamModel, model: NamModel, rate: float | None) -> dict[str, str]:
    """What the file says of itself and of the model that was chosen, as texts: those of the model count."""
    said = {**file.metadata, **model.metadata, "nam_version": model.version, "nam_architecture": model.architecture}
    if rate is not None:
        said["sample_rate"] = int(rate) if rate.is_integer() else rate
    return {name: each if isinstance(each, str) else json.dumps(each) for name, each in said.items() if each is not None}
