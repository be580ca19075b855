"""The description of an encoder beside its decoder, as a run and a bundle hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct
from numpy.typing import NDArray


class Encoder(Struct, frozen=True, forbid_unknown_fields=True):
    """The `condition` that it makes, which array it `reads` ("x" is the sequence), and `dtype` and `shape` of an example of that.

    Class indices come as int64, numbers as float32, with the axis of the batch before `shape`.
    """

    condition: str
    reads: str
    dtype: Literal["int64", "float32"]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class EncoderModel:
    """An encoder as the bytes of an ONNX file, with examples and what the module that it was made from gives for them."""

    encoder: Encoder
    model: bytes
    examples: NDArray[Any]
    wanted: NDArray[Any]
