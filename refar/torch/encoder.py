"""[encoder]: a module of the user's own that makes a condition of the network, trained together with it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from refar.analysis.facts import facts
from refar.arguments.encoder import Encoder
from refar.data import Dataset
from refar.errors import BackendError, InputError, near
from refar.torch.coupled import Coupled, as_given
from refar.torch.module import Module
from refar.training.encoded import encoded_condition

_OWN = ("factory", "reads", "condition")


def couple(table: Mapping[str, Any], decoder: Module, data: Dataset, seed: int) -> Coupled:
    """The network of [encoder] and its decoder. Raises InputError, GraphError or BackendError for what does not fit."""
    condition, reads = encoded_condition(table, decoder.graph, data), str(table.get("reads", "x"))
    if reads != "x" and reads not in data.train.conditions:
        held = ", ".join(map(repr, ("x", *data.train.conditions)))
        raise InputError(f"encoder.reads: expected an array of data {data.name!r} ({held}), got {reads!r}")
    if reads == condition:
        raise InputError(
            f"encoder.reads: {reads!r} is the condition that the encoder makes; call the array in the data condition_NAME, "
            "and read NAME"
        )
    encoder = make_encoder(table, seed)
    array = data.train.x if reads == "x" else data.train.conditions[reads]
    examples = as_given(torch.from_numpy(array[:2].copy()))
    _check_result(encoder, examples, facts(decoder.graph).types[condition].channels, str(table["factory"]))
    kind: Literal["int64", "float32"] = "float32" if examples.is_floating_point() else "int64"
    return Coupled(decoder, encoder, Encoder(condition, reads, kind, tuple(examples.shape[1:])))


def make_encoder(table: Mapping[str, Any], seed: int) -> nn.Module:
    """Call the factory with the other keys of [encoder] as options; what it draws at random is a function of the seed."""
    factory, options = str(table["factory"]), {name: value for name, value in table.items() if name not in _OWN}
    made = _find(factory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            encoder = made(**options)
        except TypeError as error:
            raise InputError(f"encoder.factory: {factory!r} does not take these options: {error}") from None
    if not isinstance(encoder, nn.Module):
        raise InputError(f"encoder.factory: expected {factory!r} to return a torch.nn.Module, got {type(encoder).__name__}")
    return encoder


def _find(factory: str) -> Any:
    """The function "package.module:name"; modules in the current folder are found, too."""
    module_name, _, name = factory.partition(":")
    if not module_name or not name:
        raise InputError(f"encoder.factory: expected 'package.module:function', got {factory!r}")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise BackendError(f"encoder.factory: {module_name!r} cannot be imported from {here!r}: {error}") from None
    finally:
        sys.path.remove(here)
    found = getattr(module, name, None)
    if not callable(found):
        raise InputError(f"encoder.factory: module {module_name!r} has no function {name!r}{near(name, vars(module))}")
    return found


def _check_result(encoder: nn.Module, examples: torch.Tensor, channels: int, factory: str) -> None:
    """Run the encoder once. Raises InputError unless it gives a vector for each example."""
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            found = encoder(examples)
    except Exception as error:  # a user's module raises whatever it raises
        shape = f"{examples.dtype} {tuple(examples.shape)}"
        raise InputError(
            f"encoder.factory: the module of {factory!r} fails on {shape}: {type(error).__name__}: {error}"
        ) from error
    finally:
        encoder.train(training)
    wanted = (len(examples), channels)
    if not isinstance(found, torch.Tensor) or tuple(found.shape) != wanted or not found.is_floating_point():
        came = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
        raise InputError(f"encoder.factory: expected the module of {factory!r} to return real numbers {wanted}, got {came}")
