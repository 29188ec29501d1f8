"""A data set from arrays in one .npz file, as `numpy.savez` writes it."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fnnet.data.dataset import Dataset
from fnnet.data.splitting import HELD_OUT, held_out_rows

PAIRS = (("x", "y"), ("xs", "ys"), ("X", "y"), ("images", "labels"), ("data", "labels"), ("data", "target"))
SPLIT = (("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"))


def load_npz(
    file: str | os.PathLike[str],
    *,
    held_out: int | float = HELD_OUT,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    allow_nonfinite: bool = False,
) -> Dataset:
    """A data set from a file with the arrays x and y, or x_train, y_train, x_test, y_test, as in Keras's mnist.npz.

    Args:
        file: x has the examples along its first axis: images (n, height, width) or (n, height, width, channels), or
            rows of a table. y has n whole numbers from 0, or n names. Also read are xs and ys, X and y, images and
            labels, data and labels, data and target.
        held_out: The share of each class that is held out, where the file has no test examples. 1 holds out all.
        classes: The names of the classes. None: of whole numbers the numbers, of names the names, sorted.
        seed: Decides which examples are held out.
        allow_nonfinite: Whether x may have NaN or infinite numbers.

    Returns:
        float32 examples, bytes scaled to [0, 1] and other numbers as they are, and int32 labels.

    Raises:
        ValueError: The file is no such file, or its arrays do not match.
        OSError: It cannot be read.
    """
    path = Path(file)
    arrays = _arrays(path)
    for names in (*SPLIT, *PAIRS):
        if all(name in arrays for name in names):
            break
    else:
        raise ValueError(
            f"load_npz: {path} must have arrays x and y, or x_train, y_train, x_test and y_test; it has "
            f"{', '.join(sorted(arrays)) or 'none'}"
        )
    wanted = [arrays[name] for name in names]
    pairs = [(_examples(path, names[0], xs), np.asarray(ys)) for xs, ys in zip(wanted[::2], wanted[1::2], strict=True)]
    for (xs, ys), x_name, y_name in zip(pairs, names[::2], names[1::2], strict=True):
        if ys.ndim == 2 and ys.shape[1] == 1:
            ys = ys[:, 0]  # as Keras has CIFAR-10's
        if ys.ndim != 1 or len(xs) != len(ys) or not len(xs):
            raise ValueError(
                f"load_npz: {path}: {x_name} of shape {xs.shape} and {y_name} of shape {ys.shape} must have as many "
                "examples, and y one label each"
            )
        if not allow_nonfinite and not np.isfinite(xs).all():
            raise ValueError(f"load_npz: {path}: {x_name} must have finite numbers")
    numbers, names_of_classes = _labels(path, [ys.reshape(-1) for _, ys in pairs], classes)
    examples = [(xs, ys) for (xs, _), ys in zip(pairs, numbers, strict=True)]
    if len(examples) == 2 and examples[0][0].shape[1:] != examples[1][0].shape[1:]:
        shapes = " and ".join(str(xs.shape[1:]) for xs, _ in examples)
        raise ValueError(f"load_npz: {path}: examples to train and to test with must have one shape, not {shapes}")
    if len(examples) == 1:
        ((xs, ys),) = examples
        kept, held = held_out_rows("load_npz", ys, held_out, seed)
        examples = [(xs[kept], ys[kept]), (xs[held], ys[held])]
    return Dataset(examples[0], examples[1], names_of_classes, path.stem)


def has_test_part(file: str | os.PathLike[str]) -> bool:
    """Whether a .npz file has examples to test with; False where it cannot be read."""
    try:
        with np.load(file, allow_pickle=False) as found:
            return any(set(names) <= set(found.files) for names in SPLIT)
    except Exception:  # `load_npz` says what is wrong
        return False


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("it has one array, as numpy.save writes it")
        with loaded as found:
            return {name: found[name] for name in found.files}
    except OSError:
        raise
    except Exception as error:  # NumPy has no common class for what broken files make it raise
        raise ValueError(f"load_npz: {path} cannot be read as a file of numpy.savez: {error}") from None


def _examples(path: Path, name: str, xs: np.ndarray) -> np.ndarray:
    """The examples in float32, images with an axis of channels."""
    if xs.dtype.kind not in "uifb" or xs.ndim < 2:
        raise ValueError(f"load_npz: {path}: {name} of shape {xs.shape} and dtype {xs.dtype} must be numbers (n, ...)")
    if xs.ndim == 4 and xs.shape[1] in (1, 3) and xs.shape[3] not in (1, 3):
        raise ValueError(
            f"load_npz: {path}: {name} of shape {xs.shape} has its channels first; numpy.moveaxis({name}, 1, -1) puts "
            "them last"
        )
    scaled = xs.astype(np.float32)
    if xs.dtype == np.uint8:
        scaled /= np.float32(255)
    return scaled[..., None] if xs.ndim == 3 else scaled


def _labels(
    path: Path, parts: Sequence[np.ndarray], classes: Sequence[str] | None
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """The labels as int32, and the names of the classes."""
    are_names = [part.dtype.kind in "US" for part in parts]
    if any(are_names) and not all(are_names):
        dtypes = " and ".join(str(part.dtype) for part in parts)
        raise ValueError(f"load_npz: {path}: labels of dtypes {dtypes} must be all names, or all whole numbers from 0")
    every = np.concatenate(parts)
    if every.dtype.kind in "US":
        texts = [part.astype(str) for part in parts]
        names = tuple(sorted(set(np.concatenate(texts).tolist())) if classes is None else classes)
        if unknown := sorted(set(np.concatenate(texts).tolist()) - set(names)):
            raise ValueError(f"load_npz: {path} has a class {unknown[0]!r}; the classes are {', '.join(names)}")
        return [np.array([names.index(text) for text in part], np.int32) for part in texts], names
    if every.dtype.kind not in "uib" or every.min() < 0:
        raise ValueError(f"load_npz: {path}: labels of dtype {every.dtype} must be names, or whole numbers from 0")
    count = int(every.max()) + 1
    if count > 100_000:
        raise ValueError(f"load_npz: {path}: the largest label is {count - 1}; labels must be whole numbers from 0")
    if classes is not None and count > len(classes):
        raise ValueError(f"load_npz: {path} has a label {count - 1}; there are {len(classes)} classes")
    names = tuple(map(str, range(count))) if classes is None else tuple(classes)
    return [part.astype(np.int32) for part in parts], names
