"""Warnings about data that train, but that were likely not meant so."""

import warnings
from collections.abc import Sequence
from typing import Any

CHANNELS = (1, 3, 4)  # of grey and colour images, and of those with transparency
SIDE = 8  # an image is no smaller
LEVEL = 4  # the frame that called `fit`: this module's function, `fit` and its hints lie between


class DataWarning(UserWarning):
    """The data of a training may be meant otherwise than they are read.

    `warnings.filterwarnings("ignore", category=fnnet.DataWarning)` silences it.
    """


def _warn(text: str, level: int) -> None:
    warnings.warn(
        f'{text} (warnings.filterwarnings("ignore", category=fnnet.DataWarning) silences this)',
        DataWarning,
        stacklevel=level + 1,
    )


def warn_of_channels_first(net: Any, shape: Sequence[int]) -> None:
    """Where the network reads examples as images and they look like (channels, height, width)."""
    if getattr(net, "spatial_axes", None) != 2 or len(shape) != 3:
        return
    channels, *sides = shape
    if channels in CHANNELS and min(sides) >= SIDE:
        _warn(
            f"fit: examples of shape {tuple(shape)} look channels-first, but channels are last here: "
            "jnp.moveaxis(xs, 1, -1) puts them there",
            LEVEL,
        )


def warn_of_shorter_epoch(epoch: int, steps: int, before: float) -> None:
    """Where an iterable gave fewer mini-batches than in the epochs before."""
    _warn(
        f"fit: data gave {steps} mini-batches in epoch {epoch}, and {before:g} in each epoch before; an iterable must "
        "start anew each time it is iterated",
        LEVEL,
    )


def warn_of_left_out(size: int) -> None:
    """Where more than the last mini-batch of an epoch is smaller than the first."""
    _warn(
        f"fit: data gave more than one mini-batch of fewer than {size} examples, the size of its first, in an epoch; "
        "these are left out",
        LEVEL,
    )
