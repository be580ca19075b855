"""Series from tables: which column, how they are scaled, divided by time, cut into windows; and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refar import data, models
from refar.data.batches import batch
from refar.data.crops import Crops
from refar.data.dataset import check_fit
from refar.data.described import DataConfig
from refar.data.record import record_of
from refar.errors import FileError, InputError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(text: str, **options: object) -> data.Dataset:
    with open("a.csv", "w", encoding="utf-8") as file:
        file.write(text)
    return data.load(DataConfig(path="a.csv", **options))


LINES = "\n".join(f"{1900 + t},{(t * t) % 31}" for t in range(100))
VALUES = np.arange(100.0) ** 2 % 31


def test_a_column_is_scaled_by_its_training_part_and_divided_by_time():
    found = table(f"year,count\n{LINES}\n\n", column="count", window=8)
    train = VALUES[:80]
    assert (found.meaning.mean, found.meaning.std) == ([train.mean()], [train.std()])
    assert isinstance(found.train, Crops)
    np.testing.assert_allclose(found.train.values * train.std() + train.mean(), train[None])
    for split, first in ((found.valid, 80), (found.test, 90)):
        assert split.x.shape == (1, 1, 8)
        np.testing.assert_allclose(found.meaning.decode(split.x)[0, 0], VALUES[first : first + 8])
    assert (found.classes, found.window, found.division.by) == (0, 8, "time")


def test_windows_are_drawn_at_every_place_and_from_the_training_part_alone():
    found = table(LINES.replace(",", ";"), column="1", separator=";", window=70, scale="none")
    assert len(found.train) == 11
    drawn = np.concatenate([batch(found.train, 5, step, 4).x[:, 0] for step in range(50)])
    hits = np.array([[(row == VALUES[first : first + 70]).all() for first in range(11)] for row in drawn])
    assert (hits.sum(axis=1) == 1).all()
    assert (hits.sum(axis=0) > 5).all()  # of 200 draws some 18 fall on each of the 11 places
    np.testing.assert_array_equal(batch(found.train, 5, 3, 4).x, batch(found.train, 5, 3, 4).x)
    assert (batch(found.train, 5, 3, 4).x != batch(found.train, 6, 3, 4).x).any()
    np.testing.assert_array_equal(found.train.side_by_side().x[:, 0], VALUES[None, :70])


def test_the_ways_to_cut():
    hop = table(LINES, column="1", window=10, hop=5)
    assert len(hop.train) == 15
    assert len(hop.valid) == len(hop.test) == 1
    shuffled = table(LINES, column="1", window=10, hop=10, split="random")
    assert [len(split) for split in shuffled.splits.values()] == [8, 1, 1]
    every = np.concatenate([shuffled.meaning.decode(split[:].x)[:, 0] for split in shuffled.splits.values()])
    assert sorted(map(tuple, np.rint(every))) == sorted(map(tuple, VALUES.reshape(10, 10)))
    thirds = table(LINES, column="1", window=10, valid=0.3, test=0.3)
    assert (len(thirds.train), len(thirds.valid), len(thirds.test)) == (31, 3, 3)
    short = table(LINES, column="1", window=50)
    assert short.test.x.shape == (1, 1, 10)  # the part is shorter than a window


@pytest.mark.parametrize("options", [{"split": "random"}, {"split": "random", "hop": 9}])
def test_overlapping_windows_are_not_divided_at_random(options):
    with pytest.raises(InputError, match=r'do not overlap, or the held-out values .* write split = "time", or hop = 10'):
        table(LINES, column="1", window=10, **options)


def test_several_columns_are_channels_and_levels_are_classes():
    found = table(LINES, column=["1", "0"], window=8)
    assert found.valid.x.shape == (1, 2, 8)
    assert found.meaning.columns == ["1", "0"]
    np.testing.assert_allclose(found.meaning.decode(found.valid.x)[0, 1], 1980 + np.arange(8))
    levels = table(LINES, column="1", window=8, levels=12)
    assert (levels.classes, levels.valid.x.dtype, levels.valid[:].x.dtype) == (12, np.uint8, np.int64)
    width = 2.4 * (VALUES[:80].max() - VALUES[:80].min()) / 2 / 12
    assert abs(levels.meaning.decode(levels.valid.x)[0, 0] - VALUES[80:88]).max() <= width / 2 + 1e-12
    beyond = levels.meaning.encode(np.array([[-1e9, 1e9]]))
    assert beyond.tolist() == [0, 11]


def test_a_folder_of_tables_is_divided_by_files(here):
    (here / "many" / "deep").mkdir(parents=True)
    for i in range(12):
        (here / "many" / "deep" / f"{i}.csv").write_text("v\n" + "\n".join(str(t + i) for t in range(20)))
    (here / "many" / ".hidden.csv").write_text("w\n1")
    found = data.load(DataConfig(path="many", window=20))
    assert (found.division.by, found.division.units) == ("random", 12)
    assert len(found.division.valid) == len(found.division.test) == 1
    assert (len(found.train), len(found.valid), len(found.test)) == (10, 1, 1)
    (here / "many" / "z.csv").write_text("w\n1\n2")
    with pytest.raises(FileError, match=r"'z\.csv': expected the columns v, got w"):
        data.load(DataConfig(path="many", window=20))


_BEYOND = r"'a\.csv', column 'v', row 51 of the numbers: expected a number within float32, got 1e\+39"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("t,v\n0,1\n1,\n2,3", {"column": "v"}, r"'a\.csv', line 3, column 'v': expected a number, got a gap"),
        ("t,v\n0,1\n\n2,3", {"column": "v"}, r"'a\.csv', line 3: expected 2 cells as in the first line, got 0"),
        ("t,v\n0,1\n1,abc", {"column": "v"}, r"line 3, column 'v': expected a number, got 'abc'$"),
        ("t,v\n0,1\n1,nan", {"column": "v"}, r"line 3, column 'v': expected a finite number, got 'nan'"),
        ("t;v\n0;1,5", {"column": "v", "separator": ";"}, "got '1,5'; numbers have a decimal point"),
        ("t;v\n0;1", {"column": "v"}, "separated by ',', got ';'; write separator = \";\""),
        ("t\tv\n0\t1", {"column": "v"}, r'write separator = "\\t"'),
        ("t,v\n0,1\n1", {"column": "v"}, "line 3: expected 2 cells as in the first line, got 1"),
        ("", {}, "expected a table, got an empty file"),
        ("t,v\n", {"column": "v"}, "expected lines of numbers below the names"),
        ("t,v\n0,1", {}, 'has the columns t, v: say which in .* column = "v"'),
        ("t,val\n0,1", {"column": "vall"}, "column 'vall': there is none, did you mean 'val'"),
        ("t,Val\n0,1", {"column": "value"}, "column 'value': there is none, did you mean 'Val'"),
        ("YEAR,SUNACTIVITY\n0,1", {"column": "sunactivity"}, "there is none, did you mean 'SUNACTIVITY'"),
        ("YEAR,SUNACTIVITY\n0,1", {"column": "sun"}, "there is none, did you mean 'SUNACTIVITY'"),
        ("t,v\n0,1_0", {"column": "v"}, "expected a number, got '1_0'"),
        ("t,v\n0,\u0661", {"column": "v"}, "expected a number, got '\u0661'"),
        ("v,v\n0,1", {"column": "v"}, "column 'v': there are several"),
        ("t,v\n0,1", {"column": []}, "expected different names of columns, got none"),
        ("v\n" + "5\n" * 50, {}, "column 'v' is 5 throughout its training part"),
        ("v\n" + "0.1\n" * 900, {}, "column 'v' is 0.1 throughout its training part"),
        ("v\n" + "1e200\n-1e200\n" * 50, {}, "column 'v', row 1 of the numbers: expected a number below 1e\\+150, got 1e\\+200"),
        ("v\n0\n" + "1.7e308\n" * 50, {}, "column 'v', row 2 of the numbers: expected a number below 1e\\+150"),
        ("t,v\n" + "1,2\n" * 50 + "3,1e39\n", {"column": "v", "scale": "none"}, _BEYOND),
        ("v\n" + "1\n2\n" * 50 + "1e39\n", {}, r"row 101 of the numbers: .* float32 after scaling, got 1e\+39"),
        ("v\n" + "1\n2\n" * 50 + "1e39\n", {"hop": 4, "split": "random"}, "float32"),
        ("v\n1\n2\n3", {}, "the series is too short to be divided by time|window: expected at most 3"),
        (LINES, {"column": "1", "window": 81}, "window: expected at most 80, the longest piece of the training part, got 81"),
        (LINES, {"column": "1", "rate": 8000}, r"`rate` is for sound \(\.wav, \.flac\)"),
        (LINES, {"column": "1", "split": "rows"}, 'split = "rows" is for pictures'),
        (LINES, {"column": ["0", "1"], "levels": 4}, "`levels` makes classes of one column, got 2"),
    ],
)
def test_what_is_refused(text, options, message):
    with pytest.raises((FileError, InputError), match=message):
        table(text, **{"window": 4, **options})


def test_what_is_no_text_and_what_needs_a_window(here):
    with pytest.raises(InputError, match="say how many values a sequence has, as in window = 256"):
        table(LINES, column="1")
    (here / "a.csv").write_bytes(b"v\n\xff\xfe\n")
    with pytest.raises(FileError, match="cannot be read as a table in UTF-8"):
        data.load(DataConfig(path="a.csv", window=2))


def test_a_folder_of_one_file_knows_it(here):
    """A file that comes later belongs to no part."""
    Path("one").mkdir()
    Path("one/a.csv").write_text("v\n" + "\n".join(map(str, range(100))))
    config = DataConfig(path="one", window=10)
    first = data.load(config)
    known = record_of(config, first)
    Path("one/b.csv").write_text("v\n" + "\n".join(map(str, range(50))))
    assert data.load(config, known).digest() == first.digest()


def test_a_division_stays_what_it_was(here):
    """Ten files are divided whole by default, nine by time: a file of the training part that is gone changes nothing."""
    Path("many").mkdir()
    for i in range(10):
        Path(f"many/{i}.csv").write_text("v\n" + "\n".join(str(i + t) for t in range(60)))
    config = DataConfig(path="many", window=20)
    first = data.load(config)
    known = record_of(config, first)
    held = {*first.division.valid, *first.division.test}
    gone = next(f"{i}.csv" for i in range(10) if f"{i}.csv" not in held)
    Path("many", gone).unlink()
    again = data.load(config, known)
    assert again.division.by == "random"
    assert again.digest_of("test") == first.digest_of("test")


def test_a_network_of_another_number_of_channels(here):
    found = table("a,b\n" + "\n".join(f"{t},{-t}" for t in range(200)), column=["a", "b"], window=10)
    with pytest.raises(InputError, match=r"models one channel, got the columns a, b; say with `column` in .data. which"):
        check_fit(found, models.linear_ar(2))
    check_fit(found, models.wavenet(signal=2, dilations=[1]))
