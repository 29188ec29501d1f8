"""A data set, split into training and test examples with integer labels; the digits, and MNIST's files."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from fnnet.data.idx import read_idx
from fnnet.data.published import PUBLISHED, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, locate


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and labels, for training and for testing.

    Attributes:
        train: `(xs, ys)`: float32 images of shape (train, height, width, channels), in [0, 1] if they were bytes, or
            other arrays with the examples along the first axis; int32 labels of shape (train,).
        test: The same for the examples held out.
        classes: What label i means, for each i: `len(classes)` is the number of classes.
        name: What the data set is called in reports.
    """

    train: tuple[Float32[np.ndarray, "train ..."], Int32[np.ndarray, " train"]]
    test: tuple[Float32[np.ndarray, "test ..."], Int32[np.ndarray, " test"]]
    classes: tuple[str, ...]
    name: str

    def __repr__(self) -> str:
        """One line of sizes: the arrays themselves would fill the screen."""
        shapes = f"train images {self.train[0].shape}, test images {self.test[0].shape}"
        return f"Dataset({self.name!r}: {shapes}, {len(self.classes)} classes)"


class _MissingFileError(FileNotFoundError, ValueError):
    """A directory is not the data set that it was said to be, because a file is missing."""


def digits(seed: int = 0) -> Dataset:
    """The 1797 handwritten digits of 8 x 8 pixels that scikit-learn carries; a stratified fifth is held out.

    Args:
        seed: Decides which examples are held out. The same seed gives the same split.

    Returns:
        1437 examples to train on and 360 to test with, of shape (8, 8, 1), pixels k / 16 for k = 0 to 16; 10 classes.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: The seed is not an integer from 0 to 2**32 - 1.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository: its
    test set.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"digits: seed {seed!r} must be an integer from 0 to 2**32 - 1")
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError('digits: scikit-learn carries these images: pip install "fnnet[train]"') from error
    pixels, labels = load_digits(return_X_y=True)
    xs = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)  # a sixteenth is exact
    ys = labels.astype(np.int32)
    train_xs, test_xs, train_ys, test_ys = train_test_split(xs, ys, test_size=0.2, stratify=ys, random_state=int(seed))
    return Dataset((train_xs, train_ys), (test_xs, test_ys), tuple(map(str, range(10))), "digits")


def load(source: str | os.PathLike[str], *, allow_nonfinite: bool = False) -> Dataset:
    """A data set: the digits, or the four IDX files of a directory in MNIST's layout.

    Args:
        source: "digits", or a directory with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte
            and t10k-labels-idx1-ubyte. A name may also have .idx in place of -idx, and end in .gz; a plain file is
            taken before a compressed one. (A directory called digits is "./digits".)
        allow_nonfinite: Whether pixels may be NaN or infinite.

    Returns:
        Pixels k / 255 for the bytes k; float32 and float64 pixels as they are, in float32. The classes are 0 to the
        largest training label, the name is the directory's.

    Raises:
        ImportError: The digits are asked for, and scikit-learn is not installed.
        ValueError: The source is neither; a file is not as `read_idx` wants it; images and labels are not equally many;
            test images have another shape than training images; a test label is no class of the training labels;
            pixels are NaN or infinite.
        FileNotFoundError: The directory lacks one of the files; it is a ValueError, too.
    """
    if source == "digits":
        return digits()
    if not isinstance(source, str | os.PathLike) or not Path(source).is_dir():
        hint = f"; fnnet.data.fetch({source!r}, directory) downloads it into one" if source in PUBLISHED else ""
        raise ValueError(f'load: source {source!r} must be "digits" or a directory with IDX files{hint}')
    directory = Path(source)
    names = TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS
    paths = {name: path for name in names if (path := locate(directory, name)) is not None}
    if missing := [name for name in names if name not in paths]:
        raise _MissingFileError(f"load: directory {directory} lacks {', '.join(missing)} (or the same with .gz)")

    train_xs, train_ys = _read_examples(paths[TRAIN_IMAGES], paths[TRAIN_LABELS], allow_nonfinite)
    test_xs, test_ys = _read_examples(paths[TEST_IMAGES], paths[TEST_LABELS], allow_nonfinite)
    if (shape := train_xs.shape[1:]) != (test_shape := test_xs.shape[1:]):
        raise ValueError(f"load: {paths[TEST_IMAGES]}, byte 8: expected images of {shape}, found {test_shape}")
    count = int(train_ys.max()) + 1
    if (strange := np.flatnonzero(test_ys >= count)).size:
        wanted = f"a label below {count}, the number of classes in the training labels"
        first = strange[0]
        raise ValueError(f"load: {paths[TEST_LABELS]}, byte {8 + first}: expected {wanted}, found {test_ys[first]}")

    name = directory.resolve().name
    return Dataset((_scale(train_xs), train_ys), (_scale(test_xs), test_ys), tuple(map(str, range(count))), name)


def _read_examples(images: Path, labels: Path, allow_nonfinite: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images, still as they are in the file, and int32 labels."""
    xs = read_idx(images, rank=3)
    if xs.dtype not in (np.uint8, np.float32, np.float64):
        code = "the type of uint8, float32 or float64"
        raise ValueError(f"load: {images}, byte 2: expected {code}, found {xs.dtype}")
    ys = read_idx(labels, rank=1, dtype=np.uint8)
    if len(xs) != len(ys):
        raise ValueError(f"load: {labels}, byte 4: expected {len(xs)} labels, as {images} has images, found {len(ys)}")
    if xs.dtype != np.uint8 and not allow_nonfinite:
        with np.errstate(over="ignore"):
            strange = np.flatnonzero(~np.isfinite(xs.astype(np.float32)))  # as the network would get them
        if strange.size:
            first, size = strange[0], xs.dtype.itemsize
            found = f"{strange.size} NaN or infinite, the first in image {first // (xs.size // len(xs))}"
            raise ValueError(f"load: {images}, byte {16 + first * size}: expected finite float32 pixels, found {found}")
    return xs, ys.astype(np.int32)


def _scale(images: np.ndarray) -> np.ndarray:
    """Images (n, height, width) to float32 (n, height, width, 1), bytes into [0, 1], with no copy between."""
    if images.dtype != np.uint8:
        with np.errstate(over="ignore"):
            return images.astype(np.float32)[..., None]
    scaled: np.ndarray = np.divide(images, np.float32(255), dtype=np.float32)
    return scaled[..., None]
