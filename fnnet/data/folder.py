"""A folder of images, one folder a class: what one has before one has a data set."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fnnet.data.dataset import Dataset
from fnnet.data.image_files import is_grey, read, read_photograph, size_of
from fnnet.data.splitting import HELD_OUT, held_out_rows

SUFFIXES = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (".bmp", ".gif", ".heic", ".tif", ".tiff", ".webp")
PARTS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation")}
LARGEST = 128  # pixels on a side up to which images of one size keep it
USUAL = 64


def load_folder(
    directory: str | os.PathLike[str],
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    held_out: int | float = HELD_OUT,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """A data set from PNG and JPEG files in one folder a class, such as flowers/rose/1.jpg and flowers/tulip/a/2.png.

    Args:
        directory: Has a folder for each class, which may have folders in it; or the folders train and test (or val)
            with such folders, which are then the split; or the folder train alone.
        image_size: Height and width to which the middle of each image is scaled, or one number for both. None: the
            images' own, if it is the same for all and at most 128 x 128; else 64 x 64.
        channels: 1 for grey, 3 for red, green and blue. None: 1 if all files are grey, else 3.
        held_out: The share of each class that is held out, where there is no folder test. 1 holds out all.
        classes: The names of the classes, in the order of their labels. None: the folders' names, sorted.
        seed: Decides which examples are held out.

    Returns:
        float32 images in [0, 1], int32 labels.

    Raises:
        ValueError: There are no such folders, a file is broken or of another format, a class is unknown or too small.
        OSError: A file cannot be read.
    """
    root = Path(directory)
    if channels not in (None, 1, 3):
        raise ValueError(f"load_folder: channels (={channels!r}) must be 1 or 3")
    if image_size is not None:
        image_size = _size(image_size)
    parts = _parts(root)
    files = {name: _files(part) for name, part in parts.items()}
    for name, folder in parts.items():
        least = 2 if name == "train" and classes is None else 1
        if len(files[name]) < least:
            many = "two folders of images or more" if least == 2 else "folders of images"
            raise ValueError(
                f"load_folder: {folder} must have {many}, one for each class, such as {folder / 'cat'} and "
                f"{folder / 'dog'}"
            )
    names = tuple(sorted(files["train"]) if classes is None else classes)
    for part in files.values():
        if unknown := sorted(part.keys() - set(names)):
            raise ValueError(f"load_folder: {root} has a class {unknown[0]!r}; the classes are {', '.join(names)}")
    every = [file for part in files.values() for found in part.values() for file in found]
    if image_size is None or channels is None:
        image_size, channels = _usual_shape(every, image_size, channels)
    read_part = {name: _read(part, names, (*image_size, channels)) for name, part in files.items()}
    xs, ys = read_part["train"]
    if "test" in files:
        return Dataset((xs, ys), read_part["test"], names, root.resolve().name)
    kept, held = held_out_rows("load_folder", ys, held_out, seed)
    return Dataset((xs[kept], ys[kept]), (xs[held], ys[held]), names, root.resolve().name)


def has_test_part(directory: str | os.PathLike[str]) -> bool:
    """Whether a directory has the folders train and test rather than one for each class."""
    return "test" in _parts(Path(directory))


def _parts(root: Path) -> dict[str, Path]:
    """The folders that have folders of classes: train and test; or, as "train", train alone or else the root."""
    parts = {name: root / one for name, known in PARTS.items() for one in reversed(known) if (root / one).is_dir()}
    if len(parts) == len(PARTS):
        return parts
    train = parts.get("train", root)
    return {"train": train if _folders(root) == [train] and _folders(train) else root}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _size(given: Any) -> tuple[int, int]:
    """Height and width."""
    height, width = given if isinstance(given, Sequence) and len(given) == 2 else (given, given)
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 1:
            raise ValueError(
                f"load_folder: image_size (={given!r}) must be one number such as 64, or height and width such as "
                "(64, 48)"
            )
    return int(height), int(width)


def _files(root: Path) -> dict[str, list[Path]]:
    """The image files of each class, sorted; folders without any are left out."""
    classes = {}
    for folder in _folders(root):
        every = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
        if strange := [file for file in every if file.suffix.lower() in OTHER_IMAGES]:
            raise ValueError(f"load_folder: {strange[0]} must be a PNG or JPEG file")
        if found := [file for file in every if file.suffix.lower() in SUFFIXES]:
            classes[folder.name] = found
    return classes


def _usual_shape(
    files: Sequence[Path], image_size: tuple[int, int] | None, channels: int | None
) -> tuple[tuple[int, int], int]:
    looks = {read("load_folder", file, lambda image: (size_of(image), is_grey(image)), upright=False) for file in files}
    sizes = {size for size, _ in looks}
    if image_size is None:
        own = next(iter(sizes))
        image_size = own if len(sizes) == 1 and max(own) <= LARGEST else (USUAL, USUAL)
    if channels is None:
        channels = 1 if all(grey for _, grey in looks) else 3
    return image_size, channels


def _read(
    part: dict[str, list[Path]], names: Sequence[str], shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(file, label) for label, name in enumerate(names) for file in part.get(name, ())]
    xs = np.empty((len(pairs), *shape), np.float32)
    for place, (file, _) in enumerate(pairs):
        xs[place] = read_photograph(file, shape)
    return xs, np.array([label for _, label in pairs], np.int32)
