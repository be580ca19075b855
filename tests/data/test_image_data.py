"""Images in a file of one's own, and the digits as images."""

import numpy as np
import pytest

from refar import data, models
from refar.cli import examples
from refar.data.batches import shift
from refar.data.dataset import check_fit, for_graph
from refar.errors import FileError, InputError

RGB = np.random.default_rng(0).integers(0, 4, (30, 3, 4, 5))


def small(**options):
    return models.pixelcnn(hidden=1, **options)


def test_own_images(tmp_path):
    np.savez(tmp_path / "rgb.npz", x=RGB.astype(np.uint8), condition=np.arange(30) % 2)
    found = data.load(tmp_path / "rgb.npz")
    assert [split.x.shape for split in found.splits.values()] == [(24, 3, 4, 5), (3, 3, 4, 5), (3, 3, 4, 5)]
    assert (found.classes, found.condition_classes, found.shape) == (4, 2, (4, 5))
    np.testing.assert_array_equal(np.sort(np.concatenate([s.x for s in found.splits.values()]), axis=0), np.sort(RGB, axis=0))
    np.savez(tmp_path / "real.npz", x=RGB / 4)
    real = data.load(tmp_path / "real.npz")
    assert (real.classes, real.shape, real.train.x.dtype) == (0, (4, 5), np.float64)


@pytest.mark.parametrize("shape", [(30, 3, 4), (30, 3, 4, 5, 1)])
def test_arrays_that_are_no_images(tmp_path, shape):
    np.savez(tmp_path / "my.npz", x=np.zeros(shape, int))
    with pytest.raises(FileError, match=r"or images \(N, C, H, W\), got int64 \(30, 3, 4"):
        data.load(tmp_path / "my.npz")


def test_digits_are_images_to_a_graph_over_a_plane():
    digits = data.load("digits")
    images = for_graph(digits, small(classes=17))
    assert images.shape == (8, 8)
    for name, split in images.splits.items():
        np.testing.assert_array_equal(split.x.reshape(len(split), 64), digits.splits[name].x)
        assert split.x.shape[1:] == (1, 8, 8)
    assert for_graph(digits, models.nettoy1d(17)) is digits
    assert for_graph(images, small(classes=17)) is images
    given = examples.load("digits:valid", small(classes=17, condition="class:10"))
    np.testing.assert_array_equal(given.x, images.valid.x)
    np.testing.assert_array_equal(given.conditions["condition"], digits.valid.condition)


def test_fit(tmp_path):
    np.savez(tmp_path / "rgb.npz", x=RGB)
    np.savez(tmp_path / "line.npz", x=RGB.reshape(30, -1))
    rgb, line = data.load(tmp_path / "rgb.npz"), data.load(tmp_path / "line.npz")
    check_fit(rgb, small(classes=4, channels=3))
    check_fit(for_graph(data.load("digits"), small(classes=17)), small(classes=17))
    for found, graph, message in [
        (rgb, small(classes=3, channels=3), "expects 3 classes of 3 colours over an image, got 4 classes"),
        (rgb, small(classes=4), "expects 4 classes over an image, got 3 channels"),
        (rgb, models.nettoy1d(4), r"expects 4 classes over time, got an array of shape \(24, 3, 4, 5\)"),
        (for_graph(line, small(classes=4)), small(classes=4), r"over an image, got an array of shape \(24, 60\)"),
    ]:
        with pytest.raises(InputError, match=message):
            check_fit(found, graph)


def test_all_colours_move_together():
    x = RGB + 1
    moved = shift(x, (4, 5), 0, 3, 1.0)
    for c in range(3):
        np.testing.assert_array_equal(moved[:, c], shift(x[:, c].reshape(30, 20), (4, 5), 0, 3, 1.0).reshape(30, 4, 5))
    assert (moved != x).any()
