"""What a run is of: images with labels, or a text. It says how examples are read, and what their loss is called."""

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jax import Array

from fnnet import data
from fnnet.cli import presets
from fnnet.data.text import BYTES, TOPICS
from fnnet.rules.class_losses import softmax_cross_entropy

CONTEXT = 256  # bytes of a window


class Examples(NamedTuple):
    """Pairs (xs, ys) to train on and held out, what each label means, and what the data are called."""

    train: tuple[Any, Any]
    test: tuple[Any, Any]
    classes: tuple[str, ...]
    name: str


class Images:
    """Images, each with one label."""

    examples = "images"
    labelled = "images"  # what has a label each
    traced = 32  # how many examples a trace is of

    def load(self, source: str, *, allow_nonfinite: bool) -> Examples:
        """The digits, or a directory of IDX files."""
        found = data.load(source, allow_nonfinite=allow_nonfinite)
        return Examples(found.train, found.test, found.classes, found.name)

    def loss(self, config: Mapping[str, Any]) -> Callable:
        """One number an image."""
        return functools.partial(softmax_cross_entropy, label_smoothing=config["label_smoothing"])

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

    def load(self, source: str, *, allow_nonfinite: bool) -> Examples:
        """The topics of Python's help, or a file."""
        found = data.text(source)
        train, test = (data.windows(part, CONTEXT) for part in (found.train, found.test))
        return Examples(train, test, tuple(repr(bytes([byte]))[1:] for byte in range(BYTES)), found.name)

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


def subject_of(net: str) -> Subject:
    """What the network of that name is for."""
    return TEXT if net in presets.TEXT_NETS else IMAGES


def is_text(source: str) -> bool:
    """Whether data of that name are a text: the topics, or a file."""
    return source == TOPICS or Path(source).is_file()


def mean_over_tokens(logits: Array, labels: Array) -> Array:
    """Softmax cross-entropy of each sequence, the mean over its tokens."""
    return softmax_cross_entropy(logits, labels).mean(-1)
