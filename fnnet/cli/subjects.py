"""What a run is of: images with labels, or a text. It says how examples are read, and what their loss is called."""

import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from fnnet import data
from fnnet.cli import presets
from fnnet.data import arrays, folder
from fnnet.data.digit_images import DIGITS, made_like_digits
from fnnet.data.published import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, locate
from fnnet.data.splitting import HELD_OUT
from fnnet.data.text import BYTES, TOPICS
from fnnet.rules.class_losses import softmax_cross_entropy

CONTEXT = 256  # bytes of a window
IDX_FILES = TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS
READINGS = ("digit", "grey", "photograph")  # how an image file becomes an example: `runs.inference`


class Examples(NamedTuple):
    """Pairs (xs, ys) to train on and held out, what each label means, and what the data are called."""

    train: tuple[Any, Any]
    test: tuple[Any, Any]
    classes: tuple[str, ...]
    name: str

    def sha256(self) -> str:
        """The digest of all examples, by which a run knows its data."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test):
            digest.update(str(array.shape).encode())
            for leaf in jax.tree.leaves(array):  # itself, or the text that windows are of
                digest.update(np.ascontiguousarray(leaf).data)
        return digest.hexdigest()


class Images:
    """Images, or other arrays, each with one label."""

    examples = "images"
    labelled = "images"  # what has a label each
    traced = 32  # how many examples a trace is of

    def load(self, source: str, config: Mapping[str, Any]) -> Examples:
        """The digits, a directory of IDX files, a folder of images, or a file of arrays.

        The settings "shape" and "classes" are there when a run's data are read again, or others in their place.
        """
        nonfinite = bool(config.get("allow_nonfinite"))
        held_out = HELD_OUT if config.get("held_out") is None else config["held_out"]
        shape, classes = config.get("shape"), config.get("classes")
        found: Any
        if is_file_of_arrays(source):
            found = data.load_npz(source, held_out=held_out, classes=classes, allow_nonfinite=nonfinite)
        elif _is_folder(source):
            size, channels = config.get("image_size"), config.get("channels")
            if shape is not None and len(shape) == 3:  # else of a run that was not trained on images
                size, channels = shape[:2], shape[2]
            size = None if size is None else (size[0], size[1])
            found = data.load_folder(source, image_size=size, channels=channels, held_out=held_out, classes=classes)
        else:
            found = data.load(source, allow_nonfinite=nonfinite)
        return Examples(found.train, found.test, found.classes, found.name)

    def test_part(self, source: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
        """The test part of a source, or all of it where it has none."""
        return self.load(source, {**config, "held_out": 1.0}).test

    def refuse_unused(self, source: str, config: Mapping[str, Any]) -> None:
        """Raises ValueError where one of the settings that say how to read a source does nothing for this one."""
        is_file, is_folder = is_file_of_arrays(source), _is_folder(source)
        has_test_part = (is_file and arrays.has_test_part(source)) or (is_folder and folder.has_test_part(source))
        for setting, use, is_used in (
            ("image_size", "a folder of images", is_folder),
            ("channels", "a folder of images", is_folder),
            ("held_out", "a folder or .npz file without a test part", (is_file or is_folder) and not has_test_part),
        ):
            _refuse_unless(is_used, config, setting, use, source)

    def reading(self, source: str, examples: Examples) -> str | None:
        """How `fnnet predict` reads an image file for the network: one of READINGS; None where there are no images."""
        xs = examples.train[0]
        some = np.asarray(xs[:1000])
        if xs.ndim != 4 or xs.shape[-1] not in (1, 3) or some.min() < 0 or some.max() > 1:
            return None
        if made_like_digits(xs, examples.classes):
            return "digit"
        edges = some[:, [0, -1]], some[:, :, [0, -1]]
        border = np.concatenate([edge.reshape(len(some), -1) for edge in edges], 1)
        has_dark_ground = xs.shape[-1] == 1 and bool((np.median(border, 1) < 0.2).mean() > 0.8)
        return "grey" if has_dark_ground and not _is_folder(source) else "photograph"

    def loss(self, config: Mapping[str, Any]) -> Callable:
        """One number an image."""
        return functools.partial(softmax_cross_entropy, label_smoothing=config["label_smoothing"])

    def least_loss(self, config: Mapping[str, Any]) -> float:
        """The smallest loss there is: the entropy of a smoothed label."""
        classes = len(config["classes"])
        share = config["label_smoothing"] / classes
        others, own = (classes - 1) * share, 1 - (classes - 1) * share
        return -(own * math.log(own) + (others * math.log(share) if share else 0.0))

    def score(self, loss: float, accuracy: float) -> str:
        """Loss and accuracy in an epoch's line."""
        return f"{loss:.4f}, {100 * accuracy:6.2f} % right"

    def answer(self, loss: float, accuracy: float) -> str:
        """What the two mean, before "of so many images"."""
        return f"{100 * accuracy:.2f} % right"


class Text:
    """Windows of a text, each with the bytes that follow."""

    examples = "windows"
    labelled = "bytes"
    traced = 2

    def load(self, source: str, config: Mapping[str, Any]) -> Examples:
        """The topics of Python's help, or a file."""
        found = data.text(source)
        train, test = (data.windows(part, CONTEXT) for part in (found.train, found.test))
        return Examples(train, test, tuple(repr(bytes([byte]))[1:] for byte in range(BYTES)), found.name)

    def test_part(self, source: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
        """All of a text, since none has a test part."""
        found = data.text(source)
        return data.windows(np.concatenate([found.train, found.test]), CONTEXT)

    def refuse_unused(self, source: str, config: Mapping[str, Any]) -> None:
        """Raises ValueError where there is a setting that says how to read images."""
        for setting in ("image_size", "channels", "held_out"):
            _refuse_unless(False, config, setting, "images", source)

    def reading(self, source: str, examples: Examples) -> str | None:
        """None: windows are no images."""
        return None

    def least_loss(self, config: Mapping[str, Any]) -> float:
        """Nothing is smoothed."""
        return 0.0

    def loss(self, config: Mapping[str, Any]) -> Callable:
        """One number a window: the mean over its bytes, in nats."""
        return mean_over_tokens

    def score(self, loss: float, accuracy: float) -> str:
        """Loss and accuracy in an epoch's line."""
        return f"{loss:.4f}, {loss / math.log(2):.3f} bits per byte, {100 * accuracy:6.2f} % right"

    def answer(self, loss: float, accuracy: float) -> str:
        """What the two mean, before "of so many windows"."""
        bits, perplexity = loss / math.log(2), math.exp(min(loss, 700.0))
        return f"{bits:.3f} bits per byte (perplexity {perplexity:.2f}), {100 * accuracy:.2f} % of the bytes right"


Subject = Images | Text
IMAGES, TEXT = Images(), Text()


def subject_of(config: Mapping[str, Any]) -> Subject:
    """What the run of that configuration is of."""
    is_of_text = config["net"] in presets.TEXT_NETS or config.get("examples") == TEXT.examples
    return TEXT if is_of_text else IMAGES


def is_text(source: str) -> bool:
    """Whether data of that name are a text: the topics, or a file."""
    return source == TOPICS or (source != "digits" and Path(source).is_file() and not is_file_of_arrays(source))


def is_file_of_arrays(source: str) -> bool:
    """Whether data of that name are the arrays of a .npz file."""
    return Path(source).suffix == ".npz"


def place_of(source: str) -> str:
    """The name of data as any directory finds them: a file or a directory by its whole path."""
    return source if source in ("digits", TOPICS) else str(Path(source).resolve())


def _refuse_unless(is_used: bool, config: Mapping[str, Any], setting: str, use: str, source: str) -> None:
    if not is_used and config.get(setting) is not None:
        option = f"--{setting.replace('_', '-')}"
        raise ValueError(f"train: {option} is for {use}; leave it out for --data {source}")


def usual_reading(shape: tuple[int, ...], classes: Sequence[str]) -> str:
    """How images are read for a network of which that is all one knows."""
    if shape[-1] != 1:
        return "photograph"
    return "digit" if len(shape) == 3 and tuple(classes) == DIGITS else "grey"


def _is_folder(source: str) -> bool:
    """Whether data of that name are folders of images: a directory without any of MNIST's files."""
    path = Path(source)
    return source != "digits" and path.is_dir() and all(locate(path, name) is None for name in IDX_FILES)


def mean_over_tokens(logits: Array, labels: Array) -> Array:
    """Softmax cross-entropy of each sequence, the mean over its tokens."""
    return softmax_cross_entropy(logits, labels).mean(-1)
