"""score, classify and generate on a bundle of images: the same as in Python, and the sentence where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refar import Builder, Graph, data, init, models, ops, runtime, save
from refar_export import export


@pytest.fixture
def images(here: Path) -> runtime.session.Session:
    """A bundle named `pixels`: 8 x 8, one colour of 17 greys, ten classes, as the digits are."""
    graph = models.pixelcnn(17, kernel=3, hidden=3, condition="class:10")
    return runtime.load(export(graph, {name: 2 * value for name, value in init(graph, seed=1).items()}, "pixels"))


def test_score_and_classify_the_digits_as_images(refar, images, here):
    digits = data.load("digits").test
    x = digits.x.reshape(-1, 1, 8, 8)
    log_p = images.score(x, digits.condition)
    said = refar("score", "pixels", "digits", "-o", "p.npy")
    assert said.code == 0, said
    np.testing.assert_allclose(np.load("p.npy"), log_p, rtol=1e-6)
    assert "of 64 dimensions" in said.out
    assert f"{-log_p.mean() / 64:.4f} nats" in said.out
    expected = images.classify(x, observed=[16, 64]).argmax(axis=-1)
    said = refar("classify", "pixels", "digits", "--progressive", "16,64", "-o", "y.npy")
    assert said.code == 0, said
    np.testing.assert_array_equal(np.load("y.npy"), expected)
    right = int((expected[:, 0] == digits.condition).sum())
    assert f"after 16 of 64: accuracy {right / 360:.1%} ({right} of 360 right)" in said.out


def test_files_of_images(refar, images, here):
    """With or without the axis of one channel, one image or several, classes as floats."""
    x = np.random.default_rng(0).integers(0, 17, (3, 1, 4, 5))
    expected = images.score(x, [3, 1, 2])
    np.savez("whole.npz", x=x, condition=[3, 1, 2])
    np.savez("flat.npz", x=x[:, 0].astype(float), condition=[3.0, 1, 2])
    np.save("x.npy", x)
    np.save("flat.npy", x[:, 0])
    np.save("one.npy", x[0, 0])
    for arguments in (["whole.npz"], ["flat.npz"], ["x.npy", "--condition", "3,1,2"], ["flat.npy", "--condition", "3,1,2"]):
        assert refar("score", "pixels", *arguments, "-o", "p.npy").code == 0
        np.testing.assert_allclose(np.load("p.npy"), expected, rtol=1e-6)
    assert refar("score", "pixels", "one.npy", "--condition", "3", "-o", "p.npy").code == 0
    np.testing.assert_allclose(np.load("p.npy"), expected[:1], rtol=1e-6)
    assert refar("classify", "pixels", "flat.npz", "-o", "y.npy").code == 0
    np.testing.assert_array_equal(np.load("y.npy"), images.classify(x).argmax(axis=-1))


def coloured() -> Graph:
    g = Builder()
    h = g.conv2d(g.image(channels=3), 6, kernel=3, mask="A", colours=3)
    h = g.add(h, g.conv2d(g.condition("chart", channels=1, local=True, axes="hw"), 6))
    return g.build(g.conv2d(h, 3, mask="B", colours=3), ops.Gaussian())


def test_colours_and_a_map(refar, here):
    session = runtime.load(export(coloured(), init(coloured(), seed=2), "coloured"))
    rng = np.random.default_rng(1)
    x, chart = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 1, 4, 5))
    expected = session.score(x, chart)
    np.savez("named.npz", x=x, chart=chart)
    np.savez("x.npz", x=x)
    np.save("chart.npy", chart[:, 0])
    for arguments in (["named.npz"], ["x.npz", "--condition", "chart.npy"], ["x.npz", "--condition", "chart=chart.npy"]):
        assert refar("score", "coloured", *arguments, "-o", "p.npy").code == 0
        np.testing.assert_allclose(np.load("p.npy"), expected, rtol=1e-6)
    np.save("one.npy", x[0])
    np.save("small.npy", chart[0, 0, :2])
    assert "differ in length" in refar("score", "coloured", "one.npy", "--condition", "small.npy").sentence
    np.save("grey.npy", x[:, :1])
    said = refar("score", "coloured", "grey.npy", "--condition", "chart.npy").sentence
    assert said == "input 'x': expected axes bchw with 3 channels, got an array of shape (2, 1, 4, 5)"


def test_generate_images(refar, images, here):
    said = refar("generate", "pixels", "--shape", "8x8", "-n", 3, "--condition", "3,1,2", "--seed", 5, "-o", "x.npy", "--certify")
    assert said.code == 0, said
    assert "wrote x.npy: 3 images of 8x8 pixels, " in said.out
    expected = images.generate((8, 8), batch=3, condition=[3, 1, 2], seed=5)
    np.testing.assert_array_equal(np.load("x.npy"), expected)
    np.save("rows.npy", expected[:, :, :4])
    given = ["-n", 3, "--condition", "3,1,2", "--seed", 5, "--prompt", "rows.npy"]
    said = refar("generate", "pixels", "--shape", "8x8", *given, "-o", "x.png")
    assert said.code == 0, said
    with Image.open("x.png") as picture:
        assert (picture.mode, picture.size) == ("L", (513, 513))
        tile = np.asarray(picture)[:: 513 // 19, :: 513 // 19][1:9, 1:9]
    np.testing.assert_array_equal(tile, np.rint(expected[0, 0] * 255 / 16))


def test_generate_images_ahead(refar, images, here):
    given = ["--shape", "8x8", "-n", 2, "--condition", "3,1", "--seed", 5]
    for more in ([], ["--ahead", 7]):
        assert refar("generate", "pixels", *given, *more, "-o", f"x{len(more)}.npy").code == 0
    np.testing.assert_array_equal(np.load("x0.npy"), np.load("x2.npy"))


def test_generate_coloured_images(refar, here):
    graph = models.masked_pixelcnn(4, channels=3, hidden=6, layers=1)
    session = runtime.load(export(graph, init(graph, seed=2), "rgb", metadata={"picture": "5x6"}))
    assert refar("generate", "rgb", "-n", 2, "-o", "x.png").code == 0
    expected = session.generate((5, 6), batch=2)
    with Image.open("x.png") as picture:
        assert picture.mode == "RGB"
        scale = picture.size[0] // 15
        tile = np.asarray(picture)[scale : 6 * scale : scale, scale : 7 * scale : scale]
    np.testing.assert_array_equal(tile, expected[0].transpose(1, 2, 0) * 85)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["-n", 2, "-o", "x.npy"], "images need a size; give it, as in --shape 28x28"),
        (["-n", 2, "-o", "x.csv", "--shape", "8x8"], "'x.csv': images have no table; expected .npy or .png"),
        (["-n", 2, "--batch", 3, "-o", "x.npy", "--shape", "8x8"], "--batch 3: of images -n says how many, here 2"),
        (["-n", 2, "-o", "x.npy", "--shape", "0x8"], "--shape 0x8: expected HEIGHTxWIDTH, as in 8x8"),
        (
            ["-n", 0, "-o", "x.png", "--shape", "8x8"],
            "'x.png': a sheet of no image is no picture; expected -n 1 or more, or .npy",
        ),
        (["-n", -1, "-o", "x.npy", "--shape", "8x8"], "n: expected an integer from 0 to 2147483647, got -1"),
    ],
)
def test_images_that_cannot_be_generated(refar, images, here, options, sentence):
    assert refar("generate", "pixels", "--condition", 3, *options).sentence == sentence
    assert not list(here.glob("x.*"))


def test_generate_without_padding(refar, here):
    g = Builder()
    graph = g.build(g.conv1d(g.one_hot(g.input(classes=3)), 3, kernel=2, strict=True), ops.Categorical(), padding="valid")
    export(graph, init(graph), "valid")
    said = refar("generate", "valid", "-n", 4, "-o", "x.npy").sentence
    assert said.startswith("generate needs")
    assert "padding='layer'" in said
    save(graph, "valid.json")
    said = refar("check", "valid.json")
    assert said.code == 0, said
    assert "step" in said.out
