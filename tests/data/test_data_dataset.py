"""The digits of scikit-learn, and data sets read from a directory."""

import gzip
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from fnnet.data import digits, load

NAMES = "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def example_arrays():
    """Eight training and four test images of 5 x 6 pixels in three classes."""
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 5, 6), np.uint8) for n in (8, 4))
    train[0, 0, :2] = 0, 255
    return [train, np.array([0, 1, 2, 0, 1, 2, 0, 1], np.uint8), test, np.array([1, 1, 0, 0], np.uint8)]


def write(directory, arrays, names=NAMES):
    for name, array in zip(names, arrays, strict=True):
        content = idx_bytes(array)
        (directory / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def test_digits():
    data = digits()
    (train_xs, train_ys), (test_xs, test_ys) = data.train, data.test
    assert train_xs.shape == (1437, 8, 8, 1)
    assert test_xs.shape == (360, 8, 8, 1)
    assert train_xs.dtype == test_xs.dtype == np.float32
    assert train_ys.dtype == test_ys.dtype == np.int32
    assert data.classes == tuple("0123456789")
    assert data.name == "digits"
    assert repr(data) == "Dataset('digits': train images (1437, 8, 8, 1), test images (360, 8, 8, 1), 10 classes)"


def test_digits_are_all_of_scikit_learns_once():
    from sklearn.datasets import load_digits

    data, original = digits(), load_digits()
    xs, ys = (np.concatenate(pair) for pair in zip(data.train, data.test, strict=True))
    split = sorted((16 * x).astype(int).tobytes() + bytes([y]) for x, y in zip(xs, ys, strict=True))
    whole = sorted(
        x.astype(int).tobytes() + bytes([y]) for x, y in zip(original.images, original.target.astype(int), strict=True)
    )
    assert split == whole
    assert xs.min() == 0
    assert xs.max() == 1


def test_digits_hold_out_a_fifth_of_each_class():
    data = digits()
    held_out, all_of_it = np.bincount(data.test[1]), np.bincount(np.concatenate([data.train[1], data.test[1]]))
    assert np.all(np.abs(held_out - all_of_it / 5) <= 1)


def test_digits_split_depends_on_the_seed_alone():
    np.testing.assert_array_equal(digits().test[0], digits(seed=0).test[0])
    np.testing.assert_array_equal(digits().test[0], load("digits").test[0])
    assert not np.array_equal(digits().test[0], digits(seed=1).test[0])


@pytest.mark.parametrize("seed", [-1, 2**32, None, 0.5])
@pytest.mark.usefixtures("unchecked_shapes")
def test_digits_refuses_a_seed(seed):
    with pytest.raises(ValueError, match=f"digits: seed {seed} must be an integer from 0 to"):
        digits(seed)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError) as caught:
        load("digits")
    assert str(caught.value) == 'digits: scikit-learn carries these images: pip install "fnnet[train]"'


def test_import_leaves_scikit_learn_alone(users_environment):
    program = "import fnnet.data, sys; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env=users_environment)


@pytest.mark.parametrize("spelling", ["{}", "{}.gz"])
@pytest.mark.parametrize("joint", ["-idx", ".idx"])
def test_load_reads_a_directory(tmp_path, spelling, joint):
    arrays = example_arrays()
    write(tmp_path, arrays, [spelling.format(name.replace("-idx", joint)) for name in NAMES])
    for source in (tmp_path, str(tmp_path)):
        data = load(source)
        for (xs, ys), images, labels in zip((data.train, data.test), arrays[::2], arrays[1::2], strict=True):
            assert xs.dtype == np.float32
            assert ys.dtype == np.int32
            np.testing.assert_array_equal(xs, (images / np.float32(255)).astype(np.float32)[..., None])
            np.testing.assert_array_equal(ys, labels)
        assert data.train[0][0, 0, 0, 0] == 0
        assert data.train[0][0, 0, 1, 0] == 1
        assert data.classes == ("0", "1", "2")
        assert data.name == tmp_path.name


def test_load_takes_the_plain_file_first(tmp_path):
    arrays = example_arrays()
    write(tmp_path, [255 - arrays[0], *arrays[1:]], [f"{name}.gz" for name in NAMES])
    write(tmp_path, arrays)
    np.testing.assert_array_equal(np.rint(load(tmp_path).train[0][..., 0] * 255), arrays[0])


@pytest.mark.parametrize("absent", NAMES)
def test_load_names_what_is_missing(tmp_path, absent):
    write(tmp_path, example_arrays())
    (tmp_path / absent).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load(tmp_path)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == f"load: directory {tmp_path} lacks {absent} (or the same with .gz)"


FAULTS = {  # which file, its new array, the message
    "labels": (1, np.zeros(7, np.uint8), ", byte 4: expected 8 labels, as {images} has images, found 7"),
    "test labels": (3, np.zeros(5, np.uint8), ", byte 4: expected 4 labels, as {images} has images, found 5"),
    "shapes": (2, np.zeros((4, 6, 5), np.uint8), ", byte 8: expected images of (5, 6), found (6, 5)"),
    "unknown class": (
        3,
        np.array([0, 2, 3, 4], np.uint8),
        ", byte 10: expected a label below 3, the number of classes in the training labels, found 3",
    ),
    "rank of images": (0, np.zeros((8, 30), np.uint8), ", byte 3: expected rank 3, found 2"),
    "rank of labels": (1, np.zeros((8, 1), np.uint8), ", byte 3: expected rank 1, found 2"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_load_refuses(tmp_path, case):
    which, array, message = FAULTS[case]
    arrays = example_arrays()
    arrays[which] = array
    write(tmp_path, arrays)
    with pytest.raises(ValueError, match=r"^(load|read_idx): ") as caught:
        load(tmp_path)
    images = tmp_path / NAMES[which - 1]
    assert str(caught.value).partition(": ")[2] == f"{tmp_path / NAMES[which]}{message.format(images=images)}"


def write_floats(directory, images, code):
    write(directory, example_arrays())
    dtype = {0x0D: ">f4", 0x0E: ">f8"}[code]
    header = bytes([0, 0, code, 3]) + np.array(images.shape, ">i4").tobytes()
    (directory / NAMES[0]).write_bytes(header + images.astype(dtype).tobytes())


@pytest.mark.parametrize("code", [0x0D, 0x0E])
def test_load_takes_floats_as_they_are_if_they_are_finite(tmp_path, code):
    images = np.random.default_rng(0).normal(size=example_arrays()[0].shape)
    write_floats(tmp_path, images, code)
    np.testing.assert_array_equal(load(tmp_path).train[0][..., 0], images.astype(np.float32))
    images[3, 1, 2], images[5, 0, 0] = np.nan, 1e300 if code == 0x0E else -np.inf
    write_floats(tmp_path, images, code)
    first = 16 + (3 * 30 + 1 * images.shape[2] + 2) * (4 if code == 0x0D else 8)
    with pytest.raises(ValueError, match="load") as caught:
        load(tmp_path)
    wanted = f"load: {tmp_path / NAMES[0]}, byte {first}: expected finite float32 pixels"
    assert str(caught.value) == f"{wanted}, found 2 NaN or infinite, the first in image 3"
    assert np.isnan(load(tmp_path, allow_nonfinite=True).train[0][3, 1, 2, 0])


def test_load_wants_bytes(tmp_path):
    write(tmp_path, example_arrays())
    (tmp_path / NAMES[1]).write_bytes(bytes([0, 0, 0x0C, 1, 0, 0, 0, 8]) + bytes(32))
    with pytest.raises(ValueError, match="byte 2: expected the type of uint8, found 0x0c, int32"):
        load(tmp_path)


@pytest.mark.parametrize("source", ["cifar", 3, None, b"digits"])
@pytest.mark.usefixtures("unchecked_shapes")
def test_load_says_what_it_takes(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    message = f'load: source {source!r} must be "digits" or a directory with IDX files'
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(source)


def test_load_points_to_fetch():
    with pytest.raises(ValueError, match=r"; fnnet.data.fetch\('mnist', directory\) downloads it into one$"):
        load("mnist")
