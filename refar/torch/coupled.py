"""The modules that are trained: a network alone, or an encoder and its decoder, of which it makes a condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from refar.arguments.arrays import Array, Arrays
from refar.arguments.encoder import Encoder
from refar.data import Split
from refar.graph.graph import Graph
from refar.torch.module import Module
from refar.training.runs import OF_ENCODER


class Coupled(nn.Module):
    """A network whose condition `described.condition`, a vector c_bc, is encoder(a): `reads` says of which array a of the data.

    That is "x", the sequence itself, or one of the data's conditions. In every other respect it is used as a `Module`.
    """

    def __init__(self, decoder: Module, encoder: nn.Module, described: Encoder) -> None:
        super().__init__()
        self.decoder, self.encoder, self.described = decoder, encoder, described
        self.condition, self.reads = described.condition, described.reads

    @property
    def graph(self) -> Graph:
        """The graph of the decoder."""
        return self.decoder.graph

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of what is taken from the data beside the sequence."""
        given = tuple(name for name in self.decoder.conditions if name != self.condition)
        return given if self.reads in ("x", *given) else (*given, self.reads)

    def forward(self, x: Tensor, conditions: Mapping[str, Tensor], dropped: Mapping[str, Tensor] | None = None) -> Tensor:
        """The output of the decoder for a whole sequence or image; `conditions` hold what `conditions` names."""
        output: Tensor = self.decoder(x, self._encoded(x, conditions), dropped)
        return output

    def forward_everywhere(self, x: Tensor, conditions: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As `Module.forward_everywhere`."""
        return self.decoder.forward_everywhere(x, self._encoded(x, conditions))

    def _encoded(self, x: Tensor, conditions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = as_given(x if self.reads == "x" else conditions[self.reads])
        kept = {name: conditions[name] for name in self.decoder.conditions if name != self.condition}
        return kept | {self.condition: self.encoder(given)}

    def encode(self, split: Split) -> Array:
        """Return the condition c_bc of some examples, as it is in use, without dropout and the like."""
        read = split.x if self.reads == "x" else split.conditions[self.reads]
        training, device = self.training, next(self.parameters()).device
        self.eval()
        try:
            with torch.no_grad():
                return _array(self.encoder(as_given(torch.tensor(np.asarray(read))).to(device)))
        finally:
            self.train(training)

    def arrays(self) -> Arrays:
        """All parameters, and the buffers of the encoder, by names that tell the two apart."""
        of_encoder = {f"{OF_ENCODER}{name}": _array(value) for name, value in self.encoder.state_dict().items()}
        return self.decoder.arrays() | of_encoder

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take what `arrays` gives. Raises ParameterError or RuntimeError for what is missing, surplus or misshapen."""
        of_encoder = {name.removeprefix(OF_ENCODER): torch.tensor(array) for name, array in state_dict.items() if _of(name)}
        self.encoder.load_state_dict(of_encoder, strict, assign)
        return self.decoder.load_state_dict({name: a for name, a in state_dict.items() if not _of(name)}, strict, assign)


Network = Module | Coupled


def as_given(array: Tensor) -> Tensor:
    """Return the array that an encoder reads as a tensor: class indices as int64, numbers as float32."""
    return array.float() if array.is_floating_point() else array.long()


def _of(name: str) -> bool:
    return name.startswith(OF_ENCODER)


def _array(value: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = value.detach().cpu().numpy()
    return array.copy()
