"""The table [data] of a config: which data, and how they are cut, scaled and divided."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from refar.errors import InputError, near

Part = Annotated[float, Meta(gt=0, lt=1)]
Several = Annotated[int, Meta(ge=2)]

KINDS: dict[str, tuple[str, ...]] = {
    ".npz": ("valid", "test"),
    ".npy": ("valid", "test", "window", "hop", "split", "scale", "levels"),
    "table": ("valid", "test", "window", "hop", "split", "scale", "levels", "column", "separator"),
    "sound": ("valid", "test", "window", "hop", "split", "scale", "levels", "rate", "mono", "quantize", "condition"),
    "pictures": ("valid", "test", "split", "levels", "size", "colours", "fit", "condition"),
    "idx": ("valid", "levels"),
    "mnist": ("levels",),
    "built-in": (),
}
"""Which options of [data] each kind of data takes, besides `name` or `path` and `licence`."""

NOUNS = {
    ".npz": "an .npz file", ".npy": "an .npy file", "table": "tables (.csv)", "sound": "sound (.wav, .flac)",
    "pictures": "pictures (.png, .jpg)", "idx": "a folder of IDX files", "mnist": "MNIST", "built-in": "built-in data",
}  # fmt: skip


class DataConfig(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """[data]: a built-in data set by `name`, or a file or folder by `path`; exactly one of them.

    The kind of data follows from the ending of the file, or of the files in the folder; each kind takes the options of `KINDS`.
    `window` is the length of the sequences that a series or recording is cut into; training draws them at random places, or
    every `hop` values if that is given. `split` divides at "random" (whole files or rows), by "time" (the end of each
    recording is held out), or by "rows" (the lowest rows of each picture); `valid` and `test` are the parts held out.
    `scale` "standard" subtracts the mean and divides by the standard deviation of the training part. `levels` makes classes
    of numbers. `column` names a column of a table, or several, the channels of one series. `rate` is in Hz; `mono` averages
    the channels of sound; `quantize` says how sound becomes classes. `size` is "HEIGHTxWIDTH", `colours` "grey" or "rgb",
    `fit` what happens to pictures of another size. `condition` "folder" makes the name of a file's folder its class.
    """

    name: str | None = None
    path: str | None = None
    column: str | list[str] | None = None
    separator: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    window: Several | None = None
    hop: Annotated[int, Meta(ge=1)] | None = None
    split: Literal["random", "time", "rows"] | None = None
    valid: Part = 0.1
    test: Part = 0.1
    scale: Literal["standard", "none"] | None = None
    rate: Annotated[int, Meta(ge=1)] | None = None
    mono: bool = False
    quantize: Literal["mu-law", "linear", "none"] | None = None
    levels: Several | None = None
    size: str | None = None
    colours: Literal["grey", "rgb"] | None = None
    fit: Literal["exact", "resize", "tiles"] = "exact"
    condition: Literal["folder"] | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        if (self.name is None) == (self.path is None):
            raise ValueError("expected either `name`, a built-in data set, or `path`, a file or folder")
        if self.size is not None and re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.size) is None:
            raise ValueError(f"size: expected HEIGHTxWIDTH, as in 16x16, got {self.size!r}")
        if self.valid + self.test >= 1:
            raise ValueError(
                f"expected valid + test below 1, so that something is left to train on, got {self.valid + self.test}"
            )

    @property
    def source(self) -> str:
        """The name or the path."""
        return self.name or self.path or ""

    @property
    def title(self) -> str:
        """The name of the data in messages and logs."""
        return self.name or Path(self.path or "").name

    @property
    def height_width(self) -> tuple[int, int] | None:
        """`size` as two numbers."""
        if self.size is None:
            return None
        height, _, width = self.size.partition("x")
        return int(height), int(width)

    def given(self) -> list[str]:
        """The options that differ from their defaults, besides `name`, `path` and `licence`."""
        return [name for name in msgspec.to_builtins(self) if name not in ("name", "path", "licence")]


def check_options(config: DataConfig, kind: str) -> None:
    """Raise InputError for an option that this kind of data does not take, saying for which kinds it is."""
    for option in config.given():
        if option not in KINDS[kind]:
            takers = [NOUNS[other] for other, options in KINDS.items() if option in options]
            takes = ", ".join(KINDS[kind]) or "none"
            raise InputError(
                f"data {config.title!r}: `{option}` is for {', '.join(takers)}; the options for {NOUNS[kind]} are {takes}"
                f"{near(option, KINDS[kind])}"
            )
