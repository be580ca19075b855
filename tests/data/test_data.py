"""Data sets: the digits, a user's own file, and the batches drawn from them."""

import sys

import numpy as np
import pytest

from refar import data, models
from refar.data.batches import batch, shift
from refar.data.dataset import check_fit, for_graph
from refar.data.described import DataConfig
from refar.errors import BackendError, FileError, InputError


def test_digits():
    digits = data.load("digits")
    assert [len(split) for split in digits.splits.values()] == [1300, 137, 360]
    assert (digits.classes, digits.condition_classes, digits.shape) == (17, 10, (8, 8))
    for split in digits.splits.values():
        assert split.x.shape == (len(split), 64)
        assert split.x.dtype == split.condition.dtype == np.int64
        assert split.x.min() == 0
        assert split.x.max() == 16
        assert set(split.condition) == set(range(10))
    everything = np.concatenate([np.column_stack([s.x, s.condition]) for s in digits.splits.values()])
    assert len(np.unique(everything, axis=0)) == 1797
    # The split is fixed for good: results are told in terms of it.
    assert digits.digest() == "223f4f43c2dd15835d54727ae90bf387f2e057cbb5a0473d6bfd20e8f3f2a0fb"


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(BackendError, match=r"pip install refar\[data\]"):
        data.load("digits")


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


INDICES = np.arange(60).reshape(20, 3) % 5


def test_own_indices_are_split(tmp_path):
    found = data.load(write(tmp_path / "my.npz", x=INDICES.astype(np.uint8), condition=np.arange(20)))
    assert [len(split) for split in found.splits.values()] == [16, 2, 2]
    assert (found.name, found.classes, found.condition_classes, found.shape) == ("my.npz", 5, 20, None)
    rows = np.concatenate([split.condition for split in found.splits.values()])
    assert sorted(rows) == list(range(20))
    for split in found.splits.values():
        np.testing.assert_array_equal(split.x, INDICES[split.condition])
    assert data.load(tmp_path / "my.npz").digest() == found.digest()


def test_a_part_is_not_one_row_less_by_rounding(tmp_path):
    path = write(tmp_path / "my.npz", x=np.arange(300).reshape(100, 3) % 5)
    found = data.load(DataConfig(path=str(path), valid=0.29, test=0.57))  # 100 · 0.29 and 100 · 0.57 round downwards
    assert [len(split) for split in found.splits.values()] == [14, 29, 57]


def test_own_signal_with_own_splits(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    path = write(
        tmp_path / "a.npz", x=x, valid_x=x[:1], test_x=x[:2], condition=x[:, 0], valid_condition=x[:1, 0], test_condition=x[:2, 0]
    )
    found = data.load(str(path))
    assert [len(split) for split in found.splits.values()] == [4, 1, 2]
    assert (found.classes, found.condition_classes) == (0, 0)
    np.testing.assert_array_equal(found.train.x, x)


def test_classes_are_counted_over_all_splits(tmp_path):
    assert data.load(write(tmp_path / "a.npz", x=INDICES, test_x=INDICES + 4)).classes == 9


RAGGED = np.empty(2, object)
RAGGED[:] = [np.zeros(2), np.zeros(3)]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": INDICES}, "the array 'x' is missing; it holds y"),
        ({"x": INDICES, "label": INDICES}, "array 'label' is not known; expected x, condition, condition_NAME, target, lengths"),
        ({"x": RAGGED}, "expected rows of one length"),
        (
            {"x": INDICES.astype(str)},
            r"'x': expected integers \(N, T\), the class indices, or floats \(N, C, T\), a signal, or images .*, got <U21",
        ),
        ({"x": INDICES / 2}, r"got float64 \(20, 3\)"),
        ({"x": INDICES > 2}, r"got bool \(20, 3\)"),
        ({"x": INDICES[:, None]}, r"got int64 \(20, 1, 3\)"),
        ({"x": INDICES[:0]}, r"expected at least one value, got shape \(0, 3\)"),
        ({"x": INDICES - 1}, "expected class indices ≥ 0, got -1"),
        ({"x": np.full((3, 1, 2), np.inf)}, "expected finite numbers, got inf"),
        ({"x": INDICES, "condition": np.arange(3)}, "'condition' has 3 rows, 'x' has 20"),
        ({"x": INDICES, "condition": np.zeros(20)}, r"'condition': expected integers \(N,\) or .* got float64"),
        ({"x": INDICES, "valid_condition": np.arange(3)}, "'valid_condition' has no 'valid_x' beside it"),
        ({"x": INDICES, "condition": np.arange(20), "valid_x": INDICES}, "'valid_x' differs from 'x'"),
        ({"x": INDICES, "valid_x": INDICES[:, :2]}, "'valid_x' and 'x' differ in more than rows"),
        ({"x": INDICES, "target": INDICES}, r"'target': expected floats \(N, C, T\), a signal, got int64"),
        ({"x": INDICES, "target": np.zeros((20, 1, 2))}, "'target' has 2 positions, 'x' has 3"),
        ({"x": INDICES, "lengths": np.zeros(20, int)}, "'lengths': expected lengths ≥ 1, got 0"),
        ({"x": INDICES, "lengths": np.full(20, 4)}, "'lengths': expected at most the 3 positions of x, got 4"),
        ({"x": INDICES, "lengths": np.ones(3, int)}, "'lengths' has 3 rows, 'x' has 20"),
        ({"x": np.zeros((9, 1, 2, 2)), "lengths": np.ones(9, int)}, "'lengths': expected sequences, got images"),
        ({"x": INDICES[:2]}, "expected at least 3 sequences to split, got 2"),
    ],
)
def test_own_files_that_are_refused(tmp_path, arrays, message):
    with pytest.raises(FileError, match=message):
        data.load(write(tmp_path / "my.npz", **arrays))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileError, match="there is no such file"):
        data.load(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"a built-in data set \(digits, .*\) or the path of an \.npz, .* did you mean 'digits'"):
        data.load("digit")
    path = write(tmp_path / "cut.npz", x=INDICES)
    whole = path.read_bytes()
    altered = whole.replace(INDICES[:2].tobytes(), INDICES[1:3].tobytes())
    assert altered != whole
    np.save(tmp_path / "array.npy", INDICES)
    for content in (b"", b"no zip", whole[: len(whole) // 2], altered, (tmp_path / "array.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"cut\.npz' cannot be read as \.npz"):
            data.load(path)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(FileError, match="there is no such file"):
        data.load(tmp_path / "folder.npz")


def test_fit(tmp_path):
    digits = data.load("digits")
    small = {"dilations": [1], "residual": 2, "gate": 2, "skip": 2}
    check_fit(digits, models.wavenet(17, **small, condition="class:10"))
    check_fit(digits, models.wavenet(18, **small, condition="class:11"))
    check_fit(digits, models.wavenet(17, **small))
    with pytest.raises(InputError, match=r"data 'digits': x: the graph's input 'x' expects 16 classes over time, got 17 classes"):
        check_fit(digits, models.wavenet(16, **small))
    with pytest.raises(InputError, match="condition: the graph's input 'condition' expects 9 classes constant, got 10 classes"):
        check_fit(digits, models.wavenet(17, **small, condition="class:9"))
    with pytest.raises(InputError, match="expects 2 channels constant, got 10 classes"):
        check_fit(digits, models.wavenet(17, **small, condition="vector:2"))
    with pytest.raises(InputError, match="expects 1 channels over time, got 17 classes"):
        check_fit(digits, models.linear_ar(2))
    plain = data.load(write(tmp_path / "a.npz", x=INDICES))
    with pytest.raises(InputError, match="has no condition, but the graph needs 'condition'"):
        check_fit(plain, models.wavenet(17, **small, condition="class:10"))
    signal = data.load(write(tmp_path / "b.npz", x=np.zeros((5, 2, 3))))
    with pytest.raises(InputError, match="expects 1 channels over time, got 2 channels"):
        check_fit(signal, models.linear_ar(2))
    with pytest.raises(InputError, match="expects 5 classes over time, got real numbers"):
        check_fit(signal, models.nettoy1d(5))


def two_conditions():
    from refar import Builder

    g = Builder()
    speaker, pitch = g.condition("speaker", classes=17), g.condition("pitch", channels=17, local=True)
    return g.build(g.add(g.delay(g.one_hot(g.input(classes=17))), g.one_hot(speaker), pitch))


def test_several_conditions(tmp_path):
    arrays = {"x": INDICES, "condition_speaker": np.arange(20) % 3, "condition_pitch": np.zeros((20, 17, 3))}
    found = data.load(write(tmp_path / "a.npz", **arrays))
    assert found.classes_of == {"speaker": 3, "pitch": 0}
    assert found.train.condition is None
    assert found.train[:2].conditions["pitch"].shape == (2, 17, 3)
    check_fit(found, two_conditions())
    for changed, message in [
        ({"condition_pitch": np.zeros((20, 17, 4))}, "condition 'pitch': expected 3 positions as x has, got 4 positions"),
        ({"condition_pitch": np.zeros((20, 17))}, "expects 17 channels over time, got an array of shape"),
        ({"condition_speaker": np.arange(20)}, "condition 'speaker': .* expects 17 classes constant, got 20 classes"),
    ]:
        with pytest.raises(InputError, match=message):
            check_fit(data.load(write(tmp_path / "b.npz", **{**arrays, **changed})), two_conditions())
    with pytest.raises(InputError, match="has only 'condition', but the graph needs 'speaker'"):
        check_fit(data.load("digits"), two_conditions())


def test_targets_and_lengths(tmp_path):
    x = np.arange(60.0).reshape(20, 1, 3)
    found = data.load(write(tmp_path / "a.npz", x=x, target=2 * x, lengths=np.arange(20) % 3 + 1))
    for split in found.splits.values():
        np.testing.assert_array_equal(split.target, 2 * split.x)
        np.testing.assert_array_equal(split.lengths, split.x[:, 0, 0].astype(int) // 3 % 3 + 1)


def test_one_condition_gets_the_name_of_the_graph():
    from refar import Builder

    g = Builder()
    graph = g.build(g.add(g.delay(g.one_hot(g.input(classes=17))), g.embedding(g.condition("digit", classes=10), 17)))
    digits = data.load("digits")
    found = for_graph(digits, graph)
    check_fit(found, graph)
    assert (list(found.train.conditions), found.classes_of, found.condition_classes) == (["digit"], {"digit": 10}, 10)
    np.testing.assert_array_equal(found.valid.condition, digits.valid.condition)


def test_an_epoch_is_a_permutation():
    split = data.Split(np.arange(10)[:, None], {"condition": np.arange(10)})
    rows = np.concatenate([batch(split, 5, step, 4).condition for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert list(rows[:10]) != list(rows[10:])
    assert list(batch(split, 6, 0, 10).condition) != list(rows[:10])
    np.testing.assert_array_equal(batch(split, 5, 3, 4).condition, rows[12:16])
    assert sorted(batch(split, 5, 0, 20).condition) == sorted(rows)


def test_shift_moves_by_one_pixel_at_most():
    picture = np.zeros((200, 3, 4), np.int64)
    picture[:, 1, 1], picture[:, 0, 3] = 5, 7
    moved = shift(picture.reshape(200, 12), (3, 4), 0, 0, 1.0).reshape(200, 3, 4)
    seen = set()
    for found in moved:
        row, column = (int(i[0]) for i in np.nonzero(found == 5))
        expected = np.zeros((5, 6), np.int64)
        expected[row + 1, column + 1] = 5
        if row >= 1 and column <= 1:
            expected[row, column + 3] = 7
        np.testing.assert_array_equal(found, expected[1:4, 1:5])
        seen.add((row, column))
    assert seen == {(row, column) for row in (0, 1, 2) for column in (0, 1, 2)}


def test_shift_is_a_function_of_seed_and_step():
    x = np.random.default_rng(0).integers(0, 17, (50, 64))
    np.testing.assert_array_equal(shift(x, (8, 8), 1, 2, 0.5), shift(x, (8, 8), 1, 2, 0.5))
    assert (shift(x, (8, 8), 1, 2, 0.5) != shift(x, (8, 8), 1, 3, 0.5)).any()
    np.testing.assert_array_equal(shift(x, (8, 8), 1, 2, 0.0), x)
    still = (shift(x, (8, 8), 1, 2, 0.5) == x).all(axis=1).mean()
    assert 0.4 < still < 0.75  # half of them, and a ninth of the others
