"""GRAPH, RUN and BUNDLE on the command line: what a text means, and a helpful error if it means nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import refar
from refar import conceptual, conceptual_json, models
from refar.arguments.arrays import Arrays
from refar.errors import FileError, GraphError, near
from refar.graph.graph import Graph

if TYPE_CHECKING:
    from refar.arguments.encoder import EncoderModel
    from refar.data import Dataset
    from refar.training.config import Config

KINDS = "a graph.json, a built-in model, a run (written by 'refar train') or a bundle (written by 'refar export')"


@dataclass(frozen=True)
class Source:
    """A network from somewhere. `params` are those of a run; a bundle's stand in its weights.safetensors.

    `network`: the conceptual one, of which `graph` is the practical one. `config` is that of a training to come, on `data`.
    """

    kind: Literal["graph", "run", "bundle", "config"]
    graph: Graph
    title: str
    path: Path | None = None
    params: Arrays | None = None
    network: conceptual.Network | None = None
    config: Config | None = None
    data: Dataset | None = None


def open_source(text: str) -> Source:
    """Raises FileError or GraphError naming what was tried."""
    path = Path(text)
    if is_bundle(path):
        from refar.runtime.bundle_files import read_graph

        return Source("bundle", read_graph(path), f"bundle {text}", path)
    if is_run(path):
        from refar.training.runs import load_run

        graph, params, _ = load_run(path)
        return Source("run", graph, f"run {text}", path, params)
    if path.is_dir():
        raise FileError(f"{text!r} is a folder without bundle.json or config.toml; expected {KINDS}")
    if path.is_file():
        if (network := conceptual_json.find(path)) is not None:
            return Source("graph", conceptual.practical(network), f"conceptual network {text}", path, network=network)
        if path.suffix.lower() == ".toml":
            from refar import data as datasets
            from refar.training.config import load_config

            config = load_config(path)
            data = datasets.load(config.data)
            config = config.completed(data)
            return Source("config", config.graph, f"config {text}", path, config=config, data=data)
        return Source("graph", refar.load(path), f"graph {text}", path)
    name, _, options = text.partition(":")
    if name in models.NAMES:
        return Source("graph", models.by_name(name, parse_options(name, options)), f"model {text}")
    if "/" in text or path.suffix:
        raise FileError(f"{text!r}: there is no such file or folder{near_file(path)}; expected {KINDS}")
    raise GraphError(
        f"{text!r} is neither a file or folder nor a built-in model{near(name, models.NAMES) or near_file(path)}; "
        f"the models are {', '.join(models.NAMES)}"
    )


def is_bundle(path: Path) -> bool:
    """Whether a path is a folder that `export` wrote."""
    return (path / "bundle.json").is_file()


def is_run(path: Path) -> bool:
    """Whether a path is a folder that `train` wrote."""
    return (path / "config.toml").is_file()


def bundle_path(text: str) -> Path:
    """A path that must be a bundle. Raises FileError saying what it is instead, and what to do."""
    path = Path(text)
    if is_bundle(path):
        return path
    if not path.exists() and text.partition(":")[0] in models.NAMES:
        raise FileError(f"{text!r} is a built-in model, which is not trained; expected a bundle (written by 'refar export')")
    from refar.runtime.bundle_files import no_bundle

    raise FileError(no_bundle(path) + ("" if path.exists() else near_file(path, folders=True)))


def run_path(text: str) -> Path:
    """A path that must be a run. Raises FileError saying what it is instead."""
    path = Path(text)
    if is_run(path):
        return path
    if is_bundle(path):
        raise FileError(f"{text!r} is a bundle already; expected a run (written by 'refar train')")
    if path.is_dir():
        raise FileError(f"{text!r} is a folder without config.toml; expected a run (written by 'refar train')")
    if path.is_file():
        raise FileError(
            f"{text!r} is a file; expected the folder of a run (written by 'refar train'). A graph and its parameters go to ONNX "
            "with refar_export.export(graph, params, folder)"
        )
    raise FileError(f"{text!r}: there is no such run{near_file(path, folders=True)}")


def encoder_of(run: Path) -> EncoderModel | None:
    """Return the encoder of a run, which needs PyTorch; None if there is none, for which PyTorch need not be there."""
    from refar.runtime.bundle import OPSET
    from refar.training.runs import load_encoder

    if load_encoder(run) is None:
        return None
    from refar.torch import encoder_model

    return encoder_model(run, OPSET)


def parse_options(model: str, text: str) -> dict[str, str]:
    """'classes=8,dilations=1,2,4' → {"classes": "8", "dilations": "1,2,4"}: a piece without '=' goes on with the last value."""
    options: dict[str, str] = {}
    last = ""
    for piece in text.split(",") if text else []:
        key, equals, value = piece.partition("=")
        if equals and key in options:
            raise GraphError(f"model {model!r}: the option {key!r} is given twice")
        if equals:
            last = key
            options[last] = value
        elif last:
            options[last] += f",{piece}"
        else:
            raise GraphError(f"model {model!r}: expected options as in '{model}:name=value,…', got {piece!r}")
    return options


def near_file(path: Path, folders: bool = False) -> str:
    """The same for a name in the path's folder, of folders only if asked for."""
    try:
        names = tuple(p.name for p in path.parent.iterdir() if not p.name.startswith(".") and (p.is_dir() or not folders))
    except OSError:
        return f" (nor a folder {str(path.parent)!r})"
    return near(str(path), [str(path.with_name(name)) for name in names])
