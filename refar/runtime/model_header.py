"""The versions in the bytes of an ONNX file, which onnxruntime does not tell: read without the package onnx.

An ONNX file is a protobuf message: ModelProto of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. It consists of fields. A
field is a tag, which is field number · 8 + wire type, and a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_IR_VERSION, _PRODUCER_NAME, _PRODUCER_VERSION, _OPSET_IMPORT = 1, 2, 3, 8
_DOMAIN, _VERSION = 1, 2


@dataclass(frozen=True)
class Header:
    """The fields of a ModelProto that say for which onnxruntime it is made: `opsets` {domain: version}."""

    ir: int
    producer: str
    producer_version: str
    opsets: dict[str, int]

    def __str__(self) -> str:
        opsets = ", ".join(f"opset {version}{domain and f' of {domain}'}" for domain, version in self.opsets.items())
        return f"IR {self.ir}, {opsets or 'no opset'}, producer {self.producer!r} {self.producer_version!r}"


def read_header(model: bytes) -> Header:
    """Read the versions of an ONNX file. Raises ValueError for bytes that are no protobuf message."""
    ir, texts, opsets = 0, {_PRODUCER_NAME: "", _PRODUCER_VERSION: ""}, dict[str, int]()
    for field, value in _fields(memoryview(model)):
        if field == _IR_VERSION and isinstance(value, int):
            ir = value
        elif field in texts and isinstance(value, memoryview):
            texts[field] = bytes(value).decode("utf-8", "replace")
        elif field == _OPSET_IMPORT and isinstance(value, memoryview):
            entry = dict(_fields(value))
            domain, version = entry.get(_DOMAIN, memoryview(b"")), entry.get(_VERSION, 0)
            if not isinstance(domain, memoryview) or not isinstance(version, int):
                raise ValueError("an opset is no domain with a version")
            opsets[bytes(domain).decode("utf-8", "replace")] = version
    return Header(ir, texts[_PRODUCER_NAME], texts[_PRODUCER_VERSION], opsets)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of each field; of one of fixed width nothing is used, and 0 is yielded."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:  # the wire type, of https://protobuf.dev/programming-guides/encoding
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(data, at)
            case 5:
                size = 4
            case other:
                raise ValueError(f"a field of the unknown wire type {other}")
        if at + size > len(data):
            raise ValueError("a field that is longer than the file")
        yield tag >> 3, data[at : at + size] if tag & 7 == 2 else 0
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read a number of 7 bits a byte, the lowest first; returns it and where it ends."""
    value = 0
    for n in range(10):
        if at + n >= len(data):
            raise ValueError("a number that ends with the file")
        value |= (data[at + n] & 127) << 7 * n
        if data[at + n] < 128:
            return value, at + n + 1
    raise ValueError("a number of more than 64 bits")
