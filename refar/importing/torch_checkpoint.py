"""A checkpoint of a module: read from a file, taken out of what trainers put around it, and held against the module."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from refar.errors import FileError

PICKLES = (".pt", ".pth", ".ckpt", ".bin")
_NESTED = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights")
"""Names under which trainers keep the parameters, beside the state of the optimiser."""
_SHOWN = 4


def load_checkpoint(module: torch.nn.Module, path: Path, warn: Callable[[str], None]) -> list[str]:
    """Put the parameters of a file into a module, and return what is to be said of it.

    The file is .safetensors, or a pickle of PyTorch, which is read with weights_only=True, and warned of. Parameters may lie
    under a name such as "state_dict", and all their names may begin with one part that the module's do not have, as "module.".
    Raises FileError for a file that cannot be read, and naming the parameters that are missing, surplus, or of another shape.
    """
    state, notes = _read(path, warn), list[str]()
    for name in [name for name in _NESTED if isinstance(state.get(name), Mapping)]:
        if any(isinstance(value, torch.Tensor) for value in state[name].values()):
            state = dict(state[name])
            notes.append(f"the parameters are those under {name!r} in {path.name}")
            break
    others = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if others or not state:
        came = f"{type(state[others[0]]).__name__} under {others[0]!r}" if others else "nothing"
        raise FileError(f"checkpoint {str(path)!r}: expected tensors by their names, a state dict, got {came}")
    own = module.state_dict()
    first = next(iter(state)).partition(".")[0] + "."
    if not set(state) & set(own) and all(name.startswith(first) for name in state):
        state = {name.removeprefix(first): value for name, value in state.items()}
        notes.append(f"{first!r} was taken from the front of each name in {path.name}")
    _put(module, own, state, path)
    return notes


def _read(path: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix not in (".safetensors", *PICKLES):
        raise FileError(f"checkpoint {str(path)!r}: expected a name that ends in .safetensors, {', '.join(PICKLES)}")
    if not path.is_file():
        raise FileError(f"checkpoint {str(path)!r}: there is no such file")
    try:
        if suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path, device="cpu"))
        warn(f"{path.name} is a pickle; that it is read with weights_only=True is no protection against a file made to do harm")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise FileError(f"checkpoint {str(path)!r} cannot be read: {error.strerror or error}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, safetensors.SafetensorError) as error:
        if held := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
            do = "save module.state_dict(), best as .safetensors"
            raise FileError(f"checkpoint {str(path)!r} holds {held[1]}, which is no tensor, and is not unpickled; {do}") from None
        said = (str(error).splitlines() or [""])[0]
        raise FileError(f"checkpoint {str(path)!r} is damaged or of another kind: {said}") from None
    if not isinstance(found, Mapping):
        raise FileError(f"checkpoint {str(path)!r}: expected tensors by their names, a state dict, got {type(found).__name__}")
    return dict(found)


def _put(module: torch.nn.Module, own: Mapping[str, Any], state: dict[str, torch.Tensor], path: Path) -> None:
    """Load the parameters. Raises FileError naming all that do not fit."""
    differ = [name for name in own if name in state and own[name].shape != state[name].shape]
    misshapen = [f"{name!r} {tuple(state[name].shape)} for {tuple(own[name].shape)}" for name in differ]
    missing = [repr(name) for name in own if name not in state and not name.endswith("num_batches_tracked")]
    surplus = [repr(name) for name in sorted(state) if name not in own]
    if not misshapen:  # a module may know older names of its parameters
        found = module.load_state_dict(state, strict=False)
        missing, surplus = [repr(n) for n in found.missing_keys], [repr(n) for n in sorted(found.unexpected_keys)]
    problems = {"missing": missing, "surplus": surplus, "of another shape": misshapen}
    if any(problems.values()):
        said = "; ".join(f"{what}: {_listed(names)}" for what, names in problems.items() if names)
        raise FileError(f"checkpoint {str(path)!r} is of another architecture than {type(module).__name__}: {said}")


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
