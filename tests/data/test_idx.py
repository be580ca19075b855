"""IDX files, the data sets that are fetched once, and a download that goes wrong in each way it can."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from refar import data
from refar.data import cache
from refar.data.batches import batch
from refar.data.dataset import Chosen
from refar.data.described import DataConfig
from refar.data.idx import FILES, read_idx
from refar.errors import FileError, InputError

RNG = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


ARRAYS = {
    "train_x": RNG.integers(0, 256, (40, 3, 4), np.uint8), "train_y": RNG.integers(0, 10, 40, np.uint8),
    "test_x": RNG.integers(0, 256, (9, 3, 4), np.uint8), "test_y": RNG.integers(0, 10, 9, np.uint8),
}  # fmt: skip
CONTENT = {FILES[name]: idx(array) for name, array in ARRAYS.items()}


@pytest.fixture
def folder(tmp_path):
    """Four files, two of them packed."""
    path = tmp_path / "four"
    path.mkdir()
    for i, (name, content) in enumerate(CONTENT.items()):
        (path / (name if i % 2 else f"{name}.gz")).write_bytes(content if i % 2 else gzip.compress(content))
    return path


def test_a_file_stays_on_disk(tmp_path):
    array = RNG.integers(0, 256, (5, 2), np.uint8)
    (tmp_path / "a").write_bytes(idx(array))
    found = read_idx(tmp_path / "a")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, array)
    big = np.arange(6, dtype=">i4").reshape(2, 3)
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"\0\0\x0c\x02" + struct.pack(">II", 2, 3) + big.tobytes()))
    np.testing.assert_array_equal(read_idx(tmp_path / "b.gz"), big)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"begins with 0, 0, a type and 1 to 4 axes, got \[\]"),
        (b"\x1f\x8b\x08\x03", "expected an IDX file, which begins"),
        (b"\0\0\x07\x01\0\0\0\1\0", "expected an IDX file, which begins"),
        (idx(ARRAYS["test_x"])[:-1], r"of 124 bytes, as its header says, got 123"),
        (idx(ARRAYS["test_x"]) + b"x", r"of 124 bytes, as its header says, got 125"),
        (idx(ARRAYS["test_x"])[:9], "as its header says, got 9"),
    ],
)
def test_files_that_are_no_idx(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(FileError, match=message):
        read_idx(tmp_path / "a")
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b\x08\0junk")
    with pytest.raises(FileError, match="cannot be read"):
        read_idx(tmp_path / "a.gz")


def test_a_folder_of_ones_own(folder):
    found = data.load(folder)
    labels = int(max(ARRAYS["train_y"].max(), ARRAYS["test_y"].max())) + 1
    assert (found.classes, found.classes_of, found.shape) == (256, {"condition": labels}, (3, 4))
    assert [len(split) for split in found.splits.values()] == [36, 4, 9]
    np.testing.assert_array_equal(found.test.x, ARRAYS["test_x"].reshape(9, 12))
    np.testing.assert_array_equal(found.test.condition, ARRAYS["test_y"])
    both = np.concatenate([found.train[:].x, found.valid.x])
    assert sorted(map(tuple, both)) == sorted(map(tuple, ARRAYS["train_x"].reshape(40, 12)))
    assert batch(found.train, 0, 0, 8).x.dtype == np.int64
    assert isinstance(found.train, Chosen)
    assert found.train.x.dtype == np.uint8
    halves = data.load(DataConfig(path=str(folder), levels=2))
    np.testing.assert_array_equal(halves.test.x, ARRAYS["test_x"].reshape(9, 12) >= 128)
    assert halves.classes == 2
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(ARRAYS["test_y"][:-1]))
    with pytest.raises(FileError, match=r"a byte for each of N, got uint8 \(9, 3, 4\) and uint8 \(8,\)"):
        data.load(folder)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileError, match=r"t10k-labels-idx1-ubyte is missing, with or without \.gz"):
        data.load(folder)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """MNIST as four small files, kept below tmp_path."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setitem(cache.FETCHABLE, "mnist", replace(cache.FETCHABLE["mnist"], digests=digests))
    monkeypatch.setenv("REFAR_DATA", str(tmp_path / "kept"))
    return tmp_path / "kept" / "mnist"


def test_where_it_is_kept(monkeypatch):
    monkeypatch.setenv("REFAR_DATA", "/a")
    assert cache.folder_of("mnist") == Path("/a/mnist")
    monkeypatch.delenv("REFAR_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache.folder_of("mnist") == Path("/b/refar/mnist")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder_of("mnist") == Path.home() / ".cache/refar/mnist"


def test_files_that_somebody_has_are_copied(small, folder):
    with pytest.raises(FileError, match=r"data 'mnist' is not there .* fetch it with: refar data fetch mnist"):
        data.load("mnist")
    assert cache.fetch("mnist", str(folder)) == list(CONTENT)
    assert {path.name: path.read_bytes() for path in small.iterdir()} == CONTENT
    assert cache.fetch("mnist", str(folder)) == []
    (small / "train-labels-idx1-ubyte").write_bytes(b"altered")
    (small / ".train-labels-idx1-ubyte.abc").write_bytes(b"left by a fetch that was killed")
    assert cache.fetch("mnist", str(folder)) == ["train-labels-idx1-ubyte"]
    assert {path.name for path in small.iterdir()} == set(CONTENT)
    with pytest.raises(FileError, match="expected more than 5000 pictures to train with, got 40"):
        data.load("mnist")


def test_other_files_are_refused_and_nothing_of_them_is_kept(small, folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(CONTENT["train-labels-idx1-ubyte"][:-1] + b"\7\7")
    with pytest.raises(FileError, match=r"train-labels-idx1-ubyte': expected SHA-256 .*, got .*; nothing of it is kept"):
        cache.fetch("mnist", str(folder))
    assert [path.name for path in small.iterdir()] == ["train-images-idx3-ubyte"]
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileError, match=r"train-labels-idx1-ubyte': there is no such file, nor one with \.gz"):
        cache.fetch("mnist", str(folder))
    with pytest.raises(InputError, match="data 'mnits' cannot be fetched, did you mean 'mnist'"):
        cache.fetch("mnits")


class Server(BaseHTTPRequestHandler):
    """Serves the files packed; what is wrong is said by the first part of the path."""

    def do_GET(self):
        mistake, name = self.path.strip("/").split("/")
        content = gzip.compress(b"other" if mistake == "altered" else CONTENT[name.removesuffix(".gz")])
        if mistake == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if mistake == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"40\r\n" + content[:10])
            return
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:-9] if mistake == "cut" else content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download(small, address):
    assert cache.fetch("mnist", f"{address}/right/") == list(CONTENT)
    assert {path.name: path.read_bytes() for path in small.iterdir()} == CONTENT


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("missing", r"ubyte\.gz' cannot be downloaded: .*Not Found.*--from FOLDER"),
        ("cut", r"the connection ended after \d+ of \d+ bytes; try again"),
        ("altered", "nothing of it is kept"),
    ],
)
def test_a_download_that_goes_wrong_leaves_nothing(small, address, mistake, message):
    with pytest.raises(FileError, match=message):
        cache.fetch("mnist", f"{address}/{mistake}")
    assert list(small.iterdir()) == []


@pytest.mark.parametrize("origin", ["http://a b/", "http://localhost:xx/", "http://["])
def test_addresses_that_are_none(small, origin):
    with pytest.raises(FileError, match=r"cannot be downloaded: .*; --from FOLDER takes files that you have"):
        cache.fetch("mnist", origin)


def test_a_download_in_chunks_that_is_cut_off(small, address):
    with pytest.raises(FileError, match="cannot be downloaded: IncompleteRead"):
        cache.fetch("mnist", f"{address}/chunks")
    assert list(small.iterdir()) == []


def test_one_fetch_at_a_time(small, folder):
    hold = "import sys; from pathlib import Path; from refar.locks import one_writer\n"
    hold += f"with one_writer(Path({str(small.parent)!r}), 'x')"
    command = [sys.executable, "-c", f"{hold}: print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(FileError, match=f"is being written by process {holder.pid} on"):
            cache.fetch("mnist", str(folder))
        holder.kill()


def test_nobody_answers(small):
    with pytest.raises(FileError, match=r"cannot be downloaded: .*refused"):
        cache.fetch("mnist", "http://127.0.0.1:1")
    assert list(small.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk(small, folder, monkeypatch):
    import shutil

    def full(source, target):
        with open("/dev/full", "wb") as device:
            device.write(b"x" * 10000)

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(FileError, match="train-images-idx3-ubyte' cannot be written: No space left on device"):
        cache.fetch("mnist", str(folder))
    assert list(small.iterdir()) == []


def test_a_fetch_that_is_killed_leaves_nothing_that_counts(tmp_path, address):
    """A download that hangs in the middle of a file is ended from outside."""
    script = (
        "import shutil, time; from refar.data import cache;"
        "shutil.copyfileobj = lambda source, out: "
        "(out.write(source.read(20)), out.flush(), print('half', flush=True), time.sleep(60));"
        f"cache.fetch('mnist', '{address}/right')"
    )
    environment = {**os.environ, "REFAR_DATA": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    process.kill()
    process.wait()
    process.stdout.close()
    left = [path.name for path in (tmp_path / "mnist").iterdir()]
    assert left
    assert all(name.startswith(".") for name in left)
