"""refar complete: the numbers of `Session.complete` in every kind of file, and a sentence for everything that cannot be."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refar import Builder, data, init, models, ops, runtime
from refar_export import export

LEVELS = [0.05, 0.5, 0.95]


@pytest.fixture
def session(here: Path) -> runtime.session.Session:
    return runtime.load("bundle")


@pytest.fixture
def own(here: Path) -> tuple[np.ndarray, np.ndarray]:
    """own.npz: 12 sequences of 20 classes, with a label each."""
    rng = np.random.default_rng(0)
    x, labels = rng.integers(0, 17, (12, 20)), rng.integers(0, 10, 12)
    np.savez("own.npz", x=x, condition=labels)
    return x, labels


def build(graph, name: str, **options):
    return runtime.load(export(graph, {n: 2 * value for n, value in init(graph, seed=1).items()}, name, **options))


def read(name: str) -> list[dict[str, str]]:
    with open(name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_trajectories(refar, session, own):
    x, labels = own
    said = refar("complete", "bundle", "own.npz", "--observed", 8, "--samples", 5, "--seed", 3, "--top-k", 4, "-o", "x.npy")
    assert said.code == 0, said
    found = session.complete(x, 8, samples=5, seed=3, top_k=4, condition=labels)
    np.testing.assert_array_equal(np.load("x.npy"), found.trajectories)
    first, second, last = said.out.splitlines()
    assert first == "own.npz: 12 sequences, 8 positions observed, 5 trajectories each"
    assert second == "5 trajectories cannot tell these quantiles; --samples 19 can"
    assert last.startswith("wrote x.npy: 720 values, ")
    held, there = session.complete(x, 8, samples=19, condition=labels).coverage(0.05, 0.95)
    second = refar("complete", "bundle", "own.npz", "--observed", 8, "--samples", 19, "-o", "x.npy").out.splitlines()[1]
    assert second == f"the band from 0.05 to 0.95 holds {held / there:.1%} of the values to come ({held} of {there})"


def test_some_examples_and_a_longer_way(refar, session, own):
    x, labels = own
    options = ["--observed", 20, "-n", 6, "--samples", 3, "--rows", "7,0:2", "-o", "x.npy"]
    said = refar("complete", "bundle", "own.npz", *options)
    assert said.code == 0, said
    chosen = [7, 0, 1]
    np.testing.assert_array_equal(
        np.load("x.npy"), session.complete(x[chosen], 20, 6, samples=3, condition=labels[chosen]).trajectories
    )
    assert said.out.splitlines()[0] == "own.npz: 3 sequences of 12, 20 positions observed, 3 trajectories each"
    assert "band" not in said.out
    for condition, expected in (("4", [4]), ("4,5,6", [4, 5, 6]), (",".join(map(str, labels)), labels[chosen])):
        assert refar("complete", "bundle", "own.npz", *options, "--condition", condition).code == 0
        np.testing.assert_array_equal(
            np.load("x.npy"), session.complete(x[chosen], 20, 6, samples=3, condition=expected).trajectories
        )


def test_everything_by_name(refar, session, own):
    x, labels = own
    options = ["--samples", 20, "--noise", 1.5, "--temperature", 0.7, "--threads", 2, "--quantiles", "0.1,0.2"]
    assert refar("complete", "bundle", "own.npz", "--observed", 15, *options, "--rows", 3, "-o", "x.npz").code == 0
    found = session.complete(x[3:4], 15, samples=20, noise=1.5, temperature=0.7, condition=labels[3:4])
    with np.load("x.npz") as file:
        arrays = dict(file)
    expected = {
        "rows": [3], "observed": found.observed, "trajectories": found.trajectories, "truth": x[3:4, 15:], "levels": [0.1, 0.2],
        "quantiles": found.quantiles([0.1, 0.2]),
    }  # fmt: skip
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])


def test_a_table(refar, session, own):
    x, labels = own
    assert refar("complete", "bundle", "own.npz", "--observed", 18, "-n", 4, "--rows", "2,5", "-o", "x.csv").code == 0
    found = session.complete(x[[2, 5]], 18, 4, samples=100, condition=labels[[2, 5]])
    rows = read("x.csv")
    assert list(rows[0]) == ["example", "position", "observed", "truth", "0.05", "0.5", "0.95"]
    assert [(row["example"], row["position"]) for row in rows] == [(b, str(t)) for b in "25" for t in range(22)]
    for b, example in enumerate((2, 5)):
        each = rows[22 * b : 22 * b + 22]
        assert [row["observed"] for row in each] == [*map(str, x[example, :18]), *[""] * 4]
        assert [row["truth"] for row in each] == [*map(str, x[example]), "", ""]
        for q, level in enumerate(LEVELS):
            assert [row[str(level)] for row in each[:18]] == [""] * 18
            np.testing.assert_allclose([float(row[str(level)]) for row in each[18:]], found.quantiles(LEVELS)[q, b], rtol=1e-8)


def signal():
    g = Builder()
    h = g.tanh(g.conv1d(g.input(channels=2), 4, kernel=3, strict=True))
    return g.build(g.conv1d(h, 2), ops.Gaussian(0.1))


def test_signals(refar, here):
    session = build(signal(), "signal")
    x = np.random.default_rng(0).normal(size=(3, 2, 10))
    np.savez("x.npz", x=x)
    assert refar("complete", "signal", "x.npz", "--observed", 7, "--samples", 30, "--noise", 0.2, "-o", "y.npy").code == 0
    found = session.complete(x, 7, samples=30, noise=0.2)
    np.testing.assert_array_equal(np.load("y.npy"), found.trajectories)
    assert refar("complete", "signal", "x.npz", "--observed", 7, "--samples", 30, "--noise", 0.2, "-o", "y.csv").code == 0
    rows = read("y.csv")
    assert list(rows[0])[:5] == ["example", "channel", "position", "observed", "truth"]
    assert len(rows) == 3 * 2 * 10
    last = rows[-1]
    assert (last["example"], last["channel"], last["position"], last["observed"]) == ("2", "1", "9", "")
    np.testing.assert_allclose(float(last["0.95"]), found.quantiles(0.95)[2, 1, 2], rtol=1e-8)
    np.testing.assert_allclose(float(rows[0]["observed"]), found.observed[0, 0, 0], rtol=1e-8)
    np.testing.assert_allclose(float(rows[0]["truth"]), x[0, 0, 0], rtol=1e-8)
    assert refar("complete", "signal", "x.npz", "--observed", 7, "-o", "y.svg").code == 0
    assert Path("y.svg").read_text().count("<!-- example ") == 3 * 2
    said = refar("complete", "signal", "x.npz", "--observed", 7, "--rows", "0,1,2,0,1,2,0", "-o", "z.svg").sentence
    assert said == "'z.svg': a picture holds at most 12 curves, got 7 examples of 2 channels; take fewer, as in --rows 0,1"


def test_curves(refar, session, own):
    assert refar("complete", "bundle", "own.npz", "--observed", 12, "-o", "x.svg").code == 0
    text = Path("x.svg").read_text()
    assert [f"<!-- example {b}, condition {own[1][b]} -->" in text for b in range(5)] == [True] * 4 + [False]
    assert refar("complete", "bundle", "own.npz", "--observed", 12, "--rows", 3, "-o", "x.png").code == 0
    with Image.open("x.png") as picture:
        assert picture.size[0] == 1260  # 8.4 inches: no sheet of pictures


def cells(name: str, lines: int, places: int, shape: tuple[int, int]) -> np.ndarray:
    """The pictures of a sheet, (lines, places, H, W) or with colours behind."""
    with Image.open(name) as picture:
        pixels = np.asarray(picture)
    width = places * (shape[1] + 1) + 1 + 4
    scale = pixels.shape[1] // width
    assert pixels.shape[:2] == (scale * (lines * (shape[0] + 1) + 1), scale * width)
    pixels = pixels[::scale, ::scale]
    tops = [1 + i * (shape[0] + 1) for i in range(lines)]
    lefts = [1 + i * (shape[1] + 1) + 2 * min(i, 2) for i in range(places)]
    return np.array([[pixels[t : t + shape[0], left : left + shape[1]] for left in lefts] for t in tops])


def test_a_sheet_of_sequences(refar, session, here):
    digits = data.load("digits").test.x
    assert refar("complete", "bundle", "digits:test", "--observed", "4x8", "--condition", 3, "-o", "x.png").code == 0
    found = session.complete(digits[:8], 32, samples=8, condition=3)
    sheet = cells("x.png", 8, 10, (8, 8))
    ink = np.rint(255 - digits[:8].reshape(8, 8, 8) * 224 / 16)
    np.testing.assert_array_equal(sheet[:, 0], ink)
    np.testing.assert_array_equal(sheet[:, 1, :4], ink[:, :4])
    assert (sheet[:, 1, 4:] == 190).all()
    assert (sheet[:, 2:, :4] == ink[:, None, :4]).all()
    np.testing.assert_array_equal(sheet[:, 2:, 4:].reshape(8, 8, 32), np.rint(255 - found.trajectories * 224 / 16))
    half = ["--observed", 32, "-n", 32, "--condition", 3, "--samples", 2, "--rows", 0]
    np.save("half.npy", digits[:1, :32])
    assert refar("complete", "bundle", "half.npy", *half, "--shape", "4x16", "-o", "y.png").code == 0
    assert (cells("y.png", 1, 4, (4, 16))[0, 0, 2:] == 190).all()


def test_a_sheet_of_images(refar, here):
    session = build(models.masked_pixelcnn(4, channels=3, hidden=6, layers=1), "rgb")
    x = np.random.default_rng(0).integers(0, 4, (2, 3, 5, 6))
    np.savez("x.npz", x=x)
    said = refar("complete", "rgb", "x.npz", "--observed", 14, "--samples", 3, "-o", "x.png")
    assert said.code == 0, said
    assert said.out.startswith("x.npz: 2 images, 14 pixels observed, 3 trajectories each\n")
    found = session.complete(x, 14, samples=3)
    sheet = cells("x.png", 2, 5, (5, 6))
    np.testing.assert_array_equal(sheet[:, 0], x.transpose(0, 2, 3, 1) * 85)
    flat = sheet[:, 1].reshape(2, 30, 3)
    np.testing.assert_array_equal(flat[:, :14], found.observed.transpose(0, 2, 1) * 85)
    assert (flat[:, 14:] == 128).all()
    np.testing.assert_array_equal(sheet[:, 2:], found.trajectories.transpose(0, 1, 3, 4, 2) * 85)
    assert refar("complete", "rgb", "x.npz", "--observed", "2x6", "--samples", 3, "-o", "x.npy").code == 0
    np.testing.assert_array_equal(np.load("x.npy"), session.complete(x, 12, samples=3).trajectories)


def test_nothing_observed(refar, session, own):
    labels = own[1]
    assert refar("complete", "bundle", "own.npz", "--observed", 0, "--samples", 2, "-o", "x.npy").code == 0
    expected = session.generate(20, batch=24, condition=np.repeat(labels, 2)).reshape(12, 2, 20)
    np.testing.assert_array_equal(np.load("x.npy"), expected)
    for name in ("x.csv", "x.png", "y.svg"):
        assert refar("complete", "bundle", "own.npz", "--observed", 0, "--samples", 2, "--rows", 1, "-o", name).code == 0
    assert refar("complete", "bundle", "digits", "--observed", "0x8", "--samples", 2, "-o", "z.png").code == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--observed": 21}, "observed: expected at most 20 positions, as many as there are, got 21"),
        (
            {"--observed": 20},
            "observed: everything is observed, so nothing is left to complete; observe less, or of sequences give n",
        ),
        ({"--observed": "half"}, "--observed half: expected a number, as in 392, or the first rows of a picture, as in 14x28"),
        ({"--observed": -1}, "--observed -1: expected a number, as in 392, or the first rows of a picture, as in 14x28"),
        ({"--observed": "2x9"}, "--observed 2x9: the pictures have rows of 8 pixels; expected as in 2x8"),
        ({"--samples": 0}, "samples: expected an integer from 1 to 178956970, got 0"),
        ({"-n": 0}, "n: expected an integer ≥ 1, got 0"),
        ({"--noise": -1}, "noise: expected a finite number ≥ 0, the standard deviation, got -1.0"),
        ({"--temperature": "nan"}, "temperature: expected a finite number ≥ 0, got nan"),
        ({"--seed": -1}, "seed: expected an integer from 0 to 18446744073709551615, got -1"),
        ({"--top-k": 18}, "top_k: expected an integer from 1 to 17, got 18"),
        ({"--threads": 0}, "--threads: expected an integer from 1 to 1024, got 0"),
        ({"--rows": "0,12"}, "--rows 0,12: the data have examples 0 to 11, got 12"),
        ({"--rows": "a"}, "--rows a: expected numbers of examples, as in 0,3,5 or 0:10"),
        ({"--rows": "3:3"}, "--rows 3:3: expected at least one example"),
        ({"--condition": "1,2"}, "condition 'condition': expected 1 or 12 rows, got 2"),
        ({"--condition": "0.5"}, "--condition 0.5: expected classes such as 3 or 0,1,2, or a .npy or .csv file"),
        ({"--shape": "8"}, "--shape 8: expected HEIGHTxWIDTH, as in 8x8"),
        ({"-o": "x.mp3"}, "'x.mp3': expected a name that ends in .npy, .npz, .csv, .png, .svg, .wav"),
        ({"-o": "x"}, "'x': expected a name that ends in .npy, .npz, .csv, .png, .svg, .wav"),
        ({"-o": "x.svg", "--rows": "0:12,0"}, "a picture holds at most 12 curves, got 13 examples; take fewer, as in --rows 0,1"),
        *[
            (
                {"--quantiles": text},
                f"--quantiles {text}: expected ascending numbers from 0 to 1 separated by commas, as in 0.05,0.5,0.95",
            )
            for text in ("0.5,1.5", "-0.1,0.5", "0.9,0.1", "0.5,0.5", "nan", "a,b", "")
        ],
    ],
)
def test_what_cannot_be_completed(refar, own, here, change, sentence):
    options = {"--observed": 8, "--samples": 2, "-o": "x.npy"} | change
    said = refar("complete", "bundle", "own.npz", *[f"{name}={value}" for name, value in options.items() if name[1] == "-"],
                 *[piece for name, value in options.items() if name[1] != "-" for piece in (name, value)])  # fmt: skip
    assert said.sentence.endswith(sentence)
    assert not list(here.glob("x*"))


def test_data_that_do_not_fit(refar, session, own, here):
    build(models.linear_ar(2), "signal")
    images = build(models.pixelcnn(4, kernel=3, hidden=3), "images")
    assert images.graph.head is not None
    g = Builder()
    build(g.build(g.conv1d(g.one_hot(g.input(classes=3)), 3, kernel=2, strict=True)), "none")
    Image.new("L", (8, 8)).save("photo.png")
    np.save("tokens.npy", np.zeros((2, 9), int))
    np.save("pixels.npy", np.zeros((2, 1, 4, 5), int))
    np.save("planes.npy", np.zeros((2, 3, 9)))
    for arguments, sentence in (
        (
            ["bundle", "photo.png"],
            "data 'photo.png': nothing says on which data this network was trained; expected .npz, .npy or .csv",
        ),
        (["bundle", "pixels.npy", "--condition", 1], "input 'x': expected axes bt, got an array of shape (2, 1, 4, 5)"),
        (["signal", "planes.npy"], "input 'x': expected axes bct with 1 channels, got an array of shape (2, 3, 9)"),
        (["signal", "tokens.npy"], "data 'tokens.npy': expected real numbers, since the network models a signal; got int64"),
        (["signal", "digits"], "data 'digits': expected real numbers, since the network models a signal; got int64"),
        (["none", "tokens.npy"], "complete needs a graph with a head, which says what the output means; this one has none"),
        (["images", "pixels.npy", "-n", 3], "n: expected none, since an image is completed whole; got 3"),
        (["images", "pixels.npy", "--shape", "4x5"], "--shape 4x5: the images say their size themselves, 4x5"),
        (["run", "own.npz"], "'run' is a run, not a bundle; write one with: refar export run -o BUNDLE"),
    ):
        said = refar("complete", *arguments, "--observed", 2, "-o", "out.npy")
        assert said.sentence.startswith(sentence), said.sentence
    for out, sentence in (
        ("out.csv", "'out.csv': images are neither a table nor curves; expected .npy, .npz or .png"),
        ("out.svg", "'out.svg': images are neither a table nor curves; expected .npy, .npz or .png"),
    ):
        assert refar("complete", "images", "pixels.npy", "--observed", 2, "-o", out).sentence == sentence
    np.save("reals.npy", np.zeros((2, 9)))
    said = refar("complete", "signal", "reals.npy", "--observed", "2x4", "-o", "out.npy").sentence
    assert said.startswith("--observed 2x4: the size of a picture is not known; give it, as in --shape 28x28, or a number")
    assert not list(here.glob("out*"))


def test_images_that_are_no_picture(refar, here):
    g = Builder()
    build(g.build(g.conv2d(g.image(channels=2), 2, kernel=3, mask="A"), ops.Gaussian()), "planes")
    np.save("x.npy", np.zeros((1, 2, 3, 3)))
    said = refar("complete", "planes", "x.npy", "--observed", 3, "-o", "out.png").sentence
    assert (
        said
        == "'out.png': pictures need classes of 1 or 3 colours; this network is of 2 channels over an image; write .npy or .npz"
    )
    assert refar("complete", "planes", "x.npy", "--observed", 3, "-o", "out.npz").code == 0
