"""Arrays of one's own in .npy and .npz files, kept as they are; the record that a run keeps; Fourier series."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from refar import data, models, quantize
from refar.data import record
from refar.data.crops import Crops
from refar.data.dataset import Chosen, check_fit
from refar.data.described import DataConfig
from refar.errors import FileError, InputError
from refar.training.config import Config, parse_config

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_npy_rows_stay_on_disk():
    x = RNG.integers(0, 7, (50, 9)).astype(np.uint8)
    np.save("x.npy", x)
    found = data.load("x.npy")
    assert isinstance(found.train, Chosen)
    assert isinstance(found.train.x, np.memmap)
    assert [len(split) for split in found.splits.values()] == [40, 5, 5]
    assert (found.classes, found.train[:3].x.dtype) == (7, np.int64)
    every = np.concatenate([split[:].x for split in found.splits.values()])
    assert sorted(map(tuple, every)) == sorted(map(tuple, x))


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_the_classes_of_a_series_are_those_of_all_its_parts(part):
    x = RNG.integers(0, 4, 500)
    x[{"train": 17, "valid": 401, "test": 499}[part]] = 9  # the last one fills no window
    np.save("x.npy", x)
    found = data.load(DataConfig(path="x.npy", window=32))
    assert found.classes == 10
    with pytest.raises(InputError, match="got 10 classes; write classes = 10"):
        check_fit(found, models.by_name("wavenet", {"dilations": [1], "residual": 2, "skip": 2, "classes": 9}))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_long_series_stays_on_disk(dtype):
    x = (RNG.normal(size=5000) * 9).astype(dtype) if dtype == np.float32 else RNG.integers(0, 90, 5000).astype(dtype)
    np.save("x.npy", x)
    found = data.load(DataConfig(path="x.npy", window=64))
    assert isinstance(found.train, Crops)
    assert np.shares_memory(found.train.values, found.train.values.base)  # a view of the file, not a copy
    np.testing.assert_array_equal(found.train[np.array([17])].x.reshape(-1), x[17 : 17 + 64])
    np.testing.assert_array_equal(found.test.x.reshape(-1), x[4500 : 4500 + 7 * 64])


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.arange(9.0), {}, "one series of 9 values: say how many a sequence has"),
        (np.zeros((4, 3, 2, 2, 2)), {}, r"expected integers \(N, T\)"),
        (np.zeros((4, 9)), {"window": 3, "levels": 3}, "`levels` makes classes of one column, got 4"),
        (np.zeros((4, 9), int), {"hop": 3}, "`hop` is for one long series, with `window`"),
        (np.zeros((4, 9), int), {"window": 3}, r"expected one series: integers \(T,\)"),
        (np.arange(-1, 50), {"window": 3}, "expected class indices ≥ 0, got -1 at index 0"),
        (np.arange(50), {"window": 3, "scale": "standard"}, "`levels` and `scale` are for floats"),
        (np.where(np.arange(50) == 7, np.inf, 0.0), {"window": 3}, r"expected finite numbers, got inf at index 7"),
        (np.array(["a"]), {"window": 3}, "expected one series"),
        (np.full((40, 1, 9), 1e39), {}, r"numbers within float32, got 1e\+39 at index \(0, 0, 0\)"),
        (np.where(np.arange(50) == 7, -1e39, 0.0), {"window": 3}, r"channel 0, row 8 of the numbers: .* float32, got -1e\+39"),
    ],
)
def test_npy_files_that_are_refused(array, options, message):
    np.save("x.npy", array)
    with pytest.raises((FileError, InputError), match=message):
        data.load(DataConfig(path="x.npy", **options))


def test_bytes_stay_bytes_in_npz():
    x = RNG.integers(0, 200, (50, 9)).astype(np.uint8)
    np.savez("x.npz", x=x, condition=np.arange(50, dtype=np.uint16))
    found = data.load("x.npz")
    assert {split.x.dtype for split in found.splits.values()} == {np.dtype(np.uint8)}
    assert found.test[:].x.dtype == found.test[:].condition.dtype == np.int64
    np.savez("wide.npz", x=x.astype(np.int64), condition=np.arange(50))
    assert data.load("wide.npz").digest() == found.digest()  # how integers are kept does not matter
    bad = RNG.normal(size=(20, 1, 9))
    bad[3, 0, 7] = np.nan
    np.savez("bad.npz", x=bad)
    with pytest.raises(FileError, match=r"'x': expected finite numbers, got nan at index \(3, 0, 7\)"):
        data.load("bad.npz")


def test_channels_last_are_guessed():
    np.savez("x.npz", x=RNG.integers(0, 4, (20, 6, 6, 3)))
    with pytest.raises(InputError, match=r"got 6 channels; yours may be \(N, H, W, C\) \(16, 6, 6, 3\): move the last axis"):
        check_fit(data.load("x.npz"), models.pixelcnn(4, channels=3))


def test_channels_last_are_guessed_where_the_model_leaves_them_out():
    np.savez("x.npz", x=RNG.normal(size=(40, 64, 2)))
    own = 'name = "wavenet"\ndilations = [1]'
    with pytest.raises(InputError, match=r"a signal of 64 channels; yours may be \(N, T, C\) \(32, 64, 2\): .* signal = 64"):
        config(own, 'path = "x.npz"').completed(data.load("x.npz"))
    said = config(f"{own}\nsignal = 64", 'path = "x.npz"')
    assert said.completed(data.load("x.npz")) == said
    np.savez("x.npz", x=RNG.integers(0, 4, (20, 8, 8, 3)))
    images = config('name = "pixelcnn"', 'path = "x.npz"').completed(data.load("x.npz"))
    with pytest.raises(InputError, match=r"got 8 channels; yours may be \(N, H, W, C\) \(16, 8, 8, 3\)"):
        check_fit(data.load("x.npz"), images.graph)


def config(model: str, table: str) -> Config:
    return parse_config(f"[model]\n{model}\n[data]\n{table}\n")


def test_what_the_data_know_may_be_left_out(here):
    found = data.load("digits")
    small = 'name = "wavenet"\ndilations = [1]'
    plain = config(small, 'name = "digits"')
    assert plain.completed(found).model == {"name": "wavenet", "dilations": [1], "classes": 17}
    assert plain.completed(found).graph == models.wavenet(17, [1])
    own = config(f"{small}\nclasses = 20", 'name = "digits"')
    assert own.completed(found) == own
    images = config('name = "pixelcnn"', 'name = "digits"').completed(found)
    assert images.model == {"name": "pixelcnn", "classes": 17, "channels": 1}
    signal = data.load(DataConfig(path=_series(), window=8))
    assert config('name = "linear_ar"\norder = 2', 'path = "x.npy"').completed(signal).model == {"name": "linear_ar", "order": 2}
    wave = config(small, 'path = "x.npy"').completed(signal)
    assert wave.model == {"name": "wavenet", "dilations": [1], "signal": 1}
    assert wave.graph == models.wavenet(dilations=[1], signal=1)
    for given in ("signal = 1", "classes = 5"):
        own = config(f"{small}\n{given}", 'path = "x.npy"')
        assert own.completed(found if given == "signal = 1" else signal) == own
    folder = msgspec.structs.replace(plain, data=DataConfig(path="x", condition="folder"))
    assert folder.completed(found).model["condition"] == "class:10"


def _series() -> str:
    np.save("x.npy", RNG.normal(size=200))
    return "x.npy"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('path = "x"\nwindw = 3', "data: unknown field `windw`; did you mean `window`"),
        ('path = "x"\nsize = "16"', "data: size: expected HEIGHTxWIDTH, as in 16x16, got '16'"),
        ('path = "x"\nsplit = "tme"', "data.split: expected 'random' or 'time' or 'rows', got 'tme'"),
        ('path = "x"\nquantize = "mu"', "data.quantize: expected 'mu-law' or 'linear' or 'none', got 'mu'"),
        ('path = "x"\nname = "digits"', "data: expected either `name`, a built-in data set, or `path`"),
        ('path = "x"\nwindow = "a"', "data.window: expected an integer, got 'a'"),
        ('path = "x"\nwindow = 1', "data.window: expected an integer ≥ 2, got 1"),
        ('path = "x"\ncolumn = 3', "data.column: expected text or a list, got 3"),
        ('path = "x"\nvalid = 0.6\ntest = 0.5', r"expected valid \+ test below 1, .* got 1.1"),
        ('path = "x"\nrate = 1e300', "data.rate: expected an integer, got 1e"),
    ],
)
def test_tables_that_are_refused(table, message):
    with pytest.raises(InputError, match=message):
        config('name = "wavenet"', table)


def test_options_of_other_data_are_refused():
    with pytest.raises(InputError, match=r"data 'digits': `window` is for .*; the options for built-in data are none"):
        data.load(DataConfig(name="digits", window=3))


def test_paths_that_are_refused(here):
    (here / "a.xls").write_text("x")
    (here / "none").mkdir()
    for path, message in (
        ("nowhere/x.csv", "there is no such file"),
        ("nowhere", "there is no such file or folder"),
        ("a.xls", r"expected a file that ends in \.npz, .*, got \.xls"),
        ("none", "expected a folder with files that end in .* it holds none"),
    ):
        with pytest.raises(FileError, match=message):
            data.load(DataConfig(path=path))
    with pytest.raises(InputError, match="data 'mnits' is not known, did you mean 'mnist'"):
        data.load(DataConfig(name="mnits"))


def test_a_record_divides_and_scales_as_before(here):
    table = DataConfig(path="t", window=5)
    (here / "t").mkdir()
    for i in range(12):
        (here / "t" / f"{i}.csv").write_text("v\n" + "\n".join(str((t * (i + 3)) % 11) for t in range(20)))
    found = data.load(table)
    kept = record.record_of(table, found)
    assert record.from_json(record.to_text(kept), "it") == kept
    for i in range(12, 15):
        (here / "t" / f"{i}.csv").write_text("v\n" + "\n".join(str(1000 * t) for t in range(20)))
    again = data.load(table, kept)
    assert again.meaning == found.meaning
    assert again.division == found.division
    assert (again.digest_of("test"), again.digest_of("valid")) == (kept.digests["test"], kept.digests["valid"])
    (here / "t" / kept.division.test[0]).unlink()
    with pytest.raises(FileError, match=r"'\d+.csv', which the training held out, is not there any more"):
        data.load(table, kept)
    for text, message in (("{", "expected JSON"), ('{"table":{"name":"digits"},"more":1}', "upgrade refar")):
        with pytest.raises(FileError, match=message):
            record.from_json(text, "it")


@pytest.mark.row("002-12")
def test_fourier_series():
    """Periods of 5 to 10 s, 1 to 4 terms, at 50 Hz, in 127 bins: each is the sum of its terms, found again by least squares."""
    found = data.load("fourier")
    assert [len(split) for split in found.splits.values()] == [8192, 512, 512]
    assert (found.classes, found.condition_classes, found.valid.x.shape) == (127, 0, (512, 500))
    periods = np.concatenate([split[:].condition for split in found.splits.values()])
    assert periods.shape == (9216, 1)
    assert 5 < periods.min() < 5.01
    assert 9.99 < periods.max() < 10
    seconds, counts = np.arange(500) / 50, []
    for x, period in zip(found.test.x[:200], found.test.condition[:200, 0], strict=True):
        assert {0, 126} & set(x)  # the largest value is ±1
        signal = quantize.linear(127).decode(x)
        angles = 2 * np.pi * np.arange(1, 5)[:, None] * seconds / period
        design = np.concatenate([np.cos(angles), np.sin(angles)]).T
        terms, *_ = np.linalg.lstsq(design, signal, rcond=None)
        assert abs(design @ terms - signal).max() < 1 / 127 + 0.006  # half a bin, and what rounding moves the fit
        counts.append(int((np.hypot(terms[:4], terms[4:]) > 0.01).nonzero()[0].max()) + 1)
    assert set(counts) == {1, 2, 3, 4}
    assert (data.load("fourier").valid.x == found.valid.x).all()


@pytest.mark.parametrize(
    ("given", "by", "units"), [((), "random", 20), (("test_",), "random", 20), (("test_", "valid_"), "given", 0)]
)
def test_the_record_says_what_was_drawn(tmp_path, given, by, units):
    x = RNG.integers(0, 4, (20, 6))
    np.savez(tmp_path / "my.npz", x=x, **{f"{prefix}x": x[:7] for prefix in given})
    division = data.load(tmp_path / "my.npz").division
    assert (division.by, division.units) == (by, units)
