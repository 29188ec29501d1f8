"""Arrays in a .npz file as a data set: names, shapes, dtypes, labels."""

import numpy as np
import pytest

from fnnet import data

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (20, 6, 5), np.uint8)
LABELS = np.arange(20) % 4


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "some.npz", **arrays)
    return tmp_path / "some.npz"


def test_images_and_labels(tmp_path):
    found = data.load_npz(saved(tmp_path, x=BYTES, y=LABELS))
    (xs, ys), (test_xs, test_ys) = found.train, found.test
    assert (found.classes, found.name) == (("0", "1", "2", "3"), "some")
    assert (xs.shape, xs.dtype, ys.dtype) == ((16, 6, 5, 1), np.float32, np.int32)
    assert np.bincount(test_ys).tolist() == [1, 1, 1, 1]
    every = sorted(map(bytes, np.uint8(np.round(255 * np.concatenate([xs, test_xs])))))
    assert every == sorted(map(bytes, BYTES))


@pytest.mark.parametrize("names", [("xs", "ys"), ("X", "y"), ("images", "labels"), ("data", "target")])
def test_other_names(tmp_path, names):
    found = data.load_npz(saved(tmp_path, **dict(zip(names, (BYTES, LABELS), strict=True))))
    assert len(found.train[0]) == 16


def test_a_split_of_its_own(tmp_path):
    arrays = {"x_train": BYTES, "y_train": LABELS[:, None], "x_test": BYTES[:3], "y_test": LABELS[:3, None]}
    found = data.load_npz(saved(tmp_path, **arrays))
    np.testing.assert_allclose(found.train[0][..., 0], BYTES / np.float32(255), rtol=1e-6)
    assert found.test[1].tolist() == [0, 1, 2]


def test_numbers_that_are_no_bytes_stay(tmp_path):
    table = RNG.normal(size=(20, 3))
    found = data.load_npz(saved(tmp_path, x=table, y=LABELS), held_out=0.4)
    assert found.train[0].shape == (12, 3)
    assert set(found.train[0].ravel()) <= set(np.float32(table).ravel())


def test_names_as_labels(tmp_path):
    names = np.array(["rose", "tulip"])[LABELS % 2]
    found = data.load_npz(saved(tmp_path, x=BYTES, y=names))
    assert found.classes == ("rose", "tulip")
    again = data.load_npz(saved(tmp_path, x=BYTES, y=names), classes=("daisy", "rose", "tulip"))
    assert (again.train[1] - 1).tolist() == found.train[1].tolist()
    with pytest.raises(ValueError, match="has a class 'tulip'; the classes are rose"):
        data.load_npz(saved(tmp_path, x=BYTES, y=names), classes=("rose",))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": BYTES}, "must have arrays x and y, or x_train, y_train, x_test and y_test; it has x"),
        ({"x": BYTES, "y": LABELS[:3]}, r"x of shape \(20, 6, 5, 1\) and y of shape \(3,\) must have as many examples"),
        ({"x": BYTES, "y": np.eye(20)}, "must have as many examples, and y one label each"),
        ({"x": BYTES, "y": LABELS - 1}, "must be names, or whole numbers from 0"),
        ({"x": BYTES, "y": LABELS / 2}, "labels of dtype float64 must be names"),
        ({"x": np.full((20, 3), np.nan), "y": LABELS}, "x must have finite numbers"),
        ({"x": np.array(["a"] * 20), "y": LABELS}, r"x of shape \(20,\) and dtype <U1 must be numbers"),
        ({"x": np.zeros((20, 3, 8, 8)), "y": LABELS}, r"channels first; numpy.moveaxis\(x, 1, -1\) puts them last"),
        ({"x": BYTES, "y": np.arange(20)}, "class 0 has one example"),
        (
            {"x_train": BYTES, "y_train": np.array(["a", "b"])[LABELS % 2], "x_test": BYTES, "y_test": LABELS},
            "labels of dtypes <U1 and int64 must be all names, or all whole numbers from 0",
        ),
        ({"x": np.array([{}] * 20), "y": LABELS}, "cannot be read as a file of numpy.savez: Object arrays cannot be"),
    ],
)
def test_wrong_arrays(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        data.load_npz(saved(tmp_path, **arrays))


def test_wrong_parts(tmp_path):
    file = saved(tmp_path, x=BYTES, y=LABELS)
    with pytest.raises(ValueError, match=r"load_npz: seed \(=-1\) must be an integer from 0"):
        data.load_npz(file, seed=-1)
    with pytest.raises(ValueError, match=r"load_npz: held_out \(=0\) must be a number above 0"):
        data.load_npz(file, held_out=0)
    assert data.load_npz(file, held_out=1).test[1].tolist() == LABELS.tolist()


def test_another_file(tmp_path):
    np.save(tmp_path / "one.npy", LABELS)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"one.npz cannot be read .*: it has one array, as numpy.save writes it"):
        data.load_npz(tmp_path / "one.npz")
