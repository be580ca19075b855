"""The config of `refar train`: a TOML file with the tables [model], [data], [encoder], [loss] and [train], decoded strictly."""

from __future__ import annotations

import difflib
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from refar import models
from refar.building.text import load
from refar.data.dataset import Dataset, guessed_last
from refar.data.described import DataConfig
from refar.errors import FileError, GraphError, InputError, maybe_newer
from refar.graph.graph import Graph
from refar.training.loss_config import LossConfig

Natural = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]


class TrainConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """[train]: AdamW on the mean nats per value.

    The learning rate rises linearly over `warmup` steps; `schedule="cosine"` also lets it fall to 0 as ½(1 + cos(π·step/steps)).
    Weight decay applies to weights, not to biases. `gradient_clip` bounds the norm of the whole gradient. `ema` is the decay
    of an average of the weights, min(ema, (1+step)/(10+step)); 0 means none. `augment="shift"` moves a picture by up to one
    pixel each way, zeros coming in, with `augment_probability`. A step computes its `batch` in `accumulate` parts, which need
    less memory and give the same gradient.

    Validation and checkpoints come every so many steps, and at the end. `patience` ends the training after so many
    validations without a new best; 0 means never. Validation takes so many sequences at once that the widest layer has at most
    `validation_values` values; one that is longer is taken in parts. `samples_every` steps a sample is drawn; 0 means
    none. `tensorboard` writes the figures of the log for TensorBoard too.

    `precision="bf16"` computes the network in bfloat16 by autocast; parameters, loss and validation stay float32. `compile`
    gives the network to torch.compile. `tf32` lets CUDA round factors of float32 products to TF32. `threads=0` leaves PyTorch's
    number of threads.
    """

    steps: Positive = 1000
    batch: Positive = 64
    learning_rate: Annotated[float, Meta(gt=0)] = 2e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: Natural = 0
    weight_decay: Rate = 0.0
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    gradient_clip: Annotated[float, Meta(gt=0)] | None = None
    ema: Fraction = 0.0
    augment: Literal["none", "shift"] = "none"
    augment_probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    accumulate: Positive = 1
    seed: Natural = 0
    validate_every: Positive = 100
    checkpoint_every: Positive = 100
    patience: Natural = 0
    validation_values: Positive = 2**22
    samples_every: Natural = 0
    tensorboard: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    tf32: bool = False
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field}: expected a finite number, got {value}")


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. [model] holds `name`, a built-in model, with its options; or `graph`, the path of a graph.json.

    [encoder] holds `factory`, "package.module:function", which makes a torch.nn.Module; which array of the data it `reads`, "x"
    unless it says another; the `condition` of the graph that it makes, if there are several; and options of the factory.
    """

    model: dict[str, Any]
    data: DataConfig
    train: TrainConfig = TrainConfig()
    loss: LossConfig = LossConfig()
    encoder: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if ("name" in self.model) == ("graph" in self.model):
            raise ValueError("model: expected either `name`, a built-in model, or `graph`, the path of a graph.json")
        if "graph" in self.model and len(self.model) > 1:
            raise ValueError(f"model: `graph` takes no options, got {', '.join(self.model.keys() - {'graph'})}")
        if not isinstance(self.model.get("name", self.model.get("graph")), str):
            raise ValueError(f"model: expected text for `name` or `graph`, got {next(iter(self.model.values()))!r}")
        if self.encoder is not None and not isinstance(self.encoder.get("factory"), str):
            raise ValueError("encoder: expected `factory`, as in factory = 'package.module:function'")

    @property
    def graph(self) -> Graph:
        """The network that [model] describes. Raises GraphError or FileError if there is none."""
        if "graph" in self.model:
            return load(self.model["graph"])
        options = {key: value for key, value in self.model.items() if key != "name"}
        return models.by_name(self.model["name"], options, strict=True)

    def completed(self, data: Dataset) -> Config:
        """The config with what [model] leaves out and the data know: `classes`, or `signal`; `channels` of images; the condition.

        The condition is added only if [data] asks for one; `signal` not to a model of classes, nor `classes` to one of a signal.
        Raises InputError where arrays would get more channels than positions, since the channels are likely to come last.
        """
        if "graph" in self.model:
            return self
        known: dict[str, Any] = {}
        if data.classes and self.model.get("signal") is None:
            known["classes"] = data.classes
        if not data.classes and self.model.get("classes") is None and data.valid.x.ndim == 3:
            known["signal"] = data.valid.x.shape[1]
        if data.meaning.kind == "picture":
            known["channels"] = data.meaning.channels
        if self.data.condition is not None and data.condition_classes:
            known["condition"] = f"class:{data.condition_classes}"
        options = models.options_of(self.model["name"])
        added = {name: value for name, value in known.items() if name in options and name not in self.model}
        if "signal" in added and data.window is None and (hint := guessed_last(data.train.x)):
            count = added["signal"]
            kept = f"or write signal = {count} in [model] if they are channels"
            raise InputError(f"data {data.name!r}: x would be a signal of {count} channels{hint}, {kept}")
        return msgspec.structs.replace(self, model={**self.model, **added})


def load_config(path: str | Path) -> Config:
    """Read a config; paths in it are relative to its folder. Raises FileError, or InputError naming the field that is wrong."""
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FileError(f"config {str(path)!r} cannot be read: {error.strerror}") from None
    return parse_config(text, path.parent, str(path))


def parse_config(text: str | bytes, folder: str | Path = ".", origin: str = "config") -> Config:
    """Decode TOML; `folder` is where relative paths begin, `origin` is what errors call the text."""
    try:
        config = msgspec.toml.decode(text, type=Config)
    except msgspec.ValidationError as error:
        raise InputError(f"{origin}: {_sentence(str(error), msgspec.toml.decode(text))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{origin}: not TOML: {error}") from None
    model, data = config.model, config.data
    if "graph" in model:
        model = {"graph": str(Path(folder, model["graph"]).absolute())}
    if data.path is not None:
        data = msgspec.structs.replace(data, path=str(Path(folder, data.path).absolute()))
    return msgspec.structs.replace(config, model=model, data=data)


def to_toml(config: Config) -> str:
    """The config with every value spelled out; `parse_config` reads it back as it was."""
    tables = {"model": config.model} | ({} if config.encoder is None else {"encoder": config.encoder})
    tables |= {"data": msgspec.to_builtins(config.data), "loss": msgspec.to_builtins(config.loss)}
    tables["train"] = msgspec.to_builtins(config.train)
    return "\n".join(
        f"[{table}]\n" + "".join(f"{key} = {_value(f'{table}.{key}', v)}\n" for key, v in values.items() if v is not None)
        for table, values in tables.items()
    )


def _value(key: str, value: Any) -> str:
    if isinstance(value, dict):
        raise GraphError(f"config: {key}: expected a number, text or a list, got {value!r}")
    # JSON's numbers, strings and lists are TOML's too, but for the character DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_WORDS = {"`": "", " | null": "", ">=": "≥", "<=": "≤", "object": "a table", "array": "a list", "int": "an integer"}
_WORDS |= {"float": "a number", "str": "text", "bool": "true or false", " | ": " or "}


def _sentence(message: str, document: Any) -> str:
    """What msgspec says, beginning with the field's name and ending with what came."""
    problem, _, path = message.partition(" - at `$.")
    place = path.removesuffix("`")
    keys = re.findall(r"\w+", place)
    for key in keys:
        document = document[int(key)] if isinstance(document, list) else document[key]
    tables: dict[str, type[Struct]] = {"train": TrainConfig, "data": DataConfig, "loss": LossConfig}
    kind = tables.get(keys[0], Config) if keys else Config
    if problem.startswith("Invalid enum value"):
        hints = get_args(get_type_hints(kind)[keys[-1]])
        choices = [choice for hint in hints for choice in get_args(hint) or (hint,) if choice is not type(None)]
        problem = f"expected {' or '.join(map(repr, choices))}, got {document!r}"
    elif "missing required field `" in problem:
        name = problem.split("`")[1]
        problem = f"expected a field `{name}`" if place else f"expected a table [{name}]"
    elif problem.startswith("Expected"):
        expected, _, _ = problem.removeprefix("Expected ").partition(", got")
        for word, ours in _WORDS.items():
            expected = expected.replace(word, ours)
        problem = f"expected {expected}, got {document!r}"
    elif "unknown field `" in problem:
        name = problem.split("`")[1]
        near = difflib.get_close_matches(name, kind.__struct_fields__, 1)
        problem = f"unknown field `{name}`; "
        problem += f"did you mean `{near[0]}`?" if near else f"the fields are {', '.join(kind.__struct_fields__)}"
        problem = maybe_newer(problem)
    return f"{place}: {problem}" if place else problem
