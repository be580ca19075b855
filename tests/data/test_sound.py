"""Sound: rates, channels, quantisers, classes by folder, long and short recordings; and what is refused."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from refar import data, quantize
from refar.data.described import DataConfig
from refar.data.load import whole
from refar.data.record import record_of
from refar.data.sound import read_sound, write_sound
from refar.errors import BackendError, FileError, InputError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(name: str, samples: np.ndarray, rate: int = 8000, **options: str) -> np.ndarray:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(name, samples, rate, **options)
    return samples


def test_mu_law_by_default_and_whole_files_held_out():
    waves = {f"s/{i:02}.{'flac' if i % 2 else 'wav'}": RNG.uniform(-0.9, 0.9, 300) for i in range(12)}
    for name, samples in waves.items():
        record(name, samples)
    found = data.load(DataConfig(path="s", window=100))
    assert (found.classes, found.meaning.rate, found.meaning.quantizer) == (256, 8000, "mu-law")
    assert found.train.values.dtype == np.uint8
    assert (len(found.train), len(found.valid), len(found.test)) == (10 * 201, 3, 3)
    (name,) = found.division.test
    expected = quantize.mu_law(256).encode(soundfile.read(f"s/{name}")[0])
    np.testing.assert_array_equal(found.test.x.reshape(-1), expected)
    inside = {tuple(row) for row in np.lib.stride_tricks.sliding_window_view(found.train.values, 100)}
    crossing = found.train[np.arange(len(found.train))].x
    assert len(inside) == 10 * 300 - 99
    assert {tuple(row) for row in crossing} < inside  # none runs from one recording into the next


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_bits_and_linear_levels(subtype):
    samples = record("a.wav", RNG.uniform(-0.9, 0.9, 1000), subtype=subtype)
    found = data.load(DataConfig(path="a.wav", window=10, quantize="linear", levels=65))
    assert (found.classes, found.division.by) == (65, "time")
    np.testing.assert_allclose(found.meaning.decode(found.test.x).reshape(-1), samples[900:], atol=1 / 65 + 1e-4)


def test_more_than_256_levels_and_none():
    samples = record("a.wav", RNG.uniform(-0.9, 0.9, 1000))
    assert data.load(DataConfig(path="a.wav", window=10, levels=300)).valid.x.dtype == np.uint16
    plain = data.load(DataConfig(path="a.wav", window=10, quantize="none"))
    assert (plain.classes, plain.valid.x.shape, plain.valid.x.dtype) == (0, (10, 1, 10), np.float32)
    np.testing.assert_allclose(plain.test.x.reshape(-1), samples[900:], atol=2**-15)
    scaled = data.load(DataConfig(path="a.wav", window=10, quantize="none", scale="standard"))
    assert abs(scaled.train.values.std() - 1) < 1e-6
    np.testing.assert_allclose(scaled.meaning.decode(scaled.test.x).reshape(-1), samples[900:], atol=2**-14)


def test_channels_are_averaged_if_asked():
    stereo = record("a.wav", RNG.uniform(-0.9, 0.9, (1000, 2)))
    with pytest.raises(FileError, match=r"'a\.wav': expected one channel, got 2; write mono = true"):
        data.load(DataConfig(path="a.wav", window=10))
    found = data.load(DataConfig(path="a.wav", window=10, mono=True, quantize="none"))
    np.testing.assert_allclose(found.test.x.reshape(-1), stereo[900:].mean(axis=1), atol=2**-14)


def test_the_folder_is_the_class_and_short_files_are_told():
    for speaker in ("bob", "ann"):
        for i in range(6):
            record(f"s/{speaker}/{i}.wav", RNG.uniform(-0.9, 0.9, 200 if i else 3))
    found = data.load(DataConfig(path="s", window=50, condition="folder", split="time"))
    assert (found.meaning.names, found.classes_of) == (["ann", "bob"], {"condition": 2})
    note, *held = found.notes
    for said, part in zip(held, ("validation", "the test"), strict=True):
        assert f"2 of 12 pieces are shorter than a window of 20 and are left out of {part}" in said
    assert "2 of 12 pieces are shorter than a window of 50 and are left out of training" in note
    assert "'ann/0.wav' with 3 values" in note
    drawn = found.train[np.arange(len(found.train))]
    assert np.bincount(drawn.conditions["condition"]).tolist() == [5 * 111, 5 * 111]
    assert set(found.test.conditions["condition"]) == {0, 1}
    with pytest.raises(InputError, match="folder\" expects files in two folders or more, got only 'bob'"):
        data.load(DataConfig(path="s/bob", window=3, condition="folder"))


def test_whole_files_that_are_held_out_and_too_short_are_told():
    for i in range(20):
        record(f"s/{i}.wav", RNG.uniform(-0.9, 0.9, 200))
    held = data.load(DataConfig(path="s", window=50)).division
    record(f"s/{held.test[0]}", np.zeros(49))
    found = data.load(DataConfig(path="s", window=50))
    (note,) = found.notes
    assert f"1 of 2 pieces are shorter than a window of 50 and are left out of the test; the shortest is {held.test[0]!r}" in note
    assert (len(found.valid), len(found.test)) == (8, 4)


@pytest.mark.parametrize("count", [4, 14])
def test_files_that_come_later_belong_to_no_part(count):
    """Divided by time or by files, in the folder of a new class or beside the others, of whatever rate."""
    for i in range(count):
        record(f"s/{'ab'[i % 2]}/{i}.wav", RNG.uniform(-0.9, 0.9, 900))
    table = DataConfig(path="s", window=50, condition="folder")
    before = data.load(table)
    known = record_of(table, before)
    for new in ("a/new", "aa/new", "b/0"):
        record(f"s/{new}.wav", RNG.uniform(-0.9, 0.9, 900), 44100)
    assert data.load(table, known).digest() == before.digest()
    shutil.rmtree("s")
    record("s/c/0.wav", np.zeros(99))
    with pytest.raises(FileError, match=f"none of the {count} files that the training read is there any more"):
        data.load(table, known)


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (lambda: record("s/b.wav", np.zeros(99), 44100), {}, r"'b\.wav': expected 8000 Hz \(as the files before it\), got 44100"),
        (lambda: None, {"rate": 16000}, r"'a\.wav': expected 16000 Hz, got 8000 Hz"),
        (lambda: record("s/b.wav", np.zeros(0)), {}, r"'b\.wav': expected sound, got a file without samples"),
        (lambda: Path("s/b.wav").write_bytes(b"RIFF"), {}, r"'b\.wav' cannot be read as sound"),
        (lambda: record("s/b.wav", np.array([0, 1.5]), subtype="FLOAT"), {}, "expected samples from -1 to 1, got 1.5 at index 1"),
        (lambda: record("s/b.wav", np.array([0, np.nan]), subtype="FLOAT"), {}, r"finite numbers, got nan at index \(1, 0\)"),
        (lambda: None, {"window": 5000}, "window: expected at most 800, the longest piece"),
        (lambda: None, {"quantize": "none", "levels": 9}, '`levels` makes classes; write quantize = "mu-law" or "linear"'),
        (lambda: None, {"quantize": "linear", "scale": "standard"}, "is for sound that is not quantized"),
        (lambda: Path("s/b.png").write_bytes(b"x"), {}, "expected files of one kind, got 1 of sound .* and 1 of pictures"),
    ],
)
def test_what_is_refused(write, options, message):
    record("s/a.wav", RNG.uniform(-0.9, 0.9, 1000))
    write()
    with pytest.raises((FileError, InputError), match=message):
        data.load(DataConfig(path="s", **{"window": 10, **options}))


def test_written_sound_is_read_again(here):
    samples = np.array([0, 0.5, -0.5, 3, -3])
    write_sound(here / "x.wav", samples, 11025)
    again, rate = read_sound(here / "x.wav", "it")
    assert rate == 11025
    np.testing.assert_allclose(again[0], np.clip(samples, -1, 1), atol=2**-14)


def test_without_soundfile(monkeypatch):
    record("a.wav", np.zeros(9))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(BackendError, match=r"pip install 'refar\[data\]'"):
        data.load(DataConfig(path="a.wav", window=3))


def test_a_scale_of_none_is_the_default():
    record("s.wav", RNG.uniform(-0.9, 0.9, 400))
    plain, said = (data.load(DataConfig(path="s.wav", window=32, scale=scale)) for scale in (None, "none"))
    assert plain.digest() == said.digest()
    assert plain.classes == 256


def test_what_fills_no_window_of_the_whole_is_told():
    for i in range(2):
        record(f"w/{i}.wav", RNG.uniform(-0.9, 0.9, 47))
    meaning = data.load(DataConfig(path="w", window=16, split="time")).meaning
    split, note = whole(DataConfig(path="w", window=16), meaning)
    assert split.x.shape == (4, 16)
    assert "30 of 94 values fill no window of 16 and are left out" in note
