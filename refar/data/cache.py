"""Data sets that are fetched once and kept: where they lie, where they come from, and that they arrived whole."""

from __future__ import annotations

import gzip
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

from refar.data.idx import FILES, find
from refar.errors import FileError, InputError, near
from refar.files import replacing, sha256
from refar.locks import one_writer


@dataclass(frozen=True)
class Fetchable:
    """A data set of four IDX files: where they are to be had, packed by gzip, and the SHA-256 of each when unpacked."""

    title: str
    licence: str
    source: str
    url: str
    digests: dict[str, str]


FETCHABLE = {
    "mnist": Fetchable(
        "handwritten digits, 28 x 28 pixels, 256 levels, 10 classes",
        "CC BY-SA 3.0",
        "LeCun, Cortes and Burges, The MNIST database of handwritten digits, derived from NIST's databases",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": Fetchable(
        "pieces of clothing, 28 x 28 pixels, 256 levels, 10 classes",
        "MIT",
        "Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, Zalando SE",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}


def folder_of(name: str) -> Path:
    """Return the folder of a data set's files: below $REFAR_DATA, else $XDG_CACHE_HOME/refar, else ~/.cache/refar."""
    if root := os.environ.get("REFAR_DATA"):
        return Path(root, name)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "refar", name)


def is_fetched(name: str) -> bool:
    """Whether all four files are there."""
    return all((folder_of(name) / file).is_file() for file in FETCHABLE[name].digests)


def require(name: str) -> Path:
    """The folder of a data set that is there. Raises FileError, saying how to fetch it, if it is not."""
    if not is_fetched(name):
        raise FileError(
            f"data {name!r} is not there ({str(folder_of(name))!r}); fetch it with: refar data fetch {name}, "
            f"or copy files that you have: refar data fetch {name} --from FOLDER"
        )
    return folder_of(name)


def fetch(name: str, origin: str | None = None) -> list[str]:
    """Bring the files of a data set into its folder; returns the names of those that were not there yet.

    `origin` is a folder that holds them, or the address (http, https) of one; else the data set's own. Each file is unpacked,
    and moved into place only if it has the digest that is known. Raises InputError for an unknown name, FileError for a file
    that is missing, cannot be brought, or differs, while the files that came before it stay, and while another process fetches.
    """
    if name not in FETCHABLE:
        raise InputError(f"data {name!r} cannot be fetched{near(name, FETCHABLE)}; expected one of {', '.join(FETCHABLE)}")
    known, folder, brought = FETCHABLE[name], folder_of(name), []
    with one_writer(folder.parent, f"the folder of data sets {str(folder.parent)!r}"):
        _sweep(folder)
        for file, digest in known.digests.items():
            target = folder / file
            if target.is_file() and sha256(target) == digest:
                continue
            with replacing(target) as temporary:
                came = _bring(origin or known.url, file, temporary)
                if (found := sha256(temporary)) != digest:
                    raise FileError(f"data {name!r}: {came!r}: expected SHA-256 {digest}, got {found}; nothing of it is kept")
            brought.append(file)
    return brought


def _sweep(folder: Path) -> None:
    """Remove what a fetch that was killed has left."""
    for name in FILES.values():
        for stray in folder.glob(f".{name}.*"):
            stray.unlink()


def _bring(origin: str, file: str, target: Path) -> str:
    """Copy or download one file, unpacked, into `target`; returns where it came from. Raises FileError."""
    if not origin.startswith(("http://", "https://")):
        path = find(Path(origin), file)
        if path is None:
            raise FileError(f"{str(Path(origin, file))!r}: there is no such file, nor one with .gz behind it")
        _unpack(path, target)
        return str(path)
    url = f"{origin.rstrip('/')}/{file}.gz"
    packed = target.with_name(f".{file}.packed")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, packed.open("wb") as out:
            shutil.copyfileobj(answer, out)
            length = answer.headers.get("Content-Length")
        if length is not None and packed.stat().st_size != int(length):
            raise FileError(f"{url!r}: the connection ended after {packed.stat().st_size} of {length} bytes; try again")
        _unpack(packed, target, url)
    except (urllib.error.URLError, http.client.HTTPException, ValueError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise FileError(f"{url!r} cannot be downloaded: {reason}; --from FOLDER takes files that you have") from None
    finally:
        packed.unlink(missing_ok=True)
    return url


def _unpack(path: Path, target: Path, name: str | None = None) -> None:
    """Copy a file, by gzip if it is packed, as its first two bytes say."""
    try:
        with path.open("rb") as probe:
            is_packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else path.open("rb") as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"{name or str(path)!r} is damaged: {error}") from None
