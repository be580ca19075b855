"""refar complete where the bundle knows what its numbers stand for: units, names, sound, coloured pictures that are sequences."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from refar import Builder, init, models, ops, runtime
from refar.data.described import DataConfig
from refar.data.meaning import Meaning
from refar.data.record import Record, to_text
from refar.runtime.completion import observation_noise
from refar_export import export

LEVELS = [0.05, 0.5, 0.95]


@pytest.fixture
def build(here: Path):
    """A bundle with a meaning, and its session."""

    def built(graph, name: str, meaning: Meaning, **metadata: str) -> runtime.session.Session:
        params = {n: 2 * value for n, value in init(graph, seed=1).items()}
        record = to_text(Record(DataConfig(path="/data/gone"), meaning), indent=-1)
        return runtime.load(export(graph, params, name, metadata={"record": record, **metadata}))

    return built


def read(name: str) -> list[dict[str, str]]:
    with open(name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows if row[name]])


LEVELLED = Meaning(kind="series", columns=["level"], mean=[100.0], std=[24.0], quantizer="linear", levels=12)


def test_classes_of_a_series_in_its_units(refar, build):
    session = build(models.wavenet(12, [1, 2], residual=4, skip=4), "levels", LEVELLED)
    x = np.random.default_rng(0).integers(0, 12, (3, 20))
    np.save("x.npy", x)
    found = session.complete(x, 12, samples=30)
    values = found.decoded(LEVELLED.decode)
    said = refar("complete", "levels", "x.npy", "--observed", 12, "--samples", 30, "-o", "y.csv")
    assert said.code == 0, said
    held, there = values.coverage(0.05, 0.95)
    assert (held, there) == found.coverage(0.05, 0.95)
    assert f"holds {held / there:.1%} of the values to come ({held} of {there})" in said.out
    rows = read("y.csv")
    centres = 100 + 24 * ((2 * x + 1) / 12 - 1)
    np.testing.assert_allclose(column(rows, "truth"), centres.ravel(), rtol=1e-8)
    np.testing.assert_allclose(column(rows, "observed"), centres[:, :12].ravel(), rtol=1e-8)
    np.testing.assert_allclose(column(rows, "0.95"), values.quantiles(0.95).ravel(), rtol=1e-8)
    assert refar("complete", "levels", "x.npy", "--observed", 12, "--samples", 30, "-o", "y.npz").code == 0
    with np.load("y.npz") as file:
        np.testing.assert_array_equal(file["trajectories"], values.trajectories)
        np.testing.assert_array_equal(file["quantiles"], values.quantiles(LEVELS))
    assert refar("complete", "levels", "x.npy", "--observed", 12, "--samples", 30, "-o", "y.npy").code == 0
    np.testing.assert_array_equal(np.load("y.npy"), found.trajectories)


def test_noise_in_the_units_of_the_data(refar, build):
    """24 · 2 / 12 = 4 to a class."""
    session = build(models.wavenet(12, [1, 2], residual=4, skip=4), "levels", LEVELLED)
    x = np.random.default_rng(0).integers(0, 12, (2, 20))
    np.save("x.npy", x)
    options = ["--observed", 15, "--samples", 2, "--seed", 5, "--noise", 6]
    assert refar("complete", "levels", "x.npy", *options, "-o", "y.csv").code == 0
    rows = read("y.csv")
    centres = 100 + 24 * ((2 * x + 1) / 12 - 1)
    np.testing.assert_allclose(column(rows, "truth"), centres.ravel(), rtol=1e-8)
    noisy = centres[:, :15] + observation_noise((2, 1, 15), 6, 5)[:, 0]
    classes = np.clip(np.floor((noisy - 76) / 4), 0, 11).astype(int)
    np.testing.assert_allclose(column(rows, "observed"), (78 + 4 * classes).ravel(), rtol=1e-8)
    assert (classes != x[:, :15]).any()
    assert refar("complete", "levels", "x.npy", *options, "-o", "y.npy").code == 0
    np.testing.assert_array_equal(np.load("y.npy"), session.complete(classes, 15, 5, samples=2, seed=5).trajectories)


def signals():
    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=2), 4, kernel=3, strict=True))
    return g.build(g.conv1d(h, 2), ops.Gaussian(0.1))


def test_several_columns_by_name(refar, build):
    meaning = Meaning(kind="series", columns=["level", "flow"], mean=[1.0, -2.0], std=[3.0, 0.5])
    session = build(signals(), "columns", meaning)
    x = np.random.default_rng(0).normal(size=(1, 2, 10))
    np.save("x.npy", x)
    assert refar("complete", "columns", "x.npy", "--observed", 6, "--noise", 0.5, "-o", "y.csv").code == 0
    rows = read("y.csv")
    assert [row["channel"] for row in rows] == ["level"] * 10 + ["flow"] * 10
    scale, mean = np.array([3.0, 0.5])[:, None], np.array([1.0, -2.0])[:, None]
    np.testing.assert_allclose(column(rows, "truth").reshape(2, 10), x[0] * scale + mean, rtol=1e-8)
    seen = x[0, :, :6] * scale + mean + observation_noise((1, 2, 6), 0.5, 0)[0]
    np.testing.assert_allclose(column(rows, "observed").reshape(2, 6), seen, rtol=1e-8)
    found = session.complete(((seen - mean) / scale)[None], 6, 4, samples=100)
    np.testing.assert_allclose(column(rows, "0.5").reshape(2, 4), found.quantiles(0.5)[0] * scale + mean, rtol=1e-5, atol=1e-5)
    assert refar("complete", "columns", "x.npy", "--observed", 6, "-o", "y.svg").code == 0
    text = Path("y.svg").read_text()
    assert "<!-- example 0, channel level -->" in text
    assert "<!-- example 0, channel flow -->" in text
    assert "<!-- value -->" in text


def test_one_column_and_classes_by_name(refar, build):
    graph = models.wavenet(12, [1, 2], residual=4, skip=4, condition="class:2")
    names = Meaning(
        kind="series", columns=["level"], mean=[100.0], std=[24.0], quantizer="linear", levels=12, names=["ann", "bob"]
    )
    build(graph, "named", names)
    np.save("x.npy", np.zeros((2, 9), int))
    assert refar("complete", "named", "x.npy", "--observed", 4, "--condition", "bob,ann", "-o", "y.svg").code == 0
    text = Path("y.svg").read_text()
    assert all(
        said in text for said in ("<!-- level -->", "<!-- example 0, condition bob -->", "<!-- example 1, condition ann -->")
    )


def test_sound_goes_on(refar, build):
    meaning = Meaning(kind="sound", quantizer="mu-law", levels=32, rate=8000)
    session = build(models.wavenet(32, [1, 2], residual=4, skip=4), "sound", meaning)
    x = np.random.default_rng(0).integers(0, 32, (6, 50))
    np.save("x.npy", x)
    said = refar("complete", "sound", "x.npy", "--observed", 30, "-n", 40, "-o", "y.wav")
    assert said.code == 0, said
    assert "wrote y-0-0.wav to y-3-0.wav: 160 values" in said.out
    found = session.complete(x[:4], 30, 40)
    for b in range(4):
        whole = np.concatenate([x[b, :30], found.trajectories[b, 0]])
        samples, rate = soundfile.read(f"y-{b}-0.wav")
        assert (rate, soundfile.info(f"y-{b}-0.wav").subtype) == (8000, "PCM_16")
        assert np.abs(samples - meaning.decode(whole[None])[0, 0]).max() <= 1 / 32768
    assert sorted(path.name for path in Path().glob("y*")) == [f"y-{b}-0.wav" for b in range(4)]
    assert refar("complete", "sound", "x.npy", "--observed", 30, "--rows", 5, "-o", "one.wav").code == 0
    assert len(soundfile.read("one.wav")[0]) == 50
    assert refar("complete", "sound", "x.npy", "--observed", 30, "--rows", "5,2", "--samples", 2, "-o", "z.wav").code == 0
    assert sorted(path.name for path in Path().glob("z*")) == ["z-2-0.wav", "z-2-1.wav", "z-5-0.wav", "z-5-1.wav"]


def test_what_is_no_sound(refar, build):
    build(models.wavenet(12, [1, 2], residual=4, skip=4), "levels", LEVELLED)
    build(models.pixelcnn(4, kernel=3, hidden=3), "images", Meaning(kind="picture", levels=4))
    np.save("x.npy", np.zeros((2, 9), int))
    np.save("p.npy", np.zeros((1, 1, 3, 3), int))
    for bundle, name in (("levels", "x.npy"), ("images", "p.npy")):
        said = refar("complete", bundle, name, "--observed", 4, "-o", "y.wav").sentence
        assert said == "'y.wav': the network was not trained on sound, so its rate is not known; write .npy or .csv"
    Path("z-1-0.wav").mkdir()
    build(models.wavenet(32, [1], residual=4, skip=4), "sound", Meaning(kind="sound", quantizer="mu-law", levels=32, rate=8000))
    said = refar("complete", "sound", "x.npy", "--observed", 4, "-o", "z.wav").sentence
    assert said == "'z-1-0.wav' is a folder; expected the name of a file to write"
    assert not list(Path().glob("y*"))
    assert not Path("z-0-0.wav").exists()


def test_a_sequence_of_coloured_pixels(refar, build):
    """Red, green and blue of a pixel one after the other."""
    meaning = Meaning(kind="picture", levels=6, size=(3, 4), colours="rgb")
    session = build(models.wavenet(6, [1, 2], residual=4, skip=4), "pixels", meaning, picture="3x4")
    x = np.random.default_rng(0).integers(0, 6, (2, 36))
    np.save("x.npy", x)
    assert refar("complete", "pixels", "x.npy", "--observed", "1x4", "--samples", 2, "-o", "y.npy").code == 0
    found = session.complete(x, 12, samples=2)
    np.testing.assert_array_equal(np.load("y.npy"), found.trajectories)
    assert refar("complete", "pixels", "x.npy", "--observed", 13, "--samples", 2, "-o", "y.png").code == 0
    found = session.complete(x, 13, samples=2)
    with Image.open("y.png") as picture:
        assert picture.mode == "RGB"
        scale = picture.size[0] // (4 * 5 + 1 + 4)
        pixels = np.asarray(picture)[::scale, ::scale]
    for b in range(2):
        line = pixels[1 + 4 * b : 4 + 4 * b]
        np.testing.assert_array_equal(line[:, 1:5].reshape(36), x[b] * 51)
        observed = line[:, 8:12].reshape(36)
        np.testing.assert_array_equal(observed[:13], x[b, :13] * 51)
        assert (observed[13:] == 128).all()
        for s, left in enumerate((15, 20)):
            whole = np.concatenate([x[b, :13], found.trajectories[b, s]])
            np.testing.assert_array_equal(line[:, left : left + 4].reshape(36), whole * 51)
