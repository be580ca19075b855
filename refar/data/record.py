"""The record of the data in a run and a bundle: enough to read them again as they were, and to find the way back to units."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from refar.data.dataset import Dataset
from refar.data.described import DataConfig
from refar.data.division import Division
from refar.data.meaning import Meaning
from refar.errors import FileError, newer


class Record(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The table [data], what the numbers mean, how they were divided, and the SHA-256 of each split."""

    table: DataConfig
    meaning: Meaning = Meaning()
    division: Division | None = None
    digests: dict[str, str] = {}
    licence: str = "unknown"
    source: str = "unknown"


def record_of(table: DataConfig, data: Dataset) -> Record:
    """The record of data as `load` gives them."""
    digests = {name: data.digest_of(name) for name in data.splits}
    return Record(table, data.meaning, data.division, digests, data.licence, data.source)


def to_text(record: Record, *, indent: int = 2) -> str:
    """JSON that `from_json` reads; equal records give equal text."""
    return msgspec.json.format(msgspec.json.encode(record), indent=indent).decode()


def from_json(text: str | bytes, origin: str) -> Record:
    """Read what `to_text` wrote. Raises FileError, naming `origin`, for anything else."""
    try:
        return msgspec.json.decode(text, type=Record)
    except msgspec.ValidationError as error:
        raise FileError(f"{origin}: {newer(str(error), 'records without it')}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(f"{origin}: expected JSON as training writes it: {error}") from None
