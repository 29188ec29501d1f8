"""Folders of images by class: which files are read, in what size and colours, and which are held out."""

import numpy as np
import pytest
from PIL import Image

from fnnet import data


def colour(value, file, size=(12, 8), mode="RGB"):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(file)


@pytest.fixture
def flowers(tmp_path):
    """Ten roses, red, one of them in a folder of its own; five tulips, blue; and a note."""
    for number in range(10):
        place = tmp_path / "flowers" / "rose" / ("old" if number == 3 else "")
        colour((100 + 15 * number, 0, 0), place / f"{number}.jpg" if number % 2 else place / f"{number}.png")
    for number in range(5):
        colour((0, 0, 250), tmp_path / "flowers" / "tulip" / f"{number}.PNG")
    (tmp_path / "flowers" / "tulip" / "note.txt").write_text("a note")
    (tmp_path / "flowers" / ".hidden").mkdir()
    (tmp_path / "flowers" / "empty").mkdir()
    return tmp_path / "flowers"


def test_a_folder(flowers):
    found = data.load_folder(flowers)
    (xs, ys), (test_xs, test_ys) = found.train, found.test
    assert (found.classes, found.name) == (("rose", "tulip"), "flowers")
    assert (xs.shape, xs.dtype, ys.dtype) == ((12, 8, 12, 3), np.float32, np.int32)
    assert (ys.tolist(), test_ys.tolist()) == ([0] * 8 + [1] * 4, [0, 0, 1])
    np.testing.assert_allclose(xs[ys == 1], [[[[0, 0, 250 / 255]]]] * 4 * np.ones((4, 8, 12, 3)), atol=1e-6)
    assert len({float(x.mean()) for x in (*xs[ys == 0], *test_xs[test_ys == 0])}) == 10  # each rose once
    again = data.load_folder(flowers)
    np.testing.assert_array_equal(again.test[0], test_xs)
    other = data.load_folder(flowers, seed=1, held_out=0.5)
    assert np.bincount(other.test[1]).tolist() == [5, 2]


def test_sizes_and_colours(flowers):
    assert data.load_folder(flowers, image_size=(6, 5), channels=1).train[0].shape == (12, 6, 5, 1)
    assert data.load_folder(flowers, image_size=7).train[0].shape == (12, 7, 7, 3)
    colour((0, 0, 0), flowers / "tulip" / "large.png", (300, 200))
    assert data.load_folder(flowers).train[0].shape[1:] == (64, 64, 3)


def test_grey_files_make_grey_images(tmp_path):
    for name in "ab":
        for number in range(2):
            colour(100, tmp_path / name / f"{number}.png", mode="L")
    xs, _ = data.load_folder(tmp_path).train
    assert xs.shape == (2, 8, 12, 1)
    np.testing.assert_allclose(xs, 100 / 255, atol=1e-6)


def test_the_orientation_of_a_photograph_counts(tmp_path):
    for name in "ab":
        for number in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            image = Image.new("L", (12, 8), 100)
            image.putpixel((0, 7), 255)
            exif = image.getexif()
            exif[0x0112] = 6  # to be turned clockwise by a quarter
            image.save(tmp_path / name / f"{number}.png", exif=exif)
    xs, _ = data.load_folder(tmp_path).train
    assert xs.shape == (2, 12, 8, 1)
    assert (xs[:, 0, 0] == 1).all()


def test_the_middle_is_taken(tmp_path):
    for name in "ab":
        for number in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            pixels = np.zeros((4, 8), np.uint8)
            pixels[:, 2:6] = 255
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    xs, _ = data.load_folder(tmp_path, image_size=(4, 4)).train
    np.testing.assert_array_equal(xs, 1)


def test_a_split_of_its_own(tmp_path):
    for part, names in (("train", "abc"), ("val", "ac")):
        for name in names:
            colour(100, tmp_path / part / name / "1.png", mode="L")
    found = data.load_folder(tmp_path)
    assert found.classes == ("a", "b", "c")
    assert (found.train[1].tolist(), found.test[1].tolist()) == ([0, 1, 2], [0, 2])
    colour(100, tmp_path / "val" / "d" / "1.png", mode="L")
    with pytest.raises(ValueError, match="has a class 'd'; the classes are a, b, c"):
        data.load_folder(tmp_path)


def test_a_split_without_examples_to_test_with(tmp_path):
    for name in "ab":
        for number in range(2):
            colour(100, tmp_path / "train" / name / f"{number}.png", mode="L")
    found = data.load_folder(tmp_path)  # of train alone a part is held out
    assert (found.classes, found.name) == (("a", "b"), tmp_path.name)
    assert (found.train[1].tolist(), found.test[1].tolist()) == ([0, 1], [0, 1])
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match=r"/test must have folders of images, one for each class, such as .*/test/cat"):
        data.load_folder(tmp_path)


def test_all_examples_are_held_out(flowers):
    colour((0, 0, 0), flowers / "lily" / "1.jpg")
    found = data.load_folder(flowers, held_out=1)
    assert len(found.train[0]) == 0
    assert np.bincount(found.test[1]).tolist() == [1, 10, 5]
    only = data.load_folder(flowers / "rose", held_out=1, classes=("new", "old"), image_size=4)
    assert only.test[1].tolist() == [1]


def test_classes_keep_their_labels(flowers):
    found = data.load_folder(flowers, classes=("daisy", "rose", "tulip"))
    assert found.classes == ("daisy", "rose", "tulip")
    assert sorted(set(found.train[1].tolist())) == [1, 2]
    with pytest.raises(ValueError, match="has a class 'rose'; the classes are daisy, tulip"):
        data.load_folder(flowers, classes=("daisy", "tulip"))


def test_wrong_folders(flowers, tmp_path):
    with pytest.raises(ValueError, match="must have two folders of images or more, one for each class, such as"):
        data.load_folder(flowers / "rose")
    with pytest.raises(ValueError, match=r"channels \(=4\) must be 1 or 3"):
        data.load_folder(flowers, channels=4)
    with pytest.raises(ValueError, match=r"load_folder: held_out \(=1.5\) must be a number above 0, and at most 1"):
        data.load_folder(flowers, held_out=1.5)
    with pytest.raises(ValueError, match=r"load_folder: seed \(=-1\) must be an integer from 0 to 2\*\*32 - 1"):
        data.load_folder(flowers, seed=-1)
    for size in (0, (0, 8), (8, 8, 3), 8.5, "large", True):
        with pytest.raises(ValueError, match=r"image_size \(=.*\) must be one number such as 64, or height and width"):
            data.load_folder(flowers, image_size=size)
    colour(0, flowers / "lily" / "1.png")
    with pytest.raises(ValueError, match="class 0 has one example; it must have two"):
        data.load_folder(flowers)
