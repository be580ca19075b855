"""Pictures: grey and coloured, levels, sizes, tiles; and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refar import data, models
from refar.data.dataset import for_graph
from refar.data.described import DataConfig
from refar.data.meaning import darken, lighten
from refar.errors import BackendError, FileError, InputError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(name: str, *shape: int, **options: object) -> np.ndarray:
    pixels = RNG.integers(0, 256, shape).astype(np.uint8)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(name, **options)
    return pixels


def test_grey_and_coloured():
    grey = [draw(f"g/{i:02}.png", 6, 5) for i in range(12)]
    found = data.load(DataConfig(path="g"))
    assert (found.classes, found.shape, found.meaning.colours, found.division.by) == (256, (6, 5), "grey", "random")
    every = np.concatenate([split[:].x for split in found.splits.values()])
    assert every.shape == (12, 1, 6, 5)
    assert sorted(map(bytes, every.astype(np.uint8))) == sorted(map(bytes, grey))
    rgb = draw("c/a.png", 6, 5, 3)
    draw("c/b.png", 6, 5)
    draw("c/c.jpg", 6, 5, 3, quality=90)
    coloured = data.load(DataConfig(path="c", levels=16))
    assert (coloured.classes, coloured.meaning.channels, coloured.valid.x.dtype) == (16, 3, np.uint8)
    every = np.concatenate([split[:].x for split in coloured.splits.values()])
    assert any((x == np.moveaxis(rgb, -1, 0) // 16).all() for x in every)
    np.testing.assert_array_equal(coloured.meaning.light(np.array([0, 15])), [0, 255])
    assert data.load(DataConfig(path="c", colours="grey")).valid.x.shape == (1, 1, 6, 5)


def test_networks_over_time_take_them_pixel_by_pixel():
    for i in range(3):
        draw(f"c/{i}.png", 6, 5, 3)
    found = data.load(DataConfig(path="c"))
    sequences = for_graph(found, models.nettoy1d(256))
    assert sequences.valid.x.shape == (1, 90)
    pixels = np.moveaxis(found.valid.x[0], 0, -1)
    np.testing.assert_array_equal(sequences.valid.x[0], pixels.reshape(-1))
    assert sequences.shape is None
    images = for_graph(found, models.pixelcnn(256, channels=3))
    assert images.valid.x.shape == (1, 3, 6, 5)


def test_tiles_hold_out_the_lowest_rows():
    pixels = draw("p.png", 43, 20, 3)
    found = data.load(DataConfig(path="p.png", size="4x4", fit="tiles"))
    assert [len(split) for split in found.splits.values()] == [8 * 5, 5, 5]
    np.testing.assert_array_equal(found.test.x[4], np.moveaxis(pixels[36:40, 16:20], -1, 0))
    assert found.division.by == "rows"
    with pytest.raises(InputError, match="expected at least 3 to divide at random, got 1"):
        data.load(DataConfig(path="p.png", size="4x4", fit="tiles", split="random"))
    with pytest.raises(InputError, match="no row of tiles is left for 'valid'"):
        data.load(DataConfig(path="p.png", size="20x20", fit="tiles"))


@pytest.mark.parametrize(
    ("high", "share", "rows"), [(10, 0.3, [4, 3, 3]), (10, 0.1, [8, 1, 1]), (5, 0.3, [2, 1, 2]), (7, 0.2, [4, 1, 2])]
)
def test_rows_of_tiles_are_counted_without_rounding(high, share, rows):
    draw("high.png", 4 * high, 4, 3)
    found = data.load(DataConfig(path="high.png", size="4x4", fit="tiles", valid=share, test=share))
    assert [len(split) for split in found.splits.values()] == rows


def test_many_pictures_of_tiles_are_held_out_whole():
    for i in range(20):
        draw(f"p/{i}.png", 8, 8)
    found = data.load(DataConfig(path="p", size="4x4", fit="tiles"))
    assert [len(split) for split in found.splits.values()] == [16 * 4, 8, 8]
    assert (found.division.by, len(found.division.test)) == ("random", 2)


def test_folders_are_classes_and_sizes_are_changed():
    for i in range(4):
        draw(f"p/cat/{i}.png", 8, 8)
        draw(f"p/dog/{i}.png", 4, 8)
    found = data.load(DataConfig(path="p", condition="folder", size="4x4", fit="resize", levels=2))
    assert (found.meaning.names, found.classes_of, found.classes) == (["cat", "dog"], {"condition": 2}, 2)
    assert sorted(np.concatenate([split[:].condition for split in found.splits.values()])) == [0] * 4 + [1] * 4


def test_palettes_and_opaque_pictures_are_taken_and_turned_as_the_camera_says():
    pixels = draw("p/a.png", 4, 6, 3)
    Image.fromarray(np.dstack([pixels, np.full((4, 6), 255, np.uint8)])).save("p/b.png")
    Image.fromarray(pixels // 128 * 128).quantize(8).save("p/c.png")
    turned = Image.fromarray(np.rot90(pixels).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # turn clockwise by a quarter
    turned.save("p/d.png", exif=exif)
    found = data.load(DataConfig(path="p"))
    every = [np.moveaxis(x, 0, -1) for split in found.splits.values() for x in split[:].x]
    assert sum((x == pixels).all() for x in every) == 3
    assert sum((x == pixels // 128 * 128).all() for x in every) == 1


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (lambda: draw("p/b.png", 9, 8), {}, r"'b\.png': expected 8x8 pixels as the pictures before it, got 9x8; write size"),
        (lambda: None, {"size": "4x4"}, r'expected 4x4 pixels, got 8x8; .* fit = "resize" or "tiles"'),
        (lambda: None, {"size": "9x4", "fit": "tiles"}, "expected at least 9x4 pixels for a tile, got 8x8"),
        (lambda: None, {"fit": "tiles"}, 'fit = "tiles" needs a size'),
        (lambda: draw("p/b.png", 8, 8, 4), {}, "expected a picture without transparent pixels"),
        (lambda: Path("p/b.png").write_bytes(b"\x89PNG\r\n\x1a\nx"), {}, "cannot be read as a picture: it is no picture that"),
        (lambda: Image.new("CMYK", (8, 8)).save("p/b.jpg"), {}, "8 bits a colour, got Pillow's mode 'CMYK'"),
        (lambda: Image.fromarray(np.zeros((8, 8), np.uint16)).save("p/b.png"), {}, "got Pillow's mode 'I;16'"),
        (lambda: None, {"levels": 257}, "levels: expected 2 to 256 for pictures, got 257"),
        (lambda: None, {"split": "time"}, 'split = "time" is for series and sound'),
        (lambda: None, {"split": "rows"}, 'split = "rows" is for pictures cut into tiles'),
        (lambda: None, {"window": 8}, "`window` is for an .npy file, tables"),
        (lambda: None, {}, "expected at least 3 to divide at random, got 1"),
    ],
)
def test_what_is_refused(write, options, message):
    draw("p/a.png", 8, 8)
    write()
    with pytest.raises((FileError, InputError), match=message):
        data.load(DataConfig(path="p", **options))


def test_half_a_picture():
    draw("p/a.png", 80, 80, 3)
    whole = Path("p/a.png").read_bytes()
    Path("p/a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=r"'a\.png' cannot be read as a picture"):
        data.load(DataConfig(path="p"))


def test_without_pillow(monkeypatch):
    draw("p/a.png", 8, 8)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BackendError, match=r"pip install 'refar\[data\]'"):
        data.load(DataConfig(path="p"))


@pytest.mark.parametrize("levels", [2, 3, 7, 28, 100, 255, 256])
def test_light_of_a_class_is_of_that_class(levels):
    classes = np.arange(levels)
    light = lighten(classes, levels)
    np.testing.assert_array_equal(darken(light, levels), classes)
    assert (light[0], light[-1]) == (0, 255)
    assert (np.diff(light.astype(int)) > 0).all()
